//! Asks that were sent to other nodes and have not ended.
//!
//! Invariant: an ask ends once, by whoever takes its entry out. An entry lives until its answer
//! comes, the session with the node that owes it ends, or its asker gives up, so the table is bounded
//! by [`LIMIT`] and by the askers' deadlines.
//! Knows no message: an answer is bytes until the asker reads it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
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
    stream::intake::Intake,
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

struct Waiting {
    /// Who owes the answer.
    node: NodeId,
    /// How often it has changed hands.
    hops: u32,
    asker: Asker,
    /// What is to come before the answer, if anything is.
    items: Option<Box<Coming>>,
}

/// The items of an ask.
struct Coming {
    intake: Arc<dyn Intake>,
    /// The answer, which has overtaken some of so many items.
    answer: Option<(u64, Answer)>,
}

/// Who takes an answer.
enum Asker {
    /// Somebody who asked another node.
    Away(oneshot::Sender<Answer>),
    /// Somebody who asked this node, which has left the answer to another.
    Here(Box<dyn FnOnce(Answer) + Send>),
}

impl Waiting {
    fn is_of(&self, peer: &PeerId) -> bool {
        *self.node.name == *peer.name.as_str() && self.node.incarnation == peer.incarnation
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, hops, asker, .. } = self;
        f.debug_struct("Waiting")
            .field("node", node)
            .field("hops", hops)
            .field("asker", asker)
            .finish_non_exhaustive()
    }
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

    /// Expects an answer from a node, and items before it if there is somewhere for them to arrive.
    /// `None` when too many are expected already.
    pub(crate) fn expect(
        &self,
        node: &NodeId,
        items: Option<Arc<dyn Intake>>,
    ) -> Option<(Correlation, oneshot::Receiver<Answer>)> {
        if !self.has_room() {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        Some((self.insert(node, Asker::Away(answer), items), receiver))
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
        Ok(self.insert(local, Asker::Here(Box::new(move |answer| take(asker, answer))), None))
    }

    /// Whether there is room for one more, which is taken then.
    fn has_room(&self) -> bool {
        let has_room = self.count.fetch_add(1, Ordering::AcqRel) < self.limit;
        if !has_room {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        has_room
    }

    fn insert(&self, node: &NodeId, asker: Asker, items: Option<Arc<dyn Intake>>) -> Correlation {
        let items = items.map(|intake| Box::new(Coming { intake, answer: None }));
        let correlation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let waiting = Waiting { node: node.clone(), hops: 0, asker, items };
        self.part(correlation).insert(correlation, waiting);
        correlation
    }

    /// The asker waits no longer. Returns who still owed the answer, if somebody did.
    pub(crate) fn forget(&self, correlation: Correlation) -> Option<NodeId> {
        self.take(correlation).map(|waiting| waiting.node)
    }

    /// Who owes the answer, if it is expected still.
    pub(crate) fn owed_by(&self, correlation: Correlation) -> Option<NodeId> {
        self.part(correlation).get(&correlation).map(|waiting| waiting.node.clone())
    }

    /// Whether items are to come before the answer.
    pub(crate) fn has_items(&self, correlation: Correlation) -> bool {
        self.part(correlation).get(&correlation).is_some_and(|waiting| waiting.items.is_some())
    }

    /// An item came from a peer. One that nobody expects, or expects of another node, is dropped; one
    /// for which there is no room, since the peer sends more than it may, ends the ask.
    pub(crate) fn item(&self, from: &PeerId, correlation: Correlation, number: u64, item: Bytes) {
        let mut part = self.part(correlation);
        let Some(coming) = coming_of(&mut part, from, correlation) else { return };
        let intake = Arc::clone(&coming.intake);
        // It wakes whoever reads. The items of a peer come one after the other, so nobody is between.
        drop(part);
        if !intake.take(number, item) {
            let answer = Answer::Unknown(UnknownReason::BadReply);
            return self.answer(from, correlation, answer);
        }
        let mut part = self.part(correlation);
        let coming = coming_of(&mut part, from, correlation);
        let is_last = |(items, _): &mut (u64, Answer)| !intake.lacks(*items);
        let overtaken = coming.and_then(|coming| coming.answer.take_if(is_last));
        drop(part);
        if let Some((_, answer)) = overtaken {
            self.answer(from, correlation, answer);
        }
    }

    /// An answer came from a peer, which counts once so many items have come.
    pub(crate) fn answer_after(
        &self,
        from: &PeerId,
        correlation: Correlation,
        items: u64,
        answer: Answer,
    ) {
        let mut part = self.part(correlation);
        if let Some(coming) = coming_of(&mut part, from, correlation)
            && coming.intake.lacks(items)
        {
            coming.answer = Some((items, answer));
            return;
        }
        drop(part);
        self.answer(from, correlation, answer);
    }

    /// An answer came from a peer. One that nobody expects any more, or expects of another node, is
    /// dropped.
    pub(crate) fn answer(&self, from: &PeerId, correlation: Correlation, answer: Answer) {
        let mut part = self.part(correlation);
        let is_expected = part.get(&correlation).is_some_and(|waiting| waiting.is_of(from));
        let waiting = if is_expected { part.remove(&correlation) } else { None };
        drop(part);
        if let Some(waiting) = waiting {
            self.count.fetch_sub(1, Ordering::AcqRel);
            waiting.asker.take(answer);
        }
    }

    /// An answer came from somebody to whom it was left, which may be heard before it is known that it
    /// was. One that nobody expects any more is dropped. Returns whether somebody did.
    pub(crate) fn answer_delegated(&self, correlation: Correlation, answer: Answer) -> bool {
        let Some(waiting) = self.take(correlation) else { return false };
        waiting.asker.take(answer);
        true
    }

    /// An answer is owed by `node` now, unless somebody has it who was given it later.
    pub(crate) fn follow(&self, correlation: Correlation, hops: u32, node: &NodeId) {
        if let Some(waiting) = self.part(correlation).get_mut(&correlation)
            && waiting.hops < hops
        {
            (waiting.hops, waiting.node) = (hops, node.clone());
        }
    }

    /// A message of this node came back, or is sent on: `node` owes its answer now.
    pub(crate) fn owe(&self, correlation: Correlation, node: &NodeId) {
        if let Some(waiting) = self.part(correlation).get_mut(&correlation) {
            waiting.node.clone_from(node);
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

/// What is to come from a peer before the answer of an ask, if it owes one.
fn coming_of<'a>(
    part: &'a mut FixedMap<Correlation, Waiting>,
    from: &PeerId,
    correlation: Correlation,
) -> Option<&'a mut Coming> {
    let waiting = part.get_mut(&correlation).filter(|waiting| waiting.is_of(from))?;
    waiting.items.as_deref_mut()
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
        let (first, mut answer) = pending.expect(&node("a", 1), None).expect("room");
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
        let (_, mut gone) = pending.expect(&node("a", 1), None).expect("room");
        let (_, mut later_run) = pending.expect(&node("a", 2), None).expect("room");
        let (_, mut other) = pending.expect(&node("b", 1), None).expect("room");
        pending.fail_all_of(&node("a", 1));
        assert_eq!(gone.try_recv(), Ok(Answer::Unknown(UnknownReason::NodeDown)));
        assert!(later_run.try_recv().is_err() && other.try_recv().is_err());
        assert_eq!(pending.len(), 2);
    }

    #[test]
    fn an_ask_follows_whoever_owes_its_answer_last() {
        let pending = Pending::new(8);
        let (first, mut answer) = pending.expect(&node("a", 1), None).expect("room");
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
        let (first, mut answer) = pending.expect(&node("a", 1), None).expect("room");
        pending.answer_delegated(first, Answer::Reply(Bytes::from_static(b"7")));
        pending.follow(first, 1, &node("b", 1));
        assert_eq!(answer.try_recv(), Ok(Answer::Reply(Bytes::from_static(b"7"))));
        assert_eq!(pending.forget(first), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let pending = Pending::new(2);
        let (first, _answer) = pending.expect(&node("a", 1), None).expect("room");
        let _second = pending.expect(&node("a", 1), None).expect("room");
        assert!(pending.expect(&node("a", 1), None).is_none());
        pending.forget(first);
        assert!(pending.expect(&node("a", 1), None).is_some());
    }

    type Items = tokio::sync::mpsc::Receiver<crate::stream::intake::Arrived<u8>>;

    fn a_stream(pending: &Pending) -> (Correlation, oneshot::Receiver<Answer>, Items) {
        let (sender, items) = tokio::sync::mpsc::channel(2);
        let inlet = Arc::new(crate::stream::intake::Inlet::<u8>::new(sender));
        let (ask, answer) = pending.expect(&node("a", 1), Some(inlet)).expect("room");
        (ask, answer, items)
    }

    #[test]
    fn items_come_from_who_owes_the_answer_and_too_many_end_the_ask() {
        let pending = Pending::new(8);
        let (ask, mut answer, mut items) = a_stream(&pending);
        for other in [peer("b", 1), peer("a", 2)] {
            pending.item(&other, ask, 0, Bytes::new());
        }
        assert!(items.try_recv().is_err());
        assert_eq!(pending.owed_by(ask), Some(node("a", 1)));
        pending.item(&peer("a", 1), ask, 0, Bytes::new());
        pending.item(&peer("a", 1), ask, 1, Bytes::new());
        assert!(answer.try_recv().is_err());
        pending.item(&peer("a", 1), ask, 2, Bytes::new());
        assert_eq!(answer.try_recv(), Ok(Answer::Unknown(UnknownReason::BadReply)));
        assert!(items.try_recv().is_ok() && items.try_recv().is_ok() && items.try_recv().is_err());
        assert_eq!(pending.owed_by(ask), None);
    }

    #[test]
    fn a_reply_waits_for_the_items_that_it_has_overtaken() {
        let pending = Pending::new(8);
        let (ask, mut answer, _items) = a_stream(&pending);
        let reply = || Answer::Reply(Bytes::from_static(b"7"));
        pending.item(&peer("a", 1), ask, 1, Bytes::new());
        pending.answer_after(&peer("a", 1), ask, 2, reply());
        assert!(answer.try_recv().is_err());
        pending.item(&peer("a", 1), ask, 0, Bytes::new());
        assert_eq!(answer.try_recv(), Ok(reply()));
        let (ask, mut answer, _items) = a_stream(&pending);
        pending.answer_after(&peer("a", 1), ask, 1, reply());
        pending.fail_all_of(&node("a", 1));
        assert_eq!(answer.try_recv(), Ok(Answer::Unknown(UnknownReason::NodeDown)));
    }
}
