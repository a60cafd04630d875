//! The bytes of one stream, turned into what they ask for.
//!
//! Invariant: a frame's place in its lane is counted here, from the stream's header on, and what
//! came before on another connection is passed over; so each frame is looked at once.
//! Knows no stream: bytes come in as they arrive, cut anywhere.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Class, Frames, Receipt, Session, Unsettled, inflow::Holding, urgency::Urgency};
use crate::wire::{
    WireError,
    lane::{BULK_STREAM, Front, HEAD_LONGEST, LaneFrame},
    varint,
};

/// What arrived and is to be passed on, in order.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) frames: Frames,
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
    /// Places that one turn settles by itself; kept for its room.
    settled: Vec<Receipt>,
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
        Self { carrier, begun: BytesMut::new(), kind: None, settled: Vec::new() }
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
                let settled = std::mem::take(&mut self.settled);
                let mut turn = Turn::begin(session, place, settled, arrived)?;
                let taken = self.take_frames(bytes, &mut turn);
                let (next, settled) = turn.end()?;
                self.kind = Some(Kind::Lane(next));
                self.settled = settled;
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
    fn take_frames(&mut self, mut bytes: Bytes, turn: &mut Turn<'_>) -> Result<(), WireError> {
        // What is longer than a frame may be is refused by its length, before it is read.
        let limit = turn.session.frame_limit_bytes();
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
                let frame = std::mem::take(&mut self.begun).freeze();
                turn.take_front(&frame, 0, limit)?;
            }
        }
        if self.begun.is_empty() {
            let mut at = 0;
            while let Some(length) = turn.take_front(&bytes, at, limit)? {
                at += length;
            }
            self.begun.extend_from_slice(&bytes[at..]);
        }
        Ok(())
    }
}

/// Takes frames that follow one another on a lane, but for those that came before.
struct Turn<'a> {
    session: &'a Session,
    /// Where the turn began.
    first: u64,
    /// The place of the next frame.
    place: Receipt,
    /// Frames up to here came on an earlier connection.
    known: u64,
    /// What the frames taken took.
    bytes: u64,
    holding: Holding,
    settled: Vec<Receipt>,
    arrived: &'a mut Arrived,
}

impl<'a> Turn<'a> {
    /// # Errors
    ///
    /// When there is no such lane, or frames before this place are missing.
    fn begin(
        session: &'a Session,
        place: Receipt,
        settled: Vec<Receipt>,
        arrived: &'a mut Arrived,
    ) -> Result<Self, WireError> {
        let known = session.received_on(place.lane)?;
        if place.sequence > known + 1 {
            return Err(WireError::Gap { due: known + 1, came: place.sequence });
        }
        let holding = session.holding();
        let first = place.sequence;
        Ok(Self { session, first, place, known, bytes: 0, holding, settled, arrived })
    }

    /// Notes that all that was taken has arrived. Returns the next frame's place.
    fn end(mut self) -> Result<(Receipt, Vec<Receipt>), WireError> {
        let count = self.place.sequence - self.first;
        if count > 0 {
            self.session.handle_frames(self.place.lane, self.first, count, self.bytes)?;
            self.session.hold(&self.holding);
            self.session.settle_each(self.settled.drain(..), Urgency::Later);
        }
        Ok((self.place, self.settled))
    }

    /// Takes the frame that begins at `at`, and returns its length; `None` while it is not whole.
    ///
    /// # Errors
    ///
    /// When it breaks the protocol: it is not taken.
    #[inline]
    fn take_front(
        &mut self,
        bytes: &Bytes,
        at: usize,
        limit: u64,
    ) -> Result<Option<usize>, WireError> {
        let Some((front, length)) = LaneFrame::take_at(bytes, at, limit)? else { return Ok(None) };
        // One that came before was taken then.
        if self.place.sequence > self.known {
            self.take(bytes, front)?;
        }
        self.place.sequence += 1;
        self.bytes += length as u64;
        Ok(Some(length))
    }

    #[inline]
    fn take(&mut self, bytes: &Bytes, front: Front) -> Result<(), WireError> {
        let Self { session, place, .. } = *self;
        let frames = &mut self.arrived.frames;
        match front {
            Front::Message { target, payload } => {
                let ticket = self.holding.take(place, payload.len() as u64)?;
                session.offer(ticket, target, bytes, payload, frames);
                Ok(())
            }
            Front::Answer { target, payload } => {
                self.settled.push(place);
                frames.push(place, Class::Answer, target, bytes, payload);
                Ok(())
            }
            Front::Rarer(frame) => self.take_rarer(frame),
        }
    }

    fn take_rarer(&mut self, frame: LaneFrame) -> Result<(), WireError> {
        let Self { session, place, .. } = *self;
        match frame {
            LaneFrame::Bulk { answer: false, target, id, length } => {
                let mut holding = self.holding;
                let ticket = holding.take(place, length)?;
                session.expect_bulk(id, length, ticket, Class::Message, target)?;
                self.holding = holding;
                Ok(())
            }
            LaneFrame::Bulk { answer: true, target, id, length } => {
                session.expect_bulk(id, length, place, Class::Answer, target)
            }
            LaneFrame::Rejected { lane, sequence, reason } => {
                session.check_answers()?;
                let unsettled = session.handle_rejected(lane, sequence)?;
                self.settled.push(place);
                self.arrived.rejected.push((lane, unsettled, reason));
                Ok(())
            }
            LaneFrame::Seen { count } => session.handle_seen(place, count),
            // They are behind a capability that this release does not offer.
            LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => Err(WireError::Malformed),
            #[cfg(any(test, feature = "fuzzing"))]
            LaneFrame::Message { .. } | LaneFrame::Answer { .. } => Err(WireError::Malformed),
        }
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
