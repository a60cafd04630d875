//! What all handles to a node share.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_cluster_transport::{Clock, Random};

use super::{DeadLetters, NodeId, arbiter::Arbiter};
use crate::{
    actor::{
        ActorId,
        mailbox::{Mailbox, Signal},
    },
    fixed_map::FixedMap,
    remote_actor::RemoteActor,
};

/// How many parts the table of actors has, so that threads seldom meet at one lock.
const TABLE_PARTS: usize = 64;

pub(crate) struct NodeCore {
    id: NodeId,
    clock: Clock,
    random: Mutex<Random>,
    arbiters: Vec<Arbiter>,
    actors: Vec<Mutex<FixedMap<u64, Arc<dyn AnyMailbox>>>>,
    last_id: AtomicU64,
    dead_letters: DeadLetters,
}

/// A mailbox whose actor type is known to its user alone.
pub(crate) trait AnyMailbox: Send + Sync {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn signal(&self, signal: Signal);
}

impl<A: RemoteActor> AnyMailbox for Mailbox<A> {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn signal(&self, signal: Signal) {
        Mailbox::signal(self, signal);
    }
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
    pub(crate) fn new(id: NodeId, clock: Clock, random: Random, arbiters: Vec<Arbiter>) -> Self {
        Self {
            id,
            clock,
            random: Mutex::new(random),
            arbiters,
            actors: (0..TABLE_PARTS).map(|_| Mutex::default()).collect(),
            last_id: AtomicU64::new(0),
            dead_letters: DeadLetters::default(),
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

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    pub(crate) fn arbiters(&self) -> &[Arbiter] {
        &self.arbiters
    }

    pub(crate) fn with_random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn next_id(&self) -> ActorId {
        ActorId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn insert<A: RemoteActor>(&self, mailbox: &Arc<Mailbox<A>>) {
        let id = mailbox.id();
        self.part(id).insert(id.0, Arc::clone(mailbox) as Arc<dyn AnyMailbox>);
    }

    pub(crate) fn remove(&self, id: ActorId) {
        let removed = self.part(id).remove(&id.0);
        drop(removed);
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

    pub(crate) fn actor_count(&self) -> usize {
        self.actors.iter().map(|part| lock(part).len()).sum()
    }

    pub(crate) async fn shutdown(&self) {
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
