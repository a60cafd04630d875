//! Shards on the move in a simulated cluster: what becomes of messages to entities in them.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    cell::Cell, collections::BTreeMap, future::poll_fn, pin::Pin, rc::Rc, sync::PoisonError,
    task::Poll, time::Duration,
};

use actix_cluster::{MovedState, NodeBuilder, prelude::*};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

/// A numbered message, told or asked.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.Numbered", version = 1)]
struct Numbered {
    sender: u32,
    number: u32,
}

/// Takes so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "String")]
#[remote(name = "test.Work", version = 1)]
struct Work(u64);

/// As [`Work`], and leaves its actor to others meanwhile.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "String")]
#[remote(name = "test.Share", version = 1)]
struct Share(u64);

/// The last number of each sender.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.BookState", version = 1)]
struct BookState(BTreeMap<u32, u32>);

#[derive(RemoteActor)]
#[remote(
    name = "test.Book",
    handles(Numbered, async Work, reentrant Share),
    placement = Eventual,
    state = moved
)]
struct Book {
    key: String,
    log: Log,
    /// The last number of each sender.
    last: BTreeMap<u32, u32>,
}

impl MovedState for Book {
    type State = BookState;

    fn save(&self) -> BookState {
        BookState(self.last.clone())
    }

    fn restore(&mut self, BookState(last): BookState) {
        self.last = last;
    }
}

impl Actor for Book {
    type Context = ClusterContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut log = self.log.lock().expect("not poisoned");
        let active = log.active.entry(self.key.clone()).or_default();
        active.push(ctx.node().id().name.to_string());
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        // A failed assertion may have poisoned it.
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.active.entry(self.key.clone()).or_default().pop();
    }
}

impl Handler<Numbered> for Book {
    type Result = MessageResult<Numbered>;
    fn handle(&mut self, msg: Numbered, _: &mut Self::Context) -> MessageResult<Numbered> {
        let Numbered { sender, number } = msg;
        let mut log = self.log.lock().expect("not poisoned");
        let last = self.last.insert(sender, number);
        if last != number.checked_sub(1) {
            log.gaps.push(format!("{number} of {sender} after {last:?} in {}", self.key));
        }
        log.handled.entry((sender, self.key.clone())).or_default().push(number);
        MessageResult(number)
    }
}

impl AsyncHandler<Work> for Book {
    async fn handle(&mut self, Work(millis): Work, ctx: &mut Self::Context) -> String {
        pause(millis).await;
        ctx.node().id().name.to_string()
    }
}

impl ReentrantHandler<Share> for Book {
    async fn handle(this: This<Self>, Share(millis): Share) -> String {
        pause(millis).await;
        this.with(|_, ctx| ctx.node().id().name.to_string())
    }
}

/// One on each node.
#[derive(RemoteActor)]
#[remote(
    name = "test.Cache",
    handles(Numbered),
    placement = Eventual,
    state = volatile,
    strategy = LocalFirst
)]
struct Cache;

impl Actor for Cache {
    type Context = ClusterContext<Self>;
}

impl Handler<Numbered> for Cache {
    type Result = MessageResult<Numbered>;
    fn handle(&mut self, msg: Numbered, _: &mut Self::Context) -> MessageResult<Numbered> {
        MessageResult(msg.number)
    }
}

type Log = Shared<Written>;

#[derive(Debug, Default)]
struct Written {
    /// By sender and key.
    handled: BTreeMap<(u32, String), Vec<u32>>,
    /// Where a book's state is not what its messages have made of it.
    gaps: Vec<String>,
    /// By key, the nodes where it is active.
    active: BTreeMap<String, Vec<String>>,
}

fn host(log: &Log) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
    let log = Log::clone(log);
    move |builder| {
        builder.entity(move |key| {
            let (key, log, last) = (key.to_owned(), Log::clone(&log), BTreeMap::new());
            Book { key, log, last }
        })
    }
}

/// Sends numbered messages to each of the keys, until it is told to stop: tells, and asks that nobody
/// waits for before the next message is sent. Gives how many there were for each key.
async fn send(node: Node, sender: u32, keys: u32, stop: Rc<Cell<bool>>) -> u32 {
    let mut asks: JoinSet<u32> = JoinSet::new();
    let mut number = 0;
    while !stop.get() {
        for key in 0..keys {
            let book = node.entity::<Book>(&format!("key-{key}"));
            let numbered = Numbered { sender, number };
            if (number + key) % 3 == 0 {
                let mut ask = Box::pin(book.ask(numbered).within(Duration::from_secs(30)));
                match begun(&mut ask).await {
                    Poll::Ready(answer) => assert_eq!(answer.expect("an answer"), number),
                    Poll::Pending => {
                        asks.spawn_local(async move { ask.await.expect("an answer") });
                    }
                }
            } else {
                let told = book.tell(numbered).within(Duration::from_secs(30)).await;
                told.expect("it is taken");
            }
        }
        number += 1;
        pause(1).await;
    }
    while let Some(answer) = asks.join_next().await {
        answer.expect("it ends");
    }
    number
}

/// What comes of the first poll, at which a message takes its place in the order.
async fn begun<F: Future + Unpin>(sending: &mut F) -> Poll<F::Output> {
    poll_fn(|task| Poll::Ready(Pin::new(&mut *sending).poll(task))).await
}

/// All have come, and in the order sent.
fn in_sequence(of: &(u32, String), numbers: &[u32], count: u32) {
    let breaks = (0..count).zip(numbers).position(|(expected, number)| expected != *number);
    let around = breaks.map(|at| &numbers[at.saturating_sub(3)..(at + 5).min(numbers.len())]);
    assert_eq!((around, numbers.len()), (None, count as usize), "of {of:?}");
}

/// Has all nodes send while `moves` goes on, and looks that nothing was lost or overtaken.
fn in_order(
    seed: u64,
    moves: impl AsyncFnOnce(&World, &Log, Vec<SimulatedNode>) -> Vec<SimulatedNode> + 'static,
) {
    const KEYS: u32 = 24;
    simulate(async move {
        let (world, log) = (World::new(seed), Log::default());
        let mut nodes = Vec::new();
        for number in 1..=3 {
            nodes.push(world.start(number, host(&log)).await);
        }
        for node in &nodes {
            node.knows(3).await;
        }
        let outsider = world.config_of(9).weight(0);
        let outsider = world.start(9, |builder| builder.cluster(outsider)).await;
        // The third may leave.
        let stop = Rc::<Cell<bool>>::default();
        let senders: Vec<_> = (0..)
            .zip(nodes[..2].iter().chain([&outsider]))
            .map(|(sender, node)| {
                tokio::task::spawn_local(send(node.node.clone(), sender, KEYS, Rc::clone(&stop)))
            })
            .collect();
        pause(20).await;
        let nodes = moves(&world, &log, nodes).await;
        pause(50).await;
        stop.set(true);
        let mut counts = Vec::new();
        for sender in senders {
            counts.push(sender.await.expect("it ends"));
        }
        let total = counts.iter().map(|count| (KEYS * count) as usize).sum();
        let handled = || {
            log.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .handled
                .values()
                .map(Vec::len)
                .sum::<usize>()
        };
        until("all are handled", || handled() >= total).await;
        {
            let written = log.lock().expect("not poisoned");
            for ((sender, key), numbers) in &written.handled {
                let count = counts[*sender as usize];
                in_sequence(&(*sender, key.clone()), numbers, count);
            }
            assert_eq!(written.gaps, Vec::<String>::new(), "all state has moved too");
        }
        for node in nodes.iter().chain([&outsider]) {
            assert_eq!(node.node.dead_letters().total(), 0);
        }
        let is_once = || {
            let written = log.lock().expect("not poisoned");
            written.active.values().all(|nodes| nodes.len() <= 1)
        };
        until("each key is active once, as views agree", is_once).await;
    });
}

#[test]
fn nothing_is_lost_or_overtaken_while_nodes_join() {
    for seed in 1..=3 {
        in_order(seed, async |world, log, mut nodes| {
            for number in [4, 5] {
                nodes.push(world.start(number, host(log)).await);
                pause(10).await;
            }
            nodes
        });
    }
}

#[test]
fn nothing_is_lost_or_overtaken_while_nodes_drain_and_leave() {
    for seed in 11..=13 {
        in_order(seed, async |world, log, mut nodes| {
            nodes.push(world.start(4, host(log)).await);
            nodes[1].node.drain().await;
            assert_eq!(nodes[1].node.entity_count(), 0);
            pause(15).await;
            nodes.remove(2).node.shutdown().await;
            nodes
        });
    }
}

/// Tells a book numbers, of which nobody awaits one before the next is told, until its room is used up and
/// it moves and for some time on.
fn in_order_without_room(seed: u64, is_on_its_node: bool) {
    simulate(async move {
        let (world, log) = (World::new(seed), Log::default());
        let nodes = [world.start(1, host(&log)).await, world.start(2, host(&log)).await];
        let outsider = world.config_of(9).weight(0);
        let outsider = world.start(9, |builder| builder.cluster(outsider)).await;
        for node in nodes.iter().chain([&outsider]) {
            node.knows(3).await;
        }
        let has_it =
            |node: &&SimulatedNode| node.node.owner_of::<Book>("key") == Some(node.node.id());
        let owner = nodes.iter().find(has_it).expect("somebody has it");
        let from = if is_on_its_node { owner } else { &outsider };
        let book = from.node.entity::<Book>("key");
        let work = tokio::task::spawn_local(book.ask(Work(800)));
        pause(20).await;
        let mut waiting = JoinSet::new();
        let mut count = 0;
        let mut tell = async || {
            let numbered = Numbered { sender: 0, number: count };
            count += 1;
            let mut told = Box::pin(book.tell(numbered).within(Duration::from_secs(30)));
            match begun(&mut told).await {
                Poll::Ready(told) => told.expect("it is taken"),
                Poll::Pending => drop(waiting.spawn_local(told)),
            }
        };
        for _ in 0..6_000 {
            tell().await;
        }
        let leaving = owner.node.clone();
        let drained = tokio::task::spawn_local(async move { leaving.drain().await });
        for _ in 0..1_500 {
            tell().await;
            pause(1).await;
        }
        let waited = waiting.len();
        assert!(waited > 1_000, "{waited} have waited for room");
        while let Some(told) = waiting.join_next().await {
            told.expect("it ends").expect("it is taken");
        }
        drained.await.expect("it ends");
        work.await.expect("it ends").expect("an answer");
        let handled = || {
            let written = log.lock().expect("not poisoned");
            written.handled.get(&(0, "key".to_owned())).cloned().unwrap_or_default()
        };
        until("all are handled", || handled().len() >= count as usize).await;
        in_sequence(&(0, "key".to_owned()), &handled(), count);
        let now = from.node.owner_of::<Book>("key");
        assert!(now != Some(owner.node.id()), "it has moved");
    });
}

#[test]
fn who_waits_for_room_is_not_overtaken_when_the_way_changes() {
    for seed in 61..=62 {
        in_order_without_room(seed, false);
        in_order_without_room(seed, true);
    }
}

/// Five nodes that have books, and one that sends to them.
async fn five_and_an_outsider(world: &World, log: &Log) -> (Vec<SimulatedNode>, SimulatedNode) {
    let mut nodes = Vec::new();
    for number in 1..=5 {
        nodes.push(world.start(number, host(log)).await);
    }
    let outsider = world.config_of(9).weight(0);
    let outsider = world.start(9, |builder| builder.cluster(outsider)).await;
    outsider.knows(6).await;
    (nodes, outsider)
}

#[test]
fn a_rolling_restart_loses_nothing_and_overtakes_nothing() {
    simulate(async {
        let (world, log) = (World::new(21), Log::default());
        let (mut nodes, outsider) = five_and_an_outsider(&world, &log).await;
        let stop = Rc::<Cell<bool>>::default();
        let sending = send(outsider.node.clone(), 0, 40, Rc::clone(&stop));
        let sending = tokio::task::spawn_local(sending);
        pause(20).await;
        for number in 1..=5 {
            nodes.remove(0).node.shutdown().await;
            let config = world.config_of(number).seed(actix_cluster_tests::addr(9));
            let node = world.start(number, |builder| host(&log)(builder.cluster(config))).await;
            node.knows(6).await;
            nodes.push(node);
        }
        stop.set(true);
        let count = sending.await.expect("it ends");
        let written = log.lock().expect("not poisoned");
        assert_eq!(written.handled.len(), 40);
        for (of, numbers) in &written.handled {
            in_sequence(of, numbers, count);
        }
        assert_eq!(written.gaps, Vec::<String>::new(), "all state has moved too");
        assert_eq!(outsider.node.dead_letters().total(), 0);
    });
}

/// Asks one key again and again, and notes when it asked and how long that took.
async fn pulse(node: Node, key: u32, stop: Rc<Cell<bool>>) -> Vec<(Instant, Duration)> {
    let book = node.entity::<Book>(&format!("key-{key}"));
    let mut taken = Vec::new();
    for number in 0.. {
        if stop.get() {
            break;
        }
        let begun = Instant::now();
        book.ask(Numbered { sender: 0, number }).await.expect("an answer");
        taken.push((begun, begun.elapsed()));
        pause(1).await;
    }
    taken
}

#[test]
fn a_rolling_restart_pauses_a_key_for_less_than_100_ms_at_p99() {
    const KEYS: u32 = 60;
    simulate(async {
        let (world, log) = (World::new(22), Log::default());
        let (mut nodes, outsider) = five_and_an_outsider(&world, &log).await;
        let stop = Rc::<Cell<bool>>::default();
        let pulse = |key| pulse(outsider.node.clone(), key, Rc::clone(&stop));
        let pulses: Vec<_> = (0..KEYS).map(|key| tokio::task::spawn_local(pulse(key))).collect();
        pause(20).await;
        let owner = |key| outsider.node.owner_of::<Book>(&format!("key-{key}"));
        let owners = || (0..KEYS).map(owner).collect::<Vec<_>>();
        let mut moves = vec![(Instant::now(), owners())];
        for number in 1..=5 {
            nodes.remove(0).node.shutdown().await;
            moves.push((Instant::now(), owners()));
            let config = world.config_of(number).seed(actix_cluster_tests::addr(9));
            let node = world.start(number, |builder| host(&log)(builder.cluster(config))).await;
            node.knows(6).await;
            nodes.push(node);
            pause(500).await;
            moves.push((Instant::now(), owners()));
        }
        stop.set(true);
        // The longest pause of each key in each leave and in each join by which it has moved.
        let mut pauses = Vec::new();
        for (key, pulse) in pulses.into_iter().enumerate() {
            let taken = pulse.await.expect("it ends");
            for ((begin, before), (end, after)) in moves.iter().zip(&moves[1..]) {
                let within = taken.iter().filter(|(at, took)| *at + *took > *begin && at < end);
                let longest = within.map(|(_, took)| *took).max().expect("it was asked");
                pauses.extend((before[key] != after[key]).then_some(longest));
            }
        }
        pauses.sort_unstable();
        let (count, p99) = (pauses.len(), pauses[pauses.len() * 99 / 100]);
        println!("{count} moves: p50 {:?}, p99 {p99:?}, {:?}", pauses[count / 2], pauses.last());
        assert!(count >= 60, "{count} moves");
        assert!(p99 < Duration::from_millis(100), "p99 is {p99:?}");
        assert_eq!(log.lock().expect("not poisoned").gaps, Vec::<String>::new());
    });
}

#[test]
fn what_an_entity_has_begun_is_done_before_it_moves() {
    simulate(async {
        let (world, log) = (World::new(31), Log::default());
        let a = world.start(1, host(&log)).await;
        let (mut works, mut shares) = (JoinSet::new(), JoinSet::new());
        for key in 0..40 {
            let book = a.node.entity::<Book>(&format!("key-{key}"));
            shares.spawn_local(book.ask(Share(300)));
            works.spawn_local(book.ask(Work(400)));
        }
        pause(20).await;
        let b = world.start(2, host(&log)).await;
        b.knows(2).await;
        while let Some(answer) = shares.join_next().await {
            assert_eq!(answer.expect("it ends").expect("an answer"), "n1");
        }
        while let Some(answer) = works.join_next().await {
            assert_eq!(answer.expect("it ends").expect("an answer"), "n1");
        }
        until("some have moved", || a.node.entity_count() < 30).await;
        assert_eq!(a.node.dead_letters().total(), 0);
    });
}

#[test]
fn what_takes_too_long_is_moved_all_the_same() {
    simulate(async {
        let (world, log) = (World::new(32), Log::default());
        let a = world.start(1, host(&log)).await;
        let mut works = JoinSet::new();
        for key in 0..20 {
            let book = a.node.entity::<Book>(&format!("key-{key}"));
            works.spawn_local(book.ask(Work(60_000)).within(Duration::from_secs(90)));
        }
        pause(20).await;
        let b = world.start(2, host(&log)).await;
        b.knows(2).await;
        pause(3_000).await;
        let ended: Vec<_> = std::iter::from_fn(|| works.try_join_next()).collect();
        assert!(!ended.is_empty(), "some were to move");
        for answer in ended {
            let answer = answer.expect("it ends");
            assert!(matches!(answer, Err(AskError::Unknown(_))), "{answer:?}");
        }
        let is_there = |key: &String| b.node.owner_of::<Book>(key) == Some(b.node.id());
        let key = (0..20).map(|key| format!("key-{key}")).find(is_there).expect("some are there");
        let there = b.node.entity::<Book>(&key).ask(Numbered { sender: 0, number: 1 });
        assert_eq!(there.await.expect("every key answers"), 1);
    });
}

#[test]
fn what_is_on_each_node_ends_with_a_node_that_drains_and_answers_elsewhere() {
    simulate(async {
        let world = World::new(41);
        let hosting = |builder: NodeBuilder| builder.entity(|_| Cache);
        let (a, b) = (world.start(1, hosting).await, world.start(2, hosting).await);
        for node in [&a, &b] {
            node.knows(2).await;
        }
        let ask = |node: &SimulatedNode, key: u32| {
            let cache = node.node.entity::<Cache>(&format!("key-{key}"));
            cache.ask(Numbered { sender: 0, number: key })
        };
        for key in 0..20 {
            assert_eq!(ask(&b, key).await.expect("an answer"), key);
        }
        assert_eq!(b.node.entity_count(), 20);
        b.node.drain().await;
        assert_eq!(b.node.entity_count(), 0);
        for key in 0..20 {
            assert_eq!(ask(&b, key).await.expect("an answer"), key);
        }
        assert_eq!((a.node.entity_count(), b.node.entity_count()), (20, 0));
    });
}

#[test]
fn every_key_answers_again_when_a_node_dies_while_shards_move() {
    for seed in 51..=55 {
        simulate(async move {
            let (world, log) = (World::new(seed), Log::default());
            let mut nodes = Vec::new();
            for number in 1..=4 {
                nodes.push(world.start(number, host(&log)).await);
            }
            for node in &nodes {
                node.knows(4).await;
            }
            let ask = |node: &SimulatedNode, key: u32| {
                let book = node.node.entity::<Book>(&format!("key-{key}"));
                book.ask(Numbered { sender: 0, number: key }).within(Duration::from_secs(20))
            };
            for key in 0..60 {
                ask(&nodes[0], key).await.expect("an answer");
            }
            // The newcomer takes over from all; the second leaves, and the third is killed meanwhile.
            let newcomer = world.start(5, host(&log)).await;
            let (third, second) = (nodes.remove(2), nodes.remove(1));
            let leaving = tokio::task::spawn_local(async move { second.node.shutdown().await });
            pause(seed % 5).await;
            third.kill().await;
            nodes.push(newcomer);
            for node in &nodes {
                for key in 0..60 {
                    let answer = ask(node, key).await;
                    let is_known = matches!(answer, Ok(number) if number == key);
                    let is_of_the_dead = matches!(answer, Err(AskError::Unknown(_)));
                    assert!(is_known || is_of_the_dead, "{key}: {answer:?}");
                }
            }
            leaving.await.expect("it ends");
            for node in &nodes {
                for key in 0..60 {
                    assert_eq!(ask(node, key).await.expect("every key answers"), key);
                }
            }
        });
    }
}
