//! How much one session may have unsettled, over all its lanes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Messages and bytes that may be taken; given back when they are settled.
#[derive(Debug)]
pub(crate) struct Budget {
    messages: AtomicU64,
    bytes: AtomicU64,
    messages_limit: u64,
    bytes_limit: u64,
    /// Whether somebody was turned away since the last look.
    short: AtomicBool,
}

impl Budget {
    pub(crate) fn new(messages_limit: u64, bytes_limit: u64) -> Self {
        Self {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            messages_limit,
            bytes_limit,
            short: AtomicBool::new(false),
        }
    }

    /// Takes one message of `bytes`, if there is room; the first one always has room.
    pub(crate) fn try_take(&self, bytes: u64) -> bool {
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits =
            messages == 0 || messages < self.messages_limit && before + bytes <= self.bytes_limit;
        if !fits {
            self.short.store(true, Ordering::Release);
            self.give_back(bytes);
        }
        fits
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether somebody was turned away since the last call.
    pub(crate) fn take_short(&self) -> bool {
        self.short.swap(false, Ordering::AcqRel)
    }

    /// Messages and bytes in use.
    pub(crate) fn used(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire))
    }
}
