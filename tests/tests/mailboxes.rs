//! Mailboxes whose senders are on another node: who waits, what is set aside, and what becomes of
//! actors that fill each other.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{sync::Arc, time::Duration};

use actix_cluster::{NodeBuilder, OrStash, RejectReason, prelude::*};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize};

/// Done once the gate is open.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.Job", version = 1)]
struct Job(u32);

/// Done at once, unless it is paused.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "u32")]
#[remote(name = "test.Chore", version = 1)]
struct Chore(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Do", version = 1)]
enum Do {
    Open,
    Close,
    PauseChores,
    /// For so many milliseconds.
    PauseChoresFor(u64),
    Panic,
    /// Keeps the mailbox waiting for so many milliseconds.
    Hold(u64),
}

/// Tells chores to that one, up to 3,000 and until it is refused, and handles nothing meanwhile.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Fill", version = 1)]
struct Fill(ActorRef<Gate>);

/// What the gates of all nodes have done.
#[derive(Default)]
struct Done {
    jobs: Vec<u32>,
    /// How many chores each filler could tell.
    told: Vec<u32>,
    refused: Vec<(RejectReason, u32)>,
}

#[derive(RemoteActor)]
#[remote(
    name = "test.Gate",
    handles(Job, Chore, Do, Fill),
    placement = Eventual,
    state = volatile,
    mailbox = 2,
    stash = 4
)]
struct Gate {
    open: bool,
    done: Shared<Done>,
}

impl Gate {
    fn done(&self, number: u32) -> u32 {
        self.done.lock().expect("whole").jobs.push(number);
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

impl Handler<Chore> for Gate {
    type Result = u32;
    fn handle(&mut self, Chore(number): Chore, _: &mut Self::Context) -> u32 {
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
            Do::PauseChores => ctx.pause::<Chore>(),
            Do::PauseChoresFor(ms) => {
                ctx.pause::<Chore>();
                ctx.run_later(Duration::from_millis(ms), |_, ctx| ctx.resume::<Chore>());
            }
            Do::Panic => panic!("on purpose"),
            Do::Hold(ms) => {
                let sleep = ctx.clock().sleep(Duration::from_millis(ms));
                ctx.wait(sleep.into_actor(self));
            }
        }
    }
}

impl Handler<Fill> for Gate {
    type Result = ();
    fn handle(&mut self, Fill(peer): Fill, ctx: &mut Self::Context) {
        let done = Arc::clone(&self.done);
        let fill = async move {
            let mut told = 0;
            while told < 3_000 {
                if let Err(full) = peer.tell(Chore(told)).await {
                    done.lock().expect("whole").refused.push((full.reason, full.message.0));
                    break;
                }
                told += 1;
            }
            done.lock().expect("whole").told.push(told);
        };
        ctx.wait(fill.into_actor(self));
    }
}

/// Two nodes that see each other, and what is done on both.
async fn pair(world: &World) -> ([SimulatedNode; 2], Shared<Done>) {
    let done = Shared::<Done>::default();
    let build = |builder: NodeBuilder| {
        let done = Arc::clone(&done);
        builder.entity(move |_| Gate { open: false, done: Arc::clone(&done) })
    };
    let (a, b) = tokio::join!(world.start(1, build), world.start(2, build));
    a.sees(2).await;
    b.sees(2).await;
    ([a, b], done)
}

/// A reference, held by `from`, to a gate on `on`.
fn gate_on(from: &SimulatedNode, on: &SimulatedNode) -> ActorRef<Gate> {
    let mut keys = (0..).map(|number: u32| format!("gate-{number}"));
    let is_there = |key: &String| from.node.owner_of::<Gate>(key).as_ref() == Some(&on.node.id());
    let key = keys.find(is_there).expect("each node owns something");
    from.node.entity(&key)
}

fn jobs(done: &Shared<Done>) -> Vec<u32> {
    done.lock().expect("whole").jobs.clone()
}

#[test]
fn two_actors_on_two_nodes_that_fill_each_other_end_in_a_typed_error() {
    simulate(async {
        let ([a, b], done) = pair(&World::new(1)).await;
        let (here, there) = (gate_on(&a, &a), gate_on(&a, &b));
        here.tell(Fill(there.clone())).await.expect("room");
        there.tell(Fill(here.clone())).await.expect("room");
        pause(4_900).await;
        assert!(done.lock().expect("whole").refused.is_empty(), "both wait");
        until("both go on", || done.lock().expect("whole").told.len() == 2).await;
        here.ask(Chore(0)).await.expect("it goes on");
        there.ask(Chore(0)).await.expect("so does the other");
        let done = done.lock().expect("whole");
        // Who is refused makes room for the other, unless that one's time is over too.
        assert!(!done.refused.is_empty());
        for (reason, given_back) in &done.refused {
            assert!(*reason == RejectReason::Full && done.told.contains(given_back));
        }
        let accepted = done.told.iter().sum::<u32>() as usize;
        assert_eq!(done.jobs.len(), accepted + 2, "what was accepted is done, once");
    });
}

#[test]
fn those_who_wait_for_a_target_on_another_node_are_served_in_order_of_arrival() {
    simulate(async {
        let ([a, b], done) = pair(&World::new(2)).await;
        let gate = gate_on(&a, &b);
        gate.tell(Do::Hold(4_000)).await.expect("room");
        pause(100).await;
        for n in 0..4 {
            gate.try_tell(Chore(n)).expect("nobody has said that it is full");
        }
        pause(1_000).await;
        assert_eq!(gate.try_tell(Chore(99)).expect_err("paused").reason, RejectReason::Full);
        let tells = (4..50).map(|n| {
            let gate = gate.clone();
            tokio::task::spawn_local(async move { gate.tell(Chore(n)).await.expect("room") })
        });
        for tell in tells.collect::<Vec<_>>() {
            tell.await.expect("told");
        }
        gate.ask(Chore(50)).await.expect("answered");
        assert_eq!(jobs(&done), (0..=50).collect::<Vec<_>>());
    });
}

#[test]
fn messages_of_another_node_are_stashed_with_their_askers() {
    simulate(async {
        let ([a, b], done) = pair(&World::new(3)).await;
        let gate = gate_on(&a, &b);
        let first = tokio::task::spawn_local(gate.ask(Job(1)));
        let expires = tokio::task::spawn_local(gate.ask(Job(2)).within(Duration::from_secs(1)));
        pause(500).await;
        gate.tell(Job(3)).await.expect("room");
        let last = tokio::task::spawn_local(gate.ask(Job(4)));
        pause(500).await;
        match gate.ask(Job(5)).await {
            Err(AskError::Rejected { reason: RejectReason::Full, message: Job(5) }) => {}
            other => panic!("the stash is full: {other:?}"),
        }
        assert!(jobs(&done).is_empty());
        // A restart keeps what is stashed.
        gate.tell(Do::Panic).await.expect("room");
        pause(500).await;
        gate.tell(Do::Open).await.expect("room");
        assert_eq!(first.await.expect("no panic").expect("answered"), 1);
        assert!(expires.await.expect("no panic").is_err());
        assert_eq!(last.await.expect("no panic").expect("answered"), 4);
        assert_eq!(jobs(&done), [1, 3, 4], "what has expired never runs");
        gate.ask(Job(6)).await.expect("answered");
    });
}

#[test]
fn stashed_messages_use_their_senders_budget_and_give_it_back() {
    simulate(async {
        let ([a, b], done) = pair(&World::new(4)).await;
        let gate = gate_on(&a, &b);
        for round in 0..600 {
            for n in 0..4 {
                gate.tell(Job(round * 4 + n)).await.expect("room");
            }
            gate.tell(Do::Open).await.expect("room");
            gate.tell(Do::Close).await.expect("room");
        }
        until("all is done", || jobs(&done).len() == 2_400).await;
        assert!(jobs(&done).is_sorted());
    });
}

#[test]
fn a_paused_type_of_another_node_is_held_back_and_pauses_its_sender() {
    simulate(async {
        let ([a, b], done) = pair(&World::new(5)).await;
        let gate = gate_on(&a, &b);
        gate.tell(Do::PauseChoresFor(3_000)).await.expect("room");
        for n in 0..4 {
            gate.tell(Chore(n)).await.expect("nobody has said that it is full");
        }
        pause(1_000).await;
        assert!(jobs(&done).is_empty());
        assert_eq!(gate.try_tell(Chore(9)).expect_err("paused").reason, RejectReason::Full);
        let mine = gate_on(&b, &b);
        assert_eq!(mine.try_tell(Chore(9)).expect_err("full").reason, RejectReason::Full);
        for n in 4..8 {
            gate.tell(Chore(n)).await.expect("room, once the pause is over");
        }
        until("all is done", || jobs(&done) == [0, 1, 2, 3, 4, 5, 6, 7]).await;
    });
}

#[test]
fn a_leaving_node_sends_on_what_was_set_aside_there() {
    simulate(async {
        let ([a, b], done) = pair(&World::new(6)).await;
        let gate = gate_on(&a, &b);
        gate.tell(Job(1)).await.expect("room");
        let asked = tokio::task::spawn_local(gate.ask(Job(2)).within(Duration::from_secs(60)));
        pause(100).await;
        gate.tell(Do::PauseChores).await.expect("room");
        gate.tell(Chore(3)).await.expect("room");
        pause(100).await;
        b.node.shutdown().await;
        until("the told chore is sent on", || jobs(&done) == [3]).await;
        gate.tell(Do::Open).await.expect("room");
        assert_eq!(asked.await.expect("no panic").expect("answered"), 2);
        let mut all = jobs(&done);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    });
}
