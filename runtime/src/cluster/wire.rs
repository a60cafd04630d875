//! What a frame's payload holds: to whom, what, and what travels beside it.
//!
//! ```text
//!  Tell | Ask   address, wire id, (correlation,) extensions | body of the message
//!  Reply        correlation                                 | body of the result
//!  Moved        the whole payload that was sent to the wrong node
//!  Delegated…   correlation, and who answers; or the body of the result; or why there is none
//! ```
//!
//! Invariant: variants are frozen and grow at their end; the body is all that follows the head. An
//! unknown extension is skipped unless its tag says that it is critical.
//! Knows no session, actor or clock.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{call, message::WireId};

/// The head of a payload. Frozen: new variants go to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Head<'a> {
    /// A message without a reply.
    Tell {
        #[serde(borrow)]
        to: Address<'a>,
        message: u64,
        extensions: &'a [u8],
    },
    /// A message whose sender awaits what `correlation` names.
    Ask {
        #[serde(borrow)]
        to: Address<'a>,
        message: u64,
        correlation: u64,
        extensions: &'a [u8],
    },
    /// The handler's result.
    Reply { correlation: u64 },
    /// The message may have run, and no result will come. Correlation 0 stands for a tell, whose own
    /// head follows, without its extensions.
    Unknown { correlation: u64, reason: u8 },
    /// A tell or an ask that did not run, because its target is elsewhere: the payload follows.
    Moved,
    /// The asker waits no longer.
    Cancel {
        #[serde(borrow)]
        to: Address<'a>,
        correlation: u64,
    },
    /// The sender wants to be told of the target's end; or to fail with it, if it is a link.
    Watch {
        #[serde(borrow)]
        to: Address<'a>,
        watch: u64,
    },
    /// Takes a watch back, or says that a link is broken. `watch` says which; `to` is not looked at.
    Unwatch {
        #[serde(borrow)]
        to: Address<'a>,
        watch: u64,
    },
    /// A watched target has ended.
    Terminated { watch: u64, reason: u8 },
    /// From now on the node of this name and incarnation owes the answer. Of two, the one with more
    /// hops is the later.
    Delegated { correlation: u64, hops: u32, name: &'a str, incarnation: u64 },
    /// The result, from a node that was not asked.
    DelegatedReply { correlation: u64 },
    /// No result will come, says a node that was not asked.
    DelegatedUnknown { correlation: u64, reason: u8 },
    /// One of the items that answer an ask, counted from 0.
    Item { correlation: u64, number: u64 },
    /// The asker has room for so many more items.
    Credit { correlation: u64, items: u32 },
    /// The result, behind so many items.
    ReplyAfter { correlation: u64, items: u64 },
    /// No result will come, behind so many items.
    UnknownAfter { correlation: u64, reason: u8, items: u64 },
    /// The receiver is to answer with the marker, once all that came before on this lane has its place. Of
    /// that, the sender has seen so much come back.
    Flush { marker: u64, seen: u64 },
    /// It has, and of that lane so much has gone back.
    Flushed { marker: u64, moved: u64 },
    /// What an entity has left behind, which is the body: its state as this message, or 0, and what it
    /// remembers of its asks. The receiver replies once it has it.
    Install {
        #[serde(borrow)]
        to: Address<'a>,
        message: u64,
        correlation: u64,
        extensions: &'a [u8],
    },
}

/// A target on the node that receives the frame. Frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Address<'a> {
    /// One actor of the receiving incarnation.
    Actor { actor_type: u64, id: u64 },
    /// An entity, wherever it is active.
    Entity { actor_type: u64, key: &'a str },
}

impl Address<'_> {
    /// The wire id of the target's type.
    pub(crate) fn actor_type(&self) -> WireId {
        let (Self::Actor { actor_type, .. } | Self::Entity { actor_type, .. }) = self;
        WireId(*actor_type)
    }
}

/// What the first byte of a packet says that follows. Packets are best effort.
pub(crate) mod packet {
    /// A packet of membership.
    pub(crate) const MEMBERSHIP: u8 = 1;
    /// The sender leaves: its session is to be kept until it closes.
    pub(crate) const LEAVING: u8 = 2;
    /// What membership says beside gossip.
    pub(crate) const NOTE: u8 = 3;
    /// The shards that the sender has.
    pub(crate) const HOLDINGS: u8 = 4;
    /// The receiver's holdings of this version have come.
    pub(crate) const HEARD: u8 = 5;
}

/// What travels beside a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions<'a> {
    /// How long the sender still waits.
    pub(crate) time_left: Option<Duration>,
    /// How often the message was sent to a node that was not the owner.
    pub(crate) bounces: u32,
    /// Whom to answer instead of the sender: one claim; empty for nobody.
    pub(crate) answers: &'a [u8],
    /// The claims that the message carries, one after the other.
    pub(crate) carries: &'a [u8],
    /// The headers that go along with it; empty for none.
    pub(crate) headers: &'a [u8],
    /// The actors that wait for its answer; empty for none.
    pub(crate) chain: &'a [u8],
    /// For how many of the items that answer it there is room; 0 where none are awaited.
    pub(crate) items: u32,
    /// The 16 bytes by which an ask is known that may come more than once; empty for others.
    pub(crate) repeat_key: &'a [u8],
}

/// What a tag stands for. The lowest bit of a tag is set if a receiver that does not know it must
/// refuse the message.
mod tag {
    pub(super) const TIME_LEFT: u64 = 1 << 1;
    // 2 trace context, 3 epoch, 4 view version: reserved.
    pub(super) const REPEAT_KEY: u64 = 5 << 1;
    pub(super) const HEADERS: u64 = 6 << 1;
    pub(super) const BOUNCES: u64 = 7 << 1;
    pub(super) const ANSWERS: u64 = 9 << 1 | CRITICAL;
    pub(super) const CARRIES: u64 = 10 << 1 | CRITICAL;
    pub(super) const CHAIN: u64 = 11 << 1;
    pub(super) const ITEMS: u64 = 12 << 1 | CRITICAL;
    pub(super) const CRITICAL: u64 = 1;
}

/// How many bytes the extensions of one message may have.
pub(crate) const EXTENSIONS_LIMIT: usize = 64 * 1024;

/// How many bytes the extensions that are numbers take at most.
const NUMBERS_LONGEST: usize = 32;

/// Why a payload was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadError {
    /// It breaks the format.
    Malformed,
    /// It holds an extension that must be understood, and is not.
    Critical(u64),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the payload breaks the format"),
            Self::Critical(tag) => {
                write!(f, "extension {} must be understood, and is not", tag >> 1)
            }
        }
    }
}

impl std::error::Error for PayloadError {}

impl<'a> Head<'a> {
    /// Reads a head; what is left is the body.
    pub(crate) fn take(payload: &'a [u8]) -> Result<(Self, &'a [u8]), PayloadError> {
        postcard::take_from_bytes(payload).map_err(|_| PayloadError::Malformed)
    }

    /// Whether a payload is about a watch, by its first byte: no message of a user's.
    pub(crate) fn is_of_a_watch(payload: &[u8]) -> bool {
        matches!(payload.first(), Some(6..=8))
    }

    /// Whether a payload asks for a marker, by its first byte: no message of a user's.
    pub(crate) fn is_flush(payload: &[u8]) -> bool {
        payload.first() == Some(&16)
    }

    /// Whether a payload is what an entity has left behind, by its first byte: no message of a user's.
    pub(crate) fn is_install(payload: &[u8]) -> bool {
        payload.first() == Some(&18)
    }

    /// Appends the head to `out`.
    pub(crate) fn put(&self, out: Vec<u8>) -> Vec<u8> {
        postcard::to_extend(self, out).expect("a head has no value that serde refuses")
    }
}

/// An [`Unknown`](Head::Unknown) for a tell, which says what was told.
pub(crate) fn unknown_tell(reason: u8, told: &[u8]) -> Vec<u8> {
    let unknown = Head::Unknown { correlation: 0, reason }.put(Vec::new());
    match Head::take(told) {
        Ok((Head::Tell { to, message, .. }, _)) => {
            Head::Tell { to, message, extensions: &[] }.put(unknown)
        }
        Ok(_) | Err(_) => unknown,
    }
}

impl<'a> Extensions<'a> {
    /// The same with what travels along.
    pub(crate) fn with(self, travels: &'a call::Written) -> Self {
        let call::Written { headers, chain, items, repeat_key } = travels;
        let repeat_key = repeat_key.as_ref().map_or(&[][..], |key| &key[..]);
        Self { headers, chain, items: *items, repeat_key, ..self }
    }

    /// The bytes of the extensions, written into `buffer`.
    pub(crate) fn encode<'b>(&self, buffer: &'b mut ExtensionBuffer) -> &'b [u8] {
        let ExtensionBuffer { numbers, all } = buffer;
        let mut at = 0;
        if let Some(left) = self.time_left {
            let micros = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
            at = put(numbers, at, tag::TIME_LEFT, micros);
        }
        if self.bounces > 0 {
            at = put(numbers, at, tag::BOUNCES, self.bounces.into());
        }
        if self.items > 0 {
            at = put(numbers, at, tag::ITEMS, self.items.into());
        }
        let values = [
            (tag::ANSWERS, self.answers),
            (tag::CARRIES, self.carries),
            (tag::HEADERS, self.headers),
            (tag::CHAIN, self.chain),
            (tag::REPEAT_KEY, self.repeat_key),
        ];
        if values.iter().all(|(_, value)| value.is_empty()) {
            return &numbers[..at];
        }
        all.extend_from_slice(&numbers[..at]);
        for (tag, value) in values {
            if !value.is_empty() {
                *all = postcard::to_extend(&(tag, value), std::mem::take(all))
                    .expect("bytes are no value that serde refuses");
            }
        }
        all
    }

    /// Reads what [`encode`](Self::encode) of this or another release wrote.
    pub(crate) fn decode(mut bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let mut extensions = Self::default();
        if bytes.len() > EXTENSIONS_LIMIT {
            return Err(PayloadError::Malformed);
        }
        while !bytes.is_empty() {
            let ((tag, value), rest) = postcard::take_from_bytes::<(u64, &'a [u8])>(bytes)
                .map_err(|_| PayloadError::Malformed)?;
            bytes = rest;
            match tag {
                tag::TIME_LEFT => {
                    extensions.time_left = Some(Duration::from_micros(number(value)?));
                }
                tag::BOUNCES => {
                    extensions.bounces = u32::try_from(number(value)?).unwrap_or(u32::MAX);
                }
                tag::ANSWERS => extensions.answers = value,
                tag::CARRIES => extensions.carries = value,
                tag::HEADERS => extensions.headers = value,
                tag::CHAIN => extensions.chain = value,
                tag::REPEAT_KEY => extensions.repeat_key = value,
                tag::ITEMS => {
                    extensions.items = u32::try_from(number(value)?).unwrap_or(u32::MAX);
                }
                unknown if unknown & tag::CRITICAL != 0 => {
                    return Err(PayloadError::Critical(unknown));
                }
                _ => {}
            }
        }
        Ok(extensions)
    }
}

/// Room for the extensions of one message.
#[derive(Default)]
pub(crate) struct ExtensionBuffer {
    numbers: [u8; NUMBERS_LONGEST],
    /// Used if there is more than numbers.
    all: Vec<u8>,
}

fn put(buffer: &mut [u8; NUMBERS_LONGEST], at: usize, tag: u64, value: u64) -> usize {
    let mut number = [0; 10];
    let number = postcard::to_slice(&value, &mut number).expect("ten bytes hold any number");
    let written = postcard::to_slice(&(tag, &*number), &mut buffer[at..])
        .expect("three extensions fit into the buffer");
    at + written.len()
}

fn number(bytes: &[u8]) -> Result<u64, PayloadError> {
    match postcard::take_from_bytes(bytes) {
        Ok((number, [])) => Ok(number),
        Ok(_) | Err(_) => Err(PayloadError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes_hold_both_ways() {
        let actor = Address::Actor { actor_type: 1, id: 300 };
        let entity = Address::Entity { actor_type: 2, key: "k" };
        let golden: [(Head<'_>, &[u8]); 19] = [
            (Head::Tell { to: entity, message: 3, extensions: &[] }, &[0, 1, 2, 1, b'k', 3, 0]),
            (
                Head::Ask { to: actor, message: 3, correlation: 4, extensions: &[2, 1, 5] },
                &[1, 0, 1, 0xac, 2, 3, 4, 3, 2, 1, 5],
            ),
            (Head::Reply { correlation: 4 }, &[2, 4]),
            (Head::Unknown { correlation: 4, reason: 1 }, &[3, 4, 1]),
            (Head::Moved, &[4]),
            (Head::Cancel { to: actor, correlation: 4 }, &[5, 0, 1, 0xac, 2, 4]),
            (Head::Watch { to: actor, watch: 4 }, &[6, 0, 1, 0xac, 2, 4]),
            (Head::Unwatch { to: actor, watch: 4 }, &[7, 0, 1, 0xac, 2, 4]),
            (Head::Terminated { watch: 4, reason: 2 }, &[8, 4, 2]),
            (
                Head::Delegated { correlation: 4, hops: 2, name: "n3", incarnation: 300 },
                &[9, 4, 2, 2, b'n', b'3', 0xac, 2],
            ),
            (Head::DelegatedReply { correlation: 4 }, &[10, 4]),
            (Head::DelegatedUnknown { correlation: 4, reason: 1 }, &[11, 4, 1]),
            (Head::Item { correlation: 4, number: 300 }, &[12, 4, 0xac, 2]),
            (Head::Credit { correlation: 4, items: 300 }, &[13, 4, 0xac, 2]),
            (Head::ReplyAfter { correlation: 4, items: 300 }, &[14, 4, 0xac, 2]),
            (Head::UnknownAfter { correlation: 4, reason: 1, items: 300 }, &[15, 4, 1, 0xac, 2]),
            (Head::Flush { marker: 4, seen: 2 }, &[16, 4, 2]),
            (Head::Flushed { marker: 4, moved: 300 }, &[17, 4, 0xac, 2]),
            (
                Head::Install { to: entity, message: 3, correlation: 4, extensions: &[2, 1, 5] },
                &[18, 1, 2, 1, b'k', 3, 4, 3, 2, 1, 5],
            ),
        ];
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
        let page = std::fs::read_to_string(page).expect("the page on the wire");
        for (head, bytes) in golden {
            assert_eq!(head.put(Vec::new()), bytes, "{head:?}");
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let row = format!("| `{}` |", hex.join(" "));
            let debug = format!("{head:?}");
            let name = debug.split(' ').next().expect("a name");
            let is_row = |line: &str| line.contains(&format!("| {name} |")) && line.ends_with(&row);
            assert!(page.lines().any(is_row), "docs/wire.md has no row of {name} with {row}");
            assert_eq!(Head::take(bytes), Ok((head, &[][..])));
            let of_a_watch =
                matches!(head, Head::Watch { .. } | Head::Unwatch { .. } | Head::Terminated { .. });
            assert_eq!(Head::is_of_a_watch(bytes), of_a_watch, "{head:?}");
            assert_eq!(Head::is_flush(bytes), matches!(head, Head::Flush { .. }), "{head:?}");
            assert_eq!(Head::is_install(bytes), matches!(head, Head::Install { .. }), "{head:?}");
        }
    }

    #[test]
    fn an_unknown_tell_says_what_was_told() {
        let to = Address::Entity { actor_type: 2, key: "k" };
        let mut told = Head::Tell { to, message: 3, extensions: &[2, 1, 5] }.put(Vec::new());
        told.extend_from_slice(b"the message");
        let unknown = unknown_tell(1, &told);
        assert_eq!(unknown, [3, 0, 1, 0, 1, 2, 1, b'k', 3, 0]);
        let (head, body) = Head::take(&unknown).expect("a head");
        assert_eq!(head, Head::Unknown { correlation: 0, reason: 1 });
        assert_eq!(Head::take(body), Ok((Head::Tell { to, message: 3, extensions: &[] }, &[][..])));
        assert_eq!(unknown_tell(1, b"\xff"), [3, 0, 1], "as older releases write it");
    }

    #[test]
    fn extensions_have_golden_bytes() {
        let time_left = Some(Duration::from_micros(300));
        let extensions = Extensions { time_left, bounces: 2, ..Extensions::default() };
        let mut buffer = ExtensionBuffer::default();
        let bytes = extensions.encode(&mut buffer);
        assert_eq!(bytes, [2, 2, 0xac, 2, 14, 1, 2]);
        assert_eq!(Extensions::decode(bytes), Ok(extensions));
        let (answers, carries) = (&[7, 8][..], &[9][..]);
        let extensions = Extensions { answers, carries, headers: &[5], chain: &[6], ..extensions };
        let mut buffer = ExtensionBuffer::default();
        let bytes = extensions.encode(&mut buffer);
        assert_eq!(bytes, [2, 2, 0xac, 2, 14, 1, 2, 19, 2, 7, 8, 21, 1, 9, 12, 1, 5, 22, 1, 6]);
        assert_eq!(Extensions::decode(bytes), Ok(extensions));
        let time_left = Some(Duration::MAX);
        let (bounces, items) = (u32::MAX, u32::MAX);
        let longest = Extensions { time_left, bounces, items, ..Extensions::default() };
        let mut buffer = ExtensionBuffer::default();
        assert!(Extensions::decode(longest.encode(&mut buffer)).is_ok());
        let repeat_key = &[7; 16][..];
        let keyed = Extensions { repeat_key, ..Extensions::default() };
        let mut buffer = ExtensionBuffer::default();
        let bytes = keyed.encode(&mut buffer);
        assert_eq!((&bytes[..2], &bytes[2..]), (&[10, 16][..], repeat_key));
        assert_eq!(Extensions::decode(bytes), Ok(keyed));
        let items = Extensions { items: 64, ..Extensions::default() };
        let mut buffer = ExtensionBuffer::default();
        let bytes = items.encode(&mut buffer);
        assert_eq!(bytes, [25, 1, 64]);
        assert_eq!(Extensions::decode(bytes), Ok(items));
    }

    #[test]
    fn unknown_extensions_are_skipped_and_critical_ones_refused() {
        assert_eq!(Extensions::decode(&[126, 1, 9]), Ok(Extensions::default()));
        assert_eq!(Extensions::decode(&[127, 1, 9]), Err(PayloadError::Critical(127)));
        assert_eq!(Extensions::decode(&[2, 9]), Err(PayloadError::Malformed));
        assert_eq!(Extensions::decode(&[2, 2, 1, 1]), Err(PayloadError::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((Head::Tell { extensions, .. } | Head::Ask { extensions, .. }, _)) =
                Head::take(&bytes)
            {
                let _ = Extensions::decode(extensions);
            }
        }
    }
}
