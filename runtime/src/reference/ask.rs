//! Sending, and awaiting one reply before a deadline.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_cluster_transport::clock::Sleep;
use tokio::sync::oneshot;

use super::{
    ActorRef, AskError,
    actor_ref::Place,
    tell::{DEFAULT_TELL_TIMEOUT, Wait},
};
use crate::{
    actor::envelope::{AskCell, AskEnd, LocalAsk},
    message::RemoteMessage,
    remote_actor::{Handles, RemoteActor},
};

/// How long an ask waits for its reply unless told otherwise.
pub const DEFAULT_ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The future of [`ActorRef::ask`].
///
/// # Cancel safety
///
/// The message takes its place in the order at the first poll. Dropping the future cancels the
/// ask: if the message's turn has not begun, it never runs; if it has, the reply is dropped.
#[must_use = "an ask does nothing until it is awaited"]
pub struct Ask<A: RemoteActor, M: RemoteMessage> {
    target: ActorRef<A>,
    timeout: Duration,
    stage: Stage<M>,
    wait: Wait,
}

enum Stage<M: RemoteMessage> {
    Unsent { msg: M, deadline: Option<Instant> },
    Sent { reply: oneshot::Receiver<M::Result>, cell: Arc<AskCell<M>>, deadline: Deadline },
    Done,
}

/// A deadline whose timer is made once it is needed: most replies come before.
struct Deadline {
    at: Instant,
    sleep: Option<Sleep>,
}

impl<A: Handles<M>, M: RemoteMessage> Ask<A, M> {
    pub(super) fn new(target: ActorRef<A>, msg: M) -> Self {
        let stage = Stage::Unsent { msg, deadline: None };
        Self { target, timeout: DEFAULT_ASK_TIMEOUT, stage, wait: Wait::default() }
    }

    /// Waits for the reply for at most `timeout`, counted from the first poll. Default 5 s.
    ///
    /// The wait for room is part of it, and is itself at most 5 s.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn poll_sent(&mut self, task: &mut Context<'_>) -> Poll<Result<M::Reply, AskError<M>>> {
        let Place::Local { core, mailbox } = &self.target.place else {
            unreachable!("only a local mailbox accepts an ask")
        };
        let Stage::Sent { reply, cell, deadline } = &mut self.stage else {
            panic!("an ask is not polled after it was ready")
        };
        if let Poll::Ready(result) = Pin::new(reply).poll(task) {
            return Poll::Ready(match result {
                Ok(result) => M::into_outcome(result).map_err(AskError::Handler),
                Err(_) => Err(error(cell.closed(mailbox.panics()))),
            });
        }
        let at = deadline.at;
        let sleep = deadline.sleep.get_or_insert_with(|| core.clock().sleep_until(at));
        ready!(sleep.as_mut().poll(task));
        Poll::Ready(Err(error(cell.expire())))
    }
}

fn error<M: RemoteMessage>(end: AskEnd<M>) -> AskError<M> {
    match end {
        AskEnd::Rejected(reason, message) => AskError::Rejected { reason, message },
        AskEnd::Unknown(reason) => AskError::Unknown(reason),
    }
}

impl<A: Handles<M>, M: RemoteMessage> Future for Ask<A, M> {
    type Output = Result<M::Reply, AskError<M>>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::Unsent { deadline, .. } = &mut this.stage {
            let timeout = this.timeout;
            let deadline = *deadline.get_or_insert_with(|| this.target.clock().after(timeout));
            let patience = timeout.min(DEFAULT_TELL_TIMEOUT);
            let slot = ready!(this.wait.poll_slot(&this.target, patience, task));
            let Stage::Unsent { msg, .. } = std::mem::replace(&mut this.stage, Stage::Done) else {
                unreachable!("the stage was looked at above")
            };
            match slot {
                Ok(slot) => {
                    let (envelope, reply, cell) = LocalAsk::new(msg, deadline);
                    slot.fill(envelope);
                    let deadline = Deadline { at: deadline, sleep: None };
                    this.stage = Stage::Sent { reply, cell, deadline };
                    this.wait = Wait::default();
                }
                Err(reason) => {
                    return Poll::Ready(Err(AskError::Rejected { reason, message: msg }));
                }
            }
        }
        let outcome = ready!(this.poll_sent(task));
        this.stage = Stage::Done;
        Poll::Ready(outcome)
    }
}

// The message is only ever moved out, never pinned.
impl<A: RemoteActor, M: RemoteMessage> Unpin for Ask<A, M> {}

impl<A: RemoteActor, M: RemoteMessage> Drop for Ask<A, M> {
    fn drop(&mut self) {
        self.wait.leave(&self.target);
    }
}

impl<A: RemoteActor, M: RemoteMessage> fmt::Debug for Ask<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("target", &self.target).finish_non_exhaustive()
    }
}
