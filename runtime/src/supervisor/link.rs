//! What ties a child to its supervisor: orders one way, reports the other.
//!
//! Invariant: a child reports each instance's start at most once, its end once, and its own end
//! once, after all else. It makes no instance that was not ordered.
//! Knows neither side's state: the supervisor's [`Plan`](super::plan::Plan) decides.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    actor::{
        ActorId, ExitReason,
        mailbox::{Mailbox, Signal},
        restart::Ended,
    },
    remote_actor::RemoteActor,
    supervisor::inbox::{Event, Inbox},
};

/// What a child without an instance is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Make an instance.
    Begin,
    /// End for good: close the mailbox.
    Finish(ExitReason),
}

/// What a child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Its instance has started.
    Started,
    /// Its instance has ended, or could not be started. The mailbox is kept.
    Ended(Ended),
    /// It has ended for good.
    Left,
}

/// The child's end.
#[derive(Debug)]
pub(crate) struct Link {
    child: ActorId,
    supervisor: Arc<Inbox>,
    order: Mutex<Option<Order>>,
}

impl Link {
    pub(crate) fn new(child: ActorId, supervisor: Arc<Inbox>) -> Self {
        Self { child, supervisor, order: Mutex::new(None) }
    }

    pub(crate) fn report(&self, report: Report) {
        self.supervisor.push(Event::Reported(self.child, report));
    }

    /// The order that was not carried out yet.
    pub(crate) fn take_order(&self) -> Option<Order> {
        self.lock().take()
    }

    /// Leaves an order; the child is to be woken then.
    fn order(&self, order: Order) {
        *self.lock() = Some(order);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Order>> {
        // An order is replaced whole, so a poisoned lock guards a whole one.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child as its supervisor reaches it.
#[derive(Clone)]
pub(crate) struct Child {
    link: Arc<Link>,
    signals: Arc<dyn Signals>,
}

/// Who takes signals: an actor's mailbox, or a supervisor's inbox.
pub(crate) trait Signals: Send + Sync {
    /// Raises a signal, and wakes whoever is to see it.
    fn raise(&self, signal: Signal);
    /// Takes back what was meant for an instance that has ended.
    fn clear(&self, signal: Signal);
}

impl<A: RemoteActor> Signals for Mailbox<A> {
    fn raise(&self, signal: Signal) {
        self.signal(signal);
    }

    fn clear(&self, signal: Signal) {
        self.clear_signal(signal);
    }
}

impl Child {
    pub(crate) fn new(link: Arc<Link>, signals: Arc<dyn Signals>) -> Self {
        Self { link, signals }
    }

    /// Has an instance made. The last one has ended: what it was told is over.
    pub(crate) fn begin(&self) {
        self.signals.clear(Signal::Passivate);
        self.signals.clear(Signal::Halt);
        self.signals.clear(Signal::Linked);
        self.signals.clear(Signal::Kill);
        self.tell(Order::Begin);
    }

    /// Asks the instance to end, hooks included.
    pub(crate) fn halt(&self) {
        self.signals.raise(Signal::Halt);
    }

    /// Has the instance dropped.
    pub(crate) fn kill(&self) {
        self.signals.raise(Signal::Kill);
    }

    /// Ends a child without an instance for good.
    pub(crate) fn finish(&self, reason: ExitReason) {
        self.tell(Order::Finish(reason));
    }

    fn tell(&self, order: Order) {
        self.link.order(order);
        self.signals.raise(Signal::None);
    }
}
