//! Configuring and starting a node.

use std::{
    error::Error,
    fmt, io,
    num::{NonZeroU16, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use actix_cluster_transport::{Clock, Random};
use tokio::sync::oneshot;

use super::{
    EntitySettings, Node, NodeId, blocking,
    blueprint::Blueprint,
    entities,
    kinds::{Hosting, Kinds},
    threads::{OsThreads, Threads},
    watchdog,
    workers::WorkerPlans,
};
use crate::{
    actor::{
        ClusterContext,
        loading::{self, Made},
        panic,
    },
    cluster::{Birth, ClusterConfig, JoinError, Manifest, Plan},
    interceptor::{Interceptor, Interceptors},
    remote_actor::{Collision, Entity, EntityState, RemoteActor},
    router::Resize,
};

/// A node about to be started; made by [`Node::builder`].
#[derive(Debug)]
#[must_use = "a node runs once it is started"]
pub struct NodeBuilder {
    name: Option<Arc<str>>,
    arbiters: Option<NonZeroUsize>,
    clock: Clock,
    seed: Option<u64>,
    threads: Arc<dyn Threads>,
    blocking_threads: NonZeroUsize,
    blocked_after: Duration,
    entities_limit: NonZeroUsize,
    kinds: Kinds,
    workers: WorkerPlans,
    cluster: Option<ClusterConfig>,
    collision: Option<Collision>,
    interceptors: Interceptors,
    panic_hook: PanicHook,
}

/// What becomes of the process's panic hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PanicHook {
    Extend,
    LeaveAlone,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            name: None,
            arbiters: None,
            clock: Clock::default(),
            seed: None,
            threads: Arc::new(OsThreads),
            blocking_threads: blocking::DEFAULT_THREADS,
            blocked_after: watchdog::DEFAULT_THRESHOLD,
            entities_limit: entities::DEFAULT_LIMIT,
            kinds: Kinds::default(),
            workers: WorkerPlans::default(),
            cluster: None,
            collision: None,
            interceptors: Interceptors::default(),
            panic_hook: PanicHook::Extend,
        }
    }
}

impl NodeBuilder {
    /// The node's name, unique in its cluster: a DNS name in lower case. Default: what the
    /// cluster's configuration says, or else `node`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(Arc::from(name));
        self
    }

    /// How many entities are to be active on the node at a time. Default 1,048,576, which takes about
    /// 1 GiB besides what the entities themselves hold.
    ///
    /// When there are more, those that have had no message for longest are passivated, in one go for a
    /// sixteenth of the limit, whatever their type says about idleness; but not those of types that are
    /// never idle ([`EntitySettings::passivate_after`](super::EntitySettings::passivate_after)). Until
    /// they have ended there are some more than the limit; at twice the limit, messages for entities that
    /// are not active are rejected as [`Full`](crate::RejectReason::Full).
    ///
    /// Too small, and entities are made anew for every message; too large, and the node runs out of
    /// memory.
    pub fn active_entities(mut self, limit: NonZeroUsize) -> Self {
        self.entities_limit = limit;
        self
    }

    /// Registers an actor type: other nodes may send to its actors here. Names that collide are
    /// found at the start.
    pub fn actor<A: RemoteActor>(self) -> Self {
        self.register::<A>(None)
    }

    /// Registers an entity type and says how an entity is made from its key, so that this node can
    /// host it. Every node with a weight has to host all entity types that
    /// [may be](crate::Site) on it. The last call for a type counts.
    ///
    /// For a type with `state = loaded` it does not compile: such a type is hosted by
    /// [`entity_async`](Self::entity_async).
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # #[derive(RemoteActor, Default)]
    /// # #[remote(name = "bank.Account", handles(), placement = Eventual, state = volatile)]
    /// # struct Account;
    /// # impl Actor for Account { type Context = ClusterContext<Self>; }
    /// let builder = Node::builder().entity(|_key| Account::default());
    /// ```
    pub fn entity<A: Entity>(self, factory: impl Fn(&str) -> A + Send + Sync + 'static) -> Self {
        self.entity_with(EntitySettings::default(), factory)
    }

    /// As [`entity`](Self::entity), with settings of the type's own.
    pub fn entity_with<A: Entity>(
        self,
        settings: EntitySettings,
        factory: impl Fn(&str) -> A + Send + Sync + 'static,
    ) -> Self {
        const {
            let is_loaded = matches!(A::STATE, EntityState::Loaded);
            assert!(!is_loaded, "entities with `state = loaded` are hosted by `entity_async`");
        }
        let factory = move |key: &str| Made::Ready(factory(key));
        self.register::<A>(Some(Hosting { factory: Arc::new(factory), settings }))
    }

    /// As [`entity`](Self::entity), for entities that have to load before they can serve: `factory`
    /// gives the future of the entity of a key.
    ///
    /// The load runs on the entity's arbiter, beside other actors; messages wait in the mailbox
    /// meanwhile, within its bound. If it ends with an error, or panics, all that wait are rejected as
    /// [`LoadFailed`](crate::RejectReason::LoadFailed). So is what comes during the wait that follows,
    /// which grows with each failure; the first message after it has the entity loaded again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # #[derive(RemoteActor)]
    /// # #[remote(name = "bank.Account", handles(), placement = Eventual, state = volatile)]
    /// # struct Account(String);
    /// # impl Actor for Account { type Context = ClusterContext<Self>; }
    /// # async fn read(key: &str) -> std::io::Result<String> { Ok(key.to_owned()) }
    /// let builder = Node::builder()
    ///     .entity_async(|key| async move { read(&key).await.map(Account) });
    /// ```
    pub fn entity_async<A, F, L, E>(self, factory: F) -> Self
    where
        A: Entity,
        F: Fn(String) -> L + Send + Sync + 'static,
        L: Future<Output = Result<A, E>> + 'static,
        E: Into<Box<dyn Error>>,
    {
        self.entity_async_with(EntitySettings::default(), factory)
    }

    /// As [`entity_async`](Self::entity_async), with settings of the type's own.
    pub fn entity_async_with<A, F, L, E>(self, settings: EntitySettings, factory: F) -> Self
    where
        A: Entity,
        F: Fn(String) -> L + Send + Sync + 'static,
        L: Future<Output = Result<A, E>> + 'static,
        E: Into<Box<dyn Error>>,
    {
        let factory = move |key: &str| Made::Loading(loading::load(factory(key.to_owned())));
        self.register::<A>(Some(Hosting { factory: Arc::new(factory), settings }))
    }

    /// Has the node run stateless workers of a type: actors any of which will do, and which are found by
    /// their type ([`Node::workers`]). As many as the load asks for, within [`Resize`]; always on this node,
    /// so that to reach one costs no way over the network. The least loaded one gets the message.
    ///
    /// The last call for a type counts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{Resize, prelude::*};
    /// # fn example<Painter: RemoteActor + Default>() {
    /// let most = std::thread::available_parallelism().map_or(4, |cores| cores.get());
    /// let resize = Resize { routees: 1..=most, ..Resize::default() };
    /// let builder = Node::builder().workers(resize, |_| Painter::default());
    /// # }
    /// ```
    pub fn workers<A, F>(mut self, resize: Resize, factory: F) -> Self
    where
        A: RemoteActor,
        F: Fn(&mut ClusterContext<A>) -> A + Send + Sync + 'static,
    {
        self.workers.add(resize, factory);
        self.actor::<A>()
    }

    fn register<A: RemoteActor>(mut self, hosting: Option<Hosting<A>>) -> Self {
        if let Err(collision) = self.kinds.register::<A>(hosting) {
            self.collision.get_or_insert(collision);
        }
        self
    }

    /// Adds an interceptor, which sees all that the node sends and handles.
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.add(interceptor);
        self
    }

    /// Makes the node a member of a cluster. Without it, the node is alone.
    pub fn cluster(mut self, config: ClusterConfig) -> Self {
        self.cluster = Some(config);
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

    /// How many threads [`Node::spawn_blocking`] has at most. Default 64.
    ///
    /// They are made when there is work for one more, and kept until the node ends. Too few, and work
    /// waits for other work; too many take memory, and the cores from the arbiters.
    pub fn blocking_threads(mut self, count: NonZeroUsize) -> Self {
        self.blocking_threads = count;
        self
    }

    /// Leaves the process's panic hook alone. By default the first node of a process puts one in
    /// front of it, which notes where an actor panicked and then calls the one it found; panics
    /// outside of actors pass through it unseen.
    ///
    /// Without it, panics are caught all the same, but [`ExitReason::Panicked`] and the logs have no
    /// location. So it is too if the program sets a hook of its own later that does not call the one
    /// before.
    ///
    /// [`ExitReason::Panicked`]: crate::ExitReason::Panicked
    pub fn without_panic_hook(mut self) -> Self {
        self.panic_hook = PanicHook::LeaveAlone;
        self
    }

    /// How long a turn may block its thread before it is reported: by a warning that names actor and
    /// message, while it still blocks, and by [`Node::blocked_turns`]. Default 1 s, exact to a
    /// quarter; at least 4 ms in effect. [`Duration::MAX`] reports nothing.
    ///
    /// All actors of an arbiter wait for such a turn, and nothing can interrupt it: what blocks or
    /// computes for long belongs on another thread. Too short, and busy machines report turns that
    /// only wait for a core. [`LocalThreads`](super::LocalThreads) have nobody to look.
    pub fn blocked_after(mut self, threshold: Duration) -> Self {
        self.blocked_after = threshold;
        self
    }

    /// Starts the node; with a cluster, it is ready once it has joined.
    ///
    /// In a program built with `panic = "abort"` it starts as well, and an error in the log says what
    /// is lost: a panic in one actor ends the process.
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
            None => std::thread::available_parallelism()
                .unwrap_or(NonZeroUsize::MIN)
                .min(const { NonZeroUsize::new(ARBITERS_LIMIT).expect("not zero") }),
        };
        if count.get() > ARBITERS_LIMIT {
            return Err(StartError::TooManyArbiters { count: count.get() });
        }
        if let Some(collision) = self.collision {
            return Err(StartError::Collision(collision));
        }
        if self.panic_hook == PanicHook::Extend {
            panic::install_hook();
        }
        if let Some(lost) = panic::warning(panic::UNWINDS) {
            tracing::error!("{lost}");
        }
        let configured = self.cluster.as_ref().and_then(ClusterConfig::node_name);
        let name = self.name.unwrap_or_else(|| Arc::from(configured.unwrap_or("node")));
        let mut random = self.seed.map_or_else(Random::from_os, Random::from_seed);
        let manifest = Manifest::new(self.kinds.messages());
        let birth = match self.cluster {
            Some(config) => {
                let config = config.validate(&name, lanes(count)).map_err(JoinError::Config)?;
                let (born, birth) = oneshot::channel();
                let plan = Plan {
                    config,
                    manifest_hash: manifest.hash(),
                    name: Arc::clone(&name),
                    clock: self.clock.clone(),
                    random: random.fork(),
                    born,
                };
                Some(bear(&*self.threads, plan, birth).await?)
            }
            None => None,
        };
        let (member, joining) =
            birth.map(|Birth { member, core, joined }| (member, (core, joined))).unzip();
        let id = member.as_ref().map_or(NodeId { name, incarnation: 1 }, |m| m.id.clone());
        let blueprint = Arc::new(Blueprint {
            kinds: self.kinds,
            workers: self.workers,
            interceptors: self.interceptors,
            manifest,
            clock: self.clock,
            threads: self.threads,
            arbiters: count,
            blocking_threads: self.blocking_threads,
            blocked_after: self.blocked_after,
            entities_limit: self.entities_limit,
        });
        let life = blueprint.first(id, member, random).map_err(StartError::Thread)?;
        if let Some((take_core, joined)) = joining {
            let interrupted = |_| JoinError::Interrupted;
            let core = Arc::clone(life.core());
            take_core.send(core).map_err(|_| JoinError::Interrupted)?;
            joined.await.map_err(interrupted)??;
        }
        let node = Node::from_core(Arc::clone(life.core()));
        life.begin();
        Ok(node)
    }
}

/// A lane for each arbiter, so that each lane's frames are one arbiter's.
fn lanes(arbiters: NonZeroUsize) -> NonZeroU16 {
    NonZeroU16::try_from(
        arbiters.min(const { NonZeroUsize::new(ARBITERS_LIMIT).expect("not zero") }),
    )
    .expect("the limit fits")
}

/// Starts the cluster's thread, and waits until it knows who the node is to be.
async fn bear(
    threads: &dyn Threads,
    plan: Plan,
    birth: oneshot::Receiver<Result<Birth, JoinError>>,
) -> Result<Birth, StartError> {
    let thread = format!("{}-cluster", plan.name);
    threads
        .run(thread, Box::new(move || Box::pin(crate::cluster::run(plan))))
        .map_err(StartError::Thread)?;
    Ok(birth.await.map_err(|_| JoinError::Interrupted)??)
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
    /// The node did not join its cluster.
    Join(JoinError),
}

impl From<JoinError> for StartError {
    fn from(error: JoinError) -> Self {
        Self::Join(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyArbiters { count } => {
                write!(f, "{count} arbiters asked for; a node has at most {ARBITERS_LIMIT}")
            }
            Self::Collision(_) => f.write_str("two registered names collide"),
            Self::Thread(_) => f.write_str("a thread could not be made"),
            Self::Join(_) => f.write_str("the node did not join its cluster"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Thread(source) => Some(source),
            Self::Collision(source) => Some(source),
            Self::Join(source) => Some(source),
            Self::TooManyArbiters { .. } => None,
        }
    }
}
