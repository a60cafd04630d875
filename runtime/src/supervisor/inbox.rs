//! What reaches a supervisor: children that come, what they report, and what it is told.
//!
//! Invariant: at most `limit` children are counted, from before they are made until they have left,
//! so that what can be queued is bounded: each has one arrival, few reports and one removal at a time.
//! A closed inbox counts no child any more.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::{
    link::{Child, Report, Signals},
    plan::ChildRules,
};
use crate::{
    actor::{
        ActorId,
        mailbox::{Signal, wake},
    },
    node::SpawnError,
};

pub(crate) enum Event {
    Added { id: ActorId, rules: ChildRules, child: Child },
    Removed(ActorId),
    Reported(ActorId, Report),
}

pub(crate) struct Inbox {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    /// Those who are to be removed: asking again is for nothing.
    removals: Vec<ActorId>,
    children: usize,
    signal: Signal,
    closed: bool,
    /// Nobody looks any more.
    ended: bool,
    waker: Option<Waker>,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// Counts a child that is about to be made. It is given back by [`Report::Left`], or by
    /// [`release`](Self::release).
    pub(crate) fn reserve(&self) -> Result<(), SpawnError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SpawnError::SupervisorEnded);
        }
        if state.children >= self.limit {
            return Err(SpawnError::TooManyChildren { limit: self.limit });
        }
        state.children += 1;
        Ok(())
    }

    /// The child was not made.
    pub(crate) fn release(&self) {
        self.lock().children -= 1;
    }

    /// How many children there are.
    pub(crate) fn children(&self) -> usize {
        self.lock().children
    }

    /// Hands a child over; gives it back when the supervisor has ended.
    pub(crate) fn add(&self, id: ActorId, rules: ChildRules, child: Child) -> Result<(), Child> {
        let mut state = self.lock();
        if state.closed {
            return Err(child);
        }
        state.events.push_back(Event::Added { id, rules, child });
        notify(state);
        Ok(())
    }

    /// Asks for a child's removal. Between two looks there are requests for those that were there at the
    /// first, and for those that came since; whatever is beyond is for strangers.
    pub(crate) fn remove(&self, id: ActorId) {
        let mut state = self.lock();
        let is_open = !state.closed && state.removals.len() < self.limit.saturating_mul(2);
        if is_open && !state.removals.contains(&id) {
            state.removals.push(id);
            state.events.push_back(Event::Removed(id));
            notify(state);
        }
    }

    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        if let Event::Reported(_, Report::Left) = event {
            state.children -= 1;
        }
        if !state.ended {
            state.events.push_back(event);
            notify(state);
        }
    }

    /// The signal in force.
    pub(crate) fn signalled(&self) -> Signal {
        self.lock().signal
    }

    /// Counts no child any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Keeps nothing any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        (state.closed, state.ended) = (true, true);
        let left = std::mem::take(&mut state.events);
        drop(state);
        drop(left);
    }

    /// Takes all that came; when that is nothing, `waker` is called once something comes.
    pub(crate) fn take(&self, waker: &Waker) -> VecDeque<Event> {
        let mut state = self.lock();
        state.waker = Some(waker.clone());
        state.removals.clear();
        std::mem::take(&mut state.events)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a user's runs under this lock, so a poisoned one guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signals for Inbox {
    fn raise(&self, signal: Signal) {
        let mut state = self.lock();
        state.signal = state.signal.and(signal);
        notify(state);
    }

    fn clear(&self, signal: Signal) {
        let mut state = self.lock();
        if state.signal == signal {
            state.signal = Signal::None;
        }
    }
}

/// Wakes the supervisor, once the lock is gone.
fn notify(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    wake(waker);
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_removal_are_twice_as_many_as_children_at_most_and_one_for_each() {
        let inbox = Inbox::new(1);
        for id in [1, 1, 2, 2, 3] {
            inbox.remove(ActorId(id));
        }
        let removed = |event| match event {
            Event::Removed(id) => id.0,
            Event::Added { .. } | Event::Reported(..) => panic!("nobody came or said anything"),
        };
        let taken: Vec<_> = inbox.take(Waker::noop()).into_iter().map(removed).collect();
        assert_eq!(taken, [1, 2]);
        inbox.remove(ActorId(3));
        assert_eq!(inbox.take(Waker::noop()).len(), 1, "each look makes room");
    }
}
