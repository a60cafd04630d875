//! Asks that are answered by items from another node.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{num::NonZeroU64, time::Duration};

use actix_cluster::{
    ItemSink, NodeBuilder, StreamingHandler, UnknownReason,
    message::{decode, encode},
    prelude::*,
    transport::simulation::Link,
};
use actix_cluster_tests::{Shared, SimulatedNode, World, ip, pause, simulate, until};
use serde::{Deserialize, Serialize};

macro_rules! message {
    ($name:literal, $message:item, $result:literal $(, $items:ty)?) => {
        #[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = $result)]
        #[remote(name = $name, version = 1 $(, items($items))?)]
        $message
    };
}

// So many items, of which every one of this number is of so many bytes.
message!(
    "test.Send",
    struct Send {
        items: u32,
        every: u32,
        bytes: usize,
    },
    "u32",
    Parcel
);
message!("test.Break", struct Break;, "()", Parcel);
message!("test.Weigh", struct Weigh;, "Vec<u8>");
message!("test.Leave", struct Leave;, "()", u32);
message!("test.Sent", struct Sent;, "u32");
message!("test.Rest", struct Rest(u64);, "()");

#[derive(Debug, Serialize, Deserialize)]
struct Parcel(u32, Vec<u8>);

type Log = Shared<Vec<String>>;

#[derive(RemoteActor)]
#[remote(name = "test.Depot", handles(stream Send, stream Break, stream Leave, Sent, Weigh, async Rest), placement = Eventual, state = volatile)]
struct Depot {
    sent: u32,
    log: Log,
}

impl Actor for Depot {
    type Context = ClusterContext<Self>;
}

struct Ended(Log, &'static str);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().expect("a log").push(self.1.to_owned());
    }
}

impl StreamingHandler<Send> for Depot {
    async fn handle(this: This<Self>, send: Send, mut items: ItemSink<Parcel>) -> u32 {
        let mut ended = Ended(this.with(|depot, _| Shared::clone(&depot.log)), "dropped");
        for n in 0..send.items {
            let bytes = if n % send.every == 0 { send.bytes } else { 8 };
            if items.send(Parcel(n, vec![n as u8; bytes])).await.is_err() {
                ended.1 = "gone";
                return n;
            }
            this.with(|depot, _| depot.sent = n + 1);
        }
        ended.1 = "ended";
        send.items
    }
}

/// Fails behind a long item and a short one.
impl StreamingHandler<Break> for Depot {
    async fn handle(_: This<Self>, _: Break, mut items: ItemSink<Parcel>) {
        items.send(Parcel(0, vec![0; 1 << 20])).await.expect("a reader");
        items.send(Parcel(1, vec![])).await.expect("a reader");
        panic!("on purpose");
    }
}

impl Handler<Weigh> for Depot {
    type Result = MessageResult<Weigh>;
    fn handle(&mut self, _: Weigh, _: &mut Self::Context) -> MessageResult<Weigh> {
        MessageResult(vec![7; 1_000])
    }
}

/// Leaves its sink to somebody else.
impl StreamingHandler<Leave> for Depot {
    async fn handle(this: This<Self>, _: Leave, mut items: ItemSink<u32>) {
        let log = this.with(|depot, _| Shared::clone(&depot.log));
        items.send(0).await.expect("a reader");
        tokio::task::spawn_local(async move {
            pause(10).await;
            while items.send(1).await.is_ok() {}
            assert!(items.is_closed());
            log.lock().expect("a log").push("closed".to_owned());
        });
    }
}

impl Handler<Sent> for Depot {
    type Result = u32;
    fn handle(&mut self, _: Sent, _: &mut Self::Context) -> u32 {
        self.sent
    }
}

/// Handles nothing else for so many milliseconds.
impl AsyncHandler<Rest> for Depot {
    async fn handle(&mut self, Rest(millis): Rest, _: &mut Self::Context) {
        pause(millis).await;
    }
}

/// Two nodes, and a depot on the second as the first one knows it.
struct Road {
    world: World,
    here: SimulatedNode,
    there: SimulatedNode,
    depot: ActorRef<Depot>,
    log: Log,
}

impl Road {
    async fn open(seed: u64) -> Self {
        let (world, log) = (World::new(seed), Log::default());
        let build = |builder: NodeBuilder| {
            let log = Shared::clone(&log);
            builder.entity(move |_| Depot { sent: 0, log: Shared::clone(&log) })
        };
        let (here, there) = (world.start(1, build).await, world.start(2, build).await);
        here.sees(2).await;
        there.sees(2).await;
        let theirs = Shared::clone(&log);
        let depot = there.node.spawn(move |_| Depot { sent: 0, log: Shared::clone(&theirs) });
        let bytes = encode(&depot.start().expect("spawned"), Vec::new()).expect("a reference");
        let depot = here.node.scope(|| decode(&bytes)).expect("a reference");
        Self { world, here, there, depot, log }
    }

    fn logged(&self, what: &str) -> bool {
        self.log.lock().expect("a log").iter().any(|line| line == what)
    }
}

fn send(items: u32) -> Send {
    Send { items, every: u32::MAX, bytes: 8 }
}

#[test]
fn items_of_another_node_come_in_order_and_before_the_result() {
    simulate(async {
        let road = Road::open(1).await;
        // Some of them too long for the lane: they have a stream of their own.
        let message = Send { items: 500, every: 50, bytes: 200_000 };
        let mut items = road.depot.ask_stream(message);
        for n in 0..500 {
            let Parcel(number, bytes) = items.next().await.expect("an item").expect("no error");
            assert_eq!((number, bytes.len()), (n, if n % 50 == 0 { 200_000 } else { 8 }));
            assert!(bytes.iter().all(|byte| *byte == n as u8));
        }
        assert!(items.next().await.is_none());
        assert_eq!(items.reply(), Some(500));
    });
}

#[test]
fn a_handler_on_another_node_is_no_further_ahead_than_the_window() {
    simulate(async {
        let road = Road::open(2).await;
        let mut items = road.depot.ask_stream(send(1_000)).window(10);
        for taken in 1..100 {
            items.next().await.expect("an item").expect("no error");
            if taken % 9 == 0 {
                pause(100).await;
                let sent = road.depot.ask(Sent).await.expect("answered");
                assert!((taken + 5..=taken + 10).contains(&sent), "{sent} sent, {taken} taken");
            }
        }
    });
}

#[test]
fn items_survive_a_cut_of_the_way() {
    simulate(async {
        let road = Road::open(3).await;
        let mut items = road.depot.ask_stream(send(300)).window(4);
        for n in 0..300 {
            let Parcel(number, _) = items.next().await.expect("an item").expect("no error");
            assert_eq!(number, n);
            if n % 60 == 30 {
                road.world.network.partition(ip(1), ip(2));
                pause(300).await;
                road.world.network.heal(ip(1), ip(2));
            }
        }
        assert!(items.next().await.is_none());
        assert!(road.logged("ended"));
    });
}

#[test]
fn a_reader_that_has_gone_ends_the_handler_on_another_node() {
    simulate(async {
        let road = Road::open(4).await;
        let mut items = road.depot.ask_stream(send(1_000));
        items.next().await.expect("an item").expect("no error");
        drop(items);
        until("the handler has ended", || road.logged("gone")).await;
        assert_eq!(road.depot.ask(Sent).await.expect("it goes on"), 64);
    });
}

#[test]
fn a_sink_that_outlives_its_handler_is_closed() {
    simulate(async {
        let road = Road::open(8).await;
        let mut items = road.depot.ask_stream(Leave);
        assert_eq!(items.next().await.expect("an item").expect("no error"), 0);
        assert!(items.next().await.is_none());
        until("the sink is closed", || road.logged("closed")).await;
    });
}

#[test]
fn the_end_of_a_readers_node_ends_the_handler() {
    simulate(async {
        let Road { here, there, depot, log, .. } = Road::open(5).await;
        let mut items = depot.ask_stream(send(1_000));
        items.next().await.expect("an item").expect("no error");
        here.kill().await;
        there.sees(1).await;
        until("the handler has ended", || !log.lock().expect("a log").is_empty()).await;
        assert_eq!(*log.lock().expect("a log"), ["gone"]);
    });
}

#[test]
fn the_end_of_a_handlers_node_ends_the_stream_behind_what_has_come() {
    simulate(async {
        let Road { here, there, depot, .. } = Road::open(6).await;
        let mut items = depot.ask_stream(send(1_000));
        items.next().await.expect("an item").expect("no error");
        pause(100).await;
        there.kill().await;
        here.sees(1).await;
        for n in 1..64 {
            let Parcel(number, _) = items.next().await.expect("an item").expect("no error");
            assert_eq!(number, n);
        }
        let end = items.next().await.expect("an end").expect_err("an error");
        assert!(matches!(end, AskError::Unknown(UnknownReason::NodeDown)), "{end}");
        assert!(items.next().await.is_none());
    });
}

#[test]
fn a_panic_on_another_node_ends_a_stream_behind_long_items_too() {
    simulate(async {
        let road = Road::open(9).await;
        let mut items = road.depot.ask_stream(Break);
        for (n, bytes) in [(0, 1 << 20), (1, 0)] {
            let Parcel(number, parcel) = items.next().await.expect("an item").expect("no error");
            assert_eq!((number, parcel.len()), (n, bytes));
        }
        let end = items.next().await.expect("an end").expect_err("an error");
        assert!(matches!(end, AskError::Unknown(UnknownReason::Panicked)), "{end}");
    });
}

#[test]
fn a_stream_that_fills_a_slow_way_refuses_no_reply() {
    simulate(async {
        let road = Road::open(10).await;
        let bandwidth_bytes = NonZeroU64::new(1 << 20);
        road.world.network.set_link(Link { bandwidth_bytes, ..Link::default() });
        // A window of them is twice what may wait as answers.
        let message = Send { items: 1_000, every: 1, bytes: 2 << 20 };
        let mut items = road.depot.ask_stream(message).within(Duration::from_secs(60));
        let first = items.next().await.expect("an item").expect("no error");
        assert_eq!(first.1.len(), 2 << 20);
        for _ in 0..3 {
            let answer = road.depot.ask(Weigh).within(Duration::from_secs(60)).await;
            assert_eq!(answer.expect("a reply has its room").len(), 1_000);
        }
        let second = items.next().await.expect("an item").expect("no error");
        assert_eq!(second.0, 1, "it goes on");
    });
}

#[test]
fn an_entity_streams_from_wherever_it_is() {
    simulate(async {
        let road = Road::open(7).await;
        for key in 0..8 {
            let entity = road.here.node.entity::<Depot>(&format!("k{key}"));
            let mut items = entity.ask_stream(send(100));
            let mut count = 0;
            while let Some(item) = items.next().await {
                assert_eq!(item.expect("no error").0, count);
                count += 1;
            }
            assert_eq!((count, items.reply()), (100, Some(100)));
        }
        assert!(road.there.node.dead_letters().total() == 0);
    });
}

#[test]
fn an_entity_that_moves_to_its_askers_node_streams_from_there() {
    simulate(async {
        let Road { here, there, .. } = Road::open(11).await;
        let owner = Some(there.node.id());
        let is_there = |key: &String| here.node.owner_of::<Depot>(key) == owner;
        let key = (0..).map(|n| format!("depot-{n}")).find(is_there).expect("it has some");
        let depot = here.node.entity::<Depot>(&key);
        depot.tell(Rest(500)).await.expect("room");
        let mut items = depot.ask_stream(send(20));
        let drained = async {
            pause(50).await;
            there.node.drain().await;
        };
        let read = async {
            let mut read = 0;
            while let Some(item) = items.next().await {
                assert_eq!(item.expect("an item").0, read);
                read += 1;
            }
            read
        };
        let (read, ()) = tokio::join!(read, drained);
        assert_eq!(read, 20);
        assert_eq!(here.node.entity_count(), 1, "it has come home");
    });
}
