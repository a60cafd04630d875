//! Results of futures that come back as messages.
//!
//! Invariant: the message takes its place in the mailbox as one that was told does, and what waits for
//! room belongs to the instance: it is dropped with it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix::{Actor, Handler, Message, dev::MessageResponse, fut::ActorFuture};
use actix_cluster_transport::wait_list::Ticket;

use crate::{
    actor::{
        ClusterContext,
        envelope::{BoxEnvelope, Envelope},
        mailbox::{Mailbox, Refusal},
    },
    call::{
        Travelling,
        current::{self, Current},
    },
    node::{DeadLetters, Sender},
    reference::RejectReason,
    remote_actor::RemoteActor,
};

/// A message that an actor sends itself; it need not be a remote one.
struct Piped<M>(M, Travelling);

impl<A, M> Envelope<A> for Piped<M>
where
    A: RemoteActor + Handler<M>,
    M: Message + Send + 'static,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self(msg, travels) = *self;
        let _entered = Current::enter(&travels);
        ctx.begin_turn(None, Sender::IsGone);
        actor.handle(msg, ctx).handle(ctx, None);
        ctx.end_turn();
    }

    fn reject(
        self: Box<Self>,
        reason: RejectReason,
        mailbox: &Mailbox<A>,
        dead_letters: &DeadLetters,
    ) {
        dead_letters.rejected(reason, |letters| letters.about_mailbox(mailbox, None));
    }
}

/// A future whose result is to come back.
pub(crate) struct Pipe<A: Actor, F, T> {
    future: Pin<Box<F>>,
    into_message: Option<T>,
    /// The message, once it is there and waits for room.
    message: Option<BoxEnvelope<A>>,
    ticket: Option<Ticket>,
    mailbox: Arc<Mailbox<A>>,
}

impl<A: Actor, F: Future, T> Pipe<A, F, T> {
    pub(crate) fn new(mailbox: Arc<Mailbox<A>>, future: F, into_message: T) -> Self {
        let future = Box::pin(future);
        Self { future, into_message: Some(into_message), message: None, ticket: None, mailbox }
    }
}

impl<A, F, T, M> ActorFuture<A> for Pipe<A, F, T>
where
    A: RemoteActor + Handler<M>,
    F: Future,
    T: FnOnce(F::Output) -> M,
    M: Message + Send + 'static,
{
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        let Self { future, into_message, message, ticket, mailbox } = self.get_mut();
        if into_message.is_some() {
            let result = ready!(future.as_mut().poll(task));
            let travels = current::travelling();
            *message = into_message
                .take()
                .map(|into| Box::new(Piped(into(result), travels)) as BoxEnvelope<A>);
        }
        let refusal = match mailbox.reserve(*ticket, task.waker()) {
            Ok(slot) => {
                *ticket = None;
                let rejected = message.take().and_then(|message| slot.fill(message));
                rejected.into_iter().for_each(|it| it.end(mailbox, ctx.core().dead_letters()));
                return Poll::Ready(());
            }
            Err(refusal) => refusal,
        };
        let reason = match refusal {
            Refusal::Full(Some(place)) => {
                *ticket = Some(place);
                return Poll::Pending;
            }
            Refusal::Full(None) => RejectReason::Full,
            Refusal::Closed(reason) => reason,
        };
        *ticket = None;
        let about = |letters: &DeadLetters| letters.about_mailbox(mailbox, None);
        ctx.core().dead_letters().rejected(reason, about);
        Poll::Ready(())
    }
}

impl<A: Actor, F, T> Drop for Pipe<A, F, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.mailbox.abandon(ticket);
        }
    }
}

// The future is pinned by its box, and nothing else is pinned.
impl<A: Actor, F, T> Unpin for Pipe<A, F, T> {}
