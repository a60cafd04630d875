//! What a node that stands still does to its cluster, and its cluster to it.

use actix_cluster_tests::{World, ip, pause, simulate};

#[test]
fn a_short_pause_of_a_whole_node_goes_unnoticed() {
    simulate(async {
        let world = World::new(1);
        let first = world.start(1, |builder| builder).await;
        let second = world.start(2, |builder| builder).await;
        first.sees(2).await;
        let ids = (first.node.id().clone(), second.node.id().clone());
        second.pause();
        pause(500).await;
        second.resume();
        pause(30_000).await;
        let view = first.node.view().expect("a cluster");
        assert!(view.contains(&ids.0) && view.contains(&ids.1));
    });
}

#[test]
fn a_node_that_stands_still_is_declared_down_and_has_not_seen_it() {
    simulate(async {
        let world = World::new(2);
        let first = world.start(1, |builder| builder).await;
        let second = world.start(2, |builder| builder).await;
        first.sees(2).await;
        second.sees(2).await;
        second.pause();
        let stopped = second.node.view().expect("a cluster").version;
        first.sees(1).await;
        pause(60_000).await;
        let view = second.node.view().expect("a cluster");
        assert_eq!(view.version, stopped, "its own threads stand still");
    });
}

#[test]
fn a_node_whose_clock_drifts_stays_a_member() {
    simulate(async {
        let world = World::new(3);
        world.network.set_clock_rate(ip(2), 100_000);
        let first = world.start(1, |builder| builder).await;
        let second = world.start(2, |builder| builder).await;
        first.sees(2).await;
        for _ in 0..60 {
            pause(1_000).await;
            assert_eq!((first.node.members().len(), second.node.members().len()), (2, 2));
        }
    });
}
