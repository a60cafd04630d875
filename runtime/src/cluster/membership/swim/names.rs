//! The highest incarnation heard of each name.
//! Invariant: at most [`NAMES_LIMIT`] names; the one not heard of for longest makes room.
//! Knows no time: order of hearing is all there is.

use std::{collections::BTreeMap, sync::Arc};

use crate::node::NodeId;

/// How many names are remembered. An order of magnitude above the largest cluster that gossip is
/// tuned for, so that a name goes only after thousands of others were heard of since.
pub(super) const NAMES_LIMIT: usize = 4_096;

/// A bounded memory of names, alive and down.
///
/// Members that are alive are heard of all the time, so that those long down go first.
#[derive(Debug, Default)]
pub(super) struct Names {
    heard: BTreeMap<Arc<str>, Heard>,
    count: u64,
}

#[derive(Debug)]
struct Heard {
    incarnation: u64,
    at: u64,
}

impl Names {
    /// The highest incarnation heard of a name.
    pub(super) fn highest(&self, name: &str) -> Option<u64> {
        self.heard.get(name).map(|heard| heard.incarnation)
    }

    /// Notes that an incarnation was heard of; returns the name that had to make room for it.
    pub(super) fn hear(&mut self, id: &NodeId) -> Option<Arc<str>> {
        self.count += 1;
        if let Some(heard) = self.heard.get_mut(&id.name) {
            heard.incarnation = heard.incarnation.max(id.incarnation);
            heard.at = self.count;
            return None;
        }
        let forgotten = (self.heard.len() == NAMES_LIMIT).then(|| self.oldest()).flatten();
        if let Some(name) = &forgotten {
            self.heard.remove(name);
        }
        let heard = Heard { incarnation: id.incarnation, at: self.count };
        self.heard.insert(Arc::clone(&id.name), heard);
        forgotten
    }

    fn oldest(&self) -> Option<Arc<str>> {
        self.heard.iter().min_by_key(|(_, heard)| heard.at).map(|(name, _)| Arc::clone(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, incarnation: u64) -> NodeId {
        NodeId { name: name.into(), incarnation }
    }

    #[test]
    fn the_highest_incarnation_stays() {
        let mut names = Names::default();
        for incarnation in [2, 5, 3] {
            assert_eq!(names.hear(&id("a", incarnation)), None);
        }
        assert_eq!(names.highest("a"), Some(5));
        assert_eq!(names.highest("b"), None);
    }

    #[test]
    fn the_name_not_heard_of_for_longest_makes_room() {
        let mut names = Names::default();
        for n in 0..NAMES_LIMIT {
            assert_eq!(names.hear(&id(&format!("n{n}"), 1)), None);
        }
        names.hear(&id("n0", 1));
        assert_eq!(names.hear(&id("new", 1)).as_deref(), Some("n1"));
        assert_eq!((names.highest("n0"), names.highest("n1")), (Some(1), None));
    }
}
