//! The stash: messages that their handler could not serve yet, kept with their askers.
//!
//! Invariant: a stashed message has not run. It ends as one that waits in the mailbox does: it is
//! given back if its actor ends, never runs once it has expired, and leaves in the order in which it
//! came.

use std::{any::Any, collections::VecDeque, fmt};

use actix::{
    Actor, Handler, Message, MessageResult,
    dev::{MessageResponse, OneshotSender},
};

use super::{
    ClusterContext,
    envelope::{BoxEnvelope, Envelope, Rejected},
    mailbox::Mailbox,
};
use crate::{
    node::{DeadLetters, Sender},
    reference::RejectReason,
    remote_actor::RemoteActor,
    watch::WatchId,
};

/// How many messages an actor may set aside unless its type states otherwise.
pub(crate) const DEFAULT_STASH_CAPACITY: usize = 256;

/// A handler's result that may be "not now": the message is set aside with its asker, who goes on
/// waiting, until [`ClusterContext::unstash_all`] puts it back before everything queued.
///
/// For an actor that has to become something first: connected, loaded, elected. To hold messages of a
/// type back without looking at them, [`ClusterContext::pause`] is cheaper.
///
/// A stashed message has not run. It waits in the order in which it came, behind its bound
/// ([`RemoteActor::STASH_CAPACITY`], 256 unless stated): one more is rejected as
/// [`Full`](RejectReason::Full), given back to its asker, or a dead letter. An ask's deadline goes
/// on, and what has expired never runs, but keeps its place until it is put back. When the actor
/// ends, what it had stashed is rejected with what waits in its mailbox; when it is restarted, it
/// goes back to the head of the mailbox. An entity with stashed messages is not passivated. A stashed
/// [`Terminated`](crate::Terminated) takes none of the capacity, and is the instance's alone.
///
/// What comes by an actix address or a timer can be stashed too.
///
/// # Examples
///
/// ```
/// use actix_cluster::{OrStash, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "usize")]
/// #[remote(name = "print.Page", version = 1)]
/// struct Page(String);
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// #[remote(name = "print.Paper", version = 1)]
/// struct Paper(usize);
///
/// #[derive(RemoteActor)]
/// #[remote(name = "print.Printer", handles(Page, Paper), stash = 100)]
/// struct Printer { paper: usize }
/// impl Actor for Printer {
///     type Context = ClusterContext<Self>;
/// }
///
/// impl Handler<Page> for Printer {
///     type Result = OrStash<Page>;
///     fn handle(&mut self, page: Page, _: &mut Self::Context) -> OrStash<Page> {
///         if self.paper == 0 {
///             return OrStash::Stash(page);
///         }
///         self.paper -= 1;
///         OrStash::reply(self.paper)
///     }
/// }
///
/// impl Handler<Paper> for Printer {
///     type Result = ();
///     fn handle(&mut self, Paper(sheets): Paper, ctx: &mut Self::Context) {
///         self.paper += sheets;
///         ctx.unstash_all();
///     }
/// }
/// ```
pub enum OrStash<M: Message, R = MessageResult<M>> {
    /// It was served: any result that a handler may have, a future too
    /// (`OrStash<Page, ResponseActFuture<Self, usize>>`).
    Reply(R),
    /// Not now: here it is again.
    Stash(M),
}

impl<M: Message> OrStash<M> {
    /// It was served, and this is the reply.
    pub fn reply(result: M::Result) -> Self {
        Self::Reply(MessageResult(result))
    }
}

impl<M: Message, R> fmt::Debug for OrStash<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reply(_) => "Reply(..)",
            Self::Stash(_) => "Stash(..)",
        })
    }
}

impl<A, M, R> MessageResponse<A, M> for OrStash<M, R>
where
    A: RemoteActor + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
    R: MessageResponse<A, M>,
{
    fn handle(self, ctx: &mut ClusterContext<A>, reply: Option<OneshotSender<M::Result>>) {
        match self {
            Self::Reply(result) => result.handle(ctx, reply),
            Self::Stash(message) => ctx.give_back(Box::new(GivenBack { message, reply })),
        }
    }
}

/// The stash.
impl<A: RemoteActor> ClusterContext<A> {
    /// Puts all stashed messages back, after this turn: before everything queued, in the order in
    /// which they came.
    pub fn unstash_all(&mut self) {
        self.release(usize::MAX);
    }

    /// Puts the message back that was stashed first, after this turn: before everything queued.
    pub fn unstash_one(&mut self) {
        self.release(1);
    }

    /// How many messages are stashed.
    pub fn stashed(&self) -> usize {
        self.aside.as_ref().map_or(0, |aside| aside.stash.len())
    }

    fn release(&mut self, count: usize) {
        if let Some(aside) = &mut self.aside {
            aside.stash.release(count);
        }
    }
}

/// A message that its handler gave back, and who waits for the reply.
pub(crate) struct GivenBack<M: Message> {
    pub(crate) message: M,
    pub(crate) reply: Option<OneshotSender<M::Result>>,
}

/// A [`GivenBack`] whose message its keeper does not know.
pub(super) trait Returned<A: Actor>: Any {
    /// Makes it an envelope by itself: its own is gone, or there was none.
    fn into_envelope(self: Box<Self>) -> BoxEnvelope<A>;
}

impl<A, M> Returned<A> for GivenBack<M>
where
    A: RemoteActor + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn into_envelope(self: Box<Self>) -> BoxEnvelope<A> {
        self
    }
}

impl<A, M> Envelope<A> for GivenBack<M>
where
    A: RemoteActor + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { message, reply } = *self;
        if reply.as_ref().is_some_and(OneshotSender::is_closed) {
            let about = |letters: &DeadLetters| letters.about_mailbox(&ctx.mailbox, None);
            return ctx.core().dead_letters().rejected(RejectReason::Cancelled, about);
        }
        ctx.begin_turn(None, Sender::IsGone);
        actor.handle(message, ctx).handle(ctx, reply);
        ctx.end_turn();
    }

    /// Whoever waits at an actix address sees its mailbox closed.
    fn reject(
        self: Box<Self>,
        reason: RejectReason,
        mailbox: &Mailbox<A>,
        dead_letters: &DeadLetters,
    ) {
        dead_letters.rejected(reason, |letters| letters.about_mailbox(mailbox, None));
    }
}

/// Messages set aside, in the order in which they came.
pub(super) struct Stash<A: Actor> {
    capacity: usize,
    messages: VecDeque<BoxEnvelope<A>>,
    /// How many of them have places of their own, beyond the capacity.
    reserved: usize,
    /// On their way back to the mailbox.
    released: VecDeque<BoxEnvelope<A>>,
}

impl<A: Actor> Stash<A> {
    /// A stash for at most `capacity` messages, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { capacity, messages: VecDeque::new(), reserved: 0, released: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Sets a message aside; without room it is to be rejected.
    pub(super) fn push(&mut self, envelope: BoxEnvelope<A>) -> Option<Rejected<A>> {
        let is_reserved = envelope.is_reserved();
        if !is_reserved && self.messages.len() - self.reserved >= self.capacity {
            return Some(Rejected { envelope, reason: RejectReason::Full });
        }
        self.reserved += usize::from(is_reserved);
        self.messages.push_back(envelope);
        None
    }

    /// Sends the oldest back, at most `count`.
    pub(super) fn release(&mut self, count: usize) {
        let count = count.min(self.messages.len());
        for envelope in self.messages.drain(..count) {
            self.reserved -= usize::from(envelope.is_reserved());
            self.released.push_back(envelope);
        }
    }

    /// Drops the end of a watch that was taken back, so that no more of them are kept than watches.
    pub(super) fn forget_end(&mut self, watch: WatchId) {
        let held = self.messages.len();
        if self.reserved > 0 {
            self.messages.retain(|envelope| envelope.end_of() != Some(watch));
            self.reserved -= held - self.messages.len();
        }
    }

    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    pub(super) fn take_released(&mut self) -> VecDeque<BoxEnvelope<A>> {
        std::mem::take(&mut self.released)
    }
}
