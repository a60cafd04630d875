//! Actix addresses of our actors: when they are good, what bounds them, and how they end, in paused
//! time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Addr, MailboxError, Recipient};
use actix_cluster::{
    Backoff, RejectReason, RestartPolicy, SpawnError, node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// A message of the process alone, as actix code has them.
#[derive(Message)]
#[rtype(result = "u32")]
struct Note(u32);

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Panic,
    Stop,
    /// Keeps everything waiting for so many milliseconds.
    Hold(u64),
}

/// Has the actor to itself for so many milliseconds, and panics then.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.HoldAndPanic", version = 1)]
struct HoldAndPanic(u64);

type Log = Arc<Mutex<Vec<u32>>>;

#[derive(RemoteActor)]
#[remote(name = "test.Clerk", handles(async HoldAndPanic))]
struct Clerk {
    notes: Log,
}

impl Actor for Clerk {
    type Context = ClusterContext<Self>;
}

impl Handler<Note> for Clerk {
    type Result = u32;
    fn handle(&mut self, Note(number): Note, _: &mut Self::Context) -> u32 {
        self.notes.lock().expect("a whole log").push(number);
        number
    }
}

impl Handler<Do> for Clerk {
    type Result = ();
    fn handle(&mut self, what: Do, ctx: &mut Self::Context) {
        match what {
            Do::Panic => panic!("on purpose"),
            Do::Stop => ctx.stop(),
            Do::Hold(millis) => {
                let sleep = ctx.clock().sleep(Duration::from_millis(millis));
                ctx.wait(sleep.into_actor(self));
            }
        }
    }
}

impl AsyncHandler<HoldAndPanic> for Clerk {
    async fn handle(&mut self, HoldAndPanic(millis): HoldAndPanic, ctx: &mut Self::Context) {
        ctx.clock().sleep(Duration::from_millis(millis)).await;
        panic!("on purpose");
    }
}

/// Runs `test` on a node with one arbiter, in paused time.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let builder = Node::builder().arbiters(NonZeroUsize::MIN).threads(LocalThreads).seed(1);
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
        assert_eq!(node.actor_count(), 0, "shutdown leaves no actor behind");
    });
}

/// A clerk that is restarted after a second, its address, and what it has noted.
fn clerk(node: &Node) -> (ActorRef<Clerk>, Addr<Clerk>, Log) {
    let notes = Log::default();
    let theirs = Arc::clone(&notes);
    let second = Duration::from_secs(1);
    let policy = RestartPolicy {
        backoff: Backoff { first: second, longest: second },
        ..RestartPolicy::default()
    };
    let clerk = node.spawn(move |_| Clerk { notes: Arc::clone(&theirs) }).supervise(policy);
    let (clerk, addr) = clerk.start_with_addr().expect("spawned");
    (clerk, addr, notes)
}

fn noted(log: &Log) -> Vec<u32> {
    log.lock().expect("a whole log").clone()
}

/// Lets every task that is ready run, without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

const LIMIT: u32 = ClusterContext::<Clerk>::INLET_LIMIT as u32;

#[test]
fn an_address_is_good_before_its_actor_runs() {
    on_a_node(|node| async move {
        let (_clerk, addr, log) = clerk(&node);
        addr.do_send(Note(1));
        let recipient: Recipient<Note> = addr.recipient();
        recipient.do_send(Note(2));
        assert_eq!(recipient.send(Note(3)).await.expect("answered"), 3);
        assert_eq!(noted(&log), [1, 2, 3]);
    });
}

#[test]
fn an_address_survives_a_restart_and_keeps_what_waits() {
    on_a_node(|node| async move {
        let (_clerk, addr, log) = clerk(&node);
        let failed = addr.send(Do::Panic);
        addr.do_send(Note(1));
        assert_eq!(failed.await, Err(MailboxError::Closed));
        assert!(addr.connected());
        addr.do_send(Note(2));
        settle().await;
        assert!(noted(&log).is_empty(), "it is not running");
        assert_eq!(addr.send(Note(3)).await.expect("answered"), 3);
        assert_eq!(noted(&log), [1, 2, 3]);
    });
}

#[test]
fn an_address_is_closed_once_its_actor_has_ended() {
    on_a_node(|node| async move {
        let (_clerk, addr, log) = clerk(&node);
        addr.do_send(Do::Stop);
        addr.do_send(Note(1));
        settle().await;
        assert!(!addr.connected());
        assert_eq!(addr.send(Note(2)).await, Err(MailboxError::Closed));
        assert!(noted(&log).is_empty());
        assert_eq!(node.dead_letters().rejected(RejectReason::Stopped), 1, "what waited");
        node.shutdown().await;
        let refused = node.spawn(|_| Clerk { notes: Log::default() }).start_with_addr();
        assert_eq!(refused.err(), Some(SpawnError::NodeStopped));
    });
}

#[test]
fn an_address_is_capped_before_its_actor_runs() {
    on_a_node(|node| async move {
        let (_clerk, addr, log) = clerk(&node);
        (0..LIMIT + 2).for_each(|number| addr.do_send(Note(number)));
        settle().await;
        assert_eq!(noted(&log), (0..LIMIT).collect::<Vec<_>>());
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 2);
    });
}

/// Sends two more than there is room for, to a clerk that has just been told to do this; gives how
/// many were dead letters before it could handle any.
fn rejected_while(what: Do) -> u64 {
    let counted = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&counted);
    on_a_node(|node| async move {
        let (_clerk, addr, log) = clerk(&node);
        addr.do_send(what);
        settle().await;
        (0..LIMIT + 2).for_each(|number| addr.do_send(Note(number)));
        settle().await;
        assert!(noted(&log).is_empty(), "it can't have handled any");
        *theirs.lock().expect("whole") = node.dead_letters().rejected(RejectReason::Full);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(noted(&log), (0..LIMIT).collect::<Vec<_>>());
    });
    *counted.lock().expect("whole")
}

#[test]
fn an_address_is_capped_while_its_actor_backs_off() {
    assert_eq!(rejected_while(Do::Panic), 2);
}

#[test]
fn an_address_is_capped_while_its_actor_waits_for_a_future() {
    assert_eq!(rejected_while(Do::Hold(1_000)), 2);
}

#[test]
fn an_address_is_capped_in_a_back_off_from_a_handler_that_had_its_actor() {
    on_a_node(|node| async move {
        let (clerk, addr, log) = clerk(&node);
        clerk.try_tell(HoldAndPanic(100)).expect("taken");
        settle().await;
        // It is woken for this, and has no inlet to look into.
        addr.do_send(Note(0));
        tokio::time::sleep(Duration::from_millis(200)).await;
        (1..LIMIT + 2).for_each(|number| addr.do_send(Note(number)));
        settle().await;
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 2, "none is handled yet");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(noted(&log), (0..LIMIT).collect::<Vec<_>>());
    });
}

#[test]
fn what_comes_by_an_address_while_its_actor_is_held_is_counted_when_it_ends() {
    on_a_node(|node| async move {
        let (clerk, addr, log) = clerk(&node);
        clerk.try_tell(HoldAndPanic(10_000)).expect("taken");
        settle().await;
        (0..3).for_each(|number| addr.do_send(Note(number)));
        clerk.kill();
        settle().await;
        assert!(!addr.connected() && noted(&log).is_empty());
        assert_eq!(node.dead_letters().rejected(RejectReason::Stopped), 3);
    });
}
