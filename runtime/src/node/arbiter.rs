//! Arbiters: the threads that run actors.
//!
//! An arbiter takes jobs from a bounded queue and runs them on its own thread; a job is mostly the
//! start of an actor. It ends once it is closed and its last actor is gone.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use tokio::sync::watch;

use super::threads::Threads;
use crate::actor::{mailbox::wake, turns::TurnCell};

/// How many jobs may wait for an arbiter.
pub(crate) const JOBS_LIMIT: usize = 65_536;

/// How many jobs one poll runs before the arbiter's actors get their turn.
const JOBS_BUDGET: usize = 256;

pub(crate) type Job = Box<dyn FnOnce(&Residents) + Send>;

/// The handle to an arbiter.
#[derive(Clone)]
pub(crate) struct Arbiter {
    inbox: Arc<Inbox>,
    turns: Arc<TurnCell>,
    ended: watch::Receiver<bool>,
}

/// Counts the actors of one arbiter, for as long as each holds a clone of [`Resident`].
#[derive(Clone)]
pub(crate) struct Residents {
    inbox: Arc<Inbox>,
    turns: Arc<TurnCell>,
    arbiter: usize,
}

/// Held by an actor while it lives on its arbiter.
pub(crate) struct Resident(Arc<Inbox>);

struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    residents: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobRefusal {
    Busy,
    Closed,
}

impl Arbiter {
    /// Starts the arbiter with this number on a thread of its own.
    pub(crate) fn start(threads: &dyn Threads, number: usize, name: String) -> io::Result<Self> {
        let inbox = Arc::new(Inbox(Mutex::default()));
        let turns = Arc::<TurnCell>::default();
        let (end, ended) = watch::channel(false);
        let residents =
            Residents { inbox: Arc::clone(&inbox), turns: Arc::clone(&turns), arbiter: number };
        threads.run(
            name,
            Box::new(move || {
                Box::pin(async move {
                    run(residents).await;
                    let _ = end.send(true);
                })
            }),
        )?;
        Ok(Self { inbox, turns, ended })
    }

    /// What its thread does.
    pub(crate) fn turns(&self) -> &TurnCell {
        &self.turns
    }

    /// Queues a job.
    pub(crate) fn submit(&self, job: Job) -> Result<(), JobRefusal> {
        let mut state = self.inbox.lock();
        if state.closed {
            return Err(JobRefusal::Closed);
        }
        if state.jobs.len() >= JOBS_LIMIT {
            return Err(JobRefusal::Busy);
        }
        state.jobs.push_back(job);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Queues a batch of frames, however many jobs wait: their senders' budgets bound them. Gives
    /// the job back when the arbiter is closed.
    pub(crate) fn deliver(&self, job: Job) -> Result<(), Job> {
        let mut state = self.inbox.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push_back(job);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Takes no more jobs; the arbiter ends once its actors have.
    pub(crate) fn close(&self) {
        let mut state = self.inbox.lock();
        state.closed = true;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Whether the arbiter has ended, or its thread is gone.
    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Waits until the arbiter has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the arbiter's thread is gone, which is an end too.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Residents {
    /// The number of the arbiter.
    pub(crate) fn arbiter(&self) -> usize {
        self.arbiter
    }

    /// Where the arbiter's actors write down what they do.
    pub(crate) fn turns(&self) -> Arc<TurnCell> {
        Arc::clone(&self.turns)
    }

    /// Whether the arbiter takes nobody any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    pub(crate) fn enter(&self) -> Resident {
        self.inbox.lock().residents += 1;
        Resident(Arc::clone(&self.inbox))
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.residents -= 1;
        let waker = if state.closed && state.residents == 0 { state.waker.take() } else { None };
        drop(state);
        wake(waker);
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock, so a poisoned one guards a whole state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(residents: Residents) {
    let inbox = Arc::clone(&residents.inbox);
    let mut batch = VecDeque::new();
    poll_fn(|task| {
        let mut state = inbox.lock();
        let count = state.jobs.len().min(JOBS_BUDGET);
        batch.extend(state.jobs.drain(..count));
        if batch.is_empty() && state.closed && state.residents == 0 {
            return Poll::Ready(());
        }
        state.waker = Some(task.waker().clone());
        // A closed one looks once more after its last jobs: they may have left nobody to wake it.
        if !state.jobs.is_empty() || state.closed && !batch.is_empty() {
            task.waker().wake_by_ref();
        }
        drop(state);
        for job in batch.drain(..) {
            job(&residents);
        }
        Poll::Pending
    })
    .await;
}

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arbiter")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;
    use crate::node::LocalThreads;

    #[tokio::test(start_paused = true)]
    async fn an_arbiter_that_is_closed_with_jobs_left_runs_them_and_ends() {
        let local = LocalSet::new();
        let life = async {
            let arbiter = Arbiter::start(&LocalThreads, 0, "a".to_owned()).expect("it starts");
            // It has parked before: its waker is taken by the first job, and none is left to close.
            actix_cluster_transport::Clock::default().sleep(Duration::from_millis(1)).await;
            let (done, ran) = tokio::sync::oneshot::channel();
            assert!(
                arbiter.deliver(Box::new(move |_| done.send(()).expect("somebody waits"))).is_ok()
            );
            arbiter.close();
            arbiter.ended().await;
            ran.await
        };
        let limit = actix_cluster_transport::Clock::default().sleep(Duration::from_secs(60));
        tokio::select! {
            ran = local.run_until(life) => ran.expect("the job was run"),
            () = limit => panic!("it never ended"),
        }
    }
}
