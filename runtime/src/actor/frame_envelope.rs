//! The envelope of a message from another node: bytes until its turn.
//!
//! Invariant: the bytes are decoded on the actor's own arbiter, when the turn begins, and an older
//! version becomes the newest; bytes that are no such message are rejected, since nothing has run. The asker is answered by the
//! [`Turn`], whatever the handler does with its reply.

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix::{AsyncContext as _, Handler, dev::MessageResponse, fut::ActorFuture};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{
    ClusterContext,
    envelope::Envelope,
    mailbox::{Mailbox, Remote},
    stash::GivenBack,
};
use crate::{
    cluster::frame::{Frame, Turn},
    message::{RemoteMessage, WireId, version},
    node::{DeadLetters, NodeCore, Sender},
    reference::{RejectReason, UnknownReason},
    remote_actor::RemoteActor,
};

/// A message from another node, of whatever version, for an actor that handles `M`.
pub(crate) struct FrameEnvelope<M> {
    frame: Frame,
    message: PhantomData<fn() -> M>,
}

impl<M> FrameEnvelope<M> {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, message: PhantomData }
    }
}

impl<A, M> Envelope<A> for FrameEnvelope<M>
where
    A: RemoteActor + Handler<M>,
    M: RemoteMessage,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { frame, .. } = *self;
        if let Some(reason) = refusal(&frame, ctx) {
            return frame.reject(reason);
        }
        let decoded = {
            let _scope = NodeCore::enter(ctx.core());
            version::decode::<M>(frame.message, frame.body())
        };
        match decoded {
            Ok(msg) => run(frame, msg, actor, ctx),
            Err(error) => {
                tracing::warn!(
                    actor = A::NAME,
                    message = M::NAME,
                    %error,
                    "a message could not be read; give its change a new version"
                );
                frame.reject(RejectReason::Mismatch);
            }
        }
    }

    fn message(&self) -> Option<WireId> {
        Some(M::WIRE_ID)
    }

    fn remote(&self) -> Option<Remote> {
        self.frame.from()
    }

    fn reject(self: Box<Self>, reason: RejectReason, _: &Mailbox<A>, _: &DeadLetters) {
        self.frame.reject(reason);
    }

    fn redirect(self: Box<Self>, _: &Mailbox<A>, _: &Arc<NodeCore>) {
        self.frame.moved();
    }
}

/// A message from another node that its handler gave back.
struct StashedFrame<M> {
    frame: Frame,
    msg: M,
}

impl<A, M> Envelope<A> for StashedFrame<M>
where
    A: RemoteActor + Handler<M>,
    M: RemoteMessage,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { frame, msg } = *self;
        match refusal(&frame, ctx) {
            Some(reason) => frame.reject(reason),
            None => run(frame, msg, actor, ctx),
        }
    }

    fn message(&self) -> Option<WireId> {
        Some(M::WIRE_ID)
    }

    fn remote(&self) -> Option<Remote> {
        self.frame.from()
    }

    fn reject(self: Box<Self>, reason: RejectReason, _: &Mailbox<A>, _: &DeadLetters) {
        self.frame.reject(reason);
    }

    fn redirect(self: Box<Self>, _: &Mailbox<A>, _: &Arc<NodeCore>) {
        self.frame.moved();
    }
}

/// Why a frame whose turn has come must not run, if it mustn't.
fn refusal<A: RemoteActor>(frame: &Frame, ctx: &ClusterContext<A>) -> Option<RejectReason> {
    if frame.deadline.is_some_and(|deadline| deadline <= ctx.clock().now()) {
        return Some(RejectReason::Expired);
    }
    frame.is_held_back().then_some(RejectReason::EarlierRejected)
}

/// Runs a frame's turn, and answers it.
fn run<A, M>(mut frame: Frame, msg: M, actor: &mut A, ctx: &mut ClusterContext<A>)
where
    A: RemoteActor + Handler<M>,
    M: RemoteMessage,
{
    ctx.begin_turn(Some(const { &M::NAME }), Sender::IsTold);
    let turn = frame.begin();
    let (reply, result) = match turn.is_asked() {
        true => Some(oneshot::channel()).unzip(),
        false => (None, None),
    };
    actor.handle(msg, ctx).handle(ctx, reply);
    if let Some(GivenBack { message, .. }) = ctx.take_returned::<M>() {
        ctx.end_turn();
        frame.take_back(turn);
        ctx.stash(Box::new(StashedFrame { frame, msg: message }));
        return;
    }
    let Some(mut result) = result else {
        ctx.end_turn();
        return turn.finish();
    };
    match result.try_recv() {
        Ok(result) => turn.answer::<M>(result),
        Err(TryRecvError::Closed) => turn.fail(UnknownReason::NoReply),
        Err(TryRecvError::Empty) => {
            let mailbox = ctx.mailbox();
            let panics = mailbox.panics();
            ctx.spawn(Answering::<A, M> { result, turn: Some(turn), mailbox, panics });
        }
    }
    ctx.end_turn();
}

/// Answers an asker of another node once the actor has.
struct Answering<A: RemoteActor, M: RemoteMessage> {
    result: oneshot::Receiver<M::Result>,
    turn: Option<Turn>,
    mailbox: Arc<Mailbox<A>>,
    panics: u32,
}

impl<A: RemoteActor, M: RemoteMessage> ActorFuture<A> for Answering<A, M> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        _: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        // Without a result the turn stays, and ends when this future is dropped.
        if let Ok(result) = ready!(Pin::new(&mut this.result).poll(task))
            && let Some(turn) = this.turn.take()
        {
            turn.answer::<M>(result);
        }
        Poll::Ready(())
    }
}

impl<A: RemoteActor, M: RemoteMessage> Drop for Answering<A, M> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            let panicked = self.mailbox.panics() != self.panics;
            let reason = if panicked { UnknownReason::Panicked } else { UnknownReason::NoReply };
            turn.fail(reason);
        }
    }
}

// Nothing in it is pinned.
impl<A: RemoteActor, M: RemoteMessage> Unpin for Answering<A, M> {}
