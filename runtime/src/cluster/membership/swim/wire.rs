//! What travels in a packet of the SWIM membership.
//!
//! A packet of gossip is a [`Standing`], the version of the sender's profile, and then foca's own
//! packet: its header, and updates behind their count; all of it postcard. Golden bytes hold all
//! parts, foca's enums included. Frozen: within a protocol version nothing is added, sorted or
//! widened. What else members say to each other is a [`Note`].
//!
//! Invariant: what [`Heard::read`] and [`Note::read`] return was understood to its last byte. Knows
//! no state.

use std::{net::SocketAddr, sync::Arc};

use actix_cluster_transport::NodeName;
use foca::{Codec as _, Header, Message, PostcardCodec};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::profiles::WANTED_LIMIT;
use crate::{
    cluster::membership::{Contact, Profile},
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
        (self.incarnation, self.addr) > (other.incarnation, other.addr)
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn node(&self) -> NodeId {
        NodeId { name: Arc::clone(&self.name), incarnation: self.incarnation }
    }
}

impl From<&Contact> for Identity {
    /// Leaves out the scope and the flow of an IPv6 address: they mean nothing on another host, and
    /// the wire does not carry them.
    fn from(Contact { id, addr }: &Contact) -> Self {
        Self {
            name: Arc::clone(&id.name),
            incarnation: id.incarnation,
            addr: SocketAddr::new(addr.ip(), addr.port()),
        }
    }
}

impl From<&Identity> for Contact {
    fn from(identity: &Identity) -> Self {
        Self { id: identity.node(), addr: identity.addr }
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
    pub(super) fn packet(self, profile_version: u32, of_foca: &[u8]) -> Vec<u8> {
        let mut packet = encoded(&(self, profile_version));
        packet.extend_from_slice(of_foca);
        packet
    }
}

/// A packet that was read.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    pub(super) standing: Standing,
    /// Which version the sender's profile has.
    pub(super) profile_version: u32,
    pub(super) header: Header<Identity>,
    pub(super) updates: Vec<foca::Member<Identity>>,
    /// Foca's part of it.
    pub(super) of_foca: &'a [u8],
}

impl<'a> Heard<'a> {
    /// Reads a whole packet; `None` if it is malformed, too long, or has bytes to spare.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let ((standing, profile_version), of_foca) = postcard::take_from_bytes(packet).ok()?;
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
        (rest.is_empty() && !unknown).then_some(Self {
            standing,
            profile_version,
            header,
            updates,
            of_foca,
        })
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

/// What members say to each other beside gossip. Frozen: a change is a new variant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Note {
    /// The host of this run of a node says that nobody holds its port; `asks` whether it says so to
    /// the receiver too.
    Refused { of: Run, asks: bool },
    /// The sender wants to know the profiles of these; 16 at most.
    Wanted { of: Vec<Run> },
    /// The profiles of these; 16 at most.
    Profiles { of: Vec<(Run, Profile)> },
}

/// One run of a node, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    #[serde(deserialize_with = "node_name")]
    name: Arc<str>,
    incarnation: u64,
}

impl From<NodeId> for Run {
    fn from(NodeId { name, incarnation }: NodeId) -> Self {
        Self { name, incarnation }
    }
}

impl From<Run> for NodeId {
    fn from(Run { name, incarnation }: Run) -> Self {
        Self { name, incarnation }
    }
}

impl Note {
    /// Reads a whole note; `None` if it is malformed, breaks a bound, or has bytes to spare.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > NOTE_LIMIT {
            return None;
        }
        let (note, rest) = postcard::take_from_bytes(bytes).ok()?;
        let is_bounded = match &note {
            Self::Refused { .. } => true,
            Self::Wanted { of } => of.len() <= WANTED_LIMIT,
            Self::Profiles { of } => {
                of.len() <= WANTED_LIMIT && of.iter().all(|(_, profile)| profile.check().is_ok())
            }
        };
        (rest.is_empty() && is_bounded).then_some(note)
    }
}

/// The longest note, in bytes: sixteen profiles of the longest labels take some 40 KiB.
const NOTE_LIMIT: usize = 64 * 1024;

/// As foca's own codec encodes it.
pub(super) fn encoded(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("numbers, texts and addresses always serialise")
}
