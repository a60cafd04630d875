//! Messages too long for a lane: each travels on a stream of its own, when the receiver asks for it,
//! while a short frame holds its place in its lane.
//!
//! ```text
//!  sender   lane: .. Bulk(id, length) ..          stream: id, from, bytes ..
//!  receiver          control: Pull(id, from) ──────┘        control: Got(id)
//! ```
//!
//! The receiver pulls, so it decides how much comes in at once, and after a reconnect it asks for
//! what is missing only. The sender keeps the bytes until they have arrived.
//!
//! Invariant: what is kept is within the session's budgets, at both ends; of a message of which no
//! byte has come nothing is allocated, and of another no more than 1 MiB ahead of its bytes.
//! Knows no stream: callers write and read.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    Class, Receipt,
    buffers::{Buffer, Buffers},
};
use crate::wire::WireError;

/// What this end sends.
#[derive(Debug, Default)]
pub(super) struct BulkOut {
    last: u64,
    sending: BTreeMap<u64, Sending>,
    /// Those given up of which the peer is to be told, and why.
    untold: BTreeMap<u64, u8>,
}

#[derive(Debug)]
struct Sending {
    place: (u16, u64),
    /// What the layer above knows it by, to cancel it.
    token: u64,
    state: State,
    gone: Gone,
}

/// What ends with a bulk message that needs not be kept any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// What it took of the answers' budget, if it is one.
    pub(super) answer_bytes: u64,
    /// The peer's frame that this answer ends, settled once the peer has all of it.
    pub(super) settles: Option<Receipt>,
}

#[derive(Debug)]
enum State {
    Kept(Bytes),
    /// Given up by its sender, with this reason.
    Cancelled(u8),
}

/// What to do about a pull.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// Write these bytes.
    Write(Bytes),
    /// It will not come: the receiver is told why.
    Cancelled,
}

impl BulkOut {
    /// The number of the next one.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Keeps one, whose short frame has this place.
    pub(super) fn keep(
        &mut self,
        id: u64,
        place: (u16, u64),
        token: u64,
        payload: Bytes,
        gone: Gone,
    ) {
        self.sending.insert(id, Sending { place, token, state: State::Kept(payload), gone });
    }

    /// The receiver asks for what comes from `from` on. `None` if it is nothing that was announced.
    pub(super) fn handle_pull(&mut self, id: u64, from: u64) -> Option<Pulled> {
        match &self.sending.get(&id)?.state {
            State::Kept(payload) => {
                let from = usize::try_from(from).ok().filter(|from| *from <= payload.len())?;
                Some(Pulled::Write(payload.slice(from..)))
            }
            State::Cancelled(reason) => {
                self.untold.insert(id, *reason);
                Some(Pulled::Cancelled)
            }
        }
    }

    /// Whether one is still to be written.
    pub(super) fn wants(&self, id: u64) -> bool {
        self.sending.get(&id).is_some_and(|sending| matches!(sending.state, State::Kept(_)))
    }

    /// The receiver has all of it.
    pub(super) fn handle_got(&mut self, id: u64) -> Option<Gone> {
        Some(self.sending.remove(&id)?.gone)
    }

    /// These frames of a lane are settled.
    pub(super) fn handle_settled(
        &mut self,
        lane: u16,
        is_settled: impl Fn(u64) -> bool,
    ) -> Vec<Gone> {
        let is_gone = |sending: &Sending| sending.place.0 == lane && is_settled(sending.place.1);
        let mut gone = Vec::new();
        self.sending.retain(|_, sending| {
            let is_gone = is_gone(sending);
            if is_gone {
                gone.push(sending.gone);
            }
            !is_gone
        });
        gone
    }

    /// Gives up a message that has not arrived as a whole. Returns whether there was one.
    pub(super) fn cancel(&mut self, token: u64, reason: u8) -> bool {
        let is_it = |sending: &Sending| {
            sending.token == token && token != 0 && matches!(sending.state, State::Kept(_))
        };
        let Some((id, sending)) = self.sending.iter_mut().find(|(_, sending)| is_it(sending))
        else {
            return false;
        };
        sending.state = State::Cancelled(reason);
        self.untold.insert(*id, reason);
        true
    }

    /// A new connection: all that was given up is to be told again.
    pub(super) fn resume(&mut self) {
        let reason = |sending: &Sending| match sending.state {
            State::Cancelled(reason) => Some(reason),
            State::Kept(_) => None,
        };
        self.untold =
            self.sending.iter().filter_map(|(id, sending)| Some((*id, reason(sending)?))).collect();
    }

    /// Those given up of which the peer has not been told on this connection, and why.
    pub(super) fn poll_cancelled(&mut self) -> BTreeMap<u64, u8> {
        std::mem::take(&mut self.untold)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.sending.clear();
        self.untold.clear();
    }
}

/// What the peer sends.
#[derive(Debug)]
pub(super) struct BulkIn {
    /// How many may come in at once, and as many again that are about to be complete.
    streams: usize,
    coming: BTreeMap<u64, Coming>,
    /// Those not yet asked for on this connection, in order.
    waiting: VecDeque<u64>,
    /// How many were asked for on this connection, and are not complete.
    whole: usize,
    ending: usize,
    /// This connection: what still comes on another is passed over, since it will come again.
    carrier: u64,
    /// What is filled with what comes.
    buffers: Buffers,
}

/// A bulk message that comes in.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) ticket: Receipt,
    pub(super) class: Class,
    pub(super) target: u64,
    length: u64,
    bytes: Buffer,
    /// What it takes since it was asked for.
    place: Option<Place>,
}

/// What one that was asked for takes of what may come in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One of the streams.
    Whole,
    /// It will be complete soon: another is asked for, so that the path does not wait for it.
    Ending,
}

/// How much of a message is still to come when the next one is asked for: what a path of 10 Gbit/s
/// carries in 0.2 ms, so that asking takes no longer than its rest.
const ENDING_BYTES: u64 = 256 * 1024;

impl Coming {
    fn place_now(&self) -> Place {
        let to_come = self.length - self.bytes.len() as u64;
        if to_come > ENDING_BYTES { Place::Whole } else { Place::Ending }
    }
}

impl BulkIn {
    pub(super) fn new(streams: usize, buffers: Buffers) -> Self {
        Self {
            streams,
            coming: BTreeMap::new(),
            waiting: VecDeque::new(),
            whole: 0,
            ending: 0,
            carrier: 0,
            buffers,
        }
    }

    /// One was announced. `false` if its number is in use.
    pub(super) fn expect(
        &mut self,
        id: u64,
        length: u64,
        ticket: Receipt,
        class: Class,
        target: u64,
    ) -> bool {
        if self.coming.contains_key(&id) {
            return false;
        }
        // Numbers that were cancelled stay in the line, but never more than there are others.
        if self.waiting.len() > 2 * self.coming.len() + 16 {
            self.waiting.retain(|id| self.coming.contains_key(id));
        }
        let bytes = Buffer::default();
        let coming = Coming { ticket, class, target, length, bytes, place: None };
        self.waiting.push_back(id);
        self.coming.insert(id, coming);
        true
    }

    /// The next one to ask for, and from where on.
    pub(super) fn poll_pull(&mut self) -> Option<(u64, u64)> {
        while self.whole < self.streams && self.whole + self.ending < 2 * self.streams {
            let id = self.waiting.pop_front()?;
            if let Some(coming) = self.coming.get_mut(&id) {
                let (place, from) = (coming.place_now(), coming.bytes.len() as u64);
                coming.place = Some(place);
                *self.count(place) += 1;
                return Some((id, from));
            }
        }
        None
    }

    /// Whether another may be asked for.
    pub(super) fn wants_more(&self) -> bool {
        let is_room = self.whole < self.streams && self.whole + self.ending < 2 * self.streams;
        is_room && !self.waiting.is_empty()
    }

    fn count(&mut self, place: Place) -> &mut usize {
        match place {
            Place::Whole => &mut self.whole,
            Place::Ending => &mut self.ending,
        }
    }

    /// A stream begins on a connection. `false` if nobody asked for it.
    pub(super) fn begins(&self, carrier: u64, id: u64, from: u64) -> bool {
        let is_next = |coming: &Coming| coming.place.is_some() && coming.bytes.len() as u64 == from;
        // One that is unknown was cancelled after it was asked for.
        carrier != self.carrier || self.coming.get(&id).is_none_or(is_next)
    }

    /// Whether bytes of one are still to come on a connection.
    pub(super) fn awaits(&self, carrier: u64, id: u64) -> bool {
        carrier == self.carrier && self.coming.contains_key(&id)
    }

    /// Bytes of one came. Gives the whole of it once it is complete.
    ///
    /// # Errors
    ///
    /// When there are more than were announced.
    pub(super) fn handle_bytes(
        &mut self,
        carrier: u64,
        id: u64,
        bytes: &[u8],
    ) -> Result<Option<(Coming, Bytes)>, WireError> {
        if carrier != self.carrier {
            return Ok(None);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        // It may have been cancelled while its last bytes were on their way.
        let Some(coming) = self.coming.get_mut(&id) else { return Ok(None) };
        let came = coming.bytes.len() as u64 + bytes.len() as u64;
        if came > coming.length {
            return Err(WireError::TooLong { length: came, limit: coming.length });
        }
        if coming.bytes.len() == 0 {
            coming.bytes = self.buffers.take(coming.length);
        }
        coming.bytes.extend(bytes);
        if came < coming.length {
            if coming.place == Some(Place::Whole) && coming.place_now() == Place::Ending {
                coming.place = Some(Place::Ending);
                self.whole -= 1;
                self.ending += 1;
            }
            return Ok(None);
        }
        Ok(self.remove(id).map(|mut coming| {
            let bytes = std::mem::take(&mut coming.bytes).freeze();
            (coming, bytes)
        }))
    }

    /// The sender has given one up.
    pub(super) fn handle_cancel(&mut self, id: u64) -> Option<Coming> {
        self.remove(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.coming.is_empty()
    }

    /// How many are announced and not complete.
    pub(super) fn len(&self) -> usize {
        self.coming.len()
    }

    fn remove(&mut self, id: u64) -> Option<Coming> {
        let coming = self.coming.remove(&id)?;
        if let Some(place) = coming.place {
            *self.count(place) -= 1;
        }
        Some(coming)
    }

    /// A new connection: all is to be asked for again, from where it is.
    pub(super) fn resume(&mut self, carrier: u64) {
        self.carrier = carrier;
        (self.whole, self.ending) = (0, 0);
        self.coming.values_mut().for_each(|coming| coming.place = None);
        // Numbers grow, and so does the order in which they were announced, per lane at least.
        self.waiting = self.coming.keys().copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Receipt = Receipt { lane: 0, sequence: 1, bytes: 0 };

    fn expecting(streams: usize, ids: &[u64]) -> BulkIn {
        let mut bulks = BulkIn::new(streams, Buffers::default());
        for id in ids {
            assert!(bulks.expect(*id, 4, TICKET, Class::Message, 1));
        }
        bulks
    }

    #[test]
    fn only_so_many_come_in_at_once() {
        let mut bulks = expecting(1, &[1, 2, 3]);
        assert_eq!([bulks.poll_pull(), bulks.poll_pull()], [Some((1, 0)), Some((2, 0))]);
        assert!(bulks.poll_pull().is_none() && !bulks.wants_more());
        assert!(bulks.begins(0, 1, 0) && !bulks.begins(0, 1, 1) && !bulks.begins(0, 3, 0));
        let (_, bytes) = bulks.handle_bytes(0, 1, b"1234").expect("in bounds").expect("complete");
        assert_eq!(bytes, b"1234"[..]);
        assert!(bulks.wants_more());
        assert_eq!(bulks.poll_pull(), Some((3, 0)));
    }

    #[test]
    fn the_next_one_is_asked_for_before_the_last_bytes_of_another_come() {
        let mut bulks = BulkIn::new(1, Buffers::default());
        for (id, length) in [(1, ENDING_BYTES + 8), (2, ENDING_BYTES + 1), (3, 1)] {
            assert!(bulks.expect(id, length, TICKET, Class::Message, 1));
        }
        assert_eq!([bulks.poll_pull(), bulks.poll_pull()], [Some((1, 0)), None]);
        assert!(bulks.handle_bytes(0, 1, &[0; 7]).expect("in bounds").is_none());
        assert!(!bulks.wants_more() && bulks.poll_pull().is_none(), "there is more to come");
        assert!(bulks.handle_bytes(0, 1, &[0]).expect("in bounds").is_none());
        assert!(bulks.wants_more());
        assert_eq!([bulks.poll_pull(), bulks.poll_pull()], [Some((2, 0)), None]);
        assert!(bulks.handle_cancel(1).is_some());
        assert_eq!(bulks.poll_pull(), None, "the second one is not about to end");
        assert!(bulks.handle_bytes(0, 2, &[0]).expect("in bounds").is_none());
        assert_eq!(bulks.poll_pull(), Some((3, 0)));
    }

    #[test]
    fn a_new_connection_asks_for_what_is_missing_only() {
        let mut bulks = expecting(1, &[1, 2]);
        assert_eq!([bulks.poll_pull(), bulks.poll_pull()], [Some((1, 0)), Some((2, 0))]);
        assert!(bulks.handle_bytes(0, 1, b"123").expect("in bounds").is_none());
        bulks.resume(1);
        assert_eq!(bulks.poll_pull(), Some((1, 3)));
        assert!(bulks.handle_bytes(0, 1, b"4").expect("passed over").is_none());
        let (_, bytes) = bulks.handle_bytes(1, 1, b"4").expect("in bounds").expect("complete");
        assert_eq!(bytes, b"1234"[..]);
        assert_eq!(bulks.poll_pull(), Some((2, 0)));
    }

    #[test]
    fn what_is_announced_and_cancelled_again_and_again_takes_no_memory() {
        let mut bulks = expecting(1, &[1]);
        bulks.poll_pull();
        for id in 2..10_000 {
            assert!(bulks.expect(id, 4, TICKET, Class::Answer, 1));
            assert!(bulks.handle_cancel(id).is_some());
        }
        assert!(bulks.waiting.len() < 100, "{}", bulks.waiting.len());
        assert!(!bulks.expect(1, 4, TICKET, Class::Answer, 1), "its number is in use");
        assert!(bulks.awaits(0, 1), "and it still comes");
    }

    #[test]
    fn more_than_was_announced_is_refused() {
        let mut bulks = expecting(1, &[1]);
        bulks.poll_pull();
        assert!(bulks.handle_bytes(0, 1, b"12345").is_err());
    }

    #[test]
    fn a_cancelled_one_frees_its_stream_and_what_still_comes_is_dropped() {
        let mut bulks = expecting(1, &[1, 2, 3]);
        assert_eq!([bulks.poll_pull(), bulks.poll_pull()], [Some((1, 0)), Some((2, 0))]);
        assert_eq!(bulks.poll_pull(), None);
        assert!(bulks.handle_cancel(1).is_some());
        assert!(bulks.handle_bytes(0, 1, b"12").expect("dropped").is_none());
        assert_eq!(bulks.poll_pull(), Some((3, 0)));
        assert!(bulks.handle_cancel(1).is_none());
    }

    #[test]
    fn what_is_sent_is_kept_until_it_has_arrived_or_is_settled() {
        let mut bulks = BulkOut::default();
        for (id, sequence) in [(1, 10), (2, 20), (3, 30)] {
            assert_eq!(bulks.next_id(), id);
            let payload = Bytes::from_static(b"1234");
            let gone = Gone { answer_bytes: id, settles: (id == 2).then_some(TICKET) };
            bulks.keep(id, (0, sequence), id + 100, payload, gone);
        }
        let rest = Pulled::Write(Bytes::from_static(b"34"));
        assert_eq!(bulks.handle_pull(1, 2), Some(rest));
        assert_eq!(bulks.handle_pull(1, 5), None);
        assert_eq!(bulks.handle_got(1), Some(Gone { answer_bytes: 1, settles: None }));
        assert_eq!(bulks.handle_got(1), None);
        assert_eq!(bulks.handle_pull(1, 0), None);
        assert_eq!(bulks.handle_settled(1, |_| true), [], "another lane");
        let gone = Gone { answer_bytes: 2, settles: Some(TICKET) };
        assert_eq!(bulks.handle_settled(0, |sequence| sequence <= 20), [gone]);
        assert!(bulks.wants(3) && bulks.cancel(103, 9) && !bulks.wants(3));
        assert!(!bulks.cancel(103, 9), "once");
        let told = BTreeMap::from([(3, 9)]);
        assert_eq!(bulks.poll_cancelled(), told);
        assert_eq!(bulks.poll_cancelled(), BTreeMap::new());
        assert_eq!(bulks.handle_pull(3, 0), Some(Pulled::Cancelled));
        assert_eq!(bulks.poll_cancelled(), told, "who asks is told again");
        bulks.resume();
        assert_eq!(bulks.poll_cancelled(), told, "and so is each connection");
    }
}
