//! What all lives of a node are made of, and how one is made.

use std::{io, num::NonZeroUsize, sync::Arc, time::Duration};

use actix_cluster_transport::{Clock, Random};

use super::{
    DeadLetters, Names, NodeCore, NodeId,
    arbiter::Arbiter,
    blocking::BlockingPool,
    core::{Inheritance, Parts},
    kinds::Kinds,
    lives::Lives,
    passivation,
    threads::Threads,
    watchdog,
    workers::WorkerPlans,
};
use crate::{
    cluster::{Cluster, Manifest, Member},
    interceptor::Interceptors,
};

pub(crate) struct Blueprint {
    pub(super) kinds: Kinds,
    pub(super) workers: WorkerPlans,
    pub(super) interceptors: Interceptors,
    pub(super) manifest: Manifest,
    pub(super) clock: Clock,
    pub(super) threads: Arc<dyn Threads>,
    pub(super) arbiters: NonZeroUsize,
    pub(super) blocking_threads: NonZeroUsize,
    pub(super) blocked_after: Duration,
    pub(super) entities_limit: NonZeroUsize,
}

/// A life that has not begun yet; its arbiters end if it never does, and it is no member any more.
pub(crate) struct Unborn {
    core: Arc<NodeCore>,
    arbiters: Starting,
}

/// Arbiters that nobody has taken yet: they end if nobody does.
struct Starting(Vec<Arbiter>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.iter().for_each(Arbiter::close);
    }
}

impl Blueprint {
    /// The first life of a node.
    pub(super) fn first(
        self: &Arc<Self>,
        id: NodeId,
        member: Option<Member>,
        random: Random,
    ) -> io::Result<Unborn> {
        let (threads, name) = (Arc::clone(&self.threads), Arc::clone(&id.name));
        let blocking = BlockingPool::new(threads, name, self.blocking_threads);
        let names = Names::of(&self.kinds);
        let inheritance = Inheritance {
            lives: Arc::new(Lives::new(id.clone())),
            blocking: Arc::new(blocking),
            dead_letters: DeadLetters::new(id.clone(), self.clock.clone(), names),
        };
        let cluster = member.map(|member| Cluster::new(member, self.manifest.clone(), None));
        self.life(id, cluster, random, inheritance)
    }

    /// A life that is to follow another one, as this member.
    pub(crate) fn next(former: &NodeCore, member: Member) -> io::Result<Unborn> {
        let (blueprint, id) = (former.blueprint(), member.id.clone());
        let manifest = blueprint.manifest.clone();
        let cluster = Cluster::new(member, manifest, former.cluster().map(|former| &**former));
        let random = former.with_random(Random::fork);
        blueprint.life(id.clone(), Some(cluster), random, former.inheritance(id))
    }

    fn life(
        self: &Arc<Self>,
        id: NodeId,
        cluster: Option<Cluster>,
        random: Random,
        inheritance: Inheritance,
    ) -> io::Result<Unborn> {
        for (actor_type, site) in self.kinds.sites() {
            cluster.iter().for_each(|cluster| cluster.place(actor_type, site));
        }
        let mut starting = Starting(Vec::new());
        for n in 0..self.arbiters.get() {
            let name = format!("{}-arbiter-{n}", id.name);
            starting.0.push(Arbiter::start(&*self.threads, n, name)?);
        }
        let core = Arc::new(NodeCore::new(Parts {
            id,
            blueprint: Arc::clone(self),
            cluster: cluster.map(Arc::new),
            random,
            arbiters: starting.0.clone(),
            inheritance,
        }));
        watchdog::start(&core, &*self.threads, self.blocked_after)?;
        Ok(Unborn { core, arbiters: starting })
    }
}

impl Unborn {
    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        &self.core
    }

    /// Begins the life: what its node runs by itself is started.
    pub(crate) fn begin(mut self) {
        let core = &self.core;
        core.workers().start(core, &core.blueprint().workers);
        passivation::start(core);
        self.arbiters.0.clear();
    }
}

impl Drop for Unborn {
    /// Nobody wants the node any more: what it has in the cluster by now ends with it.
    fn drop(&mut self) {
        let has_begun = self.arbiters.0.is_empty();
        if let Some(cluster) = self.core.cluster().filter(|_| !has_begun) {
            cluster.close();
        }
    }
}

#[cfg(test)]
impl NodeCore {
    /// A node without threads, for tests of what only needs to be on some.
    pub(crate) fn for_tests() -> Arc<Self> {
        let (id, threads) = (NodeId { name: "test".into(), incarnation: 1 }, super::LocalThreads);
        let blueprint = Arc::new(Blueprint {
            kinds: Kinds::default(),
            workers: WorkerPlans::default(),
            interceptors: Interceptors::default(),
            manifest: Manifest::new(std::iter::empty()),
            clock: Clock::default(),
            threads: Arc::new(threads),
            arbiters: NonZeroUsize::MIN,
            blocking_threads: NonZeroUsize::MIN,
            blocked_after: Duration::MAX,
            entities_limit: NonZeroUsize::MIN,
        });
        let blocking =
            BlockingPool::new(Arc::new(threads), Arc::clone(&id.name), NonZeroUsize::MIN);
        let inheritance = Inheritance {
            lives: Arc::new(Lives::new(id.clone())),
            blocking: Arc::new(blocking),
            dead_letters: DeadLetters::default(),
        };
        let (cluster, random, arbiters) = (None, Random::from_seed(1), Vec::new());
        Arc::new(Self::new(Parts { id, blueprint, cluster, random, arbiters, inheritance }))
    }
}
