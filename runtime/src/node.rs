//! Nodes: one running member of an actor system, with its arbiters and the actors on them.

mod arbiter;
mod builder;
mod core;
mod dead_letters;
mod spawn;
mod threads;
mod types;

use std::{any::Any, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::{
    builder::{NodeBuilder, StartError},
    dead_letters::DeadLetterCounts,
    spawn::{SpawnBuilder, SpawnError},
    threads::{LocalThreads, OsThreads, ThreadMain, Threads},
};
pub(crate) use self::{core::NodeCore, dead_letters::DeadLetters};
use crate::{actor::ClusterContext, remote_actor::RemoteActor};

/// One run of a node's process: its name, and the number of this run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// The name, unique in the cluster.
    pub name: Arc<str>,
    /// The run: a later one of the same name has a higher number.
    pub incarnation: u64,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.incarnation)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A handle to a running node. Cloning it is cheap, and all clones are the same node.
///
/// Several nodes can run in one process; nothing about them is global. A node runs until
/// [`shutdown`](Self::shutdown); dropping handles does not stop it.
#[derive(Clone)]
pub struct Node(Arc<NodeCore>);

impl Node {
    /// Begins a node's configuration.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    pub(crate) fn from_core(core: Arc<NodeCore>) -> Self {
        Self(core)
    }

    /// The node's name and incarnation.
    pub fn id(&self) -> &NodeId {
        self.0.id()
    }

    /// How many arbiters run the node's actors.
    pub fn arbiters(&self) -> usize {
        self.0.arbiters().len()
    }

    /// How many messages were rejected or ended unknown with nobody waiting for them, by reason.
    pub fn dead_letters(&self) -> DeadLetterCounts {
        self.0.dead_letters().counts()
    }

    /// How many actors live on the node.
    pub fn actor_count(&self) -> usize {
        self.0.actor_count()
    }

    /// Begins to spawn an actor whose instances `factory` makes: the first one, and a fresh one
    /// after each failure.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{prelude::*, RestartPolicy, SpawnError};
    /// # fn example<A: RemoteActor + Default>(node: &Node) -> Result<ActorRef<A>, SpawnError> {
    /// let policy = RestartPolicy { limit: 3, ..RestartPolicy::default() };
    /// node.spawn(|_ctx| A::default()).supervise(policy).start()
    /// # }
    /// ```
    pub fn spawn<A, F>(&self, factory: F) -> SpawnBuilder<A>
    where
        A: RemoteActor,
        F: FnMut(&mut ClusterContext<A>) -> A + Send + 'static,
    {
        SpawnBuilder::new(Arc::clone(&self.0), Box::new(factory))
    }

    /// Runs `read` as part of this node, so that references can be deserialised in it.
    pub fn scope<T>(&self, read: impl FnOnce() -> T) -> T {
        let _scope = NodeCore::enter(&self.0);
        read()
    }

    /// Stops all actors, hooks included, and then the arbiters.
    ///
    /// What is in a mailbox is rejected. Calling it again waits for the same end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the shutdown running.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(self.id()).finish()
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
