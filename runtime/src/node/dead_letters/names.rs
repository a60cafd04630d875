//! What the numbers on the wire are called: the actor types and messages that a node knows.

use std::collections::BTreeMap;

use crate::{cluster::mark::TellMark, message::WireId, node::kinds::Kinds};

#[derive(Debug, Default)]
pub(crate) struct Names {
    actors: BTreeMap<WireId, &'static str>,
    messages: BTreeMap<WireId, &'static str>,
    /// What a mark stands for: an actor type, and a message of it.
    marks: BTreeMap<u64, (&'static str, &'static str)>,
}

impl Names {
    pub(crate) fn of(kinds: &Kinds) -> Self {
        let mut names = Self::default();
        for (actor_type, actor, messages) in kinds.tables() {
            names.actors.insert(actor_type, actor);
            for facts in messages {
                names.messages.insert(facts.id, facts.name);
                let mark = TellMark::new(actor_type, facts.id);
                names.marks.insert(mark.pair(), (actor, facts.name));
            }
        }
        names
    }

    pub(super) fn actor(&self, actor_type: WireId) -> Option<&'static str> {
        self.actors.get(&actor_type).copied()
    }

    pub(super) fn message(&self, message: WireId) -> Option<&'static str> {
        self.messages.get(&message).copied()
    }

    pub(super) fn marked(&self, mark: TellMark) -> Option<(&'static str, &'static str)> {
        self.marks.get(&mark.pair()).copied()
    }
}
