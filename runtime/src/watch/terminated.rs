//! What a watcher is told.

use std::{fmt, sync::Arc};

use actix::{Actor, Handler, Message, dev::MessageResponse};

use super::{reason::TerminatedReason, table::Number, watched::Watched};
use crate::{
    actor::{ClusterContext, envelope::Envelope, mailbox::Mailbox, stash::GivenBack},
    node::{DeadLetters, NodeCore},
    reference::RejectReason,
    remote_actor::RemoteActor,
};

/// The handle of one watch or link, unique on its node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(crate) Number);

impl fmt::Debug for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch {}", self.0)
    }
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A watched actor has ended; told once for each watch.
///
/// An ordinary message of this node, for actors that [watch](ClusterContext::watch). It comes
/// behind everything that the ended actor had sent to its watcher, and it has a place in the
/// watcher's mailbox that nothing else takes: a full mailbox neither refuses nor drops it.
///
/// It may be stashed ([`OrStash<Terminated>`](crate::OrStash)), beyond the stash's capacity too. It
/// has not been told then: until it is put back, `unwatch` takes it back, and a restart forgets it.
///
/// # Examples
///
/// ```
/// use actix_cluster::{Terminated, prelude::*};
///
/// #[derive(RemoteActor)]
/// #[remote(name = "shop.Till", handles())]
/// struct Till;
/// impl Actor for Till {
///     type Context = ClusterContext<Self>;
/// }
///
/// #[derive(RemoteActor)]
/// #[remote(name = "shop.Desk", handles())]
/// struct Desk(ActorRef<Till>);
/// impl Actor for Desk {
///     type Context = ClusterContext<Self>;
///
///     fn started(&mut self, ctx: &mut Self::Context) {
///         // Again at each restart: a fresh value watches nobody.
///         ctx.watch(&self.0).expect("room for a watch");
///     }
/// }
/// impl Handler<Terminated> for Desk {
///     type Result = ();
///     fn handle(&mut self, till: Terminated, ctx: &mut Self::Context) {
///         println!("{} has ended: {}", till.target, till.reason);
///         ctx.stop();
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terminated {
    /// The watch, as [`ClusterContext::watch`] gave it.
    pub watch: WatchId,
    /// Who has ended.
    pub target: Watched,
    /// Why.
    pub reason: TerminatedReason,
}

impl Message for Terminated {
    type Result = ();
}

/// The end of what an actor watches, on its way through the actor's mailbox.
pub(crate) struct TerminatedEnvelope(pub(crate) Terminated);

impl<A> Envelope<A> for TerminatedEnvelope
where
    A: RemoteActor + Handler<Terminated>,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self(terminated) = *self;
        let WatchId(number) = terminated.watch;
        // The watch may have been taken back, or set by an instance that is gone.
        let Some(bond) = ctx.forget_watch(number) else { return };
        actor.handle(terminated, ctx).handle(ctx, None);
        if let Some(GivenBack { message, .. }) = ctx.take_returned::<Terminated>() {
            // Not told after all. One that was watched anew in this turn has an end of its own.
            if message.watch.0 == number && ctx.keep_watch(number, bond) {
                ctx.stash(Box::new(Self(message)));
            }
        }
    }

    fn is_reserved(&self) -> bool {
        true
    }

    fn end_of(&self) -> Option<WatchId> {
        Some(self.0.watch)
    }

    fn reject(self: Box<Self>, _: RejectReason, _: &Mailbox<A>, _: &DeadLetters) {
        // The watcher has ended, and its watches with it.
    }

    fn redirect(self: Box<Self>, _: &Mailbox<A>, _: &Arc<NodeCore>) {
        // It was for that activation.
    }
}

/// The end of a link that takes nobody with it: its actor is to forget it.
pub(crate) struct UnlinkedEnvelope(pub(crate) Number);

impl<A: Actor<Context = ClusterContext<A>>> Envelope<A> for UnlinkedEnvelope {
    fn handle(self: Box<Self>, _: &mut A, ctx: &mut ClusterContext<A>) {
        ctx.forget_watch(self.0);
    }

    fn is_reserved(&self) -> bool {
        true
    }

    fn reject(self: Box<Self>, _: RejectReason, _: &Mailbox<A>, _: &DeadLetters) {}

    fn redirect(self: Box<Self>, _: &Mailbox<A>, _: &Arc<NodeCore>) {}
}
