//! Which routee a message goes to, and how many there should be.
//!
//! Knows no actor and no clock.

use std::{borrow::Cow, ops::RangeInclusive};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::LIMIT;

/// How a [`Router`](super::Router) chooses for messages that have no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Routing {
    /// One after the other. The default.
    #[default]
    RoundRobin,
    /// Any, by the node's own random numbers.
    Random,
    /// The one with the fewest messages accepted and not finished, and of several the next one. It looks
    /// at each mailbox for each message: meant for some dozens of routees whose messages take long. Of
    /// routees on other nodes, and of entities, nothing is known: they are chosen if nobody else is left.
    LeastLoaded,
}

/// A message with a key by which it is routed: those of one key go to one routee.
///
/// # Examples
///
/// ```
/// use std::borrow::Cow;
///
/// use actix_cluster::RoutingKey;
///
/// struct Deposit { account: String, cents: u64 }
///
/// impl RoutingKey for Deposit {
///     fn routing_key(&self) -> Cow<'_, [u8]> {
///         Cow::Borrowed(self.account.as_bytes())
///     }
/// }
/// ```
pub trait RoutingKey {
    /// The key's bytes. Explicit ones, since whatever a hash is derived from may change with a compiler.
    fn routing_key(&self) -> Cow<'_, [u8]>;
}

/// How strongly a key belongs to a slot: the highest one has it.
pub(super) fn score(key: &[u8], slot: usize) -> u64 {
    xxh3_64_with_seed(key, slot as u64)
}

/// How a pool grows and shrinks with its load, when messages are routed.
///
/// It is looked at every [`every`](Self::every), while there are messages; what counts is those that are
/// accepted and not finished. Above `busy` for each routee there is one more, below a quarter of `busy` for
/// each of those that would be left there is one less, always within `routees`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// How many routees there are at least and at most; within 1 to 1,024. Default 1 to 8.
    pub routees: RangeInclusive<usize>,
    /// Above how many unfinished messages for each routee the pool grows. Default 8. Too small, and it
    /// grows at each burst; too large, and messages wait although there could be help.
    pub busy: usize,
    /// How often the load is looked at. Default 100 ms.
    pub every: std::time::Duration,
}

impl Default for Resize {
    fn default() -> Self {
        Self { routees: 1..=8, busy: 8, every: std::time::Duration::from_millis(100) }
    }
}

impl Resize {
    /// A size within the bounds.
    pub(super) fn bounded(&self, size: usize) -> usize {
        let least = (*self.routees.start()).clamp(1, LIMIT);
        let most = (*self.routees.end()).clamp(least, LIMIT);
        size.clamp(least, most)
    }

    /// How many routees there should be, if so many have so many unfinished messages.
    pub(super) fn next(&self, size: usize, unfinished: usize) -> usize {
        let busy = self.busy.max(1);
        let wanted = if unfinished > size.saturating_mul(busy) {
            size + 1
        } else if unfinished < size.saturating_sub(1).saturating_mul(busy).div_ceil(4) {
            size - 1
        } else {
            size
        };
        self.bounded(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot_of(key: &str, slots: usize) -> usize {
        (0..slots).max_by_key(|slot| score(key.as_bytes(), *slot)).expect("a slot")
    }

    #[test]
    fn a_key_has_the_same_slot_in_each_process_and_release() {
        let slots = ["", "a", "acct-7", "acct-8", "order/2024/1"].map(|key| slot_of(key, 16));
        assert_eq!(slots, GOLDEN);
    }

    const GOLDEN: [usize; 5] = [8, 4, 9, 8, 4];

    #[test]
    fn keys_are_spread_and_one_slot_more_moves_no_more_than_its_share() {
        let keys: Vec<String> = (0..10_000).map(|n| format!("key-{n}")).collect();
        let mut counts = [0; 8];
        let mut moved = 0;
        for key in &keys {
            let (before, after) = (slot_of(key, 7), slot_of(key, 8));
            counts[after] += 1;
            assert!(after == before || after == 7, "{key} goes to the new slot or stays");
            moved += usize::from(after != before);
        }
        assert!(counts.iter().all(|count| (1_000..1_500).contains(count)), "{counts:?}");
        assert!((1_000..1_500).contains(&moved), "{moved}");
    }

    #[test]
    fn a_pool_grows_when_it_is_busy_and_shrinks_when_it_is_not_within_its_bounds() {
        let resize = Resize { routees: 2..=4, busy: 8, ..Resize::default() };
        for (size, unfinished, next) in [
            (2, 16, 2),
            (2, 17, 3),
            (3, 24, 3),
            (3, 25, 4),
            (4, 1_000, 4),
            (4, 6, 4),
            (4, 5, 3),
            (3, 4, 3),
            (3, 3, 2),
            (2, 0, 2),
            (1, 0, 2),
            (9, 40, 4),
        ] {
            assert_eq!(resize.next(size, unfinished), next, "{size} with {unfinished}");
        }
        // What it has grown for does not make it shrink at once.
        assert_eq!(resize.next(3, 17), 3);
        let odd = Resize { routees: 0..=usize::MAX, busy: 0, ..Resize::default() };
        assert_eq!((odd.bounded(0), odd.bounded(usize::MAX), odd.next(1, 0)), (1, LIMIT, 1));
    }
}
