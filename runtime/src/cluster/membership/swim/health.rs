//! How far this node can trust its own sense of time.
//!
//! A node that is slow takes others for slow: it reads their answers late. So each sign of its own
//! slowness makes its timeouts longer, up to [`WORST`] times, and each second without one makes
//! them shorter again (the local health of Lifeguard). Invariant: the factor is 1 to [`WORST`].
//! Knows no member.

use std::time::{Duration, Instant};

/// From which delay of a timer on the node counts as slow: far above what a busy scheduler adds,
/// and far below what suspects are given.
pub(super) const LATE: Duration = Duration::from_millis(250);

/// The most that timeouts grow. Beyond it a silent member would be noticed too late by all.
pub(super) const WORST: u32 = 4;

/// How long a node that shows no sign of slowness takes to trust itself a step more.
const RECOVERY: Duration = Duration::from_secs(1);

/// The local health of a node.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// By how many steps the factor was above 1, and when.
    slow: Option<(u32, Instant)>,
}

impl Health {
    /// Notes a sign of slowness.
    pub(super) fn trouble(&mut self, now: Instant) {
        let steps = self.factor(now).min(WORST - 1);
        self.slow = Some((steps, now));
    }

    /// What this node's timeouts are to be multiplied with.
    pub(super) fn factor(&self, now: Instant) -> u32 {
        let Some((steps, since)) = self.slow else { return 1 };
        let recovered = now.saturating_duration_since(since).as_millis() / RECOVERY.as_millis();
        1 + steps.saturating_sub(u32::try_from(recovered).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use actix_cluster_transport::Clock;

    use super::*;

    #[test]
    fn timeouts_grow_with_each_sign_of_slowness_and_shrink_with_each_calm_second() {
        let (mut health, now) = (Health::default(), Clock::default().now());
        assert_eq!(health.factor(now), 1);
        for factor in [2, 3, 4, 4] {
            health.trouble(now);
            assert_eq!(health.factor(now), factor);
        }
        for (millis, factor) in [(999, 4), (1_000, 3), (2_500, 2), (3_000, 1), (60_000, 1)] {
            assert_eq!(health.factor(now + Duration::from_millis(millis)), factor, "{millis}");
        }
        health.trouble(now + Duration::from_millis(2_500));
        assert_eq!(health.factor(now + Duration::from_millis(2_500)), 3);
    }
}
