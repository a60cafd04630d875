//! The names that a peer's certificate allows it.

use std::{any::Any, fmt};

use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use webpki::EndEntityCert;

use crate::identity::NodeName;

/// A peer whose certificate does not give it the name it goes by. It may send nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The connection shows no certificate, or one that cannot be parsed.
    NoCertificate,
    /// The certificate is for other names.
    NotNamed {
        /// The name the peer goes by.
        claimed: NodeName,
        /// The first names of its certificate.
        names: Vec<String>,
    },
}

/// How many names of a wrong certificate are kept for its error.
const SHOWN: usize = 8;

/// Whether the certificate of a connection is valid for the name the peer goes by.
///
/// `certificates` is what [`quinn::Connection::peer_identity`] returns. The certificate itself was
/// verified when the connection was made.
pub(crate) fn peer_names_allow(
    certificates: &dyn Any,
    name: &NodeName,
) -> Result<(), IdentityError> {
    let certificates = certificates.downcast_ref::<Vec<CertificateDer<'static>>>();
    let Some(leaf) = certificates.and_then(|chain| chain.first()) else {
        return Err(IdentityError::NoCertificate);
    };
    certificate_allows(leaf, name)
}

/// Whether a certificate is valid for a name, by a wildcard or exactly.
pub(super) fn certificate_allows(
    leaf: &CertificateDer<'_>,
    name: &NodeName,
) -> Result<(), IdentityError> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| IdentityError::NoCertificate)?;
    let allowed = DnsName::try_from(name.as_str())
        .is_ok_and(|dns| leaf.verify_is_valid_for_subject_name(&ServerName::DnsName(dns)).is_ok());
    if allowed {
        return Ok(());
    }
    let names = leaf.valid_dns_names().take(SHOWN).map(str::to_owned).collect();
    Err(IdentityError::NotNamed { claimed: name.clone(), names })
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => {
                f.write_str("the peer has no readable certificate; issue one that names it")
            }
            Self::NotNamed { claimed, names } => write!(
                f,
                "the peer goes by {claimed} and its certificate is for {names:?}; issue one for \
                 {claimed}, or correct the node's name"
            ),
        }
    }
}

impl std::error::Error for IdentityError {}
