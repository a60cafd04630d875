//! By what the idleness of entities is judged: a time that goes on only while somebody looks at them.
//!
//! Invariant: a look takes it further by at most the period of the looks, however late that look is. So an
//! entity that is used between any two looks is never older than one period, whatever has held them up.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long a tick is. Their count wraps around after 497 days, so ticks are compared by their distance.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What whoever comes often notes: read by all senders, written by the looks alone.
#[derive(Debug, Default)]
pub(super) struct Ticks(AtomicU32);

impl Ticks {
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whoever looks; one for each node.
#[derive(Debug)]
pub(super) struct Looks {
    last: Instant,
    period: Duration,
}

impl Looks {
    pub(super) fn new(now: Instant, period: Duration) -> Self {
        Self { last: now, period }
    }

    /// Looks, and says what time it is.
    pub(super) fn look(&mut self, now: Instant, ticks: &Ticks) -> u32 {
        let passed = now.saturating_duration_since(self.last);
        let step = in_ticks(passed.min(self.period)) as u32;
        // What is less than a tick counts with what follows; what is more than a period does not.
        self.last = if passed > self.period { now } else { self.last + TICK * step };
        ticks.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step)
    }
}

/// So many whole ticks.
pub(super) fn in_ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_look_takes_time_no_further_than_one_that_is_in_time() {
        let begun = actix_cluster_transport::Clock::default().now();
        let (mut looks, ticks) = (Looks::new(begun, 10 * TICK), Ticks::default());
        assert_eq!(looks.look(begun + TICK / 2, &ticks), 0);
        assert_eq!(looks.look(begun + TICK * 3 / 2, &ticks), 1);
        assert_eq!(looks.look(begun + TICK * 5 / 2, &ticks), 2);
        assert_eq!(looks.look(begun + 3 * TICK, &ticks), 3, "what is less than a tick adds up");
        assert_eq!(looks.look(begun + 3_600 * 100 * TICK, &ticks), 13);
        assert_eq!(looks.look(begun + 3_600 * 100 * TICK, &ticks), 13);
        assert_eq!(ticks.now(), 13);
        assert_eq!(in_ticks(Duration::MAX), u64::MAX);
    }
}
