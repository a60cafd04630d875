//! Routers and pools on one node, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    future::Future,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_cluster::{
    NodeBuilder, RejectReason, Resize, RestartPolicy, Router, Routing, RoutingKey,
    node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// Answered with the number of the worker, after so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Debug)]
#[rtype(result = "usize")]
#[remote(name = "test.Work", version = 1)]
struct Work {
    takes: u64,
    key: u32,
}

impl RoutingKey for Work {
    fn routing_key(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.key.to_le_bytes().to_vec())
    }
}

/// Answered after as many milliseconds as the worker's number, times ten; by an even one with an error.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone)]
#[rtype(result = "Result<usize, String>")]
#[remote(name = "test.Race", version = 1)]
struct Race;

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone)]
#[rtype(result = "()")]
#[remote(name = "test.Panic", version = 1)]
struct Panic;

#[derive(RemoteActor)]
#[remote(name = "test.Worker", handles(Work, Race, Panic), mailbox = 4)]
struct Worker {
    number: usize,
    done: Done,
}

/// How many messages each worker has had, by its number.
type Done = Arc<Mutex<BTreeMap<usize, usize>>>;

impl Actor for Worker {
    type Context = ClusterContext<Self>;
}

impl Handler<Work> for Worker {
    type Result = ResponseActFuture<Self, usize>;
    fn handle(&mut self, work: Work, ctx: &mut Self::Context) -> Self::Result {
        *self.done.lock().expect("unpoisoned").entry(self.number).or_default() += 1;
        let number = self.number;
        let sleep = ctx.clock().sleep(Duration::from_millis(work.takes));
        ctx.wait(sleep.into_actor(self));
        Box::pin(async move { number }.into_actor(self))
    }
}

impl Handler<Race> for Worker {
    type Result = ResponseFuture<Result<usize, String>>;
    fn handle(&mut self, _: Race, ctx: &mut Self::Context) -> Self::Result {
        let number = self.number;
        let sleep = ctx.clock().sleep(Duration::from_millis(10 * number as u64));
        Box::pin(async move {
            sleep.await;
            if number.is_multiple_of(2) { Err(format!("{number} is even")) } else { Ok(number) }
        })
    }
}

impl Handler<Panic> for Worker {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("handler panics on purpose");
    }
}

/// Makes numbered workers.
#[derive(Clone, Default)]
struct Factory {
    made: Arc<AtomicUsize>,
    done: Done,
}

impl Factory {
    fn make(&self) -> impl Fn(&mut ClusterContext<Worker>) -> Worker + Send + Sync + 'static {
        let Self { made, done } = self.clone();
        move |_| Worker { number: made.fetch_add(1, Ordering::Relaxed), done: Arc::clone(&done) }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    fn done(&self) -> Vec<usize> {
        std::mem::take(&mut *self.done.lock().expect("unpoisoned")).into_values().collect()
    }
}

/// Runs a test on a node of one thread.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node, Factory) -> F) {
    on_a_node_of(Node::builder(), test);
}

fn on_a_node_of<F: Future<Output = ()>>(
    builder: NodeBuilder,
    test: impl FnOnce(Node, Factory) -> F,
) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let arbiters = NonZeroUsize::new(2).expect("not zero");
        let node = builder.arbiters(arbiters).threads(LocalThreads).start();
        let node = node.await.expect("a node");
        test(node.clone(), Factory::default()).await;
        node.shutdown().await;
    });
}

const NOW: Work = Work { takes: 0, key: 0 };

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// The numbers of those who answer so many messages, one after the other.
async fn answers(router: &Router<Worker>, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(router.ask(NOW).await.expect("an answer"));
    }
    numbers
}

#[test]
fn a_pool_has_one_routee_for_each_arbiter_and_goes_round() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).start().expect("it starts");
        assert_eq!((router.len(), node.actor_count()), (2, 2));
        let numbers = answers(&router, 4).await;
        assert_eq!(numbers[..2], numbers[2..]);
        assert_ne!(numbers[0], numbers[1]);
    });
}

#[test]
fn random_routing_reaches_all_and_follows_the_nodes_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let node = Node::builder().threads(LocalThreads).seed(7).start().await.expect("a node");
            let pool = node.spawn_router(Factory::default().make()).routees(4);
            let router = pool.routing(Routing::Random).start().expect("it starts");
            sender.send(answers(&router, 40).await).expect("somebody waits");
            node.shutdown().await;
        });
        runs.push(receiver.recv().expect("the answers"));
    }
    assert_eq!(runs[0], runs[1]);
    assert!((0..4).all(|number| runs[0].contains(&number)), "{:?}", runs[0]);
    assert_ne!(runs[0][..20], runs[0][20..], "it does not go round");
}

#[test]
fn the_least_loaded_routee_gets_the_message() {
    on_a_node(|node, workers| async move {
        let pool = node.spawn_router(workers.make()).routees(3).routing(Routing::LeastLoaded);
        let router = pool.start().expect("it starts");
        let _made = answers(&router, 3).await;
        workers.done();
        let busy = router.routees()[0].clone();
        for _ in 0..3 {
            busy.tell(Work { takes: 100, key: 0 }).await.expect("room");
        }
        for _ in 0..4 {
            router.tell(Work { takes: 100, key: 0 }).await.expect("room");
        }
        pass(1_000).await;
        let mut done = workers.done();
        done.sort_unstable();
        assert_eq!(done, [2, 2, 3]);
    });
}

#[test]
fn a_key_stays_with_its_routee_and_moves_only_with_its_slot() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(4).start().expect("it starts");
        let ask = async |key| router.ask_keyed(Work { takes: 0, key }).await.expect("an answer");
        let mut before = Vec::new();
        for key in 0..100 {
            before.push(ask(key).await);
            assert_eq!(ask(key).await, before[key as usize]);
        }
        router.resize(5).expect("it grows");
        let mut moved = 0;
        for key in 0..100 {
            let now = ask(key).await;
            assert!(now == before[key as usize] || now == 4, "{key} goes nowhere else");
            moved += usize::from(now == 4);
        }
        assert!((5..40).contains(&moved), "{moved}");
        router.resize(4).expect("it shrinks");
        for key in 0..100 {
            assert_eq!(ask(key).await, before[key as usize]);
        }
        router.tell_keyed(Work { takes: 0, key: 1 }).await.expect("room");
    });
}

#[test]
fn a_broadcast_reaches_all_and_one_that_is_full_holds_nobody_up() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(3).start().expect("it starts");
        let _made = answers(&router, 3).await;
        workers.done();
        let full = router.routees()[0].clone();
        // The first has its turn, and four wait.
        for _ in 0..5 {
            full.tell(Work { takes: 10_000, key: 0 }).await.expect("room");
        }
        let began = tokio::time::Instant::now();
        let refused = router.broadcast(NOW).await;
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].reason, RejectReason::Full);
        assert_eq!(began.elapsed().as_secs(), 5, "as long as a tell waits");
        let mut done = workers.done();
        done.sort_unstable();
        assert_eq!(done, [1, 1, 1], "the full one is at its first");
    });
}

#[test]
fn the_first_reply_wins_and_errors_wait_for_a_better_one() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(4).start().expect("it starts");
        let second = Duration::from_secs(1);
        assert_eq!(router.ask_first(Race, second).await.expect("a reply"), 1);
        router.resize(1).expect("it shrinks");
        match router.ask_first(Race, second).await {
            Err(AskError::Handler(error)) => assert!(error.ends_with("is even")),
            other => panic!("{other:?}"),
        }
        let nobody = node.router::<Worker>(Routing::RoundRobin, []);
        match nobody.ask_first(Race, second).await {
            Err(AskError::Rejected { reason: RejectReason::NoSuchActor, .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_routee_that_panics_is_restarted_and_one_that_ends_is_left_out_and_replaced() {
    on_a_node(|node, workers| async move {
        let pool = node.spawn_router(workers.make()).routees(2);
        let router = pool.supervise(RestartPolicy::never()).start().expect("it starts");
        let routees = router.routees();
        routees[0].ask(Panic).await.expect_err("it panics");
        // At once: it has its place again, since it is the first replacement.
        let mut numbers = answers(&router, 4).await;
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((numbers.len(), router.len(), node.actor_count()), (2, 2, 2));
        assert_eq!(router.routees()[1], routees[1], "the other one is as it was");
        // The next one is not replaced within a second.
        router.routees()[0].ask(Panic).await.expect_err("it panics");
        let made = workers.made();
        let numbers = answers(&router, 4).await;
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
        assert_eq!(workers.made(), made);
        pass(1_000).await;
        answers(&router, 2).await;
        assert_eq!((workers.made(), node.actor_count()), (made + 1, 2));
    });
}

#[test]
fn a_routee_that_fails_and_is_restarted_keeps_its_slot_and_its_mailbox() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(2).start().expect("it starts");
        let before = router.routees();
        before[0].tell(Panic).await.expect("room");
        before[0].tell(NOW).await.expect("room");
        pass(60_000).await;
        assert_eq!((router.routees(), workers.made()), (before, 3));
        assert_eq!(workers.done(), [1], "by the fresh instance");
    });
}

#[test]
fn what_a_routee_gives_back_as_it_ends_is_asked_of_another() {
    on_a_node(|node, workers| async move {
        let pool = node.spawn_router(workers.make()).routees(2).start().expect("it starts");
        let group = node.router(Routing::RoundRobin, pool.routees());
        let busy = pool.routees()[0].clone();
        busy.tell(Work { takes: 10_000, key: 0 }).await.expect("room");
        let ends = async {
            pass(10).await;
            busy.stop();
        };
        // One of the two waits behind the one that takes long.
        let both = async { tokio::join!(group.ask(NOW), group.ask(NOW)) };
        let ((first, second), ()) = tokio::join!(both, ends);
        assert_eq!(first.expect("an answer"), second.expect("an answer"));
        pool.stop();
        pass(10).await;
        match group.ask(Work { takes: 0, key: 7 }).await {
            Err(AskError::Rejected { reason: RejectReason::NoSuchActor, message }) => {
                assert_eq!(message.key, 7);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_message_is_sent_to_three_routees_and_then_given_back() {
    on_a_node(|node, workers| async move {
        let pool = node.spawn_router(workers.make()).routees(5).start().expect("it starts");
        let group = node.router(Routing::RoundRobin, pool.routees());
        for routee in group.routees() {
            routee.tell(Work { takes: 10_000, key: 0 }).await.expect("room");
        }
        let ends = async {
            for routee in group.routees() {
                pass(100).await;
                routee.stop();
            }
        };
        let began = tokio::time::Instant::now();
        let asks = async { (group.ask(NOW).await, began.elapsed()) };
        let ((answer, took), ()) = tokio::join!(asks, ends);
        match answer {
            Err(AskError::Rejected { reason: RejectReason::Stopped, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(took.as_millis() / 100, 3, "{took:?}");
    });
}

#[test]
fn a_key_goes_to_none_that_has_ended() {
    on_a_node(|node, workers| async move {
        let pool = node.spawn_router(workers.make()).routees(3).start().expect("it starts");
        let group = node.router(Routing::RoundRobin, pool.routees());
        pool.routees()[1].stop();
        pass(10).await;
        for key in 0..30 {
            group.ask_keyed(Work { takes: 0, key }).await.expect("an answer");
        }
    });
}

#[test]
fn a_routee_that_was_dismissed_delays_no_replacement() {
    on_a_node(|node, workers| async move {
        let pool = node.spawn_router(workers.make()).routees(3);
        let router = pool.supervise(RestartPolicy::never()).start().expect("it starts");
        router.resize(2).expect("it shrinks");
        pass(10).await;
        answers(&router, 2).await;
        router.routees()[0].ask(Panic).await.expect_err("it panics");
        answers(&router, 2).await;
        assert_eq!((workers.made(), node.actor_count()), (4, 2));
    });
}

#[test]
fn an_ask_may_wait_for_ever() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).start().expect("it starts");
        router.ask_within(NOW, Duration::MAX).await.expect("answered");
        router.ask_first(NOW, Duration::MAX).await.expect("answered");
    });
}

#[test]
fn an_ask_has_one_deadline_however_many_routees_it_is_tried_with() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(3).start().expect("it starts");
        let routees = router.routees();
        for routee in &routees {
            routee.tell(Work { takes: 10_000, key: 0 }).await.expect("room");
        }
        let ends = async {
            for routee in &routees[..2] {
                pass(600).await;
                routee.stop();
            }
        };
        let began = tokio::time::Instant::now();
        let (answer, ()) = tokio::join!(router.ask_within(NOW, Duration::from_secs(1)), ends);
        match answer {
            Err(AskError::Rejected { reason: RejectReason::Expired, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_millis(1_300), "{:?}", began.elapsed());
    });
}

#[test]
fn a_question_to_all_that_ran_anywhere_is_not_said_to_have_run_nowhere() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(2).start().expect("it starts");
        let made = answers(&router, 2).await;
        // The odd one waits, for longer than anybody asks; the even one answers with an error.
        let odd = made.iter().position(|number| number % 2 == 1).expect("one of two");
        router.routees()[odd].tell(Work { takes: 10_000, key: 0 }).await.expect("room");
        match router.ask_first(Race, Duration::from_secs(1)).await {
            Err(AskError::Handler(error)) => assert_eq!(error, "0 is even"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn without_a_routee_a_message_is_given_back() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(1).start().expect("it starts");
        router.stop();
        pass(10).await;
        assert_eq!((router.len(), node.actor_count()), (0, 0));
        let error = router.tell(NOW).await.expect_err("there is nobody");
        assert_eq!(error.reason, RejectReason::NoSuchActor);
        assert!(router.try_tell(NOW).is_err() && router.is_empty());
        router.ask(NOW).await.expect_err("there is nobody");
        pass(10_000).await;
        router.resize(3).expect("it has stopped for good");
        assert_eq!(node.actor_count(), 0);
    });
}

#[test]
fn a_group_leaves_those_out_that_have_ended_and_stops_none() {
    on_a_node(|node, workers| async move {
        let make = workers.make();
        let pool = node.spawn_router(make).routees(3).start().expect("it starts");
        let group = node.router(Routing::RoundRobin, pool.routees());
        pool.routees()[1].stop();
        pass(10).await;
        let mut numbers = answers(&group, 6).await;
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 2);
        group.stop();
        drop(group);
        pass(10).await;
        assert_eq!(node.actor_count(), 2);
    });
}

#[test]
fn a_pool_that_shrinks_loses_nothing_and_ends_with_its_last_handle() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(4).start().expect("it starts");
        for _ in 0..12 {
            router.tell(Work { takes: 100, key: 0 }).await.expect("room");
        }
        router.resize(1).expect("it shrinks");
        assert_eq!((router.len(), node.actor_count()), (1, 4), "they finish what they have");
        pass(1_000).await;
        assert_eq!((node.actor_count(), workers.done()), (1, vec![3, 3, 3, 3]));
        assert_eq!(node.dead_letters().total(), 0);
        let other = router.clone();
        router.tell(Work { takes: 100, key: 0 }).await.expect("room");
        drop(router);
        pass(10).await;
        assert_eq!(node.actor_count(), 1);
        drop(other);
        pass(1_000).await;
        assert_eq!(
            (node.actor_count(), workers.done(), node.dead_letters().total()),
            (0, vec![1], 0)
        );
    });
}

#[test]
fn a_pool_grows_and_shrinks_with_its_load_within_its_bounds() {
    on_a_node(|node, workers| async move {
        let resize = Resize { routees: 1..=3, busy: 2, ..Resize::default() };
        let pool = node.spawn_router(workers.make()).routees(1).resize(resize);
        let router = pool.routing(Routing::LeastLoaded).start().expect("it starts");
        for grown in [1, 2] {
            for _ in 0..5 {
                let _full = router.try_tell(Work { takes: 1_000, key: 0 });
            }
            assert_eq!(router.len(), grown, "one more at each look");
            pass(100).await;
        }
        for _ in 0..20 {
            let _full = router.try_tell(Work { takes: 1_000, key: 0 });
            pass(50).await;
        }
        assert_eq!(router.len(), 3);
        router.resize(100).expect("within its bounds");
        assert_eq!(router.len(), 3);
        pass(60_000).await;
        for _ in 0..10 {
            router.ask(NOW).await.expect("an answer");
            pass(100).await;
        }
        assert_eq!((router.len(), node.actor_count()), (1, 1));
    });
}

#[test]
fn workers_are_found_by_their_type_and_grow_by_load_on_their_node() {
    let workers = Factory::default();
    let resize = Resize { routees: 1..=3, busy: 1, ..Resize::default() };
    let builder = Node::builder().workers(resize, workers.make());
    on_a_node_of(builder, |node, _| async move {
        assert_eq!((node.workers::<Worker>().len(), node.actor_count()), (1, 1));
        for _ in 0..20 {
            let _full = node.workers::<Worker>().try_tell(Work { takes: 1_000, key: 0 });
            pass(50).await;
        }
        let routees = node.workers::<Worker>().routees();
        assert_eq!((routees.len(), node.actor_count()), (3, 3));
        assert!(routees.iter().all(|routee| routee.node_id() == Some(&node.id())));
        pass(60_000).await;
        node.workers::<Worker>().ask(NOW).await.expect("an answer");
        let [busy, _] = &node.workers::<Worker>().routees()[..] else { panic!("there are two") };
        // Of the two the second one waits.
        busy.tell(Work { takes: 1_000, key: 0 }).await.expect("room");
        busy.tell(Work { takes: 1_000, key: 0 }).await.expect("room");
        let began = tokio::time::Instant::now();
        answers(&node.workers(), 4).await;
        let took = began.elapsed();
        assert!(took < Duration::from_millis(100), "none waits for the busy one: {took:?}");
        pass(60_000).await;
        for _ in 0..10 {
            node.workers::<Worker>().ask(NOW).await.expect("an answer");
            pass(100).await;
        }
        assert_eq!(node.actor_count(), 1);
        node.shutdown().await;
        assert_eq!((node.actor_count(), node.workers::<Worker>().len()), (0, 0));
    });
}

#[test]
fn workers_that_a_node_does_not_have_give_messages_back() {
    on_a_node(|node, _| async move {
        let error = node.workers::<Worker>().tell(NOW).await.expect_err("there are none");
        assert_eq!(error.reason, RejectReason::NoSuchActor);
    });
}

#[test]
fn a_router_has_so_many_routees_and_no_more() {
    on_a_node(|node, workers| async move {
        let router = node.spawn_router(workers.make()).routees(5_000).start().expect("it starts");
        assert_eq!(router.len(), 1_024);
        router.resize(0).expect("it shrinks");
        assert_eq!(router.len(), 1);
        let one = router.routees().remove(0);
        let many = std::iter::repeat_n(one, 5_000);
        assert_eq!(node.router(Routing::RoundRobin, many).len(), 1_024);
    });
}
