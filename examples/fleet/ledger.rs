//! What an entity has applied: the bookkeeping that makes the totals exact.
//!
//! An entity's own entries (rows of an aircraft, visits of an airport) are numbered, and a batch is
//! a range of numbers. The ledger holds a mark, below which every own entry is applied, and the
//! set of those that are applied in the current batch.
//!
//! Invariant: each own entry is applied at most once, and before anything of a later batch is
//! applied, exactly once: by a message, or else from the file. So an activation is exact by itself,
//! whatever was lost, doubled or late before it began.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How often what happened to an entity's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Applied because a message said so.
    pub(crate) by_message: u64,
    /// Applied from the file, because no message had.
    pub(crate) by_rebuild: u64,
    /// Messages whose entry was applied before.
    pub(crate) duplicates: u64,
    /// Messages of earlier batches.
    pub(crate) stale: u64,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Apply it.
    Apply,
    /// It is applied already; what depends on it may not be.
    Duplicate,
    /// Its batch is over, and all that was in it is applied.
    Stale,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    batch: u32,
    /// How many own entries, of earlier batches, are applied.
    done: usize,
    applied: BTreeSet<u32>,
    pub(crate) counts: Counts,
}

impl Ledger {
    /// Completes all own entries below `start`, where batch `batch` begins; `rebuild` applies those
    /// that no message has applied.
    pub(crate) fn advance(
        &mut self,
        batch: u32,
        start: u32,
        own: &[u32],
        mut rebuild: impl FnMut(u32),
    ) {
        if batch <= self.batch {
            return;
        }
        while let Some(entry) = own.get(self.done).filter(|entry| **entry < start) {
            if !self.applied.remove(entry) {
                self.counts.by_rebuild += 1;
                rebuild(*entry);
            }
            self.done += 1;
        }
        self.batch = batch;
    }

    /// Decides about an entry that a message of `batch` brings; call [`advance`](Self::advance)
    /// first.
    pub(crate) fn accept(&mut self, batch: u32, entry: u32) -> Verdict {
        if batch < self.batch {
            self.counts.stale += 1;
            return Verdict::Stale;
        }
        if self.applied.insert(entry) {
            self.counts.by_message += 1;
            Verdict::Apply
        } else {
            self.counts.duplicates += 1;
            Verdict::Duplicate
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u32; 6] = [1, 4, 11, 12, 25, 31];

    /// Plays messages of batches of ten entries, and gives what was applied, in order.
    fn play(messages: &[(u32, u32)], end: u32) -> (Vec<u32>, Counts) {
        let mut ledger = Ledger::default();
        let mut applied = Vec::new();
        for (batch, entry) in messages {
            ledger.advance(*batch, batch * 10, &OWN, |entry| applied.push(entry));
            if ledger.accept(*batch, *entry) == Verdict::Apply {
                applied.push(*entry);
            }
        }
        ledger.advance(end, end * 10, &OWN, |entry| applied.push(entry));
        applied.sort_unstable();
        (applied, ledger.counts)
    }

    #[test]
    fn messages_alone_apply_everything_once() {
        let (applied, counts) = play(&[(0, 4), (0, 1), (1, 11), (1, 12), (2, 25), (3, 31)], 4);
        assert_eq!(applied, OWN);
        assert_eq!(counts, Counts { by_message: 6, ..Counts::default() });
    }

    #[test]
    fn a_fresh_activation_completes_what_came_before() {
        let (applied, counts) = play(&[(2, 25)], 4);
        assert_eq!(applied, OWN);
        assert_eq!((counts.by_message, counts.by_rebuild), (1, 5));
    }

    #[test]
    fn a_batch_may_be_repeated_and_a_late_message_changes_nothing() {
        let (applied, counts) = play(&[(0, 1), (0, 1), (0, 4), (1, 11), (0, 4), (1, 12)], 2);
        assert_eq!(applied, [1, 4, 11, 12]);
        let expected = Counts { by_message: 4, by_rebuild: 0, duplicates: 1, stale: 1 };
        assert_eq!(counts, expected);
    }

    #[test]
    fn whatever_is_lost_doubled_or_late_each_entry_counts_once() {
        // All ways to deliver each of five messages never, once or twice, with a late one.
        let all = [(0, 1), (0, 4), (1, 11), (1, 12), (2, 25)];
        for ways in 0..3u32.pow(5) {
            let mut messages = Vec::new();
            for (n, message) in (0..).zip(all) {
                let times = ways / 3u32.pow(n) % 3;
                messages.extend(std::iter::repeat_n(message, times as usize));
            }
            messages.push((0, 4));
            let (applied, counts) = play(&messages, 4);
            assert_eq!(applied, OWN, "{messages:?}");
            assert_eq!(counts.by_message + counts.by_rebuild, 6, "{messages:?}");
        }
    }
}
