//! Certificates: who may speak at all, and under which names.
//!
//! Invariant: there is no connection on which either side has not shown a certificate of an
//! authority the other trusts, for TLS 1.3 and this protocol. Which of its names a peer goes by is
//! said in our own handshake and held against its certificate there (`peer_names_allow`).
//! Knows no socket and no session. Reads the wall clock, through rustls and as validity periods
//! demand, and for nothing else.

mod config;
mod credentials_error;
mod failure;
mod peer;

#[cfg(test)]
mod tests;

use std::{fmt, fs, path::Path, sync::Arc};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use webpki::{EndEntityCert, KeyUsage};

pub use self::{
    credentials_error::{CredentialsError, Field, Problem},
    failure::{Refuser, TlsFailure, TlsReason},
    peer::IdentityError,
};
pub(crate) use self::{failure::explain, peer::peer_names_allow};
use crate::identity::NodeName;

/// What a node proves itself with and judges others by: its certificate chain, the private key and
/// the trusted roots. Cheap to clone.
///
/// The certificate names the node: see [`names`](Self::names). One that carries the extended key
/// usage extension has to list both server and client authentication, as a node dials and is
/// dialled.
///
/// For development, [`Authority::issue`](crate::development::Authority::issue) makes them.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    leaf: CertificateDer<'static>,
    names: Vec<String>,
    roots: Arc<RootCertStore>,
    server: Arc<QuicServerConfig>,
    client: Arc<QuicClientConfig>,
}

impl Credentials {
    /// Reads credentials from PEM text: the chain with the node's own certificate first, its
    /// unencrypted key (PKCS#8, SEC1 or PKCS#1), and all trusted roots.
    ///
    /// The chain has to pass the checks a peer with the same roots would make now.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`], which names the field, what is wrong with it and the remedy.
    pub fn from_pem(
        chain_pem: &[u8],
        key_pem: &[u8],
        roots_pem: &[u8],
    ) -> Result<Self, CredentialsError> {
        let chain = certificates(Field::Chain, chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| Field::Key.error(Problem::from_pem(error, Problem::NoKey)))?;
        let roots = certificates(Field::Roots, roots_pem)?;
        Self::assemble(UnixTime::now(), chain, key, roots)
    }

    /// Reads credentials from three PEM files, as [`from_pem`](Self::from_pem) does. Blocks.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`], which names the file as well.
    pub fn from_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
        roots: impl AsRef<Path>,
    ) -> Result<Self, CredentialsError> {
        let (chain, key, roots) = (chain.as_ref(), key.as_ref(), roots.as_ref());
        let read = |field: Field, path| {
            fs::read(path).map_err(|error| field.error(Problem::Unreadable(error)).of(path))
        };
        let chain_pem = read(Field::Chain, chain)?;
        let key_pem = read(Field::Key, key)?;
        let roots_pem = read(Field::Roots, roots)?;
        Self::from_pem(&chain_pem, &key_pem, &roots_pem).map_err(|error| match error.field {
            Field::Chain => error.of(chain),
            Field::Key => error.of(key),
            Field::Roots => error.of(roots),
        })
    }

    /// The DNS names of the node's own certificate, wildcards as they stand there.
    pub fn names(&self) -> Vec<String> {
        self.0.names.clone()
    }

    /// Whether the node's own certificate is valid for a name, by a wildcard or exactly.
    pub fn allows(&self, name: &NodeName) -> bool {
        peer::certificate_allows(&self.0.leaf, name).is_ok()
    }

    /// The TLS side of a quinn server configuration.
    pub(crate) fn server_config(&self) -> Arc<QuicServerConfig> {
        self.0.server.clone()
    }

    /// The TLS side of a quinn client configuration.
    pub(crate) fn client_config(&self) -> Arc<QuicClientConfig> {
        self.0.client.clone()
    }

    /// Checks the parts, as of `now`, and builds both ends' configurations from them.
    pub(crate) fn assemble(
        now: UnixTime,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = trusted(&roots)?;
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Field::Chain.error(Problem::NoCertificate));
        };
        let leaf = leaf.clone();
        let names = check_chain(now, &provider, &leaf, intermediates, &roots.roots)?;
        let certified = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|error| Field::Key.error(Problem::from_key(error)))?;
        let (certified, roots) = (Arc::new(certified), Arc::new(roots));
        let server = config::server(&provider, roots.clone(), certified.clone());
        let client = config::client(&provider, roots.clone(), certified);
        let (server, client) = (Arc::new(server), Arc::new(client));
        Ok(Self(Arc::new(Inner { leaf, names, roots, server, client })))
    }

    /// The same, but without a certificate when this node dials: to inject the fault.
    #[doc(hidden)]
    pub fn without_client_certificate(&self) -> Self {
        let Inner { leaf, names, roots, server, .. } = &*self.0;
        let provider = Arc::new(ring::default_provider());
        let client = config::client_builder(&provider, roots.clone()).with_no_client_auth();
        Self(Arc::new(Inner {
            leaf: leaf.clone(),
            names: names.clone(),
            roots: roots.clone(),
            server: server.clone(),
            client: Arc::new(config::finish_client(client)),
        }))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("names", &self.0.names).finish_non_exhaustive()
    }
}

fn certificates(
    field: Field,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(field.error(Problem::NoCertificate)),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(field.error(Problem::from_pem(error, Problem::NoCertificate))),
    }
}

fn trusted(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, CredentialsError> {
    if roots.is_empty() {
        return Err(Field::Roots.error(Problem::NoCertificate));
    }
    let anchors = roots.iter().map(|root| {
        webpki::anchor_from_trusted_cert(root)
            .map(|anchor| anchor.to_owned())
            .map_err(|error| Field::Roots.error(Problem::Malformed(error)))
    });
    Ok(RootCertStore { roots: anchors.collect::<Result<_, _>>()? })
}

/// Makes both checks that peers will make, and returns the names they can know the node by.
fn check_chain(
    now: UnixTime,
    provider: &CryptoProvider,
    leaf: &CertificateDer<'static>,
    intermediates: &[CertificateDer<'static>],
    roots: &[TrustAnchor<'static>],
) -> Result<Vec<String>, CredentialsError> {
    let leaf = EndEntityCert::try_from(leaf)
        .map_err(|error| Field::Chain.error(Problem::Malformed(error)))?;
    let names: Vec<String> = leaf.valid_dns_names().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Field::Chain.error(Problem::NoName));
    }
    let algorithms = provider.signature_verification_algorithms.all;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        leaf.verify_for_usage(algorithms, roots, intermediates, now, usage, None, None)
            .map_err(|error| Field::Chain.error(Problem::from_chain(error)))?;
    }
    Ok(names)
}
