//! Why a watched actor has ended, as far as its watcher is told.

use std::fmt;

use crate::actor::ExitReason;

/// Why an actor that was watched has ended.
///
/// An actor that is restarted has not ended: its watchers hear nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TerminatedReason {
    /// It stopped itself, or was asked to stop.
    Stopped,
    /// It panicked, and was not restarted (again).
    Panicked,
    /// It failed itself, or could not be loaded, and was not restarted (again).
    Failed,
    /// It was killed.
    Killed,
    /// It is a supervisor that gave up. Told of linked actors only, since no reference leads to one.
    GaveUp,
    /// It failed because an actor that it was linked to did.
    Linked,
    /// It was an entity's activation, and was passivated. The next message to the entity makes
    /// another one, which is not watched.
    Passivated,
    /// It was an entity's activation, and its shard has another owner now.
    Moved,
    /// Its node was shut down.
    NodeStopped,
    /// Its node was killed or declared down, or has left, before it said anything else of the actor;
    /// or was so already when the watch was set.
    NodeDown,
    /// The entity was not active when the watch came to its owner.
    NotActive,
    /// Its node has never had an actor of that number and type.
    NeverExisted,
    /// It had ended before the watch came to its node, which remembers no reason; or its node takes
    /// no more watches; or the watcher's own node was shut down meanwhile.
    Unknown,
}

impl TerminatedReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Stopped,
        Self::Panicked,
        Self::Failed,
        Self::Killed,
        Self::GaveUp,
        Self::Linked,
        Self::Passivated,
        Self::Moved,
        Self::NodeStopped,
        Self::NodeDown,
        Self::NotActive,
        Self::NeverExisted,
        Self::Unknown,
    ];

    /// The reason that a peer sent as a number; numbers of later releases say the least.
    pub(crate) fn from_wire(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Unknown)
    }

    /// Whether the actor failed, or may have: then those that are linked to it fail too.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Panicked
            | Self::Failed
            | Self::Killed
            | Self::GaveUp
            | Self::Linked
            | Self::NodeDown
            | Self::NeverExisted
            | Self::Unknown => true,
            Self::Stopped
            | Self::Passivated
            | Self::Moved
            | Self::NodeStopped
            | Self::NotActive => false,
        }
    }

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Panicked => "panicked",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::GaveUp => "gave up",
            Self::Linked => "linked",
            Self::Passivated => "passivated",
            Self::Moved => "moved",
            Self::NodeStopped => "node stopped",
            Self::NodeDown => "node down",
            Self::NotActive => "not active",
            Self::NeverExisted => "never existed",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&ExitReason> for TerminatedReason {
    fn from(reason: &ExitReason) -> Self {
        match reason {
            ExitReason::Stopped => Self::Stopped,
            ExitReason::Killed => Self::Killed,
            ExitReason::Passivated => Self::Passivated,
            ExitReason::Moved => Self::Moved,
            ExitReason::NodeStopped => Self::NodeStopped,
            ExitReason::Panicked { .. } => Self::Panicked,
            ExitReason::Failed { .. } | ExitReason::FailedToStart { .. } => Self::Failed,
            ExitReason::GaveUp { .. } => Self::GaveUp,
            ExitReason::Linked { .. } => Self::Linked,
        }
    }
}

impl fmt::Display for TerminatedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::ActorId;

    #[test]
    fn a_reasons_number_is_its_place_in_the_list() {
        for (place, reason) in TerminatedReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason}");
            assert_eq!(TerminatedReason::from_wire(place as u8), reason);
        }
        assert_eq!(TerminatedReason::from_wire(255), TerminatedReason::Unknown);
        assert_eq!(TerminatedReason::Unknown as u8, 12, "numbers that have been on the wire stay");
    }

    #[test]
    fn what_a_supervisor_counts_as_a_failure_is_one_to_those_who_are_linked() {
        for exit in [
            ExitReason::Stopped,
            ExitReason::Killed,
            ExitReason::Passivated,
            ExitReason::Moved,
            ExitReason::NodeStopped,
            ExitReason::Panicked { message: String::new(), location: None, restarts: 0 },
            ExitReason::FailedToStart { error: String::new(), restarts: 0 },
            ExitReason::Failed { error: String::new(), restarts: 0 },
            ExitReason::GaveUp { child: ActorId(1) },
            ExitReason::Linked { reason: TerminatedReason::Killed },
        ] {
            assert_eq!(TerminatedReason::from(&exit).is_failure(), exit.is_failure(), "{exit}");
        }
    }
}
