//! Actors that load before they serve, and actors that fail themselves; in paused time on one
//! thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    io,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task,
    time::Duration,
};

use actix::ActorFuture;
use actix_cluster::{
    Backoff, EntitySettings, ExitReason, NodeBuilder, RejectReason, RestartPolicy,
    node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<u32>")]
#[remote(name = "test.Notes", version = 1)]
struct Notes;

/// Has the actor fail itself, and answers nevertheless.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.Fail", version = 1)]
struct Fail(FailWhere);

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum FailWhere {
    Handler,
    Future,
    Waited,
    Stopping,
}

#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Loaded",
    handles(Note, Notes, Fail),
    placement = Eventual,
    state = volatile
)]
struct Loaded {
    notes: Vec<u32>,
    fails_in: Option<FailWhere>,
    hooks: Arc<AtomicU32>,
}

/// What `started` adds to the count of hooks.
const STARTED: u32 = 100;

impl Actor for Loaded {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.hooks.fetch_add(STARTED, Ordering::SeqCst);
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        self.hooks.fetch_add(1, Ordering::SeqCst);
        if self.fails_in == Some(FailWhere::Stopping) {
            ctx.fail("could not be saved");
            return Running::Continue;
        }
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.hooks.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler<Note> for Loaded {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.notes.push(n);
    }
}

impl Handler<Notes> for Loaded {
    type Result = Vec<u32>;
    fn handle(&mut self, _: Notes, _: &mut Self::Context) -> Vec<u32> {
        self.notes.clone()
    }
}

impl Handler<Fail> for Loaded {
    type Result = u32;
    fn handle(&mut self, Fail(place): Fail, ctx: &mut Self::Context) -> u32 {
        match place {
            FailWhere::Handler => {
                ctx.fail(io::Error::other("disk full"));
                ctx.fail("only the first error counts");
            }
            FailWhere::Future => {
                ctx.spawn(async {}.into_actor(self).map(|(), _, ctx| ctx.fail("disk full")));
            }
            FailWhere::Waited => ctx.wait(FailsAndWaits),
            FailWhere::Stopping => {
                self.fails_in = Some(place);
                ctx.stop();
            }
        }
        7
    }
}

/// Fails its actor, and is never ready.
struct FailsAndWaits;

impl ActorFuture<Loaded> for FailsAndWaits {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut Loaded,
        ctx: &mut ClusterContext<Loaded>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<()> {
        ctx.fail("disk full");
        task::Poll::Pending
    }
}

const ARBITERS: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

/// Runs `test` on a node of its own, in paused time.
fn on_a_node<F: Future<Output = ()>>(builder: NodeBuilder, test: impl FnOnce(Node) -> F) {
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

const SECOND: Duration = Duration::from_secs(1);

/// A load that takes a second.
async fn slowly() -> io::Result<Loaded> {
    tokio::time::sleep(SECOND).await;
    Ok(Loaded::default())
}

/// A store whose first reads fail.
#[derive(Clone, Default)]
struct Store {
    fails: Arc<AtomicU32>,
    reads: Arc<AtomicU32>,
}

impl Store {
    fn failing(times: u32) -> Self {
        Self { fails: Arc::new(times.into()), reads: Arc::default() }
    }

    async fn read(self) -> io::Result<Loaded> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(SECOND).await;
        if self.fails.load(Ordering::SeqCst) > 0 {
            self.fails.fetch_sub(1, Ordering::SeqCst);
            return Err(io::Error::other("no connection"));
        }
        Ok(Loaded::default())
    }
}

#[test]
fn messages_wait_within_the_bound_while_an_actor_loads_and_others_go_on() {
    on_a_node(Node::builder(), |node| async move {
        let start = tokio::time::Instant::now();
        let target = node.spawn_async(|_| slowly()).mailbox_capacity(3).arbiter(0);
        let target = target.start().expect("spawned");
        let beside = node.spawn(|_| Loaded::default()).arbiter(0).start().expect("spawned");
        for n in 0..3 {
            target.try_tell(Note(n)).expect("room");
        }
        assert_eq!(target.try_tell(Note(9)).expect_err("none").reason, RejectReason::Full);
        assert!(beside.ask(Notes).await.is_ok());
        assert_eq!(start.elapsed(), Duration::ZERO, "nobody waited for the load");
        target.tell(Note(3)).await.expect("there is room once it serves");
        assert_eq!(target.ask(Notes).await.expect("answered"), [0, 1, 2, 3]);
        assert_eq!(start.elapsed(), SECOND);
    });
}

#[test]
fn an_actor_is_stopped_and_killed_while_it_loads() {
    on_a_node(Node::builder(), |node| async move {
        for (kill, reason) in [(false, ExitReason::Stopped), (true, ExitReason::Killed)] {
            let dropped = Arc::new(());
            let held = Arc::clone(&dropped);
            let target = node.spawn_async(move |_| {
                let held = Arc::clone(&held);
                async move {
                    let _held = held;
                    std::future::pending::<io::Result<Loaded>>().await
                }
            });
            let target = target.start().expect("spawned");
            target.tell(Note(1)).await.expect("accepted");
            tokio::time::sleep(SECOND).await;
            assert_eq!(Arc::strong_count(&dropped), 3, "it loads");
            if kill {
                target.kill();
            } else {
                target.stop();
            }
            tokio::time::sleep(SECOND).await;
            assert_eq!(target.exit_reason(), Some(reason));
            assert_eq!(Arc::strong_count(&dropped), 1, "the load is dropped");
        }
        assert_eq!(node.dead_letters().rejected(RejectReason::Stopped), 2);
        // One that still loads does not hold up the end of the node.
        let loads = node.spawn_async(|_| std::future::pending::<io::Result<Loaded>>());
        loads.start().expect("spawned");
    });
}

#[test]
fn an_actor_that_can_not_be_loaded_is_restarted_with_its_mailbox() {
    on_a_node(Node::builder(), |node| async move {
        let store = Store::failing(3);
        let theirs = store.clone();
        let target = node.spawn_async(move |_| theirs.clone().read()).start().expect("spawned");
        for n in 0..5 {
            target.tell(Note(n)).await.expect("accepted");
        }
        let notes = target.ask(Notes).within(60 * SECOND).await.expect("answered in the end");
        assert_eq!(notes, [0, 1, 2, 3, 4]);
        assert_eq!(store.reads.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn an_actor_that_can_never_be_loaded_is_given_up_with_the_error() {
    on_a_node(Node::builder(), |node| async move {
        let policy = RestartPolicy { limit: 2, ..RestartPolicy::default() };
        let store = Store::failing(9);
        let target = node.spawn_async(move |_| store.clone().read()).supervise(policy);
        let target = target.start().expect("spawned");
        match target.ask(Note(7)).within(60 * SECOND).await {
            Err(AskError::Rejected { reason, message: Note(7) }) => {
                assert_eq!(reason, RejectReason::Failed);
            }
            other => panic!("{other:?}"),
        }
        let reason = target.exit_reason().expect("it has ended");
        let expected = ExitReason::FailedToStart { error: "no connection".to_owned(), restarts: 2 };
        assert_eq!(reason, expected);
        assert!(reason.is_failure());
    });
}

#[test]
fn a_panic_while_loading_is_a_failure_with_its_message_and_place() {
    on_a_node(Node::builder(), |node| async move {
        let target = node.spawn_async(|_| async {
            tokio::time::sleep(SECOND).await;
            if true {
                panic!("load panics on purpose");
            }
            io::Result::Ok(Loaded::default())
        });
        let target = target.supervise(RestartPolicy::never()).start().expect("spawned");
        tokio::time::sleep(2 * SECOND).await;
        match target.exit_reason() {
            Some(ExitReason::Panicked { message, location, restarts: 0 }) => {
                assert_eq!(message, "load panics on purpose");
                assert!(location.expect("noted").contains("tests/loading.rs:"));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn children_that_load_start_in_order_and_are_stopped_while_they_load() {
    on_a_node(Node::builder(), |node| async move {
        let supervisor = node.spawn_supervisor().start().expect("started");
        let first = supervisor.spawn_async(|_| slowly()).start().expect("room");
        let second = supervisor.spawn(|_| Loaded::default()).start().expect("room");
        let start = tokio::time::Instant::now();
        assert!(second.ask(Notes).await.is_ok());
        assert_eq!(start.elapsed(), SECOND, "it starts once the first one has");
        assert!(first.ask(Notes).await.is_ok());
        let never = supervisor.spawn_async(|_| std::future::pending::<io::Result<Loaded>>());
        let never = never.start().expect("room");
        tokio::time::sleep(SECOND).await;
        let start = tokio::time::Instant::now();
        supervisor.stop();
        assert_eq!(supervisor.ended().await, ExitReason::Stopped);
        assert_eq!(never.exit_reason(), Some(ExitReason::Stopped));
        assert_eq!(start.elapsed(), Duration::ZERO, "a load is dropped, and not waited for");
    });
}

/// One place: the turn or poll goes to its end, no hook runs, and a fresh instance follows.
fn check_fail(place: FailWhere) {
    on_a_node(Node::builder(), |node| async move {
        let hooks = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&hooks);
        let factory = move |_: &mut ClusterContext<Loaded>| Loaded {
            hooks: Arc::clone(&theirs),
            ..Loaded::default()
        };
        let policy = RestartPolicy { limit: 1, ..RestartPolicy::default() };
        let target = node.spawn(factory).supervise(policy).start().expect("spawned");
        target.tell(Note(1)).await.expect("accepted");
        assert_eq!(target.ask(Fail(place)).await.expect("answered nevertheless"), 7);
        tokio::time::sleep(SECOND).await;
        assert!(target.ask(Notes).await.expect("it is back").is_empty(), "a fresh value");
        target.ask(Fail(place)).await.expect("answered nevertheless");
        tokio::time::sleep(SECOND).await;
        let error = match place {
            FailWhere::Stopping => "could not be saved",
            _ => "disk full",
        };
        let error = error.to_owned();
        assert_eq!(target.exit_reason(), Some(ExitReason::Failed { error, restarts: 1 }));
        let stop_hooks = if place == FailWhere::Stopping { 4 } else { 0 };
        assert_eq!(hooks.load(Ordering::SeqCst), 2 * STARTED + stop_hooks, "{place:?}");
        assert_eq!(node.dead_letters().total(), 0, "each message was handled");
    });
}

#[test]
fn an_actor_fails_itself_in_a_handler() {
    check_fail(FailWhere::Handler);
}

#[test]
fn an_actor_fails_itself_in_a_future() {
    check_fail(FailWhere::Future);
}

#[test]
fn an_actor_fails_itself_in_a_future_that_the_mailbox_waits_for() {
    check_fail(FailWhere::Waited);
}

#[test]
fn an_actor_fails_itself_while_it_stops() {
    check_fail(FailWhere::Stopping);
}

#[test]
fn a_factory_that_fails_its_instance_has_it_neither_started_nor_loaded() {
    on_a_node(Node::builder(), |node| async move {
        let hooks = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&hooks);
        let made = node.spawn(move |ctx| {
            ctx.fail("no seat");
            Loaded { hooks: Arc::clone(&theirs), ..Loaded::default() }
        });
        let loaded = node.spawn_async(|ctx| {
            ctx.fail("no seat");
            std::future::pending::<io::Result<Loaded>>()
        });
        for builder in [made, loaded] {
            let target = builder.supervise(RestartPolicy::never()).start().expect("spawned");
            tokio::time::sleep(SECOND).await;
            let error = "no seat".to_owned();
            assert_eq!(target.exit_reason(), Some(ExitReason::Failed { error, restarts: 0 }));
        }
        assert_eq!(hooks.load(Ordering::SeqCst), 0);
    });
}

/// A type whose entities are read from `store`, with waits of 4 s, and rooms of 2.
fn hosting(store: &Store) -> NodeBuilder {
    let mut settings = EntitySettings::default();
    settings.mailbox_capacity = Some(2);
    settings.restart.backoff = Backoff { first: 4 * SECOND, longest: 8 * SECOND };
    let store = store.clone();
    Node::builder().entity_async_with(settings, move |key| {
        assert_eq!(key, "shelf");
        store.clone().read()
    })
}

fn reason_of(outcome: Result<Vec<u32>, AskError<Notes>>) -> RejectReason {
    match outcome {
        Err(AskError::Rejected { reason, message: Notes }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entity_is_loaded_by_its_first_message_and_keeps_what_comes_meanwhile_in_order() {
    let store = Store::default();
    on_a_node(hosting(&store.clone()), |node| async move {
        let target = node.entity::<Loaded>("shelf");
        for n in 0..6 {
            target.tell(Note(n)).await.expect("room, at the latest once it serves");
        }
        assert_eq!(target.ask(Notes).await.expect("answered"), [0, 1, 2, 3, 4, 5]);
        assert_eq!((store.reads.load(Ordering::SeqCst), node.entity_count()), (1, 1));
    });
}

#[test]
fn all_who_wait_for_an_entity_that_can_not_be_loaded_are_told_and_it_is_tried_after_a_wait() {
    let store = Store::failing(2);
    on_a_node(hosting(&store.clone()), |node| async move {
        let target = node.entity::<Loaded>("shelf");
        let start = tokio::time::Instant::now();
        target.try_tell(Note(1)).expect("room");
        let (queued, in_line, behind) =
            tokio::join!(target.ask(Notes), target.ask(Notes), target.tell(Note(2)));
        assert_eq!(reason_of(queued), RejectReason::LoadFailed);
        assert_eq!(reason_of(in_line), RejectReason::LoadFailed, "it waited for room");
        assert_eq!(behind.expect_err("given back").reason, RejectReason::LoadFailed);
        assert_eq!(start.elapsed(), SECOND, "all at the first failure");
        assert_eq!(node.dead_letters().rejected(RejectReason::LoadFailed), 1, "the first tell");
        assert_eq!((node.entity_count(), store.reads.load(Ordering::SeqCst)), (0, 1));

        let early = target.try_tell(Note(3)).expect_err("the wait is not over");
        assert_eq!(early.reason, RejectReason::LoadFailed);
        assert_eq!(store.reads.load(Ordering::SeqCst), 1, "and it was not tried");
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!(reason_of(target.ask(Notes).await), RejectReason::LoadFailed);
        assert_eq!(store.reads.load(Ordering::SeqCst), 2, "tried, and failed again");
        tokio::time::sleep(3_900 * SECOND / 1_000).await;
        assert_eq!(reason_of(target.ask(Notes).await), RejectReason::LoadFailed);
        assert_eq!(store.reads.load(Ordering::SeqCst), 2, "this wait is longer");
        tokio::time::sleep(5 * SECOND).await;
        target.tell(Note(4)).await.expect("accepted");
        assert_eq!(target.ask(Notes).await.expect("it serves"), [4]);
    });
}

#[test]
fn a_restart_whose_load_fails_tells_all_who_wait() {
    let store = Store::default();
    on_a_node(hosting(&store.clone()), |node| async move {
        let target = node.entity::<Loaded>("shelf");
        assert!(target.ask(Notes).await.is_ok());
        store.fails.store(1, Ordering::SeqCst);
        assert_eq!(target.ask(Fail(FailWhere::Handler)).await.expect("answered"), 7);
        let outcome = target.ask(Notes).within(60 * SECOND).await;
        assert_eq!(reason_of(outcome), RejectReason::LoadFailed);
    });
}

#[test]
fn a_load_that_panics_is_as_one_that_fails() {
    let panics = Arc::new(AtomicU32::new(1));
    let theirs = Arc::clone(&panics);
    let builder = Node::builder().entity_async(move |_| {
        let panics = Arc::clone(&theirs);
        async move {
            assert!(panics.swap(0, Ordering::SeqCst) == 0, "load panics on purpose");
            io::Result::Ok(Loaded::default())
        }
    });
    on_a_node(builder, |node| async move {
        let target = node.entity::<Loaded>("shelf");
        assert_eq!(reason_of(target.ask(Notes).await), RejectReason::LoadFailed);
        tokio::time::sleep(SECOND).await;
        assert!(target.ask(Notes).await.is_ok());
    });
}
