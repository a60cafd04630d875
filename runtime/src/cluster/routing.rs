//! Where a message goes: the sessions with other nodes, and the table of shards, as they are now.
//!
//! Invariant: table and view belong together and are swapped as one. Whoever waits for a route is
//! woken at each change, and looks again.
//! Knows no message and no actor. Written by the cluster's thread alone; read by every sender.

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
    membership::View,
    placement::{Shard, Table},
    understood::Understood,
};
use crate::{node::NodeId, reference::RejectReason};

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
    pub(crate) table: Table,
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
    waiters: Mutex<WaitList>,
}

impl Routing {
    pub(crate) fn new(local: NodeId, view: Arc<View>) -> Self {
        Self {
            local,
            peers: ArcSwap::default(),
            routes: ArcSwap::from_pointee(Routes { view, table: Table::empty() }),
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
            _ if self.routes.load().view.contains(node) => Route::Later,
            _ => Route::Nowhere(RejectReason::Unreachable),
        }
    }

    /// The route to an entity of a shard.
    pub(crate) fn to_shard(&self, shard: Shard) -> Route {
        let routes = self.routes.load();
        let Some(owner) = routes.table.owner(shard) else { return Route::Later };
        if *owner == self.local {
            return Route::Here;
        }
        match self.peers.load().get(&owner.name) {
            Some(peer) if peer.id == *owner => Route::There(Arc::clone(peer)),
            _ => Route::Later,
        }
    }

    /// Whether this node owns a shard now.
    pub(crate) fn owns(&self, shard: Shard) -> bool {
        self.routes.load().table.owner(shard) == Some(&self.local)
    }

    /// View and table, as they are now.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    pub(crate) fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
        self.wake_waiters();
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

    fn wake_waiters(&self) {
        let waiters = self.lock().drain();
        waiters.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, WaitList> {
        // Only the list's own code runs under this lock, so a poisoned one guards a whole list.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
