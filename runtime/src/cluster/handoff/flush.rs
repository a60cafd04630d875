//! What was sent to nodes that do not have its shard any more, until all of it is accounted for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Shards, TableId};
use crate::{cluster::placement::Shard, node::NodeId};

type Waiting = BTreeSet<(TableId, Shard)>;

#[derive(Debug, Default)]
pub(super) struct Flushes {
    last_marker: u64,
    of: BTreeMap<NodeId, Flush>,
}

#[derive(Debug, Default)]
struct Flush {
    /// The marker that was asked for, and the shards that wait for it.
    asked: Option<(u64, Waiting)>,
    /// Those that wait for the next one.
    next: Waiting,
    /// Whether there is to be a next one even if none waits.
    is_wanted: bool,
}

impl Flushes {
    /// A marker is to be asked for, so that the node answers on every lane.
    pub(super) fn probe(&mut self, node: NodeId) {
        self.of.entry(node).or_default().is_wanted = true;
    }

    /// A shard waits for all that was sent to this node so far.
    pub(super) fn begin(&mut self, node: NodeId, table: TableId, shard: Shard) {
        self.of.entry(node).or_default().next.insert((table, shard));
    }

    /// Whether a shard waits for this node.
    pub(super) fn has_at(&self, node: &NodeId, table: TableId, shard: Shard) -> bool {
        self.of.get(node).is_some_and(|flush| flush.has((table, shard)))
    }

    /// Whether a shard waits.
    pub(super) fn has(&self, table: TableId, shard: Shard) -> bool {
        self.of.values().any(|flush| flush.has((table, shard)))
    }

    /// The shards of a table that wait.
    pub(super) fn waiting(&self, table: TableId) -> Shards {
        let all = self.of.values().flat_map(|flush| {
            let asked = flush.asked.iter().flat_map(|(_, waiting)| waiting);
            asked.chain(&flush.next)
        });
        all.filter(|(of, _)| *of == table).map(|(_, shard)| *shard).collect()
    }

    /// The markers that are to be asked for.
    pub(super) fn poll(&mut self) -> impl Iterator<Item = (NodeId, u64)> {
        let last = &mut self.last_marker;
        self.of.iter_mut().filter_map(|(node, flush)| {
            if flush.asked.is_some() || flush.is_idle() {
                return None;
            }
            *last += 1;
            flush.is_wanted = false;
            flush.asked = Some((*last, std::mem::take(&mut flush.next)));
            Some((node.clone(), *last))
        })
    }

    /// All that was sent to this node before the marker is accounted for. Returns whether it was asked
    /// for.
    pub(super) fn end(&mut self, node: &NodeId, marker: u64) -> bool {
        let Some(flush) = self.of.get_mut(node) else { return false };
        let ended = flush.asked.take_if(|(asked, _)| *asked == marker);
        if flush.asked.is_none() && flush.is_idle() {
            self.of.remove(node);
        }
        ended.is_some()
    }

    /// Nothing comes back from this node any more.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.of.remove(node);
    }
}

impl Flush {
    fn is_idle(&self) -> bool {
        self.next.is_empty() && !self.is_wanted
    }

    fn has(&self, one: (TableId, Shard)) -> bool {
        let is_asked = self.asked.as_ref().is_some_and(|(_, waiting)| waiting.contains(&one));
        is_asked || self.next.contains(&one)
    }
}
