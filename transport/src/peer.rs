//! One peer as a node knows it: which of its incarnations is listened to, whether it is to be
//! dialled, its session, and the connection that carries it.
//!
//! Invariant: at most one connection carries the session. When both ends dial, the one that the
//! lower node name dialled is kept, by both, whichever came first; since the session outlives it,
//! nothing that was sent on the other is lost.
//! Knows no connection, clock or task: `L` stands for a connection.

use std::net::SocketAddr;

use crate::{identity::NodeName, session::Session};

#[derive(Debug)]
pub(crate) struct Peer<L> {
    /// Where to dial, and which incarnation; `None` if it is not to be dialled.
    wanted: Option<(u64, SocketAddr)>,
    session: Option<Session>,
    /// Which run of the incarnation the session is with.
    nonce: u64,
    link: Option<Carrier<L>>,
    /// The lowest incarnation that is still listened to.
    floor: u64,
}

#[derive(Debug)]
struct Carrier<L> {
    id: u64,
    dialled_by: NodeName,
    link: L,
}

/// What belonged to an incarnation that is over: to be ended.
#[derive(Debug)]
pub(crate) struct Over<L> {
    pub(crate) session: Option<Session>,
    pub(crate) link: Option<L>,
}

impl<L> Default for Peer<L> {
    fn default() -> Self {
        Self { wanted: None, session: None, nonce: 0, link: None, floor: 0 }
    }
}

impl<L> Peer<L> {
    /// The lowest incarnation that is still listened to.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether this run of an incarnation is over: a later one is known, or the session is with
    /// another run that took the same incarnation.
    pub(crate) fn is_stale(&self, incarnation: u64, nonce: u64) -> bool {
        let is_another =
            |session: &Session| session.peer().incarnation == incarnation && self.nonce != nonce;
        incarnation < self.floor || self.session.as_ref().is_some_and(is_another)
    }

    /// Whether nothing is known of it but what is over.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { wanted, session, nonce: _, link, floor: _ } = self;
        wanted.is_none() && session.is_none() && link.is_none()
    }

    /// Which incarnation to dial, and where.
    pub(crate) fn wanted(&self) -> Option<(u64, SocketAddr)> {
        self.wanted
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The connection that carries the session now.
    pub(crate) fn link(&self) -> Option<&L> {
        self.link.as_ref().map(|carrier| &carrier.link)
    }

    /// The highest incarnation that was heard of; 0 if none.
    pub(crate) fn highest(&self) -> u64 {
        let session = self.session.as_ref().map_or(0, |session| session.peer().incarnation);
        session.max(self.floor.saturating_sub(1))
    }

    /// The peer is to be dialled, unless it is over already. Returns whether that is new.
    pub(crate) fn want(&mut self, incarnation: u64, addr: SocketAddr) -> bool {
        let wanted = Some((incarnation, addr));
        let is_new = incarnation >= self.floor && self.wanted != wanted;
        if is_new {
            self.wanted = wanted;
        }
        is_new
    }

    /// Dials this incarnation, and those before it, no more.
    pub(crate) fn unwant(&mut self, incarnation: u64) {
        self.wanted.take_if(|(wanted, _)| *wanted <= incarnation);
    }

    /// Listens to no incarnation below this one any more.
    pub(crate) fn raise_floor(&mut self, incarnation: u64) -> Over<L> {
        self.floor = self.floor.max(incarnation);
        let floor = self.floor;
        let session = self.session.take_if(|session| session.peer().incarnation < floor);
        let link = if session.is_some() { self.link.take() } else { None };
        Over { session, link: link.map(|carrier| carrier.link) }
    }

    /// The session with the peer, made if there is none. The floor has been raised to the peer's
    /// incarnation before, and this run of it is not [stale](Self::is_stale), so what is there is with
    /// this one.
    pub(crate) fn session_or_else(
        &mut self,
        nonce: u64,
        make: impl FnOnce() -> Session,
    ) -> Session {
        self.nonce = nonce;
        self.session.get_or_insert_with(make).clone()
    }

    /// Whether a connection dialled by `dialled_by` may carry the session, in place of what carries
    /// it now.
    pub(crate) fn may_carry(&self, dialled_by: &NodeName) -> bool {
        // A second dial by the same side says that it has given up the first connection.
        self.link.as_ref().is_none_or(|carrier| *dialled_by <= carrier.dialled_by)
    }

    /// Lets a connection carry the session from now on. Returns the one before, to be ended.
    pub(crate) fn carry(&mut self, id: u64, dialled_by: NodeName, link: L) -> Option<L> {
        self.link.replace(Carrier { id, dialled_by, link }).map(|carrier| carrier.link)
    }

    /// A connection has ended. Returns whether it carried the session until now.
    pub(crate) fn link_ended(&mut self, id: u64) -> bool {
        self.link.take_if(|carrier| carrier.id == id).is_some()
    }
}

#[cfg(test)]
mod tests;
