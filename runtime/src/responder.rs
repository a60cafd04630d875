//! Answers that are given later, elsewhere, or by somebody else.
//!
//! Invariant: an ask ends once. Whoever holds its [`Responder`] last decides how; if nobody does, it ends
//! as *no reply*.

pub(crate) mod carried;
pub(crate) mod forward;
pub(crate) mod leaving;

use std::{fmt, marker::PhantomData, sync::Arc, time::Instant};

use actix::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use self::carried::Hand;
pub use self::forward::{Forward, ForwardError};
use crate::{
    call::{Travelling, Travels, current},
    handler::owed::Owed,
    message::{RemoteMessage, version},
    node::NodeCore,
    reference::{ActorRef, RejectReason},
    remote_actor::{HandledBy, RemoteActor},
};

/// The right to answer one ask, and the duty.
///
/// A [`RespondingHandler`](crate::RespondingHandler) is given it with the message. It may
/// [`reply`](Self::reply) at once; keep it in the actor, and reply when something else has happened; hand
/// it to another actor, inside of a message; or [`forward`](Self::forward) the ask. The asker sees one
/// `ask`, whose deadline goes on meanwhile.
///
/// Dropped without a reply, wherever that is, the asker learns
/// [`Unknown(NoReply)`](crate::UnknownReason::NoReply). So it does if its holder's instance ends; if the
/// node that holds it ends, the asker learns [`Unknown(NodeDown)`](crate::UnknownReason::NodeDown).
///
/// # Sending it
///
/// It is serialised inside of a message to another node, at most 64 of them in one message, and nowhere
/// else. Whoever receives it answers straight to the asker's node, and that watches the receiver's node
/// from then on. If the message isn't accepted, it is given back with the responder in it. One that was
/// accepted and is rejected at the other node ends the ask as *no reply*, unless it was itself asked: then
/// it is given back too. So is one whose receiver does not know the version of `M` that was asked. A message that was told has a responder as well, which answers nobody.
///
/// Between two nodes that have never been linked no answer passes: the ask ends at its deadline.
///
/// # Examples
///
/// ```
/// use actix_cluster::{Responder, RespondingHandler, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// /// Answered once the lot is sold.
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "Result<i64, String>")]
/// #[remote(name = "auction.Bid", version = 1)]
/// struct Bid(i64);
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// #[remote(name = "auction.Close", version = 1)]
/// struct Close;
///
/// #[derive(RemoteActor)]
/// #[remote(name = "auction.Lot", handles(responder Bid, Close))]
/// struct Lot(Option<(i64, Responder<Bid>)>);
///
/// impl Actor for Lot {
///     type Context = ClusterContext<Self>;
/// }
///
/// impl RespondingHandler<Bid> for Lot {
///     fn handle(&mut self, Bid(bid): Bid, responder: Responder<Bid>, _: &mut Self::Context) {
///         match self.0.replace((bid, responder)) {
///             Some((highest, earlier)) if highest >= bid => {
///                 let loser = self.0.replace((highest, earlier));
///                 loser.into_iter().for_each(|(_, it)| it.fail("outbid".to_owned()));
///             }
///             Some((_, earlier)) => earlier.fail("outbid".to_owned()),
///             None => {}
///         }
///     }
/// }
///
/// impl Handler<Close> for Lot {
///     type Result = ();
///     fn handle(&mut self, _: Close, _: &mut Self::Context) {
///         if let Some((bid, responder)) = self.0.take() {
///             responder.reply(Ok(bid));
///         }
///     }
/// }
/// ```
#[must_use = "an ask whose responder is dropped ends as *no reply*"]
pub struct Responder<M: RemoteMessage> {
    /// `None` if nobody awaits an answer.
    hand: Option<Arc<Hand<M::Result>>>,
    message: PhantomData<fn() -> M>,
}

impl<M: RemoteMessage> Responder<M> {
    pub(crate) fn new(core: &Arc<NodeCore>, owed: Owed<M::Result>) -> Self {
        Self { hand: Some(Arc::new(Hand::new(core, owed))), message: PhantomData }
    }

    /// That of a message that was told.
    pub(crate) fn of_tell() -> Self {
        Self { hand: None, message: PhantomData }
    }

    /// Answers. If the asker has gone, the result is dropped.
    pub fn reply(mut self, result: M::Result) {
        if let Some(owed) = self.take() {
            owed.reply(result);
        }
    }

    /// Whether nobody awaits an answer: the asker has gone, or the message was told.
    ///
    /// An asker on another node is known to have gone once its cancel has come here.
    pub fn is_cancelled(&self) -> bool {
        self.hand.as_ref().is_none_or(|hand| hand.is_gone())
    }

    /// Until when the asker waits; `None` if the message was told. An answer that comes later is dropped.
    pub fn deadline(&self) -> Option<Instant> {
        self.hand.as_ref()?.deadline()
    }

    /// Lets another actor answer, by how it handles `msg`.
    ///
    /// The result of `msg` goes straight to the asker, whose deadline holds for `msg`. The future waits for
    /// room as a [`tell`](ActorRef::tell) does, for at most 5 s and no longer than the asker; it is ready
    /// once the message is accepted. If it is rejected later, or its turn panics, the ask ends *unknown*.
    ///
    /// # Errors
    ///
    /// [`ForwardError`], with message and responder: nothing was sent.
    ///
    /// # Cancel safety
    ///
    /// The message takes its place at the first poll. Dropped before it is ready, the future sends nothing,
    /// and the ask ends as *no reply*.
    pub fn forward<A, N>(self, to: &ActorRef<A>, msg: N) -> Forward<A, N, M>
    where
        A: RemoteActor,
        N: HandledBy<A> + Message<Result = M::Result>,
    {
        Forward::new(to.clone(), msg, self)
    }

    /// As [`forward`](Self::forward), if the other actor has room right now.
    ///
    /// # Errors
    ///
    /// [`ForwardError`], with message and responder: nothing was sent.
    pub fn try_forward<A, N>(self, to: &ActorRef<A>, msg: N) -> Result<(), ForwardError<N, M>>
    where
        A: RemoteActor,
        N: HandledBy<A> + Message<Result = M::Result>,
    {
        forward::now(to, msg, self)
    }

    /// Whether an actor waits for this very answer, and does nothing else.
    fn waits_for<A: RemoteActor>(&self, actor: &ActorRef<A>) -> bool {
        let Some(hand) = &self.hand else { return false };
        let place = &actor.place;
        current::cycle(place.core(), &hand.travels(), || place.link()).is_some()
    }

    /// Lets a message that answers in its place depart, with what goes along.
    fn depart<A: RemoteActor, N: RemoteMessage>(
        &self,
        to: &ActorRef<A>,
    ) -> Result<Travelling, RejectReason> {
        let travels = match &self.hand {
            // Items go straight to who asked, from who was asked.
            Some(hand) => Travels::without_items(hand.travels()),
            None => current::travelling(),
        };
        to.place.core().interceptors().send::<A, N>(&to.place, self.hand.is_some(), travels)
    }

    fn take(&mut self) -> Option<Owed<M::Result>> {
        self.hand.take()?.take()
    }
}

impl<M, T, E> Responder<M>
where
    M: RemoteMessage + Message<Result = Result<T, E>>,
{
    /// Answers with the handler's own error.
    pub fn fail(self, error: E) {
        self.reply(Err(error));
    }
}

impl<M: RemoteMessage> Drop for Responder<M> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// What stands in a message for a responder that answers nobody.
const NOBODY: u32 = u32::MAX;

impl<M: RemoteMessage> Serialize for Responder<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = match &self.hand {
            Some(hand) => carried::add(hand).map_err(S::Error::custom)?,
            None => NOBODY,
        };
        place.serialize(serializer)
    }
}

impl<'de, M: RemoteMessage> Deserialize<'de> for Responder<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = match u32::deserialize(deserializer)? {
            NOBODY => return Ok(Self::of_tell()),
            place => place as usize,
        };
        let taken = NodeCore::current().zip(carried::take(place, version::is_known::<M>));
        let (core, claim) = taken.ok_or_else(|| {
            D::Error::custom(
                "a responder is read once, inside of the message that carries it, and where the \
                 version is known that was asked",
            )
        })?;
        Ok(Self::new(&core, Owed::claimed::<M>(&core, claim)))
    }
}

impl<M: RemoteMessage> fmt::Debug for Responder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("message", &M::NAME).finish_non_exhaustive()
    }
}
