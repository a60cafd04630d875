//! quinn's own tasks, which end at the latest when their transport has closed.
//!
//! By itself quinn keeps its socket until each connection has drained, three times as long as it takes a
//! packet to be given up: after a process that stood still goes on, that is several times as long as it
//! stood. The next transport of the node wants the port before.
//!
//! Invariant: once they were stopped what they held is dropped, and none is polled again.

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
    all: Arc<Mutex<All>>,
}

/// Those that have not ended.
#[derive(Default)]
struct All {
    has_stopped: bool,
    slots: BTreeMap<u64, Slot>,
    next: u64,
}

/// A task of quinn's, until it ends or is stopped; and whom to wake then.
type Slot = Arc<Mutex<(Option<Task>, Option<Waker>)>>;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the runtime runs in a task's place.
struct Driver {
    number: u64,
    slot: Slot,
    all: Arc<Mutex<All>>,
}

impl Drivers {
    pub(super) fn new(inner: Arc<dyn Runtime>) -> Self {
        Self { inner, all: Arc::default() }
    }

    /// Drops all tasks, with what they hold, and those to come. Not to be called by one of them.
    pub(super) fn stop(&self) {
        let slots = {
            let mut all = lock(&self.all);
            all.has_stopped = true;
            std::mem::take(&mut all.slots)
        };
        for slot in slots.into_values() {
            let (task, waker) = std::mem::take(&mut *lock(&slot));
            drop(task);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
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
        let mut all = lock(&self.all);
        if all.has_stopped {
            drop(all);
            return drop(task);
        }
        let (number, slot) = (all.next, Arc::new(Mutex::new((Some(task), None))));
        all.next += 1;
        all.slots.insert(number, Arc::clone(&slot));
        drop(all);
        self.inner.spawn(Box::pin(Driver { number, slot, all: Arc::clone(&self.all) }));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.inner.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (task, waker) = &mut *lock(&self.slot);
        let Some(task) = task else { return Poll::Ready(()) };
        let is_known = waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if !is_known {
            *waker = Some(context.waker().clone());
        }
        task.as_mut().poll(context)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let slot = lock(&self.all).slots.remove(&self.number);
        drop(slot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A task that has panicked is not polled again, and the table is changed in single steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            assert_eq!(lock(&drivers.all).slots.len(), 1, "no more is kept than runs");
            drivers.stop();
            let dropped = is_dropped.try_recv().expect_err("nothing is sent");
            assert_eq!(dropped, oneshot::error::TryRecvError::Closed, "it is dropped at once");
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
