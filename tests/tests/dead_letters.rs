//! Dead letters between nodes: what the sending node's subscribers are told of messages that have
//! left it, and what the node of the actor tells its own.

use std::time::Duration;

use actix_cluster::{
    Backoff, DeadLetter, DeadLetterOutcome, DeadLetterSubscription, DeadLetterTarget,
    EntitySettings, NodeBuilder, NodeId, RejectReason, UnknownReason, prelude::*,
};
use actix_cluster_tests::{SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Match", version = 1)]
struct Match;

/// Keeps the mailbox waiting.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Hold", version = 1)]
struct Hold;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Leave", version = 1)]
struct Leave;

#[derive(RemoteActor)]
#[remote(name = "test.Fragile", handles(Note, Match, Hold, Leave))]
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

impl Handler<Hold> for Fragile {
    type Result = ();
    fn handle(&mut self, _: Hold, ctx: &mut Self::Context) {
        let sleep = ctx.clock().sleep(Duration::from_secs(600));
        ctx.wait(sleep.into_actor(self));
    }
}

impl Handler<Leave> for Fragile {
    type Result = ();
    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Its entities are never loaded.
#[derive(RemoteActor)]
#[remote(name = "test.Lost", handles(Note), placement = Eventual, state = volatile)]
struct Lost;

impl Actor for Lost {
    type Context = ClusterContext<Self>;
}

impl Handler<Note> for Lost {
    type Result = ();
    fn handle(&mut self, _: Note, _: &mut Self::Context) {}
}

/// Gives references to actors of its node.
#[derive(RemoteActor)]
#[remote(name = "test.Office", handles(Hire), placement = Eventual, state = volatile)]
struct Office;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "ActorRef<Fragile>")]
#[remote(name = "test.Hire", version = 1)]
struct Hire;

impl Actor for Office {
    type Context = ClusterContext<Self>;
}

impl Handler<Hire> for Office {
    type Result = MessageResult<Hire>;
    fn handle(&mut self, _: Hire, ctx: &mut Self::Context) -> MessageResult<Hire> {
        MessageResult(ctx.node().spawn(|_| Fragile).start().expect("it starts"))
    }
}

const WAIT: Duration = Duration::from_secs(8);

fn build(builder: NodeBuilder) -> NodeBuilder {
    let mut settings = EntitySettings::default();
    settings.restart.backoff = Backoff { first: WAIT, longest: WAIT };
    let lost = |key: String| async move { Err::<Lost, _>(format!("{key} is nowhere")) };
    builder.entity(|_| Office).entity_async_with(settings, lost).actor::<Fragile>()
}

/// Two nodes with their letters, and an actor of the second as the first one knows it.
struct Pair {
    here: SimulatedNode,
    there: SimulatedNode,
    letters_here: DeadLetterSubscription,
    letters_there: DeadLetterSubscription,
    target: ActorRef<Fragile>,
}

async fn pair(seed: u64) -> Pair {
    let world = World::new(seed);
    let (here, there) = tokio::join!(world.start(1, build), world.start(2, build));
    here.sees(2).await;
    there.sees(2).await;
    let office = here.node.entity::<Office>(&key_of::<Office>(&here, &there));
    let target = office.ask(Hire).await.expect("it hires");
    let (letters_here, letters_there) =
        (here.node.subscribe_dead_letters(), there.node.subscribe_dead_letters());
    Pair { here, there, letters_here, letters_there, target }
}

/// A key that the other node owns.
fn key_of<A: Entity>(here: &SimulatedNode, there: &SimulatedNode) -> String {
    let mut keys = (0..).map(|n| format!("key-{n}"));
    let is_theirs = |key: &String| here.node.owner_of::<A>(key).as_ref() == Some(&there.node.id());
    keys.find(is_theirs).expect("some key is theirs")
}

async fn next(letters: &mut DeadLetterSubscription) -> DeadLetter {
    letters.next().await.expect("the node runs")
}

fn at(target: &ActorRef<Fragile>) -> Option<DeadLetterTarget> {
    let node: NodeId = target.node_id().expect("an actor").clone();
    Some(DeadLetterTarget::Actor { node, id: target.id().expect("an actor") })
}

#[test]
fn a_tell_that_is_rejected_elsewhere_is_told_to_the_subscribers_of_its_sender() {
    simulate(async {
        let Pair { here, mut letters_here, mut letters_there, target, .. } = pair(70).await;
        let own = here.node.spawn(|_| Fragile).start().expect("spawned");
        target.ask(Leave).await.expect("it stops");
        target.tell(Note).await.expect("the session takes it");
        let letter = next(&mut letters_here).await;
        assert_eq!((letter.actor, letter.message), (Some("test.Fragile"), Some("test.Note")));
        assert_eq!(letter.target, at(&target));
        assert_eq!(letter.outcome, DeadLetterOutcome::Rejected(RejectReason::NoSuchActor));
        assert_eq!((letter.sender.as_ref(), letter.poison), (Some(&here.node.id()), None));
        assert_eq!(letters_there.try_next(), None, "it is the sender's");
        assert_ne!(letter.target, at(&own));
    });
}

#[test]
fn what_was_on_its_way_to_a_node_that_is_killed_is_told_by_name() {
    simulate(async {
        let Pair { here, there, mut letters_here, target, .. } = pair(72).await;
        target.tell(Hold).await.expect("accepted");
        target.tell(Note).await.expect("accepted");
        pause(100).await;
        let was = at(&target);
        there.kill().await;
        let letter = next(&mut letters_here).await;
        assert_eq!((letter.actor, letter.message), (Some("test.Fragile"), Some("test.Note")));
        assert_eq!((letter.target, letter.poison), (was, None));
        assert_eq!(letter.outcome, DeadLetterOutcome::Unknown(UnknownReason::NodeDown));
        assert_eq!(here.node.dead_letters().unknown(UnknownReason::NodeDown), 1);
    });
}

#[test]
fn a_tell_that_is_poison_is_told_on_both_nodes() {
    simulate(async {
        let Pair { here, there, mut letters_here, mut letters_there, target } = pair(73).await;
        for row in [None, None, Some(3), Some(4)] {
            target.tell(Match).await.expect("accepted");
            let letter = next(&mut letters_here).await;
            assert_eq!((letter.message, letter.poison), (Some("test.Match"), row));
            assert_eq!(letter.outcome, DeadLetterOutcome::Unknown(UnknownReason::Panicked));
        }
        for row in [3, 4] {
            let letter = next(&mut letters_there).await;
            assert_eq!((letter.message, letter.poison), (Some("test.Match"), Some(row)));
            assert_eq!(letter.target, at(&target));
            assert_eq!(letter.sender.as_ref(), Some(&here.node.id()), "and by whom it was sent");
        }
        let (here, there) = (here.node.dead_letters(), there.node.dead_letters());
        assert_eq!((here.poison(), here.total()), (2, 4));
        assert_eq!((there.poison(), there.total()), (2, 0), "counted by its sender");
    });
}

#[test]
fn an_ask_that_is_poison_is_told_on_both_nodes_and_to_its_asker() {
    simulate(async {
        let Pair { here, there, mut letters_here, mut letters_there, target } = pair(74).await;
        for _ in 0..3 {
            let error = target.ask(Match).await.expect_err("it panics");
            assert!(matches!(error, AskError::Unknown(UnknownReason::Panicked)), "{error:?}");
        }
        for letters in [&mut letters_here, &mut letters_there] {
            let letter = next(letters).await;
            assert_eq!((letter.message, letter.poison), (Some("test.Match"), Some(3)));
            assert_eq!((letter.target, letter.sender), (at(&target), Some(here.node.id().clone())));
            assert_eq!(letters.try_next(), None);
        }
        let (here, there) = (here.node.dead_letters(), there.node.dead_letters());
        assert_eq!((here.poison(), there.poison()), (1, 1));
        assert_eq!((here.total(), there.total()), (0, 0));
    });
}

#[test]
fn an_entity_elsewhere_that_can_not_be_loaded_is_told_and_given_back() {
    simulate(async {
        let Pair { here, there, mut letters_here, .. } = pair(75).await;
        let key = key_of::<Lost>(&here, &there);
        let target = here.node.entity::<Lost>(&key);
        match target.ask(Note).await {
            Err(AskError::Rejected { reason, message: Note }) => {
                assert_eq!(reason, RejectReason::LoadFailed);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(letters_here.try_next(), None, "its asker knows");
        let shard = here.node.shard_of::<Lost>(&key);
        let named = DeadLetterTarget::Entity { key: Some(key.as_str().into()), shard };
        pause(20_000).await;
        target.tell(Note).await.expect("the session takes it");
        let letter = next(&mut letters_here).await;
        assert_eq!((letter.actor, letter.message), (Some("test.Lost"), Some("test.Note")));
        assert_eq!(letter.outcome, DeadLetterOutcome::Rejected(RejectReason::LoadFailed));
        assert_eq!(letter.target.as_ref(), Some(&named));
        drop(letters_here);

        // Sent while nobody subscribed, to another one: its key is not known.
        let mut others = (0..).map(|n| format!("other-{n}"));
        let is_theirs =
            |key: &String| here.node.owner_of::<Lost>(key).as_ref() == Some(&there.node.id());
        let other = others.find(is_theirs).expect("some key is theirs");
        here.node.entity::<Lost>(&other).tell(Note).await.expect("the session takes it");
        let mut letters_here = here.node.subscribe_dead_letters();
        let letter = next(&mut letters_here).await;
        let shard = here.node.shard_of::<Lost>(&other);
        assert_eq!(letter.target, Some(DeadLetterTarget::Entity { key: None, shard }));
        let rejected = || here.node.dead_letters().rejected(RejectReason::LoadFailed);
        until("both were counted", || rejected() == 2).await;
        assert_eq!(there.node.dead_letters().total(), 0);
    });
}
