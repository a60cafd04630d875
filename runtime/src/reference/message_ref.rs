//! A reference narrowed to one message.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{ActorRef, AskError, TellError};
use crate::{
    message::RemoteMessage,
    remote_actor::{HandledBy, RemoteActor},
};

/// A reference to any actor that handles `M`, for callers that need not know which.
///
/// # Examples
///
/// ```no_run
/// # use actix_cluster::{ActorRef, Handles, MessageRef, RemoteMessage};
/// # fn narrow<A: Handles<M>, M: RemoteMessage>(account: ActorRef<A>) {
/// let deposits: MessageRef<M> = account.narrow();
/// # }
/// ```
pub struct MessageRef<M: RemoteMessage>(Arc<dyn Target<M>>);

type Sending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

trait Target<M: RemoteMessage>: fmt::Debug + Send + Sync {
    fn tell(&self, msg: M) -> Sending<Result<(), TellError<M>>>;
    fn try_tell(&self, msg: M) -> Result<(), TellError<M>>;
    fn ask(&self, msg: M, timeout: Duration) -> Sending<Result<M::Reply, AskError<M>>>;
}

impl<A: RemoteActor, M: HandledBy<A>> Target<M> for ActorRef<A> {
    fn tell(&self, msg: M) -> Sending<Result<(), TellError<M>>> {
        Box::pin(ActorRef::tell(self, msg))
    }

    fn try_tell(&self, msg: M) -> Result<(), TellError<M>> {
        ActorRef::try_tell(self, msg)
    }

    fn ask(&self, msg: M, timeout: Duration) -> Sending<Result<M::Reply, AskError<M>>> {
        Box::pin(ActorRef::ask(self, msg).within(timeout))
    }
}

impl<M: RemoteMessage> MessageRef<M> {
    pub(super) fn new<A: RemoteActor>(target: ActorRef<A>) -> Self
    where
        M: HandledBy<A>,
    {
        Self(Arc::new(target))
    }

    /// As [`ActorRef::tell`].
    ///
    /// # Errors
    ///
    /// As [`ActorRef::tell`].
    ///
    /// # Cancel safety
    ///
    /// As [`Tell`](super::Tell).
    pub async fn tell(&self, msg: M) -> Result<(), TellError<M>> {
        self.0.tell(msg).await
    }

    /// As [`ActorRef::try_tell`].
    ///
    /// # Errors
    ///
    /// As [`ActorRef::try_tell`].
    pub fn try_tell(&self, msg: M) -> Result<(), TellError<M>> {
        self.0.try_tell(msg)
    }

    /// As [`ActorRef::ask`], with its timeout.
    ///
    /// # Errors
    ///
    /// As [`ActorRef::ask`].
    ///
    /// # Cancel safety
    ///
    /// As [`Ask`](super::Ask).
    pub async fn ask(&self, msg: M, timeout: Duration) -> Result<M::Reply, AskError<M>> {
        self.0.ask(msg, timeout).await
    }
}

impl<M: RemoteMessage> Clone for MessageRef<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: RemoteMessage> fmt::Debug for MessageRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageRef").field(&self.0).finish()
    }
}
