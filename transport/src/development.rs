//! A certificate authority for development and tests.
//!
//! Invariant: an authority is a function of its key. Its certificate is derived from it, and
//! carries the key's fingerprint in its name, so that two authorities are never taken for each
//! other. Never reached by a production configuration; knows no cluster and no address.

mod directory;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

pub use self::directory::DevelopmentError;
pub use crate::authority::IssuedPem;
use crate::{
    authority::template::{self, fingerprint, new_key},
    identity::NodeName,
    tls::{Credentials, CredentialsError},
};

/// A certificate authority that trusts nobody but the nodes it issues for. Cheap to clone; whoever
/// holds it can become any node.
///
/// Its certificates hold from 2020 to 2120, and cannot be revoked: for development and tests.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::{NodeName, development::Authority};
///
/// let authority = Authority::new();
/// let name = NodeName::new("carts-1")?;
/// let credentials = authority.issue(&name);
/// assert!(credentials.allows(&name));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    fingerprint: String,
}

impl Authority {
    /// A new authority, known to this process only.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give, which no supported one admits to.
    #[expect(clippy::new_without_default, reason = "each one is different, and makes a key")]
    pub fn new() -> Self {
        Self(Arc::new(Inner::of(new_key())))
    }

    /// The authority kept in a directory as `ca-key.pem` and `ca.pem`, for the processes of one
    /// user on one host; made at the first call. Processes that race get the same one. Blocks.
    ///
    /// The directory is made with mode 0700. On systems without Unix modes its protection is left
    /// to where it lies.
    ///
    /// # Errors
    ///
    /// [`DevelopmentError`], among others when others may read the directory or the key.
    pub fn from_directory(path: impl AsRef<Path>) -> Result<Self, DevelopmentError> {
        directory::load(path.as_ref()).map(|inner| Self(Arc::new(inner)))
    }

    /// Credentials of a node of this name, with a key of their own, that trust this authority.
    pub fn issue(&self, name: &NodeName) -> Credentials {
        self.0.credentials(name, &Validity::LONG)
    }

    /// As [`issue`](Self::issue), as PEM: for nodes of other processes.
    pub fn issue_pem(&self, name: &NodeName) -> IssuedPem {
        let key = new_key();
        let chain = self.0.sign(&node_params(&key, name, &Validity::LONG), &key);
        IssuedPem { chain: chain.pem(), key: key.serialize_pem() }
    }

    /// The authority's certificate as PEM: what its nodes trust.
    pub fn roots_pem(&self) -> String {
        self.0.root_pem.clone()
    }

    /// Credentials that expired in 2020: to inject the fault.
    #[doc(hidden)]
    pub fn issue_expired(&self, name: &NodeName) -> Credentials {
        self.0.credentials(name, &Validity::EXPIRED)
    }

    /// Credentials that hold from 2119: to inject the fault.
    #[doc(hidden)]
    pub fn issue_not_yet_valid(&self, name: &NodeName) -> Credentials {
        self.0.credentials(name, &Validity::FUTURE)
    }

    /// A certificate that differs from what a node gets.
    #[cfg(test)]
    pub(crate) fn issue_pem_with(
        &self,
        name: &NodeName,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> IssuedPem {
        let key = new_key();
        let mut params = node_params(&key, name, &Validity::LONG);
        adjust(&mut params);
        IssuedPem { chain: self.0.sign(&params, &key).pem(), key: key.serialize_pem() }
    }
}

impl Inner {
    fn of(key: KeyPair) -> Self {
        let fingerprint = fingerprint(&key);
        let common_name = format!("actix-cluster development {fingerprint}");
        let mut params = params(&key, &common_name, &Validity::LONG);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).expect("the parameters are those of an authority");
        let (root, root_pem) = (root.der().clone(), root.pem());
        Self { issuer: Issuer::new(params, key), root, root_pem, fingerprint }
    }

    fn credentials(&self, name: &NodeName, validity: &Validity) -> Credentials {
        self.credentials_under(&self.root, name, validity)
            .expect("this authority made the certificate for its key")
    }

    fn credentials_under(
        &self,
        root: &CertificateDer<'static>,
        name: &NodeName,
        validity: &Validity,
    ) -> Result<Credentials, CredentialsError> {
        let key = new_key();
        let chain = vec![self.sign(&node_params(&key, name, validity), &key).der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Credentials::assemble(validity.within(), chain, key, vec![root.clone()])
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> rcgen::Certificate {
        params.signed_by(key, &self.issuer).expect("the parameters are complete")
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.0.fingerprint)
            .finish_non_exhaustive()
    }
}

/// When a certificate holds. Fixed dates: whoever simulates a cluster has no wall clock.
struct Validity {
    from: (i32, u8, u8),
    to: (i32, u8, u8),
    /// Midnight of `from`, in seconds of Unix time.
    start: u64,
}

impl Validity {
    const LONG: Self = Self { from: (2020, 1, 1), to: (2120, 1, 1), start: 1_577_836_800 };
    const EXPIRED: Self = Self { from: (2020, 1, 1), to: (2020, 1, 2), start: 1_577_836_800 };
    const FUTURE: Self = Self { from: (2119, 1, 1), to: (2120, 1, 1), start: 4_701_974_400 };

    fn applied(&self, mut params: CertificateParams) -> CertificateParams {
        params.not_before = date_time_ymd(self.from.0, self.from.1, self.from.2);
        params.not_after = date_time_ymd(self.to.0, self.to.1, self.to.2);
        params
    }

    /// An instant at which the certificate holds.
    fn within(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.start + 3_600))
    }
}

/// The common template, with fixed dates.
fn params(key: &KeyPair, common_name: &str, validity: &Validity) -> CertificateParams {
    validity.applied(template::params(key, common_name))
}

fn node_params(key: &KeyPair, name: &NodeName, validity: &Validity) -> CertificateParams {
    validity.applied(template::node_params(key, name))
}

#[cfg(test)]
mod tests;
