//! A host's clock, which may run faster or slower than the network's.
//!
//! Invariant: it never goes back, nor jumps when its rate changes.
//!
//! ```text
//!  network  0 s ---- 10 s ------------- 20 s      from 10 s on at +100,000 ppm:
//!  host     0 s ---- 10 s ------------- 21 s      what sleeps till 21 s wakes at 20 s
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use quinn::AsyncTimer;

use crate::clock::{Instant, Sleep, TimeSource, TokioTime};

/// The clock of one host, shared by all processes there. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(super) struct HostTime(Arc<Mutex<Drift>>);

/// What a rate is cut to: a tenth and ten times that of the network.
const RATES_PPM: std::ops::RangeInclusive<i32> = -900_000..=9_000_000;

impl HostTime {
    /// Changes the rate from `now` on, in the network's time; without a runtime, from when the clock
    /// was last read.
    pub(super) fn set_rate(&self, now: Option<Instant>, ppm: i32) {
        let woken = {
            let mut drift = self.lock();
            drift.set_rate(now, ppm.clamp(*RATES_PPM.start(), *RATES_PPM.end()));
            drift.sleepers.values_mut().filter_map(Option::take).collect::<Vec<_>>()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(super) fn timer(&self, at: Instant) -> Timer {
        let id = self.lock().add_sleeper();
        Timer { time: self.clone(), id, at, armed: None }
    }

    #[cfg(test)]
    pub(super) fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// No waker may be woken or dropped while this is held.
    fn lock(&self) -> MutexGuard<'_, Drift> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TimeSource for HostTime {
    fn now(&self) -> Instant {
        self.lock().own(TokioTime.now())
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Box::pin(self.timer(at))
    }
}

/// A clock's rate, and who sleeps by it.
#[derive(Debug, Default)]
struct Drift {
    /// Parts per million that the host's clock is faster than the network's.
    ppm: i32,
    /// One moment in the network's and the host's time, since which the rate is the same. None as
    /// long as there is no difference.
    anchor: Option<(Instant, Instant)>,
    /// The network's time when the clock was last read.
    latest: Option<Instant>,
    /// By number; none while a sleeper need not be woken.
    sleepers: BTreeMap<u64, Option<Waker>>,
    next_sleeper: u64,
}

const MILLION: u128 = 1_000_000;

impl Drift {
    fn set_rate(&mut self, now: Option<Instant>, ppm: i32) {
        // A clock that was never read is set later, when it is.
        if let Some(now) = now.or(self.latest) {
            self.anchor = Some((now, self.own(now)));
        }
        self.ppm = ppm;
    }

    /// Own time per million of the network's.
    fn rate(&self) -> u128 {
        (1_000_000 + i64::from(self.ppm)).unsigned_abs().into()
    }

    /// The host's time at `now` of the network's.
    fn own(&mut self, now: Instant) -> Instant {
        self.latest = Some(now);
        let (network, own) = self.anchored(now);
        own + nanos(now.saturating_duration_since(network).as_nanos() * self.rate() / MILLION)
    }

    /// The first moment in the network's time at which the host's is `at`.
    fn network(&mut self, now: Instant, at: Instant) -> Instant {
        let (network, own) = self.anchored(now);
        // Rounded up, so that nobody wakes too early.
        let ahead = at.saturating_duration_since(own).as_nanos() * MILLION;
        let ahead = nanos(ahead.div_ceil(self.rate()));
        network.checked_add(ahead).unwrap_or(at)
    }

    fn anchored(&mut self, now: Instant) -> (Instant, Instant) {
        match self.anchor {
            Some(anchor) => anchor,
            None if self.ppm == 0 => (now, now),
            None => *self.anchor.insert((now, now)),
        }
    }

    fn add_sleeper(&mut self) -> u64 {
        self.next_sleeper += 1;
        self.sleepers.insert(self.next_sleeper, None);
        self.next_sleeper
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Ends once a host's clock has reached `at`, whatever becomes of its rate meanwhile.
pub(super) struct Timer {
    time: HostTime,
    id: u64,
    at: Instant,
    /// The moment in the network's time that is slept until.
    armed: Option<(Instant, Sleep)>,
}

impl Timer {
    /// When to look again, in the network's time; none once it is due. From here on `waker` is woken
    /// when the rate changes.
    fn due(&self, waker: &Waker) -> Option<Instant> {
        let now = TokioTime.now();
        let waker = waker.clone();
        let (due, _replaced) = {
            let mut drift = self.time.lock();
            let due = (drift.own(now) < self.at).then(|| drift.network(now, self.at));
            (due, drift.sleepers.insert(self.id, due.is_some().then_some(waker)))
        };
        due
    }

    fn poll_due(&mut self, task: &mut Context<'_>) -> Poll<()> {
        while let Some(due) = self.due(task.waker()) {
            let armed = self.armed.take().filter(|(at, _)| *at == due);
            let (_, sleep) =
                self.armed.insert(armed.unwrap_or_else(|| (due, TokioTime.sleep_until(due))));
            std::task::ready!(sleep.as_mut().poll(task));
        }
        self.armed = None;
        Poll::Ready(())
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        self.poll_due(task)
    }
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
    }

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        self.poll_due(task)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let waker = self.time.lock().sleepers.remove(&self.id);
        drop(waker);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("at", &self.at).finish_non_exhaustive()
    }
}
