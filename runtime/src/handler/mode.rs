//! What the envelopes of a message call once its turn has come.
//!
//! Invariant: a mode is a type, so that the turn of a message that actix's `Handler` handles costs what
//! it would without the other modes.

use actix::{Handler, dev::MessageResponse};

use tokio::sync::oneshot;

use super::{owed::Owed, passed::Passed};
use crate::{
    actor::{
        ClusterContext,
        envelope::{LocalAsk, LocalAsker, LocalTell},
        frame_envelope,
        stash::GivenBack,
    },
    call::Travelling,
    cluster::frame::Frame,
    interceptor::Shown,
    message::RemoteMessage,
    node::Sender,
    reference::UnknownReason,
    remote_actor::RemoteActor,
};

/// A way in which the actor `A` handles the message `M`: how its turn is run for each kind of sender.
pub(crate) trait Mode<A, M>: Send + 'static
where
    A: RemoteActor,
    M: RemoteMessage,
{
    /// Runs the turn of any message, or begins it.
    fn handle(
        msg: M,
        owed: Owed<M::Result>,
        shown: Shown,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
    );

    /// Runs the turn of a message that was told on this node.
    fn told(msg: M, travels: Travelling, shown: Shown, actor: &mut A, ctx: &mut ClusterContext<A>) {
        ctx.begin_turn(Some(const { &M::NAME }), Sender::IsGone);
        Self::handle(msg, Owed::told::<M>(travels), shown, actor, ctx);
        ctx.end_turn_unless_begun();
    }

    /// Runs the turn of a message that was asked on this node.
    fn asked(
        msg: M,
        asker: LocalAsker<M>,
        shown: Shown,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
    ) {
        let owed = Owed::asked(asker);
        Self::passed(msg, owed, shown, actor, ctx);
    }

    /// Runs the turn of a message whose sender will hear how it ended.
    fn passed(
        msg: M,
        owed: Owed<M::Result>,
        shown: Shown,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
    ) {
        ctx.begin_turn(Some(const { &M::NAME }), Sender::IsTold);
        Self::handle(msg, owed, shown, actor, ctx);
        ctx.end_turn_unless_begun();
    }

    /// Runs the turn of a message that came from another node.
    fn framed(msg: M, mut frame: Frame, shown: Shown, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let owed = Owed::framed::<M>(&mut frame).watched(ctx.core());
        Self::passed(msg, owed, shown, actor, ctx);
    }
}

/// By actix's `Handler`.
pub(crate) struct Plain;

impl<A, M> Mode<A, M> for Plain
where
    A: RemoteActor + Handler<M>,
    M: RemoteMessage,
{
    fn handle(
        msg: M,
        owed: Owed<M::Result>,
        shown: Shown,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
    ) {
        let (reply, result) = match owed.is_asked() {
            true => Some(oneshot::channel()).unzip(),
            false => (None, None),
        };
        actor.handle(msg, ctx).handle(ctx, reply);
        if let Some(GivenBack { message, .. }) = ctx.take_returned::<M>() {
            shown.taken_back();
            ctx.stash(Box::new(Passed::<M, Self>::new(message, owed)));
            return;
        }
        shown.ended();
        match result {
            Some(result) => frame_envelope::answer::<A, M>(result, owed, ctx),
            None => owed.finish(),
        }
    }

    fn told(msg: M, travels: Travelling, shown: Shown, actor: &mut A, ctx: &mut ClusterContext<A>) {
        ctx.begin_turn(Some(const { &M::NAME }), Sender::IsGone);
        actor.handle(msg, ctx).handle(ctx, None);
        ctx.end_turn();
        match ctx.take_returned() {
            Some(GivenBack { message, .. }) => {
                shown.taken_back();
                ctx.stash(Box::new(LocalTell::<M, Self>::new(message, travels)));
            }
            None => shown.ended(),
        }
    }

    fn asked(
        msg: M,
        asker: LocalAsker<M>,
        shown: Shown,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
    ) {
        let LocalAsker { cell, reply, deadline, travels } = asker;
        ctx.begin_turn(Some(const { &M::NAME }), Sender::IsTold);
        // Declared after `reply`, so that an unwinding turn marks the cell before the asker wakes.
        let turn = Unwinding(|| cell.fail(UnknownReason::Panicked));
        let result = actor.handle(msg, ctx);
        drop(turn);
        result.handle(ctx, Some(reply));
        ctx.end_turn();
        match ctx.take_returned() {
            Some(GivenBack { message, reply: Some(reply) }) => {
                shown.taken_back();
                cell.put_back(message);
                let asker = LocalAsker { cell, reply, deadline, travels };
                ctx.stash(Box::new(LocalAsk::<M, Self>::new(asker)));
            }
            _ => shown.ended(),
        }
    }

    fn framed(msg: M, frame: Frame, shown: Shown, actor: &mut A, ctx: &mut ClusterContext<A>) {
        frame_envelope::run(frame, msg, shown, actor, ctx);
    }
}

/// Calls its function if it is dropped by a panic.
struct Unwinding<F: Fn()>(F);

impl<F: Fn()> Drop for Unwinding<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0();
        }
    }
}
