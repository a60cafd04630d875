//! The lives of a node: one for each of its incarnations, as far as there are several.
//!
//! A node that was declared down ends its life and begins another. Handles that outlive it, a `Node` or
//! a reference to an entity, hold the [`NodeCore`] of the life that they were made in, and come by this
//! to the one that goes on:
//!
//! ```text
//!  handle ──> core of shop/1, over ──> Lives ──> core of shop/3
//!                                  (shop/2 is gone: nobody holds it)
//! ```
//!
//! Invariant: once the node is to stop no life begins, and once it has ended it leads to no core, so that
//! none is held by its own lives.

use std::{error::Error, fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::{NodeCore, NodeId};
use crate::cluster::JoinError;

pub(crate) struct Lives {
    /// The core of the life that goes on, unless that is the first.
    current: ArcSwapOption<NodeCore>,
    status: watch::Sender<Status>,
}

/// How far a node is.
#[derive(Clone, Debug)]
struct Status {
    /// Who it is, or was last.
    id: NodeId,
    is_to_stop: bool,
    end: Option<NodeEnd>,
}

/// Why a node has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEnd {
    /// By [`Node::shutdown`](super::Node::shutdown).
    ShutDown,
    /// The others had declared it down, and it was not to join again, or could not
    /// ([`ClusterConfig::rejoin`](crate::ClusterConfig::rejoin)). Start it anew.
    DeclaredDown {
        /// Who was declared down last.
        id: NodeId,
        /// Why the last try to join again failed; `None` if there was no try since.
        last: Option<Arc<JoinError>>,
    },
    /// The cluster's thread was cut short.
    Interrupted,
}

impl Lives {
    /// Of a node whose first life begins.
    pub(super) fn new(id: NodeId) -> Self {
        let status = Status { id, is_to_stop: false, end: None };
        Self { current: ArcSwapOption::empty(), status: watch::Sender::new(status) }
    }

    /// Who the node is, or was last.
    pub(super) fn id(&self) -> NodeId {
        self.status.borrow().id.clone()
    }

    /// The core of the life that goes on, unless that is the first, or has ended.
    pub(super) fn current(&self) -> Option<Arc<NodeCore>> {
        self.current.load_full()
    }

    /// Lets handles of the life before lead to this one from now on, unless the node is to stop. Returns
    /// whether they do.
    pub(crate) fn begin(&self, former: &NodeCore, core: &Arc<NodeCore>) -> bool {
        self.status.send_if_modified(|status| {
            let begins = !status.is_to_stop && status.end.is_none();
            if begins {
                self.current.store(Some(Arc::clone(core)));
                former.set_over();
                status.id.clone_from(core.id());
            }
            begins
        })
    }

    /// Lets no further life begin.
    pub(super) fn stop(&self) {
        self.status.send_modify(|status| status.is_to_stop = true);
    }

    /// The node has ended. Only the first reason counts.
    pub(super) fn end(&self, reason: NodeEnd) {
        self.current.store(None);
        self.status.send_modify(|status| {
            status.end.get_or_insert(reason);
        });
    }

    /// Waits until no further life is to begin.
    pub(crate) async fn stopping(&self) {
        self.wait(|status| status.is_to_stop || status.end.is_some()).await;
    }

    /// Whether the node has ended; one that is between two lives has not.
    #[cfg(feature = "testkit")]
    pub(crate) fn has_ended(&self) -> bool {
        self.status.borrow().end.is_some()
    }

    /// Waits until the node has ended, and says why.
    pub(super) async fn ended(&self) -> NodeEnd {
        let status = self.wait(|status| status.end.is_some()).await;
        status.end.expect("it was waited for")
    }

    /// Waits until the node is somebody else than `known`, and says who; `None` once it has ended.
    pub(super) async fn id_after(&self, known: &NodeId) -> Option<NodeId> {
        let status = self.wait(|status| status.end.is_some() || status.id != *known).await;
        status.end.is_none().then_some(status.id)
    }

    async fn wait(&self, until: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.status.subscribe();
        let seen = status.wait_for(until).await;
        // This very value holds the sender.
        seen.expect("the sender is there").clone()
    }
}

impl fmt::Debug for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lives").field(&*self.status.borrow()).finish()
    }
}

impl fmt::Display for NodeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShutDown => f.write_str("the node was shut down"),
            Self::DeclaredDown { id, last: None } => {
                write!(f, "{id} was declared down, and was not to join again")
            }
            Self::DeclaredDown { id, last: Some(_) } => {
                write!(f, "{id} was declared down, and could not join again")
            }
            Self::Interrupted => f.write_str("the cluster's thread was cut short"),
        }
    }
}

impl Error for NodeEnd {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::DeclaredDown { last: Some(last), .. } => Some(&**last),
            Self::ShutDown | Self::DeclaredDown { last: None, .. } | Self::Interrupted => None,
        }
    }
}
