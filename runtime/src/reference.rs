//! References to actors, and how messages are sent through them.

mod actor_ref;
mod ask;
mod error;
mod message_ref;
pub(crate) mod route;
mod tell;

pub(crate) use self::route::{target_hash, target_id};
pub use self::{
    actor_ref::ActorRef,
    ask::{Ask, DEFAULT_ASK_TIMEOUT},
    error::{AskError, RejectReason, TellError, UnknownReason},
    message_ref::MessageRef,
    tell::{DEFAULT_TELL_TIMEOUT, Tell},
};
