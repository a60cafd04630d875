//! How a node's shutdown goes: in phases, each of which ends in time.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::time::Duration;

use actix_cluster::{NodeBuilder, ShutdownPhases, prelude::*};
use actix_cluster_tests::{World, pause, simulate};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

/// Takes so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "String")]
#[remote(name = "test.Work", version = 1)]
struct Work(u64);

#[derive(RemoteActor)]
#[remote(name = "test.Worker", handles(async Work), placement = Eventual, state = volatile)]
struct Worker;

impl Actor for Worker {
    type Context = ClusterContext<Self>;
}

impl AsyncHandler<Work> for Worker {
    async fn handle(&mut self, Work(millis): Work, ctx: &mut Self::Context) -> String {
        pause(millis).await;
        ctx.node().id().name.to_string()
    }
}

fn host(builder: NodeBuilder) -> NodeBuilder {
    builder.entity(|_| Worker)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_shutdown_in_phases_stops_the_intake_first_and_then_hands_all_over() {
    simulate(async {
        let world = World::new(1);
        let (a, b) = (world.start(1, host).await, world.start(2, host).await);
        for node in [&a, &b] {
            node.sees(2).await;
        }
        let mut works = JoinSet::new();
        for key in 0..40 {
            works.spawn_local(a.node.entity::<Worker>(key).ask(Work(300)));
        }
        pause(20).await;
        let begun = Instant::now();
        let intake = async {
            pause(100).await;
            assert!(b.node.owner_of::<Worker>(1).is_some() && b.node.entity_count() > 0);
        };
        let report = b.node.shutdown_in_phases(ShutdownPhases::default(), intake).await;
        assert!(report.stop_intake.is_complete && report.stop_intake.took >= millis(100));
        assert!(report.hand_over.is_complete && report.hand_over.took >= millis(100), "{report:?}");
        assert!(report.flush.is_complete, "{report:?}");
        assert!(begun.elapsed() < millis(2_000), "{:?}", begun.elapsed());
        while let Some(answer) = works.join_next().await {
            answer.expect("it ends").expect("what was begun is done");
        }
        for key in 0..40 {
            let answer = a.node.entity::<Worker>(key).ask(Work(0)).await;
            assert_eq!(answer.expect("an answer"), "n1");
        }
    });
}

#[test]
fn each_phase_of_a_shutdown_is_cut_short_at_its_deadline() {
    simulate(async {
        let world = World::new(2);
        let (a, b) = (world.start(1, host).await, world.start(2, host).await);
        for node in [&a, &b] {
            node.sees(2).await;
        }
        let mut works = JoinSet::new();
        for key in 0..40 {
            let ask = a.node.entity::<Worker>(key).ask(Work(60_000)).within(millis(90_000));
            works.spawn_local(ask);
        }
        pause(20).await;
        let begun = Instant::now();
        let phases = ShutdownPhases::default().stop_intake(millis(500)).hand_over(millis(700));
        let report = b.node.shutdown_in_phases(phases, std::future::pending()).await;
        assert_eq!((report.stop_intake.is_complete, report.stop_intake.took), (false, millis(500)));
        assert!(!report.hand_over.is_complete, "{report:?}");
        assert!((millis(700)..millis(800)).contains(&report.hand_over.took), "{report:?}");
        assert!(begun.elapsed() < millis(4_000), "{:?}", begun.elapsed());
        pause(100).await;
        let ended: Vec<_> = std::iter::from_fn(|| works.try_join_next()).collect();
        assert!(!ended.is_empty() && ended.len() < 40, "{} have ended", ended.len());
        for answer in ended {
            let answer = answer.expect("it ends");
            assert!(matches!(answer, Err(AskError::Unknown(_))), "{answer:?}");
        }
    });
}

#[test]
fn a_node_without_a_cluster_shuts_down_in_phases_too() {
    simulate(async {
        let node = Node::builder().threads(actix_cluster::node::LocalThreads);
        let node = node.entity(|_| Worker).start().await.expect("it starts");
        node.entity::<Worker>("k").ask(Work(10)).await.expect("an answer");
        let report = node.shutdown_in_phases(ShutdownPhases::default(), pause(30)).await;
        assert!(report.stop_intake.is_complete && report.stop_intake.took == millis(30));
        assert!(report.hand_over.is_complete && report.flush.is_complete);
    });
}
