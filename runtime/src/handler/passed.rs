//! The envelope of a message that answers an ask of another: its result goes straight to the asker.

use std::{marker::PhantomData, sync::Arc};

use super::{mode::Mode, owed::Owed};
use crate::{
    actor::{ClusterContext, envelope::Envelope, mailbox::Mailbox, panic},
    call::{self, current::Current},
    interceptor,
    message::{RemoteMessage, WireId},
    node::{DeadLetters, NodeCore},
    reference::{RejectReason, UnknownReason},
    remote_actor::RemoteActor,
    responder::{
        forward::{self, Answers},
        leaving::Leaving,
    },
};

/// A message to which an ask was forwarded, to be handled in the mode `H`.
pub(crate) struct Passed<M: RemoteMessage, H> {
    msg: M,
    owed: Owed<M::Result>,
    mode: PhantomData<fn() -> H>,
}

impl<M: RemoteMessage, H> Passed<M, H> {
    pub(crate) fn new(msg: M, owed: Owed<M::Result>) -> Self {
        Self { msg, owed, mode: PhantomData }
    }
}

impl<A, M, H> Envelope<A> for Passed<M, H>
where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { msg, owed, .. } = *self;
        let is_late = owed.deadline().is_some_and(|deadline| deadline <= ctx.clock().now());
        let (reason, end) = match owed.is_gone() {
            true => (RejectReason::Cancelled, UnknownReason::NoReply),
            false if is_late => (RejectReason::Expired, UnknownReason::Deadline),
            false => {
                let travels = owed.travels().clone();
                match interceptor::show::<A, M>(ctx, &travels, || None) {
                    Ok(shown) => {
                        let _entered = Current::enter(&travels);
                        return H::passed(msg, owed, shown, actor, ctx);
                    }
                    Err(reason) => (reason, UnknownReason::NoReply),
                }
            }
        };
        let about = |letters: &DeadLetters| letters.about_mailbox(&ctx.mailbox(), Some(M::NAME));
        ctx.core().dead_letters().rejected(reason, about);
        owed.fail(end);
    }

    fn message(&self) -> Option<WireId> {
        Some(M::WIRE_ID)
    }

    fn reject(
        self: Box<Self>,
        reason: RejectReason,
        mailbox: &Mailbox<A>,
        dead_letters: &DeadLetters,
    ) {
        dead_letters.rejected(reason, |letters| letters.about_mailbox(mailbox, Some(M::NAME)));
        // The message that was asked has run.
        self.owed.fail(UnknownReason::NoReply);
    }

    fn redirect(self: Box<Self>, mailbox: &Mailbox<A>, core: &Arc<NodeCore>) {
        let Some(to) = mailbox.entity() else {
            return self.reject(RejectReason::Moved, mailbox, core.dead_letters());
        };
        let Self { msg, owed, mode } = *self;
        let (deadline, travels) = (owed.deadline(), call::Written::of(owed.travels()));
        let leaving = match Leaving::begin::<M>(core, M::WIRE_ID, to.hash(), owed) {
            Ok(leaving) => leaving,
            Err(owed) => {
                let unsent = Box::new(Self { msg, owed: *owed, mode });
                return unsent.reject(RejectReason::Full, mailbox, core.dead_letters());
            }
        };
        let answers = Answers { claim: leaving.claim(), deadline, travels: &travels };
        let write = || forward::write(core, to.address(), M::WIRE_ID, &msg, answers, Vec::new());
        match panic::catch(write) {
            Ok(Ok((payload, carried))) => {
                leaving.sent(core.id());
                carried.hand_over(core.id());
                return core.redirect(to.hash(), &payload);
            }
            Ok(Err(_)) => {}
            Err(panic) => panic.report("writing of a message"),
        }
        if let Some(owed) = leaving.unsent() {
            let unsent = Box::new(Self { msg, owed, mode });
            unsent.reject(RejectReason::Unsendable, mailbox, core.dead_letters());
        }
    }
}
