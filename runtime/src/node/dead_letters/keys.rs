//! The keys of entities that were sent to lately.
//!
//! Of a tell that has left this node only the hash of its target is left. While somebody subscribes to
//! the dead letters, the keys are remembered, so that a letter can name its entity.
//! Invariant: at most `limit` keys are remembered; one more, and the one that came first is forgotten.

use std::{collections::VecDeque, sync::Arc};

use crate::fixed_map::FixedMap;

/// How many keys are remembered: as many as one target may have unsettled messages, four times.
pub(crate) const LIMIT: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Keys {
    limit: usize,
    keys: FixedMap<u64, Arc<str>>,
    order: VecDeque<u64>,
}

impl Keys {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, keys: FixedMap::default(), order: VecDeque::new() }
    }

    pub(crate) fn remember(&mut self, hash: u64, key: &str) {
        if self.keys.contains_key(&hash) {
            return;
        }
        if self.order.len() >= self.limit
            && let Some(first) = self.order.pop_front()
        {
            self.keys.remove(&first);
        }
        self.keys.insert(hash, key.into());
        self.order.push_back(hash);
    }

    pub(crate) fn find(&self, hash: u64) -> Option<Arc<str>> {
        self.keys.get(&hash).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_up_to_the_limit() {
        let mut keys = Keys::new(2);
        for (hash, key) in [(1, "a"), (2, "b"), (1, "a"), (3, "c")] {
            keys.remember(hash, key);
        }
        assert_eq!([1, 2, 3].map(|hash| keys.find(hash).is_some()), [false, true, true]);
        assert_eq!((keys.keys.len(), keys.order.len()), (2, 2));
    }
}
