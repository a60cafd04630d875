//! One lane from a peer: what has arrived, and what of it is settled.
//!
//! Invariant: frames are accepted in order, each once, whatever connection carries them; a settled
//! frame stays settled. The ranges are bounded by what the peer may have unsettled.

use std::collections::BTreeMap;

use super::refusals::Refusals;
use crate::wire::{WireError, control::RANGES_LIMIT};

#[derive(Debug, Default)]
pub(crate) struct Incoming {
    received: u64,
    received_told: u64,
    /// Bytes that have arrived since.
    untold_bytes: u64,
    settled: u64,
    settled_told: u64,
    /// First to last of what is settled beyond `settled`.
    ranges: BTreeMap<u64, u64>,
    ranges_changed: bool,
    refusals: Refusals,
}

/// What is to be told to the peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) received: Option<u64>,
    pub(crate) settled: Option<(u64, Vec<(u64, u64)>)>,
}

impl Incoming {
    /// Everything up to here has arrived.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// So many frames came, one after the other; some may have come before. Returns how many bytes
    /// have come of which the peer was not told.
    ///
    /// # Errors
    ///
    /// When frames before them are missing.
    pub(crate) fn handle_frames(
        &mut self,
        first: u64,
        count: u64,
        bytes: u64,
    ) -> Result<u64, WireError> {
        let due = self.received + 1;
        if first > due {
            return Err(WireError::Gap { due, came: first });
        }
        self.received = self.received.max(first.saturating_add(count).saturating_sub(1));
        self.untold_bytes += bytes;
        Ok(self.untold_bytes)
    }

    /// A frame was handled or rejected. Returns whether it was not settled before.
    pub(crate) fn settle(&mut self, sequence: u64) -> bool {
        if sequence <= self.settled {
            return false;
        }
        if sequence == self.settled + 1 && self.ranges.is_empty() && self.refusals.is_empty() {
            // In the order in which they came, as is most common.
            self.settled = sequence;
            return true;
        }
        let (mut first, mut last) = (sequence, sequence);
        if let Some((&before, &end)) = self.ranges.range(..=sequence).next_back() {
            if end >= sequence {
                return false;
            }
            if end + 1 == sequence {
                self.ranges.remove(&before);
                first = before;
            }
        }
        if let Some(end) = self.ranges.remove(&(sequence + 1)) {
            last = end;
        }
        if first == self.settled + 1 {
            self.settled = last;
            if !self.refusals.is_empty() {
                self.refusals.forget(last);
            }
            // What was told as a range may be part of it now, and so the list has changed.
            self.ranges_changed |= first != last;
        } else {
            self.ranges.insert(first, last);
            self.ranges_changed = true;
        }
        true
    }

    /// A frame is rejected; with a reason for those that follow to its target, if they are to be
    /// rejected too until the peer has seen it.
    pub(crate) fn reject(&mut self, target: u64, sequence: u64, later: Option<u8>) {
        self.refusals.count();
        if let Some(reason) = later {
            self.refusals.refuse(target, sequence, reason);
        }
    }

    /// Whether a message is to be rejected because of an earlier one, and why.
    pub(crate) fn refusal(&self, target: u64, sequence: u64) -> Option<u8> {
        self.refusals.reason(target, sequence)
    }

    /// Whether any target is refused.
    pub(crate) fn refuses(&self) -> bool {
        !self.refusals.is_empty()
    }

    /// The peer has seen this many rejections, and says so at this place.
    ///
    /// # Errors
    ///
    /// When there were not as many.
    pub(crate) fn handle_seen(&mut self, sequence: u64, count: u64) -> Result<(), WireError> {
        if self.refusals.handle_seen(sequence, count) { Ok(()) } else { Err(WireError::Malformed) }
    }

    /// What the peer has not been told yet.
    pub(crate) fn poll_marks(&mut self) -> Marks {
        let received = (self.received != self.received_told).then_some(self.received);
        self.received_told = self.received;
        self.untold_bytes = 0;
        let changed = self.settled != self.settled_told || self.ranges_changed;
        let settled = changed.then(|| {
            let ranges = self.ranges.iter().take(RANGES_LIMIT).map(|(a, b)| (*a, *b)).collect();
            (self.settled, ranges)
        });
        self.settled_told = self.settled;
        self.ranges_changed = false;
        Marks { received, settled }
    }

    /// Whether all that has arrived is settled, and nothing is refused.
    #[cfg(test)]
    pub(crate) fn is_drained(&self) -> bool {
        self.settled == self.received && self.ranges.is_empty() && self.refusals.is_empty()
    }

    /// Tells all again: a new connection knows nothing of what the last one carried.
    pub(crate) fn retell(&mut self) {
        self.received_told = 0;
        self.settled_told = 0;
        self.ranges_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_accepted_in_order_and_once() {
        let mut lane = Incoming::default();
        let mut take = |first, count| {
            lane.handle_frames(first, count, 0)?;
            Ok(lane.received())
        };
        assert_eq!(take(1, 1), Ok(1));
        assert_eq!(take(1, 1), Ok(1), "it has come");
        assert_eq!(take(3, 1), Err(WireError::Gap { due: 2, came: 3 }));
        assert_eq!(take(1, 3), Ok(3), "two of them are new");
        assert_eq!(take(0, 2), Ok(3));
        assert_eq!(lane.poll_marks(), Marks { received: Some(3), settled: None });
        assert_eq!(lane.poll_marks(), Marks::default());
    }

    proptest::proptest! {
        #[test]
        fn settled_is_what_a_plain_set_says(order in proptest::collection::vec(1u64..40, 0..80)) {
            let mut lane = Incoming::default();
            let mut model = std::collections::BTreeSet::new();
            for sequence in order {
                lane.settle(sequence);
                model.insert(sequence);
                lane.retell();
                let (up_to, ranges) = lane.poll_marks().settled.expect("retold");
                let told: std::collections::BTreeSet<u64> = (1..=up_to)
                    .chain(ranges.iter().flat_map(|(first, last)| *first..=*last))
                    .collect();
                proptest::prop_assert_eq!(&told, &model);
                // Ranges never touch: they would be one.
                proptest::prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
                proptest::prop_assert!(ranges.first().is_none_or(|(first, _)| up_to + 1 < *first));
            }
        }
    }
}
