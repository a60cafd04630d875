//! Where a message goes: the sessions with other nodes, and the table of shards, as they are now.
//!
//! Invariant: table and view belong together and are swapped as one. Whoever waits for a route is
//! woken at each change, and looks again.
//! Knows no message and no actor. Written by the cluster's thread, and by whoever first speaks of a
//! type that states where its entities may be; read by every sender.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use actix_cluster_transport::{
    Session,
    wait_list::{Ticket, WaitList},
};
use arc_swap::ArcSwap;

use super::{
    membership::{Profile, View},
    placement::{Candidate, Minority, Shard, Site, Table},
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
}

/// A view, and the placement that follows from it.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) view: Arc<View>,
    /// Of the types whose entities may be anywhere.
    pub(crate) table: Table,
    /// Of the others.
    apart: BTreeMap<WireId, Apart>,
    /// Who may own something at all.
    owners: Vec<Owner>,
    /// Whether this node is not on the smaller side of a partition.
    pub(crate) has_majority: bool,
}

/// A node that may own something, and what it says of itself.
pub(crate) type Owner = (Candidate, Arc<Profile>);

/// The placement of a type that states where its entities may be.
#[derive(Clone, Debug)]
struct Apart {
    site: Site,
    table: Table,
}

impl Routes {
    /// The routes of types that state nothing; [`Routing`] adds the others.
    pub(crate) fn new(view: Arc<View>, owners: Vec<Owner>, has_majority: bool) -> Self {
        let table = table_of(&Site::ANYWHERE, &owners);
        Self { view, table, apart: BTreeMap::new(), owners, has_majority }
    }

    /// Whom a node asks for an entity; `None` while nobody is to have it.
    pub(crate) fn owner<'a>(&'a self, asker: &'a NodeId, key: &EntityKey) -> Option<&'a NodeId> {
        self.owner_of(asker, key.actor_type(), key.shard())
    }

    fn owner_of<'a>(
        &'a self,
        asker: &'a NodeId,
        actor_type: WireId,
        shard: Shard,
    ) -> Option<&'a NodeId> {
        let Some(Apart { site, table }) = self.apart.get(&actor_type) else {
            return self.table.owner(shard).filter(|_| self.has_majority);
        };
        if site.minority == Minority::Stop && !self.has_majority {
            return None;
        }
        if site.is_local_first() && table.has(asker) { Some(asker) } else { table.owner(shard) }
    }

    /// Whether a node owns anything.
    fn owns_something(&self, node: &NodeId) -> bool {
        let apart = self.apart.values().map(|apart| &apart.table);
        std::iter::once(&self.table).chain(apart).any(|table| table.has(node))
    }
}

fn table_of(site: &Site, owners: &[Owner]) -> Table {
    site.table(owners.iter().map(|(candidate, profile)| (candidate, &**profile)))
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

#[derive(Debug)]
pub(crate) struct Routing {
    local: NodeId,
    peers: ArcSwap<BTreeMap<Arc<str>, Arc<Peer>>>,
    routes: ArcSwap<Routes>,
    /// What types state, of those that do. Locked while routes are made of it.
    sites: Mutex<BTreeMap<WireId, Site>>,
    waiters: Mutex<WaitList>,
}

impl Routing {
    pub(crate) fn new(local: NodeId, view: Arc<View>) -> Self {
        Self {
            local,
            peers: ArcSwap::default(),
            routes: ArcSwap::from_pointee(Routes::new(view, Vec::new(), true)),
            sites: Mutex::default(),
            waiters: Mutex::default(),
        }
    }

    /// The route to an actor of a node.
    pub(crate) fn to_node(&self, node: &NodeId) -> Route {
        if *node == self.local {
            return Route::Here;
        }
        match self.peers.load().get(&node.name) {
            Some(peer) if peer.id == *node => Route::There(Arc::clone(peer)),
            // That run of the node is over, and its actors with it.
            Some(peer) if peer.id.incarnation > node.incarnation => {
                Route::Nowhere(RejectReason::NoSuchActor)
            }
            _ if node.name == self.local.name => Route::Nowhere(RejectReason::NoSuchActor),
            _ if self.routes.load().view.contains(node) => Route::Later,
            _ => Route::Nowhere(RejectReason::Unreachable),
        }
    }

    /// Places a type as it states. A type that nobody has told of here may be anywhere.
    pub(crate) fn place(&self, actor_type: WireId, site: Site) {
        if site == Site::ANYWHERE || self.routes.load().apart.contains_key(&actor_type) {
            return;
        }
        let mut sites = self.sites();
        sites.insert(actor_type, site);
        let Routes { view, owners, has_majority, .. } = &**self.routes.load();
        self.store(&sites, Routes::new(Arc::clone(view), owners.clone(), *has_majority));
    }

    /// Places all types that the routes of a former life place.
    pub(super) fn place_as(&self, former: &Self) {
        let sites = former.sites().clone();
        sites.into_iter().for_each(|(actor_type, site)| self.place(actor_type, site));
    }

    /// The route to an entity.
    pub(crate) fn to_entity(&self, key: &EntityKey) -> Route {
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
        match self.peers.load().get(&owner.name) {
            Some(peer) if peer.id == *owner => Route::There(Arc::clone(peer)),
            _ => Route::Later,
        }
    }

    /// Whether an entity belongs on this node now.
    pub(crate) fn owns(&self, key: &EntityKey) -> bool {
        self.owns_shard(key.actor_type(), key.shard())
    }

    /// Whether the entities of a type in a shard do.
    pub(crate) fn owns_shard(&self, actor_type: WireId, shard: Shard) -> bool {
        self.routes.load().owner_of(&self.local, actor_type, shard) == Some(&self.local)
    }

    /// Whether any does.
    pub(crate) fn owns_something(&self) -> bool {
        self.routes.load().owns_something(&self.local)
    }

    /// View and table, as they are now.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    pub(crate) fn set_routes(&self, routes: Routes) {
        self.store(&self.sites(), routes);
        self.wake_waiters();
    }

    /// Places the types of these sites as well.
    fn store(&self, sites: &BTreeMap<WireId, Site>, mut routes: Routes) {
        let owners = &routes.owners;
        let apart = |(id, site): (&WireId, &Site)| {
            (*id, Apart { site: *site, table: table_of(site, owners) })
        };
        routes.apart = sites.iter().map(apart).collect();
        self.routes.store(Arc::new(routes));
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
        self.wake_waiters();
    }

    /// A session has ended.
    pub(crate) fn remove_peer(&self, session: &Session) {
        let mut peers = BTreeMap::clone(&self.peers.load());
        peers.retain(|_, peer| peer.session != *session);
        self.peers.store(Arc::new(peers));
        self.wake_waiters();
    }

    /// Nothing is sent to other nodes any more; what was sent may still be settled.
    pub(crate) fn stop_sending(&self) {
        self.peers.store(Arc::default());
        self.wake_waiters();
    }

    /// Waits for the next change; `ticket` is given up, whatever became of it. `None` when too many
    /// wait.
    pub(crate) fn wait(&self, ticket: Option<Ticket>, waker: &Waker) -> Option<Ticket> {
        let mut waiters = self.lock();
        if let Some(ticket) = ticket {
            waiters.leave(ticket);
        }
        waiters.join(waker)
    }

    /// Gives up waiting.
    pub(crate) fn leave(&self, ticket: Ticket) {
        self.lock().leave(ticket);
    }

    /// Has whoever waits for a route look again.
    pub(super) fn wake_waiters(&self) {
        let waiters = self.lock().drain();
        waiters.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, WaitList> {
        // Only the list's own code runs under this lock, so a poisoned one guards a whole list.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
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
