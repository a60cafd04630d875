//! Watches and links across the nodes of a simulated cluster: each end is told once, behind all
//! that came before it, whatever happens to connections, nodes, mailboxes and shards.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::time::Duration;

use actix_cluster::{
    EntitySettings, ExitReason, NodeBuilder, Overflow, RestartPolicy, SpawnBuilder, Terminated,
    TerminatedReason,
    message::{decode, encode},
    prelude::*,
    transport::simulation::Link,
};
use actix_cluster_tests::{Shared, SimulatedNode, World, ip, pause, simulate, until};
use serde::{Deserialize, Serialize};

use TerminatedReason::{
    Killed, Moved, NeverExisted, NodeDown, NodeStopped, NotActive, Panicked, Passivated, Stopped,
    Unknown,
};

/// A numbered message, with so many bytes.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32, Vec<u8>);

/// What an actor is to do.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Act", version = 1)]
enum Act {
    Watch(ActorRef<Player>),
    Unwatch(ActorRef<Player>),
    Link(ActorRef<Player>),
    Unlink(ActorRef<Player>),
    /// Send notes with these numbers.
    Notes {
        to: ActorRef<Player>,
        numbers: std::ops::Range<u32>,
        bytes: usize,
    },
    /// Keep the mailbox waiting for so many milliseconds.
    Hold(u64),
    Stop,
    Panic,
    Passivate,
}

/// Answers with a reference to the activation that is asked.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "ActorRef<Player>")]
#[remote(name = "test.Who", version = 1)]
struct Who;

#[derive(RemoteActor)]
#[remote(name = "test.Player", handles(Note, Act, Who), placement = Eventual, state = volatile)]
struct Player {
    name: String,
    log: Log,
}

impl Actor for Player {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.log.add(&self.name, Event::Started);
    }
}

impl Handler<Note> for Player {
    type Result = ();
    fn handle(&mut self, Note(number, _): Note, _: &mut Self::Context) {
        self.log.add(&self.name, Event::Note(number));
    }
}

impl Handler<Who> for Player {
    type Result = MessageResult<Who>;
    fn handle(&mut self, _: Who, ctx: &mut Self::Context) -> MessageResult<Who> {
        MessageResult(ctx.actor_ref())
    }
}

impl Handler<Act> for Player {
    type Result = ();
    fn handle(&mut self, act: Act, ctx: &mut Self::Context) {
        match act {
            Act::Watch(other) => drop(ctx.watch(&other).expect("room")),
            Act::Unwatch(other) => {
                ctx.unwatch(&other);
                self.log.add(&self.name, Event::Unwatched);
            }
            Act::Link(other) => drop(ctx.link(&other).expect("room")),
            Act::Unlink(other) => drop(ctx.unlink(&other)),
            Act::Notes { to, numbers, bytes } => {
                for number in numbers {
                    to.try_tell(Note(number, vec![7; bytes])).expect("the lane has room");
                }
            }
            Act::Hold(millis) => {
                let timer = ctx.clock().sleep(Duration::from_millis(millis));
                ctx.wait(timer.into_actor(self));
            }
            Act::Stop => ctx.stop(),
            Act::Panic => panic!("on purpose"),
            Act::Passivate => ctx.passivate(),
        }
    }
}

impl Handler<Terminated> for Player {
    type Result = ();
    fn handle(&mut self, end: Terminated, _: &mut Self::Context) {
        self.log.add(&self.name, Event::End(end.reason));
        self.log.0.lock().expect("unpoisoned").ends.push(format!("{}: {}", self.name, end.target));
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Started,
    Note(u32),
    End(TerminatedReason),
    Unwatched,
    Exited(ExitReason),
}

/// What all players have done.
#[derive(Clone, Default)]
struct Log(Shared<Written>);

#[derive(Default)]
struct Written {
    events: Vec<(String, Event)>,
    /// Who was told of whose end.
    ends: Vec<String>,
}

impl Log {
    fn add(&self, name: &str, event: Event) {
        self.0.lock().expect("unpoisoned").events.push((name.to_owned(), event));
    }

    /// What one of them has done, its starts left out.
    fn of(&self, name: &str) -> Vec<Event> {
        let written = self.0.lock().expect("unpoisoned");
        let its =
            written.events.iter().filter(|(its, event)| its == name && *event != Event::Started);
        its.map(|(_, event)| event.clone()).collect()
    }

    fn starts(&self, name: &str) -> usize {
        let written = self.0.lock().expect("unpoisoned");
        written.events.iter().filter(|(its, event)| its == name && *event == Event::Started).count()
    }

    fn ends(&self, name: &str) -> Vec<TerminatedReason> {
        let reason = |event| match event {
            Event::End(reason) => Some(reason),
            _ => None,
        };
        self.of(name).into_iter().filter_map(reason).collect()
    }

    fn host(&self) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
        let log = self.clone();
        let mut settings = EntitySettings::default();
        settings.passivate_after = Duration::from_secs(3_600);
        move |builder| {
            builder
                .entity_with(settings, move |key| Player { name: key.to_owned(), log: log.clone() })
        }
    }

    /// Begins to spawn a player that is not restarted.
    fn player(&self, on: &SimulatedNode, name: &str) -> SpawnBuilder<Player> {
        let (log, exits, its) = (self.clone(), self.clone(), name.to_owned());
        let name = name.to_owned();
        on.node
            .spawn(move |_| Player { name: name.clone(), log: log.clone() })
            .supervise(RestartPolicy::never())
            .on_exit(move |reason| exits.add(&its, Event::Exited(reason)))
    }

    fn spawn(&self, on: &SimulatedNode, name: &str) -> ActorRef<Player> {
        self.player(on, name).start().expect("spawned")
    }
}

/// A reference as another node has it.
fn known_at(node: &SimulatedNode, actor: &ActorRef<Player>) -> ActorRef<Player> {
    let bytes = encode(actor, Vec::new()).expect("written");
    node.node.scope(|| decode(&bytes)).expect("read")
}

async fn act(actor: &ActorRef<Player>, act: Act) {
    actor.tell(act).await.expect("accepted");
}

async fn pair(world: &World, log: &Log) -> (SimulatedNode, SimulatedNode) {
    let (a, b) = tokio::join!(world.start(1, log.host()), world.start(2, log.host()));
    a.sees(2).await;
    b.sees(2).await;
    (a, b)
}

/// A watcher on the first node, and a target on the second as the first one knows it.
async fn watching(
    a: &SimulatedNode,
    b: &SimulatedNode,
    log: &Log,
) -> (ActorRef<Player>, ActorRef<Player>, ActorRef<Player>) {
    let (watcher, target) = (log.spawn(a, "watcher"), log.spawn(b, "target"));
    let from_afar = known_at(a, &target);
    act(&watcher, Act::Watch(from_afar.clone())).await;
    until("the watch is set", || b.node.watch_counts().held == 1).await;
    (watcher, target, from_afar)
}

/// Nobody owes anybody anything.
async fn is_tidy(nodes: &[&SimulatedNode]) {
    until("no watch is left", || {
        let counts = nodes.iter().map(|node| node.node.watch_counts());
        counts.into_iter().all(|counts| (counts.set, counts.held) == (0, 0))
    })
    .await;
}

#[test]
fn an_end_on_another_node_is_told_once_with_its_reason() {
    simulate(async {
        let (world, log) = (World::new(1), Log::default());
        let (a, b) = pair(&world, &log).await;
        let told = |act: Act| move |target: &ActorRef<Player>| target.try_tell(act).expect("room");
        type Ending = Box<dyn FnOnce(&ActorRef<Player>)>;
        let endings: [(Ending, TerminatedReason); 4] = [
            (Box::new(told(Act::Stop)), Stopped),
            (Box::new(told(Act::Panic)), Panicked),
            (Box::new(told(Act::Passivate)), Passivated),
            (Box::new(ActorRef::kill), Killed),
        ];
        for (end, reason) in endings {
            let (watcher, target, from_afar) = watching(&a, &b, &log).await;
            let outside = from_afar.watch().expect("room");
            pause(100).await;
            end(&target);
            assert_eq!(outside.await.reason, reason);
            pause(10_000).await;
            assert_eq!(log.ends("watcher").last(), Some(&reason));
            is_tidy(&[&a, &b]).await;
            watcher.stop();
        }
        assert_eq!(log.ends("watcher").len(), 4, "once each");
    });
}

#[test]
fn what_is_not_there_is_told_at_once() {
    simulate(async {
        let (world, log) = (World::new(2), Log::default());
        let (a, b) = pair(&world, &log).await;
        let ended = log.spawn(&b, "ended");
        let from_afar = known_at(&a, &ended);
        ended.stop();
        pause(100).await;
        let told = async |target: &ActorRef<Player>| target.watch().expect("room").await.reason;
        assert_eq!(told(&from_afar).await, Unknown, "nobody remembers why");
        let bytes = encode(&ended, Vec::new()).expect("written");
        let (number, name) = (bytes.len() - 1, bytes.len() - 3);
        let with = |at: usize, byte: u8| -> ActorRef<Player> {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            a.node.scope(|| decode(&bytes)).expect("read")
        };
        assert_eq!(told(&with(number, 99)).await, NeverExisted);
        // Of another run of the node, and of a node that nobody has heard of.
        assert_eq!(told(&with(name + 1, 9)).await, NodeDown);
        let start = tokio::time::Instant::now();
        let stranger = with(name, b'9');
        assert_eq!(stranger.node_id().expect("an actor").to_string(), "n9/1");
        assert_eq!(told(&stranger).await, NodeDown);
        let waited = start.elapsed();
        assert!(
            (4..10).contains(&waited.as_secs()),
            "it might have been about to join: {waited:?}"
        );
        b.kill().await;
        a.sees(1).await;
        let start = tokio::time::Instant::now();
        assert_eq!(told(&with(number, 1)).await, NodeDown);
        assert!(start.elapsed() < Duration::from_secs(1), "it is known to be gone");
        is_tidy(&[&a]).await;
    });
}

#[test]
fn an_end_comes_behind_what_was_sent_however_often_the_connection_breaks() {
    simulate(async {
        for (round, bytes) in [(0, 10), (1, 100_000), (2, 1_000)] {
            let (world, log) = (World::new(10 + round), Log::default());
            world.network.set_link(Link { loss: 0.01, ..Link::default() });
            let (a, b) = pair(&world, &log).await;
            let (watcher, target, _) = watching(&a, &b, &log).await;
            let to = known_at(&b, &watcher);
            world.network.partition(ip(1), ip(2));
            act(&target, Act::Notes { to: to.clone(), numbers: 0..8, bytes }).await;
            // Those over 64 KiB travel beside the lane, and hold their places in it.
            act(&target, Act::Notes { to, numbers: 8..40, bytes: bytes / 50 }).await;
            act(&target, Act::Stop).await;
            // Cut for longer, each would take the other for dead.
            for cut in [500, 150] {
                pause(cut).await;
                world.network.heal(ip(1), ip(2));
                pause(12).await;
                world.network.partition(ip(1), ip(2));
            }
            world.network.heal(ip(1), ip(2));
            until("the end is told", || !log.ends("watcher").is_empty()).await;
            pause(5_000).await;
            let expected: Vec<_> = (0..40).map(Event::Note).chain([Event::End(Stopped)]).collect();
            assert_eq!(log.of("watcher"), expected, "round {round}");
            is_tidy(&[&a, &b]).await;
        }
    });
}

#[test]
fn a_watch_that_is_set_while_the_connection_is_broken_holds() {
    simulate(async {
        let (world, log) = (World::new(3), Log::default());
        let (a, b) = pair(&world, &log).await;
        let (watcher, target) = (log.spawn(&a, "watcher"), log.spawn(&b, "target"));
        world.network.partition(ip(1), ip(2));
        act(&watcher, Act::Watch(known_at(&a, &target))).await;
        pause(800).await;
        world.network.heal(ip(1), ip(2));
        until("the watch is set", || b.node.watch_counts().held == 1).await;
        target.stop();
        until("the end is told", || log.ends("watcher") == [Stopped]).await;
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn the_end_of_a_targets_node_ends_its_watches_once() {
    simulate(async {
        let (world, log) = (World::new(4), Log::default());
        let (a, b) = pair(&world, &log).await;
        let (watcher, target, from_afar) = watching(&a, &b, &log).await;
        let outside = from_afar.watch().expect("room");
        let numbers = 0..500;
        act(&target, Act::Notes { to: known_at(&b, &watcher), numbers, bytes: 10 }).await;
        pause(1).await;
        b.kill().await;
        let start = tokio::time::Instant::now();
        assert_eq!(outside.await.reason, NodeDown);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        // Its next run has nothing to do with it, even with the same number.
        let b = world.start(2, log.host()).await;
        a.sees(2).await;
        log.spawn(&b, "another").stop();
        pause(10_000).await;
        assert_eq!(log.ends("watcher"), [NodeDown]);
        assert_eq!(log.of("watcher").last(), Some(&Event::End(NodeDown)), "behind what arrived");
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn a_node_that_is_shut_down_says_so_of_its_actors() {
    simulate(async {
        let (world, log) = (World::new(5), Log::default());
        let (a, b) = pair(&world, &log).await;
        let (watcher, target, _) = watching(&a, &b, &log).await;
        let to = known_at(&b, &watcher);
        act(&target, Act::Notes { to, numbers: 0..3, bytes: 10 }).await;
        pause(10).await;
        b.node.shutdown().await;
        pause(15_000).await;
        let expected: Vec<_> = (0..3).map(Event::Note).chain([Event::End(NodeStopped)]).collect();
        assert_eq!(log.of("watcher"), expected);
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn the_end_of_a_watchers_node_takes_its_watches_back() {
    simulate(async {
        let (world, log) = (World::new(6), Log::default());
        let (b, a) = pair(&world, &log).await;
        let (_watcher, target, _) = watching(&a, &b, &log).await;
        a.kill().await;
        is_tidy(&[&b]).await;
        let a = world.start(2, log.host()).await;
        a.sees(2).await;
        let again = known_at(&a, &target).watch().expect("room");
        until("it is set", || b.node.watch_counts().held == 1).await;
        target.stop();
        assert_eq!(again.await.reason, Stopped);
        assert!(log.ends("watcher").is_empty(), "it is gone");
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn an_unwatch_is_the_last_word_whenever_the_target_ends() {
    simulate(async {
        let (world, log) = (World::new(7), Log::default());
        let (a, b) = pair(&world, &log).await;
        let mut told = 0;
        for n in 0..60 {
            let name = format!("watcher-{n}");
            let (watcher, target) = (log.spawn(&a, &name), log.spawn(&b, "target"));
            let from_afar = known_at(&a, &target);
            act(&watcher, Act::Watch(from_afar.clone())).await;
            // The one before, beside and behind the other, on its way in either direction.
            let (stops, unwatches) = (pause(n % 5), pause(n % 9));
            tokio::join!(
                async {
                    stops.await;
                    target.stop();
                },
                async {
                    unwatches.await;
                    act(&watcher, Act::Unwatch(from_afar)).await;
                }
            );
            pause(50).await;
            match log.of(&name)[..] {
                [Event::Unwatched] => {}
                [Event::End(_), Event::Unwatched] => told += 1,
                ref others => panic!("{others:?}"),
            }
        }
        assert!((10..50).contains(&told), "both were to come first: {told}");
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn a_full_mailbox_delays_an_end_from_elsewhere_and_takes_it_in_its_place() {
    simulate(async {
        for (seed, overflow) in (20..).zip([Overflow::Wait, Overflow::DropOldest]) {
            let (world, log) = (World::new(seed), Log::default());
            let (a, b) = pair(&world, &log).await;
            let builder = log.player(&a, "watcher").mailbox_capacity(1).overflow(overflow);
            let (watcher, target) = (builder.start().expect("spawned"), log.spawn(&b, "target"));
            act(&watcher, Act::Watch(known_at(&a, &target))).await;
            until("the watch is set", || b.node.watch_counts().held == 1).await;
            act(&watcher, Act::Hold(3_000)).await;
            pause(10).await;
            let to = known_at(&b, &watcher);
            act(&target, Act::Notes { to, numbers: 0..5, bytes: 10 }).await;
            pause(100).await;
            act(&target, Act::Stop).await;
            pause(1_000).await;
            assert_eq!(b.node.actor_count(), 0);
            assert!(log.of("watcher").is_empty(), "it is busy");
            pause(5_000).await;
            let first = if overflow == Overflow::DropOldest { 4 } else { 0 };
            let expected: Vec<_> =
                (first..5).map(Event::Note).chain([Event::End(Stopped)]).collect();
            assert_eq!(log.of("watcher"), expected, "{overflow:?}");
            is_tidy(&[&a, &b]).await;
        }
    });
}

#[test]
fn a_watch_waits_for_room_at_its_target_and_may_be_taken_back_meanwhile() {
    simulate(async {
        let (world, log) = (World::new(8), Log::default());
        let (a, b) = pair(&world, &log).await;
        let target = log.player(&b, "target").mailbox_capacity(1).start().expect("spawned");
        let from_afar = known_at(&a, &target);
        let watcher = log.spawn(&a, "watcher");
        act(&target, Act::Hold(5_000)).await;
        // One more than there is room for: the node is paused.
        for number in 0..3 {
            act(&from_afar, Act::Notes { to: watcher.clone(), numbers: number..number, bytes: 0 })
                .await;
        }
        pause(100).await;
        let taken_back = from_afar.watch().expect("room");
        let waits = from_afar.watch().expect("room");
        pause(500).await;
        assert_eq!((a.node.watch_counts().set, b.node.watch_counts().held), (2, 0), "no room");
        drop(taken_back);
        until("it is forgotten", || a.node.watch_counts().set == 1).await;
        assert_eq!(b.node.watch_counts().held, 0);
        pause(6_000).await;
        assert_eq!(b.node.watch_counts().held, 1, "the target went on");
        target.stop();
        assert_eq!(waits.await.reason, Stopped);
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn what_is_rejected_behind_another_message_is_sent_again() {
    simulate(async {
        let (world, log) = (World::new(9), Log::default());
        let (a, b) = pair(&world, &log).await;
        let busy = |on, name: &str| {
            let builder = log.player(on, name).mailbox_capacity(1).overflow(Overflow::RejectNewest);
            builder.start().expect("spawned")
        };
        let (watcher, target) = (busy(&a, "watcher"), busy(&b, "target"));
        let (to, from_afar) = (known_at(&b, &watcher), known_at(&a, &target));
        let notes = |to: &ActorRef<Player>| {
            (0..3).for_each(|n| to.try_tell(Note(n, Vec::new())).expect("the lane has room"));
            // The first has room, the others are rejected, and so is what their sender sends before it
            // knows: the word takes a while, there and back.
            pause(1)
        };
        act(&target, Act::Hold(1_000)).await;
        pause(10).await;
        notes(&from_afar).await;
        let watch = from_afar.watch().expect("room");
        let taken_back = from_afar.watch().expect("room");
        until("they are set", || b.node.watch_counts().held == 2).await;
        pause(2_000).await;
        act(&target, Act::Hold(1_000)).await;
        pause(10).await;
        notes(&from_afar).await;
        drop(taken_back);
        until("it is taken back", || b.node.watch_counts().held == 1).await;
        pause(2_000).await;
        act(&watcher, Act::Watch(from_afar)).await;
        until("it is set", || b.node.watch_counts().held == 2).await;
        act(&watcher, Act::Hold(1_000)).await;
        pause(10).await;
        notes(&to).await;
        target.stop();
        assert_eq!(watch.await.reason, Stopped);
        pause(3_000).await;
        assert_eq!(log.of("watcher"), [Event::Note(0), Event::End(Stopped)]);
        is_tidy(&[&a, &b]).await;
        let rejected = |node: &SimulatedNode| node.node.dead_letters().total();
        assert_eq!((rejected(&a), rejected(&b)), (4, 2), "watches are no dead letters");
    });
}

/// A key whose entity a node owns.
fn key_at(node: &SimulatedNode) -> String {
    let is_there =
        |key: &String| node.node.owner_of::<Player>(key).as_ref() == Some(&node.node.id());
    (0..).map(|n| format!("key-{n}")).find(is_there).expect("it owns some")
}

#[test]
fn an_entitys_activation_is_watched_wherever_it_is() {
    simulate(async {
        let (world, log) = (World::new(30), Log::default());
        let (a, b) = pair(&world, &log).await;
        for owner in [&a, &b] {
            let key = key_at(owner);
            let entity = a.node.entity::<Player>(&key);
            let told = async || entity.watch().expect("room").await.reason;
            assert_eq!(told().await, NotActive);
            assert_eq!(owner.node.entity_count(), 0, "a watch makes no activation");
            for (end, reason) in [(Act::Passivate, Passivated), (Act::Stop, Stopped)] {
                let _made = entity.ask(Who).await.expect("it answers");
                let watch = entity.watch().expect("room");
                pause(100).await;
                act(&entity, end).await;
                assert_eq!(watch.await.reason, reason);
            }
            assert_eq!(told().await, NotActive);
        }
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn an_entity_that_moves_ends_its_watches_and_those_that_come_to_its_old_owner_follow() {
    simulate(async {
        let (world, log) = (World::new(31), Log::default());
        let (a, b) = pair(&world, &log).await;
        let keys: Vec<_> = (0..200).map(|n| format!("key-{n}")).collect();
        let mut watches = Vec::new();
        for key in &keys {
            let entity = a.node.entity::<Player>(key);
            let _made = entity.ask(Who).await.expect("it answers");
            watches.push(entity.watch().expect("room"));
        }
        let owners = || -> Vec<_> {
            keys.iter().map(|key| a.node.owner_of::<Player>(key).expect("owned")).collect()
        };
        let before = owners();
        pause(100).await;
        // The others learn of the newcomer one after the other: what is sent meanwhile comes astray.
        let starts = world.start(3, log.host());
        let tries = async {
            let mut watches = Vec::new();
            for _ in 0..300 {
                let watch = |key: &String| b.node.entity::<Player>(key).watch().expect("room");
                watches.extend(keys[..20].iter().map(watch));
                pause(10).await;
            }
            watches
        };
        let (c, astray) = tokio::join!(starts, tries);
        c.sees(3).await;
        let after = owners();
        let moved: Vec<_> = (0..keys.len()).filter(|n| before[*n] != after[*n]).collect();
        assert!((20..180).contains(&moved.len()), "{}", moved.len());
        for (n, watch) in watches.iter_mut().enumerate() {
            let told = tokio::time::timeout(Duration::from_secs(1), watch).await;
            let expected = moved.contains(&n).then_some(Moved);
            assert_eq!(told.ok().map(|end| end.reason), expected, "{}", keys[n]);
        }
        for watch in astray {
            let told = tokio::time::timeout(Duration::from_millis(1), watch).await;
            let told = told.ok().map(|end| end.reason);
            assert!(matches!(told, None | Some(Moved | NotActive)), "{told:?}");
        }
        // The node of most of the others leaves.
        b.node.shutdown().await;
        for (n, watch) in watches.iter_mut().enumerate().filter(|(n, _)| !moved.contains(n)) {
            let told = tokio::time::timeout(Duration::from_secs(15), watch).await;
            let expected = (before[n] == b.node.id()).then_some(Moved);
            assert_eq!(told.ok().map(|end| end.reason), expected, "{}", keys[n]);
        }
        drop(watches);
        is_tidy(&[&a, &b, &c]).await;
    });
}

#[test]
fn a_killed_nodes_entities_have_ended() {
    simulate(async {
        let (world, log) = (World::new(32), Log::default());
        let (a, b) = pair(&world, &log).await;
        let entity = a.node.entity::<Player>(&key_at(&b));
        let _made = entity.ask(Who).await.expect("it answers");
        let watch = entity.watch().expect("room");
        pause(100).await;
        b.kill().await;
        assert_eq!(watch.await.reason, NodeDown);
        assert_eq!(entity.watch().expect("room").await.reason, NotActive, "it is nowhere now");
        is_tidy(&[&a]).await;
    });
}

#[test]
fn an_entity_that_watches_is_told_behind_what_came_to_its_key_and_to_its_number() {
    simulate(async {
        for seed in 40..50 {
            let (world, log) = (World::new(seed), Log::default());
            let (a, b) = pair(&world, &log).await;
            let key = key_at(&a);
            let entity = a.node.entity::<Player>(&key);
            let by_number = entity.ask(Who).await.expect("it answers");
            let target = log.spawn(&b, "target");
            act(&entity, Act::Watch(known_at(&a, &target))).await;
            until("the watch is set", || b.node.watch_counts().held == 1).await;
            let to = [known_at(&b, &by_number), b.node.entity::<Player>(&key)];
            for (to, from) in to.into_iter().zip([0, 100]) {
                // One of the two ways is made to take longer.
                let bytes = if u64::from(from) / 100 == seed % 2 { 200_000 } else { 10 };
                act(&target, Act::Notes { to, numbers: from..from + 5, bytes }).await;
            }
            act(&target, Act::Stop).await;
            pause(5_000).await;
            let events = log.of(&key);
            assert_eq!(events.len(), 11, "{events:?}");
            assert_eq!(events.last(), Some(&Event::End(Stopped)), "{events:?}");
            is_tidy(&[&a, &b]).await;
        }
    });
}

/// Two that are linked: the one on the first node has set the link.
async fn linked(
    a: &SimulatedNode,
    b: &SimulatedNode,
    log: &Log,
) -> (ActorRef<Player>, ActorRef<Player>) {
    let (setter, target) = (log.spawn(a, "setter"), log.spawn(b, "target"));
    act(&setter, Act::Link(known_at(a, &target))).await;
    until("the link is set", || b.node.watch_counts().held == 1).await;
    (setter, target)
}

#[test]
fn linked_actors_on_two_nodes_fail_together_whichever_fails_and_stop_alone() {
    simulate(async {
        let (world, log) = (World::new(50), Log::default());
        let (a, b) = pair(&world, &log).await;
        let exits = |name: &str| {
            let last = log.of(name).pop();
            match last {
                Some(Event::Exited(reason)) => reason,
                other => panic!("{name}: {other:?}"),
            }
        };
        for (end, reason) in [(Act::Panic, Panicked), (Act::Stop, Stopped)] {
            for fails in ["setter", "target"] {
                let (setter, target) = linked(&a, &b, &log).await;
                let end = if matches!(end, Act::Panic) { Act::Panic } else { Act::Stop };
                let (first, second, other) = match fails {
                    "setter" => (&setter, &target, "target"),
                    _ => (&target, &setter, "setter"),
                };
                act(first, end).await;
                pause(1_000).await;
                if reason.is_failure() {
                    assert_eq!(exits(other), ExitReason::Linked { reason });
                } else {
                    assert_eq!(exits(fails), ExitReason::Stopped);
                    assert_eq!(second.exit_reason(), None, "{other} goes on");
                    second.stop();
                }
                is_tidy(&[&a, &b]).await;
            }
        }
    });
}

#[test]
fn a_link_that_breaks_while_it_is_rejected_fails_its_target_all_the_same() {
    simulate(async {
        let (world, log) = (World::new(41), Log::default());
        let (a, b) = pair(&world, &log).await;
        let full = log.player(&b, "target").mailbox_capacity(1).overflow(Overflow::RejectNewest);
        let target = full.start().expect("spawned");
        let (from_afar, setter) = (known_at(&a, &target), log.spawn(&a, "setter"));
        act(&target, Act::Hold(1_000)).await;
        pause(10).await;
        // The first has room. The others are rejected, and so is the link behind them.
        (0..3).for_each(|n| from_afar.try_tell(Note(n, Vec::new())).expect("the lane has room"));
        act(&setter, Act::Link(from_afar)).await;
        act(&setter, Act::Panic).await;
        until("the target has ended", || target.exit_reason().is_some()).await;
        assert_eq!(target.exit_reason(), Some(ExitReason::Linked { reason: Panicked }));
        is_tidy(&[&a, &b]).await;
    });
}

#[test]
fn the_end_of_a_node_fails_those_who_are_linked_to_its_actors() {
    simulate(async {
        for killed in [1, 2] {
            let (world, log) = (World::new(50 + killed), Log::default());
            let (a, b) = pair(&world, &log).await;
            let (_setter, _target) = linked(&a, &b, &log).await;
            let (dies, lives, left) = if killed == 1 { (a, b, "target") } else { (b, a, "setter") };
            dies.kill().await;
            pause(10_000).await;
            let linked = ExitReason::Linked { reason: NodeDown };
            assert_eq!(log.of(left), [Event::Exited(linked)]);
            is_tidy(&[&lives]).await;
        }
    });
}

#[test]
fn either_end_of_a_link_between_nodes_takes_it_back() {
    simulate(async {
        let (world, log) = (World::new(53), Log::default());
        let (a, b) = pair(&world, &log).await;
        for who in ["setter", "target"] {
            let (setter, target) = linked(&a, &b, &log).await;
            match who {
                "setter" => act(&setter, Act::Unlink(known_at(&a, &target))).await,
                _ => act(&target, Act::Unlink(known_at(&b, &setter))).await,
            }
            is_tidy(&[&a, &b]).await;
            act(&setter, Act::Panic).await;
            pause(1_000).await;
            assert_eq!(target.exit_reason(), None);
            target.stop();
        }
    });
}

#[test]
fn linked_actors_that_are_restarted_link_again_and_fail_together_again() {
    simulate(async {
        let (world, log) = (World::new(54), Log::default());
        let (a, b) = pair(&world, &log).await;
        let policy = RestartPolicy::default;
        let target = log.player(&b, "target").supervise(policy()).start().expect("spawned");
        let setter = log.player(&a, "setter").supervise(policy()).start().expect("spawned");
        let from_afar = known_at(&a, &target);
        for round in 1..4 {
            act(&setter, Act::Link(from_afar.clone())).await;
            until("the link is set", || b.node.watch_counts().held == 1).await;
            act(if round % 2 == 0 { &setter } else { &target }, Act::Panic).await;
            pause(3_000).await;
            assert_eq!((log.starts("setter"), log.starts("target")), (round + 1, round + 1));
            is_tidy(&[&a, &b]).await;
        }
    });
}

/// A small generator: what a round does follows from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn whatever_happens_each_watch_is_told_once() {
    simulate(async {
        for seed in 60..66 {
            let (world, log) = (World::new(seed), Log::default());
            let mut dice = Dice(seed);
            world.network.set_link(Link { loss: 0.01, ..Link::default() });
            let (a, b) = pair(&world, &log).await;
            let c = world.start(3, log.host()).await;
            for node in [&a, &b, &c] {
                node.sees(3).await;
            }
            let nodes = [&a, &b, &c];
            let targets: Vec<_> = (0..30).map(|n| log.spawn(nodes[n % 3], "target")).collect();
            // Those of the node that is killed are nobody's to ask.
            let watchers: Vec<_> = (0..10)
                .map(|n| (nodes[n % 2], format!("w{n}"), log.spawn(nodes[n % 2], &format!("w{n}"))))
                .collect();
            let mut expected = Vec::new();
            for round in 0..60 {
                let (home, name, watcher) = &watchers[dice.below(10) as usize];
                let target = known_at(home, &targets[dice.below(30) as usize]);
                let entry = format!("{name}: {target:?}");
                // A watch that ended may be set again: so each pair is watched once.
                if !expected.contains(&entry) {
                    act(watcher, Act::Watch(target)).await;
                    expected.push(entry);
                }
                match dice.below(6) {
                    0 => targets[dice.below(30) as usize].stop(),
                    1 => targets[dice.below(30) as usize].kill(),
                    2 => world.network.partition(ip(1), ip(2 + dice.below(2) as u8)),
                    _ => {}
                }
                pause(dice.below(40)).await;
                if round % 5 == 4 {
                    world.network.heal_all();
                }
            }
            world.network.heal_all();
            pause(1_000).await;
            c.kill().await;
            targets.iter().for_each(ActorRef::stop);
            pause(20_000).await;
            let mut told = log.0.lock().expect("unpoisoned").ends.clone();
            told.sort();
            expected.sort();
            assert_eq!(told, expected, "seed {seed}");
            is_tidy(&[&a, &b]).await;
        }
    });
}
