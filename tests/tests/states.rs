//! What becomes of an entity's state, by what its type states: on a move, with its node's leave, and with
//! its node's death.

use std::{collections::BTreeMap, time::Duration};

use actix_cluster::{MovedState, NodeBuilder, RejectReason, prelude::*};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize};

/// Writes a value. Answers with the one before.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "u64")]
#[remote(name = "test.Write", version = 1)]
struct Write(u64);

/// Asks for the value, and for who has it.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "(u64, String)")]
#[remote(name = "test.Read", version = 1)]
struct Read;

/// Takes so many bytes more to the next node.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.Load", version = 1)]
struct Load(usize);

/// Takes so many milliseconds, and then writes.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.WriteLater", version = 1)]
struct WriteLater(u64, u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.CartState", version = 1)]
struct CartState {
    value: u64,
    load: Vec<u8>,
}

/// What goes along is its value.
#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Cart",
    handles(Write, Read, Load, async WriteLater),
    placement = Eventual,
    state = moved
)]
struct Cart {
    value: u64,
    load: usize,
    started: Shared<Vec<(String, u64)>>,
}

impl Actor for Cart {
    type Context = ClusterContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let name = ctx.node().id().name.to_string();
        self.started.lock().expect("not poisoned").push((name, self.value));
    }
}

impl MovedState for Cart {
    type State = CartState;

    fn save(&self) -> CartState {
        CartState { value: self.value, load: vec![7; self.load] }
    }

    fn restore(&mut self, CartState { value, load }: CartState) {
        (self.value, self.load) = (value, load.len());
    }
}

impl Handler<Load> for Cart {
    type Result = ();
    fn handle(&mut self, Load(bytes): Load, _: &mut Self::Context) {
        self.load = bytes;
    }
}

impl AsyncHandler<WriteLater> for Cart {
    async fn handle(&mut self, WriteLater(millis, value): WriteLater, _: &mut Self::Context) {
        pause(millis).await;
        self.value = value;
    }
}

/// Nothing goes along.
#[derive(RemoteActor, Default)]
#[remote(name = "test.Counter", handles(Write, Read), placement = Eventual, state = volatile)]
struct Counter {
    value: u64,
}

impl Actor for Counter {
    type Context = ClusterContext<Self>;
}

/// What every node reads, and writes.
type Store = Shared<BTreeMap<String, u64>>;

/// All is in a store.
#[derive(RemoteActor)]
#[remote(name = "test.Twin", handles(Write, Read), placement = Eventual, state = loaded)]
struct Twin {
    key: String,
    value: u64,
    store: Store,
}

impl Actor for Twin {
    type Context = ClusterContext<Self>;
}

trait Keeps: Entity {
    fn value(&mut self) -> &mut u64;
    fn written(&mut self) {}
}

impl Keeps for Cart {
    fn value(&mut self) -> &mut u64 {
        &mut self.value
    }
}

impl Keeps for Counter {
    fn value(&mut self) -> &mut u64 {
        &mut self.value
    }
}

impl Keeps for Twin {
    fn value(&mut self) -> &mut u64 {
        &mut self.value
    }

    fn written(&mut self) {
        self.store.lock().expect("not poisoned").insert(self.key.clone(), self.value);
    }
}

impl<A: Keeps> WriteHandler for A {}

/// What all three do with their messages.
trait WriteHandler: Keeps {
    fn write(&mut self, value: u64) -> u64 {
        let before = std::mem::replace(self.value(), value);
        self.written();
        before
    }

    fn read(&mut self, ctx: &Self::Context) -> (u64, String) {
        (*self.value(), ctx.node().id().name.to_string())
    }
}

macro_rules! keeps {
    ($($actor:ty),*) => {$(
        impl Handler<Write> for $actor {
            type Result = MessageResult<Write>;
            fn handle(&mut self, Write(value): Write, _: &mut Self::Context) -> Self::Result {
                MessageResult(self.write(value))
            }
        }

        impl Handler<Read> for $actor {
            type Result = MessageResult<Read>;
            fn handle(&mut self, _: Read, ctx: &mut Self::Context) -> Self::Result {
                MessageResult(self.read(ctx))
            }
        }
    )*};
}

keeps!(Cart, Counter, Twin);

const KEYS: u64 = 40;

fn key(number: u64) -> String {
    format!("key-{number}")
}

fn host(store: &Store) -> impl Fn(NodeBuilder) -> NodeBuilder + use<> {
    let store = Store::clone(store);
    move |builder| {
        let store = Store::clone(&store);
        builder.entity(|_| Cart::default()).entity(|_| Counter::default()).entity_async(
            move |key| {
                let store = Store::clone(&store);
                async move {
                    pause(3).await;
                    let read = store.lock().expect("not poisoned").get(&key).copied();
                    Ok::<_, std::io::Error>(Twin { value: read.unwrap_or(0), key, store })
                }
            },
        )
    }
}

async fn write<A: Entity + Handles<Write>>(node: &Node) {
    for number in 0..KEYS {
        let before = node.entity::<A>(&key(number)).ask(Write(number + 1)).await;
        assert_eq!(before.expect("an answer"), 0);
    }
}

/// What happens to the second of three nodes, and to those with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// A fourth node joins.
    Join,
    Leave,
    Death,
}

/// Writes to all keys, lets it happen, and gives by key the value then, who had it and who has it.
async fn after<A: Entity + Handles<Write> + Handles<Read>>(
    fate: Fate,
) -> Vec<(u64, (u64, String), String)> {
    let (world, store) = (World::new(7), Store::default());
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(world.start(number, host(&store)).await);
    }
    for node in &nodes {
        node.sees(3).await;
    }
    write::<A>(&nodes[0].node).await;
    let mut before = Vec::new();
    for number in 0..KEYS {
        let (value, node) = ask::<A>(&nodes[0], number).await;
        assert_eq!(value, number + 1);
        before.push(node);
    }
    match fate {
        Fate::Join => nodes.push(world.start(4, host(&store)).await),
        Fate::Leave => nodes.remove(1).node.shutdown().await,
        Fate::Death => nodes.remove(1).kill().await,
    }
    let members = nodes.len();
    for node in &nodes {
        node.sees(members).await;
    }
    pause(1_000).await;
    let mut found = Vec::new();
    for (number, node) in (0..KEYS).zip(before) {
        found.push((number, ask::<A>(&nodes[0], number).await, node));
    }
    found
}

async fn ask<A: Entity + Handles<Read>>(node: &SimulatedNode, number: u64) -> (u64, String) {
    let entity = node.node.entity::<A>(&key(number));
    entity.ask(Read).within(Duration::from_secs(20)).await.expect("every key answers")
}

/// Whoever stays keeps its state. Of those that have another node then, all have theirs, or none.
fn check<A: Entity + Handles<Write> + Handles<Read>>(fate: Fate, is_kept: bool) {
    simulate(async move {
        let mut others = 0;
        for (number, (value, now), before) in after::<A>(fate).await {
            let is_elsewhere = now != before;
            others += usize::from(is_elsewhere);
            let expected = if is_kept || !is_elsewhere { number + 1 } else { 0 };
            assert_eq!(value, expected, "{fate:?}, key {number}: of {before}, now of {now}");
        }
        assert!((1..KEYS as usize).contains(&others), "{others} are elsewhere");
    });
}

#[test]
fn volatile_state_is_gone_on_a_move() {
    check::<Counter>(Fate::Join, false);
}

#[test]
fn volatile_state_is_gone_when_its_node_leaves() {
    check::<Counter>(Fate::Leave, false);
}

#[test]
fn volatile_state_is_gone_when_its_node_dies() {
    check::<Counter>(Fate::Death, false);
}

#[test]
fn moved_state_is_there_after_a_move() {
    check::<Cart>(Fate::Join, true);
}

#[test]
fn moved_state_is_there_when_its_node_has_left() {
    check::<Cart>(Fate::Leave, true);
}

#[test]
fn moved_state_is_gone_when_its_node_dies() {
    check::<Cart>(Fate::Death, false);
}

#[test]
fn loaded_state_is_there_after_a_move() {
    check::<Twin>(Fate::Join, true);
}

#[test]
fn loaded_state_is_there_when_its_node_has_left() {
    check::<Twin>(Fate::Leave, true);
}

#[test]
fn loaded_state_is_there_when_its_node_dies() {
    check::<Twin>(Fate::Death, true);
}

/// A cluster of one, whose carts have their values.
async fn carts(world: &World, started: &Shared<Vec<(String, u64)>>) -> SimulatedNode {
    let node = world.start(1, hosting_carts(started)).await;
    write::<Cart>(&node.node).await;
    node
}

fn hosting_carts(
    started: &Shared<Vec<(String, u64)>>,
) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
    let started = Shared::clone(started);
    move |builder| {
        builder.entity(move |_| Cart { started: Shared::clone(&started), ..Cart::default() })
    }
}

/// The key of a cart that a second node is to have.
async fn one_for_the_second(b: &SimulatedNode) -> u64 {
    b.sees(2).await;
    let is_there = |number: &u64| b.node.owner_of::<Cart>(&key(*number)) == Some(b.node.id());
    (0..KEYS).find(is_there).expect("some are there")
}

#[test]
fn an_entity_with_moved_state_is_active_again_at_once_and_is_restored_before_it_is_started() {
    simulate(async {
        let (world, started) = (World::new(11), Shared::default());
        let a = carts(&world, &started).await;
        started.lock().expect("not poisoned").clear();
        let b = world.start(2, hosting_carts(&started)).await;
        b.sees(2).await;
        until("all are active", || {
            let counts = (a.node.entity_count(), b.node.entity_count());
            counts.0 + counts.1 == KEYS as usize && counts.1 > 0
        })
        .await;
        pause(500).await;
        let started = started.lock().expect("not poisoned").clone();
        assert_eq!(started.len(), b.node.entity_count(), "each is started once");
        assert!(started.iter().all(|(node, value)| node == "n2" && *value > 0), "{started:?}");
    });
}

#[test]
fn what_an_entity_has_begun_is_in_the_state_that_moves() {
    simulate(async {
        let (world, started) = (World::new(12), Shared::default());
        let a = carts(&world, &started).await;
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..KEYS {
            let cart = a.node.entity::<Cart>(&key(number));
            writes.spawn_local(cart.ask(WriteLater(300, 1_000 + number)));
        }
        pause(20).await;
        let b = world.start(2, hosting_carts(&started)).await;
        b.sees(2).await;
        while let Some(written) = writes.join_next().await {
            written.expect("it ends").expect("an answer");
        }
        until("some have moved", || b.node.entity_count() > 0).await;
        for number in 0..KEYS {
            assert_eq!(ask::<Cart>(&a, number).await.0, 1_000 + number);
        }
    });
}

#[test]
fn an_entity_whose_state_cant_move_stays_and_is_tried_again() {
    simulate(async {
        let (world, started) = (World::new(13), Shared::default());
        let a = carts(&world, &started).await;
        for number in 0..KEYS {
            let cart = a.node.entity::<Cart>(&key(number));
            cart.ask(Load(17 * 1024 * 1024)).await.expect("an answer");
        }
        let b = world.start(2, hosting_carts(&started)).await;
        b.knows(2).await;
        pause(3_000).await;
        for number in 0..KEYS {
            assert_eq!(ask::<Cart>(&b, number).await, (number + 1, "n1".to_owned()));
        }
        for number in 0..KEYS {
            let cart = b.node.entity::<Cart>(&key(number));
            cart.ask(Load(100 * 1024)).await.expect("an answer");
        }
        b.sees(2).await;
        assert!((1..KEYS as usize).contains(&b.node.entity_count()), "some have moved");
        for number in 0..KEYS {
            assert_eq!(ask::<Cart>(&b, number).await.0, number + 1);
        }
    });
}

#[test]
fn state_waits_for_an_entity_that_cant_be_loaded_yet() {
    simulate(async {
        let (world, tries, fails) = (World::new(14), Shared::default(), Shared::default());
        let hosting = |builder: NodeBuilder| {
            let (tries, fails) = (Shared::<u32>::clone(&tries), Shared::<bool>::clone(&fails));
            builder.entity_async(move |_key| {
                let (tries, fails) = (Shared::clone(&tries), Shared::clone(&fails));
                async move {
                    pause(2).await;
                    *tries.lock().expect("not poisoned") += 1;
                    let fails = *fails.lock().expect("not poisoned");
                    if fails { Err("not yet") } else { Ok(Cart::default()) }
                }
            })
        };
        let a = world.start(1, hosting).await;
        write::<Cart>(&a.node).await;
        let before = *tries.lock().expect("not poisoned");
        *fails.lock().expect("not poisoned") = true;
        let b = world.start(2, hosting).await;
        let number = one_for_the_second(&b).await;
        until("it was tried", || *tries.lock().expect("not poisoned") > before).await;
        pause(1_000).await;
        let refused = b.node.entity::<Cart>(&key(number)).ask(Read).await;
        let refused = refused.expect_err("it is not loaded");
        let reason = RejectReason::LoadFailed;
        assert!(matches!(refused, AskError::Rejected { reason: given, .. } if given == reason));
        *fails.lock().expect("not poisoned") = false;
        pause(60_000).await;
        assert_eq!(ask::<Cart>(&b, number).await, (number + 1, "n2".to_owned()));
    });
}
