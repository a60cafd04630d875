//! Watching: being told, once, that an actor has ended; and links, by which actors fail together.
//!
//! An actor [watches](ClusterContext::watch) another through its [`ActorRef`](crate::ActorRef),
//! wherever that one lives, and handles one [`Terminated`]; other code awaits a [`Watch`]. A
//! [link](ClusterContext::link) makes two actors fail together.
//!
//! ```text
//!  watcher ── set ──> table ──begin──> target's mailbox here: a tie
//!     ^               (number)    └──> session: Head::Watch ──> incoming ──> tie in its mailbox
//!     └── Terminated <── end <───────── the mailbox's end tells its ties
//!                     <── report <───── Head::Terminated, on the watcher's lanes
//!                     <── report <───── the session's end, behind what it has delivered
//! ```
//!
//! The `table` of the watcher's node decides: whoever takes a watch out of it tells the watcher.
//! What ends an actor finds its watchers in its own mailbox (`watchers`), and those of other nodes in
//! `incoming` as well. This module carries out what they say, on whichever thread it is called.

mod context;
mod errands;
mod future;
mod incoming;
mod lanes;
mod reason;
mod remote;
mod table;
mod terminated;
mod token;
mod watchable;
mod watched;
mod watcher;
mod watchers;
mod wire;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_cluster_transport::Session;

pub(crate) use self::{
    context::{Watching, instance_ended},
    errands::Errand,
    remote::{receive, rejected, session_ended, turn_away},
    token::Token,
    watchable::Watchable,
    watchers::Watchers,
};
pub use self::{
    future::Watch,
    reason::TerminatedReason,
    terminated::{Terminated, WatchId},
    watched::Watched,
};
use self::{
    incoming::Incoming,
    lanes::Lanes,
    table::{Back, Next, Number, Refused, Table},
    watchable::Party,
    watched::WatchedPlace,
    watcher::{To, Watcher},
    watchers::{Key, Tie, Who},
    wire::WatchBody,
};
#[cfg(doc)]
use crate::actor::ClusterContext;
use crate::{
    actor::{ExitReason, mailbox::Mailbox},
    cluster::routing::Route,
    node::NodeCore,
    remote_actor::RemoteActor,
};

/// How many watches and links the actors and futures of one node may have set; one more is
/// refused.
pub(crate) const LIMIT: usize = 262_144;

/// How many watches each other node may have on actors of this one: what it may have set, and what it
/// may have taken back without this node having read so.
pub(crate) const INCOMING_LIMIT: usize = LIMIT + 65_536;

/// Why a watch was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// The node's actors and futures have as many watches as they may. Take some back first, or
    /// spread the watchers over more nodes.
    TooMany {
        /// How many that is.
        limit: usize,
    },
    /// The node has shut down.
    NodeStopped,
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => write!(f, "the node has {limit} watches already"),
            Self::NodeStopped => f.write_str("the node has shut down"),
        }
    }
}

impl std::error::Error for WatchError {}

/// How many watches a node has, links among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchCounts {
    /// Those that its own actors and futures have set, wherever the targets are; those that were
    /// taken back are counted too until the target's node was told, and has ended what was a broken
    /// link. At most 262,144.
    pub set: usize,
    /// Those that other nodes have on its actors. At most 327,680 for each node.
    pub held: usize,
}

/// A node's watches: its own, and those that others have on its actors.
pub(crate) struct Watches {
    own: Mutex<Table<Watcher, Party>>,
    last: AtomicU64,
    incoming: Mutex<Incoming<Arc<dyn Watchable>>>,
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            own: Mutex::new(Table::new(LIMIT)),
            last: AtomicU64::new(0),
            incoming: Mutex::new(Incoming::new(INCOMING_LIMIT)),
        }
    }
}

impl Watches {
    pub(crate) fn counts(&self) -> WatchCounts {
        WatchCounts { set: self.own().len(), held: self.incoming().taken() }
    }

    /// The node's actors have ended: whoever still awaits an end elsewhere is told that it is not
    /// known.
    pub(crate) fn close(&self) {
        for (number, watcher) in self.own().close() {
            let _no_instance_is_left = watcher.tell(number, TerminatedReason::Unknown);
        }
    }

    /// Begins to tell `to` of a watch, if that is still wanted; returns whether it is a link.
    fn begin(&self, number: Number, to: Party) -> Option<bool> {
        self.own().begin(number, to).map(Watcher::is_link)
    }

    /// As [`begin`](Self::begin), to the other end of a session: what that is to be told.
    fn begin_there(&self, number: Number, session: &Session) -> Option<WatchBody> {
        let mut own = self.own();
        let is_link = own.begin(number, Party::There(session.clone())).map(Watcher::is_link)?;
        Some(WatchBody { is_link, lanes: own.lanes(number)? })
    }

    /// Whether a watch has neither ended nor been taken back.
    fn is_set(&self, number: Number) -> bool {
        self.own().lanes(number).is_some()
    }

    fn take_back(&self, number: Number, back: Back) -> Option<(Party, Watched)> {
        let mut own = self.own();
        own.take_back(number, back).map(|(to, watcher)| (to, watcher.target.clone()))
    }

    fn own(&self) -> MutexGuard<'_, Table<Watcher, Party>> {
        lock(&self.own)
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming<Arc<dyn Watchable>>> {
        lock(&self.incoming)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only the tables' own code runs under these locks, so a poisoned one guards a whole table.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be watched.
struct Subject {
    watched: Watched,
    /// Its mailbox, if the reference leads to one on the watcher's node.
    mailbox: Option<Arc<dyn Watchable>>,
}

/// Sets a watch or a link; `lanes` says, by its number, where its watcher gets what is sent to it.
fn set(
    core: &Arc<NodeCore>,
    subject: Subject,
    to: To,
    lanes: impl FnOnce(Number) -> Lanes,
) -> Result<Number, WatchError> {
    let Subject { watched, mailbox } = subject;
    let watches = core.watches();
    let number = watches.last.fetch_add(1, Ordering::Relaxed) + 1;
    let watcher = Watcher { target: watched.clone(), to };
    watches.own().set(number, lanes(number), watcher).map_err(|refused| match refused {
        Refused::Full => WatchError::TooMany { limit: LIMIT },
        Refused::Closed => WatchError::NodeStopped,
    })?;
    match mailbox {
        Some(mailbox) => set_here(core, number, mailbox),
        None => seek(core, number, &watched),
    }
    Ok(number)
}

/// Finds the target of a watch that waits, and ties the two; somebody else goes on with it if that
/// takes longer.
fn seek(core: &Arc<NodeCore>, number: Number, watched: &Watched) {
    let Err(route) = find_here(core, number, watched) else { return };
    remote::seek(core, number, watched, route);
}

/// Ties a watch to a target on this node, or ends it. The route to the target, if it is elsewhere.
fn find_here(core: &Arc<NodeCore>, number: Number, watched: &Watched) -> Result<(), Route> {
    let route = match &watched.place {
        WatchedPlace::Actor { node, .. } => core.route_to_node(node),
        WatchedPlace::Entity(key) => core.route_to_entity(key),
    };
    if !matches!(route, Route::Here) {
        return Err(route);
    }
    let found = match &watched.place {
        WatchedPlace::Actor { id, .. } => core.watchable_actor(watched.actor_type, *id),
        WatchedPlace::Entity(key) => core.watchable_entity(key),
    };
    match found {
        Ok(mailbox) => set_here(core, number, mailbox),
        Err(reason) => end(core, number, reason),
    }
    Ok(())
}

fn set_here(core: &Arc<NodeCore>, number: Number, mailbox: Arc<dyn Watchable>) {
    let watches = core.watches();
    let Some(is_link) = watches.begin(number, Party::Here(Arc::clone(&mailbox))) else { return };
    if let Err(reason) = mailbox.add(Tie { who: Who::Here(number), is_link }) {
        return end(core, number, reason);
    }
    let back = watches.own().sent(number).map(|(_, back)| back);
    if let Some(back) = back {
        leave_here(core, number, mailbox, back);
    }
}

/// Takes a watch or a link back: its watcher hears nothing of it any more.
fn take_back(core: &Arc<NodeCore>, number: Number, back: Back) {
    let taken = core.watches().take_back(number, back);
    match taken {
        Some((Party::Here(mailbox), _)) => leave_here(core, number, mailbox, back),
        Some((Party::There(session), target)) => {
            remote::send_unwatch(core, &session, number, &target, back);
        }
        None => {}
    }
}

fn leave_here(core: &Arc<NodeCore>, number: Number, target: Arc<dyn Watchable>, back: Back) {
    let tie = target.remove(&Key::Here(number));
    core.watches().own().untied(number);
    if let (Some(Tie { is_link: true, .. }), Back::Broken(reason)) = (tie, back) {
        fail(core, target, reason);
    }
}

/// The target of a watch has ended, and nothing of it is on its way.
fn end(core: &Arc<NodeCore>, number: Number, reason: TerminatedReason) {
    let watcher = core.watches().own().handle_end(number);
    if let Some(actor) = watcher.and_then(|watcher| watcher.tell(number, reason)) {
        fail(core, actor, reason);
    }
}

/// The target's end was told behind all that came on one lane.
fn report(
    core: &Arc<NodeCore>,
    number: Number,
    from: Option<&Party>,
    lane: u64,
    reason: TerminatedReason,
) {
    let ended = core.watches().own().handle_report(number, from, lane, reason);
    let Some((watcher, reason)) = ended else { return };
    if let Some(actor) = watcher.tell(number, reason) {
        fail(core, actor, reason);
    }
}

/// Reports ends on the lanes of their watchers, behind all that has come from other nodes so far.
fn report_in_order(
    core: &Arc<NodeCore>,
    ends: impl IntoIterator<Item = (Number, Lanes)>,
    from: Option<&Party>,
    reason: TerminatedReason,
) {
    let arbiters = core.arbiters();
    let mut batches: Vec<Vec<(Number, u64)>> = arbiters.iter().map(|_| Vec::new()).collect();
    for (number, lanes) in ends {
        for lane in lanes.hashes() {
            batches[(lane % arbiters.len() as u64) as usize].push((number, *lane));
        }
    }
    for (arbiter, batch) in arbiters.iter().zip(batches) {
        if batch.is_empty() {
            continue;
        }
        let (core, from) = (Arc::clone(core), from.cloned());
        // An arbiter that takes nothing any more has no watcher left either.
        let _ = arbiter.deliver(Box::new(move |_| {
            for (number, lane) in batch {
                report(&core, number, from.as_ref(), lane, reason);
            }
        }));
    }
}

/// Has an actor's instance fail, because one that it is linked to has; and those linked to it.
fn fail(core: &Arc<NodeCore>, actor: Arc<dyn Watchable>, reason: TerminatedReason) {
    let links = actor.fail(reason);
    tell(core, links, TerminatedReason::Linked);
}

/// Tells watchers of an actor's end.
fn tell(core: &Arc<NodeCore>, ties: Vec<Tie>, reason: TerminatedReason) {
    // A queue rather than a recursion: a chain of links may be long.
    let mut told = VecDeque::from([(ties, reason)]);
    while let Some((ties, reason)) = told.pop_front() {
        for tie in ties {
            let failing = match tie.who {
                Who::Here(number) => {
                    let watcher = core.watches().own().handle_end(number);
                    watcher.and_then(|watcher| watcher.tell(number, reason))
                }
                Who::There(remote) => {
                    remote::tell(core, &remote, tie.is_link, reason);
                    None
                }
            };
            if let Some(actor) = failing {
                told.push_back((actor.fail(reason), TerminatedReason::Linked));
            }
        }
    }
}

/// An actor has ended, and its reason is recorded: tells all its watchers.
pub(crate) fn actor_ended<A: RemoteActor>(
    core: &Arc<NodeCore>,
    mailbox: &Mailbox<A>,
    reason: &ExitReason,
) {
    tell(core, mailbox.take_watchers(), reason.into());
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
