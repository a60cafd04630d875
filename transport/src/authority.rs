//! A certificate authority of one's own, for clusters whose operator has no other.
//!
//! Its certificates hold for chosen times and can be revoked. It lives in memory: where its key is
//! kept, and what it has issued, is its caller's to say. The program `certificates` of this
//! repository keeps it in a directory. For development and tests there is
//! [`development`](crate::development).
//!
//! Invariant: an authority's name carries its key's fingerprint, so that two are never taken for
//! each other, and is a function of the key, so that certificate and key are all there is to keep.
//! Reads no clock: callers say what time it is.

pub(crate) mod template;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _};
use webpki::BorrowedCertRevocationList;

use self::template::{fingerprint, new_key, node_params, params};
use crate::{
    identity::NodeName,
    tls::{CertificateDetails, Credentials, CredentialsError},
};

/// A certificate authority. Whoever holds it can become any node.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use actix_cluster_transport::{Credentials, NodeName, authority::CertificateAuthority};
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let now = SystemTime::now();
/// let authority = CertificateAuthority::new(now, 3_650 * DAY)?;
/// let name = NodeName::new("carts-1")?;
/// let issued = authority.issue(now, 90 * DAY, &name, &[])?;
///
/// let roots = authority.certificate_pem();
/// let credentials =
///     Credentials::from_pem(issued.chain.as_bytes(), issued.key.as_bytes(), roots.as_bytes())?;
/// assert!(credentials.allows(&name));
///
/// let list = authority.revocation_list(now, None, &[issued.details()?.serial])?;
/// assert!(credentials.revoking(list.as_bytes()).is_err(), "it has been revoked");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    root_pem: String,
    fingerprint: String,
    not_after: SystemTime,
}

/// By how much certificates hold before they are issued: clocks of hosts differ.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// For how long a revocation list says that it is current. Nodes heed it for longer too.
const LIST_CURRENT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest time a certificate may hold: a century.
const LIFETIME_LIMIT: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// What an authority cannot do. Nothing was issued.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The key is not an Ed25519 key as PEM.
    Key,
    /// The certificate is not one that this library made for the key.
    Mismatch,
    /// A lifetime is shorter than a second or longer than a century, or the time it counts from is
    /// no time for a certificate.
    Lifetime,
    /// The certificate would hold for longer than its authority's, which ends then.
    BeyondAuthority(SystemTime),
    /// Another name is neither a node name nor `*.` and one.
    Name(String),
    /// The list to be extended is not this authority's, or cannot be read.
    List,
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("the key is no ed25519 key; give the authority's own as PEM"),
            Self::Mismatch => f.write_str(
                "the certificate was not made with this key by this library; give the two that \
                 were made together",
            ),
            Self::Lifetime => f.write_str("a lifetime has to be a second to a century from now"),
            Self::BeyondAuthority(_) => f.write_str(
                "the certificate would outlive its authority; give a shorter lifetime, or make a \
                 new authority",
            ),
            Self::Name(name) => write!(
                f,
                "{name:?} is no name for a certificate; give a node name, or `*.` and one"
            ),
            Self::List => f.write_str(
                "the revocation list is not this authority's; give the one it made last",
            ),
        }
    }
}

impl std::error::Error for AuthorityError {}

impl CertificateAuthority {
    /// A new authority that holds from an hour before `now` until `lifetime` after it.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Lifetime`].
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give, which no supported one admits to.
    pub fn new(now: SystemTime, lifetime: Duration) -> Result<Self, AuthorityError> {
        let key = new_key();
        let mut params = authority_params(&key);
        let not_after = hold(&mut params, now, lifetime)?;
        let root = params.self_signed(&key).expect("the parameters are those of an authority");
        Ok(Self::of(key, root.pem(), not_after))
    }

    /// The authority that was kept as [`certificate_pem`](Self::certificate_pem) and
    /// [`key_pem`](Self::key_pem).
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Key`] and [`AuthorityError::Mismatch`].
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem).ok().filter(|key| key.algorithm() == &PKCS_ED25519);
        let key = key.ok_or(AuthorityError::Key)?;
        let details = CertificateDetails::from_pem(certificate_pem.as_bytes());
        let details = details.ok().and_then(|mut all| all.pop()).ok_or(AuthorityError::Mismatch)?;
        let authority = Self::of(key, certificate_pem.to_owned(), details.not_after);
        authority.check(details.not_before)?;
        Ok(authority)
    }

    fn of(key: KeyPair, root_pem: String, not_after: SystemTime) -> Self {
        let fingerprint = fingerprint(&key);
        let issuer = Issuer::new(authority_params(&key), key);
        Self { issuer, root_pem, fingerprint, not_after }
    }

    /// Whether what the key signs verifies under the certificate.
    fn check(&self, now: SystemTime) -> Result<(), AuthorityError> {
        let probe = NodeName::new("probe").expect("it is a name");
        let key = new_key();
        let mut params = node_params(&key, &probe);
        params.not_before = now.into();
        params.not_after = self.not_after.into();
        let signed = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        let root = CertificateDer::from_pem_slice(self.root_pem.as_bytes());
        let root = root.map_err(|_| AuthorityError::Mismatch)?;
        let since = now.duration_since(UNIX_EPOCH).map_err(|_| AuthorityError::Mismatch)?;
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let at = rustls::pki_types::UnixTime::since_unix_epoch(since);
        Credentials::assemble(at, vec![signed.der().clone()], key, vec![root])
            .map(|_| ())
            .map_err(|_| AuthorityError::Mismatch)
    }

    /// The authority's certificate: what nodes have as a root.
    pub fn certificate_pem(&self) -> String {
        self.root_pem.clone()
    }

    /// The authority's key, PKCS#8 as PEM. Whoever reads it can become any node.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Until when the authority holds.
    pub fn expires(&self) -> SystemTime {
        self.not_after
    }

    /// A key and a certificate of a node of this name, for both ends of a connection, from an hour
    /// before `now` until `lifetime` after it. `others` are further names it may go by: node names,
    /// or `*.` and one.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]: a lifetime beyond what is allowed or beyond the authority's own, or a
    /// wrong name.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give.
    pub fn issue(
        &self,
        now: SystemTime,
        lifetime: Duration,
        name: &NodeName,
        others: &[String],
    ) -> Result<IssuedPem, AuthorityError> {
        let key = new_key();
        let mut params = node_params(&key, name);
        for other in others {
            let wrong = || AuthorityError::Name(other.clone());
            let plain = other.strip_prefix("*.").unwrap_or(other);
            NodeName::new(plain).map_err(|_| wrong())?;
            let other = other.as_str().try_into().map_err(|_| wrong())?;
            params.subject_alt_names.push(SanType::DnsName(other));
        }
        if hold(&mut params, now, lifetime)? > self.not_after {
            return Err(AuthorityError::BeyondAuthority(self.not_after));
        }
        let chain = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        Ok(IssuedPem { chain: chain.pem(), key: key.serialize_pem() })
    }

    /// A list of all that was revoked: what `previous`, the list before, holds, and these serial
    /// numbers, as [`CertificateDetails::serial`] gives them. Give nodes the newest list only.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::List`] and [`AuthorityError::Lifetime`].
    pub fn revocation_list(
        &self,
        now: SystemTime,
        previous: Option<&str>,
        serials: &[Vec<u8>],
    ) -> Result<String, AuthorityError> {
        let mut revoked = previous.map_or(Ok(Vec::new()), |list| self.revoked_by(list))?;
        let seconds = since_epoch(now)?;
        for serial in serials {
            let serial_number = SerialNumber::from_slice(serial);
            if revoked.iter().all(|entry| entry.serial_number != serial_number) {
                revoked.push(revocation(serial_number, at(seconds)));
            }
        }
        let list = CertificateRevocationListParams {
            this_update: at(seconds).into(),
            next_update: (at(seconds) + LIST_CURRENT).into(),
            crl_number: SerialNumber::from(seconds.as_secs()),
            issuing_distribution_point: None,
            revoked_certs: revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).map_err(|_| AuthorityError::Lifetime)?;
        list.pem().map_err(|_| AuthorityError::List)
    }

    fn revoked_by(&self, list: &str) -> Result<Vec<RevokedCertParams>, AuthorityError> {
        let der = CertificateRevocationListDer::from_pem_slice(list.as_bytes())
            .map_err(|_| AuthorityError::List)?;
        crate::tls::check_list(self.root_pem.as_bytes(), list.as_bytes())
            .map_err(|_| AuthorityError::List)?;
        let list = BorrowedCertRevocationList::from_der(&der).map_err(|_| AuthorityError::List)?;
        list.into_iter()
            .map(|entry| {
                let entry = entry.map_err(|_| AuthorityError::List)?;
                let since = Duration::from_secs(entry.revocation_date.as_secs());
                Ok(revocation(SerialNumber::from_slice(entry.serial_number), at(since)))
            })
            .collect()
    }
}

fn revocation(serial_number: SerialNumber, time: SystemTime) -> RevokedCertParams {
    let (reason_code, invalidity_date) = (None, None);
    RevokedCertParams { serial_number, revocation_time: time.into(), reason_code, invalidity_date }
}

fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = params(key, &format!("actix-cluster authority {}", fingerprint(key)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Sets when a certificate holds, and gives the end of that.
fn hold(
    params: &mut CertificateParams,
    now: SystemTime,
    lifetime: Duration,
) -> Result<SystemTime, AuthorityError> {
    if lifetime < Duration::from_secs(1) || lifetime > LIFETIME_LIMIT {
        return Err(AuthorityError::Lifetime);
    }
    let now = since_epoch(now)?;
    let not_after = at(Duration::from_secs((now + lifetime).as_secs()));
    params.not_before = at(now.saturating_sub(BACKDATED)).into();
    params.not_after = not_after.into();
    Ok(not_after)
}

/// Whole seconds, as certificates count; until some time in the year 5138.
fn since_epoch(now: SystemTime) -> Result<Duration, AuthorityError> {
    let since = now.duration_since(UNIX_EPOCH).map_err(|_| AuthorityError::Lifetime)?;
    let seconds = Duration::from_secs(since.as_secs());
    if since.as_secs() > 100_000_000_000 { Err(AuthorityError::Lifetime) } else { Ok(seconds) }
}

fn at(since: Duration) -> SystemTime {
    UNIX_EPOCH + since
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// A node's certificate chain and key as PEM.
pub struct IssuedPem {
    /// The certificate chain.
    pub chain: String,
    /// The private key, PKCS#8. Anybody who reads it can become the node.
    pub key: String,
}

impl IssuedPem {
    /// What the node's own certificate says.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`], when the text was changed to something else.
    pub fn details(&self) -> Result<CertificateDetails, CredentialsError> {
        Ok(CertificateDetails::from_pem(self.chain.as_bytes())?.swap_remove(0))
    }
}

impl fmt::Debug for IssuedPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedPem").field("chain", &self.chain).finish_non_exhaustive()
    }
}
