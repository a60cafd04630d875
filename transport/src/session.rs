//! Sessions: what binds two incarnations, over any number of connections.
//!
//! A session has ordered lanes each way and a control lane. Frames are kept until the peer's
//! transport has received them, and are sent again on the next connection, so that between two live
//! incarnations every frame arrives exactly once and in order. It ends when the peer's incarnation
//! does; what is unsettled then is reported, once.
//!
//! The deciding parts are pure: [`outgoing`] and [`incoming`], one for each lane. This module puts
//! locks around them and wakes who is to be woken; it is what threads other than the transport's
//! hold of a session.

mod budget;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Notify;

pub use self::outgoing::{Class, Unsettled};
pub(crate) use self::{
    budget::Budget,
    incoming::{Arrival, Incoming},
    outgoing::{Frame, Limits, Outgoing, PushRefusal},
};
use crate::{
    identity::PeerId,
    wait_list::Ticket,
    wire::{WireError, control::Control, lane::HEAD_LONGEST},
};

/// How many packets of the layer above may wait for the control lane; the oldest goes first.
pub const PACKETS_LIMIT: usize = 1_024;

/// How many of the transport's own frames may wait for the control lane.
const FRAMES_LIMIT: usize = 256;

/// A frame that arrived.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// Where it is to be settled.
    pub ticket: Receipt,
    /// Whether it is an answer: it is settled already.
    pub class: Class,
    /// The target's hash.
    pub target: u64,
    /// What the peer sent.
    pub payload: Bytes,
}

/// A place in a session's incoming lane, to be settled once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) lane: u16,
    pub(crate) sequence: u64,
}

/// Why a frame was not taken. It was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The target or the session has too much unsettled.
    Full,
    /// The session has ended.
    Ended,
    /// The payload is longer than a frame may be.
    TooLong {
        /// The most that is allowed, in bytes.
        limit: usize,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too much is unsettled"),
            Self::Ended => f.write_str("the session has ended"),
            Self::TooLong { limit } => write!(f, "the payload is over the limit of {limit} bytes"),
        }
    }
}

impl std::error::Error for SendError {}

/// A handle to a session; cheap to clone, and usable on any thread.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    local: PeerId,
    peer: PeerId,
    /// What the peer's layer above said at the handshake.
    info: Bytes,
    frame_limit: usize,
    budget: Budget,
    outgoing: Box<[Out]>,
    incoming: Box<[Mutex<Incoming>]>,
    control: Mutex<ControlQueue>,
    control_ready: Notify,
    marks_changed: AtomicBool,
    /// Whether the layer above has been told of the session.
    introduced: AtomicBool,
    ended: AtomicBool,
}

struct Out {
    lane: Mutex<Outgoing>,
    ready: Notify,
}

#[derive(Default)]
struct ControlQueue {
    packets: VecDeque<Bytes>,
    frames: VecDeque<Control>,
}

/// Sizes of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) lanes_out: u16,
    pub(crate) lanes_in: u16,
    pub(crate) limits: Limits,
    pub(crate) messages_limit: u64,
    pub(crate) bytes_limit: u64,
    pub(crate) frame_limit: usize,
}

impl Session {
    pub(crate) fn new(local: PeerId, peer: PeerId, info: Bytes, shape: &Shape) -> Self {
        let out = || Out { lane: Mutex::new(Outgoing::new(shape.limits)), ready: Notify::new() };
        Self(Arc::new(Inner {
            local,
            peer,
            info,
            frame_limit: shape.frame_limit,
            budget: Budget::new(shape.messages_limit, shape.bytes_limit),
            outgoing: (0..shape.lanes_out).map(|_| out()).collect(),
            incoming: (0..shape.lanes_in).map(|_| Mutex::default()).collect(),
            control: Mutex::default(),
            control_ready: Notify::new(),
            marks_changed: AtomicBool::new(false),
            introduced: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }))
    }

    /// The other end.
    pub fn peer(&self) -> &PeerId {
        &self.0.peer
    }

    /// This end.
    pub fn local(&self) -> &PeerId {
        &self.0.local
    }

    /// What the peer's layer above said at the handshake.
    pub fn info(&self) -> &[u8] {
        &self.0.info
    }

    /// Whether the session has ended: nothing can be sent any more.
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// The lane that carries frames for a target, by the target's hash.
    pub fn lane_of(&self, target: u64) -> u16 {
        (target % self.0.outgoing.len() as u64) as u16
    }

    /// Messages and bytes that were sent and are not settled.
    pub fn unsettled(&self) -> (u64, u64) {
        self.0.budget.used()
    }

    /// Sends a frame now, or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent.
    pub fn try_send(
        &self,
        class: Class,
        target: u64,
        token: u64,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.push(&Frame { class, target, token, payload }, None)
    }

    /// Sends a message, or waits in the line of its target: `ticket` is the sender's place, kept
    /// by the caller from one poll to the next, and given up with [`leave`](Self::leave).
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent, and the place is given up.
    pub fn poll_send(
        &self,
        target: u64,
        token: u64,
        payload: &[u8],
        ticket: &mut Option<Ticket>,
        task: &Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let frame = Frame { class: Class::Message, target, token, payload };
        match self.push(&frame, *ticket) {
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
        match self.push(&frame, *ticket) {
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

    /// Settles a frame: it was handled, or it will never be.
    pub fn settle(&self, receipt: Receipt) {
        let Some(lane) = self.0.incoming.get(usize::from(receipt.lane)) else { return };
        lock(lane).settle(receipt.sequence);
        self.tell_marks();
    }

    /// Settles a frame that did not run, and tells its sender why.
    pub fn reject(&self, receipt: Receipt, reason: u8) {
        let out = &self.0.outgoing[usize::from(receipt.lane) % self.0.outgoing.len()];
        let wake_writer = lock(&out.lane).push_rejection(receipt, reason);
        if wake_writer {
            out.ready.notify_one();
        }
    }

    /// Sends an answer that ends a frame of the peer's, which is settled once the peer has the
    /// answer: whatever comes between, the peer knows how its frame ended, or that it does not.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nothing was sent, and the frame is not settled.
    pub fn answer(&self, receipt: Receipt, target: u64, payload: &[u8]) -> Result<(), SendError> {
        let limit = self.0.frame_limit;
        if payload.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        // On the lane whose marks the receipt is waiting for.
        let out = self.out(target);
        let frame = Frame { class: Class::Answer, target, token: 0, payload };
        let pushed = lock(&out.lane).push_settling(&frame, receipt, &self.0.budget);
        match pushed {
            Ok(pushed) => {
                if pushed.wake_writer {
                    out.ready.notify_one();
                }
                Ok(())
            }
            Err(PushRefusal::Full) => Err(SendError::Full),
            Err(PushRefusal::Ended) => Err(SendError::Ended),
        }
    }

    /// Sends a packet, best effort: it is lost with the connection, or when too many wait.
    pub fn send_packet(&self, packet: Bytes) {
        let mut control = lock(&self.0.control);
        if control.packets.len() >= PACKETS_LIMIT {
            control.packets.pop_front();
        }
        control.packets.push_back(packet);
        drop(control);
        self.0.control_ready.notify_one();
    }

    fn push(&self, frame: &Frame<'_>, ticket: Option<Ticket>) -> Result<(), SendError> {
        let limit = self.0.frame_limit;
        if frame.payload.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        let out = self.out(frame.target);
        let pushed = lock(&out.lane).push(frame, ticket, &self.0.budget);
        match pushed {
            Ok(pushed) => {
                if pushed.wake_writer {
                    out.ready.notify_one();
                }
                if let Some(next) = pushed.next {
                    next.wake();
                }
                Ok(())
            }
            Err(PushRefusal::Full) => Err(SendError::Full),
            Err(PushRefusal::Ended) => Err(SendError::Ended),
        }
    }

    fn out(&self, target: u64) -> &Out {
        &self.0.outgoing[usize::from(self.lane_of(target))]
    }

    fn tell_marks(&self) {
        if !self.0.marks_changed.swap(true, Ordering::AcqRel) {
            self.0.control_ready.notify_one();
        }
    }
}

/// For the connection that carries the session.
impl Session {
    /// Whether the layer above is to be told of the session: the first time only.
    pub(crate) fn introduce(&self) -> bool {
        !self.0.introduced.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn lanes_in(&self) -> u16 {
        self.0.incoming.len() as u16
    }

    /// The longest frame that may come.
    pub(crate) fn frame_limit_bytes(&self) -> u64 {
        (self.0.frame_limit + HEAD_LONGEST) as u64
    }

    /// Up to where each lane has arrived.
    pub(crate) fn received(&self) -> Vec<u64> {
        self.0.incoming.iter().map(|lane| lock(lane).received()).collect()
    }

    /// A new connection begins: the peer has received up to `received` on each lane. Returns each
    /// lane's first sequence number on it.
    pub(crate) fn resume(&self, received: &[u64]) -> Result<Vec<u64>, WireError> {
        if !received.is_empty() && received.len() != self.0.outgoing.len() {
            return Err(WireError::Malformed);
        }
        for lane in &self.0.incoming {
            lock(lane).retell();
        }
        lock(&self.0.control).frames.clear();
        self.tell_marks();
        let received = received.iter().copied().chain(std::iter::repeat(0));
        self.0.outgoing.iter().zip(received).map(|(out, at)| lock(&out.lane).resume(at)).collect()
    }

    /// The next batch of a lane; waits for one.
    ///
    /// # Cancel safety
    ///
    /// Safe: a batch is handed over when the future is ready.
    pub(crate) async fn batch(&self, lane: u16) -> Bytes {
        let out = &self.0.outgoing[usize::from(lane)];
        loop {
            if let Some(bytes) = lock(&out.lane).poll_batch() {
                return bytes;
            }
            out.ready.notified().await;
        }
    }

    /// What the control lane is to write; waits for something.
    ///
    /// # Cancel safety
    ///
    /// Safe for marks and frames of the session itself; packets taken and not written are lost.
    pub(crate) async fn control(&self) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            self.collect_control(&mut out);
            if !out.is_empty() {
                return out;
            }
            self.0.control_ready.notified().await;
        }
    }

    fn collect_control(&self, out: &mut Vec<u8>) {
        let mut control = lock(&self.0.control);
        for frame in control.frames.drain(..) {
            frame.put(out);
        }
        for packet in control.packets.drain(..) {
            Control::Packet(packet.to_vec()).put(out);
        }
        drop(control);
        if !self.0.marks_changed.swap(false, Ordering::AcqRel) {
            return;
        }
        for (lane, incoming) in (0..).zip(&self.0.incoming) {
            let marks = lock(incoming).poll_marks();
            if let Some(up_to) = marks.received {
                Control::Received { lane, up_to }.put(out);
            }
            if let Some((up_to, ranges)) = marks.settled {
                Control::Settled { lane, up_to, ranges }.put(out);
            }
        }
    }

    /// Queues a control frame of the transport's own; beyond the limit it is dropped, since only a
    /// peer that floods us with pings comes there.
    pub(crate) fn send_control(&self, frame: Control) {
        let mut control = lock(&self.0.control);
        if control.frames.len() < FRAMES_LIMIT {
            control.frames.push_back(frame);
        }
        drop(control);
        self.0.control_ready.notify_one();
    }

    /// A frame arrived on a lane.
    pub(crate) fn handle_frame(&self, lane: u16, sequence: u64) -> Result<Arrival, WireError> {
        let incoming = self.0.incoming.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let arrival = lock(incoming).handle_frame(sequence)?;
        self.tell_marks();
        Ok(arrival)
    }

    pub(crate) fn handle_received(&self, lane: u16, up_to: u64) -> Result<(), WireError> {
        let out = self.0.outgoing.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let told = lock(&out.lane).handle_received(up_to)?;
        told.into_iter().for_each(|receipt| self.settle(receipt));
        Ok(())
    }

    pub(crate) fn handle_settled(
        &self,
        lane: u16,
        up_to: u64,
        ranges: &[(u64, u64)],
    ) -> Result<(), WireError> {
        let out = self.0.outgoing.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let mut wake = Vec::new();
        lock(&out.lane).handle_settled(up_to, ranges, &self.0.budget, &mut wake)?;
        self.wake_waiters(wake);
        Ok(())
    }

    fn wake_waiters(&self, mut wake: Vec<Waker>) {
        if self.0.budget.take_short() {
            for out in &self.0.outgoing {
                lock(&out.lane).wake_all(&mut wake);
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// The peer rejected one of our frames.
    pub(crate) fn handle_rejected(
        &self,
        lane: u16,
        sequence: u64,
    ) -> Result<Option<Unsettled>, WireError> {
        let out = self.0.outgoing.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let mut wake = Vec::new();
        let rejected = lock(&out.lane).handle_rejected(sequence, &self.0.budget, &mut wake);
        self.wake_waiters(wake);
        Ok(rejected)
    }

    /// Ends the session; returns what was not settled. A second call returns nothing.
    pub(crate) fn end(&self) -> Vec<Unsettled> {
        self.0.ended.store(true, Ordering::Release);
        let mut wake = Vec::new();
        let unsettled =
            self.0.outgoing.iter().flat_map(|out| lock(&out.lane).end(&mut wake)).collect();
        wake.into_iter().for_each(Waker::wake);
        unsettled
    }

    /// Whether all that was sent has arrived and is settled.
    pub(crate) fn is_drained(&self) -> bool {
        self.0.outgoing.iter().all(|out| lock(&out.lane).is_drained())
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Session {}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} to {})", self.0.local, self.0.peer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of a user's runs under these locks, so a poisoned one guards a whole state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
