//! Sending without a reply.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_cluster_transport::{clock::Sleep, wait_list::Ticket};

use super::{ActorRef, RejectReason, TellError, actor_ref::Place};
use crate::{
    actor::{
        envelope::LocalTell,
        mailbox::{Refusal, Slot},
    },
    message::RemoteMessage,
    remote_actor::{Handles, RemoteActor},
};

/// How long a tell waits for room unless told otherwise.
pub const DEFAULT_TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// The future of [`ActorRef::tell`].
///
/// # Cancel safety
///
/// The message takes its place in the order at the first poll. Dropped before it is ready, the
/// future sends nothing, and the message is gone with it.
#[must_use = "a tell does nothing until it is awaited"]
pub struct Tell<A: RemoteActor, M> {
    target: ActorRef<A>,
    msg: Option<M>,
    timeout: Duration,
    wait: Wait,
}

impl<A: Handles<M>, M: RemoteMessage> Tell<A, M> {
    pub(super) fn new(target: ActorRef<A>, msg: M) -> Self {
        Self { target, msg: Some(msg), timeout: DEFAULT_TELL_TIMEOUT, wait: Wait::default() }
    }

    /// Waits for room for at most `timeout`. Default 5 s; zero is as `try_tell`.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// A place in a mailbox's line, and the time until it is given up.
#[derive(Default)]
pub(super) struct Wait {
    pub(super) ticket: Option<Ticket>,
    pub(super) sleep: Option<Sleep>,
}

impl Wait {
    /// Waits for a place in a local mailbox; `Err` once there will be none.
    pub(super) fn poll_slot<'a, A: RemoteActor>(
        &mut self,
        target: &'a ActorRef<A>,
        timeout: Duration,
        task: &mut Context<'_>,
    ) -> Poll<Result<Slot<'a, A>, RejectReason>> {
        let Place::Local { core, mailbox } = &target.place else {
            return Poll::Ready(Err(target.away_reason()));
        };
        match mailbox.reserve(self.ticket, task.waker()) {
            Ok(slot) => {
                self.ticket = None;
                return Poll::Ready(Ok(slot));
            }
            Err(Refusal::Closed(reason)) => {
                self.ticket = None;
                return Poll::Ready(Err(reason));
            }
            Err(Refusal::Full(None)) => return Poll::Ready(Err(RejectReason::Full)),
            Err(Refusal::Full(ticket)) => self.ticket = ticket,
        }
        let sleep = self.sleep.get_or_insert_with(|| core.clock().sleep(timeout));
        ready!(sleep.as_mut().poll(task));
        self.leave(target);
        Poll::Ready(Err(RejectReason::Full))
    }

    pub(super) fn leave<A: RemoteActor>(&mut self, target: &ActorRef<A>) {
        if let (Some(ticket), Place::Local { mailbox, .. }) = (self.ticket.take(), &target.place) {
            mailbox.abandon(ticket);
        }
    }
}

impl<A: Handles<M>, M: RemoteMessage> Future for Tell<A, M> {
    type Output = Result<(), TellError<M>>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let slot = ready!(this.wait.poll_slot(&this.target, this.timeout, task));
        let message = this.msg.take().expect("a tell is not polled after it was ready");
        Poll::Ready(match slot {
            Ok(slot) => {
                slot.fill(Box::new(LocalTell(message)));
                Ok(())
            }
            Err(reason) => Err(TellError { reason, message }),
        })
    }
}

// The message is only ever moved out, never pinned.
impl<A: RemoteActor, M> Unpin for Tell<A, M> {}

impl<A: RemoteActor, M> Drop for Tell<A, M> {
    fn drop(&mut self) {
        self.wait.leave(&self.target);
    }
}

impl<A: RemoteActor, M> fmt::Debug for Tell<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tell").field("target", &self.target).finish_non_exhaustive()
    }
}
