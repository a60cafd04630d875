//! Handlers that let other messages run while they await.

use std::{fmt, future::Future, rc::Rc};

use actix::{Actor, Message};

use super::{ending::Ending, mode::Mode, owed::Owed};
use crate::{
    actor::{
        ClusterContext,
        loan::{Begun, Home},
    },
    call::current::awaiting,
    interceptor::Shown,
    message::RemoteMessage,
    remote_actor::RemoteActor,
};

/// Handles a message by an `async fn` that does not hold the actor while it awaits.
///
/// List the message as `reentrant M` in `handles(..)`. The handler runs in the message's turn up to its
/// first await that is not ready; at each such await the actor goes on with other messages, futures and
/// timers, among them other messages of this kind. The handler reaches the actor through
/// [`This::with`], for as long as a closure runs, so that what it has seen before an await may have
/// changed after it. That is what it takes to ask somebody who asks this actor in turn.
///
/// The handler is dropped at the await where it is when the instance ends (then the message ends
/// *unknown*), and when its asker has gone. Until it ends its message counts against the mailbox's
/// capacity, which so bounds how many run at a time: a mailbox full of them takes no other message.
///
/// # Examples
///
/// ```
/// use actix_cluster::{ReentrantHandler, This, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "i64")]
/// #[remote(name = "bank.Audit", version = 1)]
/// struct Audit;
///
/// #[derive(RemoteActor)]
/// #[remote(name = "bank.Account", handles(reentrant Audit))]
/// struct Account(i64);
///
/// impl Actor for Account {
///     type Context = ClusterContext<Self>;
/// }
///
/// # async fn ask_the_branches() -> i64 { 0 }
/// impl ReentrantHandler<Audit> for Account {
///     async fn handle(this: This<Self>, _: Audit) -> i64 {
///         let elsewhere = ask_the_branches().await;
///         this.with(|account, _| account.0 + elsewhere)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no reentrant handler of `{M}`",
    label = "`reentrant {M}` asks for `ReentrantHandler<{M}>`",
    note = "implement it: `impl ReentrantHandler<{M}> for {Self}`, with `async fn handle(this: This<Self>, msg: {M}) -> ..`"
)]
pub trait ReentrantHandler<M: Message>: Actor {
    /// Handles `msg`. The future need not be `Send`: it stays on the actor's arbiter.
    fn handle(this: This<Self>, msg: M) -> impl Future<Output = M::Result>;
}

/// An actor as the handler of a reentrant message reaches it.
///
/// It is of use to the handler that was given it, and to futures that this handler polls itself.
pub struct This<A: Actor>(Rc<Home<A>>);

impl<A: Actor> This<A> {
    pub(super) fn new(ctx: &ClusterContext<A>) -> Self
    where
        A: RemoteActor,
    {
        Self(ctx.home())
    }

    /// Uses the actor and its context. Nothing else of the actor runs meanwhile.
    ///
    /// # Panics
    ///
    /// When it is called inside of another `with` of the same actor, or anywhere but in the handler
    /// that was given this value, such as in a future given to [`ctx.spawn`](actix::AsyncContext::spawn).
    pub fn with<T>(&self, run: impl FnOnce(&mut A, &mut ClusterContext<A>) -> T) -> T {
        self.0.with(run)
    }
}

impl<A: Actor> Clone for This<A> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<A: Actor> fmt::Debug for This<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("This")
    }
}

/// By [`ReentrantHandler`].
pub(crate) struct Reentrant;

impl<A, M> Mode<A, M> for Reentrant
where
    A: RemoteActor + ReentrantHandler<M>,
    M: RemoteMessage,
{
    fn handle(msg: M, owed: Owed<M::Result>, shown: Shown, _: &mut A, ctx: &mut ClusterContext<A>) {
        let (travels, deadline) = (owed.travels().clone(), owed.deadline());
        let ending = Ending::new::<M>(owed, ctx).shown(shown);
        let this = This::new(ctx);
        // The actor itself goes on meanwhile: it can be asked.
        let handling = awaiting(travels, None, deadline, A::handle(this, msg));
        ctx.begin(Begun::Reentrant(Box::pin(ending.of(handling))));
    }
}
