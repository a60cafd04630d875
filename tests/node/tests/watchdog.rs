//! Turns that block their threads are reported while they do, by name. On threads of their own: they
//! wait for one another, and nobody sleeps for a given time.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, Once,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use actix_cluster::{
    NodeBuilder,
    node::{BlockedTurn, BlockedTurns, LocalThreads},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tracing::{Event, Metadata, Subscriber, field, span};

/// Blocks until it is let go.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy)]
#[rtype(result = "()")]
#[remote(name = "test.Block", version = 1)]
enum Block {
    Here,
    InTimer,
    InFuture,
    InWait,
    InActixMessage,
    AtTheEnd,
}

#[derive(RemoteActor)]
#[remote(name = "test.Blocker", handles(Block), placement = Eventual, state = volatile)]
struct Blocker {
    go: Gate,
    at_start: bool,
    at_the_end: bool,
}

/// Holds whoever passes until a message comes.
#[derive(Clone)]
struct Gate(Arc<Mutex<Receiver<()>>>);

impl Gate {
    fn new() -> (SyncSender<()>, Self) {
        let (sender, receiver) = sync_channel(1);
        (sender, Self(Arc::new(Mutex::new(receiver))))
    }

    fn pass(&self) {
        self.0.lock().expect("whole").recv().expect("somebody lets it go");
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Plain;

impl Actor for Blocker {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if self.at_start {
            self.go.pass();
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if self.at_the_end {
            self.go.pass();
        }
    }
}

impl Handler<Plain> for Blocker {
    type Result = ();
    fn handle(&mut self, _: Plain, _: &mut Self::Context) {
        self.go.pass();
    }
}

impl Handler<Block> for Blocker {
    type Result = ();
    fn handle(&mut self, place: Block, ctx: &mut Self::Context) {
        let later = async {}.into_actor(self).map(|(), blocker: &mut Self, _| blocker.go.pass());
        match place {
            Block::Here => self.go.pass(),
            Block::InTimer => {
                ctx.run_later(Duration::ZERO, |blocker, _| blocker.go.pass());
            }
            Block::InFuture => {
                ctx.spawn(later);
            }
            Block::InWait => ctx.wait(later),
            Block::InActixMessage => ctx.address().do_send(Plain),
            Block::AtTheEnd => {
                self.at_the_end = true;
                ctx.stop();
            }
        }
    }
}

/// What was warned of: the fields of each warning, as text.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Warnings;

struct Fields(String);

impl field::Visit for Fields {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        WARNINGS.lock().expect("whole").push(fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn warnings_of(node: &str) -> Vec<String> {
    let node = format!("node={node}/1 ");
    let warnings = WARNINGS.lock().expect("whole").clone();
    warnings.into_iter().filter(|warning| warning.contains(&node)).collect()
}

fn node(name: &str) -> NodeBuilder {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Warnings).expect("the first"));
    let threshold = Duration::from_millis(40);
    Node::builder().name(name).arbiters(NonZeroUsize::MIN).blocked_after(threshold)
}

/// Waits until the watchdog says so.
async fn until(node: &Node, holds: impl Fn(&BlockedTurns) -> bool) -> BlockedTurns {
    for _ in 0..60_000 {
        let turns = node.blocked_turns();
        if holds(&turns) {
            return turns;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("a minute has passed: {:?}", node.blocked_turns());
}

async fn blocked(node: &Node) -> BlockedTurn {
    let turns = until(node, |turns| !turns.now.is_empty()).await;
    turns.now.into_iter().next().expect("one at least")
}

#[tokio::test]
async fn a_turn_that_blocks_its_thread_is_reported_by_name_while_it_does() {
    let (go, gate) = Gate::new();
    let builder = node("watched");
    let factory = move |_: &str| Blocker { go: gate.clone(), at_start: false, at_the_end: false };
    let node = builder.entity(factory).start().await.expect("a node");
    let blocker = node.entity::<Blocker>("acct-7");
    blocker.tell(Block::Here).await.expect("room");
    let turn = blocked(&node).await;
    assert_eq!((turn.actor, turn.turn), ("test.Blocker", "test.Block"));
    assert_eq!(turn.key.as_deref(), Some("acct-7"));
    assert!(turn.blocked_for >= Duration::from_millis(40));
    assert!(turn.to_string().starts_with("test.Blocker[\"acct-7\"] has blocked its thread for "));
    // Said again after twice as long, and counted once.
    let long = Duration::from_millis(80);
    until(&node, |turns| turns.now.iter().any(|turn| turn.blocked_for >= long)).await;
    go.send(()).expect("it waits");
    let turns = until(&node, |turns| turns.now.is_empty()).await;
    assert_eq!(turns.total, 1);
    let warnings = warnings_of("watched");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for expected in ["actor=\"test.Blocker\"", "key=\"acct-7\"", "turn=\"test.Block\""] {
        assert!(warnings[0].contains(expected), "{expected}: {warnings:?}");
    }
    node.shutdown().await;
}

#[tokio::test]
async fn whatever_an_actor_blocks_its_thread_with_is_named() {
    let node = node("named").start().await.expect("a node");
    for (place, name) in [
        (Some(Block::Here), "test.Block"),
        (Some(Block::InTimer), "a timer"),
        (Some(Block::InFuture), "a future"),
        (Some(Block::InWait), "a future that it waits for"),
        (Some(Block::InActixMessage), "a message without a lasting name"),
        (Some(Block::AtTheEnd), "its end"),
        (None, "its start"),
    ] {
        let (go, gate) = Gate::new();
        let at_start = place.is_none();
        let factory = move |_: &mut _| Blocker { go: gate.clone(), at_start, at_the_end: false };
        let blocker = node.spawn(factory).start().expect("spawned");
        if let Some(place) = place {
            blocker.tell(place).await.expect("room");
        }
        let turn = blocked(&node).await;
        assert_eq!((turn.turn, turn.id, turn.key), (name, blocker.id().expect("an actor"), None));
        go.send(()).expect("it waits");
        until(&node, |turns| turns.now.is_empty()).await;
    }
    assert_eq!(node.blocked_turns().total, 7);
    node.shutdown().await;
}

#[tokio::test]
async fn a_node_without_a_threshold_reports_nothing() {
    let (go, gate) = Gate::new();
    let off = node("off").blocked_after(Duration::MAX).start().await.expect("a node");
    let on = node("on").start().await.expect("a node");
    let block = |node: &Node| {
        let gate = gate.clone();
        let factory =
            move |_: &mut _| Blocker { go: gate.clone(), at_start: true, at_the_end: false };
        node.spawn(factory).start().expect("spawned");
    };
    block(&off);
    block(&on);
    until(&on, |turns| turns.total == 1).await;
    assert_eq!(off.blocked_turns(), BlockedTurns::default());
    go.send(()).expect("one waits");
    go.send(()).expect("the other waits");
    off.shutdown().await;
    on.shutdown().await;
}

#[test]
fn a_node_whose_threads_are_one_has_no_watchdog() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let node = node("one").threads(LocalThreads).start().await.expect("a node");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(node.blocked_turns(), BlockedTurns::default());
        node.shutdown().await;
    });
}
