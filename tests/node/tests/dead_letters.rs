//! Dead letters and poison messages on one node, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{future::Future, num::NonZeroUsize, time::Duration};

use actix_cluster::{
    DeadLetter, DeadLetterOutcome, DeadLetterSubscription, DeadLetterTarget, EntitySettings,
    NodeBuilder, RejectReason, RestartPolicy, UnknownReason, node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note;

/// Panics there.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Fuse", version = 1)]
struct Fuse(Place);

/// Panics too, by another name.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Match", version = 1)]
struct Match;

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum Place {
    Turn,
    Future,
    FutureOfFuture,
    Waited,
}

#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Fragile",
    handles(Note, Fuse, Match),
    placement = Eventual,
    state = volatile
)]
struct Fragile;

impl Actor for Fragile {
    type Context = ClusterContext<Self>;
}

impl Handler<Note> for Fragile {
    type Result = ();
    fn handle(&mut self, _: Note, _: &mut Self::Context) {}
}

impl Handler<Match> for Fragile {
    type Result = ();
    fn handle(&mut self, _: Match, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

impl Handler<Fuse> for Fragile {
    type Result = ();
    fn handle(&mut self, Fuse(place): Fuse, ctx: &mut Self::Context) {
        match place {
            Place::Turn => panic!("on purpose"),
            Place::Future => {
                ctx.spawn(async {}.into_actor(self).map(|(), _, _| panic!("on purpose")));
            }
            Place::FutureOfFuture => {
                ctx.run_later(Duration::from_millis(1), |_, ctx| {
                    ctx.run_later(Duration::from_millis(1), |_, _| panic!("on purpose"));
                });
            }
            Place::Waited => {
                ctx.wait(async {}.into_actor(self).map(|(), _, _| panic!("on purpose")));
            }
        }
    }
}

/// Runs `test` on a node of its own, in paused time, with a subscription from the start.
fn on_a_node<F: Future<Output = ()>>(
    builder: NodeBuilder,
    test: impl FnOnce(Node, DeadLetterSubscription) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let arbiters = NonZeroUsize::new(2).expect("not zero");
        let builder = builder.arbiters(arbiters).threads(LocalThreads).seed(1);
        let node = builder.start().await.expect("a node");
        let letters = node.subscribe_dead_letters();
        test(node.clone(), letters).await;
        node.shutdown().await;
    });
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn spawned(node: &Node) -> ActorRef<Fragile> {
    node.spawn(|_| Fragile).start().expect("spawned")
}

fn taken(letters: &mut DeadLetterSubscription) -> Vec<DeadLetter> {
    std::iter::from_fn(|| letters.try_next()).collect()
}

/// How often in a row each letter says that it was.
fn poison(letters: &mut DeadLetterSubscription) -> Vec<Option<u32>> {
    taken(letters).iter().map(|letter| letter.poison).collect()
}

#[test]
fn a_letter_names_actor_target_message_outcome_and_sender() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let target = spawned(&node);
        target.tell(Note).await.expect("accepted");
        target.stop();
        pass(1).await;
        let letter = letters.try_next().expect("one letter");
        assert_eq!((letter.actor, letter.message), (Some("test.Fragile"), Some("test.Note")));
        let id = target.id().expect("an actor");
        let at_home = DeadLetterTarget::Actor { node: node.id().clone(), id };
        assert_eq!(letter.target, Some(at_home));
        assert_eq!(letter.outcome, DeadLetterOutcome::Rejected(RejectReason::Stopped));
        assert_eq!((letter.sender.as_ref(), letter.poison), (Some(&node.id()), None));
        let text = format!("test.Note to test.Fragile {id}@{} rejected: stopped", node.id());
        assert_eq!(letter.to_string(), text);
        assert_eq!(letters.try_next(), None);
    });
}

#[test]
fn a_letter_to_an_entity_names_its_key_and_shard() {
    let mut settings = EntitySettings::default();
    settings.restart = RestartPolicy::never();
    let builder = Node::builder().entity_with(settings, |_| Fragile);
    on_a_node(builder, |node, mut letters| async move {
        let target = node.entity::<Fragile>("shelf");
        target.tell(Fuse(Place::Turn)).await.expect("accepted");
        target.tell(Note).await.expect("accepted");
        pass(1).await;
        let shelf = DeadLetterTarget::Entity {
            key: Some("shelf".into()),
            shard: node.shard_of::<Fragile>("shelf"),
        };
        let outcomes = taken(&mut letters).into_iter().map(|letter| {
            assert_eq!(letter.target.as_ref(), Some(&shelf));
            (letter.message.expect("known"), letter.outcome)
        });
        let expected = [
            ("test.Fuse", DeadLetterOutcome::Unknown(UnknownReason::Panicked)),
            ("test.Note", DeadLetterOutcome::Rejected(RejectReason::Failed)),
        ];
        assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn what_an_asker_is_told_is_no_dead_letter() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let target = spawned(&node);
        assert!(target.ask(Match).await.is_err());
        target.stop();
        pass(1).await;
        assert!(target.ask(Note).await.is_err());
        assert_eq!(letters.try_next(), None);
        assert_eq!(node.dead_letters().total(), 0);
    });
}

#[test]
fn what_comes_through_an_actix_address_has_no_name() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let (give, take) = std::sync::mpsc::sync_channel(1);
        let target = node.spawn(move |ctx| {
            give.send(ctx.address()).expect("taken");
            Fragile
        });
        let target = target.supervise(RestartPolicy::never()).start().expect("spawned");
        target.ask(Note).await.expect("answered");
        let address = take.recv().expect("given");
        #[expect(clippy::disallowed_methods, reason = "the bypassed bound is what is tested")]
        for _ in 0..ClusterContext::<Fragile>::INLET_LIMIT + 1 {
            address.do_send(Match);
        }
        pass(1).await;
        let letters = taken(&mut letters);
        let count = |outcome| letters.iter().filter(|letter| letter.outcome == outcome).count();
        assert!(letters.iter().all(|letter| letter.message.is_none() && letter.poison.is_none()));
        assert_eq!(count(DeadLetterOutcome::Rejected(RejectReason::Full)), 1, "beyond the cap");
        assert_eq!(count(DeadLetterOutcome::Unknown(UnknownReason::Panicked)), 1);
        assert_eq!(count(DeadLetterOutcome::Rejected(RejectReason::Failed)), 127);
    });
}

#[test]
fn a_message_that_ends_its_actor_three_times_in_a_row_is_poison() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let target = spawned(&node);
        for _ in 0..4 {
            target.tell(Match).await.expect("accepted");
            target.tell(Note).await.expect("a good one in between changes nothing");
            pass(20).await;
        }
        assert_eq!(poison(&mut letters), [None, None, Some(3), Some(4)]);
        pass(60).await;
        target.tell(Match).await.expect("accepted");
        pass(1).await;
        assert_eq!(poison(&mut letters), [None], "after a minute of calm");
        let counts = node.dead_letters();
        assert_eq!((counts.poison(), counts.unknown(UnknownReason::Panicked)), (2, 5));
        assert_eq!(counts.total(), 5, "each counted once");
    });
}

#[test]
fn messages_and_actors_are_counted_each_for_itself() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let (target, other) = (spawned(&node), spawned(&node));
        for _ in 0..2 {
            target.tell(Match).await.expect("accepted");
            target.tell(Fuse(Place::Turn)).await.expect("accepted");
            other.tell(Match).await.expect("accepted");
            pass(1).await;
        }
        assert_eq!(poison(&mut letters), [None; 6]);
    });
}

#[test]
fn a_poison_message_is_a_letter_although_its_asker_is_told() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let target = spawned(&node);
        for _ in 0..4 {
            let error = target.ask(Match).await.expect_err("it panics");
            assert!(matches!(error, AskError::Unknown(UnknownReason::Panicked)), "{error:?}");
        }
        assert_eq!(poison(&mut letters), [Some(3), Some(4)]);
        assert_eq!((node.dead_letters().poison(), node.dead_letters().total()), (2, 0));
    });
}

#[test]
fn a_panic_in_a_future_that_a_turn_left_is_that_messages() {
    for place in [Place::Future, Place::FutureOfFuture, Place::Waited] {
        on_a_node(Node::builder(), |node, mut letters| async move {
            let target = spawned(&node);
            for _ in 0..3 {
                target.ask(Fuse(place)).await.expect("its turn goes well");
                pass(1).await;
            }
            let letters = taken(&mut letters);
            assert_eq!(letters.len(), 1, "{place:?}");
            assert_eq!((letters[0].message, letters[0].poison), (Some("test.Fuse"), Some(3)));
            assert_eq!(node.dead_letters().total(), 0, "each message was handled");
        });
    }
}

#[test]
fn a_poisoned_entity_is_known_through_its_activations() {
    let mut settings = EntitySettings::default();
    settings.restart = RestartPolicy::never();
    let builder = Node::builder().entity_with(settings, |_| Fragile);
    on_a_node(builder, |node, mut letters| async move {
        for _ in 0..3 {
            node.entity::<Fragile>("shelf").tell(Match).await.expect("accepted");
            pass(1).await;
            assert_eq!(node.entity_count(), 0, "each activation is a new one");
        }
        assert_eq!(poison(&mut letters), [None, None, Some(3)]);
    });
}

#[test]
fn a_message_behind_the_poison_is_handled_and_the_poison_is_never_repeated() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let target = spawned(&node);
        for _ in 0..3 {
            target.tell(Match).await.expect("accepted");
        }
        assert!(target.ask(Note).await.is_ok());
        assert_eq!(poison(&mut letters), [None, None, Some(3)], "three were sent, and three ran");
    });
}

#[test]
fn a_subscription_ends_with_its_node() {
    on_a_node(Node::builder(), |node, mut letters| async move {
        let target = spawned(&node);
        pass(1).await;
        let waiting = tokio::task::spawn_local(async move {
            let first = letters.next().await.expect("the node ends with a letter");
            (first, letters.next().await)
        });
        target.tell(Note).await.expect("accepted");
        let shutdown = node.clone();
        target.kill();
        shutdown.shutdown().await;
        let (first, last) = waiting.await.expect("no panic");
        assert_eq!((first.message, last), (Some("test.Note"), None));
        assert_eq!(node.subscribe_dead_letters().next().await, None);
    });
}
