//! The bytes of one stream, turned into what they ask for.
//!
//! Invariant: a frame's place in its lane is counted here, from the stream's header on, and what
//! came before on another connection is passed over; so each frame is looked at once.
//! Knows no stream: bytes come in as they arrive, cut anywhere.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Class, Inbound, Receipt, Session, Unsettled};
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
    /// The beginning of what has not come as a whole: a header or a frame.
    begun: BytesMut,
    /// Once the header has come.
    kind: Option<Kind>,
    /// What one turn has taken from a lane; kept for its room.
    frames: Vec<LaneFrame>,
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
        Self { carrier, begun: BytesMut::new(), kind: None, frames: Vec::new() }
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
        mut bytes: Bytes,
        arrived: &mut Arrived,
    ) -> Result<(), WireError> {
        if self.kind.is_none() {
            self.begun.extend_from_slice(&bytes);
            let Some((kind, from)) = take_header(&mut self.begun)? else { return Ok(()) };
            if let Kind::Bulk(id) = kind {
                session.begin_bulk(self.carrier, id, from)?;
            }
            self.kind = Some(kind);
            bytes = std::mem::take(&mut self.begun).freeze();
        }
        match self.kind {
            Some(Kind::Bulk(id)) => session.handle_bulk_bytes(self.carrier, id, &bytes, arrived),
            Some(Kind::Lane(place)) => {
                // What is longer than a frame may be is refused by its length, before it is read.
                let taken = self.take_frames(bytes, session.frame_limit_bytes());
                let count = self.frames.len() as u64;
                let next = Receipt { sequence: place.sequence.saturating_add(count), ..place };
                self.kind = Some(Kind::Lane(next));
                take_frames(session, place, &mut self.frames, arrived)?;
                taken
            }
            None => Ok(()),
        }
    }

    /// Takes all whole frames, and keeps the beginning of the next one.
    ///
    /// # Errors
    ///
    /// When what follows the frames taken breaks the protocol: it has not been received.
    fn take_frames(&mut self, mut bytes: Bytes, limit: u64) -> Result<(), WireError> {
        while !self.begun.is_empty() && !bytes.is_empty() {
            // Only what completes the frame is copied; what follows is not.
            let missing = match LaneFrame::length(&self.begun, limit)? {
                Some(whole) => whole.end.saturating_sub(self.begun.len()),
                None => 1,
            };
            self.begun.extend_from_slice(&bytes.split_to(missing.min(bytes.len())));
            let is_whole = LaneFrame::length(&self.begun, limit)?
                .is_some_and(|whole| whole.end <= self.begun.len());
            if is_whole {
                let mut frame = std::mem::take(&mut self.begun).freeze();
                self.keep(LaneFrame::take(&mut frame, limit)?)?;
            }
        }
        if self.begun.is_empty() {
            while let Some(frame) = LaneFrame::take(&mut bytes, limit)? {
                self.keep(Some(frame))?;
            }
            self.begun.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// Kinds behind capabilities that this release does not offer are refused.
    fn keep(&mut self, frame: Option<LaneFrame>) -> Result<(), WireError> {
        match frame {
            Some(LaneFrame::Flush { .. } | LaneFrame::Flushed { .. }) => Err(WireError::Malformed),
            frame => {
                self.frames.extend(frame);
                Ok(())
            }
        }
    }
}

/// Takes frames that follow one another on a lane, but for those that came before.
fn take_frames(
    session: &Session,
    mut place: Receipt,
    frames: &mut Vec<LaneFrame>,
    arrived: &mut Arrived,
) -> Result<(), WireError> {
    if frames.is_empty() {
        return Ok(());
    }
    let known = session.handle_frames(place.lane, place.sequence, frames.len() as u64)?;
    let mut settled = Vec::new();
    let mut taken = Ok(());
    for (n, frame) in (0..).zip(frames.drain(..)) {
        if n >= known && taken.is_ok() {
            taken = take_frame(session, place, frame, &mut settled, arrived);
        }
        place.sequence += 1;
    }
    session.settle_all(settled);
    taken
}

fn take_frame(
    session: &Session,
    place: Receipt,
    frame: LaneFrame,
    settled: &mut Vec<Receipt>,
    arrived: &mut Arrived,
) -> Result<(), WireError> {
    match frame {
        LaneFrame::Message { target, payload } => {
            let ticket = session.hold(place, payload.len() as u64)?;
            let class = Class::Message;
            session.offer(Inbound { ticket, class, target, payload }, &mut arrived.frames);
        }
        LaneFrame::Answer { target, payload } => {
            settled.push(place);
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
            settled.push(place);
            let unsettled = session.handle_rejected(lane, sequence)?;
            arrived.rejected.push((lane, unsettled, reason));
        }
        LaneFrame::Seen { count } => session.handle_seen(place, count)?,
        LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => {}
    }
    Ok(())
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
