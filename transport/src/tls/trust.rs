//! Whom a node trusts: the one judgement of a peer's certificate, made when it connects and made
//! again when the node's credentials change.
//!
//! A peer is trusted if its chain leads to a root, holds now, may be used on its end, and nothing
//! in it is revoked: by the list of its authority, or by fingerprint. Each certificate of the chain
//! is looked up, not only the peer's own. An authority without a list has revoked nothing, and a
//! list that is out of date still counts, so that a list that nobody renewed stops no cluster.

use std::{collections::BTreeSet, fmt, sync::Arc};

use rustls::{
    CertificateError, OtherError, RootCertStore,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject as _},
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::{
    CredentialsError, Field, Fingerprint, Problem,
    validity::{BIT_STRING, Der, SEQUENCE},
};

#[derive(Clone)]
pub(super) struct Trust {
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    roots: RootCertStore,
    /// Certificates that may have issued a list: the roots, and those of the node's own chain.
    issuers: Vec<CertificateDer<'static>>,
    /// At most one of each authority.
    lists: Vec<Arc<CertRevocationList<'static>>>,
    fingerprints: BTreeSet<Fingerprint>,
}

/// The end of a connection that a certificate is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Server,
    Client,
}

impl Trust {
    pub(super) fn new(
        provider: &CryptoProvider,
        roots: &[CertificateDer<'static>],
        chain: &[CertificateDer<'static>],
    ) -> Result<Self, CredentialsError> {
        if roots.is_empty() {
            return Err(Field::Roots.error(Problem::NoCertificate));
        }
        let anchors = roots.iter().map(|root| {
            webpki::anchor_from_trusted_cert(root)
                .map(|anchor| anchor.to_owned())
                .map_err(|error| Field::Roots.error(Problem::Malformed(error)))
        });
        Ok(Self {
            algorithms: provider.signature_verification_algorithms,
            roots: RootCertStore { roots: anchors.collect::<Result<_, _>>()? },
            issuers: roots.iter().chain(chain).cloned().collect(),
            lists: Vec::new(),
            fingerprints: BTreeSet::new(),
        })
    }

    /// The same, with these lists and no others.
    pub(super) fn with_lists(mut self, pem: &[u8]) -> Result<Self, CredentialsError> {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let lists = lists
            .map_err(|error| Field::Revoked.error(Problem::from_pem(error, Problem::NoList)))?;
        if lists.is_empty() {
            return Err(Field::Revoked.error(Problem::NoList));
        }
        self.lists = Vec::new();
        for der in &lists {
            let list: CertRevocationList<'static> = OwnedCertRevocationList::from_der(der)
                .map_err(|error| Field::Revoked.error(Problem::MalformedList(error)))?
                .into();
            // Only the first one of an authority would ever be looked at.
            if self.lists.iter().any(|other| other.issuer() == list.issuer()) {
                return Err(Field::Revoked.error(Problem::SecondList));
            }
            if !self.may_have_issued(&list, der) {
                return Err(Field::Revoked.error(Problem::ForgedList));
            }
            self.lists.push(Arc::new(list));
        }
        Ok(self)
    }

    /// The same, with these certificates refused, and no others by fingerprint.
    pub(super) fn with_fingerprints(mut self, fingerprints: BTreeSet<Fingerprint>) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// Whether each list is of an authority that is known here.
    pub(super) fn knows_the_issuers(&self) -> bool {
        self.lists.iter().all(|list| {
            self.issuers.iter().any(|issuer| {
                let parsed = EndEntityCert::try_from(issuer);
                parsed.is_ok_and(|parsed| parsed.subject() == list.issuer())
            })
        })
    }

    /// Whether a known issuer of the list's name has signed it, or none of that name is known.
    fn may_have_issued(&self, list: &CertRevocationList<'_>, der: &[u8]) -> bool {
        let named = |issuer: &&CertificateDer<'static>| {
            EndEntityCert::try_from(*issuer).is_ok_and(|parsed| parsed.subject() == list.issuer())
        };
        let mut issuers = self.issuers.iter().filter(named).peekable();
        issuers.peek().is_none() || issuers.any(|issuer| self.has_signed(issuer, der))
    }

    fn has_signed(&self, issuer: &CertificateDer<'_>, list: &[u8]) -> bool {
        let signed = || {
            let mut parts = Der(Der(list).take(SEQUENCE)?);
            let (body, _) = parts.take_whole(SEQUENCE)?;
            let algorithm = parts.take(SEQUENCE)?;
            // A bit string begins with the number of its unused bits.
            let [0, signature @ ..] = parts.take(BIT_STRING)? else { return None };
            let issuer = EndEntityCert::try_from(issuer).ok()?;
            let mut candidates = self
                .algorithms
                .all
                .iter()
                .filter(|known| known.signature_alg_id().as_ref() == algorithm);
            let holds =
                candidates.any(|known| issuer.verify_signature(*known, body, signature).is_ok());
            Some(holds)
        };
        signed().unwrap_or(false)
    }

    /// Whether a chain, with the peer's own certificate first, is trusted on that end.
    pub(super) fn judge(
        &self,
        now: UnixTime,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        end: End,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.lists.iter().map(|list| &**list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let usage = match end {
            End::Server => KeyUsage::server_auth(),
            End::Client => KeyUsage::client_auth(),
        };
        let (algorithms, roots) = (self.algorithms.all, &self.roots.roots);
        let parsed = EndEntityCert::try_from(leaf)?;
        parsed
            .verify_for_usage(algorithms, roots, intermediates, now, usage, revocation, None)
            .map(|_| ())?;
        let mut chain = std::iter::once(leaf).chain(intermediates);
        if !self.fingerprints.is_empty()
            && chain.any(|certificate| self.fingerprints.contains(&Fingerprint::of(certificate)))
        {
            return Err(webpki::Error::CertRevoked);
        }
        Ok(())
    }
}

/// What rustls is to tell the peer, by an alert.
pub(super) fn told(error: webpki::Error) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::CertRevoked => CertificateError::Revoked,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.len())
            .field("lists", &self.lists.len())
            .field("fingerprints", &self.fingerprints.len())
            .finish_non_exhaustive()
    }
}
