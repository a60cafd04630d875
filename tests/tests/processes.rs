//! Real processes on loopback: SIGKILL, SIGSTOP, a restart at the same address, and a handler that blocks its
//! thread.
//!
//! The test binary runs itself as the nodes: [`a_node_process`] does nothing unless it is told to
//! be one.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    env,
    net::SocketAddr,
    num::NonZeroUsize,
    process::Command,
    time::{Duration, Instant},
};

use actix_cluster::{NodeId, ShutdownPhases, UnknownReason, prelude::*};
use actix_cluster_tests::processes::{
    PATIENCE, Process, Scratch, command, orders,
    place::{Block, Ping, Place, Where},
    role, run, say_lives,
};

const DIRECTORY: &str = "ACTIX_CLUSTER_TEST_DIRECTORY";
const SEED: &str = "ACTIX_CLUSTER_TEST_SEED";
const BIND: &str = "ACTIX_CLUSTER_TEST_BIND";

/// The node that other tests of this file start as a process.
#[test]
fn a_node_process() {
    let Some(name) = role() else { return };
    let addr = |variable| -> Option<SocketAddr> {
        env::var(variable).ok().map(|text| text.parse().expect("an address"))
    };
    let directory = env::var(DIRECTORY).expect("a directory");
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("info").init();
    let _orders = orders();
    run(async {
        let mut config = ClusterConfig::dev_in("processes", directory).expect("an authority");
        config = config.seed(addr(SEED).expect("a seed"));
        if let Some(bind) = addr(BIND) {
            config = config.bind(bind);
        }
        let node = start(&name, config).await;
        let signalled = node.clone();
        let shutdown = tokio::spawn(async move {
            signalled.shutdown_on_signal(ShutdownPhases::default(), async {}).await
        });
        // Signals are waited for from the first poll on.
        tokio::task::yield_now().await;
        say_lives(&node).await;
        let report = shutdown.await.expect("it ends").expect("there are signals");
        println!("handed over: {}", report.hand_over.is_complete);
    });
}

async fn start(name: &str, config: ClusterConfig) -> Node {
    let two = NonZeroUsize::new(2).expect("not zero");
    let builder = Node::builder().name(name).arbiters(two).entity(|_| Place::default());
    builder.cluster(config).start().await.expect("it joins")
}

/// What starts the node `name` in a process of its own.
fn process(name: &str, scratch: &Scratch, founder: &Node) -> Command {
    let mut command = command(&[], "a_node_process", name);
    let seed = founder.addr().expect("a cluster").to_string();
    command.env(DIRECTORY, &scratch.0).env(SEED, seed);
    command
}

/// Keys that `owner` has, as `node` sees it.
fn keys_of(node: &Node, owner: &str, count: usize) -> Vec<String> {
    let is_owned = |key: &String| {
        node.owner_of::<Place>(key).is_some_and(|id: NodeId| id.to_string() == owner)
    };
    (0..).map(|n| format!("place-{n}")).filter(is_owned).take(count).collect()
}

async fn sees(node: &Node, members: usize) {
    let seen = async {
        let mut view = node.view().expect("a cluster");
        while view.members.len() != members {
            view = node.view_after(view.version).await;
        }
        node.wait_for_members(members).await;
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("it sees them");
}

/// The founder, in this process, and two others.
async fn cluster(scratch: &Scratch) -> (Node, Process, Process) {
    let config = ClusterConfig::dev_in("processes", &scratch.0).expect("an authority");
    let founder = start("founder", config).await;
    let one = Process::start(process("one", scratch, &founder)).await;
    let two = Process::start(process("two", scratch, &founder)).await;
    sees(&founder, 3).await;
    (founder, one, two)
}

#[test]
fn a_killed_processs_entities_answer_elsewhere() {
    let scratch = Scratch::new();
    run(async {
        let (founder, one, two) = cluster(&scratch).await;
        let keys = keys_of(&founder, &two.id, 40);
        for key in &keys {
            let at = founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
            assert_eq!(at, Where { node: two.id.clone(), pings: 1 });
        }
        let gone = two.id.clone();
        two.signal("-KILL");
        let killed = Instant::now();
        for key in &keys {
            let entity = founder.entity::<Place>(key);
            let at = loop {
                match entity.ask(Ping).within(Duration::from_millis(300)).await {
                    Ok(at) => break at,
                    Err(AskError::Unknown(reason)) => assert!(
                        matches!(reason, UnknownReason::Deadline | UnknownReason::NodeDown),
                        "{reason}"
                    ),
                    Err(AskError::Rejected { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                assert!(killed.elapsed() < Duration::from_secs(60), "it never answers");
            };
            assert_ne!(at.node, gone);
            assert_eq!(at.pings, 1, "a fresh activation");
        }
        drop(two);
        let again = Process::start(process("two", &scratch, &founder)).await;
        assert_eq!(again.id, "two/2");
        drop(one);
        founder.shutdown().await;
    });
}

#[test]
fn a_killed_process_that_is_restarted_at_once_at_its_address_is_a_fresh_member_there() {
    let scratch = Scratch::new();
    run(async {
        let (founder, _one, mut two) = cluster(&scratch).await;
        for again in ["two/2", "two/3"] {
            let keys = keys_of(&founder, &two.id, 20);
            for key in &keys {
                founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
            }
            let addr = two.addr.clone();
            two.signal("-KILL");
            two.child.wait().expect("it ends");
            // Nobody has noticed yet.
            let mut restarted = process("two", &scratch, &founder);
            restarted.env(BIND, &addr);
            two = Process::start(restarted).await;
            assert_eq!((two.id.as_str(), &two.addr), (again, &addr));
            sees(&founder, 3).await;
            let view = founder.view().expect("a cluster");
            let member = view.find("two").expect("it is a member");
            assert_eq!((member.id.to_string(), member.addr.to_string()), (again.into(), addr));
            for key in &keys_of(&founder, &two.id, 20) {
                let at = founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
                assert_eq!(at, Where { node: two.id.clone(), pings: 1 }, "nothing is left");
            }
        }
        founder.shutdown().await;
    });
}

#[test]
fn a_process_that_is_asked_to_end_hands_over_and_loses_nothing() {
    let scratch = Scratch::new();
    run(async {
        let (founder, _one, mut two) = cluster(&scratch).await;
        let keys = keys_of(&founder, &two.id, 40);
        two.signal("-TERM");
        for _ in 0..20 {
            for key in &keys {
                founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
            }
        }
        assert_eq!(two.wait_for("handed over: ").await, "true");
        let status = two.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        sees(&founder, 2).await;
        for key in &keys {
            let at = founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
            assert_ne!(at.node, two.id);
        }
        founder.shutdown().await;
    });
}

#[test]
fn a_process_that_was_paused_and_declared_down_joins_again_when_it_wakes() {
    let scratch = Scratch::new();
    run(async {
        let (founder, _one, mut two) = cluster(&scratch).await;
        for again in ["two/2", "two/3"] {
            let keys = keys_of(&founder, &two.id, 20);
            for key in &keys {
                let at = founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
                assert_eq!(at.node, two.id);
            }
            two.signal("-STOP");
            sees(&founder, 2).await;
            for key in &keys {
                let at = founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
                assert_ne!(at.node, two.id, "it is elsewhere");
            }
            two.signal("-CONT");
            two.id = two.wait_for("again ").await;
            assert_eq!(two.id, again);
            sees(&founder, 3).await;
            let fresh = keys_of(&founder, &two.id, 20);
            for key in &fresh {
                let at = founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
                assert_eq!(at, Where { node: two.id.clone(), pings: 1 }, "nothing is left");
            }
        }
        founder.shutdown().await;
    });
}

#[test]
fn a_handler_that_blocks_for_ten_seconds_stalls_its_own_arbiter_only() {
    let scratch = Scratch::new();
    run(async {
        let (founder, one, _two) = cluster(&scratch).await;
        let version = founder.view().expect("a cluster").version;
        let keys = keys_of(&founder, &one.id, 40);
        for key in &keys {
            founder.entity::<Place>(key).ask(Ping).await.expect("it answers");
        }
        let blocked = founder.entity::<Place>(&keys[0]);
        let began = Instant::now();
        let block = blocked.ask(Block { millis: 10_000 }).within(Duration::from_secs(60));
        let others = async {
            // The blocked arbiter's entities are those that do not answer now.
            let mut answering = Vec::new();
            for key in &keys {
                let entity = founder.entity::<Place>(key);
                if entity.ask(Ping).within(Duration::from_millis(200)).await.is_ok() {
                    answering.push(entity);
                }
            }
            assert!(answering.len() > 5, "one arbiter of two is blocked");
            assert!(answering.len() < keys.len(), "none is blocked");
            let mut rounds = 0;
            while began.elapsed() < Duration::from_secs(9) {
                for entity in &answering {
                    entity.ask(Ping).await.expect("the other arbiter's entities answer");
                }
                rounds += 1;
            }
            rounds
        };
        let (blocked, rounds) = tokio::join!(block, others);
        blocked.expect("it ends");
        assert!(rounds > 10, "only {rounds} rounds");
        assert_eq!(founder.view().expect("a cluster").version, version, "nobody was declared down");
        founder.shutdown().await;
    });
}
