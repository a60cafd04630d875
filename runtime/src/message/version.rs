//! The versions of a message: how one of them is read, answered and sent as another.
//!
//! ```text
//!  DepositV1 ── From ──> DepositV2 ── From ──> Deposit     what came is handled as the newest
//!  DepositV1 <─ reply ── DepositV2 <─ reply ── Deposit     and answered as it came
//! ```
//!
//! Invariant: each version names at most the one before it, so the versions of a message are a
//! chain, and whatever becomes of an older one goes along it step by step. Actors handle the newest.
//! Knows no actor, node or connection.

use std::{fmt, marker::PhantomData};

use super::{CodecError, MessageFacts, RemoteMessage, WireId};

/// What a message answers to whoever asked the version before it.
///
/// `older(Old, reply)` in `#[remote(..)]` asks for it. Without the word `reply` the two versions
/// have one result type, and the derive implements this trait.
///
/// # Panics
///
/// A panic in it is one of the actor's turn: the asker learns that its message has run.
///
/// # Examples
///
/// ```
/// use actix_cluster::{OlderReply, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "u32")]
/// #[remote(name = "bank.Balance", version = 1)]
/// struct BalanceV1;
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "i64")]
/// #[remote(name = "bank.Balance", version = 2, older(BalanceV1, reply))]
/// struct Balance;
///
/// impl From<BalanceV1> for Balance {
///     fn from(_: BalanceV1) -> Self {
///         Self
///     }
/// }
///
/// impl OlderReply<BalanceV1> for Balance {
///     fn older_reply(balance: i64) -> u32 {
///         balance.clamp(0, u32::MAX.into()) as u32
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what it answers to an asker of `{Old}`",
    label = "`OlderReply<{Old}>` is missing",
    note = "implement `OlderReply<{Old}>` for `{Self}`, or leave the word `reply` out if both have one result type"
)]
pub trait OlderReply<Old: RemoteMessage>: RemoteMessage {
    /// Makes the result of the older version.
    fn older_reply(result: Self::Result) -> Old::Result;
}

/// What the answer to the version before a message means to whoever asked the message itself.
///
/// `older(Old, send, reply)` in `#[remote(..)]` asks for it: the message may be sent as `Old`, and
/// is answered so. Without the word `reply` the derive implements this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what an answer to `{Old}` means",
    label = "`NewerReply<{Old}>` is missing",
    note = "implement `NewerReply<{Old}>` for `{Self}`, or leave the word `reply` out if both have one result type"
)]
pub trait NewerReply<Old: RemoteMessage>: RemoteMessage {
    /// Makes the result of this version.
    fn newer_reply(result: Old::Result) -> Self::Result;
}

/// The versions before a message. The derive names it.
#[doc(hidden)]
pub trait OlderVersions<M: RemoteMessage> {
    /// Tells of each, the next one first. `is_sent` says whether the message may be sent as the
    /// version that this chain begins with.
    fn list(is_sent: bool, found: &mut dyn FnMut(OlderVersion));
    /// Reads the message from the bytes of an older version.
    ///
    /// # Errors
    ///
    /// As [`decode`], or when there is no such version.
    fn decode(version: WireId, bytes: &[u8]) -> Result<M, CodecError>;
    /// Writes the message as an older version.
    ///
    /// # Errors
    ///
    /// As [`encode`], or when there is no such version.
    fn encode(version: WireId, msg: &M, out: Vec<u8>) -> Result<Vec<u8>, CodecError>;
    /// Reads the message's result from that of an older version.
    ///
    /// # Errors
    ///
    /// As [`decode_result`], or when there is no such version.
    fn decode_result(version: WireId, bytes: &[u8]) -> Result<M::Result, CodecError>;
    /// Writes the message's result as that of an older version.
    ///
    /// # Errors
    ///
    /// As [`encode_result`], or when there is no such version.
    fn encode_result(
        version: WireId,
        result: M::Result,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, CodecError>;
}

/// A version before the newest.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderVersion {
    /// What it is.
    pub facts: MessageFacts,
    /// Whether the newest may be sent as it.
    pub is_sent: bool,
}

/// Nothing is older than the message.
#[doc(hidden)]
#[derive(Debug)]
pub enum NoOlder {}

/// The version before is `Old`, and the message goes this `Way`.
#[doc(hidden)]
pub struct Older<Old, Way>(PhantomData<fn() -> (Old, Way)>);

/// The older version is read and answered.
#[doc(hidden)]
#[derive(Debug)]
pub enum Received {}

/// The older version is read and answered, and sent to nodes that know no newer one.
#[doc(hidden)]
#[derive(Debug)]
pub enum Sent {}

/// Whether, and how, `M` is sent as `Old`.
#[doc(hidden)]
pub trait Way<M: RemoteMessage, Old: RemoteMessage> {
    /// Whether it is.
    const IS_SENT: bool;
    /// The message as the older version.
    ///
    /// # Errors
    ///
    /// When it can't be said so.
    fn older(msg: &M) -> Result<Old, CodecError>;
    /// What the older version's result means.
    ///
    /// # Errors
    ///
    /// When the message is not sent so.
    fn newer(result: Old::Result) -> Result<M::Result, CodecError>;
}

impl<M: RemoteMessage, Old: RemoteMessage> Way<M, Old> for Received {
    const IS_SENT: bool = false;

    fn older(_: &M) -> Result<Old, CodecError> {
        Err(CodecError::UnknownVersion)
    }

    fn newer(_: Old::Result) -> Result<M::Result, CodecError> {
        Err(CodecError::UnknownVersion)
    }
}

impl<M, Old> Way<M, Old> for Sent
where
    M: NewerReply<Old>,
    Old: RemoteMessage + for<'a> TryFrom<&'a M, Error: fmt::Display>,
{
    const IS_SENT: bool = true;

    fn older(msg: &M) -> Result<Old, CodecError> {
        Old::try_from(msg).map_err(|error| {
            let (message, version) = (M::NAME, Old::VERSION);
            tracing::warn!(message, version, %error, "a message can't be said in an older version");
            CodecError::Inexpressible { version }
        })
    }

    fn newer(result: Old::Result) -> Result<M::Result, CodecError> {
        Ok(M::newer_reply(result))
    }
}

impl<M: RemoteMessage> OlderVersions<M> for NoOlder {
    fn list(_: bool, _: &mut dyn FnMut(OlderVersion)) {}

    fn decode(_: WireId, _: &[u8]) -> Result<M, CodecError> {
        Err(CodecError::UnknownVersion)
    }

    fn encode(_: WireId, _: &M, _: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        Err(CodecError::UnknownVersion)
    }

    fn decode_result(_: WireId, _: &[u8]) -> Result<M::Result, CodecError> {
        Err(CodecError::UnknownVersion)
    }

    fn encode_result(_: WireId, _: M::Result, _: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        Err(CodecError::UnknownVersion)
    }
}

impl<M, Old, W> OlderVersions<M> for Older<Old, W>
where
    M: From<Old> + OlderReply<Old>,
    Old: RemoteMessage,
    W: Way<M, Old>,
{
    fn list(is_sent: bool, found: &mut dyn FnMut(OlderVersion)) {
        let is_sent = is_sent && W::IS_SENT;
        found(OlderVersion { facts: MessageFacts::of::<Old>(), is_sent });
        Old::Older::list(is_sent, found);
    }

    fn decode(version: WireId, bytes: &[u8]) -> Result<M, CodecError> {
        decode::<Old>(version, bytes).map(M::from)
    }

    fn encode(version: WireId, msg: &M, out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        encode::<Old>(version, &W::older(msg)?, out)
    }

    fn decode_result(version: WireId, bytes: &[u8]) -> Result<M::Result, CodecError> {
        decode_result::<Old>(version, bytes).and_then(W::newer)
    }

    fn encode_result(
        version: WireId,
        result: M::Result,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, CodecError> {
        encode_result::<Old>(version, M::older_reply(result), out)
    }
}

impl<Old, W> fmt::Debug for Older<Old, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Older")
    }
}

/// The versions before a message, the next one first.
pub(crate) fn older<M: RemoteMessage>() -> Vec<OlderVersion> {
    let mut versions = Vec::new();
    M::Older::list(true, &mut |version| versions.push(version));
    versions
}

/// Whether a message has this version.
pub(crate) fn is_known<M: RemoteMessage>(version: WireId) -> bool {
    version == M::WIRE_ID || older::<M>().iter().any(|older| older.facts.id == version)
}

/// Reads a message that came as `version`.
pub(crate) fn decode<M: RemoteMessage>(version: WireId, bytes: &[u8]) -> Result<M, CodecError> {
    if version == M::WIRE_ID {
        return super::decode(bytes);
    }
    M::Older::decode(version, bytes)
}

/// Appends a message as `version` to `out`.
pub(crate) fn encode<M: RemoteMessage>(
    version: WireId,
    msg: &M,
    out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    if version == M::WIRE_ID {
        return super::encode(msg, out);
    }
    M::Older::encode(version, msg, out)
}

/// Reads the result of a message that was sent as `version`.
pub(crate) fn decode_result<M: RemoteMessage>(
    version: WireId,
    bytes: &[u8],
) -> Result<M::Result, CodecError> {
    if version == M::WIRE_ID {
        return M::decode_result(bytes);
    }
    M::Older::decode_result(version, bytes)
}

/// Appends the result of a message that came as `version` to `out`.
pub(crate) fn encode_result<M: RemoteMessage>(
    version: WireId,
    result: M::Result,
    out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    if version == M::WIRE_ID {
        return M::encode_result(&result, out);
    }
    M::Older::encode_result(version, result, out)
}

/// One result type under two versions. The derive asks for it where the word `reply` is not said.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a message and its older version answer differently: `{Self}` is not `{Other}`",
    label = "this version has another result type",
    note = "say how its askers are answered: `older(.., reply)`, and implement `OlderReply`, with `send` also `NewerReply`"
)]
pub trait SameReply<Other> {
    /// The value itself.
    fn same_reply(self) -> Other;
}

impl<R> SameReply<R> for R {
    fn same_reply(self) -> R {
        self
    }
}

/// A message's result type, for the derive.
#[doc(hidden)]
pub type ResultOf<M> = <M as actix::Message>::Result;

/// What is wrong with `older(Old)` on `M`, if anything. The derive asks while compiling.
#[doc(hidden)]
pub const fn older_fault<M: RemoteMessage, Old: RemoteMessage>() -> Option<&'static str> {
    if !is_same(M::NAME, Old::NAME) {
        return Some("an older version bears the same `name`: this is another message");
    }
    if Old::VERSION >= M::VERSION {
        return Some("an older version has a lower `version` than the message that names it");
    }
    None
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut i = 0;
    while i < one.len() {
        if one[i] != other[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
pub(crate) mod tests;
