//! What one lane has under way to one target, and who waits for room there.

use std::hash::{BuildHasherDefault, Hasher};

use crate::wait_list::WaitList;

/// Targets by their hash.
#[expect(clippy::disallowed_types, reason = "its hasher has no seed, so what went in decides all")]
pub(super) type Targets = std::collections::HashMap<u64, Target, BuildHasherDefault<TargetHasher>>;

/// Spreads what are hashes for the most part, and small numbers in tests: multiplied by 2^64 divided
/// by the golden ratio, made odd (Knuth, volume 3, 6.4), high bits to the low end. Targets come from
/// this node's own senders, so nobody gains by making them collide.
#[derive(Debug, Default)]
pub(super) struct TargetHasher(u64);

impl Hasher for TargetHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, target: u64) {
        self.0 = (self.0 ^ target).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// Bounds of one lane and one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Unsettled messages of one target.
    pub(crate) target_messages: u32,
    /// Unsettled bytes of one target; one message may exceed it when nothing else is unsettled.
    pub(crate) target_bytes: u64,
    /// Bytes of one lane that the peer has not received yet. One message may exceed it when the
    /// lane holds nothing else.
    pub(crate) lane_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) messages: u32,
    pub(super) bytes: u64,
    pub(super) waiters: WaitList,
    pub(super) pause: Pause,
}

/// Whether the receiver has room for a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pause {
    #[default]
    No,
    Yes,
    /// It had none when the last connection ended, and has not said what is paused now.
    Earlier,
}

impl Target {
    pub(super) fn has_room(&self, bytes: u64, limits: Limits) -> bool {
        if self.pause != Pause::No {
            return false;
        }
        self.messages == 0
            || self.messages < limits.target_messages && self.bytes + bytes <= limits.target_bytes
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether nothing is under way and nobody waits. If so, a pause has no meaning any more.
    pub(super) fn is_idle(&self) -> bool {
        self.messages == 0 && self.waiters.is_empty()
    }
}
