//! How a message can fail, by the one question that decides about a repeat: can it have run?

use std::fmt;

use actix_cluster_transport::Later;

use crate::{call::CallChain, message::RemoteMessage};

/// Why a message did not run. It is safe to send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The target had no room, within the time allowed. Send less, or wait longer; one that lets
    /// nobody wait ([`Overflow::RejectNewest`](crate::Overflow::RejectNewest)) says so at once.
    Full,
    /// The target has stopped, or was killed.
    Stopped,
    /// The target failed too often: its supervisor gave up on it.
    Failed,
    /// The target is passivated. Only a reference to that one activation sees it: an entity's
    /// reference activates it again.
    Passivated,
    /// The target's shard has another owner now.
    Moved,
    /// The target's node is shutting down, or has ended a life that was declared down, and the target
    /// with it.
    NodeStopped,
    /// The deadline passed before the message's turn came.
    Expired,
    /// The asker went away before the message's turn came.
    Cancelled,
    /// No actor of that type has this id on that incarnation of its node.
    NoSuchActor,
    /// The target's node is not a member, or cannot be reached. Nothing was written to it.
    Unreachable,
    /// The message is too large, or serde refuses it.
    Unsendable,
    /// The target's node does not know the message, or knows it by another shape. Register it
    /// there, or give the change a new version.
    Mismatch,
    /// An earlier message from this node to the same target was rejected, and this one was sent
    /// before that was known. It is rejected too, so that the earlier one can be repeated in order.
    EarlierRejected,
    /// The target had no room, and drops what has waited longest for something newer: this one
    /// ([`Overflow::DropOldest`](crate::Overflow::DropOldest)).
    Displaced,
    /// The entity could not be loaded, and isn't tried again before a wait is over. Send it again
    /// later: the first message after the wait has the entity loaded.
    LoadFailed,
    /// The target waits for the answer of the very ask that was to be forwarded to it.
    Cycle,
    /// An interceptor, of the sender's node or of the target's, turned it away.
    Refused,
}

impl RejectReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Full,
        Self::Stopped,
        Self::Failed,
        Self::Passivated,
        Self::Moved,
        Self::NodeStopped,
        Self::Expired,
        Self::Cancelled,
        Self::NoSuchActor,
        Self::Unreachable,
        Self::Unsendable,
        Self::Mismatch,
        Self::EarlierRejected,
        Self::Displaced,
        Self::LoadFailed,
        Self::Cycle,
        Self::Refused,
    ];

    /// The reason that a peer sent as a number; numbers of later releases say the least.
    pub(crate) fn from_wire(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Mismatch)
    }

    /// What becomes of later messages for the same target, when one from another node is rejected.
    ///
    /// They are rejected too until the sender has seen it. Not so if the sender gave the message up
    /// itself, or an interceptor refused it, for nobody repeats it in its order then; nor if it made
    /// room for a later one, which is what the target wants; nor if the target has moved, for then all
    /// of them are sent on.
    pub(crate) fn later(self) -> Later {
        match self {
            Self::Expired | Self::Cancelled | Self::Moved | Self::Displaced | Self::Refused => {
                Later::Deliver
            }
            _ => Later::Reject(Self::EarlierRejected as u8),
        }
    }

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Passivated => "passivated",
            Self::Moved => "moved",
            Self::NodeStopped => "node stopped",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::NoSuchActor => "no such actor",
            Self::Unreachable => "unreachable",
            Self::Unsendable => "unsendable",
            Self::Mismatch => "mismatch",
            Self::EarlierRejected => "earlier rejected",
            Self::Displaced => "displaced",
            Self::LoadFailed => "load failed",
            Self::Cycle => "cycle",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why nobody knows whether a message ran. Send it again only if running twice does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UnknownReason {
    /// Its handler panicked.
    Panicked,
    /// Its turn came, and the reply was dropped: the actor stopped, or forgot it.
    NoReply,
    /// The deadline passed after the message's turn had begun, or before anything was heard.
    Deadline,
    /// Its node went down, left, or was declared down before it was settled.
    NodeDown,
    /// It ran, and its reply could not be written or read.
    BadReply,
    /// It ran, and too many replies were waiting for the asker's node to take a long one more.
    RepliesFull,
    /// Its asker went away while its handler awaited, and the handler was dropped there. Nobody hears
    /// it: it is counted.
    Cancelled,
}

impl UnknownReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Panicked,
        Self::NoReply,
        Self::Deadline,
        Self::NodeDown,
        Self::BadReply,
        Self::RepliesFull,
        Self::Cancelled,
    ];

    /// The reason that a peer sent as a number; numbers of later releases say the least.
    pub(crate) fn from_wire(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::NoReply)
    }

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::NoReply => "no reply",
            Self::Deadline => "deadline",
            Self::NodeDown => "node down",
            Self::BadReply => "bad reply",
            Self::RepliesFull => "replies full",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that was not accepted: it did not run, and here it is.
pub struct TellError<M> {
    /// Why.
    pub reason: RejectReason,
    /// The message, given back.
    pub message: M,
}

impl<M> TellError<M> {
    /// The message, given back.
    pub fn into_message(self) -> M {
        self.message
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TellError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message not accepted: {}", self.reason)
    }
}

impl<M> std::error::Error for TellError<M> {}

/// How an ask can fail.
#[non_exhaustive]
pub enum AskError<M: RemoteMessage> {
    /// It did not run: repeating it is safe, and here it is.
    Rejected {
        /// Why.
        reason: RejectReason,
        /// The message, given back.
        message: M,
    },
    /// It did not run: its target waits for the answer of this very ask, so neither could go on.
    Cycle {
        /// Who waits for whom.
        chain: CallChain,
        /// The message, given back.
        message: M,
    },
    /// It may have run: repeat it only if running twice does no harm.
    Unknown(UnknownReason),
    /// It ran, and this is the handler's own error.
    Handler(M::Error),
}

impl<M: RemoteMessage> AskError<M> {
    /// The message, if it did not run.
    pub fn into_message(self) -> Option<M> {
        match self {
            Self::Rejected { message, .. } | Self::Cycle { message, .. } => Some(message),
            Self::Unknown(_) | Self::Handler(_) => None,
        }
    }

    /// Whether the message may have run without an answer having come.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

impl<M: RemoteMessage> fmt::Debug for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { reason, .. } => {
                f.debug_struct("Rejected").field("reason", reason).finish_non_exhaustive()
            }
            Self::Cycle { chain, .. } => {
                f.debug_struct("Cycle").field("chain", chain).finish_non_exhaustive()
            }
            Self::Unknown(reason) => f.debug_tuple("Unknown").field(reason).finish(),
            Self::Handler(_) => f.write_str("Handler(..)"),
        }
    }
}

impl<M: RemoteMessage> fmt::Display for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { reason, .. } => write!(f, "{} did not run: {reason}", M::NAME),
            Self::Cycle { chain, .. } => write!(f, "{} did not run: a cycle, {chain}", M::NAME),
            Self::Unknown(reason) => write!(f, "{} may have run: {reason}", M::NAME),
            Self::Handler(_) => write!(f, "{} failed in its handler", M::NAME),
        }
    }
}

impl<M: RemoteMessage<Error: std::error::Error>> std::error::Error for AskError<M> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handler(error) => Some(error),
            Self::Rejected { .. } | Self::Cycle { .. } | Self::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reasons_number_is_its_place_in_the_list() {
        for (place, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason}");
            assert_eq!(RejectReason::from_wire(place as u8), reason);
        }
        assert_eq!(RejectReason::Displaced as u8, 13, "numbers that have been on the wire stay");
        assert_eq!(RejectReason::LoadFailed as u8, 14);
        assert_eq!(RejectReason::Cycle as u8, 15);
        assert_eq!(RejectReason::Refused as u8, 16);
    }

    #[test]
    fn what_comes_behind_a_displaced_message_runs() {
        assert_eq!(RejectReason::Displaced.later(), Later::Deliver);
        let earlier = RejectReason::EarlierRejected as u8;
        assert_eq!(RejectReason::Full.later(), Later::Reject(earlier));
    }
}
