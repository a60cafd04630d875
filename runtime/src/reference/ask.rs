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
use xxhash_rust::xxh3::xxh3_128;

use super::{
    ActorRef, AskError, RejectReason, UnknownReason,
    route::{EncodeError, Outgoing, Wait},
    tell::DEFAULT_TELL_TIMEOUT,
};
use crate::{
    actor::{
        envelope::{AskCell, AskEnd, LocalAsker},
        mailbox::{Mailbox, Slot},
    },
    call::{self, Travelling, Travels, current},
    cluster::{
        outbound,
        pending::{Answer, Correlation},
        redirect,
        routing::Peer,
        wire::{Address, Extensions},
    },
    message::{RemoteMessage, WireId, version},
    node::{NodeCore, NodeId, Sender},
    remote_actor::{Envelopes, HandledBy, RemoteActor},
    responder::carried::Carried,
    stream::intake::{Awaiting, Intake},
};

/// How long an ask waits for its reply unless told otherwise.
pub const DEFAULT_ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The future of [`ActorRef::ask`].
///
/// # Cancel safety
///
/// The message takes its place in the order at the first poll. Dropping the future cancels the
/// ask, wherever the target is: if the message's turn has not begun, it never runs; a handler that
/// awaits is dropped at its await; of any other the reply is dropped. The same happens at the deadline.
/// On another node that takes as long as it takes to tell it.
#[must_use = "an ask does nothing until it is awaited"]
pub struct Ask<A: RemoteActor, M: RemoteMessage> {
    target: ActorRef<A>,
    envelopes: Envelopes<A, M>,
    timeout: Duration,
    deadline: Option<Instant>,
    stage: Stage<A, M>,
    wait: Wait<A>,
    /// What goes along, once the node's interceptors have let it depart.
    departed: Option<Travelling>,
    /// Where the items arrive that come before the reply, if any are awaited.
    items: Option<Arc<dyn Intake>>,
    /// How often the target had moved when the message came.
    bounces: u32,
    /// The responders that went with the message to another node.
    carried: Carried,
    /// What it takes to ask once more, if it may be asked more than once.
    again: Option<Box<Again<M>>>,
    /// Whether it has looked for the reply once more before the timer was made.
    has_looked_again: bool,
    /// The deadline's timer, made once it is needed: most replies come before.
    sleep: Option<Sleep>,
}

/// An ask that may be asked more than once.
struct Again<M> {
    /// By what whoever is asked knows it.
    key: u128,
    msg: M,
    copy: fn(&M) -> M,
    /// Why it may have run already, if it may.
    doubt: Option<UnknownReason>,
}

enum Stage<A: RemoteActor, M: RemoteMessage> {
    Unsent(M),
    /// The target has moved; the routes are given a moment.
    Pausing(M, Sleep),
    /// In a mailbox of this node.
    Here(oneshot::Receiver<M::Result>, Arc<AskCell<M>>, Arc<Mailbox<A>>),
    /// On its way to another node, or there.
    There(M, Expected),
    Done,
}

/// What an ask to another node waits for.
struct Expected {
    correlation: Correlation,
    answer: oneshot::Receiver<Answer>,
    /// The version that was sent, and so that of the answer.
    version: WireId,
}

type Outcome<M> = Result<<M as RemoteMessage>::Reply, AskError<M>>;

impl<A: RemoteActor, M: HandledBy<A>> Ask<A, M> {
    pub(crate) fn new(target: ActorRef<A>, msg: M) -> Self {
        Self {
            target,
            envelopes: M::envelopes(),
            timeout: DEFAULT_ASK_TIMEOUT,
            deadline: None,
            stage: Stage::Unsent(msg),
            wait: Wait::default(),
            departed: None,
            items: None,
            bounces: 0,
            carried: Carried::default(),
            again: None,
            has_looked_again: false,
            sleep: None,
        }
    }
}

impl<A: RemoteActor, M: RemoteMessage + Clone> Ask<A, M> {
    /// States that the ask may be repeated: if the node of its target goes down while the ask is under way,
    /// it is asked again, of wherever the target is then, until it is answered or the deadline has passed.
    ///
    /// The message may run more than once then, on nodes of which all but the last are down. On a node that
    /// lives it runs once: a repeat is recognised, waits for the run that goes on, and gets the answer that
    /// the first one got. Without it, and of an actor that is no entity, such an ask ends as
    /// [unknown](UnknownReason::NodeDown).
    ///
    /// # Cancel safety
    ///
    /// As any ask; but a handler that has begun runs to its end, or to its first asker's deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ActorRef, AskError, Handles, RemoteActor, RemoteMessage};
    /// # async fn example<A: Handles<M>, M: RemoteMessage + Clone>(
    /// #     account: ActorRef<A>, balance: M,
    /// # ) -> Result<M::Reply, AskError<M>> {
    /// let balance = account.ask(balance).idempotent().await?;
    /// # Ok(balance)
    /// # }
    /// ```
    pub fn idempotent(self) -> Self {
        let half = || self.core().with_random(|random| u128::from(random.next_u64()));
        let key = half() << 64 | half();
        self.repeatable(key)
    }

    /// As [`idempotent`](Self::idempotent), with a key of the user's own: whoever asks the same target the
    /// same message with the same key, from wherever, asks the same thing, and gets the answer of its one
    /// run.
    ///
    /// An activation remembers its last 1,024 answers of this kind for a minute, up to 1 MiB of them, and
    /// takes them along when it is handed over to another node. It forgets them when it fails, stops or is
    /// passivated, and with its node. An answer of more than 256 KiB is not kept: a repeat of its ask ends
    /// as [unknown](UnknownReason::BadReply). So does whoever has waited longest of more than 16 who wait
    /// for one run. While 256 asks with keys go on, one more is rejected as
    /// [full](RejectReason::Full).
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ActorRef, AskError, Handles, RemoteActor, RemoteMessage};
    /// # async fn example<A: Handles<M>, M: RemoteMessage + Clone>(
    /// #     account: ActorRef<A>, deposit: M,
    /// # ) -> Result<M::Reply, AskError<M>> {
    /// let balance = account.ask(deposit).dedupe_key("transfer-4711").await?;
    /// # Ok(balance)
    /// # }
    /// ```
    pub fn dedupe_key(self, key: impl AsRef<[u8]>) -> Self {
        self.repeatable(xxh3_128(key.as_ref()))
    }

    fn repeatable(mut self, key: u128) -> Self {
        if let Stage::Unsent(msg) = &self.stage {
            let again = Again { key, msg: msg.clone(), copy: M::clone, doubt: None };
            self.again = Some(Box::new(again));
        }
        self
    }
}

impl<A: RemoteActor, M: RemoteMessage> Ask<A, M> {
    /// The same, with items that arrive here before the reply.
    pub(crate) fn with_items(mut self, items: Arc<dyn Intake>) -> Self {
        self.items = Some(items);
        self
    }

    /// Waits for `timeout` from now on.
    pub(crate) fn wait_anew(&mut self, timeout: Duration) {
        self.deadline = Some(current::until(self.core().clock().after(timeout)));
        self.sleep = None;
    }

    /// Tells whoever sends items that there is room for more.
    pub(crate) fn credit(&self, items: u32) {
        if let Stage::There(_, expected) = &self.stage {
            let (_, target) = self.target.place.address();
            self.core().credit(target, expected.correlation, items);
        }
    }

    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        self.target.place.core()
    }

    /// Waits for the reply for at most `timeout`, counted from the first poll. Default 5 s.
    ///
    /// The wait for room is part of it, and is itself at most 5 s.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn poll_unsent(
        &mut self,
        deadline: Instant,
        task: &mut Context<'_>,
    ) -> Poll<Option<Outcome<M>>> {
        let Stage::Unsent(msg) = std::mem::replace(&mut self.stage, Stage::Done) else {
            unreachable!("only an unsent message is sent")
        };
        self.wait.follow(&mut self.target.place);
        let core = self.target.place.core();
        let travels = match &self.departed {
            Some(travels) => travels.clone(),
            None => {
                let place = &self.target.place;
                match core.interceptors().send::<A, M>(place, true, current::asking()) {
                    Ok(travels) => {
                        let travels = match &self.items {
                            Some(items) => {
                                Travels::for_items(&travels, Awaiting::Here(Arc::clone(items)))
                            }
                            None => travels,
                        };
                        let travels = match &self.again {
                            Some(again) => Travels::repeatable(&travels, again.key),
                            None => travels,
                        };
                        self.departed.insert(travels).clone()
                    }
                    Err(reason) => {
                        return Poll::Ready(Some(Err(AskError::Rejected { reason, message: msg })));
                    }
                }
            }
        };
        if let Some(chain) = current::cycle(core, &travels, || self.target.place.link()) {
            self.wait.leave(&self.target.place);
            return Poll::Ready(Some(Err(AskError::Cycle { chain, message: msg })));
        }
        let (to, _) = self.target.place.address();
        let envelopes = self.envelopes;
        let mut asked = Asked {
            core,
            to,
            deadline,
            travels,
            envelopes,
            at: At::Unsent(msg),
            expected: None,
            carried: None,
        };
        let patience = || {
            let left = deadline.saturating_duration_since(core.clock().now());
            left.min(DEFAULT_TELL_TIMEOUT)
        };
        let sent = self.wait.poll_send::<M>(&self.target.place, patience, &mut asked, task);
        let at = std::mem::replace(&mut asked.at, At::Nowhere);
        let expected = asked.expected.take();
        let carried = asked.carried.take();
        drop(asked);
        self.carried = carried.map_or_else(Carried::default, |(_, carried)| carried);
        self.stage = match (at, expected) {
            (At::Here(reply, cell, mailbox), _) => Stage::Here(reply, cell, mailbox),
            (At::Unsent(msg), Some(expected)) => Stage::There(msg, expected),
            (At::Nowhere, _) => unreachable!("a place is filled with one message"),
            (At::Unsent(message), None) => match sent {
                Poll::Ready(Err(reason)) => {
                    return Poll::Ready(Some(Err(AskError::Rejected { reason, message })));
                }
                _ => {
                    self.stage = Stage::Unsent(message);
                    return Poll::Pending;
                }
            },
        };
        self.wait = Wait::default();
        Poll::Ready(None)
    }

    /// Polls what was sent; `None` when the message is to be sent again.
    fn poll_sent(&mut self, deadline: Instant, task: &mut Context<'_>) -> Poll<Option<Outcome<M>>> {
        let place = &self.target.place;
        let core = place.core();
        let ended = match &mut self.stage {
            Stage::Here(reply, cell, mailbox) => match Pin::new(reply).poll(task) {
                Poll::Ready(Ok(result)) => Some(Ended::Result(M::into_outcome(result))),
                Poll::Ready(Err(_)) => Some(match cell.closed(mailbox.panics()) {
                    AskEnd::Rejected(reason, message) => Ended::Rejected(reason, Some(message)),
                    AskEnd::Unknown(reason) => Ended::Unknown(reason),
                    AskEnd::Answered(answer) => read::<M>(core, M::WIRE_ID, answer),
                }),
                Poll::Pending => None,
            },
            Stage::There(_, expected) => match Pin::new(&mut expected.answer).poll(task) {
                Poll::Ready(Ok(answer)) => Some(read::<M>(core, expected.version, answer)),
                // The table of answers went with its node.
                Poll::Ready(Err(_)) => Some(Ended::Unknown(UnknownReason::NodeDown)),
                Poll::Pending => None,
            },
            Stage::Unsent(_) | Stage::Pausing(..) | Stage::Done => {
                panic!("an ask is not polled after it was ready")
            }
        };
        let ended = match ended {
            Some(ended) => ended,
            None if matches!(self.stage, Stage::Here(..)) && !self.has_looked_again => {
                // An actor of this thread has its turn before this task has its next one, and a timer
                // costs as much as all the rest.
                self.has_looked_again = true;
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => {
                let sleep = self.sleep.get_or_insert_with(|| core.clock().sleep_until(deadline));
                ready!(sleep.as_mut().poll(task));
                // What it gives back is not dropped with the rest.
                let expired = self.stage.expire();
                self.cancel();
                match expired {
                    Some((reason, message)) => Ended::Rejected(reason, Some(message)),
                    None => Ended::Unknown(UnknownReason::Deadline),
                }
            }
        };
        self.conclude(deadline, ended)
    }

    fn conclude(&mut self, deadline: Instant, ended: Ended<M>) -> Poll<Option<Outcome<M>>> {
        let place = &self.target.place;
        let core = place.core();
        let kept = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::There(msg, ..) => Some(msg),
            _ => None,
        };
        let carried = std::mem::take(&mut self.carried);
        let (reason, message) = match ended {
            Ended::Result(outcome) => return Poll::Ready(Some(outcome.map_err(AskError::Handler))),
            Ended::Unknown(reason) => {
                if reason == UnknownReason::Panicked && kept.is_some() {
                    let about = core.dead_letters().about(A::NAME, place.letter_target(), M::NAME);
                    core.dead_letters().panicked(about, Sender::IsTold);
                }
                if let Some(message) = self.repeated(reason) {
                    self.pause(deadline, message);
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Err(AskError::Unknown(reason))));
            }
            Ended::Rejected(reason, message) => match message.or(kept) {
                Some(message) => {
                    carried.take_back();
                    (reason, message)
                }
                None => return Poll::Ready(Some(Err(AskError::Unknown(UnknownReason::NoReply)))),
            },
        };
        let may_bounce = self.bounces < redirect::BOUNCES_LIMIT || self.again.is_some();
        if place.may_be_elsewhere(reason) && may_bounce {
            self.pause(deadline, message);
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(AskError::Rejected { reason, message })))
    }

    /// The message is to be sent again, by and by.
    fn pause(&mut self, deadline: Instant, message: M) {
        self.bounces = self.bounces.saturating_add(1);
        let clock = self.core().clock();
        let left = deadline.saturating_duration_since(clock.now());
        let pause = clock.sleep(redirect::pause(self.bounces).min(left));
        self.stage = Stage::Pausing(message, pause);
    }

    /// A copy of the message, if it is to be sent once more although it may have run.
    fn repeated(&mut self, reason: UnknownReason) -> Option<M> {
        let is_repeated = reason == UnknownReason::NodeDown && self.target.place.is_entity();
        let again = self.again.as_mut().filter(|_| is_repeated)?;
        again.doubt = Some(reason);
        Some((again.copy)(&again.msg))
    }

    /// What it comes to for whoever asked: what may have run was not rejected.
    fn told(&self, outcome: Outcome<M>) -> Outcome<M> {
        let doubt = self.again.as_ref().and_then(|again| again.doubt);
        match (outcome, doubt) {
            (Err(AskError::Rejected { .. } | AskError::Cycle { .. }), Some(reason)) => {
                Err(AskError::Unknown(reason))
            }
            (outcome, _) => outcome,
        }
    }

    /// Nobody waits any more: whoever still owes an answer on another node is told.
    fn cancel(&self) {
        let correlation = match &self.stage {
            Stage::There(_, expected) => Some(expected.correlation),
            Stage::Here(_, cell, _) => {
                let (unrun, known_as) = cell.abandon();
                drop(unrun);
                known_as
            }
            Stage::Unsent(_) | Stage::Pausing(..) | Stage::Done => None,
        };
        if let Some(correlation) = correlation {
            let place = &self.target.place;
            let (_, target) = place.address();
            place.core().cancel_ask(target, correlation);
        }
    }
}

impl<A: RemoteActor, M: RemoteMessage> Stage<A, M> {
    /// The deadline has passed. Gives the message back if it has not run.
    fn expire(&self) -> Option<(RejectReason, M)> {
        let Self::Here(_, cell, _) = self else { return None };
        match cell.expire() {
            AskEnd::Rejected(reason, message) => Some((reason, message)),
            AskEnd::Unknown(_) | AskEnd::Answered(_) => None,
        }
    }
}

/// How a message that was sent ended.
enum Ended<M: RemoteMessage> {
    Result(Result<M::Reply, M::Error>),
    Rejected(RejectReason, Option<M>),
    Unknown(UnknownReason),
}

/// Reads another node's answer to a message that was sent as `sent`.
fn read<M: RemoteMessage>(core: &Arc<NodeCore>, sent: WireId, answer: Answer) -> Ended<M> {
    match answer {
        Answer::Reply(bytes) => {
            let _scope = NodeCore::enter(core);
            match version::decode_result::<M>(sent, &bytes) {
                Ok(result) => Ended::Result(M::into_outcome(result)),
                Err(error) => {
                    tracing::warn!(message = M::NAME, %error, "a reply could not be read");
                    Ended::Unknown(UnknownReason::BadReply)
                }
            }
        }
        Answer::Rejected(reason) => Ended::Rejected(reason, None),
        Answer::Unknown(reason) => Ended::Unknown(reason),
    }
}

/// An asked message on its way.
struct Asked<'a, A: RemoteActor, M: RemoteMessage> {
    core: &'a Arc<NodeCore>,
    to: Address<'a>,
    deadline: Instant,
    travels: Travelling,
    envelopes: Envelopes<A, M>,
    at: At<A, M>,
    expected: Option<Expected>,
    /// The responders in what was written, and to whom.
    carried: Option<(NodeId, Carried)>,
}

enum At<A: RemoteActor, M: RemoteMessage> {
    Unsent(M),
    Here(oneshot::Receiver<M::Result>, Arc<AskCell<M>>, Arc<Mailbox<A>>),
    Nowhere,
}

impl<A: RemoteActor, M: RemoteMessage> Outgoing<A> for Asked<'_, A, M> {
    fn fill(&mut self, mailbox: &Arc<Mailbox<A>>, slot: Slot<'_, A>) {
        self.at = match std::mem::replace(&mut self.at, At::Nowhere) {
            At::Unsent(msg) => {
                let (asker, reply, cell) = LocalAsker::new(msg, self.deadline, self.travels.take());
                if let Some(rejected) = slot.fill((self.envelopes.ask)(asker)) {
                    rejected.end(mailbox, self.core.dead_letters());
                }
                At::Here(reply, cell, Arc::clone(mailbox))
            }
            other => other,
        };
    }

    fn encode(
        &mut self,
        peer: &Peer,
        version: WireId,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, EncodeError> {
        let At::Unsent(msg) = &self.at else { unreachable!("a message is sent once") };
        let (correlation, answer) = {
            let items = self.travels.as_ref().and_then(|travels| travels.intake());
            self.core.expect_answer(&peer.id, items).ok_or(EncodeError::Full)?
        };
        self.expected = Some(Expected { correlation, answer, version });
        let left = self.deadline.saturating_duration_since(self.core.clock().now());
        let travels = call::Written::of(&self.travels);
        let extensions = Extensions { time_left: Some(left), ..Extensions::default() };
        let extensions = extensions.with(&travels);
        let written = outbound::ask(self.to, version, msg, correlation, extensions, out);
        let (payload, carried) = written.map_err(EncodeError::Codec)?;
        self.carried = if carried.is_empty() { None } else { Some((peer.id.clone(), carried)) };
        Ok(payload)
    }

    fn encoded(&mut self, sent: bool) {
        if sent {
            self.carried.iter().for_each(|(node, carried)| carried.hand_over(node));
            return;
        }
        self.carried = None;
        if let Some(expected) = self.expected.take() {
            self.core.forget_answer(expected.correlation);
        }
    }

    fn token(&self) -> u64 {
        self.expected.as_ref().map_or(0, |expected| expected.correlation)
    }
}

impl<A: RemoteActor, M: RemoteMessage> Drop for Asked<'_, A, M> {
    /// What was written and not sent, by a panic of the message's own code too, expects nothing.
    fn drop(&mut self) {
        if let Some(expected) = self.expected.take() {
            self.core.forget_answer(expected.correlation);
        }
    }
}

impl<A: RemoteActor, M: RemoteMessage> Future for Ask<A, M> {
    type Output = Outcome<M>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let timeout = this.timeout;
        let clock = this.target.place.core().clock();
        let deadline = *this.deadline.get_or_insert_with(|| current::until(clock.after(timeout)));
        loop {
            let outcome = match &mut this.stage {
                Stage::Unsent(_) => ready!(this.poll_unsent(deadline, task)),
                Stage::Pausing(_, pause) => {
                    ready!(pause.as_mut().poll(task));
                    match std::mem::replace(&mut this.stage, Stage::Done) {
                        Stage::Pausing(message, _)
                            if deadline <= this.target.place.core().clock().now() =>
                        {
                            let reason = RejectReason::Expired;
                            Some(Err(AskError::Rejected { reason, message }))
                        }
                        Stage::Pausing(msg, _) => {
                            this.stage = Stage::Unsent(msg);
                            None
                        }
                        _ => None,
                    }
                }
                _ => ready!(this.poll_sent(deadline, task)),
            };
            if let Some(outcome) = outcome {
                this.stage = Stage::Done;
                return Poll::Ready(this.told(outcome));
            }
        }
    }
}

// The message is only ever moved out, never pinned.
impl<A: RemoteActor, M: RemoteMessage> Unpin for Ask<A, M> {}

impl<A: RemoteActor, M: RemoteMessage> Drop for Ask<A, M> {
    fn drop(&mut self) {
        self.wait.leave(&self.target.place);
        self.cancel();
    }
}

impl<A: RemoteActor, M: RemoteMessage> fmt::Debug for Ask<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("target", &self.target).finish_non_exhaustive()
    }
}
