//! The peers that a node knows, by name, and the names that it has forgotten.
//!
//! Invariant: a name is known while its peer is to be dialled, or has a session or a connection. What
//! is forgotten leaves its floor, so that no incarnation comes back that was over; of names that
//! were forgotten long ago, beyond the limit, that goes too.

use std::collections::{BTreeMap, VecDeque};

use super::LinkHandle;
use crate::{
    identity::{NodeName, PeerId},
    peer::Peer,
};

/// A peer, and what this node does about it.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) peer: Peer<LinkHandle>,
    /// Whether a task dials it.
    pub(super) dialling: bool,
}

impl Entry {
    fn is_idle(&self) -> bool {
        let Self { peer, dialling } = self;
        !dialling && peer.is_idle()
    }
}

/// All peers.
pub(super) struct Peers {
    known: BTreeMap<NodeName, Entry>,
    forgotten: Forgotten,
    limit: usize,
}

impl Peers {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            known: BTreeMap::new(),
            forgotten: Forgotten::default(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn get(&self, name: &NodeName) -> Option<&Entry> {
        self.known.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Entry> {
        self.known.get_mut(name)
    }

    /// The entry of a name, made if there is none. It is to be [released](Self::release) unless it
    /// is used.
    pub(super) fn entry(&mut self, name: &NodeName) -> &mut Entry {
        if !self.known.contains_key(name) {
            let mut entry = Entry::default();
            entry.peer.raise_floor(self.forgotten.take(name));
            self.known.insert(name.clone(), entry);
        }
        self.known.get_mut(name).expect("it was made if there was none")
    }

    /// Forgets a name if nothing is known of it but what is over.
    pub(super) fn release(&mut self, name: &NodeName) {
        if let Some(entry) = self.known.get(name)
            && entry.is_idle()
        {
            self.forgotten.keep(name, entry.peer.floor(), self.limit);
            self.known.remove(name);
        }
    }

    /// The lowest incarnation of a name that is listened to.
    pub(super) fn floor(&self, name: &NodeName) -> u64 {
        self.known.get(name).map_or_else(|| self.forgotten.floor(name), |known| known.peer.floor())
    }

    /// Whether this run of a peer is over.
    pub(super) fn is_stale(&self, peer: &PeerId, nonce: u64) -> bool {
        match self.known.get(&peer.name) {
            Some(known) => known.peer.is_stale(peer.incarnation, nonce),
            None => peer.incarnation < self.forgotten.floor(&peer.name),
        }
    }

    /// The highest incarnation that was heard of; 0 if none.
    pub(super) fn highest(&self, name: &NodeName) -> u64 {
        let forgotten = || self.forgotten.floor(name).saturating_sub(1);
        self.known.get(name).map_or_else(forgotten, |known| known.peer.highest())
    }

    /// Whether a name is known, or there is room to know it.
    pub(super) fn has_room_for(&self, name: &NodeName) -> bool {
        self.known.len() < self.limit || self.known.contains_key(name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.known.values()
    }

    pub(super) fn names(&self) -> Vec<NodeName> {
        self.known.keys().cloned().collect()
    }
}

/// Floors of names that are known no more.
#[derive(Debug, Default)]
struct Forgotten {
    /// Each with the number under which it stands in the line.
    floors: BTreeMap<NodeName, (u64, u64)>,
    /// The oldest first. Those that were taken out meanwhile are left in it, but never more than
    /// others.
    line: VecDeque<(NodeName, u64)>,
    next: u64,
}

impl Forgotten {
    fn keep(&mut self, name: &NodeName, floor: u64, limit: usize) {
        // Nothing is over of one that was never heard of.
        if floor == 0 {
            return;
        }
        self.floors.insert(name.clone(), (floor, self.next));
        self.line.push_back((name.clone(), self.next));
        self.next += 1;
        while self.floors.len() > limit
            && let Some((name, number)) = self.line.pop_front()
        {
            if self.stands(&name, number) {
                self.floors.remove(&name);
            }
        }
        if self.line.len() > 2 * self.floors.len() + 16 {
            let mut line = std::mem::take(&mut self.line);
            line.retain(|(name, number)| self.stands(name, *number));
            self.line = line;
        }
    }

    fn stands(&self, name: &NodeName, number: u64) -> bool {
        self.floors.get(name).is_some_and(|(_, other)| *other == number)
    }

    fn take(&mut self, name: &NodeName) -> u64 {
        self.floors.remove(name).map_or(0, |(floor, _)| floor)
    }

    fn floor(&self, name: &NodeName) -> u64 {
        self.floors.get(name).map_or(0, |(floor, _)| *floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> NodeName {
        format!("n{number}").parse::<NodeName>().expect("a name")
    }

    /// Hears of an incarnation, and forgets it.
    fn pass(peers: &mut Peers, number: usize, incarnation: u64) {
        peers.entry(&name(number)).peer.raise_floor(incarnation + 1);
        peers.release(&name(number));
    }

    #[test]
    fn names_without_end_leave_the_last_ones_and_their_floors() {
        let mut peers = Peers::new(3);
        for number in 0..10_000 {
            assert!(peers.has_room_for(&name(number)));
            pass(&mut peers, number, 7);
        }
        assert_eq!(peers.values().count(), 0);
        assert_eq!(peers.floor(&name(9_996)), 0, "long ago");
        for number in 9_997..10_000 {
            assert_eq!((peers.floor(&name(number)), peers.highest(&name(number))), (8, 7));
        }
    }

    #[test]
    fn one_that_comes_and_goes_takes_no_memory_and_pushes_nobody_out() {
        let mut peers = Peers::new(3);
        pass(&mut peers, 1, 5);
        for incarnation in 1..10_000 {
            pass(&mut peers, 2, incarnation);
        }
        assert_eq!([peers.floor(&name(1)), peers.floor(&name(2))], [6, 10_000]);
        assert!(peers.forgotten.line.len() < 50, "{}", peers.forgotten.line.len());
        assert_eq!(peers.entry(&name(1)).peer.floor(), 6, "it is known again as it was");
    }

    #[test]
    fn one_that_is_wanted_or_dialled_stays() {
        let mut peers = Peers::new(1);
        let addr = ([10, 0, 0, 1], 1).into();
        peers.entry(&name(1)).peer.want(1, addr);
        peers.release(&name(1));
        assert!(!peers.has_room_for(&name(2)) && peers.has_room_for(&name(1)));
        peers.entry(&name(1)).peer.unwant(1);
        peers.entry(&name(1)).dialling = true;
        peers.release(&name(1));
        assert!(!peers.has_room_for(&name(2)));
        peers.entry(&name(1)).dialling = false;
        peers.release(&name(1));
        assert!(peers.has_room_for(&name(2)));
    }
}
