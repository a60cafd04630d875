//! Handlers that are given what it takes to answer.

use actix::Actor;

use super::{mode::Mode, owed::Owed};
use crate::{
    actor::ClusterContext, interceptor::Shown, message::RemoteMessage, remote_actor::RemoteActor,
    responder::Responder,
};

/// Handles a message, and answers by its [`Responder`]: now, later, or from elsewhere.
///
/// List the message as `responder M` in `handles(..)`. The turn ends when `handle` returns; the ask ends
/// when the responder is used, or dropped. One of an asker on another node takes of that node's share of
/// unsettled messages for this actor (1,024) for as long as it is held.
///
/// An example stands with [`Responder`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no responding handler of `{M}`",
    label = "`responder {M}` asks for `RespondingHandler<{M}>`",
    note = "implement it: `impl RespondingHandler<{M}> for {Self}`, with `fn handle(&mut self, msg: {M}, responder: Responder<{M}>, ctx: &mut Self::Context)`"
)]
pub trait RespondingHandler<M: RemoteMessage>: Actor {
    /// Handles `msg`.
    fn handle(&mut self, msg: M, responder: Responder<M>, ctx: &mut Self::Context);
}

/// By [`RespondingHandler`].
pub(crate) struct Responding;

impl<A, M> Mode<A, M> for Responding
where
    A: RemoteActor + RespondingHandler<M>,
    M: RemoteMessage,
{
    fn handle(
        msg: M,
        owed: Owed<M::Result>,
        shown: Shown,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
    ) {
        if owed.is_asked() {
            let responder = Responder::new(ctx.core(), owed);
            actor.handle(msg, responder, ctx);
            return shown.ended();
        }
        // If it panics, what is owed says so when it is dropped.
        actor.handle(msg, Responder::of_tell(), ctx);
        shown.ended();
        owed.finish();
    }
}
