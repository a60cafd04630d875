//! The signals that go ahead of an actor's messages.

use std::sync::atomic::{AtomicU16, Ordering};

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

/// The signals that were raised and have not been taken back. One that is declined leaves those below it.
#[derive(Debug, Default)]
pub(super) struct Raised(AtomicU16);

impl Raised {
    pub(super) fn add(&self, signal: Signal) {
        self.0.fetch_or(bit(signal), Ordering::AcqRel);
    }

    pub(super) fn remove(&self, signal: Signal) {
        self.0.fetch_and(!bit(signal), Ordering::AcqRel);
    }

    /// What they come to.
    pub(super) fn highest(&self) -> Signal {
        let bits = self.0.load(Ordering::Acquire);
        if bits == 0 {
            return Signal::None;
        }
        let raised = ALL.into_iter().filter(|signal| bits & bit(*signal) != 0);
        raised.fold(Signal::None, Signal::and)
    }
}

const ALL: [Signal; 9] = [
    Signal::Passivate,
    Signal::Halt,
    Signal::Linked,
    Signal::Stop,
    Signal::HandOver,
    Signal::Move,
    Signal::NodeStop,
    Signal::Kill,
    Signal::KillForGood,
];

const fn bit(signal: Signal) -> u16 {
    match signal {
        Signal::None => 0,
        raised => 1 << (raised as u8 - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_counts_and_one_that_is_taken_back_leaves_those_below() {
        let raised = Raised::default();
        assert_eq!(raised.highest(), Signal::None);
        for signal in [Signal::None, Signal::Stop, Signal::Passivate, Signal::HandOver] {
            raised.add(signal);
        }
        assert_eq!(raised.highest(), Signal::HandOver);
        raised.remove(Signal::HandOver);
        assert_eq!(raised.highest(), Signal::Stop, "it was told while it was to go");
        raised.remove(Signal::Stop);
        assert_eq!(raised.highest(), Signal::Passivate);
        raised.remove(Signal::Kill);
        assert_eq!(raised.highest(), Signal::Passivate, "what was not raised");
    }

    #[test]
    fn each_signal_alone_is_the_highest() {
        for signal in ALL {
            let raised = Raised::default();
            raised.add(signal);
            assert_eq!(raised.highest(), signal);
        }
    }

    #[test]
    fn one_that_is_killed_and_told_to_end_is_killed_for_good() {
        for told in [Signal::Stop, Signal::HandOver, Signal::Move, Signal::NodeStop] {
            for both in [[told, Signal::Kill], [Signal::Kill, told]] {
                let raised = Raised::default();
                both.iter().for_each(|signal| raised.add(*signal));
                assert_eq!(raised.highest(), Signal::KillForGood, "{both:?}");
            }
        }
        let raised = Raised::default();
        [Signal::Halt, Signal::Kill].iter().for_each(|signal| raised.add(*signal));
        assert_eq!(raised.highest(), Signal::Kill);
    }
}
