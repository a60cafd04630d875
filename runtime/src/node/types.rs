//! The actor types a node knows, and the messages they list.
//!
//! Invariant: a wire id stands for one name and one shape in the whole program.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    message::WireId,
    remote_actor::{Collision, MessageFacts, MessageTable, RemoteActor},
};

#[derive(Debug, Default)]
pub(crate) struct Types {
    actors: BTreeMap<WireId, (&'static str, std::any::TypeId)>,
    messages: BTreeMap<WireId, MessageFacts>,
}

impl Types {
    /// Registers an actor type; a second time changes nothing.
    pub(crate) fn register<A: RemoteActor>(&mut self) -> Result<(), Collision> {
        let new = (A::NAME, std::any::TypeId::of::<A>());
        match self.actors.entry(A::TYPE_ID) {
            Entry::Occupied(known) if *known.get() == new => return Ok(()),
            Entry::Occupied(known) => {
                return Err(Collision { first: known.get().0, second: A::NAME });
            }
            Entry::Vacant(free) => free.insert(new),
        };
        for facts in MessageTable::<A>::collect()?.facts() {
            match self.messages.entry(facts.id) {
                Entry::Occupied(known) if *known.get() == facts => {}
                Entry::Occupied(known) => {
                    return Err(Collision { first: known.get().name, second: facts.name });
                }
                Entry::Vacant(free) => {
                    free.insert(facts);
                }
            }
        }
        Ok(())
    }
}
