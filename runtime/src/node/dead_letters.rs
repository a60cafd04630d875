//! Messages that were turned away, or may have run, with nobody waiting to be told.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::reference::{RejectReason, UnknownReason};

/// A node's counters of dead letters.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    rejected: [AtomicU64; RejectReason::ALL.len()],
    unknown: [AtomicU64; UnknownReason::ALL.len()],
}

impl DeadLetters {
    pub(crate) fn rejected(&self, reason: RejectReason) {
        self.rejected[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unknown(&self, reason: UnknownReason) {
        self.unknown[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> DeadLetterCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeadLetterCounts {
            rejected: std::array::from_fn(|n| read(&self.rejected[n])),
            unknown: std::array::from_fn(|n| read(&self.unknown[n])),
        }
    }
}

/// How many dead letters a node has counted, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    rejected: [u64; RejectReason::ALL.len()],
    unknown: [u64; UnknownReason::ALL.len()],
}

impl DeadLetterCounts {
    /// Messages that did not run, for this reason.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Messages that may have run, for this reason.
    pub fn unknown(&self, reason: UnknownReason) -> u64 {
        self.unknown[reason as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.rejected.iter().chain(&self.unknown).sum()
    }
}
