//! Supervisors and their children on one node: the grid of the policy, order, deadlines, escalation
//! and bounds, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    Backoff, ExitReason, Overflow, RejectReason, Restart, SpawnError, Strategy, Supervisor,
    node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

#[path = "supervision/late.rs"]
mod late;

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy)]
#[rtype(result = "()")]
#[remote(name = "test.End", version = 1)]
enum End {
    Panic,
    Stop,
    Fail,
}

/// Keeps the mailbox waiting for so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Hold", version = 1)]
struct Hold(u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<u32>")]
#[remote(name = "test.Notes", version = 1)]
struct Notes;

/// What all children did, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, entry: String) {
        self.0.lock().expect("unpoisoned").push(entry);
    }

    /// The entries since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("unpoisoned"))
    }
}

#[derive(RemoteActor)]
#[remote(name = "test.Child", handles(End, Hold, Note, Notes))]
struct Child {
    name: &'static str,
    log: Log,
    /// How long it takes to stop, if it takes its time.
    lingers: Option<Duration>,
    notes: Vec<u32>,
}

impl Child {
    fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: log.clone(), lingers: None, notes: Vec::new() }
    }
}

impl Actor for Child {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.log.add(format!("{} started", self.name));
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        let Some(time) = self.lingers.take() else { return Running::Stop };
        self.log.add(format!("{} lingers", self.name));
        ctx.run_later(time, |_, ctx| ctx.stop());
        Running::Continue
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.log.add(format!("{} stopped", self.name));
    }
}

impl Handler<End> for Child {
    type Result = ();
    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        match end {
            End::Panic => panic!("handler panics on purpose"),
            End::Stop => ctx.stop(),
            End::Fail => ctx.fail("it fails itself on purpose"),
        }
    }
}

impl Handler<Hold> for Child {
    type Result = ();
    fn handle(&mut self, Hold(ms): Hold, ctx: &mut Self::Context) {
        let sleep = ctx.clock().sleep(Duration::from_millis(ms));
        ctx.wait(sleep.into_actor(self));
    }
}

impl Handler<Note> for Child {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.notes.push(n);
    }
}

impl Handler<Notes> for Child {
    type Result = Vec<u32>;
    fn handle(&mut self, _: Notes, _: &mut Self::Context) -> Vec<u32> {
        self.notes.clone()
    }
}

/// Runs `test` on a node of its own, in paused time.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let arbiters = NonZeroUsize::new(2).expect("not zero");
        let node = Node::builder()
            .actor::<Child>()
            .arbiters(arbiters)
            .threads(LocalThreads)
            .seed(1)
            .start()
            .await
            .expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
        assert_eq!(node.actor_count(), 0, "shutdown leaves no actor behind");
    });
}

fn child(supervisor: &Supervisor, name: &'static str, log: &Log) -> ActorRef<Child> {
    let log = log.clone();
    supervisor
        .spawn(move |_| Child::new(name, &log))
        .restart(Restart::Permanent)
        .start()
        .expect("room")
}

/// It has ended by its handler's panic, after so many restarts.
fn assert_panicked(child: &ActorRef<Child>, after: u32) {
    match child.exit_reason() {
        Some(ExitReason::Panicked { message, location, restarts }) => {
            assert_eq!((message.as_str(), restarts), ("handler panics on purpose", after));
            let location = location.expect("it is noted");
            assert!(location.contains("supervision.rs:"), "{location}");
        }
        other => panic!("{other:?}"),
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const LONG: Duration = Duration::from_secs(60);

/// How the second of three children ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Panics,
    Fails,
    FailsToStart,
    FailsToLoad,
    Stops,
    IsStopped,
    IsKilled,
}

/// One cell of the grid: how often each of three children started in the end, and whether the
/// second, of this kind, is still there.
fn check(strategy: Strategy, restart: Restart, how: How, starts: [usize; 3], lives: bool) {
    on_a_node(|node| async move {
        let log = Log::default();
        let supervisor = node.spawn_supervisor().strategy(strategy).start().expect("started");
        let first = child(&supervisor, "a", &log);
        let (theirs, mut fails) = (log.clone(), true);
        let builder = match how {
            How::FailsToLoad => supervisor.spawn_async(move |_| {
                let (fails, theirs) = (std::mem::take(&mut fails), theirs.clone());
                async move {
                    pass(Duration::from_secs(1)).await;
                    if fails {
                        Err("no connection, on purpose")
                    } else {
                        Ok(Child::new("b", &theirs))
                    }
                }
            }),
            _ => supervisor.spawn(move |_| {
                let fails = std::mem::take(&mut fails) && how == How::FailsToStart;
                assert!(!fails, "factory panics on purpose");
                Child::new("b", &theirs)
            }),
        };
        let second = builder.restart(restart).start().expect("room");
        let third = child(&supervisor, "c", &log);
        pass(LONG).await;
        match how {
            How::Panics => second.tell(End::Panic).await.expect("accepted"),
            How::Fails => second.tell(End::Fail).await.expect("accepted"),
            How::FailsToStart | How::FailsToLoad => {}
            How::Stops => second.tell(End::Stop).await.expect("accepted"),
            How::IsStopped => second.stop(),
            How::IsKilled => second.kill(),
        }
        pass(LONG).await;
        let entries = log.take();
        let started = ["a started", "b started", "c started"]
            .map(|start| entries.iter().filter(|entry| *entry == start).count());
        assert_eq!(started, starts, "{entries:?}");
        assert_eq!(second.exit_reason().is_none(), lives, "{:?}", second.exit_reason());
        assert_eq!(second.ask(Notes).await.is_ok(), lives);
        assert_eq!(supervisor.child_count(), if lives { 3 } else { 2 });
        for other in [first, third] {
            assert!(other.ask(Notes).await.is_ok(), "the others live in any case");
        }
    });
}

macro_rules! grid {
    ($(fn $name:ident() { $strategy:ident, $restart:ident, $how:ident => $starts:expr, $lives:expr })*) => {$(
        #[test]
        fn $name() {
            check(Strategy::$strategy, Restart::$restart, How::$how, $starts, $lives);
        }
    )*};
}

grid! {
    fn one_for_one_permanent_panics() { OneForOne, Permanent, Panics => [1, 2, 1], true }
    fn one_for_one_permanent_fails_itself() { OneForOne, Permanent, Fails => [1, 2, 1], true }
    fn one_for_one_permanent_fails_to_start() { OneForOne, Permanent, FailsToStart => [1, 1, 1], true }
    fn one_for_one_permanent_fails_to_load() { OneForOne, Permanent, FailsToLoad => [1, 1, 1], true }
    fn one_for_one_permanent_stops() { OneForOne, Permanent, Stops => [1, 2, 1], true }
    fn one_for_one_permanent_is_stopped() { OneForOne, Permanent, IsStopped => [1, 1, 1], false }
    fn one_for_one_permanent_is_killed() { OneForOne, Permanent, IsKilled => [1, 2, 1], true }
    fn one_for_one_transient_panics() { OneForOne, Transient, Panics => [1, 2, 1], true }
    fn one_for_one_transient_fails_itself() { OneForOne, Transient, Fails => [1, 2, 1], true }
    fn one_for_one_transient_fails_to_start() { OneForOne, Transient, FailsToStart => [1, 1, 1], true }
    fn one_for_one_transient_fails_to_load() { OneForOne, Transient, FailsToLoad => [1, 1, 1], true }
    fn one_for_one_transient_stops() { OneForOne, Transient, Stops => [1, 1, 1], false }
    fn one_for_one_transient_is_stopped() { OneForOne, Transient, IsStopped => [1, 1, 1], false }
    fn one_for_one_transient_is_killed() { OneForOne, Transient, IsKilled => [1, 2, 1], true }
    fn one_for_one_temporary_panics() { OneForOne, Temporary, Panics => [1, 1, 1], false }
    fn one_for_one_temporary_fails_itself() { OneForOne, Temporary, Fails => [1, 1, 1], false }
    fn one_for_one_temporary_fails_to_start() { OneForOne, Temporary, FailsToStart => [1, 0, 1], false }
    fn one_for_one_temporary_fails_to_load() { OneForOne, Temporary, FailsToLoad => [1, 0, 1], false }
    fn one_for_one_temporary_stops() { OneForOne, Temporary, Stops => [1, 1, 1], false }
    fn one_for_one_temporary_is_stopped() { OneForOne, Temporary, IsStopped => [1, 1, 1], false }
    fn one_for_one_temporary_is_killed() { OneForOne, Temporary, IsKilled => [1, 1, 1], false }
    fn one_for_all_permanent_panics() { OneForAll, Permanent, Panics => [2, 2, 2], true }
    fn one_for_all_permanent_fails_itself() { OneForAll, Permanent, Fails => [2, 2, 2], true }
    fn one_for_all_permanent_fails_to_start() { OneForAll, Permanent, FailsToStart => [2, 1, 1], true }
    fn one_for_all_permanent_fails_to_load() { OneForAll, Permanent, FailsToLoad => [2, 1, 1], true }
    fn one_for_all_permanent_stops() { OneForAll, Permanent, Stops => [2, 2, 2], true }
    fn one_for_all_permanent_is_stopped() { OneForAll, Permanent, IsStopped => [1, 1, 1], false }
    fn one_for_all_permanent_is_killed() { OneForAll, Permanent, IsKilled => [2, 2, 2], true }
    fn one_for_all_transient_panics() { OneForAll, Transient, Panics => [2, 2, 2], true }
    fn one_for_all_transient_fails_itself() { OneForAll, Transient, Fails => [2, 2, 2], true }
    fn one_for_all_transient_fails_to_start() { OneForAll, Transient, FailsToStart => [2, 1, 1], true }
    fn one_for_all_transient_fails_to_load() { OneForAll, Transient, FailsToLoad => [2, 1, 1], true }
    fn one_for_all_transient_stops() { OneForAll, Transient, Stops => [1, 1, 1], false }
    fn one_for_all_transient_is_stopped() { OneForAll, Transient, IsStopped => [1, 1, 1], false }
    fn one_for_all_transient_is_killed() { OneForAll, Transient, IsKilled => [2, 2, 2], true }
    fn one_for_all_temporary_panics() { OneForAll, Temporary, Panics => [1, 1, 1], false }
    fn one_for_all_temporary_fails_itself() { OneForAll, Temporary, Fails => [1, 1, 1], false }
    fn one_for_all_temporary_fails_to_start() { OneForAll, Temporary, FailsToStart => [1, 0, 1], false }
    fn one_for_all_temporary_fails_to_load() { OneForAll, Temporary, FailsToLoad => [1, 0, 1], false }
    fn one_for_all_temporary_stops() { OneForAll, Temporary, Stops => [1, 1, 1], false }
    fn one_for_all_temporary_is_stopped() { OneForAll, Temporary, IsStopped => [1, 1, 1], false }
    fn one_for_all_temporary_is_killed() { OneForAll, Temporary, IsKilled => [1, 1, 1], false }
    fn rest_for_one_permanent_panics() { RestForOne, Permanent, Panics => [1, 2, 2], true }
    fn rest_for_one_permanent_fails_itself() { RestForOne, Permanent, Fails => [1, 2, 2], true }
    fn rest_for_one_permanent_fails_to_start() { RestForOne, Permanent, FailsToStart => [1, 1, 1], true }
    fn rest_for_one_permanent_fails_to_load() { RestForOne, Permanent, FailsToLoad => [1, 1, 1], true }
    fn rest_for_one_permanent_stops() { RestForOne, Permanent, Stops => [1, 2, 2], true }
    fn rest_for_one_permanent_is_stopped() { RestForOne, Permanent, IsStopped => [1, 1, 1], false }
    fn rest_for_one_permanent_is_killed() { RestForOne, Permanent, IsKilled => [1, 2, 2], true }
    fn rest_for_one_transient_panics() { RestForOne, Transient, Panics => [1, 2, 2], true }
    fn rest_for_one_transient_fails_itself() { RestForOne, Transient, Fails => [1, 2, 2], true }
    fn rest_for_one_transient_fails_to_start() { RestForOne, Transient, FailsToStart => [1, 1, 1], true }
    fn rest_for_one_transient_fails_to_load() { RestForOne, Transient, FailsToLoad => [1, 1, 1], true }
    fn rest_for_one_transient_stops() { RestForOne, Transient, Stops => [1, 1, 1], false }
    fn rest_for_one_transient_is_stopped() { RestForOne, Transient, IsStopped => [1, 1, 1], false }
    fn rest_for_one_transient_is_killed() { RestForOne, Transient, IsKilled => [1, 2, 2], true }
    fn rest_for_one_temporary_panics() { RestForOne, Temporary, Panics => [1, 1, 1], false }
    fn rest_for_one_temporary_fails_itself() { RestForOne, Temporary, Fails => [1, 1, 1], false }
    fn rest_for_one_temporary_fails_to_start() { RestForOne, Temporary, FailsToStart => [1, 0, 1], false }
    fn rest_for_one_temporary_fails_to_load() { RestForOne, Temporary, FailsToLoad => [1, 0, 1], false }
    fn rest_for_one_temporary_stops() { RestForOne, Temporary, Stops => [1, 1, 1], false }
    fn rest_for_one_temporary_is_stopped() { RestForOne, Temporary, IsStopped => [1, 1, 1], false }
    fn rest_for_one_temporary_is_killed() { RestForOne, Temporary, IsKilled => [1, 1, 1], false }
}

#[test]
fn a_child_has_an_overflow_policy_of_its_own_and_keeps_its_mailbox_in_a_restart() {
    on_a_node(|node| async move {
        let log = Log::default();
        let supervisor = node.spawn_supervisor().start().expect("started");
        let builder = supervisor.spawn(move |_| Child::new("a", &log));
        let builder = builder.mailbox_capacity(2).overflow(Overflow::DropOldest);
        let child = builder.restart(Restart::Permanent).start().expect("room");
        pass(LONG).await;
        child.tell(End::Panic).await.expect("room");
        for n in 1..=3 {
            child.try_tell(Note(n)).expect("room is made");
        }
        pass(LONG).await;
        // The first to make room was the one that would have panicked.
        assert_eq!(child.ask(Notes).await.expect("answered"), [2, 3]);
        child.tell(End::Panic).await.expect("room");
        child.try_tell(Note(4)).expect("room");
        pass(LONG).await;
        assert_eq!(child.ask(Notes).await.expect("answered"), [4], "by the one that came after");
        assert_eq!(node.dead_letters().rejected(RejectReason::Displaced), 2);
    });
}

#[test]
fn children_start_in_order_and_stop_in_the_reverse_one() {
    on_a_node(|node| async move {
        let log = Log::default();
        let supervisor = node.spawn_supervisor().start().expect("started");
        for name in ["a", "b", "c"] {
            child(&supervisor, name, &log);
        }
        pass(LONG).await;
        supervisor.stop();
        assert_eq!(supervisor.ended().await, ExitReason::Stopped);
        let expected =
            ["a started", "b started", "c started", "c stopped", "b stopped", "a stopped"];
        assert_eq!(log.take(), expected);
    });
}

#[test]
fn a_group_stops_in_reverse_and_starts_in_order_and_keeps_its_mailboxes() {
    on_a_node(|node| async move {
        let log = Log::default();
        let strategy = Strategy::OneForAll;
        let supervisor = node.spawn_supervisor().strategy(strategy).start().expect("started");
        let [a, b, c] = ["a", "b", "c"].map(|name| child(&supervisor, name, &log));
        pass(LONG).await;
        log.take();
        // Both wait in a turn, with messages behind it, when the third one fails.
        for held in [&a, &c] {
            held.tell(Note(1)).await.expect("accepted");
            held.tell(Hold(600_000)).await.expect("accepted");
        }
        pass(Duration::from_secs(1)).await;
        for n in 2..5 {
            a.tell(Note(n)).await.expect("accepted");
            c.tell(Note(n)).await.expect("accepted");
        }
        b.tell(End::Panic).await.expect("accepted");
        b.tell(Note(7)).await.expect("accepted");
        assert_eq!(a.ask(Notes).await.expect("answered"), [2, 3, 4], "a fresh value");
        assert_eq!(c.ask(Notes).await.expect("answered"), [2, 3, 4]);
        assert_eq!(b.ask(Notes).await.expect("answered"), [7]);
        let expected = ["c stopped", "a stopped", "a started", "b started", "c started"];
        assert_eq!(log.take(), expected);
    });
}

/// A child that takes this long to stop, under this deadline.
fn lingering(
    supervisor: &Supervisor,
    name: &'static str,
    log: &Log,
    [lingers, stop_within]: [Duration; 2],
) -> ActorRef<Child> {
    let log = log.clone();
    let factory = move |_: &mut ClusterContext<Child>| {
        let mut child = Child::new(name, &log);
        child.lingers = Some(lingers);
        child
    };
    supervisor.spawn(factory).stop_within(stop_within).start().expect("room")
}

#[test]
fn a_child_may_take_its_time_to_stop_and_is_killed_at_its_deadline() {
    on_a_node(|node| async move {
        let log = Log::default();
        let [short, long] = [3, 8].map(Duration::from_secs);
        let supervisor = node.spawn_supervisor().start().expect("started");
        let slow = lingering(&supervisor, "slow", &log, [long, short]);
        let quick = lingering(&supervisor, "quick", &log, [short, long]);
        pass(LONG).await;
        log.take();
        let start = tokio::time::Instant::now();
        supervisor.stop();
        pass(Duration::from_secs(1)).await;
        quick.tell(Note(1)).await.expect("it goes on meanwhile");
        assert_eq!(supervisor.ended().await, ExitReason::Stopped);
        assert_eq!(start.elapsed().as_secs(), 3 + 3, "one after the other, each in its time");
        assert_eq!(log.take(), ["quick lingers", "quick stopped", "slow lingers"]);
        assert_eq!(quick.exit_reason(), Some(ExitReason::Stopped));
        assert_eq!(slow.exit_reason(), Some(ExitReason::Killed));
    });
}

#[test]
fn the_end_of_a_node_stops_its_trees_in_order_within_their_deadlines() {
    on_a_node(|node| async move {
        let log = Log::default();
        let top = node.spawn_supervisor().start().expect("started");
        let second = Duration::from_secs(1);
        let first = lingering(&top, "a", &log, [second, LONG]);
        let below = top.spawn_supervisor().start().expect("room");
        child(&below, "b", &log);
        lingering(&below, "c", &log, [second, LONG]);
        child(&top, "d", &log);
        pass(LONG).await;
        log.take();
        node.shutdown().await;
        let expected =
            ["d stopped", "c lingers", "c stopped", "b stopped", "a lingers", "a stopped"];
        assert_eq!(log.take(), expected);
        assert_eq!(first.exit_reason(), Some(ExitReason::NodeStopped));
        assert_eq!(below.exit_reason(), Some(ExitReason::NodeStopped));
        assert_eq!(top.exit_reason(), Some(ExitReason::NodeStopped));
    });
}

/// Lets a child fail, and waits until that is answered.
async fn fail(target: &ActorRef<Child>) {
    target.tell(End::Panic).await.expect("accepted");
    pass(Duration::from_millis(100)).await;
}

#[test]
fn a_supervisor_that_gives_up_stops_its_children_and_fails() {
    on_a_node(|node| async move {
        let log = Log::default();
        let supervisor = node.spawn_supervisor().intensity(2, LONG).start().expect("started");
        let [a, b, c] = ["a", "b", "c"].map(|name| child(&supervisor, name, &log));
        fail(&a).await;
        fail(&b).await;
        log.take();
        b.tell(End::Panic).await.expect("accepted");
        b.tell(Note(1)).await.expect("accepted");
        let gave_up = ExitReason::GaveUp { child: b.id().expect("an actor") };
        assert_eq!(supervisor.ended().await, gave_up);
        assert!(gave_up.is_failure());
        assert_eq!(log.take(), ["c stopped", "a stopped"]);
        assert_eq!(c.exit_reason(), Some(ExitReason::Stopped));
        assert_panicked(&b, 1);
        assert_eq!(node.dead_letters().rejected(RejectReason::Failed), 1);
        let late = supervisor.spawn(|_| Child::new("d", &Log::default())).start();
        assert_eq!(late.expect_err("too late"), SpawnError::SupervisorEnded);
    });
}

#[test]
fn a_supervisor_that_gives_up_is_restarted_by_its_own_with_all_its_children() {
    on_a_node(|node| async move {
        let log = Log::default();
        let strategy = Strategy::RestForOne;
        let top = node.spawn_supervisor().strategy(strategy).start().expect("started");
        child(&top, "a", &log);
        let below = top.spawn_supervisor().intensity(0, LONG).start().expect("room");
        let [b, c] = ["b", "c"].map(|name| child(&below, name, &log));
        child(&top, "d", &log);
        pass(LONG).await;
        log.take();
        b.tell(End::Panic).await.expect("accepted");
        b.tell(Note(1)).await.expect("accepted");
        assert_eq!(b.ask(Notes).await.expect("the reference holds"), [1]);
        assert!(c.ask(Notes).await.is_ok());
        pass(LONG).await;
        let expected = ["c stopped", "d stopped", "b started", "c started", "d started"];
        assert_eq!(log.take(), expected, "its own children before those that come after it");
        assert_eq!((below.exit_reason(), top.exit_reason()), (None, None));
    });
}

#[test]
fn a_failure_goes_up_to_the_top() {
    on_a_node(|node| async move {
        let log = Log::default();
        let top = node.spawn_supervisor().intensity(1, LONG).start().expect("started");
        let below = top.spawn_supervisor().intensity(1, LONG).start().expect("room");
        let target = child(&below, "a", &log);
        for failures in 1..=4 {
            assert_eq!(top.exit_reason(), None, "before failure {failures}");
            fail(&target).await;
        }
        let below_gave_up = ExitReason::GaveUp { child: target.id().expect("an actor") };
        assert_eq!(below.ended().await, below_gave_up);
        assert_eq!(top.ended().await, ExitReason::GaveUp { child: below.id() });
        assert!(target.exit_reason().expect("ended").is_failure());
    });
}

#[test]
fn a_temporary_supervisor_that_gives_up_is_gone() {
    on_a_node(|node| async move {
        let top = node.spawn_supervisor().start().expect("started");
        let below = top.spawn_supervisor().intensity(0, LONG).restart(Restart::Temporary);
        let below = below.start().expect("room");
        let target = child(&below, "a", &Log::default());
        fail(&target).await;
        assert_eq!(below.ended().await, ExitReason::GaveUp { child: target.id().expect("one") });
        assert_eq!((top.child_count(), top.exit_reason()), (0, None));
    });
}

#[test]
fn restarts_wait_longer_with_each_failure_of_a_child() {
    on_a_node(|node| async move {
        let log = Log::default();
        let second = Duration::from_secs(1);
        let backoff = Backoff { first: second, longest: 4 * second };
        let supervisor = node.spawn_supervisor().backoff(backoff).start().expect("started");
        let [a, b] = ["a", "b"].map(|name| child(&supervisor, name, &log));
        a.ask(Notes).await.expect("started");
        for longest in [1, 2, 4, 4] {
            let start = tokio::time::Instant::now();
            a.tell(End::Panic).await.expect("accepted");
            a.ask(Notes).within(LONG).await.expect("it is back");
            let waited = start.elapsed();
            assert!(waited >= longest * second / 2 && waited <= longest * second, "{waited:?}");
        }
        let start = tokio::time::Instant::now();
        b.tell(End::Panic).await.expect("accepted");
        b.ask(Notes).await.expect("it is back");
        assert!(start.elapsed() <= second, "each child has a series of its own");
    });
}

#[test]
fn children_come_and_go_within_the_bound() {
    on_a_node(|node| async move {
        let log = Log::default();
        let limit = NonZeroUsize::new(2).expect("not zero");
        let pool = node.spawn_supervisor().children_limit(limit).start().expect("started");
        let [a, b] = ["a", "b"].map(|name| child(&pool, name, &log));
        let refused = pool.spawn(|_| Child::new("c", &Log::default())).start();
        assert_eq!(refused.expect_err("full"), SpawnError::TooManyChildren { limit: 2 });
        let refused = pool.spawn_supervisor().start().expect_err("full");
        assert_eq!(refused, SpawnError::TooManyChildren { limit: 2 });
        pool.remove(&a);
        pass(LONG).await;
        assert_eq!(a.exit_reason(), Some(ExitReason::Stopped), "permanent, but removed");
        b.stop();
        pass(LONG).await;
        assert_eq!(pool.child_count(), 0);
        let c = child(&pool, "c", &log);
        assert!(c.ask(Notes).await.is_ok());
        pool.remove(&b);
        assert_eq!(pool.child_count(), 1, "one that is gone is removed in vain");
        pool.stop();
        assert_eq!(pool.ended().await, ExitReason::Stopped);
        assert_eq!(node.actor_count(), 0);
    });
}

#[test]
fn a_child_that_waits_for_its_restart_can_be_stopped_and_removed() {
    on_a_node(|node| async move {
        let backoff = Backoff { first: LONG, longest: LONG };
        let supervisor = node.spawn_supervisor().backoff(backoff).start().expect("started");
        let [a, b] = ["a", "b"].map(|name| child(&supervisor, name, &Log::default()));
        for target in [&a, &b] {
            fail(target).await;
        }
        a.stop();
        supervisor.remove(&b);
        pass(Duration::from_millis(100)).await;
        assert_eq!(a.exit_reason(), Some(ExitReason::Stopped));
        assert_panicked(&b, 0);
        assert_eq!(supervisor.child_count(), 0);
    });
}

#[test]
fn a_kill_takes_a_supervisor_with_all_below_it() {
    on_a_node(|node| async move {
        let log = Log::default();
        let top = node.spawn_supervisor().start().expect("started");
        let below = top.spawn_supervisor().start().expect("room");
        let (a, b) = (child(&top, "a", &log), child(&below, "b", &log));
        pass(LONG).await;
        log.take();
        below.kill();
        pass(LONG).await;
        assert_eq!(log.take(), ["b started"], "without hooks, and restarted from above");
        top.kill();
        assert_eq!(top.ended().await, ExitReason::Killed);
        assert!(log.take().is_empty());
        for target in [a, b] {
            assert_eq!(target.exit_reason(), Some(ExitReason::Killed));
        }
    });
}

#[test]
fn a_child_told_to_stop_and_then_killed_is_not_started_again() {
    on_a_node(|node| async move {
        let supervisor = node.spawn_supervisor().start().expect("started");
        let targets = ["a", "b"].map(|name| child(&supervisor, name, &Log::default()));
        pass(LONG).await;
        targets[0].stop();
        targets[0].kill();
        targets[1].kill();
        targets[1].stop();
        pass(LONG).await;
        for target in targets {
            assert_eq!(target.exit_reason(), Some(ExitReason::Killed));
        }
    });
}

#[test]
fn a_supervisor_below_that_is_told_to_stop_is_not_started_again() {
    on_a_node(|node| async move {
        let log = Log::default();
        let top = node.spawn_supervisor().strategy(Strategy::OneForAll).start().expect("started");
        let below = top.spawn_supervisor().start().expect("room");
        child(&below, "a", &log);
        child(&top, "b", &log);
        pass(LONG).await;
        log.take();
        below.stop();
        assert_eq!(below.ended().await, ExitReason::Stopped);
        pass(LONG).await;
        assert_eq!((log.take(), top.child_count()), (vec!["a stopped".to_owned()], 1));
    });
}

#[test]
fn a_supervisor_has_ended_once_all_its_children_have() {
    on_a_node(|node| async move {
        let log = Log::default();
        let report = |name: &'static str| {
            let log = log.clone();
            move |reason| log.add(format!("{name} {reason}"))
        };
        let handle = Arc::new(Mutex::new(None::<Supervisor>));
        let (theirs, last) = (Arc::clone(&handle), report("top"));
        let top = node.spawn_supervisor().on_exit(move |reason| {
            let top = theirs.lock().expect("unpoisoned").take().expect("it is there");
            assert_eq!(top.exit_reason(), None, "reported before it is seen");
            last(reason);
        });
        let top = top.start().expect("started");
        *handle.lock().expect("unpoisoned") = Some(top.clone());
        let below = top.spawn_supervisor().on_exit(report("below")).start().expect("room");
        let factory = |_: &mut ClusterContext<Child>| Child::new("a", &Log::default());
        below.spawn(factory).on_exit(report("a")).start().expect("room");
        pass(LONG).await;
        top.kill();
        assert_eq!(top.ended().await, ExitReason::Killed);
        assert_eq!(log.take(), ["a killed", "below killed", "top killed"]);
    });
}

#[test]
fn a_reference_to_a_child_travels_and_outlives_its_instances() {
    on_a_node(|node| async move {
        let supervisor = node.spawn_supervisor().start().expect("started");
        let target = child(&supervisor, "a", &Log::default());
        let bytes = postcard::to_stdvec(&target).expect("encodes");
        fail(&target).await;
        let read: ActorRef<Child> = node.scope(|| postcard::from_bytes(&bytes)).expect("decodes");
        read.tell(Note(5)).await.expect("accepted");
        assert_eq!(target.ask(Notes).await.expect("answered"), [5]);
    });
}

#[test]
fn a_tree_on_threads_of_its_own_ends_in_order() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let arbiters = NonZeroUsize::new(3).expect("not zero");
        let node = Node::builder().arbiters(arbiters).start().await.expect("a node");
        let log = Log::default();
        let strategy = Strategy::OneForAll;
        let top = node.spawn_supervisor().strategy(strategy).start().expect("started");
        let names = ["a", "b", "c", "d", "e"];
        let targets = names.map(|name| child(&top, name, &log));
        for target in &targets {
            target.tell(End::Panic).await.expect("accepted");
            for other in &targets {
                other.ask(Notes).await.expect("it is back");
            }
        }
        log.take();
        node.shutdown().await;
        assert_eq!(log.take(), ["e", "d", "c", "b", "a"].map(|name| format!("{name} stopped")));
    });
}

#[test]
fn a_tree_whose_children_fail_come_and_go_at_once_ends_with_nobody_left() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        runtime.block_on(async {
            let arbiters = NonZeroUsize::new(3).expect("not zero");
            let node = Node::builder().arbiters(arbiters).seed(2).start().await.expect("a node");
            let backoff = Backoff { first: Duration::ZERO, longest: Duration::ZERO };
            let top = node.spawn_supervisor().strategy(strategy).intensity(100_000, LONG);
            let top = top.backoff(backoff).start().expect("started");
            let log = Log::default();
            let mut targets: Vec<_> = (0..20).map(|_| child(&top, "old", &log)).collect();
            for n in 0..60 {
                let target = &targets[n * 7 % targets.len()];
                match n % 6 {
                    // Whoever has ended already gives it back.
                    0 | 1 => drop(target.try_tell(End::Panic)),
                    2 => drop(target.try_tell(End::Stop)),
                    3 => target.kill(),
                    4 => target.stop(),
                    _ => top.remove(target),
                }
                targets.push(child(&top, "new", &log));
                tokio::task::yield_now().await;
            }
            let last = child(&top, "last", &log);
            assert!(last.ask(Notes).within(LONG).await.is_ok(), "the last one comes to run");
            top.stop();
            assert_eq!(top.ended().await, ExitReason::Stopped);
            assert!(targets.iter().all(|target| target.exit_reason().is_some()));
            assert_eq!((top.child_count(), node.actor_count()), (0, 0));
            node.shutdown().await;
        });
    }
}
