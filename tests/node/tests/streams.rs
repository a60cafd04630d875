//! Asks that are answered by items, on one node.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    Call, ItemSink, RejectReason, SendItemError, StreamingHandler, UnknownReason,
    node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};

macro_rules! message {
    ($name:literal, $message:item, $result:literal $(, $items:ty)?) => {
        #[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = $result)]
        #[remote(name = $name, version = 1 $(, items($items))?)]
        $message
    };
}

message!(
    "test.Count",
    struct Count {
        to: u32,
        pause: u64,
    },
    "Result<u32, String>",
    u32
);
message!("test.Tenant", struct Tenant(ActorRef<Counter>);, "()", String);
message!("test.Relay", struct Relay(ActorRef<Counter>);, "u32", u32);
message!("test.Begin", struct Begin(ActorRef<Counter>, ActorRef<Counter>);, "()");
message!("test.AskBack", struct AskBack(ActorRef<Counter>);, "()", u32);
message!("test.Who", struct Who;, "String");
message!("test.Ahead", struct Ahead;, "u32");
message!("test.Pass", struct Pass(ActorRef<Counter>);, "Result<u32, String>", u32);

/// How far its handlers are, and how they ended.
type Log = Arc<Mutex<Vec<String>>>;

#[derive(RemoteActor)]
#[remote(
    name = "test.Counter",
    handles(stream Count, stream Tenant, stream Relay, async Begin, stream AskBack, Who, Ahead, responder Pass),
    placement = Eventual,
    state = volatile
)]
#[derive(Default)]
struct Counter {
    sent: u32,
    log: Log,
}

impl Actor for Counter {
    type Context = ClusterContext<Self>;
}

/// Notes how a handler ended, if it is dropped too.
struct Ended(Log, String);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.lock().expect("a log").push(std::mem::take(&mut self.1));
    }
}

impl StreamingHandler<Count> for Counter {
    async fn handle(
        this: This<Self>,
        count: Count,
        mut items: ItemSink<u32>,
    ) -> Result<u32, String> {
        let mut ended = Ended(this.with(|counter, _| Arc::clone(&counter.log)), "dropped".into());
        for n in 0..count.to {
            match items.send(n).await {
                Ok(()) => this.with(|counter, _| counter.sent = n + 1),
                Err(error) => {
                    assert!(items.is_closed() && matches!(error, SendItemError::Gone(_)));
                    ended.1 = format!("gone at {}", error.into_item());
                    return Ok(n);
                }
            }
            assert!(n != 13, "on purpose");
            if count.pause > 0 {
                pause(count.pause).await;
            }
        }
        ended.1 = "ended".into();
        if count.to == 7 { Err("seven".into()) } else { Ok(count.to) }
    }
}

impl StreamingHandler<Tenant> for Counter {
    async fn handle(_: This<Self>, Tenant(other): Tenant, mut items: ItemSink<String>) {
        let own = Call::current().header("tenant").unwrap_or("nobody").to_owned();
        items.send(own).await.expect("a reader");
        let others = other.ask(Who).await.expect("answered");
        items.send(others).await.expect("a reader");
    }
}

impl StreamingHandler<Relay> for Counter {
    async fn handle(_: This<Self>, Relay(other): Relay, _: ItemSink<u32>) -> u32 {
        other.tell(count(5, 0)).await.expect("room");
        other.ask(count(5, 0)).await.expect("answered")
    }
}

/// Begins a stream, and leaves the rest of it to somebody else.
impl AsyncHandler<Begin> for Counter {
    async fn handle(&mut self, Begin(other, own): Begin, _: &mut Self::Context) {
        let mut items = other.ask_stream(AskBack(own));
        items.next().await.expect("an item").expect("no error");
        let log = Arc::clone(&self.log);
        tokio::task::spawn_local(async move {
            let item = items.next().await.expect("an item").expect("no error");
            log.lock().expect("a log").push(item.to_string());
        });
    }
}

impl StreamingHandler<AskBack> for Counter {
    async fn handle(_: This<Self>, AskBack(asker): AskBack, mut items: ItemSink<u32>) {
        items.send(0).await.expect("a reader");
        pause(1).await;
        let answer = asker.ask(Ahead).await.map_or(99, |sent| sent);
        items.send(answer).await.expect("a reader");
    }
}

impl Handler<Who> for Counter {
    type Result = MessageResult<Who>;
    fn handle(&mut self, _: Who, _: &mut Self::Context) -> MessageResult<Who> {
        MessageResult(Call::current().header("tenant").unwrap_or("nobody").to_owned())
    }
}

impl Handler<Ahead> for Counter {
    type Result = u32;
    fn handle(&mut self, _: Ahead, _: &mut Self::Context) -> u32 {
        self.sent
    }
}

impl RespondingHandler<Pass> for Counter {
    fn handle(&mut self, Pass(to): Pass, responder: Responder<Pass>, _: &mut Self::Context) {
        responder.try_forward(&to, count(5, 0)).map_err(|error| error.reason).expect("room");
    }
}

fn count(to: u32, pause: u64) -> Count {
    Count { to, pause }
}

fn on_a_node(test: impl AsyncFnOnce(Node)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let builder = Node::builder().threads(LocalThreads).entity(|_| Counter::default());
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
    });
}

fn with_a_counter(test: impl AsyncFnOnce(ActorRef<Counter>, Log)) {
    on_a_node(async |node| {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let counter = node.spawn(move |_| Counter { sent: 0, log: Arc::clone(&theirs) });
        test(counter.start().expect("a counter"), log).await;
    });
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn lines(log: &Log) -> Vec<String> {
    log.lock().expect("a log").clone()
}

#[test]
fn items_come_in_order_and_before_the_result() {
    with_a_counter(async |counter, log| {
        let mut items = counter.ask_stream(count(1_000, 0));
        for n in 0..13 {
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
            assert!(items.reply().is_none(), "not before the end");
        }
        drop(items);
        let mut items = counter.ask_stream(count(12, 1));
        for n in 0..12 {
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
        }
        assert!(items.next().await.is_none() && items.next().await.is_none());
        assert_eq!((items.reply(), items.reply()), (Some(12), None));
        pause(1).await;
        assert_eq!(lines(&log).last().map(String::as_str), Some("ended"));
    });
}

#[test]
fn the_handlers_error_is_the_last_item() {
    with_a_counter(async |counter, _| {
        let mut items = counter.ask_stream(count(7, 0));
        for n in 0..7 {
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
        }
        let end = items.next().await.expect("an end");
        assert!(matches!(end, Err(AskError::Handler(error)) if error == "seven"));
        assert!(items.next().await.is_none() && items.reply().is_none());
    });
}

#[test]
fn a_handler_is_no_further_ahead_than_the_window() {
    with_a_counter(async |counter, _| {
        let mut items = counter.ask_stream(count(10, 0)).window(3);
        items.next().await.expect("an item").expect("no error");
        for taken in 1..5 {
            pause(1).await;
            assert_eq!(counter.ask(Ahead).await.expect("answered"), taken + 3);
            items.next().await.expect("an item").expect("no error");
        }
        let mut narrow = counter.ask_stream(count(10, 0)).window(0);
        narrow.next().await.expect("an item").expect("no error");
        pause(1).await;
        assert_eq!(counter.ask(Ahead).await.expect("answered"), 2, "a window holds one at least");
    });
}

#[test]
fn a_reader_that_has_gone_ends_the_handler() {
    with_a_counter(async |counter, log| {
        let mut items = counter.ask_stream(count(10, 10));
        items.next().await.expect("an item").expect("no error");
        drop(items);
        pause(1).await;
        assert_eq!(lines(&log), ["dropped"]);
        drop(counter.ask_stream(count(3, 0)));
        pause(1).await;
        assert_eq!(lines(&log).len(), 1, "a stream that is not polled asks nothing");
    });
}

#[test]
fn nobody_reads_what_was_told_or_asked_without_a_stream() {
    with_a_counter(async |counter, log| {
        assert_eq!(counter.ask(count(10, 0)).await.expect("answered"), 0);
        counter.tell(count(10, 0)).await.expect("room");
        pause(1).await;
        assert_eq!(lines(&log), ["gone at 0", "gone at 0"]);
        let mut passed = counter.ask_stream(Pass(counter.clone()));
        assert!(passed.next().await.is_none(), "items don't follow an ask that is forwarded");
        assert_eq!(passed.reply(), Some(0));
        let mut relayed = counter.ask_stream(Relay(counter.clone()));
        assert!(relayed.next().await.is_none(), "nor what the handler asks in turn");
        assert_eq!(relayed.reply(), Some(0));
    });
}

#[test]
fn a_readers_time_runs_only_while_it_waits() {
    with_a_counter(async |counter, _| {
        let wait = Duration::from_millis(50);
        let mut items = counter.ask_stream(count(12, 40)).window(2).within(wait);
        for n in 0..3 {
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
        }
        let mut items = counter.ask_stream(count(12, 40)).window(2).within(wait);
        for n in 0..6 {
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
            pause(60).await;
        }
        let mut slow = counter.ask_stream(count(12, 60)).within(wait);
        assert_eq!(slow.next().await.expect("an item").expect("no error"), 0);
        let late = slow.next().await.expect("an end");
        assert!(matches!(late, Err(AskError::Unknown(UnknownReason::Deadline))));
        assert!(slow.next().await.is_none());
    });
}

#[test]
fn a_wait_that_is_dropped_does_not_count() {
    with_a_counter(async |counter, _| {
        let mut items = counter.ask_stream(count(12, 80)).within(Duration::from_millis(50));
        items.next().await.expect("an item").expect("no error");
        for n in 1..4 {
            let early = tokio::time::timeout(Duration::from_millis(40), items.next()).await;
            assert!(early.is_err(), "nothing has come yet");
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
        }
    });
}

#[test]
fn an_actor_whose_handler_has_ended_can_be_asked_by_the_stream_that_it_began() {
    on_a_node(async |node| {
        let (log, other) = (Log::default(), node.entity::<Counter>("other"));
        let theirs = Arc::clone(&log);
        let counter = node.spawn(move |_| Counter { sent: 0, log: Arc::clone(&theirs) });
        let counter = counter.start().expect("a counter");
        counter.ask(Begin(other, counter.clone())).await.expect("answered");
        pause(10).await;
        assert_eq!(lines(&log), ["0"]);
    });
}

#[test]
fn a_panic_ends_a_stream_behind_what_was_sent() {
    with_a_counter(async |counter, log| {
        let mut items = counter.ask_stream(count(20, 0));
        for n in 0..=13 {
            assert_eq!(items.next().await.expect("an item").expect("no error"), n);
        }
        let end = items.next().await.expect("an end");
        assert!(matches!(end, Err(AskError::Unknown(UnknownReason::Panicked))), "{end:?}");
        assert_eq!(lines(&log), ["dropped"]);
    });
}

#[test]
fn a_stream_that_did_not_begin_gives_its_message_back() {
    with_a_counter(async |counter, _| {
        counter.stop();
        pause(1).await;
        let end = counter.ask_stream(count(20, 0)).next().await.expect("an end");
        let AskError::Rejected { reason, message } = end.expect_err("an error") else {
            panic!("it did not run")
        };
        assert_eq!((reason, message.to), (RejectReason::Stopped, 20));
    });
}

#[test]
fn an_entity_streams_and_headers_follow() {
    on_a_node(async |node| {
        let (one, other) = (node.entity::<Counter>("one"), node.entity::<Counter>("other"));
        let call = Call::current().with("tenant", "acme").expect("within the limits");
        let read = async |mut items: actix_cluster::ItemStream<Counter, Tenant>| {
            let mut read = Vec::new();
            while let Some(item) = items.next().await {
                read.push(item.expect("no error"));
            }
            read
        };
        assert_eq!(call.scope(read(one.ask_stream(Tenant(other.clone())))).await, ["acme"; 2]);
        assert_eq!(read(one.ask_stream(Tenant(other))).await, ["nobody"; 2]);
    });
}
