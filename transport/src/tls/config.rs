//! The rustls configurations of both ends.
//!
//! Invariant: TLS 1.3 with ring, whatever the process's default provider; certificates on both
//! sides; one application protocol; no tickets, hence no resumption and no early data, so that
//! each connection proves both identities anew and an expired certificate opens none.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use super::trust::{End, Trust, told};

/// The application protocol. Its number changes with what cannot be agreed in our own handshake.
pub(super) const PROTOCOL: &[u8] = b"actix-cluster/1";

pub(super) fn server(
    provider: &Arc<CryptoProvider>,
    trust: Arc<Trust>,
    certified: Arc<CertifiedKey>,
) -> QuicServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .with_client_cert_verifier(Arc::new(AnyNameOfTrusted(trust)))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).expect("ring has the cipher suite of initial packets")
}

pub(super) fn client(
    provider: &Arc<CryptoProvider>,
    trust: Arc<Trust>,
    certified: Arc<CertifiedKey>,
) -> QuicClientConfig {
    let config = client_builder(provider, trust)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    finish_client(config)
}

/// A client's configuration up to the point where it would show a certificate.
pub(super) fn client_builder(
    provider: &Arc<CryptoProvider>,
    trust: Arc<Trust>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("ring has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyNameOfTrusted(trust)))
}

pub(super) fn finish_client(mut config: ClientConfig) -> QuicClientConfig {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Nobody chooses a certificate by it, and it would travel in the clear.
    config.enable_sni = false;
    QuicClientConfig::try_from(config).expect("ring has the cipher suite of initial packets")
}

/// Accepts a peer's certificate for what it is (see [`Trust::judge`]; and its key signed this
/// handshake), whatever names it carries. The same on both ends.
///
/// A node that dials a seed knows an address, not a name, so there is nothing to compare yet. That
/// is safe because the name is only put off: the greeting that follows says it, it is held against
/// this certificate before anything else is believed, and a dialler that did expect a name
/// compares it then. Whoever sits in between needs a certificate of the cluster's authority, and
/// with that is a node of its own name and no other.
#[derive(Debug)]
struct AnyNameOfTrusted(Arc<Trust>);

impl ServerCertVerifier for AnyNameOfTrusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.judge(now, end_entity, intermediates, End::Server).map_err(told)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_offered()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AnyNameOfTrusted {
    /// Names of authorities help clients with several certificates; ours have one.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.judge(now, end_entity, intermediates, End::Client).map_err(told)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        never_offered()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// TLS 1.2 is never offered, never accepted.
fn never_offered() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls13RequiredForQuic.into())
}
