//! Mailboxes on one node: bounds, stash, selective pause, and what becomes of actors that fill each
//! other, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::{Future, poll_fn},
    num::NonZeroUsize,
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use actix_cluster::{
    EntitySettings, ExitReason, NodeBuilder, OrStash, Overflow, RejectReason, TellError,
    node::LocalThreads, prelude::*,
};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// Done when the gate is open.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.Job", version = 1)]
struct Job(u32);

/// As a job, with a reply that comes a millisecond later.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.SlowJob", version = 1)]
struct SlowJob(u32);

/// Done at once, unless it is paused.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.Chore", version = 1)]
struct Chore(u32);

/// Done at once, unless it is paused.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.Errand", version = 1)]
struct Errand(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.Do", version = 1)]
enum Do {
    Open,
    Close,
    LetOneIn,
    PauseChores,
    PauseErrands,
    ResumeChores,
    ResumeErrands,
    Panic,
    Stop,
    /// Keeps the mailbox waiting for so many milliseconds.
    Hold(u64),
    /// Opens, and resumes chores, after so many milliseconds.
    OpenLater(u64),
    SendJobByAddress(u32),
    PauseJobs,
    ResumeJobs,
    Passivate,
}

type Log = Arc<Mutex<Vec<u32>>>;

#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Gate",
    handles(Job, SlowJob, Chore, Errand, Do),
    placement = Eventual,
    state = volatile,
    mailbox = 6,
    stash = 4
)]
struct Gate {
    open: bool,
    done: Log,
}

impl Gate {
    fn done(&self, number: u32) -> u32 {
        self.done.lock().expect("a whole log").push(number);
        number
    }
}

impl Actor for Gate {
    type Context = ClusterContext<Self>;
}

impl Handler<Job> for Gate {
    type Result = OrStash<Job>;
    fn handle(&mut self, job: Job, _: &mut Self::Context) -> OrStash<Job> {
        if self.open { OrStash::reply(self.done(job.0)) } else { OrStash::Stash(job) }
    }
}

impl Handler<SlowJob> for Gate {
    type Result = OrStash<SlowJob, ResponseActFuture<Self, u32>>;
    fn handle(&mut self, job: SlowJob, ctx: &mut Self::Context) -> Self::Result {
        if !self.open {
            return OrStash::Stash(job);
        }
        let sleep = ctx.clock().sleep(Duration::from_millis(1)).into_actor(self);
        OrStash::Reply(Box::pin(sleep.map(move |(), gate, _| gate.done(job.0))))
    }
}

impl Handler<Chore> for Gate {
    type Result = u32;
    fn handle(&mut self, Chore(number): Chore, _: &mut Self::Context) -> u32 {
        self.done(number)
    }
}

impl Handler<Errand> for Gate {
    type Result = u32;
    fn handle(&mut self, Errand(number): Errand, _: &mut Self::Context) -> u32 {
        self.done(number)
    }
}

impl Handler<Do> for Gate {
    type Result = ();
    fn handle(&mut self, command: Do, ctx: &mut Self::Context) {
        match command {
            Do::Open => {
                self.open = true;
                ctx.unstash_all();
            }
            Do::Close => self.open = false,
            Do::LetOneIn => {
                self.open = true;
                ctx.unstash_one();
            }
            Do::PauseChores => ctx.pause::<Chore>(),
            Do::PauseErrands => ctx.pause::<Errand>(),
            Do::ResumeChores => ctx.resume::<Chore>(),
            Do::ResumeErrands => ctx.resume::<Errand>(),
            Do::Panic => panic!("on purpose"),
            Do::Stop => ctx.stop(),
            Do::Hold(ms) => {
                let sleep = ctx.clock().sleep(Duration::from_millis(ms));
                ctx.wait(sleep.into_actor(self));
            }
            Do::OpenLater(ms) => {
                ctx.run_later(Duration::from_millis(ms), |gate, ctx| {
                    gate.open = true;
                    ctx.unstash_all();
                    ctx.resume::<Chore>();
                });
            }
            Do::SendJobByAddress(number) => ctx.address().do_send(Job(number)),
            Do::PauseJobs => ctx.pause::<Job>(),
            Do::ResumeJobs => ctx.resume::<Job>(),
            Do::Passivate => ctx.passivate(),
        }
    }
}

/// Runs `test` on a node with one arbiter, in paused time.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    on_a_node_of(Node::builder().actor::<Gate>(), test);
}

fn on_a_node_of<F: Future<Output = ()>>(builder: NodeBuilder, test: impl FnOnce(Node) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let builder = builder.arbiters(NonZeroUsize::MIN).threads(LocalThreads).seed(1);
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
        assert_eq!(node.actor_count(), 0, "shutdown leaves no actor behind");
    });
}

/// A gate, and what it has done.
fn gate(node: &Node) -> (ActorRef<Gate>, Log) {
    let done = Log::default();
    let theirs = Arc::clone(&done);
    let gate = node.spawn(move |_| Gate { open: false, done: Arc::clone(&theirs) });
    (gate.start().expect("spawned"), done)
}

fn done(log: &Log) -> Vec<u32> {
    log.lock().expect("a whole log").clone()
}

/// Lets every task that is ready run, without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Tells a message, and lets it be handled.
async fn tell<M: actix_cluster::HandledBy<Gate>>(gate: &ActorRef<Gate>, msg: M) {
    gate.tell(msg).await.expect("room");
    settle().await;
}

#[test]
fn stashed_messages_come_back_in_order_before_everything_queued() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        for n in 1..=3 {
            tell(&gate, Job(n)).await;
        }
        assert!(done(&log).is_empty());
        gate.tell(Do::Open).await.expect("room");
        gate.tell(Job(4)).await.expect("room");
        gate.tell(Chore(5)).await.expect("room");
        settle().await;
        assert_eq!(done(&log), [1, 2, 3, 4, 5]);
        assert_eq!(node.dead_letters().total(), 0);
    });
}

/// A gate with room for one message, which asks for its own end while somebody waits for room.
async fn asked_to_end_while_one_waits(
    node: &Node,
) -> (ActorRef<Gate>, Log, Pin<Box<impl Future<Output = Result<(), TellError<Chore>>>>>) {
    let log = Log::default();
    let theirs = Arc::clone(&log);
    let gate = node.spawn(move |_| Gate { open: true, done: Arc::clone(&theirs) });
    let gate = gate.mailbox_capacity(1).start().expect("spawned");
    settle().await;
    gate.try_tell(Do::Passivate).expect("room");
    let mut waiting = Box::pin(gate.tell(Chore(1)));
    let first = poll_fn(|task| Poll::Ready(waiting.as_mut().poll(task))).await;
    assert!(first.is_pending(), "it is in the line before the gate has its turn");
    settle().await;
    assert_eq!(gate.exit_reason(), None, "somebody waits");
    (gate, log, waiting)
}

#[test]
fn one_that_asked_for_its_end_while_somebody_waits_ends_once_that_is_served() {
    on_a_node(|node| async move {
        let (gate, log, waiting) = asked_to_end_while_one_waits(&node).await;
        waiting.await.expect("room, in the end");
        settle().await;
        assert_eq!(done(&log), [1]);
        assert_eq!(gate.exit_reason(), Some(ExitReason::Passivated));
    });
}

#[test]
fn one_that_asked_for_its_end_while_somebody_waits_ends_once_that_gives_up() {
    on_a_node(|node| async move {
        let (gate, log, waiting) = asked_to_end_while_one_waits(&node).await;
        drop(waiting);
        settle().await;
        assert_eq!(done(&log), [0; 0]);
        assert_eq!(gate.exit_reason(), Some(ExitReason::Passivated));
    });
}

#[test]
fn one_stashed_message_comes_back_at_a_time() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        for n in 1..=3 {
            tell(&gate, Job(n)).await;
        }
        tell(&gate, Do::LetOneIn).await;
        assert_eq!(done(&log), [1]);
        tell(&gate, Do::LetOneIn).await;
        tell(&gate, Do::Open).await;
        assert_eq!(done(&log), [1, 2, 3]);
    });
}

#[test]
fn the_asker_of_a_stashed_message_waits_and_is_answered() {
    on_a_node(|node| async move {
        let (gate, _) = gate(&node);
        let job = tokio::task::spawn_local(gate.ask(Job(1)));
        let slow = tokio::task::spawn_local(gate.ask(SlowJob(2)));
        settle().await;
        tell(&gate, Do::OpenLater(1_000)).await;
        assert!(!job.is_finished());
        assert_eq!(job.await.expect("no panic").expect("answered"), 1);
        assert_eq!(slow.await.expect("no panic").expect("answered"), 2);
    });
}

#[test]
fn a_full_stash_rejects_what_comes_and_gives_it_back() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        for n in 1..=4 {
            tell(&gate, Job(n)).await;
        }
        match gate.ask(Job(5)).await {
            Err(AskError::Rejected { reason: RejectReason::Full, message: Job(5) }) => {}
            other => panic!("{other:?}"),
        }
        tell(&gate, Job(6)).await;
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 1);
        // The mailbox has room all the while.
        tell(&gate, Do::Open).await;
        assert_eq!(done(&log), [1, 2, 3, 4]);
    });
}

#[test]
fn what_is_stashed_is_rejected_and_given_back_when_its_actor_ends() {
    on_a_node(|node| async move {
        let (gate, _) = gate(&node);
        let asked = tokio::task::spawn_local(gate.ask(Job(1)));
        settle().await;
        tell(&gate, Job(2)).await;
        tell(&gate, Do::Stop).await;
        match asked.await.expect("no panic") {
            Err(AskError::Rejected { reason: RejectReason::Stopped, message: Job(1) }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(node.dead_letters().rejected(RejectReason::Stopped), 1);
        assert_eq!(gate.exit_reason(), Some(ExitReason::Stopped));
    });
}

#[test]
fn a_stashed_ask_that_expires_or_is_dropped_never_runs() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        match gate.ask(Job(1)).within(Duration::from_millis(100)).await {
            Err(AskError::Rejected { reason: RejectReason::Expired, message: Job(1) }) => {}
            other => panic!("{other:?}"),
        }
        let dropped = tokio::task::spawn_local(gate.ask(Job(2)));
        settle().await;
        dropped.abort();
        tell(&gate, Do::Open).await;
        assert!(done(&log).is_empty());
        assert_eq!(gate.ask(Job(3)).await.expect("answered"), 3);
    });
}

#[test]
fn a_restart_puts_what_was_set_aside_back_in_order() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        tell(&gate, Do::PauseChores).await;
        let asked = tokio::task::spawn_local(gate.ask(Job(1)));
        settle().await;
        tell(&gate, Job(2)).await;
        tell(&gate, Chore(10)).await;
        tell(&gate, Chore(11)).await;
        tell(&gate, Do::Panic).await;
        gate.tell(Chore(12)).await.expect("room");
        pass(100).await;
        // The fresh instance is closed, and has paused nothing.
        assert_eq!(done(&log), [10, 11, 12]);
        tell(&gate, Do::Open).await;
        assert_eq!(done(&log), [10, 11, 12, 1, 2]);
        assert_eq!(asked.await.expect("no panic").expect("answered"), 1);
        // The room of each was given back: as many as at first find some.
        gate.tell(Do::Hold(1_000)).await.expect("room");
        settle().await;
        for n in 20..26 {
            gate.try_tell(Chore(n)).expect("room");
        }
        assert_eq!(gate.try_tell(Chore(26)).expect_err("no room").reason, RejectReason::Full);
    });
}

#[test]
fn an_entity_with_messages_set_aside_is_not_passivated() {
    let mut settings = EntitySettings::default();
    settings.passivate_after = Duration::from_secs(1);
    let builder = Node::builder().entity_with(settings, |_| Gate::default());
    on_a_node_of(builder, |node| async move {
        let stashes = node.entity::<Gate>("stashes");
        let asked =
            tokio::task::spawn_local(stashes.ask(Job(7)).within(Duration::from_secs(3_600)));
        let holds = node.entity::<Gate>("holds");
        tell(&holds, Do::PauseChores).await;
        tell(&holds, Chore(1)).await;
        pass(60_000).await;
        assert_eq!(node.entity_count(), 2);
        tell(&holds, Do::ResumeChores).await;
        tell(&stashes, Do::Open).await;
        assert_eq!(asked.await.expect("no panic").expect("answered"), 7);
        pass(5_000).await;
        assert_eq!(node.entity_count(), 0);
    });
}

#[test]
fn a_passivation_that_was_asked_for_waits_for_what_is_set_aside() {
    on_a_node_of(Node::builder().entity(|_| Gate::default()), |node| async move {
        for key in ["stashes", "holds"] {
            let gate = node.entity::<Gate>(key);
            tell(&gate, Do::PauseChores).await;
            match key {
                "stashes" => tell(&gate, Job(1)).await,
                _ => tell(&gate, Chore(1)).await,
            }
            tell(&gate, Do::Passivate).await;
            settle().await;
            assert_eq!(node.entity_count(), 1, "{key}");
            match key {
                "stashes" => tell(&gate, Do::Open).await,
                _ => tell(&gate, Do::ResumeChores).await,
            }
            settle().await;
            assert_eq!(node.entity_count(), 0, "{key}");
        }
    });
}

#[test]
fn what_comes_by_an_actix_address_can_be_stashed_too() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        for n in 1..=5 {
            tell(&gate, Do::SendJobByAddress(n)).await;
        }
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 1, "the stash holds 4");
        tell(&gate, Do::Open).await;
        assert_eq!(done(&log), [1, 2, 3, 4]);
    });
}

#[test]
fn a_paused_type_is_held_back_in_order_while_others_go_on() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        tell(&gate, Do::PauseChores).await;
        let asked = tokio::task::spawn_local(gate.ask(Chore(1)));
        settle().await;
        tell(&gate, Errand(10)).await;
        tell(&gate, Chore(2)).await;
        tell(&gate, Errand(11)).await;
        assert_eq!(done(&log), [10, 11]);
        gate.tell(Do::ResumeChores).await.expect("room");
        gate.tell(Errand(12)).await.expect("room");
        settle().await;
        assert_eq!(done(&log), [10, 11, 1, 2, 12], "before everything queued");
        assert_eq!(asked.await.expect("no panic").expect("answered"), 1);
    });
}

#[test]
fn a_stashed_message_that_comes_back_in_a_pause_stays_before_those_held_back() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        tell(&gate, Job(1)).await;
        tell(&gate, Do::PauseJobs).await;
        tell(&gate, Job(2)).await;
        tell(&gate, Do::Open).await;
        tell(&gate, Chore(3)).await;
        settle().await;
        assert_eq!(done(&log), [3]);
        tell(&gate, Do::ResumeJobs).await;
        settle().await;
        assert_eq!(done(&log), [3, 1, 2]);
    });
}

#[test]
fn a_type_that_stays_paused_is_held_back_when_another_is_resumed() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        tell(&gate, Do::PauseChores).await;
        tell(&gate, Do::PauseErrands).await;
        for msg in [1, 2] {
            tell(&gate, Chore(msg)).await;
            tell(&gate, Errand(msg + 10)).await;
        }
        tell(&gate, Do::ResumeErrands).await;
        assert_eq!(done(&log), [11, 12]);
        tell(&gate, Do::ResumeChores).await;
        assert_eq!(done(&log), [11, 12, 1, 2]);
    });
}

#[test]
fn what_is_held_back_uses_up_the_capacity_and_makes_senders_wait() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        tell(&gate, Do::OpenLater(1_000)).await;
        tell(&gate, Do::PauseChores).await;
        for n in 1..=6 {
            tell(&gate, Chore(n)).await;
        }
        let refused = gate.try_tell(Errand(7)).expect_err("no room");
        assert_eq!(refused.reason, RejectReason::Full);
        gate.tell(Errand(8)).await.expect("room, once the pause is over");
        settle().await;
        assert_eq!(done(&log), [1, 2, 3, 4, 5, 6, 8]);
    });
}

#[test]
fn what_is_held_back_is_rejected_when_its_actor_ends() {
    on_a_node(|node| async move {
        let (gate, log) = gate(&node);
        tell(&gate, Do::PauseChores).await;
        let asked = tokio::task::spawn_local(gate.ask(Chore(1)));
        settle().await;
        gate.stop();
        match asked.await.expect("no panic") {
            Err(AskError::Rejected { reason: RejectReason::Stopped, message: Chore(1) }) => {}
            other => panic!("{other:?}"),
        }
        assert!(done(&log).is_empty());
    });
}

#[test]
fn a_mailbox_that_drops_the_oldest_holds_no_more_back_than_its_capacity() {
    on_a_node(|node| async move {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let gate = node.spawn(move |_| Gate { open: false, done: Arc::clone(&theirs) });
        let gate =
            gate.mailbox_capacity(2).overflow(Overflow::DropOldest).start().expect("spawned");
        tell(&gate, Do::PauseChores).await;
        for n in 1..=5 {
            tell(&gate, Chore(n)).await;
        }
        assert_eq!(node.dead_letters().rejected(RejectReason::Displaced), 3);
        tell(&gate, Do::ResumeChores).await;
        assert_eq!(done(&log), [4, 5]);
    });
}

/// How many chores find room while the gate waits for something else.
async fn room(gate: &ActorRef<Gate>) -> usize {
    tell(gate, Do::Hold(60_000)).await;
    (0..100).take_while(|n| gate.try_tell(Chore(*n)).is_ok()).count()
}

#[test]
fn a_mailbox_is_bounded_as_its_type_states_unless_its_start_says_otherwise() {
    let mut settings = EntitySettings::default();
    settings.mailbox_capacity = Some(4);
    let builder = Node::builder().entity_with(settings, |_| Gate::default());
    on_a_node_of(builder, |node| async move {
        assert_eq!(Gate::OVERFLOW, Overflow::Wait);
        let (stated, _) = gate(&node);
        assert_eq!(room(&stated).await, 6);
        let said = node.spawn(|_| Gate::default()).mailbox_capacity(3).start().expect("spawned");
        assert_eq!(room(&said).await, 3);
        let tree = node.spawn_supervisor().start().expect("spawned");
        let child = tree.spawn(|_| Gate::default()).start().expect("spawned");
        assert_eq!(room(&child).await, 6);
        assert_eq!(room(&node.entity("said")).await, 4);
    });
}

#[test]
fn an_entity_type_is_bounded_as_it_states() {
    let builder = Node::builder().entity(|_| Gate::default());
    on_a_node_of(builder, |node| async move {
        assert_eq!(room(&node.entity("stated")).await, 6);
    });
}

/// Sends ten pushes to its peer, until one is refused, and handles nothing meanwhile.
#[derive(RemoteActor)]
#[remote(name = "test.Pusher", handles(Push, Begin), mailbox = 2)]
struct Pusher {
    refused: Arc<Mutex<Vec<(RejectReason, u32)>>>,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Push", version = 1)]
struct Push(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Begin", version = 1)]
struct Begin(ActorRef<Pusher>);

impl Actor for Pusher {
    type Context = ClusterContext<Self>;
}

impl Handler<Push> for Pusher {
    type Result = ();
    fn handle(&mut self, _: Push, _: &mut Self::Context) {}
}

impl Handler<Begin> for Pusher {
    type Result = ();
    fn handle(&mut self, Begin(peer): Begin, ctx: &mut Self::Context) {
        let refused = Arc::clone(&self.refused);
        let push = async move {
            for n in 0..10 {
                if let Err(full) = peer.tell(Push(n)).await {
                    refused.lock().expect("whole").push((full.reason, full.message.0));
                    return;
                }
            }
        };
        ctx.wait(push.into_actor(self));
    }
}

/// What was given back, and why.
type Refused = Arc<Mutex<Vec<(RejectReason, u32)>>>;

fn pushers(node: &Node, count: usize) -> (Vec<ActorRef<Pusher>>, Refused) {
    let refused = Refused::default();
    let spawn = |_| {
        let refused = Arc::clone(&refused);
        node.spawn(move |_| Pusher { refused: Arc::clone(&refused) }).start().expect("spawned")
    };
    ((0..count).map(spawn).collect(), refused)
}

#[test]
fn two_actors_that_fill_each_other_end_in_a_typed_error() {
    on_a_node(|node| async move {
        let (pushers, refused) = pushers(&node, 2);
        pushers[0].tell(Begin(pushers[1].clone())).await.expect("room");
        pushers[1].tell(Begin(pushers[0].clone())).await.expect("room");
        pass(4_900).await;
        assert!(refused.lock().expect("whole").is_empty(), "both wait");
        pass(200).await;
        // Who is refused goes on, and makes room for the other, unless that one's time is over too.
        let refused = refused.lock().expect("whole").clone();
        assert!(!refused.is_empty() && refused.iter().all(|end| *end == (RejectReason::Full, 2)));
        for pusher in &pushers {
            pusher.ask(Push(0)).await.expect("it goes on");
        }
    });
}

#[test]
fn an_actor_that_fills_itself_ends_in_a_typed_error() {
    on_a_node(|node| async move {
        let (pushers, refused) = pushers(&node, 1);
        pushers[0].tell(Begin(pushers[0].clone())).await.expect("room");
        pass(5_100).await;
        assert_eq!(*refused.lock().expect("whole"), [(RejectReason::Full, 2)]);
        pushers[0].ask(Push(0)).await.expect("it goes on");
    });
}

/// Keeps its arbiter busy in one way, and writes down whose turn it is.
#[derive(RemoteActor)]
#[remote(name = "test.Busy", handles(Spin))]
struct Busy {
    number: u32,
    turns: Log,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.Spin", version = 1)]
enum Spin {
    /// With messages to itself.
    Messages,
    /// With a future that is always ready to go on.
    Future,
    /// With futures that it waits for, one after the other.
    Waits,
    /// With messages to its own actix address.
    Inlet,
    /// With messages that let each other out of the stash, and are stashed again.
    Stash,
    /// With messages of a type that is paused, and resumed at once.
    Pause,
}

const SPINS: usize = 10_000;

/// Writes a turn down; whether there are to be more.
fn spin(number: u32, turns: &Log) -> bool {
    let mut turns = turns.lock().expect("whole");
    turns.push(number);
    turns.len() < SPINS
}

impl Busy {
    fn spin(&self) -> bool {
        spin(self.number, &self.turns)
    }

    fn wait_again(&self, ctx: &mut ClusterContext<Self>) {
        let next = async {}.into_actor(self);
        ctx.wait(next.map(|(), busy: &mut Self, ctx: &mut ClusterContext<Self>| {
            if busy.spin() {
                busy.wait_again(ctx);
            }
        }));
    }
}

impl Actor for Busy {
    type Context = ClusterContext<Self>;
}

impl Handler<Spin> for Busy {
    type Result = OrStash<Spin>;
    fn handle(&mut self, how: Spin, ctx: &mut Self::Context) -> OrStash<Spin> {
        if !self.spin() {
            return OrStash::reply(());
        }
        match how {
            Spin::Messages => ctx.actor_ref().try_tell(how).expect("room"),
            Spin::Inlet => ctx.address().do_send(how),
            Spin::Waits => self.wait_again(ctx),
            Spin::Future => {
                let (number, turns) = (self.number, Arc::clone(&self.turns));
                let again = std::future::poll_fn(move |task| {
                    task.waker().wake_by_ref();
                    if spin(number, &turns) { Poll::Pending } else { Poll::Ready(()) }
                });
                ctx.spawn(again.into_actor(self));
            }
            Spin::Stash => {
                ctx.unstash_all();
                return OrStash::Stash(how);
            }
            Spin::Pause => {
                ctx.actor_ref().try_tell(how).expect("room");
                ctx.pause::<Spin>();
                ctx.resume::<Spin>();
            }
        }
        OrStash::reply(())
    }
}

/// How many turns one of two busy actors has at most, while the other waits for its own.
fn longest_run(first: Spin, second: Spin) -> usize {
    let turns = Log::default();
    let theirs = Arc::clone(&turns);
    on_a_node(|node| async move {
        let busy = [first, second].map(|how| {
            let number = if matches!(how, Spin::Messages) { 0 } else { 1 };
            let turns = Arc::clone(&theirs);
            let factory = move |_: &mut _| Busy { number, turns: Arc::clone(&turns) };
            (node.spawn(factory).start().expect("spawned"), how)
        });
        settle().await;
        for (busy, how) in &busy {
            busy.try_tell(*how).expect("room");
            busy.try_tell(*how).expect("room");
        }
        while theirs.lock().expect("whole").len() < SPINS {
            tokio::task::yield_now().await;
        }
        busy.iter().for_each(|(busy, _)| busy.stop());
    });
    let turns = done(&turns);
    turns[..SPINS].chunk_by(|one, next| one == next).map(<[u32]>::len).max().expect("turns")
}

#[test]
fn a_busy_actor_leaves_its_arbiter_to_others_whatever_it_is_busy_with() {
    use Spin::{Future, Inlet, Messages, Pause, Stash, Waits};
    for how in [Future, Waits, Inlet, Stash, Pause] {
        let longest = longest_run(Messages, how);
        assert!(longest <= 64, "{how:?}: {longest} turns in a row");
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Job,
    Chore,
    Errand,
    Command(Do),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let commands = [
        Do::Open,
        Do::Close,
        Do::PauseChores,
        Do::PauseErrands,
        Do::ResumeChores,
        Do::ResumeErrands,
        Do::Panic,
    ];
    prop_oneof![
        4 => Just(Op::Job),
        3 => Just(Op::Chore),
        3 => Just(Op::Errand),
        4 => prop::sample::select(commands.to_vec()).prop_map(Op::Command),
        1 => (0u64..50).prop_map(Op::Pass),
    ]
}

/// Asks in a task of its own; an error says that the message did not run, and why.
fn ask<M>(gate: &ActorRef<Gate>, msg: M) -> tokio::task::JoinHandle<Result<u32, RejectReason>>
where
    M: actix_cluster::HandledBy<Gate, Reply = u32> + std::fmt::Debug,
{
    let asked = gate.ask(msg).within(Duration::from_secs(3_600));
    tokio::task::spawn_local(async move {
        asked.await.map_err(|error| match error {
            AskError::Rejected { reason, .. } => reason,
            other => panic!("{other:?}"),
        })
    })
}

/// Whether the numbers that are `kind` modulo 3 come in order.
fn is_in_order(numbers: &[u32], kind: u32) -> bool {
    let of_kind: Vec<_> = numbers.iter().filter(|number| **number % 3 == kind).collect();
    of_kind.is_sorted()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn whatever_is_set_aside_each_message_ends_once_and_in_the_order_of_its_type(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let outcome = Arc::new(Mutex::new((Vec::new(), Vec::new(), Vec::new())));
        let result = Arc::clone(&outcome);
        on_a_node(|node| async move {
            let (gate, log) = gate(&node);
            let mut asked = Vec::new();
            for op in ops {
                let number = asked.len() as u32 * 3;
                match op {
                    Op::Job => asked.push(ask(&gate, Job(number))),
                    Op::Chore => asked.push(ask(&gate, Chore(number + 1))),
                    Op::Errand => asked.push(ask(&gate, Errand(number + 2))),
                    Op::Command(command) => {
                        let _full = gate.try_tell(command);
                    }
                    Op::Pass(millis) => pass(millis).await,
                }
            }
            pass(60_000).await;
            gate.stop();
            settle().await;
            let (mut answered, mut rejected) = (Vec::new(), Vec::new());
            for (number, asked) in (0..).zip(asked) {
                match asked.await.expect("no panic") {
                    Ok(done) => answered.push(done),
                    Err(reason) => rejected.push((number, reason)),
                }
            }
            assert!(gate.exit_reason().is_some(), "a stop comes through whatever is set aside");
            *result.lock().expect("whole") = (done(&log), answered, rejected);
        });
        let (done, mut answered, rejected) = outcome.lock().expect("whole").clone();
        for kind in 0..3 {
            prop_assert!(is_in_order(&done, kind), "{kind}: {done:?}");
        }
        let mut all = done.clone();
        all.sort_unstable();
        answered.sort_unstable();
        prop_assert_eq!(&all, &answered, "what is done is answered, once");
        for (number, reason) in rejected {
            prop_assert!(!done.iter().any(|done| done / 3 == number), "{number} ran: {reason}");
        }
    }
}
