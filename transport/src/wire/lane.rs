//! Frames on a lane's stream.
//!
//! A lane's stream begins with a header: the lane's number and the sequence number of its first
//! frame, both as varints. A bulk message's stream begins with [`BULK_STREAM`], the message's number
//! and the place of its first byte, and goes on with its bytes. On a lane, each frame is a varint length, a kind, and what the kind says. A frame's
//! sequence number is not written: it is its predecessor's plus one.

use std::ops::Range;

use bytes::{Buf as _, Bytes};

use super::{WireError, varint};

/// Kinds of frames.
const MESSAGE: u8 = 1;
const ANSWER: u8 = 2;
const REJECTED: u8 = 3;
const BULK: u8 = 4;
const FLUSH: u8 = 5;
const FLUSHED: u8 = 6;
const SEEN: u8 = 7;
const BULK_ANSWER: u8 = 8;

/// Stands where a lane's number would, at the head of a bulk message's stream.
pub(crate) const BULK_STREAM: u64 = 0xffff;

/// A frame on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LaneFrame {
    /// Takes budget until it is settled. Where it is read for its payload, see [`Front`].
    #[cfg(any(test, feature = "fuzzing"))]
    Message { target: u64, payload: Bytes },
    /// Takes no budget: as many as were asked for.
    #[cfg(any(test, feature = "fuzzing"))]
    Answer { target: u64, payload: Bytes },
    /// The receiver's word that a frame of the other direction did not run.
    Rejected { lane: u16, sequence: u64, reason: u8 },
    /// Holds the place of a message, or an answer, that travels on a stream of its own.
    Bulk { answer: bool, target: u64, id: u64, length: u64 },
    /// Asks for a [`LaneFrame::Flushed`] once all before it is settled.
    Flush { shard: u64, marker: u64 },
    /// What was refused of a shard before the marker, in order.
    Flushed { marker: u64, refused: Vec<u64> },
    /// The sender has seen this many rejections of frames of this lane: what follows it was sent
    /// in their knowledge.
    Seen { count: u64 },
}

/// What a message's or answer's frame takes beside its payload, at most.
pub(crate) const HEAD_LONGEST: usize = varint::LONGEST + 1 + 8;

/// Appends a message or an answer.
pub(crate) fn put_payload(answer: bool, target: u64, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEAD_LONGEST + payload.len());
    varint::put(payload.len() as u64 + 9, out);
    let mut head = [if answer { ANSWER } else { MESSAGE }; 9];
    head[1..].copy_from_slice(&target.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

/// A frame as it lies in the bytes that came: of a payload, where it begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Message { target: u64, payload: Range<usize> },
    Answer { target: u64, payload: Range<usize> },
    Rarer(LaneFrame),
}

impl Front {
    /// What a frame says, whose kind is the first of these bytes.
    ///
    /// # Errors
    ///
    /// When it is no frame.
    #[inline]
    fn parse(bytes: &Bytes, Range { start, end }: Range<usize>) -> Result<Self, WireError> {
        let Some((&kind, rest)) = bytes[start..end].split_first() else {
            return Err(WireError::Malformed);
        };
        if kind != MESSAGE && kind != ANSWER {
            return Ok(Self::Rarer(LaneFrame::parse_rarer(bytes.slice(start..end))?));
        }
        let target = u64::from_le_bytes(*rest.first_chunk().ok_or(WireError::Malformed)?);
        let payload = start + 1 + size_of::<u64>()..end;
        Ok(if kind == MESSAGE {
            Self::Message { target, payload }
        } else {
            Self::Answer { target, payload }
        })
    }
}

impl LaneFrame {
    /// Appends the frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        match self {
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Message { target, payload } => return put_payload(false, *target, payload, out),
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Answer { target, payload } => return put_payload(true, *target, payload, out),
            Self::Rejected { lane, sequence, reason } => {
                body.push(REJECTED);
                varint::put(u64::from(*lane), &mut body);
                varint::put(*sequence, &mut body);
                body.push(*reason);
            }
            Self::Bulk { answer, target, id, length } => {
                body.push(if *answer { BULK_ANSWER } else { BULK });
                body.extend_from_slice(&target.to_le_bytes());
                varint::put(*id, &mut body);
                varint::put(*length, &mut body);
            }
            Self::Flush { shard, marker } => {
                body.push(FLUSH);
                varint::put(*shard, &mut body);
                varint::put(*marker, &mut body);
            }
            Self::Flushed { marker, refused } => {
                body.push(FLUSHED);
                varint::put(*marker, &mut body);
                varint::put(refused.len() as u64, &mut body);
                refused.iter().for_each(|sequence| varint::put(*sequence, &mut body));
            }
            Self::Seen { count } => {
                body.push(SEEN);
                varint::put(*count, &mut body);
            }
        }
        varint::put(body.len() as u64, out);
        out.extend_from_slice(&body);
    }

    /// The whole frame that begins at a place, with its length; `None` while bytes are missing.
    ///
    /// # Errors
    ///
    /// When its length is over `limit`, before the rest of it has come, or it is no frame.
    #[inline]
    pub(crate) fn take_at(
        bytes: &Bytes,
        at: usize,
        limit: u64,
    ) -> Result<Option<(Front, usize)>, WireError> {
        let Some(whole) = Self::length(&bytes[at..], limit)? else { return Ok(None) };
        if bytes.len() - at < whole.end {
            return Ok(None);
        }
        let front = Front::parse(bytes, at + whole.start..at + whole.end)?;
        Ok(Some((front, whole.end)))
    }

    /// Takes a whole frame from the front.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn take(bytes: &mut Bytes, limit: u64) -> Result<Option<Self>, WireError> {
        let Some((front, length)) = Self::take_at(bytes, 0, limit)? else { return Ok(None) };
        let bytes = bytes.split_to(length);
        Ok(Some(match front {
            Front::Message { target, payload } => {
                Self::Message { target, payload: bytes.slice(payload) }
            }
            Front::Answer { target, payload } => {
                Self::Answer { target, payload: bytes.slice(payload) }
            }
            Front::Rarer(frame) => frame,
        }))
    }

    /// Where the frame at the front begins, after its length, and ends; `None` while that is not
    /// known.
    pub(crate) fn length(bytes: &[u8], limit: u64) -> Result<Option<Range<usize>>, WireError> {
        let Some((length, head)) = varint::take(bytes)? else { return Ok(None) };
        if length > limit {
            return Err(WireError::TooLong { length, limit });
        }
        let length = usize::try_from(length).map_err(|_| WireError::Malformed)?;
        Ok(Some(head..head + length))
    }

    fn parse_rarer(mut body: Bytes) -> Result<Self, WireError> {
        let kind = body.try_get_u8().map_err(|_| WireError::Malformed)?;
        let frame = match kind {
            REJECTED => Self::Rejected {
                lane: number(&mut body)?.try_into().map_err(|_| WireError::Malformed)?,
                sequence: number(&mut body)?,
                reason: body.try_get_u8().map_err(|_| WireError::Malformed)?,
            },
            BULK | BULK_ANSWER => Self::Bulk {
                answer: kind == BULK_ANSWER,
                target: body.try_get_u64_le().map_err(|_| WireError::Malformed)?,
                id: number(&mut body)?,
                length: number(&mut body)?,
            },
            FLUSH => Self::Flush { shard: number(&mut body)?, marker: number(&mut body)? },
            FLUSHED => {
                let marker = number(&mut body)?;
                let count = number(&mut body)?;
                // Each takes at least a byte, so the frame's own length bounds the count.
                if count > body.len() as u64 {
                    return Err(WireError::Malformed);
                }
                let refused = (0..count).map(|_| number(&mut body)).collect::<Result<_, _>>()?;
                Self::Flushed { marker, refused }
            }
            SEEN => Self::Seen { count: number(&mut body)? },
            kind => return Err(WireError::UnknownKind(kind)),
        };
        if body.is_empty() { Ok(frame) } else { Err(WireError::Malformed) }
    }
}

fn number(body: &mut Bytes) -> Result<u64, WireError> {
    let (value, length) = varint::take(body)?.ok_or(WireError::Malformed)?;
    body.advance(length);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{assert_documented, name_of};

    fn golden() -> Vec<(LaneFrame, &'static [u8])> {
        let payload = Bytes::from_static(b"hi");
        let target = 0x0807_0605_0403_0201;
        vec![
            (
                LaneFrame::Message { target, payload: payload.clone() },
                &[11, 1, 1, 2, 3, 4, 5, 6, 7, 8, b'h', b'i'],
            ),
            (LaneFrame::Answer { target, payload }, &[11, 2, 1, 2, 3, 4, 5, 6, 7, 8, b'h', b'i']),
            (LaneFrame::Rejected { lane: 3, sequence: 300, reason: 9 }, &[5, 3, 3, 0xac, 2, 9]),
            (
                LaneFrame::Bulk { answer: false, target, id: 1, length: 128 },
                &[12, 4, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0x80, 1],
            ),
            (
                LaneFrame::Bulk { answer: true, target, id: 1, length: 128 },
                &[12, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0x80, 1],
            ),
            (LaneFrame::Flush { shard: 5, marker: 6 }, &[3, 5, 5, 6]),
            (LaneFrame::Flushed { marker: 6, refused: vec![1, 130] }, &[6, 6, 6, 2, 1, 0x82, 1]),
            (LaneFrame::Seen { count: 130 }, &[3, 7, 0x82, 1]),
        ]
    }

    #[test]
    fn golden_bytes_hold_both_ways() {
        for (frame, golden) in golden() {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            assert_eq!(bytes, golden, "{frame:?}");
            let is_answer = matches!(frame, LaneFrame::Bulk { answer: true, .. });
            let name = if is_answer { "BulkAnswer".to_owned() } else { name_of(&frame) };
            assert_documented(&name, golden);
            let mut bytes = Bytes::from_static(golden);
            assert_eq!(LaneFrame::take(&mut bytes, 64), Ok(Some(frame)));
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn half_a_frame_waits_for_the_rest() {
        for (frame, golden) in golden() {
            for cut in 0..golden.len() {
                let mut bytes = Bytes::from_static(&golden[..cut]);
                assert_eq!(LaneFrame::take(&mut bytes, 64), Ok(None), "{frame:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        let mut bytes = Vec::new();
        put_payload(false, 1, &[0; 55], &mut bytes);
        assert!(LaneFrame::take(&mut Bytes::from(bytes.clone()), 64).is_ok());
        let refused = LaneFrame::take(&mut Bytes::from(bytes.clone()), 63);
        assert_eq!(refused, Err(WireError::TooLong { length: 64, limit: 63 }));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes: Vec<u8>) {
            let mut bytes = Bytes::from(bytes);
            while let Ok(Some(_)) = LaneFrame::take(&mut bytes, 1_000) {}
        }
    }
}
