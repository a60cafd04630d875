//! The handshake that follows TLS: who is it, of which cluster, speaking which versions.
//!
//! The dialler opens the control stream with a preface (magic, lowest and highest protocol version),
//! the other side answers with its own, and so both know the highest version that both speak. Then
//! they exchange [`Greeting`]s: `Hello`, `Welcome`, `Ready`; or an `Inquire`, which
//! `Known` answers; or a `Letter`, which is all; or a `Refused` at any point. A link is up for the dialler when it has read
//! `Welcome`, and for the other side when it has read `Ready`.

use serde::{Deserialize, Serialize};

use super::WireError;
use crate::identity::{NodeName, PeerId};

/// The protocol versions this release speaks, lowest and highest.
pub(crate) const VERSIONS: (u16, u16) = (1, 1);

/// The longest greeting, in bytes.
pub(crate) const LIMIT: u32 = 1024 * 1024;

/// The most lanes of one direction.
pub(crate) const LANES_LIMIT: u16 = 256;

const MAGIC: [u8; 4] = *b"acx1";

/// What the preface takes.
pub(crate) const PREFACE: usize = 8;

/// The bytes that open a control stream.
pub(crate) fn preface() -> [u8; PREFACE] {
    let [a, b, c, d] = MAGIC;
    let ([e, f], [g, h]) = (VERSIONS.0.to_le_bytes(), VERSIONS.1.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

/// The highest version that both sides speak.
///
/// # Errors
///
/// [`WireError::Magic`] when it is another protocol; the inner error holds the peer's versions when
/// none is common.
pub(crate) fn agree(preface: [u8; PREFACE]) -> Result<Result<u16, (u16, u16)>, WireError> {
    let [a, b, c, d, e, f, g, h] = preface;
    if [a, b, c, d] != MAGIC {
        return Err(WireError::Magic);
    }
    let theirs = (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
    let highest = VERSIONS.1.min(theirs.1);
    let lowest = VERSIONS.0.max(theirs.0);
    Ok(if lowest <= highest { Ok(highest) } else { Err(theirs) })
}

/// A greeting. Frozen: new variants go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Hello(Hello),
    Welcome(Hello),
    Ready,
    Refused(Refusal),
    /// Asks for the highest incarnation known of a name, before joining under it.
    Inquire {
        cluster: String,
        name: NodeName,
    },
    /// Answers `Inquire`: who is asked, and the highest incarnation known; 0 if none.
    Known {
        node: PeerId,
        highest: u64,
    },
    /// A packet of the layer above, for whom there is no session with. Nothing answers it.
    Letter {
        cluster: String,
        from: PeerId,
        to: PeerId,
        packet: Vec<u8>,
    },
}

/// What each side says of itself. Frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The cluster it belongs to.
    pub(crate) cluster: String,
    /// Who it is.
    pub(crate) node: PeerId,
    /// Drawn by its process at the start: another run that took the same incarnation has another.
    pub(crate) nonce: u64,
    /// Whom it wants to talk to, if it knows.
    pub(crate) to: Option<NodeName>,
    /// Capabilities it offers, one bit each; unknown ones are off.
    pub(crate) capabilities: u64,
    /// How many lanes it receives on.
    pub(crate) lanes: u16,
    /// What it takes of the other side.
    pub(crate) accepts: Accepts,
    /// The incarnation of the other side whose session it wants to resume, and up to where each
    /// lane has arrived.
    pub(crate) resume: Option<(u64, Vec<u64>)>,
    /// What the layer above says: manifest, digest, addresses.
    pub(crate) info: Vec<u8>,
}

/// What a node takes of another. Frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepts {
    /// The most unsettled messages.
    pub(crate) messages: u64,
    /// The most bytes of them; a longer message is taken alone.
    pub(crate) bytes: u64,
    /// The longest payload.
    pub(crate) longest: u64,
}

/// Why a node refuses another. Frozen: new variants go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// No protocol version in common.
    Version {
        /// The lowest that the refusing side speaks.
        lowest: u16,
        /// The highest that the refusing side speaks.
        highest: u16,
    },
    /// Another cluster.
    Cluster {
        /// The cluster of the refusing side.
        expected: String,
    },
    /// The certificate does not name the node that the handshake named.
    Identity {
        /// The name in the handshake.
        claimed: NodeName,
    },
    /// Another node answers here than the one that was dialled.
    WrongNode {
        /// Who answers.
        here: NodeName,
    },
    /// A live node holds this name.
    NameInUse {
        /// The name.
        name: NodeName,
    },
    /// A later run of this name is known.
    Stale {
        /// The incarnation that is known.
        known: u64,
    },
    /// Another connection between the two is kept instead.
    Duplicate,
    /// The layer above refuses: a field of the cluster's settings differs.
    Mismatch {
        /// The field.
        field: String,
        /// What the refusing side has.
        expected: String,
        /// What the other side has.
        found: String,
    },
    /// The node is shutting down.
    Closing,
    /// A greeting that makes no sense at this point.
    Protocol,
    /// It knows as many nodes as it can.
    TooManyPeers,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { lowest, highest } => write!(
                f,
                "no protocol version in common: the peer speaks {lowest} to {highest}, this node \
                 {} to {}; upgrade the older node",
                VERSIONS.0, VERSIONS.1
            ),
            Self::Cluster { expected } => write!(
                f,
                "the peer belongs to cluster {expected}; set the same cluster name on both nodes"
            ),
            Self::Identity { claimed } => {
                write!(f, "the certificate does not name {claimed}; issue one with that DNS name")
            }
            Self::WrongNode { here } => {
                write!(f, "node {here} answers at this address; correct the address")
            }
            Self::NameInUse { name } => {
                write!(f, "a live node holds the name {name}; choose another, or stop that node")
            }
            Self::Stale { known } => {
                write!(f, "incarnation {known} of this node is known; join as a later one")
            }
            Self::Duplicate => f.write_str("another connection between the two nodes is kept"),
            Self::Mismatch { field, expected, found } => write!(
                f,
                "{field} differs: the peer has {expected}, this node {found}; make them equal"
            ),
            Self::Closing => f.write_str("the peer is shutting down"),
            Self::Protocol => f.write_str("the handshake broke the protocol"),
            Self::TooManyPeers => f.write_str(
                "as many nodes are known as can be; give nodes lasting names instead of new ones",
            ),
        }
    }
}

impl std::error::Error for Refusal {}

impl Greeting {
    /// The frame: a little-endian length of four bytes, and the postcard value.
    pub(crate) fn to_frame(&self) -> Vec<u8> {
        let mut frame = vec![0; 4];
        frame = postcard::to_extend(self, frame).expect("a greeting has no value serde refuses");
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame
    }

    /// Checks a frame's length, before anything is allocated for it.
    pub(crate) fn length(head: [u8; 4]) -> Result<usize, WireError> {
        let length = u32::from_le_bytes(head);
        if length > LIMIT {
            return Err(WireError::TooLong { length: length.into(), limit: LIMIT.into() });
        }
        Ok(length as usize)
    }

    /// Reads a frame's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        match postcard::take_from_bytes(body) {
            Ok((greeting, [])) => Ok(greeting),
            Ok(_) | Err(_) => Err(WireError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{assert_documented, name_of};

    fn name(name: &str) -> NodeName {
        NodeName::new(name).expect("a name")
    }

    fn hello() -> Hello {
        Hello {
            cluster: "c".to_owned(),
            node: PeerId { name: name("n1"), incarnation: 2 },
            nonce: 5,
            to: Some(name("n2")),
            capabilities: 0,
            lanes: 2,
            accepts: Accepts { messages: 6, bytes: 7, longest: 8 },
            resume: Some((3, vec![4, 5])),
            info: vec![9],
        }
    }

    #[test]
    fn golden_bytes_hold_both_ways() {
        let body =
            [1, b'c', 2, b'n', b'1', 2, 5, 1, 2, b'n', b'2', 0, 2, 6, 7, 8, 1, 3, 2, 4, 5, 1, 9];
        let with = |tag: u8, body: &[u8]| {
            let mut frame = (body.len() as u32 + 1).to_le_bytes().to_vec();
            frame.push(tag);
            frame.extend_from_slice(body);
            frame
        };
        let golden = [
            (Greeting::Hello(hello()), with(0, &body)),
            (Greeting::Welcome(hello()), with(1, &body)),
            (Greeting::Ready, with(2, &[])),
            (Greeting::Refused(Refusal::Version { lowest: 1, highest: 2 }), with(3, &[0, 1, 2])),
            (
                Greeting::Refused(Refusal::Cluster { expected: "c".to_owned() }),
                with(3, &[1, 1, b'c']),
            ),
            (Greeting::Refused(Refusal::Identity { claimed: name("a") }), with(3, &[2, 1, b'a'])),
            (Greeting::Refused(Refusal::WrongNode { here: name("a") }), with(3, &[3, 1, b'a'])),
            (Greeting::Refused(Refusal::NameInUse { name: name("a") }), with(3, &[4, 1, b'a'])),
            (Greeting::Refused(Refusal::Stale { known: 7 }), with(3, &[5, 7])),
            (Greeting::Refused(Refusal::Duplicate), with(3, &[6])),
            (
                Greeting::Refused(Refusal::Mismatch {
                    field: "f".to_owned(),
                    expected: "e".to_owned(),
                    found: "g".to_owned(),
                }),
                with(3, &[7, 1, b'f', 1, b'e', 1, b'g']),
            ),
            (Greeting::Refused(Refusal::Closing), with(3, &[8])),
            (Greeting::Refused(Refusal::Protocol), with(3, &[9])),
            (Greeting::Refused(Refusal::TooManyPeers), with(3, &[10])),
            (
                Greeting::Inquire { cluster: "c".to_owned(), name: name("a") },
                with(4, &[1, b'c', 1, b'a']),
            ),
            (
                Greeting::Known { node: PeerId { name: name("a"), incarnation: 1 }, highest: 300 },
                with(5, &[1, b'a', 1, 0xac, 2]),
            ),
            (
                Greeting::Letter {
                    cluster: "c".to_owned(),
                    from: PeerId { name: name("a"), incarnation: 1 },
                    to: PeerId { name: name("b"), incarnation: 2 },
                    packet: vec![8, 9],
                },
                with(6, &[1, b'c', 1, b'a', 1, 1, b'b', 2, 2, 8, 9]),
            ),
        ];
        for (greeting, golden) in golden {
            assert_eq!(greeting.to_frame(), golden, "{greeting:?}");
            let is_one_of_many = matches!(&greeting, Greeting::Refused(refusal)
                if !matches!(refusal, Refusal::Version { .. }));
            if !is_one_of_many {
                assert_documented(&name_of(&greeting), &golden);
            }
            assert_eq!(Greeting::parse(&golden[4..]), Ok(greeting));
        }
    }

    #[test]
    fn the_preface_agrees_on_the_highest_common_version() {
        assert_eq!(preface(), *b"acx1\x01\0\x01\0");
        assert_eq!(agree(preface()), Ok(Ok(1)));
        assert_eq!(agree(*b"acx1\x01\0\x09\0"), Ok(Ok(1)), "a newer peer that still speaks 1");
        assert_eq!(agree(*b"acx1\x02\0\x09\0"), Ok(Err((2, 9))), "a newer peer that does not");
        assert_eq!(agree(*b"GET / HT"), Err(WireError::Magic));
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        assert!(Greeting::length(LIMIT.to_le_bytes()).is_ok());
        assert!(Greeting::length((LIMIT + 1).to_le_bytes()).is_err());
    }
}
