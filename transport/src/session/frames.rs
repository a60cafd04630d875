//! Frames that arrived together, as the layer above gets them.
//!
//! ```text
//!  chunks:  [ ..bytes of a stream.. ] [ a long message ]
//!  entries:     (0, 3..9) (0, 12..40)      (1, 0..n)
//! ```
//!
//! Invariant: each entry lies within its chunk. A frame costs no count of references of its own:
//! most are read where they lie, and forgotten.

use std::{fmt, ops::Deref, ops::Range};

use bytes::Bytes;

use super::{Class, Payload, Receipt};

/// Frames that arrived together, in order. Each pass over them sees them all again.
///
/// # Examples
///
/// A relay, which sends on what came:
///
/// ```
/// use actix_cluster_transport::{Frames, Outbound, SendAllError, Session};
///
/// fn relay(frames: &Frames, to: &Session) -> Result<(), SendAllError> {
///     let messages: Vec<_> = frames
///         .iter()
///         .map(|frame| Outbound { target: frame.target, token: 0, payload: frame.payload.into() })
///         .collect();
///     to.try_send_all(&messages)
/// }
/// ```
#[derive(Debug, Default)]
pub struct Frames {
    chunks: Vec<Bytes>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ticket: Receipt,
    class: Class,
    target: u64,
    /// Which chunk, and from where to where in it. A chunk is one read or one message, and so shorter
    /// than 4 GiB.
    chunk: u32,
    start: u32,
    end: u32,
}

/// A frame that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// Where it is to be settled.
    pub ticket: Receipt,
    /// Whether it is an answer: it is settled already.
    pub class: Class,
    /// The target's hash.
    pub target: u64,
    /// What the peer sent.
    pub payload: Received<'a>,
}

/// What a peer sent: bytes that are read where they lie, or shared by [`to_bytes`](Self::to_bytes).
#[derive(Clone, Copy)]
pub struct Received<'a> {
    chunk: &'a Bytes,
    start: usize,
    end: usize,
}

/// A frame that arrived, on its own: to be kept until it can be delivered.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) ticket: Receipt,
    pub(crate) class: Class,
    pub(crate) target: u64,
    pub(crate) payload: Bytes,
}

impl Frames {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The frames, in the order in which they came.
    pub fn iter(&self) -> FramesIter<'_> {
        FramesIter { chunks: &self.chunks, entries: self.entries.iter() }
    }

    /// Adds a frame that lies within some bytes.
    #[inline]
    pub(super) fn push(
        &mut self,
        ticket: Receipt,
        class: Class,
        target: u64,
        bytes: &Bytes,
        Range { start, end }: Range<usize>,
    ) {
        let is_last = self
            .chunks
            .last()
            .is_some_and(|last| (last.as_ptr(), last.len()) == (bytes.as_ptr(), bytes.len()));
        if !is_last {
            self.chunks.push(bytes.clone());
        }
        let chunk = self.chunks.len() as u32 - 1;
        let (start, end) = (start as u32, end as u32);
        self.entries.push(Entry { ticket, class, target, chunk, start, end });
    }

    /// Adds a frame that was kept.
    pub(super) fn push_parcel(&mut self, parcel: Parcel) {
        let Parcel { ticket, class, target, payload } = parcel;
        self.push(ticket, class, target, &payload, 0..payload.len());
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.entries.clear();
    }
}

impl<'a> IntoIterator for &'a Frames {
    type Item = Inbound<'a>;
    type IntoIter = FramesIter<'a>;

    fn into_iter(self) -> FramesIter<'a> {
        self.iter()
    }
}

/// The frames of [`Frames`], in order.
#[derive(Clone, Debug)]
pub struct FramesIter<'a> {
    chunks: &'a [Bytes],
    entries: std::slice::Iter<'a, Entry>,
}

impl<'a> Iterator for FramesIter<'a> {
    type Item = Inbound<'a>;

    #[inline]
    fn next(&mut self) -> Option<Inbound<'a>> {
        let &Entry { ticket, class, target, chunk, start, end } = self.entries.next()?;
        let chunk = &self.chunks[chunk as usize];
        let payload = Received { chunk, start: start as usize, end: end as usize };
        Some(Inbound { ticket, class, target, payload })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for FramesIter<'_> {}

impl<'a> Received<'a> {
    /// The bytes, for as long as the frames are there.
    #[inline]
    pub fn as_slice(&self) -> &'a [u8] {
        &self.chunk[self.start..self.end]
    }

    /// The same bytes, to be kept. They share the memory of the packets they came in, up to 64 KiB:
    /// copy what is kept for long.
    pub fn to_bytes(&self) -> Bytes {
        self.chunk.slice(self.start..self.end)
    }
}

impl Deref for Received<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Received<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&format_args!("{} bytes", self.len())).finish()
    }
}

impl<'a> From<Received<'a>> for Payload<'a> {
    fn from(received: Received<'a>) -> Self {
        // A long message is a chunk of its own: if it goes on as one, it is shared.
        let is_whole = (received.start, received.end) == (0, received.chunk.len());
        if is_whole { received.chunk.into() } else { received.as_slice().into() }
    }
}

impl<'a> From<&Received<'a>> for Payload<'a> {
    fn from(received: &Received<'a>) -> Self {
        (*received).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(sequence: u64) -> Receipt {
        Receipt { lane: 0, sequence, bytes: 0 }
    }

    #[test]
    fn frames_of_one_chunk_share_it_and_come_out_in_order() {
        let mut frames = Frames::default();
        let chunk = Bytes::from_static(b"one two");
        frames.push(ticket(1), Class::Message, 7, &chunk, 0..3);
        frames.push(ticket(2), Class::Answer, 8, &chunk, 4..7);
        let payload = Bytes::from_static(b"three");
        let (ticket, class, target) = (ticket(3), Class::Message, 9);
        frames.push_parcel(Parcel { ticket, class, target, payload });
        frames.push(ticket, class, target, &chunk, 3..3);
        assert_eq!((frames.chunks.len(), frames.len(), frames.iter().len()), (3, 4, 4));
        let seen: Vec<_> =
            frames.iter().map(|frame| (frame.target, frame.payload.to_bytes())).collect();
        let told = [(7, &b"one"[..]), (8, b"two"), (9, b"three"), (9, b"")];
        assert_eq!(seen, told.map(|(target, bytes)| (target, Bytes::from_static(bytes))));
        let first = frames.iter().next().expect("there are some");
        assert_eq!(&*first.payload, b"one");
        assert_eq!(first.payload.to_bytes().as_ptr(), chunk.as_ptr(), "shared, not copied");
        let is_shared =
            |at| Payload::from(frames.iter().nth(at).expect("so many").payload).shared().is_some();
        assert!(is_shared(2) && !is_shared(0), "a message that is a chunk of its own");
        frames.clear();
        assert!(frames.is_empty() && frames.chunks.is_empty());
    }
}
