//! An actor's mailbox: a bounded queue of envelopes, a line of senders that wait for room, and
//! the signals that go ahead of both.
//!
//! Invariant: accepted and unfinished messages of local senders never exceed the capacity (where
//! senders wait, those of other nodes are bounded by their senders' budgets, and come on top; beyond
//! the capacity these are paused; where the oldest is dropped, the one being handled comes on top; and
//! so do ends of what the actor watches, whose places are reserved when it sets the watch),
//! and a closed mailbox never accepts again. Closing and the last look for messages happen under one
//! lock, so "passivate if empty" cannot lose a message.
//! Knows no instance and no supervisor: the activation drains it.

mod id;
mod signal;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    task::Waker,
};

use actix::Actor;
use actix_cluster_transport::{
    Session,
    wait_list::{Ticket, WaitList},
};

pub use self::id::ActorId;
pub(crate) use self::signal::Signal;
use self::{signal::Raised, sweep::Swept};
use super::{
    bound::{Admission, Bound, Load},
    envelope::{BoxEnvelope, Rejected},
    exit::ExitReason,
};
use crate::{
    node::{Activity, EntityKey, NodeCore},
    reference::RejectReason,
    watch::Watchers,
};

pub(crate) struct Mailbox<A: Actor> {
    /// For those who hold the mailbox: it asks nothing of it.
    core: Arc<NodeCore>,
    id: ActorId,
    bound: Bound,
    entity: Option<EntityKey>,
    signals: Raised,
    /// How many instances have panicked, modulo 2^16: whoever looks compares with a look before.
    panics: AtomicU16,
    /// When a message came last, by the node's ticks.
    used_at: AtomicU32,
    /// When it was made, by the node's age; of an entity's.
    made_at: u32,
    state: Mutex<State<A>>,
}

struct State<A: Actor> {
    queue: VecDeque<BoxEnvelope<A>>,
    /// How many of them have places of their own, beyond the capacity.
    reserved: usize,
    /// Envelopes the activation took over and has not finished.
    taken: usize,
    /// How many have finished, modulo 2^32.
    handled: u32,
    /// There once a sender has had to wait.
    blocked: Option<Box<Blocked>>,
    waker: Option<Waker>,
    /// Whether only a signal is to call the waker: the actor awaits a future of its own.
    deaf: bool,
    closed: Option<RejectReason>,
    swept: Swept,
    exit: Option<Box<ExitReason>>,
    watchers: Option<Box<Watchers>>,
}

/// Senders for whom there was no room.
#[derive(Default)]
struct Blocked {
    /// Those of this node.
    waiters: WaitList,
    /// Those of others that were told to send nothing more, at most [`PAUSED_LIMIT`].
    paused: Vec<Remote>,
}

/// Who sends to a mailbox from another node, and by which target's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) session: Session,
    pub(crate) target: u64,
}

/// How many senders a mailbox pauses; those beyond have their budgets only.
const PAUSED_LIMIT: usize = 1_024;

/// Room for so many messages is made anew rather than kept by an idle actor.
const SMALL_ROOM: usize = 16;

/// What became of the messages that were taken before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// How many have finished since they were told of.
    pub(crate) finished: usize,
    /// How many run beside others, at their awaits.
    pub(crate) awaiting: usize,
}

/// Why an envelope was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Wait, and try again when woken; without a ticket there is nothing to wait for.
    Full(Option<Ticket>),
    /// Never again.
    Closed(RejectReason),
}

impl<A: Actor> Mailbox<A> {
    pub(crate) fn new(
        core: Arc<NodeCore>,
        id: ActorId,
        bound: Bound,
        entity: Option<EntityKey>,
    ) -> Self {
        let used_at = AtomicU32::new(core.tick());
        let made_at = if entity.is_some() { core.age() } else { 0 };
        Self {
            core,
            id,
            bound,
            entity,
            signals: Raised::default(),
            panics: AtomicU16::new(0),
            used_at,
            made_at,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                reserved: 0,
                taken: 0,
                handled: 0,
                blocked: None,
                waker: None,
                deaf: false,
                closed: None,
                swept: Swept::Not,
                exit: None,
                watchers: None,
            }),
        }
    }

    /// The node it is on.
    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        &self.core
    }

    pub(crate) fn id(&self) -> ActorId {
        self.id
    }

    /// How many messages may wait in it, and what becomes of one more.
    pub(crate) fn bound(&self) -> Bound {
        self.bound
    }

    /// Which entity it is the mailbox of, if any.
    pub(crate) fn entity(&self) -> Option<&EntityKey> {
        self.entity.as_ref()
    }

    /// Whether it accepts no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// How many messages were accepted and are not finished.
    pub(crate) fn unfinished(&self) -> usize {
        let Load { waiting, taken } = self.lock().load();
        waiting + taken
    }

    /// What its actor does.
    pub(crate) fn activity(&self) -> Activity {
        let state = self.lock();
        let Load { waiting, taken } = state.load();
        let (id, made_at, handled) = (self.id.0, self.made_at, state.handled);
        Activity { id, made_at, handled, waiting: waiting + taken }
    }

    /// How many instances have panicked so far, modulo 2^16.
    pub(crate) fn panics(&self) -> u32 {
        self.panics.load(Ordering::Acquire).into()
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Release);
    }

    /// Why the actor ended, once it has.
    pub(crate) fn exit(&self) -> Option<ExitReason> {
        self.lock().exit.as_deref().cloned()
    }

    /// Takes a message from another node. Where senders wait it comes in beyond the capacity too:
    /// its sender's budget bounds it, and it is paused then.
    ///
    /// Returns what is to be rejected for it: the message itself, or one that made room.
    pub(crate) fn accept(&self, envelope: BoxEnvelope<A>) -> Option<Rejected<A>> {
        let state = self.lock();
        match state.closed {
            Some(reason) => Some(Rejected { envelope, reason }),
            None => self.take_in(state, envelope),
        }
    }

    /// As [`accept`](Self::accept), of what `envelope` makes of `message`; a closed mailbox gives the
    /// message back instead. `envelope` must not panic.
    pub(crate) fn accept_if_open<T>(
        &self,
        message: T,
        envelope: impl FnOnce(T) -> BoxEnvelope<A>,
    ) -> Result<Option<Rejected<A>>, T> {
        let state = self.lock();
        match state.closed {
            Some(_) => Err(message),
            None => Ok(self.take_in(state, envelope(message))),
        }
    }

    fn take_in(
        &self,
        mut state: MutexGuard<'_, State<A>>,
        envelope: BoxEnvelope<A>,
    ) -> Option<Rejected<A>> {
        let admission = self.bound.admit(state.load(), true);
        if admission == Admission::Refuse {
            return Some(Rejected { envelope, reason: RejectReason::Full });
        }
        self.touch(&mut state);
        if admission == Admission::Wait
            && let paused = &mut state.blocked().paused
            && paused.len() < PAUSED_LIMIT
            && let Some(from) = envelope.remote()
            && !paused.contains(&from)
        {
            // Under the lock: else it might be resumed before. It runs no code but the transport's.
            from.session.pause_target(from.target);
            paused.push(from);
        }
        let displaces = admission == Admission::Displace;
        Slot { state, bound: self.bound, displaces }.fill(envelope)
    }

    /// Takes what has a place of its own, behind all that waits: beyond the capacity, whatever the
    /// policy. How many there can be is for the caller to bound. A closed mailbox drops it.
    pub(crate) fn push_reserved(&self, envelope: BoxEnvelope<A>) {
        let mut state = self.lock();
        if state.closed.is_some() {
            drop(state);
            return drop(envelope);
        }
        self.touch(&mut state);
        state.reserved += 1;
        state.queue.push_back(envelope);
        let activation = if state.deaf { None } else { state.waker.take() };
        drop(state);
        wake(activation);
    }

    /// Lends those who are to be told of the actor's end, and why it ended, once it has.
    pub(crate) fn with_watchers<T>(
        &self,
        access: impl FnOnce(&mut Option<Box<Watchers>>, Option<&ExitReason>) -> T,
    ) -> T {
        let State { watchers, exit, .. } = &mut *self.lock();
        access(watchers, exit.as_deref())
    }

    /// Asks for a place right now, without waiting.
    pub(crate) fn try_reserve(&self) -> Result<Slot<'_, A>, Refusal> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(Refusal::Closed(reason));
        }
        match self.bound.admit(state.load(), !state.has_waiters()) {
            admission @ (Admission::Enter | Admission::Displace) => {
                self.touch(&mut state);
                let displaces = admission == Admission::Displace;
                Ok(Slot { state, bound: self.bound, displaces })
            }
            Admission::Wait | Admission::Refuse => Err(Refusal::Full(None)),
        }
    }

    /// Asks for a place, or for a place in the line: `ticket` is what an earlier call gave.
    ///
    /// `Full(None)` says that the line itself is full, or that there is none.
    pub(crate) fn reserve(
        &self,
        ticket: Option<Ticket>,
        waker: &Waker,
    ) -> Result<Slot<'_, A>, Refusal> {
        let mut state = self.lock();
        if let Some(reason) = state.closed {
            return Err(Refusal::Closed(reason));
        }
        let is_next = match ticket {
            Some(ticket) => state.blocked().waiters.is_first(ticket),
            None => !state.has_waiters(),
        };
        match (self.bound.admit(state.load(), is_next), ticket) {
            (admission @ (Admission::Enter | Admission::Displace), ticket) => {
                if let Some(ticket) = ticket {
                    state.blocked().waiters.leave(ticket);
                }
                self.touch(&mut state);
                let displaces = admission == Admission::Displace;
                Ok(Slot { state, bound: self.bound, displaces })
            }
            (Admission::Wait, Some(ticket)) => {
                state.blocked().waiters.renew(ticket, waker);
                Err(Refusal::Full(Some(ticket)))
            }
            (Admission::Wait, None) => Err(Refusal::Full(state.blocked().waiters.join(waker))),
            (Admission::Refuse, _) => Err(Refusal::Full(None)),
        }
    }

    /// Gives up a place in the line.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let mut state = self.lock();
        let waiters = &mut state.blocked().waiters;
        let was_first = waiters.is_first(ticket);
        waiters.leave(ticket);
        let next = if was_first { state.next_waiter(self.bound) } else { None };
        // One that is to end once nobody waits may end now.
        let is_to_end = !state.has_waiters() && self.signalled() == Signal::Passivate;
        let activation = if is_to_end { state.waker.take() } else { None };
        drop(state);
        wake(next);
        wake(activation);
    }

    /// Raises a signal, and wakes the activation.
    pub(crate) fn signal(&self, signal: Signal) {
        self.signals.add(signal);
        let waker = self.lock().waker.take();
        wake(waker);
    }

    /// The signal in force.
    pub(crate) fn signalled(&self) -> Signal {
        self.signals.highest()
    }

    /// Takes back a signal that was carried out, or declined; any other one stays.
    pub(crate) fn clear_signal(&self, signal: Signal) {
        self.signals.remove(signal);
    }

    /// Moves what is queued into the empty `batch`, as much as may be taken at once.
    ///
    /// When there is nothing, `waker` is kept and called once something arrives.
    pub(crate) fn refill(
        &self,
        Taken { finished, awaiting }: Taken,
        batch: &mut VecDeque<BoxEnvelope<A>>,
        waker: &Waker,
    ) {
        debug_assert!(batch.is_empty(), "a batch is refilled once it is used up");
        let mut state = self.lock();
        state.finish(finished);
        let limit = self.bound.batch_limit(awaiting);
        if state.queue.is_empty() || limit == 0 {
            state.keep(waker);
            state.deaf = limit == 0;
            state.keep_room(batch);
        } else {
            state.take(limit, batch);
        }
        let next = state.next_waiter(self.bound);
        let resumed = state.resumed(self.bound);
        drop(state);
        resume(resumed);
        wake(next);
    }

    /// Gives back the room of `finished` messages while others of the batch are left, once that is half
    /// of the capacity: senders on other threads go on while there is still work to do.
    pub(crate) fn release(&self, finished: &mut usize) {
        if *finished < self.bound.capacity.div_ceil(2) {
            return;
        }
        let mut state = self.lock();
        state.finish(std::mem::take(finished));
        let next = state.next_waiter(self.bound);
        let resumed = state.resumed(self.bound);
        drop(state);
        resume(resumed);
        wake(next);
    }

    /// Gives back the room of `finished` messages, and has `waker` called on the next signal.
    pub(crate) fn park(&self, finished: usize, waker: &Waker) {
        let mut state = self.lock();
        state.finish(finished);
        state.keep(waker);
        state.deaf = true;
        let next = state.next_waiter(self.bound);
        let resumed = state.resumed(self.bound);
        drop(state);
        resume(resumed);
        wake(next);
    }

    /// Counts `returned` messages as unfinished again: they have come back from a stash.
    pub(crate) fn take_again(&self, returned: usize) {
        self.lock().taken += returned;
    }

    /// Closes the mailbox if no message is queued or taken and nobody waits.
    pub(crate) fn close_if_empty(&self, reason: RejectReason) -> bool {
        let mut state = self.lock();
        let empty = state.queue.is_empty() && state.taken == 0 && !state.has_waiters();
        if empty {
            state.closed = Some(reason);
        }
        empty
    }

    /// Closes the mailbox for good, and gives what was queued.
    pub(crate) fn close(&self, reason: RejectReason) -> VecDeque<BoxEnvelope<A>> {
        let mut state = self.lock();
        state.closed.get_or_insert(reason);
        state.taken = 0;
        state.reserved = 0;
        let queue = std::mem::take(&mut state.queue);
        let blocked = state.blocked.take();
        state.waker = None;
        drop(state);
        if let Some(mut blocked) = blocked {
            resume(blocked.paused);
            blocked.waiters.drain().into_iter().for_each(Waker::wake);
        }
        queue
    }

    /// Records why the actor ended.
    pub(crate) fn record_exit(&self, reason: ExitReason) {
        self.lock().exit.get_or_insert_with(|| Box::new(reason));
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // No code of a user's runs under this lock, so a poisoned one guards a whole state.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<A: Actor> State<A> {
    fn load(&self) -> Load {
        Load { waiting: self.queue.len() - self.reserved, taken: self.taken }
    }

    /// So many of those that were taken have finished.
    fn finish(&mut self, finished: usize) {
        self.taken -= finished;
        self.handled = self.handled.wrapping_add(finished as u32);
    }

    fn has_waiters(&self) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| !blocked.waiters.is_empty())
    }

    fn blocked(&mut self) -> &mut Blocked {
        self.blocked.get_or_insert_default()
    }

    /// Takes out the message that has waited longest and may be dropped for another.
    fn displace(&mut self) -> Option<BoxEnvelope<A>> {
        if self.reserved == 0 {
            return self.queue.pop_front();
        }
        let at = self.queue.iter().position(|envelope| !envelope.is_reserved())?;
        self.queue.remove(at)
    }

    fn take(&mut self, limit: usize, batch: &mut VecDeque<BoxEnvelope<A>>) {
        let reserved = if self.queue.len() <= limit {
            std::mem::swap(&mut self.queue, batch);
            self.reserved
        } else {
            batch.extend(self.queue.drain(..limit));
            match self.reserved {
                0 => 0,
                _ => batch.iter().filter(|envelope| envelope.is_reserved()).count(),
            }
        };
        self.reserved -= reserved;
        self.taken += batch.len() - reserved;
    }

    /// Keeps the larger one of the room of an empty batch and its own: an idle actor has one of them,
    /// and a message that finds it idle needs no other.
    fn keep_room(&mut self, batch: &mut VecDeque<BoxEnvelope<A>>) {
        if self.queue.is_empty() && self.queue.capacity() < batch.capacity() {
            std::mem::swap(&mut self.queue, batch);
        }
        if batch.capacity() <= SMALL_ROOM {
            *batch = VecDeque::new();
        }
    }

    /// Who may send again: all, once half of the room is free.
    fn resumed(&mut self, bound: Bound) -> Vec<Remote> {
        let resumes = bound.resumes(self.load());
        match &mut self.blocked {
            Some(blocked) if resumes => std::mem::take(&mut blocked.paused),
            Some(_) | None => Vec::new(),
        }
    }

    fn next_waiter(&self, bound: Bound) -> Option<Waker> {
        let Blocked { waiters, .. } = &**self.blocked.as_ref()?;
        let is_open = self.closed.is_none() && bound.has_room(self.load());
        if is_open { waiters.first() } else { None }
    }

    fn keep(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }
}

impl<A: Actor> fmt::Debug for Mailbox<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A place in a mailbox, held under its lock: fill it, or drop it.
pub(crate) struct Slot<'a, A: Actor> {
    state: MutexGuard<'a, State<A>>,
    bound: Bound,
    /// Whether another message is to make room.
    displaces: bool,
}

impl<A: Actor> Slot<'_, A> {
    /// Puts the message in, and returns the one that made room for it, if one had to.
    pub(crate) fn fill(mut self, envelope: BoxEnvelope<A>) -> Option<Rejected<A>> {
        let displaced = if self.displaces { self.state.displace() } else { None };
        if self.state.queue.capacity() == 0 {
            // Most actors never have more than one; the queue's own first step is four.
            self.state.queue.reserve_exact(1);
        }
        self.state.queue.push_back(envelope);
        let activation = if self.state.deaf { None } else { self.state.waker.take() };
        let next = self.state.next_waiter(self.bound);
        drop(self);
        wake(activation);
        wake(next);
        displaced.map(|envelope| Rejected { envelope, reason: RejectReason::Displaced })
    }
}

fn resume(paused: Vec<Remote>) {
    for Remote { session, target } in paused {
        session.resume_target(target);
    }
}

/// Calls a waker, if there is one. Never under a lock: waking may run a scheduler's code.
pub(crate) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
