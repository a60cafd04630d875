//! The whole grid of an actor's own policy: which kind of restart answers which end, one test for
//! each cell, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_cluster::{
    ExitReason, RejectReason, Restart, RestartPolicy, node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.End", version = 1)]
enum End {
    Panic,
    Fail,
    Stop,
    Passivate,
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Ping", version = 1)]
struct Ping;

#[derive(RemoteActor)]
#[remote(name = "test.Single", handles(End, Ping))]
struct Single(Arc<AtomicU32>);

impl Actor for Single {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler<End> for Single {
    type Result = ();
    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        match end {
            End::Panic => panic!("handler panics on purpose"),
            End::Fail => ctx.fail("it fails itself on purpose"),
            End::Stop => ctx.stop(),
            End::Passivate => ctx.passivate(),
        }
    }
}

impl Handler<Ping> for Single {
    type Result = ();
    fn handle(&mut self, _: Ping, _: &mut Self::Context) {}
}

/// How the first instance ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Panics,
    Fails,
    FailsToStart,
    FailsToLoad,
    Stops,
    Passivates,
    IsStopped,
    IsKilled,
}

/// Why a message that comes too late is rejected, and what the reference says of the end.
fn end_of(how: How) -> (RejectReason, fn(&ExitReason) -> bool) {
    match how {
        How::Panics | How::FailsToStart => {
            (RejectReason::Failed, |end| matches!(end, ExitReason::Panicked { restarts: 0, .. }))
        }
        How::Fails => {
            (RejectReason::Failed, |end| matches!(end, ExitReason::Failed { restarts: 0, .. }))
        }
        How::FailsToLoad => (RejectReason::Failed, |end| {
            matches!(end, ExitReason::FailedToStart { restarts: 0, .. })
        }),
        How::Stops | How::IsStopped => {
            (RejectReason::Stopped, |end| matches!(end, ExitReason::Stopped))
        }
        How::Passivates => (RejectReason::Passivated, |end| matches!(end, ExitReason::Passivated)),
        How::IsKilled => (RejectReason::Stopped, |end| matches!(end, ExitReason::Killed)),
    }
}

/// One cell: how often the actor started in the end, and whether it lives.
fn check(restart: Restart, how: How, starts: u32, lives: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let node = Node::builder().threads(LocalThreads).seed(1).start().await.expect("a node");
        let (started, mut fails) = (Arc::new(AtomicU32::new(0)), true);
        let counter = Arc::clone(&started);
        let builder = match how {
            How::FailsToLoad => node.spawn_async(move |_| {
                let (fails, counter) = (std::mem::take(&mut fails), Arc::clone(&counter));
                async move { if fails { Err("no connection") } else { Ok(Single(counter)) } }
            }),
            _ => node.spawn(move |_| {
                let fails = std::mem::take(&mut fails) && how == How::FailsToStart;
                assert!(!fails, "factory panics on purpose");
                Single(Arc::clone(&counter))
            }),
        };
        let policy = RestartPolicy { restart, ..RestartPolicy::default() };
        let target = builder.supervise(policy).start().expect("spawned");
        let end = match how {
            How::Panics => Some(End::Panic),
            How::Fails => Some(End::Fail),
            How::Stops => Some(End::Stop),
            How::Passivates => Some(End::Passivate),
            How::FailsToStart | How::FailsToLoad | How::IsStopped | How::IsKilled => None,
        };
        if let Some(end) = end {
            target.tell(end).await.expect("accepted");
        } else {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        match how {
            How::IsStopped => target.stop(),
            How::IsKilled => target.kill(),
            _ => {}
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(started.load(Ordering::SeqCst), starts);
        let (rejected, is_that_end) = end_of(how);
        match target.exit_reason() {
            None => assert!(lives),
            Some(end) => assert!(!lives && is_that_end(&end), "{end}"),
        }
        match target.ask(Ping).await {
            Ok(()) => assert!(lives),
            Err(AskError::Rejected { reason, .. }) => {
                assert_eq!((reason, lives), (rejected, false))
            }
            Err(error) => panic!("{error:?}"),
        }
        node.shutdown().await;
    });
}

macro_rules! grid {
    ($(fn $name:ident() { $restart:ident, $how:ident => $starts:expr, $lives:expr })*) => {$(
        #[test]
        fn $name() {
            check(Restart::$restart, How::$how, $starts, $lives);
        }
    )*};
}

grid! {
    fn permanent_panics() { Permanent, Panics => 2, true }
    fn permanent_fails_itself() { Permanent, Fails => 2, true }
    fn permanent_fails_to_start() { Permanent, FailsToStart => 1, true }
    fn permanent_fails_to_load() { Permanent, FailsToLoad => 1, true }
    fn permanent_stops() { Permanent, Stops => 2, true }
    fn permanent_passivates() { Permanent, Passivates => 1, false }
    fn permanent_is_stopped() { Permanent, IsStopped => 1, false }
    fn permanent_is_killed() { Permanent, IsKilled => 1, false }
    fn transient_panics() { Transient, Panics => 2, true }
    fn transient_fails_itself() { Transient, Fails => 2, true }
    fn transient_fails_to_start() { Transient, FailsToStart => 1, true }
    fn transient_fails_to_load() { Transient, FailsToLoad => 1, true }
    fn transient_stops() { Transient, Stops => 1, false }
    fn transient_passivates() { Transient, Passivates => 1, false }
    fn transient_is_stopped() { Transient, IsStopped => 1, false }
    fn transient_is_killed() { Transient, IsKilled => 1, false }
    fn temporary_panics() { Temporary, Panics => 1, false }
    fn temporary_fails_itself() { Temporary, Fails => 1, false }
    fn temporary_fails_to_start() { Temporary, FailsToStart => 0, false }
    fn temporary_fails_to_load() { Temporary, FailsToLoad => 0, false }
    fn temporary_stops() { Temporary, Stops => 1, false }
    fn temporary_passivates() { Temporary, Passivates => 1, false }
    fn temporary_is_stopped() { Temporary, IsStopped => 1, false }
    fn temporary_is_killed() { Temporary, IsKilled => 1, false }
}
