//! Peers that there is a session with and that are no members: gossip does not say when they are gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{PeerId, Session};

use super::Shell;
use crate::cluster::{Phase, membership::Membership as _, node_id, wire::packet};

/// For how long a peer that is no member may have no link before its session ends: as long as a node tries to
/// join unless it is told otherwise. If it lives, it has to begin anew after that.
const LOST_PATIENCE: Duration = Duration::from_secs(30);

/// How late a look may be: one that is later says that this node stood still, and others had no chance.
const LATE: Duration = Duration::from_secs(1);

impl Shell {
    /// There is a link with a peer. One that comes while this node leaves has not heard so.
    pub(super) fn link_found(&self, session: &Session) {
        self.lost.borrow_mut().remove(session.peer());
        if *self.cluster.phase.borrow() >= Phase::Leaving {
            session.send_packet(vec![packet::LEAVING].into());
        }
    }

    /// There is none any more.
    pub(super) fn link_lost(&self, peer: &PeerId) {
        let until = self.core.clock().after(LOST_PATIENCE);
        self.lost.borrow_mut().insert(peer.clone(), until);
        self.cluster.wake.notify_one();
    }

    /// Ends the sessions of peers that have had no link for too long, and whose end nobody else notices.
    /// Returns when there will be more.
    ///
    /// A node that knows no member yet waits for those that it wants to join; one that stood still begins to
    /// wait anew.
    pub(super) fn forget_lost(&self, now: Instant) -> Option<Instant> {
        if self.lost.borrow().is_empty() {
            return None;
        }
        let view = Arc::clone(self.membership.borrow().view());
        let mut over = Vec::new();
        self.lost.borrow_mut().retain(|peer, until| {
            if now < *until {
                return true;
            }
            let is_member = view.contains(&node_id(peer));
            let has_no_say = view.members.len() == 1 || now > *until + LATE;
            if !is_member && has_no_say {
                *until = now + LOST_PATIENCE;
                return true;
            }
            over.extend((!is_member).then(|| peer.clone()));
            false
        });
        for peer in over {
            tracing::info!(node = %self.core.id(), %peer, "a peer that is no member is gone");
            self.transport().forget(&peer);
        }
        self.lost.borrow().values().min().copied()
    }
}
