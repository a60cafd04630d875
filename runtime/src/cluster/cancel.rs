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
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_cluster_transport::{Class, PeerId};

use super::{peer_id, pending::Correlation, routing::Route};
use crate::{
    actor::mailbox::wake,
    fixed_map::FixedMap,
    node::{NodeCore, NodeId},
    reference::RejectReason,
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

/// Says that an ask was cancelled.
#[derive(Default)]
struct Flag {
    raised: AtomicBool,
    waker: Mutex<Option<Waker>>,
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

    /// Whether an ask whose turn has come was cancelled before.
    pub(crate) fn take(&self, now: impl FnOnce() -> Instant, ask: impl FnOnce() -> AskKey) -> bool {
        if self.early.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut state = self.lock();
        state.forget_old(now());
        let is_cancelled = state.early.remove(&ask()).is_some();
        self.early.store(state.early.len(), Ordering::Release);
        is_cancelled
    }

    /// Watches for the cancel of an ask whose turn has begun.
    pub(crate) fn watch(self: &Arc<Self>, ask: AskKey) -> Watch {
        let flag = Arc::new(Flag::default());
        let mut state = self.lock();
        if state.early.remove(&ask).is_some() {
            flag.raised.store(true, Ordering::Release);
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
        self.flag.raised.load(Ordering::Acquire)
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
    fn drop(&mut self) {
        let mut state = self.cancels.lock();
        let is_its_own =
            state.watched.get(&self.ask).is_some_and(|flag| Arc::ptr_eq(flag, &self.flag));
        if is_its_own {
            state.watched.remove(&self.ask);
        }
    }
}

impl Flag {
    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        let waker = self.lock().take();
        wake(waker);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the node that owes the answer of an ask that nobody awaits it. Best effort: if it can't be
/// told now, the ask runs until its deadline. `cancel` is the payload that tells it.
pub(crate) fn send(
    core: &NodeCore,
    node: &NodeId,
    target: u64,
    correlation: Correlation,
    cancel: &[u8],
) {
    let Some(cluster) = core.cluster() else { return };
    if node == core.id() {
        if let Some(own) = peer_id(node) {
            cluster.cancels.cancel(core.clock().now(), (own, correlation));
        }
        return;
    }
    let Route::There(peer) = core.route_to_node(node) else { return };
    peer.session.cancel(correlation, RejectReason::Cancelled as u8);
    // As an answer: it takes the target's lane, and never waits behind a target that is full.
    let _ = peer.session.try_send(Class::Answer, target, 0, cancel);
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
        cancels.take(|| now, || ask(correlation))
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
        assert!(!cancels.take(|| now, || (other, 1)), "of another run of the node");
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
