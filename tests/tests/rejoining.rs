//! A node that was declared down although it lives: it joins again as a later incarnation, and whoever
//! holds a handle to it, or a reference to an entity, goes on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_cluster::{
    Backoff, HandledBy, JoinError, NodeBuilder, NodeEnd, NodeId, RejectReason, Rejoin, Resize,
    Terminated, TerminatedReason, UnknownReason, prelude::*,
};
use actix_cluster_tests::{SimulatedNode, World, ip, pause, simulate, until};
use serde::{Deserialize, Serialize};

/// Asks an actor who its node is.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy)]
#[rtype(result = "NodeId")]
#[remote(name = "rejoining.Who", version = 1)]
struct Who;

/// Takes the actor a minute.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy)]
#[rtype(result = "()")]
#[remote(name = "rejoining.Linger", version = 1)]
struct Linger;

/// Has an actor spawn another on its node.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy)]
#[rtype(result = "ActorRef<Plain>")]
#[remote(name = "rejoining.Hatch", version = 1)]
struct Hatch;

/// How many instances live, and how often timers have fired.
#[derive(Debug, Default)]
struct Counts {
    alive: AtomicU64,
    ticks: AtomicU64,
}

macro_rules! actor {
    ($name:ident, $text:literal $(, $key:ident = $value:tt)*) => {
        #[derive(RemoteActor)]
        #[remote(name = $text, handles(Who, Hatch, async Linger) $(, $key = $value)*)]
        struct $name(Arc<Counts>);

        impl $name {
            fn new(counts: &Arc<Counts>) -> Self {
                counts.alive.fetch_add(1, Ordering::Relaxed);
                Self(Arc::clone(counts))
            }
        }

        impl Actor for $name {
            type Context = ClusterContext<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                ctx.run_interval(Duration::from_secs(1), |this, _| {
                    this.0.ticks.fetch_add(1, Ordering::Relaxed);
                });
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.alive.fetch_sub(1, Ordering::Relaxed);
            }
        }

        impl Handler<Who> for $name {
            type Result = MessageResult<Who>;
            fn handle(&mut self, _: Who, ctx: &mut Self::Context) -> MessageResult<Who> {
                MessageResult(ctx.node().id())
            }
        }

        impl Handler<Hatch> for $name {
            type Result = MessageResult<Hatch>;
            fn handle(&mut self, _: Hatch, ctx: &mut Self::Context) -> MessageResult<Hatch> {
                MessageResult(hatch(&ctx.node(), &self.0))
            }
        }

        impl AsyncHandler<Linger> for $name {
            async fn handle(&mut self, _: Linger, ctx: &mut Self::Context) {
                ctx.clock().sleep(Duration::from_secs(60)).await;
            }
        }
    };
}

actor!(Stopping, "rejoining.Stopping", placement = Eventual, state = volatile);
actor!(Lasting, "rejoining.Lasting", placement = Eventual, state = volatile, minority = Continue);
actor!(
    Pinned,
    "rejoining.Pinned",
    placement = Eventual,
    state = volatile,
    pinned = "n1",
    minority = Continue
);
actor!(Plain, "rejoining.Plain");
actor!(Worker, "rejoining.Worker");

fn hatch(node: &Node, counts: &Arc<Counts>) -> ActorRef<Plain> {
    let counts = Arc::clone(counts);
    node.spawn(move |_| Plain::new(&counts)).start().expect("it starts")
}

fn hosting(builder: NodeBuilder, counts: &Arc<Counts>) -> NodeBuilder {
    let (stopping, lasting, working) = (counts.clone(), counts.clone(), counts.clone());
    let builder = builder.entity(move |_| Stopping::new(&stopping));
    let builder = builder.entity(move |_| Lasting::new(&lasting)).actor::<Plain>();
    let two = Resize { routees: 2..=2, ..Resize::default() };
    builder.workers(two, move |_| Worker::new(&working))
}

/// So many nodes that see each other, and what lives on each.
async fn cluster(world: &World, count: u8) -> (Vec<SimulatedNode>, Vec<Arc<Counts>>) {
    let (mut nodes, mut counts) = (Vec::new(), Vec::new());
    for host in 1..=count {
        let own = Arc::<Counts>::default();
        nodes.push(world.start(host, |builder| hosting(builder, &own)).await);
        counts.push(own);
    }
    for node in &nodes {
        node.sees(count.into()).await;
    }
    (nodes, counts)
}

/// Whether all of these see all of these as they are now, and nobody else.
fn are_one(nodes: &[SimulatedNode]) -> bool {
    nodes.iter().all(|one| {
        let view = one.node.view().expect("a cluster");
        let sees = |other: &SimulatedNode| view.contains(&other.node.id());
        view.members.len() == nodes.len() && nodes.iter().all(sees)
    })
}

fn keys() -> impl Iterator<Item = String> {
    (0..30).map(|n| format!("key-{n}"))
}

/// Every key answers on every node, from its owner.
async fn all_answer(nodes: &[SimulatedNode]) {
    async fn answer<A: Entity>(node: &Node, key: &str)
    where
        Who: HandledBy<A>,
    {
        // A shard may be on its way to another node yet.
        for _ in 0..100 {
            let answer = node.entity::<A>(key).ask(Who).await.expect("it answers");
            if node.owner_of::<A>(key) == Some(answer) {
                return;
            }
            pause(10).await;
        }
        panic!("{key} does not come to rest");
    }
    for node in nodes {
        for key in keys() {
            answer::<Stopping>(&node.node, &key).await;
            answer::<Lasting>(&node.node, &key).await;
        }
    }
}

fn id(host: u8, incarnation: u64) -> NodeId {
    NodeId { name: format!("n{host}").into(), incarnation }
}

/// How a node comes to be declared down.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Pause,
    Partition,
}

/// Cuts the node of a host off until the others have declared it down, and lets it come back.
async fn cut_off(world: &World, nodes: &[SimulatedNode], host: u8, fault: Fault) {
    let cut = &nodes[usize::from(host) - 1];
    let others = || nodes.iter().filter(|node| node.host != host);
    match fault {
        Fault::Pause => cut.pause(),
        Fault::Partition => {
            others().for_each(|other| world.network.partition(ip(host), ip(other.host)));
        }
    }
    for other in others() {
        other.sees(nodes.len() - 1).await;
    }
    pause(15_000).await;
    match fault {
        Fault::Pause => cut.resume(),
        Fault::Partition => world.network.heal_all(),
    }
}

#[test]
fn a_node_that_was_declared_down_joins_again_as_a_later_incarnation_and_again() {
    // The first is the only seed, and has founded the cluster.
    for (host, fault) in
        [(3, Fault::Pause), (3, Fault::Partition), (1, Fault::Pause), (1, Fault::Partition)]
    {
        simulate(async move {
            let world = World::new(600);
            let (nodes, _) = cluster(&world, 3).await;
            all_answer(&nodes).await;
            let node = &nodes[usize::from(host) - 1].node;
            for incarnation in 1..4 {
                assert_eq!(node.id(), id(host, incarnation));
                let known = node.id();
                cut_off(&world, &nodes, host, fault).await;
                assert_eq!(node.id_after(&known).await, Some(id(host, incarnation + 1)));
                until("they are one cluster", || are_one(&nodes)).await;
                all_answer(&nodes).await;
            }
            let others = nodes.iter().filter(|other| other.host != host);
            assert!(others.map(|other| other.node.id().incarnation).eq([1, 1]), "{fault:?}");
        });
    }
}

/// The first key of an entity that is on this node.
fn key_on<A: Entity>(node: &SimulatedNode) -> String {
    let is_its = |key: &String| node.node.owner_of::<A>(key) == Some(node.node.id());
    (0..).map(|n| format!("own-{n}")).find(is_its).expect("it has some")
}

/// Whether the node's actors have been ended: it starts none.
fn has_fallen(node: &SimulatedNode, counts: &Arc<Counts>) -> bool {
    node.node
        .spawn({
            let counts = Arc::clone(counts);
            move |_| Plain::new(&counts)
        })
        .start()
        .is_err()
}

#[test]
fn handles_go_on_with_the_new_incarnation_and_actors_of_the_old_one_have_ended() {
    for fault in [Fault::Pause, Fault::Partition] {
        simulate(async move {
            let world = World::new(610);
            let (nodes, counts) = cluster(&world, 3).await;
            let (first, third) = (&nodes[0].node, &nodes[2].node);
            let plain = hatch(third, &counts[2]);
            third.register("plain", &plain).expect("the name is free");
            let (on_first, on_third) = (key_on::<Lasting>(&nodes[0]), key_on::<Lasting>(&nodes[2]));
            let far = first.entity::<Lasting>(&on_third).ask(Hatch).await.expect("it answers");
            let away = third.entity::<Lasting>(&on_first).ask(Hatch).await.expect("it answers");
            let (here, there) = (third.entity::<Lasting>(&on_third), third.entity(&on_first));
            let workers = third.workers::<Worker>();
            assert_eq!(away.ask(Who).await.expect("it answers"), id(1, 1));
            assert_eq!(workers.ask(Who).await.expect("it answers"), id(3, 1));
            let watch = far.watch().expect("it is watched");
            let mut letters = third.subscribe_dead_letters();
            let version = third.view().expect("a cluster").version;

            let known = third.id();
            cut_off(&world, &nodes, 3, fault).await;
            third.id_after(&known).await.expect("it joins again");
            until("they are one cluster", || are_one(&nodes)).await;
            assert!(third.view().expect("a cluster").version > version);

            // What was is no more, and says so.
            let Terminated { reason, .. } = watch.await;
            assert_eq!(reason, TerminatedReason::NodeDown);
            for old in [&plain, &far] {
                let rejected = old.ask(Who).await.expect_err("it has ended");
                let AskError::Rejected { reason, .. } = rejected else { panic!("{rejected}") };
                let expected = [RejectReason::NodeStopped, RejectReason::NoSuchActor];
                assert!(expected.contains(&reason), "{reason}");
            }
            assert_eq!(third.actor_count(), 2, "its workers");
            assert_eq!(counts[2].alive.load(Ordering::Relaxed), 2);
            let ticks = counts[2].ticks.load(Ordering::Relaxed);
            pause(10_500).await;
            assert_eq!(counts[2].ticks.load(Ordering::Relaxed) - ticks, 20, "of its workers");
            assert!(third.whereis::<Plain>("plain").is_err());
            // What was made before serves on.
            for entity in [&here, &there] {
                let owner = third.owner_of::<Lasting>(entity.key().expect("a key"));
                assert_eq!(Some(entity.ask(Who).await.expect("it answers")), owner);
                entity.tell(Who).await.expect("it is told");
                entity.try_tell(Who).expect("it is told");
                let watch = entity.watch().expect("it is watched");
                assert_eq!(watch.target().key(), entity.key());
            }
            assert_eq!(away.ask(Who).await.expect("it answers"), id(1, 1));
            assert_eq!(workers.ask(Who).await.expect("it answers"), id(3, 2));
            // And so do things that are made anew.
            let plain = hatch(third, &counts[2]);
            third.register("plain", &plain).expect("the name is free");
            assert_eq!(plain.ask(Who).await.expect("it answers"), id(3, 2));
            let dead = third.dead_letters().total();
            plain.try_tell(Who).expect("there is room");
            plain.kill();
            until("it is a dead letter", || third.dead_letters().total() == dead + 1).await;
            third.shutdown().await;
            assert!(matches!(third.ended().await, NodeEnd::ShutDown));
            assert_eq!(third.id(), id(3, 2));
            let mut senders = BTreeSet::new();
            while let Some(letter) = letters.next().await {
                senders.extend(letter.sender);
            }
            assert!(senders.contains(&id(3, 2)), "{senders:?}");
        });
    }
}

#[test]
fn asks_in_flight_end_unknown_on_both_sides_and_what_did_not_run_goes_on() {
    for fault in [Fault::Pause, Fault::Partition] {
        simulate(async move {
            let world = World::new(620);
            let (nodes, _) = cluster(&world, 3).await;
            let (first, third) = (&nodes[0].node, &nodes[2].node);
            let lasting = Duration::from_secs(300);
            // From each side to the other, and within the one that is cut off.
            let (on_first, on_third) = (key_on::<Lasting>(&nodes[0]), key_on::<Lasting>(&nodes[2]));
            let there = first.entity::<Lasting>(&on_third).ask(Linger).within(lasting);
            let back = third.entity::<Lasting>(&on_first).ask(Linger).within(lasting);
            let other = (0..).map(|n| format!("other-{n}"));
            let mut on_third =
                other.filter(|key| third.owner_of::<Lasting>(key) == Some(third.id()));
            let local = third.entity::<Lasting>(&on_third.next().expect("one"));
            let within = local.ask(Linger).within(lasting);
            // It waits behind the one that runs, and did not run when its node fell.
            let waiting = async {
                pause(100).await;
                local.ask(Who).within(lasting).await
            };
            let cut = async {
                pause(1_000).await;
                let known = third.id();
                cut_off(&world, &nodes, 3, fault).await;
                third.id_after(&known).await.expect("it joins again");
            };
            let (there, back, within, waiting, ()) =
                tokio::join!(there, back, within, waiting, cut);
            for (from, ask) in [("there", there), ("back", back), ("within", within)] {
                let error = ask.expect_err(from);
                let AskError::Unknown(reason) = error else { panic!("{from}: {error}") };
                let expected = [UnknownReason::NodeDown, UnknownReason::NoReply];
                assert!(expected.contains(&reason), "{from}: {reason}");
            }
            let owner = third.owner_of::<Lasting>(local.key().expect("a key"));
            assert_eq!(Some(waiting.expect("it runs in the next life")), owner);
        });
    }
}

#[test]
fn old_activations_stop_whatever_their_type_does_in_a_minority() {
    simulate(async {
        let world = World::new(630);
        let (nodes, counts) = cluster(&world, 3).await;
        // Long enough that the three are the whole.
        pause(15_000).await;
        let third = &nodes[2].node;
        let stopping = third.entity::<Stopping>(&key_on::<Stopping>(&nodes[2]));
        let lasting = third.entity::<Lasting>(&key_on::<Lasting>(&nodes[2]));
        let none = counts[2].alive.load(Ordering::Relaxed);
        stopping.ask(Who).await.expect("it answers");
        lasting.ask(Who).await.expect("it answers");
        assert_eq!(counts[2].alive.load(Ordering::Relaxed), none + 2);
        for other in [1, 2] {
            world.network.partition(ip(3), ip(other));
        }
        nodes[2].sees(1).await;
        until("the minority stops", || counts[2].alive.load(Ordering::Relaxed) == none + 1).await;
        assert_eq!(lasting.ask(Who).await.expect("it goes on"), id(3, 1));
        let waiting = stopping.ask(Who).within(Duration::from_secs(60));
        let healing = async {
            pause(1_000).await;
            world.network.heal_all();
            third.id_after(&id(3, 1)).await.expect("it joins again");
            assert_eq!(counts[2].alive.load(Ordering::Relaxed), none, "nothing of before is left");
        };
        let (waited, ()) = tokio::join!(waiting, healing);
        assert_eq!(waited.ok(), third.owner_of::<Stopping>(stopping.key().expect("a key")));
        until("they are one cluster", || are_one(&nodes)).await;
        all_answer(&nodes).await;
    });
}

#[test]
fn of_two_sides_that_hold_each_other_down_one_joins_the_other_again() {
    // The first of the hosts is the only seed, and founds the cluster.
    for (count, apart) in [(2, &[2][..]), (2, &[1]), (4, &[1, 2]), (4, &[2, 3]), (5, &[1, 4])] {
        for seed in 0..3 {
            simulate(async move {
                let world = World::new(640 + seed);
                let (nodes, _) = cluster(&world, count).await;
                pause(12_000).await;
                let others = (1..=count).filter(|host| !apart.contains(host));
                let others: Vec<u8> = others.collect();
                for (one, other) in
                    apart.iter().flat_map(|one| others.iter().map(move |o| (one, o)))
                {
                    world.network.partition(ip(*one), ip(*other));
                }
                for (side, size) in [(apart, apart.len()), (&others, others.len())] {
                    for host in side {
                        nodes[usize::from(*host) - 1].sees(size).await;
                    }
                }
                pause(20_000).await;
                world.network.heal_all();
                until("they are one cluster", || are_one(&nodes)).await;
                let again = |side: &[u8]| {
                    let node = |host: &u8| nodes[usize::from(*host) - 1].node.id().incarnation;
                    side.iter().map(node).filter(|incarnation| *incarnation > 1).count()
                };
                let (theirs, others_again) = (again(apart), again(&others));
                let sides = [(apart.len(), 0), (0, others.len())];
                assert!(
                    sides.contains(&(theirs, others_again)),
                    "{count} nodes, {apart:?}, seed {seed}: {theirs} and {others_again}"
                );
                all_answer(&nodes).await;
            });
        }
    }
}

/// Three nodes, of which the third is to join again as `rejoin` says.
async fn three(world: &World, rejoin: Rejoin) -> (Vec<SimulatedNode>, Arc<Counts>) {
    let (mut nodes, counts) = (Vec::new(), Arc::<Counts>::default());
    for host in 1..=3 {
        let config = world.config_of(host).join_timeout(Duration::from_secs(2));
        let config = config.rejoin(rejoin.clone());
        nodes.push(world.start(host, |b| hosting(b, &counts).cluster(config)).await);
    }
    for node in &nodes {
        node.sees(3).await;
    }
    (nodes, counts)
}

/// Has the node of a host learn that it was declared down, and reach nobody from then on.
async fn strand(world: &World, nodes: &[SimulatedNode], host: u8, counts: &Arc<Counts>) {
    let stranded = &nodes[usize::from(host) - 1];
    stranded.pause();
    nodes[1].sees(2).await;
    stranded.resume();
    until("it knows", || has_fallen(stranded, counts)).await;
    for other in nodes.iter().filter(|node| node.host != host) {
        world.network.partition(ip(host), ip(other.host));
    }
}

#[test]
fn a_node_that_is_not_to_join_again_ends_and_says_why() {
    simulate(async {
        let world = World::new(660);
        let (nodes, counts) = three(&world, Rejoin::never()).await;
        let third = &nodes[2].node;
        nodes[2].pause();
        nodes[0].sees(2).await;
        nodes[2].resume();
        let end = third.ended().await;
        let NodeEnd::DeclaredDown { id: down, last: None } = end else { panic!("{end}") };
        assert_eq!((&down, third.id()), (&id(3, 1), id(3, 1)));
        assert!(has_fallen(&nodes[2], &counts));
        assert_eq!(third.id_after(&down).await, None);
        third.shutdown().await;
    });
}

#[test]
fn a_node_that_can_not_join_again_tries_so_often_and_ends() {
    simulate(async {
        let world = World::new(670);
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(2) };
        let rejoin = Rejoin { limit: 4, within: Duration::from_secs(600), backoff };
        let (nodes, counts) = three(&world, rejoin).await;
        strand(&world, &nodes, 3, &counts).await;
        let began = nodes[0].node.view().expect("a cluster");
        let third = nodes[2].node.clone();
        let clock = world.network.host(ip(1)).clock();
        let from = clock.now();
        let end = third.ended().await;
        let NodeEnd::DeclaredDown { id: down, last: Some(last) } = end else { panic!("{end}") };
        assert_eq!(down, id(3, 1));
        assert!(matches!(&*last, JoinError::TimedOut { .. }), "{last}");
        let took = clock.now() - from;
        // Four tries of two seconds, the last round of asking in each, and the waits before them.
        let (shortest, longest) = (Duration::from_millis(11_500), Duration::from_secs(27));
        assert!((shortest..longest).contains(&took), "{took:?}");
        assert_eq!(nodes[0].node.view().expect("a cluster").version, began.version);
    });
}

#[test]
fn a_node_whose_way_is_free_again_joins_at_its_next_try() {
    // The first is the first of its seeds: it would found a cluster, were it started anew.
    for host in [3, 1] {
        simulate(async move {
            let world = World::new(680);
            let (nodes, counts) = three(&world, Rejoin::default()).await;
            let node = &nodes[usize::from(host) - 1].node;
            let entity = node.entity::<Stopping>("waits");
            strand(&world, &nodes, host, &counts).await;
            let waiting = entity.ask(Who).within(Duration::from_secs(120));
            let healing = async {
                pause(9_000).await;
                let stranded = &nodes[usize::from(host) - 1];
                assert!(has_fallen(stranded, &counts), "it founds nothing");
                world.network.heal_all();
            };
            let (answer, ()) = tokio::join!(waiting, healing);
            // It has waited as long as a message waits for room.
            let error = answer.expect_err("nobody has taken it");
            assert!(matches!(error, AskError::Rejected { .. }), "{error}");
            until("they are one cluster", || are_one(&nodes)).await;
            assert!(node.id().incarnation > 1, "{}", node.id());
            all_answer(&nodes).await;
        });
    }
}

#[test]
fn a_node_can_be_shut_down_while_it_tries_to_join_again() {
    simulate(async {
        let world = World::new(690);
        let (nodes, counts) = three(&world, Rejoin::default()).await;
        strand(&world, &nodes, 3, &counts).await;
        pause(3_000).await;
        nodes[2].node.shutdown().await;
        assert!(matches!(nodes[2].node.ended().await, NodeEnd::ShutDown));
        world.network.heal_all();
        pause(30_000).await;
        assert_eq!(nodes[0].node.members().len(), 2);
    });
}

#[test]
fn a_node_that_drains_owns_nothing_in_its_next_life_either() {
    simulate(async {
        let world = World::new(700);
        let (nodes, _) = cluster(&world, 3).await;
        let third = &nodes[2].node;
        third.drain().await;
        cut_off(&world, &nodes, 3, Fault::Pause).await;
        third.id_after(&id(3, 1)).await.expect("it joins again");
        third.drain().await;
        until("they are one cluster", || are_one(&nodes)).await;
        for node in &nodes {
            let draining = |name: &str| {
                let view = node.node.view().expect("a cluster");
                view.find(name).expect("a member").profile.is_draining
            };
            until("it is known", || draining("n3")).await;
            for key in keys() {
                let owner = node.node.owner_of::<Stopping>(&key).expect("somebody has it");
                assert_ne!(&*owner.name, "n3");
            }
        }
    });
}

#[test]
fn a_node_whose_name_has_another_holder_by_now_does_not_take_it_back() {
    simulate(async {
        let world = World::new(710);
        let (nodes, counts) = three(&world, Rejoin::default()).await;
        nodes[2].pause();
        nodes[0].sees(2).await;
        let holder = world
            .start(4, |builder| hosting(builder, &counts).name("n3").cluster(world.config_of(4)))
            .await;
        holder.sees(3).await;
        let clock = world.network.host(ip(1)).clock();
        let from = clock.now();
        nodes[2].resume();
        let end = nodes[2].node.ended().await;
        let NodeEnd::DeclaredDown { last: Some(last), .. } = end else { panic!("{end}") };
        assert!(matches!(&*last, JoinError::Refused { .. }), "{last}");
        assert!(clock.now() - from < Duration::from_secs(8), "one try is enough to know");
        pause(5_000).await;
        assert_eq!((holder.node.id(), holder.node.members().len()), (id(3, 2), 3));
    });
}

#[test]
fn a_node_that_hosts_nothing_goes_on_sending_to_where_types_state() {
    simulate(async {
        let world = World::new(720);
        let mut nodes = Vec::new();
        for host in 1..=3 {
            let counts = Arc::<Counts>::default();
            let pinned = |b: NodeBuilder| b.entity(move |_| Pinned::new(&counts));
            // The last has heard of no type but by its reference.
            let node = world.start(host, |b| if host < 3 { pinned(b) } else { b }).await;
            nodes.push(node);
        }
        nodes[2].sees(3).await;
        let entities: Vec<ActorRef<Pinned>> =
            keys().map(|key| nodes[2].node.entity(&key)).collect();
        cut_off(&world, &nodes, 3, Fault::Pause).await;
        nodes[2].node.id_after(&id(3, 1)).await.expect("it joins again");
        until("they are one cluster", || are_one(&nodes)).await;
        for entity in entities {
            assert_eq!(entity.ask(Who).await.expect("it answers"), id(1, 1));
        }
    });
}

#[test]
fn two_nodes_become_one_cluster_again_and_again() {
    simulate(async {
        let world = World::new(730);
        let (nodes, _) = cluster(&world, 2).await;
        for round in 0..4 {
            world.network.partition(ip(1), ip(2));
            pause(15_000).await;
            world.network.heal_all();
            println!("round {round} {:?} {:?}", nodes[0].node.id(), nodes[1].node.id());
            until("they are one cluster", || are_one(&nodes)).await;
            let again = nodes.iter().map(|node| node.node.id().incarnation - 1).sum::<u64>();
            assert_eq!(again, round + 1, "one of them each time");
            all_answer(&nodes).await;
        }
    });
}
