//! Peers that there is a session with and that are no members: gossip does not say when they are gone.

use std::{
    collections::BTreeMap,
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

/// Peers without a link, and until when they are waited for. As many at most as there are sessions.
#[derive(Debug, Default)]
pub(super) struct Lost(BTreeMap<PeerId, Instant>);

impl Lost {
    /// There is no link with a peer any more.
    fn lose(&mut self, now: Instant, peer: PeerId) {
        self.0.insert(peer, now + LOST_PATIENCE);
    }

    /// There is one again, or no session.
    pub(super) fn remove(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// When to look again.
    fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Those that are no members and have had no link for too long. A node that knows no member but itself
    /// waits for those that it wants to join; one that stood still begins to wait anew.
    fn take_over(
        &mut self,
        now: Instant,
        is_alone: bool,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> Vec<PeerId> {
        let mut over = Vec::new();
        self.0.retain(|peer, until| {
            if now < *until {
                return true;
            }
            let is_member = is_member(peer);
            let has_no_say = is_alone || now > *until + LATE;
            if !is_member && has_no_say {
                *until = now + LOST_PATIENCE;
                return true;
            }
            over.extend((!is_member).then(|| peer.clone()));
            false
        });
        over
    }
}

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
        self.lost.borrow_mut().lose(self.core.clock().now(), peer.clone());
        self.cluster.wake.notify_one();
    }

    /// Ends the sessions of peers whose end nobody else notices. Returns when there will be more.
    pub(super) fn forget_lost(&self, now: Instant) -> Option<Instant> {
        self.lost.borrow().next()?;
        let view = Arc::clone(self.membership.borrow().view());
        let is_member = |peer: &PeerId| view.contains(&node_id(peer));
        let over = self.lost.borrow_mut().take_over(now, view.members.len() == 1, is_member);
        for peer in over {
            tracing::info!(node = %self.core.id(), %peer, "a peer that is no member is gone");
            self.transport().forget(&peer);
        }
        self.lost.borrow().next()
    }
}

#[cfg(test)]
mod tests {
    use actix_cluster_transport::{Clock, NodeName};

    use super::*;

    fn peer(name: &str) -> PeerId {
        PeerId { name: NodeName::new(name).expect("a name"), incarnation: 1 }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stranger_without_a_link_is_over_after_its_time_and_a_member_never() {
        let (now, mut lost) = (Clock::default().now(), Lost::default());
        lost.lose(now, peer("stranger"));
        lost.lose(now, peer("member"));
        lost.lose(now, peer("back"));
        lost.lose(now + SECOND, peer("later"));
        lost.remove(&peer("back"));
        let mut take_over =
            |now| lost.take_over(now, false, |of: &PeerId| of.name.as_str() == "member");
        assert_eq!(take_over(now + LOST_PATIENCE - Duration::from_nanos(1)), []);
        assert_eq!(take_over(now + LOST_PATIENCE), [peer("stranger")]);
        assert_eq!(take_over(now + LOST_PATIENCE), [], "once");
        assert_eq!(lost.next(), Some(now + SECOND + LOST_PATIENCE));
    }

    #[test]
    fn whoever_knows_no_member_goes_on_waiting() {
        let (now, mut lost) = (Clock::default().now(), Lost::default());
        lost.lose(now, peer("seed"));
        let then = now + LOST_PATIENCE;
        assert_eq!(lost.take_over(then, true, |_| false), []);
        assert_eq!(lost.next(), Some(then + LOST_PATIENCE));
        assert_eq!(lost.take_over(then + LOST_PATIENCE, false, |_| false), [peer("seed")]);
        assert_eq!(lost.next(), None);
    }

    #[test]
    fn whoever_stood_still_begins_to_wait_anew() {
        let (now, mut lost) = (Clock::default().now(), Lost::default());
        lost.lose(now, peer("stranger"));
        let in_time = now + LOST_PATIENCE + LATE;
        let late = in_time + Duration::from_nanos(1);
        assert_eq!(lost.take_over(late, false, |_| false), []);
        assert_eq!(lost.next(), Some(late + LOST_PATIENCE));
        assert_eq!(
            lost.take_over(late + LOST_PATIENCE + LATE, false, |_| false),
            [peer("stranger")]
        );
    }
}
