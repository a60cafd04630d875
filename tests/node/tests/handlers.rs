//! The traits by which an actor handles messages, on one node, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    cell::Cell,
    future::pending,
    num::NonZeroUsize,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    EntitySettings, ExitReason, NodeBuilder, Overflow, RejectReason, UnknownReason,
    node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// What happened at a desk, in order.
type Log = Arc<Mutex<Vec<String>>>;

macro_rules! message {
    ($(#[$doc:meta])* $name:literal, $message:item, $result:literal) => {
        $(#[$doc])*
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = $result)]
        #[remote(name = $name, version = 1)]
        $message
    };
}

message!("test.Note", struct Note(u32);, "()");
message!(
    /// Awaits so many milliseconds, and holds the desk meanwhile.
    "test.Slow",
    struct Slow(u64);,
    "usize"
);
message!("test.Forever", struct Forever;, "()");
message!("test.Burst", struct Burst;, "()");
message!("test.Sticky", struct Sticky;, "()");
message!("test.Quit", struct Quit;, "u32");
message!(
    /// Awaits so many milliseconds, and lets others pass meanwhile.
    "test.Visit",
    struct Visit(u32, u64);,
    "usize"
);
message!(
    /// Asks another desk for a visit, which asks this one in turn.
    "test.Round",
    struct Round(ActorRef<Desk>, u32);,
    "u32"
);
message!("test.Careless", struct Careless(bool);, "()");
message!("test.Fall", struct Fall;, "()");

#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Desk",
    handles(
        Note, Quit, async Slow, async Forever, async Burst, async Sticky, reentrant Visit,
        reentrant Round, reentrant Careless, reentrant Fall
    ),
    placement = Eventual,
    state = volatile
)]
struct Desk {
    log: Log,
    handled: usize,
}

impl Desk {
    fn note(&mut self, what: impl Into<String>) {
        self.handled += 1;
        self.log.lock().expect("a log").push(what.into());
    }
}

impl Actor for Desk {
    type Context = ClusterContext<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.note("stopped");
    }
}

/// Notes when it is dropped.
struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().expect("a log").push(self.1.to_owned());
    }
}

impl Handler<Note> for Desk {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.note(format!("note {n}"));
    }
}

/// An `async` message of its own, as it would be to do with a plain one.
impl Handler<Quit> for Desk {
    type Result = u32;
    fn handle(&mut self, _: Quit, ctx: &mut Self::Context) -> u32 {
        ctx.stop();
        7
    }
}

impl AsyncHandler<Slow> for Desk {
    async fn handle(&mut self, Slow(millis): Slow, ctx: &mut Self::Context) -> usize {
        self.note("slow begins");
        ctx.clock().sleep(Duration::from_millis(millis)).await;
        self.note("slow ends");
        self.handled
    }
}

impl AsyncHandler<Forever> for Desk {
    async fn handle(&mut self, _: Forever, _: &mut Self::Context) {
        let _dropped = Dropped(Arc::clone(&self.log), "forever is dropped");
        pending::<()>().await;
    }
}

impl AsyncHandler<Burst> for Desk {
    async fn handle(&mut self, _: Burst, ctx: &mut Self::Context) {
        ctx.clock().sleep(Duration::from_millis(1)).await;
        panic!("a handler panics on purpose, after an await");
    }
}

/// Its own value panics when it is dropped at its await.
impl AsyncHandler<Sticky> for Desk {
    async fn handle(&mut self, _: Sticky, _: &mut Self::Context) {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a handler's value panics on purpose");
            }
        }
        let _bomb = Bomb;
        pending::<()>().await;
    }
}

impl ReentrantHandler<Visit> for Desk {
    async fn handle(this: This<Self>, Visit(n, millis): Visit) -> usize {
        let sleep = this.with(|desk, ctx| {
            desk.note(format!("visit {n} begins"));
            ctx.clock().sleep(Duration::from_millis(millis))
        });
        let _dropped = this.with(|desk, _| Dropped(Arc::clone(&desk.log), "a visit is over"));
        sleep.await;
        this.with(|desk, _| {
            desk.note(format!("visit {n} ends"));
            desk.handled
        })
    }
}

impl ReentrantHandler<Round> for Desk {
    async fn handle(this: This<Self>, Round(other, left): Round) -> u32 {
        if left == 0 {
            return 0;
        }
        let me = this.with(|_, ctx| ctx.actor_ref());
        1 + other.ask(Round(me, left - 1)).await.expect("it answers")
    }
}

impl ReentrantHandler<Careless> for Desk {
    async fn handle(this: This<Self>, Careless(inside): Careless) {
        if inside {
            this.with(|_, _| this.with(|_, _| ()));
        } else {
            let kept = this.clone();
            let later = async move { kept.with(|_, _| ()) };
            this.with(|desk, ctx| ctx.spawn(later.into_actor(desk)));
        }
    }
}

impl ReentrantHandler<Fall> for Desk {
    async fn handle(this: This<Self>, _: Fall) {
        let sleep = this.with(|_, ctx| ctx.clock().sleep(Duration::from_millis(1)));
        sleep.await;
        this.with(|_, _| panic!("a reentrant handler panics on purpose"));
    }
}

const ARBITERS: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

/// Runs `test` on a node of its own, in paused time.
fn on_a_node(test: impl AsyncFnOnce(Node)) {
    on_a_node_of(Node::builder(), test);
}

fn on_a_node_of(builder: NodeBuilder, test: impl AsyncFnOnce(Node)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let builder = builder.arbiters(ARBITERS).threads(LocalThreads).seed(1);
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
        assert_eq!(node.actor_count(), 0, "shutdown leaves no actor behind");
    });
}

fn desk(node: &Node) -> (ActorRef<Desk>, Log) {
    desk_of(node, 1_024, Overflow::default())
}

fn desk_of(node: &Node, capacity: usize, overflow: Overflow) -> (ActorRef<Desk>, Log) {
    let log = Log::default();
    let theirs = Arc::clone(&log);
    let builder = node.spawn(move |_| Desk { log: Arc::clone(&theirs), handled: 0 });
    let builder = builder.mailbox_capacity(capacity).overflow(overflow);
    (builder.start().expect("spawned"), log)
}

fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().expect("a log"))
}

/// Lets every task that is ready run, without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

async fn ended(desk: &ActorRef<Desk>) -> ExitReason {
    for _ in 0..1_000 {
        if let Some(reason) = desk.exit_reason() {
            return reason;
        }
        settle().await;
        pause(1).await;
    }
    panic!("it has not ended");
}

fn unknown<M: RemoteMessage>(asked: Result<M::Reply, AskError<M>>) -> UnknownReason {
    match asked {
        Err(AskError::Unknown(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was answered"),
    }
}

mod handlers {
    use super::*;

    mod exclusive;
    mod pipes;
    mod reentrant;
    mod responders;
}
