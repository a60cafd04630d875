//! Virtual time: a thread whose clock passes as soon as nobody has anything to do.

use std::{fmt, future::Future, time::Duration};

use tokio::{runtime::Builder, task::LocalSet};

use crate::Clock;

/// Runs `world` on this thread in virtual time, within a `LocalSet`, until it ends or `limit` has passed.
///
/// For tests of single nodes, with [`LocalThreads`](crate::node::LocalThreads); a cluster has
/// [`macro@super::cluster_test`]. tokio's clock is paused: `tokio::time::sleep` sleeps by it, and so does all that
/// goes by a [`Clock`]. What blocks the thread, or is never done without waiting for anything, is not
/// stopped by the limit, since no time passes meanwhile.
///
/// # Errors
///
/// [`StillRunning`], once the limit has passed.
///
/// # Panics
///
/// Inside of another tokio runtime.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use actix_cluster::{Clock, testkit};
///
/// let hour = Duration::from_secs(3_600);
/// testkit::simulate(2 * hour, async { Clock::default().sleep(hour).await })?; // returns at once
/// assert!(testkit::simulate(hour, std::future::pending::<()>()).is_err());
/// # Ok::<(), testkit::StillRunning>(())
/// ```
pub fn simulate<T>(limit: Duration, world: impl Future<Output = T>) -> Result<T, StillRunning> {
    run(within(limit, world)).ok_or(StillRunning { limit })
}

/// Runs `world` on this thread in virtual time, however long it takes.
pub(super) fn run<T>(world: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO asks the system for nothing");
    LocalSet::new().block_on(&runtime, world)
}

/// What `future` gives, unless the limit passes before.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = Clock::default().sleep(limit) => None,
    }
}

/// What ran in virtual time has not ended within its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StillRunning {
    /// The limit.
    pub limit: Duration,
}

impl fmt::Display for StillRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not ended after {:?} of virtual time", self.limit)
    }
}

impl std::error::Error for StillRunning {}
