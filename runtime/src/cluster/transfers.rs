//! What entities leave behind when they are handed over, until their next activation takes it.
//!
//! Invariant: of a key there is one parcel at most. What was sent to another node is kept until that has
//! said that it has it, and is sent to nobody else before; so while nobody dies it is never on two nodes
//! of which either may open it.
//! Knows no session: the cluster's thread sends, and is told what is to be sent.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{pending::Answer, placement::Shard};
use crate::{
    fixed_map::FixedMap,
    message::WireId,
    node::{EntityKey, NodeId},
    reference::RejectReason,
};

/// How many parcels of other nodes wait on one at most; one more is refused, and offered again.
pub(crate) const LIMIT: usize = 65_536;

/// How many bytes they have at most.
pub(crate) const BYTES_LIMIT: usize = 256 * 1024 * 1024;

/// What one entity leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// Its state, and the version of that, if it goes along.
    pub(crate) state: Option<(WireId, Bytes)>,
    /// What it remembers of its asks, as bytes; empty for nothing.
    pub(crate) repeats: Bytes,
}

/// A parcel as it travels, behind a head with the version of the state, or 0. Frozen.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    state: &'a [u8],
    repeats: &'a [u8],
}

impl Parcel {
    fn len(&self) -> usize {
        self.state.as_ref().map_or(0, |(_, state)| state.len()) + self.repeats.len()
    }

    /// The version of its state as a number, 0 for none.
    pub(crate) fn version(&self) -> u64 {
        self.state.as_ref().map_or(0, |(WireId(version), _)| *version)
    }

    /// Appends its body to `out`.
    pub(crate) fn put(&self, out: Vec<u8>) -> Vec<u8> {
        let state = self.state.as_ref().map_or(&[][..], |(_, state)| state);
        let body = Body { state, repeats: &self.repeats };
        postcard::to_extend(&body, out).expect("it has no value that serde refuses")
    }

    /// Reads a body that came with this version; `None` if it is none.
    pub(crate) fn read(version: u64, bytes: &Bytes) -> Option<Self> {
        let (Body { state, repeats }, []) = postcard::take_from_bytes(bytes).ok()? else {
            return None;
        };
        if version == 0 && !state.is_empty() {
            return None;
        }
        // Copied, so that what is counted is all that is kept.
        let state = (version != 0).then(|| (WireId(version), Bytes::copy_from_slice(state)));
        Some(Self { state, repeats: Bytes::copy_from_slice(repeats) })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Transfers {
    waiting: Mutex<Waiting>,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Waiting {
    shards: BTreeMap<Shard, FixedMap<EntityKey, Kept>>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    parcel: Parcel,
    /// The node that it came from, if another one's activation has left it.
    from: Option<NodeId>,
    /// The node that it was sent to, and where its answer comes.
    sent: Option<(NodeId, oneshot::Receiver<Answer>)>,
    /// Whether its entity was to be activated with it.
    is_called: bool,
}

/// What has become of the parcels of a shard.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The nodes that have some now, and by which version of their holdings.
    pub(crate) arrived: Vec<(NodeId, u64)>,
    /// Those of which nothing is known yet.
    pub(crate) under_way: usize,
    /// Whether a node wants none of some, whenever it is asked.
    pub(crate) is_refused: bool,
    /// Those that are to be sent.
    pub(crate) unsent: Vec<(EntityKey, Parcel)>,
}

impl Transfers {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Keeps what an entity of this node has left behind: as many as there were entities, however many.
    pub(crate) fn put(&self, key: EntityKey, parcel: Parcel) {
        self.insert(&mut self.lock(), key, parcel, None);
    }

    /// Keeps what came from another node.
    ///
    /// # Errors
    ///
    /// *Full*: not now. *Moved*: never, since of two activations of one key the other's is here already.
    pub(crate) fn install(
        &self,
        from: NodeId,
        key: EntityKey,
        parcel: Parcel,
    ) -> Result<(), RejectReason> {
        let mut waiting = self.lock();
        let known = waiting.shards.get(&key.shard()).and_then(|shard| shard.get(&key));
        match known {
            Some(kept) if kept.sent.is_some() => return Err(RejectReason::Full),
            Some(kept) if kept.from.as_ref() != Some(&from) => return Err(RejectReason::Moved),
            Some(_) | None => {}
        }
        let has_room = self.count.load(Ordering::Acquire) < LIMIT
            && waiting.bytes.saturating_add(parcel.len()) <= BYTES_LIMIT;
        if !has_room {
            return Err(RejectReason::Full);
        }
        self.insert(&mut waiting, key, parcel, Some(from));
        Ok(())
    }

    fn insert(&self, waiting: &mut Waiting, key: EntityKey, parcel: Parcel, from: Option<NodeId>) {
        waiting.bytes += parcel.len();
        let kept = Kept { parcel, from, sent: None, is_called: false };
        match waiting.shards.entry(key.shard()).or_default().insert(key, kept) {
            Some(former) => waiting.bytes -= former.parcel.len(),
            None => drop(self.count.fetch_add(1, Ordering::AcqRel)),
        }
    }

    /// Gives what waits for the next activation of an entity.
    pub(crate) fn take(&self, key: &EntityKey) -> Option<Parcel> {
        if self.is_empty() {
            return None;
        }
        let mut waiting = self.lock();
        let shard = waiting.shards.get_mut(&key.shard())?;
        let kept = shard.remove(key)?;
        if shard.is_empty() {
            waiting.shards.remove(&key.shard());
        }
        self.forget(&mut waiting, &kept);
        Some(kept.parcel)
    }

    fn forget(&self, waiting: &mut Waiting, kept: &Kept) {
        waiting.bytes -= kept.parcel.len();
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether anything waits for entities in a shard.
    pub(crate) fn has_in(&self, shard: Shard) -> bool {
        !self.is_empty() && self.lock().shards.contains_key(&shard)
    }

    /// Looks at those of a shard that are of the types that `is_meant`. What has arrived is forgotten.
    pub(crate) fn look(&self, shard: Shard, is_meant: impl Fn(WireId) -> bool) -> Looked {
        let mut looked = Looked::default();
        if self.is_empty() {
            return looked;
        }
        let mut waiting = self.lock();
        let Some(mut kept) = waiting.shards.remove(&shard) else { return looked };
        let arrived: Vec<Kept> = kept
            .extract_if(|key, kept| is_meant(key.actor_type()) && looked.note(key, kept))
            .map(|(_, kept)| kept)
            .collect();
        arrived.iter().for_each(|kept| self.forget(&mut waiting, kept));
        if !kept.is_empty() {
            waiting.shards.insert(shard, kept);
        }
        looked
    }

    /// One was sent to a node, which answers there.
    pub(crate) fn sent(&self, key: &EntityKey, to: NodeId, answer: oneshot::Receiver<Answer>) {
        let mut waiting = self.lock();
        let shard = waiting.shards.get_mut(&key.shard());
        if let Some(kept) = shard.and_then(|shard| shard.get_mut(key)) {
            kept.sent = Some((to, answer));
        }
    }

    /// Forgets those of a shard that are of the types that `is_meant`. Returns how many there were.
    pub(crate) fn discard(&self, shard: Shard, is_meant: impl Fn(WireId) -> bool) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut waiting = self.lock();
        let Some(mut kept) = waiting.shards.remove(&shard) else { return 0 };
        let gone: Vec<_> = kept.extract_if(|key, _| is_meant(key.actor_type())).collect();
        gone.iter().for_each(|(_, kept)| self.forget(&mut waiting, kept));
        if !kept.is_empty() {
            waiting.shards.insert(shard, kept);
        }
        gone.len()
    }

    /// Those whose entities are to be activated, once each.
    pub(crate) fn call(&self, is_here: impl Fn(&EntityKey) -> bool) -> Vec<EntityKey> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut waiting = self.lock();
        let all = waiting.shards.values_mut().flatten();
        let called = all.filter(|(key, kept)| !kept.is_called && is_here(key));
        let call = |(key, kept): (&EntityKey, &mut Kept)| {
            kept.is_called = true;
            key.clone()
        };
        called.map(call).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Only this file's own code runs under this lock, and a parcel is put and taken in one step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looked {
    /// Notes what has become of one. Returns whether it has arrived, or is of no use any more.
    fn note(&mut self, key: &EntityKey, kept: &mut Kept) -> bool {
        use RejectReason::{Mismatch, Moved, NoSuchActor};
        let answer = kept.sent.as_mut().map(|(to, answer)| (to, answer.try_recv()));
        match answer.map(|(to, answer)| answer.map(|answer| (to, answer))) {
            Some(Ok((to, Answer::Reply(version)))) => {
                // A peer that says nothing has said it before.
                let version = postcard::from_bytes(&version).unwrap_or(0);
                self.arrived.push((to.clone(), version));
                return true;
            }
            Some(Err(TryRecvError::Empty)) => {
                self.under_way += 1;
                return false;
            }
            Some(Ok((_, Answer::Rejected(Moved)))) => {
                tracing::warn!(
                    ?key,
                    "a node has opened a shard before the state of an entity came"
                );
                return true;
            }
            Some(Ok((_, Answer::Rejected(Mismatch | NoSuchActor)))) => {
                // What it remembers of its asks alone is not worth to keep it from moving.
                if kept.parcel.state.is_none() {
                    return true;
                }
                self.is_refused = true;
            }
            // Not now; or its node is gone, and with it what it had.
            Some(Ok(_) | Err(TryRecvError::Closed)) | None => {}
        }
        kept.sent = None;
        self.unsent.push((key.clone(), kept.parcel.clone()));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::UnknownReason;

    fn parcel(bytes: usize) -> Parcel {
        let (state, repeats) = (vec![7; bytes / 2].into(), vec![8; bytes - bytes / 2].into());
        Parcel { state: Some((WireId(1), state)), repeats }
    }

    #[test]
    fn a_body_has_golden_bytes_and_is_read_as_it_was_written() {
        let parcel = Parcel {
            state: Some((WireId(9), Bytes::from_static(b"st"))),
            repeats: Bytes::from_static(b"r"),
        };
        let bytes = Bytes::from(parcel.put(Vec::new()));
        assert_eq!(bytes, b"\x02st\x01r"[..]);
        assert_eq!(Parcel::read(parcel.version(), &bytes), Some(parcel));
        let without = Parcel { state: None, repeats: Bytes::from_static(b"r") };
        let bytes = Bytes::from(without.put(Vec::new()));
        assert_eq!(Parcel::read(without.version(), &bytes), Some(without));
        assert_eq!(Parcel::read(9, &bytes.slice(..1)), None);
        assert_eq!(Parcel::read(9, &Bytes::from_static(b"\x00\x01r!")), None, "more than that");
        assert_eq!(Parcel::read(0, &Bytes::from_static(b"\x01s\x01r")), None, "a state of none");
    }

    fn node() -> NodeId {
        NodeId { name: "n2".into(), incarnation: 1 }
    }

    fn install(transfers: &Transfers, key: &str, bytes: usize) -> Result<(), RejectReason> {
        transfers.install(node(), EntityKey::for_tests(key), parcel(bytes))
    }

    fn look(transfers: &Transfers, key: &EntityKey) -> Looked {
        transfers.look(key.shard(), |_| true)
    }

    #[test]
    fn a_parcel_waits_for_its_entity_and_there_is_one() {
        let (transfers, key) = (Transfers::default(), EntityKey::for_tests("k"));
        assert_eq!(transfers.take(&key), None);
        transfers.put(key.clone(), parcel(3));
        transfers.put(key.clone(), parcel(4));
        assert!(transfers.has_in(key.shard()) && !transfers.is_empty());
        assert_eq!(transfers.call(|_| false), []);
        assert_eq!(transfers.call(|_| true), vec![key.clone()]);
        assert_eq!(transfers.call(|_| true), [], "once");
        assert_eq!(transfers.take(&key), Some(parcel(4)));
        assert!(transfers.is_empty() && !transfers.has_in(key.shard()));
        assert_eq!(transfers.lock().bytes, 0);
    }

    #[test]
    fn what_was_sent_is_kept_until_it_has_arrived() {
        let (transfers, key) = (Transfers::default(), EntityKey::for_tests("k"));
        transfers.put(key.clone(), parcel(3));
        let ways = [
            (Answer::Rejected(RejectReason::Full), false),
            (Answer::Rejected(RejectReason::Mismatch), true),
            (Answer::Unknown(UnknownReason::NodeDown), false),
        ];
        for (answer, is_refused) in ways {
            assert_eq!(look(&transfers, &key).unsent, [(key.clone(), parcel(3))]);
            let (sender, receiver) = oneshot::channel();
            transfers.sent(&key, node(), receiver);
            let looked = look(&transfers, &key);
            assert_eq!((looked.under_way, looked.unsent.len()), (1, 0), "it is sent once");
            sender.send(answer).expect("it is awaited");
            let looked = look(&transfers, &key);
            assert_eq!((looked.under_way, looked.is_refused), (0, is_refused));
            assert_eq!(looked.unsent.len(), 1);
        }
        let (sender, receiver) = oneshot::channel();
        transfers.sent(&key, node(), receiver);
        sender.send(Answer::Reply(Bytes::from_static(&[7]))).expect("it is awaited");
        assert_eq!(look(&transfers, &key).arrived, [(node(), 7)]);
        assert!(transfers.is_empty());
    }

    #[test]
    fn those_of_other_types_stay_when_some_are_discarded() {
        let transfers = Transfers::default();
        let key = EntityKey::for_tests("k");
        transfers.put(key.clone(), parcel(3));
        assert_eq!(transfers.discard(key.shard(), |of| of == WireId(9)), 0);
        assert_eq!(transfers.discard(key.shard(), |_| true), 1);
        assert!(transfers.is_empty());
    }

    #[test]
    fn what_comes_from_other_nodes_is_bounded_in_number_and_in_bytes() {
        let transfers = Transfers::default();
        for n in 0..LIMIT {
            assert_eq!(install(&transfers, &n.to_string(), 0), Ok(()));
        }
        assert_eq!(install(&transfers, "more", 0), Err(RejectReason::Full));
        transfers.put(EntityKey::for_tests("own"), parcel(1));
        let transfers = Transfers::default();
        assert_eq!(install(&transfers, "large", BYTES_LIMIT), Ok(()));
        assert_eq!(install(&transfers, "small", 1), Err(RejectReason::Full));
    }

    #[test]
    fn what_comes_takes_the_place_of_what_came_from_the_same_node_and_of_nothing_else() {
        let (transfers, key) = (Transfers::default(), EntityKey::for_tests("k"));
        let other = NodeId { name: "n3".into(), incarnation: 1 };
        assert_eq!(install(&transfers, "k", 3), Ok(()));
        assert_eq!(install(&transfers, "k", 4), Ok(()), "it is sent again");
        let of_other = |bytes| transfers.install(other.clone(), key.clone(), parcel(bytes));
        assert_eq!(of_other(5), Err(RejectReason::Moved));
        let (_sender, receiver) = oneshot::channel();
        transfers.sent(&key, other.clone(), receiver);
        assert_eq!(install(&transfers, "k", 6), Err(RejectReason::Full), "it is under way");
        transfers.put(key.clone(), parcel(7));
        assert_eq!(of_other(8), Err(RejectReason::Moved), "it is this node's own");
        assert_eq!(transfers.take(&key), Some(parcel(7)));
    }
}
