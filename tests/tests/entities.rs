//! Entities of a simulated cluster: where they live, and what becomes of their messages.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    EntitySettings, NodeBuilder, RejectReason, RestartPolicy, UnknownReason, prelude::*,
};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize};

/// Adds to an entity's sum, and is written to the world's log.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
#[remote(name = "test.Add", version = 1)]
struct Add {
    sender: u32,
    number: u32,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Standing")]
#[remote(name = "test.Sum", version = 1)]
struct Sum;

/// What an entity knows of itself.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
struct Standing {
    node: String,
    key: String,
    activation: u32,
    count: u32,
}

/// Tells another entity.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Forward", version = 1)]
struct Forward {
    to: String,
    add: Add,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Crash", version = 1)]
struct Crash;

#[derive(RemoteActor)]
#[remote(
    name = "test.Counter",
    handles(Add, Sum, Forward, Crash),
    placement = Eventual,
    state = volatile
)]
struct Counter {
    key: String,
    activation: u32,
    count: u32,
    log: Log,
}

impl Actor for Counter {
    type Context = ClusterContext<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(self.key != PANICS_AT_ITS_END, "on purpose");
    }
}

const PANICS_AT_ITS_END: &str = "panics at its end";

impl Handler<Add> for Counter {
    type Result = ();
    fn handle(&mut self, add: Add, _: &mut Self::Context) {
        self.count += 1;
        let mut log = self.log.0.lock().expect("not poisoned");
        log.handled.entry(self.key.clone()).or_default().push(add);
    }
}

impl Handler<Sum> for Counter {
    type Result = MessageResult<Sum>;
    fn handle(&mut self, _: Sum, ctx: &mut Self::Context) -> MessageResult<Sum> {
        MessageResult(Standing {
            node: ctx.node().id().name.to_string(),
            key: ctx.key().unwrap_or_default().to_owned(),
            activation: self.activation,
            count: self.count,
        })
    }
}

impl Handler<Forward> for Counter {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, Forward { to, add }: Forward, ctx: &mut Self::Context) -> Self::Result {
        let other = ctx.node().entity::<Counter>(&to);
        Box::pin(async move { other.tell(add).await.expect("the other takes it") })
    }
}

impl Handler<Crash> for Counter {
    type Result = ();
    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

/// What all entities of the world have seen.
#[derive(Clone, Default)]
struct Log(Shared<Written>);

#[derive(Default)]
struct Written {
    activations: BTreeMap<String, u32>,
    handled: BTreeMap<String, Vec<Add>>,
}

impl Log {
    /// A node that hosts counters.
    fn hosting(&self, idle: Duration) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
        let log = self.clone();
        let mut settings = EntitySettings::default();
        settings.passivate_after = idle;
        settings.restart = RestartPolicy { limit: 3, ..RestartPolicy::default() };
        move |builder| {
            builder.entity_with(settings, move |key| {
                let mut written = log.0.lock().expect("not poisoned");
                let activation = written.activations.entry(key.to_owned()).or_default();
                *activation += 1;
                let activation = *activation;
                drop(written);
                Counter { key: key.to_owned(), activation, count: 0, log: log.clone() }
            })
        }
    }

    fn host(&self) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
        self.hosting(Duration::from_secs(3_600))
    }

    /// How many messages were handled, repeats left out.
    fn distinct(&self) -> usize {
        let written = self.0.lock().expect("not poisoned");
        let mut seen: Vec<_> = written.handled.values().flatten().collect();
        seen.sort_by_key(|add| (add.sender, add.number));
        seen.dedup();
        seen.len()
    }

    fn handled(&self) -> usize {
        self.0.lock().expect("not poisoned").handled.values().map(Vec::len).sum()
    }
}

/// Three nodes that see each other.
async fn three(world: &World, log: &Log) -> [SimulatedNode; 3] {
    let (a, b, c) = tokio::join!(
        world.start(1, log.host()),
        world.start(2, log.host()),
        world.start(3, log.host()),
    );
    for node in [&a, &b, &c] {
        node.sees(3).await;
    }
    [a, b, c]
}

fn keys(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("key-{n}"))
}

#[test]
fn an_entity_is_one_activation_on_its_owner_wherever_it_is_asked_from() {
    simulate(async {
        let (world, log) = (World::new(1), Log::default());
        let nodes = three(&world, &log).await;
        for key in keys(60) {
            for SimulatedNode { node, .. } in &nodes {
                node.entity::<Counter>(&key)
                    .tell(Add { sender: 0, number: 0 })
                    .await
                    .expect("taken");
            }
            let owner = nodes[0].node.owner_of::<Counter>(&key).expect("it has an owner");
            for (n, SimulatedNode { node, .. }) in nodes.iter().enumerate() {
                assert_eq!(node.owner_of::<Counter>(&key).as_ref(), Some(&owner));
                let standing = node.entity::<Counter>(&key).ask(Sum).await.expect("it answers");
                assert_eq!((standing.key, standing.node), (key.clone(), owner.name.to_string()));
                assert_eq!(standing.activation, 1);
                assert!(standing.count as usize > n, "its own tell was before");
            }
        }
        let active: usize = nodes.iter().map(|n| n.node.entity_count()).sum();
        assert_eq!(active, 60);
        assert!(nodes.iter().all(|n| n.node.entity_count() > 5), "they are spread");
    });
}

#[test]
fn joiners_wait_for_their_seed_and_see_each_other() {
    simulate(async {
        let (world, log) = (World::new(2), Log::default());
        let late = async {
            pause(5_000).await;
            world.start(1, log.host()).await
        };
        let (a, b, c) = tokio::join!(late, world.start(2, log.host()), world.start(3, log.host()));
        for node in [&a, &b, &c] {
            node.sees(3).await;
            let names: Vec<_> = node.node.members().into_iter().map(|m| m.id.to_string()).collect();
            assert_eq!(names, ["n1/1", "n2/1", "n3/1"]);
        }
    });
}

#[test]
fn entities_tell_each_other_across_nodes() {
    simulate(async {
        let (world, log) = (World::new(3), Log::default());
        let [a, ..] = three(&world, &log).await;
        for (n, key) in (0..).zip(keys(40)) {
            let add = Add { sender: 1, number: n };
            let forward = Forward { to: format!("to-{n}"), add };
            a.node.entity::<Counter>(&key).ask(forward).await.expect("it forwards");
        }
        until("all forwards have arrived", || log.handled() == 40).await;
    });
}

#[test]
fn an_idle_entity_is_passivated_and_its_next_message_activates_it_again() {
    simulate(async {
        let (world, log) = (World::new(4), Log::default());
        let a = world.start(1, log.hosting(Duration::from_secs(8))).await;
        let entity = a.node.entity::<Counter>("k");
        entity.tell(Add { sender: 0, number: 0 }).await.expect("taken");
        let busy = entity.ask(Sum).await.expect("it answers");
        assert_eq!((busy.activation, busy.count), (1, 1));
        for _ in 0..10 {
            pause(5_000).await;
            assert_eq!(entity.ask(Sum).await.expect("it answers").activation, 1, "never idle");
        }
        pause(11_000).await;
        assert_eq!(a.node.entity_count(), 0);
        let fresh = entity.ask(Sum).await.expect("it answers");
        assert_eq!((fresh.activation, fresh.count), (2, 0), "its state is volatile");
        a.node.shutdown().await;
    });
}

#[test]
fn an_entity_that_panics_while_it_is_passivated_leaves_no_second_one() {
    simulate(async {
        let (world, log) = (World::new(15), Log::default());
        let a = world.start(1, log.hosting(Duration::from_secs(8))).await;
        let entity = a.node.entity::<Counter>(PANICS_AT_ITS_END);
        for activation in 1..4 {
            assert_eq!(entity.ask(Sum).await.expect("it answers").activation, activation);
            assert_eq!((a.node.entity_count(), a.node.actor_count()), (1, 1));
            pause(11_000).await;
            assert_eq!((a.node.entity_count(), a.node.actor_count()), (0, 0));
        }
    });
}

#[test]
fn a_killed_nodes_entities_answer_elsewhere() {
    lost_entities_answer(async |_, node| node.kill().await, Duration::from_secs(2));
}

#[test]
fn a_silent_nodes_entities_answer_elsewhere() {
    let silence = async |world: &World, node: SimulatedNode| {
        world.network.silence(actix_cluster_tests::ip(node.host));
    };
    lost_entities_answer(silence, Duration::from_secs(5));
}

/// Ends one node of three so; within the time all its entities have to answer elsewhere.
fn lost_entities_answer(end: impl AsyncFnOnce(&World, SimulatedNode) + 'static, within: Duration) {
    simulate(async move {
        let (world, log) = (World::new(5), Log::default());
        let [a, b, c] = three(&world, &log).await;
        let owned = |key: &String| &*a.node.owner_of::<Counter>(key).expect("owned").name == "n3";
        let lost: Vec<String> = keys(90).filter(owned).collect();
        assert!(lost.len() > 10);
        for key in &lost {
            a.node.entity::<Counter>(key).ask(Sum).await.expect("it answers");
        }
        end(&world, c).await;
        let start = tokio::time::Instant::now();
        let asks = lost.iter().map(|key| {
            let node = a.node.clone();
            let key = key.clone();
            tokio::task::spawn_local(async move {
                loop {
                    let ask = node.entity::<Counter>(&key).ask(Sum);
                    match ask.within(Duration::from_millis(500)).await {
                        Ok(standing) => return standing,
                        Err(AskError::Unknown(_) | AskError::Rejected { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            let standing = ask.await.expect("it ends");
            assert_ne!(standing.node, "n3");
            assert_eq!((standing.activation, standing.count), (2, 0));
        }
        assert!(start.elapsed() < within, "{:?}", start.elapsed());
        for node in [&a, &b] {
            node.sees(2).await;
        }
    });
}

#[test]
fn an_ask_in_flight_to_a_killed_node_ends_unknown() {
    simulate(async {
        let (world, log) = (World::new(6), Log::default());
        let [a, _b, c] = three(&world, &log).await;
        let mut mine =
            keys(90).filter(|key| &*a.node.owner_of::<Counter>(key).expect("owned").name == "n3");
        let (key, told) = (mine.next().expect("a key"), mine.next().expect("another"));
        let asked = a.node.entity::<Counter>(&key);
        asked.ask(Sum).await.expect("it answers");
        world.network.silence(actix_cluster_tests::ip(3));
        a.node.entity::<Counter>(&told).tell(Add { sender: 0, number: 1 }).await.expect("taken");
        let ask = asked.ask(Sum).within(Duration::from_secs(60)).await;
        assert!(matches!(ask, Err(AskError::Unknown(UnknownReason::NodeDown))), "{ask:?}");
        assert_eq!(a.node.dead_letters().unknown(UnknownReason::NodeDown), 1);
        drop(c);
    });
}

#[test]
fn a_leaving_node_loses_no_message() {
    simulate(async {
        let (world, log) = (World::new(7), Log::default());
        let [a, b, c] = three(&world, &log).await;
        let senders = [a.node.clone(), b.node.clone()].map(|node| {
            tokio::task::spawn_local(async move {
                for number in 0..2_000 {
                    let key = format!("key-{}", number % 50);
                    let add = Add { sender: 0, number };
                    node.entity::<Counter>(&key).tell(add).await.expect("taken");
                    if number % 20 == 0 {
                        pause(1).await;
                    }
                }
            })
        });
        let leaving = c.node.clone();
        let its_own = tokio::task::spawn_local(async move {
            for number in 0..200_000 {
                let entity = leaving.entity::<Counter>(&format!("key-{}", number % 50));
                if entity.tell(Add { sender: 1, number }).await.is_err() {
                    return number as usize;
                }
                if number % 20 == 0 {
                    pause(1).await;
                }
            }
            panic!("the node never leaves");
        });
        pause(30).await;
        c.node.shutdown().await;
        for sender in senders {
            sender.await.expect("it ends");
        }
        let accepted = 4_000 + its_own.await.expect("it ends");
        until("all have arrived", || log.handled() == accepted).await;
        for node in [&a, &b, &c] {
            assert_eq!(node.node.dead_letters().total(), 0);
        }
        for node in [&a, &b] {
            node.sees(2).await;
        }
    });
}

#[test]
fn a_node_leaves_a_larger_cluster_without_a_loss() {
    simulate(async {
        let (world, log) = (World::new(17), Log::default());
        let mut nodes = Vec::new();
        for host in 1..=8 {
            nodes.push(world.start(host, log.host()).await);
        }
        for node in &nodes {
            node.sees(8).await;
        }
        let leaver = nodes.pop().expect("the last");
        let senders: Vec<_> = (0..)
            .zip(&nodes)
            .map(|(sender, SimulatedNode { node, .. })| {
                let node = node.clone();
                tokio::task::spawn_local(async move {
                    for number in 0..1_000 {
                        let entity = node.entity::<Counter>(&format!("key-{}", number % 80));
                        entity.tell(Add { sender, number }).await.expect("taken");
                        if number % 10 == 0 {
                            pause(1).await;
                        }
                    }
                })
            })
            .collect();
        pause(30).await;
        leaver.node.shutdown().await;
        for sender in senders {
            sender.await.expect("it ends");
        }
        until("all have arrived", || log.distinct() == 7_000).await;
        assert_eq!(log.handled(), 7_000, "each exactly once");
    });
}

#[test]
fn a_shutdown_whose_future_is_dropped_goes_on() {
    simulate(async {
        let (world, log) = (World::new(16), Log::default());
        let [a, b, c] = three(&world, &log).await;
        for key in keys(60) {
            a.node.entity::<Counter>(&key).ask(Sum).await.expect("it answers");
        }
        tokio::select! {
            biased;
            () = c.node.shutdown() => panic!("it takes longer than nothing"),
            () = std::future::ready(()) => {}
        }
        c.node.ended().await;
        assert_eq!(c.node.entity_count(), 0);
        for node in [&a, &b] {
            node.sees(2).await;
        }
    });
}

#[test]
fn messages_sent_by_an_old_view_are_redirected() {
    simulate(async {
        let (world, log) = (World::new(8), Log::default());
        let [a, b, c] = three(&world, &log).await;
        let nodes = [a.node.clone(), b.node.clone(), c.node.clone()];
        let senders = (0..).zip(nodes).map(|(sender, node)| {
            tokio::task::spawn_local(async move {
                for number in 0..3_000 {
                    let key = format!("key-{}", number % 100);
                    let entity = node.entity::<Counter>(&key);
                    entity.tell(Add { sender, number }).await.expect("taken");
                    if number % 10 == 0 {
                        entity.ask(Sum).await.expect("an ask finds its target too");
                    }
                }
            })
        });
        let senders: Vec<_> = senders.collect();
        pause(20).await;
        let d = world.start(4, log.host()).await;
        d.sees(4).await;
        for sender in senders {
            sender.await.expect("it ends");
        }
        until("all have arrived", || log.handled() == 9_000).await;
        assert_eq!(log.distinct(), 9_000, "each exactly once");
        assert!(d.node.entity_count() > 0, "the newcomer has its share");
        let active = || [&a, &b, &c, &d].map(|n| n.node.entity_count()).iter().sum::<usize>();
        until("each entity is active on its owner alone", || active() == 100).await;
        for node in [&a, &b, &c, &d] {
            assert_eq!(node.node.dead_letters().total(), 0);
        }
    });
}

#[test]
fn messages_of_one_sender_to_one_entity_are_handled_in_the_order_sent() {
    simulate(async {
        let (world, log) = (World::new(9), Log::default());
        let nodes = three(&world, &log).await;
        let link = actix_cluster::transport::simulation::Link {
            loss: 0.02,
            ..actix_cluster::transport::simulation::Link::default()
        };
        world.network.set_link(link);
        let senders: Vec<_> = (0..)
            .zip(&nodes)
            .map(|(sender, SimulatedNode { node, .. })| {
                let node = node.clone();
                tokio::task::spawn_local(async move {
                    for number in 0..5_000 {
                        let key = format!("key-{}", number % 25);
                        let add = Add { sender, number };
                        node.entity::<Counter>(&key).tell(add).await.expect("taken");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.expect("it ends");
        }
        until("all have arrived", || log.handled() == 15_000).await;
        for (key, handled) in &log.0.lock().expect("not poisoned").handled {
            for sender in 0..3 {
                let of_sender: Vec<_> = handled.iter().filter(|add| add.sender == sender).collect();
                assert!(of_sender.is_sorted_by_key(|add| add.number), "{key} from {sender}");
                assert_eq!(of_sender.len(), 200);
            }
        }
    });
}

#[test]
fn a_panicking_entity_restarts_and_keeps_its_mailbox() {
    simulate(async {
        let (world, log) = (World::new(10), Log::default());
        let [a, ..] = three(&world, &log).await;
        for key in keys(12) {
            let entity = a.node.entity::<Counter>(&key);
            entity.tell(Add { sender: 0, number: 0 }).await.expect("taken");
            let crash = entity.clone();
            let crash = tokio::task::spawn_local(async move { crash.ask(Crash).await });
            let behind = entity.clone();
            let behind = tokio::task::spawn_local(async move { behind.ask(Sum).await });
            let crashed = crash.await.expect("it ends");
            assert!(
                matches!(crashed, Err(AskError::Unknown(UnknownReason::Panicked))),
                "{crashed:?}"
            );
            let standing = behind.await.expect("it ends").expect("it answers");
            assert_eq!((standing.activation, standing.count), (2, 0));
        }
    });
}

#[test]
fn an_entity_that_failed_for_good_is_activated_by_its_next_message() {
    simulate(async {
        let (world, log) = (World::new(11), Log::default());
        let [a, ..] = three(&world, &log).await;
        for key in keys(6) {
            let entity = a.node.entity::<Counter>(&key);
            for _ in 0..4 {
                let _ = entity.ask(Crash).await;
            }
            assert_eq!(entity.ask(Sum).await.expect("it answers").activation, 5);
        }
    });
}

#[test]
fn a_node_without_weight_owns_nothing_and_reaches_everything() {
    simulate(async {
        let (world, log) = (World::new(12), Log::default());
        let _three = three(&world, &log).await;
        let feeder = world.config_of(4).weight(0);
        let feeder = world.start(4, |builder| builder.cluster(feeder)).await;
        feeder.sees(4).await;
        for key in keys(50) {
            let standing = feeder.node.entity::<Counter>(&key).ask(Sum).await.expect("it answers");
            assert_ne!(standing.node, "n4");
        }
        assert_eq!(feeder.node.entity_count(), 0);
    });
}

#[test]
fn a_draining_node_gives_its_entities_up_and_stays_a_member() {
    simulate(async {
        let (world, log) = (World::new(16), Log::default());
        let [a, b, c] = three(&world, &log).await;
        for key in keys(60) {
            a.node.entity::<Counter>(&key).ask(Sum).await.expect("it answers");
        }
        assert!(b.node.entity_count() > 0);
        b.node.drain().await;
        assert_eq!(b.node.entity_count(), 0);
        for key in keys(60) {
            let standing = b.node.entity::<Counter>(&key).ask(Sum).await.expect("it answers");
            assert_ne!(standing.node, "n2");
        }
        for node in [&a, &c] {
            until("it is seen to drain", || {
                node.node.members().iter().any(|member| member.profile.is_draining)
            })
            .await;
            assert_eq!(node.node.members().len(), 3);
        }
        a.node.drain().await;
        for key in keys(60) {
            let standing = b.node.entity::<Counter>(&key).ask(Sum).await.expect("it answers");
            assert_eq!(standing.node, "n3");
        }
    });
}

#[test]
fn members_see_what_each_says_of_itself() {
    simulate(async {
        let world = World::new(17);
        let first = world.start(1, |builder| builder).await;
        let config = world.config_of(2).roles(["worker", "api"]).zone("east").weight(3);
        let second = world.start(2, |builder| builder.cluster(config)).await;
        for node in [&first, &second] {
            node.sees(2).await;
            let view = node.node.view().expect("a cluster");
            let profile = &view.find("n2").expect("a member").profile;
            assert!(profile.has_role("api") && profile.has_role("worker"));
            assert_eq!((profile.zone.as_deref(), profile.weight), (Some("east"), 3));
            let other = &view.find("n1").expect("a member").profile;
            assert_eq!((other.zone.as_deref(), other.weight, other.roles.len()), (None, 1, 0));
            assert_eq!(profile.manifest_hash, other.manifest_hash, "they know the same messages");
        }
    });
}

#[test]
fn a_sender_waits_until_somebody_owns_its_target() {
    simulate(async {
        let (world, log) = (World::new(14), Log::default());
        let feeder = world.config_of(1).weight(0);
        let feeder = world.start(1, |builder| builder.cluster(feeder)).await;
        let entity = feeder.node.entity::<Counter>("k");
        let early = entity.try_tell(Add { sender: 0, number: 0 }).expect_err("nobody owns it");
        assert_eq!(early.reason, RejectReason::Unreachable);
        let late = entity.tell(Add { sender: 0, number: 0 }).await.expect_err("nobody comes");
        assert_eq!(late.reason, RejectReason::Unreachable);
        let (tells, asks) = (entity.clone(), entity);
        let tell = async move { tells.tell(Add { sender: 0, number: 1 }).await };
        let tell = tokio::task::spawn_local(tell);
        let ask = tokio::task::spawn_local(async move { asks.ask(Sum).await });
        pause(1_000).await;
        let _owner = world.start(2, log.host()).await;
        tell.await.expect("it ends").expect("an owner came");
        assert_eq!(ask.await.expect("it ends").expect("it answers").node, "n2");
    });
}

#[test]
fn a_node_that_does_not_host_the_type_says_so() {
    simulate(async {
        let world = World::new(13);
        let a = world.start(1, |builder| builder).await;
        let b = world.start(2, |builder| builder).await;
        b.sees(2).await;
        for key in keys(8) {
            let ask = b.node.entity::<Counter>(&key).ask(Sum).await;
            let Err(AskError::Rejected { reason, .. }) = ask else { panic!("{ask:?}") };
            let at_home = b.node.owner_of::<Counter>(&key).as_ref() == Some(&b.node.id());
            let expected = if at_home { RejectReason::NoSuchActor } else { RejectReason::Mismatch };
            assert_eq!(reason, expected);
        }
        drop(a);
    });
}

#[test]
fn without_a_cluster_entities_live_on_their_one_node() {
    simulate(async {
        let log = Log(Arc::new(Mutex::default()));
        let builder = Node::builder().threads(actix_cluster::node::LocalThreads);
        let node = log.host()(builder).start().await.expect("it starts");
        let entity = node.entity::<Counter>("k");
        entity.tell(Add { sender: 0, number: 0 }).await.expect("taken");
        assert_eq!(entity.ask(Sum).await.expect("it answers").count, 1);
        node.shutdown().await;
        let after = entity.ask(Sum).await;
        assert!(matches!(after, Err(AskError::Rejected { reason: RejectReason::NodeStopped, .. })));
    });
}

#[test]
fn entities_are_counted_by_type_and_the_hottest_are_named() {
    simulate(async {
        let (world, log) = (World::new(91), Log::default());
        let a = world.start(1, log.host()).await;
        let add = |number| Add { sender: 0, number };
        for key in 0..20u64 {
            a.node.entity::<Counter>(key).ask(add(0)).await.expect("an answer");
        }
        pause(1_000).await;
        a.node.entity::<Counter>("late").ask(add(0)).await.expect("an answer");
        let counts = a.node.entity_counts().await;
        let [count] = &counts[..] else { panic!("{counts:?}") };
        assert_eq!((count.actor, count.active, count.waiting), ("test.Counter", 21, 0));
        let about = Duration::from_millis(980)..Duration::from_millis(1_100);
        assert!(about.contains(&count.oldest), "{count:?}");

        let busy = async {
            pause(10).await;
            for number in 1..=30 {
                a.node.entity::<Counter>(7).tell(add(number)).await.expect("room");
                if number % 3 == 0 {
                    a.node.entity::<Counter>("late").tell(add(number)).await.expect("room");
                }
            }
            a.node.entity::<Counter>("new").tell(add(1)).await.expect("room");
        };
        let (hot, ()) = tokio::join!(a.node.hot_entities(2, Duration::from_millis(500)), busy);
        let hottest: Vec<_> =
            hot.iter().map(|hot| (&*hot.key, hot.messages, hot.waiting)).collect();
        assert_eq!(hottest, [("7", 30, 0), ("late", 10, 0)]);
        assert!(hot[0].age > hot[1].age && hot[0].actor == "test.Counter", "{hot:?}");
        let none = a.node.hot_entities(2, Duration::from_millis(10)).await;
        assert_eq!(none, []);
    });
}
