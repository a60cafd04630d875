//! What a node says that it has.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::TableId;
use crate::{
    cluster::placement::{SHARDS, Shard},
    message::WireId,
    node::NodeId,
};

/// Of how many tables a node tells: with more types that state where they may be, the last ones by their
/// ids are asked for where they should be, and not handed over.
pub(super) const TABLES_LIMIT: usize = 128;

/// How many members a node names; with all tables the packet is within what a packet may have.
pub(super) const MEMBERS_LIMIT: usize = 1_024;

/// How many bytes the bits of all shards are.
const BYTES: usize = SHARDS / 8;

/// Some of the shards.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Shards(Box<[u8; BYTES]>);

impl Default for Shards {
    fn default() -> Self {
        Self(Box::new([0; BYTES]))
    }
}

impl Shards {
    pub(crate) fn all() -> Self {
        Self(Box::new([u8::MAX; BYTES]))
    }

    #[inline]
    pub(crate) fn has(&self, shard: Shard) -> bool {
        self.0[usize::from(shard.0) / 8] & (1 << (shard.0 % 8)) != 0
    }

    pub(crate) fn insert(&mut self, shard: Shard) {
        self.0[usize::from(shard.0) / 8] |= 1 << (shard.0 % 8);
    }

    /// Takes a shard out. Returns whether it was in.
    pub(crate) fn remove(&mut self, shard: Shard) -> bool {
        let was_in = self.has(shard);
        self.0[usize::from(shard.0) / 8] &= !(1 << (shard.0 % 8));
        was_in
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Shard> {
        Shard::all().filter(|shard| self.has(*shard))
    }

    /// Those that are not among `others`.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let mut rest = self.clone();
        rest.0.iter_mut().zip(&others.0[..]).for_each(|(byte, other)| *byte &= !other);
        rest
    }

    /// These and those.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.iter_mut().zip(&other.0[..]).for_each(|(byte, other)| *byte |= other);
        both
    }
}

impl FromIterator<Shard> for Shards {
    fn from_iter<I: IntoIterator<Item = Shard>>(shards: I) -> Self {
        let mut some = Self::default();
        shards.into_iter().for_each(|shard| some.insert(shard));
        some
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards", self.iter().count())
    }
}

/// The shards that a node has, by their tables. Of two, the one with the higher version is the later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) version: u64,
    /// In order. Of a table that is not there the node knows nothing; it hands nothing over by it.
    pub(crate) tables: Vec<(TableId, Shards)>,
    /// Those of them that it has not opened, where something waits for it. In order.
    pub(crate) closed: Vec<(TableId, Shards)>,
    /// The other members that it knows of.
    pub(crate) members: Vec<NodeId>,
}

/// As it travels. Frozen.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    version: u64,
    /// The id of each table, and a bit for each shard, the lowest bit of a byte first.
    #[serde(borrow)]
    tables: Vec<(u64, &'a [u8])>,
    #[serde(borrow)]
    closed: Vec<(u64, &'a [u8])>,
    /// Name and incarnation of each.
    #[serde(borrow)]
    members: Vec<(&'a str, u64)>,
}

impl Holdings {
    pub(crate) fn has(&self, table: TableId, shard: Shard) -> bool {
        is_in(&self.tables, table, shard)
    }

    /// Whether the node has a shard, and is to be asked for it.
    pub(crate) fn serves(&self, table: TableId, shard: Shard) -> bool {
        self.has(table, shard) && !is_in(&self.closed, table, shard)
    }

    /// The shards of a table that the node is to be asked for.
    pub(crate) fn served(&self, table: TableId) -> Shards {
        let of = |tables: &[(TableId, Shards)]| {
            let at = tables.binary_search_by_key(&table, |(id, _)| *id);
            at.map_or_else(|_| Shards::default(), |at| tables[at].1.clone())
        };
        of(&self.tables).without(&of(&self.closed))
    }

    /// Whether the node knows of a table.
    pub(crate) fn knows(&self, table: TableId) -> bool {
        self.tables.binary_search_by_key(&table, |(id, _)| *id).is_ok()
    }

    /// What is there and not in `other`.
    pub(super) fn beyond(&self, other: &Self) -> impl Iterator<Item = (TableId, Shard)> {
        let all = self.tables.iter().flat_map(|(id, shards)| shards.iter().map(|s| (*id, s)));
        all.filter(|(id, shard)| !other.has(*id, *shard))
    }

    /// Appends it to `out`.
    pub(crate) fn put(&self, out: Vec<u8>) -> Vec<u8> {
        let wire = Wire {
            version: self.version,
            tables: written(&self.tables),
            closed: written(&self.closed),
            members: self.members.iter().take(MEMBERS_LIMIT).map(name).collect(),
        };
        postcard::to_extend(&wire, out).expect("it has no value that serde refuses")
    }

    /// Reads it; `None` if it is none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let Wire { version, tables, closed, members } = postcard::from_bytes(bytes).ok()?;
        if members.len() > MEMBERS_LIMIT {
            return None;
        }
        let id = |(name, incarnation): (&str, u64)| NodeId { name: name.into(), incarnation };
        let members = members.into_iter().map(id).collect();
        Some(Self { version, tables: read(tables)?, closed: read(closed)?, members })
    }
}

fn name(NodeId { name, incarnation }: &NodeId) -> (&str, u64) {
    (name, *incarnation)
}

fn is_in(tables: &[(TableId, Shards)], table: TableId, shard: Shard) -> bool {
    let found = tables.binary_search_by_key(&table, |(id, _)| *id);
    found.is_ok_and(|at| tables[at].1.has(shard))
}

fn written(tables: &[(TableId, Shards)]) -> Vec<(u64, &[u8])> {
    tables.iter().take(TABLES_LIMIT).map(|(id, shards)| (id.0, &shards.0[..])).collect()
}

fn read(tables: Vec<(u64, &[u8])>) -> Option<Vec<(TableId, Shards)>> {
    let is_ordered = tables.is_sorted_by(|(a, _), (b, _)| a < b);
    if tables.len() > TABLES_LIMIT || !is_ordered {
        return None;
    }
    let shards = |(id, bits): (u64, &[u8])| {
        let bits = <[u8; BYTES]>::try_from(bits).ok()?;
        Some((WireId(id), Shards(Box::new(bits))))
    };
    tables.into_iter().map(shards).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(shards: &[u16]) -> Shards {
        let mut some = Shards::default();
        shards.iter().for_each(|shard| some.insert(Shard(*shard)));
        some
    }

    #[test]
    fn a_set_of_shards_has_what_was_put_into_it() {
        let mut shards = some(&[0, 7, 8, 4_095]);
        assert!(shards.remove(Shard(7)) && !shards.remove(Shard(7)) && !shards.has(Shard(9)));
        assert_eq!(shards.iter().collect::<Vec<_>>(), [Shard(0), Shard(8), Shard(4_095)]);
        assert_eq!(shards.and(&some(&[1])).iter().count(), 4);
        assert!(Shards::default().is_empty() && !shards.is_empty());
        assert_eq!(Shards::all().iter().count(), SHARDS);
    }

    #[test]
    fn holdings_are_read_as_they_were_written_and_nothing_else_is() {
        let holdings = Holdings {
            version: 300,
            tables: vec![(WireId(0), some(&[1])), (WireId(9), Shards::all())],
            closed: vec![(WireId(9), some(&[7]))],
            members: vec![NodeId { name: "n2".into(), incarnation: 300 }],
        };
        let bytes = holdings.put(Vec::new());
        let (tables, closed, members) = ((1 + (1 + 2 + BYTES) * 2), (1 + 1 + 2 + BYTES), 6);
        assert_eq!(bytes.len(), 2 + tables + closed + members);
        assert_eq!(bytes[bytes.len() - members..], [1, 2, b'n', b'2', 0xac, 2]);
        assert_eq!(bytes[..6], [0xac, 2, 2, 0, 0x80, 4]);
        assert_eq!(Holdings::read(&bytes), Some(holdings.clone()));
        assert!(holdings.has(WireId(9), Shard(5)) && !holdings.has(WireId(0), Shard(5)));
        assert!(!holdings.has(WireId(1), Shard(1)));
        let serves = |shard| holdings.serves(WireId(9), Shard(shard));
        assert!(serves(5) && !serves(7) && holdings.has(WireId(9), Shard(7)));
        for length in 0..bytes.len() {
            assert_eq!(Holdings::read(&bytes[..length]), None, "{length}");
        }
        let twice = Holdings { tables: vec![(WireId(9), some(&[1])); 2], ..holdings };
        assert_eq!(Holdings::read(&twice.put(Vec::new())), None);
        let (none, nobody) = (Vec::<(u64, &[u8])>::new(), Vec::<(&str, u64)>::new());
        let short = postcard::to_allocvec(&(1u64, vec![(0u64, &[0u8; 9][..])], none, nobody));
        let short = short.expect("bytes");
        assert_eq!(Holdings::read(&short), None);
    }
}
