//! Starting a pool.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicUsize},
};

use arc_swap::ArcSwap;

use super::{
    LIMIT, Resize, Router, Routing, Shared, Whose,
    pool::{Make, Pool},
};
use crate::{
    actor::{ClusterContext, Overflow, RestartPolicy, bound::Bound},
    node::{NodeCore, RunsOn, SpawnError},
    remote_actor::RemoteActor,
};

/// A pool about to be started; made by [`Node::spawn_router`](crate::Node::spawn_router).
#[must_use = "a pool lives once it is started"]
pub struct RouterBuilder<A: RemoteActor> {
    core: Arc<NodeCore>,
    make: Make<A>,
    routees: usize,
    routing: Routing,
    policy: RestartPolicy,
    bound: Bound,
    resize: Option<Resize>,
    runs_on: RunsOn,
}

impl<A: RemoteActor> RouterBuilder<A> {
    pub(crate) fn new(
        core: Arc<NodeCore>,
        make: impl Fn(&mut ClusterContext<A>) -> A + Send + Sync + 'static,
    ) -> Self {
        let routees = core.arbiters().len();
        Self {
            core,
            make: Arc::new(make),
            routees,
            routing: Routing::default(),
            policy: RestartPolicy::default(),
            bound: Bound::of::<A>(),
            resize: None,
            runs_on: RunsOn::Next,
        }
    }

    /// How many routees there are, 1 to 1,024. Default: one for each arbiter. They are spread over the
    /// arbiters.
    pub fn routees(mut self, count: usize) -> Self {
        self.routees = count;
        self
    }

    /// How messages without a key are routed. Default: [`Routing::RoundRobin`].
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    /// Has the pool grow and shrink with its load. Default: it keeps its size.
    pub fn resize(mut self, resize: Resize) -> Self {
        self.resize = Some(resize);
        self
    }

    /// Gives each routee a thread of its own, as
    /// [`SpawnBuilder::own_thread`](crate::SpawnBuilder::own_thread) does: for handlers that compute for
    /// long, or block. A node has at most 256 such threads.
    pub fn own_threads(mut self) -> Self {
        self.runs_on = RunsOn::OwnThread;
        self
    }

    /// What is to be done when a routee fails. Default: [`RestartPolicy::default`]. One that its policy
    /// gives up is replaced.
    pub fn supervise(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How many accepted messages may wait for each routee. Default: what its type states.
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.bound.capacity = messages;
        self
    }

    /// What becomes of a message for which its routee has no room. Default: what its type states.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.bound.overflow = policy;
        self
    }

    /// Starts the routees.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: not all could be started, and those that were end.
    pub fn start(self) -> Result<Router<A>, SpawnError> {
        let (router, started) = self.begin(Whose::Program);
        started.map(|()| router)
    }

    /// As [`start`](Self::start), for the workers that are the node's own; what can't be started now is
    /// tried again with later messages.
    pub(crate) fn start_as_nodes_own(self) -> Router<A> {
        self.begin(Whose::Node).0
    }

    fn begin(self, whose: Whose) -> (Router<A>, Result<(), SpawnError>) {
        let Self { core, make, routees, routing, policy, bound, resize, runs_on } = self;
        let router = Router(Arc::new(Shared {
            core,
            routing,
            table: ArcSwap::from_pointee(Vec::new()),
            turn: AtomicUsize::new(0),
            whose,
            pool: Some(Pool::new(make, policy, bound, resize, runs_on)),
        }));
        let started = router.resize(routees);
        (router, started)
    }
}

impl<A: RemoteActor> Router<A> {
    /// Has a pool of so many routees, 1 to 1,024 or within its [`Resize`], from now on. Those that are too
    /// many get no more messages, and end once they have finished what they have; what comes to their
    /// own references then is rejected as *passivated*. A group keeps its size.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: not all could be started. The others are tried again with later messages.
    pub fn resize(&self, routees: usize) -> Result<(), SpawnError> {
        match &self.0.pool {
            Some(pool) => pool.resize(&self.0, routees.min(LIMIT)),
            None => Ok(()),
        }
    }

    /// Stops a pool: its routees stop at their next turn, hooks included, and none is started any more. A
    /// group's routees are others' to stop.
    pub fn stop(&self) {
        if let Some(pool) = &self.0.pool {
            pool.stop(&self.0);
        }
    }
}

impl<A: RemoteActor> fmt::Debug for RouterBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder")
            .field("actor", &A::NAME)
            .field("routees", &self.routees)
            .field("routing", &self.routing)
            .finish_non_exhaustive()
    }
}
