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
//!    what waits goes back;
//!  transfers it: what they
//!    leave behind goes over  ──────────────────────────────>  installs it
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
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use actix_cluster_transport::sabotage::{self, Bug};

pub(crate) use self::holdings::{Holdings, Shards};
use self::{flush::Flushes, ways::Ways};
use super::placement::{Shard, Table};
use crate::{message::WireId, node::NodeId};

/// How long a shard stays where it is whose entities could not be handed over, before that is tried again.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(10);

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
    /// Those that are neither, and of which something waits here to be opened with them, or to go on to
    /// where it belongs.
    installed: Shards,
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
    /// The shards of which it has something since a version of its holdings that it has not told yet.
    given: BTreeMap<(TableId, Shard), u64>,
    /// Since when it names members that this node does not know.
    naming_since: Option<Instant>,
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
    /// Those that were and are none any more, as long as others take them for members.
    gone: BTreeSet<NodeId>,
    /// Those that others take for members and this node does not know, and since when they do.
    named: BTreeMap<NodeId, Instant>,
    /// The nodes with which there is a session.
    linked: BTreeMap<NodeId, Link>,
    flushes: Flushes,
    /// Until when shards stay here, wherever they belong.
    kept: BTreeMap<(TableId, Shard), Instant>,
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
            gone: BTreeSet::new(),
            named: BTreeMap::new(),
            linked: BTreeMap::new(),
            flushes: Flushes::default(),
            kept: BTreeMap::new(),
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
        let is_gone = |node: &&NodeId| !others.contains(*node);
        let gone: Vec<NodeId> = self.members.keys().filter(is_gone).cloned().collect();
        self.has_changed |= !gone.is_empty();
        self.gone.extend(gone);
        self.members.retain(|node, _| others.contains(node));
        for node in others {
            self.members.entry(node).or_insert_with(|| {
                self.has_changed = true;
                now
            });
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
        let Some(Link { holdings: known, given, .. }) = self.linked.get_mut(from) else { return };
        if known.as_ref().is_some_and(|known| known.version >= holdings.version) {
            return;
        }
        given.retain(|_, version| *version > holdings.version);
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

    /// A sealed shard has no entity left; `is_left` says whether something of them still waits here.
    pub(crate) fn handle_drained(&mut self, table: TableId, shard: Shard, is_left: bool) {
        if let Some(plan) = self.plans.get_mut(&table)
            && plan.sealed.remove(shard)
        {
            if is_left {
                plan.installed.insert(shard);
            }
            self.has_changed = true;
        }
    }

    /// Something has come that waits here for a shard to be opened. Gives the version of this node's
    /// holdings that says so.
    pub(crate) fn handle_installed(&mut self, table: TableId, shard: Shard) -> u64 {
        if let Some(plan) = self.plans.get_mut(&table)
            && plan.is_closed(shard)
            && !plan.installed.has(shard)
        {
            plan.installed.insert(shard);
            self.has_changed = true;
        }
        self.version + u64::from(self.has_changed)
    }

    /// Another node has something of a shard, as this version of its holdings says, or will.
    pub(crate) fn handle_given(&mut self, to: &NodeId, table: TableId, shard: Shard, version: u64) {
        if let Some(Link { holdings, given, .. }) = self.linked.get_mut(to)
            && holdings.as_ref().is_none_or(|known| known.version < version)
        {
            given.insert((table, shard), version);
        }
    }

    /// A sealed shard can't be handed over: its entities go on here, for now.
    pub(crate) fn handle_kept(&mut self, now: Instant, table: TableId, shard: Shard) {
        if let Some(plan) = self.plans.get_mut(&table)
            && plan.sealed.remove(shard)
        {
            plan.open.insert(shard);
            self.kept.insert((table, shard), now + KEPT_FOR);
            self.has_changed = true;
        }
    }

    /// Who is to have a shard.
    pub(crate) fn target(&self, table: TableId, shard: Shard) -> Option<&NodeId> {
        self.plans.get(&table)?.target.table.owner(shard)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What this node has: all that it has not let go of. The version is raised whenever it has changed.
    pub(crate) fn holdings(&self) -> Holdings {
        let is_handed_over = |(_, plan): &(&TableId, &Plan)| !plan.target.is_local_first;
        let handed_over = || self.plans.iter().filter(is_handed_over);
        let held = |(id, plan): (&TableId, &Plan)| (*id, plan.held());
        let waits = |(_, plan): &(&TableId, &Plan)| !plan.installed.is_empty();
        let closed = |(id, plan): (&TableId, &Plan)| (*id, plan.installed.clone());
        Holdings {
            version: self.version,
            tables: handed_over().map(held).collect(),
            closed: handed_over().filter(waits).map(closed).collect(),
            members: self.members.keys().cloned().collect(),
        }
    }

    /// The shards that are to be drained.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (TableId, Shard)> {
        self.plans.iter().flat_map(|(id, plan)| plan.sealed.iter().map(|shard| (*id, shard)))
    }

    /// Whether this node has any shard.
    pub(crate) fn has_something(&self) -> bool {
        self.plans.values().any(|plan| !plan.held().is_empty())
    }

    /// Decides what is next: which shards are opened, sealed, and routed elsewhere. `is_busy` says whether
    /// there are entities in a shard, or something of them.
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
        self.kept.retain(|_, until| now < *until);
        self.note_named(now);
        let has_heard = self.silent().all(|since| now >= since + HEARING_PATIENCE);
        let mut busy = self.sealed().filter(|(id, shard)| is_busy(*id, *shard)).count();
        let mut plans = std::mem::take(&mut self.plans);
        for (id, plan) in &mut plans {
            if plan.target.is_local_first {
                // Nobody hands anything over: whoever may have it has it.
                continue;
            }
            let own: Shards = plan.target.table.shards_of(&self.local).collect();
            for shard in Shard::all() {
                let is_here = plan.open.has(shard) || plan.installed.has(shard);
                if !is_here && !own.has(shard) {
                    continue;
                }
                let end = match plan.target.table.owner(shard) {
                    _ if own.has(shard) => {
                        if plan.is_closed(shard) && has_heard && !self.is_held(*id, shard) {
                            plan.installed.remove(shard);
                            plan.open.insert(shard);
                            self.has_changed = true;
                        }
                        continue;
                    }
                    Some(target) if self.can_take(target) => End::HandOver,
                    None if plan.open.has(shard) => End::GiveUp,
                    // What waits for a shard waits until somebody is to have that.
                    Some(_) | None => continue,
                };
                if end == End::HandOver {
                    let is_busy = is_busy(*id, shard);
                    if self.kept.contains_key(&(*id, shard)) || is_busy && busy >= SEALED_LIMIT {
                        continue;
                    }
                    busy += usize::from(is_busy);
                }
                self.has_changed |= plan.installed.remove(shard);
                plan.open.remove(shard);
                plan.sealed.insert(shard);
                steps.push(Step::Drain { table: *id, shard, end });
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

    /// Notes whom others take for members. A node that has just joined may not know of all yet, and one of
    /// those it does not know may have what it is to have. Each that names such has this one wait once, until
    /// it names none any more.
    fn note_named(&mut self, now: Instant) {
        let mut all = BTreeSet::new();
        self.named.clear();
        for link in self.linked.values_mut().filter(|link| !link.is_gone) {
            let told = link.holdings.iter().flat_map(|holdings| &holdings.members);
            let is_later = |known: &NodeId, node: &NodeId| {
                known.name == node.name && known.incarnation >= node.incarnation
            };
            let mut names_some = false;
            for node in told {
                all.insert(node.clone());
                let mut known = self.members.keys().chain([&self.local]);
                if self.gone.contains(node) || known.any(|known| is_later(known, node)) {
                    continue;
                }
                names_some = true;
                let since = *link.naming_since.get_or_insert(now);
                self.named.entry(node.clone()).or_insert(since);
            }
            if !names_some {
                link.naming_since = None;
            }
        }
        self.gone.retain(|node| all.contains(node));
    }

    /// Decides whom this node sends to.
    fn route(&mut self, plans: &mut BTreeMap<TableId, Plan>) {
        let Self { local, linked, flushes, .. } = self;
        for (id, plan) in plans {
            let Plan { target, open, sealed, routes, .. } = plan;
            if target.is_local_first {
                continue;
            }
            let ways = Ways::new(*id, linked);
            let mut waiting = flushes.waiting(*id);
            for (shard, route) in Shard::all().zip(routes) {
                // If nothing had to come back first.
                let next = if waiting.has(shard) || sealed.has(shard) {
                    None
                } else if open.has(shard) {
                    Some(&*local)
                } else {
                    target.table.owner(shard).and_then(|target| ways.to(shard, target))
                };
                if route.as_ref() == next {
                    continue;
                }
                let former = std::mem::replace(route, next.cloned());
                if sabotage::has(Bug::RouteWithoutFlush) {
                    continue;
                }
                if let Some(former) = former.filter(|former| linked.contains_key(former))
                    && !waiting.has(shard)
                {
                    flushes.begin(former, *id, shard);
                    waiting.insert(shard);
                }
                if waiting.has(shard) {
                    *route = None;
                }
            }
        }
    }

    /// What keeps a shard from where it should be, for the log; `None` if all are there.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.plans.iter().filter(|(_, plan)| !plan.target.is_local_first).find_map(|(id, plan)| {
            let target = |shard| plan.target.table.owner(shard);
            let is_astray =
                |shard: &Shard| plan.routes[usize::from(shard.0)].as_ref() != target(*shard);
            let shard = Shard::all().find(is_astray)?;
            let of = |has: bool, what: &str| if has { format!(", {what}") } else { String::new() };
            let holds = |(node, link): (&NodeId, &Link)| {
                let holdings = link.holdings.as_ref()?;
                let given = link.given.get(&(*id, shard));
                let (has, serves) = (holdings.has(*id, shard), holdings.serves(*id, shard));
                let version = holdings.version;
                (has || given.is_some()).then(|| {
                    format!(
                        "{node} by {version}: serves {serves}, counts {}, given {given:?}",
                        link.counts
                    )
                })
            };
            let others: Vec<String> = self.linked.iter().filter_map(holds).collect();
            Some(format!(
                "shard {} is to be had by {}{}{}{}{}{}; others: {others:?}",
                shard.0,
                target(shard).map_or("nobody".to_owned(), NodeId::to_string),
                of(plan.open.has(shard), "is open"),
                of(plan.sealed.has(shard), "is sealed"),
                of(plan.installed.has(shard), "has something here"),
                of(self.flushes.has(*id, shard), "waits for what may come back"),
                of(self.kept.contains_key(&(*id, shard)), "is kept"),
            ))
        })
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
        let joining = self.linked.iter().filter_map(joining);
        silent.chain(joining).chain(self.kept.values().copied()).filter(|at| *at > now).min()
    }

    /// Since when those are members, to this node or to others, that have not said what they have.
    fn silent(&self) -> impl Iterator<Item = Instant> {
        let has_told = |node| self.linked.get(node).is_some_and(|link| link.holdings.is_some());
        let all = self.members.iter().chain(&self.named);
        all.filter(move |(node, _)| !has_told(*node)).map(|(_, since)| *since)
    }

    fn is_held(&self, id: TableId, shard: Shard) -> bool {
        let has_been_given = |link: &Link| link.given.contains_key(&(id, shard));
        let mut links = self.linked.values();
        links.any(|link| link.has(id, shard) || has_been_given(link))
    }

    /// Whether a target has answered, so that it can be given something.
    fn can_take(&self, target: &NodeId) -> bool {
        let can_take = |link: &Link| link.holdings.is_some() && link.has_answered;
        self.linked.get(target).is_some_and(can_take)
    }
}

impl Link {
    /// What it says that it has.
    fn told(&self) -> Option<&Holdings> {
        self.holdings.as_ref()
    }

    /// Whether the node has a shard, by what it says.
    fn has(&self, id: TableId, shard: Shard) -> bool {
        self.counts && self.told().is_some_and(|holdings| holdings.has(id, shard))
    }
}

impl Plan {
    fn new(target: Target) -> Self {
        let (open, sealed, installed) = Default::default();
        Self { target, open, sealed, installed, routes: Shard::all().map(|_| None).collect() }
    }

    /// All that this node has not let go of.
    fn held(&self) -> Shards {
        self.open.and(&self.sealed).and(&self.installed)
    }

    /// Whether a shard may be opened, as far as this node is concerned.
    fn is_closed(&self, shard: Shard) -> bool {
        !self.open.has(shard) && !self.sealed.has(shard)
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
