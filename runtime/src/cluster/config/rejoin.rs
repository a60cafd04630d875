//! How often a node joins again.

use std::time::Duration;

use crate::actor::Backoff;

/// The most tries that are remembered.
pub(super) const LIMIT: u32 = 1_000;

/// How often a node that learns that it was declared down joins again, as a new incarnation.
///
/// A node is declared down if the others hear nothing of it for some seconds: because its process or
/// its host stood still, or the network between them did. The defaults have it come back at once when
/// that is over, and give up on a node that comes and goes, or that nobody lets in, after some minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejoin {
    /// How many tries there are within [`within`](Self::within), those that succeed included; one more,
    /// and the node ends ([`Node::ended`](crate::Node::ended)). Default 10, at most 1,000; 0 ends it at
    /// once.
    pub limit: u32,
    /// The window in which tries are counted. Default 10 min.
    pub within: Duration,
    /// The waits before tries, by how many there were in the window. Default: 100 ms at first, 10 s at
    /// most. A try itself takes up to the [`join_timeout`](super::ClusterConfig::join_timeout).
    pub backoff: Backoff,
}

impl Default for Rejoin {
    fn default() -> Self {
        let backoff =
            Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(10) };
        Self { limit: 10, within: Duration::from_secs(600), backoff }
    }
}

impl Rejoin {
    /// No try: the node ends at once.
    pub fn never() -> Self {
        Self { limit: 0, ..Self::default() }
    }
}
