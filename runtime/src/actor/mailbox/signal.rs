//! The signals that go ahead of an actor's messages.

/// What an activation is asked to do before it looks at messages. The higher one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Signal {
    #[default]
    None = 0,
    /// End if there is nothing to do.
    Passivate = 1,
    /// Stop the instance, which may take its time: the supervisor says so, and keeps the mailbox.
    Halt = 2,
    /// Drop the instance, because one that it is linked to has failed. It may be restarted.
    Linked = 3,
    /// Run the stopping hooks, then end.
    Stop = 4,
    /// As `Move`, once what has been begun is done.
    HandOver = 5,
    /// As `Stop`, because the shard has another owner.
    Move = 6,
    /// As `Stop`, because the node shuts down.
    NodeStop = 7,
    /// Drop the instance: no hook runs. A supervisor may start another.
    Kill = 8,
    /// As `Kill`, of one that was told to end for good.
    KillForGood = 9,
}

impl Signal {
    pub(super) fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Passivate,
            2 => Self::Halt,
            3 => Self::Linked,
            4 => Self::Stop,
            5 => Self::HandOver,
            6 => Self::Move,
            7 => Self::NodeStop,
            8 => Self::Kill,
            9 => Self::KillForGood,
            _ => Self::None,
        }
    }

    /// What two signals come to.
    pub(crate) fn and(self, other: Self) -> Self {
        let has_kill = [self, other].contains(&Self::Kill);
        if has_kill && (self.ends_for_good() || other.ends_for_good()) {
            return Self::KillForGood;
        }
        self.max(other)
    }

    /// Whether no supervisor is asked when the actor has ended by it.
    pub(crate) fn ends_for_good(self) -> bool {
        use Signal::{HandOver, KillForGood, Move, NodeStop, Stop};
        matches!(self, Stop | HandOver | Move | NodeStop | KillForGood)
    }
}
