//! Whether this node's side of a partition is the larger one.
//!
//! A heuristic, and no fence: it counts the members of a view against those of the largest view that
//! held for a while, and learns of a partition no sooner than membership does.
//!
//! ```text
//! five nodes; a and b are cut off from c, d and e
//!
//!  a's view    a b c d e     a b c d     a b c     a b           a b
//!              for 10 s      downs within 10 s                   for 10 s
//!  the whole   a b c d e     a b c d e   a b c d e a b c d e     a b c d e
//!  majority    yes           yes         yes       no: 2 of 5    no
//! ```
//!
//! Invariant: downs shrink the whole only after [`STABLE`] in which nothing changed, and in a
//! majority. Otherwise each down would be one of a majority, down to the last node.
//! Knows no gossip and no placement; names count, so that a node that restarts is not missed.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a view has to hold until it counts. Longer than it takes to declare all members of one
/// side down, and than a joining cluster takes to be whole.
const STABLE: Duration = Duration::from_secs(10);

/// From so many nodes up there are minorities: of two nodes neither knows better than the other.
const SMALLEST_WHOLE: usize = 3;

/// Counts the members of this node's side. After each `handle_*`, look at
/// [`has_majority`](Self::has_majority) and at [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub(super) struct Majority {
    /// The names in the largest view that held, without those who left since.
    whole: BTreeSet<Arc<str>>,
    view: BTreeSet<Arc<str>>,
    since: Instant,
}

impl Majority {
    /// Of a node that knows of nobody yet: it has a majority.
    pub(super) fn new(now: Instant) -> Self {
        Self { whole: BTreeSet::new(), view: BTreeSet::new(), since: now }
    }

    /// Takes in the names of all members, this node's included.
    pub(super) fn handle_view(&mut self, now: Instant, names: impl Iterator<Item = Arc<str>>) {
        // What has held until now counts, however late it is noticed.
        self.handle_timeout(now);
        let view: BTreeSet<_> = names.collect();
        if view != self.view {
            (self.view, self.since) = (view, now);
        }
    }

    /// A member has said that it leaves. To be called before the view without it comes in.
    pub(super) fn handle_leave(&mut self, name: &str) {
        self.whole.remove(name);
    }

    /// Lets a view count that has held.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.whole.clone_from(&self.view);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` for not at all.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (self.has_majority() && self.view != self.whole).then(|| self.since + STABLE)
    }

    /// Whether more than half of the whole is in the view, or the whole is too small for sides.
    pub(super) fn has_majority(&self) -> bool {
        self.whole.len() < SMALLEST_WHOLE || 2 * self.view.len() > self.whole.len()
    }
}

#[cfg(test)]
mod tests {
    use actix_cluster_transport::Clock;
    use proptest::prelude::*;

    use super::*;

    /// A [`Majority`] whose timeouts fire when they are due.
    struct Node {
        majority: Majority,
        now: Instant,
    }

    fn names(names: &[u8]) -> impl Iterator<Item = Arc<str>> {
        names.iter().map(|n| format!("n{n}").into())
    }

    impl Node {
        /// One that has seen these for long.
        fn of(members: &[u8]) -> Self {
            let now = Clock::default().now();
            let mut node = Self { majority: Majority::new(now), now };
            node.sees(members);
            node.waits(STABLE);
            node
        }

        fn sees(&mut self, members: &[u8]) {
            self.majority.handle_view(self.now, names(members));
        }

        fn waits(&mut self, time: Duration) {
            self.now += time;
            self.majority.handle_timeout(self.now);
        }
    }

    const SHORT: Duration = Duration::from_millis(9_999);

    #[test]
    fn a_majority_is_half_plus_one_from_three_nodes_up() {
        for (whole, alive, expected) in [
            (1, 1, true),
            (2, 1, true),
            (3, 2, true),
            (3, 1, false),
            (4, 3, true),
            (4, 2, false),
            (5, 3, true),
            (5, 2, false),
        ] {
            let all: Vec<u8> = (1..=whole).collect();
            let mut node = Node::of(&all);
            assert!(node.majority.has_majority());
            node.sees(&all[..alive]);
            assert_eq!(node.majority.has_majority(), expected, "{alive} of {whole}");
        }
    }

    #[test]
    fn downs_one_after_the_other_count_together() {
        let mut node = Node::of(&[1, 2, 3, 4, 5]);
        for view in [&[1, 2, 3, 4][..], &[1, 2, 3], &[1, 2]] {
            node.sees(view);
            node.waits(SHORT);
        }
        assert!(!node.majority.has_majority());
        node.waits(Duration::from_secs(3_600));
        assert!(!node.majority.has_majority(), "a minority never becomes the whole");
        node.sees(&[1, 2, 4]);
        assert!(node.majority.has_majority());
    }

    #[test]
    fn downs_with_time_in_between_shrink_the_whole() {
        let mut node = Node::of(&[1, 2, 3, 4, 5]);
        for view in [&[1, 2, 3, 4][..], &[1, 2, 3], &[1, 2], &[1]] {
            node.sees(view);
            assert!(node.majority.has_majority(), "{view:?}");
            node.waits(STABLE);
        }
    }

    #[test]
    fn who_leaves_is_not_missed() {
        let mut node = Node::of(&[1, 2, 3, 4, 5]);
        for gone in 2..=5 {
            node.majority.handle_leave(&format!("n{gone}"));
            let left: Vec<u8> = [1].into_iter().chain(gone + 1..=5).collect();
            node.sees(&left);
            assert!(node.majority.has_majority(), "{left:?}");
        }
    }

    #[test]
    fn a_view_counts_once_it_has_held() {
        let mut node = Node::of(&[1, 2, 3]);
        node.sees(&[1, 2, 3, 4, 5]);
        node.waits(SHORT);
        node.sees(&[1, 2]);
        assert!(node.majority.has_majority(), "two of three");
        let mut node = Node::of(&[1, 2, 3]);
        node.sees(&[1, 2, 3, 4, 5]);
        // Nobody has looked meanwhile.
        node.now += STABLE;
        node.sees(&[1, 2]);
        assert!(!node.majority.has_majority(), "two of five");
    }

    proptest! {
        #[test]
        fn of_two_sides_at_most_one_is_a_majority(
            order in (3..12u8).prop_flat_map(|count| {
                Just((1..=count).collect::<Vec<_>>()).prop_shuffle()
            }),
            place in any::<prop::sample::Index>(),
            gaps in proptest::collection::vec(0..10_000u64, 12),
        ) {
            let (left, right) = order.split_at(1 + place.index(order.len() - 1));
            let side = |own: &[u8], others: &[u8]| {
                let mut node = Node::of(&order);
                for (gone, gap) in others.iter().zip(&gaps) {
                    let gone_at = others.iter().position(|other| other == gone).expect("it is one");
                    let view: Vec<u8> =
                        own.iter().chain(&others[gone_at + 1..]).copied().collect();
                    node.sees(&view);
                    node.waits(Duration::from_millis(*gap));
                }
                node.waits(Duration::from_secs(60));
                node.majority.has_majority()
            };
            let (left_has, right_has) = (side(left, right), side(right, left));
            prop_assert!(!(left_has && right_has));
            prop_assert_eq!(left_has || right_has, left.len() != right.len());
        }
    }
}
