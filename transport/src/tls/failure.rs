//! Why a TLS handshake failed, as far as either end says.

use std::fmt;

use quinn::ConnectionError;

/// A failed TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFailure {
    /// Which end found fault with the other.
    pub refused_by: Refuser,
    /// What the fault is.
    pub reason: TlsReason,
}

/// An end of a connection that refuses the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// This node refuses the peer.
    Here,
    /// The peer refuses this node.
    Peer,
}

/// Why one end of a connection refuses the other. Derived from TLS alerts, which is all that the
/// refused end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsReason {
    /// The certificate is of an authority that the refusing end does not trust.
    UnknownAuthority,
    /// The certificate has expired, or is not valid yet: the alert is the same.
    OutOfValidity,
    /// No certificate was shown.
    ///
    /// With TLS 1.3 a client learns this after its side of the handshake has succeeded.
    MissingCertificate,
    /// The certificate may not be used on this end of a connection.
    WrongUsage,
    /// The certificate has been revoked.
    Revoked,
    /// A signature is wrong: that of the certificate, or that of the handshake.
    BadSignature,
    /// The certificate cannot be understood.
    BadCertificate,
    /// The other end does not speak this protocol.
    NoCommonProtocol,
    /// Another alert, by its number in TLS.
    Other(u8),
}

/// The TLS failure behind a connection's end, if there is one.
pub(crate) fn explain(error: &ConnectionError) -> Option<TlsFailure> {
    let (refused_by, code) = match error {
        ConnectionError::TransportError(error) => (Refuser::Here, error.code),
        ConnectionError::ConnectionClosed(close) => (Refuser::Peer, close.error_code),
        _ => return None,
    };
    // RFC 9001, section 4.8: 0x100 and the alert.
    let alert = u64::from(code).checked_sub(0x100)?;
    let reason = TlsReason::from_alert(u8::try_from(alert).ok()?);
    Some(TlsFailure { refused_by, reason })
}

impl TlsReason {
    /// Why a certificate that was trusted is so no longer.
    pub(super) fn from_judgement(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } | E::CertNotValidYet { .. } | E::InvalidCertValidity => {
                Self::OutOfValidity
            }
            E::UnknownIssuer => Self::UnknownAuthority,
            E::InvalidSignatureForPublicKey => Self::BadSignature,
            E::CertRevoked => Self::Revoked,
            E::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            _ => Self::BadCertificate,
        }
    }

    /// What a peer is told whose connection is closed for it after the handshake.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Revoked => "the peer's certificate has been revoked",
            Self::OutOfValidity => "the peer's certificate has expired",
            Self::UnknownAuthority => "the peer's authority is trusted no longer",
            _ => "the peer's certificate is trusted no longer",
        }
    }

    /// As rustls chooses its alerts.
    fn from_alert(alert: u8) -> Self {
        match alert {
            42 | 46 => Self::BadCertificate,
            43 => Self::WrongUsage,
            44 => Self::Revoked,
            45 => Self::OutOfValidity,
            48 => Self::UnknownAuthority,
            51 => Self::BadSignature,
            116 => Self::MissingCertificate,
            120 => Self::NoCommonProtocol,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (refused, refuser) = match self.refused_by {
            Refuser::Here => ("the peer", "this node"),
            Refuser::Peer => ("this node", "the peer"),
        };
        match self.reason {
            TlsReason::UnknownAuthority => write!(
                f,
                "{refuser} does not trust the authority of {refused}'s certificate; add it to \
                 {refuser}'s roots, or take the certificates of both from one authority"
            ),
            TlsReason::OutOfValidity => write!(
                f,
                "{refused}'s certificate has expired or is not valid yet; renew it, or set the \
                 clocks of both hosts right"
            ),
            TlsReason::MissingCertificate => write!(
                f,
                "{refused} showed no certificate; a node always shows one: check what dials here"
            ),
            TlsReason::WrongUsage => write!(
                f,
                "{refused}'s certificate may not be used on its end; issue it for server and \
                 client authentication (extended key usage)"
            ),
            TlsReason::Revoked => {
                write!(
                    f,
                    "{refused}'s certificate has been revoked; issue a new one with a new key, if \
                     the node is to come back"
                )
            }
            TlsReason::BadSignature => write!(
                f,
                "{refused}'s certificate or handshake is not signed by the key it names; issue \
                 the certificate anew, and check that {refuser}'s roots are current"
            ),
            TlsReason::BadCertificate => {
                write!(f, "{refuser} cannot use {refused}'s certificate; issue it anew")
            }
            TlsReason::NoCommonProtocol => write!(
                f,
                "{refuser} and {refused} have no protocol in common; check that the address is \
                 that of a node, and its release"
            ),
            TlsReason::Other(alert) => {
                write!(f, "{refuser} ended the handshake with {refused} by TLS alert {alert}")
            }
        }
    }
}

impl std::error::Error for TlsFailure {}
