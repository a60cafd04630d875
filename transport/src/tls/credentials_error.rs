//! Why credentials cannot be used.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::pem;

/// Credentials that cannot be used. Nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct CredentialsError {
    /// Which part is at fault.
    pub field: Field,
    /// The file it came from, if it came from one.
    pub path: Option<PathBuf>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// A part of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The node's certificate and those between it and a root.
    Chain,
    /// The private key.
    Key,
    /// The trusted roots.
    Roots,
    /// The lists of revoked certificates.
    Revoked,
}

/// What is wrong with a part of credentials.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// It is not PEM.
    Pem(pem::Error),
    /// It holds no certificate.
    NoCertificate,
    /// It holds no private key, or an encrypted one.
    NoKey,
    /// A certificate cannot be parsed.
    Malformed(webpki::Error),
    /// The key is of a kind that is not supported.
    Key(rustls::Error),
    /// The key is not that of the first certificate of the chain.
    KeyMismatch,
    /// The certificate carries no DNS name.
    NoName,
    /// A certificate of the chain has expired.
    Expired,
    /// A certificate of the chain is not valid yet.
    NotYetValid,
    /// The chain leads to none of the roots.
    UnknownAuthority,
    /// The certificate may not authenticate a server, or not a client.
    WrongUsage,
    /// A certificate of the chain has been revoked.
    Revoked,
    /// The chain breaks another rule.
    Chain(webpki::Error),
    /// It holds no revocation list.
    NoList,
    /// A revocation list cannot be parsed, or is of a kind that is not supported.
    MalformedList(webpki::Error),
    /// There are two revocation lists of one authority.
    SecondList,
    /// A revocation list is not signed by the authority it names.
    ForgedList,
}

impl CredentialsError {
    pub(super) fn of(self, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }
}

impl Field {
    pub(super) fn error(self, problem: Problem) -> CredentialsError {
        CredentialsError { field: self, path: None, problem }
    }
}

impl Problem {
    pub(super) fn from_pem(error: pem::Error, nothing: Self) -> Self {
        match error {
            pem::Error::NoItemsFound => nothing,
            error => Self::Pem(error),
        }
    }

    pub(super) fn from_key(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InconsistentKeys(_) => Self::KeyMismatch,
            error => Self::Key(error),
        }
    }

    pub(super) fn from_chain(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            // The second: a root of the right name and another key.
            E::UnknownIssuer | E::InvalidSignatureForPublicKey => Self::UnknownAuthority,
            E::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            E::CertRevoked => Self::Revoked,
            error => Self::Chain(error),
        }
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, path, problem } = self;
        match path {
            Some(path) => write!(f, "{field} ({}): {problem}", path.display()),
            None => write!(f, "{field}: {problem}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "certificate chain",
            Self::Key => "private key",
            Self::Roots => "trusted roots",
            Self::Revoked => "revocation lists",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable(_) => "cannot be read; check that the file exists and is readable",
            Self::Pem(_) => "is not valid PEM; write the file anew",
            Self::NoCertificate => "holds no certificate; give PEM with a CERTIFICATE section",
            Self::NoKey => {
                "holds no usable key; give PEM with an unencrypted PKCS#8, SEC1 or PKCS#1 key"
            }
            Self::Malformed(_) => "holds a malformed certificate; issue it anew",
            Self::Key(_) => "is not supported; use an Ed25519, ECDSA P-256 or P-384, or RSA key",
            Self::KeyMismatch => {
                "does not belong to the first certificate of the chain; give the key the \
                 certificate was issued for, and put the node's own certificate first"
            }
            Self::NoName => {
                "names no node; issue the certificate with the node's name as a DNS name \
                 (subject alternative name)"
            }
            Self::Expired => "has expired; renew it, or set this host's clock right",
            Self::NotYetValid => "is not valid yet; set this host's clock right, or wait",
            Self::UnknownAuthority => {
                "leads to none of the trusted roots; add its authority to the roots, or the \
                 certificates in between to the chain"
            }
            Self::WrongUsage => {
                "may not be used on both ends; issue it for server and client authentication \
                 (extended key usage)"
            }
            Self::Revoked => "has been revoked; issue a new certificate with a new key",
            Self::Chain(_) => "cannot be verified; issue it anew",
            Self::NoList => {
                "hold no list; give PEM with an X509 CRL section, or none if nothing is revoked"
            }
            Self::MalformedList(_) => {
                "hold a list that cannot be used; give complete version 2 lists, not deltas"
            }
            Self::SecondList => {
                "hold two lists of one authority; keep the newest, which names all it has revoked"
            }
            Self::ForgedList => {
                "hold a list that its authority did not sign; get it anew from the authority"
            }
        })
    }
}

impl Error for CredentialsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.problem {
            Problem::Unreadable(error) => Some(error),
            Problem::Pem(error) => Some(error),
            Problem::Malformed(error) | Problem::Chain(error) | Problem::MalformedList(error) => {
                Some(error)
            }
            Problem::Key(error) => Some(error),
            _ => None,
        }
    }
}
