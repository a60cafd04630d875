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
mod files;
mod peer;
mod trust;
mod validity;

#[cfg(test)]
mod tests;

use std::{any::Any, fmt, path::Path, sync::Arc, time::SystemTime};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

use self::trust::Trust;
pub use self::{
    credentials_error::{CredentialsError, Field, Problem},
    failure::{Refuser, TlsFailure, TlsReason},
    files::CredentialFiles,
    peer::IdentityError,
    validity::{CertificateDetails, Fingerprint, FingerprintError},
};
pub(crate) use self::{failure::explain, peer::peer_names_allow, trust::End};
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

#[derive(Clone)]
struct Inner {
    /// The node's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    names: Vec<String>,
    /// The earliest end of the chain's certificates.
    expires: SystemTime,
    certified: Arc<CertifiedKey>,
    trust: Arc<Trust>,
    server: Arc<QuicServerConfig>,
    client: Arc<QuicClientConfig>,
    /// A fault to inject: see [`Credentials::for_any_name`].
    any_name: bool,
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
        CredentialFiles::new(chain, key, roots).load()
    }

    /// The same, with the certificate revocation lists of PEM text in place of those it had: no
    /// node with a certificate on them is talked to.
    ///
    /// Every certificate between a peer and its root is looked up in its issuer's list. What an
    /// authority without a list has issued counts as not revoked. A list past its time of renewal
    /// still counts. At most one list of each authority, complete and not of a part only.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] of [`Field::Revoked`]: there is no list, or one that is malformed, that
    /// its authority did not sign, or the second of one authority. Of [`Field::Chain`]: the node's
    /// own certificate is on a list.
    pub fn revoking(&self, lists_pem: &[u8]) -> Result<Self, CredentialsError> {
        self.with_trust(Trust::clone(&self.0.trust).with_lists(lists_pem)?)
    }

    /// The same, with these certificates refused in place of those it refused so: for authorities
    /// that give no revocation lists, and until a list is out. Of nodes or of authorities in
    /// between; not of roots, which are best removed from the roots.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] of [`Field::Chain`]: the node's own certificate is among them.
    pub fn revoking_fingerprints(
        &self,
        fingerprints: impl IntoIterator<Item = Fingerprint>,
    ) -> Result<Self, CredentialsError> {
        let fingerprints = fingerprints.into_iter().collect();
        self.with_trust(Trust::clone(&self.0.trust).with_fingerprints(fingerprints))
    }

    /// When the first certificate of the chain expires, the node's own or one above it: until then
    /// it has to be [rotated](crate::Transport::rotate).
    pub fn expires(&self) -> SystemTime {
        self.0.expires
    }

    /// Which certificate is the node's own.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0.chain[0])
    }

    /// The DNS names of the node's own certificate, wildcards as they stand there.
    pub fn names(&self) -> Vec<String> {
        self.0.names.clone()
    }

    /// Whether the node's own certificate is valid for a name, by a wildcard or exactly.
    pub fn allows(&self, name: &NodeName) -> bool {
        self.0.any_name || peer::certificate_allows(&self.0.chain[0], name).is_ok()
    }

    /// The TLS side of a quinn server configuration.
    pub(crate) fn server_config(&self) -> Arc<QuicServerConfig> {
        self.0.server.clone()
    }

    /// The TLS side of a quinn client configuration.
    pub(crate) fn client_config(&self) -> Arc<QuicClientConfig> {
        self.0.client.clone()
    }

    /// Makes the checks that peers with the same roots and lists would make now.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`] of [`Field::Chain`].
    pub(crate) fn check(&self) -> Result<(), CredentialsError> {
        check_chain(UnixTime::now(), &self.0.trust, &self.0.chain)
    }

    /// Whether the certificate that a connection's peer has shown on that end is trusted now.
    /// `certificates` is what [`quinn::Connection::peer_identity`] returns.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn judge(&self, certificates: &dyn Any, end: End) -> Result<(), TlsFailure> {
        let chain = certificates.downcast_ref::<Vec<CertificateDer<'static>>>();
        let reason = match chain.and_then(|chain| chain.split_first()) {
            None => TlsReason::MissingCertificate,
            Some((leaf, rest)) => match self.0.trust.judge(UnixTime::now(), leaf, rest, end) {
                Ok(()) => return Ok(()),
                Err(error) => TlsReason::from_judgement(&error),
            },
        };
        Err(TlsFailure { refused_by: Refuser::Here, reason })
    }

    /// Checks the parts, as of `now`, and builds both ends' configurations from them.
    pub(crate) fn assemble(
        now: UnixTime,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let Some(leaf) = chain.first() else {
            return Err(Field::Chain.error(Problem::NoCertificate));
        };
        let trust = Arc::new(Trust::new(&provider, &roots, &chain)?);
        let names = names_of(leaf)?;
        check_chain(now, &trust, &chain)?;
        let expires = validity::earliest_end(&chain)
            .ok_or(Field::Chain.error(Problem::Malformed(webpki::Error::BadDerTime)))?;
        let certified = CertifiedKey::from_der(chain.clone(), key, &provider)
            .map_err(|error| Field::Key.error(Problem::from_key(error)))?;
        let certified = Arc::new(certified);
        let server = Arc::new(config::server(&provider, trust.clone(), certified.clone()));
        let client = Arc::new(config::client(&provider, trust.clone(), certified.clone()));
        let any_name = false;
        Ok(Self(Arc::new(Inner {
            chain,
            names,
            expires,
            certified,
            trust,
            server,
            client,
            any_name,
        })))
    }

    /// The same, with other reasons to trust a peer.
    fn with_trust(&self, trust: Trust) -> Result<Self, CredentialsError> {
        let Inner { chain, certified, .. } = &*self.0;
        // What else may be wrong with the chain is found where it is put to use.
        if let Err(error) = check_chain(UnixTime::now(), &trust, chain)
            && matches!(error.problem, Problem::Revoked)
        {
            return Err(error);
        }
        let (provider, trust) = (Arc::new(ring::default_provider()), Arc::new(trust));
        Ok(Self(Arc::new(Inner {
            server: Arc::new(config::server(&provider, trust.clone(), certified.clone())),
            client: Arc::new(config::client(&provider, trust.clone(), certified.clone())),
            trust,
            ..Inner::clone(&self.0)
        })))
    }

    /// The same, but without a certificate when this node dials: to inject the fault.
    #[doc(hidden)]
    pub fn without_client_certificate(&self) -> Self {
        let provider = Arc::new(ring::default_provider());
        let client = config::client_builder(&provider, self.0.trust.clone()).with_no_client_auth();
        let client = Arc::new(config::finish_client(client));
        Self(Arc::new(Inner { client, ..Inner::clone(&self.0) }))
    }

    /// The same, for a node that goes by a name its certificate does not give it: to inject the
    /// fault.
    #[doc(hidden)]
    pub fn for_any_name(&self) -> Self {
        Self(Arc::new(Inner { any_name: true, ..Inner::clone(&self.0) }))
    }
}

/// Which certificate a peer has shown; `None` if none.
pub(crate) fn peer_fingerprint(certificates: &dyn Any) -> Option<Fingerprint> {
    let chain = certificates.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    Some(Fingerprint::of(chain.first()?))
}

/// When the first certificate that a connection's peer has shown expires. `certificates` is what
/// [`quinn::Connection::peer_identity`] returns.
pub(crate) fn peer_expires(certificates: &dyn Any) -> Option<SystemTime> {
    validity::earliest_end(certificates.downcast_ref::<Vec<CertificateDer<'static>>>()?)
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

/// Whether PEM text holds a list that is signed by one of the roots, if it is theirs.
pub(crate) fn check_list(roots_pem: &[u8], list_pem: &[u8]) -> Result<(), CredentialsError> {
    let roots = certificates(Field::Roots, roots_pem)?;
    let trust = Trust::new(&ring::default_provider(), &roots, &[])?.with_lists(list_pem)?;
    if trust.knows_the_issuers() { Ok(()) } else { Err(Field::Revoked.error(Problem::ForgedList)) }
}

/// The names that peers can know the node by.
fn names_of(leaf: &CertificateDer<'_>) -> Result<Vec<String>, CredentialsError> {
    let leaf = EndEntityCert::try_from(leaf)
        .map_err(|error| Field::Chain.error(Problem::Malformed(error)))?;
    let names: Vec<String> = leaf.valid_dns_names().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Field::Chain.error(Problem::NoName));
    }
    Ok(names)
}

/// Makes both checks that peers will make.
fn check_chain(
    now: UnixTime,
    trust: &Trust,
    chain: &[CertificateDer<'static>],
) -> Result<(), CredentialsError> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(Field::Chain.error(Problem::NoCertificate));
    };
    for end in [End::Server, End::Client] {
        trust
            .judge(now, leaf, intermediates, end)
            .map_err(|error| Field::Chain.error(Problem::from_chain(error)))?;
    }
    Ok(())
}
