//! Placement: which shard a key belongs to, and which node is the target of each shard.
//!
//! Invariant: both are pure functions of explicit bytes. The same key is in the same shard on every
//! node, and the same candidates give the same table, in whatever order they come, on every build.
//! So nothing here may change without a new [`PLACEMENT_VERSION`]: nodes compare it, and the
//! name of the key hash, in the handshake.
//! Knows no view, clock, session or actor, and moves nothing: a table says where shards should be.
//!
//! A node stands on the ring with points for its weight, and a shard is thrown at the ring until
//! it meets a node with room. Nobody gets more than a tenth above its share:
//!
//! ```text
//! throw 0   every shard, in order: s0 -> b   s1 -> a   s2 -> b   s3 -> b (full)
//! throw 1   what is left:                                        s3 -> b (full)
//! throw 2   what is left:                                        s3 -> c
//! ```
//!
//! A throw depends on the shard and its number only, so a node that comes or goes changes what
//! the throws at its own points meet, and little else: who is turned away. All first throws are
//! dealt with before any second one, so that a shard turned away takes nobody's first place.

mod site;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{Hash, Hasher},
    ops::RangeInclusive,
};

use hashring::HashRing;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub use self::site::{Minority, PlacementStrategy, Site};
use crate::node::NodeId;

/// How many shards there are: a power of two, so that each can split later.
pub(crate) const SHARDS: usize = 4096;

/// The version of everything here that decides an owner.
pub(crate) const PLACEMENT_VERSION: u32 = 1;

/// The name of the hash behind [`key_hash`].
pub(crate) const KEY_HASH: &str = "xxh3-64";

/// A group of entities placed together: the top bits of their keys' hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Shard(pub(crate) u16);

impl Shard {
    /// The shard of a key with this hash.
    pub(crate) fn of(hash: u64) -> Self {
        Self((hash >> (u64::BITS - SHARDS.trailing_zeros())) as u16)
    }

    /// The hashes of the keys in it.
    pub(crate) fn hashes(self) -> RangeInclusive<u64> {
        let width = u64::BITS - SHARDS.trailing_zeros();
        let first = u64::from(self.0) << width;
        first..=first | ((1 << width) - 1)
    }

    /// All shards, in order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS as u16).map(Self)
    }
}

/// Hashes an entity's key: xxh3-64 with seed 0 over the type's name, a zero byte and the key.
///
/// The name holds no zero byte, so that no two pairs are the same bytes.
pub(crate) fn key_hash(type_name: &str, key: &[u8]) -> u64 {
    let name = type_name.as_bytes();
    let mut short = [0; SHORT];
    let key_start = name.len() + 1;
    let len = key_start + key.len();
    if len <= SHORT {
        short[..name.len()].copy_from_slice(name);
        short[key_start..len].copy_from_slice(key);
        return xxh3_64(&short[..len]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(name);
    hasher.update(&[0]);
    hasher.update(key);
    hasher.digest()
}

/// Up to this many bytes are hashed in one go, which saves the hasher's large state.
const SHORT: usize = 128;

/// A node that may own shards.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Candidate {
    /// The node. Its name alone decides its shards: a restart gets the same ones back.
    pub(crate) node: NodeId,
    /// Its share, relative to the others' weights; with 0 it owns nothing.
    pub(crate) weight: u32,
}

/// The owner of each shard that has one.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Those with a weight, in order.
    nodes: Box<[NodeId]>,
    /// For each shard its owner's place in `nodes`, or [`NOBODY`]; nothing at all when there is no node.
    owners: Box<[u16]>,
}

/// The place of no node.
const NOBODY: u16 = u16::MAX;

impl Table {
    /// The table in which no shard has an owner.
    pub(crate) fn empty() -> Self {
        Self { nodes: Box::default(), owners: Box::default() }
    }

    /// Deals the shards out by weight: to each node at most
    /// ceil(1.1 x `SHARDS` x weight / sum of weights). Without a weight above 0, the table is
    /// empty.
    ///
    /// The order of the slice does not matter. Of several runs of one name, the highest counts.
    /// More than 65,535 nodes, of which most would own nothing, are cut off by name.
    ///
    /// Takes time by the number of points: for nodes of weight 1 about 0.5 ms for ten and 5 ms for
    /// a hundred, and at worst sixteen times as long. Once per view, never per message.
    pub(crate) fn compute(candidates: &[Candidate]) -> Self {
        let candidates = latest_by_name(candidates);
        if candidates.is_empty() {
            return Self::empty();
        }
        let owners = deal(&ring(&candidates), &bounds(&candidates));
        let nodes = candidates.iter().map(|candidate| candidate.node.clone()).collect();
        Self { nodes, owners }
    }

    /// The table of these owners, where each shard may have none.
    pub(crate) fn of<'a>(owner: impl Fn(Shard) -> Option<&'a NodeId>) -> Self {
        // Mostly one name is at one place in memory, and is not compared again for each shard.
        let key = |node: &NodeId| (node.name.as_ptr(), node.incarnation);
        let known: BTreeMap<_, &NodeId> =
            Shard::all().filter_map(&owner).map(|node| (key(node), node)).collect();
        let nodes: BTreeSet<&NodeId> = known.values().copied().collect();
        let nodes: Vec<&NodeId> = nodes.into_iter().take(NODES_LIMIT).collect();
        let place = |node| nodes.binary_search(&node).map_or(NOBODY, |place| place as u16);
        let places: BTreeMap<_, u16> =
            known.into_iter().map(|(key, node)| (key, place(node))).collect();
        let place = |node| places.get(&key(node)).copied().unwrap_or(NOBODY);
        let owners = Shard::all().map(|shard| owner(shard).map_or(NOBODY, place)).collect();
        Self { nodes: nodes.into_iter().cloned().collect(), owners }
    }

    /// The owner of a shard, if it has one.
    pub(crate) fn owner(&self, shard: Shard) -> Option<&NodeId> {
        let owner = self.owners.get(usize::from(shard.0))?;
        self.nodes.get(usize::from(*owner))
    }

    /// Whether this run of a node is among those that own something.
    pub(crate) fn has(&self, node: &NodeId) -> bool {
        self.nodes.binary_search(node).is_ok()
    }

    /// The shards of one run of a node, in order.
    pub(crate) fn shards_of(&self, node: &NodeId) -> impl Iterator<Item = Shard> {
        let index = self.nodes.binary_search(node).ok();
        let owners = Shard::all().zip(&self.owners);
        owners.filter(move |(_, owner)| Some(usize::from(**owner)) == index).map(|(shard, _)| shard)
    }

    /// The shards whose owner in `next` is another one, or another run of the same, in order.
    #[cfg(test)]
    pub(crate) fn moved(&self, next: &Table) -> impl Iterator<Item = Shard> {
        Shard::all().filter(|shard| self.owner(*shard) != next.owner(*shard))
    }
}

impl fmt::Debug for Table {
    /// Shows each node with the number of its shards.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.nodes.iter().map(|node| (node, self.shards_of(node).count())))
            .finish()
    }
}

/// The highest run of each name, in order of names, without those of weight 0.
fn latest_by_name(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut sorted = candidates.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    // Two runs would have the same points, and which of two equal points is found is left open.
    sorted.dedup_by(|later, first| later.node.name == first.node.name);
    sorted.reverse();
    sorted.retain(|candidate| candidate.weight > 0);
    sorted.truncate(NODES_LIMIT);
    sorted
}

/// As many as the table's indices can tell apart, and from none.
const NODES_LIMIT: usize = u16::MAX as usize;

/// The most shards each candidate may own: a tenth above its share, rounded up.
fn bounds(candidates: &[Candidate]) -> Vec<u64> {
    let total = total_weight(candidates);
    let tenths = |weight: u32| 11 * SHARDS as u64 * u64::from(weight);
    candidates.iter().map(|candidate| tenths(candidate.weight).div_ceil(10 * total)).collect()
}

fn total_weight(candidates: &[Candidate]) -> u64 {
    candidates.iter().map(|candidate| u64::from(candidate.weight)).sum()
}

/// The ring with the points of all candidates, each in proportion to its weight.
///
/// A node of mean weight has from `POINTS` to sixteen times as many, so that the ring is bounded
/// whatever the weights. A change of scale takes points from every node or gives some to each, and
/// moves a good part of all shards. Hence powers of sixteen: it changes only as the mean weight
/// comes to 16, 256, 4,096 and so on. A scale that followed the mean would move some at each join.
fn ring(candidates: &[Candidate]) -> HashRing<Point<'_>> {
    let mean = total_weight(candidates) / candidates.len() as u64;
    let scale = 1 << (mean.ilog2() & !3);
    let points = (0..=u16::MAX).zip(candidates).flat_map(|(node, candidate)| {
        let count = (POINTS * u64::from(candidate.weight) / scale).max(1);
        let name = &*candidate.node.name;
        (0..count).map(move |number| Point { name, number, node })
    });
    let mut ring = HashRing::new();
    ring.batch_add(points.collect());
    ring
}

/// Points of a node whose weight is the scale.
///
/// The share of a node with P points deviates from its due by about 1 / sqrt(P): by 4% here, so
/// that few nodes meet their bound at 10% and few shards are turned away. With 128 points, eight
/// times as many are, and a node that joins or leaves can move over 1.3 times its share.
const POINTS: u64 = 512;

/// One of a node's places on the ring.
struct Point<'a> {
    name: &'a str,
    number: u64,
    /// The node's place among the candidates; not hashed.
    node: u16,
}

impl Hash for Point<'_> {
    /// Writes the name, a zero byte and the number as eight little-endian bytes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.name.as_bytes());
        state.write(&[0]);
        state.write(&self.number.to_le_bytes());
    }
}

/// A shard thrown at the ring.
struct Throw {
    shard: Shard,
    number: u16,
}

impl Hash for Throw {
    /// Writes a zero byte, with which no point starts, and shard and number as two little-endian
    /// bytes each.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&[0]);
        state.write(&self.shard.0.to_le_bytes());
        state.write(&self.number.to_le_bytes());
    }
}

/// Gives each shard to the node that its first throw meets, or to that of a later throw when the
/// earlier ones are full.
fn deal(ring: &HashRing<Point<'_>>, bounds: &[u64]) -> Box<[u16]> {
    let mut room = bounds.to_vec();
    let mut owners = vec![0; SHARDS].into_boxed_slice();
    let mut take = |shard: Shard, node: u16| {
        let room = &mut room[usize::from(node)];
        let fits = *room > 0;
        if fits {
            *room -= 1;
            owners[usize::from(shard.0)] = node;
        }
        fits
    };
    let mut left: Vec<Shard> = Shard::all().collect();
    for number in 0..THROWS {
        left.retain(|&shard| {
            let point = ring.get(&Throw { shard, number }).expect("each candidate has a point");
            !take(shard, point.node)
        });
    }
    // The bounds add up to more than all shards: somebody has room.
    let mut nodes = 0..bounds.len() as u16;
    let mut node = nodes.next().unwrap_or_default();
    for shard in left {
        while !take(shard, node) {
            node = nodes.next().expect("the bounds add up to more than all shards");
        }
    }
    owners
}

/// After this many throws, what is left goes to whoever has room, in order. It takes very unequal
/// nodes, or hundreds, to get there.
const THROWS: u16 = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    fn node(name: &str, incarnation: u64) -> NodeId {
        NodeId { name: name.into(), incarnation }
    }

    fn candidate(name: &str, weight: u32) -> Candidate {
        Candidate { node: node(name, 1), weight }
    }

    fn candidates(weights: &BTreeMap<String, u32>) -> Vec<Candidate> {
        weights.iter().map(|(name, weight)| candidate(name, *weight)).collect()
    }

    fn weighted(weight: impl Strategy<Value = u32>) -> impl Strategy<Value = Vec<Candidate>> {
        btree_map("[a-z]{1,8}(-[0-9]{1,3})?", weight, 1..=12).prop_map(|map| candidates(&map))
    }

    fn named(names: &[&str]) -> Vec<Candidate> {
        names.iter().map(|name| candidate(name, 1)).collect()
    }

    fn loads(table: &Table, candidates: &[Candidate]) -> Vec<usize> {
        candidates.iter().map(|candidate| table.shards_of(&candidate.node).count()).collect()
    }

    #[test]
    fn key_hashes_are_those_published() {
        // Golden values: all nodes agree on them, so no build may change them.
        let long = [b'k'; 200];
        let golden: [(&str, &[u8], u64, u16); 7] = [
            ("bank.Account", b"acct-7", 0xb07f_79a7_2043_8b92, 2823),
            ("bank.Account", b"", 0xc840_4e10_1e88_c77c, 3204),
            ("", b"", 0xc44b_dff4_074e_ecdb, 3140),
            ("bank.Account", "über-東京".as_bytes(), 0x31f8_d149_47a6_013f, 799),
            ("shop.Cart", &[0, 255, 0], 0x62c3_8a10_924e_5f87, 1580),
            ("shop.Cart", &7u64.to_le_bytes(), 0xa751_d606_0136_d887, 2677),
            ("shop.Cart", &long, 0x362e_100a_e3ac_4bd6, 866),
        ];
        for (type_name, key, hash, shard) in golden {
            assert_eq!(key_hash(type_name, key), hash, "{type_name} {key:?}");
            assert_eq!(Shard::of(hash), Shard(shard), "{type_name} {key:?}");
        }
    }

    #[test]
    fn the_shard_is_the_top_of_the_hash() {
        assert_eq!(Shard::of(0), Shard(0));
        assert_eq!(Shard::of((1 << 52) - 1), Shard(0));
        assert_eq!(Shard::of(1 << 52), Shard(1));
        assert_eq!(Shard::of(u64::MAX), Shard(4095));
        assert_eq!(Shard::all().last(), Some(Shard(4095)));
    }

    fn checksum(table: &Table) -> u64 {
        let owners = Shard::all().map(|shard| table.owner(shard).expect("an owner"));
        let names: Vec<u8> =
            owners.flat_map(|node| [node.name.as_bytes(), &[0]].concat()).collect();
        xxh3_64(&names)
    }

    #[test]
    fn owners_are_those_published() {
        // Golden values: a change of any one needs a new `PLACEMENT_VERSION`.
        let candidates = [candidate("carts-1", 1), candidate("carts-2", 1), candidate("x.y", 2)];
        let table = Table::compute(&candidates);
        let owners: Vec<&str> = [0, 1, 7, 1000, 2048, 4095]
            .map(|shard| &*table.owner(Shard(shard)).expect("an owner").name)
            .to_vec();
        assert_eq!(owners, ["carts-2", "carts-2", "x.y", "carts-1", "carts-2", "carts-1"]);
        assert_eq!(loads(&table, &candidates), [1046, 998, 2052]);
        assert_eq!(checksum(&table), 0xf687_f068_1dd0_0c14);
        // Among these some shards are thrown five times.
        let many = (0..40).map(|n| candidate(&format!("n{n:02}"), 1 + n % 5));
        let many = Table::compute(&many.collect::<Vec<_>>());
        assert_eq!(checksum(&many), 0x04b0_2fb6_4b83_0f6e);
        // These have fewer points than 512 for each unit of weight.
        let heavy = [candidate("carts-1", 100), candidate("carts-2", 200), candidate("x.y", 300)];
        assert_eq!(checksum(&Table::compute(&heavy)), 0x2f28_4c6b_fc8c_2e17);
        assert_eq!((PLACEMENT_VERSION, KEY_HASH), (1, "xxh3-64"));
    }

    #[test]
    fn nobody_owns_a_shard_without_a_weight() {
        for nothing in [vec![], vec![candidate("a", 0), candidate("b", 0)]] {
            let table = Table::compute(&nothing);
            assert_eq!(table, Table::empty());
            assert!(Shard::all().all(|shard| table.owner(shard).is_none()));
        }
        let table = Table::compute(&[candidate("a", 0), candidate("b", 1)]);
        assert_eq!(table.shards_of(&node("a", 1)).count(), 0);
        assert_eq!(table.shards_of(&node("b", 1)).count(), SHARDS);
        assert_eq!(table.owner(Shard(4096)), None);
        assert_eq!(Table::empty().moved(&table).count(), SHARDS);
    }

    #[test]
    fn a_restart_under_the_same_name_gets_the_same_shards() {
        let mut candidates = named(&["a", "b", "c"]);
        let before = Table::compute(&candidates);
        candidates.push(Candidate { node: node("b", 7), weight: 1 });
        let after = Table::compute(&candidates);
        let shards: Vec<Shard> = before.shards_of(&node("b", 1)).collect();
        assert_eq!(after.shards_of(&node("b", 7)).collect::<Vec<_>>(), shards);
        assert_eq!(after.shards_of(&node("b", 1)).count(), 0);
        assert_eq!(before.moved(&after).collect::<Vec<_>>(), shards);
    }

    #[test]
    fn the_highest_run_counts_even_if_it_weighs_nothing() {
        let runs = [
            Candidate { node: node("a", 1), weight: 5 },
            Candidate { node: node("a", 2), weight: 0 },
            candidate("b", 1),
        ];
        assert_eq!(Table::compute(&runs), Table::compute(&[candidate("b", 1)]));
    }

    #[test]
    fn three_times_the_weight_is_three_times_the_shards() {
        for n in 0..50 {
            let candidates =
                [candidate(&format!("light-{n}"), 1), candidate(&format!("heavy-{n}"), 3)];
            let light = loads(&Table::compute(&candidates), &candidates)[0];
            let percent = 100.0 * light as f64 / SHARDS as f64;
            assert!((20.0..=30.0).contains(&percent), "{n}: {percent}");
        }
    }

    #[test]
    fn a_light_node_moves_little_among_heavy_ones() {
        let mut candidates = ["a", "b", "c", "d"].map(|name| candidate(name, 4)).to_vec();
        let without = Table::compute(&candidates);
        candidates.push(candidate("e", 1));
        let moved = without.moved(&Table::compute(&candidates)).count();
        assert!(moved as f64 <= 1.3 * SHARDS as f64 / 17.0, "{moved}");
    }

    #[test]
    fn more_nodes_than_shards_are_dealt_with() {
        let names: Vec<String> = (0..5_000).map(|n| format!("n{n}")).collect();
        let candidates: Vec<Candidate> = names.iter().map(|name| candidate(name, 1)).collect();
        let table = Table::compute(&candidates);
        assert!(loads(&table, &candidates).into_iter().all(|load| load <= 1));
        assert!(Shard::all().all(|shard| table.owner(shard).is_some()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn long_and_short_keys_are_hashed_alike(
            type_name in "[a-z.]{0,90}",
            key in proptest::collection::vec(any::<u8>(), 0..90),
        ) {
            let joined = [type_name.as_bytes(), &[0], &key].concat();
            prop_assert_eq!(key_hash(&type_name, &key), xxh3_64(&joined));
        }

        #[test]
        fn no_node_is_above_its_bound(
            candidates in prop_oneof![
                weighted(Just(1)),
                weighted(0..=9u32),
                weighted(any::<u32>()),
            ],
        ) {
            let table = Table::compute(&candidates);
            let total = total_weight(&candidates);
            let loads = loads(&table, &candidates);
            for (candidate, load) in candidates.iter().zip(&loads) {
                // The load is at most the bound rounded up: one less is below the bound.
                let below = (*load as u64).saturating_sub(1) * 10 * total;
                let bound = 11 * SHARDS as u64 * u64::from(candidate.weight);
                prop_assert!(*load == 0 || below < bound, "{candidate:?}: {load}");
            }
            prop_assert_eq!(loads.iter().sum::<usize>(), if total > 0 { SHARDS } else { 0 });
        }

        #[test]
        fn any_order_of_the_candidates_gives_the_same_table(
            (sorted, shuffled) in weighted(0..=9u32)
                .prop_flat_map(|sorted| (Just(sorted.clone()), Just(sorted).prop_shuffle())),
        ) {
            prop_assert_eq!(Table::compute(&sorted), Table::compute(&shuffled));
        }

        #[test]
        fn a_node_that_comes_or_goes_moves_little_more_than_its_share(
            names in proptest::collection::btree_set("[a-z]{1,8}(-[0-9]{1,3})?", 4..=11),
            place in any::<prop::sample::Index>(),
        ) {
            let mut candidates: Vec<_> = names.iter().map(|name| candidate(name, 1)).collect();
            let with = Table::compute(&candidates);
            let ideal = SHARDS as f64 / candidates.len() as f64;
            candidates.remove(place.index(candidates.len()));
            let without = Table::compute(&candidates);
            let moved = with.moved(&without).count();
            prop_assert_eq!(moved, without.moved(&with).count());
            prop_assert!(moved as f64 <= 1.3 * ideal, "{moved} of {ideal}");
        }
    }
}
