//! The bytes of one lane's stream, turned into what they ask for.
//!
//! Invariant: a frame's place in its lane is counted here, from the stream's header on, and what
//! came before on another connection is passed over; so each frame is looked at once.
//! Knows no stream: bytes come in as they arrive, cut anywhere.

use bytes::{Buf as _, BytesMut};

use super::{Arrival, Class, Inbound, Receipt, Session, Unsettled};
use crate::wire::{WireError, lane::LaneFrame, varint};

/// What arrived and is to be passed on, in order.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) frames: Vec<Inbound>,
    /// Our own frames that the peer rejected, with the lane and the reason. Once the sender of one
    /// has been told, [`Session::rejection_seen`] is to follow.
    pub(crate) rejected: Vec<(u16, Option<Unsettled>, u8)>,
}

/// Reads one lane's stream.
#[derive(Debug, Default)]
pub(crate) struct LaneReader {
    bytes: BytesMut,
    /// The lane, and the sequence number of the next frame; once the header has come.
    place: Option<Receipt>,
}

impl LaneReader {
    /// More bytes came.
    ///
    /// # Errors
    ///
    /// When they break the protocol: the connection is to be closed. What is in `arrived` came
    /// before that and counts.
    pub(crate) fn handle_bytes(
        &mut self,
        session: &Session,
        bytes: &[u8],
        arrived: &mut Arrived,
    ) -> Result<(), WireError> {
        self.bytes.extend_from_slice(bytes);
        let mut place = match self.place {
            Some(place) => place,
            None => match take_header(&mut self.bytes)? {
                Some(place) => place,
                None => return Ok(()),
            },
        };
        // What is longer than a payload may be is refused by its length, before it is read.
        let limit = session.frame_limit_bytes();
        while let Some(frame) = LaneFrame::take(&mut self.bytes, limit)? {
            // What breaks the protocol has not been received.
            check(&frame)?;
            if session.handle_frame(place.lane, place.sequence)? == Arrival::New {
                take_frame(session, place, frame, arrived)?;
            }
            place.sequence += 1;
        }
        self.place = Some(place);
        Ok(())
    }
}

fn take_frame(
    session: &Session,
    ticket: Receipt,
    frame: LaneFrame,
    arrived: &mut Arrived,
) -> Result<(), WireError> {
    match frame {
        LaneFrame::Message { target, payload } => match session.refusal(ticket, target) {
            // Its sender has not seen yet that an earlier one did not run.
            Some(reason) => session.reject(ticket, target, reason, super::Later::Reject(reason)),
            None => {
                let class = Class::Message;
                arrived.frames.push(Inbound { ticket, class, target, payload });
            }
        },
        LaneFrame::Answer { target, payload } => {
            session.settle(ticket);
            arrived.frames.push(Inbound { ticket, class: Class::Answer, target, payload });
        }
        LaneFrame::Rejected { lane, sequence, reason } => {
            session.settle(ticket);
            let unsettled = session.handle_rejected(lane, sequence)?;
            arrived.rejected.push((lane, unsettled, reason));
        }
        LaneFrame::Seen { count } => session.handle_seen(ticket, count)?,
        LaneFrame::Bulk { .. } | LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => {}
    }
    Ok(())
}

/// Kinds behind capabilities that this release does not offer are refused.
fn check(frame: &LaneFrame) -> Result<(), WireError> {
    match frame {
        LaneFrame::Bulk { .. } | LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => {
            Err(WireError::Malformed)
        }
        _ => Ok(()),
    }
}

/// Appends the bytes that open a lane's stream.
pub(crate) fn put_header(lane: u16, first: u64, out: &mut Vec<u8>) {
    varint::put(lane.into(), out);
    varint::put(first, out);
}

fn take_header(bytes: &mut BytesMut) -> Result<Option<Receipt>, WireError> {
    let Some((lane, a)) = varint::take(bytes)? else { return Ok(None) };
    let Some((sequence, b)) = varint::take(&bytes[a..])? else { return Ok(None) };
    bytes.advance(a + b);
    let lane = u16::try_from(lane).map_err(|_| WireError::Malformed)?;
    Ok(Some(Receipt { lane, sequence }))
}
