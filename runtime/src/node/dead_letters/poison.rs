//! Which messages end their actors again and again.
//!
//! A message that is being handled when its actor panics is never repeated by the runtime; but its
//! sender may repeat it, or send another of its kind. One that ends its actor three times in a row,
//! each less than a minute after the one before, is poison: it will do so again.
//!
//! Invariant: at most `limit` pairs of a target and a message are remembered; one more, and the one
//! that panicked longest ago is forgotten.
//! Knows no clock and no actor: callers pass `now`.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::DeadLetterTarget;

/// How many panics in a row make a message poison.
pub(crate) const POISON_FROM: u32 = 3;

/// How long after a panic the next one still belongs to the row.
pub(crate) const ROW_WITHIN: Duration = Duration::from_secs(60);

/// How many pairs are remembered.
pub(crate) const LIMIT: usize = 256;

#[derive(Debug)]
pub(crate) struct Poison {
    limit: usize,
    /// The one that panicked longest ago first.
    rows: VecDeque<Row>,
}

#[derive(Debug)]
struct Row {
    target: DeadLetterTarget,
    message: &'static str,
    panics: u32,
    last: Instant,
}

impl Poison {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, rows: VecDeque::new() }
    }

    /// A message ended its target by a panic. Tells how often in a row it has, if it is poison.
    pub(crate) fn handle_panic(
        &mut self,
        now: Instant,
        target: &DeadLetterTarget,
        message: &'static str,
    ) -> Option<u32> {
        let is_it = |row: &Row| row.message == message && row.target == *target;
        let known = self.rows.iter().position(is_it).and_then(|at| self.rows.remove(at));
        let before = match known {
            Some(row) if now.saturating_duration_since(row.last) < ROW_WITHIN => row.panics,
            _ => 0,
        };
        let panics = before.saturating_add(1);
        if self.rows.len() >= self.limit {
            self.rows.pop_front();
        }
        self.rows.push_back(Row { target: target.clone(), message, panics, last: now });
        (panics >= POISON_FROM).then_some(panics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        actix_cluster_transport::Clock::default().now()
    }

    fn entity(key: &str) -> DeadLetterTarget {
        DeadLetterTarget::Entity { key: Some(key.into()), shard: 1 }
    }

    #[test]
    fn the_third_panic_in_a_row_makes_a_message_poison() {
        let mut poison = Poison::new(8);
        let mut now = start();
        let mut panics = |after: Duration| {
            now += after;
            poison.handle_panic(now, &entity("a"), "bank.Deposit")
        };
        let nearly = ROW_WITHIN - Duration::from_nanos(1);
        assert_eq!([nearly, nearly].map(&mut panics), [None, None]);
        assert_eq!([nearly, nearly].map(&mut panics), [Some(3), Some(4)]);
        assert_eq!([ROW_WITHIN, nearly].map(&mut panics), [None, None], "a minute of calm");
        assert_eq!(panics(Duration::ZERO), Some(3));
    }

    #[test]
    fn targets_and_messages_have_rows_of_their_own() {
        let mut poison = Poison::new(8);
        let now = start();
        for _ in 0..2 {
            for (key, message) in
                [("a", "bank.Deposit"), ("b", "bank.Deposit"), ("a", "bank.Close")]
            {
                assert_eq!(poison.handle_panic(now, &entity(key), message), None);
            }
        }
        assert_eq!(poison.handle_panic(now, &entity("a"), "bank.Close"), Some(3));
    }

    #[test]
    fn beyond_the_limit_the_row_that_is_quiet_for_longest_is_forgotten() {
        let mut poison = Poison::new(2);
        let now = start();
        for key in ["a", "b", "a", "c"] {
            assert_eq!(poison.handle_panic(now, &entity(key), "m"), None);
            assert!(poison.rows.len() <= 2);
        }
        assert_eq!(poison.handle_panic(now, &entity("a"), "m"), Some(3), "it was remembered");
        assert_eq!(poison.handle_panic(now, &entity("b"), "m"), None, "it was not");
        assert_eq!(poison.handle_panic(now, &entity("b"), "m"), None);
    }
}
