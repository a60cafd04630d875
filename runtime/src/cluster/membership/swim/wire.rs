//! What travels in a packet of the SWIM membership.
//!
//! A packet is a [`Standing`] and then foca's own packet: its header, and updates behind their
//! count; all of it postcard. Golden bytes hold both parts, foca's enums included. Frozen: within a
//! protocol version nothing is added, sorted or widened.
//!
//! Invariant: what [`Heard::read`] returns was understood to its last byte. Knows no state.

use std::{net::SocketAddr, sync::Arc};

use actix_cluster_transport::NodeName;
use foca::{Codec as _, Header, Message, PostcardCodec};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    cluster::membership::{Member, SeedTarget},
    node::NodeId,
};

/// The longest packet of foca, in bytes. A member takes up to 240 with the longest name, so that a
/// joiner of a cluster of 50 learns of all of it at once; well below a control frame's 256 KiB.
pub(super) const PACKET_LIMIT: usize = 16 * 1024;

/// One run of a node, as the members tell each other of it.
///
/// All fields are part of being equal, so that two processes that claim one incarnation are told
/// apart rather than merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    #[serde(deserialize_with = "node_name")]
    name: Arc<str>,
    incarnation: u64,
    addr: SocketAddr,
    weight: u32,
}

/// A name is bounded and checked by the rules for node names before anything is done with it.
fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let name = <&str>::deserialize(deserializer)?;
    NodeName::new(name).map_err(de::Error::custom)?;
    Ok(name.into())
}

impl Identity {
    /// Whether this is the later run of a name. Only two processes that claim one incarnation
    /// differ in the rest, and then any order does as long as all nodes have the same.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        (self.incarnation, self.addr, self.weight) > (other.incarnation, other.addr, other.weight)
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn node(&self) -> NodeId {
        NodeId { name: Arc::clone(&self.name), incarnation: self.incarnation }
    }
}

impl From<&Member> for Identity {
    /// Leaves out the scope and the flow of an IPv6 address: they mean nothing on another host, and
    /// the wire does not carry them.
    fn from(member: &Member) -> Self {
        Self {
            name: Arc::clone(&member.id.name),
            incarnation: member.id.incarnation,
            addr: SocketAddr::new(member.addr.ip(), member.addr.port()),
            weight: member.weight,
        }
    }
}

impl From<&SeedTarget> for Identity {
    /// The weight is unknown, and 0. It never counts: an announce is taken by whoever has the name,
    /// and adds nobody; the seed's weight comes with its answer.
    fn from(seed: &SeedTarget) -> Self {
        let member = Member { id: seed.id.clone(), addr: seed.addr, weight: 0 };
        Self::from(&member)
    }
}

impl From<&Identity> for Member {
    fn from(identity: &Identity) -> Self {
        Self { id: identity.node(), addr: identity.addr, weight: identity.weight }
    }
}

impl foca::Identity for Identity {
    type Addr = Arc<str>;

    /// Never: who was declared down ends as this incarnation.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.supersedes(adversary)
    }
}

/// How much of the cluster the sender of a packet stands for, so that of two nodes that hold each
/// other down exactly one yields: the larger view stays, and of equal ones the higher `lowest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Standing {
    /// How many members its view holds.
    pub(super) members: u32,
    /// xxh3-64 (seed 0) of the lowest name in its view: the same on all of its side.
    pub(super) lowest: u64,
}

impl Standing {
    /// The whole packet, of foca's.
    pub(super) fn packet(self, of_foca: &[u8]) -> Vec<u8> {
        let mut packet = encoded(&self);
        packet.extend_from_slice(of_foca);
        packet
    }
}

/// A packet that was read.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    pub(super) standing: Standing,
    pub(super) header: Header<Identity>,
    pub(super) updates: Vec<foca::Member<Identity>>,
    /// Foca's part of it.
    pub(super) of_foca: &'a [u8],
}

impl<'a> Heard<'a> {
    /// Reads a whole packet; `None` if it is malformed, too long, or has bytes to spare.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let (standing, of_foca) = postcard::take_from_bytes(packet).ok()?;
        if of_foca.len() > PACKET_LIMIT {
            return None;
        }
        let mut rest = of_foca;
        let header = PostcardCodec.decode_header(&mut rest).ok()?;
        let mut updates = Vec::new();
        if let Some((count, after)) = rest.split_first_chunk() {
            rest = after;
            for _ in 0..u16::from_be_bytes(*count) {
                updates.push(PostcardCodec.decode_member(&mut rest).ok()?);
            }
        }
        let bare = matches!(header.message, Message::Announce | Message::TurnUndead);
        let unknown = header.message == Message::Broadcast || (bare && !updates.is_empty());
        (rest.is_empty() && !unknown).then_some(Self { standing, header, updates, of_foca })
    }

    /// Everyone that the packet tells of, its sender first.
    pub(super) fn identities(&self) -> impl Iterator<Item = &Identity> {
        let told = self.updates.iter().map(foca::Member::id);
        std::iter::once(&self.header.src).chain(told)
    }
}

/// A packet of foca's that tells one member what is believed of another, or of itself.
pub(super) fn gossip(src: &Identity, dst: &Identity, member: &foca::Member<Identity>) -> Vec<u8> {
    let one = 1_u16.to_be_bytes();
    [&bare(src, dst, Message::Gossip), &one[..], &encoded(member)].concat()
}

/// A packet of foca's without updates.
///
/// The sender's own counter of refutations is known to foca alone; a 0 tells the receiver nothing.
pub(super) fn bare(src: &Identity, dst: &Identity, message: Message<Identity>) -> Vec<u8> {
    encoded(&Header { src: src.clone(), src_incarnation: 0, dst: dst.clone(), message })
}

/// What a member tells another one of a third. Frozen: a change is a new variant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Testimony {
    /// The host of this run of a node says that nobody holds its port; `asks` whether it says so to
    /// the receiver too.
    Refused {
        #[serde(deserialize_with = "node_name")]
        name: Arc<str>,
        incarnation: u64,
        asks: bool,
    },
}

impl Testimony {
    /// Reads a whole testimony; `None` if it is malformed or has bytes to spare.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (testimony, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(testimony)
    }
}

/// As foca's own codec encodes it.
pub(super) fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("numbers, texts and addresses always serialise")
}
