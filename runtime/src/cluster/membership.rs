//! Membership: which nodes this node believes to be alive, and who told it so.
//!
//! Owns the [`View`] and the means by which it changes. Invariants: a view is sorted by name, holds
//! a name at most once, and holds this node; its version rises by one whenever the set changes; a
//! node that was seen [`Down`](MembershipEvent::Down) never comes back under the same incarnation.
//! Knows no socket, clock, actor or placement: callers pass `now` and carry out what is polled.

#[cfg(test)]
mod tests;

mod swim;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use actix_cluster_transport::Activity;

pub(crate) use self::swim::Swim;
use crate::node::NodeId;

/// The state machine that finds members and notices when they are gone.
///
/// After each call of a `handle_*` method or a command, in this order: take everything from
/// [`poll_event`](Self::poll_event), [`poll_packet`](Self::poll_packet) and
/// [`poll_port`](Self::poll_port), and then arm one timer for
/// [`poll_timeout`](Self::poll_timeout), which may have moved either way. When packets and the
/// timer are ready at once, packets go first: they may hold what a timer is about to miss.
pub(crate) trait Membership {
    /// Who is believed to be alive, this node included; the last belief once it has left or was
    /// declared down.
    fn view(&self) -> &Arc<View>;

    /// Takes in a packet of a peer.
    ///
    /// One that is malformed, too long or not for this node changes nothing but a counter. Nothing
    /// here compares the sender that a packet names with the peer that it came from: that is the
    /// caller's part.
    fn handle_packet(&mut self, now: Instant, packet: &[u8]);

    /// Whether [`handle_activity`](Self::handle_activity) is to be called for every other member of
    /// the view before the next [`handle_timeout`](Self::handle_timeout).
    fn wants_activity(&self, now: Instant) -> bool;

    /// Takes in how much has come from a member over its link; `None` if there is no link.
    fn handle_activity(&mut self, now: Instant, id: &NodeId, activity: Option<Activity>);

    /// The link with a member broke. It speeds suspicion up, and is no verdict.
    fn handle_link_down(&mut self, now: Instant, id: &NodeId);

    /// The host of a member that was [asked](Self::poll_port) has answered whether anybody holds its
    /// port; silence is no refusal. To be called once for each that was polled.
    fn handle_port(&mut self, now: Instant, id: &NodeId, is_refused: bool);

    /// Takes in what a member says of another one's port. What is malformed, or of nobody that is a
    /// member, changes nothing.
    fn handle_testimony(&mut self, now: Instant, from: &NodeId, testimony: &[u8]);

    /// The next member whose host is to be asked whether anybody holds the member's port. A bounded
    /// number is asked at a time.
    fn poll_port(&mut self) -> Option<Member>;

    /// Fires all timers that are due.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` for not at all.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next packet, best effort, and to whom: a peer with another incarnation must not get it.
    ///
    /// The weight is 0 where it is not known yet, which is so for a seed. A receiver that is gone
    /// is likely: those that are down are tried again, lest a healed partition stay one.
    fn poll_packet(&mut self) -> Option<(Member, Packet)>;

    /// What happened, in order. The view already holds the outcome of all that is yet to be polled.
    fn poll_event(&mut self) -> Option<MembershipEvent>;

    /// Joins the cluster through a node that there is a session with; a later call replaces the
    /// seed of an earlier one.
    ///
    /// Asks again and again for as long as no other member is seen.
    fn announce(&mut self, now: Instant, seed: SeedTarget);

    /// Tells some members that this node leaves, and is silent from then on.
    ///
    /// The packets that say so are still to be polled and sent. If all of them are lost, the others
    /// notice the silence instead.
    fn leave(&mut self, now: Instant);

    /// The highest incarnation known of a name, alive or down; 0 if it was never heard of.
    fn highest_incarnation(&self, name: &str) -> u64;
}

/// A node as listed in a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node, and which run of it.
    pub id: NodeId,
    /// Where its transport listens.
    pub addr: SocketAddr,
    /// Its share of what is placed over the nodes, relative to the others'.
    pub weight: u32,
}

/// The versioned set of members that a node believes to be alive, itself included.
///
/// Versions are this node's own: those of two nodes do not compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// How often the set has changed.
    pub version: u64,
    /// The members, sorted by name; suspects are among them until they are down.
    pub members: Vec<Member>,
}

impl View {
    /// The member of this name.
    pub fn find(&self, name: &str) -> Option<&Member> {
        let at = self.members.binary_search_by(|member| (*member.id.name).cmp(name)).ok()?;
        self.members.get(at)
    }

    /// Whether this very incarnation is in the view.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.find(&id.name).is_some_and(|member| member.id == *id)
    }
}

/// A node through which to join: as much of it as the handshake tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeedTarget {
    /// The node, and which run of it.
    pub(crate) id: NodeId,
    /// Where it was reached.
    pub(crate) addr: SocketAddr,
}

/// What one membership has to say to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// For [`Membership::handle_packet`].
    Gossip(Vec<u8>),
    /// For [`Membership::handle_testimony`].
    Testimony(Vec<u8>),
}

/// A change of what a node believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MembershipEvent {
    /// The member is alive. After a restart it follows the old incarnation's `Down`.
    Up(Member),
    /// The member was declared down, has left, or was replaced by a higher incarnation.
    Down(Member),
    /// This node learned that it was declared down, or that a later run of it exists. Its
    /// incarnation is over; nothing follows.
    DeclaredDown,
}
