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
mod buffers;
mod bulk;
mod carried;
mod closing;
#[cfg(test)]
mod floods;
mod frames;
mod incoming;
mod inflow;
mod outgoing;
mod parking;
mod payload;
mod reader;
mod records;
mod refusals;
mod sending;
mod settled;
mod target;
#[cfg(test)]
mod tests;
mod urgency;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use self::{
    budget::Amount,
    bulk::BulkOut,
    closing::Closing,
    inflow::Inflow,
    urgency::{Untold, Urgency},
};
pub(crate) use self::{
    budget::Budget,
    buffers::Buffers,
    carried::Errand,
    incoming::Incoming,
    outgoing::{Frame, Outgoing, PushRefusal, Pushed, Replaced},
    reader::{Arrived, StreamReader, put_bulk_header, put_header},
    target::Limits,
};
pub use self::{
    frames::{Frames, FramesIter, Inbound, Received},
    outgoing::{Class, Unsettled},
    payload::Payload,
    sending::{Outbound, SendAllError},
};
use crate::{
    identity::PeerId,
    wire::{control::Control, handshake::Accepts},
};

/// How many packets of the layer above may wait for the control lane; the oldest goes first.
pub const PACKETS_LIMIT: usize = 1_024;

/// How many of the transport's own frames may wait for the control lane.
const FRAMES_LIMIT: usize = 256;

/// A place in a session's incoming lane, to be settled once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) lane: u16,
    pub(crate) sequence: u64,
    /// What it takes of what this end said it would hold.
    pub(crate) bytes: u32,
}

/// Why a frame was not taken. It was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The target, its lane or the session has too much under way; or, for an answer, too many
    /// answers wait for the peer.
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
    shape: Shape,
    budget: Budget,
    outgoing: Box<[Out]>,
    incoming: Box<[In]>,
    control: Mutex<ControlQueue>,
    control_ready: Notify,
    untold: Untold,
    /// Tells the control lane's writer, while it lets others go first, that a lane is about to be
    /// written.
    lane_written: Notify,
    /// Whether a sender of this end was turned away since marks were told last.
    is_short: AtomicBool,
    /// Messages of the peer's that have arrived and are not settled.
    held: Amount,
    /// Those that are settled, of which the peer was not told.
    let_go: Amount,
    /// For bulk messages, either way.
    buffers: Buffers,
    bulk_out: Mutex<BulkOut>,
    /// Told when a bulk message was given up.
    bulk_cancelled: Notify,
    inflow: Mutex<Inflow>,
    /// Whether anything may be parked, or coming in as a bulk message.
    is_inflow_busy: AtomicBool,
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

impl Out {
    /// Wakes who is to be woken after a push.
    fn pushed(&self, Pushed { wake_writer, next, .. }: Pushed) {
        if wake_writer {
            self.ready.notify_one();
        }
        if let Some(next) = next {
            next.wake();
        }
    }
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
    /// Targets that have no room now.
    paused: BTreeSet<u64>,
    /// Those of which the peer is to be told.
    paused_changed: BTreeSet<u64>,
    /// The connection that may take what is here.
    carrier: u64,
}

/// Sizes of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) lanes_out: u16,
    pub(crate) lanes_in: u16,
    pub(crate) limits: Limits,
    /// What may be sent and not settled.
    pub(crate) messages_limit: u64,
    pub(crate) bytes_limit: u64,
    pub(crate) answer_bytes: u64,
    /// What is taken of the peer.
    pub(crate) accepts: Accepts,
    /// The longest payload that the peer takes.
    pub(crate) message_limit: usize,
    /// Longer payloads travel on streams of their own.
    pub(crate) bulk_over: usize,
    /// How many of them may come in at once.
    pub(crate) bulk_streams: u16,
}

impl Session {
    pub(crate) fn new(
        local: PeerId,
        peer: PeerId,
        info: Bytes,
        shape: &Shape,
        buffers: Buffers,
    ) -> Self {
        let out = || Out { lane: Mutex::new(Outgoing::new(shape.limits)), ready: Notify::new() };
        Self(Arc::new(Inner {
            local,
            peer,
            info,
            shape: *shape,
            budget: Budget::new(shape.messages_limit, shape.bytes_limit, shape.answer_bytes),
            outgoing: (0..shape.lanes_out).map(|_| out()).collect(),
            incoming: (0..shape.lanes_in).map(|_| In::default()).collect(),
            control: Mutex::default(),
            control_ready: Notify::new(),
            untold: Untold::default(),
            lane_written: Notify::new(),
            is_short: AtomicBool::new(false),
            held: Amount::default(),
            let_go: Amount::default(),
            bulk_out: Mutex::default(),
            bulk_cancelled: Notify::new(),
            inflow: Mutex::new(Inflow::new(shape, buffers.clone())),
            buffers,
            is_inflow_busy: AtomicBool::new(false),
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

    /// Whether at most a quarter of what may wait for the peer as answers does. Who sends many of them
    /// for one message, a stream of items, does so while this holds: at half of the bound the peer's
    /// messages are held back, and at the bound other answers are refused.
    pub fn has_answers_to_spare(&self) -> bool {
        self.0.budget.has_answers_to_spare()
    }

    /// Whether messages can still be sent: the session has not ended, and neither end is closing.
    pub fn takes_messages(&self) -> bool {
        !self.has_ended() && !self.0.closing.load(Ordering::Acquire)
    }

    /// How many lanes carry frames to the peer, which has said so.
    pub fn lanes(&self) -> u16 {
        self.0.outgoing.len() as u16
    }

    /// The lane that carries frames for a target, by the target's hash: its remainder by the number of lanes.
    pub fn lane_of(&self, target: u64) -> u16 {
        (target % self.0.outgoing.len() as u64) as u16
    }

    /// Messages and bytes that were sent and are not settled.
    pub fn unsettled(&self) -> (u64, u64) {
        self.0.budget.used()
    }

    /// Settles a frame: it was handled, or it will never be.
    pub fn settle(&self, receipt: Receipt) {
        self.settle_all([receipt]);
    }

    /// Settles frames; cheaper than one by one, above all when those of a lane follow one another.
    /// While this end still has much more of the peer's than that, the peer is told up to a
    /// millisecond later.
    ///
    /// The iterator is drawn from while a lane is locked: it must not use the session.
    pub fn settle_all(&self, receipts: impl IntoIterator<Item = Receipt>) {
        self.settle_each(receipts, Urgency::Now);
    }

    fn settle_each(&self, receipts: impl IntoIterator<Item = Receipt>, urgency: Urgency) {
        let mut receipts = receipts.into_iter().peekable();
        let mut told = None;
        while let Some(first) = receipts.next() {
            let Some(incoming) = self.0.incoming.get(usize::from(first.lane)) else { continue };
            let mut lane = lock(&incoming.lane);
            let (mut next, mut gone) = (Some(first), (0, 0));
            while let Some(Receipt { sequence, bytes, .. }) = next {
                if lane.settle(sequence) && bytes > 0 {
                    gone = (gone.0 + 1, gone.1 + u64::from(bytes));
                }
                next = receipts.next_if(|receipt| receipt.lane == first.lane);
            }
            if incoming.refuses.load(Ordering::Relaxed) {
                incoming.refuses.store(lane.refuses(), Ordering::Release);
            }
            // Before the lane is free: a peer that is told of it may send as much again at once.
            self.let_go(gone);
            drop(lane);
            let is_worth_it = gone.0 == 0 || self.is_much_let_go(gone);
            told = told.max(Some(if is_worth_it { urgency } else { Urgency::Later }));
        }
        if let Some(urgency) = told {
            self.tell_marks(urgency);
        }
    }

    /// Settles a frame that did not run, and tells its sender why. A sender that does not take notice
    /// is given less and less to send: what it was told takes of
    /// [`answer_bytes`](crate::TransportConfig::answer_bytes) until it has arrived.
    pub fn reject(&self, receipt: Receipt, target: u64, reason: u8, later: Later) {
        let Some(incoming) = self.0.incoming.get(usize::from(receipt.lane)) else { return };
        let out = &self.0.outgoing[usize::from(receipt.lane) % self.0.outgoing.len()];
        let later = match later {
            Later::Deliver => None,
            Later::Reject(reason) => Some(reason),
        };
        // The sender takes it off its budget once it reads the rejection.
        if receipt.bytes > 0 {
            self.let_go((1, receipt.bytes.into()));
        }
        let receipt = Receipt { bytes: 0, ..receipt };
        // Under one lock, so that rejections are counted in the order in which they are sent.
        let mut outgoing = lock(&out.lane);
        let wake_writer = outgoing.push_rejection(receipt, reason, &self.0.budget);
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
        if !self.refuses_any(receipt.lane) {
            return None;
        }
        let incoming = self.0.incoming.get(usize::from(receipt.lane))?;
        lock(&incoming.lane).refusal(target, receipt.sequence)
    }

    /// Whether any message of a lane may have to be rejected because of an earlier one.
    fn refuses_any(&self, lane: u16) -> bool {
        let incoming = self.0.incoming.get(usize::from(lane));
        incoming.is_some_and(|incoming| incoming.refuses.load(Ordering::Acquire))
    }

    /// Tells the peer that a target has no room: it is to send it nothing more until
    /// [`resume_target`](Self::resume_target). What it has sent already still comes.
    ///
    /// Without it the target's share of the peer's budget bounds what comes; with it, more of that
    /// budget is left to others.
    pub fn pause_target(&self, target: u64) {
        self.change_pause(target, |paused| paused.insert(target));
    }

    /// Tells the peer that a target has room again.
    pub fn resume_target(&self, target: u64) {
        self.change_pause(target, |paused| paused.remove(&target));
    }

    fn change_pause(&self, target: u64, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let mut control = lock(&self.0.control);
        if change(&mut control.paused) {
            control.paused_changed.insert(target);
            drop(control);
            self.0.control_ready.notify_one();
        }
    }

    /// Gives up a bulk message that was sent with this token, if it has not arrived as a whole: it
    /// ends *rejected* with `reason` then, and as it would have otherwise. Returns whether it was
    /// found on its way; shorter messages never are.
    pub fn cancel(&self, token: u64, reason: u8) -> bool {
        let is_found = lock(&self.0.bulk_out).cancel(token, reason);
        if is_found {
            self.0.bulk_cancelled.notify_waiters();
            self.0.control_ready.notify_one();
        }
        is_found
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

    /// Messages of the peer's are settled, or about to be, with so many bytes.
    fn let_go(&self, (messages, bytes): (u64, u64)) {
        if messages > 0 {
            self.0.held.take(messages, bytes);
        }
    }

    /// Counts messages that the peer is to be told of. Whether that is a quarter of all that it has
    /// under way here, so that it is worth a packet of its own.
    fn is_much_let_go(&self, (messages, bytes): (u64, u64)) -> bool {
        let (before, before_bytes) = self.0.let_go.add(messages, bytes);
        let (held, held_bytes) = self.0.held.get();
        3 * (before + messages) >= held || 3 * (before_bytes + bytes) >= held_bytes
    }

    fn out(&self, target: u64) -> &Out {
        &self.0.outgoing[usize::from(self.lane_of(target))]
    }

    fn tell_marks(&self, urgency: Urgency) {
        let is_awaited =
            || self.0.is_short.load(Ordering::Acquire) || self.0.closing.load(Ordering::Acquire);
        let urgency = if is_awaited() { Urgency::Now } else { urgency };
        if self.0.untold.tell(urgency) {
            self.0.control_ready.notify_one();
        }
    }

    /// A sender was turned away: what the peer is told now may lead to room.
    fn hurry_marks(&self) {
        self.0.is_short.store(true, Ordering::Release);
        if self.0.untold.waits() {
            self.tell_marks(Urgency::Now);
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
