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
pub(crate) mod handoff;
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
pub(crate) mod transfers;
pub(crate) mod understood;
pub(crate) mod wire;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use actix_cluster_transport::{Receipt, Rotator, Session, StatsReader};
use tokio::sync::{Notify, watch};

pub(crate) use self::manifest::Manifest;
use self::{
    cancel::Cancels,
    pending::Pending,
    redirect::{GiveUp, Redirects},
    routing::{Peer, Routing},
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
use self::{
    pending::Correlation,
    placement::Shard,
    transfers::{Parcel, Transfers},
    wire::Head,
};
use crate::{
    message::WireId,
    node::{EntityKey, NodeId, ShutdownPhases, ShutdownReport},
    reference::RejectReason,
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
    pub(crate) transfers: Transfers,
    heard: Mutex<Vec<Heard>>,
    /// Told when there is something for the cluster's thread to do.
    wake: Notify,
    phase: watch::Sender<Phase>,
    view_changed: watch::Sender<u64>,
    /// Once the transport is open.
    rotator: OnceLock<Rotator>,
    stats: OnceLock<StatsReader>,
    /// Whether the node was asked to give up all that it owns.
    draining: AtomicBool,
    /// How long its shutdown may take, and how that went.
    shutdown: Mutex<(ShutdownPhases, ShutdownReport)>,
}

/// What the hand-off is to hear of from other threads, or between two turns of the cluster's.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A node has answered on a lane: so much has gone back from there to this one.
    Flushed { node: NodeId, marker: u64, lane: u64, moved: u64 },
    /// Something was sent to a node by a route that was no longer in force; its shard is held.
    Late { node: NodeId, actor_type: WireId, shard: Shard },
    /// A type was placed.
    Placed,
    /// Something came that an entity has left behind, and its sender is to be told.
    Installed(Installed),
    /// An entity can't be handed over.
    Kept { actor_type: WireId, shard: Shard },
}

/// What has come that an entity has left behind on another node, which is to be told so.
#[derive(Debug)]
pub(crate) struct Installed {
    actor_type: WireId,
    session: Session,
    receipt: Receipt,
    /// The hash of the entity's key.
    target: u64,
    correlation: Correlation,
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
            transfers: Transfers::default(),
            heard: Mutex::default(),
            wake: Notify::new(),
            phase: watch::Sender::new(Phase::Running),
            view_changed: watch::Sender::new(version),
            rotator: OnceLock::new(),
            stats: OnceLock::new(),
            draining: AtomicBool::new(former.is_some_and(Self::is_draining)),
            shutdown: Mutex::default(),
        }
    }

    /// Places a type as it states.
    pub(crate) fn place(&self, actor_type: WireId, site: Site) {
        if self.routing.place(actor_type, site) {
            self.hear(Heard::Placed);
        }
    }

    /// Whether the node's shutdown has not begun.
    pub(crate) fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }

    /// Has the node give up all that it owns.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// How long the phases of the shutdown may take, unless it has begun.
    pub(crate) fn set_phases(&self, phases: ShutdownPhases) {
        if self.is_running() {
            self.lock_shutdown().0 = phases;
        }
    }

    /// How the shutdown went, as far as it has gone.
    pub(crate) fn shutdown_report(&self) -> ShutdownReport {
        self.lock_shutdown().1
    }

    fn lock_shutdown(&self) -> MutexGuard<'_, (ShutdownPhases, ShutdownReport)> {
        // Nothing runs under this lock, so a poisoned one guards whole values.
        self.shutdown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message of this node that came back, to be sent on before anything new for its shard.
    ///
    /// # Errors
    ///
    /// When it is to be given up.
    pub(crate) fn redirect(
        &self,
        local: &NodeId,
        now: Instant,
        target: u64,
        payload: &[u8],
    ) -> Result<(), RejectReason> {
        if let Ok((Head::Ask { correlation, .. }, _)) = Head::take(payload) {
            // The end of the node where it was is nothing to it any more.
            self.pending.owe(correlation, local);
        }
        self.routing.hold(Shard::of(target));
        let kept = self.redirects().push(now, target, payload);
        match kept {
            Ok(()) => {
                self.wake.notify_one();
                return Ok(());
            }
            Err(_) => self.routing.release(Shard::of(target)),
        }
        kept.map_err(|given_up| match given_up {
            GiveUp::Bounces | GiveUp::Full => RejectReason::Moved,
            GiveUp::Malformed => RejectReason::Mismatch,
        })
    }

    /// Something was sent to a node by a route that was no longer in force: whatever is to follow it waits.
    pub(crate) fn sent_late(&self, node: NodeId, actor_type: WireId, shard: Shard) {
        self.routing.hold(shard);
        self.hear(Heard::Late { node, actor_type, shard });
    }

    /// Keeps what an entity leaves behind, for its next activation.
    pub(crate) fn pack(&self, key: &EntityKey, parcel: Parcel) {
        self.transfers.put(key.clone(), parcel);
        self.wake.notify_one();
    }

    /// An entity can't be handed over.
    pub(crate) fn keep(&self, key: &EntityKey) {
        self.hear(Heard::Kept { actor_type: key.actor_type(), shard: key.shard() });
    }

    /// Keeps what an entity has left on another node.
    fn install(
        &self,
        key: &EntityKey,
        parcel: Parcel,
        installed: Installed,
    ) -> Result<(), RejectReason> {
        let from = node_id(installed.session.peer());
        self.transfers.install(from, key.clone(), parcel)?;
        self.hear(Heard::Installed(installed));
        Ok(())
    }

    /// A message has come back from a peer, which takes nothing more for its shard until it knows that this
    /// node has seen that.
    fn came_back(&self, peer: &Peer, target: u64, payload: &[u8]) {
        if let Ok((Head::Tell { to, .. } | Head::Ask { to, .. }, _)) = Head::take(payload) {
            self.sent_late(peer.id.clone(), to.actor_type(), Shard::of(target));
        }
    }

    /// Leaves word for the hand-off.
    fn hear(&self, heard: Heard) {
        self.lock_heard().push(heard);
        self.wake.notify_one();
    }

    fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.lock_heard())
    }

    fn lock_heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        // Only the list's own code runs under this lock, so a poisoned one guards a whole list.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Has the cluster's thread end, without leaving.
    pub(crate) fn close(&self) {
        self.ask_for(Phase::Closing);
    }

    fn ask_for(&self, asked: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < asked;
            *phase = (*phase).max(asked);
            forward
        });
        self.wake.notify_one();
    }

    /// Asks the cluster's thread for the next phase, and waits until another follows it.
    pub(crate) async fn reach(&self, asked: Phase, awaited: Phase) {
        self.ask_for(asked);
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
