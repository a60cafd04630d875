//! Names of actors on one node.
//!
//! Invariant: a name leads to one actor, and to none that has ended. An actor's end takes its names out
//! after it has left the node's table of actors, and a name goes in only for one that is found there
//! under this table's lock; so none is left behind.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{AnyMailbox, NodeCore};
use crate::{
    actor::{ActorId, mailbox::Mailbox},
    fixed_map::FixedMap,
    reference::ActorRef,
    remote_actor::RemoteActor,
};

/// How many names a node holds.
pub(crate) const LIMIT: usize = 65_536;

/// How many bytes a name has at most.
pub(crate) const LENGTH_LIMIT: usize = 255;

#[derive(Default)]
pub(crate) struct LocalNames {
    /// How many names there are, or are about to be: without any, the end of an actor takes no lock.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    named: FixedMap<Arc<str>, (ActorId, Arc<dyn AnyMailbox>)>,
    names: FixedMap<u64, Vec<Arc<str>>>,
}

impl LocalNames {
    /// Gives an actor a name.
    pub(super) fn register<A: RemoteActor>(
        &self,
        core: &Arc<NodeCore>,
        name: &str,
        actor: &ActorRef<A>,
    ) -> Result<(), RegisterError> {
        let id = actor.id_on(core).ok_or(RegisterError::NotHere)?;
        if name.len() > LENGTH_LIMIT {
            return Err(RegisterError::TooLong { bytes: name.len() });
        }
        let mut table = self.lock();
        match table.named.get(name) {
            Some((holder, _)) if *holder == id => return Ok(()),
            Some((holder, mailbox)) if !mailbox.is_closed() => {
                return Err(RegisterError::Taken { by: mailbox.type_name(), id: *holder });
            }
            Some(_) => {
                // It ends just now.
                table.remove(name);
            }
            None if table.named.len() >= LIMIT => return Err(RegisterError::Full),
            None => {}
        }
        // Counted first: an end that is not seen here sees the count.
        self.count.store(table.named.len() + 1, Ordering::Relaxed);
        let found = core.mailbox(id).filter(|mailbox| !mailbox.is_closed());
        let outcome = match found {
            Some(mailbox) => {
                let name: Arc<str> = Arc::from(name);
                table.names.entry(id.0).or_default().push(Arc::clone(&name));
                table.named.insert(name, (id, mailbox));
                Ok(())
            }
            None => Err(RegisterError::Ended),
        };
        self.count.store(table.named.len(), Ordering::Relaxed);
        outcome
    }

    /// The actor of a name.
    pub(super) fn find<A: RemoteActor>(&self, name: &str) -> Result<ActorRef<A>, WhereisError> {
        let found = self.lock().named.get(name).map(|(_, mailbox)| Arc::clone(mailbox));
        let mailbox = found.filter(|mailbox| !mailbox.is_closed()).ok_or(WhereisError::Unknown)?;
        let is = mailbox.type_name();
        match mailbox.as_any().downcast::<Mailbox<A>>() {
            Ok(mailbox) => Ok(ActorRef::local(mailbox)),
            Err(_) => Err(WhereisError::OtherType { is }),
        }
    }

    /// Takes a name back. Returns whether an actor had it.
    pub(super) fn unregister(&self, name: &str) -> bool {
        let mut table = self.lock();
        let removed = table.remove(name);
        self.count.store(table.named.len(), Ordering::Relaxed);
        drop(table);
        removed.is_some_and(|mailbox| !mailbox.is_closed())
    }

    /// An actor has ended, and has left the table of actors.
    pub(super) fn forget(&self, id: ActorId) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut table = self.lock();
        let names = table.names.remove(&id.0).unwrap_or_default();
        let left: Vec<_> = names.iter().map(|name| table.named.remove(name)).collect();
        self.count.store(table.named.len(), Ordering::Relaxed);
        // The last handle of a mailbox may go with them.
        drop((table, left));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Only map operations run under this lock, so a poisoned one guards a whole table.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, name: &str) -> Option<Arc<dyn AnyMailbox>> {
        let (id, mailbox) = self.named.remove(name)?;
        if let Some(names) = self.names.get_mut(&id.0) {
            names.retain(|other| **other != *name);
            if names.is_empty() {
                self.names.remove(&id.0);
            }
        }
        Some(mailbox)
    }
}

/// Why an actor was not given a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another actor has the name, and lives. Choose another name, or wait until it has ended.
    Taken {
        /// The name of its type.
        by: &'static str,
        /// Its number on this node.
        id: ActorId,
    },
    /// The reference leads to no actor of this node: to one elsewhere, or to an entity, which has a key.
    NotHere,
    /// The actor has ended.
    Ended,
    /// The name is longer than 255 bytes.
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The node has 65,536 names already.
    Full,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { by, id } => write!(f, "the name is that of {by}{id}"),
            Self::NotHere => f.write_str("only an actor of this node can have a local name"),
            Self::Ended => f.write_str("the actor has ended"),
            Self::TooLong { bytes } => {
                write!(f, "a name has at most {LENGTH_LIMIT} bytes, this one {bytes}")
            }
            Self::Full => write!(f, "the node has {LIMIT} names already"),
        }
    }
}

impl std::error::Error for RegisterError {}

/// Why a name led to no actor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhereisError {
    /// No actor that lives has the name.
    Unknown,
    /// The actor is of another type.
    OtherType {
        /// The name of its type.
        is: &'static str,
    },
}

impl fmt::Display for WhereisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no actor of this node has the name"),
            Self::OtherType { is } => write!(f, "the actor of this name is a {is}"),
        }
    }
}

impl std::error::Error for WhereisError {}
