//! What is owed to the sender of a message: one end.
//!
//! Invariant: whoever awaits the result hears once, what was replied or why nothing will come, wherever
//! it is; an [`Owed`] that is dropped says that there is no reply.

mod encoding;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_cluster_transport::Session;
use tokio::sync::oneshot;

pub(crate) use self::encoding::Encoding;
use crate::{
    actor::envelope::{AskCell, LocalAsker},
    call::Travelling,
    cluster::{
        cancel::{Flag, Watch},
        delegation::{Carried, Claim, Delegation},
        frame::{Frame, Turn},
        pending::{Answer, Correlation},
    },
    message::{RemoteMessage, WireId},
    node::{NodeCore, NodeId},
    reference::UnknownReason,
};

/// The duty to end a message whose result has the type `R`.
pub(crate) struct Owed<R> {
    deadline: Option<Instant>,
    encoding: Encoding<R>,
    /// What came along with the message.
    travels: Travelling,
    /// There until it ends.
    to: Option<To<R>>,
}

/// To whom an end is owed.
enum To<R> {
    /// It was told on this node: nobody awaits a result.
    Teller,
    /// An asker on this node.
    Here(oneshot::Sender<R>, Arc<dyn Cell>),
    /// A sender on another node, or somebody whose answer was left to this one.
    There(Turn, Option<Watch>),
}

/// An asker's cell, whatever the message.
pub(crate) trait Cell: Send + Sync {
    fn fail(&self, reason: UnknownReason);
    /// Others may answer, who know the ask by this number.
    fn leave_to_others(&self, correlation: Correlation);
    /// Others have answered.
    fn answer(&self, answer: Answer);
}

impl<M: Send> Cell for AskCell<M> {
    fn fail(&self, reason: UnknownReason) {
        AskCell::fail(self, reason);
    }

    fn leave_to_others(&self, correlation: Correlation) {
        AskCell::leave_to_others(self, correlation);
    }

    fn answer(&self, answer: Answer) {
        AskCell::answer(self, answer);
    }
}

/// Why others can't take over an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unclaimed {
    /// Nobody awaits one.
    NotAsked,
    /// Too many answers are awaited, or the node is in no cluster.
    Full,
}

impl<R> Owed<R> {
    pub(crate) fn told<M: RemoteMessage<Result = R>>(travels: Travelling) -> Self {
        Self { deadline: None, encoding: Encoding::newest::<M>(), travels, to: Some(To::Teller) }
    }

    pub(crate) fn asked<M: RemoteMessage<Result = R>>(asker: LocalAsker<M>) -> Self {
        let LocalAsker { cell, reply, deadline, travels } = asker;
        let to = Some(To::Here(reply, cell));
        Self { deadline: Some(deadline), encoding: Encoding::newest::<M>(), travels, to }
    }

    /// What is owed for a message of another node, whose turn begins.
    pub(crate) fn framed<M: RemoteMessage<Result = R>>(frame: &mut Frame) -> Self {
        let turn = frame.begin();
        Self::of_turn::<M>(frame, turn)
    }

    /// What is owed for a message of another node, whose turn has begun.
    pub(crate) fn of_turn<M: RemoteMessage<Result = R>>(frame: &Frame, turn: Turn) -> Self {
        let (deadline, encoding) = (turn.deadline(), Encoding::of::<M>(frame.message));
        Self { deadline, encoding, travels: frame.travels.clone(), to: Some(To::There(turn, None)) }
    }

    /// What is owed for a claim that came with another message.
    pub(crate) fn claimed<M: RemoteMessage<Result = R>>(
        core: &Arc<NodeCore>,
        (claim, deadline): Carried,
    ) -> Self {
        let encoding = Encoding::of::<M>(claim.version);
        Self::delegated(Delegation::new(core, claim), deadline, encoding)
    }

    pub(crate) fn delegated(
        delegation: Delegation,
        deadline: Option<Instant>,
        encoding: Encoding<R>,
    ) -> Self {
        let turn = Turn::of_claim(delegation, deadline);
        Self { deadline, encoding, travels: None, to: Some(To::There(turn, None)) }
    }

    /// Watches for the cancel of an ask of another node.
    pub(crate) fn watched(mut self, core: &NodeCore) -> Self {
        if let Some(To::There(turn, watch)) = &mut self.to
            && let (Some(key), Some(cluster)) = (turn.key(), core.cluster())
        {
            let watched = cluster.cancels.watch(key);
            // Looked at after: the end of a session finds whoever watches then.
            if turn.is_gone() {
                watched.flag().raise();
            }
            *watch = Some(watched);
        }
        self
    }

    /// Whether somebody awaits the result, or has.
    pub(crate) fn is_asked(&self) -> bool {
        match &self.to {
            Some(To::Here(..)) => true,
            Some(To::There(turn, _)) => turn.is_asked(),
            Some(To::Teller) | None => false,
        }
    }

    /// Whether it was told or asked on this node, so that nobody else counts it if nobody hears its end.
    pub(crate) fn is_of_this_node(&self) -> bool {
        matches!(self.to, Some(To::Here(..) | To::Teller))
    }

    /// Until when somebody awaits the result.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What came along with the message.
    pub(crate) fn travels(&self) -> &Travelling {
        &self.travels
    }

    /// The same, with this to come along with the message that answers.
    pub(crate) fn with_travels(mut self, travels: Travelling) -> Self {
        self.travels = travels;
        self
    }

    pub(crate) fn encoding(&self) -> Encoding<R> {
        self.encoding
    }

    /// The way to an asker on another node, who is to get items.
    pub(crate) fn link(&self) -> Option<(Session, Correlation, Arc<Flag>)> {
        let Some(To::There(turn, Some(watch))) = &self.to else { return None };
        turn.link().map(|(session, correlation)| (session, correlation, watch.flag()))
    }

    /// The message was handled, with this result.
    pub(crate) fn reply(mut self, result: R) {
        match self.to.take() {
            // Whoever has gone away misses nothing.
            Some(To::Here(reply, _)) => drop(reply.send(result)),
            Some(To::There(turn, watch)) if turn.is_asked() => {
                turn.reply(sent_by(&watch), |out| self.encoding.encode(result, out));
            }
            Some(To::There(turn, _)) => turn.finish(),
            Some(To::Teller) | None => {}
        }
    }

    /// The message was handled, and nobody awaits a result.
    pub(crate) fn finish(mut self) {
        if let Some(To::There(turn, _)) = self.to.take() {
            turn.finish();
        }
    }

    /// The message may have run, and there is no result.
    pub(crate) fn fail(mut self, reason: UnknownReason) {
        self.end(reason);
    }

    fn end(&mut self, reason: UnknownReason) {
        match self.to.take() {
            Some(To::Here(reply, cell)) => {
                cell.fail(reason);
                drop(reply);
            }
            Some(To::There(turn, watch)) => turn.fail(sent_by(&watch), reason),
            Some(To::Teller) | None => {}
        }
    }

    /// Ready once nobody awaits the result any more. Never for what was told.
    pub(crate) fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<()> {
        match &mut self.to {
            Some(To::Here(reply, _)) => reply.poll_closed(task),
            to => match watch_of(to) {
                Some(watch) => watch.poll_cancelled(task),
                None => Poll::Pending,
            },
        }
    }

    /// Whether somebody awaited the result, and has gone.
    pub(crate) fn is_gone(&self) -> bool {
        match &self.to {
            Some(To::Here(reply, _)) => reply.is_closed(),
            to => watch_of(to).is_some_and(Watch::is_cancelled),
        }
    }
}

/// How many items have gone to the asker.
fn sent_by(watch: &Option<Watch>) -> u64 {
    watch.as_ref().map_or(0, |watch| watch.flag().sent())
}

fn watch_of<R>(to: &Option<To<R>>) -> Option<&Watch> {
    let Some(To::There(turn, watch)) = to else { return None };
    watch.as_ref().or_else(|| turn.delegation()?.watch())
}

impl<R: Send + 'static> Owed<R> {
    /// Makes it an end that other nodes can owe, and gives it as they are to know it.
    ///
    /// # Errors
    ///
    /// [`Unclaimed`]: nothing has changed.
    pub(crate) fn delegation(&mut self, core: &Arc<NodeCore>) -> Result<&Delegation, Unclaimed> {
        if !self.is_asked() {
            return Err(Unclaimed::NotAsked);
        }
        let version = self.encoding.asked();
        let (to, full) = match self.to.take() {
            Some(To::Here(reply, cell)) => match leave(core, version, reply, cell) {
                Ok(delegation) => {
                    (Some(To::There(Turn::of_claim(delegation, self.deadline), None)), false)
                }
                Err((reply, cell)) => (Some(To::Here(reply, cell)), true),
            },
            Some(To::There(turn, watch)) => {
                let delegation = turn.into_delegation(core, version, watch);
                let turn = delegation.map(|delegation| Turn::of_claim(delegation, self.deadline));
                (turn.map(|turn| To::There(turn, None)), false)
            }
            to => (to, false),
        };
        self.to = to;
        match &self.to {
            Some(To::There(turn, _)) if !full => turn.delegation().ok_or(Unclaimed::NotAsked),
            _ => Err(Unclaimed::Full),
        }
    }

    /// Another node owes it from now on. Gives what is needed to take it back.
    pub(crate) fn hand_over(mut self, core: &Arc<NodeCore>, to: &NodeId) -> Option<Claim> {
        self.delegation(core).ok()?;
        match self.to.take() {
            Some(To::There(turn, _)) => {
                Some(turn.into_delegation(core, self.encoding.asked(), None)?.hand_over(to))
            }
            other => {
                self.to = other;
                None
            }
        }
    }
}

type HereParts<R> = (oneshot::Sender<R>, Arc<dyn Cell>);

/// Lets others answer an asker of this node.
fn leave<R: Send + 'static>(
    core: &Arc<NodeCore>,
    version: WireId,
    reply: oneshot::Sender<R>,
    cell: Arc<dyn Cell>,
) -> Result<Delegation, HereParts<R>> {
    let asker = Arc::clone(&cell);
    let parts = (reply, cell);
    let Some(cluster) = core.cluster() else { return Err(parts) };
    let correlation = cluster.pending.leave(core.id(), parts, |(reply, cell), answer| {
        cell.answer(answer);
        drop(reply);
    })?;
    asker.leave_to_others(correlation);
    let claim = Claim { asker: core.id().clone(), correlation, hops: 0, version };
    Ok(Delegation::new(core, claim))
}

impl<R> Drop for Owed<R> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.end(if panicked { UnknownReason::Panicked } else { UnknownReason::NoReply });
    }
}

impl<R> fmt::Debug for Owed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
