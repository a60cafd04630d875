//! Sending: how frames come into a session's lanes.

use std::{
    fmt,
    sync::MutexGuard,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    Class, Frame, Outgoing, Payload, Receipt, SendError, Session, Shape, budget::Prepaid,
    bulk::Gone, lock,
};
use crate::wait_list::Ticket;

/// How many messages are sent under one lock at most, and how many bytes unless it is one: as long as
/// that takes, others wait for it. Few in tests, so that theirs come there.
const BURST: usize = if cfg!(test) { 4 } else { 64 };
const BURST_BYTES: usize = 64 * 1024;

/// A message that is sent together with others, by [`Session::try_send_all`].
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// The target's hash.
    pub target: u64,
    /// The sender's own mark for it; 0 if it wants to hear nothing.
    pub token: u64,
    /// What is sent.
    pub payload: Payload<'a>,
}

/// Not all messages were sent together: the first `sent` were, and none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendAllError {
    /// How many were sent.
    pub sent: usize,
    /// Why the next one was not.
    pub error: SendError,
}

impl fmt::Display for SendAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages were sent, and no more", self.sent)
    }
}

impl std::error::Error for SendAllError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Session {
    /// Sends a frame now, or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    pub fn try_send<'a>(
        &self,
        class: Class,
        target: u64,
        token: u64,
        payload: impl Into<Payload<'a>>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        let frame = Frame { class, target, token, payload: payload.as_slice(), bulk: None };
        self.push(&frame, payload.shared(), None, None)
    }

    /// Sends messages in their order, as many as are taken now, cheaper than one by one: locks and
    /// budgets are shared among up to 64 of them, or 64 KiB. Others may send in between.
    ///
    /// It never waits, nor overtakes who waits for room at a target. To go on where it stopped, send
    /// the next one by [`poll_send`](Self::poll_send), and the others together again.
    ///
    /// # Errors
    ///
    /// [`SendAllError`]: how many were sent, and why the next one was not. Those behind it were not
    /// sent either.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster_transport::{Outbound, SendError, Session};
    ///
    /// /// Sends as much as there is room for now. Returns what is left.
    /// fn send<'m>(session: &Session, messages: &'m [Outbound<'m>]) -> Result<&'m [Outbound<'m>], SendError> {
    ///     match session.try_send_all(messages) {
    ///         Ok(()) => Ok(&[]),
    ///         Err(full) if full.error == SendError::Full => Ok(&messages[full.sent..]),
    ///         Err(failed) => Err(failed.error),
    ///     }
    /// }
    /// ```
    pub fn try_send_all(&self, messages: &[Outbound<'_>]) -> Result<(), SendAllError> {
        let mut sent = 0;
        while let Some(message) = messages.get(sent) {
            let run = &messages[sent..sent + self.run_length(&messages[sent..])];
            let sending = if run.is_empty() {
                let Outbound { target, token, payload } = *message;
                let one = self.try_send(Class::Message, target, token, payload);
                one.map(|()| 1).map_err(|error| SendAllError { sent: 0, error })
            } else {
                self.push_run(run).map(|()| run.len())
            };
            sent +=
                sending.map_err(|failed| SendAllError { sent: sent + failed.sent, ..failed })?;
        }
        Ok(())
    }

    /// How many messages from the first on can be sent under one lock; none if the first is not to
    /// travel on its lane.
    fn run_length(&self, messages: &[Outbound<'_>]) -> usize {
        let mut bytes = 0;
        let run = messages.iter().take(BURST).take_while(|message| {
            bytes += message.payload.as_slice().len();
            let is_first = bytes == message.payload.as_slice().len();
            self.is_short(message) && (is_first || bytes <= BURST_BYTES)
        });
        run.count()
    }

    /// Whether a message travels on its lane.
    fn is_short(&self, message: &Outbound<'_>) -> bool {
        let Shape { message_limit, bulk_over, .. } = self.0.shape;
        message.payload.as_slice().len() <= bulk_over.min(message_limit)
    }

    /// Sends messages that all travel on their lanes.
    fn push_run(&self, run: &[Outbound<'_>]) -> Result<(), SendAllError> {
        let frames = run.iter().map(|Outbound { target, token, payload }| {
            let payload = payload.as_slice();
            Frame { class: Class::Message, target: *target, token: *token, payload, bulk: None }
        });
        let bytes = frames.clone().map(|frame| frame.bytes()).sum();
        let mut lanes = self.lock_lanes(run);
        let mut prepaid = Prepaid::take(&self.0.budget, run.len() as u64, bytes);
        let (mut sent, mut refusal) = (0, None);
        for frame in frames {
            let lane = &mut lanes[usize::from(self.lane_of(frame.target))];
            let (lane, wakes_writer) = lane.as_mut().expect("the lane of each was locked");
            match lane.push(&frame, None, &mut prepaid) {
                Ok(pushed) => *wakes_writer |= pushed.wake_writer,
                Err(refused) => {
                    refusal = Some(refused);
                    break;
                }
            }
            sent += 1;
        }
        // Whoever is woken finds all lanes free.
        let wakes: Vec<bool> = lanes
            .into_iter()
            .map(|lane| lane.is_some_and(|(_, wakes_writer)| wakes_writer))
            .collect();
        for (out, wakes_writer) in self.0.outgoing.iter().zip(wakes) {
            if wakes_writer {
                out.ready.notify_one();
            }
        }
        if prepaid.give_back() {
            // What was given back may have been what somebody else was turned away for.
            self.wake_waiters(Vec::new());
            self.look_at_close();
        }
        let Some(refusal) = refusal else { return Ok(()) };
        self.hurry_marks();
        Err(SendAllError { sent, error: refusal.into() })
    }

    /// Locks the lanes of all messages, in the lanes' order, so that two who do so never wait for
    /// each other. With each, whether its writer is to be woken.
    fn lock_lanes(&self, run: &[Outbound<'_>]) -> Vec<Option<(MutexGuard<'_, Outgoing>, bool)>> {
        let mut is_used = vec![false; self.0.outgoing.len()];
        for message in run {
            is_used[usize::from(self.lane_of(message.target))] = true;
        }
        let lanes = self.0.outgoing.iter().zip(is_used);
        lanes.map(|(out, is_used)| is_used.then(|| (lock(&out.lane), false))).collect()
    }

    /// Sends a message, or waits in the line of its target: `ticket` is the sender's place, kept
    /// by the caller from one poll to the next, and given up with [`leave`](Self::leave).
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent, and the place is given up.
    pub fn poll_send<'a>(
        &self,
        target: u64,
        token: u64,
        payload: impl Into<Payload<'a>>,
        ticket: &mut Option<Ticket>,
        task: &Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let payload = payload.into();
        let (payload, shared) = (payload.as_slice(), payload.shared());
        let frame = Frame { class: Class::Message, target, token, payload, bulk: None };
        match self.push(&frame, shared, *ticket, None) {
            Err(SendError::Full) => {}
            done => {
                *ticket = None;
                return Poll::Ready(done);
            }
        }
        let out = self.out(target);
        *ticket = lock(&out.lane).join(target, *ticket, task.waker());
        if ticket.is_none() {
            return Poll::Ready(Err(SendError::Full));
        }
        // Room may have come between the two: only then is nobody left to wake this sender.
        match self.push(&frame, shared, *ticket, None) {
            Err(SendError::Full) => Poll::Pending,
            done => {
                *ticket = None;
                Poll::Ready(done)
            }
        }
    }

    /// Gives up a place in a target's line.
    pub fn leave(&self, target: u64, ticket: Ticket) {
        let next = lock(&self.out(target).lane).leave(target, ticket);
        if let Some(next) = next {
            next.wake();
        }
    }

    /// Sends an answer that ends a frame of the peer's, which is settled once the peer has the
    /// answer: whatever comes between, the peer knows how its frame ended, or that it does not.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent, and the frame is not settled.
    pub fn answer<'a>(
        &self,
        receipt: Receipt,
        target: u64,
        payload: impl Into<Payload<'a>>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        let (payload, shared) = (payload.as_slice(), payload.shared());
        let frame = Frame { class: Class::Answer, target, token: 0, payload, bulk: None };
        self.push(&frame, shared, None, Some(receipt))
    }

    /// Sends a frame; an answer may settle one of the peer's.
    fn push(
        &self,
        frame: &Frame<'_>,
        shared: Option<&Bytes>,
        ticket: Option<Ticket>,
        settles: Option<Receipt>,
    ) -> Result<(), SendError> {
        let Shape { message_limit: limit, bulk_over, .. } = self.0.shape;
        let length = frame.payload.len();
        if length > limit {
            return Err(SendError::TooLong { limit });
        }
        if length > bulk_over {
            return self.push_bulk(frame, shared, ticket, settles);
        }
        let out = self.out(frame.target);
        let mut lane = lock(&out.lane);
        let pushed = match lane.push(frame, ticket, &mut Prepaid::nothing(&self.0.budget)) {
            Ok(pushed) => pushed,
            Err(refusal) => {
                drop(lane);
                self.hurry_marks();
                return Err(refusal.into());
            }
        };
        if let Some(receipt) = settles {
            lane.settle_when_received(receipt);
        }
        drop(lane);
        out.pushed(pushed);
        Ok(())
    }

    fn push_bulk(
        &self,
        frame: &Frame<'_>,
        shared: Option<&Bytes>,
        ticket: Option<Ticket>,
        settles: Option<Receipt>,
    ) -> Result<(), SendError> {
        let id = lock(&self.0.bulk_out).next_id();
        let out = self.out(frame.target);
        let copy = || match shared {
            Some(bytes) => bytes.clone(),
            None => self.0.buffers.copy(frame.payload),
        };
        // Before the lane is locked: others would wait for as long as it takes. Not in vain, as far
        // as can be known before.
        let may_take = lock(&out.lane).may_take(frame, ticket, &self.0.budget);
        let copied = may_take.then(copy);
        let mut lane = lock(&out.lane);
        let frame = &Frame { bulk: Some(id), ..*frame };
        let pushed = match lane.push(frame, ticket, &mut Prepaid::nothing(&self.0.budget)) {
            Ok(pushed) => pushed,
            Err(refusal) => {
                drop(lane);
                self.hurry_marks();
                return Err(refusal.into());
            }
        };
        // Under the lane's lock, so that nobody can ask for it before it is there.
        let place = (self.lane_of(frame.target), pushed.sequence);
        let answer_bytes = if frame.class == Class::Answer { frame.bytes() } else { 0 };
        let gone = Gone { answer_bytes, settles };
        let payload = copied.unwrap_or_else(copy);
        lock(&self.0.bulk_out).keep(id, place, frame.token, payload, gone);
        drop(lane);
        out.pushed(pushed);
        Ok(())
    }
}
