//! The routees that a router has started: how they are replaced, and how many there are.
//!
//! Nothing runs for a pool by itself. Whoever routes a message looks whether there is something to mend, and
//! one of those who look at a time does it: starting an actor takes no longer than sending to one, unless it
//! needs a thread of its own.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, TryLockError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{LIMIT, Resize, Routee, Shared};
use crate::{
    actor::{
        ClusterContext, RestartPolicy, activation::Supervision, bound::Bound, loading,
        restart::RestartTracker,
    },
    node::{Launch, RunsOn, SpawnError},
    reference::ActorRef,
    remote_actor::RemoteActor,
};

/// How long after a replacement no other one is made: a routee that can't live is not started without
/// end.
const REPLACE_AGAIN: Duration = Duration::from_secs(1);

pub(super) type Make<A> = Arc<dyn Fn(&mut ClusterContext<A>) -> A + Send + Sync>;

pub(super) struct Pool<A: RemoteActor> {
    pub(super) make: Make<A>,
    pub(super) policy: RestartPolicy,
    pub(super) bound: Bound,
    pub(super) resize: Option<Resize>,
    pub(super) runs_on: RunsOn,
    /// Whether a routee has ended that is to be replaced.
    is_short: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// How many routees there should be.
    size: usize,
    replaced: Option<Instant>,
    looked: Option<Instant>,
    has_stopped: bool,
}

impl<A: RemoteActor> Pool<A> {
    pub(super) fn new(
        make: Make<A>,
        policy: RestartPolicy,
        bound: Bound,
        resize: Option<Resize>,
        runs_on: RunsOn,
    ) -> Self {
        let state = State { size: 0, replaced: None, looked: None, has_stopped: false };
        let (is_short, state) = (AtomicBool::new(false), Mutex::new(state));
        Self { make, policy, bound, resize, runs_on, is_short, state }
    }

    /// Does what is due, unless somebody else is at it.
    pub(super) fn maintain(&self, shared: &Arc<Shared<A>>) {
        if self.resize.is_none() && !self.is_short.load(Ordering::Relaxed) {
            return;
        }
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if state.has_stopped {
            return;
        }
        let now = shared.core.clock().now();
        let has_passed = |since: Option<Instant>, time: Duration| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= time)
        };
        if let Some(resize) = &self.resize
            && has_passed(state.looked, resize.every)
        {
            state.looked = Some(now);
            let table = shared.table.load();
            let unfinished = table.iter().filter_map(|routee| routee.actor.unfinished()).sum();
            let size = resize.next(state.size, unfinished);
            drop(table);
            if size != state.size {
                // What can't be started now is replaced later.
                let _ = self.set_size(shared, &mut state, size);
            }
        }
        if self.is_short.load(Ordering::Relaxed) && has_passed(state.replaced, REPLACE_AGAIN) {
            self.is_short.store(false, Ordering::Relaxed);
            match self.fill(shared, state.size) {
                // It was one that is not to be replaced.
                Ok(0) => {}
                Ok(_) => state.replaced = Some(now),
                Err(_) => {
                    state.replaced = Some(now);
                    self.is_short.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Has so many routees from now on.
    pub(super) fn resize(&self, shared: &Arc<Shared<A>>, size: usize) -> Result<(), SpawnError> {
        let mut state = self.lock();
        if state.has_stopped {
            return Ok(());
        }
        let size = self.resize.as_ref().map_or(size.clamp(1, LIMIT), |resize| resize.bounded(size));
        self.set_size(shared, &mut state, size)
    }

    /// Stops all routees, and starts no more.
    pub(super) fn stop(&self, shared: &Shared<A>) {
        self.lock().has_stopped = true;
        let stopped = shared.table.swap(Arc::default());
        stopped.iter().for_each(|routee| routee.actor.stop());
    }

    fn set_size(
        &self,
        shared: &Arc<Shared<A>>,
        state: &mut State,
        size: usize,
    ) -> Result<(), SpawnError> {
        state.size = size;
        let (kept, dismissed): (Vec<_>, Vec<_>) =
            shared.table.load().iter().cloned().partition(|routee| routee.slot < size);
        if !dismissed.is_empty() {
            shared.table.store(Arc::new(kept));
            // They finish what they have.
            dismissed.iter().for_each(|routee| routee.actor.passivate());
        }
        self.fill(shared, size)
            .map(drop)
            .inspect_err(|_| self.is_short.store(true, Ordering::Relaxed))
    }

    /// Starts a routee in each slot that has none that lives; says how many.
    fn fill(&self, shared: &Arc<Shared<A>>, size: usize) -> Result<usize, SpawnError> {
        let mut table: Vec<_> = shared.table.load().iter().cloned().collect();
        table.retain(|routee| !routee.actor.has_ended_here());
        let living = table.len();
        let mut outcome = Ok(());
        for slot in 0..size {
            if table.iter().any(|routee| routee.slot == slot) {
                continue;
            }
            match self.start(shared) {
                Ok(actor) => table.push(Routee { slot, actor }),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let started = table.len() - living;
        table.sort_unstable_by_key(|routee| routee.slot);
        shared.table.store(Arc::new(table));
        outcome.map(|()| started)
    }

    fn start(&self, shared: &Arc<Shared<A>>) -> Result<ActorRef<A>, SpawnError> {
        let make = Arc::clone(&self.make);
        let router: Weak<Shared<A>> = Arc::downgrade(shared);
        let ended = move |_| {
            // Of one that was dismissed the next look finds nothing missing.
            if let Some(pool) = router.upgrade().as_ref().and_then(|router| router.pool.as_ref()) {
                pool.is_short.store(true, Ordering::Relaxed);
            }
        };
        let launch = Launch {
            factory: loading::at_once(move |ctx: &mut ClusterContext<A>| make(ctx)),
            supervision: Supervision::Own(RestartTracker::new(self.policy.clone())),
            bound: self.bound,
            runs_on: self.runs_on,
            entity: None,
            on_exit: Some(Box::new(ended)),
            inlet: None,
        };
        let mailbox = launch.prepare(&shared.core);
        launch.start(&shared.core, &mailbox, None)?;
        Ok(ActorRef::local(mailbox))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is whole after each step, so a poisoned lock guards a whole one.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<A: RemoteActor> Drop for Shared<A> {
    /// The last handle is gone: whoever was started for it has nobody to work for.
    fn drop(&mut self) {
        if self.pool.is_some() {
            self.table.load().iter().for_each(|routee| routee.actor.passivate());
        }
    }
}
