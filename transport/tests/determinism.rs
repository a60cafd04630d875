//! One seed is one run, in whatever process it is played: checked by playing it in several, which
//! are this program again.
//!
//! The check is believed because it catches a randomly seeded map that was planted on purpose.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    cell::Cell,
    future::Future,
    net::{IpAddr, SocketAddr},
    process::Command,
    rc::Rc,
    time::Duration,
};

use actix_cluster_transport::{
    Bound, Class, ClusterName, ConnectError, Events, Frames, NodeName, PeerId, Random, Refusal,
    Session, Transport, TransportConfig, Unsettled,
    development::Authority,
    simulation::{Host, Link, Process, SimulatedNetwork},
    socket::{Journal, Network},
};
use bytes::Bytes;
use tokio::{sync::oneshot, task::LocalSet};

/// What a process of this program is asked to play: a world's name and its seed.
const PLAY: &str = "ACTIX_CLUSTER_PLAY_IN_TESTS";

/// What the lines of a played world's log begin with.
const LINE: &str = "trace: ";

#[test]
fn one_seed_gives_one_trace_in_every_process() {
    let first = play_in_a_process("storm", 1);
    let second = play_in_a_process("storm", 1);
    assert_eq!(first_difference(&first, &second), None);
    assert!(first.len() > 1_000, "{} lines are no storm", first.len());
    for event in ["is cut", "pauses", "is killed", "drifts", "rebound", "link up", "Lost"] {
        assert!(first.iter().any(|line| line.contains(event)), "{event} did not happen");
    }
}

#[test]
fn another_seed_gives_another_trace() {
    let difference =
        first_difference(&play_in_a_process("storm", 1), &play_in_a_process("storm", 2));
    assert!(difference.is_some());
}

#[test]
fn a_randomly_seeded_map_that_decides_the_order_of_sends_is_caught() {
    // 32 keys have 2.6e35 orders: two processes never agree by chance.
    let mut runs = (0..3).map(|_| play_in_a_process("planted", 1));
    let first = runs.next().expect("three runs");
    for other in runs {
        let (ours, theirs) = first_difference(&first, &other).expect("the map's order shows");
        // They part where the planted sends begin, and not in the set-up that is decided.
        let planted = first.iter().position(|line| line.contains("the sends begin"));
        let parted = first.iter().position(|line| *line == ours);
        assert!(parted > planted && planted.is_some(), "they part at\n{ours}\n{theirs}");
    }
}

#[test]
fn an_ordered_map_in_its_place_is_not() {
    let [first, second] = [0, 1].map(|_| play_in_a_process("ordered", 1));
    assert_eq!(first_difference(&first, &second), None);
}

/// The part of a child process; in a plain run of the tests there is nothing to play.
#[test]
fn what_a_process_is_asked_for_is_played() {
    let Ok(asked) = std::env::var(PLAY) else { return };
    let (world, seed) = asked.split_once(' ').expect("a world and a seed");
    let seed = seed.parse().expect("a number");
    let network = SimulatedNetwork::new(seed);
    network.keep_log(1 << 20);
    match world {
        "storm" => simulate(storm(network.clone())),
        "planted" => simulate(sends(network.clone(), randomly_ordered())),
        "ordered" => simulate(sends(network.clone(), (0..KEYS).collect())),
        other => panic!("there is no world {other}"),
    }
    for entry in network.log().entries() {
        println!("{LINE}{entry}");
    }
    println!("{LINE}{:?} {:?}", network.trace(), network.stats());
}

/// Plays a world in a process of its own, and gives its log.
fn play_in_a_process(world: &str, seed: u64) -> Vec<String> {
    let program = std::env::current_exe().expect("this program");
    let played = Command::new(program)
        .args(["--exact", "what_a_process_is_asked_for_is_played", "--nocapture"])
        .env(PLAY, format!("{world} {seed}"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}\n{}", String::from_utf8_lossy(&played.stderr));
    let log: Vec<_> =
        said.lines().filter_map(|line| line.split_once(LINE)).map(|(_, l)| l.to_owned()).collect();
    assert!(!log.is_empty(), "it played nothing: {said}");
    log
}

/// The first line in which two logs differ.
fn first_difference(ours: &[String], theirs: &[String]) -> Option<(String, String)> {
    let line = |log: &[String], at: usize| log.get(at).cloned().unwrap_or_default();
    (0..ours.len().max(theirs.len()))
        .map(|at| (line(ours, at), line(theirs, at)))
        .find(|(ours, theirs)| ours != theirs)
}

/// Three nodes that all dial each other and talk without pause, while everything happens to them.
async fn storm(network: SimulatedNetwork) {
    let world = World::new(network);
    let network = &world.network;
    network.set_link(Link { loss: 0.02, duplicate: 0.01, reorder: 0.02, ..Link::default() });
    network.set_clock_rate(ip(2), 80_000);
    network.set_clock_rate(ip(3), -80_000);
    let mut nodes = Vec::new();
    for host in 1..=3 {
        nodes.push(world.start(host, 1).await);
    }
    let second = Rc::new(Cell::new(1));
    for (_, node) in &nodes {
        tokio::task::spawn_local(talk(node.clone(), Rc::clone(&second)));
    }
    pass(2_000).await;
    network.partition(ip(1), ip(2));
    pass(8_000).await;
    network.heal_all();
    network.partition_one_way(ip(2), ip(3));
    pass(3_000).await;
    network.heal_all();
    nodes[2].0.pause();
    pass(4_000).await;
    nodes[2].0.resume();
    network.set_clock_rate(ip(3), 50_000);
    pass(2_000).await;
    nodes[1].0.kill();
    pass(1_000).await;
    network.rebind(addr(1), 7001).expect("a free port");
    pass(2_000).await;
    network.rebind(addr(1), 7000).expect("its own port");
    second.set(2);
    nodes[1] = world.start(2, 2).await;
    tokio::task::spawn_local(talk(nodes[1].1.clone(), second));
    pass(5_000).await;
}

/// Dials all, again and again, and sends each something every 20 ms. `second` is the incarnation of
/// the second node.
async fn talk(node: Transport, second: Rc<Cell<u64>>) {
    for round in 0u32.. {
        for host in 1..=3 {
            let Some(name) = Some(name_of(host)).filter(|name| *name != node.local().name) else {
                continue;
            };
            if round.is_multiple_of(50) {
                let incarnation = if host == 2 { second.get() } else { 1 };
                node.connect(&PeerId { name: name.clone(), incarnation }, addr(host));
            }
            if let Some(session) = node.session(&name) {
                let payload = vec![0; round as usize % 300];
                let _ = session.try_send(Class::Message, round.into(), round.into(), &payload);
            }
        }
        pass(20).await;
    }
}

/// How many keys the planted map has.
const KEYS: u32 = 32;

#[expect(clippy::disallowed_types, reason = "planted on purpose: the test has to catch it")]
fn randomly_ordered() -> Vec<u32> {
    let map: std::collections::HashMap<u32, ()> = (0..KEYS).map(|key| (key, ())).collect();
    map.into_keys().collect()
}

/// Sends something for each key, in the order given, each of a length that tells it.
async fn sends(network: SimulatedNetwork, keys: Vec<u32>) {
    let world = World::new(network);
    let [a, b] = [world.start(1, 1).await, world.start(2, 1).await];
    let session = loop {
        a.1.connect(b.1.local(), addr(2));
        pass(10).await;
        if let Some(session) = a.1.session(&name_of(2)) {
            break session;
        }
    };
    pass(1_000).await;
    world.network.record(format_args!("the sends begin"));
    for key in keys {
        let payload = vec![0; 40 + 10 * key as usize];
        session.try_send(Class::Message, 1, key.into(), &payload).expect("there is room");
        pass(10).await;
    }
}

struct World {
    network: SimulatedNetwork,
    authority: Authority,
}

impl World {
    fn new(network: SimulatedNetwork) -> Self {
        Self { network, authority: Authority::new() }
    }

    async fn start(&self, host: u8, incarnation: u64) -> (Process, Transport) {
        let name = name_of(host);
        let cluster = ClusterName::new("test").expect("a name");
        let credentials = self.authority.issue(&name);
        let config = TransportConfig::new(cluster, name, credentials, addr(host));
        let (give, take) = oneshot::channel();
        let process = Process::start(&self.network, ip(host), async move |host: Host| {
            let random = Random::from_seed(host.seed().expect("a simulated host has one"));
            let bound = Bound::bind(config, &host, host.clock(), random).expect("bound");
            let events = Rc::new(Journalled(host.journal()));
            let _ = give.send(bound.open(incarnation, Bytes::new(), events));
            std::future::pending::<()>().await;
        });
        (process, take.await.expect("it starts"))
    }
}

/// A layer above that records all that it is told.
struct Journalled(Journal);

impl Events for Journalled {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, session: &Session, first: bool) {
        self.0.record(format_args!("link up to {}, first: {first}", session.peer()));
    }

    fn link_down(&self, session: &Session) {
        self.0.record(format_args!("link down to {}", session.peer()));
    }

    fn deliver(&self, session: &Session, frames: &Frames) {
        for frame in frames {
            self.0.record(format_args!("frame {} from {}", frame.target, session.peer()));
            session.settle(frame.ticket);
        }
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, session: &Session, unsettled: Vec<Unsettled>) {
        let unsettled = unsettled.len();
        self.0.record(format_args!("session with {} ended: {unsettled}", session.peer()));
    }

    fn dial_failed(&self, peer: &PeerId, error: &ConnectError) {
        self.0.record(format_args!("dial of {peer} failed: {error}"));
    }
}

fn ip(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

fn addr(host: u8) -> SocketAddr {
    SocketAddr::new(ip(host), 7000)
}

fn name_of(host: u8) -> NodeName {
    NodeName::new(&format!("n{host}")).expect("a name")
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn simulate(world: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, world);
}
