//! Asks that were sent to other nodes and have not ended.
//!
//! Invariant: an ask ends once, by whoever takes its entry out. An entry lives until its answer
//! comes, its session ends, or its asker gives up, so the table is bounded by [`LIMIT`] and by the
//! askers' deadlines.
//! Knows no message: an answer is bytes until the asker reads it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use actix_cluster_transport::PeerId;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    fixed_map::FixedMap,
    node::NodeId,
    reference::{RejectReason, UnknownReason},
};

/// How many asks of one node may await other nodes; one more is rejected as
/// [`RejectReason::Full`].
pub(crate) const LIMIT: usize = 262_144;

/// How many parts the table has, so that threads seldom meet at one lock.
const PARTS: u64 = 16;

/// How an ask to another node ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The handler's result, to be decoded.
    Reply(Bytes),
    /// It did not run.
    Rejected(RejectReason),
    /// It may have run.
    Unknown(UnknownReason),
}

/// What stands for an ask on the wire; never 0, which stands for a tell.
pub(crate) type Correlation = u64;

#[derive(Debug)]
pub(crate) struct Pending {
    parts: Box<[Mutex<FixedMap<Correlation, Waiting>>]>,
    count: AtomicUsize,
    last: AtomicU64,
    limit: usize,
}

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    answer: oneshot::Sender<Answer>,
}

impl Pending {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            limit,
        }
    }

    /// Expects an answer from a node. `None` when too many are expected already.
    pub(crate) fn expect(&self, node: &NodeId) -> Option<(Correlation, oneshot::Receiver<Answer>)> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= self.limit {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let correlation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, receiver) = oneshot::channel();
        self.part(correlation).insert(correlation, Waiting { node: node.clone(), answer });
        Some((correlation, receiver))
    }

    /// The asker waits no longer.
    pub(crate) fn forget(&self, correlation: Correlation) {
        drop(self.take(correlation));
    }

    /// An answer came from a peer. One that nobody expects any more, or expects of another node, is
    /// dropped.
    pub(crate) fn answer(&self, from: &PeerId, correlation: Correlation, answer: Answer) {
        let mut part = self.part(correlation);
        let is_expected = part.get(&correlation).is_some_and(|waiting| {
            *waiting.node.name == *from.name.as_str()
                && waiting.node.incarnation == from.incarnation
        });
        let waiting = if is_expected { part.remove(&correlation) } else { None };
        drop(part);
        if let Some(waiting) = waiting {
            self.count.fetch_sub(1, Ordering::AcqRel);
            let _asker_may_be_gone = waiting.answer.send(answer);
        }
    }

    /// A node's incarnation is over: all that it still owed an answer may have run.
    pub(crate) fn fail_all_of(&self, node: &NodeId) {
        for part in &self.parts {
            let mut part = lock(part);
            let ended: Vec<Waiting> =
                part.extract_if(|_, waiting| waiting.node == *node).map(|(_, w)| w).collect();
            drop(part);
            self.count.fetch_sub(ended.len(), Ordering::AcqRel);
            for waiting in ended {
                let _ = waiting.answer.send(Answer::Unknown(UnknownReason::NodeDown));
            }
        }
    }

    /// How many answers are expected.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn take(&self, correlation: Correlation) -> Option<Waiting> {
        let waiting = self.part(correlation).remove(&correlation)?;
        self.count.fetch_sub(1, Ordering::AcqRel);
        Some(waiting)
    }

    fn part(&self, correlation: Correlation) -> MutexGuard<'_, FixedMap<Correlation, Waiting>> {
        lock(&self.parts[(correlation % PARTS) as usize])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only map operations run under these locks, so a poisoned one guards a whole map.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, incarnation: u64) -> NodeId {
        NodeId { name: name.into(), incarnation }
    }

    fn peer(name: &str, incarnation: u64) -> PeerId {
        PeerId { name: name.parse().expect("a name"), incarnation }
    }

    #[test]
    fn an_ask_ends_once() {
        let pending = Pending::new(8);
        let (first, mut answer) = pending.expect(&node("a", 1)).expect("room");
        for other in [peer("b", 1), peer("a", 2)] {
            pending.answer(&other, first, Answer::Unknown(UnknownReason::BadReply));
        }
        pending.answer(&peer("a", 1), first, Answer::Rejected(RejectReason::Moved));
        pending.answer(&peer("a", 1), first, Answer::Unknown(UnknownReason::NoReply));
        pending.fail_all_of(&node("a", 1));
        assert_eq!(answer.try_recv(), Ok(Answer::Rejected(RejectReason::Moved)));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn the_end_of_an_incarnation_ends_its_asks_and_no_others() {
        let pending = Pending::new(8);
        let (_, mut gone) = pending.expect(&node("a", 1)).expect("room");
        let (_, mut later_run) = pending.expect(&node("a", 2)).expect("room");
        let (_, mut other) = pending.expect(&node("b", 1)).expect("room");
        pending.fail_all_of(&node("a", 1));
        assert_eq!(gone.try_recv(), Ok(Answer::Unknown(UnknownReason::NodeDown)));
        assert!(later_run.try_recv().is_err() && other.try_recv().is_err());
        assert_eq!(pending.len(), 2);
    }

    #[test]
    fn the_table_is_bounded() {
        let pending = Pending::new(2);
        let (first, _answer) = pending.expect(&node("a", 1)).expect("room");
        let _second = pending.expect(&node("a", 1)).expect("room");
        assert!(pending.expect(&node("a", 1)).is_none());
        pending.forget(first);
        assert!(pending.expect(&node("a", 1)).is_some());
    }
}
