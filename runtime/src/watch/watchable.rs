//! An actor as its watchers see it, and a watcher as it is told: mailboxes whose type is not known.

use std::sync::Arc;

use actix::Handler;

use super::{
    reason::TerminatedReason,
    table::Number,
    terminated::{Terminated, TerminatedEnvelope, UnlinkedEnvelope},
    watchers::{Key, Tie, Watchers},
};
use crate::{
    actor::mailbox::{Mailbox, Signal},
    message::WireId,
    remote_actor::RemoteActor,
};

/// An actor that may be watched, or linked to another.
pub(crate) trait Watchable: Send + Sync {
    fn actor_type(&self) -> WireId;

    /// Adds a watcher; the reason if the actor has ended.
    fn add(&self, tie: Tie) -> Result<(), TerminatedReason>;

    /// Takes a watcher out.
    fn remove(&self, key: &Key) -> Option<Tie>;

    /// Has the instance fail, because one that it is linked to has. Returns those that fail with it.
    fn fail(&self, reason: TerminatedReason) -> Vec<Tie>;

    /// A link that the instance has set is over, and takes nobody with it.
    fn unlinked(&self, number: Number);
}

/// An actor that is told of ends.
pub(crate) trait Notified: Send + Sync {
    fn notify(&self, terminated: Terminated);
}

impl<A: RemoteActor> Watchable for Mailbox<A> {
    fn actor_type(&self) -> WireId {
        A::TYPE_ID
    }

    fn add(&self, tie: Tie) -> Result<(), TerminatedReason> {
        self.with_watchers(|watchers, exit| match exit {
            Some(reason) => Err(reason.into()),
            None => {
                watchers.get_or_insert_default().add(tie);
                Ok(())
            }
        })
    }

    fn remove(&self, key: &Key) -> Option<Tie> {
        self.with_watchers(|watchers, _| {
            let removed = watchers.as_mut()?.remove(key);
            watchers.take_if(|watchers| watchers.is_empty());
            removed
        })
    }

    fn fail(&self, reason: TerminatedReason) -> Vec<Tie> {
        let links = self.with_watchers(|watchers, exit| match exit {
            Some(_) => None,
            None => Some(watchers.get_or_insert_default().fail(reason)),
        });
        let Some(links) = links else { return Vec::new() };
        self.signal(Signal::Linked);
        links
    }

    fn unlinked(&self, number: Number) {
        self.push_reserved(Box::new(UnlinkedEnvelope(number)));
    }
}

impl<A: RemoteActor + Handler<Terminated>> Notified for Mailbox<A> {
    fn notify(&self, terminated: Terminated) {
        self.push_reserved(Box::new(TerminatedEnvelope(terminated)));
    }
}

/// For the activation.
impl<A: RemoteActor> Mailbox<A> {
    /// Why the instance is to fail with one that it is linked to, if it is.
    pub(crate) fn failing(&self) -> Option<TerminatedReason> {
        self.with_watchers(|watchers, _| watchers.as_ref()?.failing())
    }

    /// An instance begins: what was to fail with another was none, or the one before.
    pub(crate) fn instance_begins(&self) {
        self.with_watchers(|watchers, _| {
            if let Some(watchers) = watchers {
                watchers.instance_begins();
            }
        });
    }

    /// The instance has ended. Returns those that are linked to it.
    pub(super) fn instance_ended(&self) -> Vec<Tie> {
        self.with_watchers(|watchers, _| {
            watchers.as_mut().map_or_else(Vec::new, |watchers| watchers.instance_ended())
        })
    }

    /// The actor has ended, and its reason is recorded. Returns all its watchers.
    pub(super) fn take_watchers(&self) -> Vec<Tie> {
        let watchers = self.with_watchers(|watchers, _| watchers.take());
        watchers.map_or_else(Vec::new, |watchers| Watchers::into_ties(*watchers))
    }

    /// The links that others have set to this actor.
    pub(super) fn links(&self) -> Vec<Tie> {
        self.with_watchers(|watchers, _| {
            watchers.as_ref().map_or_else(Vec::new, |watchers| watchers.links())
        })
    }
}

/// Where a target is.
#[derive(Clone)]
pub(crate) enum Party {
    /// On this node, with this mailbox.
    Here(Arc<dyn Watchable>),
    /// At the other end of this session.
    There(actix_cluster_transport::Session),
}

impl PartialEq for Party {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(a), Self::Here(b)) => std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b)),
            (Self::There(a), Self::There(b)) => a == b,
            (Self::Here(_), Self::There(_)) | (Self::There(_), Self::Here(_)) => false,
        }
    }
}
