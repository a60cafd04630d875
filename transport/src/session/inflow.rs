//! A session's messages on their way in: what is held to the peer's budget, parked, or still coming in
//! on a stream of its own.

use std::{ops::Range, sync::atomic::Ordering};

use bytes::Bytes;

use super::{
    Arrived, Class, Errand, Frames, Later, Receipt, Session, Shape,
    buffers::Buffers,
    bulk::{BulkIn, Coming, Gone, Pulled},
    frames::Parcel,
    lock,
    parking::Parking,
    reader::budget_bytes,
};
use crate::wire::{WireError, control::Control, handshake::Accepts};

/// How many bulk messages and answers of one peer may be announced and not complete. Messages are
/// bounded by the budget, and answers by what was asked; this holds a peer that breaks that.
const COMING_LIMIT: usize = 65_536;

/// What has arrived, or begun to, and is not delivered.
pub(super) struct Inflow {
    parking: Parking,
    pub(super) bulks: BulkIn,
}

impl Inflow {
    pub(super) fn new(shape: &Shape, buffers: Buffers) -> Self {
        Self { parking: Parking::default(), bulks: BulkIn::new(shape.bulk_streams.into(), buffers) }
    }
}

/// What one turn takes of what this end said it would hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    accepts: Accepts,
    /// Messages and bytes held when the turn began, and taken since.
    before: (u64, u64),
    taken: (u64, u64),
}

impl Holding {
    /// Takes a message with a payload of so many bytes.
    ///
    /// # Errors
    ///
    /// When it is longer than this end takes, or more than it said it would hold.
    #[inline]
    pub(super) fn take(&mut self, place: Receipt, length: u64) -> Result<Receipt, WireError> {
        let Accepts { longest, messages, bytes } = self.accepts;
        if length > longest {
            return Err(WireError::TooLong { length, limit: longest });
        }
        let more = budget_bytes(length);
        let held = (self.before.0 + self.taken.0, self.before.1 + self.taken.1);
        if held.0 > 0 && (held.0 >= messages || held.1 + more > bytes) {
            return Err(WireError::OverBudget);
        }
        self.taken = (self.taken.0 + 1, self.taken.1 + more);
        // The limit of a payload fits with its head.
        Ok(Receipt { bytes: u32::try_from(more).map_err(|_| WireError::Malformed)?, ..place })
    }
}

impl Session {
    /// What this end holds of the peer's messages, for a turn that takes more.
    pub(super) fn holding(&self) -> Holding {
        // What is let go meanwhile only makes room, and what the peer was told to be settled has been
        // let go before. Nobody else takes: a session is read by one thread, one turn after another.
        Holding { accepts: self.0.shape.accepts, before: self.0.held.get(), taken: (0, 0) }
    }

    /// Holds what a turn has taken.
    pub(super) fn hold(&self, holding: &Holding) {
        let (messages, bytes) = holding.taken;
        if messages > 0 {
            self.0.held.add(messages, bytes);
        }
    }

    /// A message has arrived: it is delivered, parked, or rejected since an earlier one was.
    #[inline]
    pub(super) fn offer(
        &self,
        ticket: Receipt,
        target: u64,
        bytes: &Bytes,
        payload: Range<usize>,
        out: &mut Frames,
    ) {
        let class = Class::Message;
        let is_free = !self.0.is_inflow_busy.load(Ordering::Acquire)
            && !self.0.budget.has_many_answers()
            && !self.refuses_any(ticket.lane);
        if is_free {
            out.push(ticket, class, target, bytes, payload);
        } else {
            let payload = bytes.slice(payload);
            self.offer_in_turn(Parcel { ticket, class, target, payload }, out);
        }
    }

    fn offer_in_turn(&self, parcel: Parcel, out: &mut Frames) {
        if self.0.budget.has_many_answers() {
            self.0.is_inflow_busy.store(true, Ordering::Release);
            lock(&self.0.inflow).parking.shut();
        }
        let whole = if self.0.is_inflow_busy.load(Ordering::Acquire) {
            lock(&self.0.inflow).parking.offer(parcel)
        } else {
            Some(parcel)
        };
        if let Some(parcel) = whole {
            self.deliver(parcel, out);
        }
    }

    fn deliver(&self, parcel: Parcel, out: &mut Frames) {
        let Parcel { ticket, target, .. } = parcel;
        match self.refusal(ticket, target) {
            // Its sender has not seen yet that an earlier one did not run.
            Some(reason) => self.reject(ticket, target, reason, Later::Reject(reason)),
            None => out.push_parcel(parcel),
        }
    }

    /// A bulk message was announced.
    ///
    /// # Errors
    ///
    /// When it is longer than allowed, empty, or its number is in use; and when the peer takes no
    /// notice of what becomes of what it announces.
    pub(super) fn expect_bulk(
        &self,
        id: u64,
        length: u64,
        ticket: Receipt,
        class: Class,
        target: u64,
    ) -> Result<(), WireError> {
        let limit = self.0.shape.accepts.longest;
        if length > limit {
            return Err(WireError::TooLong { length, limit });
        }
        // One that is given up is rejected, however many wait for the peer already.
        self.check_answers()?;
        self.0.is_inflow_busy.store(true, Ordering::Release);
        let mut inflow = lock(&self.0.inflow);
        if inflow.bulks.len() >= COMING_LIMIT {
            return Err(WireError::OverBudget);
        }
        if length == 0 || !inflow.bulks.expect(id, length, ticket, class, target) {
            return Err(WireError::Malformed);
        }
        if class == Class::Message {
            inflow.parking.expect(target, id);
        }
        drop(inflow);
        self.0.control_ready.notify_one();
        Ok(())
    }

    /// Whether this end can take a frame that it answers at once, whatever waits for the peer.
    ///
    /// # Errors
    ///
    /// When the peer takes no notice of its answers, which only one that breaks the protocol does.
    pub(super) fn check_answers(&self) -> Result<(), WireError> {
        let Shape { message_limit, accepts, .. } = self.0.shape;
        let longest = budget_bytes(message_limit as u64);
        let too_many = self.0.budget.has_too_many_answers(longest, accepts.messages);
        if too_many { Err(WireError::OverBudget) } else { Ok(()) }
    }

    /// The next bulk message to ask for.
    pub(super) fn poll_pull(&self) -> Option<(u64, u64)> {
        if !self.0.is_inflow_busy.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.0.inflow).bulks.poll_pull()
    }

    /// A stream begins that carries a bulk message.
    ///
    /// # Errors
    ///
    /// When nobody asked for it.
    pub(super) fn begin_bulk(&self, carrier: u64, id: u64, from: u64) -> Result<(), WireError> {
        let begins = lock(&self.0.inflow).bulks.begins(carrier, id, from);
        if begins { Ok(()) } else { Err(WireError::Malformed) }
    }

    /// Whether a bulk message is not complete.
    pub(super) fn awaits_bulk(&self, carrier: u64, id: u64) -> bool {
        lock(&self.0.inflow).bulks.awaits(carrier, id)
    }

    /// Bytes of a bulk message came.
    pub(super) fn handle_bulk_bytes(
        &self,
        carrier: u64,
        id: u64,
        bytes: &[u8],
        arrived: &mut Arrived,
    ) -> Result<(), WireError> {
        let mut inflow = lock(&self.0.inflow);
        let complete = inflow.bulks.handle_bytes(carrier, id, bytes)?;
        let wants_more = inflow.bulks.wants_more();
        drop(inflow);
        if wants_more {
            self.0.control_ready.notify_one();
        }
        if let Some((coming, payload)) = complete {
            self.send_control(Control::Got { id });
            self.take_bulk(id, coming, Some(payload), arrived);
        }
        Ok(())
    }

    /// A bulk message is complete, or will never be.
    fn take_bulk(&self, id: u64, coming: Coming, payload: Option<Bytes>, arrived: &mut Arrived) {
        let Coming { ticket, class, target, .. } = coming;
        let parcel = payload.map(|payload| Parcel { ticket, class, target, payload });
        match class {
            Class::Answer => {
                self.settle(ticket);
                parcel.into_iter().for_each(|parcel| arrived.frames.push_parcel(parcel));
            }
            Class::Message => {
                let mut out = Vec::new();
                lock(&self.0.inflow).parking.complete(target, id, parcel, &mut out);
                out.into_iter().for_each(|parcel| self.deliver(parcel, &mut arrived.frames));
            }
        }
        self.look_at_inflow();
        self.0.control_ready.notify_one();
    }

    /// The sender has given a bulk message up.
    pub(super) fn handle_cancelled(&self, id: u64, reason: u8, arrived: &mut Arrived) {
        let Some(coming) = lock(&self.0.inflow).bulks.handle_cancel(id) else { return };
        let (ticket, target, class) = (coming.ticket, coming.target, coming.class);
        self.take_bulk(id, coming, None, arrived);
        if class == Class::Message {
            self.reject(ticket, target, reason, Later::Deliver);
        }
    }

    /// Delivers what was parked because too many answers waited, once they do no more.
    pub(crate) fn release(&self, arrived: &mut Arrived) {
        if !self.0.is_inflow_busy.load(Ordering::Acquire) || self.0.budget.has_many_answers() {
            return;
        }
        let mut inflow = lock(&self.0.inflow);
        if !inflow.parking.is_shut() {
            return;
        }
        let mut out = Vec::new();
        inflow.parking.open(&mut out);
        drop(inflow);
        out.into_iter().for_each(|parcel| self.deliver(parcel, &mut arrived.frames));
        self.look_at_inflow();
    }

    fn look_at_inflow(&self) {
        let inflow = lock(&self.0.inflow);
        let is_busy = !inflow.parking.is_empty() || !inflow.bulks.is_empty();
        self.0.is_inflow_busy.store(is_busy, Ordering::Release);
    }
}

/// The other direction: what this end sends as bulk.
impl Session {
    /// The peer asks for a bulk message.
    pub(super) fn handle_pull(&self, id: u64, from: u64) -> Option<Errand> {
        match lock(&self.0.bulk_out).handle_pull(id, from)? {
            Pulled::Write(bytes) => Some(Errand::Write { id, from, bytes }),
            Pulled::Cancelled => {
                self.0.control_ready.notify_one();
                None
            }
        }
    }

    /// Whether a bulk message is still to be written.
    pub(crate) fn wants_bulk(&self, id: u64) -> bool {
        lock(&self.0.bulk_out).wants(id)
    }

    /// Waits until a bulk message is not [wanted](Self::wants_bulk) any more.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub(crate) async fn bulk_cancelled(&self, id: u64) {
        loop {
            let cancelled = self.0.bulk_cancelled.notified();
            tokio::pin!(cancelled);
            cancelled.as_mut().enable();
            if !self.wants_bulk(id) {
                return;
            }
            cancelled.await;
        }
    }

    /// The peer has all of a bulk message.
    pub(super) fn handle_got(&self, id: u64) {
        let gone = lock(&self.0.bulk_out).handle_got(id);
        self.let_bulks_go(gone);
    }

    /// These frames of a lane are settled.
    pub(super) fn settle_bulks(&self, lane: u16, is_settled: impl Fn(u64) -> bool) {
        let mut bulks = lock(&self.0.bulk_out);
        if bulks.is_empty() {
            return;
        }
        let gone = bulks.handle_settled(lane, is_settled);
        drop(bulks);
        self.let_bulks_go(gone);
    }

    fn let_bulks_go(&self, gone: impl IntoIterator<Item = Gone>) {
        for gone in gone {
            self.0.budget.give_back_answers(gone.answer_bytes);
            gone.settles.into_iter().for_each(|receipt| self.settle(receipt));
        }
    }
}
