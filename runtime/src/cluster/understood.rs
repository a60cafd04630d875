//! What a peer understands, and so in which version a message goes to it.
//!
//! A peer's manifest lists every message that its actors can be sent, older versions too. So a
//! version that is missing would be rejected there, and one that is listed is read there, whichever
//! actor it is for. Where the peer says nothing of a name at all, the message goes as it is: the peer
//! answers for itself, and its log says what is to be registered.
//!
//! Invariant: only what the peer lists in the same shape is sent instead of what was to be sent.
//! Knows no session. Read by every sender.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::manifest::Manifest;
use crate::{
    message::{CodecError, MessageFacts, RemoteMessage, WireId, version},
    node::NodeId,
};

/// The messages that a peer's actors can be sent.
#[derive(Debug)]
pub(crate) struct Understood {
    peer: NodeId,
    /// Each one's schema key, sorted by the ids.
    schemas: Box<[(WireId, u64)]>,
    /// The ids of their names, whatever the version; sorted.
    names: Box<[WireId]>,
    /// The messages of whose disputes the log tells already: at most those of this program.
    told: Mutex<BTreeSet<WireId>>,
}

/// Why a message is not to be sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispute {
    /// The peer knows this version in another shape.
    Shape,
    /// The peer knows the message, in no version in which it may be sent.
    Version,
    /// It may be sent in another version only, and this one can't be said so.
    Value,
}

impl Dispute {
    /// What the log says.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Shape => {
                "a message has two shapes under one version; give the change a new version"
            }
            Self::Version => {
                "the peer knows no version in which this message may be sent; upgrade the peer, or \
                 let the message go as an older version: `older(.., send)`"
            }
            Self::Value => "the peer knows an older version only, in which the value can't be said",
        }
    }
}

/// A message that was to be sent as bytes, made ready for another peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Restated {
    /// The bytes will do.
    AsItIs,
    /// Another version is to be sent, of these bytes.
    As(WireId, Vec<u8>),
}

impl Understood {
    /// What the manifest of a peer says.
    pub(crate) fn of(peer: NodeId, manifest: &Manifest) -> Self {
        let mut schemas: Vec<_> = manifest
            .messages()
            .map(|(name, version, schema)| (WireId::of(name, version), schema))
            .collect();
        let mut names: Vec<_> =
            manifest.messages().map(|(name, ..)| WireId::of_type(name)).collect();
        schemas.sort_unstable();
        names.sort_unstable();
        names.dedup();
        let (schemas, names) = (schemas.into(), names.into());
        Self { peer, schemas, names, told: Mutex::default() }
    }

    /// The version as which a message is to be sent: its own, or the newest older one that the peer
    /// knows and that it may be sent as.
    ///
    /// # Errors
    ///
    /// When there is none; the log says so once, with the remedy.
    pub(crate) fn version_for<M: RemoteMessage>(&self) -> Result<WireId, Dispute> {
        self.find_version::<M>().inspect_err(|dispute| self.tell::<M>(*dispute))
    }

    fn find_version<M: RemoteMessage>(&self) -> Result<WireId, Dispute> {
        match self.schema(M::WIRE_ID) {
            Some(schema) if schema == M::SCHEMA => Ok(M::WIRE_ID),
            Some(_) => Err(Dispute::Shape),
            None if self.names.binary_search(&WireId::of_type(M::NAME)).is_err() => Ok(M::WIRE_ID),
            None => version::older::<M>()
                .iter()
                .find(|older| older.is_sent && self.knows(&older.facts))
                .map(|older| older.facts.id)
                .ok_or(Dispute::Version),
        }
    }

    /// Says once in the log what is wrong.
    fn tell<M: RemoteMessage>(&self, dispute: Dispute) {
        // Only the set's own code runs under this lock, so a poisoned one guards a whole set.
        let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(M::WIRE_ID);
        if is_new {
            let (message, version, peer) = (M::NAME, M::VERSION, &self.peer);
            tracing::warn!(message, version, %peer, "{}", dispute.as_str());
        }
    }

    fn knows(&self, message: &MessageFacts) -> bool {
        self.schema(message.id) == Some(message.schema)
    }

    fn schema(&self, message: WireId) -> Option<u64> {
        let found = self.schemas.binary_search_by_key(&message, |(id, _)| *id).ok()?;
        Some(self.schemas[found].1)
    }
}

/// Makes a message that was to be sent as `sent`, with these bytes, ready for a peer.
///
/// # Errors
///
/// When the peer would not understand it.
pub(crate) fn restate<M: RemoteMessage>(
    peer: &Understood,
    sent: WireId,
    body: &[u8],
) -> Result<Restated, Dispute> {
    let older = version::older::<M>().into_iter().map(|older| older.facts);
    let of_sent = [MessageFacts::of::<M>()].into_iter().chain(older).find(|facts| facts.id == sent);
    match (peer.schema(sent), of_sent) {
        (Some(theirs), Some(ours)) if theirs != ours.schema => {
            peer.tell::<M>(Dispute::Shape);
            return Err(Dispute::Shape);
        }
        (Some(_), _) => return Ok(Restated::AsItIs),
        (None, _) => {}
    }
    let wanted = peer.version_for::<M>()?;
    if peer.schema(wanted).is_none() {
        return Ok(Restated::AsItIs);
    }
    let restated = version::decode::<M>(sent, body)
        .and_then(|msg| version::encode::<M>(wanted, &msg, Vec::new()));
    match restated {
        Ok(body) => Ok(Restated::As(wanted, body)),
        Err(CodecError::Inexpressible { .. }) => Err(Dispute::Value),
        Err(error) => {
            tracing::warn!(message = M::NAME, %error, "a message could not be sent on");
            Err(Dispute::Value)
        }
    }
}

#[cfg(test)]
mod tests;
