//! Nodes: one running member of an actor system, with its arbiters and the actors on them.

mod activity;
mod any_mailbox;
mod arbiter;
mod blocking;
mod blueprint;
mod builder;
mod core;
mod dead_letters;
mod entities;
mod id;
mod key;
mod kinds;
mod lives;
mod load_failures;
mod local_names;
mod own_threads;
mod parcels;
mod passivation;
mod shutdown;
mod spawn;
mod threads;
mod ticks;
mod watchdog;
mod workers;

use std::{error::Error, fmt, net::SocketAddr, sync::Arc};

use actix_cluster_transport::{Rotator, Stats};

pub(crate) use self::{
    activity::Activity,
    any_mailbox::AnyMailbox,
    arbiter::{JobRefusal, Resident, Residents},
    blueprint::{Blueprint, Unborn},
    core::NodeCore,
    dead_letters::{DeadLetters, Names, Sender},
    entities::EntityKey,
    spawn::{Launch, RunsOn},
};
pub use self::{
    activity::{EntityCount, HotEntity},
    blocking::{Blocking, BlockingError},
    builder::{NodeBuilder, StartError},
    dead_letters::{
        DeadLetter, DeadLetterCounts, DeadLetterOutcome, DeadLetterSubscription, DeadLetterTarget,
    },
    id::NodeId,
    key::Key,
    kinds::EntitySettings,
    lives::NodeEnd,
    local_names::{RegisterError, WhereisError},
    shutdown::{PhaseEnd, ShutdownPhases, ShutdownReport},
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

/// A handle to a running node. Cloning it is cheap, and all clones are the same node.
///
/// Several nodes can run in one process; nothing about them is global. A node runs until
/// [`shutdown`](Self::shutdown); dropping handles does not stop it.
///
/// A node that learns that the others have declared it down ends all its actors, and joins again as a
/// later incarnation ([`ClusterConfig::rejoin`](crate::ClusterConfig::rejoin)). This handle goes on with
/// it, as do references to entities; what the program has spawned it has to spawn again
/// ([`id_after`](Self::id_after)).
#[derive(Clone)]
pub struct Node(Arc<NodeCore>);

impl Node {
    /// Begins a node's configuration.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    pub(crate) fn core(&self) -> Arc<NodeCore> {
        self.0.living()
    }

    pub(crate) fn from_core(core: Arc<NodeCore>) -> Self {
        Self(core)
    }

    /// The node's name and incarnation, or the last that it had. The incarnation is another one after
    /// the node has joined again.
    pub fn id(&self) -> NodeId {
        self.0.latest_id()
    }

    /// Waits until the node has another incarnation than that of `known`, because it was declared down
    /// and has joined again, and says who it is then; `None` once it has ended.
    ///
    /// Then no actor of before lives any more, and names of actors are free. Entities are activated by
    /// their next messages, and stateless workers run; all else is the program's to start.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{prelude::*, SpawnError};
    /// # async fn example<Sweeper: RemoteActor + Default>(node: Node) -> Result<(), SpawnError> {
    /// let mut id = Some(node.id());
    /// while let Some(known) = id {
    ///     node.spawn(|_ctx| Sweeper::default()).start()?;
    ///     id = node.id_after(&known).await;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn id_after(&self, known: &NodeId) -> Option<NodeId> {
        self.0.lives().id_after(known).await
    }

    /// How many arbiters run the node's actors.
    pub fn arbiters(&self) -> usize {
        self.core().arbiters().len()
    }

    /// How many messages were rejected or ended unknown with nobody waiting for them, by reason.
    pub fn dead_letters(&self) -> DeadLetterCounts {
        self.core().dead_letters().counts()
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
        self.core().dead_letters().subscribe()
    }

    /// How many watches the node has: its own, and those of other nodes.
    pub fn watch_counts(&self) -> WatchCounts {
        self.core().watches().counts()
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
        self.core().sightings().read()
    }

    /// How many actors live on the node.
    pub fn actor_count(&self) -> usize {
        self.core().actor_count()
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
        SpawnBuilder::new(self.core(), loading::at_once(factory))
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
        SpawnBuilder::new(self.core(), loading::loading(factory))
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
        SupervisorBuilder::new(self.core(), None)
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
        RouterBuilder::new(self.core(), factory)
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
        Router::of(self.core(), routing, actors)
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
        self.core().blocking().spawn(work)
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
        let core = self.core();
        core.local_names().register(&core, name, actor)
    }

    /// The actor that was given this name on this node.
    ///
    /// # Errors
    ///
    /// [`WhereisError`].
    pub fn whereis<A: RemoteActor>(&self, name: &str) -> Result<ActorRef<A>, WhereisError> {
        self.core().local_names().find(name)
    }

    /// Takes a name back from its actor, which goes on. Returns whether an actor had it.
    pub fn unregister(&self, name: &str) -> bool {
        self.core().local_names().unregister(name)
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
        let found = self.core().workers().find::<A>();
        found.unwrap_or_else(|| self.router(Routing::default(), []))
    }

    /// A reference to the entity of this key, wherever it lives. No look-up, no wait: the first
    /// message activates it on its owner.
    ///
    /// # Panics
    ///
    /// When the key's text is longer than [`KEY_LIMIT`](Self::KEY_LIMIT) bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # fn example<Account: Entity>(node: &Node) {
    /// let account: ActorRef<Account> = node.entity("acct-7");
    /// let another = node.entity::<Account>(4711);
    /// # }
    /// ```
    pub fn entity<A: Entity>(&self, key: impl Key) -> ActorRef<A> {
        let (key, limit) = (key.as_key(), Self::KEY_LIMIT);
        assert!(key.len() <= limit, "an entity's key has at most {limit} bytes");
        ActorRef::entity(self.core(), EntityKey::of::<A>(&key))
    }

    /// The longest key of an entity, in bytes.
    pub const KEY_LIMIT: usize = 1_024;

    /// How many entities are active on the node.
    pub fn entity_count(&self) -> usize {
        self.core().entities().count()
    }

    /// The node that owns an entity, as far as this one knows, or that is to own it, while it is being
    /// handed over; `None` while nobody is. When the view has changed, shards go to their new owners one
    /// after the other: see [`has_settled`](Self::has_settled).
    pub fn owner_of<A: Entity>(&self, key: impl Key) -> Option<NodeId> {
        let core = self.core();
        match core.cluster() {
            Some(cluster) => {
                cluster.place(A::TYPE_ID, A::SITE);
                let routes = cluster.routing.routes();
                routes.owner(core.id(), &EntityKey::of::<A>(&key.as_key())).cloned()
            }
            None => Some(core.id().clone()),
        }
    }

    /// The shard that an entity belongs to, from 0 to 4,095.
    pub fn shard_of<A: Entity>(&self, key: impl Key) -> u16 {
        EntityKey::of::<A>(&key.as_key()).shard().0
    }

    /// The members that this node believes to be alive, itself included; `None` without a cluster.
    pub fn view(&self) -> Option<Arc<View>> {
        Some(Arc::clone(&self.core().cluster()?.routing.routes().view))
    }

    /// Whether this node is on the larger side of the cluster, as far as it knows; true without a
    /// cluster. On the smaller one it stops the entities of types that are to stop there: see
    /// [`Minority`](crate::Minority).
    pub fn has_majority(&self) -> bool {
        self.core().cluster().is_none_or(|cluster| cluster.routing.routes().has_majority)
    }

    /// Whether all entities are where they belong by the [view](Self::view), as far as this node knows, so
    /// that [`owner_of`](Self::owner_of) stays what it is until the view changes; true without a cluster.
    ///
    /// After a change of the view it takes some 10 ms for a node that had to be told by others, and as long
    /// as entities take to end what they do.
    pub fn has_settled(&self) -> bool {
        self.core().cluster().is_none_or(|cluster| cluster.routing.routes().are_settled())
    }

    /// Waits until the view has another version than `known`, and gives it; for ever without a
    /// cluster.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub async fn view_after(&self, known: u64) -> Arc<View> {
        loop {
            let core = self.core();
            let Some(cluster) = core.cluster() else { break };
            let mut versions = cluster.view_versions();
            tokio::select! {
                biased;
                // It can't fail: the cluster, which is held, holds the sender.
                _ = versions.wait_for(|version| *version != known) => {
                    return Arc::clone(&cluster.routing.routes().view);
                }
                next = core.lives().id_after(core.id()) => if next.is_none() { break },
            }
        }
        std::future::pending().await
    }

    /// Waits until the view holds at least so many members, this node included, and all entities
    /// [are where they belong](Self::has_settled) by it; for ever without a cluster.
    ///
    /// A node is ready once it has joined. Other nodes may need a moment longer to see it, and to hand
    /// over what it is to own; a program that starts several nodes waits for all.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub async fn wait_for_members(&self, count: usize) {
        let mut known = u64::MAX;
        loop {
            let view = self.view_after(known).await;
            if view.members.len() >= count {
                break;
            }
            known = view.version;
        }
        loop {
            let core = self.core();
            let Some(cluster) = core.cluster() else { return };
            let mut changes = cluster.view_versions();
            if self.has_settled() {
                return;
            }
            tokio::select! {
                biased;
                // It can't fail: the cluster, which is held, holds the sender.
                _ = changes.changed() => {}
                next = core.lives().id_after(core.id()) => if next.is_none() { break },
            }
        }
        std::future::pending().await
    }

    /// The members of the view; none without a cluster.
    pub fn members(&self) -> Vec<Member> {
        self.view().map_or_else(Vec::new, |view| view.members.clone())
    }

    /// The address at which other nodes reach this one; `None` without a cluster.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.core().cluster().map(|cluster| cluster.addr)
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
        self.core().cluster()?.rotator().cloned()
    }

    /// What the node's transport has under way, whom it turned away, and when certificates expire: for
    /// metrics and alerts. `None` without a cluster, and once the node has shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn transport_stats(&self) -> Option<Stats> {
        self.core().cluster()?.stats()?.read().await
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
        loop {
            let core = self.core();
            core.drain().await;
            if core.successor().is_none() {
                return;
            }
        }
    }

    /// Waits until the node has ended, and says why: by [`shutdown`](Self::shutdown), or by itself,
    /// because the others have declared it down and it was not to join again, or could not.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::NodeEnd;
    ///
    /// # async fn example(node: actix_cluster::Node) -> Result<(), NodeEnd> {
    /// match node.ended().await {
    ///     NodeEnd::ShutDown => Ok(()),
    ///     end => Err(end), // the process ends with it, and is started anew
    /// }
    /// # }
    /// ```
    pub async fn ended(&self) -> NodeEnd {
        self.0.lives().ended().await
    }

    /// Runs `read` as part of this node, so that references can be deserialised in it.
    pub fn scope<T>(&self, read: impl FnOnce() -> T) -> T {
        let _scope = NodeCore::enter(&self.core());
        read()
    }

    /// Leaves the cluster, stops all actors, hooks included, and then the node's threads. How long it may
    /// take for what is [`ShutdownPhases`]'s default, or what
    /// [`shutdown_in_phases`](Self::shutdown_in_phases) is given.
    ///
    /// Tells that wait for an entity go back to their senders, which send them on to the next
    /// owner; what waits for another actor is rejected. Calling it again waits for the same end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the shutdown running.
    pub async fn shutdown(&self) {
        let lives = self.0.lives();
        lives.stop();
        let core = self.core();
        core.shutdown().await;
        if core.cluster().is_none() {
            core.finish(NodeEnd::ShutDown).await;
        }
        lives.ended().await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.id()).finish()
    }
}
