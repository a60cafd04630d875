//! Where a message goes: the sessions with other nodes, and who has which shard, as they are now.
//!
//! Invariant: tables and view belong together and are swapped as one. Whoever waits is woken once
//! there may be a way, and looks again. A sender of this node sends nothing to a shard while something
//! that was sent there before is on its way back or waits to be sent on, and nothing to an entity before
//! those that wait on their way to it.
//! Knows no message and no actor. Written by the cluster's thread, and by whoever first speaks of a
//! type that states where its entities may be; read by every sender.

mod lines;
mod returned;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use actix_cluster_transport::{
    Session,
    sabotage::{self, Bug},
};
use arc_swap::ArcSwap;

pub(crate) use self::lines::{Aim, Lines, Spot, Standing};
use self::returned::Returned;
use super::{
    handoff::{COMMON, Routed, TableId},
    membership::{Profile, View},
    placement::{Candidate, SHARDS, Shard, Site},
    understood::Understood,
};
use crate::{
    message::WireId,
    node::{EntityKey, NodeId},
    reference::RejectReason,
};

/// Another node, as senders see it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) session: Session,
    pub(crate) understood: Understood,
    pub(crate) returned: Returned,
}

/// A node that may own something, and what it says of itself.
pub(crate) type Owner = (Candidate, Arc<Profile>);

/// A view, and who has which shard.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) view: Arc<View>,
    /// Of the types whose entities may be anywhere.
    common: Routed,
    /// Of the others.
    apart: BTreeMap<WireId, Routed>,
    /// Whether this node is not on the smaller side of a partition.
    pub(crate) has_majority: bool,
    /// Whether this node has any shard, open or sealed.
    has_something: bool,
}

impl Routes {
    pub(crate) fn new(
        view: Arc<View>,
        mut tables: BTreeMap<TableId, Routed>,
        has_majority: bool,
        has_something: bool,
    ) -> Self {
        let common = tables.remove(&COMMON).unwrap_or_default();
        Self { view, common, apart: tables, has_majority, has_something }
    }

    fn of(&self, actor_type: WireId) -> &Routed {
        self.apart.get(&actor_type).unwrap_or(&self.common)
    }

    /// Whether all shards are where they should be.
    pub(crate) fn are_settled(&self) -> bool {
        let is_settled = |Routed { table, target, .. }: &Routed| {
            Shard::all().all(|shard| table.owner(shard) == target.owner(shard))
        };
        is_settled(&self.common) && self.apart.values().all(is_settled)
    }

    /// The types whose entities are on each node that may have them, and so on this one.
    pub(super) fn here_by_themselves(&self) -> BTreeSet<WireId> {
        let is_here = |routed: &Routed| routed.is_local_first && !routed.open.is_empty();
        self.apart.iter().filter(|(_, routed)| is_here(routed)).map(|(id, _)| *id).collect()
    }

    /// Whom a node asks for an entity, or is to ask once it has been handed over; `None` if there is
    /// nobody.
    pub(crate) fn owner<'a>(&'a self, asker: &'a NodeId, key: &EntityKey) -> Option<&'a NodeId> {
        let target = || self.of(key.actor_type()).target.owner(key.shard());
        self.owner_of(asker, key.actor_type(), key.shard()).or_else(target)
    }

    fn owner_of<'a>(
        &'a self,
        asker: &'a NodeId,
        actor_type: WireId,
        shard: Shard,
    ) -> Option<&'a NodeId> {
        let Routed { table, is_local_first, .. } = self.of(actor_type);
        if *is_local_first && table.has(asker) { Some(asker) } else { table.owner(shard) }
    }
}

/// What is to be done with a message.
#[derive(Debug)]
pub(crate) enum Route {
    /// The target is on this node.
    Here,
    /// It is on that one.
    There(Arc<Peer>),
    /// Nobody can be reached now, but somebody may be soon.
    Later,
    /// It can't be reached.
    Nowhere(RejectReason),
}

pub(crate) struct Routing {
    local: NodeId,
    peers: ArcSwap<BTreeMap<Arc<str>, Arc<Peer>>>,
    routes: ArcSwap<Routes>,
    /// How often the routes have changed.
    generation: AtomicU64,
    /// What types state, of those that do. Locked while routes are made of it.
    sites: Mutex<BTreeMap<WireId, Site>>,
    lines: Lines,
    /// For each shard, how much has to be sent on before senders have their turn.
    held: Box<[AtomicU32]>,
    /// Of how many shards nothing is taken from some peer, over all peers.
    refusals: Arc<AtomicUsize>,
    /// Whether nothing is sent to other nodes any more.
    has_stopped: AtomicBool,
}

impl Routing {
    pub(crate) fn new(local: NodeId, view: Arc<View>) -> Self {
        let routes = Routes::new(view, BTreeMap::new(), true, false);
        Self {
            local,
            peers: ArcSwap::default(),
            routes: ArcSwap::from_pointee(routes),
            generation: AtomicU64::new(0),
            sites: Mutex::default(),
            lines: Lines::default(),
            held: (0..SHARDS).map(|_| AtomicU32::new(0)).collect(),
            refusals: Arc::default(),
            has_stopped: AtomicBool::new(false),
        }
    }

    /// The route to an actor of a node.
    pub(crate) fn to_node(&self, node: &NodeId) -> Route {
        if *node == self.local {
            return Route::Here;
        }
        match self.reachable(&node.name) {
            Some(peer) if peer.id == *node => Route::There(peer),
            // That run of the node is over, and its actors with it.
            Some(peer) if peer.id.incarnation > node.incarnation => {
                Route::Nowhere(RejectReason::NoSuchActor)
            }
            _ if node.name == self.local.name => Route::Nowhere(RejectReason::NoSuchActor),
            _ if self.routes.load().view.contains(node) => Route::Later,
            _ => Route::Nowhere(RejectReason::Unreachable),
        }
    }

    /// Places a type as it states: senders wait until it is known who has its shards. Returns whether that
    /// is yet to be decided. A type that nobody has told of here may be anywhere.
    pub(crate) fn place(&self, actor_type: WireId, site: Site) -> bool {
        if site == Site::ANYWHERE || self.routes.load().apart.contains_key(&actor_type) {
            return false;
        }
        let mut sites = self.sites();
        if sites.insert(actor_type, site).is_some() {
            return false;
        }
        let Routes { view, common, apart, has_majority, has_something } = &**self.routes.load();
        let (has_majority, has_something) = (*has_majority, *has_something);
        let mut apart = apart.clone();
        apart.insert(actor_type, Routed::default());
        let (view, common) = (Arc::clone(view), common.clone());
        self.routes.store(Arc::new(Routes { view, common, apart, has_majority, has_something }));
        self.generation.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Places all types that the routes of a former life place.
    pub(super) fn place_as(&self, former: &Self) {
        let sites = former.sites().clone();
        for (actor_type, site) in sites {
            self.place(actor_type, site);
        }
    }

    /// What the types state that are placed apart.
    pub(super) fn placed_apart(&self) -> BTreeMap<WireId, Site> {
        self.sites().clone()
    }

    /// The table by which a type is placed.
    pub(crate) fn table_of(&self, actor_type: WireId) -> TableId {
        if self.routes.load().apart.contains_key(&actor_type) { actor_type } else { COMMON }
    }

    /// How often the routes have changed. To be asked before a route, by whoever asks again after it has
    /// sent by that route.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The route to an entity, for whoever sends something new and has nobody [before](Lines::standing) it.
    pub(crate) fn to_entity(&self, key: &EntityKey) -> Route {
        if self.held_in(key.shard()).load(Ordering::Acquire) > 0 {
            return Route::Later;
        }
        self.to_shard(key.actor_type(), key.shard())
    }

    /// The route to the entities of a type in a shard.
    pub(crate) fn to_shard(&self, actor_type: WireId, shard: Shard) -> Route {
        let routes = self.routes.load();
        let Some(owner) = routes.owner_of(&self.local, actor_type, shard) else {
            return Route::Later;
        };
        if *owner == self.local {
            return Route::Here;
        }
        match self.reachable(&owner.name) {
            Some(peer) if peer.id == *owner => Route::There(peer),
            _ => Route::Later,
        }
    }

    /// The peer of this name, as long as anything is sent to others.
    fn reachable(&self, name: &str) -> Option<Arc<Peer>> {
        let has_stopped = self.has_stopped.load(Ordering::Acquire);
        if has_stopped { None } else { self.peers.load().get(name).map(Arc::clone) }
    }

    /// Something is to be sent on to a shard before anything new.
    pub(super) fn hold(&self, shard: Shard) {
        self.held_in(shard).fetch_add(1, Ordering::AcqRel);
    }

    /// It has been, or never will be.
    pub(super) fn release(&self, shard: Shard) {
        if self.held_in(shard).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lines.wake_shard(shard);
        }
    }

    fn held_in(&self, shard: Shard) -> &AtomicU32 {
        &self.held[usize::from(shard.0)]
    }

    /// What goes back and forth with a new peer, to which so many lanes lead, and from which so many come.
    pub(super) fn returned(&self, lanes_out: usize, lanes_in: usize) -> Returned {
        Returned::new(lanes_out, lanes_in, &self.refusals)
    }

    /// Whether nothing is taken from a peer for this target, because something that it had sent before for
    /// its shard went back and it has not seen that.
    pub(crate) fn refuses(&self, session: &Session, target: u64) -> bool {
        self.refusals.load(Ordering::Relaxed) > 0
            && self.peer(session).is_some_and(|peer| peer.returned.refuses(target))
    }

    /// The peer of a session, as long as that is the one with it.
    pub(crate) fn peer(&self, session: &Session) -> Option<Arc<Peer>> {
        let peers = self.peers.load();
        let peer = peers.get(session.peer().name.as_str())?;
        (peer.session == *session).then(|| Arc::clone(peer))
    }

    /// All peers.
    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.load().values().map(Arc::clone).collect()
    }

    /// Whether shards of a type's entities are handed over, instead of each node having all.
    pub(crate) fn hands_over(&self, actor_type: WireId) -> bool {
        !self.routes.load().of(actor_type).is_local_first
    }

    /// Whether this node takes in messages for the entities of a type in a shard.
    pub(crate) fn owns_shard(&self, actor_type: WireId, shard: Shard) -> bool {
        self.routes.load().of(actor_type).open.has(shard) || sabotage::has(Bug::TakenWithoutShard)
    }

    /// Whether it has any shard, open or sealed.
    pub(crate) fn owns_something(&self) -> bool {
        self.routes.load().has_something
    }

    /// View and table, as they are now.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// The routes change. Types that were placed since they were decided go on waiting.
    pub(crate) fn set_routes(&self, mut routes: Routes) {
        let sites = self.sites();
        for actor_type in sites.keys() {
            routes.apart.entry(*actor_type).or_default();
        }
        self.routes.store(Arc::new(routes));
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(sites);
        self.tell_of_change();
    }

    fn sites(&self) -> MutexGuard<'_, BTreeMap<WireId, Site>> {
        // Only this file's own code runs under this lock, and a site is noted in one step.
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other end of a session that has begun.
    pub(crate) fn add_peer(&self, peer: Peer) {
        let mut peers = BTreeMap::clone(&self.peers.load());
        peers.insert(Arc::clone(&peer.id.name), Arc::new(peer));
        self.peers.store(Arc::new(peers));
        self.tell_of_change();
    }

    /// A session has ended.
    pub(crate) fn remove_peer(&self, session: &Session) {
        let mut peers = BTreeMap::clone(&self.peers.load());
        peers.retain(|_, peer| peer.session != *session);
        self.peers.store(Arc::new(peers));
        self.tell_of_change();
    }

    /// Nothing is sent to other nodes any more; what was sent may still be settled, or come back.
    pub(crate) fn stop_sending(&self) {
        self.has_stopped.store(true, Ordering::Release);
        self.tell_of_change();
    }

    /// Those that wait on their way.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Has whoever waits look again.
    pub(super) fn wake_waiters(&self) {
        self.lines.wake_all();
    }

    /// Has whoever waits look again for whom there may be a way now.
    fn tell_of_change(&self) {
        self.lines.wake_nodes();
        self.lines.wake(|Aim { actor_type, target }| {
            !matches!(self.to_shard(actor_type, Shard::of(target)), Route::Later)
        });
    }
}

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing")
            .field("local", &self.local)
            .field("routes", &*self.routes.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_this_node_that_is_over_has_no_actors() {
        let id = |incarnation| NodeId { name: "n".into(), incarnation };
        let routing = Routing::new(id(2), Arc::new(View { version: 1, members: Vec::new() }));
        assert!(matches!(routing.to_node(&id(2)), Route::Here));
        for other in [1, 3] {
            let route = routing.to_node(&id(other));
            assert!(matches!(route, Route::Nowhere(RejectReason::NoSuchActor)), "{route:?}");
        }
    }
}
