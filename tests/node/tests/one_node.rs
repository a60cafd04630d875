//! Actors on one node: order, outcomes, back-pressure and supervision, in paused time on one
//! thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_cluster::{
    Backoff, EntitySettings, ExitReason, NodeBuilder, Overflow, RejectReason, Restart,
    RestartPolicy, UnknownReason, node::LocalThreads, prelude::*,
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

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<u32, String>")]
#[remote(name = "test.Half", version = 1)]
struct Half(u32);

/// Answers after so many milliseconds, beside other messages.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.Later", version = 1)]
struct Later(u64);

/// Keeps the mailbox waiting for so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Hold", version = 1)]
struct Hold(u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Panic", version = 1)]
struct Panic(PanicWhere);

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq)]
enum PanicWhere {
    Handler,
    Future,
    Timer,
    Drop,
    Stopped,
}

/// Drops the reply.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.Forget", version = 1)]
struct Forget;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "ActorRef<Recorder>")]
#[remote(name = "test.Echo", version = 1)]
struct Echo(ActorRef<Recorder>);

#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Recorder",
    handles(Note, Notes, Half, Later, Hold, Panic, Forget, Echo),
    placement = Eventual,
    state = volatile
)]
struct Recorder {
    notes: Vec<u32>,
    panic_at: Option<PanicWhere>,
    /// The activation counts itself here when it starts.
    started: Arc<AtomicU32>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        assert!(self.panic_at != Some(PanicWhere::Drop), "drop panics on purpose");
    }
}

impl Actor for Recorder {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(self.panic_at != Some(PanicWhere::Stopped), "stopped panics on purpose");
    }
}

impl Handler<Note> for Recorder {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.notes.push(n);
    }
}

impl Handler<Notes> for Recorder {
    type Result = Vec<u32>;
    fn handle(&mut self, _: Notes, _: &mut Self::Context) -> Vec<u32> {
        self.notes.clone()
    }
}

impl Handler<Half> for Recorder {
    type Result = Result<u32, String>;
    fn handle(&mut self, Half(n): Half, _: &mut Self::Context) -> Result<u32, String> {
        if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }
}

impl Handler<Later> for Recorder {
    type Result = ResponseActFuture<Self, u32>;
    fn handle(&mut self, Later(ms): Later, ctx: &mut Self::Context) -> Self::Result {
        let sleep = ctx.clock().sleep(Duration::from_millis(ms));
        Box::pin(sleep.into_actor(self).map(|(), actor, _| actor.notes.len() as u32))
    }
}

impl Handler<Hold> for Recorder {
    type Result = ();
    fn handle(&mut self, Hold(ms): Hold, ctx: &mut Self::Context) {
        let sleep = ctx.clock().sleep(Duration::from_millis(ms));
        ctx.wait(sleep.into_actor(self));
    }
}

impl Handler<Panic> for Recorder {
    type Result = ();
    fn handle(&mut self, Panic(place): Panic, ctx: &mut Self::Context) {
        match place {
            PanicWhere::Handler => panic!("handler panics on purpose"),
            PanicWhere::Future => {
                ctx.spawn(
                    async {}.into_actor(self).map(|(), _, _| panic!("future panics on purpose")),
                );
            }
            PanicWhere::Timer => {
                ctx.run_later(Duration::from_millis(1), |_, _| panic!("timer panics on purpose"));
            }
            PanicWhere::Drop => {
                self.panic_at = Some(place);
                panic!("handler panics, and drop will");
            }
            PanicWhere::Stopped => {
                self.panic_at = Some(place);
                ctx.stop();
            }
        }
    }
}

impl Handler<Forget> for Recorder {
    type Result = ResponseActFuture<Self, u32>;
    fn handle(&mut self, _: Forget, ctx: &mut Self::Context) -> Self::Result {
        ctx.stop();
        Box::pin(std::future::pending::<u32>().into_actor(self))
    }
}

impl Handler<Echo> for Recorder {
    type Result = MessageResult<Echo>;
    fn handle(&mut self, Echo(other): Echo, _: &mut Self::Context) -> Self::Result {
        MessageResult(other)
    }
}

const ARBITERS: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

/// Runs `test` on a node of its own, in paused time.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    on_a_node_of(Node::builder().actor::<Recorder>(), test);
}

fn on_a_node_of<F: Future<Output = ()>>(builder: NodeBuilder, test: impl FnOnce(Node) -> F) {
    // The panics are on purpose, and a panic's text is asserted where it matters.
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

fn recorder(node: &Node) -> ActorRef<Recorder> {
    node.spawn(|_| Recorder::default()).start().expect("spawned")
}

/// A small mailbox whose actor waits in its first turn.
async fn held(node: &Node, capacity: usize, ms: u64) -> ActorRef<Recorder> {
    held_by(node, capacity, Overflow::default(), ms).await
}

async fn held_by(node: &Node, capacity: usize, policy: Overflow, ms: u64) -> ActorRef<Recorder> {
    let builder = node.spawn(|_| Recorder::default());
    let target = builder.mailbox_capacity(capacity).overflow(policy).start().expect("spawned");
    target.tell(Hold(ms)).await.expect("room");
    tokio::task::yield_now().await;
    settle().await;
    target
}

/// Lets every task that is ready run, without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn messages_of_one_sender_are_handled_in_the_order_sent() {
    on_a_node(|node| async move {
        let target = recorder(&node);
        for n in 0..5_000 {
            target.tell(Note(n)).await.expect("accepted");
        }
        let notes = target.ask(Notes).await.expect("answered");
        assert_eq!(notes, (0..5_000).collect::<Vec<_>>());
    });
}

#[test]
fn an_ask_answers_with_the_reply_or_the_handlers_own_error() {
    on_a_node(|node| async move {
        let target = recorder(&node);
        assert_eq!(target.ask(Half(8)).await.expect("even"), 4);
        match target.ask(Half(7)).await {
            Err(AskError::Handler(error)) => assert_eq!(error, "7 is odd"),
            other => panic!("{other:?}"),
        }
        assert_eq!(target.narrow::<Half>().ask(Half(2), Duration::MAX).await.expect("even"), 1);
    });
}

#[test]
fn replies_may_come_later_while_other_messages_are_handled() {
    on_a_node(|node| async move {
        let target = recorder(&node);
        let later = target.ask(Later(1_000));
        let meanwhile = async {
            settle().await;
            target.tell(Note(1)).await.expect("accepted");
        };
        let (later, ()) = tokio::join!(later, meanwhile);
        assert_eq!(later.expect("answered"), 1);
    });
}

#[test]
fn a_full_mailbox_gives_a_try_tell_back() {
    on_a_node(|node| async move {
        let target = held(&node, 2, 1_000).await;
        target.try_tell(Note(1)).expect("room for one");
        target.try_tell(Note(2)).expect("room for two");
        let refused = target.try_tell(Note(3)).expect_err("no room");
        assert_eq!(refused.reason, RejectReason::Full);
        assert_eq!(refused.into_message().0, 3);
    });
}

#[test]
fn a_tell_waits_for_room_in_the_order_of_arrival() {
    on_a_node(|node| async move {
        let target = held(&node, 1, 1_000).await;
        target.try_tell(Note(0)).expect("room");
        let tells = (1..50).map(|n| {
            let target = target.clone();
            tokio::task::spawn_local(async move { target.tell(Note(n)).await.expect("room") })
        });
        for tell in tells.collect::<Vec<_>>() {
            tell.await.expect("told");
        }
        assert_eq!(target.ask(Notes).await.expect("answered"), (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn a_tell_that_waits_too_long_gives_its_message_back() {
    on_a_node(|node| async move {
        let target = held(&node, 1, 60_000).await;
        target.try_tell(Note(0)).expect("room");
        let start = tokio::time::Instant::now();
        let refused = target.tell(Note(7)).await.expect_err("no room");
        assert_eq!((refused.reason, refused.message.0), (RejectReason::Full, 7));
        assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    });
}

#[test]
fn a_tell_dropped_in_the_line_sends_nothing_and_lets_the_next_one_pass() {
    on_a_node(|node| async move {
        let target = held(&node, 1, 1_000).await;
        target.try_tell(Note(0)).expect("room");
        let dropped = tokio::task::spawn_local({
            let target = target.clone();
            async move { target.tell(Note(1)).await.is_ok() }
        });
        settle().await;
        let next = tokio::task::spawn_local({
            let target = target.clone();
            async move { target.tell(Note(2)).await.is_ok() }
        });
        settle().await;
        dropped.abort();
        assert!(next.await.expect("not aborted"));
        assert_eq!(target.ask(Notes).await.expect("answered"), [0, 2]);
    });
}

#[test]
fn a_full_mailbox_that_rejects_the_newest_gives_it_back_at_once() {
    on_a_node(|node| async move {
        let target = held_by(&node, 1, Overflow::RejectNewest, 1_000).await;
        target.tell(Note(0)).await.expect("room");
        let refused = poll_once(&mut target.tell(Note(7))).expect("it doesn't wait");
        let refused = refused.expect_err("no room");
        assert_eq!((refused.reason, refused.message.0), (RejectReason::Full, 7));
        match poll_once(&mut target.ask(Half(8))).expect("it doesn't wait either") {
            Err(AskError::Rejected { reason, message: Half(8) }) => {
                assert_eq!(reason, RejectReason::Full);
            }
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        assert_eq!(target.ask(Notes).await.expect("room again"), [0]);
        assert_eq!(node.dead_letters().total(), 0, "whoever sent them has them");
    });
}

#[test]
fn a_full_mailbox_that_drops_the_oldest_keeps_the_newest_in_order() {
    on_a_node(|node| async move {
        let target = held_by(&node, 2, Overflow::DropOldest, 1_000).await;
        for n in 1..=4 {
            poll_once(&mut target.tell(Note(n))).expect("it doesn't wait").expect("room is made");
        }
        target.try_tell(Note(5)).expect("room is made");
        assert_eq!(node.dead_letters().rejected(RejectReason::Displaced), 3);
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        assert_eq!(target.ask(Notes).await.expect("answered"), [4, 5]);
        assert_eq!(node.dead_letters().total(), 3);
    });
}

#[test]
fn an_asker_whose_message_is_dropped_for_a_newer_one_gets_it_back() {
    on_a_node(|node| async move {
        let target = held_by(&node, 1, Overflow::DropOldest, 60_000).await;
        let asked = target.clone();
        let asked = tokio::task::spawn_local(async move { asked.ask(Half(8)).await });
        settle().await;
        let newer = target.clone();
        let newer = tokio::task::spawn_local(async move { newer.ask(Half(6)).await });
        settle().await;
        target.try_tell(Note(1)).expect("room is made");
        for (asked, number) in [(asked, 8), (newer, 6)] {
            match asked.await.expect("no panic") {
                Err(AskError::Rejected { reason, message: Half(given_back) }) => {
                    assert_eq!((reason, given_back), (RejectReason::Displaced, number));
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_mailbox_that_drops_messages_never_drops_what_ends_its_actor() {
    on_a_node(|node| async move {
        let target = held_by(&node, 1, Overflow::DropOldest, 600_000).await;
        target.stop();
        for n in 0..100 {
            target.try_tell(Note(n)).expect("room is made");
        }
        settle().await;
        assert_eq!(target.exit_reason(), Some(ExitReason::Stopped));
        assert_eq!(node.dead_letters().rejected(RejectReason::Displaced), 99);
        assert_eq!(node.dead_letters().rejected(RejectReason::Stopped), 1);
    });
}

#[test]
fn an_entity_type_has_an_overflow_policy_of_its_own() {
    let mut settings = EntitySettings::default();
    (settings.mailbox_capacity, settings.overflow) = (Some(1), Some(Overflow::DropOldest));
    let builder = Node::builder().entity_with(settings, |_| Recorder::default());
    on_a_node_of(builder, |node| async move {
        let target = node.entity::<Recorder>("shelf");
        target.tell(Hold(1_000)).await.expect("room");
        settle().await;
        for n in 1..=3 {
            target.try_tell(Note(n)).expect("room is made");
        }
        tokio::time::sleep(Duration::from_millis(1_001)).await;
        assert_eq!(target.ask(Notes).await.expect("answered"), [3]);
        assert_eq!(node.dead_letters().rejected(RejectReason::Displaced), 2);
    });
}

#[test]
fn a_restart_has_a_fresh_value_and_keeps_the_mailbox() {
    on_a_node(|node| async move {
        let started = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&started);
        let target = node
            .spawn(move |_| {
                let mut recorder = Recorder::default();
                recorder.started = Arc::clone(&counter);
                recorder
            })
            .start()
            .expect("spawned");
        target.tell(Note(1)).await.expect("accepted");
        target.tell(Panic(PanicWhere::Handler)).await.expect("accepted");
        target.tell(Note(2)).await.expect("accepted");
        target.tell(Note(3)).await.expect("accepted");
        assert_eq!(target.ask(Notes).await.expect("answered"), [2, 3]);
        assert_eq!(started.load(Ordering::SeqCst), 2);
        assert_eq!(node.dead_letters().unknown(UnknownReason::Panicked), 1);
        assert_eq!(target.exit_reason(), None);
    });
}

#[test]
fn a_panic_anywhere_ends_that_activation_only() {
    for place in [PanicWhere::Handler, PanicWhere::Future, PanicWhere::Timer, PanicWhere::Drop] {
        on_a_node(|node| async move {
            let (target, bystander) = (recorder(&node), recorder(&node));
            bystander.tell(Note(9)).await.expect("accepted");
            target.tell(Note(1)).await.expect("accepted");
            target.tell(Panic(place)).await.expect("accepted");
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(target.ask(Notes).await.expect("answered").is_empty(), "a fresh value");
            assert_eq!(bystander.ask(Notes).await.expect("answered"), [9]);
        });
    }
}

#[test]
fn a_panic_in_stopped_ends_the_actor() {
    on_a_node(|node| async move {
        let target = recorder(&node);
        target.tell(Panic(PanicWhere::Stopped)).await.expect("accepted");
        settle().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let fresh = target.ask(Notes).await.expect("restarted: it had not been told to stop");
        assert!(fresh.is_empty());
    });
}

#[test]
fn an_ask_whose_turn_panics_ends_unknown() {
    on_a_node(|node| async move {
        let target = recorder(&node);
        let error = target.ask(Panic(PanicWhere::Handler)).await.expect_err("panics");
        assert!(matches!(error, AskError::Unknown(UnknownReason::Panicked)), "{error:?}");
    });
}

#[test]
fn an_ask_whose_future_is_lost_to_a_panic_ends_unknown() {
    on_a_node(|node| async move {
        let target = recorder(&node);
        let (later, ()) = tokio::join!(target.ask(Later(1_000)), async {
            settle().await;
            target.tell(Panic(PanicWhere::Handler)).await.expect("accepted");
        });
        let error = later.expect_err("the future is gone");
        assert!(matches!(error, AskError::Unknown(UnknownReason::Panicked)), "{error:?}");
    });
}

#[test]
fn an_ask_whose_reply_is_dropped_ends_unknown() {
    on_a_node(|node| async move {
        let error = recorder(&node).ask(Forget).await.expect_err("no reply");
        assert!(matches!(error, AskError::Unknown(UnknownReason::NoReply)), "{error:?}");
    });
}

#[test]
fn an_ask_that_runs_past_its_deadline_ends_unknown() {
    on_a_node(|node| async move {
        let start = tokio::time::Instant::now();
        let error = recorder(&node).ask(Later(60_000)).await.expect_err("too late");
        assert!(matches!(error, AskError::Unknown(UnknownReason::Deadline)), "{error:?}");
        assert_eq!(start.elapsed().as_secs(), 5, "the default deadline is 5 s");
    });
}

#[test]
fn an_ask_whose_turn_has_not_come_by_its_deadline_never_runs() {
    on_a_node(|node| async move {
        let target = held(&node, 8, 2_000).await;
        let error = target.ask(Half(2)).within(Duration::from_secs(1)).await.expect_err("too late");
        match error {
            AskError::Rejected { reason, message } => {
                assert_eq!((reason, message.0), (RejectReason::Expired, 2));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_expired_message_never_runs_even_if_its_asker_is_not_polled() {
    on_a_node(|node| async move {
        let target = held(&node, 8, 2_000).await;
        let ask = target.ask(Note(1)).within(Duration::from_secs(1));
        tokio::pin!(ask);
        assert!(poll_once(&mut ask).is_none());
        assert!(target.ask(Notes).await.expect("answered").is_empty(), "it ran");
        let error = ask.await.expect_err("expired");
        assert!(matches!(error, AskError::Rejected { reason: RejectReason::Expired, .. }));
    });
}

#[test]
fn a_dropped_ask_never_runs() {
    on_a_node(|node| async move {
        let target = held(&node, 8, 1_000).await;
        let ask = tokio::task::spawn_local({
            let target = target.clone();
            async move { drop(target.ask(Panic(PanicWhere::Handler)).await) }
        });
        settle().await;
        ask.abort();
        assert!(target.ask(Notes).await.is_ok(), "it did not panic");
        assert_eq!(node.dead_letters().rejected(RejectReason::Cancelled), 1);
        assert_eq!(node.dead_letters().unknown(UnknownReason::Panicked), 0);
    });
}

#[test]
fn a_supervisor_gives_up_after_its_limit_and_what_waits_is_rejected() {
    on_a_node(|node| async move {
        let exit = Arc::new(Mutex::new(None));
        let report = Arc::clone(&exit);
        let policy = RestartPolicy { limit: 2, ..RestartPolicy::default() };
        let target = node
            .spawn(|_| Recorder::default())
            .supervise(policy)
            .on_exit(move |reason| *report.lock().expect("unpoisoned") = Some(reason))
            .start()
            .expect("spawned");
        for _ in 0..3 {
            target.tell(Panic(PanicWhere::Handler)).await.expect("accepted");
        }
        let error = target.ask(Half(4)).await.expect_err("gone");
        match error {
            AskError::Rejected { reason, message } => {
                assert_eq!((reason, message.0), (RejectReason::Failed, 4));
            }
            other => panic!("{other:?}"),
        }
        let ended = target.exit_reason().expect("it has ended");
        let ExitReason::Panicked { message, location, restarts } = &ended else {
            panic!("{ended}");
        };
        assert_eq!((message.as_str(), *restarts), ("handler panics on purpose", 2));
        assert!(location.as_ref().is_some_and(|at| at.contains("one_node.rs:")), "{location:?}");
        assert_eq!(exit.lock().expect("unpoisoned").take(), Some(ended));
        assert_eq!(node.actor_count(), 0);
        let refused = target.try_tell(Note(1)).expect_err("gone");
        assert_eq!(refused.reason, RejectReason::Failed);
    });
}

#[test]
fn a_restart_waits_for_its_backoff() {
    on_a_node(|node| async move {
        let wait = Duration::from_secs(4);
        let policy = RestartPolicy {
            backoff: Backoff { first: wait, longest: wait },
            ..RestartPolicy::default()
        };
        let target =
            node.spawn(|_| Recorder::default()).supervise(policy).start().expect("spawned");
        target.tell(Panic(PanicWhere::Handler)).await.expect("accepted");
        let start = tokio::time::Instant::now();
        target.ask(Notes).await.expect("answered");
        assert!(start.elapsed() >= wait / 2 && start.elapsed() <= wait, "{:?}", start.elapsed());
    });
}

#[test]
fn a_panicking_factory_counts_as_a_failure() {
    on_a_node(|node| async move {
        let mut attempts = 0;
        let target = node
            .spawn(move |_| {
                attempts += 1;
                assert!(attempts > 2, "factory panics on purpose");
                Recorder::default()
            })
            .start()
            .expect("spawned");
        assert!(target.ask(Notes).await.is_ok());
    });
}

#[test]
fn a_permanent_actor_is_started_again_after_it_stopped_itself() {
    on_a_node(|node| async move {
        let policy = RestartPolicy { restart: Restart::Permanent, ..RestartPolicy::default() };
        let target =
            node.spawn(|_| Recorder::default()).supervise(policy).start().expect("spawned");
        assert!(target.ask(Forget).await.is_err(), "it stops itself");
        assert!(target.ask(Notes).await.is_ok(), "and is back");
        target.stop();
        settle().await;
        assert_eq!(target.exit_reason(), Some(ExitReason::Stopped), "but stays stopped when told");
    });
}

#[test]
fn stop_and_kill_take_effect_while_the_actor_awaits() {
    on_a_node(|node| async move {
        for (kill, reason) in [(false, ExitReason::Stopped), (true, ExitReason::Killed)] {
            let target = held(&node, 8, 600_000).await;
            target.tell(Note(1)).await.expect("accepted");
            if kill {
                target.kill()
            } else {
                target.stop()
            }
            settle().await;
            assert_eq!(target.exit_reason(), Some(reason));
        }
        assert_eq!(node.dead_letters().rejected(RejectReason::Stopped), 2);
    });
}

#[test]
fn shutdown_ends_actors_that_await() {
    on_a_node(|node| async move {
        let target = held(&node, 8, 600_000).await;
        let pending = tokio::task::spawn_local({
            let target = target.clone();
            async move { target.ask(Notes).within(Duration::MAX).await }
        });
        settle().await;
        node.shutdown().await;
        let error = pending.await.expect("not aborted").expect_err("rejected");
        assert!(matches!(error, AskError::Rejected { reason: RejectReason::NodeStopped, .. }));
        assert!(node.spawn(|_| Recorder::default()).start().is_err());
    });
}

#[test]
fn what_comes_through_an_actix_address_is_capped() {
    on_a_node(|node| async move {
        let (give, take) = std::sync::mpsc::sync_channel(1);
        let target = node
            .spawn(move |ctx| {
                give.send(ctx.address()).expect("taken");
                Recorder::default()
            })
            .start()
            .expect("spawned");
        target.ask(Notes).await.expect("started");
        let address = take.recv().expect("given");
        let limit = ClusterContext::<Recorder>::INLET_LIMIT as u32;
        #[expect(clippy::disallowed_methods, reason = "the bypassed bound is what is tested")]
        for n in 0..limit + 10 {
            address.do_send(Note(n));
        }
        settle().await;
        assert_eq!(target.ask(Notes).await.expect("answered").len() as u32, limit);
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 10);
    });
}

#[test]
fn references_compare_and_travel_inside_messages() {
    on_a_node(|node| async move {
        let (a, b) = (recorder(&node), recorder(&node));
        assert_ne!(a, b);
        let back = a.ask(Echo(b.clone())).await.expect("answered");
        assert_eq!(back, b);

        let bytes = postcard::to_stdvec(&b).expect("encodes");
        assert!(postcard::from_bytes::<ActorRef<Recorder>>(&bytes).is_err(), "outside of a node");
        let read: ActorRef<Recorder> =
            node.scope(|| postcard::from_bytes(&bytes)).expect("decodes");
        assert_eq!(read, b);
        read.tell(Note(5)).await.expect("accepted");
        assert_eq!(b.ask(Notes).await.expect("answered"), [5]);

        b.kill();
        settle().await;
        let gone: ActorRef<Recorder> =
            node.scope(|| postcard::from_bytes(&bytes)).expect("decodes");
        let refused = gone.tell(Note(6)).await.expect_err("gone");
        assert_eq!(refused.reason, RejectReason::NoSuchActor);
    });
}

#[test]
fn a_busy_actor_leaves_turns_to_the_others_of_its_arbiter() {
    on_a_node(|node| async move {
        let [busy, other] = std::array::from_fn(|_| {
            node.spawn(|_| Recorder::default())
                .mailbox_capacity(100_000)
                .arbiter(0)
                .start()
                .expect("spawned")
        });
        settle().await;
        for n in 0..100_000 {
            busy.try_tell(Note(n)).expect("room");
        }
        other.ask(Notes).await.expect("answered");
        let done = busy.ask(Notes);
        tokio::pin!(done);
        assert!(poll_once(&mut done).is_none(), "the busy one is not through yet");
        assert_eq!(done.await.expect("answered").len(), 100_000);
    });
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut task) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn names_that_collide_are_found_at_the_start() {
    mod other {
        use actix_cluster::prelude::*;
        #[derive(RemoteActor)]
        #[remote(name = "test.Recorder", handles())]
        pub(super) struct Impostor;
        impl Actor for Impostor {
            type Context = ClusterContext<Self>;
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let started =
        runtime.block_on(Node::builder().actor::<Recorder>().actor::<other::Impostor>().start());
    let error = started.expect_err("refused");
    assert!(matches!(error, actix_cluster::StartError::Collision(_)), "{error:?}");
}

#[test]
fn a_node_runs_on_threads_of_its_own_without_an_actix_system() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        assert!(actix_rt::System::try_current().is_none());
        let node = Node::builder().arbiters(ARBITERS).start().await.expect("a node");
        let targets: Vec<_> = (0..10).map(|_| recorder(&node)).collect();
        for target in &targets {
            for n in 0..100 {
                target.tell(Note(n)).await.expect("accepted");
            }
        }
        for target in &targets {
            let notes = target.ask(Notes).await.expect("answered");
            assert_eq!(notes, (0..100).collect::<Vec<_>>());
        }
        node.shutdown().await;
    });
}
