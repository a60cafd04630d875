//! What a type of entities asks of its placement.
//!
//! Invariant: a type's table is a pure function of its site and of the nodes that may own something, in
//! whatever order they come. So nodes with one view agree, as long as they run one release of the
//! type.
//! Knows no view and no clock.

use std::fmt;

use super::{Candidate, Table};
use crate::cluster::membership::Profile;

/// Where the entities of a type may be, and what becomes of them on the smaller side of a partition.
///
/// Stated by [`macro@crate::RemoteActor`] and the same on all nodes: to change it is to change the
/// type, and nodes that differ send each other's messages back and forth until those are rejected
/// as moved.
///
/// # Examples
///
/// ```
/// use actix_cluster::{PlacementStrategy, Site};
///
/// const NEAR: Site = Site::ANYWHERE.role("worker").strategy(PlacementStrategy::LocalFirst);
/// assert_eq!(NEAR.zone, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// Only nodes with this [role](crate::Profile::roles); on any if `None`.
    pub role: Option<&'static str>,
    /// Only nodes in this [zone](crate::Profile::zone); in any if `None`.
    pub zone: Option<&'static str>,
    /// Which of those.
    pub strategy: PlacementStrategy,
    /// What a minority does.
    pub minority: Minority,
}

/// Which of the nodes that may have an entity has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlacementStrategy {
    /// The one that the key's hash leads to, by weight.
    Hash,
    /// The one that is asked, if it may have the entity, and else as by `Hash`. So a key stands for one
    /// activation on each node: for caches, and for limits that each node keeps by itself. A view that
    /// changes moves none of them.
    LocalFirst,
    /// The node of this name. While it is no member, or drains, or has no weight, senders wait.
    Pinned(&'static str),
}

/// What the smaller side of a partition does with the entities of a type.
///
/// Sides are told apart by how many members are left: a heuristic, and no fence.
/// `docs/semantics.md` says what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Minority {
    /// It ends them, and has none until it is part of a majority again; senders there wait. Clusters
    /// of one or two nodes go on.
    Stop,
    /// It goes on, so that both sides may have an activation of one key.
    Continue,
}

impl Site {
    /// By hash on all nodes, and nowhere in a minority: what holds where nothing is stated.
    pub const ANYWHERE: Self = Self {
        role: None,
        zone: None,
        strategy: PlacementStrategy::Hash,
        minority: Minority::Stop,
    };

    /// The nodes of this role, instead of all.
    pub const fn role(self, role: &'static str) -> Self {
        Self { role: Some(role), ..self }
    }

    /// The nodes in this zone, instead of all.
    pub const fn zone(self, zone: &'static str) -> Self {
        Self { zone: Some(zone), ..self }
    }

    /// By this strategy, instead of by hash.
    pub const fn strategy(self, strategy: PlacementStrategy) -> Self {
        Self { strategy, ..self }
    }

    /// Whether a minority goes on, instead of that it stops.
    pub const fn minority(self, minority: Minority) -> Self {
        Self { minority, ..self }
    }

    /// Whether a node that says this of itself may have entities of the type.
    fn admits(&self, profile: &Profile) -> bool {
        self.role.is_none_or(|role| profile.has_role(role))
            && self.zone.is_none_or(|zone| profile.zone.as_deref() == Some(zone))
    }

    /// The table of the type, of nodes that may own something and what they say of themselves.
    pub(crate) fn table<'a>(
        &self,
        nodes: impl IntoIterator<Item = (&'a Candidate, &'a Profile)>,
    ) -> Table {
        let admitted = nodes.into_iter().filter(|(_, profile)| self.admits(profile));
        let admitted: Vec<Candidate> = admitted.map(|(candidate, _)| candidate.clone()).collect();
        self.strategy.dealt(|deal| deal.table(&admitted))
    }

    /// Whether every node in the table owns what it is asked for.
    pub(crate) fn is_local_first(&self) -> bool {
        self.strategy.dealt(|deal| deal.is_local_first())
    }
}

/// How shards are dealt out over the nodes that may have them.
trait Deal: fmt::Debug {
    /// The owner of each shard.
    fn table(&self, candidates: &[Candidate]) -> Table;

    /// Whether every node in the table owns what it is asked for, whatever the table says.
    fn is_local_first(&self) -> bool {
        false
    }
}

impl PlacementStrategy {
    fn dealt<T>(self, ask: impl FnOnce(&dyn Deal) -> T) -> T {
        match self {
            Self::Hash => ask(&ByHash),
            Self::LocalFirst => ask(&LocalFirst),
            Self::Pinned(name) => ask(&Pinned(name)),
        }
    }
}

#[derive(Debug)]
struct ByHash;

impl Deal for ByHash {
    fn table(&self, candidates: &[Candidate]) -> Table {
        Table::compute(candidates)
    }
}

#[derive(Debug)]
struct LocalFirst;

impl Deal for LocalFirst {
    fn table(&self, candidates: &[Candidate]) -> Table {
        Table::compute(candidates)
    }

    fn is_local_first(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Pinned(&'static str);

impl Deal for Pinned {
    fn table(&self, candidates: &[Candidate]) -> Table {
        let pinned = candidates.iter().filter(|candidate| *candidate.node.name == *self.0);
        Table::compute(&pinned.cloned().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        cluster::{
            membership::weighing,
            placement::{SHARDS, Shard},
        },
        node::NodeId,
    };

    type Node = (Candidate, Profile);

    fn node(name: &str, weight: u32, roles: &[&str], zone: Option<&str>) -> Node {
        let node = NodeId { name: name.into(), incarnation: 1 };
        let roles = roles.iter().map(|role| Arc::from(*role)).collect();
        let profile = Profile { roles, zone: zone.map(Arc::from), ..weighing(weight) };
        (Candidate { node, weight }, profile)
    }

    fn table(site: &Site, nodes: &[Node]) -> Table {
        site.table(nodes.iter().map(|(candidate, profile)| (candidate, profile)))
    }

    /// Names of nodes with the number of their shards, of those that have some.
    fn loads<'a>(table: &Table, nodes: &'a [Node]) -> Vec<(&'a str, usize)> {
        let load =
            |(Candidate { node, .. }, _): &'a Node| (&*node.name, table.shards_of(node).count());
        nodes.iter().map(load).filter(|(_, load)| *load > 0).collect()
    }

    fn five() -> [Node; 5] {
        [
            node("a", 1, &["api"], Some("east")),
            node("b", 1, &["worker"], Some("east")),
            node("c", 2, &["api", "worker"], Some("west")),
            node("d", 0, &["worker"], Some("west")),
            node("e", 1, &[], None),
        ]
    }

    #[test]
    fn only_nodes_with_the_role_and_in_the_zone_own_something() {
        let names = |site: Site| {
            let nodes = five();
            let loads: Vec<_> = loads(&table(&site, &nodes), &nodes);
            loads.into_iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(Site::ANYWHERE), ["a", "b", "c", "e"]);
        assert_eq!(names(Site::ANYWHERE.role("worker")), ["b", "c"]);
        assert_eq!(names(Site::ANYWHERE.zone("east")), ["a", "b"]);
        assert_eq!(names(Site::ANYWHERE.role("worker").zone("west")), ["c"]);
        assert_eq!(names(Site::ANYWHERE.role("work")), Vec::<String>::new());
    }

    #[test]
    fn among_those_admitted_the_weights_and_the_table_are_those_of_a_cluster_of_them() {
        let nodes = five();
        let workers = [nodes[1].0.clone(), nodes[2].0.clone()];
        let site = Site::ANYWHERE.role("worker");
        assert_eq!(table(&site, &nodes), Table::compute(&workers));
        let local_first = site.strategy(PlacementStrategy::LocalFirst);
        assert_eq!(table(&local_first, &nodes), Table::compute(&workers));
        assert!(local_first.is_local_first() && !site.is_local_first());
    }

    #[test]
    fn what_is_pinned_is_on_one_node_or_nowhere() {
        let nodes = five();
        let pinned = |name| Site::ANYWHERE.strategy(PlacementStrategy::Pinned(name));
        assert_eq!(loads(&table(&pinned("b"), &nodes), &nodes), [("b", SHARDS)]);
        for nowhere in [pinned("f"), pinned("d"), pinned("a").role("worker")] {
            assert_eq!(table(&nowhere, &nodes), Table::empty(), "{nowhere:?}");
        }
    }

    fn sites() -> impl proptest::strategy::Strategy<Value = Site> {
        let named = |name: &'static str| prop_oneof![Just(None), Just(Some(name))];
        let strategy = prop_oneof![
            Just(PlacementStrategy::Hash),
            Just(PlacementStrategy::LocalFirst),
            Just(PlacementStrategy::Pinned("n1")),
        ];
        (named("worker"), named("east"), strategy).prop_map(|(role, zone, strategy)| Site {
            role,
            zone,
            strategy,
            ..Site::ANYWHERE
        })
    }

    fn nodes() -> impl proptest::strategy::Strategy<Value = Vec<Node>> {
        let one = (0..4u32, any::<bool>(), any::<bool>());
        proptest::collection::vec(one, 1..9).prop_map(|nodes| {
            let node = |(n, (weight, works, is_east)): (usize, (u32, bool, bool))| {
                let roles: &[&str] = if works { &["worker"] } else { &[] };
                node(&format!("n{n}"), weight, roles, is_east.then_some("east"))
            };
            nodes.into_iter().enumerate().map(node).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_order_of_the_nodes_gives_one_table_and_owners_are_admitted(
            site in sites(),
            (sorted, shuffled) in nodes()
                .prop_flat_map(|sorted| (Just(sorted.clone()), Just(sorted).prop_shuffle())),
        ) {
            let dealt = table(&site, &sorted);
            prop_assert_eq!(&dealt, &table(&site, &shuffled));
            for (candidate, profile) in &sorted {
                let owns = dealt.shards_of(&candidate.node).next().is_some();
                prop_assert!(!owns || site.admits(profile), "{candidate:?} under {site:?}");
            }
            let has_owner = Shard::all().all(|shard| dealt.owner(shard).is_some());
            prop_assert!(has_owner || dealt == Table::empty());
        }
    }
}
