//! Remote actors: an actor type's lasting name and the table of messages that may reach it.
//!
//! Invariant: a table holds each wire id once, and every entry was written by the actor's own
//! `handles(..)` list. Entries are plain function pointers, made when the program is compiled.
//! Knows no node, connection or placement decision.

pub(crate) mod moved_state;

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
};

use actix::{Actor, Message};

pub use self::moved_state::MovedState;
use self::moved_state::StateEntry;

use crate::{
    actor::{
        ClusterContext, Overflow,
        bound::DEFAULT_MAILBOX_CAPACITY,
        envelope::{BoxEnvelope, LocalAsker},
        stash::DEFAULT_STASH_CAPACITY,
    },
    call::Travelling,
    cluster::{
        Site,
        frame::Frame,
        understood::{Dispute, Restated, Understood, restate},
    },
    handler::owed::Owed,
    message::{MessageFacts, RemoteMessage, WireId, version},
};

/// An actor type that can be addressed through [`ActorRef`](crate::ActorRef).
///
/// Derive it with [`macro@crate::RemoteActor`] and `#[remote(name = "..", handles(A, B))]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a remote actor",
    label = "this actor has no name on the wire",
    note = "derive it: `#[derive(RemoteActor)]` with `#[remote(name = \"..\", handles(..))]`, and use `type Context = ClusterContext<Self>`"
)]
pub trait RemoteActor: Actor<Context = ClusterContext<Self>> {
    /// The lasting name, unique among the actor types of the cluster.
    const NAME: &'static str;
    /// What stands for the name on the wire.
    const TYPE_ID: WireId = WireId::of_type(Self::NAME);
    /// How many accepted messages may wait for an actor of the type, unless who starts it says
    /// otherwise: `mailbox = N` in the derive. Default 1,024; at least 1 in effect.
    ///
    /// Too small, and senders wait although there is memory; too large, and an overloaded actor
    /// answers late instead of telling its senders.
    const MAILBOX_CAPACITY: usize = DEFAULT_MAILBOX_CAPACITY;
    /// What becomes of a message for which there is no room, unless who starts the actor says
    /// otherwise: `overflow = ..` in the derive. Default [`Overflow::Wait`].
    const OVERFLOW: Overflow = Overflow::Wait;
    /// How many messages an actor of the type may set aside ([`OrStash`](crate::OrStash)):
    /// `stash = N` in the derive. Default 256.
    ///
    /// They come on top of the mailbox's capacity, and messages from other nodes take their sender's
    /// budget for as long: more than some hundred, and a sender has no budget left for the message
    /// that ends the wait.
    const STASH_CAPACITY: usize = DEFAULT_STASH_CAPACITY;
    /// Where entities of the type may be, and what a minority does: `role`, `zone`, `strategy`,
    /// `pinned` and `minority` in the derive. Default [`Site::ANYWHERE`].
    const SITE: Site = Site::ANYWHERE;

    /// Lists the actor's remote messages.
    fn messages(table: &mut MessageTable<Self>);
}

/// States that the actor `Self` lists the message `M` in its `handles(..)`, and so handles it, by
/// whichever of the [handlers' traits](crate::handler) the list picks.
///
/// [`macro@crate::RemoteActor`] implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not list the message `{M}`",
    label = "`{M}` is missing in `handles(..)`",
    note = "add it: `#[remote(name = \"..\", handles(.., {M}))]` on `{Self}`, and implement `Handler<{M}>`"
)]
pub trait Handles<M: RemoteMessage>: RemoteActor {
    #[doc(hidden)]
    fn envelopes() -> Envelopes<Self, M>;
}

/// States that the message `Self` is listed by the actor `A`: [`Handles`], seen from the message.
///
/// It is what [`ActorRef`](crate::ActorRef) asks for. All that is needed comes with [`Handles`]; to
/// implement it by hand is of no use.
#[diagnostic::on_unimplemented(
    message = "`{A}` does not list the message `{Self}`",
    label = "`{Self}` is missing in `handles(..)`",
    note = "add it: `#[remote(name = \"..\", handles(.., {Self}))]` on `{A}`, and implement `Handler<{Self}>`"
)]
pub trait HandledBy<A: RemoteActor>: RemoteMessage {
    #[doc(hidden)]
    fn envelopes() -> Envelopes<A, Self>;
}

#[diagnostic::do_not_recommend]
impl<A: Handles<M>, M: RemoteMessage> HandledBy<A> for M {
    fn envelopes() -> Envelopes<A, Self> {
        <A as Handles<M>>::envelopes()
    }
}

/// How messages of one type are made ready for the mailbox of an actor of this node, and so in which
/// mode they are handled.
#[doc(hidden)]
pub struct Envelopes<A: RemoteActor, M: Message> {
    pub(crate) tell: fn(M, Travelling) -> BoxEnvelope<A>,
    pub(crate) ask: fn(LocalAsker<M>) -> BoxEnvelope<A>,
    pub(crate) passed: fn(M, Owed<M::Result>) -> BoxEnvelope<A>,
    pub(crate) frame: fn(Frame) -> BoxEnvelope<A>,
}

impl<A: RemoteActor, M: Message> Clone for Envelopes<A, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: RemoteActor, M: Message> Copy for Envelopes<A, M> {}

impl<A: RemoteActor, M: Message> fmt::Debug for Envelopes<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelopes")
    }
}

/// An actor type whose instances are known by a lasting key and placed by the cluster.
///
/// [`macro@crate::RemoteActor`] implements it when `placement` and `state` are both stated.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "the placement and state of this actor type are not stated",
    note = "state them: `#[remote(name = \"..\", handles(..), placement = Eventual, state = volatile)]`"
)]
pub trait Entity: RemoteActor {
    /// The guarantee under which a key is active at most once.
    const PLACEMENT: Placement;
    /// What happens to an instance's state when its shard moves.
    const STATE: EntityState;
}

/// The guarantee under which a key is active at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// Two activations of one key may coexist until all nodes hold the same view.
    Eventual,
}

/// What happens to an entity's state on a move and on a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntityState {
    /// Gone on a move and on a crash: the next activation starts from its factory.
    Volatile,
    /// Carried over when the shard is handed over to another node ([`MovedState`]); gone on a crash.
    Moved,
    /// Read from a store at each activation
    /// ([`NodeBuilder::entity_async`](crate::NodeBuilder::entity_async)): what the entity has written there
    /// is there after a move and after a crash.
    Loaded,
}

/// The remote messages of one actor type, by wire id.
pub struct MessageTable<A: RemoteActor> {
    entries: BTreeMap<WireId, Entry<A>>,
    /// Of each listed message the older versions, the next one first.
    older: Vec<Vec<Entry<A>>>,
    state: Option<StateEntry<A>>,
    collision: Option<Collision>,
}

pub(crate) struct Entry<A: RemoteActor> {
    facts: MessageFacts,
    envelope: fn(Frame) -> BoxEnvelope<A>,
    restate: fn(&Understood, WireId, &[u8]) -> Result<Restated, Dispute>,
}

impl<A: RemoteActor> Entry<A> {
    /// Makes a frame of this message ready for a mailbox.
    pub(crate) fn envelope(&self, frame: Frame) -> BoxEnvelope<A> {
        (self.envelope)(frame)
    }

    /// What to send to a peer instead of a message of this version with these bytes.
    pub(crate) fn restate(&self, peer: &Understood, body: &[u8]) -> Result<Restated, Dispute> {
        (self.restate)(peer, self.facts.id, body)
    }
}

/// Two names, or two shapes under one name, that share one wire id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// What was registered first.
    pub first: &'static str,
    /// What was refused.
    pub second: &'static str,
}

impl<A: RemoteActor> MessageTable<A> {
    /// Collects what the actor type lists.
    ///
    /// # Errors
    ///
    /// [`Collision`] when two listed messages have one wire id; give one another name.
    pub(crate) fn collect() -> Result<Self, Collision> {
        let (entries, older) = Default::default();
        let mut table = Self { entries, older, state: None, collision: None };
        A::messages(&mut table);
        table.add_older();
        match table.collision.take() {
            Some(collision) => Err(collision),
            None => Ok(table),
        }
    }

    /// What is known of a message; `None` if the actor does not list it.
    pub(crate) fn entry(&self, message: WireId) -> Option<&Entry<A>> {
        self.entries.get(&message)
    }

    /// How the state of entities goes along, if it does.
    pub(crate) fn state(&self) -> Option<&StateEntry<A>> {
        self.state.as_ref()
    }

    /// What the table says about each message, in the order of their ids.
    pub(crate) fn facts(&self) -> impl Iterator<Item = MessageFacts> {
        let listed = self.entries.values().map(|entry| (entry.facts.id, entry.facts));
        let state = self.state.iter().flat_map(|state| state.facts());
        let all: BTreeMap<_, _> = listed.chain(state.map(|facts| (facts.id, *facts))).collect();
        all.into_values()
    }

    /// Lists one message. The derive calls it once for each entry of `handles(..)`.
    pub fn add<M>(&mut self)
    where
        A: Handles<M>,
        M: RemoteMessage,
    {
        let envelope = <A as Handles<M>>::envelopes().frame;
        let entry = |facts| Entry { facts, envelope, restate: restate::<M> };
        self.older.push(version::older::<M>().iter().map(|older| entry(older.facts)).collect());
        if let Some(first) = self.entries.insert(M::WIRE_ID, entry(MessageFacts::of::<M>())) {
            self.collision.get_or_insert(Collision { first: first.facts.name, second: M::NAME });
        }
    }

    /// Adds the older versions. One that the actor lists itself has a handler of its own, which is
    /// then that of all before it too.
    fn add_older(&mut self) {
        for chain in std::mem::take(&mut self.older) {
            for entry in chain {
                match self.entries.entry(entry.facts.id) {
                    btree_map::Entry::Vacant(free) => free.insert(entry),
                    btree_map::Entry::Occupied(_) => break,
                };
            }
        }
    }
}

impl<A: RemoteActor> fmt::Debug for MessageTable<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.entries
                    .iter()
                    .map(|(id, entry)| (id, (entry.facts.name, entry.facts.version))),
            )
            .finish()
    }
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second } = self;
        if first == second {
            write!(f, "{first} is registered twice, for different types; rename one of them")
        } else {
            write!(f, "{first} and {second} have one wire id; rename one of them")
        }
    }
}

impl std::error::Error for Collision {}
