//! Watching from outside of actors.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{
    Back, Lanes, Number, To, WatchError,
    reason::TerminatedReason,
    set, take_back,
    terminated::{Terminated, WatchId},
    watched::Watched,
};
use crate::{
    actor::ActorId,
    node::NodeCore,
    reference::{ActorRef, target_hash},
    remote_actor::RemoteActor,
};

/// The end of an actor, for whoever awaits it: a future that is ready once, with one [`Terminated`].
///
/// Made by [`ActorRef::watch`], and watching from then on, polled or not. Dropped, it watches no more.
///
/// # Cancel safety
///
/// Safe as long as it is polled by reference: the end is kept until it is taken.
#[must_use = "a watch that is dropped watches no more"]
pub struct Watch {
    core: Arc<NodeCore>,
    number: Number,
    target: Watched,
    end: oneshot::Receiver<Terminated>,
}

impl<A: RemoteActor> ActorRef<A> {
    /// Watches the actor from outside of any actor. Inside of one, [`ClusterContext::watch`] is the
    /// one to use, and says what both do; but here the end has no place behind what the actor sent.
    ///
    /// Without an end elsewhere it says [`TerminatedReason::Unknown`] once the node of this reference
    /// has shut down.
    ///
    /// [`ClusterContext::watch`]: crate::ClusterContext::watch
    ///
    /// # Errors
    ///
    /// [`WatchError`]: nothing is watched.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ActorRef, RemoteActor, WatchError};
    /// # async fn example<A: RemoteActor>(worker: ActorRef<A>) -> Result<(), WatchError> {
    /// let end = worker.watch()?.await;
    /// println!("{} has ended: {}", end.target, end.reason);
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self) -> Result<Watch, WatchError> {
        if let Some(living) = self.in_next_life() {
            return living.watch();
        }
        let core = Arc::clone(self.core());
        let subject = self.subject(&core);
        let target = subject.watched.clone();
        let (sender, end) = oneshot::channel();
        // On a lane of no actor's: nobody else's messages are to hold it up.
        let lanes = |number: Number| Lanes::one(!target_hash(ActorId(number)));
        let number = set(&core, subject, To::Future(sender), lanes)?;
        Ok(Watch { core, number, target, end })
    }
}

impl Watch {
    /// The handle that its [`Terminated`] bears.
    pub fn id(&self) -> WatchId {
        WatchId(self.number)
    }

    /// Who is watched.
    pub fn target(&self) -> &Watched {
        &self.target
    }
}

impl Future for Watch {
    type Output = Terminated;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Terminated> {
        let Self { number, target, end, .. } = self.get_mut();
        Pin::new(end).poll(task).map(|end| {
            // Without a word only if the node's threads were cut short.
            end.unwrap_or_else(|_| Terminated {
                watch: WatchId(*number),
                target: target.clone(),
                reason: TerminatedReason::Unknown,
            })
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Closed first: whoever polled it is not to be woken by the table.
        self.end.close();
        take_back(&self.core, self.number, Back::Quietly);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.number)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
