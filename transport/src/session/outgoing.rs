//! One lane towards a peer: what was sent, what has arrived, and what has been settled.
//!
//! ```text
//!  open ──swap──> batches ──cursor──> connection      `received` frees batches
//!  records: one per frame, until it is settled        `settled`  frees budget
//! ```
//!
//! Invariant: a frame's sequence number is its place in the lane, from 1, whatever connection
//! carries it. A record lives until its frame is settled, so that each message ends in exactly one
//! outcome. Bytes and records are bounded by the budgets.
//! Knows no connection, clock or waker of its own: callers carry out what is returned.

use std::{
    collections::{VecDeque, hash_map::Entry},
    task::Waker,
};

use bytes::Bytes;

use super::{
    Receipt,
    budget::{Budget, Prepaid},
    records::{Record, Records, State},
    settled::{self, SettledRanges},
    target::{Limits, Pause, Target, Targets},
};
use crate::{
    wait_list::{Ticket, WaitList},
    wire::{WireError, lane, varint},
};

/// Whether a frame takes budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A message of its own: it takes budget until it is settled.
    Message,
    /// An answer to something the peer sent: as many as the peer asked for, so it takes none.
    Answer,
}

/// A frame that was sent and is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// The target's hash.
    pub target: u64,
    /// The sender's own mark for it; 0 if it wants to hear nothing.
    pub token: u64,
    /// Whether it was ever written to a connection. If not, it cannot have run.
    pub written: bool,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushRefusal {
    /// No budget now.
    Full,
    /// The session takes no more messages.
    Closing,
    /// The session has ended.
    Ended,
}

/// What a lane still takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Intake {
    All,
    /// One end is closing: what ends the peer's messages still passes.
    Answers,
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    limits: Limits,
    intake: Intake,
    open: Vec<u8>,
    open_frames: u64,
    /// Bytes of answers in `open`.
    open_answers: u64,
    batches: VecDeque<Batch>,
    /// Bytes in `batches`.
    batched_bytes: u64,
    /// Whether a sender was turned away because the lane held too many bytes.
    short: bool,
    /// The next batch to hand to the connection.
    cursor: usize,
    /// The connection that may take batches: one that was replaced gets no more.
    carrier: u64,
    /// The sequence number of the next frame.
    next: u64,
    /// The last frame that was ever handed to a connection.
    written: u64,
    /// The last frame that the peer is known to have received.
    received: u64,
    records: Records,
    /// Up to where the peer has said that all is settled.
    settled_up_to: u64,
    /// Whether the peer has not said on this connection what is settled.
    is_resumed: bool,
    targets: Targets,
    /// What is known to be settled of the recent records.
    settled: SettledRanges,
    /// Whether some may be paused since an earlier connection.
    has_earlier_pauses: bool,
    /// Rejections of the peer's frames, by the sequence number of ours that tells them. Only when
    /// the peer has it may its frame be marked as settled: the mark must not overtake the reason.
    telling: VecDeque<(u64, Receipt)>,
    /// How many rejections of this lane's frames have come and were passed on, and how many of them
    /// the peer knows us to have seen.
    rejections: u64,
    rejections_told: u64,
}

#[derive(Debug)]
struct Batch {
    first: u64,
    frames: u64,
    bytes: Bytes,
    /// Bytes of answers among them.
    answers: u64,
}

impl Batch {
    fn last(&self) -> u64 {
        self.first + self.frames - 1
    }
}

/// How many targets a lane knows before it forgets those that are not in use.
const IDLE_TARGETS_KEPT: usize = if cfg!(any(test, feature = "fuzzing")) { 2 } else { 1_024 };

impl Outgoing {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            intake: Intake::All,
            open: Vec::new(),
            open_frames: 0,
            open_answers: 0,
            batches: VecDeque::new(),
            batched_bytes: 0,
            short: false,
            cursor: 0,
            carrier: 0,
            next: 1,
            written: 0,
            received: 0,
            records: Records::new(),
            settled_up_to: 0,
            is_resumed: false,
            targets: Targets::default(),
            settled: SettledRanges::default(),
            has_earlier_pauses: false,
            telling: VecDeque::new(),
            rejections: 0,
            rejections_told: 0,
        }
    }

    /// Sends a message or an answer; `ticket` is the sender's place in the target's line, if it
    /// has one. Returns whether the writer is to be woken, and the next waiter that may try.
    pub(crate) fn push(
        &mut self,
        frame: &Frame<'_>,
        ticket: Option<Ticket>,
        prepaid: &mut Prepaid<'_>,
    ) -> Result<Pushed, PushRefusal> {
        self.check_intake(frame.class)?;
        let budget = prepaid.budget();
        let bytes = frame.bytes();
        let wake_writer = self.open.is_empty();
        let is_answer = frame.class == Class::Answer;
        let (state, next) = match frame.class {
            Class::Message => {
                let next = self.take_room(frame, ticket, prepaid)?;
                // What follows was sent in the knowledge of all rejections so far.
                self.tell_rejections(budget);
                (State::Message, next)
            }
            Class::Answer if budget.try_take_answer(bytes) => (State::Answer, None),
            Class::Answer => return Err(PushRefusal::Full),
        };
        let Frame { target, payload, bulk, .. } = *frame;
        match bulk {
            Some(id) => {
                let length = payload.len() as u64;
                lane::LaneFrame::Bulk { answer: is_answer, target, id, length }.put(&mut self.open);
            }
            None => {
                lane::put_payload(is_answer, target, payload, &mut self.open);
                self.open_answers += if is_answer { bytes } else { 0 };
            }
        }
        self.record(Record {
            target: frame.target,
            token: frame.token,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            state,
        });
        Ok(Pushed { wake_writer, next, sequence: self.next - 1 })
    }

    fn check_intake(&self, class: Class) -> Result<(), PushRefusal> {
        match (self.intake, class) {
            (Intake::All, _) | (Intake::Answers, Class::Answer) => Ok(()),
            (Intake::Answers, Class::Message) => Err(PushRefusal::Closing),
            (Intake::Nothing, _) => Err(PushRefusal::Ended),
        }
    }

    /// Takes a message's room at its target, in the lane and in the session, or none of them.
    /// Returns the next waiter that may try.
    fn take_room(
        &mut self,
        frame: &Frame<'_>,
        ticket: Option<Ticket>,
        prepaid: &mut Prepaid<'_>,
    ) -> Result<Option<Waker>, PushRefusal> {
        let (target, bytes) = (frame.target, frame.bytes());
        // Of a bulk message the lane itself carries next to nothing.
        let lane_bytes = if frame.bulk.is_some() { 0 } else { bytes };
        let (limits, has_lane_room) = (self.limits, self.has_lane_room(lane_bytes));
        let entry = self.targets.entry(target).or_default();
        let is_first = match ticket {
            Some(ticket) => entry.waiters.is_first(ticket),
            None => entry.waiters.is_empty(),
        };
        let may_try = is_first && entry.has_room(bytes, limits);
        self.short |= may_try && !has_lane_room;
        if !may_try || !has_lane_room || !prepaid.try_take(bytes) {
            self.forget_idle(target);
            return Err(PushRefusal::Full);
        }
        entry.take(bytes);
        let Some(ticket) = ticket else { return Ok(None) };
        entry.waiters.leave(ticket);
        Ok(entry.waiters.first())
    }

    /// Whether a bulk message would be taken now, if nothing else came between.
    pub(crate) fn may_take(
        &self,
        frame: &Frame<'_>,
        ticket: Option<Ticket>,
        budget: &Budget,
    ) -> bool {
        if self.check_intake(frame.class).is_err() {
            return false;
        }
        if frame.class == Class::Answer {
            return budget.may_take_answer(frame.bytes());
        }
        let has_turn = self.targets.get(&frame.target).is_none_or(|entry| {
            let is_first =
                ticket.map_or(entry.waiters.is_empty(), |ticket| entry.waiters.is_first(ticket));
            is_first && entry.has_room(frame.bytes(), self.limits)
        });
        has_turn && self.has_lane_room(0) && budget.may_take(frame.bytes())
    }

    fn has_lane_room(&self, bytes: u64) -> bool {
        let held = self.held_bytes();
        held == 0 || held + bytes <= self.limits.lane_bytes
    }

    /// Bytes that the peer has not received, as far as this end knows.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.batched_bytes + self.open.len() as u64
    }

    /// The answer that was pushed last settles a frame of the peer's, once the peer has it: the mark
    /// must not overtake it.
    pub(crate) fn settle_when_received(&mut self, receipt: Receipt) {
        self.telling.push_back((self.next - 1, receipt));
    }

    /// Tells the peer that a frame of its did not run. Returns whether the writer is to be woken.
    ///
    /// It always passes, and takes of the answers' budget until the peer has it: one that does not
    /// read why its messages were rejected is soon given no more to send.
    pub(crate) fn push_rejection(&mut self, receipt: Receipt, reason: u8, budget: &Budget) -> bool {
        if self.intake == Intake::Nothing {
            return false;
        }
        let wake_writer = self.open.is_empty();
        let Receipt { lane, sequence, .. } = receipt;
        lane::LaneFrame::Rejected { lane, sequence, reason }.put(&mut self.open);
        self.open_answers += budget.take_short_answer();
        self.telling.push_back((self.next, receipt));
        self.record(Record { target: 0, token: 0, bytes: 0, state: State::Answer });
        wake_writer
    }

    fn record(&mut self, record: Record) {
        self.records.push(record);
        self.open_frames += 1;
        self.next += 1;
    }

    /// Joins the line of a target, or renews a place in it. `None` when the line is full.
    pub(crate) fn join(
        &mut self,
        target: u64,
        ticket: Option<Ticket>,
        waker: &Waker,
    ) -> Option<Ticket> {
        let waiters = &mut self.targets.entry(target).or_default().waiters;
        match ticket {
            Some(ticket) => {
                waiters.renew(ticket, waker);
                Some(ticket)
            }
            None => waiters.join(waker),
        }
    }

    /// Leaves the line of a target; returns who may try instead.
    pub(crate) fn leave(&mut self, target: u64, ticket: Ticket) -> Option<Waker> {
        let waiting = self.targets.get_mut(&target)?;
        let was_first = waiting.waiters.is_first(ticket);
        waiting.waiters.leave(ticket);
        let next = if was_first { waiting.waiters.first() } else { None };
        self.forget_idle(target);
        next
    }

    /// The next bytes for a connection: what queued up since the last call, as one batch. Pushes
    /// wakers of those who may try now.
    ///
    /// # Errors
    ///
    /// When another connection carries the session since.
    pub(crate) fn poll_batch(
        &mut self,
        carrier: u64,
        budget: &Budget,
        wake: &mut Vec<Waker>,
    ) -> Result<Option<Bytes>, Replaced> {
        if carrier != self.carrier {
            return Err(Replaced);
        }
        self.tell_rejections(budget);
        if self.cursor == self.batches.len() && !self.open.is_empty() {
            let capacity = self.open.len();
            let bytes =
                Bytes::from(std::mem::replace(&mut self.open, Vec::with_capacity(capacity)));
            let frames = std::mem::take(&mut self.open_frames);
            let answers = std::mem::take(&mut self.open_answers);
            self.batched_bytes += bytes.len() as u64;
            self.batches.push_back(Batch { first: self.next - frames, frames, bytes, answers });
        }
        let Some(batch) = self.batches.get(self.cursor) else { return Ok(None) };
        let bytes = batch.bytes.clone();
        self.cursor += 1;
        self.written = self.written.max(batch.last());
        // It may have arrived by the connection before: then this makes room, and no mark will.
        let held = self.batched_bytes;
        self.drop_received(budget);
        if self.batched_bytes < held && std::mem::take(&mut self.short) {
            self.wake_all(wake);
        }
        Ok(Some(bytes))
    }

    /// Starts over on a new connection, after what the peer says has arrived. Returns the sequence
    /// number of the first frame to come.
    ///
    /// # Errors
    ///
    /// When the peer claims to have received what was never sent.
    pub(crate) fn resume(
        &mut self,
        carrier: u64,
        received: u64,
        budget: &Budget,
    ) -> Result<u64, WireError> {
        self.note_received(received)?;
        // The receiver says anew what is paused, and then what is settled.
        for target in self.targets.values_mut().filter(|target| target.pause == Pause::Yes) {
            target.pause = Pause::Earlier;
            self.has_earlier_pauses = true;
        }
        self.carrier = carrier;
        self.is_resumed = true;
        // Nothing was begun on the new connection, so all that has arrived can go.
        self.cursor = self.batches.len();
        self.drop_received(budget);
        self.cursor = 0;
        if let Some(batch) = self.batches.front_mut() {
            // Some of the first batch may have arrived: cut it off, frame by frame.
            while batch.first <= self.received {
                let (length, head) =
                    varint::take(&batch.bytes)?.expect("a batch holds whole frames");
                let arrived = batch.bytes.split_to(head + length as usize);
                self.batched_bytes -= arrived.len() as u64;
                batch.first += 1;
                batch.frames -= 1;
            }
            return Ok(batch.first);
        }
        Ok(self.next - self.open_frames)
    }

    /// Everything up to `up_to` has arrived: its bytes are not needed any more. Returns the peer's
    /// frames that may be marked as settled now; pushes wakers of those who may try now.
    ///
    /// # Errors
    ///
    /// When the peer claims to have received what was never sent.
    pub(crate) fn handle_received(
        &mut self,
        up_to: u64,
        budget: &Budget,
        wake: &mut Vec<Waker>,
    ) -> Result<Vec<Receipt>, WireError> {
        self.note_received(up_to)?;
        self.drop_received(budget);
        if std::mem::take(&mut self.short) {
            self.wake_all(wake);
        }
        let told = self.telling.partition_point(|(sequence, _)| *sequence <= up_to);
        Ok(self.telling.drain(..told).map(|(_, receipt)| receipt).collect())
    }

    fn note_received(&mut self, up_to: u64) -> Result<(), WireError> {
        if up_to >= self.next {
            return Err(WireError::Gap { due: self.next - 1, came: up_to });
        }
        self.received = self.received.max(up_to);
        Ok(())
    }

    /// Frees what has arrived and was handed to this connection. What was not is handed to it all
    /// the same, since the frames of a stream are counted from its header on: the peer may have got
    /// them by the connection before, and passes them over.
    fn drop_received(&mut self, budget: &Budget) {
        while let Some(batch) = self.batches.front()
            && self.cursor > 0
            && batch.last() <= self.received
        {
            self.batched_bytes -= batch.bytes.len() as u64;
            budget.give_back_answers(batch.answers);
            self.batches.pop_front();
            self.cursor -= 1;
        }
    }

    /// These frames were handled or rejected: their budget is free again. Pushes wakers of those
    /// who may try now. Returns whether any was not known to be.
    ///
    /// # Errors
    ///
    /// When the peer claims to have settled what was never sent, or its ranges are not sorted.
    pub(crate) fn handle_settled(
        &mut self,
        up_to: u64,
        ranges: &[(u64, u64)],
        budget: &Budget,
        wake: &mut Vec<Waker>,
    ) -> Result<bool, WireError> {
        let last = ranges.iter().map(|(_, last)| *last).fold(up_to, u64::max);
        if last >= self.next {
            return Err(WireError::Gap { due: self.next - 1, came: last });
        }
        // Before anything is taken: what breaks the protocol changes nothing.
        settled::check(up_to, ranges)?;
        let mut settled = std::mem::take(&mut self.settled);
        let mut freed = Freed::default();
        for record in self.records.settle_old(up_to, ranges) {
            self.free(&record, &mut freed, wake);
        }
        let base = self.records.base();
        for sequence in base..=up_to {
            self.settle(sequence, &mut freed, wake);
        }
        settled.add(base, up_to, ranges, |sequence| self.settle(sequence, &mut freed, wake));
        self.settled = settled;
        // The first mark of a connection tells all again, of which a part may be forgotten here.
        let is_further = std::mem::take(&mut self.is_resumed) | (up_to > self.settled_up_to);
        self.settled_up_to = self.settled_up_to.max(up_to);
        budget.give_back(freed.messages, freed.bytes);
        self.pop_settled();
        self.lift_earlier_pauses(wake);
        Ok(is_further || freed.frames > 0)
    }

    /// The receiver has said what is paused: what it left out is not.
    fn lift_earlier_pauses(&mut self, wake: &mut Vec<Waker>) {
        if !std::mem::take(&mut self.has_earlier_pauses) {
            return;
        }
        for target in self.targets.values_mut().filter(|target| target.pause == Pause::Earlier) {
            target.pause = Pause::No;
            wake.extend(target.waiters.first());
        }
    }

    /// The receiver says that a frame did not run, which settles it. Its record, if it was open.
    pub(crate) fn handle_rejected(
        &mut self,
        sequence: u64,
        budget: &Budget,
        wake: &mut Vec<Waker>,
    ) -> Option<Unsettled> {
        let Record { target, token, .. } = *self.records.message(sequence)?;
        let mut freed = Freed::default();
        self.settle(sequence, &mut freed, wake);
        budget.give_back(freed.messages, freed.bytes);
        self.pop_settled();
        Some(Unsettled { target, token, written: true })
    }

    /// The receiver has no room for a target now, or has again. Pushes the waker of who may try.
    pub(crate) fn handle_pause(&mut self, target: u64, is_paused: bool, wake: &mut Vec<Waker>) {
        // Of a target that has nothing under way, nothing fills the receiver.
        let entry = self.targets.get_mut(&target).filter(|entry| !entry.is_idle());
        let Some(entry) = entry else { return };
        entry.pause = if is_paused { Pause::Yes } else { Pause::No };
        if !is_paused {
            wake.extend(entry.waiters.first());
        }
    }

    /// A rejection has been passed on to the sender. Returns whether the writer is to be woken, to
    /// tell the peer so.
    pub(crate) fn rejection_seen(&mut self) -> bool {
        self.rejections += 1;
        self.open.is_empty() && self.intake != Intake::Nothing
    }

    fn tell_rejections(&mut self, budget: &Budget) {
        if self.rejections == self.rejections_told || self.intake == Intake::Nothing {
            return;
        }
        self.rejections_told = self.rejections;
        lane::LaneFrame::Seen { count: self.rejections }.put(&mut self.open);
        self.open_answers += budget.take_short_answer();
        self.record(Record { target: 0, token: 0, bytes: 0, state: State::Answer });
    }

    /// Takes no more messages; what was taken goes on. Pushes wakers of all who wait.
    pub(crate) fn close(&mut self, wake: &mut Vec<Waker>) {
        self.intake = self.intake.max(Intake::Answers);
        for target in self.targets.values_mut() {
            wake.append(&mut target.waiters.drain());
        }
        self.targets.retain(|_, target| !target.is_idle());
    }

    /// Ends the lane: nothing more is taken, and what is not settled is returned.
    pub(crate) fn end(&mut self, wake: &mut Vec<Waker>) -> Vec<Unsettled> {
        self.intake = Intake::Nothing;
        self.open = Vec::new();
        self.open_frames = 0;
        self.open_answers = 0;
        self.batches.clear();
        self.batched_bytes = 0;
        self.telling.clear();
        self.cursor = 0;
        for target in std::mem::take(&mut self.targets).values_mut() {
            wake.append(&mut target.waiters.drain());
        }
        // Marks that still come find nothing.
        self.settled = SettledRanges::default();
        let written = self.written;
        let unsettled = self.records.end().map(|(sequence, Record { target, token, .. })| {
            Unsettled { target, token, written: sequence <= written }
        });
        unsettled.collect()
    }

    /// Wakes the first waiter of every target: the session's budget, not a target's, was short.
    pub(crate) fn wake_all(&self, wake: &mut Vec<Waker>) {
        wake.extend(self.targets.values().filter_map(|target| target.waiters.first()));
    }

    #[cfg(test)]
    pub(crate) fn last_written(&self) -> u64 {
        self.written
    }

    /// Whether nothing waits to be written, to arrive or to be settled.
    #[cfg(test)]
    pub(crate) fn is_drained(&self) -> bool {
        self.open.is_empty() && self.batches.is_empty() && self.records.is_empty()
    }

    fn settle(&mut self, sequence: u64, freed: &mut Freed, wake: &mut Vec<Waker>) {
        if let Some(record) = self.records.settle(sequence) {
            self.free(&record, freed, wake);
        }
    }

    /// What a frame took is free again.
    fn free(&mut self, record: &Record, freed: &mut Freed, wake: &mut Vec<Waker>) {
        let Record { target, bytes, state, .. } = *record;
        freed.frames += 1;
        if state != State::Message {
            return;
        }
        freed.messages += 1;
        freed.bytes += u64::from(bytes);
        let is_crowded = self.targets.len() > IDLE_TARGETS_KEPT;
        let Entry::Occupied(mut entry) = self.targets.entry(target) else { return };
        let target = entry.get_mut();
        target.give_back(bytes.into());
        wake.extend(target.waiters.first());
        if !target.is_idle() {
            return;
        }
        if is_crowded {
            entry.remove();
        } else {
            // It is likely to be sent to again. A pause has no meaning for it any more.
            target.pause = Pause::No;
            target.waiters = WaitList::default();
        }
    }

    fn pop_settled(&mut self) {
        self.records.tidy();
        self.settled.forget(self.records.base());
    }

    /// Drops a target that is not in use.
    fn forget_idle(&mut self, target: u64) {
        if self.targets.get(&target).is_some_and(Target::is_idle) {
            self.targets.remove(&target);
        }
    }
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) class: Class,
    pub(crate) target: u64,
    pub(crate) token: u64,
    pub(crate) payload: &'a [u8],
    /// Its number, if it travels on a stream of its own.
    pub(crate) bulk: Option<u64>,
}

impl Frame<'_> {
    /// What it takes of the budgets.
    pub(crate) fn bytes(&self) -> u64 {
        (self.payload.len() + lane::HEAD_LONGEST) as u64
    }
}

/// What settled messages give back.
#[derive(Debug, Default)]
struct Freed {
    /// All that were not settled before, answers too.
    frames: u64,
    messages: u64,
    bytes: u64,
}

/// Another connection carries the session: this one is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replaced;

/// What a push asks its caller to do.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Wake the writer.
    pub(crate) wake_writer: bool,
    /// Wake this waiter.
    pub(crate) next: Option<Waker>,
    /// Its place in the lane.
    pub(crate) sequence: u64,
}
