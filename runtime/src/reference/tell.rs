//! Sending without a reply.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    ActorRef, RejectReason, TellError,
    route::{EncodeError, Outgoing, Place, Wait},
};
use crate::{
    actor::mailbox::{Mailbox, Slot},
    call::{self, Travelling, current},
    cluster::{
        mark::TellMark,
        outbound,
        routing::Peer,
        wire::{Address, Extensions},
    },
    message::{RemoteMessage, WireId},
    node::{NodeCore, NodeId},
    remote_actor::{Envelopes, HandledBy, RemoteActor},
    responder::carried::Carried,
};

/// How long a tell waits for room unless told otherwise.
pub const DEFAULT_TELL_TIMEOUT: Duration = Duration::from_secs(5);

/// The future of [`ActorRef::tell`].
///
/// # Cancel safety
///
/// The message takes its place in the order at the first poll. Dropped before it is ready, the
/// future sends nothing, and the message is gone with it.
#[must_use = "a tell does nothing until it is awaited"]
pub struct Tell<A: RemoteActor, M: RemoteMessage> {
    target: ActorRef<A>,
    msg: Option<M>,
    envelopes: Envelopes<A, M>,
    timeout: Duration,
    wait: Wait<A>,
    /// What goes along, once the node's interceptors have let it depart.
    departed: Option<Travelling>,
}

impl<A: RemoteActor, M: HandledBy<A>> Tell<A, M> {
    pub(super) fn new(target: ActorRef<A>, msg: M) -> Self {
        let (msg, envelopes) = (Some(msg), M::envelopes());
        let (timeout, wait) = (DEFAULT_TELL_TIMEOUT, Wait::default());
        Self { target, msg, envelopes, timeout, wait, departed: None }
    }
}

impl<A: RemoteActor, M: RemoteMessage> Tell<A, M> {
    /// Waits for room for at most `timeout`. Default 5 s; zero is as `try_tell`.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// A told message on its way.
pub(super) struct Told<'a, A: RemoteActor, M: RemoteMessage> {
    core: &'a Arc<NodeCore>,
    to: Address<'a>,
    hash: u64,
    msg: &'a mut Option<M>,
    travels: Travelling,
    envelopes: Envelopes<A, M>,
    /// The responders in what was written, and to whom.
    carried: Option<(NodeId, Carried)>,
}

impl<'a, A: RemoteActor, M: RemoteMessage> Told<'a, A, M> {
    pub(super) fn new(
        core: &'a Arc<NodeCore>,
        (to, hash): (Address<'a>, u64),
        msg: &'a mut Option<M>,
        travels: Travelling,
        envelopes: Envelopes<A, M>,
    ) -> Self {
        Self { core, to, hash, msg, travels, envelopes, carried: None }
    }
}

/// Lets a told message depart with what goes along.
pub(super) fn depart<A: RemoteActor, M: RemoteMessage>(
    place: &Place<A>,
) -> Result<Travelling, RejectReason> {
    place.core().interceptors().send::<A, M>(place, false, current::travelling())
}

impl<A: RemoteActor, M: RemoteMessage> Outgoing<A> for Told<'_, A, M> {
    fn fill(&mut self, mailbox: &Arc<Mailbox<A>>, slot: Slot<'_, A>) {
        if let Some(msg) = self.msg.take()
            && let Some(rejected) = slot.fill((self.envelopes.tell)(msg, self.travels.take()))
        {
            rejected.end(mailbox, self.core.dead_letters());
        }
    }

    fn encode(
        &mut self,
        peer: &Peer,
        version: WireId,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, EncodeError> {
        let msg = self.msg.as_ref().expect("a message is kept until it is sent");
        let travels = call::Written::of(&self.travels);
        let extensions = Extensions::default().with(&travels);
        let written = outbound::tell(self.to, version, msg, extensions, out);
        let (payload, carried) = written.map_err(EncodeError::Codec)?;
        self.carried = if carried.is_empty() { None } else { Some((peer.id.clone(), carried)) };
        Ok(payload)
    }

    fn encoded(&mut self, sent: bool) {
        let carried = self.carried.take();
        if sent {
            self.core.dead_letters().note_sent(&self.to, self.hash);
            carried.iter().for_each(|(node, carried)| carried.hand_over(node));
        }
    }

    fn token(&self) -> u64 {
        TellMark::to(&self.to, M::WIRE_ID).number()
    }
}

impl<A: RemoteActor, M: RemoteMessage> Future for Tell<A, M> {
    type Output = Result<(), TellError<M>>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { target, msg, envelopes, timeout, wait, departed } = self.get_mut();
        assert!(msg.is_some(), "a tell is not polled after it was ready");
        wait.follow(&mut target.place);
        let core = target.place.core();
        let travels = match departed.take() {
            Some(travels) => travels,
            None => match depart::<A, M>(&target.place) {
                Ok(travels) => travels,
                Err(reason) => {
                    let message = msg.take().expect("a message is kept until it is sent");
                    return Poll::Ready(Err(TellError { reason, message }));
                }
            },
        };
        let mut told = Told::new(core, target.place.address(), msg, travels, *envelopes);
        let sent = wait.poll_send::<M>(&target.place, || *timeout, &mut told, task);
        if sent.is_pending() {
            *departed = Some(told.travels.take());
        }
        let sent = ready!(sent);
        let message = msg.take();
        Poll::Ready(match (sent, message) {
            (Err(reason), Some(message)) => Err(TellError { reason, message }),
            _ => Ok(()),
        })
    }
}

// The message is only ever moved out, never pinned.
impl<A: RemoteActor, M: RemoteMessage> Unpin for Tell<A, M> {}

impl<A: RemoteActor, M: RemoteMessage> Drop for Tell<A, M> {
    fn drop(&mut self) {
        self.wait.leave(&self.target.place);
    }
}

impl<A: RemoteActor, M: RemoteMessage> fmt::Debug for Tell<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tell").field("target", &self.target).finish_non_exhaustive()
    }
}
