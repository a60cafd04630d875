//! What is sent.

use bytes::{Bytes, BytesMut};

/// The payload of a message or an answer.
///
/// It is copied once, to where it waits to be written, except for [`Bytes`] that travel as bulk:
/// those are shared until the peer has them.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::Payload;
/// use bytes::Bytes;
///
/// fn length<'a>(payload: impl Into<Payload<'a>>) -> usize {
///     payload.into().as_slice().len()
/// }
/// assert_eq!((length(b"four"), length(&vec![0; 3]), length(&Bytes::from_static(b"by"))), (4, 3, 2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    shared: Option<&'a Bytes>,
}

impl<'a> Payload<'a> {
    /// Its bytes.
    pub fn as_slice(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn shared(&self) -> Option<&'a Bytes> {
        self.shared
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, shared: None }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self { bytes, shared: None }
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self { bytes, shared: None }
    }
}

impl<'a> From<&'a BytesMut> for Payload<'a> {
    fn from(bytes: &'a BytesMut) -> Self {
        Self { bytes, shared: None }
    }
}

impl<'a> From<&'a Bytes> for Payload<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self { bytes, shared: Some(bytes) }
    }
}
