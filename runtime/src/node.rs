//! Nodes: one running member of an actor system, with its arbiters and the actors on them.

mod arbiter;
mod blocking;
mod builder;
mod core;
mod dead_letters;
mod entities;
mod kinds;
mod load_failures;
mod local_names;
mod own_threads;
mod passivation;
mod spawn;
mod threads;
mod watchdog;
mod workers;

use std::{error::Error, fmt, net::SocketAddr, sync::Arc};

use actix_cluster_transport::{Rotator, Stats};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    arbiter::{JobRefusal, Resident, Residents},
    core::{AnyMailbox, NodeCore},
    dead_letters::{DeadLetters, Names, Sender},
    entities::EntityKey,
    spawn::{Launch, RunsOn},
};
pub use self::{
    blocking::{Blocking, BlockingError},
    builder::{NodeBuilder, StartError},
    dead_letters::{
        DeadLetter, DeadLetterCounts, DeadLetterOutcome, DeadLetterSubscription, DeadLetterTarget,
    },
    kinds::EntitySettings,
    local_names::{RegisterError, WhereisError},
    spawn::{SpawnBuilder, SpawnError},
    threads::{LocalThreads, OsThreads, ThreadMain, Threads},
    watchdog::{BlockedTurn, BlockedTurns},
};
use crate::{
    actor::{ClusterContext, loading},
    cluster::{Member, View},
    reference::ActorRef,
    remote_actor::{Entity, RemoteActor},
    router::{Router, RouterBuilder, Routing},
    supervisor::SupervisorBuilder,
    watch::WatchCounts,
};

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

    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        &self.0
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

    /// The dead letters of this node from now on: of messages that were sent from here, and of those
    /// that are poison to an actor here, whoever sent them. While nobody subscribes, none is made.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(node: &actix_cluster::Node) {
    /// let mut letters = node.subscribe_dead_letters();
    /// while let Some(letter) = letters.next().await {
    ///     eprintln!("{letter}");
    /// }
    /// # }
    /// ```
    pub fn subscribe_dead_letters(&self) -> DeadLetterSubscription {
        self.0.dead_letters().subscribe()
    }

    /// How many watches the node has: its own, and those of other nodes.
    pub fn watch_counts(&self) -> WatchCounts {
        self.0.watches().counts()
    }

    /// The turns that have blocked their threads for too long, as
    /// [`NodeBuilder::blocked_after`] defines it. Each is logged too, as a warning, and again after
    /// twice as long.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(node: &actix_cluster::Node) {
    /// for turn in node.blocked_turns().now {
    ///     println!("{turn}"); // shop.Cart["cart-7"] has blocked its thread for 2.5s with shop.Checkout
    /// }
    /// # }
    /// ```
    pub fn blocked_turns(&self) -> BlockedTurns {
        self.0.sightings().read()
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
        SpawnBuilder::new(Arc::clone(&self.0), loading::at_once(factory))
    }

    /// Begins to spawn an actor that has to load before it can serve: `factory` gives the future of
    /// each instance.
    ///
    /// The load runs on the actor's arbiter, beside other actors. Until it has ended, messages wait
    /// in the mailbox, within its bound; told to stop or killed, the actor drops the load. An error
    /// is a failure as a panic is: the actor is restarted as its policy says, and if it is given up,
    /// it has ended as [`ExitReason::FailedToStart`](crate::ExitReason::FailedToStart).
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{prelude::*, SpawnError};
    /// # struct Stock;
    /// # impl Stock { async fn read(_: &str) -> std::io::Result<Self> { Ok(Self) } }
    /// # #[derive(RemoteActor)]
    /// # #[remote(name = "shop.Shelf", handles())]
    /// # struct Shelf(Stock);
    /// # impl Actor for Shelf { type Context = ClusterContext<Self>; }
    /// # fn example(node: &Node) -> Result<ActorRef<Shelf>, SpawnError> {
    /// node.spawn_async(|_ctx| async { Stock::read("shelf-7").await.map(Shelf) }).start()
    /// # }
    /// ```
    pub fn spawn_async<A, F, L, E>(&self, factory: F) -> SpawnBuilder<A>
    where
        A: RemoteActor,
        F: FnMut(&mut ClusterContext<A>) -> L + Send + 'static,
        L: Future<Output = Result<A, E>> + 'static,
        E: Into<Box<dyn Error>>,
    {
        SpawnBuilder::new(Arc::clone(&self.0), loading::loading(factory))
    }

    /// Begins to spawn a supervisor, for actors that belong together.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{prelude::*, SpawnError, Strategy, Supervisor};
    /// # use std::time::Duration;
    /// # fn example(node: &Node) -> Result<Supervisor, SpawnError> {
    /// node.spawn_supervisor()
    ///     .strategy(Strategy::OneForAll)
    ///     .intensity(3, Duration::from_secs(60))
    ///     .start()
    /// # }
    /// ```
    pub fn spawn_supervisor(&self) -> SupervisorBuilder {
        SupervisorBuilder::new(Arc::clone(&self.0), None)
    }

    /// Begins to start a pool of actors, and a [`Router`] to them. `factory` makes the instances of all
    /// of them.
    ///
    /// # Examples
    ///
    /// See [`Router`].
    pub fn spawn_router<A, F>(&self, factory: F) -> RouterBuilder<A>
    where
        A: RemoteActor,
        F: Fn(&mut ClusterContext<A>) -> A + Send + Sync + 'static,
    {
        RouterBuilder::new(Arc::clone(&self.0), factory)
    }

    /// A [`Router`] to actors that exist already, on this node and others; entities too. The first 1,024
    /// of them. It starts none, and stops none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{Router, Routing, prelude::*};
    /// # fn example<A: RemoteActor>(node: &Node, replicas: Vec<ActorRef<A>>) {
    /// let replicas: Router<A> = node.router(Routing::Random, replicas);
    /// # }
    /// ```
    pub fn router<A: RemoteActor>(
        &self,
        routing: Routing,
        actors: impl IntoIterator<Item = ActorRef<A>>,
    ) -> Router<A> {
        Router::of(Arc::clone(&self.0), routing, actors)
    }

    /// Runs work that blocks, or computes for long, on a thread that runs no actor, and gives its result.
    /// On an arbiter all other actors would wait for it.
    ///
    /// It begins at once if a thread is free, or may be made
    /// ([`NodeBuilder::blocking_threads`]); at most 4,096 wait for one, in order. Await it in an
    /// [`AsyncHandler`](crate::AsyncHandler), or give it to
    /// [`pipe_to_self`](ClusterContext::pipe_to_self). What has begun can't be stopped:
    /// [`shutdown`](Self::shutdown) waits for it. For many such messages of one kind, actors on threads of
    /// their own are the better way ([`SpawnBuilder::own_thread`]).
    ///
    /// # Errors
    ///
    /// The future's [`BlockingError`], which says whether it ran.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(node: &actix_cluster::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let text = node.spawn_blocking(|| std::fs::read_to_string("orders.csv")).await??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn_blocking<T, F>(&self, work: F) -> Blocking<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.0.blocking().spawn(work)
    }

    /// Gives an actor of this node a name, by which whatever runs on the node finds it
    /// ([`whereis`](Self::whereis)). It keeps the name when it is restarted, and loses it when it has
    /// ended for good. It may have several.
    ///
    /// Other nodes know nothing of it: what they are to find is an entity.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]: nothing has changed. An actor that has the name already keeps it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # fn example<Cache: RemoteActor>(
    /// #     node: &Node, cache: &ActorRef<Cache>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// node.register("cache", cache)?;
    /// let found: ActorRef<Cache> = node.whereis("cache")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn register<A: RemoteActor>(
        &self,
        name: &str,
        actor: &ActorRef<A>,
    ) -> Result<(), RegisterError> {
        self.0.local_names().register(&self.0, name, actor)
    }

    /// The actor that was given this name on this node.
    ///
    /// # Errors
    ///
    /// [`WhereisError`].
    pub fn whereis<A: RemoteActor>(&self, name: &str) -> Result<ActorRef<A>, WhereisError> {
        self.0.local_names().find(name)
    }

    /// Takes a name back from its actor, which goes on. Returns whether an actor had it.
    pub fn unregister(&self, name: &str) -> bool {
        self.0.local_names().unregister(name)
    }

    /// The stateless workers of a type on this node ([`NodeBuilder::workers`]): a pool that grows and
    /// shrinks with its load. Without any, messages are given back as
    /// [`NoSuchActor`](crate::RejectReason::NoSuchActor).
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{AskError, Handles, RemoteMessage, Resize, prelude::*};
    /// # async fn example<Painter: Handles<Paint> + Default, Paint: RemoteMessage>(
    /// #     node: &Node, paint: Paint,
    /// # ) -> Result<(), AskError<Paint>> {
    /// node.workers::<Painter>().ask(paint).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn workers<A: RemoteActor>(&self) -> Router<A> {
        let found = self.0.workers().find::<A>();
        found.unwrap_or_else(|| self.router(Routing::default(), []))
    }

    /// A reference to the entity of this key, wherever it lives. No look-up, no wait: the first
    /// message activates it on its owner.
    ///
    /// # Panics
    ///
    /// When the key is longer than [`KEY_LIMIT`](Self::KEY_LIMIT) bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # fn example<Account: Entity>(node: &Node) {
    /// let account: ActorRef<Account> = node.entity("acct-7");
    /// # }
    /// ```
    pub fn entity<A: Entity>(&self, key: &str) -> ActorRef<A> {
        let limit = Self::KEY_LIMIT;
        assert!(key.len() <= limit, "an entity's key has at most {limit} bytes");
        ActorRef::entity(Arc::clone(&self.0), EntityKey::of::<A>(key))
    }

    /// The longest key of an entity, in bytes.
    pub const KEY_LIMIT: usize = 1_024;

    /// How many entities are active on the node.
    pub fn entity_count(&self) -> usize {
        self.0.entities().count()
    }

    /// The node that owns an entity, as far as this one knows; `None` while nobody does.
    pub fn owner_of<A: Entity>(&self, key: &str) -> Option<NodeId> {
        match self.0.cluster() {
            Some(cluster) => {
                cluster.routing.place(A::TYPE_ID, A::SITE);
                let routes = cluster.routing.routes();
                routes.owner(self.id(), &EntityKey::of::<A>(key)).cloned()
            }
            None => Some(self.id().clone()),
        }
    }

    /// The shard that an entity belongs to, from 0 to 4,095.
    pub fn shard_of<A: Entity>(&self, key: &str) -> u16 {
        EntityKey::of::<A>(key).shard().0
    }

    /// The members that this node believes to be alive, itself included; `None` without a cluster.
    pub fn view(&self) -> Option<Arc<View>> {
        Some(Arc::clone(&self.0.cluster()?.routing.routes().view))
    }

    /// Whether this node is on the larger side of the cluster, as far as it knows; true without a
    /// cluster. On the smaller one it stops the entities of types that are to stop there: see
    /// [`Minority`](crate::Minority).
    pub fn has_majority(&self) -> bool {
        self.0.cluster().is_none_or(|cluster| cluster.routing.routes().has_majority)
    }

    /// Waits until the view has another version than `known`, and gives it; for ever without a
    /// cluster.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub async fn view_after(&self, known: u64) -> Arc<View> {
        if let Some(cluster) = self.0.cluster() {
            let mut versions = cluster.view_versions();
            if versions.wait_for(|version| *version != known).await.is_ok() {
                return Arc::clone(&cluster.routing.routes().view);
            }
        }
        std::future::pending().await
    }

    /// Waits until the view holds at least so many members, this node included; for ever without a
    /// cluster.
    ///
    /// A node is ready once it has joined. Other nodes may need a moment longer to see it, and until
    /// then they place entities without it; a program that starts several nodes waits for all.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub async fn wait_for_members(&self, count: usize) {
        let mut known = u64::MAX;
        loop {
            let view = self.view_after(known).await;
            if view.members.len() >= count {
                return;
            }
            known = view.version;
        }
    }

    /// The members of the view; none without a cluster.
    pub fn members(&self) -> Vec<Member> {
        self.view().map_or_else(Vec::new, |view| view.members.clone())
    }

    /// The address at which other nodes reach this one; `None` without a cluster.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.0.cluster().map(|cluster| cluster.addr)
    }

    /// Changes what the node proves itself with, and whom it trusts, while it runs: certificate, key,
    /// roots and what is revoked. Sessions go on, except with peers that are trusted no longer.
    /// `None` without a cluster.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use actix_cluster::{Node, transport::CredentialFiles};
    ///
    /// # async fn renewed(node: &Node) -> Result<(), Box<dyn std::error::Error>> {
    /// let files = CredentialFiles::new("node.pem", "node-key.pem", "roots.pem");
    /// if let Some(rotator) = node.rotator() {
    ///     let rotated = rotator.rotate(files.load()?).await?;
    ///     println!("good until {:?}, {} peers cut", rotated.expires, rotated.cut.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rotator(&self) -> Option<Rotator> {
        self.0.cluster()?.rotator().cloned()
    }

    /// What the node's transport has under way, whom it turned away, and when certificates expire: for
    /// metrics and alerts. `None` without a cluster, and once the node has shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn transport_stats(&self) -> Option<Stats> {
        self.0.cluster()?.stats()?.read().await
    }

    /// Has the node own nothing any more, while it stays a member: its entities move to the others,
    /// whose members see it [draining](crate::Profile::is_draining). Resolves once the node owns no
    /// shard and no entity is active on it; it then sends to entities as one of weight 0 does.
    ///
    /// It can't be taken back in this run of the node. If all nodes drain, or have no weight, they go
    /// on as before, and this resolves no sooner than another comes, or the node has shut down.
    /// Without a cluster it resolves at once, and changes nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the node draining.
    pub async fn drain(&self) {
        self.0.drain().await;
    }

    /// Waits until the node has shut down: by [`shutdown`](Self::shutdown), or by itself, because
    /// the others have declared it down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub async fn ended(&self) {
        self.0.ended().await;
    }

    /// Runs `read` as part of this node, so that references can be deserialised in it.
    pub fn scope<T>(&self, read: impl FnOnce() -> T) -> T {
        let _scope = NodeCore::enter(&self.0);
        read()
    }

    /// Leaves the cluster, stops all actors, hooks included, and then the node's threads.
    ///
    /// Tells that wait for an entity go back to their senders, which send them on to the next
    /// owner; what waits for another actor is rejected. Calling it again waits for the same end.
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
