//! What is watched, by its identity.

use std::fmt;

use crate::{
    actor::ActorId,
    message::WireId,
    node::{EntityKey, NodeId},
    reference::ActorRef,
    remote_actor::RemoteActor,
};

/// The identity of an actor that is, or was, watched: what its [`ActorRef`] refers to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Watched {
    pub(super) actor: &'static str,
    pub(super) actor_type: WireId,
    pub(super) place: WatchedPlace,
}

/// Where the target is to be looked for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum WatchedPlace {
    Actor { node: NodeId, id: ActorId },
    Entity(EntityKey),
}

impl Watched {
    pub(crate) fn actor<A: RemoteActor>(node: NodeId, id: ActorId) -> Self {
        let place = WatchedPlace::Actor { node, id };
        Self { actor: A::NAME, actor_type: A::TYPE_ID, place }
    }

    pub(crate) fn entity<A: RemoteActor>(key: EntityKey) -> Self {
        Self { actor: A::NAME, actor_type: A::TYPE_ID, place: WatchedPlace::Entity(key) }
    }

    /// Whether this is what `actor` refers to.
    ///
    /// A reference by key and one by number to the same entity's activation refer to different
    /// things: compare with the one that was watched.
    pub fn is<A: RemoteActor>(&self, actor: &ActorRef<A>) -> bool {
        self.actor_type == A::TYPE_ID
            && self.node_id() == actor.node_id()
            && self.id() == actor.id()
            && self.key() == actor.key()
    }

    /// The lasting name of its type.
    pub fn type_name(&self) -> &'static str {
        self.actor
    }

    /// The node it is on; `None` for an entity.
    pub fn node_id(&self) -> Option<&NodeId> {
        match &self.place {
            WatchedPlace::Actor { node, .. } => Some(node),
            WatchedPlace::Entity(_) => None,
        }
    }

    /// Its number on its node; `None` for an entity.
    pub fn id(&self) -> Option<ActorId> {
        match &self.place {
            WatchedPlace::Actor { id, .. } => Some(*id),
            WatchedPlace::Entity(_) => None,
        }
    }

    /// Its key, if it is an entity.
    pub fn key(&self) -> Option<&str> {
        match &self.place {
            WatchedPlace::Actor { .. } => None,
            WatchedPlace::Entity(key) => Some(key.as_str()),
        }
    }
}

/// As the reference is shown.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            WatchedPlace::Actor { node, id } => write!(f, "{}{id}@{node}", self.actor),
            WatchedPlace::Entity(key) => write!(f, "{}[{key:?}]", self.actor),
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
