//! The rustls configurations of both ends.
//!
//! Invariant: TLS 1.3 with ring, whatever the process's default provider; certificates on both
//! sides; one application protocol; no tickets, hence no resumption and no early data, so that
//! each connection proves both identities anew and an expired certificate opens none.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

/// The application protocol. Its number changes with what cannot be agreed in our own handshake.
pub(super) const PROTOCOL: &[u8] = b"actix-cluster/1";

pub(super) fn server(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    certified: Arc<CertifiedKey>,
) -> QuicServerConfig {
    // Names of authorities help clients with several certificates; ours have one.
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .clear_root_hint_subjects()
        .build()
        .expect("the roots are not empty, and there is no revocation list");
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).expect("ring has the cipher suite of initial packets")
}

pub(super) fn client(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    certified: Arc<CertifiedKey>,
) -> QuicClientConfig {
    let config = client_builder(provider, roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    finish_client(config)
}

/// A client's configuration up to the point where it would show a certificate.
pub(super) fn client_builder(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let algorithms = provider.signature_verification_algorithms;
    ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyNameOfTrusted { roots, algorithms }))
}

pub(super) fn finish_client(mut config: ClientConfig) -> QuicClientConfig {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Nobody chooses a certificate by it, and it would travel in the clear.
    config.enable_sni = false;
    QuicClientConfig::try_from(config).expect("ring has the cipher suite of initial packets")
}

/// Accepts a server's certificate for what it is (its chain leads to a root, it is valid now, it
/// may authenticate a server, its key signed this handshake), whatever names it carries.
///
/// A node that dials a seed knows an address, not a name, so there is nothing to compare yet. That
/// is safe because the name is only put off: the greeting that follows says it, it is held against
/// this certificate before anything else is believed, and a dialler that did expect a name
/// compares it then. Whoever sits in between needs a certificate of the cluster's authority, and
/// with that is a node of its own name and no other.
#[derive(Debug)]
struct AnyNameOfTrusted {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyNameOfTrusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate =
            ParsedCertificate::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never offered, never accepted.
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
