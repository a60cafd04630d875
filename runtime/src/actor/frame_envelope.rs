//! The envelope of a message from another node: bytes until its turn.
//!
//! Invariant: the bytes are decoded on the actor's own arbiter, when the turn begins, and an older
//! version becomes the newest; bytes that are no such message are rejected, since nothing has run.
//! The asker is answered by what is [`Owed`] to it, whatever the handler does with its reply.

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
    repeats,
    stash::GivenBack,
};
use crate::{
    call::current::Current,
    cluster::frame::Frame,
    handler::{ending::Ending, mode::Mode, owed::Owed},
    interceptor::{self, Shown},
    message::{RemoteMessage, WireId, version},
    node::{DeadLetters, NodeCore, Sender},
    reference::{RejectReason, UnknownReason},
    remote_actor::RemoteActor,
    responder::carried,
};

/// A message `M` from another node, to be handled in the mode `H`.
pub(crate) struct FrameEnvelope<M, H> {
    frame: Frame,
    message: PhantomData<fn() -> (M, H)>,
}

impl<M, H> FrameEnvelope<M, H> {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, message: PhantomData }
    }
}

impl<A, M, H> Envelope<A> for FrameEnvelope<M, H>
where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { mut frame, .. } = *self;
        if let Some(reason) = refusal(&frame, ctx) {
            return frame.reject(reason);
        }
        let decoded = {
            let _scope = NodeCore::enter(ctx.core());
            carried::lend(&mut frame, |frame| version::decode::<M>(frame.message, frame.body()))
        };
        match decoded {
            Ok(msg) => match interceptor::show::<A, M>(ctx, &frame.travels, || frame.node()) {
                Ok(shown) => run_framed::<A, M, H>(msg, frame, shown, actor, ctx),
                Err(reason) => frame.reject(reason),
            },
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

    fn redirect(self: Box<Self>, _: &Mailbox<A>, core: &Arc<NodeCore>) {
        self.frame.moved(core);
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
        let shown = match refusal(&frame, ctx) {
            Some(reason) => Err(reason),
            None => interceptor::show::<A, M>(ctx, &frame.travels, || frame.node()),
        };
        match shown {
            Ok(shown) => {
                let _entered = Current::enter(&frame.travels);
                run(frame, msg, shown, actor, ctx);
            }
            Err(reason) => frame.reject(reason),
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

    fn redirect(self: Box<Self>, _: &Mailbox<A>, core: &Arc<NodeCore>) {
        self.frame.moved(core);
    }
}

fn run_framed<A, M, H>(
    msg: M,
    mut frame: Frame,
    shown: Shown,
    actor: &mut A,
    ctx: &mut ClusterContext<A>,
) where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    let travels = frame.travels.clone();
    let _entered = Current::enter(&travels);
    let Some(key) = repeats::key_of(&travels).filter(|_| frame.is_asked()) else {
        return H::framed(msg, frame, shown, actor, ctx);
    };
    if ctx.has_no_room_for(key, M::WIRE_ID) {
        shown.taken_back();
        return frame.reject(RejectReason::Full);
    }
    let owed = Owed::framed::<M>(&mut frame);
    repeats::handle::<A, M, H>(key, msg, owed, shown, actor, ctx);
}

/// Why a frame whose turn has come must not run, if it mustn't.
fn refusal<A: RemoteActor>(frame: &Frame, ctx: &ClusterContext<A>) -> Option<RejectReason> {
    if frame.deadline.is_some_and(|deadline| deadline <= ctx.clock().now()) {
        return Some(RejectReason::Expired);
    }
    if frame.is_held_back() {
        return Some(RejectReason::EarlierRejected);
    }
    frame.is_cancelled(ctx.core()).then_some(RejectReason::Cancelled)
}

/// Runs a frame's turn by actix's own handler, and answers it.
pub(crate) fn run<A, M>(
    mut frame: Frame,
    msg: M,
    shown: Shown,
    actor: &mut A,
    ctx: &mut ClusterContext<A>,
) where
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
        shown.taken_back();
        frame.take_back(turn);
        ctx.stash(Box::new(StashedFrame { frame, msg: message }));
        return;
    }
    shown.ended();
    match result {
        Some(result) => answer::<A, M>(result, Owed::of_turn::<M>(&frame, turn), ctx),
        None => turn.finish(),
    }
    ctx.end_turn();
}

/// Answers with what an actix handler gives, now or once it does.
pub(crate) fn answer<A, M>(
    mut result: oneshot::Receiver<M::Result>,
    owed: Owed<M::Result>,
    ctx: &mut ClusterContext<A>,
) where
    A: RemoteActor,
    M: RemoteMessage,
{
    match result.try_recv() {
        Ok(result) => owed.reply(result),
        Err(TryRecvError::Closed) => owed.fail(UnknownReason::NoReply),
        Err(TryRecvError::Empty) => {
            let ending = Ending::new::<M>(owed, ctx);
            ctx.spawn(Answering::<A, M> { result, ending });
        }
    }
}

/// Answers an asker of another node once the actor has.
struct Answering<A: RemoteActor, M: RemoteMessage> {
    result: oneshot::Receiver<M::Result>,
    ending: Ending<A, M::Result>,
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
        // Without a result the end is still owed, and comes when this future is dropped.
        if let Ok(result) = ready!(Pin::new(&mut this.result).poll(task)) {
            this.ending.reply(result);
        }
        Poll::Ready(())
    }
}

// Nothing in it is pinned.
impl<A: RemoteActor, M: RemoteMessage> Unpin for Answering<A, M> {}
