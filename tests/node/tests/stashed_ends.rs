//! Ends of what an actor watches, stashed by its handler, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use actix_cluster::{
    EntitySettings, OrStash, RejectReason, Terminated, TerminatedReason, node::LocalThreads,
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use TerminatedReason::{Killed, Stopped};

#[derive(RemoteActor)]
#[remote(name = "test.Target", handles())]
struct Target;

impl Actor for Target {
    type Context = ClusterContext<Self>;
}

/// Watches it.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Follow", version = 1)]
struct Follow(ActorRef<Target>);

/// Watches it no more.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "bool")]
#[remote(name = "test.Unfollow", version = 1)]
struct Unfollow(ActorRef<Target>);

/// Stashed unless the observer is awake.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy)]
#[rtype(result = "usize")]
#[remote(name = "test.Do", version = 1)]
enum Do {
    /// Answers with the number of stashed messages.
    Count,
    Wake,
    Sleep,
    Panic,
    /// From now on it watches again what it has stashed the end of.
    FollowAgain,
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Note(u32),
    End(TerminatedReason),
}

type Log = Arc<Mutex<Vec<Event>>>;

/// Handles notes and ends while it is awake.
#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Observer",
    handles(Follow, Unfollow, Note, Do),
    placement = Eventual,
    state = volatile,
    mailbox = 2,
    stash = 2
)]
struct Observer {
    log: Log,
    awake: bool,
    follow_again: Option<ActorRef<Target>>,
    follows_again: bool,
}

impl Actor for Observer {
    type Context = ClusterContext<Self>;
}

impl Handler<Follow> for Observer {
    type Result = ();
    fn handle(&mut self, Follow(target): Follow, ctx: &mut Self::Context) {
        ctx.watch(&target).expect("room");
        self.follow_again = Some(target);
    }
}

impl Handler<Unfollow> for Observer {
    type Result = bool;
    fn handle(&mut self, Unfollow(target): Unfollow, ctx: &mut Self::Context) -> bool {
        ctx.unwatch(&target)
    }
}

impl Handler<Note> for Observer {
    type Result = OrStash<Note>;
    fn handle(&mut self, note: Note, _: &mut Self::Context) -> OrStash<Note> {
        if !self.awake {
            return OrStash::Stash(note);
        }
        self.log.lock().expect("unpoisoned").push(Event::Note(note.0));
        OrStash::reply(())
    }
}

impl Handler<Do> for Observer {
    type Result = usize;
    fn handle(&mut self, what: Do, ctx: &mut Self::Context) -> usize {
        match what {
            Do::Count => {}
            Do::Wake => {
                self.awake = true;
                ctx.unstash_all();
            }
            Do::Sleep => self.awake = false,
            Do::Panic => panic!("handler panics on purpose"),
            Do::FollowAgain => self.follows_again = true,
        }
        ctx.stashed()
    }
}

impl Handler<Terminated> for Observer {
    type Result = OrStash<Terminated>;
    fn handle(&mut self, end: Terminated, ctx: &mut Self::Context) -> OrStash<Terminated> {
        if !self.awake {
            if self.follows_again {
                ctx.watch(self.follow_again.as_ref().expect("it has one")).expect("room");
                self.follows_again = false;
            }
            return OrStash::Stash(end);
        }
        self.log.lock().expect("unpoisoned").push(Event::End(end.reason));
        OrStash::reply(())
    }
}

/// Runs a test on a node of one thread.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let node = Node::builder()
            .name("alone")
            .arbiters(NonZeroUsize::MIN)
            .threads(LocalThreads)
            .entity_with(EntitySettings::default(), |_| Observer::default());
        let node = node.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
    });
}

fn observer(node: &Node) -> (ActorRef<Observer>, Log) {
    let log = Log::default();
    let theirs = Arc::clone(&log);
    let made = move |_: &mut _| Observer { log: Arc::clone(&theirs), ..Observer::default() };
    (node.spawn(made).start().expect("it starts"), log)
}

/// Has a target watched and killed, and its end stashed.
async fn stash_an_end(node: &Node, observer: &ActorRef<Observer>) -> ActorRef<Target> {
    let target = node.spawn(|_| Target).start().expect("it starts");
    let before = observer.ask(Do::Count).await.expect("an answer");
    observer.ask(Follow(target.clone())).await.expect("an answer");
    let end = target.watch().expect("room");
    target.kill();
    assert_eq!(end.await.reason, Killed);
    assert_eq!(observer.ask(Do::Count).await.expect("an answer"), before + 1);
    target
}

fn events(log: &Log) -> Vec<Event> {
    log.lock().expect("unpoisoned").clone()
}

#[test]
fn a_stashed_end_comes_back_in_its_place_and_is_told_once() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        observer.tell(Note(1)).await.expect("room");
        stash_an_end(&node, &observer).await;
        observer.tell(Note(2)).await.expect("room");
        for _ in 0..2 {
            observer.ask(Do::Wake).await.expect("an answer");
            observer.ask(Do::Count).await.expect("an answer");
            assert_eq!(events(&log), [Event::Note(1), Event::End(Killed), Event::Note(2)]);
        }
        assert_eq!(node.dead_letters().total(), 0);
    });
}

#[test]
fn ends_take_none_of_the_stash_and_none_of_the_mailbox() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        for _ in 0..4 {
            stash_an_end(&node, &observer).await;
        }
        observer.tell(Note(1)).await.expect("room");
        observer.tell(Note(2)).await.expect("room");
        match observer.ask(Note(3)).await {
            Err(AskError::Rejected { reason: RejectReason::Full, .. }) => {}
            other => panic!("the stash is full, and yet {other:?}"),
        }
        assert_eq!(observer.ask(Do::Wake).await.expect("an answer"), 0);
        observer.ask(Do::Sleep).await.expect("an answer");
        assert_eq!(events(&log).len(), 6);
        // A place that was counted wrong would be missing, or one too many.
        observer.try_tell(Note(4)).expect("room");
        observer.try_tell(Note(5)).expect("room");
        observer.try_tell(Note(6)).expect_err("the mailbox is full");
    });
}

#[test]
fn a_stashed_end_is_none_of_the_next_instance() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        stash_an_end(&node, &observer).await;
        observer.tell(Note(1)).await.expect("room");
        observer.ask(Do::Panic).await.expect_err("it panics");
        assert_eq!(observer.ask(Do::Count).await.expect("an answer"), 1, "the note alone");
        observer.ask(Do::Wake).await.expect("an answer");
        observer.ask(Do::Count).await.expect("an answer");
        assert_eq!(events(&log), [Event::Note(1)]);
    });
}

#[test]
fn an_unwatch_takes_a_stashed_end_back() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let target = stash_an_end(&node, &observer).await;
        stash_an_end(&node, &observer).await;
        assert!(observer.ask(Unfollow(target.clone())).await.expect("an answer"));
        assert_eq!(observer.ask(Do::Count).await.expect("an answer"), 1, "nothing is kept of it");
        assert!(!observer.ask(Unfollow(target)).await.expect("an answer"));
        observer.ask(Do::Wake).await.expect("an answer");
        observer.ask(Do::Count).await.expect("an answer");
        assert_eq!(events(&log), [Event::End(Killed)]);
    });
}

#[test]
fn what_is_watched_while_its_end_is_stashed_is_watched_already() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let target = stash_an_end(&node, &observer).await;
        observer.ask(Follow(target)).await.expect("an answer");
        assert_eq!(observer.ask(Do::Wake).await.expect("an answer"), 0);
        observer.ask(Do::Count).await.expect("an answer");
        assert_eq!(events(&log), [Event::End(Killed)]);
    });
}

#[test]
fn what_is_watched_anew_by_the_turn_that_stashes_its_end_is_told_once() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        observer.ask(Do::FollowAgain).await.expect("an answer");
        stash_an_end(&node, &observer).await;
        observer.ask(Do::Wake).await.expect("an answer");
        observer.ask(Do::Count).await.expect("an answer");
        assert_eq!(events(&log), [Event::End(Killed)]);
    });
}

#[test]
fn a_stashed_end_goes_with_its_actor_and_keeps_an_entity_active() {
    on_a_node(|node| async move {
        let (observer, _) = observer(&node);
        stash_an_end(&node, &observer).await;
        let end = observer.watch().expect("room");
        observer.stop();
        assert_eq!(end.await.reason, Stopped);
        assert_eq!(node.dead_letters().total(), 0, "it was no message of anybody's");

        let entity = node.entity::<Observer>("one");
        stash_an_end(&node, &entity).await;
        tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
        assert_eq!(node.entity_count(), 1);
        entity.ask(Do::Wake).await.expect("an answer");
        tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
        assert_eq!(node.entity_count(), 0);
    });
}
