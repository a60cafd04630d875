//! A dead letter, as its subscribers see it.

use std::{fmt, sync::Arc};

use crate::{
    actor::ActorId,
    node::NodeId,
    reference::{RejectReason, UnknownReason},
};

/// A message that was rejected or ended unknown with nobody waiting to be told, or one that is
/// poison. The message itself is gone: this is what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The lasting name of the actor type; `None` if this node does not know it.
    pub actor: Option<&'static str>,
    /// To whom it was sent; `None` if what came back does not say so.
    pub target: Option<DeadLetterTarget>,
    /// The lasting name of the message; `None` if this node does not know it, or if it came through
    /// an actix address.
    pub message: Option<&'static str>,
    /// How it ended.
    pub outcome: DeadLetterOutcome,
    /// The node whose actor or program sent it, if that is known.
    pub sender: Option<NodeId>,
    /// How often in a row messages of this name have made this target panic, once that is three times
    /// or more, each less than a minute after the one before.
    pub poison: Option<u32>,
}

/// To whom a dead letter was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterTarget {
    /// One actor of one run of a node.
    Actor {
        /// The run.
        node: NodeId,
        /// The actor's number.
        id: ActorId,
    },
    /// An entity, wherever it is.
    Entity {
        /// Its key. `None` if the message had left this node, and nobody subscribed when it did.
        key: Option<Arc<str>>,
        /// Its shard, from 0 to 4,095.
        shard: u16,
    },
}

/// How a dead letter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// It did not run.
    Rejected(RejectReason),
    /// It may have run.
    Unknown(UnknownReason),
}

impl fmt::Display for DeadLetterTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actor { node, id } => write!(f, "{id}@{node}"),
            Self::Entity { key: Some(key), .. } => write!(f, "[{key:?}]"),
            Self::Entity { key: None, shard } => write!(f, "some entity of shard {shard}"),
        }
    }
}

impl fmt::Display for DeadLetterOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
            Self::Unknown(reason) => write!(f, "unknown: {reason}"),
        }
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.unwrap_or("a message");
        write!(f, "{message} to {}", self.actor.unwrap_or("an actor"))?;
        if let Some(target) = &self.target {
            write!(f, " {target}")?;
        }
        write!(f, " {}", self.outcome)
    }
}
