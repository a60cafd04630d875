//! The protocol's structures as `docs/wire.md` describes them, written down a second time.

use serde::{Deserialize, Serialize};

/// Close codes of a connection.
pub(crate) const REFUSED: u64 = 1;
pub(crate) const PROTOCOL: u64 = 3;

pub(crate) const GREETING_LIMIT: u32 = 1024 * 1024;
pub(crate) const CONTROL_LIMIT: u64 = 256 * 1024;

pub(crate) fn preface(lowest: u16, highest: u16) -> [u8; 8] {
    let mut preface = *b"acx1\0\0\0\0";
    preface[4..6].copy_from_slice(&lowest.to_le_bytes());
    preface[6..].copy_from_slice(&highest.to_le_bytes());
    preface
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Hello(Hello),
    Welcome(Hello),
    Ready,
    Refused(Refused),
    Inquire { cluster: String, name: String },
    Known { node: (String, u64), highest: u64 },
    Letter { cluster: String, from: (String, u64), to: (String, u64), packet: Vec<u8> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) cluster: String,
    pub(crate) node: (String, u64),
    pub(crate) nonce: u64,
    pub(crate) to: Option<String>,
    pub(crate) capabilities: u64,
    pub(crate) lanes: u16,
    /// Unsettled messages, bytes of them, and the longest payload.
    pub(crate) accepts: (u64, u64, u64),
    pub(crate) resume: Option<(u64, Vec<u64>)>,
    pub(crate) info: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refused {
    Version { lowest: u16, highest: u16 },
    Cluster { expected: String },
    Identity { claimed: String },
    WrongNode { here: String },
    NameInUse { name: String },
    Stale { known: u64 },
    Duplicate,
    Mismatch { field: String, expected: String, found: String },
    Closing,
    Protocol,
    TooManyPeers,
}

impl Greeting {
    pub(crate) fn to_frame(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("it has a form");
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(body);
        frame
    }
}

/// A control frame, from its tag on.
pub(crate) fn control(body: &[u8]) -> Vec<u8> {
    let mut frame = varint(body.len() as u64);
    frame.extend_from_slice(body);
    frame
}

/// How a lane's stream begins.
pub(crate) fn lane_header(lane: u64, first: u64) -> Vec<u8> {
    [varint(lane), varint(first)].concat()
}

/// A frame of a lane.
pub(crate) fn lane_frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = varint(body.len() as u64 + 1);
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

/// A message on a lane.
pub(crate) fn message(target: u64, payload: &[u8]) -> Vec<u8> {
    lane_frame(1, &[&target.to_le_bytes(), payload].concat())
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
