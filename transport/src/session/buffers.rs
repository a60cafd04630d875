//! Buffers for long messages, used again. The system takes longer to give the pages of a fresh one,
//! and to take them back, than it takes to fill it.
//!
//! Invariant: no more than [`KEPT`] buffers of at most [`LONGEST`] bytes wait to be used, those that
//! were used last.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use bytes::Bytes;

use super::lock;

/// How many buffers are kept.
pub(crate) const KEPT: usize = 8;

/// The longest buffer that is kept, in bytes.
pub(crate) const LONGEST: usize = 1024 * 1024;

/// Lengths are rounded up to this, so that messages of about one length share buffers.
const STEP: usize = 64 * 1024;

/// Buffers that wait to be used. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Kept>);

type Kept = Mutex<VecDeque<Vec<u8>>>;

/// A buffer that goes back to where it came from when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Weak<Kept>,
}

impl Buffers {
    /// An empty buffer for a message of so many bytes: one that grows with them, if they are many, and
    /// one of its own, if they are few.
    pub(super) fn take(&self, length: u64) -> Buffer {
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= LONGEST) else {
            return Buffer::default();
        };
        if length < STEP {
            return Buffer { bytes: Vec::with_capacity(length), home: Weak::new() };
        }
        let mut kept = lock(&self.0);
        let fits = |capacity: usize| (length..=4 * length).contains(&capacity);
        let capacities = kept.iter().map(Vec::capacity).enumerate();
        let best = capacities.filter(|(_, capacity)| fits(*capacity)).min_by_key(|(_, c)| *c);
        let at = best.map(|(at, _)| at);
        let bytes = at.and_then(|at| kept.remove(at));
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(length.next_multiple_of(STEP)));
        Buffer { bytes, home: Arc::downgrade(&self.0) }
    }

    /// A copy of a message.
    pub(super) fn copy(&self, payload: &[u8]) -> Bytes {
        let mut buffer = self.take(payload.len() as u64);
        buffer.extend(payload);
        buffer.freeze()
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What it holds, without a copy. The last to drop it gives the buffer back.
    pub(super) fn freeze(mut self) -> Bytes {
        if self.home.strong_count() == 0 {
            return std::mem::take(&mut self.bytes).into();
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > LONGEST {
            return;
        }
        bytes.clear();
        let mut kept = lock(&home);
        kept.push_back(bytes);
        let over = if kept.len() > KEPT { kept.pop_front() } else { None };
        drop(kept);
        drop(over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacities(buffers: &Buffers) -> Vec<usize> {
        lock(&buffers.0).iter().map(Vec::capacity).collect()
    }

    #[test]
    fn a_buffer_comes_back_once_its_last_holder_is_gone() {
        let buffers = Buffers::default();
        let bytes = buffers.copy(&[7; 100_000]);
        let part = bytes.slice(1..3);
        let at = bytes.as_ptr();
        drop(bytes);
        assert_eq!((&part[..], capacities(&buffers).len()), (&[7, 7][..], 0));
        drop(part);
        let [capacity] = capacities(&buffers)[..] else { panic!("it has come back") };
        assert!(capacity >= 100_000);
        let again = buffers.copy(&[8; 70_000]);
        assert_eq!(
            (again.as_ptr(), again.len()),
            (at, 70_000),
            "the same, and nothing is left in it"
        );
    }

    #[test]
    fn a_message_of_few_bytes_takes_no_more() {
        let buffers = Buffers::default();
        drop(buffers.take(100_000));
        assert!(buffers.take(1).bytes.capacity() < 64);
        drop(buffers.copy(&[7; 2_000]));
        assert_eq!(capacities(&buffers).len(), 1, "nor is it kept");
    }

    #[test]
    fn short_messages_do_not_take_long_buffers() {
        let buffers = Buffers::default();
        drop(buffers.take(LONGEST as u64));
        drop(buffers.take(70_000));
        assert_eq!(capacities(&buffers).len(), 2);
        assert!(buffers.take(66_000).bytes.capacity() < 200_000, "the shorter one");
    }

    #[test]
    fn only_so_many_are_kept_and_none_that_is_long() {
        let buffers = Buffers::default();
        let taken: Vec<Buffer> = (0..2 * KEPT).map(|_| buffers.take(70_000)).collect();
        drop(taken);
        drop(buffers.copy(&vec![0; LONGEST + 1]));
        assert_eq!(capacities(&buffers).len(), KEPT);
        let mut grown = buffers.take(70_000);
        grown.extend(&vec![0; LONGEST + 1]);
        drop(grown);
        assert_eq!(capacities(&buffers).len(), KEPT - 1);
    }

    #[test]
    fn a_message_outlives_them_all() {
        let bytes = Buffers::default().copy(&[7; 70_000]);
        assert_eq!(bytes.len(), 70_000);
    }
}
