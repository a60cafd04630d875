//! Certificates that change while nodes run.

use std::num::NonZeroUsize;

use actix_cluster::{
    ClusterConfig, Node, NodeId,
    node::LocalThreads,
    transport::{Credentials, NodeName, RotateError, development::Authority},
};
use actix_cluster_tests::{World, addr, ip, pause, simulate, until};

fn credentials(authority: &Authority, node: &str) -> Credentials {
    authority.issue(&NodeName::new(node).expect("a name"))
}

async fn start(world: &World, authority: &Authority, host: u8) -> Node {
    start_with(world, credentials(authority, &format!("n{host}")), host).await
}

async fn start_with(world: &World, credentials: Credentials, host: u8) -> Node {
    let name = format!("n{host}");
    let config = ClusterConfig::new("one", credentials).expect("a name");
    let config = config.network(world.network.host(ip(host))).bind(addr(host)).seed(addr(1));
    let builder = Node::builder().name(&name).arbiters(NonZeroUsize::MIN).threads(LocalThreads);
    builder.cluster(config).start().await.expect("it joins")
}

#[test]
fn a_node_changes_its_certificate_and_stays_in_its_cluster() {
    simulate(async {
        let (world, authority) = (World::new(30), Authority::new());
        let first = start(&world, &authority, 1).await;
        let second = start(&world, &authority, 2).await;
        second.wait_for_members(2).await;
        let rotator = second.rotator().expect("it has a cluster");
        let rotated = rotator.rotate(credentials(&authority, "n2")).await.expect("it is its own");
        assert_eq!(rotated.cut, []);
        let stats = second.transport_stats().await.expect("it runs");
        assert_eq!((stats.certificate_expires, stats.links), (rotated.expires, 1));
        let refused = rotator.rotate(credentials(&authority, "n3")).await;
        assert!(matches!(refused, Err(RotateError::Name(_))), "{refused:?}");
        let third = start(&world, &authority, 3).await;
        for node in [&first, &second, &third] {
            node.wait_for_members(3).await;
        }
    });
}

#[test]
fn a_node_that_is_revoked_is_cut_off() {
    simulate(async {
        let (world, authority) = (World::new(31), Authority::new());
        let first = start(&world, &authority, 1).await;
        let own = credentials(&authority, "n2");
        let config = ClusterConfig::new("one", own.clone()).expect("a name");
        let config = config.network(world.network.host(ip(2))).bind(addr(2)).seed(addr(1));
        let builder = Node::builder().name("n2").arbiters(NonZeroUsize::MIN).threads(LocalThreads);
        let second = builder.cluster(config).start().await.expect("it joins");
        first.wait_for_members(2).await;
        let revoking = credentials(&authority, "n1").revoking_fingerprints([own.fingerprint()]);
        let rotator = first.rotator().expect("it has a cluster");
        let rotated = rotator.rotate(revoking.expect("not its own")).await.expect("its own");
        assert_eq!(rotated.cut.len(), 1);
        until("it is a member no more", || first.members().len() == 1).await;
        drop(second);
    });
}

#[test]
fn a_node_that_joins_again_proves_itself_with_what_it_was_rotated_to() {
    simulate(async {
        let (world, authority) = (World::new(32), Authority::new());
        let own = credentials(&authority, "n3");
        let first = start(&world, &authority, 1).await;
        let second = start(&world, &authority, 2).await;
        let third = start_with(&world, own.clone(), 3).await;
        for node in [&first, &second, &third] {
            node.wait_for_members(3).await;
        }
        let rotate = async |node: &Node, credentials: Credentials| {
            node.rotator().expect("a cluster").rotate(credentials).await.expect("its own")
        };
        rotate(&third, credentials(&authority, "n3")).await;
        for (node, name) in [(&first, "n1"), (&second, "n2")] {
            let revoking = credentials(&authority, name).revoking_fingerprints([own.fingerprint()]);
            rotate(node, revoking.expect("not its own")).await;
        }
        for other in [1, 2] {
            world.network.partition(ip(3), ip(other));
        }
        until("it is down", || first.members().len() == 2).await;
        pause(15_000).await;
        world.network.heal_all();
        third
            .id_after(&NodeId { name: "n3".into(), incarnation: 1 })
            .await
            .expect("it joins again");
        for node in [&first, &second, &third] {
            node.wait_for_members(3).await;
        }
    });
}

#[test]
fn a_node_without_a_cluster_has_nothing_to_rotate() {
    simulate(async {
        let node = Node::builder().name("n1").arbiters(NonZeroUsize::MIN).threads(LocalThreads);
        let node = node.start().await.expect("it starts");
        assert!(node.rotator().is_none() && node.transport_stats().await.is_none());
    });
}
