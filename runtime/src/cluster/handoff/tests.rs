//! A cluster of hand-offs without a network: channels that are emptied when the test says so.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::cluster::placement::Candidate;

/// The shards that are looked at.
const LOOKED_AT: [Shard; 5] = [Shard(0), Shard(700), Shard(1_500), Shard(2_300), Shard(4_095)];

/// A message: who sent it, to which of the shards, and the how manieth it is.
type Message = (usize, Shard, u32);

/// What goes from one node to another, in order.
#[derive(Debug)]
enum Sent {
    Message(Message),
    /// So many have come back so far.
    Flush {
        marker: u64,
        seen: u64,
    },
    /// It came to the wrong node.
    Back(Message),
    Flushed {
        marker: u64,
        moved: u64,
    },
    /// What the entities of a shard have left behind.
    Install(Shard),
    Installed(Shard, u64),
}

#[derive(Debug)]
struct Node {
    handoff: Handoff,
    is_leaving: bool,
    /// By receiver: how many were sent back to each, and what each has heard of the holdings.
    sent_back: Vec<u64>,
    /// From whom nothing is taken for a shard until that has seen what was sent back.
    refusing: BTreeSet<(usize, Shard)>,
    told: Vec<Option<u64>>,
    come_back: Vec<u64>,
    /// The marker that is awaited, and how many had come back when it was asked for.
    flushing: Vec<Option<(u64, u64)>>,
    /// What came back, until it is sent on.
    returned: VecDeque<Message>,
    sent: BTreeMap<Shard, u32>,
    sealed: Vec<(TableId, Shard)>,
    /// The shards whose state is here.
    state: BTreeSet<Shard>,
    /// Those of them whose state was sent on, and not heard of since.
    under_way: BTreeSet<Shard>,
}

#[derive(Debug)]
struct World {
    now: Instant,
    /// Whether all nodes see who comes and goes at the same time.
    sees_at_once: bool,
    nodes: Vec<Node>,
    channels: Vec<Vec<VecDeque<Sent>>>,
    /// What was handled, by sender and shard.
    handled: BTreeMap<(usize, Shard), Vec<u32>>,
    /// The shards that were ever opened, and so have a state somewhere.
    begun: BTreeSet<Shard>,
}

#[derive(Clone, Debug)]
enum Op {
    Join,
    Leave(usize),
    /// A node learns who is there.
    See(usize),
    /// A node tells another what it has.
    Tell(usize, usize),
    /// The next of what one node has sent to another arrives.
    Arrive(usize, usize),
    Send(usize, usize),
    /// What a node has sealed is empty.
    Empty(usize),
}

const MOST: usize = 5;

fn id(node: usize) -> NodeId {
    NodeId { name: format!("n{node}").into(), incarnation: 1 }
}

impl World {
    fn new(sees_at_once: bool) -> Self {
        let now = actix_cluster_transport::Clock::default().now();
        let channels = (0..MOST).map(|_| (0..MOST).map(|_| VecDeque::new()).collect()).collect();
        let (nodes, handled, begun) = Default::default();
        let mut world = Self { now, sees_at_once, nodes, channels, handled, begun };
        world.join();
        world.see(0);
        world
    }

    fn join(&mut self) {
        if self.nodes.len() == MOST {
            return;
        }
        let new = self.nodes.len();
        let handoff = Handoff::new(id(new));
        self.nodes.push(Node {
            handoff,
            is_leaving: false,
            sent_back: vec![0; MOST],
            refusing: BTreeSet::new(),
            told: vec![None; MOST],
            come_back: vec![0; MOST],
            flushing: vec![None; MOST],
            returned: VecDeque::new(),
            sent: BTreeMap::new(),
            sealed: Vec::new(),
            state: BTreeSet::new(),
            under_way: BTreeSet::new(),
        });
        for other in 0..new {
            self.nodes[new].handoff.handle_link(&id(other));
            self.nodes[other].handoff.handle_link(&id(new));
            self.decide(other);
        }
        self.see(new);
    }

    fn table(&self) -> Table {
        let stay = self.nodes.iter().enumerate().filter(|(_, node)| !node.is_leaving);
        let candidate = |(node, _)| Candidate { node: id(node), weight: 1 };
        Table::compute(&stay.map(candidate).collect::<Vec<_>>())
    }

    fn see(&mut self, node: usize) {
        let target = Target { table: self.table(), is_local_first: false };
        let others = (0..self.nodes.len()).filter(|other| *other != node).map(id);
        self.nodes[node].handoff.handle_view(self.now, others, [(COMMON, target)]);
        self.decide(node);
    }

    fn decide(&mut self, node: usize) {
        let is_busy = |_, shard| LOOKED_AT.contains(&shard);
        let steps = self.nodes[node].handoff.decide(self.now, is_busy);
        for step in steps {
            match step {
                Step::Drain { table, shard, end } => {
                    assert_eq!(end, End::HandOver);
                    self.nodes[node].sealed.push((table, shard));
                }
                Step::Flush { node: other, marker } => {
                    let other = self.number(&other);
                    self.flush(node, other, marker);
                }
            }
        }
        if self.sees_at_once {
            for shard in LOOKED_AT {
                let open = self.nodes.iter().filter(|node| node.opens(shard)).count();
                assert!(open <= 1, "{shard:?} is open on {open} nodes");
                self.has_state_where_open(node, shard);
            }
        }
        self.send_on(node);
    }

    /// Whoever has opened a shard has its state, and nobody else does.
    fn has_state_where_open(&mut self, node: usize, shard: Shard) {
        if self.nodes[node].opens(shard) {
            if self.begun.insert(shard) {
                self.nodes[node].state.insert(shard);
            }
            let who = (0..self.nodes.len()).filter(|node| self.nodes[*node].state.contains(&shard));
            assert_eq!(who.collect::<Vec<_>>(), [node], "the state of {shard:?}");
        }
    }

    fn flush(&mut self, node: usize, other: usize, marker: u64) {
        let seen = self.nodes[node].come_back[other];
        self.nodes[node].flushing[other] = Some((marker, seen));
        self.channels[node][other].push_back(Sent::Flush { marker, seen });
    }

    fn number(&self, id_of: &NodeId) -> usize {
        (0..self.nodes.len()).find(|node| id(*node) == *id_of).expect("it is there")
    }

    /// Sends on what came back, the first first.
    fn send_on(&mut self, node: usize) {
        let returned = std::mem::take(&mut self.nodes[node].returned);
        for message in returned {
            let (_, shard, _) = message;
            let is_behind = self.nodes[node].returned.iter().any(|(_, of, _)| *of == shard);
            if is_behind || !self.give(node, message) {
                self.nodes[node].returned.push_back(message);
            }
        }
    }

    /// Brings a message to where its sender's route leads, if it has one.
    fn give(&mut self, node: usize, message: Message) -> bool {
        let (_, shard, _) = message;
        let route = self.nodes[node].handoff.routed()[&COMMON].table.owner(shard).cloned();
        let Some(route) = route else { return false };
        let to = self.number(&route);
        if to == node {
            assert!(self.nodes[node].opens(shard), "a node routes to itself what it has open");
            self.handle(message);
        } else {
            self.channels[node][to].push_back(Sent::Message(message));
        }
        true
    }

    fn handle(&mut self, (from, shard, number): Message) {
        let handled = self.handled.entry((from, shard)).or_default();
        assert!(
            handled.last() < Some(&number),
            "{number} of {from} after {handled:?} in {shard:?}"
        );
        handled.push(number);
    }

    fn send(&mut self, node: usize, shard: Shard) {
        if self.nodes[node].returned.iter().any(|(_, of, _)| *of == shard) {
            return;
        }
        let number = self.nodes[node].sent.get(&shard).map_or(1, |last| last + 1);
        if self.give(node, (node, shard, number)) {
            self.nodes[node].sent.insert(shard, number);
        }
    }

    fn tell(&mut self, from: usize, to: usize) {
        let holdings = self.nodes[from].handoff.holdings();
        self.nodes[from].told[to] = Some(holdings.version);
        self.nodes[to].handoff.handle_holdings(&id(from), holdings);
        self.decide(to);
    }

    fn arrive(&mut self, from: usize, to: usize) {
        let Some(sent) = self.channels[from][to].pop_front() else { return };
        match sent {
            Sent::Message(message) if self.nodes[to].takes(from, message.1) => self.handle(message),
            Sent::Message(message) => {
                self.nodes[to].sent_back[from] += 1;
                self.nodes[to].refusing.insert((from, message.1));
                self.channels[to][from].push_back(Sent::Back(message));
            }
            Sent::Flush { marker, seen } => {
                let moved = self.nodes[to].sent_back[from];
                if seen == moved {
                    self.nodes[to].refusing.retain(|(of, _)| *of != from);
                }
                // It may overtake what goes back, which is why that is counted.
                self.channels[to][from].push_front(Sent::Flushed { marker, moved });
            }
            Sent::Back(message) => {
                self.nodes[to].returned.push_back(message);
                self.nodes[to].come_back[from] += 1;
                self.nodes[to].handoff.handle_late(&id(from), COMMON, message.1);
            }
            Sent::Flushed { marker, moved } => {
                if let Some((asked, seen)) = self.nodes[to].flushing[from]
                    && asked == marker
                {
                    self.flushed(to, from, marker, seen == moved);
                }
            }
            Sent::Install(shard) => {
                self.nodes[to].state.insert(shard);
                let version = self.nodes[to].handoff.handle_installed(COMMON, shard);
                self.channels[to][from].push_back(Sent::Installed(shard, version));
            }
            Sent::Installed(shard, version) => {
                self.nodes[to].handoff.handle_given(&id(from), COMMON, shard, version);
                self.nodes[to].under_way.remove(&shard);
                self.nodes[to].state.remove(&shard);
            }
        }
        self.decide(to);
    }

    /// A marker has come: all is back, or it is asked for again.
    fn flushed(&mut self, node: usize, other: usize, marker: u64, is_all: bool) {
        if is_all {
            self.nodes[node].flushing[other] = None;
            self.nodes[node].handoff.handle_flushed(&id(other), marker);
        } else {
            self.flush(node, other, marker);
        }
    }

    fn empty(&mut self, node: usize) {
        for (table, shard) in std::mem::take(&mut self.nodes[node].sealed) {
            if !self.transfer(node, shard) {
                self.nodes[node].sealed.push((table, shard));
                continue;
            }
            let is_left = self.nodes[node].state.contains(&shard);
            self.nodes[node].handoff.handle_drained(table, shard, is_left);
        }
        self.decide(node);
    }

    /// Sends on what is left of a shard. Returns whether that is done.
    fn transfer(&mut self, node: usize, shard: Shard) -> bool {
        let of = &mut self.nodes[node];
        if !of.state.contains(&shard) {
            return true;
        }
        if of.under_way.contains(&shard) {
            return false;
        }
        let target = of.handoff.target(COMMON, shard).cloned().expect("somebody is to have it");
        if target == id(node) {
            return true;
        }
        of.under_way.insert(shard);
        let to = self.number(&target);
        self.channels[node][to].push_back(Sent::Install(shard));
        false
    }

    fn play(&mut self, op: &Op) {
        let pick = |number: usize| number % self.nodes.len();
        match *op {
            Op::Join => {
                self.join();
                self.see_at_once();
            }
            Op::Leave(node) => {
                let node = pick(node);
                let stay = self.nodes.iter().filter(|node| !node.is_leaving).count();
                if stay > 1 {
                    self.nodes[node].is_leaving = true;
                    self.see_at_once();
                }
            }
            Op::See(node) => self.see(pick(node)),
            Op::Tell(from, to) if pick(from) != pick(to) => self.tell(pick(from), pick(to)),
            Op::Arrive(from, to) if pick(from) != pick(to) => self.arrive(pick(from), pick(to)),
            Op::Tell(..) | Op::Arrive(..) => {}
            Op::Send(node, shard) => self.send(pick(node), LOOKED_AT[shard % LOOKED_AT.len()]),
            Op::Empty(node) => self.empty(pick(node)),
        }
    }

    fn see_at_once(&mut self) {
        if self.sees_at_once {
            (0..self.nodes.len()).for_each(|node| self.see(node));
        }
    }

    /// Lets all come to where it should be.
    fn settle(&mut self) {
        for _ in 0..20 {
            for node in 0..self.nodes.len() {
                self.see(node);
                self.empty(node);
                for other in (0..self.nodes.len()).filter(|other| *other != node) {
                    self.tell(node, other);
                    while !self.channels[node][other].is_empty() {
                        self.arrive(node, other);
                    }
                }
            }
            if self.is_settled() {
                return;
            }
        }
        panic!("it does not settle");
    }

    fn is_settled(&self) -> bool {
        let table = self.table();
        let is_there = |shard: &Shard| {
            let target = table.owner(*shard).map(|target| self.number(target));
            target.is_some_and(|target| self.nodes[target].opens(*shard))
        };
        let is_quiet = |node: &Node| node.returned.is_empty();
        LOOKED_AT.iter().all(is_there)
            && self.nodes.iter().all(is_quiet)
            && self.channels.iter().flatten().all(VecDeque::is_empty)
    }
}

impl Node {
    fn takes(&self, from: usize, shard: Shard) -> bool {
        self.opens(shard) && !self.refusing.contains(&(from, shard))
    }

    fn opens(&self, shard: Shard) -> bool {
        self.handoff.plans.get(&COMMON).is_some_and(|plan| plan.open.has(shard))
    }
}

fn op() -> impl Strategy<Value = Op> {
    let node = || 0..MOST;
    prop_oneof![
        1 => Just(Op::Join),
        1 => node().prop_map(Op::Leave),
        3 => node().prop_map(Op::See),
        6 => (node(), node()).prop_map(|(from, to)| Op::Tell(from, to)),
        12 => (node(), node()).prop_map(|(from, to)| Op::Arrive(from, to)),
        12 => (node(), 0..LOOKED_AT.len()).prop_map(|(node, shard)| Op::Send(node, shard)),
        4 => node().prop_map(Op::Empty),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn while_nobody_dies_nothing_is_lost_or_overtaken_and_a_shard_is_open_once_by_one_view(
        ops in proptest::collection::vec(op(), 40..200),
        sees_at_once in any::<bool>(),
    ) {
        let mut world = World::new(sees_at_once);
        ops.iter().for_each(|op| world.play(op));
        world.settle();
        // All is handled, and goes on being so.
        for node in 0..world.nodes.len() {
            LOOKED_AT.into_iter().for_each(|shard| world.send(node, shard));
        }
        world.settle();
        for (number, node) in world.nodes.iter().enumerate() {
            for (shard, last) in &node.sent {
                let handled = world.handled.get(&(number, *shard));
                let all: Vec<u32> = (1..=*last).collect();
                prop_assert_eq!(handled, Some(&all), "of {} in {:?}", number, shard);
            }
        }
    }
}

fn table(nodes: &[usize]) -> Target {
    let candidates = nodes.iter().map(|node| Candidate { node: id(*node), weight: 1 });
    Target { table: Table::compute(&candidates.collect::<Vec<_>>()), is_local_first: false }
}

fn start() -> Instant {
    actix_cluster_transport::Clock::default().now()
}

fn holds(shards: Shards) -> Holdings {
    Holdings { version: 1, tables: vec![(COMMON, shards)], ..Holdings::default() }
}

#[test]
fn a_node_alone_opens_all_at_once() {
    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(start(), [], [(COMMON, table(&[0]))]);
    assert_eq!(handoff.decide(start(), |_, _| false), []);
    assert_eq!(handoff.holdings(), holds(Shards::all()));
}

#[test]
fn what_a_member_may_have_waits_until_it_has_said_so_or_is_silent_for_too_long() {
    let now = start();
    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [id(1)], [(COMMON, table(&[0]))]);
    handoff.decide(now, |_, _| false);
    assert!(!handoff.has_something(), "nobody has said anything yet");
    let late = handoff.poll_timeout(now).expect("it does not wait for ever");
    assert_eq!(late, now + HEARING_PATIENCE);
    handoff.decide(late, |_, _| false);
    assert!(handoff.has_something());

    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [id(1)], [(COMMON, table(&[0]))]);
    handoff.handle_link(&id(1));
    let mut shards = Shards::default();
    shards.insert(Shard(7));
    handoff.handle_holdings(&id(1), holds(shards));
    handoff.decide(now, |_, _| false);
    let open = handoff.routed()[&COMMON].open.clone();
    assert!(open.has(Shard(8)) && !open.has(Shard(7)));
    handoff.handle_view(now, [], [(COMMON, table(&[0]))]);
    handoff.decide(now, |_, _| false);
    assert!(handoff.routed()[&COMMON].open.has(Shard(7)), "whoever has it is no member any more");
}

/// A node that has all, and a newcomer that is to have it once it has answered with the marker.
fn about_to_hand_over(now: Instant) -> (Handoff, u64) {
    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [], [(COMMON, table(&[0]))]);
    handoff.decide(now, |_, _| false);
    handoff.handle_link(&id(1));
    let Some(Step::Flush { marker, .. }) = handoff.decide(now, |_, _| false).pop() else {
        panic!("it is asked whether it answers")
    };
    handoff.handle_view(now, [id(1)], [(COMMON, table(&[1]))]);
    handoff.handle_holdings(&id(1), Holdings::default());
    (handoff, marker)
}

#[test]
fn so_many_shards_with_entities_are_sealed_at_a_time_and_those_without_all_at_once() {
    let now = start();
    let (mut handoff, marker) = about_to_hand_over(now);
    assert_eq!(handoff.decide(now, |_, _| true), [], "it has not answered on every lane");
    handoff.handle_flushed(&id(1), marker);
    let is_busy = |_, shard: Shard| shard.0 < 1_000;
    let steps = handoff.decide(now, is_busy);
    let idle = super::super::placement::SHARDS - 1_000;
    assert_eq!(steps.len(), SEALED_LIMIT + idle);
    assert_eq!(handoff.decide(now, is_busy), [], "no more until some are empty");
    handoff.handle_drained(COMMON, Shard(0), false);
    assert_eq!(handoff.decide(now, is_busy).len(), 1);
    assert!(handoff.holdings().has(COMMON, Shard(1)) && !handoff.holdings().has(COMMON, Shard(0)));
}

#[test]
fn a_shard_that_cannot_be_handed_over_stays_open_and_is_tried_again_later() {
    let now = start();
    let (mut handoff, marker) = about_to_hand_over(now);
    handoff.handle_flushed(&id(1), marker);
    assert_eq!(handoff.decide(now, |_, _| false).len(), super::super::placement::SHARDS);
    handoff.handle_kept(now, COMMON, Shard(7));
    assert_eq!(handoff.decide(now, |_, _| false), []);
    assert!(
        handoff.routed()[&COMMON].open.has(Shard(7)) && handoff.holdings().has(COMMON, Shard(7))
    );
    let later = handoff.poll_timeout(now).expect("it is tried again");
    assert_eq!(later, now + KEPT_FOR);
    let again = Step::Drain { table: COMMON, shard: Shard(7), end: End::HandOver };
    assert_eq!(handoff.decide(later, |_, _| false), [again]);
}

#[test]
fn what_was_installed_keeps_others_from_opening_its_shard_and_asks_nobody_to_send() {
    let now = start();
    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [id(1)], [(COMMON, table(&[1]))]);
    handoff.handle_link(&id(1));
    handoff.decide(now, |_, _| false);
    handoff.handle_installed(COMMON, Shard(7));
    handoff.decide(now, |_, _| false);
    let holdings = handoff.holdings();
    assert!(holdings.has(COMMON, Shard(7)) && !holdings.serves(COMMON, Shard(7)));
    assert!(handoff.has_something());

    let mut other = Handoff::new(id(1));
    other.handle_view(now, [id(0)], [(COMMON, table(&[1]))]);
    other.handle_link(&id(0));
    other.handle_holdings(&id(0), holdings);
    other.decide(now, |_, _| false);
    let open = other.routed()[&COMMON].open.clone();
    assert!(open.has(Shard(8)) && !open.has(Shard(7)));

    handoff.handle_view(now, [id(1)], [(COMMON, table(&[0]))]);
    handoff.handle_holdings(&id(1), Holdings::default());
    handoff.decide(now, |_, _| false);
    assert!(handoff.routed()[&COMMON].open.has(Shard(7)));
    assert_eq!(handoff.holdings().closed, []);
}

#[test]
fn a_newcomer_waits_for_members_that_others_know_of_but_not_for_those_that_are_gone() {
    let now = start();
    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [id(1)], [(COMMON, table(&[0]))]);
    handoff.handle_link(&id(1));
    let naming = |version, members: &[NodeId]| Holdings {
        version,
        members: members.to_vec(),
        ..holds(Shards::default())
    };
    handoff.handle_holdings(&id(1), naming(1, &[id(0), id(2)]));
    handoff.decide(now, |_, _| false);
    assert!(!handoff.has_something(), "n2 may have something");
    assert_eq!(handoff.poll_timeout(now), Some(now + HEARING_PATIENCE));
    let mut theirs = Shards::default();
    theirs.insert(Shard(7));
    handoff.handle_link(&id(2));
    handoff.handle_holdings(&id(2), holds(theirs));
    handoff.decide(now, |_, _| false);
    let open = handoff.routed()[&COMMON].open.clone();
    assert!(
        open.has(Shard(8)) && !open.has(Shard(7)),
        "a newcomer counts before it is a member here"
    );

    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [id(1), id(2)], [(COMMON, table(&[1]))]);
    handoff.handle_link(&id(1));
    handoff.handle_holdings(&id(1), naming(1, &[id(0), id(2)]));
    handoff.handle_view(now, [id(1)], [(COMMON, table(&[0]))]);
    handoff.decide(now, |_, _| false);
    assert!(handoff.has_something(), "n2 is known to be gone");
    assert_eq!(handoff.gone.len(), 1);
    handoff.handle_holdings(&id(1), naming(2, &[id(0)]));
    handoff.decide(now, |_, _| false);
    assert_eq!(handoff.gone.len(), 0, "all know it");
}

#[test]
fn what_nobody_is_to_have_is_given_up_at_once() {
    let now = start();
    let mut handoff = Handoff::new(id(0));
    handoff.handle_view(now, [], [(COMMON, table(&[0]))]);
    handoff.decide(now, |_, _| true);
    let nobody = Target { table: Table::empty(), is_local_first: false };
    handoff.handle_view(now, [], [(COMMON, nobody)]);
    let steps = handoff.decide(now, |_, _| true);
    assert_eq!(steps.len(), super::super::placement::SHARDS);
    assert!(steps.iter().all(|step| matches!(step, Step::Drain { end: End::GiveUp, .. })));
}
