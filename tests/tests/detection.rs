//! How soon all nodes know that one has ended, and that they believe it of nobody else.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::time::Duration;

use actix_cluster::transport::simulation::Link;
use actix_cluster_tests::{SimulatedNode, World, ip, pause, simulate};
use tokio::time::Instant;

/// So many nodes that see each other.
async fn cluster(world: &World, count: u8) -> Vec<SimulatedNode> {
    let mut nodes = Vec::new();
    for host in 1..=count {
        nodes.push(world.start(host, |builder| builder).await);
    }
    for node in &nodes {
        node.sees(count.into()).await;
    }
    nodes
}

/// How a node ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    Silent,
}

/// The longest that any node took to know of an end, over some worlds.
fn longest(count: u8, end: End, link: &Link) -> Duration {
    let mut longest = Duration::ZERO;
    for seed in 0..6 {
        let link = link.clone();
        let (told, took) = std::sync::mpsc::sync_channel(1);
        simulate(async move {
            let world = World::new(100 + seed);
            world.network.set_link(link);
            let mut nodes = cluster(&world, count).await;
            pause(5_000 + 173 * seed).await;
            let last = nodes.pop().expect("there are some");
            let begin = Instant::now();
            match end {
                End::Killed => last.kill().await,
                End::Silent => world.network.silence(ip(last.host)),
            }
            for node in &nodes {
                node.sees(usize::from(count) - 1).await;
            }
            told.send(begin.elapsed()).expect("it is awaited");
            pause(10_000).await;
            for node in &nodes {
                assert_eq!(node.node.members().len(), nodes.len(), "nobody else is down");
            }
        });
        longest = longest.max(took.recv().expect("it was told"));
    }
    println!("{count} nodes, {end:?}: {longest:?} at most");
    longest
}

#[test]
fn a_killed_process_is_known_down_everywhere_within_a_second_and_a_half() {
    for count in [2, 3, 5] {
        let took = longest(count, End::Killed, &Link::default());
        assert!(took < Duration::from_millis(1_500), "{count} nodes: {took:?}");
    }
}

#[test]
fn a_silent_host_is_known_down_everywhere_within_four_seconds() {
    for count in [2, 3, 5] {
        let took = longest(count, End::Silent, &Link::default());
        assert!(took < Duration::from_secs(4), "{count} nodes: {took:?}");
    }
}

/// Five of a hundred packets are lost, and any may be fifty milliseconds late.
fn bad_link() -> Link {
    Link { loss: 0.05, jitter: Duration::from_millis(50), ..Link::default() }
}

#[test]
fn a_killed_process_is_known_down_over_bad_links_too() {
    let took = longest(3, End::Killed, &bad_link());
    assert!(took < Duration::from_millis(2_500), "{took:?}");
}

#[test]
fn nobody_is_declared_down_in_ten_minutes_of_bad_links() {
    for count in [3, 5] {
        simulate(async move {
            let world = World::new(200 + u64::from(count));
            let nodes = cluster(&world, count).await;
            world.network.set_link(bad_link());
            let view = |node: &SimulatedNode| node.node.view().expect("a cluster").version;
            let before: Vec<_> = nodes.iter().map(view).collect();
            pause(600_000).await;
            assert_eq!(nodes.iter().map(view).collect::<Vec<_>>(), before);
        });
    }
}

#[test]
fn two_nodes_that_are_parted_stay_members_while_a_third_reaches_both() {
    simulate(async {
        let world = World::new(300);
        let nodes = cluster(&world, 3).await;
        world.network.partition(ip(2), ip(3));
        pause(60_000).await;
        for node in &nodes {
            assert_eq!(node.node.members().len(), 3);
        }
    });
}

#[test]
fn a_node_that_stands_still_again_and_again_declares_nobody_down() {
    simulate(async {
        let world = World::new(400);
        let nodes = cluster(&world, 3).await;
        for _ in 0..60 {
            nodes[2].pause();
            pause(800).await;
            nodes[2].resume();
            pause(200).await;
        }
        for node in &nodes {
            assert_eq!(node.node.members().len(), 3);
        }
    });
}
