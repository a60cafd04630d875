//! Whom a node sends to for the shards of one table that it has not itself, by what the others say.
//!
//! Made once for all shards, since each is looked at whenever anything has changed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Link, Shards, TableId};
use crate::{cluster::placement::Shard, node::NodeId};

pub(super) struct Ways<'a> {
    /// Those that say that they have shards, and are to be asked for these.
    holders: Vec<(&'a NodeId, Shards)>,
    /// Those that know nothing of the table, and say so to whoever asks.
    unknowing: BTreeSet<&'a NodeId>,
}

impl<'a> Ways<'a> {
    pub(super) fn new(table: TableId, linked: &'a BTreeMap<NodeId, Link>) -> Self {
        let told = linked.iter().filter_map(|(node, link)| Some((node, link, link.told()?)));
        let (mut holders, mut unknowing) = (Vec::new(), BTreeSet::new());
        for (node, link, holdings) in told {
            if !holdings.knows(table) {
                unknowing.insert(node);
            } else if link.counts {
                holders.push((node, holdings.served(table)));
            }
        }
        Self { holders, unknowing }
    }

    /// The way to a shard that is to be where `target` is.
    pub(super) fn to(&self, shard: Shard, target: &'a NodeId) -> Option<&'a NodeId> {
        let has = |(_, served): &&(&NodeId, Shards)| served.has(shard);
        let mut holders = self.holders.iter().filter(has).map(|(node, _)| *node);
        match holders.next() {
            None => self.unknowing.contains(target).then_some(target),
            Some(first) if first == target => Some(first),
            Some(first) => Some(holders.find(|node| *node == target).unwrap_or(first)),
        }
    }
}
