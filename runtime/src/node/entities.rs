//! The entities that are active on a node, by key.
//!
//! Invariant: a key has at most one open mailbox here, and there are at most twice as many as the limit. An activation that ends takes out its own
//! entry and no other's. The arbiter of an entity follows from its key, so that a later activation
//! never runs beside an earlier one.

use std::{
    any::Any,
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    NodeCore,
    any_mailbox::AnyMailbox,
    arbiter::Residents,
    spawn::{Launch, RunsOn, SpawnError},
};
use crate::{
    actor::{activation::Supervision, mailbox::Mailbox, restart::RestartTracker},
    cluster::{
        placement::{SHARDS, Shard, key_hash},
        wire::Address,
    },
    fixed_map::FixedMap,
    message::WireId,
    reference::RejectReason,
    remote_actor::RemoteActor,
    watch::{TerminatedReason, Watchable},
};

/// How many entities are active at a time unless a node says otherwise.
pub(super) const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");

/// How many parts the table has, so that threads seldom meet at one lock. Each has whole shards.
const PARTS: usize = 64;

/// An entity's lasting identity: its type and its key, with the hash that places it.
#[derive(Clone)]
pub(crate) struct EntityKey(Arc<Identity>);

struct Identity {
    actor_type: WireId,
    hash: u64,
    key: Box<str>,
}

impl EntityKey {
    /// The identity of an entity of type `A`.
    pub(crate) fn of<A: RemoteActor>(key: &str) -> Self {
        Self::of_name(A::TYPE_ID, A::NAME, key)
    }

    /// The identity of an entity of the type with this name.
    pub(super) fn of_name(actor_type: WireId, name: &str, key: &str) -> Self {
        let hash = key_hash(name, key.as_bytes());
        Self(Arc::new(Identity { actor_type, hash, key: key.into() }))
    }

    /// The identity that another node speaks of. A hash that is not the key's leads to no entity.
    pub(crate) fn sent(actor_type: WireId, hash: u64, key: &str) -> Self {
        Self(Arc::new(Identity { actor_type, hash, key: key.into() }))
    }

    /// Some entity, for tests that have no actor type.
    #[cfg(test)]
    pub(crate) fn for_tests(key: &str) -> Self {
        let hash = key_hash("test", key.as_bytes());
        Self(Arc::new(Identity { actor_type: WireId(0), hash, key: key.into() }))
    }

    pub(crate) fn actor_type(&self) -> WireId {
        self.0.actor_type
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0.key
    }

    /// What places the entity: on a node by its top bits, on an arbiter and a lane by the others.
    pub(crate) fn hash(&self) -> u64 {
        self.0.hash
    }

    /// The address on whichever node owns the shard.
    pub(crate) fn address(&self) -> Address<'_> {
        Address::Entity { actor_type: self.actor_type().0, key: self.as_str() }
    }

    pub(crate) fn shard(&self) -> Shard {
        Shard::of(self.0.hash)
    }
}

/// What tells entities apart, wherever it is kept: so that one is found without making its
/// [`EntityKey`].
pub(crate) trait Named {
    /// Hash, actor type and key.
    fn name(&self) -> (u64, WireId, &str);
}

impl Named for EntityKey {
    fn name(&self) -> (u64, WireId, &str) {
        (self.0.hash, self.0.actor_type, &self.0.key)
    }
}

impl Named for (u64, WireId, &str) {
    fn name(&self) -> (u64, WireId, &str) {
        *self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Named + '_ {}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (hash, ..) = self.name();
        state.write_u64(hash);
    }
}

impl<'a> Borrow<dyn Named + 'a> for EntityKey {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl PartialEq for EntityKey {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for EntityKey {}

impl Hash for EntityKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let named: &dyn Named = self;
        named.hash(state);
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[derive(Default)]
struct Part(FixedMap<EntityKey, Arc<dyn AnyMailbox>>);

pub(crate) struct Entities {
    parts: Box<[Mutex<Part>]>,
    count: AtomicUsize,
    /// How many there are in each shard, of all types; changed under the lock of the shard's part.
    in_shard: Box<[AtomicUsize]>,
    /// How many are to be active; some more are, for a moment.
    limit: usize,
    /// Told when there are more.
    crowded: Notify,
}

impl Entities {
    pub(super) fn new(limit: NonZeroUsize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            in_shard: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
            limit: limit.get(),
            crowded: Notify::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// How many are active beyond the limit.
    pub(super) fn excess(&self) -> usize {
        self.count().saturating_sub(self.limit)
    }

    /// How many are to be active.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits until there are more than are to be. Ready at once if that was so since the last call.
    pub(super) async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// Takes room for one more; refused at twice the limit: those that are to make room have not.
    fn take_room(&self) -> bool {
        let limit = self.limit.saturating_mul(2);
        let one_more = |count| (count < limit).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// Calls `look` with all, part after part, and lets others go first in between. It must do nothing
    /// but look: what it gives is `done` once others may come to the part again.
    pub(super) async fn each<T>(
        &self,
        mut look: impl FnMut(WireId, &Arc<dyn AnyMailbox>) -> Option<T>,
        mut done: impl FnMut(T),
    ) {
        for part in &self.parts {
            let seen = |(key, mailbox): (&EntityKey, &Arc<dyn AnyMailbox>)| {
                look(key.actor_type(), mailbox)
            };
            let found: Vec<T> = lock(part).0.iter().filter_map(seen).collect();
            found.into_iter().for_each(&mut done);
            tokio::task::yield_now().await;
        }
    }

    /// The entities of a type. Those that are activated meanwhile may be missing.
    pub(crate) fn of_type(&self, actor_type: WireId) -> Vec<Arc<dyn AnyMailbox>> {
        let is_meant = |key: &EntityKey| key.actor_type() == actor_type;
        let in_part = |part: &Mutex<Part>| {
            let part = lock(part);
            let meant = part.0.iter().filter(|(key, _)| is_meant(key));
            meant.map(|(_, mailbox)| Arc::clone(mailbox)).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(in_part).collect()
    }

    /// How many there are in a shard, at about this moment.
    pub(crate) fn count_in(&self, shard: Shard) -> usize {
        self.in_shard[usize::from(shard.0)].load(Ordering::Relaxed)
    }

    /// The entities in a shard, of the types that `is_meant`. None is activated meanwhile.
    pub(crate) fn in_shard(
        &self,
        shard: Shard,
        is_meant: impl Fn(WireId) -> bool,
    ) -> Vec<Arc<dyn AnyMailbox>> {
        let part = lock(&self.parts[part_of(shard)]);
        if self.count_in(shard) == 0 {
            return Vec::new();
        }
        let is_in = |key: &EntityKey| key.shard() == shard && is_meant(key.actor_type());
        part.0
            .iter()
            .filter(|(key, _)| is_in(key))
            .map(|(_, mailbox)| Arc::clone(mailbox))
            .collect()
    }

    fn part(&self, hash: u64) -> MutexGuard<'_, Part> {
        lock(&self.parts[part_of(Shard::of(hash))])
    }

    /// Takes out the entry of an activation that has ended.
    pub(crate) fn remove(&self, key: &EntityKey, ended: &Arc<dyn AnyMailbox>) {
        let mut part = self.part(key.hash());
        let is_its_own = part.0.get(key).is_some_and(|kept| Arc::ptr_eq(kept, ended));
        let removed = if is_its_own { part.0.remove(key) } else { None };
        self.count.fetch_sub(usize::from(removed.is_some()), Ordering::AcqRel);
        self.in_shard[usize::from(key.shard().0)]
            .fetch_sub(usize::from(removed.is_some()), Ordering::Relaxed);
        drop(part);
        drop(removed);
    }
}

impl NodeCore {
    /// The activation of an entity that belongs on this node, to be watched, if there is one.
    pub(crate) fn watchable_entity(
        &self,
        key: &EntityKey,
    ) -> Result<Arc<dyn Watchable>, TerminatedReason> {
        let active = self.entities().part(key.hash()).0.get(key).cloned();
        active.and_then(|mailbox| mailbox.watchable()).ok_or(TerminatedReason::NotActive)
    }

    /// The mailbox of an entity that is active here, or was lately, by its name as somebody else has
    /// it. A hash that is not the key's leads to none.
    pub(crate) fn active_entity<A: RemoteActor>(
        &self,
        hash: u64,
        key: &str,
    ) -> Option<Arc<Mailbox<A>>> {
        let name: &dyn Named = &(hash, A::TYPE_ID, key);
        let found = Arc::clone(self.entities().part(hash).0.get(name)?);
        found.as_any().downcast().ok()
    }

    /// The open mailbox of an entity that belongs on this node, activated if need be.
    ///
    /// On the arbiter of the entity, `residents` lets the activation begin at once.
    pub(crate) fn entity_here<A: RemoteActor>(
        self: &Arc<Self>,
        key: &EntityKey,
        residents: Option<&Residents>,
    ) -> Result<Arc<Mailbox<A>>, RejectReason> {
        let mut part = self.entities().part(key.hash());
        if let Some(mailbox) = part.0.get(key) {
            let mailbox: Arc<dyn Any + Send + Sync> = Arc::clone(mailbox).as_any();
            if let Ok(mailbox) = mailbox.downcast::<Mailbox<A>>()
                && !mailbox.is_closed()
            {
                return Ok(mailbox);
            }
        }
        // Under the lock: whoever has sealed the shard since finds this activation, or it is not made.
        if !self.owns(key) {
            return Err(RejectReason::Moved);
        }
        let hosting = self.kinds().hosting::<A>().ok_or(RejectReason::NoSuchActor)?;
        if self.load_failures().refuses(self.clock().now(), key) {
            return Err(RejectReason::LoadFailed);
        }
        // One that is closed gives its room to the next of its key.
        if !part.0.contains_key(key) && !self.entities().take_room() {
            // Those that had something to do when they were asked to make room may be idle by now.
            self.entities().crowded.notify_one();
            return Err(RejectReason::Full);
        }
        let (settings, factory) = (hosting.settings.clone(), Arc::clone(&hosting.factory));
        let (bound, made_from) = (settings.bound::<A>(), key.clone());
        let mut unpacking = self.unpack(key);
        let make = move |ctx: &mut _| {
            let made = factory(made_from.as_str());
            match unpacking.take() {
                Some(unpacking) => unpacking.made(made, ctx),
                None => made,
            }
        };
        let launch = Launch {
            factory: Box::new(make),
            supervision: Supervision::Own(RestartTracker::new(settings.restart)),
            bound,
            runs_on: RunsOn::Arbiter((key.hash() % self.arbiters().len() as u64) as usize),
            entity: Some(key.clone()),
            on_exit: None,
            inlet: None,
        };
        let mailbox = launch.prepare(self);
        let replaced = part.0.insert(key.clone(), Arc::clone(&mailbox) as Arc<dyn AnyMailbox>);
        self.entities().in_shard[usize::from(key.shard().0)]
            .fetch_add(usize::from(replaced.is_none()), Ordering::Relaxed);
        drop(part);
        drop(replaced);
        if self.entities().excess() > 0 {
            self.entities().crowded.notify_one();
        }
        let started = launch.start(self, &mailbox, residents);
        if let Err(error) = started {
            self.entities().remove(key, &(Arc::clone(&mailbox) as Arc<dyn AnyMailbox>));
            return Err(match error {
                SpawnError::Busy => RejectReason::Full,
                _ => RejectReason::NodeStopped,
            });
        }
        Ok(mailbox)
    }

    /// An entity could not be loaded: the next try has to wait.
    pub(crate) fn load_failed<A: RemoteActor>(&self, key: &EntityKey) {
        let Some(hosting) = self.kinds().hosting::<A>() else { return };
        let (now, policy) = (self.clock().now(), &hosting.settings.restart);
        self.with_random(|random| self.load_failures().handle_failure(now, key, policy, random));
    }
}

fn part_of(shard: Shard) -> usize {
    usize::from(shard.0) * PARTS / SHARDS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only map operations run under these locks, so a poisoned one guards a whole map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Entities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities").field("count", &self.count()).finish()
    }
}
