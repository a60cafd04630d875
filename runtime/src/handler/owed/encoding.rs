//! How the result of a message becomes bytes, in the version that was asked.

use std::fmt;

use crate::message::{CodecError, RemoteMessage, WireId, version};

/// Writes a result `R` for another node.
pub(crate) struct Encoding<R> {
    /// The version whose result is awaited.
    asked: WireId,
    /// The version that the result's type belongs to.
    handled: WireId,
    encode: Encode<R>,
}

/// Appends the result of a message that came as this version.
type Encode<R> = fn(WireId, R, Vec<u8>) -> Result<Vec<u8>, CodecError>;

impl<R> Encoding<R> {
    /// That of a message which was asked as `M`.
    pub(crate) fn newest<M: RemoteMessage<Result = R>>() -> Self {
        Self { asked: M::WIRE_ID, handled: M::WIRE_ID, encode: version::encode_result::<M> }
    }

    /// That of a message which is handled as `M`, and was asked as this version of it.
    pub(crate) fn of<M: RemoteMessage<Result = R>>(asked: WireId) -> Self {
        Self { asked, ..Self::newest::<M>() }
    }

    /// The version whose result is awaited.
    pub(crate) fn asked(&self) -> WireId {
        self.asked
    }

    /// Whether what is awaited is a result of this very type, as it is.
    pub(crate) fn is_as_handled(&self) -> bool {
        self.asked == self.handled
    }

    /// Appends a result to `out`.
    ///
    /// # Errors
    ///
    /// When serde refuses the value.
    pub(crate) fn encode(&self, result: R, out: Vec<u8>) -> Result<Vec<u8>, CodecError> {
        (self.encode)(self.asked, result, out)
    }
}

impl<R> Clone for Encoding<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Encoding<R> {}

impl<R> fmt::Debug for Encoding<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoding").field("asked", &self.asked).finish_non_exhaustive()
    }
}
