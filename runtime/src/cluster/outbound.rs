//! Messages on their way to another node: how a payload is written.
//!
//! Knows no session: the caller sends what is written here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    pending::Correlation,
    understood::{Dispute, Restated, Understood},
    wire::{Address, ExtensionBuffer, Extensions, Head},
};
use crate::{
    actor::panic::catch,
    message::{CodecError, RemoteMessage, WireId, version},
    node::NodeCore,
};

/// Appends a tell's payload to `out`, with the message as the version that `message` names.
pub(crate) fn tell<M: RemoteMessage>(
    to: Address<'_>,
    WireId(message): WireId,
    msg: &M,
    extensions: Extensions,
    out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    let mut buffer = ExtensionBuffer::default();
    let extensions = extensions.encode(&mut buffer);
    version::encode(WireId(message), msg, Head::Tell { to, message, extensions }.put(out))
}

/// Appends an ask's payload to `out`, with the message as the version that `message` names.
pub(crate) fn ask<M: RemoteMessage>(
    to: Address<'_>,
    WireId(message): WireId,
    msg: &M,
    correlation: Correlation,
    time_left: Duration,
    out: Vec<u8>,
) -> Result<Vec<u8>, CodecError> {
    let mut buffer = ExtensionBuffer::default();
    let extensions = Extensions { time_left: Some(time_left), bounces: 0 };
    let extensions = extensions.encode(&mut buffer);
    let head = Head::Ask { to, message, correlation, extensions };
    version::encode(WireId(message), msg, head.put(out))
}

/// A tell's payload that was written for another node, as this peer understands it.
///
/// The message's own code runs only if it is not the same; its panic is the end of that message.
///
/// # Errors
///
/// When the peer would not understand it.
pub(crate) fn restated(
    core: &Arc<NodeCore>,
    peer: &Understood,
    payload: &Bytes,
) -> Result<Bytes, Dispute> {
    let Ok((Head::Tell { to, message, extensions }, body)) = Head::take(payload) else {
        return Err(Dispute::Shape);
    };
    // Of a type that is not registered here nothing is known: the peer decides.
    let Some(kind) = core.kinds().find(to.actor_type()) else { return Ok(payload.clone()) };
    let _scope = NodeCore::enter(core);
    let restated = catch(|| kind.restate(peer, WireId(message), body)).unwrap_or_else(|panic| {
        panic.report("conversion of a message");
        Err(Dispute::Value)
    });
    match restated? {
        Restated::AsItIs => Ok(payload.clone()),
        Restated::As(WireId(message), body) => {
            let head = Head::Tell { to, message, extensions };
            let mut payload = head.put(Vec::with_capacity(payload.len() + body.len()));
            payload.extend_from_slice(&body);
            Ok(payload.into())
        }
    }
}
