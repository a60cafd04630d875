//! What goes back to its sender on one session, because its target is on another node.
//!
//! ```text
//!  sender                                      receiver
//!  m1 ───────────────────────────────────────> has not the shard: m1 goes back,
//!  m2 ───────────────────────────────────────>   and so does m2, even if it has the shard by now
//!  <──────────────────────────────────── m1, m2
//!  flush, 2 seen ────────────────────────────> 2 went back: takes from this sender again
//!  <───────────────────────────── flushed, 2 moved
//! ```
//!
//! Invariant: once something has gone back on a lane, nothing that follows it there for its shard is taken
//! before the sender has seen it. What goes back is counted for each lane, on both sides alike.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::cluster::placement::Shard;

#[derive(Debug)]
pub(crate) struct Returned {
    /// Of what this node has sent, by the lanes to the peer.
    come_back: Box<[AtomicU64]>,
    /// Of what the peer has sent, by the lanes from there.
    sent_back: Box<[AtomicU64]>,
    /// From which lanes nothing is taken for which shards.
    refused: Mutex<BTreeSet<(usize, Shard)>>,
    /// How many those are, over all peers.
    refusals: Arc<AtomicUsize>,
}

impl Returned {
    pub(super) fn new(lanes_out: usize, lanes_in: usize, refusals: &Arc<AtomicUsize>) -> Self {
        let none = |lanes: usize| (0..lanes.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self {
            come_back: none(lanes_out),
            sent_back: none(lanes_in),
            refused: Mutex::default(),
            refusals: Arc::clone(refusals),
        }
    }

    /// A message for this target is about to go back to the peer. Counted before, so that it is once the
    /// peer knows of it.
    pub(crate) fn sends_back(&self, target: u64) {
        let lane = lane_of(&self.sent_back, target);
        self.sent_back[lane].fetch_add(1, Ordering::AcqRel);
        if self.lock().insert((lane, Shard::of(target))) {
            self.refusals.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// It could not go back, and was rejected.
    pub(crate) fn does_not_send_back(&self, target: u64) {
        self.sent_back[lane_of(&self.sent_back, target)].fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether nothing is taken for this target.
    pub(super) fn refuses(&self, target: u64) -> bool {
        self.lock().contains(&(lane_of(&self.sent_back, target), Shard::of(target)))
    }

    /// The peer has seen so many on the lane of this target, behind all that it had sent there. Gives how
    /// many have gone back.
    pub(crate) fn peer_has_seen(&self, target: u64, seen: u64) -> u64 {
        let lane = lane_of(&self.sent_back, target);
        let moved = self.sent_back[lane].load(Ordering::Acquire);
        if seen == moved {
            let mut refused = self.lock();
            let before = refused.len();
            refused.retain(|(of, _)| *of != lane);
            self.refusals.fetch_sub(before - refused.len(), Ordering::AcqRel);
        }
        moved
    }

    /// A message for this target has come back from the peer, and has its place.
    pub(crate) fn comes_back(&self, target: u64) {
        self.come_back[lane_of(&self.come_back, target)].fetch_add(1, Ordering::AcqRel);
    }

    /// How many have come back on the lane of this target.
    pub(crate) fn come_back(&self, target: u64) -> u64 {
        self.come_back[lane_of(&self.come_back, target)].load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(usize, Shard)>> {
        // Only set operations run under this lock, so a poisoned one guards a whole set.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        let left = self.refused.get_mut().unwrap_or_else(PoisonError::into_inner).len();
        self.refusals.fetch_sub(left, Ordering::AcqRel);
    }
}

fn lane_of(lanes: &[AtomicU64], target: u64) -> usize {
    (target % lanes.len() as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_behind_what_went_back_until_that_was_seen() {
        let refusals = Arc::default();
        let returned = Returned::new(3, 2, &refusals);
        let (first, second) = (4 | 1 << 60, 6 | 1 << 60);
        assert!(!returned.refuses(first));
        returned.sends_back(first);
        returned.sends_back(second);
        assert!(returned.refuses(first) && returned.refuses(8 | 1 << 60), "all of its shard");
        assert!(!returned.refuses(5 | 1 << 60), "of another lane");
        assert!(!returned.refuses(4 | 1 << 61), "of another shard");
        assert_eq!(refusals.load(Ordering::Relaxed), 1);
        assert_eq!(returned.peer_has_seen(0, 1), 2);
        assert!(returned.refuses(first), "it has not seen both");
        assert_eq!(returned.peer_has_seen(1, 0), 0);
        assert!(returned.refuses(first), "that is another lane");
        assert_eq!(returned.peer_has_seen(0, 2), 2);
        assert!(!returned.refuses(first));
        returned.sends_back(first);
        returned.does_not_send_back(first);
        assert_eq!(returned.peer_has_seen(0, 2), 2);
        returned.sends_back(first);
        drop(returned);
        assert_eq!(refusals.load(Ordering::Relaxed), 0, "it is over with the peer");
    }

    #[test]
    fn what_comes_back_is_counted_by_its_lane() {
        let returned = Returned::new(3, 2, &Arc::default());
        [3, 6, 4].into_iter().for_each(|target| returned.comes_back(target));
        assert_eq!([0, 1, 2].map(|lane| returned.come_back(lane)), [2, 1, 0]);
    }
}
