//! Time as a value that is handed in: a [`Clock`] tells the present and wakes sleepers.
//!
//! Invariant: nothing else in the library reads a clock or sleeps, so that a simulation that hands
//! in another [`TimeSource`] controls all time there is.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

/// An instant on a node's monotonic clock.
pub type Instant = std::time::Instant;

/// What a [`Clock`] reads.
pub trait TimeSource: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Instant;

    /// A future that ends once [`now`](Self::now) has reached `at`.
    fn sleep_until(&self, at: Instant) -> Sleep;
}

/// A future that ends at an instant. Dropping it is all that is needed to cancel it.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A cheap handle to a source of time.
///
/// The default reads tokio's monotonic clock, which follows `tokio::time::pause`; sleeping needs a
/// tokio runtime with its time driver on.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::Clock;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = Clock::default();
/// let start = clock.now();
/// clock.sleep(Duration::from_secs(3600)).await; // paused time: returns at once
/// assert!(clock.now() - start >= Duration::from_secs(3600));
/// # }
/// ```
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// A clock that reads `source`.
    pub fn new(source: impl TimeSource) -> Self {
        Self(Arc::new(source))
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// Sleeps until `at`; at once if `at` has passed.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future loses nothing.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        self.0.sleep_until(at)
    }

    /// Sleeps for `duration` from now.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future loses nothing.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep_until(self.after(duration))
    }

    /// The instant `duration` from now; some 30 years ahead if that does not fit.
    pub fn after(&self, duration: Duration) -> Instant {
        let now = self.now();
        now.checked_add(duration).unwrap_or_else(|| now + FAR)
    }
}

/// What an unrepresentable duration is cut to, as tokio does.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

impl Default for Clock {
    fn default() -> Self {
        Self::new(TokioTime)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// tokio's monotonic clock, paused time included.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTime;

#[expect(clippy::disallowed_methods, reason = "this is the seam that all else goes through")]
impl TimeSource for TokioTime {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}
