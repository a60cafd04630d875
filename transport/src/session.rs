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
mod carried;
mod closing;
mod incoming;
mod outgoing;
mod reader;
mod refusals;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::Notify;

use self::closing::Closing;
pub use self::outgoing::{Class, Unsettled};
pub(crate) use self::{
    budget::Budget,
    incoming::{Arrival, Incoming},
    outgoing::{Frame, Outgoing, PushRefusal, Replaced},
    reader::{Arrived, LaneReader, put_header},
    target::Limits,
};
use crate::{identity::PeerId, wait_list::Ticket, wire::control::Control};

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
    /// One of the two nodes is closing, and takes no more messages; answers still pass.
    Closing,
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
            Self::Closing => f.write_str("the session takes no more messages"),
            Self::Ended => f.write_str("the session has ended"),
            Self::TooLong { limit } => write!(f, "the payload is over the limit of {limit} bytes"),
        }
    }
}

impl std::error::Error for SendError {}

impl From<PushRefusal> for SendError {
    fn from(refusal: PushRefusal) -> Self {
        match refusal {
            PushRefusal::Full => Self::Full,
            PushRefusal::Closing => Self::Closing,
            PushRefusal::Ended => Self::Ended,
        }
    }
}

/// What becomes of a target's later messages when one was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// They are delivered.
    Deliver,
    /// They are rejected with this reason, until the sender has seen the first rejection: so that,
    /// if it repeats the message, the repeat does not come behind what it sent after it.
    Reject(u8),
}

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
    incoming: Box<[In]>,
    control: Mutex<ControlQueue>,
    control_ready: Notify,
    marks_changed: AtomicBool,
    /// Whether one end is closing.
    closing: AtomicBool,
    /// Told whenever a closing session may have come to its end.
    closed_changed: Notify,
    /// Whether the layer above has been told of the session.
    introduced: AtomicBool,
    ended: AtomicBool,
}

struct Out {
    lane: Mutex<Outgoing>,
    ready: Notify,
}

#[derive(Default)]
struct In {
    lane: Mutex<Incoming>,
    /// Whether a message may have to be rejected because of an earlier one.
    refuses: AtomicBool,
}

#[derive(Default)]
struct ControlQueue {
    packets: VecDeque<Bytes>,
    frames: VecDeque<Control>,
    closing: Closing,
    /// The connection that may take what is here.
    carrier: u64,
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
            incoming: (0..shape.lanes_in).map(|_| In::default()).collect(),
            control: Mutex::default(),
            control_ready: Notify::new(),
            marks_changed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed_changed: Notify::new(),
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

    /// Whether messages can still be sent: the session has not ended, and neither end is closing.
    pub fn takes_messages(&self) -> bool {
        !self.has_ended() && !self.0.closing.load(Ordering::Acquire)
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
        let Some(incoming) = self.0.incoming.get(usize::from(receipt.lane)) else { return };
        let mut lane = lock(&incoming.lane);
        lane.settle(receipt.sequence);
        if incoming.refuses.load(Ordering::Relaxed) {
            incoming.refuses.store(lane.refuses(), Ordering::Release);
        }
        drop(lane);
        self.tell_marks();
    }

    /// Settles a frame that did not run, and tells its sender why.
    pub fn reject(&self, receipt: Receipt, target: u64, reason: u8, later: Later) {
        let Some(incoming) = self.0.incoming.get(usize::from(receipt.lane)) else { return };
        let out = &self.0.outgoing[usize::from(receipt.lane) % self.0.outgoing.len()];
        let later = match later {
            Later::Deliver => None,
            Later::Reject(reason) => Some(reason),
        };
        // Under one lock, so that rejections are counted in the order in which they are sent.
        let mut outgoing = lock(&out.lane);
        let wake_writer = outgoing.push_rejection(receipt, reason);
        let mut lane = lock(&incoming.lane);
        lane.reject(target, receipt.sequence, later);
        incoming.refuses.store(lane.refuses(), Ordering::Release);
        drop((lane, outgoing));
        if wake_writer {
            out.ready.notify_one();
        }
    }

    /// Whether a frame that was delivered must be rejected all the same, because an earlier one for
    /// its target was, and the sender had not seen that when it sent this one; with which reason.
    ///
    /// Frames that arrive after a rejection are rejected by the session itself. This is for those
    /// that waited for their turn meanwhile: ask when it has come.
    pub fn refusal(&self, receipt: Receipt, target: u64) -> Option<u8> {
        let incoming = self.0.incoming.get(usize::from(receipt.lane))?;
        if !incoming.refuses.load(Ordering::Acquire) {
            return None;
        }
        lock(&incoming.lane).refusal(target, receipt.sequence)
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
            Err(refusal) => Err(refusal.into()),
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
            Err(refusal) => Err(refusal.into()),
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
