//! How an actor handles a message: by which trait, and so when its result is there and what else the
//! actor does meanwhile.
//!
//! The word before a message in `handles(..)` picks the trait:
//!
//! | in `handles(..)` | trait | the actor meanwhile |
//! |---|---|---|
//! | `Deposit` | actix's [`Handler`] | as actix does it |
//! | `async Transfer` | [`AsyncHandler`] | does nothing else until the future ends |
//! | `reentrant Audit` | [`ReentrantHandler`] | handles other messages at each await |
//! | `responder Auction` | [`RespondingHandler`] | goes on; the answer may come later, and from elsewhere |
//! | `stream History` | [`StreamingHandler`] | as with `reentrant`; many items answer |
//!
//! Callers see one `tell` and one `ask`, and `ask_stream` for what is answered by items.

pub(crate) mod async_handler;
pub(crate) mod ending;
pub(crate) mod mode;
pub(crate) mod owed;
mod passed;
pub(crate) mod pipe;
pub(crate) mod reentrant;
pub(crate) mod responding;
pub(crate) mod streaming;

use actix::Handler;

pub use self::{
    async_handler::AsyncHandler,
    reentrant::{ReentrantHandler, This},
    responding::RespondingHandler,
    streaming::StreamingHandler,
};
use self::{
    async_handler::Exclusive,
    mode::{Mode, Plain},
    passed::Passed,
    reentrant::Reentrant,
    responding::Responding,
    streaming::Streaming,
};
use crate::{
    actor::{
        envelope::{LocalAsk, LocalTell},
        frame_envelope::FrameEnvelope,
    },
    message::RemoteMessage,
    remote_actor::{Envelopes, RemoteActor},
    stream::StreamMessage,
};

/// For the derive, which calls one of these for each entry of `handles(..)`.
#[doc(hidden)]
pub fn plain<A: RemoteActor + Handler<M>, M: RemoteMessage>() -> Envelopes<A, M> {
    envelopes::<A, M, Plain>()
}

#[doc(hidden)]
pub fn asynchronous<A: RemoteActor + AsyncHandler<M>, M: RemoteMessage>() -> Envelopes<A, M> {
    envelopes::<A, M, Exclusive>()
}

#[doc(hidden)]
pub fn reentrant<A: RemoteActor + ReentrantHandler<M>, M: RemoteMessage>() -> Envelopes<A, M> {
    envelopes::<A, M, Reentrant>()
}

#[doc(hidden)]
pub fn responding<A: RemoteActor + RespondingHandler<M>, M: RemoteMessage>() -> Envelopes<A, M> {
    envelopes::<A, M, Responding>()
}

#[doc(hidden)]
pub fn streaming<A: RemoteActor + StreamingHandler<M>, M: StreamMessage>() -> Envelopes<A, M> {
    envelopes::<A, M, Streaming>()
}

fn envelopes<A: RemoteActor, M: RemoteMessage, H: Mode<A, M>>() -> Envelopes<A, M> {
    Envelopes {
        tell: |msg, travels| Box::new(LocalTell::<M, H>::new(msg, travels)),
        ask: |asker| Box::new(LocalAsk::<M, H>::new(asker)),
        passed: |msg, owed| Box::new(Passed::<M, H>::new(msg, owed)),
        frame: |frame| Box::new(FrameEnvelope::<M, H>::new(frame)),
    }
}
