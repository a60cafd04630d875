//! What all handles to a node share, for as long as it has one incarnation: see [`Lives`].

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix_cluster_transport::{Class, Clock, Random};

use tokio::sync::{oneshot, watch};

use super::{
    DeadLetters, NodeEnd, NodeId,
    any_mailbox::AnyMailbox,
    arbiter::Arbiter,
    blocking::BlockingPool,
    blueprint::Blueprint,
    entities::{Entities, EntityKey},
    kinds::Kinds,
    lives::Lives,
    load_failures::{self, LoadFailures},
    local_names::LocalNames,
    own_threads::OwnThreads,
    ticks::Ticks,
    watchdog::Sightings,
    workers::Workers,
};
use crate::{
    actor::{
        ActorId,
        mailbox::{Mailbox, Signal},
    },
    cluster::{
        Cluster, Phase, cancel, delegation,
        pending::{Answer, Correlation},
        placement::Shard,
        routing::{Peer, Route},
        wire::Head,
    },
    fixed_map::FixedMap,
    interceptor::Interceptors,
    message::WireId,
    reference::RejectReason,
    remote_actor::RemoteActor,
    stream::intake::Intake,
    watch::{TerminatedReason, Watchable, Watches},
};

/// How many parts the table of actors has, so that threads seldom meet at one lock.
const TABLE_PARTS: usize = 64;

/// How often a draining node looks whether its entities are gone.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

pub(crate) struct NodeCore {
    id: NodeId,
    blueprint: Arc<Blueprint>,
    lives: Arc<Lives>,
    /// Whether another life has followed this one.
    is_over: AtomicBool,
    cluster: Option<Arc<Cluster>>,
    clock: Clock,
    born: Instant,
    random: Mutex<Random>,
    arbiters: Vec<Arbiter>,
    own_threads: OwnThreads,
    blocking: Arc<BlockingPool>,
    workers: Workers,
    actors: Vec<Mutex<FixedMap<u64, Arc<dyn AnyMailbox>>>>,
    entities: Entities,
    ticks: Ticks,
    local_names: LocalNames,
    load_failures: Mutex<LoadFailures>,
    last_id: AtomicU64,
    dead_letters: DeadLetters,
    interceptors: Interceptors,
    watches: Watches,
    sightings: Sightings,
    ended: watch::Sender<bool>,
}

/// What a life of a node is made of.
pub(super) struct Parts {
    pub(super) id: NodeId,
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) random: Random,
    pub(super) arbiters: Vec<Arbiter>,
    pub(super) inheritance: Inheritance,
}

/// What a life leaves to the next.
pub(super) struct Inheritance {
    pub(super) lives: Arc<Lives>,
    pub(super) blocking: Arc<BlockingPool>,
    pub(super) dead_letters: DeadLetters,
}

thread_local! {
    /// The node that the current thread decodes for, if any.
    static CURRENT: RefCell<Option<Arc<NodeCore>>> = const { RefCell::new(None) };
}

/// Puts back what was current before.
pub(crate) struct Scope(Option<Arc<NodeCore>>);

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

impl NodeCore {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id, blueprint, cluster, random, arbiters, inheritance } = parts;
        let Inheritance { lives, blocking, dead_letters } = inheritance;
        Self {
            id,
            lives,
            is_over: AtomicBool::new(false),
            cluster,
            clock: blueprint.clock.clone(),
            born: blueprint.clock.now(),
            random: Mutex::new(random),
            arbiters,
            own_threads: OwnThreads::new(Arc::clone(&blueprint.threads)),
            blocking,
            workers: Workers::default(),
            actors: (0..TABLE_PARTS).map(|_| Mutex::default()).collect(),
            entities: Entities::new(blueprint.entities_limit),
            ticks: Ticks::default(),
            local_names: LocalNames::default(),
            load_failures: Mutex::new(LoadFailures::new(load_failures::LIMIT)),
            last_id: AtomicU64::new(0),
            dead_letters,
            interceptors: blueprint.interceptors.clone(),
            watches: Watches::default(),
            sightings: Sightings::default(),
            ended: watch::Sender::new(false),
            blueprint,
        }
    }

    /// The node whose scope the current thread is in.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    /// Enters the node's scope until the guard is dropped.
    pub(crate) fn enter(core: &Arc<Self>) -> Scope {
        Scope(CURRENT.replace(Some(Arc::clone(core))))
    }

    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    pub(super) fn blueprint(&self) -> &Arc<Blueprint> {
        &self.blueprint
    }

    pub(crate) fn lives(&self) -> &Arc<Lives> {
        &self.lives
    }

    /// What the life that follows, as `id`, takes over.
    pub(super) fn inheritance(&self, id: NodeId) -> Inheritance {
        Inheritance {
            lives: Arc::clone(&self.lives),
            blocking: Arc::clone(&self.blocking),
            dead_letters: self.dead_letters.of_later(id),
        }
    }

    /// Another life has followed this one.
    pub(super) fn set_over(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Who the node is in this life, or in the last one that has followed.
    pub(super) fn latest_id(&self) -> NodeId {
        if self.is_over.load(Ordering::Acquire) { self.lives.id() } else { self.id.clone() }
    }

    /// The core of the life that goes on, if that is another one.
    #[inline]
    pub(crate) fn successor(&self) -> Option<Arc<Self>> {
        if self.is_over.load(Ordering::Acquire) { self.lives.current() } else { None }
    }

    /// The core of the life that goes on.
    pub(crate) fn living(self: &Arc<Self>) -> Arc<Self> {
        self.successor().unwrap_or_else(|| Arc::clone(self))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// When this life began.
    pub(super) fn born(&self) -> Instant {
        self.born
    }

    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    pub(crate) fn interceptors(&self) -> &Interceptors {
        &self.interceptors
    }

    pub(crate) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// The turns that the watchdog saw.
    pub(crate) fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// Tells when all actors of this life have ended.
    pub(crate) fn subscribe_ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    pub(crate) fn arbiters(&self) -> &[Arbiter] {
        &self.arbiters
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// The threads for work that blocks.
    pub(super) fn blocking(&self) -> &Arc<BlockingPool> {
        &self.blocking
    }

    pub(super) fn own_threads(&self) -> &OwnThreads {
        &self.own_threads
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.blueprint.kinds
    }

    /// By what the idleness of entities is judged.
    pub(super) fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// What a mailbox notes when a message comes.
    pub(crate) fn tick(&self) -> u32 {
        self.ticks.now()
    }

    pub(crate) fn entities(&self) -> &Entities {
        &self.entities
    }

    pub(super) fn local_names(&self) -> &LocalNames {
        &self.local_names
    }

    pub(crate) fn load_failures(&self) -> MutexGuard<'_, LoadFailures> {
        lock(&self.load_failures)
    }

    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    pub(crate) fn route_to_node(&self, node: &NodeId) -> Route {
        match &self.cluster {
            Some(cluster) => cluster.routing.to_node(node),
            None if *node == self.id => Route::Here,
            None => Route::Nowhere(RejectReason::Unreachable),
        }
    }

    /// The route to an entity, for whoever has nobody before it on the way there.
    pub(crate) fn route_to_entity(&self, key: &EntityKey) -> Route {
        self.cluster.as_ref().map_or(Route::Here, |cluster| cluster.routing.to_entity(key))
    }

    /// Whether an entity belongs on this node now.
    pub(crate) fn owns(&self, key: &EntityKey) -> bool {
        self.owns_shard(key.actor_type(), key.shard())
    }

    /// Whether the entities of a type in a shard belong on this node now.
    pub(crate) fn owns_shard(&self, actor_type: WireId, shard: Shard) -> bool {
        let routing = self.cluster.as_ref().map(|cluster| &cluster.routing);
        routing.is_none_or(|routing| routing.owns_shard(actor_type, shard))
    }

    /// Sends on a message of this node whose target, of this hash, is on another node.
    pub(crate) fn redirect(&self, target: u64, payload: &[u8]) {
        let kept = match &self.cluster {
            Some(cluster) => cluster.redirect(&self.id, self.clock.now(), target, payload),
            None => Err(RejectReason::Moved),
        };
        if let Err(reason) = kept {
            self.give_up(reason, target, payload);
        }
    }

    /// Gives up a message of this node that came back, and the answers that it owed.
    pub(crate) fn give_up(&self, reason: RejectReason, target: u64, payload: &[u8]) {
        match Head::take(payload) {
            Ok((Head::Ask { correlation, .. }, _)) => {
                if delegation::answer_here(self, correlation, Answer::Rejected(reason)) {
                    return;
                }
            }
            _ => {
                self.dead_letters.rejected(reason, |letters| letters.about_payload(payload, target))
            }
        }
        delegation::abandon(self, payload);
    }

    /// Something was sent to a peer by a route that has changed since. If another leads there now, what
    /// comes after it waits until that has come back.
    pub(crate) fn sent_late(&self, key: &EntityKey, peer: &Arc<Peer>) {
        let Some(cluster) = &self.cluster else { return };
        let route = cluster.routing.to_shard(key.actor_type(), key.shard());
        if !matches!(route, Route::There(now) if Arc::ptr_eq(&now, peer)) {
            cluster.sent_late(peer.id.clone(), key.actor_type(), key.shard());
        }
    }

    /// Expects an answer of another node; `None` when too many are expected.
    pub(crate) fn expect_answer(
        &self,
        node: &NodeId,
        items: Option<Arc<dyn Intake>>,
    ) -> Option<(Correlation, oneshot::Receiver<Answer>)> {
        self.cluster.as_ref()?.pending.expect(node, items)
    }

    /// Tells whoever answers an ask, on this target, that there is room for more items.
    pub(crate) fn credit(&self, target: u64, correlation: Correlation, items: u32) {
        let owed_by =
            self.cluster.as_ref().and_then(|cluster| cluster.pending.owed_by(correlation));
        // Without a way to that node its session has ended, and with it the ask.
        let Some(Route::There(peer)) = owed_by.map(|node| self.route_to_node(&node)) else {
            return;
        };
        let credit = Head::Credit { correlation, items }.put(Vec::new());
        // As an answer: it never waits behind a target that is full, and is short enough to have room
        // always.
        let _ = peer.session.try_send(Class::Answer, target, 0, &credit);
    }

    /// Nobody waits for the answer any more. Returns who still owed it, if somebody did.
    pub(crate) fn forget_answer(&self, correlation: Correlation) -> Option<NodeId> {
        self.cluster.as_ref()?.pending.forget(correlation)
    }

    /// The asker of what was sent to this target has gone: whoever owes it an answer is told.
    pub(crate) fn cancel_ask(&self, target: u64, correlation: Correlation) {
        if let Some(node) = self.forget_answer(correlation) {
            cancel::send(self, &node, target, correlation);
        }
    }

    pub(crate) fn with_random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn next_id(&self) -> ActorId {
        ActorId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn insert(&self, id: ActorId, mailbox: Arc<dyn AnyMailbox>) {
        self.part(id).insert(id.0, mailbox);
    }

    pub(crate) fn remove(&self, id: ActorId) {
        let removed = self.part(id).remove(&id.0);
        drop(removed);
        self.local_names.forget(id);
    }

    /// An actor has ended for good: nothing leads to it any more.
    pub(crate) fn remove_actor<A: RemoteActor>(&self, mailbox: &Arc<Mailbox<A>>) {
        self.remove(mailbox.id());
        if let Some(key) = mailbox.entity() {
            self.entities.remove(key, &(Arc::clone(mailbox) as Arc<dyn AnyMailbox>));
        }
    }

    /// The mailbox of whichever actor has this number.
    pub(crate) fn mailbox(&self, id: ActorId) -> Option<Arc<dyn AnyMailbox>> {
        self.part(id).get(&id.0).cloned()
    }

    /// The mailbox of an actor of this node.
    pub(crate) fn find<A: RemoteActor>(
        &self,
        node: &NodeId,
        id: ActorId,
    ) -> Option<Arc<Mailbox<A>>> {
        if *node != self.id {
            return None;
        }
        let mailbox = Arc::clone(self.part(id).get(&id.0)?);
        mailbox.as_any().downcast().ok()
    }

    /// An actor of this node, whatever its type is known to be, to be watched.
    pub(crate) fn watchable_actor(
        &self,
        actor_type: WireId,
        id: ActorId,
    ) -> Result<Arc<dyn Watchable>, TerminatedReason> {
        let found = self.part(id).get(&id.0).cloned();
        match found.and_then(|mailbox| mailbox.watchable()) {
            Some(actor) if actor.actor_type() == actor_type => Ok(actor),
            None if (1..=self.last_id.load(Ordering::Relaxed)).contains(&id.0) => {
                Err(TerminatedReason::Unknown)
            }
            Some(_) | None => Err(TerminatedReason::NeverExisted),
        }
    }

    pub(crate) fn actor_count(&self) -> usize {
        self.actors.iter().map(|part| lock(part).len()).sum()
    }

    /// Leaves the cluster, ends all actors, and then the threads that ran them.
    pub(crate) async fn shutdown(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.reach(Phase::Leaving, Phase::Left).await;
        }
        self.end_actors().await;
        if let Some(cluster) = &self.cluster {
            cluster.reach(Phase::Closing, Phase::Closed).await;
        }
    }

    /// Gives up all that the node owns, and waits until it has, or this life has ended.
    pub(crate) async fn drain(&self) {
        let Some(cluster) = &self.cluster else { return };
        cluster.drain();
        let mut versions = cluster.view_versions();
        while cluster.routing.owns_something() {
            tokio::select! {
                biased;
                // It can't fail: the cluster, which is held, holds the sender.
                _ = versions.changed() => {}
                () = self.ended() => return,
            }
        }
        while self.entities.count() > 0 {
            self.clock.sleep(LOOK_PERIOD).await;
        }
    }

    /// Waits until this life has ended.
    async fn ended(&self) {
        // It can't fail: this very value holds the sender.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Ends all actors and watches, and then the threads that ran them.
    pub(crate) async fn end_actors(&self) {
        self.own_threads.close();
        for arbiter in &self.arbiters {
            arbiter.close();
        }
        for part in &self.actors {
            let mailboxes: Vec<_> = lock(part).values().cloned().collect();
            for mailbox in mailboxes {
                mailbox.signal(Signal::NodeStop);
            }
        }
        for arbiter in &self.arbiters {
            arbiter.ended().await;
        }
        self.own_threads.ended().await;
        self.workers.clear();
        self.watches.close();
        self.ended.send_replace(true);
    }

    /// The node's last life is over.
    pub(crate) async fn finish(&self, end: NodeEnd) {
        self.blocking.close();
        self.blocking.ended().await;
        self.cut_short(end);
    }

    /// As [`finish`](Self::finish), without waiting for anything.
    pub(crate) fn cut_short(&self, end: NodeEnd) {
        self.blocking.close();
        self.dead_letters.close();
        self.ended.send_replace(true);
        self.lives.end(end);
    }

    fn part(&self, id: ActorId) -> MutexGuard<'_, FixedMap<u64, Arc<dyn AnyMailbox>>> {
        lock(&self.actors[id.0 as usize % TABLE_PARTS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only map operations run under these locks, so a poisoned one guards a whole map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for NodeCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCore").field("id", &self.id).finish_non_exhaustive()
    }
}
