//! Handlers that hold their actor while they await.

use std::future::Future;

use actix::{Actor, Message};

use super::{ending::Ending, mode::Mode, owed::Owed};
use crate::{
    actor::{
        ClusterContext,
        loan::{Begun, Handling, Lent},
    },
    call::{chain::Link, current::awaiting},
    interceptor::Shown,
    message::RemoteMessage,
    remote_actor::RemoteActor,
};

/// Handles a message by an `async fn` that has the actor to itself.
///
/// List the message as `async M` in `handles(..)`. From the message's turn until the future ends nothing
/// else of the actor runs: other messages wait in the mailbox, its futures and timers wait too, as under
/// [`ctx.wait`](actix::AsyncContext::wait). So no state changes under the handler's hands, and an await
/// of something that needs this very actor never ends; for that there is
/// [`ReentrantHandler`](super::ReentrantHandler). What the handler gives to the context (`spawn`, `wait`,
/// `stop`, `passivate`) takes effect once it has ended.
///
/// Not every future ends. It is dropped at the await where it is
///
/// - when the actor is stopped, killed or moved, or its node shuts down: hooks run after that, and the
///   message ends *unknown*;
/// - when its asker has gone: the ask was dropped, or its deadline has passed. The actor goes on with
///   its next message, so whatever must stay whole is not to be left half-done across an await.
///
/// A panic is as in any other handler: the message ends *unknown*, the instance is replaced, the mailbox
/// is kept. The message counts against the mailbox's capacity until it has ended.
///
/// # Examples
///
/// ```
/// use actix_cluster::{AsyncHandler, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "i64")]
/// #[remote(name = "bank.Deposit", version = 1)]
/// struct Deposit(i64);
///
/// #[derive(RemoteActor)]
/// #[remote(name = "bank.Account", handles(async Deposit))]
/// struct Account(i64);
///
/// impl Actor for Account {
///     type Context = ClusterContext<Self>;
/// }
///
/// # async fn write_to_journal(_: i64) {}
/// impl AsyncHandler<Deposit> for Account {
///     async fn handle(&mut self, Deposit(amount): Deposit, _: &mut Self::Context) -> i64 {
///         write_to_journal(amount).await;
///         self.0 += amount;
///         self.0
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no async handler of `{M}`",
    label = "`async {M}` asks for `AsyncHandler<{M}>`",
    note = "implement it: `impl AsyncHandler<{M}> for {Self}`, with `async fn handle(&mut self, msg: {M}, ctx: &mut Self::Context) -> ..`"
)]
pub trait AsyncHandler<M: Message>: Actor {
    /// Handles `msg`. The future need not be `Send`: it stays on the actor's arbiter.
    fn handle(&mut self, msg: M, ctx: &mut Self::Context) -> impl Future<Output = M::Result>;
}

/// By [`AsyncHandler`].
pub(crate) struct Exclusive;

impl<A, M> Mode<A, M> for Exclusive
where
    A: RemoteActor + AsyncHandler<M>,
    M: RemoteMessage,
{
    fn handle(msg: M, owed: Owed<M::Result>, shown: Shown, _: &mut A, ctx: &mut ClusterContext<A>) {
        let own = Link::new(ctx.core(), &ctx.mailbox());
        let (travels, deadline) = (owed.travels().clone(), owed.deadline());
        let ending = Ending::new::<M>(owed, ctx).shown(shown);
        let begin = move |mut lent: Lent<A>| -> Handling {
            let handling = async move {
                let (actor, ctx) = lent.parts();
                actor.handle(msg, ctx).await
            };
            Box::pin(ending.of(awaiting(travels, Some(own), deadline, handling)))
        };
        ctx.begin(Begun::Exclusive(M::WIRE_ID, Box::new(begin)));
    }
}
