//! State that goes along with an entity: how it is taken from one activation and given to the next.
//!
//! Knows no node and no connection.

use super::{Entity, MessageTable, RemoteActor};
use crate::{
    cluster::understood::{Dispute, Restated, Understood, restate},
    message::{CodecError, MessageFacts, RemoteMessage, WireId, version},
    remote_actor::Collision,
};

/// How many bytes the state of one entity may have: 16 MiB, or less if the transport's
/// `message_limit` is less.
pub(crate) const STATE_LIMIT: usize = 16 * 1024 * 1024;

/// An entity whose state goes along when its shard is handed over to another node: what
/// `state = moved` in the derive asks for.
///
/// A shard is handed over when a node joins, drains or shuts down, and when weights change. An entity in
/// it does what it has begun, is [saved](Self::save), ends ([`stopping`](actix::Actor::stopping) and
/// [`stopped`](actix::Actor::stopped) run), and is activated on the other node at once: made anew from its
/// key, [restored](Self::restore), started ([`started`](actix::Actor::started) runs, and may set timers
/// again). What was sent to it meanwhile follows in order.
///
/// State that can't be written, has more than 16 MiB, or that the other node does not know keeps the
/// entity's shard where it is, as long as its node does not leave; that is tried again after 10 s. The state
/// is gone when the node crashes or is declared down, when the entity panics, stops or is passivated, and
/// when its node has not been able to hand it over within the 5 s that a shutdown takes for it. So it is if
/// two entities of a shard go to a node of which it takes one and, for 5 s, refuses the other.
///
/// [`State`](Self::State) is a message like any other: it has a lasting name and a version, and nodes
/// whose releases have different versions of it hand it over by the rules for messages
/// (`docs/messages.md`). To send it to the actor is not possible, unless the actor lists it too.
///
/// # Examples
///
/// ```
/// use actix_cluster::{MovedState, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "()")]
/// #[remote(name = "shop.CartState", version = 1)]
/// struct CartState(Vec<String>);
///
/// #[derive(RemoteActor)]
/// #[remote(name = "shop.Cart", handles(), placement = Eventual, state = moved)]
/// struct Cart {
///     items: Vec<String>,
/// }
///
/// impl Actor for Cart {
///     type Context = ClusterContext<Self>;
/// }
///
/// impl MovedState for Cart {
///     type State = CartState;
///
///     fn save(&self) -> CartState {
///         CartState(self.items.clone())
///     }
///
///     fn restore(&mut self, CartState(items): CartState) {
///         self.items = items;
///     }
/// }
///
/// let builder = Node::builder().entity(|_key| Cart { items: Vec::new() });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what of it goes along when it moves",
    label = "`MovedState` is missing",
    note = "implement `MovedState` for `{Self}`, or state `volatile` or `loaded`"
)]
pub trait MovedState: Entity {
    /// What goes along.
    type State: RemoteMessage;

    /// Gives what is to go along. If that can't be written, the entity goes on.
    ///
    /// # Panics
    ///
    /// A panic is one of the actor, as in a handler.
    fn save(&self) -> Self::State;

    /// Takes what came along, before the entity is started.
    fn restore(&mut self, state: Self::State);
}

/// How the state of entities of one type goes along.
pub(crate) struct StateEntry<A> {
    /// Of all versions, the newest first.
    facts: Vec<MessageFacts>,
    save: fn(&A) -> Result<Vec<u8>, CodecError>,
    restore: fn(&mut A, WireId, &[u8]) -> Result<(), CodecError>,
    restate: fn(&Understood, WireId, &[u8]) -> Result<Restated, Dispute>,
}

impl<A> StateEntry<A> {
    fn new() -> Self
    where
        A: MovedState,
    {
        let older = version::older::<A::State>();
        let older = older.iter().map(|older| older.facts);
        Self {
            facts: std::iter::once(MessageFacts::of::<A::State>()).chain(older).collect(),
            save: |actor| version::encode(A::State::WIRE_ID, &actor.save(), Vec::new()),
            restore: |actor, version, bytes| {
                actor.restore(version::decode::<A::State>(version, bytes)?);
                Ok(())
            },
            restate: restate::<A::State>,
        }
    }

    pub(crate) fn facts(&self) -> &[MessageFacts] {
        &self.facts
    }

    /// Whether state of this version can be restored.
    pub(crate) fn reads(&self, version: WireId) -> bool {
        self.facts.iter().any(|facts| facts.id == version)
    }

    /// The state of an entity, and its version.
    pub(crate) fn save(&self, actor: &A) -> Result<(WireId, Vec<u8>), CodecError> {
        Ok((self.facts[0].id, (self.save)(actor)?))
    }

    pub(crate) fn restore(
        &self,
        actor: &mut A,
        version: WireId,
        bytes: &[u8],
    ) -> Result<(), CodecError> {
        (self.restore)(actor, version, bytes)
    }

    /// What to send to a peer instead of state of this version with these bytes.
    pub(crate) fn restate(
        &self,
        peer: &Understood,
        version: WireId,
        bytes: &[u8],
    ) -> Result<Restated, Dispute> {
        (self.restate)(peer, version, bytes)
    }
}

impl<A: RemoteActor> MessageTable<A> {
    /// States that the state of entities of the type goes along. The derive calls it for `state = moved`.
    pub fn add_state(&mut self)
    where
        A: MovedState,
    {
        let state = StateEntry::new();
        for facts in state.facts() {
            let listed = self.entries.get(&facts.id).filter(|entry| entry.facts != *facts);
            if let Some(first) = listed {
                let (first, second) = (first.facts.name, facts.name);
                self.collision.get_or_insert(Collision { first, second });
            }
        }
        self.state = Some(state);
    }
}
