//! Who may join a cluster, and what is said to those who may not.

use std::{
    error::Error,
    future::ready,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use actix_cluster::{
    ClusterConfig, JoinError, Node, NodeId, Random, StartError,
    discovery::{Discovery, LookUp},
    node::LocalThreads,
    transport::{
        ConnectError, NodeName, Refusal,
        development::Authority,
        tls::{Refuser, TlsReason},
    },
};
use actix_cluster_tests::{SimulatedNode, World, addr, ip, pause, simulate, until};

/// A configuration of the second host that joins through the first.
fn second(world: &World, config: ClusterConfig) -> ClusterConfig {
    config.network(world.network.host(ip(2))).bind(addr(2)).seed(addr(1))
}

async fn start(name: &str, config: ClusterConfig) -> Result<Node, StartError> {
    let one = NonZeroUsize::MIN;
    Node::builder().name(name).arbiters(one).threads(LocalThreads).cluster(config).start().await
}

/// What a seed and the node said to each other, and all causes as one text.
fn refusal(outcome: Result<Node, StartError>) -> (ConnectError, String) {
    let Err(error) = outcome else { panic!("it joined") };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    match error {
        StartError::Join(JoinError::Refused { source, .. }) => (source, text),
        _ => panic!("{text}"),
    }
}

#[test]
fn a_node_of_another_authority_is_refused() {
    simulate(async {
        let world = World::new(1);
        let first = world.start(1, |builder| builder).await;
        let stranger = second(&world, ClusterConfig::dev("simulated").expect("a name"));
        let (error, text) = refusal(start("n2", stranger).await);
        assert!(matches!(error, ConnectError::Tls(_)), "{text}");
        assert_eq!(first.node.members().len(), 1);
    });
}

#[test]
fn a_peer_without_a_certificate_is_refused_by_name() {
    simulate(async {
        let world = World::new(10);
        let authority = Authority::new();
        let credentials = |node: &str| authority.issue(&NodeName::new(node).expect("a name"));
        let one = ClusterConfig::new("one", credentials("n1")).expect("a name");
        let one = one.network(world.network.host(ip(1))).bind(addr(1));
        let first = start("n1", one).await.expect("it founds a cluster");
        let anonymous = credentials("n2").without_client_certificate();
        let config = ClusterConfig::new("one", anonymous).expect("a name");
        let (error, text) = refusal(start("n2", second(&world, config)).await);
        let ConnectError::Tls(failure) = error else { panic!("{text}") };
        let said = (failure.refused_by, failure.reason);
        assert_eq!(said, (Refuser::Peer, TlsReason::MissingCertificate), "{text}");
        assert_eq!(first.members().len(), 1);
    });
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    simulate(async {
        let world = World::new(2);
        let authority = Authority::new();
        let config = |cluster: &str, node: &str| {
            let node = NodeName::new(node).expect("a name");
            ClusterConfig::new(cluster, authority.issue(&node)).expect("a name")
        };
        let one = config("one", "n1").network(world.network.host(ip(1))).bind(addr(1));
        let _first = start("n1", one).await.expect("it founds a cluster");
        let (error, text) = refusal(start("n2", second(&world, config("other", "n2"))).await);
        assert!(
            matches!(&error, ConnectError::Refused(Refusal::Cluster { expected }) if expected == "one"),
            "{text}"
        );
        assert!(text.ends_with("set the same cluster name on both nodes"), "{text}");
    });
}

#[test]
fn the_name_of_a_live_member_is_refused() {
    simulate(async {
        let world = World::new(3);
        let _first = world.start(1, |builder| builder).await;
        let second_node = world.start(2, |builder| builder).await;
        second_node.sees(2).await;
        for name in ["n1", "n2"] {
            let config = world.config.clone().network(world.network.host(ip(3))).bind(addr(3));
            let (error, text) = refusal(start(name, config.seed(addr(1))).await);
            assert!(
                matches!(&error, ConnectError::Refused(Refusal::NameInUse { .. })),
                "{name}: {text}"
            );
            pause(100).await;
        }
    });
}

#[test]
fn a_certificate_of_another_name_is_refused_before_anything_is_sent() {
    simulate(async {
        let world = World::new(4);
        let credentials = Authority::new().issue(&NodeName::new("n3").expect("a name"));
        let config = ClusterConfig::new("simulated", credentials).expect("a name");
        let outcome = start("n2", second(&world, config)).await;
        assert!(matches!(&outcome, Err(StartError::Join(JoinError::Config(_)))), "{outcome:?}");
    });
}

#[test]
fn a_port_in_use_is_named() {
    simulate(async {
        let world = World::new(5);
        let _first = world.start(1, |builder| builder).await;
        let again = world.try_start(1, |builder| builder.name("other")).await;
        let Err(StartError::Join(JoinError::Bind(error))) = again else { panic!("{again:?}") };
        assert!(error.to_string().contains("127.0.0.1:7000 is in use"), "{error}");
    });
}

#[test]
fn a_node_whose_seeds_are_silent_gives_up_and_leaves_nothing_behind() {
    simulate(async {
        let world = World::new(6);
        let outcome = world.try_start(2, |builder| builder).await;
        let Err(StartError::Join(JoinError::TimedOut { seeds, .. })) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(seeds, [addr(1)]);
        let first = world.start(1, |builder| builder).await;
        let second = world.start(2, |builder| builder).await;
        second.sees(2).await;
        // It asks the second what that says of itself, before it sees it.
        first.sees(2).await;
    });
}

#[test]
fn a_node_that_is_killed_joins_again_as_a_later_incarnation() {
    simulate(async {
        let world = World::new(7);
        let first = world.start(1, |builder| builder).await;
        let mut second = world.start(2, |builder| builder).await;
        for incarnation in 1..4 {
            assert_eq!(second.node.id(), NodeId { name: "n2".into(), incarnation });
            second.sees(2).await;
            second.kill().await;
            second = world.start(2, |builder| builder).await;
        }
        let id = second.node.id().clone();
        until("the first sees the last run", || {
            first.node.view().expect("a cluster").contains(&id)
        })
        .await;
        assert_eq!(first.node.members().len(), 2);
    });
}

#[test]
fn the_first_of_the_seeds_founds_the_cluster_and_the_others_wait_for_it() {
    simulate(async {
        let world = World::new(8);
        let with_both = |host: u8| {
            let config = world.config.clone().network(world.network.host(ip(host)));
            config.bind(addr(host)).seeds([addr(1), addr(2)])
        };
        let (a, b) = tokio::join!(
            world.start(1, |builder| builder.cluster(with_both(1))),
            world.start(2, |builder| builder.cluster(with_both(2))),
        );
        a.sees(2).await;
        b.sees(2).await;
    });
}

/// The configuration of a host that joins by these seeds.
fn by_seeds(world: &World, host: u8, seeds: impl IntoIterator<Item = u8>) -> ClusterConfig {
    let config = world.config.clone().network(world.network.host(ip(host))).bind(addr(host));
    config.seeds(seeds.into_iter().map(addr))
}

/// Whether all of these see all of these, and nobody else.
fn are_one(nodes: &[SimulatedNode]) -> bool {
    nodes.iter().all(|one| {
        let view = one.node.view().expect("a cluster");
        view.members.len() == nodes.len()
            && nodes.iter().all(|other| view.contains(&other.node.id()))
    })
}

#[test]
fn nodes_that_start_in_any_order_become_one_cluster() {
    for seed in 0..12 {
        simulate(async move {
            let world = World::new(500 + seed);
            let mut random = Random::from_seed(seed);
            let starts = (1..=5u8).map(|host| {
                let (world, delay) = (&world, random.below(6_000));
                async move {
                    pause(delay).await;
                    let config = by_seeds(world, host, [1, 2, 3]);
                    world.start(host, |builder| builder.cluster(config)).await
                }
            });
            let mut starting: Vec<_> = starts.map(Box::pin).collect();
            let mut nodes = Vec::new();
            std::future::poll_fn(|task| {
                starting.retain_mut(|start| match start.as_mut().poll(task) {
                    std::task::Poll::Ready(node) => {
                        nodes.push(node);
                        false
                    }
                    std::task::Poll::Pending => true,
                });
                if starting.is_empty() {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
            until("they are one cluster", || are_one(&nodes)).await;
        });
    }
}

#[test]
fn clusters_that_were_founded_apart_become_one() {
    for seed in 0..4 {
        simulate(async move {
            let world = World::new(520 + seed);
            for (a, b) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
                world.network.partition(ip(a), ip(b));
            }
            // Each side takes its own seed for the first.
            let seeds = |host: u8| if host < 3 { [1, 3] } else { [3, 1] };
            let start = |host: u8| {
                let config = by_seeds(&world, host, seeds(host));
                world.start(host, |builder| builder.cluster(config))
            };
            let (one, two, three, four) = tokio::join!(start(1), start(2), start(3), start(4));
            one.sees(2).await;
            three.sees(2).await;
            pause(30_000).await;
            world.network.heal_all();
            let nodes = [one, two, three, four];
            pause(20_000).await;
            assert!(are_one(&nodes), "seed {seed}");
        });
    }
}

/// A source that says what it is told to.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<SocketAddr>>>);

impl Told {
    fn tell(&self, hosts: &[u8]) {
        *self.0.lock().expect("not poisoned") = hosts.iter().map(|host| addr(*host)).collect();
    }
}

impl Discovery for Told {
    fn look_up(&self) -> LookUp {
        Box::pin(ready(Ok(self.0.lock().expect("not poisoned").clone())))
    }
}

#[test]
fn what_a_source_comes_to_say_is_followed() {
    simulate(async {
        let world = World::new(540);
        let told = Told::default();
        let start = |host: u8| {
            let config = by_seeds(&world, host, []).discover(told.clone());
            world.start(host, |builder| builder.cluster(config))
        };
        let telling = async {
            pause(5_000).await;
            told.tell(&[2]);
            pause(5_000).await;
        };
        let (one, two, ()) = tokio::join!(start(1), start(2), telling);
        until("they are one cluster", || one.node.members().len() == 2).await;
        // Nobody is where the seeds were, and the next one joins all the same.
        two.kill().await;
        one.sees(1).await;
        told.tell(&[9, 1]);
        let three = start(3).await;
        three.sees(2).await;
    });
}

#[test]
fn a_node_whose_source_says_nothing_gives_up_and_founds_nothing() {
    simulate(async {
        let world = World::new(550);
        let config = by_seeds(&world, 1, []).discover(Told::default());
        let outcome = world.try_start(1, |builder| builder.cluster(config)).await;
        let Err(StartError::Join(JoinError::TimedOut { seeds, .. })) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(seeds, []);
    });
}

#[test]
fn a_node_whose_start_is_dropped_is_no_member_for_long() {
    simulate(async {
        let world = World::new(20);
        let first = world.start(1, |builder| builder).await;
        // Dropped at each of its steps, after it was not looked at for long: at the last of them it has joined.
        let mut has_joined = 0;
        for millis in 0..200 {
            let mut start = Box::pin(start("n2", second(&world, world.config.clone())));
            tokio::select! {
                biased;
                () = pause(millis) => {}
                started = &mut start => {
                    started.expect("it joins");
                    assert!(has_joined > 0, "it was not dropped as a member");
                    return;
                }
            }
            pause(2_000).await;
            has_joined += u32::from(first.node.members().len() == 2);
            drop(start);
            until("it is gone", || first.node.members().len() == 1).await;
            // Its port is free again.
            pause(5_000).await;
        }
        panic!("it does not join in time");
    });
}
