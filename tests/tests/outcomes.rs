//! Every way in which a message to another node can end, and that it ends so once.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::time::Duration;

use actix_cluster::{
    NodeBuilder, NodeId, RejectReason, RestartPolicy, UnknownReason, prelude::*,
    transport::simulation::Link,
};
use actix_cluster_tests::{SimulatedNode, World, ip, pause, simulate, until};
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "Result<u32, String>")]
#[remote(name = "test.Half", version = 1)]
struct Half(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.Sleep", version = 1)]
struct Sleep {
    millis: u64,
    /// Whether other messages wait.
    alone: bool,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.Forget", version = 1)]
struct Forget;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.Panic", version = 1)]
struct Panic;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Stop", version = 1)]
struct Stop;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<u8>")]
#[remote(name = "test.Bytes", version = 1)]
struct Bytes {
    sent: Vec<u8>,
    wanted: usize,
}

/// Answers with a reference to the worker that was asked.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "ActorRef<Worker>")]
#[remote(name = "test.Who", version = 1)]
struct Who;

#[derive(RemoteActor, Default)]
#[remote(name = "test.Worker", handles(Half, Sleep, Forget, Panic, Stop, Bytes, Who))]
struct Worker;

impl Actor for Worker {
    type Context = ClusterContext<Self>;
}

impl Handler<Half> for Worker {
    type Result = Result<u32, String>;
    fn handle(&mut self, Half(n): Half, _: &mut Self::Context) -> Result<u32, String> {
        if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }
}

impl Handler<Sleep> for Worker {
    type Result = ResponseActFuture<Self, u32>;
    fn handle(&mut self, sleep: Sleep, ctx: &mut Self::Context) -> Self::Result {
        let timer = ctx.clock().sleep(Duration::from_millis(sleep.millis));
        if sleep.alone {
            let timer = ctx.clock().sleep(Duration::from_millis(sleep.millis));
            ctx.wait(timer.into_actor(self));
        }
        Box::pin(timer.into_actor(self).map(|(), _, _| 7))
    }
}

impl Handler<Forget> for Worker {
    type Result = ResponseFuture<u32>;
    fn handle(&mut self, _: Forget, ctx: &mut Self::Context) -> Self::Result {
        ctx.stop();
        Box::pin(std::future::pending())
    }
}

impl Handler<Panic> for Worker {
    type Result = u32;
    fn handle(&mut self, _: Panic, _: &mut Self::Context) -> u32 {
        panic!("on purpose");
    }
}

impl Handler<Stop> for Worker {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Bytes> for Worker {
    type Result = Vec<u8>;
    fn handle(&mut self, bytes: Bytes, _: &mut Self::Context) -> Vec<u8> {
        vec![bytes.sent.len() as u8; bytes.wanted]
    }
}

impl Handler<Who> for Worker {
    type Result = MessageResult<Who>;
    fn handle(&mut self, _: Who, ctx: &mut Self::Context) -> MessageResult<Who> {
        MessageResult(ctx.actor_ref())
    }
}

/// Gives references to workers of its node.
#[derive(RemoteActor)]
#[remote(name = "test.Office", handles(Hire), placement = Eventual, state = volatile)]
struct Office;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "ActorRef<Worker>")]
#[remote(name = "test.Hire", version = 1)]
struct Hire;

impl Actor for Office {
    type Context = ClusterContext<Self>;
}

impl Handler<Hire> for Office {
    type Result = MessageResult<Hire>;
    fn handle(&mut self, _: Hire, ctx: &mut Self::Context) -> MessageResult<Hire> {
        let policy = RestartPolicy { limit: 1, ..RestartPolicy::default() };
        let worker = ctx.node().spawn(|_| Worker).mailbox_capacity(1).supervise(policy);
        MessageResult(worker.start().expect("it starts"))
    }
}

fn office(builder: NodeBuilder) -> NodeBuilder {
    builder.entity(|_| Office).actor::<Worker>()
}

/// Two nodes, and a worker of the second as the first one knows it.
async fn pair(world: &World) -> (SimulatedNode, SimulatedNode, ActorRef<Worker>) {
    let (a, b) = tokio::join!(world.start(1, office), world.start(2, office));
    a.sees(2).await;
    b.sees(2).await;
    let worker = hire(&a, &b).await;
    (a, b, worker)
}

/// A worker of `there`.
async fn hire(here: &SimulatedNode, there: &SimulatedNode) -> ActorRef<Worker> {
    let key = (0..)
        .map(|n| format!("office-{n}"))
        .find(|key| here.node.owner_of::<Office>(key).as_ref() == Some(&there.node.id()))
        .expect("some key is owned there");
    let worker = here.node.entity::<Office>(&key).ask(Hire).await.expect("it hires");
    assert_eq!(worker.node_id(), Some(&there.node.id()));
    worker
}

fn rejected<M: RemoteMessage>(outcome: Result<M::Reply, AskError<M>>) -> (RejectReason, M) {
    match outcome {
        Err(AskError::Rejected { reason, message }) => (reason, message),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was answered"),
    }
}

fn unknown<M: RemoteMessage>(outcome: Result<M::Reply, AskError<M>>) -> UnknownReason {
    match outcome {
        Err(AskError::Unknown(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[test]
fn a_remote_ask_answers_with_the_reply_or_the_handlers_own_error() {
    simulate(async {
        let (_a, _b, worker) = pair(&World::new(1)).await;
        assert_eq!(worker.ask(Half(8)).await.expect("even"), 4);
        let odd = worker.ask(Half(3)).await;
        assert!(matches!(&odd, Err(AskError::Handler(error)) if error == "3 is odd"), "{odd:?}");
        assert_eq!(worker.ask(Sleep { millis: 50, alone: false }).await.expect("later"), 7);
    });
}

#[test]
fn a_reference_in_a_reply_is_to_the_same_actor() {
    simulate(async {
        let (a, b, worker) = pair(&World::new(2)).await;
        let again = worker.ask(Who).await.expect("it answers");
        assert!(again == worker);
        assert_eq!(format!("{again:?}"), format!("{worker:?}"));
        let mine = hire(&b, &a).await.ask(Who).await.expect("it answers");
        assert_eq!(mine.node_id(), Some(&a.node.id()));
    });
}

#[test]
fn a_message_to_a_stopped_actor_is_rejected_and_given_back() {
    simulate(async {
        let (a, _b, worker) = pair(&World::new(3)).await;
        worker.ask(Stop).await.expect("it stops");
        let (reason, Half(given_back)) = rejected(worker.ask(Half(6)).await);
        assert_eq!((reason, given_back), (RejectReason::NoSuchActor, 6));
        worker.tell(Half(6)).await.expect("the session takes it");
        let counts = || a.node.dead_letters().rejected(RejectReason::NoSuchActor);
        until("the rejection is counted at its sender", || counts() == 1).await;
        assert_eq!(a.node.dead_letters().total(), 1);
    });
}

#[test]
fn what_waits_for_an_actor_that_stops_is_rejected() {
    simulate(async {
        let (_a, _b, worker) = pair(&World::new(4)).await;
        let busy = worker.ask(Sleep { millis: 500, alone: true });
        let (stop, behind) = (worker.ask(Stop), worker.ask(Half(6)));
        let (busy, stop, behind) = tokio::join!(busy, stop, behind);
        assert_eq!(busy.expect("it was first"), 7);
        stop.expect("it stops");
        assert_eq!(rejected(behind).0, RejectReason::Stopped);
    });
}

#[test]
fn a_turn_that_panics_ends_unknown_and_so_does_the_reply_it_owed() {
    simulate(async {
        let (a, _b, worker) = pair(&World::new(5)).await;
        let owed = worker.ask(Sleep { millis: 60_000, alone: false });
        let (owed, panicked) = tokio::join!(owed, worker.ask(Panic));
        assert_eq!(unknown(panicked), UnknownReason::Panicked);
        assert_eq!(unknown(owed), UnknownReason::Panicked);
        worker.tell(Panic).await.expect("the session takes it");
        let counts = || a.node.dead_letters().unknown(UnknownReason::Panicked);
        until("the tell is counted at its sender", || counts() == 1).await;
        pause(5_000).await;
        // Two panics are one more than its supervisor allows.
        assert_eq!(rejected(worker.ask(Half(2)).await).0, RejectReason::NoSuchActor);
    });
}

#[test]
fn a_reply_that_is_dropped_ends_unknown() {
    simulate(async {
        let (_a, _b, worker) = pair(&World::new(6)).await;
        assert_eq!(unknown(worker.ask(Forget).await), UnknownReason::NoReply);
    });
}

#[test]
fn a_deadline_ends_an_ask_as_unknown_and_what_has_not_begun_never_runs() {
    simulate(async {
        let (_a, _b, worker) = pair(&World::new(7)).await;
        let busy = worker.ask(Sleep { millis: 1_000, alone: true }).within(secs(30));
        let expired = worker.ask(Stop).within(Duration::from_millis(200));
        let (busy, expired) = tokio::join!(busy, expired);
        assert_eq!(unknown(expired), UnknownReason::Deadline);
        busy.expect("it answers");
        assert_eq!(worker.ask(Half(2)).await.expect("it was never stopped"), 1);
    });
}

#[test]
fn an_actor_of_an_incarnation_that_is_over_is_not_found() {
    simulate(async {
        let world = World::new(8);
        let (a, b, worker) = pair(&world).await;
        b.kill().await;
        let again = world.start(2, office).await;
        assert_eq!(again.node.id(), NodeId { name: "n2".into(), incarnation: 2 });
        a.node.view_after(u64::MAX).await;
        again.sees(2).await;
        until("the old incarnation is gone", || {
            a.node.view().expect("a cluster").contains(&again.node.id())
        })
        .await;
        hire(&a, &again).await;
        assert_eq!(rejected(worker.ask(Half(2)).await).0, RejectReason::NoSuchActor);
    });
}

#[test]
fn a_node_that_is_gone_is_unreachable() {
    simulate(async {
        let (a, b, worker) = pair(&World::new(9)).await;
        b.node.shutdown().await;
        a.sees(1).await;
        pause(15_000).await;
        assert_eq!(rejected(worker.ask(Half(2)).await).0, RejectReason::Unreachable);
        let tell = worker.try_tell(Half(2)).expect_err("nobody is there");
        assert_eq!(tell.reason, RejectReason::Unreachable);
    });
}

#[test]
fn a_message_beyond_the_limit_is_unsendable_and_such_a_reply_is_unknown() {
    simulate(async {
        let (_a, _b, worker) = pair(&World::new(10)).await;
        let large = 64 * 1024 * 1024 + 1;
        let too_long = Bytes { sent: vec![1; large], wanted: 1 };
        let (reason, back) = rejected(worker.ask(too_long).await);
        assert_eq!((reason, back.sent.len()), (RejectReason::Unsendable, large));
        let reply = worker.ask(Bytes { sent: Vec::new(), wanted: large }).within(secs(60)).await;
        assert_eq!(unknown(reply), UnknownReason::BadReply);
        let fits = Bytes { sent: vec![1; 1024 * 1024], wanted: 3 };
        assert_eq!(worker.ask(fits).within(secs(60)).await.expect("it fits").len(), 3);
    });
}

#[test]
fn a_full_mailbox_pauses_its_senders_on_other_nodes_and_no_others() {
    simulate(async {
        let (a, b, worker) = pair(&World::new(12)).await;
        let other = hire(&a, &b).await;
        let busy = worker.clone();
        let busy = tokio::task::spawn_local(async move {
            busy.ask(Sleep { millis: 3_000, alone: true }).within(secs(30)).await
        });
        pause(100).await;
        // Room for one, and so the second is one too many.
        worker.try_tell(Half(2)).expect("taken");
        worker.try_tell(Half(2)).expect("taken");
        pause(100).await;
        let refused = worker.try_tell(Half(2)).expect_err("paused");
        assert_eq!(refused.reason, RejectReason::Full, "long before its share of the budget");
        assert_eq!(other.ask(Half(6)).await.expect("it is free"), 3);
        let waiting = worker.tell(Half(4)).within(secs(30));
        waiting.await.expect("it is resumed once there is room");
        assert_eq!(worker.ask(Half(8)).await.expect("it goes on"), 4);
        assert_eq!(busy.await.expect("no panic").expect("answered"), 7);
        for node in [&a, &b] {
            assert_eq!(node.node.dead_letters().total(), 0);
        }
    });
}

#[test]
fn a_full_target_on_another_node_makes_its_sender_wait_and_then_gives_back() {
    simulate(async {
        let (_a, _b, worker) = pair(&World::new(11)).await;
        let busy = worker.clone();
        let busy = tokio::task::spawn_local(async move {
            busy.ask(Sleep { millis: 20_000, alone: true }).within(secs(30)).await
        });
        pause(1_000).await;
        let mut taken = 0;
        let refused = loop {
            match worker.tell(Half(taken)).within(Duration::from_millis(100)).await {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!((refused.reason, refused.message.0), (RejectReason::Full, taken));
        assert_eq!(taken, 1_023, "the bound of a target, less the one that is handled");
        let tried = worker.try_tell(Half(0)).expect_err("there is no room");
        assert_eq!(tried.reason, RejectReason::Full);
        let waits = worker.tell(Half(2)).within(secs(60));
        let (waits, busy) = tokio::join!(waits, busy);
        waits.expect("room comes once the target goes on");
        busy.expect("it ends").expect("it answers");
    });
}

#[test]
fn a_message_for_an_unregistered_type_is_a_mismatch() {
    simulate(async {
        let world = World::new(12);
        let without = |builder: NodeBuilder| builder.entity(|_| Office);
        let (a, b) = tokio::join!(world.start(1, office), world.start(2, without));
        a.sees(2).await;
        b.sees(2).await;
        let worker = hire(&a, &b).await;
        assert_eq!(rejected(worker.ask(Half(2)).await).0, RejectReason::Mismatch);
    });
}

/// One name and version with two shapes, as two releases of a careless program have it.
macro_rules! shape {
    ($module:ident, $number:ty) => {
        mod $module {
            use actix_cluster::prelude::*;
            use serde::{Deserialize, Serialize};

            #[derive(Message, RemoteMessage, Serialize, Deserialize)]
            #[rtype(result = "u64")]
            #[remote(name = "test.Shaped", version = 1)]
            pub(crate) struct Shaped(pub(crate) $number);

            #[derive(RemoteActor)]
            #[remote(name = "t.Shape", handles(Shaped), placement = Eventual, state = volatile)]
            pub(crate) struct Shape;

            impl Actor for Shape {
                type Context = ClusterContext<Self>;
            }

            impl Handler<Shaped> for Shape {
                type Result = u64;
                fn handle(&mut self, Shaped(number): Shaped, _: &mut Self::Context) -> u64 {
                    u64::from(number)
                }
            }
        }
    };
}

shape!(before, u32);
shape!(after, u64);

#[test]
fn a_message_of_two_shapes_is_refused_and_nothing_else() {
    simulate(async {
        let world = World::new(15);
        let (a, b) = tokio::join!(
            world.start(1, |builder| office(builder.entity(|_| before::Shape))),
            world.start(2, |builder| office(builder.entity(|_| after::Shape))),
        );
        a.sees(2).await;
        b.sees(2).await;
        let (mut at_home, mut refused) = (0, 0);
        for key in (0..40).map(|n| format!("shape-{n}")) {
            match a.node.entity::<before::Shape>(&key).ask(before::Shaped(7)).await {
                Ok(number) => at_home += number / 7,
                asked => {
                    let (reason, before::Shaped(given_back)) = rejected(asked);
                    assert_eq!((reason, given_back), (RejectReason::Mismatch, 7));
                    refused += 1;
                }
            }
        }
        assert!(at_home > 0 && refused > 0, "{at_home} at home, {refused} refused");
        let worker = hire(&a, &b).await;
        assert_eq!(worker.ask(Half(8)).await.expect("this one has one shape"), 4);
    });
}

#[test]
fn an_ask_that_is_dropped_leaves_nothing_behind() {
    simulate(async {
        let world = World::new(13);
        let (_a, _b, worker) = pair(&world).await;
        for _ in 0..3_000 {
            let ask = worker.ask(Half(2)).within(Duration::from_micros(1));
            assert!(ask.await.is_err(), "there is no answer within a microsecond");
        }
        assert_eq!(worker.ask(Half(2)).await.expect("it answers"), 1);
    });
}

#[test]
fn what_a_broken_connection_carried_is_neither_lost_nor_repeated() {
    simulate(async {
        let world = World::new(14);
        world.network.set_link(Link { loss: 0.01, ..Link::default() });
        let (_a, _b, worker) = pair(&world).await;
        for round in 0..3 {
            world.network.partition(ip(1), ip(2));
            let asks: Vec<_> = (0..50)
                .map(|n| {
                    let worker = worker.clone();
                    tokio::task::spawn_local(async move {
                        worker.ask(Half(n * 2)).within(secs(60)).await
                    })
                })
                .collect();
            pause(800).await;
            world.network.heal(ip(1), ip(2));
            for (n, ask) in (0..).zip(asks) {
                assert_eq!(ask.await.expect("it ends").expect("it answers"), n, "round {round}");
            }
            // Cut after cut, each would take the other for dead.
            pause(3_000).await;
        }
    });
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
