//! Envelopes: a message with what it needs to be handled, or turned away, exactly once.
//!
//! Invariant: each envelope ends in `handle` or in `reject`. What an asker learns follows from
//! its [`AskCell`]: while the message is in there, it has not run.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use actix::{Actor, Message};
use tokio::sync::oneshot;

use super::{
    ClusterContext,
    mailbox::{Mailbox, Remote},
    panic, repeats,
};
use crate::{
    call::{self, Travelling, current::Current},
    cluster::{
        outbound,
        pending::{Answer, Correlation},
        wire::Extensions,
    },
    handler::{mode::Mode, owed::Owed},
    interceptor,
    message::{RemoteMessage, WireId},
    node::{DeadLetters, EntityKey, NodeCore},
    reference::{RejectReason, UnknownReason},
    remote_actor::RemoteActor,
    watch::WatchId,
};

pub(crate) type BoxEnvelope<A> = Box<dyn Envelope<A>>;

/// A message in a mailbox.
pub(crate) trait Envelope<A: Actor>: Send {
    /// Runs the message's turn.
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>);

    /// Which message it is; `None` for one that came past the mailbox.
    fn message(&self) -> Option<WireId> {
        None
    }

    /// Who sent it, if another node did.
    fn remote(&self) -> Option<Remote> {
        None
    }

    /// Whether it has a place of its own in the mailbox, which no message takes or makes it leave.
    fn is_reserved(&self) -> bool {
        false
    }

    /// The watch whose end it tells, if that is what it is.
    fn end_of(&self) -> Option<WatchId> {
        None
    }

    /// Ends it without a turn; it was for the actor of this mailbox.
    fn reject(
        self: Box<Self>,
        reason: RejectReason,
        mailbox: &Mailbox<A>,
        dead_letters: &DeadLetters,
    );

    /// Sends it on, without a turn: the entity of this mailbox belongs on another node.
    fn redirect(self: Box<Self>, mailbox: &Mailbox<A>, core: &Arc<NodeCore>) {
        self.reject(RejectReason::Moved, mailbox, core.dead_letters());
    }
}

/// A message that a mailbox turned away. Ended outside of the mailbox's lock, by whoever was told.
#[must_use = "a rejected message is to end, so that its sender hears it"]
pub(crate) struct Rejected<A: Actor> {
    pub(crate) envelope: BoxEnvelope<A>,
    pub(crate) reason: RejectReason,
}

impl<A: Actor> Rejected<A> {
    /// Ends it. A message's own `drop` may panic, which is nothing to whoever ends it.
    pub(crate) fn end(self, mailbox: &Mailbox<A>, dead_letters: &DeadLetters) {
        let Self { envelope, reason } = self;
        panic::catch(|| envelope.reject(reason, mailbox, dead_letters))
            .unwrap_or_else(|panic| panic.report("drop of a message"));
    }
}

/// A message told by a sender on this node, to be handled in the mode `H`.
pub(crate) struct LocalTell<M, H> {
    msg: M,
    travels: Travelling,
    mode: PhantomData<fn() -> H>,
}

impl<M, H> LocalTell<M, H> {
    pub(crate) fn new(msg: M, travels: Travelling) -> Self {
        Self { msg, travels, mode: PhantomData }
    }
}

impl<A, M, H> Envelope<A> for LocalTell<M, H>
where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let shown = match interceptor::show::<A, M>(ctx, &self.travels, || None) {
            Ok(shown) => shown,
            Err(reason) => return self.reject(reason, &ctx.mailbox(), ctx.core().dead_letters()),
        };
        let Self { msg, travels, .. } = *self;
        let _entered = Current::enter(&travels);
        H::told(msg, travels, shown, actor, ctx);
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
    }

    fn redirect(self: Box<Self>, mailbox: &Mailbox<A>, core: &Arc<NodeCore>) {
        let Some(to) = mailbox.entity() else {
            return self.reject(RejectReason::Moved, mailbox, core.dead_letters());
        };
        let travels = call::Written::of(&self.travels);
        let (id, extensions) = (M::WIRE_ID, Extensions::default().with(&travels));
        let write = || outbound::tell(to.address(), id, &self.msg, extensions, Vec::new());
        match panic::catch(write) {
            Ok(Ok((payload, carried))) => {
                carried.hand_over(core.id());
                return core.redirect(to.hash(), &payload);
            }
            Ok(Err(_)) => {}
            Err(panic) => panic.report("writing of a message"),
        }
        self.reject(RejectReason::Unsendable, mailbox, core.dead_letters());
    }
}

/// A message asked by a sender on this node, to be handled in the mode `H`.
pub(crate) struct LocalAsk<M: RemoteMessage, H> {
    asker: LocalAsker<M>,
    mode: PhantomData<fn() -> H>,
}

/// An asker on this node, as its message sees it.
pub(crate) struct LocalAsker<M: Message> {
    pub(crate) cell: Arc<AskCell<M>>,
    pub(crate) reply: oneshot::Sender<M::Result>,
    pub(crate) deadline: Instant,
    pub(crate) travels: Travelling,
}

/// What asker and envelope share: the message until its turn, then how the turn stands.
pub(crate) struct AskCell<M>(Mutex<AskState<M>>);

enum AskState<M> {
    /// Not run; whoever takes the message out decides.
    Queued(M),
    /// Its turn has begun; the mailbox had counted so many panics before.
    Begun { panics: u32 },
    /// It had its turn, and no result will come.
    Failed(UnknownReason),
    /// It had its turn, and others answer, who know the ask by this number.
    Left(Correlation),
    /// It has gone on to another node without a turn here; what comes back has this number.
    Away(Correlation, M),
    /// Others have answered.
    Answered(Answer),
    /// It will never run.
    Rejected(RejectReason, M),
    /// The asker took the message back.
    TakenBack,
}

/// How an ask without a reply ended.
pub(crate) enum AskEnd<M> {
    Rejected(RejectReason, M),
    Unknown(UnknownReason),
    /// As another node put it.
    Answered(Answer),
}

impl<M: RemoteMessage> LocalAsker<M> {
    /// Makes the message's end, and the asker's two.
    pub(crate) fn new(
        msg: M,
        deadline: Instant,
        travels: Travelling,
    ) -> (Self, oneshot::Receiver<M::Result>, Arc<AskCell<M>>) {
        let cell = Arc::new(AskCell(Mutex::new(AskState::Queued(msg))));
        let (reply, receiver) = oneshot::channel();
        (Self { cell: Arc::clone(&cell), reply, deadline, travels }, receiver, cell)
    }
}

impl<M: RemoteMessage> LocalAsker<M> {
    /// As [`new`](Self::new), of a message whose turn has begun; `panics` is how many there were before.
    pub(crate) fn begun(
        panics: u32,
        deadline: Instant,
        travels: Travelling,
    ) -> (Self, oneshot::Receiver<M::Result>, Arc<AskCell<M>>) {
        let cell = Arc::new(AskCell(Mutex::new(AskState::Begun { panics })));
        let (reply, receiver) = oneshot::channel();
        (Self { cell: Arc::clone(&cell), reply, deadline, travels }, receiver, cell)
    }
}

impl<M: RemoteMessage, H> LocalAsk<M, H> {
    pub(crate) fn new(asker: LocalAsker<M>) -> Self {
        Self { asker, mode: PhantomData }
    }
}

impl<M> AskCell<M> {
    /// The asker waits no longer: takes the message back if it has not run.
    pub(crate) fn expire(&self) -> AskEnd<M> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, AskState::TakenBack) {
            AskState::Queued(msg) => AskEnd::Rejected(RejectReason::Expired, msg),
            AskState::Rejected(reason, msg) => AskEnd::Rejected(reason, msg),
            begun => {
                *state = begun;
                AskEnd::Unknown(UnknownReason::Deadline)
            }
        }
    }

    /// The reply's sender is gone without a reply: tells why.
    pub(crate) fn closed(&self, panics: u32) -> AskEnd<M> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, AskState::TakenBack) {
            AskState::Rejected(reason, msg) => AskEnd::Rejected(reason, msg),
            AskState::Queued(msg) => AskEnd::Rejected(RejectReason::Stopped, msg),
            AskState::Failed(reason) => AskEnd::Unknown(reason),
            AskState::Answered(answer) => AskEnd::Answered(answer),
            AskState::Begun { panics: before } if before != panics => {
                AskEnd::Unknown(UnknownReason::Panicked)
            }
            AskState::Begun { .. }
            | AskState::Left(_)
            | AskState::Away(..)
            | AskState::TakenBack => AskEnd::Unknown(UnknownReason::NoReply),
        }
    }

    fn begin(&self, panics: u32) -> Option<M> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, AskState::Begun { panics }) {
            AskState::Queued(msg) => Some(msg),
            other => {
                *state = other;
                None
            }
        }
    }

    /// It has not run after all.
    pub(crate) fn put_back(&self, msg: M) {
        *self.lock() = AskState::Queued(msg);
    }

    fn reject(&self, reason: RejectReason) {
        let mut state = self.lock();
        *state = match std::mem::replace(&mut *state, AskState::TakenBack) {
            AskState::Queued(msg) => AskState::Rejected(reason, msg),
            other => other,
        };
    }

    /// Its turn has begun, and no result will come. To be called before the reply's sender is dropped.
    pub(crate) fn fail(&self, reason: UnknownReason) {
        *self.lock() = AskState::Failed(reason);
    }

    /// Others may answer, who know the ask by this number.
    pub(crate) fn leave_to_others(&self, correlation: Correlation) {
        *self.lock() = AskState::Left(correlation);
    }

    /// Others have answered. To be called before the reply's sender is dropped.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.lock() = AskState::Answered(answer);
    }

    /// The message goes on to another node, as bytes that `write` gives. Gives these, if it has not run.
    fn go_away<T>(
        &self,
        correlation: Correlation,
        write: impl FnOnce(&M) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, AskState::TakenBack) {
            AskState::Queued(msg) => match write(&msg) {
                Some(written) => {
                    *state = AskState::Away(correlation, msg);
                    Some(written)
                }
                None => {
                    *state = AskState::Rejected(RejectReason::Unsendable, msg);
                    None
                }
            },
            other => {
                *state = other;
                None
            }
        }
    }

    /// The message that went on to another node has ended there. To be called before the reply's sender is
    /// dropped.
    fn ends_away(&self, answer: Answer) {
        let mut state = self.lock();
        *state = match (std::mem::replace(&mut *state, AskState::TakenBack), answer) {
            (AskState::Away(_, msg), Answer::Rejected(reason)) => AskState::Rejected(reason, msg),
            (AskState::Away(..), answer) => AskState::Answered(answer),
            (other, _) => other,
        };
    }

    /// The asker goes away: what has not had its turn has none, wherever its target is by then. Gives its
    /// message, to be dropped, or else by which number others know the ask, if they may answer.
    pub(crate) fn abandon(&self) -> (Option<M>, Option<Correlation>) {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, AskState::TakenBack) {
            AskState::Queued(msg) => (Some(msg), None),
            other => {
                let known_as = match other {
                    AskState::Left(correlation) | AskState::Away(correlation, _) => {
                        Some(correlation)
                    }
                    _ => None,
                };
                *state = other;
                (None, known_as)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, AskState<M>> {
        // A state is replaced whole, so a poisoned lock guards a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, M, H> Envelope<A> for LocalAsk<M, H>
where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { asker, .. } = *self;
        if asker.reply.is_closed() {
            return asker.count_as_cancelled(&ctx.mailbox(), ctx.core().dead_letters());
        }
        if asker.deadline <= ctx.clock().now() {
            asker.cell.reject(RejectReason::Expired);
            return;
        }
        let shown = match interceptor::show::<A, M>(ctx, &asker.travels, || None) {
            Ok(shown) => shown,
            Err(reason) => return asker.cell.reject(reason),
        };
        let key = repeats::key_of(&asker.travels);
        if key.is_some_and(|key| ctx.has_no_room_for(key, M::WIRE_ID)) {
            shown.taken_back();
            return asker.cell.reject(RejectReason::Full);
        }
        let Some(msg) = asker.cell.begin(ctx.panics()) else { return shown.taken_back() };
        let _entered = Current::enter(&asker.travels);
        if let Some(key) = key {
            let owed = Owed::asked(asker);
            return repeats::handle::<A, M, H>(key, msg, owed, shown, actor, ctx);
        }
        H::asked(msg, asker, shown, actor, ctx);
    }

    fn message(&self) -> Option<WireId> {
        Some(M::WIRE_ID)
    }

    fn reject(self: Box<Self>, reason: RejectReason, _: &Mailbox<A>, _: &DeadLetters) {
        self.asker.cell.reject(reason);
    }

    fn redirect(self: Box<Self>, mailbox: &Mailbox<A>, core: &Arc<NodeCore>) {
        let Self { asker, .. } = *self;
        if asker.reply.is_closed() {
            return asker.count_as_cancelled(mailbox, core.dead_letters());
        }
        match mailbox.entity() {
            Some(to) => asker.go_on(to, core),
            None => asker.cell.reject(RejectReason::Moved),
        }
    }
}

impl<M: RemoteMessage> LocalAsker<M> {
    /// Nobody waits for it, and it does not run.
    fn count_as_cancelled<A: RemoteActor>(&self, mailbox: &Mailbox<A>, dead_letters: &DeadLetters) {
        let about = |letters: &DeadLetters| letters.about_mailbox(mailbox, Some(M::NAME));
        dead_letters.rejected(RejectReason::Cancelled, about);
    }

    /// Sends the message on to the node where its target is now. The asker keeps waiting, and the message
    /// its place in the order.
    fn go_on(self, to: &EntityKey, core: &Arc<NodeCore>) {
        let Self { cell, reply, deadline, travels } = self;
        // Items arrive here by another way: their asker asks again.
        let has_items = travels.as_ref().is_some_and(|travels| travels.intake().is_some());
        let Some(cluster) = core.cluster().filter(|_| !has_items) else {
            return cell.reject(RejectReason::Moved);
        };
        let ends = |(cell, _reply): (Arc<AskCell<M>>, oneshot::Sender<M::Result>), answer| {
            cell.ends_away(answer);
        };
        let asker = (Arc::clone(&cell), reply);
        let Ok(correlation) = cluster.pending.leave(core.id(), asker, ends) else {
            return cell.reject(RejectReason::Moved);
        };
        let travels = call::Written::of(&travels);
        let time_left = Some(deadline.saturating_duration_since(core.clock().now()));
        let extensions = Extensions { time_left, ..Extensions::default() }.with(&travels);
        let write = |msg: &M| {
            outbound::ask(to.address(), M::WIRE_ID, msg, correlation, extensions, Vec::new()).ok()
        };
        let written = cell.go_away(correlation, |msg| {
            panic::catch(|| write(msg)).unwrap_or_else(|panic| {
                panic.report("writing of a message");
                None
            })
        });
        match written {
            Some((payload, carried)) => {
                carried.hand_over(core.id());
                core.redirect(to.hash(), &payload);
            }
            None => drop(core.forget_answer(correlation)),
        }
    }
}
