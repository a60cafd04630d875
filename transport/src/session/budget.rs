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

    /// Adds, unless that would be more than so many.
    fn try_add(&self, (messages, bytes): (u64, u64), limits: (u64, u64)) -> bool {
        let add = |both| {
            let (before, before_bytes) = split(both);
            let fits = before + messages <= limits.0 && before_bytes + bytes <= limits.1;
            fits.then(|| both + join(messages, bytes))
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }

    pub(super) fn take(&self, messages: u64, bytes: u64) {
        self.0.fetch_sub(join(messages, bytes), Ordering::AcqRel);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        split(self.0.load(Ordering::Acquire))
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Release);
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

    /// Whether so few answers wait for the peer that there may be more which nobody has asked for one by
    /// one: all others still have their room, and the peer's messages theirs.
    pub(crate) fn has_answers_to_spare(&self) -> bool {
        self.answer_bytes.load(Ordering::Acquire) <= self.answer_bytes_limit / 4
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

/// What was taken of a budget at once, for messages to come. What is left of it must be given back.
#[derive(Debug)]
pub(crate) struct Prepaid<'a> {
    budget: &'a Budget,
    messages: u64,
    bytes: u64,
}

impl<'a> Prepaid<'a> {
    /// Nothing: each message takes its own.
    pub(crate) fn nothing(budget: &'a Budget) -> Self {
        Self { budget, messages: 0, bytes: 0 }
    }

    /// All that some messages take, or nothing if there is no room for all: then nobody sees that it
    /// was tried.
    pub(super) fn take(budget: &'a Budget, messages: u64, bytes: u64) -> Self {
        let limits = (budget.messages_limit, budget.bytes_limit);
        let (messages, bytes) =
            if budget.used.try_add((messages, bytes), limits) { (messages, bytes) } else { (0, 0) };
        Self { budget, messages, bytes }
    }

    /// The budget it was taken of.
    pub(super) fn budget(&self) -> &'a Budget {
        self.budget
    }

    /// Takes one message of `bytes`, of what was taken before if there is any.
    pub(super) fn try_take(&mut self, bytes: u64) -> bool {
        if self.messages == 0 || self.bytes < bytes {
            return self.budget.try_take(bytes);
        }
        self.messages -= 1;
        self.bytes -= bytes;
        true
    }

    /// Gives back what is left. Returns whether there was any.
    pub(super) fn give_back(&mut self) -> bool {
        let left = (std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes));
        self.budget.give_back(left.0, left.1);
        left.0 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_before_serves_until_it_is_used_up() {
        let budget = Budget::new(4, 100, 0);
        let mut prepaid = Prepaid::take(&budget, 3, 60);
        assert_eq!(budget.used(), (3, 60));
        assert!(prepaid.try_take(20) && prepaid.try_take(30));
        assert_eq!(budget.used(), (3, 60));
        assert!(prepaid.try_take(20), "more than is left: of the budget itself");
        assert_eq!(budget.used(), (4, 80));
        assert!(!budget.try_take(1) && budget.take_short());
        assert!(prepaid.give_back() && !prepaid.give_back());
        assert_eq!(budget.used(), (3, 70));
    }

    #[test]
    fn more_than_there_is_room_for_is_not_taken() {
        let budget = Budget::new(4, 100, 0);
        for (messages, bytes) in [(5, 10), (4, 101)] {
            assert!(!Prepaid::take(&budget, messages, bytes).give_back());
            assert_eq!(budget.used(), (0, 0));
        }
        assert!(Prepaid::take(&budget, 4, 100).give_back());
        let mut alone = Prepaid::nothing(&budget);
        assert!(alone.try_take(1_000), "the first one always has room");
        assert!(!alone.try_take(1));
    }
}
