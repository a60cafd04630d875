//! Asks that were sent to other nodes and have not ended.
//!
//! Invariant: an ask ends once, by whoever takes its entry out. An entry lives until its answer
//! comes, the session with the node that owes it ends, or its asker gives up, so the table is bounded
//! by [`LIMIT`] and by the askers' deadlines.
//! Knows no message: an answer is bytes until the asker reads it.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
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
    /// Who owes the answer.
    node: NodeId,
    /// How often it has changed hands.
    hops: u32,
    asker: Asker,
}

/// Who takes an answer.
enum Asker {
    /// Somebody who asked another node.
    Away(oneshot::Sender<Answer>),
    /// Somebody who asked this node, which has left the answer to another.
    Here(Box<dyn FnOnce(Answer) + Send>),
}

impl Asker {
    fn take(self, answer: Answer) {
        match self {
            Self::Away(asker) => drop(asker.send(answer)), // The asker may be gone.
            Self::Here(asker) => asker(answer),
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Away(_)) { "Away" } else { "Here" })
    }
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
        if !self.has_room() {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        Some((self.insert(node, Asker::Away(answer)), receiver))
    }

    /// Expects the answer to an ask of this node that `local`, this node, leaves to others: `take` is
    /// given it.
    ///
    /// # Errors
    ///
    /// The asker, when too many are expected already.
    pub(crate) fn leave<T: Send + 'static>(
        &self,
        local: &NodeId,
        asker: T,
        take: fn(T, Answer),
    ) -> Result<Correlation, T> {
        if !self.has_room() {
            return Err(asker);
        }
        Ok(self.insert(local, Asker::Here(Box::new(move |answer| take(asker, answer)))))
    }

    /// Whether there is room for one more, which is taken then.
    fn has_room(&self) -> bool {
        let has_room = self.count.fetch_add(1, Ordering::AcqRel) < self.limit;
        if !has_room {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        has_room
    }

    fn insert(&self, node: &NodeId, asker: Asker) -> Correlation {
        let correlation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let waiting = Waiting { node: node.clone(), hops: 0, asker };
        self.part(correlation).insert(correlation, waiting);
        correlation
    }

    /// The asker waits no longer. Returns who still owed the answer, if somebody did.
    pub(crate) fn forget(&self, correlation: Correlation) -> Option<NodeId> {
        self.take(correlation).map(|waiting| waiting.node)
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
            waiting.asker.take(answer);
        }
    }

    /// An answer came from somebody to whom it was left, which may be heard before it is known that it
    /// was. One that nobody expects any more is dropped.
    pub(crate) fn answer_delegated(&self, correlation: Correlation, answer: Answer) {
        if let Some(waiting) = self.take(correlation) {
            waiting.asker.take(answer);
        }
    }

    /// An answer is owed by `node` now, unless somebody has it who was given it later.
    pub(crate) fn follow(&self, correlation: Correlation, hops: u32, node: &NodeId) {
        if let Some(waiting) = self.part(correlation).get_mut(&correlation)
            && waiting.hops < hops
        {
            (waiting.hops, waiting.node) = (hops, node.clone());
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
                waiting.asker.take(Answer::Unknown(UnknownReason::NodeDown));
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
    fn an_ask_follows_whoever_owes_its_answer_last() {
        let pending = Pending::new(8);
        let (first, mut answer) = pending.expect(&node("a", 1)).expect("room");
        pending.follow(first, 2, &node("c", 1));
        pending.follow(first, 1, &node("b", 1));
        for gone in ["a", "b"] {
            pending.fail_all_of(&node(gone, 1));
            assert!(answer.try_recv().is_err(), "{gone} does not owe it");
        }
        pending.fail_all_of(&node("c", 1));
        assert_eq!(answer.try_recv(), Ok(Answer::Unknown(UnknownReason::NodeDown)));
        pending.answer_delegated(first, Answer::Reply(Bytes::new()));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn an_answer_may_come_before_it_is_known_that_it_was_left_to_another() {
        let pending = Pending::new(8);
        let (first, mut answer) = pending.expect(&node("a", 1)).expect("room");
        pending.answer_delegated(first, Answer::Reply(Bytes::from_static(b"7")));
        pending.follow(first, 1, &node("b", 1));
        assert_eq!(answer.try_recv(), Ok(Answer::Reply(Bytes::from_static(b"7"))));
        assert_eq!(pending.forget(first), None);
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
