//! Work that blocks or computes for long, on threads that run no actor.
//!
//! ```text
//!  spawn_blocking ──> waiting ──> a thread that is idle, or a new one, up to the limit
//!                                  └─ takes from `waiting` until nothing is left
//! ```
//!
//! Invariant: work waits only while as many threads as may be are busy, and no more waits than
//! [`WAITING_LIMIT`]. What has begun runs to its end, and the node's end waits for it.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::{arbiter::Arbiter, threads::Threads};
use crate::actor::panic::{self, Panic};

/// How much work may wait for a thread.
pub(crate) const WAITING_LIMIT: usize = 4_096;

/// How many threads there are at most, unless the node's builder says otherwise.
pub(super) const DEFAULT_THREADS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

type Work = Box<dyn FnOnce() + Send>;

/// The threads, and what waits for one.
pub(crate) struct BlockingPool {
    threads: Arc<dyn Threads>,
    /// What the threads are named after.
    node: Arc<str>,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    started: Vec<Arbiter>,
    /// Those that have nothing to do, by their places in `started`.
    idle: Vec<usize>,
    is_closed: bool,
}

impl BlockingPool {
    pub(super) fn new(threads: Arc<dyn Threads>, node: Arc<str>, limit: NonZeroUsize) -> Self {
        Self { threads, node, limit: limit.get(), state: Mutex::default() }
    }

    /// Has `work` run on one of the threads.
    pub(super) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Blocking<T> {
        let (done, result) = oneshot::channel();
        let work = move || {
            if done.is_closed() {
                return;
            }
            let outcome = panic::catch(work).map_err(|Panic { message, location, .. }| {
                tracing::warn!(panic = message, location, "blocking work panicked");
                BlockingError::Panicked { message, location }
            });
            let _unheard = done.send(outcome);
        };
        match self.submit(Box::new(work)) {
            Ok(()) => Blocking(Progress::Begun(result)),
            Err(error) => Blocking(Progress::Refused(error)),
        }
    }

    fn submit(self: &Arc<Self>, work: Work) -> Result<(), BlockingError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(BlockingError::NodeStopped);
        }
        if state.waiting.len() >= WAITING_LIMIT {
            return Err(BlockingError::Full);
        }
        let place = match state.idle.pop() {
            Some(place) => place,
            None if state.started.len() < self.limit => match self.start(state.started.len()) {
                Ok(thread) => {
                    state.started.push(thread);
                    state.started.len() - 1
                }
                Err(BlockingError::NoThread) if !state.started.is_empty() => {
                    // One of those that there are takes it.
                    state.waiting.push_back(work);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
            None => {
                state.waiting.push_back(work);
                return Ok(());
            }
        };
        state.waiting.push_back(work);
        let (pool, thread) = (Arc::clone(self), state.started[place].clone());
        drop(state);
        // If the pool was closed just now, that has dropped the work.
        let _closed = thread.submit(Box::new(move |_| pool.run(place)));
        Ok(())
    }

    fn start(&self, number: usize) -> Result<Arbiter, BlockingError> {
        let name = format!("{}-blocking-{number}", self.node);
        Arbiter::start(&*self.threads, number, name).map_err(|error| {
            tracing::warn!(%error, "a thread could not be made");
            BlockingError::NoThread
        })
    }

    /// Runs what waits, on the thread of this place, until nothing does.
    fn run(&self, place: usize) {
        loop {
            let mut state = self.lock();
            let Some(work) = state.waiting.pop_front() else {
                state.idle.push(place);
                return;
            };
            drop(state);
            // What it returns to nobody, or was given, may panic when it is dropped.
            panic::catch(work).unwrap_or_else(|panic| panic.report("drop of blocking work"));
        }
    }

    /// Takes no more. What waits is dropped, and what has begun goes on to its end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        state.started.iter().for_each(Arbiter::close);
        drop(state);
        for work in waiting {
            panic::catch(|| drop(work))
                .unwrap_or_else(|panic| panic.report("drop of blocking work"));
        }
    }

    /// Waits until all that has begun has ended.
    pub(super) async fn ended(&self) {
        let started = self.lock().started.clone();
        for thread in started {
            thread.ended().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No work runs under this lock, so a poisoned one guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of work that runs on a thread of its own; made by
/// [`Node::spawn_blocking`](super::Node::spawn_blocking).
///
/// # Cancel safety
///
/// Dropped before the work has begun, it never begins. Once begun, it runs to its end, and what it
/// returns is dropped.
#[must_use = "work whose result is dropped may not run"]
pub struct Blocking<T>(Progress<T>);

enum Progress<T> {
    Begun(oneshot::Receiver<Result<T, BlockingError>>),
    Refused(BlockingError),
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, BlockingError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            // Dropped without a word only by a pool that was closed.
            Progress::Begun(result) => Poll::Ready(
                ready!(Pin::new(result).poll(task)).unwrap_or(Err(BlockingError::NodeStopped)),
            ),
            Progress::Refused(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

// Nothing in it is pinned.
impl<T> Unpin for Blocking<T> {}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

/// Why blocking work gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingError {
    /// It did not run: 4,096 others wait for a thread already.
    Full,
    /// It did not run: the node is shutting down.
    NodeStopped,
    /// It did not run: the operating system gave no thread, and there is none yet. The log says why.
    NoThread,
    /// It ran, and panicked.
    Panicked {
        /// What the panic said, at most 4 KiB of it.
        message: String,
        /// File, line and column; `None` where no hook was told.
        location: Option<String>,
    },
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "did not run: {WAITING_LIMIT} wait for a thread already"),
            Self::NodeStopped => f.write_str("did not run: the node is shutting down"),
            Self::NoThread => f.write_str("did not run: a thread could not be made"),
            Self::Panicked { message, location: Some(place) } => {
                write!(f, "panicked at {place}: {message}")
            }
            Self::Panicked { message, location: None } => write!(f, "panicked: {message}"),
        }
    }
}

impl Error for BlockingError {}
