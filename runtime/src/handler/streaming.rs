//! Handlers that answer by many items.

use std::future::Future;

use actix::Actor;

use super::{ending::Ending, mode::Mode, owed::Owed, reentrant::This};
use crate::{
    actor::{ClusterContext, loan::Begun},
    call::current::awaiting,
    interceptor::Shown,
    remote_actor::RemoteActor,
    stream::{ItemSink, StreamMessage},
};

/// Handles a message by sending items, and then its result.
///
/// List the message as `stream M` in `handles(..)`, and state what it is answered by: `items(Row)` in the
/// message's own `#[remote(..)]`. [`ActorRef::ask_stream`](crate::ActorRef::ask_stream) asks it.
///
/// The handler does not hold the actor while it awaits, and reaches it by [`This::with`], as a
/// [`ReentrantHandler`](super::ReentrantHandler) does. [`ItemSink::send`] waits until the reader has
/// room, so a handler is never further ahead of its reader than that allows. When the reader has gone, or
/// its node, what waits in `send` gets its item back, and a handler that awaits anything else is dropped
/// there; so is every handler when its instance ends.
///
/// Told, or asked by [`ask`](crate::ActorRef::ask), nobody reads the items: the sink is closed from the
/// start, and the result is all that is answered.
///
/// # Examples
///
/// ```
/// use actix_cluster::{ItemSink, StreamingHandler, This, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "u32")]
/// #[remote(name = "bank.History", version = 1, items(i64))]
/// struct History;
///
/// #[derive(RemoteActor)]
/// #[remote(name = "bank.Account", handles(stream History))]
/// struct Account(Vec<i64>);
///
/// impl Actor for Account {
///     type Context = ClusterContext<Self>;
/// }
///
/// impl StreamingHandler<History> for Account {
///     async fn handle(this: This<Self>, _: History, mut entries: ItemSink<i64>) -> u32 {
///         let mut sent = 0;
///         while let Some(entry) = this.with(|account, _| account.0.get(sent as usize).copied()) {
///             if entries.send(entry).await.is_err() {
///                 break;
///             }
///             sent += 1;
///         }
///         sent
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().start().await?;
/// let account = node.spawn(|_| Account(vec![5, -2])).start()?;
/// let mut history = account.ask_stream(History);
/// assert_eq!(history.next().await.transpose()?, Some(5));
/// assert_eq!(history.next().await.transpose()?, Some(-2));
/// assert_eq!(history.next().await.transpose()?, None);
/// assert_eq!(history.reply(), Some(2));
/// # node.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no streaming handler of `{M}`",
    label = "`stream {M}` asks for `StreamingHandler<{M}>`",
    note = "implement it: `impl StreamingHandler<{M}> for {Self}`, with `async fn handle(this: This<Self>, msg: {M}, items: ItemSink<..>) -> ..`"
)]
pub trait StreamingHandler<M: StreamMessage>: Actor {
    /// Handles `msg`. The future need not be `Send`: it stays on the actor's arbiter.
    fn handle(
        this: This<Self>,
        msg: M,
        items: ItemSink<M::Item>,
    ) -> impl Future<Output = M::Result>;
}

/// By [`StreamingHandler`].
pub(crate) struct Streaming;

impl<A, M> Mode<A, M> for Streaming
where
    A: RemoteActor + StreamingHandler<M>,
    M: StreamMessage,
{
    fn handle(msg: M, owed: Owed<M::Result>, shown: Shown, _: &mut A, ctx: &mut ClusterContext<A>) {
        let (items, travels) = (ItemSink::of::<M>(&owed, ctx.core()), owed.travels().clone());
        let ending = Ending::new::<M>(owed, ctx).shown(shown);
        // Its reader's patience begins anew with each item, so that no deadline is inherited.
        let handling = awaiting(travels, None, None, A::handle(This::new(ctx), msg, items));
        ctx.begin(Begun::Reentrant(Box::pin(ending.of(handling))));
    }
}
