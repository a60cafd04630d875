//! Where entities are that state it, and what becomes of them on the smaller side of a partition.

use std::{collections::BTreeSet, time::Duration};

use actix_cluster::{Entity, HandledBy, NodeBuilder, prelude::*};
use actix_cluster_tests::{SimulatedNode, World, ip, pause, simulate, until};
use serde::{Deserialize, Serialize};

/// Asks an entity where it is.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "placing.Where", version = 1)]
struct Where;

/// An entity type that knows nothing but where it is.
macro_rules! entity {
    ($name:ident, $text:literal $(, $key:ident = $value:tt)*) => {
        #[derive(RemoteActor)]
        #[remote(
            name = $text,
            handles(Where),
            placement = Eventual,
            state = volatile
            $(, $key = $value)*
        )]
        struct $name;
        impl Actor for $name {
            type Context = ClusterContext<Self>;
        }
        impl Handler<Where> for $name {
            type Result = String;
            fn handle(&mut self, _: Where, ctx: &mut Self::Context) -> String {
                ctx.node().id().name.to_string()
            }
        }
    };
}

entity!(Anywhere, "placing.Anywhere");
entity!(Working, "placing.Working", role = "worker", zone = "east");
entity!(Near, "placing.Near", role = "worker", strategy = LocalFirst);
entity!(Pinned, "placing.Pinned", pinned = "n3");
entity!(Lasting, "placing.Lasting", minority = Continue);

fn hosting(builder: NodeBuilder) -> NodeBuilder {
    builder
        .entity(|_| Anywhere)
        .entity(|_| Working)
        .entity(|_| Near)
        .entity(|_| Pinned)
        .entity(|_| Lasting)
}

fn keys() -> impl Iterator<Item = String> {
    (0..40).map(|n| format!("key-{n}"))
}

/// Where the entities of all keys are, as one node is told.
async fn places<A: Entity>(node: &SimulatedNode) -> BTreeSet<String>
where
    Where: HandledBy<A>,
{
    let mut places = BTreeSet::new();
    for key in keys() {
        places.insert(node.node.entity::<A>(&key).ask(Where).await.expect("it answers"));
    }
    places
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(String::from).into()
}

/// Five nodes that host all: 2 and 3 work in the east, 4 in the west, 1 and 5 do not work.
async fn five(world: &World) -> Vec<SimulatedNode> {
    let mut nodes = Vec::new();
    for (host, roles, zone) in [
        (1, &[][..], "east"),
        (2, &["worker"], "east"),
        (3, &["worker"], "east"),
        (4, &["worker"], "west"),
        (5, &[], "west"),
    ] {
        let config = world.config_of(host).roles(roles.iter().copied()).zone(zone);
        nodes.push(world.start(host, |builder| hosting(builder.cluster(config))).await);
    }
    for node in &nodes {
        node.sees(5).await;
    }
    nodes
}

#[test]
fn entities_are_where_their_type_states() {
    simulate(async {
        let world = World::new(31);
        let nodes = five(&world).await;
        // It hosts nothing, and has heard of no type before it asks.
        let feeder = world.start(6, |builder| builder.cluster(world.config_of(6).weight(0))).await;
        feeder.sees(6).await;
        for node in nodes.iter().chain([&feeder]) {
            assert_eq!(places::<Anywhere>(node).await.len(), 5);
            assert_eq!(places::<Working>(node).await, names(["n2", "n3"]));
            assert_eq!(places::<Pinned>(node).await, names(["n3"]));
            let key = "key-7";
            let owner = node.node.owner_of::<Working>(key).expect("it has one");
            let place = node.node.entity::<Working>(key).ask(Where).await.expect("it answers");
            assert_eq!(place, *owner.name);
        }
    });
}

#[test]
fn local_first_is_here_where_it_may_be_and_elsewhere_by_hash() {
    simulate(async {
        let world = World::new(32);
        let nodes = five(&world).await;
        for (node, own) in [(&nodes[1], "n2"), (&nodes[2], "n3"), (&nodes[3], "n4")] {
            assert_eq!(places::<Near>(node).await, names([own]));
        }
        for node in [&nodes[0], &nodes[4]] {
            assert_eq!(places::<Near>(node).await, names(["n2", "n3", "n4"]));
        }
    });
}

#[test]
fn what_is_pinned_waits_for_its_node() {
    simulate(async {
        let world = World::new(33);
        let mut nodes = five(&world).await;
        nodes.remove(2).kill().await;
        nodes[0].sees(4).await;
        let pinned = nodes[0].node.entity::<Pinned>("a");
        pinned.ask(Where).within(Duration::from_secs(1)).await.expect_err("it is gone");
        let asking = pinned.ask(Where).within(Duration::from_secs(20));
        let starting = async {
            pause(1_000).await;
            world.start(3, hosting).await
        };
        let (answer, _third) = tokio::join!(asking, starting);
        assert_eq!(answer.expect("it is back"), "n3");
    });
}

#[test]
fn a_minority_stops_what_is_to_stop_and_goes_on_with_the_rest() {
    for seed in 0..3 {
        simulate(async move {
            let world = World::new(340 + seed);
            let nodes = five(&world).await;
            // Until then the five are not known to be the whole.
            pause(12_000).await;
            for node in &nodes {
                places::<Anywhere>(node).await;
                assert!(node.node.has_majority());
            }
            for (a, b) in [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)] {
                world.network.partition(ip(a), ip(b));
            }
            let (few, many) = nodes.split_at(2);
            few[0].sees(2).await;
            few[1].sees(2).await;
            for node in many {
                node.sees(3).await;
                assert!(node.node.has_majority());
            }
            until("the few have stopped", || few.iter().all(|node| node.node.entity_count() == 0))
                .await;
            for node in few {
                assert!(!node.node.has_majority());
                assert_eq!(node.node.owner_of::<Anywhere>("key-1"), None);
                let entity = node.node.entity::<Anywhere>("key-1");
                entity.ask(Where).within(Duration::from_secs(1)).await.expect_err("stopped");
                assert_eq!(places::<Lasting>(node).await, names(["n1", "n2"]));
            }
            assert_eq!(places::<Anywhere>(&many[0]).await, names(["n3", "n4", "n5"]));
            // However long it takes, the few do not come to be the whole.
            pause(60_000).await;
            assert!(few.iter().all(|node| !node.node.has_majority()));
            assert!(many.iter().all(|node| node.node.has_majority()));
        });
    }
}

#[test]
fn members_that_leave_make_no_minority() {
    simulate(async {
        let world = World::new(35);
        let mut nodes = five(&world).await;
        pause(12_000).await;
        let first = nodes.remove(0);
        for node in nodes {
            node.node.shutdown().await;
        }
        first.sees(1).await;
        assert!(first.node.has_majority());
        assert_eq!(places::<Anywhere>(&first).await, names(["n1"]));
    });
}
