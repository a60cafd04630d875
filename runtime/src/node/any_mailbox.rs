//! Mailboxes of any actor type, as the tables of a node hold them.

use std::{any::Any, sync::Arc};

use super::{EntityKey, activity::Activity};
use crate::{
    actor::mailbox::{Mailbox, Signal},
    message::WireId,
    remote_actor::{MessageTable, RemoteActor},
    watch::Watchable,
};

/// A mailbox whose actor type is known to its user alone.
pub(crate) trait AnyMailbox: Send + Sync {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn signal(&self, signal: Signal);
    /// Asks for passivation, unless a message has come since that tick.
    fn signal_idle(&self, used_at: u32);
    /// When a message came last, by the node's ticks.
    fn used_at(&self) -> u32;
    /// Whether it was asked to be passivated, or to end, and has not yet.
    fn is_asked_to_go(&self) -> bool;
    /// Whether it accepts no messages any more; of one that references lead to.
    fn is_closed(&self) -> bool {
        false
    }
    /// Itself, if it is one that references lead to.
    fn watchable(self: Arc<Self>) -> Option<Arc<dyn Watchable>>;
    /// The name of the actor's type.
    fn type_name(&self) -> &'static str;
    /// The key, if the actor is an entity.
    fn key(&self) -> Option<&str> {
        None
    }
    /// The name of one of its messages.
    fn message_name(&self, _: WireId) -> Option<&'static str> {
        None
    }
    /// What its actor does, if it is one that references lead to.
    fn activity(&self) -> Option<Activity> {
        None
    }
}

impl<A: RemoteActor> AnyMailbox for Mailbox<A> {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn signal(&self, signal: Signal) {
        Mailbox::signal(self, signal);
    }

    fn signal_idle(&self, used_at: u32) {
        Mailbox::signal_idle(self, used_at);
    }

    fn used_at(&self) -> u32 {
        Mailbox::used_at(self)
    }

    fn is_asked_to_go(&self) -> bool {
        self.signalled() != Signal::None
    }

    fn is_closed(&self) -> bool {
        Mailbox::is_closed(self)
    }

    fn watchable(self: Arc<Self>) -> Option<Arc<dyn Watchable>> {
        Some(self)
    }

    fn type_name(&self) -> &'static str {
        A::NAME
    }

    fn key(&self) -> Option<&str> {
        self.entity().map(EntityKey::as_str)
    }

    fn message_name(&self, id: WireId) -> Option<&'static str> {
        MessageTable::<A>::collect()
            .ok()?
            .facts()
            .find(|facts| facts.id == id)
            .map(|facts| facts.name)
    }

    fn activity(&self) -> Option<Activity> {
        Some(Mailbox::activity(self))
    }
}

/// The mailbox of a supervisor's child: the node's end reaches it through its supervisor, in order.
pub(crate) struct Supervised<A: RemoteActor>(pub(crate) Arc<Mailbox<A>>);

impl<A: RemoteActor> AnyMailbox for Supervised<A> {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.0) as Arc<dyn Any + Send + Sync>
    }

    fn signal(&self, signal: Signal) {
        if signal != Signal::NodeStop {
            self.0.signal(signal);
        }
    }

    fn signal_idle(&self, used_at: u32) {
        self.0.signal_idle(used_at);
    }

    fn used_at(&self) -> u32 {
        self.0.used_at()
    }

    fn is_asked_to_go(&self) -> bool {
        self.0.signalled() != Signal::None
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn watchable(self: Arc<Self>) -> Option<Arc<dyn Watchable>> {
        Some(Arc::clone(&self.0) as Arc<dyn Watchable>)
    }

    fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    fn message_name(&self, id: WireId) -> Option<&'static str> {
        self.0.message_name(id)
    }

    fn activity(&self) -> Option<Activity> {
        Some(Mailbox::activity(&self.0))
    }
}
