//! Which run of which node.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// One run of a node: its name, and the number of this run. A process that is started anew is another
/// run, and so is one that joins again after it was declared down ([`Node::id_after`](super::Node::id_after)).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// The name, unique in the cluster.
    pub name: Arc<str>,
    /// The run: a later one of the same name has a higher number.
    pub incarnation: u64,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.incarnation)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
