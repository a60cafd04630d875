//! What benches measure of a cluster's inside: membership cores with no network between them, and
//! the tables of placement. Not for use by others.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use actix_cluster_transport::{Activity, Random};

use crate::{
    Profile, Site,
    cluster::{
        membership::{Contact, Member, Membership as _, MembershipEvent, Packet, Swim},
        placement::{Candidate, Shard},
    },
    node::NodeId,
};

/// The membership core of one node. Nodes are known by their numbers here.
///
/// After each call that is not a getter, everything is to be taken from
/// [`poll_packet`](Self::poll_packet), [`poll_port`](Self::poll_port) and
/// [`poll_down`](Self::poll_down), and one timer armed for [`poll_timeout`](Self::poll_timeout).
pub struct Core {
    number: u16,
    swim: Swim,
}

/// What one core has to say to another.
#[derive(Clone, Debug)]
pub struct Carried(Packet);

impl Carried {
    /// Its length in bytes, as a session is given it.
    pub fn bytes(&self) -> usize {
        let (Packet::Gossip(bytes) | Packet::Note(bytes)) = &self.0;
        // One byte says which of the two it is.
        1 + bytes.len()
    }
}

impl Core {
    /// The core of a node that is alone.
    pub fn new(number: u16, random: Random) -> Self {
        Self { number, swim: Swim::new(&member(number, 1), 1, random) }
    }

    /// Sees all of these numbers as if they had joined long ago.
    pub fn acquaint(&mut self, now: Instant, numbers: impl Iterator<Item = u16>) {
        let own = self.number;
        let others: Vec<_> = numbers.filter(|other| *other != own).map(|n| member(n, 1)).collect();
        self.swim.acquaint(now, &others);
    }

    /// Joins through another.
    pub fn join(&mut self, now: Instant, seed: u16) {
        self.swim.announce(now, member(seed, 1).contact());
    }

    /// Takes in what another has sent.
    pub fn handle(&mut self, now: Instant, from: u16, carried: &Carried) {
        match &carried.0 {
            Packet::Gossip(packet) => self.swim.handle_packet(now, packet),
            Packet::Note(note) => self.swim.handle_note(now, &id(from), note),
        }
    }

    /// Fires what is due; `activity` tells what has come over the link with another.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        mut activity: impl FnMut(u16) -> Option<Activity>,
    ) {
        if self.swim.wants_activity(now) {
            let view = Arc::clone(self.swim.view());
            for id in view.members.iter().map(|member| &member.id) {
                let of = number(id);
                if of != self.number {
                    self.swim.handle_activity(now, id, activity(of));
                }
            }
        }
        self.swim.handle_timeout(now);
    }

    /// The host of another has refused, or has not answered.
    pub fn handle_port(&mut self, now: Instant, of: u16, is_refused: bool) {
        self.swim.handle_port(now, &id(of), is_refused);
    }

    /// The link with another broke.
    pub fn handle_link_down(&mut self, now: Instant, of: u16) {
        self.swim.handle_link_down(now, &id(of));
    }

    /// When there will be something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.swim.poll_timeout()
    }

    /// What is to be sent, and to whom.
    pub fn poll_packet(&mut self) -> Option<(u16, Carried)> {
        self.swim.poll_packet().map(|(to, packet)| (number(&to.id), Carried(packet)))
    }

    /// Whose host is to be asked whether anybody holds the port.
    pub fn poll_port(&mut self) -> Option<u16> {
        self.swim.poll_port().map(|Contact { id, .. }| number(&id))
    }

    /// Who was declared down; itself, if it learned that it was.
    pub fn poll_down(&mut self) -> Option<u16> {
        let own = self.number;
        std::iter::from_fn(|| self.swim.poll_event()).find_map(|event| match event {
            MembershipEvent::Up(_) | MembershipEvent::Changed(_) => None,
            MembershipEvent::Down(Member { id, .. }) => Some(number(&id)),
            MembershipEvent::DeclaredDown => Some(own),
        })
    }

    /// How many members it sees, itself included.
    pub fn members(&self) -> usize {
        self.swim.view().members.len()
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Core").field(&self.number).finish()
    }
}

/// Who owns shards where nodes of these weights are members: computes the table of a type as nodes do,
/// and returns how many shards have an owner.
pub fn table(members: &Members) -> usize {
    let table = Site::ANYWHERE.table(members.0.iter().map(|(node, profile)| (node, profile)));
    Shard::all().filter(|shard| table.owner(*shard).is_some()).count()
}

/// Members that may own shards.
#[derive(Debug)]
pub struct Members(Vec<(Candidate, Profile)>);

impl Members {
    /// With these weights.
    pub fn weighing(weights: &[u32]) -> Self {
        let members = (0..).zip(weights).map(|(number, weight)| {
            let Member { id, profile, .. } = member(number, *weight);
            (Candidate { node: id, weight: *weight }, Profile::clone(&profile))
        });
        Self(members.collect())
    }
}

fn id(number: u16) -> NodeId {
    NodeId { name: format!("node-{number:05}").into(), incarnation: 1 }
}

/// The number in a name of [`id`].
fn number(id: &NodeId) -> u16 {
    let digits = id.name.get("node-".len()..);
    digits.and_then(|digits| digits.parse().ok()).expect("all nodes are named by their numbers")
}

fn member(number: u16, weight: u32) -> Member {
    let [high, low] = number.to_be_bytes();
    let profile = Profile {
        version: 1,
        roles: Vec::new(),
        zone: None,
        weight,
        release: env!("CARGO_PKG_VERSION").into(),
        manifest_hash: 0,
        is_draining: false,
    };
    Member {
        id: id(number),
        addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 7_000),
        profile: Arc::new(profile),
    }
}

#[cfg(test)]
mod tests {
    use actix_cluster_transport::Clock;

    use super::*;

    #[test]
    fn two_cores_that_are_carried_for_become_members_and_one_that_refuses_is_down() {
        let mut now = Clock::default().now();
        let mut cores: Vec<_> = (0..3).map(|n| Core::new(n, Random::from_seed(n.into()))).collect();
        cores[1].join(now, 0);
        cores[2].join(now, 0);
        let mut downs = Vec::new();
        for millis in 0..4_000 {
            now += std::time::Duration::from_millis(1);
            let is_gone = |n: u16| n == 2 && millis >= 2_000;
            for n in (0..3).filter(|n| !is_gone(*n)) {
                let core = &mut cores[usize::from(n)];
                let datagrams = |of| if is_gone(of) { 2_000 } else { millis };
                core.handle_timeout(now, |of| Some(Activity { link: 1, datagrams: datagrams(of) }));
                let ports: Vec<_> = std::iter::from_fn(|| core.poll_port()).collect();
                ports.into_iter().for_each(|of| core.handle_port(now, of, is_gone(of)));
                downs.extend(std::iter::from_fn(|| core.poll_down()).map(|of| (n, of)));
                let sent: Vec<_> = std::iter::from_fn(|| core.poll_packet()).collect();
                for (to, carried) in sent.into_iter().filter(|(to, _)| !is_gone(*to)) {
                    assert!(carried.bytes() > 1);
                    cores[usize::from(to)].handle(now, n, &carried);
                }
            }
            if millis == 1_999 {
                assert_eq!(cores.iter().map(Core::members).collect::<Vec<_>>(), [3, 3, 3]);
            }
        }
        downs.sort_unstable();
        assert_eq!(downs, [(0, 2), (1, 2)]);
    }

    #[test]
    fn a_core_that_is_acquainted_sees_all_and_says_nothing_of_it() {
        let now = Clock::default().now();
        let mut core = Core::new(1, Random::from_seed(1));
        core.acquaint(now, 0..40);
        assert_eq!((core.members(), core.poll_down()), (40, None));
        assert!(core.poll_packet().is_none() && core.poll_timeout() > Some(now));
    }

    #[test]
    fn every_shard_of_a_table_has_an_owner() {
        assert_eq!(table(&Members::weighing(&[1, 0, 3])), 4_096);
        assert_eq!(table(&Members::weighing(&[0])), 0);
    }
}
