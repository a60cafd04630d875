//! Asks that are forwarded: another actor answers, straight to the asker.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix::Message;

use super::{Responder, carried::Carried, leaving::Leaving};
use crate::{
    actor::mailbox::{Mailbox, Slot},
    call::{self, Travelling},
    cluster::{
        delegation::{Claim, WireClaim},
        mark::TellMark,
        outbound,
        routing::Peer,
        wire::{Address, Extensions},
    },
    message::{CodecError, RemoteMessage, WireId},
    node::{NodeCore, NodeId},
    reference::{
        ActorRef, DEFAULT_TELL_TIMEOUT, RejectReason,
        route::{EncodeError, Outgoing, Wait, send_now},
    },
    remote_actor::{Envelopes, HandledBy, RemoteActor},
};

/// The future of [`Responder::forward`].
#[must_use = "nothing is forwarded until it is awaited"]
pub struct Forward<A: RemoteActor, N: RemoteMessage, M: RemoteMessage> {
    target: ActorRef<A>,
    envelopes: Envelopes<A, N>,
    /// There until it is ready.
    unsent: Option<(N, Responder<M>)>,
    wait: Wait<A>,
    /// What goes along, once the node's interceptors have let it depart.
    departed: Option<Travelling>,
}

/// An ask that was not forwarded: nothing was sent, and here is all that it takes to do something else.
pub struct ForwardError<N, M: RemoteMessage> {
    /// Why.
    pub reason: RejectReason,
    /// The message, given back.
    pub message: N,
    /// The responder, given back. Dropped, the ask ends as *no reply*.
    pub responder: Responder<M>,
}

impl<A, N, M> Forward<A, N, M>
where
    A: RemoteActor,
    N: HandledBy<A> + Message<Result = M::Result>,
    M: RemoteMessage,
{
    pub(super) fn new(target: ActorRef<A>, msg: N, responder: Responder<M>) -> Self {
        let (envelopes, wait) = (N::envelopes(), Wait::default());
        Self { target, envelopes, unsent: Some((msg, responder)), wait, departed: None }
    }
}

/// Forwards now, or not at all.
pub(super) fn now<A, N, M>(
    to: &ActorRef<A>,
    msg: N,
    responder: Responder<M>,
) -> Result<(), ForwardError<N, M>>
where
    A: RemoteActor,
    N: HandledBy<A> + Message<Result = M::Result>,
    M: RemoteMessage,
{
    if let Some(living) = to.in_next_life() {
        return now(&living, msg, responder);
    }
    if responder.waits_for(to) {
        return Err(ForwardError { reason: RejectReason::Cycle, message: msg, responder });
    }
    let travels = match responder.depart::<A, N>(to) {
        Ok(travels) => travels,
        Err(reason) => return Err(ForwardError { reason, message: msg, responder }),
    };
    let mut forwarded = Forwarded::new(to, N::envelopes(), travels, (msg, responder));
    let sent = send_now::<A, N>(&to.place, &mut forwarded);
    forwarded.outcome(sent)
}

/// A forwarded ask on its way.
struct Forwarded<'a, A: RemoteActor, N: RemoteMessage, M: RemoteMessage> {
    core: &'a Arc<NodeCore>,
    to: Address<'a>,
    hash: u64,
    envelopes: Envelopes<A, N>,
    travels: Travelling,
    unsent: Option<(N, Responder<M>)>,
    /// What was written, and is not known to be sent.
    written: Option<Written<M::Result>>,
}

/// What is to be told once a message was sent: to whom, and with what in it.
struct Written<R> {
    node: NodeId,
    carried: Carried,
    leaving: Option<Leaving<R>>,
}

impl<'a, A, N, M> Forwarded<'a, A, N, M>
where
    A: RemoteActor,
    N: RemoteMessage<Result = M::Result>,
    M: RemoteMessage,
{
    fn new(
        target: &'a ActorRef<A>,
        envelopes: Envelopes<A, N>,
        travels: Travelling,
        unsent: (N, Responder<M>),
    ) -> Self {
        let (to, hash) = target.place.address();
        let core = target.place.core();
        Self { core, to, hash, envelopes, travels, unsent: Some(unsent), written: None }
    }

    fn outcome(self, sent: Result<(), RejectReason>) -> Result<(), ForwardError<N, M>> {
        match (sent, self.unsent) {
            (Err(reason), Some((message, responder))) => {
                Err(ForwardError { reason, message, responder })
            }
            _ => Ok(()),
        }
    }
}

impl<A, N, M> Outgoing<A> for Forwarded<'_, A, N, M>
where
    A: RemoteActor,
    N: RemoteMessage<Result = M::Result>,
    M: RemoteMessage,
{
    fn fill(&mut self, mailbox: &Arc<Mailbox<A>>, slot: Slot<'_, A>) {
        let Some((msg, mut responder)) = self.unsent.take() else { return };
        let envelope = match responder.take() {
            Some(owed) => (self.envelopes.passed)(msg, owed.with_travels(self.travels.take())),
            None => (self.envelopes.tell)(msg, self.travels.take()),
        };
        if let Some(rejected) = slot.fill(envelope) {
            rejected.end(mailbox, self.core.dead_letters());
        }
    }

    fn encode(
        &mut self,
        peer: &Peer,
        version: WireId,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, EncodeError> {
        let Some((msg, responder)) = &self.unsent else { unreachable!("a message is sent once") };
        let (node, deadline) = (peer.id.clone(), responder.deadline());
        let travels = call::Written::of(&self.travels);
        let leaving = match responder.hand.as_ref().and_then(|hand| Some((hand, hand.take()?))) {
            Some((hand, owed)) => {
                let leaving = Leaving::begin::<N>(self.core, version, self.hash, owed);
                Some(leaving.map_err(|owed| {
                    hand.put(*owed);
                    EncodeError::Full
                })?)
            }
            None => None,
        };
        // Kept before the message's own code runs, so that whatever becomes of that, it is ended.
        let claim = leaving.as_ref().and_then(|leaving| leaving.claim().cloned());
        self.written = Some(Written { node, carried: Carried::default(), leaving });
        let answers = Answers { claim: claim.as_ref(), deadline, travels: &travels };
        let (payload, carried) =
            write(self.core, self.to, version, msg, answers, out).map_err(EncodeError::Codec)?;
        if let Some(written) = &mut self.written {
            written.carried = carried;
        }
        Ok(payload)
    }

    fn encoded(&mut self, sent: bool) {
        let Some(Written { node, carried, leaving }) = self.written.take() else { return };
        if sent {
            self.core.dead_letters().note_sent(&self.to, self.hash);
            carried.hand_over(&node);
            leaving.into_iter().for_each(|leaving| leaving.sent(&node));
            self.unsent = None;
            return;
        }
        let hand = self.unsent.as_ref().and_then(|(_, responder)| responder.hand.as_ref());
        if let (Some(hand), Some(owed)) = (hand, leaving.and_then(Leaving::unsent)) {
            hand.put(owed);
        }
    }

    fn token(&self) -> u64 {
        TellMark::to(&self.to, N::WIRE_ID).number()
    }
}

/// What a message that answers an ask says of it.
pub(crate) struct Answers<'a> {
    pub(crate) claim: Option<&'a Claim>,
    /// Until when it is awaited.
    pub(crate) deadline: Option<Instant>,
    pub(crate) travels: &'a call::Written,
}

/// Appends the payload of a message that answers an ask to the empty `out`.
pub(crate) fn write<N: RemoteMessage>(
    core: &NodeCore,
    to: Address<'_>,
    version: WireId,
    msg: &N,
    Answers { claim, deadline, travels }: Answers<'_>,
    out: Vec<u8>,
) -> Result<(Vec<u8>, Carried), CodecError> {
    let now = core.clock().now();
    let time_left = deadline.map(|at| at.saturating_duration_since(now));
    let answers = claim.map_or_else(Vec::new, |claim| {
        WireClaim::new(claim, time_left.unwrap_or(Duration::MAX)).put(Vec::new())
    });
    let extensions = Extensions { time_left, answers: &answers, ..Extensions::default() };
    let extensions = extensions.with(travels);
    outbound::tell(to, version, msg, extensions, out)
}

impl<A, N, M> Future for Forward<A, N, M>
where
    A: RemoteActor,
    N: RemoteMessage<Result = M::Result>,
    M: RemoteMessage,
{
    type Output = Result<(), ForwardError<N, M>>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { target, envelopes, unsent, wait, departed } = self.get_mut();
        let Some((msg, responder)) = unsent.take() else {
            panic!("a forward is not polled after it was ready")
        };
        if responder.waits_for(target) {
            let reason = RejectReason::Cycle;
            wait.leave(&target.place);
            return Poll::Ready(Err(ForwardError { reason, message: msg, responder }));
        }
        let travels = match departed {
            Some(travels) => travels.clone(),
            None => match responder.depart::<A, N>(target) {
                Ok(travels) => departed.insert(travels).clone(),
                Err(reason) => {
                    return Poll::Ready(Err(ForwardError { reason, message: msg, responder }));
                }
            },
        };
        wait.follow(&mut target.place);
        let (deadline, clock) = (responder.deadline(), target.place.core().clock());
        let patience = || {
            let left = deadline.map(|at| at.saturating_duration_since(clock.now()));
            left.unwrap_or(Duration::MAX).min(DEFAULT_TELL_TIMEOUT)
        };
        let mut forwarded = Forwarded::new(target, *envelopes, travels, (msg, responder));
        let sent = wait.poll_send::<N>(&target.place, patience, &mut forwarded, task);
        if sent.is_pending() {
            *unsent = forwarded.unsent.take();
        }
        Poll::Ready(forwarded.outcome(ready!(sent)))
    }
}

// Message and responder are only ever moved out, never pinned.
impl<A: RemoteActor, N: RemoteMessage, M: RemoteMessage> Unpin for Forward<A, N, M> {}

impl<A: RemoteActor, N: RemoteMessage, M: RemoteMessage> Drop for Forward<A, N, M> {
    fn drop(&mut self) {
        self.wait.leave(&self.target.place);
    }
}

impl<A: RemoteActor, N: RemoteMessage, M: RemoteMessage> fmt::Debug for Forward<A, N, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("target", &self.target).finish_non_exhaustive()
    }
}

impl<N, M: RemoteMessage> fmt::Debug for ForwardError<N, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<N, M: RemoteMessage> fmt::Display for ForwardError<N, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} not forwarded: {}", M::NAME, self.reason)
    }
}

impl<N, M: RemoteMessage> std::error::Error for ForwardError<N, M> {}
