//! The one reference type.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Ask, MessageRef, Tell, TellError, route,
    tell::{self, Told},
};
use crate::{
    actor::{
        ActorId, ExitReason,
        mailbox::{Mailbox, Signal},
    },
    message::WireId,
    node::{EntityKey, Node, NodeCore, NodeId},
    remote_actor::{HandledBy, RemoteActor},
    stream::{ItemStream, StreamMessage},
    watch::Watched,
};

/// A location-free reference to an actor.
///
/// It is cheap to clone, compares and hashes by what it refers to, and travels inside messages.
/// Messages from one sender through references to one actor are handled in the order sent.
///
/// Serialising writes node, incarnation and number of the actor; reading it back works while a
/// message is decoded on a node, because a reference belongs to the node that holds it.
pub struct ActorRef<A: RemoteActor> {
    pub(crate) place: Place<A>,
}

/// Each send holds its target: what most are sent to is one count, and none that all senders of a
/// node share.
pub(crate) enum Place<A: RemoteActor> {
    /// On this node.
    Local(Arc<Mailbox<A>>),
    /// On another node, or no longer here.
    Away { core: Arc<NodeCore>, node: NodeId, id: ActorId },
    /// Wherever its shard is.
    Entity(Arc<Keyed>),
}

/// An entity, and the node that looks for it.
pub(crate) struct Keyed {
    pub(crate) core: Arc<NodeCore>,
    pub(crate) key: EntityKey,
}

impl Keyed {
    /// The same in the life that its node is in.
    fn living(this: &Arc<Self>) -> Arc<Self> {
        match this.core.successor() {
            Some(core) => Arc::new(Self { core, key: this.key.clone() }),
            None => Arc::clone(this),
        }
    }
}

/// A reference as bytes. Frozen: new variants go to the end.
#[derive(Serialize, Deserialize)]
enum WireRef<'a> {
    Actor { actor_type: u64, node: NodeId, id: u64 },
    Entity { actor_type: u64, key: Cow<'a, str> },
}

impl<A: RemoteActor> ActorRef<A> {
    pub(crate) fn local(mailbox: Arc<Mailbox<A>>) -> Self {
        Self { place: Place::Local(mailbox) }
    }

    pub(crate) fn entity(core: Arc<NodeCore>, key: EntityKey) -> Self {
        if let Some(cluster) = core.cluster() {
            cluster.place(A::TYPE_ID, A::SITE);
        }
        Self { place: Place::Entity(Arc::new(Keyed { core, key })) }
    }

    /// Sends `msg` without awaiting a reply.
    ///
    /// The message takes its place in the order at the future's first poll; the future is ready
    /// once the target's mailbox has accepted it. A full target makes its senders wait, in the
    /// order in which they came, for at most 5 s unless [`within`](Tell::within) says otherwise; or
    /// does what its [`Overflow`](crate::Overflow) policy says instead.
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
    pub fn tell<M: HandledBy<A>>(&self, msg: M) -> Tell<A, M> {
        Tell::new(self.clone(), msg)
    }

    /// Sends `msg` if the target has room right now, and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`TellError`], with the message: it did not run.
    pub fn try_tell<M: HandledBy<A>>(&self, msg: M) -> Result<(), TellError<M>> {
        if let Some(living) = self.in_next_life() {
            return living.try_tell(msg);
        }
        let travels = match tell::depart::<A, M>(&self.place) {
            Ok(travels) => travels,
            Err(reason) => return Err(TellError { reason, message: msg }),
        };
        let (mut kept, core) = (Some(msg), self.place.core());
        let mut told = Told::new(core, self.place.address(), &mut kept, travels, M::envelopes());
        let sent = route::send_now::<A, M>(&self.place, &mut told);
        match (sent, kept) {
            (Err(reason), Some(message)) => Err(TellError { reason, message }),
            _ => Ok(()),
        }
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
    pub fn ask<M: HandledBy<A>>(&self, msg: M) -> Ask<A, M> {
        Ask::new(self.clone(), msg)
    }

    /// Sends `msg` and reads the items that answer it, and then its reply.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ActorRef, AskError, HandledBy, RemoteActor, StreamMessage};
    /// # async fn example<A: RemoteActor, M: StreamMessage + HandledBy<A>>(
    /// #     account: ActorRef<A>, history: M,
    /// # ) -> Result<(), AskError<M>> {
    /// let mut entries = account.ask_stream(history);
    /// while let Some(entry) = entries.next().await.transpose()? {
    ///     drop(entry);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask_stream<M: StreamMessage + HandledBy<A>>(&self, msg: M) -> ItemStream<A, M> {
        ItemStream::new(self.clone(), msg)
    }

    /// The same actor, for callers that only send `M`.
    pub fn narrow<M: HandledBy<A>>(&self) -> MessageRef<M> {
        MessageRef::new(self.clone())
    }

    /// Asks the actor to stop at its next turn, hooks included. What is in its mailbox then is
    /// rejected, and it is not started again, whoever supervises it. No effect on an entity, and on an
    /// actor of another node.
    pub fn stop(&self) {
        self.signal(Signal::Stop);
    }

    /// Ends the actor at its next turn or await, without its hooks. To a
    /// [`Supervisor`](crate::Supervisor) that is a failure of the instance, after which it starts
    /// another; anybody else's actor has ended. No effect on an entity, and on an actor of another
    /// node.
    pub fn kill(&self) {
        self.signal(Signal::Kill);
    }

    /// Why the actor ended, once it has; `None` while it lives, for entities, and for actors of
    /// other nodes.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        match &self.place {
            Place::Local(mailbox) => mailbox.exit(),
            Place::Away { .. } | Place::Entity(_) => None,
        }
    }

    /// The node the actor lives on; `None` for an entity, which
    /// [`Node::owner_of`](crate::Node::owner_of) finds.
    pub fn node_id(&self) -> Option<&NodeId> {
        match &self.place {
            Place::Local(mailbox) => Some(mailbox.core().id()),
            Place::Away { node, .. } => Some(node),
            Place::Entity(_) => None,
        }
    }

    /// The actor's number on its node; `None` for an entity.
    pub fn id(&self) -> Option<ActorId> {
        match &self.place {
            Place::Local(mailbox) => Some(mailbox.id()),
            Place::Away { id, .. } => Some(*id),
            Place::Entity(_) => None,
        }
    }

    /// The entity's key; `None` for any other actor.
    pub fn key(&self) -> Option<&str> {
        match &self.place {
            Place::Entity(entity) => Some(entity.key.as_str()),
            Place::Local(_) | Place::Away { .. } => None,
        }
    }

    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        self.place.core()
    }

    /// The same in the life that its node is in, if that is a later one.
    pub(crate) fn in_next_life(&self) -> Option<Self> {
        // A clone is always of the life that its node is in.
        self.place.successor().map(|_| self.clone())
    }

    /// The number of an actor of this very node, or of one that was.
    pub(crate) fn id_on(&self, node: &Arc<NodeCore>) -> Option<ActorId> {
        match &self.place {
            Place::Local(mailbox) if Arc::ptr_eq(mailbox.core(), node) => Some(mailbox.id()),
            Place::Away { core, node: theirs, id }
                if Arc::ptr_eq(core, node) && *theirs == *node.id() =>
            {
                Some(*id)
            }
            Place::Local(_) | Place::Away { .. } | Place::Entity(_) => None,
        }
    }

    /// Whether it is known here that the actor has ended, or is about to.
    pub(crate) fn has_ended_here(&self) -> bool {
        match &self.place {
            Place::Local(mailbox) => mailbox.is_closed(),
            Place::Away { .. } | Place::Entity(_) => false,
        }
    }

    /// How many messages its mailbox has accepted that are not finished; `None` if it is not known here.
    pub(crate) fn unfinished(&self) -> Option<usize> {
        match &self.place {
            Place::Local(mailbox) => Some(mailbox.unfinished()),
            Place::Away { .. } | Place::Entity(_) => None,
        }
    }

    /// Has the actor end once it has nothing more to do.
    pub(crate) fn passivate(&self) {
        if let Place::Local(mailbox) = &self.place {
            mailbox.signal_passivate();
        }
    }

    /// What the reference refers to, to be watched, and the mailbox if it leads to one.
    pub(crate) fn watched(&self) -> (Watched, Option<Arc<Mailbox<A>>>) {
        match &self.place {
            Place::Local(mailbox) => {
                let node = mailbox.core().id().clone();
                let watched = Watched::actor::<A>(node, mailbox.id());
                (watched, Some(Arc::clone(mailbox)))
            }
            Place::Away { node, id, .. } => (Watched::actor::<A>(node.clone(), *id), None),
            Place::Entity(entity) => (Watched::entity::<A>(entity.key.clone()), None),
        }
    }

    /// What the reference refers to, whoever holds it.
    fn identity(&self) -> (Option<&NodeId>, Option<ActorId>, Option<&str>) {
        (self.node_id(), self.id(), self.key())
    }

    fn signal(&self, signal: Signal) {
        if let Place::Local(mailbox) = &self.place {
            mailbox.signal(signal);
        }
    }
}

impl<A: RemoteActor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone() }
    }
}

impl<A: RemoteActor> Clone for Place<A> {
    /// The same in the life that its node is in.
    fn clone(&self) -> Self {
        match self {
            Self::Local(mailbox) => Self::Local(Arc::clone(mailbox)),
            Self::Away { core, node, id } => {
                Self::Away { core: core.living(), node: node.clone(), id: *id }
            }
            Self::Entity(entity) => Self::Entity(Keyed::living(entity)),
        }
    }
}

impl<A: RemoteActor> PartialEq for ActorRef<A> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl<A: RemoteActor> Eq for ActorRef<A> {}

impl<A: RemoteActor> Hash for ActorRef<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl<A: RemoteActor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(mailbox) => {
                write!(f, "{}{}@{}", A::NAME, mailbox.id(), mailbox.core().id())
            }
            Place::Away { node, id, .. } => write!(f, "{}{id}@{node}", A::NAME),
            Place::Entity(entity) => write!(f, "{}[{:?}]", A::NAME, entity.key),
        }
    }
}

impl<A: RemoteActor> Serialize for ActorRef<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WireId(actor_type) = A::TYPE_ID;
        let actor = |node: &NodeId, id: ActorId| WireRef::Actor {
            actor_type,
            node: node.clone(),
            id: id.0,
        };
        let wire = match &self.place {
            Place::Local(mailbox) => actor(mailbox.core().id(), mailbox.id()),
            Place::Away { node, id, .. } => actor(node, *id),
            Place::Entity(entity) => {
                WireRef::Entity { actor_type, key: Cow::Borrowed(entity.key.as_str()) }
            }
        };
        wire.serialize(serializer)
    }
}

impl<'de, A: RemoteActor> Deserialize<'de> for ActorRef<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = WireRef::deserialize(deserializer)?;
        let (WireRef::Actor { actor_type, .. } | WireRef::Entity { actor_type, .. }) = &wire;
        if WireId(*actor_type) != A::TYPE_ID {
            return Err(D::Error::custom(format_args!("this reference is to no {}", A::NAME)));
        }
        let core = NodeCore::current().ok_or_else(|| {
            D::Error::custom("a reference can be read only inside a node: use Node::scope")
        })?;
        let place = match wire {
            WireRef::Actor { node, id, .. } => {
                let id = ActorId(id);
                match core.find::<A>(&node, id) {
                    Some(mailbox) => Place::Local(mailbox),
                    None => Place::Away { core, node, id },
                }
            }
            WireRef::Entity { key, .. } if key.len() > Node::KEY_LIMIT => {
                return Err(D::Error::custom("the key of this reference is too long"));
            }
            WireRef::Entity { key, .. } => {
                let key = EntityKey::of::<A>(&key);
                Place::Entity(Arc::new(Keyed { core, key }))
            }
        };
        Ok(Self { place })
    }
}
