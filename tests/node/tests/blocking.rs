//! Work on threads that run no actor, and actors on threads of their own. On real threads, which wait
//! for each other through channels; what needs none is on one.

use std::{
    collections::BTreeSet,
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    task::{Context, Poll, Waker},
    thread::ThreadId,
};

use actix_cluster::{
    BlockingError, NodeBuilder, RestartPolicy, Router, SpawnError, node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// Answered with the sum up to it, which takes a thread.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "test.Sum", version = 1)]
struct Sum(u64);

/// Has the sum come back as a message; answered with it by `Summed`.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "test.PipedSum", version = 1)]
struct PipedSum(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Summed(Result<u64, BlockingError>, Responder<PipedSum>);

#[derive(RemoteActor)]
#[remote(name = "test.Counter", handles(async Sum, responder PipedSum))]
struct Counter;
impl Actor for Counter {
    type Context = ClusterContext<Self>;
}
impl AsyncHandler<Sum> for Counter {
    async fn handle(&mut self, Sum(to): Sum, ctx: &mut Self::Context) -> u64 {
        ctx.node().spawn_blocking(move || (0..=to).sum()).await.expect("a sum")
    }
}
impl RespondingHandler<PipedSum> for Counter {
    fn handle(
        &mut self,
        PipedSum(to): PipedSum,
        answer: Responder<PipedSum>,
        ctx: &mut Self::Context,
    ) {
        let sum = ctx.node().spawn_blocking(move || (0..=to).sum());
        ctx.pipe_to_self(sum, |sum| Summed(sum, answer));
    }
}
impl Handler<Summed> for Counter {
    type Result = ();
    fn handle(&mut self, Summed(sum, answer): Summed, _: &mut Self::Context) {
        answer.reply(sum.expect("a sum"));
    }
}

/// Blocks until it is let go; answered with the thread's name.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "test.Block", version = 1)]
struct Block;

/// Answered with the thread's name.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "test.Where", version = 1)]
struct Where;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Panic", version = 1)]
struct Panic;

#[derive(RemoteActor)]
#[remote(name = "test.Worker", handles(Block, Where, Panic))]
struct Worker(Option<Receiver<()>>);
impl Actor for Worker {
    type Context = ClusterContext<Self>;
}
impl Handler<Block> for Worker {
    type Result = String;
    fn handle(&mut self, _: Block, _: &mut Self::Context) -> String {
        let gate = self.0.as_ref().expect("a gate");
        // Once whoever sends is to know that it has begun, and once to go on.
        gate.recv().and_then(|()| gate.recv()).expect("somebody lets it go");
        thread_name()
    }
}
impl Handler<Where> for Worker {
    type Result = String;
    fn handle(&mut self, _: Where, _: &mut Self::Context) -> String {
        thread_name()
    }
}
impl Handler<Panic> for Worker {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("handler panics on purpose");
    }
}

fn thread_name() -> String {
    std::thread::current().name().expect("it has a name").to_owned()
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not zero")
}

fn builder() -> NodeBuilder {
    Node::builder().name("n").arbiters(count(1))
}

/// Work that says that it has begun, and then waits to be let go.
fn gate() -> (SyncSender<()>, Receiver<()>, impl FnOnce() -> ThreadId + Send + 'static) {
    let (begins, has_begun) = sync_channel(1);
    let (lets_go, may_go) = sync_channel::<()>(1);
    let work = move || {
        begins.send(()).expect("somebody waits");
        may_go.recv().expect("somebody lets it go");
        std::thread::current().id()
    };
    (lets_go, has_begun, work)
}

/// What a future gives without waiting.
fn at_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn the_result_of_blocking_work_comes_to_whoever_awaits_or_pipes_it() {
    let node = builder().start().await.expect("a node");
    let name = node.spawn_blocking(thread_name).await.expect("a name");
    assert_eq!(name, "n-blocking-0");
    let counter = node.spawn(|_| Counter).start().expect("it starts");
    assert_eq!(counter.ask(Sum(4)).await.expect("an answer"), 10);
    assert_eq!(counter.ask(PipedSum(5)).await.expect("an answer"), 15);
    node.shutdown().await;
}

#[tokio::test]
async fn a_panic_in_blocking_work_is_its_result_and_ends_nothing_else() {
    let node = builder().blocking_threads(count(1)).start().await.expect("a node");
    let line = line!() + 1;
    let failed: Result<(), _> = node.spawn_blocking(|| panic!("on purpose")).await;
    match failed {
        Err(BlockingError::Panicked { message, location: Some(location) }) => {
            assert_eq!(message, "on purpose");
            assert!(location.contains(&format!("blocking.rs:{line}:")), "{location}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(node.spawn_blocking(|| 7).await, Ok(7), "on the same thread");
    node.shutdown().await;
}

#[tokio::test]
async fn blocking_work_waits_in_order_for_as_many_threads_as_may_be() {
    let node = builder().blocking_threads(count(2)).start().await.expect("a node");
    let (first_goes, first_begun, first) = gate();
    let (second_goes, second_begun, second) = gate();
    let (first, second) = (node.spawn_blocking(first), node.spawn_blocking(second));
    first_begun.recv().expect("it begins");
    second_begun.recv().expect("it begins too");
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            let order = Arc::clone(&order);
            node.spawn_blocking(move || {
                order.lock().expect("unpoisoned").push(n);
                std::thread::current().id()
            })
        })
        .collect();
    first_goes.send(()).expect("it waits");
    let first = first.await.expect("a thread");
    let mut threads = BTreeSet::new();
    for thread in waiting {
        threads.insert(format!("{:?}", thread.await.expect("a thread")));
    }
    assert_eq!(threads, [format!("{first:?}")].into(), "the other one is busy");
    assert_eq!(*order.lock().expect("unpoisoned"), (0..10).collect::<Vec<_>>());
    second_goes.send(()).expect("it waits");
    assert_ne!(second.await.expect("a thread"), first);
    // Both are idle, and no third one is made.
    let name = node.spawn_blocking(thread_name).await.expect("a name");
    assert!(["n-blocking-0", "n-blocking-1"].contains(&name.as_str()), "{name}");
    node.shutdown().await;
}

#[tokio::test]
async fn so_much_blocking_work_waits_and_no_more() {
    let node = builder().blocking_threads(count(1)).start().await.expect("a node");
    let (goes, begun, first) = gate();
    let first = node.spawn_blocking(first);
    begun.recv().expect("it begins");
    let waiting: Vec<_> = (0..4_096).map(|n| node.spawn_blocking(move || n)).collect();
    assert_eq!(at_once(node.spawn_blocking(|| ())), Some(Err(BlockingError::Full)));
    goes.send(()).expect("it waits");
    first.await.expect("it ends");
    for (n, work) in waiting.into_iter().enumerate() {
        assert_eq!(work.await, Ok(n));
    }
    assert_eq!(node.spawn_blocking(|| ()).await, Ok(()));
    node.shutdown().await;
}

#[tokio::test]
async fn blocking_work_that_nobody_awaits_any_more_never_begins() {
    let node = builder().blocking_threads(count(1)).start().await.expect("a node");
    let (goes, begun, first) = gate();
    let first = node.spawn_blocking(first);
    begun.recv().expect("it begins");
    let held = Arc::new(());
    let (theirs, ran) = (Arc::clone(&held), Arc::new(Mutex::new(false)));
    let has_run = Arc::clone(&ran);
    let dropped = node.spawn_blocking(move || {
        drop(theirs);
        *has_run.lock().expect("unpoisoned") = true;
    });
    drop(dropped);
    goes.send(()).expect("it waits");
    first.await.expect("it ends");
    node.spawn_blocking(|| ()).await.expect("it is behind the other one");
    assert!(!*ran.lock().expect("unpoisoned"));
    assert_eq!(Arc::strong_count(&held), 1, "what it held is dropped");
    node.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_node_waits_for_work_that_has_begun_and_turns_the_rest_away() {
    let node = builder().blocking_threads(count(1)).start().await.expect("a node");
    let (goes, begun, first) = gate();
    let first = node.spawn_blocking(first);
    begun.recv().expect("it begins");
    let waits = node.spawn_blocking(|| ());
    let mut ends = std::pin::pin!(node.shutdown());
    tokio::select! {
        biased;
        () = &mut ends => panic!("it waits"),
        outcome = waits => assert_eq!(outcome, Err(BlockingError::NodeStopped)),
    }
    goes.send(()).expect("it waits");
    ends.await;
    first.await.expect("it has ended before the node");
    assert_eq!(at_once(node.spawn_blocking(|| ())), Some(Err(BlockingError::NodeStopped)));
}

#[tokio::test]
async fn an_actor_that_blocks_a_thread_of_its_own_holds_nobody_up() {
    let node = builder().start().await.expect("a node");
    let (goes, may_go) = sync_channel(0);
    let mut gate = Some(may_go);
    let worker = node.spawn(move |_| Worker(gate.take())).own_thread().start();
    let worker = worker.expect("it starts");
    let other = node.spawn(|_| Worker(None)).start().expect("it starts");
    let mut asked = worker.ask(Block);
    assert!(at_once(&mut asked).is_none());
    goes.send(()).expect("it begins");
    let lets_go = async {
        assert_eq!(other.ask(Where).await.expect("an answer"), "n-arbiter-0");
        goes.send(()).expect("it waits");
    };
    let (own, ()) = tokio::join!(asked, lets_go);
    assert_eq!(own.expect("an answer"), format!("n-actor-{}", number(&worker)));
    node.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_node_waits_for_threads_of_its_actors() {
    let node = builder().start().await.expect("a node");
    let (goes, may_go) = sync_channel(0);
    let mut gate = Some(may_go);
    let worker = node.spawn(move |_| Worker(gate.take())).own_thread().start();
    let worker = worker.expect("it starts");
    let (other_ends, has_ended) = sync_channel(1);
    let other = node.spawn(|_| Worker(None)).on_exit(move |_| {
        let _ = other_ends.send(());
    });
    other.start().expect("it starts");
    let mut asked = worker.ask(Block);
    assert!(at_once(&mut asked).is_none());
    goes.send(()).expect("it begins");
    let mut ends = Box::pin(node.shutdown());
    assert!(at_once(&mut ends).is_none());
    has_ended.recv().expect("the other one ends, on its arbiter");
    for _ in 0..10_000 {
        std::thread::yield_now();
        assert!(at_once(&mut ends).is_none(), "one is in its turn");
    }
    goes.send(()).expect("it waits");
    ends.await;
    assert_eq!(node.actor_count(), 0);
}

fn number(actor: &ActorRef<Worker>) -> String {
    actor.id().expect("it has a number").to_string().trim_start_matches('#').to_owned()
}

#[tokio::test]
async fn each_routee_with_a_thread_of_its_own_is_supervised_and_replaced() {
    let node = builder().start().await.expect("a node");
    let pool = node.spawn_router(|_| Worker(None)).routees(2).own_threads();
    let router: Router<Worker> = pool.supervise(RestartPolicy::never()).start().expect("it starts");
    let threads = async || {
        let mut threads = BTreeSet::new();
        for _ in 0..4 {
            threads.insert(router.ask(Where).await.expect("an answer"));
        }
        threads
    };
    let before = threads().await;
    let name = |routee: &ActorRef<Worker>| format!("n-actor-{}", number(routee));
    assert_eq!(before, router.routees().iter().map(name).collect());
    assert_eq!(before.len(), 2);
    let routee = router.routees().remove(0);
    let end = routee.watch().expect("room");
    routee.ask(Panic).await.expect_err("it panics");
    end.await;
    let after = threads().await;
    assert_eq!((after.len(), before.intersection(&after).count()), (2, 1));
    node.shutdown().await;
    assert_eq!(node.actor_count(), 0);
    let late = node.spawn(|_| Worker(None)).own_thread().start();
    assert_eq!(late.expect_err("it has stopped"), SpawnError::NodeStopped);
}

#[test]
fn so_many_actors_have_a_thread_of_their_own_and_no_more() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let node = builder().threads(LocalThreads).start().await.expect("a node");
        let start = || node.spawn(|_| Worker(None)).own_thread().start();
        let workers: Vec<_> = (0..256).map(|_| start().expect("it starts")).collect();
        assert_eq!(start().expect_err("one too many"), SpawnError::TooManyThreads { limit: 256 });
        assert_eq!(node.actor_count(), 256, "nothing is left of it");
        workers[7].stop();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        start().expect("there is room again");
        node.shutdown().await;
    });
}
