//! Clusters: nodes that find each other, place entities, and carry messages to one another.
//!
//! One thread of a node, the cluster's, runs transport and membership; it decides nothing by
//! itself, but asks the pure parts and carries out what they say. Senders and arbiters reach other
//! nodes without it: through the routes and the sessions that are shared here.
//!
//! ```text
//!  membership ──view──> placement ──table──> routing <── senders (any thread)
//!      ^ packets                                │ sessions
//!  the cluster's thread <── events ── transport ┘
//!      └── frames, grouped ──> arbiters ──> mailboxes
//! ```

pub(crate) mod cancel;
mod config;
pub(crate) mod delegation;
pub mod discovery;
pub(crate) mod frame;
pub(crate) mod inbound;
mod join;
mod lives;
mod majority;
mod manifest;
pub(crate) mod mark;
pub(crate) mod membership;
pub(crate) mod outbound;
pub(crate) mod pending;
pub(crate) mod placement;
pub(crate) mod redirect;
pub(crate) mod routing;
pub(crate) mod settling;
mod shell;
pub(crate) mod understood;
pub(crate) mod wire;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_cluster_transport::{Rotator, StatsReader};
use tokio::sync::{Notify, watch};

pub(crate) use self::manifest::Manifest;
use self::{
    cancel::Cancels,
    pending::Pending,
    redirect::{GiveUp, Redirects},
    routing::Routing,
};
pub(crate) use self::{
    config::Validated,
    lives::{Birth, Plan, run},
};
pub use self::{
    config::{ClusterConfig, ClusterConfigError, Rejoin},
    join::JoinError,
    membership::{Member, Profile, View},
    placement::{Minority, PlacementStrategy, Site},
};
use crate::{
    node::{DeadLetters, NodeId},
    watch::Errand,
};

/// What a node's threads share of its cluster.
pub(crate) struct Cluster {
    pub(crate) routing: Routing,
    pub(crate) pending: Pending,
    pub(crate) cancels: Arc<Cancels>,
    pub(crate) addr: SocketAddr,
    manifest: Manifest,
    redirects: Mutex<Redirects>,
    errands: Mutex<Vec<Errand>>,
    /// Told when there is something for the cluster's thread to do.
    wake: Notify,
    phase: watch::Sender<Phase>,
    view_changed: watch::Sender<u64>,
    /// Once the transport is open.
    rotator: OnceLock<Rotator>,
    stats: OnceLock<StatsReader>,
    /// Whether the node was asked to give up all that it owns.
    draining: AtomicBool,
}

/// How far a node is with its shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not begun.
    Running,
    /// The cluster's thread is to leave the membership, and to give its entities up.
    Leaving,
    /// It has: the arbiters may end.
    Left,
    /// They have: the transport is to send what is left, and to close.
    Closing,
    /// All is over.
    Closed,
}

impl Cluster {
    /// Of a node as this member; `former` is what its life before had, if it had one.
    pub(crate) fn new(local: Member, manifest: Manifest, former: Option<&Self>) -> Self {
        let (id, addr) = (local.id.clone(), local.addr);
        // The versions of a node's views go on from life to life.
        let version = former.map_or(0, |former| former.routing.routes().view.version + 1);
        let view = Arc::new(View { version, members: vec![local] });
        let routing = Routing::new(id, view);
        if let Some(former) = former {
            routing.place_as(&former.routing);
        }
        Self {
            routing,
            pending: Pending::new(pending::LIMIT),
            cancels: Arc::default(),
            addr,
            manifest,
            redirects: Mutex::new(Redirects::new(redirect::LIMIT)),
            errands: Mutex::default(),
            wake: Notify::new(),
            phase: watch::Sender::new(Phase::Running),
            view_changed: watch::Sender::new(version),
            rotator: OnceLock::new(),
            stats: OnceLock::new(),
            draining: AtomicBool::new(former.is_some_and(Self::is_draining)),
        }
    }

    /// Has the node give up all that it owns.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Keeps a tell that came back, to be sent on. Returns whether it is kept.
    pub(crate) fn redirect(
        &self,
        now: std::time::Instant,
        target: u64,
        payload: &[u8],
        dead_letters: &DeadLetters,
    ) -> bool {
        use crate::reference::RejectReason::{Mismatch, Moved};
        let kept = self.redirects().push(now, target, payload);
        let reason = match kept {
            Ok(()) => {
                self.wake.notify_one();
                return true;
            }
            Err(GiveUp::Bounces | GiveUp::Full) => Moved,
            Err(GiveUp::Malformed) => Mismatch,
        };
        dead_letters.rejected(reason, |letters| letters.about_payload(payload, target));
        false
    }

    /// Leaves something of a watch to the cluster's thread.
    pub(crate) fn errand(&self, errand: Errand) {
        self.errands().push(errand);
        self.wake.notify_one();
    }

    /// What was left to the cluster's thread since the last call.
    fn take_errands(&self) -> Vec<Errand> {
        std::mem::take(&mut self.errands())
    }

    fn errands(&self) -> MutexGuard<'_, Vec<Errand>> {
        // Only the list's own code runs under this lock, so a poisoned one guards a whole list.
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the cluster's thread for the next phase, and waits until another follows it.
    pub(crate) async fn reach(&self, asked: Phase, awaited: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < asked;
            *phase = (*phase).max(asked);
            forward
        });
        self.wake.notify_one();
        let mut phase = self.phase.subscribe();
        // It can't fail: this very value holds the sender.
        let _ = phase.wait_for(|phase| *phase >= awaited).await;
    }

    pub(crate) fn rotator(&self) -> Option<&Rotator> {
        self.rotator.get()
    }

    pub(crate) fn stats(&self) -> Option<&StatsReader> {
        self.stats.get()
    }

    /// The versions of the view, as they come.
    pub(crate) fn view_versions(&self) -> watch::Receiver<u64> {
        self.view_changed.subscribe()
    }

    fn redirects(&self) -> MutexGuard<'_, Redirects> {
        // Only the queue's own code runs under this lock, so a poisoned one guards a whole queue.
        self.redirects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// The identity of a node in the transport's words.
pub(crate) fn peer_id(id: &NodeId) -> Option<actix_cluster_transport::PeerId> {
    let name = actix_cluster_transport::NodeName::new(&id.name).ok()?;
    Some(actix_cluster_transport::PeerId { name, incarnation: id.incarnation })
}

/// The identity of a peer in the runtime's words.
pub(crate) fn node_id(peer: &actix_cluster_transport::PeerId) -> NodeId {
    NodeId { name: peer.name.as_str().into(), incarnation: peer.incarnation }
}
