//! Messages on their way to another node: how a payload is written.
//!
//! Knows no session: the caller sends what is written here.

use std::time::Duration;

use super::{
    pending::Correlation,
    wire::{Address, ExtensionBuffer, Extensions, Head},
};
use crate::message::{CodecError, RemoteMessage, encode};

/// Appends a tell's payload to `out`.
pub(crate) fn tell<M: RemoteMessage>(
    to: Address<'_>,
    msg: &M,
    extensions: Extensions,
    out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    let mut buffer = ExtensionBuffer::default();
    let extensions = extensions.encode(&mut buffer);
    encode(msg, Head::Tell { to, message: M::WIRE_ID.0, extensions }.put(out))
}

/// Appends an ask's payload to `out`.
pub(crate) fn ask<M: RemoteMessage>(
    to: Address<'_>,
    msg: &M,
    correlation: Correlation,
    time_left: Duration,
    out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    let mut buffer = ExtensionBuffer::default();
    let extensions = Extensions { time_left: Some(time_left), bounces: 0 };
    let extensions = extensions.encode(&mut buffer);
    encode(msg, Head::Ask { to, message: M::WIRE_ID.0, correlation, extensions }.put(out))
}
