//! The hand-off: how shards come from the node that has them to the one that is to have them.
//!
//! The view says who is to have a shard, its *target*; who has it, its nodes say themselves, by their
//! [`Holdings`]. A shard goes through these steps, and none of them hangs on one message:
//!
//! ```text
//!  who has it                  the others                     its target
//!  ----------                  ----------                     ----------
//!  seals it: takes nothing
//!  drains it: entities end,
//!    what waits goes back
//!  lets it go ──holdings────>  route to nobody, senders wait  opens it, once nobody has it
//!                              flush: all that they sent to
//!                              who had it has come back
//!                              route to its target  <──────── holdings ──
//! ```
//!
//! Invariant: a node takes in messages of a shard only while it has it open, and opens it only while no
//! live node that it knows of has it. It sends to another node than before only once what it sent
//! to the one before has come to its end or has come back.
//! Knows no session and no actor: it says what is to be done, and is told what has been.

mod flush;
mod holdings;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use self::flush::Flushes;
pub(crate) use self::holdings::{Holdings, Shards};
use super::placement::{Shard, Table};
use crate::{message::WireId, node::NodeId};

/// How many shards with entities in them a node seals at a time: each is closed to senders for as long as
/// its entities take to end.
pub(crate) const SEALED_LIMIT: usize = 64;

/// How long a shard waits to be opened for what a member has, that has said nothing of it yet: somewhat
/// more than its session takes to come up.
const HEARING_PATIENCE: Duration = Duration::from_secs(2);

/// How long a node with which there is a session has what it says, although it is no member here yet.
const JOINING_PATIENCE: Duration = Duration::from_secs(10);

/// Where the shards of a table should be.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) table: Table,
    /// Whether every node in it has what it is asked for.
    pub(crate) is_local_first: bool,
}

/// A table, by the type whose it is.
pub(crate) type TableId = WireId;

/// The table of all types that state nothing.
pub(crate) const COMMON: TableId = WireId(0);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The entities in these shards are to end, and what waits for them is to go back. The routes have
    /// changed before.
    Drain { table: TableId, shard: Shard, end: End },
    /// A node is to say how much has gone back to this one, once all that was sent to it before has come
    /// to it.
    Flush { node: NodeId, marker: u64 },
}

/// How a shard that this node has had ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its target is to have it: what its entities do is done first.
    HandOver,
    /// Nobody is to have it, for now: at once.
    GiveUp,
}

/// Who has the shards of one table.
#[derive(Clone, Debug)]
struct Plan {
    target: Target,
    open: Shards,
    sealed: Shards,
    /// Whom this node sends to, for each shard.
    routes: Vec<Option<NodeId>>,
}

/// What a node sends by, of one table. By default nobody has anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routed {
    /// Whom senders of this node ask.
    pub(crate) table: Table,
    /// Whom they are to ask in the end.
    pub(crate) target: Table,
    /// The shards of which this node takes messages in.
    pub(crate) open: Shards,
    pub(crate) is_local_first: bool,
}

/// What is known of a node since there is a session with it.
#[derive(Debug, Default)]
struct Link {
    /// What it says that it has, once it has said so.
    holdings: Option<Holdings>,
    /// Whether it has answered on every lane.
    has_answered: bool,
    /// Since when there is a session.
    since: Option<Instant>,
    /// Whether it was a member and is none any more.
    is_gone: bool,
    /// Whether it has what it says: a member, or one that is to become one soon.
    counts: bool,
}

#[derive(Debug)]
pub(crate) struct Handoff {
    local: NodeId,
    plans: BTreeMap<TableId, Plan>,
    /// The other members, and since when they are.
    members: BTreeMap<NodeId, Instant>,
    /// The nodes with which there is a session.
    linked: BTreeMap<NodeId, Link>,
    flushes: Flushes,
    /// Of this node's own holdings.
    version: u64,
    has_changed: bool,
}

impl Handoff {
    pub(crate) fn new(local: NodeId) -> Self {
        Self {
            local,
            plans: BTreeMap::new(),
            members: BTreeMap::new(),
            linked: BTreeMap::new(),
            flushes: Flushes::default(),
            version: 0,
            has_changed: false,
        }
    }

    /// Who the other members are, and where shards should be by that.
    pub(crate) fn handle_view(
        &mut self,
        now: Instant,
        others: impl IntoIterator<Item = NodeId>,
        targets: impl IntoIterator<Item = (TableId, Target)>,
    ) {
        let others: BTreeSet<NodeId> = others.into_iter().collect();
        for (node, link) in &mut self.linked {
            link.is_gone |= self.members.contains_key(node);
            link.is_gone &= !others.contains(node);
        }
        self.members.retain(|node, _| others.contains(node));
        for node in others {
            self.members.entry(node).or_insert(now);
        }
        for (id, target) in targets {
            match self.plans.get_mut(&id) {
                Some(plan) => plan.target = target,
                None => drop(self.plans.insert(id, Plan::new(target))),
            }
        }
    }

    /// A session with a node has begun. Nothing was sent on it yet.
    pub(crate) fn handle_link(&mut self, node: &NodeId) {
        self.linked.entry(node.clone()).or_default();
        self.flushes.probe(node.clone());
    }

    /// The session with a node has ended: nothing comes back from there any more.
    pub(crate) fn handle_session_end(&mut self, node: &NodeId) {
        self.flushes.forget(node);
        self.linked.remove(node);
    }

    /// A node says what it has, on a session with it.
    pub(crate) fn handle_holdings(&mut self, from: &NodeId, holdings: Holdings) {
        let Some(Link { holdings: known, .. }) = self.linked.get_mut(from) else { return };
        if known.as_ref().is_some_and(|known| known.version >= holdings.version) {
            return;
        }
        let before = known.replace(holdings.clone()).unwrap_or_default();
        for (id, shard) in before.beyond(&holdings) {
            // What its entities sent back at last may have come behind a marker that was asked for before.
            if self.flushes.has_at(from, id, shard) {
                self.flushes.begin(from.clone(), id, shard);
            }
        }
    }

    /// Something was sent to a node by a route that was no longer in force.
    pub(crate) fn handle_late(&mut self, node: &NodeId, table: TableId, shard: Shard) {
        if self.linked.contains_key(node) {
            self.flushes.begin(node.clone(), table, shard);
        }
    }

    /// All that was sent to a node before a marker has come to its end, or has come back.
    pub(crate) fn handle_flushed(&mut self, node: &NodeId, marker: u64) {
        if self.flushes.end(node, marker)
            && let Some(link) = self.linked.get_mut(node)
        {
            link.has_answered = true;
        }
    }

    /// A sealed shard has no entity left.
    pub(crate) fn handle_drained(&mut self, table: TableId, shard: Shard) {
        if let Some(plan) = self.plans.get_mut(&table)
            && plan.sealed.remove(shard)
        {
            self.has_changed = true;
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What this node has: all that it has not let go of. The version is raised whenever it has changed.
    pub(crate) fn holdings(&self) -> Holdings {
        let is_handed_over = |(_, plan): &(&TableId, &Plan)| !plan.target.is_local_first;
        let held = |(id, plan): (&TableId, &Plan)| (*id, plan.open.and(&plan.sealed));
        let tables = self.plans.iter().filter(is_handed_over).map(held).collect();
        Holdings { version: self.version, tables }
    }

    /// The shards that are to be drained.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (TableId, Shard)> {
        self.plans.iter().flat_map(|(id, plan)| plan.sealed.iter().map(|shard| (*id, shard)))
    }

    /// Whether this node has any shard.
    pub(crate) fn has_something(&self) -> bool {
        self.plans.values().any(|plan| !plan.open.is_empty() || !plan.sealed.is_empty())
    }

    /// Decides what is next: which shards are opened, sealed, and routed elsewhere. `is_busy` says whether
    /// there are entities in a shard.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        is_busy: impl Fn(TableId, Shard) -> bool,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for (node, link) in &mut self.linked {
            let since = *link.since.get_or_insert(now);
            let is_new = !link.is_gone && now < since + JOINING_PATIENCE;
            link.counts = self.members.contains_key(node) || is_new;
        }
        let has_heard = self.silent().all(|since| now >= since + HEARING_PATIENCE);
        let mut busy = self.sealed().filter(|(id, shard)| is_busy(*id, *shard)).count();
        let mut plans = std::mem::take(&mut self.plans);
        for (id, plan) in &mut plans {
            if plan.target.is_local_first {
                // Nobody hands anything over: whoever may have it has it.
                continue;
            }
            for shard in Shard::all() {
                let target = plan.target.table.owner(shard);
                if plan.open.has(shard) {
                    let end = match target {
                        Some(target) if *target == self.local || !self.can_take(target) => continue,
                        Some(_) => End::HandOver,
                        None => End::GiveUp,
                    };
                    if end == End::HandOver && is_busy(*id, shard) {
                        if busy >= SEALED_LIMIT {
                            continue;
                        }
                        busy += 1;
                    }
                    plan.open.remove(shard);
                    plan.sealed.insert(shard);
                    steps.push(Step::Drain { table: *id, shard, end });
                } else if target == Some(&self.local)
                    && !plan.sealed.has(shard)
                    && has_heard
                    && !self.is_held(*id, shard)
                {
                    plan.open.insert(shard);
                    self.has_changed = true;
                }
            }
        }
        self.route(&mut plans);
        self.plans = plans;
        if std::mem::take(&mut self.has_changed) {
            self.version += 1;
        }
        let asked = self.flushes.poll().map(|(node, marker)| Step::Flush { node, marker });
        steps.extend(asked);
        steps
    }

    /// Decides whom this node sends to.
    fn route(&mut self, plans: &mut BTreeMap<TableId, Plan>) {
        for (id, plan) in plans {
            if plan.target.is_local_first {
                continue;
            }
            for shard in Shard::all() {
                let next = self.next_route(*id, plan, shard);
                let route = &mut plan.routes[usize::from(shard.0)];
                if *route == next {
                    continue;
                }
                let former = std::mem::replace(route, next);
                let is_linked = |former: &NodeId| self.linked.contains_key(former);
                if let Some(former) = former.filter(is_linked)
                    && !self.flushes.has(*id, shard)
                {
                    self.flushes.begin(former, *id, shard);
                }
                if self.flushes.has(*id, shard) {
                    *route = None;
                }
            }
        }
    }

    /// Whom this node would send to, if nothing had to come back first.
    fn next_route(&self, id: TableId, plan: &Plan, shard: Shard) -> Option<NodeId> {
        if self.flushes.has(id, shard) || plan.sealed.has(shard) {
            return None;
        }
        if plan.open.has(shard) {
            return Some(self.local.clone());
        }
        let target = plan.target.table.owner(shard)?;
        let mut holders = self.holders(id, shard).peekable();
        let Some(first) = holders.peek().copied() else {
            // One that knows nothing of the table says so to whoever asks.
            let holdings = self.linked.get(target).and_then(|link| link.holdings.as_ref());
            return holdings.filter(|holdings| !holdings.knows(id)).map(|_| target.clone());
        };
        Some(holders.find(|node| *node == target).unwrap_or(first).clone())
    }

    /// The other nodes that say that they have a shard.
    fn holders(&self, id: TableId, shard: Shard) -> impl Iterator<Item = &NodeId> {
        let holds = move |link: &Link| {
            let holdings = link.holdings.as_ref();
            link.counts && holdings.is_some_and(|holdings| holdings.has(id, shard))
        };
        self.linked.iter().filter(move |(_, link)| holds(link)).map(|(node, _)| node)
    }

    /// What senders go by, of each table.
    pub(crate) fn routed(&self) -> BTreeMap<TableId, Routed> {
        self.plans.iter().map(|(id, plan)| (*id, plan.routed(&self.local))).collect()
    }

    /// When something is decided by time alone.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let silent = self.silent().map(|since| since + HEARING_PATIENCE);
        let joining = |(node, link): (&NodeId, &Link)| {
            let since = link.since.filter(|_| !self.members.contains_key(node))?;
            Some(since + JOINING_PATIENCE)
        };
        silent.chain(self.linked.iter().filter_map(joining)).filter(|at| *at > now).min()
    }

    /// Since when those are members that have not said what they have.
    fn silent(&self) -> impl Iterator<Item = Instant> {
        let has_told = |node| self.linked.get(node).is_some_and(|link| link.holdings.is_some());
        self.members.iter().filter(move |(node, _)| !has_told(*node)).map(|(_, since)| *since)
    }

    fn is_held(&self, id: TableId, shard: Shard) -> bool {
        self.holders(id, shard).next().is_some()
    }

    /// Whether a target has answered, so that it can be given something.
    fn can_take(&self, target: &NodeId) -> bool {
        let can_take = |link: &Link| link.holdings.is_some() && link.has_answered;
        self.linked.get(target).is_some_and(can_take)
    }
}

impl Plan {
    fn new(target: Target) -> Self {
        let routes = Shard::all().map(|_| None).collect();
        Self { target, open: Shards::default(), sealed: Shards::default(), routes }
    }

    fn routed(&self, local: &NodeId) -> Routed {
        let Target { table: target, is_local_first } = self.target.clone();
        if is_local_first {
            let open = if target.has(local) { Shards::all() } else { Shards::default() };
            return Routed { table: target.clone(), target, open, is_local_first };
        }
        let table = Table::of(|shard| self.routes[usize::from(shard.0)].as_ref());
        Routed { table, target, open: self.open.clone(), is_local_first }
    }
}
