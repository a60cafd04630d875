//! The seam through which a node gets its threads.

use std::{fmt, future::Future, io, pin::Pin};

use tokio::task::LocalSet;

/// What runs on a thread until it ends: called there, and then driven with a `LocalSet` around it.
pub type ThreadMain = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Where a node's arbiters and its transport run.
pub trait Threads: fmt::Debug + Send + Sync + 'static {
    /// Runs `main` under `name` until it ends. Local tasks that it spawned end with it.
    ///
    /// # Errors
    ///
    /// When the thread can't be made.
    fn run(&self, name: String, main: ThreadMain) -> io::Result<()>;

    /// Whether each `main` has a thread of its own. If not, a node has no watchdog: on the thread of a
    /// turn that blocks it nothing can see it.
    fn are_apart(&self) -> bool {
        true
    }
}

/// A thread of the operating system for each, with an `actix_rt::Runtime`. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsThreads;

impl Threads for OsThreads {
    fn run(&self, name: String, main: ThreadMain) -> io::Result<()> {
        let (ready, made) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name(name).spawn(move || match actix_rt::Runtime::new() {
            Ok(runtime) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(async move { main().await });
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        })?;
        made.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended at its start")))
    }
}

/// A `LocalSet` for each on the thread of the caller, inside the `LocalSet` that runs there: for
/// simulations and tests, with paused time if they like. What makes a node start a thread
/// ([`Node::spawn_blocking`](super::Node::spawn_blocking), an actor on a thread of its own) is to be called
/// inside of it too.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalThreads;

impl Threads for LocalThreads {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that all else goes through")]
    fn run(&self, _: String, main: ThreadMain) -> io::Result<()> {
        let set = LocalSet::new();
        tokio::task::spawn_local(async move { set.run_until(main()).await });
        Ok(())
    }

    fn are_apart(&self) -> bool {
        false
    }
}
