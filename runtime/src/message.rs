//! Remote messages: their lasting names, the ids and schema keys computed from them, and their
//! bytes.
//!
//! Invariant: what travels is decided by the name and version a user wrote, never by a Rust type or
//! path, so that refactoring cannot change the wire.
//! Knows no actor, node or connection.

pub(crate) mod version;

use std::fmt;

use actix::Message;
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::const_xxh3::xxh3_64_with_seed;

pub use self::version::{NewerReply, OlderReply};
#[doc(hidden)]
pub use self::version::{
    NoOlder, Older, OlderVersion, OlderVersions, Received, ResultOf, SameReply, Sent, Way,
    older_fault,
};

/// A message that may be sent to an actor wherever it lives.
///
/// Derive it with [`macro@crate::RemoteMessage`]; the derive fills in every item from
/// `#[remote(name = "..", version = N)]` and from actix's `#[rtype(result = "..")]`. When the
/// `rtype` is `Result<T, E>`, [`Reply`](Self::Reply) is `T` and [`Error`](Self::Error) is `E`;
/// otherwise `Reply` is the whole type and `Error` is [`Infallible`](std::convert::Infallible).
///
/// A published message is frozen: postcard is positional, so a changed field could decode as
/// garbage. A change is a new version, which names the one before it: `older(DepositV1)`. Actors list
/// and handle the newest, see the chapter on messages in `docs/messages.md`.
///
/// # Examples
///
/// ```
/// use actix_cluster::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "Result<i64, String>")]
/// #[remote(name = "bank.Deposit", version = 1)]
/// struct Deposit(i64);
///
/// assert_eq!(Deposit::NAME, "bank.Deposit");
/// assert_eq!(Deposit::WIRE_ID, WireId::of("bank.Deposit", 1));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a remote message",
    label = "this message has no name on the wire",
    note = "derive it: `#[derive(Message, RemoteMessage, Serialize, Deserialize)]` with `#[remote(name = \"..\", version = 1)]`"
)]
pub trait RemoteMessage:
    Message<Result: Send> + Serialize + DeserializeOwned + Send + 'static
{
    /// The lasting name, unique among the messages of the cluster.
    const NAME: &'static str;
    /// The version of the message's shape, from 1.
    const VERSION: u32;
    /// The shape as written: field names and types, reply and error types.
    const SHAPE: &'static str;
    /// A hash over the shape.
    ///
    /// Nodes exchange it at the handshake, so that a message whose shape was changed without a new
    /// version is refused by name instead of being decoded as garbage.
    const SCHEMA: u64 = schema_key(Self::SHAPE);
    /// What stands for name and version on the wire.
    const WIRE_ID: WireId = WireId::of(Self::NAME, Self::VERSION);

    /// What a successful handler answers.
    type Reply: Send + 'static;
    /// The handler's own error.
    type Error: Send + 'static;
    /// The versions before this one.
    #[doc(hidden)]
    type Older: OlderVersions<Self>;

    /// Splits what the handler returned into reply and error.
    ///
    /// # Errors
    ///
    /// The handler's own error, when its result was one.
    fn into_outcome(result: Self::Result) -> Result<Self::Reply, Self::Error>;

    /// Appends the bytes of what the handler returned to `out`.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when serde refuses the value.
    fn encode_result(result: &Self::Result, out: Vec<u8>) -> Result<Vec<u8>, CodecError>;

    /// Reads what [`encode_result`](Self::encode_result) wrote.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the bytes are no such value, or when bytes are left over.
    fn decode_result(bytes: &[u8]) -> Result<Self::Result, CodecError>;

    /// Reads what [`encode_result`](Self::encode_result) wrote, as reply or error.
    ///
    /// # Errors
    ///
    /// As [`decode_result`](Self::decode_result).
    fn decode_outcome(bytes: &[u8]) -> Result<Result<Self::Reply, Self::Error>, CodecError> {
        Self::decode_result(bytes).map(Self::into_outcome)
    }
}

/// What a message states of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageFacts {
    /// [`RemoteMessage::WIRE_ID`].
    pub id: WireId,
    /// [`RemoteMessage::NAME`].
    pub name: &'static str,
    /// [`RemoteMessage::VERSION`].
    pub version: u32,
    /// [`RemoteMessage::SCHEMA`].
    pub schema: u64,
    /// [`RemoteMessage::SHAPE`].
    pub shape: &'static str,
}

impl MessageFacts {
    /// What `M` states.
    pub const fn of<M: RemoteMessage>() -> Self {
        Self {
            id: M::WIRE_ID,
            name: M::NAME,
            version: M::VERSION,
            schema: M::SCHEMA,
            shape: M::SHAPE,
        }
    }
}

/// The 64-bit hash that stands for a message's name and version on the wire.
///
/// xxh3-64 with seed 0 over the name, a zero byte, and the version as four little-endian bytes;
/// computed at compile time. Two messages of one table that collide are refused at registration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub u64);

impl WireId {
    /// The longest name, in bytes.
    pub const NAME_LIMIT: usize = 200;

    /// Computes the id of a name and version.
    ///
    /// # Panics
    ///
    /// When the name is longer than [`NAME_LIMIT`](Self::NAME_LIMIT) bytes; in a constant, that is
    /// a compile error.
    pub const fn of(name: &str, version: u32) -> Self {
        let version = version.to_le_bytes();
        let (bytes, len) = joined(name, &version);
        Self(hash_prefix(&bytes, len))
    }

    /// Computes the id of an actor type's name.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    pub const fn of_type(name: &str) -> Self {
        let (bytes, len) = joined(name, &[]);
        Self(hash_prefix(&bytes, len))
    }
}

impl fmt::Debug for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

const JOINED: usize = WireId::NAME_LIMIT + 5;

const fn joined(name: &str, tail: &[u8]) -> ([u8; JOINED], usize) {
    let name = name.as_bytes();
    assert!(name.len() <= WireId::NAME_LIMIT, "a wire name has at most 200 bytes");
    let mut bytes = [0; JOINED];
    let mut i = 0;
    while i < name.len() {
        bytes[i] = name[i];
        i += 1;
    }
    let start = name.len() + 1;
    let mut j = 0;
    while j < tail.len() {
        bytes[start + j] = tail[j];
        j += 1;
    }
    (bytes, start + tail.len())
}

const fn hash_prefix(bytes: &[u8; JOINED], len: usize) -> u64 {
    let (prefix, _) = bytes.split_at(len);
    xxh3_64_with_seed(prefix, 0)
}

/// Bytes that are no such value, or a value that serde refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// serde or postcard refused the value or the bytes.
    Postcard(postcard::Error),
    /// The value was read, and bytes were left over: the two sides disagree about its shape.
    TrailingBytes {
        /// How many bytes were left.
        count: usize,
    },
    /// The message has no such version.
    UnknownVersion,
    /// The value can't be said in an older version of its message.
    Inexpressible {
        /// The older version.
        version: u32,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postcard(_) => f.write_str("the bytes and the type disagree"),
            Self::TrailingBytes { count } => write!(f, "{count} bytes left after the value"),
            Self::UnknownVersion => f.write_str("the message has no such version"),
            Self::Inexpressible { version } => {
                write!(f, "the value can't be said in version {version}")
            }
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Postcard(source) => Some(source),
            Self::TrailingBytes { .. } | Self::UnknownVersion | Self::Inexpressible { .. } => None,
        }
    }
}

/// Appends `value` to `out` as postcard.
///
/// # Errors
///
/// [`CodecError::Postcard`] when serde refuses the value.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    postcard::to_extend(value, out).map_err(CodecError::Postcard)
}

/// Reads one value that must fill `bytes` to the last.
///
/// # Errors
///
/// [`CodecError`] when the bytes are no such value, or when bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::Postcard)?;
    match rest.len() {
        0 => Ok(value),
        count => Err(CodecError::TrailingBytes { count }),
    }
}

/// Hashes the text of a message's shape into its schema key. The derive calls it.
#[doc(hidden)]
pub const fn schema_key(shape: &str) -> u64 {
    xxh3_64_with_seed(shape.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_ids_are_those_published() {
        // Golden values: they stand on the wire, so no build may change them.
        let reference = xxhash_rust::xxh3::xxh3_64(b"bank.Deposit\0\x01\0\0\0");
        assert_eq!(WireId::of("bank.Deposit", 1).0, reference);
        assert_ne!(WireId::of("bank.Deposit", 1), WireId::of("bank.Deposit", 2));
        assert_ne!(WireId::of("a", 1), WireId::of_type("a"));
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let bytes = encode(&7u32, Vec::new()).expect("encodes");
        assert_eq!(decode::<u32>(&bytes), Ok(7));
        let longer = encode(&1u8, bytes).expect("encodes");
        assert_eq!(decode::<u32>(&longer), Err(CodecError::TrailingBytes { count: 1 }));
    }
}
