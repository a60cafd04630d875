//! Threads that belong to one actor each, beside the node's arbiters.
//!
//! Each is an arbiter with one job, the start of its actor, and ends when that has ended.
//! Invariant: none starts once the node ends, and the node's end waits for each.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    SpawnError,
    arbiter::{Arbiter, Job},
    threads::Threads,
};

/// How many actors of a node have a thread of their own.
pub(crate) const LIMIT: usize = 256;

/// What no arbiter of the node has for a number.
const NO_NUMBER: usize = usize::MAX;

pub(crate) struct OwnThreads {
    threads: Arc<dyn Threads>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Vec<Arbiter>,
    is_closed: bool,
}

impl OwnThreads {
    pub(super) fn new(threads: Arc<dyn Threads>) -> Self {
        Self { threads, state: Mutex::default() }
    }

    /// Runs the start of an actor on a thread for it alone.
    pub(super) fn start(&self, name: String, begin: Job) -> Result<(), SpawnError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(SpawnError::NodeStopped);
        }
        state.running.retain(|arbiter| !arbiter.has_ended());
        if state.running.len() >= LIMIT {
            return Err(SpawnError::TooManyThreads { limit: LIMIT });
        }
        let arbiter = Arbiter::start(&*self.threads, NO_NUMBER, name).map_err(|error| {
            tracing::warn!(%error, "a thread could not be made");
            SpawnError::NoThread
        })?;
        arbiter.submit(begin)?;
        // It ends once its actor has.
        arbiter.close();
        state.running.push(arbiter);
        Ok(())
    }

    /// Starts none any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&self) {
        let running = self.lock().running.clone();
        for arbiter in running {
            arbiter.ended().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A state is whole after each step, so a poisoned lock guards a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OwnThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnThreads")
    }
}
