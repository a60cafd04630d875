//! Carrying out the hand-off: what it decides is done here, and what has become of it is told to it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::Class;

use super::{LOOK_PERIOD, Shell};
use crate::{
    actor::mailbox::Signal,
    cluster::{
        Heard, Installed,
        handoff::{COMMON, End, Handoff, Holdings, Step, TableId, Target},
        membership::View,
        placement::{Minority, Shard, Site, Table},
        routing::{Owner, Peer, Route, Routes},
        wire::{Head, packet},
    },
    node::NodeId,
};

/// How long the entities of a shard have to finish what they do before they are moved all the same.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// How often a shard is looked at in which nobody seems to have gone.
const SEE_AGAIN: Duration = Duration::from_millis(100);

/// After how long a node is told again what this one has, if it has not said that it has heard.
const TELL_AGAIN: Duration = Duration::from_millis(200);

/// After how long lanes that have not answered are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long shards may not be where they should be before the log says why.
const ASTRAY_FOR: Duration = Duration::from_secs(10);

/// How long lanes have to answer; a lane that its node's arbiter blocks for longer is not waited for.
const FLUSH_PATIENCE: Duration = Duration::from_secs(7);

/// The hand-off, and what is under way for it.
pub(super) struct HandingOver {
    pub(super) handoff: Handoff,
    view: Arc<View>,
    has_majority: bool,
    /// Whether something has changed that the hand-off decides by.
    pub(super) is_dirty: bool,
    /// When it is to decide by time alone.
    look_at: Option<Instant>,
    /// What each node with which there is a session has been told.
    told: BTreeMap<NodeId, Told>,
    flushing: BTreeMap<NodeId, Flushing>,
    pub(super) sealed: BTreeMap<(TableId, Shard), Sealed>,
    /// What has come for shards that are to be opened here, and is to be answered.
    pub(super) installed: Vec<Installed>,
    /// Since when shards are not where they should be, or when that was said last.
    astray_since: Option<Instant>,
}

/// A shard that is to be drained, as it was seen last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub(super) since: Instant,
    pub(super) end: End,
    /// How many entities of any type there were, once it was seen, and when that was.
    pub(super) seen: Option<(usize, Instant)>,
    /// Whether another node has something of it already.
    pub(super) is_in_parts: bool,
}

/// What a node was told of this one's holdings, by their versions.
#[derive(Debug, Default)]
struct Told {
    last: Option<(u64, Instant)>,
    heard: Option<u64>,
}

/// A marker that was asked for.
#[derive(Debug)]
struct Flushing {
    marker: u64,
    begun_at: Instant,
    asked_at: Instant,
    /// The lanes that have not answered that all is back, once any was asked.
    open: Option<BTreeMap<u64, Lane>>,
}

#[derive(Clone, Copy, Debug)]
enum Lane {
    /// It is asked once this node has seen so much come back.
    Unsent { needs: u64 },
    /// It was, when so much had come back.
    Asked { seen: u64 },
}

impl HandingOver {
    pub(super) fn new(local: NodeId, view: Arc<View>) -> Self {
        Self {
            handoff: Handoff::new(local),
            view,
            has_majority: true,
            is_dirty: true,
            look_at: None,
            told: BTreeMap::new(),
            flushing: BTreeMap::new(),
            sealed: BTreeMap::new(),
            installed: Vec::new(),
            astray_since: None,
        }
    }

    /// Whether this node has let go of all that it had, and all others know.
    pub(super) fn has_let_go(&self) -> bool {
        let version = self.handoff.version();
        !self.handoff.has_something() && self.told.values().all(|told| told.heard == Some(version))
    }

    /// Whether it is awaited what may come back from a node.
    pub(super) fn is_flushing(&self, node: &NodeId) -> bool {
        self.flushing.contains_key(node)
    }

    /// A session with a node has begun.
    pub(super) fn link_up(&mut self, node: &NodeId) {
        self.handoff.handle_link(node);
        self.told.insert(node.clone(), Told::default());
        self.is_dirty = true;
    }

    pub(super) fn session_ended(&mut self, node: &NodeId) {
        self.handoff.handle_session_end(node);
        self.told.remove(node);
        self.flushing.remove(node);
        self.is_dirty = true;
    }

    /// A node has told what it has. Gives what it is to be answered.
    pub(super) fn holdings(&mut self, from: &NodeId, holdings: Holdings) -> Vec<u8> {
        let version = holdings.version;
        self.handoff.handle_holdings(from, holdings);
        self.is_dirty = true;
        postcard::to_extend(&version, vec![packet::HEARD]).expect("a number is no error")
    }

    /// A node has heard what it was told.
    pub(super) fn heard(&mut self, from: &NodeId, version: &[u8]) {
        let last = self.handoff.version();
        let version = postcard::from_bytes(version).ok().filter(|version: &u64| *version <= last);
        if let (Some(told), Some(version)) = (self.told.get_mut(from), version) {
            told.heard = told.heard.max(Some(version));
        }
    }

    /// When there will be more to do.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let Self { handoff, told, flushing, sealed, installed, look_at, .. } = self;
        let version = handoff.version();
        let untold = told.values().filter(|told| told.heard != Some(version));
        let again =
            untold.map(|told| told.last.map_or(now + LOOK_PERIOD, |(_, at)| at + TELL_AGAIN));
        let flushes = flushing.values().map(|flush| match flush.has_unsent() {
            true => now + LOOK_PERIOD,
            false => flush.asked_at + ASK_AGAIN,
        });
        let is_looking = !sealed.is_empty() || !installed.is_empty();
        let sealed = is_looking.then_some(now + LOOK_PERIOD);
        let next = again.chain(flushes).chain(sealed).chain(*look_at).min();
        // Not before now, whatever could not be done.
        next.map(|at| at.max(now + LOOK_PERIOD))
    }

    fn flushed(&mut self, node: &NodeId, marker: u64, lane: u64, moved: u64) {
        if let Some(flushing) = self.flushing.get_mut(node)
            && flushing.marker == marker
        {
            let Some(open) = &mut flushing.open else { return };
            match open.get_mut(&lane) {
                Some(Lane::Asked { seen }) if moved <= *seen => drop(open.remove(&lane)),
                Some(lane) => *lane = Lane::Unsent { needs: moved },
                None => {}
            }
        }
    }
}

impl Shell {
    /// Lets shards go where they should be by this view.
    pub(super) fn set_targets(&self, view: Arc<View>, owners: &[Owner], has_majority: bool) {
        let apart = self.cluster.routing.placed_apart();
        let sites = std::iter::once((COMMON, Site::ANYWHERE)).chain(apart);
        let target = |(id, site): (TableId, Site)| {
            let table = match site.minority {
                Minority::Stop if !has_majority => Table::empty(),
                _ => site.table(owners.iter().map(|(candidate, of)| (candidate, &**of))),
            };
            (id, Target { table, is_local_first: site.is_local_first() })
        };
        let targets: Vec<_> = sites.map(target).collect();
        let others = view.members.iter().map(|member| member.id.clone());
        let others = others.filter(|id| id != self.core.id());
        let mut handing_over = self.handing_over.borrow_mut();
        handing_over.handoff.handle_view(self.now(), others, targets);
        (handing_over.view, handing_over.has_majority) = (view, has_majority);
        handing_over.is_dirty = true;
    }

    /// Does all that there is to do for the hand-off now. Returns when there will be more.
    pub(super) fn hand_over(&self, now: Instant) -> Option<Instant> {
        {
            let mut handing_over = self.handing_over.borrow_mut();
            handing_over.is_dirty |= handing_over.look_at.is_some_and(|at| now >= at);
        }
        let late = self.take_heard();
        self.answer_installed();
        self.look_at_flushes(now);
        while self.decide(now) {}
        self.call_arrived();
        self.tell_holdings(now);
        // What was sent late is looked after by now.
        late.into_iter().for_each(|shard| self.cluster.routing.release(shard));
        self.say_what_is_astray(now);
        let mut handing_over = self.handing_over.borrow_mut();
        handing_over.look_at = handing_over.handoff.poll_timeout(now);
        handing_over.next_look(now)
    }

    /// Has the log say why shards are not where they should be, once that has taken longer than it should.
    fn say_what_is_astray(&self, now: Instant) {
        let mut handing_over = self.handing_over.borrow_mut();
        let HandingOver { handoff, astray_since, .. } = &mut *handing_over;
        let Some(since) = astray_since.filter(|since| now >= *since + ASTRAY_FOR) else { return };
        if let Some(obstacle) = handoff.obstacle() {
            let (node, took) = (self.core.id(), now.saturating_duration_since(since));
            tracing::warn!(%node, ?took, obstacle, "entities are not where they belong");
            *astray_since = Some(now);
        }
    }

    /// Takes what other threads have left word of. Gives the shards that are held for it.
    fn take_heard(&self) -> Vec<Shard> {
        let mut late = Vec::new();
        let mut is_placed = false;
        for heard in self.cluster.take_heard() {
            let mut handing_over = self.handing_over.borrow_mut();
            match heard {
                Heard::Flushed { node, marker, lane, moved } => {
                    handing_over.flushed(&node, marker, lane, moved);
                }
                Heard::Late { node, actor_type, shard } => {
                    let table = self.cluster.routing.table_of(actor_type);
                    handing_over.handoff.handle_late(&node, table, shard);
                    handing_over.is_dirty = true;
                    late.push(shard);
                }
                Heard::Placed => is_placed = true,
                Heard::Installed(installed) => handing_over.installed.push(installed),
                Heard::Kept { actor_type, shard } => {
                    drop(handing_over);
                    self.keep_shard(self.cluster.routing.table_of(actor_type), shard);
                }
            }
        }
        if is_placed {
            self.publish_view();
        }
        late
    }

    /// Has the hand-off decide, and does what it says. Returns whether it is to decide again.
    fn decide(&self, now: Instant) -> bool {
        let entities = self.core.entities();
        let steps = {
            let mut handing_over = self.handing_over.borrow_mut();
            if std::mem::take(&mut handing_over.is_dirty) {
                let is_busy =
                    |_, shard| entities.count_in(shard) > 0 || self.cluster.transfers.has_in(shard);
                let steps = handing_over.handoff.decide(now, is_busy);
                let HandingOver { handoff, view, has_majority, .. } = &*handing_over;
                let (view, version) = (Arc::clone(view), view.version);
                let has_something = handoff.has_something();
                let routes = Routes::new(view, handoff.routed(), *has_majority, has_something);
                let is_astray = !routes.are_settled();
                let since = handing_over.astray_since.unwrap_or(now);
                handing_over.astray_since = is_astray.then_some(since);
                drop(handing_over);
                self.publish(routes);
                self.cluster.view_changed.send_replace(version);
                steps
            } else {
                Vec::new()
            }
        };
        for step in steps {
            match step {
                Step::Drain { table, shard, end } => {
                    let sealed = Sealed { since: now, end, seen: None, is_in_parts: false };
                    self.handing_over.borrow_mut().sealed.insert((table, shard), sealed);
                }
                Step::Flush { node, marker } => self.begin_flush(now, node, marker),
            }
        }
        self.look_at_sealed(now);
        self.handing_over.borrow().is_dirty
    }

    /// Lets senders go by these routes. Entities that are here by themselves end with what let them be.
    fn publish(&self, routes: Routes) {
        let mut gone = self.cluster.routing.routes().here_by_themselves();
        let here = routes.here_by_themselves();
        gone.retain(|actor_type| !here.contains(actor_type));
        let former = self.cluster.routing.routes().view.clone();
        let view = routes.view.clone();
        self.cluster.routing.set_routes(routes);
        // Whoever was given an ask to answer in the same moment as its session ended.
        for id in former.members.iter().map(|member| &member.id).filter(|id| !view.contains(id)) {
            if let Route::Nowhere(_) = self.core.route_to_node(id) {
                self.cluster.pending.fail_all_of(id);
            }
        }
        for actor_type in gone {
            let entities = self.core.entities().of_type(actor_type);
            entities.iter().for_each(|mailbox| mailbox.signal(Signal::Move));
        }
    }

    /// Asks the entities in a shard to move. Returns whether there are any.
    fn move_out(&self, table: TableId, shard: Shard, signal: Signal) -> bool {
        let routing = &self.cluster.routing;
        let is_of_table = |actor_type| routing.table_of(actor_type) == table;
        let moving = self.core.entities().in_shard(shard, is_of_table);
        moving.iter().for_each(|mailbox| mailbox.signal(signal));
        !moving.is_empty()
    }

    /// Looks whether sealed shards are empty: where somebody has gone since the last look, and now and then.
    /// What is left of those that are goes on.
    fn look_at_sealed(&self, now: Instant) {
        let sealed: Vec<_> = {
            let handing_over = self.handing_over.borrow();
            handing_over.sealed.iter().map(|(shard, sealed)| (*shard, *sealed)).collect()
        };
        for ((table, shard), sealed) in sealed {
            let count = self.core.entities().count_in(shard);
            let is_as_seen =
                |(seen, at): &(usize, Instant)| *seen == count && now < *at + SEE_AGAIN;
            if count > 0 && sealed.seen.as_ref().is_some_and(is_as_seen) {
                continue;
            }
            let is_overdue = now >= sealed.since + DRAIN_PATIENCE;
            let signal = match sealed.end {
                End::HandOver if !is_overdue => Signal::HandOver,
                End::HandOver | End::GiveUp => Signal::Move,
            };
            if self.move_out(table, shard, signal) {
                let seen = Sealed { seen: Some((count, now)), ..sealed };
                self.handing_over.borrow_mut().sealed.insert((table, shard), seen);
            } else {
                self.pass_on(now, table, shard, sealed);
            }
        }
    }

    /// A sealed shard is empty; `is_left` says whether something of its entities still waits here.
    pub(super) fn drained(&self, table: TableId, shard: Shard, is_left: bool) {
        let mut handing_over = self.handing_over.borrow_mut();
        handing_over.handoff.handle_drained(table, shard, is_left);
        handing_over.sealed.remove(&(table, shard));
        handing_over.is_dirty = true;
    }

    /// A sealed shard stays here, for now.
    pub(super) fn keep_shard(&self, table: TableId, shard: Shard) {
        let now = self.now();
        let mut handing_over = self.handing_over.borrow_mut();
        if handing_over.sealed.get(&(table, shard)).is_some_and(|sealed| sealed.is_in_parts) {
            return;
        }
        handing_over.handoff.handle_kept(now, table, shard);
        handing_over.sealed.remove(&(table, shard));
        handing_over.is_dirty = true;
    }

    fn begin_flush(&self, now: Instant, node: NodeId, marker: u64) {
        tracing::debug!(node = %self.core.id(), peer = %node, marker, "waits for what may come back");
        let flushing = Flushing { marker, begun_at: now, asked_at: now, open: None };
        self.handing_over.borrow_mut().flushing.insert(node, flushing);
        self.look_at_flushes(now);
    }

    pub(super) fn peer(&self, node: &NodeId) -> Option<Arc<Peer>> {
        match self.cluster.routing.to_node(node) {
            Route::There(peer) => Some(peer),
            _ => None,
        }
    }

    /// Asks for markers, and looks whether all has come back.
    fn look_at_flushes(&self, now: Instant) {
        let mut handing_over = self.handing_over.borrow_mut();
        let HandingOver { handoff, flushing, is_dirty, .. } = &mut *handing_over;
        flushing.retain(|node, flush| {
            if let Some(peer) = self.peer(node) {
                flush.ask(now, &peer);
            }
            let is_overdue = now >= flush.begun_at + FLUSH_PATIENCE;
            if is_overdue {
                // It goes on, since all else of the shards would wait: what comes back later is overtaken.
                tracing::warn!(node = %self.core.id(), peer = %node, "a lane does not answer");
            }
            let has_ended = is_overdue || flush.open.as_ref().is_some_and(BTreeMap::is_empty);
            if has_ended {
                let marker = flush.marker;
                tracing::debug!(node = %self.core.id(), peer = %node, marker, "all has come back");
                handoff.handle_flushed(node, marker);
                *is_dirty = true;
            }
            !has_ended
        });
    }

    /// Tells other nodes what this one has.
    fn tell_holdings(&self, now: Instant) {
        let mut handing_over = self.handing_over.borrow_mut();
        let HandingOver { handoff, told, .. } = &mut *handing_over;
        let holdings = handoff.holdings();
        let mut packet: Option<bytes::Bytes> = None;
        for (node, told) in told {
            let is_due = told
                .last
                .is_none_or(|(version, at)| version != holdings.version || now >= at + TELL_AGAIN);
            let Some(peer) = self.peer(node).filter(|_| is_due && told.is_behind(&holdings)) else {
                continue;
            };
            let packet = packet.get_or_insert_with(|| holdings.put(vec![packet::HOLDINGS]).into());
            peer.session.send_packet(packet.clone());
            told.last = Some((holdings.version, now));
        }
    }
}

impl Flushing {
    /// Asks on the lanes where that is due.
    fn ask(&mut self, now: Instant, peer: &Peer) {
        let is_again = now >= self.asked_at + ASK_AGAIN;
        if is_again {
            self.asked_at = now;
        }
        let lanes =
            || (0..u64::from(peer.session.lanes())).map(|lane| (lane, Lane::Unsent { needs: 0 }));
        for (number, lane) in self.open.get_or_insert_with(|| lanes().collect()) {
            let seen = peer.returned.come_back(*number);
            let is_due = match lane {
                Lane::Unsent { needs } => seen >= *needs,
                Lane::Asked { .. } => is_again,
            };
            let flush = Head::Flush { marker: self.marker, seen };
            let send = || {
                let flush = flush.put(Vec::new());
                peer.session.try_send(Class::Message, *number, 0, &flush).is_ok()
            };
            if is_due && send() {
                *lane = Lane::Asked { seen };
            }
        }
    }

    fn has_unsent(&self) -> bool {
        let is_unsent = |lane: &Lane| matches!(lane, Lane::Unsent { .. });
        self.open.as_ref().is_none_or(|open| open.values().any(is_unsent))
    }
}

impl Told {
    fn is_behind(&self, holdings: &Holdings) -> bool {
        self.heard != Some(holdings.version)
    }
}
