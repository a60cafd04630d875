//! Targets that take nothing more on a lane, because something before was rejected.
//!
//! ```text
//!  sender    m1 m2 ............ sees "m1 rejected" ── Seen(1) m1' ──>
//!  receiver  m1 rejected, so m2 is rejected too ......... Seen(1): m1' is taken
//! ```
//!
//! Invariant: no message for a target is taken that was sent after a rejected one and before the
//! sender's word that it has seen the rejection, so that a repeat never comes behind what was sent
//! after it. That holds whenever it is asked: the message may have waited until long after the word.
//! Knows no frame: callers ask by sequence number.

use std::collections::BTreeMap;

/// How many targets of one lane are told apart; beyond, all of the lane's are refused.
pub(crate) const TARGETS_LIMIT: usize = 16_384;

/// The targets of one incoming lane that are refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// How many rejections were sent on this lane.
    sent: u64,
    /// How many of them the sender has seen.
    seen: u64,
    targets: BTreeMap<u64, Refused>,
    /// Set while there are too many targets: then every target is refused like this.
    all: Option<Refused>,
    /// No refusal ends before this.
    first_end: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// What came after this sequence number is refused.
    after: u64,
    /// The rejection that the sender has to have seen.
    until: u64,
    /// Where in the lane it said so: what comes after this sequence number is taken again.
    end: Option<u64>,
    /// The reason that later messages are rejected with.
    reason: u8,
}

impl Refusals {
    /// A frame was rejected.
    pub(crate) fn count(&mut self) {
        self.sent += 1;
    }

    /// Refuses all of a target that came after `sequence`, which was the last to be counted.
    pub(crate) fn refuse(&mut self, target: u64, sequence: u64, reason: u8) {
        let until = self.sent;
        let new = Refused { after: sequence, until, end: None, reason };
        if let Some(refused) = self.targets.get_mut(&target) {
            refused.renew(&new);
        } else if self.targets.len() < TARGETS_LIMIT {
            self.targets.insert(target, new);
        } else {
            self.all.get_or_insert(new).renew(&new);
        }
    }

    /// Whether a message is to be rejected, and why.
    pub(crate) fn reason(&self, target: u64, sequence: u64) -> Option<u8> {
        let refused = self.targets.get(&target).into_iter().chain(&self.all);
        refused.filter(|refused| refused.covers(sequence)).map(|refused| refused.reason).next()
    }

    /// At `sequence`, the sender says that it has seen the first `count` rejections. `false` if
    /// there were not as many, or more were seen before.
    pub(crate) fn handle_seen(&mut self, sequence: u64, count: u64) -> bool {
        if count > self.sent || count < self.seen {
            return false;
        }
        if count == self.seen {
            // Nothing waits for what was seen before.
            return true;
        }
        self.seen = count;
        for refused in self.targets.values_mut().chain(&mut self.all) {
            if refused.until <= count {
                refused.end.get_or_insert(sequence);
                self.first_end.get_or_insert(sequence);
            }
        }
        true
    }

    /// All up to `sequence` is settled: nobody will ask about it any more.
    pub(crate) fn forget(&mut self, sequence: u64) {
        if self.first_end.is_none_or(|end| sequence < end) {
            return;
        }
        let is_over = |refused: &Refused| refused.end.is_some_and(|end| end <= sequence);
        self.targets.retain(|_, refused| !is_over(refused));
        self.all.take_if(|refused| is_over(refused));
        let ends = self.targets.values().chain(&self.all).filter_map(|refused| refused.end);
        self.first_end = ends.min();
    }

    /// Whether nothing is refused.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.all.is_none()
    }
}

impl Refused {
    /// One more rejection is to be seen.
    fn renew(&mut self, new: &Self) {
        self.after = self.after.min(new.after);
        self.until = new.until;
        self.end = None;
    }

    fn covers(&self, sequence: u64) -> bool {
        self.after < sequence && self.end.is_none_or(|end| sequence < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_rejection_is_refused_until_it_was_seen() {
        let mut refusals = Refusals::default();
        refusals.count();
        refusals.refuse(7, 10, 3);
        assert_eq!(refusals.reason(7, 10), None, "what was sent before goes on");
        assert_eq!(refusals.reason(7, 11), Some(3));
        assert_eq!(refusals.reason(8, 11), None, "so do other targets");
        // The later one is rejected in turn, and has to be seen as well.
        refusals.count();
        refusals.refuse(7, 11, 3);
        assert!(refusals.handle_seen(12, 1));
        assert_eq!(refusals.reason(7, 13), Some(3));
        assert!(refusals.handle_seen(14, 2));
        assert_eq!(refusals.reason(7, 15), None);
        assert_eq!(refusals.reason(7, 13), Some(3), "however late it is asked");
        refusals.forget(13);
        assert!(!refusals.is_empty());
        refusals.forget(14);
        assert!(refusals.is_empty());
    }

    #[test]
    fn what_was_never_rejected_cannot_have_been_seen() {
        let mut refusals = Refusals::default();
        assert!(!refusals.handle_seen(1, 1));
        refusals.count();
        assert!(refusals.handle_seen(1, 1) && refusals.handle_seen(2, 1));
        assert!(!refusals.handle_seen(3, 0));
    }

    #[test]
    fn too_many_targets_close_the_lane_until_all_was_seen() {
        let mut refusals = Refusals::default();
        let many = TARGETS_LIMIT as u64;
        for target in 0..many {
            refusals.count();
            refusals.refuse(target, 1, 3);
        }
        assert_eq!(refusals.reason(u64::MAX, 9), None);
        refusals.count();
        refusals.refuse(u64::MAX - 1, 2, 4);
        assert_eq!(refusals.reason(u64::MAX, 9), Some(4));
        assert!(refusals.handle_seen(9, many));
        assert_eq!(refusals.reason(u64::MAX, 10), Some(4));
        assert!(refusals.handle_seen(11, many + 1));
        assert_eq!(refusals.reason(u64::MAX, 12), None);
        refusals.forget(11);
        assert!(refusals.is_empty());
    }
}
