//! What a node says of itself at the handshake: the cluster's settings and its messages.
//!
//! Invariant: a setting on which nodes must agree is compared by field, and the first that differs
//! refuses the peer. A message that two nodes understand differently is refused by name, when it is
//! sent; it refuses nobody.
//! Knows no session.

use std::collections::BTreeMap;

use actix_cluster_transport::Refusal;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::placement::{KEY_HASH, PLACEMENT_VERSION, SHARDS};
use crate::message::{MessageFacts, WireId};

/// How many messages a manifest may list.
pub(crate) const MESSAGES_LIMIT: usize = 4_096;

/// What a node says of itself. Frozen: a change is a new variant at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Manifest {
    V1 { digest: Digest, messages: Vec<Listed> },
}

/// The settings on which all nodes must agree. Frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    key_hash: String,
    shards: u32,
    placement_version: u32,
}

/// A message that a node's actors list. Frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    name: String,
    version: u32,
    schema: u64,
}

impl Manifest {
    /// Of a node that knows these messages.
    pub(crate) fn new(messages: impl Iterator<Item = MessageFacts>) -> Self {
        let listed = |MessageFacts { name, version, schema, .. }| Listed {
            name: String::from(name),
            version,
            schema,
        };
        let digest = Digest {
            key_hash: KEY_HASH.to_owned(),
            shards: SHARDS as u32,
            placement_version: PLACEMENT_VERSION,
        };
        Self::V1 { digest, messages: messages.map(listed).collect() }
    }

    /// Name, version and schema key of each message that it lists.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (&str, u32, u64)> {
        let Self::V1 { messages, .. } = self;
        messages.iter().map(|listed| (listed.name.as_str(), listed.version, listed.schema))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a manifest has no value that serde refuses")
    }

    /// What nodes with equal manifests have in common.
    pub(crate) fn hash(&self) -> u64 {
        xxh3_64(&self.to_bytes())
    }

    /// Reads a peer's manifest and compares it with this one.
    ///
    /// # Errors
    ///
    /// The refusal that the peer is to be told.
    pub(crate) fn check(&self, theirs: &[u8]) -> Result<Self, Refusal> {
        let Ok((theirs, [])) = postcard::take_from_bytes::<Self>(theirs) else {
            return Err(Refusal::Protocol);
        };
        let (Self::V1 { digest: ours, .. }, Self::V1 { digest: found, messages }) = (self, &theirs);
        let has_long_name = || messages.iter().any(|m| m.name.len() > WireId::NAME_LIMIT);
        if messages.len() > MESSAGES_LIMIT || has_long_name() {
            return Err(Refusal::Protocol);
        }
        differs("key hash", &ours.key_hash, &found.key_hash)?;
        differs("number of shards", &ours.shards, &found.shards)?;
        differs("placement version", &ours.placement_version, &found.placement_version)?;
        Ok(theirs)
    }

    /// The messages that both know and understand differently, with their versions.
    pub(crate) fn disputed<'a>(&'a self, theirs: &Self) -> Vec<(&'a str, u32)> {
        let theirs: BTreeMap<_, _> = theirs.messages().map(|(n, v, key)| ((n, v), key)).collect();
        let is_disputed = |(name, version, schema): &(&str, u32, u64)| {
            theirs.get(&(*name, *version)).is_some_and(|theirs| theirs != schema)
        };
        self.messages().filter(is_disputed).map(|(name, version, _)| (name, version)).collect()
    }
}

fn differs<T: PartialEq + ToString>(
    field: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(Refusal::Mismatch {
        field: field.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(schema: u64) -> Manifest {
        let (name, version) = ("bank.Deposit", 1);
        let id = WireId::of(name, version);
        let facts = MessageFacts { id, name, version, schema, shape: "" };
        Manifest::new([facts].into_iter())
    }

    #[test]
    fn golden_bytes_hold_both_ways() {
        let mut golden = vec![0, 7];
        golden.extend_from_slice(b"xxh3-64");
        golden.extend_from_slice(&[0x80, 0x20, 1, 1, 12]);
        golden.extend_from_slice(b"bank.Deposit");
        golden.extend_from_slice(&[1, 5]);
        assert_eq!(manifest(5).to_bytes(), golden);
        assert_eq!(manifest(1).check(&golden), Ok(manifest(5)));
    }

    #[test]
    fn a_setting_that_differs_is_refused_by_field() {
        let Manifest::V1 { mut digest, messages } = manifest(1);
        digest.shards = 1_024;
        let other = Manifest::V1 { digest, messages }.to_bytes();
        let refusal = manifest(1).check(&other).expect_err("the shards differ");
        assert_eq!(
            refusal.to_string(),
            "number of shards differs: the peer has 4096, this node 1024; make them equal"
        );
        assert_eq!(manifest(1).check(&[9, 9]), Err(Refusal::Protocol));
    }

    #[test]
    fn a_name_that_no_message_can_have_breaks_the_protocol() {
        let longest = "n".repeat(WireId::NAME_LIMIT);
        for (name, accepted) in [(longest.clone(), true), (longest + "n", false)] {
            let Manifest::V1 { digest, .. } = manifest(1);
            let messages = vec![Listed { name, version: 1, schema: 1 }];
            let other = Manifest::V1 { digest, messages }.to_bytes();
            assert_eq!(manifest(1).check(&other).is_ok(), accepted);
        }
    }

    #[test]
    fn a_message_of_two_shapes_is_disputed_by_name() {
        assert_eq!(manifest(1).disputed(&manifest(2)), [("bank.Deposit", 1)]);
        assert!(manifest(1).disputed(&manifest(1)).is_empty());
    }
}
