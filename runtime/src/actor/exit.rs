//! Why an actor ended.

use std::fmt;

use super::mailbox::ActorId;
use crate::watch::TerminatedReason;

/// Why an actor ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It stopped itself, or was asked to stop.
    Stopped,
    /// It was killed: no hook ran.
    Killed,
    /// It was idle, or asked to be passivated; its next message activates it again.
    Passivated,
    /// Its shard has another owner now.
    Moved,
    /// Its node is shutting down.
    NodeStopped,
    /// It panicked, and its supervisor did not restart it (again).
    Panicked {
        /// What the last panic said; at most 4 KiB.
        message: String,
        /// Where it was: file, line and column. `None` if the process's panic hook is not ours
        /// ([`NodeBuilder::without_panic_hook`](crate::NodeBuilder::without_panic_hook)).
        location: Option<String>,
        /// How many restarts came before.
        restarts: u32,
    },
    /// It could not be loaded, and its supervisor did not restart it (again).
    FailedToStart {
        /// What the last error said, and what its causes said; at most 4 KiB.
        error: String,
        /// How many restarts came before.
        restarts: u32,
    },
    /// It failed itself ([`ClusterContext::fail`](crate::ClusterContext::fail)), and its supervisor
    /// did not restart it (again).
    Failed {
        /// What the last error said, and what its causes said; at most 4 KiB.
        error: String,
        /// How many restarts came before.
        restarts: u32,
    },
    /// Its instance failed because one that it was linked to did, and its supervisor did not restart it
    /// (again).
    Linked {
        /// How that one ended.
        reason: TerminatedReason,
    },
    /// A supervisor whose children failed more often than its intensity grants. It stopped them all.
    GaveUp {
        /// The child that failed last.
        child: ActorId,
    },
}

impl ExitReason {
    /// Whether a supervisor counts this as a failure.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Panicked { .. } | Self::FailedToStart { .. } | Self::Failed { .. } => true,
            Self::Killed | Self::Linked { .. } | Self::GaveUp { .. } => true,
            Self::Stopped | Self::Passivated | Self::Moved | Self::NodeStopped => false,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Killed => f.write_str("killed"),
            Self::Passivated => f.write_str("passivated"),
            Self::Moved => f.write_str("moved"),
            Self::NodeStopped => f.write_str("node stopped"),
            Self::Panicked { message, location: None, restarts } => {
                write!(f, "panicked after {restarts} restarts: {message}")
            }
            Self::Panicked { message, location: Some(location), restarts } => {
                write!(f, "panicked after {restarts} restarts at {location}: {message}")
            }
            Self::FailedToStart { error, restarts } => {
                write!(f, "failed to start after {restarts} restarts: {error}")
            }
            Self::Failed { error, restarts } => {
                write!(f, "failed after {restarts} restarts: {error}")
            }
            Self::Linked { reason } => write!(f, "failed with a linked actor: {reason}"),
            Self::GaveUp { child } => write!(f, "gave up: child {child} failed too often"),
        }
    }
}
