//! When a failed actor is restarted, and after how long.
//!
//! Invariant: within any window of `within`, at most `limit` restarts are granted.
//! Knows no clock, actor or generator: callers pass `now` and the draw.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix_cluster_transport::Random;

/// Which ends of an actor its supervisor answers with a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restart {
    /// After a panic and after a stop: it should always run.
    Permanent,
    /// After a panic only. The default.
    #[default]
    Transient,
    /// Never.
    Temporary,
}

impl Restart {
    /// Whether an instance that ended so is to be followed by another.
    pub(crate) fn wants(self, ended: Ended) -> bool {
        match (self, ended) {
            (Self::Permanent, _) | (Self::Transient, Ended::Abnormally) => true,
            (Self::Transient, Ended::Normally) | (Self::Temporary, _) => false,
        }
    }
}

/// Growing, jittered wait between restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first restart of a series. Default 10 ms; zero restarts at once.
    pub first: Duration,
    /// The longest wait; each wait is twice the one before, up to here. Default 10 s.
    pub longest: Duration,
}

impl Backoff {
    /// The wait before restart number `attempt` of a series, counted from 0, before jitter.
    pub fn nth(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(10), longest: Duration::from_secs(10) }
    }
}

/// What a supervisor does about a child that ended.
///
/// The defaults give an actor ten restarts in ten seconds, 10 ms apart at first. A limit that is
/// too small gives up on a passing fault; one that is too large keeps a broken actor busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Which ends lead to a restart. Default [`Restart::Transient`].
    pub restart: Restart,
    /// How many restarts are granted within [`within`](Self::within). Default 10; 0 grants none.
    pub limit: u32,
    /// The window in which restarts are counted. Default 10 s.
    pub within: Duration,
    /// The waits between restarts. A series starts anew once the actor has run for
    /// [`within`](Self::within) without failing.
    pub backoff: Backoff,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            restart: Restart::Transient,
            limit: 10,
            within: Duration::from_secs(10),
            backoff: Backoff::default(),
        }
    }
}

impl RestartPolicy {
    /// No restart, whatever happens.
    pub fn never() -> Self {
        Self { restart: Restart::Temporary, ..Self::default() }
    }
}

/// How an instance ended, as far as the policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Normally,
    Abnormally,
}

/// What is to be done about an instance that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Restart { after: Duration },
    GiveUp,
}

/// The restarts that were granted lately.
#[derive(Debug, Default)]
pub(crate) struct Intensity(VecDeque<Instant>);

impl Intensity {
    /// Grants a restart if there were fewer than `limit` in the window of `within` before `now`, and
    /// tells how many there were. It remembers at most `limit`, which must be the same in each call.
    pub(crate) fn grant(&mut self, now: Instant, limit: u32, within: Duration) -> Option<u32> {
        while self.0.front().is_some_and(|at| now.saturating_duration_since(*at) > within) {
            self.0.pop_front();
        }
        let recent = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if recent >= limit {
            return None;
        }
        self.0.push_back(now);
        Some(recent)
    }

    /// How many grants it remembers.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what was granted.
    pub(crate) fn reset(&mut self) {
        self.0.clear();
    }
}

/// Counts restarts against a policy. It takes no room while that is the default and nothing has
/// failed, as it is with most actors.
#[derive(Debug)]
pub(crate) struct RestartTracker(Option<Box<Tracked>>);

#[derive(Debug, Default)]
struct Tracked {
    policy: RestartPolicy,
    intensity: Intensity,
    total: u32,
}

impl RestartTracker {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        let is_default = policy == RestartPolicy::default();
        let tracked = || Box::new(Tracked { policy, ..Tracked::default() });
        Self((!is_default).then(tracked))
    }

    /// How many restarts were granted so far.
    pub(crate) fn total(&self) -> u32 {
        self.0.as_ref().map_or(0, |tracked| tracked.total)
    }

    /// Decides about an instance that ended at `now`.
    pub(crate) fn handle_end(
        &mut self,
        now: Instant,
        ended: Ended,
        random: &mut Random,
    ) -> Decision {
        let Tracked { policy, intensity, total } = &mut **self.0.get_or_insert_default();
        if !policy.restart.wants(ended) {
            return Decision::GiveUp;
        }
        let Some(recent) = intensity.grant(now, policy.limit, policy.within) else {
            return Decision::GiveUp;
        };
        *total = total.saturating_add(1);
        Decision::Restart { after: random.jittered(policy.backoff.nth(recent)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn decide(restart: Restart, ended: Ended) -> Decision {
        let policy = RestartPolicy {
            restart,
            backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
            ..RestartPolicy::default()
        };
        RestartTracker::new(policy).handle_end(origin(), ended, &mut Random::from_seed(1))
    }

    const AT_ONCE: Decision = Decision::Restart { after: Duration::ZERO };

    #[test]
    fn permanent_normally() {
        assert_eq!(decide(Restart::Permanent, Ended::Normally), AT_ONCE);
    }

    #[test]
    fn permanent_abnormally() {
        assert_eq!(decide(Restart::Permanent, Ended::Abnormally), AT_ONCE);
    }

    #[test]
    fn transient_normally() {
        assert_eq!(decide(Restart::Transient, Ended::Normally), Decision::GiveUp);
    }

    #[test]
    fn transient_abnormally() {
        assert_eq!(decide(Restart::Transient, Ended::Abnormally), AT_ONCE);
    }

    #[test]
    fn temporary_normally() {
        assert_eq!(decide(Restart::Temporary, Ended::Normally), Decision::GiveUp);
    }

    #[test]
    fn temporary_abnormally() {
        assert_eq!(decide(Restart::Temporary, Ended::Abnormally), Decision::GiveUp);
    }

    #[test]
    fn the_limit_holds_within_the_window_and_is_lifted_after_it() {
        let policy = RestartPolicy { limit: 3, ..RestartPolicy::default() };
        let mut tracker = RestartTracker::new(policy.clone());
        let mut random = Random::from_seed(2);
        let start = origin();
        for n in 0..3 {
            let decision =
                tracker.handle_end(start + Duration::from_secs(n), Ended::Abnormally, &mut random);
            assert!(matches!(decision, Decision::Restart { .. }), "{n}");
        }
        let late = start + Duration::from_secs(9);
        assert_eq!(tracker.handle_end(late, Ended::Abnormally, &mut random), Decision::GiveUp);
        let later = start + Duration::from_secs(11);
        let decision = tracker.handle_end(later, Ended::Abnormally, &mut random);
        assert!(matches!(decision, Decision::Restart { .. }));
        assert_eq!(tracker.total(), 4);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff =
            Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(35) };
        let waits: Vec<_> = (0..4).map(|n| backoff.nth(n).as_millis()).collect();
        assert_eq!(waits, [10, 20, 35, 35]);
        assert_eq!(backoff.nth(200), backoff.longest);
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_window(
            limit in 0u32..6,
            gaps in proptest::collection::vec(0u64..4_000, 1..60),
        ) {
            let policy = RestartPolicy { limit, ..RestartPolicy::default() };
            let within = policy.within;
            let mut tracker = RestartTracker::new(policy);
            let mut random = Random::from_seed(3);
            let mut now = origin();
            let mut granted: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if tracker.handle_end(now, Ended::Abnormally, &mut random) != Decision::GiveUp {
                    granted.push(now);
                }
                let recent = granted.iter().filter(|at| now - **at <= within).count();
                proptest::prop_assert!(recent <= limit as usize);
            }
        }
    }
}
