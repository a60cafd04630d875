//! Messages on their way to another node: how a payload is written.
//!
//! Knows no session: the caller sends what is written here, and says so to what the message carries.

use std::sync::Arc;

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
    responder::carried::{Carried, collect},
};

/// A payload, and the responders in it.
type Written = (Vec<u8>, Carried);

/// Appends a tell's payload to the empty `out`, with the message as this version.
pub(crate) fn tell<M: RemoteMessage>(
    to: Address<'_>,
    version: WireId,
    msg: &M,
    extensions: Extensions<'_>,
    out: Vec<u8>,
) -> Result<Written, CodecError> {
    let WireId(message) = version;
    write(version, msg, extensions, out, |extensions, out| {
        Head::Tell { to, message, extensions }.put(out)
    })
}

/// Appends an ask's payload to the empty `out`, with the message as this version.
pub(crate) fn ask<M: RemoteMessage>(
    to: Address<'_>,
    version: WireId,
    msg: &M,
    correlation: Correlation,
    extensions: Extensions<'_>,
    out: Vec<u8>,
) -> Result<Written, CodecError> {
    let WireId(message) = version;
    write(version, msg, extensions, out, |extensions, out| {
        Head::Ask { to, message, correlation, extensions }.put(out)
    })
}

fn write<M: RemoteMessage>(
    version: WireId,
    msg: &M,
    extensions: Extensions<'_>,
    out: Vec<u8>,
    put_head: impl Fn(&[u8], Vec<u8>) -> Vec<u8>,
) -> Result<Written, CodecError> {
    let mut buffer = ExtensionBuffer::default();
    let out = put_head(extensions.encode(&mut buffer), out);
    let body_at = out.len();
    let (out, carried) = collect(|| version::encode(version, msg, out));
    let out = out?;
    if carried.is_empty() {
        return Ok((out, carried));
    }
    // What a message carries is known once it is written, and stands before it.
    let claims = carried.to_bytes();
    let extensions = Extensions { carries: &claims, ..extensions };
    let mut buffer = ExtensionBuffer::default();
    let whole = Vec::with_capacity(out.len() + claims.len() + 64);
    let mut whole = put_head(extensions.encode(&mut buffer), whole);
    whole.extend_from_slice(&out[body_at..]);
    Ok((whole, carried))
}

/// A payload that was written for another node, as this peer understands it.
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
    let (to, message, extensions, body) = match Head::take(payload) {
        Ok((Head::Tell { to, message, extensions }, body)) => (to, message, Some(extensions), body),
        Ok((Head::Ask { to, message, .. }, body)) => (to, message, None, body),
        _ => return Err(Dispute::Shape),
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
            // The result goes to an asker, who would take it for that of the version that was sent.
            let Some(extensions) = extensions.filter(|extensions| !answers_an_ask(extensions))
            else {
                return Err(Dispute::Version);
            };
            let head = Head::Tell { to, message, extensions };
            let mut payload = head.put(Vec::with_capacity(payload.len() + body.len()));
            payload.extend_from_slice(&body);
            Ok(payload.into())
        }
    }
}

fn answers_an_ask(extensions: &[u8]) -> bool {
    Extensions::decode(extensions).is_ok_and(|extensions| !extensions.answers.is_empty())
}
