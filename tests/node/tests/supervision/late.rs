//! Children that come while their supervisor ends.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use actix_cluster::{ExitReason, SpawnError, Supervisor, prelude::*};
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::{Child, LONG, Log, on_a_node};

/// Adds a child when a supervisor warns that it failed: its end is decided, and it is still open.
#[derive(Clone)]
struct AddsOne {
    to: Supervisor,
    added: Arc<Mutex<Vec<ActorRef<Child>>>>,
}

impl Subscriber for AddsOne {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().ends_with("supervisor::task")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        let child = self.to.spawn(|_| Child::new("late", &Log::default())).start();
        self.added.lock().expect("whole").push(child.expect("it is open"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_child_that_is_added_at_the_moment_of_the_end_ends_too() {
    on_a_node(|node| async move {
        let top = node.spawn_supervisor().start().expect("started");
        let adder = AddsOne { to: top.clone(), added: Arc::default() };
        let guard = tracing::subscriber::set_default(adder.clone());
        top.kill();
        assert_eq!(top.ended().await, ExitReason::Killed);
        drop(guard);
        let added = adder.added.lock().expect("whole");
        let reasons: Vec<_> = added.iter().map(ActorRef::exit_reason).collect();
        assert_eq!(reasons, [Some(ExitReason::Stopped)], "of what was added before it ended");
    });
}

#[test]
fn children_added_while_their_supervisor_ends_end_too() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let arbiters = NonZeroUsize::new(2).expect("not zero");
        let node = Node::builder().arbiters(arbiters).start().await.expect("a node");
        for _ in 0..200 {
            let limit = NonZeroUsize::new(200).expect("not zero");
            let top = node.spawn_supervisor().children_limit(limit).start().expect("started");
            let theirs = top.clone();
            let adder = std::thread::spawn(move || {
                let mut added = Vec::new();
                loop {
                    match theirs.spawn(|_| Child::new("a", &Log::default())).start() {
                        Ok(child) => added.push(child),
                        Err(SpawnError::TooManyChildren { .. }) => std::thread::yield_now(),
                        Err(refused) => return (added, refused),
                    }
                }
            });
            while top.child_count() < 3 {
                std::thread::yield_now();
            }
            top.kill();
            let ended = tokio::time::timeout(LONG, top.ended()).await;
            assert_eq!(ended.expect("it ends"), ExitReason::Killed);
            let (added, refused) = adder.join().expect("no panic");
            assert_eq!(refused, SpawnError::SupervisorEnded);
            assert!(added.iter().all(|child| child.exit_reason().is_some()));
        }
        tokio::time::timeout(LONG, node.shutdown()).await.expect("nobody is left behind");
    });
}
