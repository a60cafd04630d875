//! When the peer is to be told of marks: at once, or with what goes to it next.
//!
//! A mark in a packet of its own costs both ends a system call. What frees a sender's budget is told
//! at once. What only says that bytes and answers have arrived may wait for [`LATEST`], or until a
//! lane is written, whose packet has room for it; unless a sender of this end waits for room: what
//! was told may give it some.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

/// How long a mark may wait to be told.
pub(crate) const LATEST: Duration = Duration::from_millis(1);

/// How many bytes may have arrived on a lane and not be told: at most half of what a lane's sender
/// keeps, by the rules for [`TransportConfig::lane_bytes`](crate::TransportConfig::lane_bytes).
pub(super) const UNTOLD_BYTES: u64 = 32 * 1024;

/// How soon marks are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Urgency {
    Later = 1,
    /// A lane is being written: in its packet.
    Along = 2,
    Now = 3,
}

/// Marks that have changed and were not collected.
#[derive(Debug, Default)]
pub(super) struct Untold(AtomicU8);

impl Untold {
    /// Marks have changed. Returns whether who collects them is to be woken.
    ///
    /// A look is enough mostly. Marks change under their lane's lock: who collects them has either
    /// taken the word before it took that lock, and then it is seen here that nobody has it any more,
    /// or takes the lock after the change.
    pub(super) fn tell(&self, urgency: Urgency) -> bool {
        self.0.load(Ordering::Acquire) < urgency as u8
            && self.0.fetch_max(urgency as u8, Ordering::AcqRel) < urgency as u8
    }

    /// Takes the word, if marks are due: at once, along with a lane, or `with` something else that
    /// goes to the peer.
    pub(super) fn take(&self, with: bool) -> bool {
        let least = if with { Urgency::Later } else { Urgency::Along };
        self.0.load(Ordering::Acquire) >= least as u8 && self.0.swap(0, Ordering::AcqRel) > 0
    }

    /// Whether some are to be told now.
    pub(super) fn is_due(&self) -> bool {
        self.0.load(Ordering::Acquire) == Urgency::Now as u8
    }

    /// Whether some are to be told later.
    pub(super) fn waits(&self) -> bool {
        self.0.load(Ordering::Acquire) == Urgency::Later as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_wait_goes_with_something_else_or_once_it_may_not() {
        let untold = Untold::default();
        assert!(!untold.take(true), "nothing has changed");
        assert!(untold.tell(Urgency::Later) && !untold.tell(Urgency::Later));
        assert!(untold.waits() && !untold.take(false));
        assert!(untold.take(true) && !untold.waits());
        assert!(untold.tell(Urgency::Later) && !untold.is_due() && untold.tell(Urgency::Now));
        assert!(untold.is_due() && !untold.waits() && !untold.tell(Urgency::Later));
        assert!(untold.take(false) && !untold.take(true) && !untold.is_due());
    }

    #[test]
    fn what_goes_along_with_a_lane_is_taken_without_waiting_for_others() {
        let untold = Untold::default();
        assert!(untold.tell(Urgency::Later) && untold.tell(Urgency::Along));
        assert!(!untold.is_due() && !untold.waits() && !untold.tell(Urgency::Later));
        assert!(untold.take(false) && !untold.take(true));
    }
}
