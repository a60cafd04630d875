//! Asks of other nodes that nobody awaits any more.
//!
//! A cancel finds its ask in its handler, which is told; or on its way to its turn, and is kept until
//! that has come; or ended, and is kept for nothing. Invariant: so at most [`LIMIT`] of those are kept,
//! each for at most [`KEPT`]; what is forgotten runs as if it had not been cancelled. Without any, a
//! message pays one look at a number.
//! Knows no message and no session, but for [`send`].

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_cluster_transport::{Class, PeerId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    peer_id,
    pending::Correlation,
    routing::Route,
    wire::{Address, Head},
};
use crate::{
    actor::mailbox::wake,
    fixed_map::FixedMap,
    node::{NodeCore, NodeId},
    reference::RejectReason,
    stream,
};

/// How many cancels wait for the turns of their asks; for one more the oldest is forgotten.
pub(crate) const LIMIT: usize = 16_384;

/// How long a cancel waits for the turn of its ask.
pub(crate) const KEPT: Duration = Duration::from_secs(60);

/// An ask, by its asker's node and the number that stands for it there.
pub(crate) type AskKey = (PeerId, Correlation);

/// What a node knows of cancelled asks.
#[derive(Default)]
pub(crate) struct Cancels {
    /// How many cancels wait for the turns of their asks.
    early: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Cancels without a turn, the oldest first; those that were found have left a gap in `early`.
    order: VecDeque<(Instant, AskKey)>,
    early: FixedMap<AskKey, Instant>,
    watched: FixedMap<AskKey, Arc<Flag>>,
}

/// Says that an ask was cancelled, and for how many of its items its asker has room.
pub(crate) struct Flag {
    raised: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Closed once it is raised.
    room: Semaphore,
    /// How many items were sent.
    sent: AtomicU64,
}

impl Cancels {
    /// Nobody awaits an ask any more.
    pub(crate) fn cancel(&self, now: Instant, ask: AskKey) {
        let mut state = self.lock();
        if let Some(flag) = state.watched.get(&ask) {
            let flag = Arc::clone(flag);
            drop(state);
            return flag.raise();
        }
        state.forget_old(now);
        if state.order.len() >= LIMIT {
            state.forget_oldest();
        }
        if state.early.insert(ask.clone(), now).is_none() {
            state.order.push_back((now, ask));
        }
        self.early.store(state.early.len(), Ordering::Release);
    }

    /// A node's incarnation is over: nobody there awaits anything.
    pub(crate) fn cancel_all_of(&self, peer: &PeerId) {
        let state = self.lock();
        let theirs = state.watched.iter().filter(|((asker, _), _)| asker == peer);
        let flags: Vec<_> = theirs.map(|(_, flag)| Arc::clone(flag)).collect();
        drop(state);
        flags.iter().for_each(|flag| flag.raise());
    }

    /// The asker of an ask has room for so many more of the items that answer it.
    pub(crate) fn credit(&self, ask: &AskKey, items: u32) {
        let flag = self.lock().watched.get(ask).map(Arc::clone);
        if let Some(flag) = flag {
            flag.credit(items);
        }
    }

    /// Whether an ask whose turn has come was cancelled before.
    pub(crate) fn take(
        &self,
        now: impl FnOnce() -> Instant,
        ask: impl FnOnce() -> Option<AskKey>,
    ) -> bool {
        if self.early.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut state = self.lock();
        state.forget_old(now());
        let is_cancelled = ask().is_some_and(|ask| state.early.remove(&ask).is_some());
        self.early.store(state.early.len(), Ordering::Release);
        is_cancelled
    }

    /// Watches for the cancel of an ask whose turn has begun.
    pub(crate) fn watch(self: &Arc<Self>, ask: AskKey) -> Watch {
        let flag = Arc::new(Flag::default());
        let mut state = self.lock();
        if state.early.remove(&ask).is_some() {
            flag.raised.store(true, Ordering::Release);
            flag.room.close();
        }
        state.watched.insert(ask.clone(), Arc::clone(&flag));
        drop(state);
        Watch { cancels: Arc::clone(self), ask, flag }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only operations on maps and queues run under this lock, so a poisoned one guards whole ones.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= KEPT) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, ask)) = self.order.pop_front() else { return };
        if self.early.get(&ask) == Some(&at) {
            self.early.remove(&ask);
        }
    }
}

/// Watches for the cancel of one ask.
pub(crate) struct Watch {
    cancels: Arc<Cancels>,
    ask: AskKey,
    flag: Arc<Flag>,
}

impl Watch {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.flag.is_raised()
    }

    pub(crate) fn flag(&self) -> Arc<Flag> {
        Arc::clone(&self.flag)
    }

    /// Ready once it is cancelled.
    pub(crate) fn poll_cancelled(&self, task: &mut Context<'_>) -> Poll<()> {
        {
            let mut waker = self.flag.lock();
            match &mut *waker {
                Some(kept) => kept.clone_from(task.waker()),
                None => *waker = Some(task.waker().clone()),
            }
        }
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Watch {
    /// The ask has ended: an item that somebody still has for it goes nowhere.
    fn drop(&mut self) {
        self.flag.raised.store(true, Ordering::Release);
        self.flag.room.close();
        let mut state = self.cancels.lock();
        let is_its_own =
            state.watched.get(&self.ask).is_some_and(|flag| Arc::ptr_eq(flag, &self.flag));
        if is_its_own {
            state.watched.remove(&self.ask);
        }
    }
}

impl Flag {
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// There is room for so many more items, up to the limit of a window: who grants more does so in
    /// vain.
    pub(crate) fn credit(&self, items: u32) {
        let most = (stream::WINDOW_LIMIT as usize).saturating_sub(self.room.available_permits());
        self.room.add_permits(most.min(items as usize));
    }

    /// How many items were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    pub(crate) fn note_sent(&self) {
        self.sent.fetch_add(1, Ordering::AcqRel);
    }

    /// Waits for room for one item; `None` once nobody awaits any.
    pub(crate) async fn room(&self) -> Option<SemaphorePermit<'_>> {
        self.room.acquire().await.ok()
    }

    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.room.close();
        let waker = self.lock().take();
        wake(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the node that owes the answer of an ask on this target that nobody awaits it. Best effort: if
/// there is no way to that node now, the ask runs until its deadline.
pub(crate) fn send(core: &NodeCore, node: &NodeId, target: u64, correlation: Correlation) {
    let Some(cluster) = core.cluster() else { return };
    if node == core.id() {
        if let Some(own) = peer_id(node) {
            cluster.cancels.cancel(core.clock().now(), (own, correlation));
        }
        return;
    }
    let Route::There(peer) = core.route_to_node(node) else { return };
    peer.session.cancel(correlation, RejectReason::Cancelled as u8);
    // As an answer: it takes the target's lane, never waits behind a target that is full, and is short
    // enough to have room always, whatever the target is called.
    let to = Address::Actor { actor_type: 0, id: 0 };
    let cancel = Head::Cancel { to, correlation }.put(Vec::new());
    let _ = peer.session.try_send(Class::Answer, target, 0, &cancel);
}

impl Default for Flag {
    fn default() -> Self {
        let (raised, waker) = (AtomicBool::new(false), Mutex::default());
        Self { raised, waker, room: Semaphore::const_new(0), sent: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Cancels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancels").field("early", &self.early).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(correlation: Correlation) -> AskKey {
        (PeerId { name: "a".parse().expect("a name"), incarnation: 1 }, correlation)
    }

    fn now() -> Instant {
        actix_cluster_transport::Clock::default().now()
    }

    fn is_cancelled(cancels: &Cancels, now: Instant, correlation: Correlation) -> bool {
        cancels.take(|| now, || Some(ask(correlation)))
    }

    #[test]
    fn a_cancel_waits_for_the_turn_of_its_ask_and_is_used_once() {
        let (cancels, now) = (Cancels::default(), now());
        assert!(!is_cancelled(&cancels, now, 1));
        cancels.cancel(now, ask(1));
        assert!(!is_cancelled(&cancels, now, 2));
        assert!(is_cancelled(&cancels, now, 1));
        assert!(!is_cancelled(&cancels, now, 1));
        cancels.cancel(now, ask(1));
        let other = PeerId { incarnation: 2, ..ask(1).0 };
        assert!(!cancels.take(|| now, || Some((other, 1))), "of another run of the node");
    }

    #[test]
    fn a_cancel_finds_the_handler_of_its_ask() {
        let (cancels, now) = (Arc::new(Cancels::default()), now());
        let watch = cancels.watch(ask(1));
        let mut task = Context::from_waker(Waker::noop());
        assert!(watch.poll_cancelled(&mut task).is_pending());
        cancels.cancel(now, ask(2));
        assert!(!watch.is_cancelled());
        cancels.cancel(now, ask(1));
        assert!(watch.poll_cancelled(&mut task).is_ready());
        assert!(cancels.watch(ask(2)).is_cancelled(), "it came between");
        drop(watch);
        assert!(cancels.lock().watched.is_empty());
        assert_eq!(cancels.lock().early.len(), 0, "a cancel that was heard is not kept");
    }

    #[test]
    fn the_end_of_an_askers_node_cancels_its_asks_and_no_others() {
        let cancels = Arc::new(Cancels::default());
        let other = (PeerId { incarnation: 2, ..ask(1).0 }, 1);
        let (gone, stays) = (cancels.watch(ask(1)), cancels.watch(other));
        cancels.cancel_all_of(&ask(1).0);
        assert!(gone.is_cancelled() && !stays.is_cancelled());
    }

    #[test]
    fn room_for_items_is_granted_within_a_windows_limit_and_ends_with_the_ask() {
        let cancels = Arc::new(Cancels::default());
        let watch = cancels.watch(ask(1));
        let flag = watch.flag();
        let mut room = Box::pin(flag.room());
        let mut task = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut task).is_pending());
        cancels.credit(&ask(2), 1);
        assert!(room.as_mut().poll(&mut task).is_pending(), "of another ask");
        cancels.credit(&ask(1), 1);
        assert!(matches!(room.as_mut().poll(&mut task), Poll::Ready(Some(_))));
        cancels.credit(&ask(1), u32::MAX);
        // One is taken and comes back, beyond the limit.
        let taken = flag.room.try_acquire().expect("room");
        cancels.credit(&ask(1), u32::MAX);
        drop(taken);
        cancels.credit(&ask(1), u32::MAX);
        assert_eq!(flag.room.available_permits(), stream::WINDOW_LIMIT as usize + 1);
        drop(flag.room.try_acquire().map(|permit| permit.forget()));
        assert_eq!(flag.room.available_permits(), stream::WINDOW_LIMIT as usize);
        cancels.cancel(now(), ask(1));
        let mut room = Box::pin(flag.room());
        assert!(matches!(room.as_mut().poll(&mut task), Poll::Ready(None)));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_time() {
        let (cancels, now) = (Cancels::default(), now());
        for correlation in 0..=LIMIT as u64 {
            cancels.cancel(now, ask(correlation));
        }
        assert!(!is_cancelled(&cancels, now, 0), "the oldest was forgotten");
        assert!(is_cancelled(&cancels, now, 1));
        for _ in 0..2 * LIMIT {
            cancels.cancel(now, ask(7));
            assert!(is_cancelled(&cancels, now, 7));
        }
        assert!(cancels.lock().order.len() <= LIMIT);
        let cancels = Cancels::default();
        cancels.cancel(now, ask(1));
        cancels.cancel(now, ask(2));
        assert!(is_cancelled(&cancels, now + KEPT - Duration::from_millis(1), 1));
        assert!(!is_cancelled(&cancels, now + KEPT, 2), "it has waited for too long");
        assert_eq!(cancels.early.load(Ordering::Acquire), 0);
    }
}
