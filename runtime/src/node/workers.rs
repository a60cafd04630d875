//! Stateless workers: of each type one pool on the node, which is found by the type.
//!
//! Invariant: a pool is there from the begin of the node's life to its end, and all of its routees are
//! here.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::NodeCore;
use crate::{
    actor::ClusterContext,
    message::WireId,
    remote_actor::RemoteActor,
    router::{Resize, Router, RouterBuilder, Routing},
};

type AnyRouter = Arc<dyn Any + Send + Sync>;

type Plan = Box<dyn Fn(&Arc<NodeCore>) -> AnyRouter + Send + Sync>;

/// The pools that a node is to have.
#[derive(Default)]
pub(super) struct WorkerPlans(BTreeMap<WireId, Plan>);

impl WorkerPlans {
    pub(super) fn add<A, F>(&mut self, resize: Resize, factory: F)
    where
        A: RemoteActor,
        F: Fn(&mut ClusterContext<A>) -> A + Send + Sync + 'static,
    {
        let factory = Arc::new(factory);
        let start = move |core: &Arc<NodeCore>| {
            let theirs = Arc::clone(&factory);
            let pool = RouterBuilder::new(Arc::clone(core), move |ctx: &mut _| theirs(ctx));
            let pool = pool.routees(*resize.routees.start()).resize(resize.clone());
            Arc::new(pool.routing(Routing::LeastLoaded).start_as_nodes_own()) as AnyRouter
        };
        self.0.insert(A::TYPE_ID, Box::new(start));
    }
}

/// The pools that a node has.
#[derive(Default)]
pub(crate) struct Workers(Mutex<BTreeMap<WireId, AnyRouter>>);

impl Workers {
    pub(super) fn start(&self, core: &Arc<NodeCore>, plans: &WorkerPlans) {
        let started = plans.0.iter().map(|(actor_type, start)| (*actor_type, start(core)));
        let started = started.collect();
        *self.lock() = started;
    }

    pub(crate) fn find<A: RemoteActor>(&self) -> Option<Router<A>> {
        self.lock().get(&A::TYPE_ID)?.downcast_ref().cloned()
    }

    /// Forgets all: a router holds its node.
    pub(super) fn clear(&self) {
        let pools = std::mem::take(&mut *self.lock());
        drop(pools);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WireId, AnyRouter>> {
        // Only map operations run under this lock, so a poisoned one guards a whole map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WorkerPlans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
