//! Clusters of membership cores under a virtual clock: packets take a millisecond, or are lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddrV6},
    time::Duration,
};

use actix_cluster_transport::{Clock, Random};
use proptest::prelude::*;

use super::{profile::tests::weighing, *};

const LATENCY: Duration = Duration::from_millis(1);

/// How often a link shows that it lives, as the transport's keep-alive does.
const BEAT: Duration = Duration::from_millis(500);

/// A cluster in one place: runs whatever is next, a packet ahead of a timer.
struct Cluster {
    start: Instant,
    now: Instant,
    nodes: BTreeMap<NodeId, Swim>,
    cut: Option<Cut>,
    /// One side of the cut.
    apart: BTreeSet<NodeId>,
    /// Pairs that do not hear each other, whatever else.
    parted: BTreeSet<(NodeId, NodeId)>,
    /// Nodes that are gone, and their hosts with them: their ports do not refuse.
    gone: BTreeSet<NodeId>,
    /// Nodes that do what there is to do only once in so long.
    slow: BTreeMap<NodeId, Duration>,
    /// How many of the packets sent from now on are lost, whatever else.
    lose_next: usize,
    loss_percent: u64,
    /// Up to so much is added to each packet's latency.
    jitter: Duration,
    in_flight: BTreeMap<(Instant, u64), (NodeId, Arrival)>,
    /// What came over each link, to one from another, and when the next beat is due.
    beats: BTreeMap<(NodeId, NodeId), (u64, Instant)>,
    sent: u64,
    random: Random,
    trace: Vec<(Duration, NodeId, MembershipEvent)>,
    received: Vec<(NodeId, Vec<u8>)>,
}

/// What comes to a node.
#[derive(Clone, Debug)]
enum Arrival {
    Packet(NodeId, Packet),
    /// Whether the host of a member refused.
    Port(NodeId, bool),
}

/// Which packets over a cut are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Both,
    In,
    Out,
}

fn id(n: u16, incarnation: u64) -> NodeId {
    NodeId { name: format!("n{n}").into(), incarnation }
}

/// Each node has a weight of its own, so that a wrong profile shows.
fn member(n: u16, incarnation: u64) -> Member {
    Member {
        id: id(n, incarnation),
        addr: SocketAddr::from(([10, 0, 0, 1], 7_000 + n)),
        profile: Arc::new(weighing(100 + u32::from(n))),
    }
}

/// The first of them, in a view's order.
fn members(count: u16) -> Vec<Member> {
    let mut members: Vec<_> = (1..=count).map(|n| member(n, 1)).collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    members
}

fn target(n: u16) -> Contact {
    member(n, 1).contact()
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let start = Clock::default().now();
        Self {
            start,
            now: start,
            nodes: BTreeMap::new(),
            cut: None,
            apart: BTreeSet::new(),
            parted: BTreeSet::new(),
            gone: BTreeSet::new(),
            slow: BTreeMap::new(),
            lose_next: 0,
            loss_percent: 0,
            jitter: Duration::ZERO,
            in_flight: BTreeMap::new(),
            beats: BTreeMap::new(),
            sent: 0,
            random: Random::from_seed(seed),
            trace: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Nodes `n1` to `n{count}`, all joined through the first.
    fn joined(seed: u64, count: u16) -> Self {
        let mut cluster = Self::new(seed);
        for n in 1..=count {
            cluster.add(member(n, 1));
        }
        for n in 2..=count {
            cluster.join(id(n, 1), 1);
        }
        cluster.run_for(Duration::from_secs(10));
        cluster.assert_views_are(&members(count));
        cluster
    }

    fn add(&mut self, me: Member) {
        let swim = Swim::new(&me, 1, self.random.fork());
        self.nodes.insert(me.id, swim);
    }

    fn join(&mut self, node: NodeId, seed: u16) {
        self.act(&node, |swim, now| swim.announce(now, target(seed)));
    }

    /// Ends a process without a word: its port refuses from now on.
    fn kill(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// Ends a host without a word: nothing comes from there any more.
    fn silence(&mut self, node: &NodeId) {
        self.nodes.remove(node);
        self.gone.insert(node.clone());
    }

    fn part(&mut self, a: &NodeId, b: &NodeId) {
        self.parted.extend([(a.clone(), b.clone()), (b.clone(), a.clone())]);
    }

    fn is_cut(&self, from: &NodeId, to: &NodeId) -> bool {
        let (from_apart, to_apart) = (self.apart.contains(from), self.apart.contains(to));
        let is_cut = match self.cut {
            None => false,
            Some(Cut::Both) => from_apart != to_apart,
            Some(Cut::In) => !from_apart && to_apart,
            Some(Cut::Out) => from_apart && !to_apart,
        };
        is_cut || self.parted.contains(&(from.clone(), to.clone()))
    }

    fn is_lost(&mut self) -> bool {
        self.random.below(100) < self.loss_percent
    }

    fn send(&mut self, hops: u32, to: NodeId, arrival: Arrival) {
        let jitter = u64::try_from(self.jitter.as_micros()).expect("a short time");
        let delay = LATENCY + Duration::from_micros(self.random.below(jitter + 1));
        let at = self.when(&to, self.now + delay * hops);
        self.sent += 1;
        self.in_flight.insert((at, self.sent), (to, arrival));
    }

    /// When a node comes to do what is due then.
    fn when(&self, node: &NodeId, at: Instant) -> Instant {
        let Some(turn) = self.slow.get(node) else { return at };
        let turns = (at - self.start).as_nanos().div_ceil(turn.as_nanos());
        self.start + *turn * u32::try_from(turns).expect("a short test")
    }

    fn act(&mut self, node: &NodeId, call: impl FnOnce(&mut Swim, Instant)) {
        self.look(node);
        let Some(swim) = self.nodes.get_mut(node) else { return };
        call(swim, self.now);
        let events: Vec<_> = std::iter::from_fn(|| swim.poll_event()).collect();
        let packets: Vec<_> = std::iter::from_fn(|| swim.poll_packet()).collect();
        let ports: Vec<_> = std::iter::from_fn(|| swim.poll_port()).collect();
        let at = self.now - self.start;
        self.trace.extend(events.into_iter().map(|event| (at, node.clone(), event)));
        for (to, packet) in packets {
            assert!(to.id.name != node.name, "{node} sends to its own name");
            let is_lost = self.is_lost() || self.is_cut(node, &to.id);
            if self.lose_next > 0 {
                self.lose_next -= 1;
            } else if !is_lost {
                self.send(1, to.id, Arrival::Packet(node.clone(), packet));
            }
        }
        for Contact { id, .. } in ports {
            let is_lost = self.is_lost() || self.is_cut(node, &id) || self.is_cut(&id, node);
            let is_held = self.nodes.contains_key(&id) || self.gone.contains(&id);
            let is_refused = !is_held && !is_lost;
            let hops = if is_refused { 2 } else { 250 };
            self.send(hops, node.clone(), Arrival::Port(id, is_refused));
        }
    }

    /// Tells a node what has come over its links, if it wants to know.
    fn look(&mut self, node: &NodeId) {
        let now = self.now;
        let Some(swim) = self.nodes.get(node).filter(|swim| swim.wants_activity(now)) else {
            return;
        };
        let view = Arc::clone(swim.view());
        for Member { id, .. } in view.members.iter().filter(|member| member.id != *node) {
            let lives = self.nodes.contains_key(id) && !self.is_cut(id, node);
            let lives = lives && !self.is_cut(node, id);
            let phase = Duration::from_millis(self.random.below(500));
            let link = (node.clone(), id.clone());
            let (mut count, mut next) = *self.beats.entry(link.clone()).or_insert((0, now + phase));
            while next <= now {
                next += BEAT;
                count += u64::from(lives && !self.is_lost());
            }
            self.beats.insert(link, (count, next));
            let activity = lives.then_some(Activity { link: 1, datagrams: count });
            let swim = self.nodes.get_mut(node).expect("it was there");
            swim.handle_activity(now, id, activity);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let packet = self.in_flight.keys().next().map(|(at, _)| *at);
            let due = |(id, swim): (&NodeId, &Swim)| {
                Some((self.when(id, swim.poll_timeout()?), id.clone()))
            };
            let timer = self.nodes.iter().filter_map(due).min();
            let next = packet.into_iter().chain(timer.iter().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = next.max(self.now);
            if packet == Some(next) {
                let Some((_, (to, arrival))) = self.in_flight.pop_first() else { continue };
                self.act(&to, |swim, now| match &arrival {
                    Arrival::Packet(_, Packet::Gossip(packet)) => swim.handle_packet(now, packet),
                    Arrival::Packet(from, Packet::Note(note)) => swim.handle_note(now, from, note),
                    Arrival::Port(of, is_refused) => swim.handle_port(now, of, *is_refused),
                });
                if let Arrival::Packet(_, Packet::Gossip(packet)) = arrival {
                    self.received.push((to, packet));
                }
            } else if let Some((_, node)) = timer {
                self.act(&node, Swim::handle_timeout);
            }
        }
        self.now = end;
    }

    fn assert_views_are(&self, members: &[Member]) {
        for (id, swim) in &self.nodes {
            assert_eq!(swim.view().members, members, "the view of {id}");
        }
    }

    /// Who saw what since, and when, counted from then.
    fn since(&self, then: Instant) -> impl Iterator<Item = (Duration, &NodeId, &MembershipEvent)> {
        let from = then - self.start;
        let later = self.trace.iter().filter(move |(at, ..)| *at >= from);
        later.map(move |(at, node, event)| (*at - from, node, event))
    }
}

#[test]
fn three_nodes_join_through_one_seed() {
    let mut cluster = Cluster::new(1);
    for n in 1..=3 {
        cluster.add(member(n, 1));
    }
    cluster.join(id(2, 1), 1);
    cluster.join(id(3, 1), 1);
    cluster.run_for(Duration::from_secs(1));
    // The profiles are right too, although gossip tells nothing of them.
    cluster.assert_views_are(&[member(1, 1), member(2, 1), member(3, 1)]);
    for swim in cluster.nodes.values() {
        assert!((2..=3).contains(&swim.view().version), "{}", swim.view().version);
        assert_eq!(swim.refused_packets(), 0);
    }
}

#[test]
fn a_view_finds_its_members() {
    let view = View { version: 1, members: vec![member(1, 3), member(2, 1)] };
    assert_eq!(view.find("n1"), Some(&member(1, 3)));
    assert_eq!(view.find("n3"), None);
    assert!(view.contains(&id(1, 3)) && !view.contains(&id(1, 2)));
}

#[test]
fn a_lost_announce_is_repeated() {
    for lost in 1..8 {
        let mut cluster = Cluster::new(lost);
        cluster.add(member(1, 1));
        cluster.add(member(2, 1));
        cluster.lose_next = usize::try_from(lost).expect("a small number");
        cluster.join(id(2, 1), 1);
        cluster.run_for(Duration::from_secs(6));
        cluster.assert_views_are(&[member(1, 1), member(2, 1)]);
    }
}

#[test]
fn fifty_nodes_that_join_at_once_see_each_other() {
    for (count, time) in [(7, 1), (50, 5)] {
        let mut cluster = Cluster::new(2);
        for n in 1..=count {
            cluster.add(member(n, 1));
        }
        for n in 2..=count {
            cluster.join(id(n, 1), 1);
        }
        cluster.run_for(Duration::from_secs(time));
        cluster.assert_views_are(&members(count));
        let downs =
            cluster.trace.iter().filter(|(.., event)| !matches!(event, MembershipEvent::Up(_)));
        assert_eq!(downs.count(), 0);
    }
}

/// How long it takes until all know of a node that has ended so, over many seeds, sorted.
fn detections(count: u16, seeds: u64, end: fn(&mut Cluster, &NodeId)) -> Vec<Duration> {
    let detection = |seed| {
        let mut cluster = Cluster::joined(seed, count);
        let lead = cluster.random.below(1_000);
        cluster.run_for(Duration::from_millis(lead));
        let then = cluster.now;
        end(&mut cluster, &id(2, 1));
        cluster.run_for(Duration::from_secs(15));
        let events: Vec<_> = cluster.since(then).collect();
        let expected = MembershipEvent::Down(member(2, 1));
        assert!(events.iter().all(|(.., event)| **event == expected), "{events:?}");
        assert_eq!(events.len(), usize::from(count) - 1, "{events:?}");
        events.iter().map(|(at, ..)| *at).max().expect("an event")
    };
    let mut times: Vec<_> = (0..seeds).map(detection).collect();
    times.sort();
    times
}

#[test]
fn a_silent_node_is_down_in_all_views_within_four_seconds_and_no_other_is() {
    for (count, seeds) in [(2, 40), (3, 100), (4, 200), (5, 100), (50, 3)] {
        let times = detections(count, seeds, Cluster::silence);
        let longest = times.last().expect("a seed");
        assert!(*longest < Duration::from_secs(4), "{count}: {longest:?}");
        let median = times[times.len() / 2];
        assert!(median < Duration::from_millis(2_700), "{count}: the median is {median:?}");
    }
}

#[test]
fn a_killed_node_is_down_in_all_views_within_a_second_and_a_half_and_no_other_is() {
    for (count, seeds) in [(2, 40), (3, 100), (5, 100), (50, 3)] {
        let times = detections(count, seeds, Cluster::kill);
        let longest = times.last().expect("a seed");
        assert!(*longest < Duration::from_millis(1_500), "{count}: {longest:?}");
    }
}

#[test]
fn all_but_one_node_are_killed_at_once() {
    for seed in 0..20 {
        let mut cluster = Cluster::joined(seed, 4);
        let then = cluster.now;
        for n in 2..=4 {
            cluster.kill(&id(n, 1));
        }
        cluster.run_for(Duration::from_secs(2));
        assert_eq!(cluster.nodes[&id(1, 1)].view().members, [member(1, 1)], "seed {seed}");
        assert_eq!(cluster.since(then).count(), 3);
    }
}

#[test]
fn two_that_do_not_hear_each_other_stay_members_while_others_hear_both() {
    for seed in 0..4 {
        let mut cluster = Cluster::joined(seed, 4);
        let then = cluster.now;
        cluster.part(&id(1, 1), &id(3, 1));
        cluster.run_for(Duration::from_secs(120));
        assert_eq!(cluster.since(then).collect::<Vec<_>>(), [], "seed {seed}");
    }
}

#[test]
fn a_slow_node_declares_nobody_down_and_nobody_it() {
    for millis in [300, 600, 900] {
        for seed in 0..4 {
            let mut cluster = Cluster::joined(seed, 5);
            let then = cluster.now;
            cluster.slow.insert(id(2, 1), Duration::from_millis(millis));
            cluster.run_for(Duration::from_secs(120));
            assert_eq!(cluster.since(then).collect::<Vec<_>>(), [], "seed {seed}, {millis} ms");
        }
    }
}

#[test]
fn what_a_node_says_of_itself_is_soon_known_to_all_and_changes_no_membership() {
    for (seed, count, loss_percent, millis) in [(1, 2, 0, 10), (2, 5, 0, 10), (3, 10, 20, 5_000)] {
        let mut cluster = Cluster::joined(seed, count);
        let then = cluster.now;
        cluster.loss_percent = loss_percent;
        for weight in [7, 0] {
            let profile = weighing(weight);
            cluster.act(&id(2, 1), |swim, now| swim.set_profile(now, profile));
            cluster.run_for(Duration::from_millis(millis));
            for swim in cluster.nodes.values() {
                let of = swim.view().find("n2").expect("a member");
                assert_eq!(of.profile.weight, weight, "seed {seed}");
            }
        }
        let changes = cluster.since(then);
        let changed = |event: &MembershipEvent| matches!(event, MembershipEvent::Changed(_));
        assert!(changes.map(|(.., event)| event).all(changed), "seed {seed}");
    }
}

#[test]
fn who_joins_learns_what_was_changed_before() {
    let mut cluster = Cluster::joined(1, 3);
    let profile = Profile { is_draining: true, ..weighing(7) };
    cluster.act(&id(2, 1), |swim, now| swim.set_profile(now, profile));
    cluster.run_for(Duration::from_secs(1));
    cluster.add(member(4, 1));
    cluster.join(id(4, 1), 1);
    cluster.run_for(Duration::from_secs(1));
    let view = cluster.nodes[&id(4, 1)].view();
    let profile = &view.find("n2").expect("a member").profile;
    assert_eq!((profile.version, profile.weight, profile.is_draining), (2, 7, true));
}

#[test]
fn a_node_that_leaves_is_gone_without_a_suspicion() {
    for (seed, count) in [(1, 2), (2, 4), (3, 7)] {
        let mut cluster = Cluster::joined(seed, count);
        let then = cluster.now;
        cluster.act(&id(2, 1), |swim, now| swim.leave(now));
        cluster.run_for(Duration::from_secs(1));
        // One second is less than what a suspect has to refute.
        let gone = cluster
            .since(then)
            .filter(|(.., event)| **event == MembershipEvent::Down(member(2, 1)));
        assert_eq!(gone.count(), usize::from(count) - 1);
        let left = cluster.nodes.get(&id(2, 1)).expect("the node");
        assert_eq!(left.poll_timeout(), None);
        cluster.run_for(Duration::from_secs(60));
        assert_eq!(cluster.since(then).count(), usize::from(count) - 1);
    }
}

#[test]
fn a_restart_replaces_the_earlier_incarnation() {
    let mut cluster = Cluster::joined(4, 4);
    let then = cluster.now;
    cluster.kill(&id(2, 1));
    assert_eq!(cluster.nodes[&id(1, 1)].highest_incarnation("n2"), 1);
    cluster.add(member(2, 2));
    cluster.join(id(2, 2), 1);
    cluster.run_for(Duration::from_secs(1));
    cluster.assert_views_are(&[member(1, 1), member(2, 2), member(3, 1), member(4, 1)]);
    for n in [1, 3, 4] {
        let events = cluster.since(then).filter(|(_, node, _)| **node == id(n, 1));
        let events: Vec<_> = events.map(|(.., event)| event.clone()).collect();
        let expected = [MembershipEvent::Down(member(2, 1)), MembershipEvent::Up(member(2, 2))];
        assert_eq!(events, expected);
        assert_eq!(cluster.nodes[&id(n, 1)].highest_incarnation("n2"), 2);
    }
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(cluster.since(then).filter(|(at, ..)| *at > Duration::from_secs(1)).count(), 0);
}

#[test]
fn an_earlier_incarnation_that_wakes_up_ends() {
    for seed in 0..20 {
        let mut cluster = Cluster::joined(seed, 4);
        // It is stopped, not dead; meanwhile its successor joins.
        let asleep = cluster.nodes.remove(&id(2, 1)).expect("the node");
        cluster.add(member(2, 2));
        cluster.join(id(2, 2), 1);
        cluster.run_for(Duration::from_secs(1));
        let then = cluster.now;
        cluster.nodes.insert(id(2, 1), asleep);
        cluster.run_for(Duration::from_secs(20));
        let events: Vec<_> = cluster.since(then).collect();
        let ended = events.iter().filter(|(.., event)| **event == MembershipEvent::DeclaredDown);
        assert_eq!(ended.count(), 1, "{events:?}");
        assert!(events.iter().all(|(_, node, _)| **node == id(2, 1)), "{events:?}");
    }
}

/// Cuts some nodes off for a while, and returns who learned that it was declared down.
fn cut_off(mut cluster: Cluster, apart: &[u16], cut: Cut, time: Duration) -> BTreeSet<NodeId> {
    let then = cluster.now;
    cluster.apart = apart.iter().map(|n| id(*n, 1)).collect();
    cluster.cut = Some(cut);
    cluster.run_for(time);
    cluster.cut = None;
    cluster.run_for(Duration::from_secs(30));
    let ended = cluster.since(then).filter(|(.., event)| **event == MembershipEvent::DeclaredDown);
    let ended: Vec<_> = ended.map(|(_, node, _)| node.clone()).collect();
    for node in &ended {
        assert_eq!(cluster.nodes[node].poll_timeout(), None, "{node} is not silent");
    }
    let once = ended.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(once.len(), ended.len(), "{ended:?}");
    once
}

#[test]
fn a_node_that_was_cut_off_learns_that_it_is_down_and_nobody_else_ends() {
    let time = Duration::from_secs(15);
    for seed in 0..30 {
        for node in [1, 3] {
            for cut in [Cut::Both, Cut::In, Cut::Out] {
                let ended = cut_off(Cluster::joined(seed, 4), &[node], cut, time);
                assert_eq!(ended, BTreeSet::from([id(node, 1)]), "seed {seed}, {cut:?}");
            }
        }
        let ended = cut_off(Cluster::joined(seed, 2), &[2], Cut::Both, time);
        assert_eq!(ended.len(), 1, "seed {seed}: one of two ends");
    }
}

#[test]
fn only_the_smaller_side_of_a_healed_partition_ends() {
    let (time, ids) = (Duration::from_secs(15), |a, b| BTreeSet::from([id(a, 1), id(b, 1)]));
    for seed in 0..30 {
        let ended = cut_off(Cluster::joined(seed, 5), &[2, 4], Cut::Both, time);
        assert_eq!(ended, ids(2, 4), "seed {seed}");
        let ended = cut_off(Cluster::joined(seed, 4), &[2, 4], Cut::Both, time);
        assert!(ended == ids(1, 3) || ended == ids(2, 4), "seed {seed}: {ended:?} ended");
    }
}

#[test]
fn a_short_cut_ends_nobody_but_the_one_cut_off() {
    for millis in (1_200..5_000).step_by(300) {
        for seed in 0..15 {
            let cluster = Cluster::joined(seed, 7);
            let ended = cut_off(cluster, &[3], Cut::Both, Duration::from_millis(millis));
            let allowed = if millis < 1_500 { vec![] } else { vec![id(3, 1)] };
            let is_allowed = ended.iter().all(|node| allowed.contains(node));
            assert!(is_allowed, "seed {seed}, {millis} ms: {ended:?} ended");
        }
    }
}

#[test]
fn an_incarnation_that_was_down_never_comes_back() {
    let mut cluster = Cluster::joined(9, 3);
    let asleep = cluster.nodes.remove(&id(3, 1)).expect("the node");
    cluster.run_for(Duration::from_secs(3_600));
    let then = cluster.now;
    cluster.nodes.insert(id(3, 1), asleep);
    cluster.run_for(Duration::from_secs(60));
    let events: Vec<_> = cluster.since(then).collect();
    let [(_, node, MembershipEvent::DeclaredDown)] = events[..] else { panic!("{events:?}") };
    assert_eq!(*node, id(3, 1));
}

#[test]
fn nobody_is_declared_down_at_five_percent_loss() {
    for (seed, count) in [(0, 3), (1, 5), (2, 5), (3, 10)] {
        let mut cluster = Cluster::joined(seed, count);
        let then = cluster.now;
        cluster.loss_percent = 5;
        cluster.jitter = Duration::from_millis(50);
        cluster.run_for(Duration::from_secs(600));
        assert_eq!(cluster.since(then).collect::<Vec<_>>(), [], "seed {seed}");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed| {
        let mut cluster = Cluster::joined(seed, 5);
        cluster.loss_percent = 20;
        cluster.kill(&id(5, 1));
        cluster.run_for(Duration::from_secs(20));
        (cluster.trace, cluster.sent)
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn the_scope_of_an_address_stays_at_home() {
    let scoped = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7_002, 3, 4);
    let plain = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7_002, 0, 0);
    let mut cluster = Cluster::new(3);
    cluster.add(member(1, 1));
    cluster.add(Member { addr: scoped.into(), ..member(2, 1) });
    cluster.join(id(2, 1), 1);
    cluster.run_for(Duration::from_secs(10));
    cluster.assert_views_are(&[member(1, 1), Member { addr: plain.into(), ..member(2, 1) }]);
}

/// A core that has seen a member come and go, and every packet that it was sent.
fn experienced() -> (Swim, Instant, Vec<Vec<u8>>) {
    let mut cluster = Cluster::joined(6, 3);
    cluster.kill(&id(3, 1));
    cluster.run_for(Duration::from_secs(5));
    let packets = std::mem::take(&mut cluster.received);
    let swim = cluster.nodes.remove(&id(1, 1)).expect("the node");
    let to_it = packets.into_iter().filter(|(to, _)| *to == id(1, 1));
    (swim, cluster.now, to_it.map(|(_, packet)| packet).collect())
}

#[test]
fn malformed_packets_change_nothing() {
    let (mut swim, now, packets) = experienced();
    let view = Arc::clone(swim.view());
    let mut refused = 0;
    for packet in packets {
        for broken in [&packet[..packet.len() - 1], &[&packet[..], &[0]].concat()] {
            swim.handle_packet(now, broken);
            refused += 1;
            assert_eq!((swim.view(), swim.refused_packets()), (&view, refused), "{broken:?}");
        }
    }
    assert!(refused > 100 && swim.poll_event().is_none() && swim.poll_packet().is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut swim, now) = (Swim::new(&member(1, 1), 1, Random::from_seed(1)), Clock::default().now());
        let view = Arc::clone(swim.view());
        swim.handle_packet(now, &bytes);
        prop_assert_eq!(swim.view(), &view);
        prop_assert_eq!(swim.refused_packets(), 1);
    }

    #[test]
    fn no_altered_packet_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let (mut swim, now, mut packets) = experienced();
        for (packet, byte, value) in changes {
            let packet = packet.index(packets.len());
            let packet = &mut packets[packet];
            let at = byte.index(packet.len());
            packet[at] = value;
            swim.handle_packet(now, packet);
        }
        swim.handle_timeout(now + Duration::from_secs(5));
        let names: Vec<_> = swim.view().members.iter().map(|member| member.id.name.clone()).collect();
        prop_assert!(names.is_sorted() && swim.view().contains(&id(1, 1)));
    }
}
