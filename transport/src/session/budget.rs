//! How much one session may have under way, over all its lanes: messages that are not settled, and
//! answers that have not arrived.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number of messages and their bytes, changed together by one atomic operation: messages in the
/// upper bits, bytes in the lower 40. What [`TransportConfig`](crate::TransportConfig) allows of
/// each leaves room for all that threads may add at once before they take it back.
#[derive(Debug, Default)]
pub(super) struct Amount(AtomicU64);

const BYTES_BITS: u32 = 40;

impl Amount {
    /// Adds; returns what was there before.
    pub(super) fn add(&self, messages: u64, bytes: u64) -> (u64, u64) {
        split(self.0.fetch_add(join(messages, bytes), Ordering::AcqRel))
    }

    pub(super) fn take(&self, messages: u64, bytes: u64) {
        self.0.fetch_sub(join(messages, bytes), Ordering::AcqRel);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        split(self.0.load(Ordering::Acquire))
    }
}

const fn join(messages: u64, bytes: u64) -> u64 {
    messages << BYTES_BITS | bytes
}

const fn split(both: u64) -> (u64, u64) {
    (both >> BYTES_BITS, both & ((1 << BYTES_BITS) - 1))
}

/// Messages and bytes that may be taken; given back when they are settled.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Amount,
    messages_limit: u64,
    bytes_limit: u64,
    /// Whether somebody was turned away since the last look.
    short: AtomicBool,
    answer_bytes: AtomicU64,
    answer_bytes_limit: u64,
}

/// Answers of up to so many bytes always pass: each ends a message that was accepted, and so their
/// number is bounded. Other short frames that a peer makes this end send are counted as such.
pub(crate) const SHORT_ANSWER_BYTES: u64 = 64;

impl Budget {
    pub(crate) fn new(messages_limit: u64, bytes_limit: u64, answer_bytes_limit: u64) -> Self {
        Self {
            used: Amount::default(),
            messages_limit,
            bytes_limit,
            short: AtomicBool::new(false),
            answer_bytes: AtomicU64::new(0),
            answer_bytes_limit,
        }
    }

    /// Takes one message of `bytes`, if there is room; the first one always has room.
    pub(crate) fn try_take(&self, bytes: u64) -> bool {
        loop {
            if self.fits(self.used.add(1, bytes), bytes) {
                return true;
            }
            self.short.store(true, Ordering::Release);
            self.give_back(1, bytes);
            // Whoever gave back in between may not have seen that somebody is short.
            if !self.may_take(bytes) {
                return false;
            }
        }
    }

    /// Whether a message of `bytes` would be taken now.
    pub(crate) fn may_take(&self, bytes: u64) -> bool {
        self.fits(self.used(), bytes)
    }

    fn fits(&self, (messages, before): (u64, u64), bytes: u64) -> bool {
        messages == 0 || messages < self.messages_limit && before + bytes <= self.bytes_limit
    }

    /// Takes an answer of `bytes`, if there is room.
    pub(crate) fn try_take_answer(&self, bytes: u64) -> bool {
        let before = self.answer_bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = self.fits_answer(before, bytes);
        if !fits {
            self.give_back_answers(bytes);
        }
        fits
    }

    /// Takes a short answer, which always has room. Returns what it took, to be given back.
    pub(crate) fn take_short_answer(&self) -> u64 {
        self.answer_bytes.fetch_add(SHORT_ANSWER_BYTES, Ordering::AcqRel);
        SHORT_ANSWER_BYTES
    }

    /// Whether an answer of `bytes` would be taken now.
    pub(crate) fn may_take_answer(&self, bytes: u64) -> bool {
        self.fits_answer(self.answer_bytes.load(Ordering::Acquire), bytes)
    }

    fn fits_answer(&self, before: u64, bytes: u64) -> bool {
        bytes <= SHORT_ANSWER_BYTES || before == 0 || before + bytes <= self.answer_bytes_limit
    }

    /// Answers of so many bytes have arrived.
    pub(crate) fn give_back_answers(&self, bytes: u64) {
        self.answer_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether so many answers wait for the peer that it should be given nothing more to ask.
    pub(crate) fn has_many_answers(&self) -> bool {
        self.answer_bytes.load(Ordering::Acquire) > self.answer_bytes_limit / 2
    }

    /// Whether more answers wait for the peer than can for one that keeps to the protocol: beyond the
    /// bound, one of the longest, and short ones for all that is `held` of its messages, twice.
    pub(crate) fn has_too_many_answers(&self, longest: u64, held: u64) -> bool {
        let short = held.saturating_mul(2 * SHORT_ANSWER_BYTES);
        let most = self.answer_bytes_limit.saturating_add(longest).saturating_add(short);
        self.answer_bytes.load(Ordering::Acquire) > most
    }

    pub(crate) fn give_back(&self, messages: u64, bytes: u64) {
        if messages > 0 {
            self.used.take(messages, bytes);
        }
    }

    /// Whether somebody was turned away since the last call.
    pub(crate) fn take_short(&self) -> bool {
        self.short.swap(false, Ordering::AcqRel)
    }

    /// Messages and bytes in use.
    pub(crate) fn used(&self) -> (u64, u64) {
        self.used.get()
    }
}
