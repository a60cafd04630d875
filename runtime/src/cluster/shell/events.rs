//! What the transport tells the cluster's thread.

use actix_cluster_transport::{
    ConnectError, Events, Frames, NodeName, PACKETS_LIMIT, PeerId, Refusal, Session, Unsettled,
    sabotage::{self, Bug},
};

use super::{LEAVE_GRACE, Shell, Told};
use crate::{
    cluster::{
        handoff::Holdings,
        inbound, join,
        membership::{Membership as _, Swim},
        node_id,
        routing::Peer,
        understood::{Dispute, Understood},
        wire::packet,
    },
    watch,
};

impl Shell {
    /// Keeps something for membership; beyond the bound the oldest goes.
    fn tell(&self, told: Told) {
        let mut waiting = self.told.borrow_mut();
        if waiting.len() >= PACKETS_LIMIT {
            waiting.pop_front();
        }
        waiting.push_back(told);
        self.cluster.wake.notify_one();
    }

    /// A peer says what it has.
    fn holdings(&self, peer: &PeerId, holdings: &[u8]) {
        let Some(holdings) = Holdings::read(holdings) else {
            tracing::warn!(node = %self.core.id(), %peer, "what a peer has was not understood");
            return;
        };
        let answer = self.handing_over.borrow_mut().holdings(&node_id(peer), holdings);
        if let Some(session) = self.transport().session(&peer.name)
            && session.peer() == peer
        {
            session.send_packet(answer.into());
        }
        self.cluster.wake.notify_one();
    }
}

impl Events for Shell {
    fn highest_incarnation(&self, name: &NodeName) -> u64 {
        self.membership.borrow().highest_incarnation(name.as_str())
    }

    fn admit(&self, _: &PeerId, info: &[u8]) -> Result<(), Refusal> {
        self.cluster.manifest.check(info).map(drop)
    }

    fn link_up(&self, session: &Session, first: bool) {
        self.link_found(session);
        if !first {
            sabotage::arm(Bug::EndLostOnResume);
            return;
        }
        // It was checked before the link came up.
        let Ok(theirs) = self.cluster.manifest.check(session.info()) else { return };
        let id = node_id(session.peer());
        for (message, version) in self.cluster.manifest.disputed(&theirs) {
            tracing::warn!(message, version, peer = %id, "{}", Dispute::Shape.as_str());
        }
        let understood = Understood::of(id.clone(), &theirs);
        let lanes_in = self.core.arbiters().len();
        let returned = self.cluster.routing.returned(session.lanes().into(), lanes_in);
        let peer = Peer { id, session: session.clone(), understood, returned };
        let reached = self.seeds.borrow().iter().find(|seed| seed.id == peer.id).cloned();
        self.reached.borrow_mut().extend(reached);
        let id = peer.id.clone();
        self.cluster.routing.add_peer(peer);
        self.handing_over.borrow_mut().link_up(&id);
        self.cluster.wake.notify_one();
    }

    fn link_down(&self, session: &Session) {
        self.link_lost(session.peer());
        match self.leaving.borrow_mut().get_mut(session.peer()) {
            Some(until) => {
                *until = self.now();
                self.cluster.wake.notify_one();
            }
            None => self.tell(Told::LinkDown(node_id(session.peer()))),
        }
    }

    fn deliver(&self, session: &Session, frames: &Frames) {
        inbound::deliver(&self.core, &self.cluster, session, frames);
    }

    fn packet(&self, peer: &PeerId, packet: &[u8]) {
        match packet {
            [packet::MEMBERSHIP, packet @ ..] => self.letter(peer, packet),
            [packet::LEAVING] => {
                let until = self.core.clock().after(LEAVE_GRACE);
                self.leaving.borrow_mut().entry(peer.clone()).or_insert(until);
                self.has_leavers.set(true);
                self.cluster.wake.notify_one();
            }
            [packet::NOTE, note @ ..] => {
                self.tell(Told::Note(node_id(peer), note.to_vec()));
            }
            [packet::HOLDINGS, holdings @ ..] => self.holdings(peer, holdings),
            [packet::HEARD, version @ ..] => {
                self.handing_over.borrow_mut().heard(&node_id(peer), version);
            }
            // Of a later release.
            _ => {}
        }
    }

    fn letter(&self, from: &PeerId, packet: &[u8]) {
        if Swim::sender_of(packet) != Some(node_id(from)) {
            tracing::warn!(node = %self.core.id(), peer = %from, "a peer spoke in another's name");
            return;
        }
        self.tell(Told::Gossip(packet.to_vec()));
    }

    fn rejected(&self, session: &Session, message: Unsettled, reason: u8) {
        inbound::rejected(&self.core, &self.cluster, session, message, reason);
    }

    fn session_ended(&self, session: &Session, unsettled: Vec<Unsettled>) {
        self.lost.borrow_mut().remove(session.peer());
        self.cluster.routing.remove_peer(session);
        self.handing_over.borrow_mut().session_ended(&node_id(session.peer()));
        self.cluster.wake.notify_one();
        inbound::lost(&self.core, &self.cluster, session.peer(), unsettled);
        self.cluster.pending.fail_all_of(&node_id(session.peer()));
        self.cluster.cancels.cancel_all_of(session.peer());
        watch::session_ended(&self.core, session);
    }

    fn dial_failed(&self, peer: &PeerId, error: &ConnectError) {
        match error {
            // A member has heard that this incarnation is over, which only its end can make true.
            ConnectError::Refused(Refusal::Stale { .. }) => self.declared_down(),
            ConnectError::Refused(refusal) if join::is_lasting(refusal) => {
                let source = ConnectError::Refused(refusal.clone());
                self.refused.replace(Some((peer.clone(), source)));
                self.cluster.wake.notify_one();
            }
            _ => {}
        }
    }
}
