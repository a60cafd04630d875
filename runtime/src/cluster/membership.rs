//! Membership: which nodes this node believes to be alive, and who told it so.
//!
//! Owns the [`View`] and the means by which it changes. Invariants: a view is sorted by name, holds
//! a name at most once, and holds this node; its version rises by one whenever it changes; a
//! node that was seen [`Down`](MembershipEvent::Down) never comes back under the same incarnation.
//! Knows no socket, clock, actor or placement: callers pass `now` and carry out what is polled.

#[cfg(test)]
mod tests;

mod profile;
mod swim;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use actix_cluster_transport::Activity;

pub use self::profile::Profile;
#[cfg(test)]
pub(crate) use self::profile::tests::weighing;
pub(crate) use self::{
    profile::{BrokenProfile, LABEL_RULE},
    swim::Swim,
};
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

    /// A member can't be talked to any more: its run is over for this node. It is down here, and no other
    /// node is told; if it lives, one of the two ends when they hear of each other.
    fn handle_over(&mut self, now: Instant, id: &NodeId);

    /// The host of a member that was [asked](Self::poll_port) has answered whether anybody holds its
    /// port; silence is no refusal. To be called once for each that was polled.
    fn handle_port(&mut self, now: Instant, id: &NodeId, is_refused: bool);

    /// Takes in what a node says beside gossip: of a member's port, or of profiles. What is
    /// malformed, or of nobody that is a member, changes nothing.
    fn handle_note(&mut self, now: Instant, from: &NodeId, note: &[u8]);

    /// The next member whose host is to be asked whether anybody holds the member's port. A bounded
    /// number is asked at a time.
    fn poll_port(&mut self) -> Option<Contact>;

    /// Fires all timers that are due.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` for not at all.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next packet, best effort, and to whom: a peer with another incarnation must not get it.
    ///
    /// A receiver that is gone is likely: those that are down are tried again, lest a healed
    /// partition stay one.
    fn poll_packet(&mut self) -> Option<(Contact, Packet)>;

    /// What happened, in order. The view already holds the outcome of all that is yet to be polled.
    fn poll_event(&mut self) -> Option<MembershipEvent>;

    /// Joins the cluster through a node that there is a session with; a later call replaces the
    /// seed of an earlier one.
    ///
    /// Asks again and again for as long as no other member is seen.
    fn announce(&mut self, now: Instant, seed: Contact);

    /// What this node says of itself.
    fn profile(&self) -> &Profile;

    /// Changes what this node says of itself, and has the others know; the version is counted here.
    fn set_profile(&mut self, now: Instant, profile: Profile);

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
    /// What it says of itself. It may change while the node runs.
    pub profile: Arc<Profile>,
}

impl Member {
    /// Who it is, and where it is reached.
    pub(crate) fn contact(&self) -> Contact {
        Contact { id: self.id.clone(), addr: self.addr }
    }
}

/// The versioned set of members that a node believes to be alive, itself included.
///
/// Versions are this node's own: those of two nodes do not compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// How often the set, or what a member says of itself, has changed.
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

/// A node and where it is reached: as much of it as the handshake tells, and gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
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
    /// For [`Membership::handle_note`].
    Note(Vec<u8>),
}

/// A change of what a node believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MembershipEvent {
    /// The member is alive. After a restart it follows the old incarnation's `Down`.
    Up(Member),
    /// The member was declared down, has left, or was replaced by a higher incarnation.
    Down(Member),
    /// The member says something else of itself than before.
    Changed(Member),
    /// This node learned that it was declared down, or that a later run of it exists. Its
    /// incarnation is over; nothing follows.
    DeclaredDown,
}
