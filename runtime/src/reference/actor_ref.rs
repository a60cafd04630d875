//! The one reference type.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use actix_cluster_transport::Clock;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Ask, MessageRef, RejectReason, Tell, TellError};
use crate::{
    actor::{
        ActorId, ExitReason,
        envelope::LocalTell,
        mailbox::{Mailbox, Refusal, Signal},
    },
    message::{RemoteMessage, WireId},
    node::{NodeCore, NodeId},
    remote_actor::{Handles, RemoteActor},
};

/// A location-free reference to an actor.
///
/// It is cheap to clone, compares and hashes by what it refers to, and travels inside messages.
/// Messages from one sender through references to one actor are handled in the order sent.
///
/// Serialising writes node, incarnation and number of the actor; reading it back works while a
/// message is decoded on a node, because a reference belongs to the node that holds it.
pub struct ActorRef<A: RemoteActor> {
    pub(super) place: Place<A>,
}

pub(super) enum Place<A: RemoteActor> {
    /// On this node.
    Local { core: Arc<NodeCore>, mailbox: Arc<Mailbox<A>> },
    /// On another node, or no longer here.
    Away { core: Arc<NodeCore>, node: NodeId, id: ActorId },
}

/// An actor's address as bytes.
#[derive(Serialize, Deserialize)]
struct WireRef {
    actor_type: u64,
    node: NodeId,
    id: u64,
}

impl<A: RemoteActor> ActorRef<A> {
    pub(crate) fn local(core: Arc<NodeCore>, mailbox: Arc<Mailbox<A>>) -> Self {
        Self { place: Place::Local { core, mailbox } }
    }

    /// Sends `msg` without awaiting a reply.
    ///
    /// The message takes its place in the order at the future's first poll; the future is ready
    /// once the target's mailbox has accepted it. A full target makes its senders wait, in the
    /// order in which they came, for at most 5 s unless [`within`](Tell::within) says otherwise.
    ///
    /// # Errors
    ///
    /// [`TellError`], with the message: it did not run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ActorRef, Handles, RemoteMessage, TellError};
    /// # async fn example<A: Handles<M>, M: RemoteMessage>(
    /// #     account: ActorRef<A>, deposit: M,
    /// # ) -> Result<(), TellError<M>> {
    /// account.tell(deposit).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tell<M>(&self, msg: M) -> Tell<A, M>
    where
        A: Handles<M>,
        M: RemoteMessage,
    {
        Tell::new(self.clone(), msg)
    }

    /// Sends `msg` if the target has room right now, and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`TellError`], with the message: it did not run.
    pub fn try_tell<M>(&self, msg: M) -> Result<(), TellError<M>>
    where
        A: Handles<M>,
        M: RemoteMessage,
    {
        let reason = match &self.place {
            Place::Local { mailbox, .. } => match mailbox.try_reserve() {
                Ok(slot) => {
                    slot.fill(Box::new(LocalTell(msg)));
                    return Ok(());
                }
                Err(Refusal::Full(_)) => RejectReason::Full,
                Err(Refusal::Closed(reason)) => reason,
            },
            Place::Away { .. } => self.away_reason(),
        };
        Err(TellError { reason, message: msg })
    }

    /// Sends `msg` and awaits its reply, for at most 5 s unless [`within`](Ask::within) says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// [`AskError`](super::AskError), which answers first whether the message can have run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ActorRef, AskError, Handles, RemoteMessage};
    /// # use std::time::Duration;
    /// # async fn example<A: Handles<M>, M: RemoteMessage>(
    /// #     account: ActorRef<A>, balance: M,
    /// # ) -> Result<(), AskError<M>> {
    /// let balance = account.ask(balance).within(Duration::from_secs(1)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask<M>(&self, msg: M) -> Ask<A, M>
    where
        A: Handles<M>,
        M: RemoteMessage,
    {
        Ask::new(self.clone(), msg)
    }

    /// The same actor, for callers that only send `M`.
    pub fn narrow<M>(&self) -> MessageRef<M>
    where
        A: Handles<M>,
        M: RemoteMessage,
    {
        MessageRef::new(self.clone())
    }

    /// Asks the actor to stop at its next turn, hooks included. What is in its mailbox then is
    /// rejected. No effect on an actor of another node.
    pub fn stop(&self) {
        self.signal(Signal::Stop);
    }

    /// Ends the actor at its next turn or await, without its hooks. No effect on an actor of
    /// another node.
    pub fn kill(&self) {
        self.signal(Signal::Kill);
    }

    /// Why the actor ended, once it has; `None` while it lives, and for actors of other nodes.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        match &self.place {
            Place::Local { mailbox, .. } => mailbox.exit(),
            Place::Away { .. } => None,
        }
    }

    /// The node the actor lives on.
    pub fn node_id(&self) -> &NodeId {
        match &self.place {
            Place::Local { core, .. } => core.id(),
            Place::Away { node, .. } => node,
        }
    }

    /// The actor's number on its node.
    pub fn id(&self) -> ActorId {
        match &self.place {
            Place::Local { mailbox, .. } => mailbox.id(),
            Place::Away { id, .. } => *id,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        match &self.place {
            Place::Local { core, .. } | Place::Away { core, .. } => core.clock(),
        }
    }

    /// Why an actor that is not here cannot be reached.
    pub(super) fn away_reason(&self) -> RejectReason {
        match &self.place {
            Place::Away { core, node, .. } if node == core.id() => RejectReason::NoSuchActor,
            _ => RejectReason::Unreachable,
        }
    }

    fn signal(&self, signal: Signal) {
        if let Place::Local { mailbox, .. } = &self.place {
            mailbox.signal(signal);
        }
    }
}

impl<A: RemoteActor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        let place = match &self.place {
            Place::Local { core, mailbox } => {
                Place::Local { core: Arc::clone(core), mailbox: Arc::clone(mailbox) }
            }
            Place::Away { core, node, id } => {
                Place::Away { core: Arc::clone(core), node: node.clone(), id: *id }
            }
        };
        Self { place }
    }
}

impl<A: RemoteActor> PartialEq for ActorRef<A> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id() && self.node_id() == other.node_id()
    }
}

impl<A: RemoteActor> Eq for ActorRef<A> {}

impl<A: RemoteActor> Hash for ActorRef<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
        self.node_id().hash(state);
    }
}

impl<A: RemoteActor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}@{}", A::NAME, self.id(), self.node_id())
    }
}

impl<A: RemoteActor> Serialize for ActorRef<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WireId(actor_type) = A::TYPE_ID;
        WireRef { actor_type, node: self.node_id().clone(), id: self.id().0 }.serialize(serializer)
    }
}

impl<'de, A: RemoteActor> Deserialize<'de> for ActorRef<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireRef { actor_type, node, id } = WireRef::deserialize(deserializer)?;
        if WireId(actor_type) != A::TYPE_ID {
            return Err(D::Error::custom(format_args!("this reference is to no {}", A::NAME)));
        }
        let core = NodeCore::current().ok_or_else(|| {
            D::Error::custom("a reference can be read only inside a node: use Node::scope")
        })?;
        let id = ActorId(id);
        let place = match core.find::<A>(&node, id) {
            Some(mailbox) => Place::Local { core, mailbox },
            None => Place::Away { core, node, id },
        };
        Ok(Self { place })
    }
}
