//! Watches on one node: what ends, why, when its watchers are told, and how often; in paused time
//! on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    EntitySettings, NodeBuilder, Overflow, Restart, RestartPolicy, Terminated, TerminatedReason,
    WatchError, WatchId, node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use TerminatedReason::{Killed, NotActive, Panicked, Passivated, Stopped};

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rtype(result = "()")]
#[remote(name = "test.End", version = 1)]
enum End {
    Stop,
    Panic,
    Passivate,
    /// Tells the observer so many notes first.
    StopAfterNotes(u32),
}

/// Makes a target the observer's.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Report", version = 1)]
struct Report(ActorRef<Observer>);

#[derive(RemoteActor, Default)]
#[remote(name = "test.Target", handles(End, Report), placement = Eventual, state = volatile)]
struct Target {
    observer: Option<ActorRef<Observer>>,
}

impl Actor for Target {
    type Context = ClusterContext<Self>;
}

impl Handler<End> for Target {
    type Result = ();
    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        match end {
            End::Stop => ctx.stop(),
            End::Panic => panic!("handler panics on purpose"),
            End::Passivate => ctx.passivate(),
            End::StopAfterNotes(count) => {
                let observer = self.observer.as_ref().expect("it has one");
                (0..count).for_each(|n| observer.try_tell(Note(n)).expect("room"));
                ctx.stop();
            }
        }
    }
}

impl Handler<Report> for Target {
    type Result = ();
    fn handle(&mut self, Report(observer): Report, _: &mut Self::Context) {
        self.observer = Some(observer);
    }
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32);

/// Watches, and answers with the number of the watch.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "test.Follow", version = 1)]
struct Follow(ActorRef<Target>);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "bool")]
#[remote(name = "test.Unfollow", version = 1)]
struct Unfollow(ActorRef<Target>);

/// Keeps the mailbox waiting for so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Hold", version = 1)]
struct Hold(u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Panic", version = 1)]
struct Panic;

#[derive(RemoteActor)]
#[remote(name = "test.Observer", handles(Note, Follow, FollowMany, Unfollow, Hold, Panic))]
struct Observer(Log);

impl Actor for Observer {
    type Context = ClusterContext<Self>;
}

impl Handler<Note> for Observer {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.0.add(Event::Note(n));
    }
}

impl Handler<Follow> for Observer {
    type Result = String;
    fn handle(&mut self, Follow(target): Follow, ctx: &mut Self::Context) -> String {
        ctx.watch(&target).expect("room").to_string()
    }
}

impl Handler<Unfollow> for Observer {
    type Result = bool;
    fn handle(&mut self, Unfollow(target): Unfollow, ctx: &mut Self::Context) -> bool {
        ctx.unwatch(&target)
    }
}

impl Handler<Hold> for Observer {
    type Result = ();
    fn handle(&mut self, Hold(ms): Hold, ctx: &mut Self::Context) {
        let sleep = ctx.clock().sleep(Duration::from_millis(ms));
        ctx.wait(sleep.into_actor(self));
    }
}

impl Handler<Panic> for Observer {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("observer panics on purpose");
    }
}

impl Handler<Terminated> for Observer {
    type Result = ();
    fn handle(&mut self, terminated: Terminated, _: &mut Self::Context) {
        self.0.add(Event::End(terminated.watch, terminated.reason));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Note(u32),
    End(WatchId, TerminatedReason),
}

/// What an observer has handled.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    fn add(&self, event: Event) {
        self.0.lock().expect("unpoisoned").push(event);
    }

    fn events(&self) -> Vec<Event> {
        self.0.lock().expect("unpoisoned").clone()
    }

    fn ends(&self) -> Vec<TerminatedReason> {
        let reason = |event: Event| match event {
            Event::End(_, reason) => Some(reason),
            Event::Note(_) => None,
        };
        self.events().into_iter().filter_map(reason).collect()
    }
}

fn builder() -> NodeBuilder {
    let mut settings = EntitySettings::default();
    settings.passivate_after = Duration::from_secs(60);
    Node::builder()
        .entity_with::<Target>(settings, |_| Target::default())
        .actor::<Observer>()
        .arbiters(NonZeroUsize::new(2).expect("not zero"))
        .threads(LocalThreads)
        .seed(1)
}

/// Runs `test` on a node of its own, in paused time. No watch may be left in the end.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let node = builder().start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
        assert_eq!((node.actor_count(), node.watch_counts().set), (0, 0), "nothing is left");
    });
}

fn target(node: &Node) -> ActorRef<Target> {
    let builder = node.spawn(|_| Target::default());
    builder.supervise(RestartPolicy::never()).start().expect("spawned")
}

fn observer(node: &Node) -> (ActorRef<Observer>, Log) {
    let log = Log::default();
    let theirs = log.clone();
    (node.spawn(move |_| Observer(theirs.clone())).start().expect("spawned"), log)
}

async fn follow(observer: &ActorRef<Observer>, target: &ActorRef<Target>) -> String {
    observer.ask(Follow(target.clone())).await.expect("it watches")
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// How a target ends, and what its watchers are told.
async fn check(end: impl FnOnce(&ActorRef<Target>), node: &Node, told: TerminatedReason) {
    let (observer, log) = observer(node);
    let target = target(node);
    follow(&observer, &target).await;
    let from_outside = target.watch().expect("room");
    pass(1).await;
    assert!(log.ends().is_empty(), "it lives");
    end(&target);
    let outside = from_outside.await;
    assert_eq!(outside.reason, told);
    assert!(outside.target.is(&target), "{}", outside.target);
    pass(100).await;
    assert_eq!(log.ends(), [told]);
    assert_eq!(node.watch_counts().set, 0);
    // And whoever comes later is told the same.
    follow(&observer, &target).await;
    pass(1).await;
    assert_eq!(log.ends(), [told, told]);
    assert_eq!(target.watch().expect("room").await.reason, told);
}

#[test]
fn each_end_is_told_once_with_its_reason() {
    on_a_node(|node| async move {
        let told = |end: End| move |target: &ActorRef<Target>| target.try_tell(end).expect("room");
        check(told(End::Stop), &node, Stopped).await;
        check(told(End::Panic), &node, Panicked).await;
        check(told(End::Passivate), &node, Passivated).await;
        check(ActorRef::stop, &node, Stopped).await;
        check(ActorRef::kill, &node, Killed).await;
    });
}

#[test]
fn an_end_comes_behind_what_the_actor_had_sent() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let target = target(&node);
        target.tell(Report(observer.clone())).await.expect("accepted");
        follow(&observer, &target).await;
        target.tell(End::StopAfterNotes(500)).await.expect("accepted");
        pass(1).await;
        let events = log.events();
        let notes = (0..500).map(Event::Note);
        assert!(events.iter().copied().take(500).eq(notes), "{events:?}");
        assert!(matches!(events[500..], [Event::End(_, Stopped)]), "{:?}", &events[500..]);
    });
}

#[test]
fn a_second_watch_of_a_target_is_the_first_one() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let (first, second) = (target(&node), target(&node));
        let watch = follow(&observer, &first).await;
        assert_eq!(follow(&observer, &first).await, watch);
        assert_ne!(follow(&observer, &second).await, watch);
        assert_eq!(node.watch_counts().set, 2);
        first.stop();
        pass(1).await;
        assert_eq!(log.ends(), [Stopped]);
    });
}

#[test]
fn a_restart_of_the_target_is_no_end() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let policy = RestartPolicy { limit: 2, ..RestartPolicy::default() };
        let target = node.spawn(|_| Target::default()).supervise(policy).start().expect("spawned");
        follow(&observer, &target).await;
        for told in [0, 0, 1] {
            target.tell(End::Panic).await.expect("accepted");
            pass(1).await;
            assert_eq!(log.ends(), vec![Panicked; told]);
        }
    });
}

#[test]
fn a_fresh_instance_watches_nobody() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let (waits, lives) = (target(&node), target(&node));
        follow(&observer, &waits).await;
        follow(&observer, &lives).await;
        // The end of the one is in the mailbox when the instance fails, that of the other is to come.
        observer.tell(Hold(1_000)).await.expect("accepted");
        observer.tell(Panic).await.expect("accepted");
        tokio::time::sleep(Duration::from_millis(500)).await;
        waits.stop();
        pass(5).await;
        assert_eq!(node.watch_counts().set, 0);
        lives.stop();
        observer.tell(Note(1)).await.expect("it was restarted");
        pass(1).await;
        assert_eq!(log.events(), [Event::Note(1)]);
        // It may watch what its predecessor has watched.
        follow(&observer, &waits).await;
        pass(1).await;
        assert_eq!(log.ends(), [Stopped]);
    });
}

#[test]
fn the_end_of_a_watcher_ends_its_watches() {
    on_a_node(|node| async move {
        let (observer, _log) = observer(&node);
        let target = target(&node);
        follow(&observer, &target).await;
        observer.stop();
        pass(1).await;
        assert_eq!(node.watch_counts().set, 0);
        assert_eq!(target.exit_reason(), None);
    });
}

#[test]
fn after_an_unwatch_nothing_is_told_even_if_it_waits_in_the_mailbox() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let target = target(&node);
        let first = follow(&observer, &target).await;
        assert!(observer.ask(Unfollow(target.clone())).await.expect("answered"));
        assert!(!observer.ask(Unfollow(target.clone())).await.expect("answered"), "none is left");
        assert_eq!(node.watch_counts().set, 0);
        let second = follow(&observer, &target).await;
        assert_ne!(first, second);
        observer.tell(Hold(1_000)).await.expect("accepted");
        observer.tell(Note(1)).await.expect("accepted");
        let unfollow = observer.ask(Unfollow(target.clone()));
        let ((), unfollowed) = tokio::join!(async { target.stop() }, unfollow);
        assert!(unfollowed.expect("answered"), "the end was not handled yet");
        pass(5).await;
        assert_eq!(log.events(), [Event::Note(1)]);
    });
}

#[test]
fn a_watch_that_was_taken_back_and_set_again_is_told_once() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let target = target(&node);
        follow(&observer, &target).await;
        observer.tell(Hold(1_000)).await.expect("accepted");
        tokio::task::yield_now().await;
        target.stop();
        pass(0).await;
        let again = async {
            observer.ask(Unfollow(target.clone())).await.expect("answered");
            follow(&observer, &target).await
        };
        let again = again.await;
        pass(1).await;
        let [Event::End(watch, Stopped)] = log.events()[..] else { panic!("{:?}", log.events()) };
        assert_eq!(watch.to_string(), again);
    });
}

#[test]
fn an_end_has_a_place_of_its_own_in_a_full_mailbox() {
    for policy in [Overflow::Wait, Overflow::RejectNewest, Overflow::DropOldest] {
        on_a_node(|node| async move {
            let log = Log::default();
            let theirs = log.clone();
            let builder = node.spawn(move |_| Observer(theirs.clone()));
            let observer = builder.mailbox_capacity(2).overflow(policy).start().expect("spawned");
            let targets: Vec<_> = (0..5).map(|_| target(&node)).collect();
            for target in &targets {
                follow(&observer, target).await;
            }
            observer.tell(Hold(1_000)).await.expect("accepted");
            pass(0).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            // Which of them are left is for the policy to say; the ends are all handled.
            (0..3).for_each(|n| drop(observer.try_tell(Note(n))));
            targets.iter().for_each(ActorRef::stop);
            tokio::time::sleep(Duration::from_millis(1)).await;
            // As many messages as before, whatever ends there are.
            (3..9).for_each(|n| drop(observer.try_tell(Note(n))));
            pass(5).await;
            assert_eq!(log.ends(), [Stopped; 5], "{policy:?}");
            let note = |event: &Event| match event {
                Event::Note(n) => Some(*n),
                Event::End(..) => None,
            };
            let notes: Vec<_> = log.events().iter().filter_map(note).collect();
            let (expected, before) = match policy {
                Overflow::DropOldest => ([7, 8].to_vec(), 0),
                _ => ([0, 1].to_vec(), 2),
            };
            assert_eq!(notes, expected, "{policy:?}");
            let first_end = log.events().iter().position(|event| note(event).is_none());
            assert_eq!(first_end, Some(before), "{policy:?}: it stays behind what was there");
        });
    }
}

#[test]
fn a_watch_that_is_dropped_watches_no_more() {
    on_a_node(|node| async move {
        let target = target(&node);
        let mut watch = target.watch().expect("room");
        let other = target.watch().expect("room");
        assert_ne!(watch.id(), other.id(), "each its own");
        assert!(watch.target().is(&target));
        let patience = Duration::from_secs(1);
        assert!(tokio::time::timeout(patience, &mut watch).await.is_err(), "nothing is lost");
        drop(other);
        assert_eq!(node.watch_counts().set, 1);
        target.kill();
        assert_eq!(watch.await.reason, Killed);
    });
}

#[test]
fn a_node_has_so_many_watches_and_no_more() {
    on_a_node(|node| async move {
        const LIMIT: usize = 262_144;
        let target = target(&node);
        let mut watches: Vec<_> = (0..LIMIT).map(|_| target.watch().expect("room")).collect();
        let refused = target.watch().expect_err("one more");
        assert_eq!(refused, WatchError::TooMany { limit: LIMIT });
        assert_eq!(refused.to_string(), "the node has 262144 watches already");
        watches.pop();
        watches.push(target.watch().expect("room again"));
        target.stop();
        for watch in watches {
            assert_eq!(watch.await.reason, Stopped);
        }
        assert_eq!(node.watch_counts().set, 0);
    });
}

/// Watches so many entities that are not active, and counts how many it may.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "test.FollowMany", version = 1)]
struct FollowMany(u32);

impl Handler<FollowMany> for Observer {
    type Result = u32;
    fn handle(&mut self, FollowMany(count): FollowMany, ctx: &mut Self::Context) -> u32 {
        let node = ctx.node();
        let watch = |n: u32| ctx.watch(&node.entity::<Target>(&n.to_string())).is_ok();
        (0..count).map(watch).filter(|watched| *watched).count() as u32
    }
}

#[test]
fn what_has_ended_and_was_not_handled_counts_as_watched_by_its_actor() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let watched = observer.ask(FollowMany(262_144 + 3)).within(Duration::MAX).await;
        assert_eq!(watched.expect("answered"), 262_144);
        pass(1).await;
        assert_eq!((log.ends().len(), node.watch_counts().set), (262_144, 0));
        assert_eq!(observer.ask(FollowMany(1)).await.expect("answered"), 1, "there is room again");
    });
}

#[test]
fn a_supervisors_child_has_ended_when_its_supervisor_gives_up_on_it() {
    on_a_node(|node| async move {
        let supervisor = node.spawn_supervisor().start().expect("started");
        let child = |restart| {
            supervisor.spawn(|_| Target::default()).restart(restart).start().expect("room")
        };
        let (permanent, temporary) = (child(Restart::Permanent), child(Restart::Temporary));
        let (observer, log) = observer(&node);
        follow(&observer, &permanent).await;
        for end in [End::Stop, End::Panic] {
            permanent.tell(end).await.expect("accepted");
            pass(1).await;
        }
        assert!(log.ends().is_empty(), "it is restarted");
        follow(&observer, &temporary).await;
        temporary.tell(End::Panic).await.expect("accepted");
        pass(1).await;
        assert_eq!(log.ends(), [Panicked]);
        supervisor.remove(&permanent);
        pass(1).await;
        assert_eq!(log.ends(), [Panicked, Stopped]);
    });
}

#[test]
fn a_watch_of_an_entity_is_of_its_activation_and_makes_none() {
    on_a_node(|node| async move {
        let (observer, log) = observer(&node);
        let entity = node.entity::<Target>("acct-7");
        follow(&observer, &entity).await;
        pass(1).await;
        assert_eq!((log.ends(), node.entity_count()), (vec![NotActive], 0));
        entity.tell(Report(observer.clone())).await.expect("accepted");
        pass(1).await;
        follow(&observer, &entity).await;
        assert_eq!(follow(&observer, &entity).await, follow(&observer, &entity).await);
        // Watched or not, it is passivated.
        pass(100).await;
        assert_eq!((log.ends(), node.entity_count()), (vec![NotActive, Passivated], 0));
        // The next activation is not watched.
        entity.tell(End::Stop).await.expect("accepted");
        pass(1).await;
        assert_eq!(log.ends().len(), 2);
        assert_eq!(entity.watch().expect("room").await.reason, NotActive);
    });
}

#[test]
fn a_nodes_shutdown_ends_all_watches() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let node = builder().start().await.expect("a node");
        let target = target(&node);
        let watch = target.watch().expect("room");
        node.shutdown().await;
        assert_eq!(watch.await.reason, TerminatedReason::NodeStopped);
        let refused = target.watch().expect_err("nobody is left to tell");
        assert_eq!(refused, WatchError::NodeStopped);
    });
}
