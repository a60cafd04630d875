//! Who is to be told of an actor's end: kept in its mailbox, from the first watcher on.
//!
//! Invariant: a watcher is here from when its watch is set until it is told, or takes it back. A link
//! that was set while the instance was about to fail with another one belongs to the next instance.
//! Knows no session's state and no table: what is taken out here is told by the caller.

use std::{collections::BTreeMap, sync::Arc};

use actix_cluster_transport::{PeerId, Session};

use super::{incoming::Slot, lanes::Lanes, reason::TerminatedReason, table::Number};

/// Who is to be told of an actor's end.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// A watch of this node.
    Here(Number),
    /// One of another node.
    There(Arc<Remote>),
}

/// A watch that another node's actor or future has set.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) session: Session,
    /// Its number on that node.
    pub(crate) number: Number,
    /// Where its watcher gets what is sent to it.
    pub(crate) lanes: Lanes,
    #[expect(dead_code, reason = "held until the last is dropped that has to do with the watch")]
    pub(crate) slot: Slot,
}

/// What stands for a watcher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Here(Number),
    There(PeerId, Number),
}

/// What ties an actor to whoever watches it.
#[derive(Clone, Debug)]
pub(crate) struct Tie {
    pub(crate) who: Who,
    pub(crate) is_link: bool,
}

impl Tie {
    pub(crate) fn key(&self) -> Key {
        match &self.who {
            Who::Here(number) => Key::Here(*number),
            Who::There(remote) => Key::There(remote.session.peer().clone(), remote.number),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Watchers {
    ties: BTreeMap<Key, Tie>,
    /// Why the instance is about to fail with one that it is linked to.
    failing: Option<TerminatedReason>,
}

impl Watchers {
    pub(crate) fn add(&mut self, tie: Tie) {
        self.ties.insert(tie.key(), tie);
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Tie> {
        self.ties.remove(key)
    }

    /// The instance is to fail, for one that it is linked to has. Returns those that are linked to
    /// it, and fail as well; nobody if it is about to fail already.
    pub(crate) fn fail(&mut self, reason: TerminatedReason) -> Vec<Tie> {
        if self.failing.is_some() {
            return Vec::new();
        }
        self.failing = Some(reason);
        self.take_links()
    }

    /// Why the instance is to fail, if it is.
    pub(crate) fn failing(&self) -> Option<TerminatedReason> {
        self.failing
    }

    /// The instance has ended. Returns those that are linked to it.
    pub(crate) fn instance_ended(&mut self) -> Vec<Tie> {
        match self.failing.take() {
            // They were told when it was.
            Some(_) => Vec::new(),
            None => self.take_links(),
        }
    }

    /// An instance begins: what was to fail was the one before, or none.
    pub(crate) fn instance_begins(&mut self) {
        self.failing = None;
    }

    /// Those that are linked to it.
    pub(crate) fn links(&self) -> Vec<Tie> {
        self.ties.values().filter(|tie| tie.is_link).cloned().collect()
    }

    /// All that are left.
    pub(crate) fn into_ties(self) -> Vec<Tie> {
        self.ties.into_values().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ties.is_empty() && self.failing.is_none()
    }

    fn take_links(&mut self) -> Vec<Tie> {
        let links = self.links();
        links.iter().for_each(|link| drop(self.ties.remove(&link.key())));
        links
    }
}
