//! Configuring and starting a node.

use std::{fmt, io, num::NonZeroUsize, sync::Arc};

use actix_cluster_transport::{Clock, Random};

use super::{
    Node, NodeCore, NodeId,
    arbiter::Arbiter,
    threads::{OsThreads, Threads},
    types::Types,
};
use crate::remote_actor::{Collision, RemoteActor};

/// A node about to be started; made by [`Node::builder`].
#[derive(Debug)]
#[must_use = "a node runs once it is started"]
pub struct NodeBuilder {
    name: Arc<str>,
    arbiters: Option<NonZeroUsize>,
    clock: Clock,
    seed: Option<u64>,
    threads: Arc<dyn Threads>,
    types: Types,
    collision: Option<Collision>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            name: Arc::from("node"),
            arbiters: None,
            clock: Clock::default(),
            seed: None,
            threads: Arc::new(OsThreads),
            types: Types::default(),
            collision: None,
        }
    }
}

impl NodeBuilder {
    /// The node's name, unique in its cluster. Default `node`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Arc::from(name);
        self
    }

    /// Registers an actor type, so that names that collide are found at the start.
    pub fn actor<A: RemoteActor>(mut self) -> Self {
        if let Err(collision) = self.types.register::<A>() {
            self.collision.get_or_insert(collision);
        }
        self
    }

    /// How many arbiters run actors, at most 256. Default: one for each core.
    pub fn arbiters(mut self, count: NonZeroUsize) -> Self {
        self.arbiters = Some(count);
        self
    }

    /// The clock that all of the node's timers follow. Default: tokio's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Decides all of the node's random draws. Default: the operating system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where arbiters run. Default: [`OsThreads`].
    pub fn threads(mut self, threads: impl Threads) -> Self {
        self.threads = Arc::new(threads);
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    ///
    /// [`StartError`], which names the value and the rule.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops what had been started.
    pub async fn start(self) -> Result<Node, StartError> {
        let count = match self.arbiters {
            Some(count) => count,
            None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        };
        if count.get() > ARBITERS_LIMIT {
            return Err(StartError::TooManyArbiters { count: count.get() });
        }
        if let Some(collision) = self.collision {
            return Err(StartError::Collision(collision));
        }
        let arbiters = (0..count.get())
            .map(|n| Arbiter::start(&*self.threads, format!("{}-arbiter-{n}", self.name)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(StartError::Thread)?;
        let random = self.seed.map_or_else(Random::from_os, Random::from_seed);
        let id = NodeId { name: self.name, incarnation: 1 };
        Ok(Node::from_core(Arc::new(NodeCore::new(id, self.clock, random, arbiters))))
    }
}

/// The most arbiters of one node.
pub(crate) const ARBITERS_LIMIT: usize = 256;

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// More arbiters than a node may have.
    TooManyArbiters {
        /// How many were asked for.
        count: usize,
    },
    /// Two registered names collide.
    Collision(Collision),
    /// A thread could not be made.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyArbiters { count } => {
                write!(f, "{count} arbiters asked for; a node has at most {ARBITERS_LIMIT}")
            }
            Self::Collision(_) => f.write_str("two registered names collide"),
            Self::Thread(_) => f.write_str("a thread could not be made"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(source) => Some(source),
            Self::Collision(source) => Some(source),
            Self::TooManyArbiters { .. } => None,
        }
    }
}
