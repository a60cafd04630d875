//! A hash map whose iteration order no run decides anew.

use std::hash::BuildHasherDefault;

use xxhash_rust::xxh3::Xxh3Default;

/// A hash map hashed by xxh3 with seed 0, so that its order is the same in every process.
#[expect(clippy::disallowed_types, reason = "hashed with a fixed seed")]
pub(crate) type FixedMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Xxh3Default>>;
