//! Entities that could not be loaded lately, and from when on they may be tried again.
//!
//! Invariant: at most `limit` entities are remembered; one more, and the one that failed longest ago
//! is forgotten, which may then be tried again at once.
//! Knows no clock, mailbox or generator: callers pass `now` and the draw.

use std::{collections::BTreeMap, time::Instant};

use actix_cluster_transport::Random;

use super::EntityKey;
use crate::{actor::RestartPolicy, fixed_map::FixedMap};

/// How many entities are remembered.
pub(crate) const LIMIT: usize = 16_384;

#[derive(Debug)]
pub(crate) struct LoadFailures {
    limit: usize,
    failed: FixedMap<EntityKey, Failed>,
    /// The same entities, the one that failed longest ago first.
    order: BTreeMap<u64, EntityKey>,
    last: u64,
}

#[derive(Debug)]
struct Failed {
    /// Its place in the order.
    place: u64,
    /// How often it failed in a row.
    failures: u32,
    not_before: Instant,
}

impl LoadFailures {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, failed: FixedMap::default(), order: BTreeMap::new(), last: 0 }
    }

    /// Whether it is too early to try an entity again.
    pub(crate) fn refuses(&self, now: Instant, key: &EntityKey) -> bool {
        self.failed.get(key).is_some_and(|failed| now < failed.not_before)
    }

    /// A load failed: the next one waits, and longer with each failure. The series starts anew once
    /// nobody has tried for the policy's window after the wait.
    pub(crate) fn handle_failure(
        &mut self,
        now: Instant,
        key: &EntityKey,
        policy: &RestartPolicy,
        random: &mut Random,
    ) {
        let failures = match self.forget(key) {
            Some(failed) if now.saturating_duration_since(failed.not_before) <= policy.within => {
                failed.failures
            }
            _ => 0,
        };
        let wait = random.jittered(policy.backoff.nth(failures));
        // A wait that no instant can hold is one to the end of all times; a day is as good.
        let not_before = now.checked_add(wait).unwrap_or(now + DAY);
        self.last += 1;
        let (place, failures) = (self.last, failures.saturating_add(1));
        self.order.insert(place, key.clone());
        self.failed.insert(key.clone(), Failed { place, failures, not_before });
        if self.failed.len() > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.failed.remove(&oldest);
        }
    }

    /// A load succeeded.
    pub(crate) fn handle_success(&mut self, key: &EntityKey) {
        self.forget(key);
    }

    fn forget(&mut self, key: &EntityKey) -> Option<Failed> {
        let failed = self.failed.remove(key)?;
        self.order.remove(&failed.place);
        Some(failed)
    }
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actor::Backoff;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> RestartPolicy {
        let backoff = Backoff { first: SECOND, longest: 4 * SECOND };
        RestartPolicy { backoff, within: 10 * SECOND, ..RestartPolicy::default() }
    }

    fn start() -> Instant {
        actix_cluster_transport::Clock::default().now()
    }

    /// For how long an entity that fails `now` is refused.
    fn refused(failures: &mut LoadFailures, now: Instant, key: &EntityKey) -> Duration {
        failures.handle_failure(now, key, &policy(), &mut Random::from_seed(1));
        let millis = (0u32..100_000).find(|n| {
            let later = now + *n * Duration::from_millis(1);
            !failures.refuses(later, key)
        });
        millis.expect("it is not refused for ever") * Duration::from_millis(1)
    }

    #[test]
    fn waits_grow_with_each_failure_and_start_anew_after_a_success_or_a_calm_window() {
        let mut failures = LoadFailures::new(8);
        let key = EntityKey::for_tests("a");
        let mut now = start();
        // The longest wait, and for how long nobody tries after it; the window is 10 s.
        for (longest, calm) in [(1, 9), (2, 9), (4, 9), (4, 11), (1, 9), (2, 9)] {
            let wait = refused(&mut failures, now, &key);
            assert!(wait >= longest * SECOND / 2 && wait <= longest * SECOND, "{wait:?}");
            now += wait + calm * SECOND;
        }
        failures.handle_success(&key);
        assert!(!failures.refuses(now, &key));
        assert!(refused(&mut failures, now, &key) <= SECOND);
    }

    #[test]
    fn beyond_the_limit_the_one_that_failed_longest_ago_is_forgotten() {
        let mut failures = LoadFailures::new(2);
        let now = start();
        let [a, b, c] = ["a", "b", "c"].map(EntityKey::for_tests);
        for key in [&a, &b, &a, &c] {
            failures.handle_failure(now, key, &policy(), &mut Random::from_seed(1));
        }
        assert!(failures.refuses(now, &a) && failures.refuses(now, &c));
        assert!(!failures.refuses(now, &b));
        assert_eq!((failures.failed.len(), failures.order.len()), (2, 2));
    }
}
