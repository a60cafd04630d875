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
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use bytes::Bytes;

use super::{Receipt, budget::Budget};
use crate::{
    wait_list::{Ticket, WaitList},
    wire::{WireError, lane, varint},
};

/// Bounds of one lane and one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Unsettled messages of one target.
    pub(crate) target_messages: u32,
    /// Unsettled bytes of one target; one message may exceed it when nothing else is unsettled.
    pub(crate) target_bytes: u64,
}

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
    /// The session has ended.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    limits: Limits,
    ended: bool,
    open: Vec<u8>,
    open_frames: u64,
    batches: VecDeque<Batch>,
    /// The next batch to hand to the connection.
    cursor: usize,
    /// The sequence number of the next frame.
    next: u64,
    /// The last frame that was ever handed to a connection.
    written: u64,
    records: VecDeque<Record>,
    /// The sequence number of the first record.
    base: u64,
    targets: BTreeMap<u64, Target>,
    /// Rejections of the peer's frames, by the sequence number of ours that tells them. Only when
    /// the peer has it may its frame be marked as settled: the mark must not overtake the reason.
    telling: VecDeque<(u64, Receipt)>,
}

#[derive(Debug)]
struct Batch {
    first: u64,
    frames: u64,
    bytes: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    target: u64,
    token: u64,
    bytes: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Message,
    Answer,
    Settled,
}

#[derive(Debug, Default)]
struct Target {
    messages: u32,
    bytes: u64,
    waiters: WaitList,
}

impl Outgoing {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ended: false,
            open: Vec::new(),
            open_frames: 0,
            batches: VecDeque::new(),
            cursor: 0,
            next: 1,
            written: 0,
            records: VecDeque::new(),
            base: 1,
            targets: BTreeMap::new(),
            telling: VecDeque::new(),
        }
    }

    /// Sends a message or an answer; `ticket` is the sender's place in the target's line, if it
    /// has one. Returns whether the writer is to be woken, and the next waiter that may try.
    pub(crate) fn push(
        &mut self,
        frame: &Frame<'_>,
        ticket: Option<Ticket>,
        budget: &Budget,
    ) -> Result<Pushed, PushRefusal> {
        if self.ended {
            return Err(PushRefusal::Ended);
        }
        let bytes = (frame.payload.len() + lane::HEAD_LONGEST) as u64;
        let mut next = None;
        if frame.class == Class::Message {
            let limits = self.limits;
            let target = self.targets.entry(frame.target).or_default();
            let is_first = match ticket {
                Some(ticket) => target.waiters.is_first(ticket),
                None => target.waiters.is_empty(),
            };
            if !is_first || !target.has_room(bytes, limits) || !budget.try_take(bytes) {
                self.forget_idle(frame.target);
                return Err(PushRefusal::Full);
            }
            target.messages += 1;
            target.bytes += bytes;
            if let Some(ticket) = ticket {
                target.waiters.leave(ticket);
                next = target.waiters.first();
            }
        }
        let state = match frame.class {
            Class::Message => State::Message,
            Class::Answer => State::Answer,
        };
        let wake_writer = self.open.is_empty();
        lane::put_payload(
            frame.class == Class::Answer,
            frame.target,
            frame.payload,
            &mut self.open,
        );
        self.record(Record {
            target: frame.target,
            token: frame.token,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            state,
        });
        Ok(Pushed { wake_writer, next })
    }

    /// Sends an answer that settles a frame of the peer's once the peer has it: the mark must not
    /// overtake it.
    pub(crate) fn push_settling(
        &mut self,
        frame: &Frame<'_>,
        receipt: Receipt,
        budget: &Budget,
    ) -> Result<Pushed, PushRefusal> {
        let pushed = self.push(frame, None, budget)?;
        self.telling.push_back((self.next - 1, receipt));
        Ok(pushed)
    }

    /// Tells the peer that a frame of its did not run. Returns whether the writer is to be woken.
    pub(crate) fn push_rejection(&mut self, receipt: Receipt, reason: u8) -> bool {
        if self.ended {
            return false;
        }
        let wake_writer = self.open.is_empty();
        let Receipt { lane, sequence } = receipt;
        lane::LaneFrame::Rejected { lane, sequence, reason }.put(&mut self.open);
        self.telling.push_back((self.next, receipt));
        self.record(Record { target: 0, token: 0, bytes: 0, state: State::Answer });
        wake_writer
    }

    fn record(&mut self, record: Record) {
        self.records.push_back(record);
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

    /// The next bytes for the connection: what queued up since the last call, as one batch.
    pub(crate) fn poll_batch(&mut self) -> Option<Bytes> {
        if self.cursor == self.batches.len() && !self.open.is_empty() {
            let capacity = self.open.len();
            let bytes =
                Bytes::from(std::mem::replace(&mut self.open, Vec::with_capacity(capacity)));
            let frames = std::mem::take(&mut self.open_frames);
            self.batches.push_back(Batch { first: self.next - frames, frames, bytes });
        }
        let batch = self.batches.get(self.cursor)?;
        self.cursor += 1;
        self.written = self.written.max(batch.first + batch.frames - 1);
        Some(batch.bytes.clone())
    }

    /// Starts over on a new connection, after what the peer says has arrived. Returns the sequence
    /// number of the first frame to come.
    ///
    /// # Errors
    ///
    /// When the peer claims to have received what was never sent.
    pub(crate) fn resume(&mut self, received: u64) -> Result<u64, WireError> {
        self.drop_received(received)?;
        self.cursor = 0;
        if let Some(batch) = self.batches.front_mut() {
            // Some of the first batch may have arrived: cut it off, frame by frame.
            while batch.first <= received {
                let (length, head) =
                    varint::take(&batch.bytes)?.expect("a batch holds whole frames");
                let _arrived = batch.bytes.split_to(head + length as usize);
                batch.first += 1;
                batch.frames -= 1;
            }
            return Ok(batch.first);
        }
        Ok(self.next - self.open_frames)
    }

    /// Everything up to `up_to` has arrived: its bytes are not needed any more. Returns the peer's
    /// frames that may be marked as settled now.
    ///
    /// # Errors
    ///
    /// When the peer claims to have received what was never sent.
    pub(crate) fn handle_received(&mut self, up_to: u64) -> Result<Vec<Receipt>, WireError> {
        self.drop_received(up_to)?;
        let told = self.telling.partition_point(|(sequence, _)| *sequence <= up_to);
        Ok(self.telling.drain(..told).map(|(_, receipt)| receipt).collect())
    }

    fn drop_received(&mut self, up_to: u64) -> Result<(), WireError> {
        if up_to >= self.next {
            return Err(WireError::Gap { due: self.next - 1, came: up_to });
        }
        while self.batches.front().is_some_and(|batch| batch.first + batch.frames - 1 <= up_to) {
            self.batches.pop_front();
            self.cursor = self.cursor.saturating_sub(1);
        }
        Ok(())
    }

    /// These frames were handled or rejected: their budget is free again. Pushes wakers of those
    /// who may try now.
    pub(crate) fn handle_settled(
        &mut self,
        up_to: u64,
        ranges: &[(u64, u64)],
        budget: &Budget,
        wake: &mut Vec<Waker>,
    ) -> Result<(), WireError> {
        let last = ranges.iter().map(|(_, last)| *last).fold(up_to, u64::max);
        if last >= self.next {
            return Err(WireError::Gap { due: self.next - 1, came: last });
        }
        for sequence in self.base..=up_to {
            self.settle(sequence, budget, wake);
        }
        for (first, last) in ranges {
            for sequence in (*first).max(self.base)..=*last {
                self.settle(sequence, budget, wake);
            }
        }
        self.pop_settled();
        Ok(())
    }

    /// The receiver says that a frame did not run, which settles it. Its record, if it was open.
    pub(crate) fn handle_rejected(
        &mut self,
        sequence: u64,
        budget: &Budget,
        wake: &mut Vec<Waker>,
    ) -> Option<Unsettled> {
        let at = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        let Record { target, token, state, .. } = *self.records.get(at)?;
        if state != State::Message {
            return None;
        }
        self.settle(sequence, budget, wake);
        self.pop_settled();
        Some(Unsettled { target, token, written: true })
    }

    /// Ends the lane: nothing more is taken, and what is not settled is returned.
    pub(crate) fn end(&mut self, wake: &mut Vec<Waker>) -> Vec<Unsettled> {
        self.ended = true;
        self.open = Vec::new();
        self.open_frames = 0;
        self.batches.clear();
        self.telling.clear();
        self.cursor = 0;
        for target in std::mem::take(&mut self.targets).values_mut() {
            wake.append(&mut target.waiters.drain());
        }
        let (base, written) = (self.base, self.written);
        let unsettled = self.records.drain(..).enumerate().filter_map(|(n, record)| {
            let written = base + n as u64 <= written;
            let Record { target, token, state, .. } = record;
            (state == State::Message).then_some(Unsettled { target, token, written })
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
    pub(crate) fn is_drained(&self) -> bool {
        self.open.is_empty() && self.batches.is_empty() && self.records.is_empty()
    }

    fn settle(&mut self, sequence: u64, budget: &Budget, wake: &mut Vec<Waker>) {
        let at = (sequence - self.base) as usize;
        let Some(record) = self.records.get_mut(at) else { return };
        let state = std::mem::replace(&mut record.state, State::Settled);
        let Record { target, bytes, .. } = *record;
        if state != State::Message {
            return;
        }
        budget.give_back(bytes.into());
        if let Some(waiting) = self.targets.get_mut(&target) {
            waiting.messages = waiting.messages.saturating_sub(1);
            waiting.bytes = waiting.bytes.saturating_sub(bytes.into());
            wake.extend(waiting.waiters.first());
        }
        self.forget_idle(target);
    }

    fn pop_settled(&mut self) {
        while self.records.front().is_some_and(|record| record.state == State::Settled) {
            self.records.pop_front();
            self.base += 1;
        }
    }

    /// Keeps the table of targets to those that are in use.
    fn forget_idle(&mut self, target: u64) {
        if self.targets.get(&target).is_some_and(|t| t.messages == 0 && t.waiters.is_empty()) {
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
}

/// What a push asks its caller to do.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Wake the writer.
    pub(crate) wake_writer: bool,
    /// Wake this waiter.
    pub(crate) next: Option<Waker>,
}

impl Target {
    fn has_room(&self, bytes: u64, limits: Limits) -> bool {
        self.messages == 0
            || self.messages < limits.target_messages && self.bytes + bytes <= limits.target_bytes
    }
}
