//! What is known of the frames of a lane that are not settled.
//!
//! ```text
//!  old: messages that stay open     recent: every frame from `base` on, by its place
//! ```
//!
//! Invariant: every message that is not settled has one record. Frames are settled about in their
//! order, so a queue holds them; where one message stays open while others behind it are settled, it
//! moves aside, so that what is kept is bounded by what is open.

use std::collections::{BTreeMap, VecDeque};

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) target: u64,
    pub(super) token: u64,
    pub(super) bytes: u32,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Message,
    /// It has no outcome that anybody waits for.
    Answer,
    Settled,
}

#[derive(Debug)]
pub(super) struct Records {
    old: BTreeMap<u64, Record>,
    recent: VecDeque<Record>,
    /// The sequence number of the first of `recent`.
    base: u64,
    /// How many messages of `recent` are open.
    open: usize,
}

/// How many records there may be beyond four times the open messages. Few in tests, so that those of
/// the lane come there.
const SPARE: usize = if cfg!(any(test, feature = "fuzzing")) { 8 } else { 1_024 };

impl Records {
    pub(super) fn new() -> Self {
        Self { old: BTreeMap::new(), recent: VecDeque::new(), base: 1, open: 0 }
    }

    /// The sequence number from which on every frame has a place.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// A frame was sent, the next one of its lane.
    pub(super) fn push(&mut self, record: Record) {
        self.open += usize::from(record.state == State::Message);
        self.recent.push_back(record);
        // A peer may take all and settle nothing.
        self.move_aside();
    }

    /// The record of a message that is open.
    pub(super) fn message(&self, sequence: u64) -> Option<&Record> {
        let record = match sequence.checked_sub(self.base) {
            Some(at) => self.recent.get(usize::try_from(at).ok()?)?,
            None => self.old.get(&sequence)?,
        };
        (record.state == State::Message).then_some(record)
    }

    /// A frame is settled. What it was before, if it was not settled.
    pub(super) fn settle(&mut self, sequence: u64) -> Option<Record> {
        let Some(at) = sequence.checked_sub(self.base) else { return self.old.remove(&sequence) };
        let record = self.recent.get_mut(at as usize)?;
        let state = std::mem::replace(&mut record.state, State::Settled);
        self.open -= usize::from(state == State::Message);
        (state != State::Settled).then_some(Record { state, ..*record })
    }

    /// Takes those that moved aside and are settled by a mark, whose ranges are sorted.
    pub(super) fn settle_old(&mut self, up_to: u64, ranges: &[(u64, u64)]) -> Vec<Record> {
        let mut told = Vec::new();
        for (first, last) in std::iter::once((0, up_to)).chain(ranges.iter().copied()) {
            // Ranges are sorted, and most lie behind all that is old.
            if self.old.last_key_value().is_none_or(|(open, _)| *open < first) {
                break;
            }
            let open: Vec<u64> = self.old.range(first..=last).map(|(open, _)| *open).collect();
            told.extend(open.iter().filter_map(|sequence| self.old.remove(sequence)));
        }
        told
    }

    /// Forgets what is settled, and moves aside what holds it up.
    pub(super) fn tidy(&mut self) {
        while self.recent.front().is_some_and(|record| record.state == State::Settled) {
            self.recent.pop_front();
            self.base += 1;
        }
        self.move_aside();
    }

    fn move_aside(&mut self) {
        while self.recent.len() > SPARE + 4 * self.open {
            for record in self.recent.drain(..self.recent.len() / 2) {
                if record.state == State::Message {
                    self.old.insert(self.base, record);
                    self.open -= 1;
                }
                self.base += 1;
            }
        }
    }

    /// Ends it: all open messages with their sequence numbers, in order. Every frame so far is known
    /// to be over then.
    pub(super) fn end(&mut self) -> impl Iterator<Item = (u64, Record)> {
        let recent = std::mem::take(&mut self.recent);
        let (first, count) = (self.base, recent.len() as u64);
        self.base += count;
        self.open = 0;
        let recent = (first..).zip(recent).filter(|(_, record)| record.state == State::Message);
        std::mem::take(&mut self.old).into_iter().chain(recent)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.old.is_empty() && self.recent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(token: u64, state: State) -> Record {
        Record { target: 0, token, bytes: 1, state }
    }

    #[test]
    fn one_message_that_stays_open_keeps_nothing_of_those_behind_it() {
        let mut records = Records::new();
        records.push(record(1, State::Message));
        for sequence in 2..10_000 {
            let state = if sequence % 2 == 0 { State::Message } else { State::Answer };
            records.push(record(sequence, state));
            // Answers are never settled here, as by a peer that does not say so.
            if state == State::Message {
                assert!(records.settle(sequence).is_some() && records.settle(sequence).is_none());
            }
            assert!(records.recent.len() + records.old.len() <= SPARE + 5, "{records:?}");
        }
        assert_eq!(records.message(1).map(|record| record.token), Some(1));
        assert!(records.settle_old(0, &[(2, 9_999)]).is_empty());
        assert_eq!(records.settle_old(0, &[(1, 9_999)]).len(), 1);
        assert!(records.message(1).is_none() && records.settle(1).is_none());
    }

    #[test]
    fn all_that_is_open_is_told_at_the_end_in_order() {
        let mut records = Records::new();
        for sequence in 1..=1_000 {
            records.push(record(sequence, State::Message));
            if sequence % 100 != 0 {
                records.settle(sequence);
            }
            records.tidy();
        }
        assert!(!records.old.is_empty());
        let open: Vec<_> =
            records.end().map(|(sequence, record)| (sequence, record.token)).collect();
        assert_eq!(open, (1..=10).map(|n| (100 * n, 100 * n)).collect::<Vec<_>>());
        assert!(records.is_empty() && records.base() == 1_001);
    }
}
