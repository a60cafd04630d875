//! The bytes of one stream, turned into what they ask for.
//!
//! Invariant: a frame's place in its lane is counted here, from the stream's header on, and what
//! came before on another connection is passed over; so each frame is looked at once.
//! Knows no stream: bytes come in as they arrive, cut anywhere.

use bytes::{Buf as _, BytesMut};

use super::{Arrival, Class, Inbound, Receipt, Session, Unsettled};
use crate::wire::{
    WireError,
    lane::{BULK_STREAM, HEAD_LONGEST, LaneFrame},
    varint,
};

/// What arrived and is to be passed on, in order.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) frames: Vec<Inbound>,
    /// Our own frames that the peer rejected, with the lane and the reason. Once the sender of one
    /// has been told, [`Session::rejection_seen`] is to follow.
    pub(crate) rejected: Vec<(u16, Option<Unsettled>, u8)>,
}

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct StreamReader {
    /// The connection it belongs to.
    carrier: u64,
    bytes: BytesMut,
    /// Once the header has come.
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A lane, and the sequence number of the next frame.
    Lane(Receipt),
    /// A bulk message.
    Bulk(u64),
}

impl StreamReader {
    pub(crate) fn new(carrier: u64) -> Self {
        Self { carrier, bytes: BytesMut::new(), kind: None }
    }

    /// Which lane it carries; `None` for a bulk message, or while that is not known.
    pub(crate) fn lane(&self) -> Option<u16> {
        match self.kind {
            Some(Kind::Lane(place)) => Some(place.lane),
            Some(Kind::Bulk(_)) | None => None,
        }
    }

    /// The stream has come to its end.
    ///
    /// # Errors
    ///
    /// When it is a lane's, which ends with its connection only, or ends in the middle.
    pub(crate) fn handle_end(&self, session: &Session) -> Result<(), WireError> {
        match self.kind {
            Some(Kind::Bulk(id)) if !session.awaits_bulk(self.carrier, id) => Ok(()),
            _ => Err(WireError::Malformed),
        }
    }

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
        if let Some(Kind::Bulk(id)) = self.kind {
            return session.handle_bulk_bytes(self.carrier, id, bytes, arrived);
        }
        self.bytes.extend_from_slice(bytes);
        let kind = match self.kind {
            Some(kind) => kind,
            None => match take_header(&mut self.bytes)? {
                Some((kind, from)) => {
                    if let Kind::Bulk(id) = kind {
                        session.begin_bulk(self.carrier, id, from)?;
                    }
                    kind
                }
                None => return Ok(()),
            },
        };
        self.kind = Some(kind);
        match kind {
            Kind::Lane(place) => {
                let next = read_lane(&mut self.bytes, session, place, arrived)?;
                self.kind = Some(Kind::Lane(next));
                Ok(())
            }
            Kind::Bulk(id) => {
                let bytes = std::mem::take(&mut self.bytes);
                session.handle_bulk_bytes(self.carrier, id, &bytes, arrived)
            }
        }
    }
}

/// Takes all whole frames. Returns the place of the next one.
fn read_lane(
    bytes: &mut BytesMut,
    session: &Session,
    mut place: Receipt,
    arrived: &mut Arrived,
) -> Result<Receipt, WireError> {
    // What is longer than a frame may be is refused by its length, before it is read.
    let limit = session.frame_limit_bytes();
    while let Some(frame) = LaneFrame::take(bytes, limit)? {
        // What breaks the protocol has not been received.
        check(&frame)?;
        if session.handle_frame(place.lane, place.sequence)? == Arrival::New {
            take_frame(session, place, frame, arrived)?;
        }
        place.sequence += 1;
    }
    Ok(place)
}

fn take_frame(
    session: &Session,
    place: Receipt,
    frame: LaneFrame,
    arrived: &mut Arrived,
) -> Result<(), WireError> {
    match frame {
        LaneFrame::Message { target, payload } => {
            let ticket = session.hold(place, payload.len() as u64)?;
            let class = Class::Message;
            session.offer(Inbound { ticket, class, target, payload }, &mut arrived.frames);
        }
        LaneFrame::Answer { target, payload } => {
            session.settle(place);
            arrived.frames.push(Inbound { ticket: place, class: Class::Answer, target, payload });
        }
        LaneFrame::Bulk { answer: false, target, id, length } => {
            let ticket = session.hold(place, length)?;
            session.expect_bulk(id, length, ticket, Class::Message, target)?;
        }
        LaneFrame::Bulk { answer: true, target, id, length } => {
            session.expect_bulk(id, length, place, Class::Answer, target)?;
        }
        LaneFrame::Rejected { lane, sequence, reason } => {
            session.settle(place);
            let unsettled = session.handle_rejected(lane, sequence)?;
            arrived.rejected.push((lane, unsettled, reason));
        }
        LaneFrame::Seen { count } => session.handle_seen(place, count)?,
        LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => {}
    }
    Ok(())
}

/// Kinds behind capabilities that this release does not offer are refused.
fn check(frame: &LaneFrame) -> Result<(), WireError> {
    match frame {
        LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => Err(WireError::Malformed),
        _ => Ok(()),
    }
}

/// Appends the bytes that open a lane's stream.
pub(crate) fn put_header(lane: u16, first: u64, out: &mut Vec<u8>) {
    varint::put(lane.into(), out);
    varint::put(first, out);
}

/// Appends the bytes that open a bulk message's stream.
pub(crate) fn put_bulk_header(id: u64, from: u64, out: &mut Vec<u8>) {
    varint::put(BULK_STREAM, out);
    varint::put(id, out);
    varint::put(from, out);
}

/// Takes the header: what the stream carries, and the place of a bulk message's first byte.
fn take_header(bytes: &mut BytesMut) -> Result<Option<(Kind, u64)>, WireError> {
    let Some((lane, a)) = varint::take(bytes)? else { return Ok(None) };
    let Some((second, b)) = varint::take(&bytes[a..])? else { return Ok(None) };
    if lane != BULK_STREAM {
        bytes.advance(a + b);
        let lane = u16::try_from(lane).map_err(|_| WireError::Malformed)?;
        return Ok(Some((Kind::Lane(Receipt { lane, sequence: second, bytes: 0 }), 0)));
    }
    let Some((from, c)) = varint::take(&bytes[a + b..])? else { return Ok(None) };
    bytes.advance(a + b + c);
    Ok(Some((Kind::Bulk(second), from)))
}

/// What a message takes of the budgets, from its payload's length.
pub(super) fn budget_bytes(length: u64) -> u64 {
    length + HEAD_LONGEST as u64
}
