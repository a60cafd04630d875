//! Messages to all routees: to each, or for the first answer.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use super::Router;
use crate::{
    reference::{AskError, RejectReason, TellError},
    remote_actor::{HandledBy, RemoteActor},
};

impl<A: RemoteActor> Router<A> {
    /// Sends `msg` to each routee, all at once, and waits until each has accepted it or given it back, as
    /// [`ActorRef::tell`](crate::ActorRef::tell) does. Returns what was given back.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the future sends to nobody more; those who have accepted the message have it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{Handles, RemoteMessage, Router};
    /// # async fn example<A: Handles<M>, M: RemoteMessage + Clone>(caches: Router<A>, clear: M) {
    /// for refused in caches.broadcast(clear).await {
    ///     eprintln!("{refused}");
    /// }
    /// # }
    /// ```
    pub async fn broadcast<M: HandledBy<A> + Clone>(&self, msg: M) -> Vec<TellError<M>> {
        self.maintain();
        let routees = self.routees();
        let mut tells: Vec<_> =
            routees.iter().map(|routee| Some(routee.tell(msg.clone()))).collect();
        let mut refused = Vec::new();
        poll_fn(|task| {
            for slot in &mut tells {
                let Some(tell) = slot else { continue };
                if let Poll::Ready(told) = Pin::new(tell).poll(task) {
                    refused.extend(told.err());
                    *slot = None;
                }
            }
            match tells.iter().all(Option::is_none) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        refused
    }

    /// Asks all routees at once, and returns the first reply that comes; what has not had its turn by
    /// then never has, on this node, and what the others reply is dropped. For questions that each
    /// routee can answer, and some faster than others.
    ///
    /// # Errors
    ///
    /// Once all have failed, the last error of those that say that the message can have run; where it ran
    /// nowhere, the last one. Without a routee, [`RejectReason::NoSuchActor`].
    ///
    /// # Cancel safety
    ///
    /// As [`Ask`](crate::Ask), for each of them.
    pub async fn ask_first<M: HandledBy<A> + Clone>(
        &self,
        msg: M,
        timeout: Duration,
    ) -> Result<M::Reply, AskError<M>> {
        self.maintain();
        let routees = self.routees();
        let ask = |routee: &crate::ActorRef<A>| Some(routee.ask(msg.clone()).within(timeout));
        let mut asks: Vec<_> = routees.iter().map(ask).collect();
        let mut last = None;
        let first = poll_fn(|task| {
            for slot in &mut asks {
                let Some(ask) = slot else { continue };
                match Pin::new(ask).poll(task) {
                    Poll::Ready(Ok(reply)) => return Poll::Ready(Some(reply)),
                    Poll::Ready(Err(error)) => {
                        *slot = None;
                        // That it did not run is true of all of them or of none.
                        if last.is_none() || !matches!(error, AskError::Rejected { .. }) {
                            last = Some(error);
                        }
                    }
                    Poll::Pending => {}
                }
            }
            match asks.iter().all(Option::is_none) {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await;
        let nobody = || AskError::Rejected { reason: RejectReason::NoSuchActor, message: msg };
        first.ok_or_else(|| last.unwrap_or_else(nobody))
    }
}
