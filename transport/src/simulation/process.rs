//! A simulated process: what runs of it, and whether it runs at all.
//!
//! Invariant: while a process is paused nothing of it is polled, and once it has ended all it owned
//! is dropped, its ports first.
//!
//! ```text
//!             pause              kill, or `main` ends
//!   running <-------> paused       running, paused ------> ended ----restart----> running
//!             resume                                                 (another Host)
//! ```

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::task::LocalSet;

use crate::simulation::{Host, SimulatedNetwork};

/// A process on a simulated host: a `LocalSet` with all that is spawned from its `main`, which can
/// be paused, killed and restarted from outside. Dropping the handle changes nothing: the process runs
/// until its `main` ends or the `LocalSet` that it was started in is dropped.
///
/// What is polled outside of it, such as a future that a test made with a handle of the process and
/// awaits itself, is not part of it and is not paused.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::simulation::{Process, SimulatedNetwork};
/// use std::{cell::Cell, rc::Rc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// # tokio::task::LocalSet::new().run_until(async {
/// let network = SimulatedNetwork::new(7);
/// let (beats, seen) = (Rc::new(Cell::new(0)), Cell::new(0));
/// let beating = Rc::clone(&beats);
/// let process = Process::start(&network, [10, 0, 0, 1].into(), async move |host| {
///     loop {
///         host.clock().sleep(Duration::from_secs(1)).await;
///         beating.set(beating.get() + 1);
///     }
/// });
/// tokio::time::sleep(Duration::from_secs(10)).await;
/// process.pause();
/// seen.set(beats.get());
/// tokio::time::sleep(Duration::from_secs(10)).await;
/// assert_eq!(beats.get(), seen.get());
/// # }).await
/// # }
/// ```
pub struct Process {
    network: SimulatedNetwork,
    life: Rc<Life>,
}

impl Process {
    /// Starts a process on the host at `ip`, with a [`Host`] of its own. It runs until `main` ends;
    /// what `main` spawned ends with it. It is first polled after this call.
    ///
    /// # Panics
    ///
    /// Outside of a `LocalSet`.
    pub fn start(
        network: &SimulatedNetwork,
        ip: IpAddr,
        main: impl AsyncFnOnce(Host) + 'static,
    ) -> Self {
        Self::start_on(network.host(ip), main)
    }

    /// As [`start`](Self::start), on a host that was made before: for what needs its seed or clock
    /// to be configured. One process for each [`Host`].
    ///
    /// # Panics
    ///
    /// Outside of a `LocalSet`.
    #[expect(clippy::disallowed_methods, reason = "a simulated process is a task")]
    pub fn start_on(host: Host, main: impl AsyncFnOnce(Host) + 'static) -> Self {
        host.record_process("starts");
        let given = host.clone();
        let run: Run = Box::pin(async move {
            LocalSet::new().run_until(async move { main(given).await }).await;
        });
        let life = Rc::new(Life {
            host: host.clone(),
            state: Cell::new(State::Running),
            run: RefCell::new(Some(run)),
            waker: RefCell::new(None),
        });
        tokio::task::spawn_local(Gate(Rc::clone(&life)));
        Self { network: host.network, life }
    }

    /// What the running process was given, or the last one that ran.
    pub fn host(&self) -> &Host {
        &self.life.host
    }

    /// Stops the process as SIGSTOP does: nothing of it runs and no timer of it fires. Its ports
    /// stay open: packets queue up in them, and what comes to a full queue of 4,096 is dropped.
    /// Nothing happens if it does not run.
    pub fn pause(&self) {
        self.life.change(State::Running, State::Paused, "pauses");
    }

    /// Lets a paused process go on, at once with all that has become due. Nothing happens if it is
    /// not paused.
    pub fn resume(&self) {
        self.life.change(State::Paused, State::Running, "resumes");
        self.life.wake();
    }

    /// Ends the process as SIGKILL does, paused or not: its ports are closed, nothing that it still
    /// had to say is sent, and all its tasks are dropped before this returns. Only a process that
    /// kills itself goes on to the end of its current poll. Nothing happens if it has ended.
    pub fn kill(&self) {
        self.life.end("is killed");
    }

    /// Kills the process, if it has not ended, and starts another on the same host. It has a seed of
    /// its own.
    ///
    /// # Panics
    ///
    /// Outside of a `LocalSet`.
    pub fn restart(&mut self, main: impl AsyncFnOnce(Host) + 'static) {
        self.kill();
        *self = Self::start(&self.network, self.host().ip(), main);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.life.state.get() == State::Paused
    }

    /// Whether it was killed, or its `main` has ended or panicked.
    pub fn has_ended(&self) -> bool {
        self.life.state.get() == State::Ended
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life { host, state, .. } = &*self.life;
        f.debug_struct("Process").field("host", host).field("state", state).finish_non_exhaustive()
    }
}

type Run = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Ended,
}

/// A process, shared by its handle and its task.
struct Life {
    host: Host,
    state: Cell<State>,
    /// Borrowed while the process is polled; none once it has ended.
    run: RefCell<Option<Run>>,
    waker: RefCell<Option<Waker>>,
}

impl Life {
    fn change(&self, from: State, to: State, event: &str) {
        if self.state.get() == from {
            self.state.set(to);
            self.host.record_process(event);
        }
    }

    fn end(&self, event: &str) {
        if self.state.replace(State::Ended) == State::Ended {
            return;
        }
        self.host.record_process(event);
        self.host.die();
        self.drop_run();
        self.wake();
    }

    /// Drops all of the process, unless it is being polled: then its task does so.
    fn drop_run(&self) {
        let run = match self.run.try_borrow_mut() {
            Ok(mut run) => run.take(),
            Err(_) => None,
        };
        drop(run);
    }

    fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, task: &mut Context<'_>) -> Poll<()> {
        drop(self.waker.replace(Some(task.waker().clone())));
        if self.state.get() == State::Running {
            let polled = match self.run.borrow_mut().as_mut() {
                Some(run) => run.as_mut().poll(task),
                None => Poll::Ready(()),
            };
            if polled.is_ready() {
                self.end("ends");
            }
        }
        if self.state.get() != State::Ended {
            return Poll::Pending;
        }
        self.drop_run();
        Poll::Ready(())
    }
}

/// The task of a process. It ends with the process, and the process with it.
struct Gate(Rc<Life>);

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        self.0.poll(task)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.end("ends");
    }
}
