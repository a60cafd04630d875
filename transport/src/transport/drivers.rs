//! quinn's own tasks, which end at the latest when their transport has closed.
//!
//! By itself quinn keeps its socket until each connection has drained, three times as long as it takes a
//! packet to be given up: after a process that stood still goes on, that is several times as long as it
//! stood. The next transport of the node wants the port before.
//!
//! Invariant: once they were stopped none is polled again, and what they held is dropped.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};

/// The runtime that quinn is given: another one, whose tasks can be stopped.
#[derive(Clone)]
pub(super) struct Drivers {
    inner: Arc<dyn Runtime>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    has_stopped: bool,
    /// To be called when they are stopped; of those that have been polled and have not ended.
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task of quinn's, until it ends or is stopped.
struct Driver {
    task: Option<Task>,
    number: Option<u64>,
    state: Arc<Mutex<State>>,
}

impl Drivers {
    pub(super) fn new(inner: Arc<dyn Runtime>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Stops all tasks, and those to come.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.state);
        state.has_stopped = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drivers").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Runtime for Drivers {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.inner.new_timer(at)
    }

    fn spawn(&self, task: Task) {
        let state = Arc::clone(&self.state);
        self.inner.spawn(Box::pin(Driver { task: Some(task), number: None, state }));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.inner.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }
}

impl Driver {
    /// Notes whom to wake, once: a task is woken by one waker all its life. Whether it may go on.
    fn is_noted(&mut self, waker: &Waker) -> bool {
        if self.number.is_some() && self.task.is_some() {
            return !lock(&self.state).has_stopped;
        }
        let mut state = lock(&self.state);
        if state.has_stopped {
            return false;
        }
        let number = state.next;
        state.next += 1;
        state.wakers.insert(number, waker.clone());
        self.number = Some(number);
        true
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_noted(context.waker()) {
            self.task = None;
        }
        match &mut self.task {
            Some(task) => task.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = lock(&self.state).wakers.remove(&number);
            drop(waker);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Only map operations run under this lock, so a poisoned one guards a whole map.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::{sync::oneshot, task::LocalSet};

    use super::*;
    use crate::socket::LocalRuntime;

    #[tokio::test]
    async fn tasks_that_are_stopped_are_dropped_and_no_others_begin() {
        let set = LocalSet::new();
        let scope = async {
            let drivers = Drivers::new(Arc::new(LocalRuntime));
            let polls = Arc::<AtomicU32>::default();
            let (held, mut is_dropped) = oneshot::channel::<()>();
            let counted = Arc::clone(&polls);
            drivers.spawn(Box::pin(async move {
                let _held = held;
                counted.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }));
            let (ends, ended) = oneshot::channel();
            drivers.spawn(Box::pin(async move { ends.send(()).expect("somebody waits") }));
            ended.await.expect("one that ends by itself does");
            assert!(is_dropped.try_recv().is_err() && polls.load(Ordering::Relaxed) == 1);
            assert_eq!(lock(&drivers.state).wakers.len(), 1);
            drivers.stop();
            is_dropped.await.expect_err("it is dropped");
            let counted = Arc::clone(&polls);
            drivers.spawn(Box::pin(async move {
                counted.fetch_add(1, Ordering::Relaxed);
            }));
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert_eq!(polls.load(Ordering::Relaxed), 1, "it comes too late");
        };
        set.run_until(scope).await;
    }
}
