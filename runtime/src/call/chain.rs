//! The chain of actors that wait, each for the next one's answer.
//!
//! Invariant: who is in a chain does nothing else until the ask at its end is answered. So an ask of one
//! that is in its own chain can't be answered.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    actor::{ActorId, mailbox::Mailbox},
    cluster::wire::PayloadError,
    message::WireId,
    node::{DeadLetterTarget, EntityKey, NodeCore, NodeId},
    remote_actor::RemoteActor,
};

/// How many links a chain keeps; of a longer one the oldest are forgotten, and a cycle back to those
/// ends at its deadline.
pub(crate) const LIMIT: usize = 32;

/// An actor, as a chain knows it.
#[derive(Clone)]
pub(crate) enum Link {
    Actor { actor_type: WireId, node: NodeId, id: ActorId },
    Entity(EntityKey),
}

/// The actors that wait, the first one first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain(Option<Arc<[Link]>>);

/// A link as bytes. Frozen: new variants go to the end.
#[derive(Serialize, Deserialize)]
enum WireLink<'a> {
    Actor { actor_type: u64, name: &'a str, incarnation: u64, id: u64 },
    Entity { actor_type: u64, key: &'a str },
}

impl Link {
    /// The actor of this mailbox.
    pub(crate) fn new<A: RemoteActor>(core: &NodeCore, mailbox: &Mailbox<A>) -> Self {
        match mailbox.entity() {
            Some(key) => Self::Entity(key.clone()),
            None => {
                Self::Actor { actor_type: A::TYPE_ID, node: core.id().clone(), id: mailbox.id() }
            }
        }
    }

    fn to_wire(&self) -> WireLink<'_> {
        match self {
            Self::Actor { actor_type, node, id } => WireLink::Actor {
                actor_type: actor_type.0,
                name: &node.name,
                incarnation: node.incarnation,
                id: id.0,
            },
            Self::Entity(key) => {
                WireLink::Entity { actor_type: key.actor_type().0, key: key.as_str() }
            }
        }
    }

    fn of_wire(link: &WireLink<'_>) -> Self {
        match *link {
            WireLink::Actor { actor_type, name, incarnation, id } => {
                let node = NodeId { name: name.into(), incarnation };
                Self::Actor { actor_type: WireId(actor_type), node, id: ActorId(id) }
            }
            // It is compared, and never routed to, so that its hash is of no use.
            WireLink::Entity { actor_type, key } => {
                Self::Entity(EntityKey::sent(WireId(actor_type), 0, key))
            }
        }
    }

    fn named(&self, core: &NodeCore) -> CallLink {
        let (actor_type, target) = match self {
            Self::Actor { actor_type, node, id } => {
                (*actor_type, DeadLetterTarget::Actor { node: node.clone(), id: *id })
            }
            Self::Entity(key) => (key.actor_type(), key.into()),
        };
        CallLink { actor: core.dead_letters().actor_name(actor_type), target }
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Actor { node, id, .. }, Self::Actor { node: their_node, id: their_id, .. }) => {
                (id, node) == (their_id, their_node)
            }
            (Self::Entity(key), Self::Entity(other)) => {
                (key.actor_type(), key.as_str()) == (other.actor_type(), other.as_str())
            }
            _ => false,
        }
    }
}

impl Eq for Link {}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actor { node, id, .. } => write!(f, "{id}@{node}"),
            Self::Entity(key) => write!(f, "[{:?}]", key.as_str()),
        }
    }
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn links(&self) -> &[Link] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The same with one more at its end.
    pub(crate) fn with(&self, link: Link) -> Self {
        let links = self.links();
        let kept = &links[links.len().saturating_sub(LIMIT - 1)..];
        Self(Some(kept.iter().cloned().chain([link]).collect()))
    }

    /// The part of the chain that would be a cycle with `target` behind it, if it would.
    pub(crate) fn cycle(&self, core: &NodeCore, target: &Link) -> Option<CallChain> {
        let links = self.links();
        let from = links.iter().position(|link| link == target)?;
        let cycle = links[from..].iter().chain([target]);
        Some(CallChain(cycle.map(|link| link.named(core)).collect()))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let links: Vec<_> = self.links().iter().map(Link::to_wire).collect();
        postcard::to_extend(&links, Vec::new()).expect("a chain has no value that serde refuses")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) of another node wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let links: Vec<WireLink<'_>> =
            postcard::from_bytes(bytes).map_err(|_| PayloadError::Malformed)?;
        if links.is_empty() || links.len() > LIMIT {
            return Err(PayloadError::Malformed);
        }
        Ok(Self(Some(links.iter().map(Link::of_wire).collect())))
    }
}

/// Actors that would wait for each other, the last one for the first: that is the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallChain(Vec<CallLink>);

/// One actor of a [`CallChain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLink {
    /// The lasting name of the actor type; `None` if this node does not know it.
    pub actor: Option<&'static str>,
    /// Which actor it is.
    pub target: DeadLetterTarget,
}

impl CallChain {
    /// The actors, each of which waits for the next.
    pub fn links(&self) -> &[CallLink] {
        &self.0
    }
}

impl fmt::Display for CallChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, link) in self.0.iter().enumerate() {
            let arrow = if at == 0 { "" } else { " -> " };
            write!(f, "{arrow}{link}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CallLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.actor.unwrap_or("an actor"), self.target)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn actor(id: u64) -> Link {
        let node = NodeId { name: "n1".into(), incarnation: 300 };
        Link::Actor { actor_type: WireId(1), node, id: ActorId(id) }
    }

    fn entity(key: &str) -> Link {
        Link::Entity(EntityKey::sent(WireId(2), 7, key))
    }

    /// Whether docs/wire.md has these bytes.
    pub(in crate::call) fn is_on_the_page(bytes: &[u8]) {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
        let page = std::fs::read_to_string(page).expect("the page on the wire");
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(page.contains(&format!("`{}`", hex.join(" "))), "docs/wire.md has no {hex:?}");
    }

    #[test]
    fn a_chain_has_golden_bytes() {
        let chain = Chain::default().with(actor(4)).with(entity("k"));
        let bytes = chain.to_bytes();
        assert_eq!(bytes, b"\x02\x00\x01\x02n1\xac\x02\x04\x01\x02\x01k");
        let read = Chain::read(&bytes).expect("a chain");
        assert_eq!(read.links(), chain.links());
        assert!(Chain::read(&[]).is_ok_and(|chain| chain.is_empty()));
        is_on_the_page(&bytes);
    }

    #[test]
    fn a_link_is_one_actor_or_one_key() {
        assert_eq!(entity("k"), Link::Entity(EntityKey::sent(WireId(2), 0, "k")));
        let others = [entity("l"), Link::Entity(EntityKey::sent(WireId(3), 7, "k")), actor(4)];
        assert!(others.iter().all(|other| *other != entity("k")));
        assert_ne!(actor(4), actor(5));
    }

    #[test]
    fn a_chain_forgets_its_oldest_links() {
        let chain = (0..=LIMIT as u64).fold(Chain::default(), |chain, id| chain.with(actor(id)));
        assert_eq!(chain.links().len(), LIMIT);
        assert_eq!(chain.links().first(), Some(&actor(1)));
        assert!(Chain::read(&chain.to_bytes()).is_ok());
        let mut longer = chain.to_bytes();
        let one = Chain::default().with(actor(0)).to_bytes();
        longer[0] += 1;
        longer.extend_from_slice(&one[1..]);
        assert!(Chain::read(&longer).is_err(), "a peer can't send a longer one");
    }
}
