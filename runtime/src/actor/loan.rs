//! An instance and its context, out of the activation's hands for a while.
//!
//! A handler that awaits needs its actor across polls, and the activation can't keep it meanwhile.
//! So both are moved into the handler's future. Invariant: however that future ends (ready, dropped
//! at an await, unwinding), they are back at [`Home`] then, for the activation to go on with.

use std::{cell::RefCell, fmt, future::Future, pin::Pin, rc::Rc};

use actix::Actor;

use super::ClusterContext;
use crate::message::WireId;

/// What handles one message over several polls.
pub(crate) type Handling = Pin<Box<dyn Future<Output = ()>>>;

/// A message whose turn has begun and needs more than the call that began it.
pub(crate) enum Begun<A: Actor> {
    /// This message holds the actor until it ends.
    Exclusive(WireId, Box<dyn FnOnce(Lent<A>) -> Handling>),
    /// It reaches the actor at [`Home`] while it is polled.
    Reentrant(Handling),
}

/// An instance and its context.
pub(crate) struct Instance<A: Actor> {
    pub(crate) actor: A,
    pub(crate) ctx: ClusterContext<A>,
}

/// Where an instance is to be found when it is neither with the activation nor lent.
pub(crate) struct Home<A: Actor>(RefCell<Option<Instance<A>>>);

impl<A: Actor> Home<A> {
    pub(crate) fn put(&self, instance: Instance<A>) {
        let before = self.0.replace(Some(instance));
        debug_assert!(before.is_none(), "an activation has one instance");
    }

    pub(crate) fn take(&self) -> Option<Instance<A>> {
        self.0.take()
    }

    /// Uses the instance where it is.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut A, &mut ClusterContext<A>) -> T) -> T {
        let Ok(mut at_home) = self.0.try_borrow_mut() else {
            panic!("an actor is reached twice at a time: call no `with` inside of `with`");
        };
        let Some(Instance { actor, ctx }) = &mut *at_home else {
            panic!("an actor is reached from outside of the handler that was given its `This`");
        };
        run(actor, ctx)
    }
}

impl<A: Actor> Default for Home<A> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

/// An instance that comes home when this is dropped.
pub(crate) struct Lent<A: Actor> {
    /// There until it is dropped.
    instance: Option<Instance<A>>,
    home: Rc<Home<A>>,
}

impl<A: Actor> Lent<A> {
    pub(crate) fn new(instance: Instance<A>, home: Rc<Home<A>>) -> Self {
        Self { instance: Some(instance), home }
    }

    pub(crate) fn parts(&mut self) -> (&mut A, &mut ClusterContext<A>) {
        let Instance { actor, ctx } =
            self.instance.as_mut().expect("it is there until it is dropped");
        (actor, ctx)
    }
}

impl<A: Actor> Drop for Lent<A> {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.home.put(instance);
        }
    }
}

impl<A: Actor> fmt::Debug for Home<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Home")
    }
}
