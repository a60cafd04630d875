//! The actor types a node knows: the messages they list, and how their entities are made.
//!
//! Invariant: a wire id stands for one name and one shape in the whole program. The set is fixed
//! once the node has started.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
    time::Duration,
};

use super::{Node, NodeCore, arbiter::Residents, entities::EntityKey};
use crate::{
    actor::{
        Overflow, RestartPolicy, bound::Bound, envelope::Rejected, loading::Made, mailbox::Mailbox,
    },
    cluster::{
        Site,
        frame::Frame,
        understood::{Dispute, Restated, Understood},
        wire::Address,
    },
    message::{MessageFacts, WireId},
    reference::RejectReason,
    remote_actor::{Collision, MessageTable, RemoteActor, moved_state::StateEntry},
};

/// How the entities of one type are kept.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntitySettings {
    /// How long an entity without messages stays active, give or take a quarter; at least 40 ms in
    /// effect. Default 2 min.
    ///
    /// Too short, and entities are made anew for every message; too long, and idle ones take
    /// memory. [`Duration::MAX`] keeps them until they stop by themselves, also where the node has more
    /// than it is to have
    /// ([`NodeBuilder::active_entities`](super::NodeBuilder::active_entities)).
    pub passivate_after: Duration,
    /// How many accepted messages of this node's senders may wait for one entity; at least 1. Default
    /// `None`: what the actor type states ([`RemoteActor::MAILBOX_CAPACITY`]), or else 1,024.
    pub mailbox_capacity: Option<usize>,
    /// What becomes of a message for which an entity has no room. Default `None`: what the actor type
    /// states ([`RemoteActor::OVERFLOW`]), or else [`Overflow::Wait`].
    pub overflow: Option<Overflow>,
    /// What is to be done when an entity fails. Default [`RestartPolicy::default`].
    ///
    /// An entity that can't be loaded ([`NodeBuilder::entity_async`](super::NodeBuilder::entity_async))
    /// is tried again by its messages, with this policy's waits in between, and without its limit.
    pub restart: RestartPolicy,
}

impl Default for EntitySettings {
    fn default() -> Self {
        Self {
            passivate_after: Duration::from_secs(120),
            mailbox_capacity: None,
            overflow: None,
            restart: RestartPolicy::default(),
        }
    }
}

impl EntitySettings {
    /// The bound of an entity's mailbox: what is said here goes before what the type states.
    pub(super) fn bound<A: RemoteActor>(&self) -> Bound {
        let Bound { capacity, overflow } = Bound::of::<A>();
        Bound {
            capacity: self.mailbox_capacity.unwrap_or(capacity),
            overflow: self.overflow.unwrap_or(overflow),
        }
    }
}

/// Makes an entity from its key, or begins to load it.
pub(crate) type EntityFactory<A> = dyn Fn(&str) -> Made<A> + Send + Sync;

/// One actor type.
pub(crate) struct Kind<A: RemoteActor> {
    table: MessageTable<A>,
    hosting: Option<Hosting<A>>,
}

/// What it takes to host entities of a type.
pub(crate) struct Hosting<A> {
    pub(crate) factory: Arc<EntityFactory<A>>,
    pub(crate) settings: EntitySettings,
}

/// A [`Kind`] whose type its user does not know.
pub(crate) trait AnyKind: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    /// What the type says about each of its messages.
    fn messages(&self) -> Vec<MessageFacts>;
    /// Where entities of the type may be.
    fn site(&self) -> Site;
    /// How long entities of the type may idle; `None` if the node hosts none.
    fn passivate_after(&self) -> Option<Duration>;
    /// Puts a frame into its target's mailbox, on an arbiter.
    fn deliver(&self, core: &Arc<NodeCore>, residents: &Residents, frame: Frame);
    /// Activates an entity for which something waits, on its arbiter.
    fn activate(&self, core: &Arc<NodeCore>, residents: &Residents, key: &EntityKey);
    /// Whether entities of the type are hosted here, and take over state of this version, if that comes.
    fn takes_over(&self, version: Option<WireId>) -> bool;
    /// What to send to a peer instead of an entity's state of this version with these bytes.
    fn restate_state(
        &self,
        peer: &Understood,
        version: WireId,
        bytes: &[u8],
    ) -> Result<Restated, Dispute>;
    /// What to send to a peer instead of a message of the type with these bytes.
    fn restate(&self, peer: &Understood, message: WireId, body: &[u8])
    -> Result<Restated, Dispute>;
}

#[derive(Default)]
pub(crate) struct Kinds {
    kinds: BTreeMap<WireId, Known>,
    messages: BTreeMap<WireId, MessageFacts>,
}

struct Known {
    name: &'static str,
    type_id: TypeId,
    kind: Box<dyn AnyKind>,
}

impl Kinds {
    /// Registers an actor type. A second time changes nothing, unless it says how to host it.
    pub(crate) fn register<A: RemoteActor>(
        &mut self,
        hosting: Option<Hosting<A>>,
    ) -> Result<(), Collision> {
        let hosts = hosting.is_some();
        let table = MessageTable::<A>::collect()?;
        let facts: Vec<_> = table.facts().collect();
        let (name, type_id) = (A::NAME, TypeId::of::<A>());
        let kind = Box::new(Kind { table, hosting });
        match self.kinds.entry(A::TYPE_ID) {
            Entry::Vacant(free) => {
                free.insert(Known { name, type_id, kind });
            }
            Entry::Occupied(known)
                if (known.get().name, known.get().type_id) != (name, type_id) =>
            {
                return Err(Collision { first: known.get().name, second: name });
            }
            Entry::Occupied(mut known) if hosts => known.get_mut().kind = kind,
            Entry::Occupied(_) => {}
        }
        for facts in facts {
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

    /// Where the entities of each type may be.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (WireId, Site)> {
        self.kinds.iter().map(|(id, known)| (*id, known.kind.site()))
    }

    /// All messages that the types list.
    pub(crate) fn messages(&self) -> impl Iterator<Item = MessageFacts> {
        self.messages.values().copied()
    }

    /// All types: wire id, name, and the messages that each lists.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (WireId, &'static str, Vec<MessageFacts>)> {
        self.kinds.iter().map(|(id, known)| (*id, known.name, known.kind.messages()))
    }

    /// A type, by the wire id of its name.
    pub(crate) fn find(&self, actor_type: WireId) -> Option<&dyn AnyKind> {
        self.kinds.get(&actor_type).map(|known| &*known.kind)
    }

    /// The identity of an entity that another node speaks of; `None` if the type is not known, or the key
    /// is too long.
    pub(crate) fn entity_key(&self, actor_type: WireId, key: &str) -> Option<EntityKey> {
        let known = self.kinds.get(&actor_type).filter(|_| key.len() <= Node::KEY_LIMIT)?;
        Some(EntityKey::of_name(actor_type, known.name, key))
    }

    /// How to host entities of a type.
    pub(crate) fn hosting<A: RemoteActor>(&self) -> Option<&Hosting<A>> {
        self.find(A::TYPE_ID)?.as_any().downcast_ref::<Kind<A>>()?.hosting.as_ref()
    }

    /// How the state of entities of a type goes along, if it does.
    pub(crate) fn state<A: RemoteActor>(&self) -> Option<&StateEntry<A>> {
        self.find(A::TYPE_ID)?.as_any().downcast_ref::<Kind<A>>()?.table.state()
    }

    /// How long entities may idle, by type.
    pub(crate) fn passivations(&self) -> impl Iterator<Item = (WireId, Duration)> {
        self.kinds.iter().filter_map(|(id, known)| Some((*id, known.kind.passivate_after()?)))
    }

    /// The shortest time after which entities of any type are passivated.
    pub(crate) fn shortest_passivation(&self) -> Option<Duration> {
        self.passivations().map(|(_, after)| after).min()
    }
}

impl<A: RemoteActor> AnyKind for Kind<A> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn messages(&self) -> Vec<MessageFacts> {
        self.table.facts().collect()
    }

    fn site(&self) -> Site {
        A::SITE
    }

    fn passivate_after(&self) -> Option<Duration> {
        self.hosting.as_ref().map(|hosting| hosting.settings.passivate_after)
    }

    fn deliver(&self, core: &Arc<NodeCore>, residents: &Residents, frame: Frame) {
        let Some(entry) = self.table.entry(frame.message) else {
            tracing::warn!(
                actor = A::NAME,
                message = %frame.message,
                "an unlisted message came; list it in `handles(..)`, or upgrade this node"
            );
            return frame.reject(RejectReason::Mismatch);
        };
        let is_entitys = matches!(frame.address(), Some(Address::Entity { .. }));
        if is_entitys && frame.follows_what_went_back(core) {
            return frame.moved(core);
        }
        let frame = match known_here::<A>(core, &frame) {
            // One that has ended since is activated anew, below.
            Some(mailbox) => match mailbox.accept_if_open(frame, |frame| entry.envelope(frame)) {
                Ok(rejected) => return end(rejected, &mailbox, core),
                Err(frame) => frame,
            },
            None => frame,
        };
        let found = match frame.address() {
            Some(Address::Actor { id, .. }) => {
                core.find::<A>(core.id(), id.into()).ok_or(RejectReason::NoSuchActor)
            }
            Some(Address::Entity { key, .. }) if key.len() > Node::KEY_LIMIT => {
                Err(RejectReason::Mismatch)
            }
            Some(Address::Entity { key, .. }) => {
                core.entity_here::<A>(&EntityKey::of::<A>(key), Some(residents))
            }
            None => Err(RejectReason::Mismatch),
        };
        match found {
            Ok(mailbox) => end(mailbox.accept(entry.envelope(frame)), &mailbox, core),
            Err(RejectReason::Moved) => frame.moved(core),
            Err(reason) => frame.reject(reason),
        }
    }

    fn activate(&self, core: &Arc<NodeCore>, residents: &Residents, key: &EntityKey) {
        let found = core.entity_here::<A>(key, Some(residents));
        let left = core.cluster().filter(|_| found.is_ok());
        if left.and_then(|cluster| cluster.transfers.take(key)).is_some() {
            tracing::warn!(actor = A::NAME, ?key, "an entity was active before its state came");
        }
    }

    fn takes_over(&self, version: Option<WireId>) -> bool {
        let reads = |version| self.table.state().is_some_and(|state| state.reads(version));
        self.hosting.is_some() && version.is_none_or(reads)
    }

    fn restate_state(
        &self,
        peer: &Understood,
        version: WireId,
        bytes: &[u8],
    ) -> Result<Restated, Dispute> {
        let state = self.table.state().ok_or(Dispute::Version)?;
        state.restate(peer, version, bytes)
    }

    fn restate(
        &self,
        peer: &Understood,
        message: WireId,
        body: &[u8],
    ) -> Result<Restated, Dispute> {
        match self.table.entry(message) {
            Some(entry) => entry.restate(peer, body),
            None => Ok(Restated::AsItIs),
        }
    }
}

/// The mailbox of a frame's target, if that is an entity which is active here. If it belongs elsewhere by now,
/// it is about to end, and what waits for it goes back in order, this frame behind the others.
fn known_here<A: RemoteActor>(core: &Arc<NodeCore>, frame: &Frame) -> Option<Arc<Mailbox<A>>> {
    let Some(Address::Entity { key, .. }) = frame.address() else { return None };
    core.active_entity::<A>(frame.target(), key)
}

/// Ends what a mailbox has turned away.
fn end<A: RemoteActor>(rejected: Option<Rejected<A>>, mailbox: &Mailbox<A>, core: &Arc<NodeCore>) {
    if let Some(rejected) = rejected {
        rejected.end(mailbox, core.dead_letters());
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.values().map(|known| known.name)).finish()
    }
}
