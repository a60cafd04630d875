//! The watches that other nodes have set on actors of this one.
//!
//! Invariant: whoever takes a watch out of here tells its node, or has been told by it, so that no
//! end is told twice. A node has at most so many places here, and a watch keeps its place until
//! what it is owed has been sent: what waits for room in a session is bounded by that.
//! Knows no mailbox and no session: `T` is the target.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_cluster_transport::PeerId;

use super::table::Number;
use crate::fixed_map::FixedMap;

/// The place of one watch. Dropped when its node is owed nothing any more.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
pub(crate) struct Incoming<T> {
    peers: BTreeMap<PeerId, Holding<T>>,
    /// For each peer.
    limit: usize,
}

#[derive(Debug)]
struct Holding<T> {
    targets: FixedMap<Number, T>,
    /// How many places are taken; more than there are targets while ends wait to be sent.
    taken: Arc<AtomicUsize>,
}

impl<T> Default for Holding<T> {
    fn default() -> Self {
        Self { targets: FixedMap::default(), taken: Arc::default() }
    }
}

impl<T> Incoming<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { peers: BTreeMap::new(), limit }
    }

    /// Takes a place for a watch of a peer; nothing if it has as many as it may.
    pub(crate) fn reserve(&mut self, peer: &PeerId) -> Option<Slot> {
        let taken = &self.peers.entry(peer.clone()).or_default().taken;
        let slot = Slot(Arc::clone(taken));
        // Counted before the look: a slot that is dropped gives back what it took.
        (taken.fetch_add(1, Ordering::AcqRel) < self.limit).then_some(slot)
    }

    /// Notes a watch. False if its number is taken, which only a peer that breaks the protocol
    /// brings about, or if the peer is gone.
    pub(crate) fn insert(&mut self, peer: &PeerId, number: Number, target: T) -> bool {
        let Some(holding) = self.peers.get_mut(peer) else { return false };
        if holding.targets.contains_key(&number) {
            return false;
        }
        holding.targets.insert(number, target);
        true
    }

    /// Takes a watch out: it is over, or was taken back.
    pub(crate) fn remove(&mut self, peer: &PeerId, number: Number) -> Option<T> {
        self.peers.get_mut(peer)?.targets.remove(&number)
    }

    /// A peer is gone: nobody is left to be told. Returns its watches.
    pub(crate) fn handle_gone(&mut self, peer: &PeerId) -> Vec<(Number, T)> {
        let Some(holding) = self.peers.remove(peer) else { return Vec::new() };
        let mut gone: Vec<_> = holding.targets.into_iter().collect();
        gone.sort_unstable_by_key(|(number, _)| *number);
        gone
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.peers.values().map(|holding| holding.taken.load(Ordering::Acquire)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerId {
        PeerId { name: name.parse().expect("a name"), incarnation: 1 }
    }

    #[test]
    fn a_peer_has_so_many_places_and_takes_none_of_another() {
        let mut incoming = Incoming::<()>::new(2);
        let (a, b) = (peer("a"), peer("b"));
        let first = incoming.reserve(&a).expect("room");
        let _second = incoming.reserve(&a).expect("room");
        assert!(incoming.reserve(&a).is_none() && incoming.reserve(&a).is_none());
        let _other = incoming.reserve(&b).expect("another's room");
        drop(first);
        let _third = incoming.reserve(&a).expect("room again");
        assert_eq!(incoming.taken(), 3);
    }

    #[test]
    fn a_watch_is_taken_out_once() {
        let mut incoming = Incoming::new(8);
        let a = peer("a");
        assert!(!incoming.insert(&a, 1, 'x'), "a peer without a place");
        let _slots: Vec<_> = (0..2).map(|_| incoming.reserve(&a).expect("room")).collect();
        assert!(incoming.insert(&a, 1, 'x') && incoming.insert(&a, 2, 'y'));
        assert!(!incoming.insert(&a, 1, 'z'), "its number is taken");
        assert_eq!((incoming.remove(&a, 1), incoming.remove(&a, 1)), (Some('x'), None));
        assert_eq!(incoming.handle_gone(&a), [(2, 'y')]);
        assert_eq!((incoming.handle_gone(&a), incoming.taken()), (vec![], 0));
    }
}
