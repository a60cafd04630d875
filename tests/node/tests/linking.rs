//! Links on one node: who fails with whom, who does not, and what restarts make of it; in paused time
//! on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    collections::BTreeMap,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    Backoff, ExitReason, Restart, RestartPolicy, Strategy, TerminatedReason, node::LocalThreads,
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use TerminatedReason::{Killed, Linked, NeverExisted, Panicked};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Act", version = 1)]
enum Act {
    Link(ActorRef<Member>),
    Unlink(ActorRef<Member>),
    Stop,
    Panic,
    Passivate,
    /// Awaits so many milliseconds, and nothing else.
    Hold(u64),
    /// Wait in the mailbox, and no more.
    Nothing,
}

#[derive(RemoteActor)]
#[remote(name = "test.Member", handles(Act))]
struct Member {
    name: String,
    log: Log,
    /// With whom it links when it starts.
    links: Option<ActorRef<Member>>,
}

impl Actor for Member {
    type Context = ClusterContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.log.add(&self.name, "started");
        if let Some(other) = &self.links {
            ctx.link(other).expect("room");
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.log.add(&self.name, "stopped");
    }
}

impl Handler<Act> for Member {
    type Result = ();
    fn handle(&mut self, act: Act, ctx: &mut Self::Context) {
        match act {
            Act::Link(other) => drop(ctx.link(&other).expect("room")),
            Act::Unlink(other) => {
                let unlinked = ctx.unlink(&other);
                self.log.add(&self.name, if unlinked { "unlinked" } else { "had no link" });
            }
            Act::Stop => ctx.stop(),
            Act::Panic => panic!("on purpose"),
            Act::Passivate => ctx.passivate(),
            Act::Hold(millis) => {
                let timer = ctx.clock().sleep(Duration::from_millis(millis));
                ctx.wait(timer.into_actor(self));
            }
            Act::Nothing => {}
        }
    }
}

/// What members did, by name.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<BTreeMap<String, Vec<&'static str>>>>);

impl Log {
    fn add(&self, name: &str, entry: &'static str) {
        self.0.lock().expect("unpoisoned").entry(name.to_owned()).or_default().push(entry);
    }

    fn of(&self, name: &str) -> Vec<&'static str> {
        self.0.lock().expect("unpoisoned").get(name).cloned().unwrap_or_default()
    }

    fn starts(&self, name: &str) -> usize {
        self.of(name).iter().filter(|entry| **entry == "started").count()
    }

    /// One that links with another whenever it starts.
    fn spawn(
        &self,
        node: &Node,
        name: &str,
        policy: RestartPolicy,
        links: Option<&ActorRef<Member>>,
    ) -> ActorRef<Member> {
        let (name, log, links) = (name.to_owned(), self.clone(), links.cloned());
        let made = move |_: &mut ClusterContext<Member>| Member {
            name: name.clone(),
            log: log.clone(),
            links: links.clone(),
        };
        node.spawn(made).supervise(policy).start().expect("spawned")
    }

    fn once(&self, node: &Node, name: &str) -> ActorRef<Member> {
        self.spawn(node, name, RestartPolicy::never(), None)
    }
}

fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node, Log) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let arbiters = NonZeroUsize::new(2).expect("not zero");
        let builder = Node::builder().actor::<Member>().arbiters(arbiters);
        let node = builder.threads(LocalThreads).seed(1).start().await.expect("a node");
        test(node.clone(), Log::default()).await;
        node.shutdown().await;
        assert_eq!((node.actor_count(), node.watch_counts().set), (0, 0), "nothing is left");
    });
}

async fn act(actor: &ActorRef<Member>, act: Act) {
    actor.tell(act).await.expect("accepted");
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// How one of two that are linked ends, and what becomes of the other.
fn check(end: impl Fn(&ActorRef<Member>), failed: Option<TerminatedReason>) {
    for setter_ends in [true, false] {
        on_a_node(async |node, log| {
            let (setter, target) = (log.once(&node, "setter"), log.once(&node, "target"));
            act(&setter, Act::Link(target.clone())).await;
            pass(1).await;
            let (ends, other) = if setter_ends { (&setter, &target) } else { (&target, &setter) };
            end(ends);
            pass(1).await;
            assert!(ends.exit_reason().is_some());
            let linked = failed.map(|reason| ExitReason::Linked { reason });
            assert_eq!(other.exit_reason(), linked, "the setter ends: {setter_ends}");
            assert_eq!(node.watch_counts().set, 0, "the link is over");
            if linked.is_some() {
                let name = if setter_ends { "target" } else { "setter" };
                assert_eq!(log.of(name), ["started"], "no hook runs");
            }
        });
    }
}

fn told(act: fn() -> Act) -> impl Fn(&ActorRef<Member>) {
    move |actor| actor.try_tell(act()).expect("room")
}

#[test]
fn one_that_panics_takes_the_other_with_it() {
    check(told(|| Act::Panic), Some(Panicked));
}

#[test]
fn one_that_is_killed_takes_the_other_with_it() {
    check(ActorRef::kill, Some(Killed));
}

#[test]
fn one_that_stops_or_is_passivated_leaves_the_other_alone() {
    check(told(|| Act::Stop), None);
    check(ActorRef::stop, None);
    check(told(|| Act::Passivate), None);
}

#[test]
fn a_chain_of_links_fails_to_its_ends() {
    on_a_node(async |node, log| {
        // Long enough that a recursion would not come back.
        let members: Vec<_> = (0..20_000).map(|n| log.once(&node, &n.to_string())).collect();
        for pair in members.windows(2) {
            act(&pair[0], Act::Link(pair[1].clone())).await;
        }
        pass(1).await;
        assert_eq!(node.watch_counts().set, members.len() - 1);
        act(&members[10_000], Act::Panic).await;
        pass(1).await;
        let linked = |reason| Some(ExitReason::Linked { reason });
        assert_eq!(members[9_999].exit_reason(), linked(Panicked));
        assert_eq!(members[9_998].exit_reason(), linked(Linked));
        assert!(members.iter().all(|member| member.exit_reason().is_some()));
    });
}

#[test]
fn a_target_of_many_links_takes_all_with_it() {
    on_a_node(async |node, log| {
        let hub = log.once(&node, "hub");
        let members: Vec<_> = (0..1_000).map(|n| log.once(&node, &n.to_string())).collect();
        for member in &members {
            act(member, Act::Link(hub.clone())).await;
        }
        pass(1).await;
        act(&members[7], Act::Panic).await;
        pass(1).await;
        let linked = |reason| Some(ExitReason::Linked { reason });
        assert_eq!(hub.exit_reason(), linked(Panicked));
        assert_eq!(members[8].exit_reason(), linked(Linked), "through the hub");
        assert_eq!(node.actor_count(), 0);
    });
}

#[test]
fn linked_actors_are_restarted_and_linked_anew() {
    on_a_node(async |node, log| {
        let target = log.spawn(&node, "target", RestartPolicy::default(), None);
        let setter = log.spawn(&node, "setter", RestartPolicy::default(), Some(&target));
        for round in 2..6 {
            pass(20).await;
            act(if round % 2 == 0 { &setter } else { &target }, Act::Panic).await;
            pass(20).await;
            assert_eq!((log.starts("setter"), log.starts("target")), (round, round));
        }
        assert_eq!((setter.exit_reason(), target.exit_reason()), (None, None));
        assert_eq!(node.watch_counts().set, 1, "one link, however often it was set");
    });
}

#[test]
fn a_fresh_instance_that_links_to_one_about_to_fail_does_not_fail_with_it() {
    on_a_node(async |node, log| {
        let at_once = RestartPolicy {
            backoff: Backoff { first: Duration::ZERO, longest: Duration::ZERO },
            ..RestartPolicy::default()
        };
        // Long in its backoff, so that the setter links anew before it begins again.
        let slow = RestartPolicy {
            backoff: Backoff { first: Duration::from_secs(8), longest: Duration::from_secs(8) },
            ..RestartPolicy::default()
        };
        let target = log.spawn(&node, "target", slow, None);
        let setter = log.spawn(&node, "setter", at_once, Some(&target));
        pass(1).await;
        act(&setter, Act::Panic).await;
        pass(20).await;
        assert_eq!((log.starts("setter"), log.starts("target")), (2, 2));
        // The link is the next instance's.
        act(&target, Act::Panic).await;
        pass(20).await;
        assert_eq!((log.starts("setter"), log.starts("target")), (3, 3));
    });
}

#[test]
fn a_failure_that_comes_while_there_is_no_instance_is_none_of_the_next_one() {
    on_a_node(async |node, log| {
        let slow = RestartPolicy {
            backoff: Backoff { first: Duration::from_secs(8), longest: Duration::from_secs(8) },
            ..RestartPolicy::default()
        };
        let target = log.spawn(&node, "target", slow, None);
        act(&target, Act::Panic).await;
        pass(1).await;
        let setter = log.once(&node, "setter");
        act(&setter, Act::Link(target.clone())).await;
        act(&setter, Act::Panic).await;
        pass(60).await;
        assert_eq!((log.starts("target"), target.exit_reason()), (2, None));
        // And its links are its own.
        let another = log.once(&node, "another");
        act(&another, Act::Link(target.clone())).await;
        pass(1).await;
        act(&target, Act::Panic).await;
        pass(1).await;
        assert_eq!(another.exit_reason(), Some(ExitReason::Linked { reason: Panicked }));
    });
}

#[test]
fn either_end_takes_a_link_back() {
    for setter_unlinks in [true, false] {
        on_a_node(async |node, log| {
            let (setter, target) = (log.once(&node, "setter"), log.once(&node, "target"));
            act(&setter, Act::Link(target.clone())).await;
            act(&setter, Act::Link(target.clone())).await;
            pass(1).await;
            assert_eq!(node.watch_counts().set, 1, "linking again changes nothing");
            let (from, to, name) = match setter_unlinks {
                true => (&setter, &target, "setter"),
                false => (&target, &setter, "target"),
            };
            act(from, Act::Unlink(to.clone())).await;
            act(from, Act::Unlink(to.clone())).await;
            pass(1).await;
            assert_eq!(log.of(name)[1..], ["unlinked", "had no link"]);
            assert_eq!(node.watch_counts().set, 0);
            act(&setter, Act::Panic).await;
            pass(1).await;
            assert_eq!(target.exit_reason(), None);
        });
    }
}

#[test]
fn a_link_that_was_taken_back_by_the_other_end_can_be_set_again() {
    on_a_node(async |node, log| {
        let (setter, target) = (log.once(&node, "setter"), log.once(&node, "target"));
        act(&setter, Act::Link(target.clone())).await;
        pass(1).await;
        // The setter has not heard of it when it links again.
        act(&setter, Act::Hold(1_000)).await;
        act(&setter, Act::Link(target.clone())).await;
        act(&target, Act::Unlink(setter.clone())).await;
        pass(5).await;
        assert_eq!(node.watch_counts().set, 1);
        act(&target, Act::Panic).await;
        pass(1).await;
        assert_eq!(setter.exit_reason(), Some(ExitReason::Linked { reason: Panicked }));
    });
}

#[test]
fn to_link_to_what_has_failed_is_to_fail_and_to_what_has_stopped_is_nothing() {
    on_a_node(async |node, log| {
        for (end, reason) in [(Act::Panic, Some(Panicked)), (Act::Stop, None)] {
            let (setter, target) = (log.once(&node, "setter"), log.once(&node, "target"));
            act(&target, end).await;
            pass(1).await;
            act(&setter, Act::Link(target)).await;
            pass(1).await;
            let linked = reason.map(|reason| ExitReason::Linked { reason });
            assert_eq!(setter.exit_reason(), linked);
            assert_eq!(node.watch_counts().set, 0);
        }
        assert!(NeverExisted.is_failure());
    });
}

#[test]
fn a_link_takes_effect_while_the_actor_awaits() {
    on_a_node(async |node, log| {
        let (setter, target) = (log.once(&node, "setter"), log.once(&node, "target"));
        act(&setter, Act::Link(target.clone())).await;
        act(&target, Act::Hold(1_000_000)).await;
        act(&target, Act::Nothing).await;
        pass(1).await;
        setter.kill();
        pass(1).await;
        assert_eq!(target.exit_reason(), Some(ExitReason::Linked { reason: Killed }));
    });
}

#[test]
fn an_actor_that_is_linked_to_itself_fails_once() {
    on_a_node(async |node, log| {
        let own = log.spawn(&node, "own", RestartPolicy::default(), None);
        act(&own, Act::Link(own.clone())).await;
        act(&own, Act::Panic).await;
        pass(60).await;
        assert_eq!((log.starts("own"), own.exit_reason()), (2, None));
    });
}

#[test]
fn a_supervisor_restarts_a_child_that_failed_with_another() {
    on_a_node(async |node, log| {
        let supervisor = node.spawn_supervisor().strategy(Strategy::OneForAll).start();
        let supervisor = supervisor.expect("started");
        let child = |name: &'static str| {
            let log = log.clone();
            let made = move |_: &mut ClusterContext<Member>| Member {
                name: name.to_owned(),
                log: log.clone(),
                links: None,
            };
            supervisor.spawn(made).restart(Restart::Transient).start().expect("room")
        };
        let (child, _sibling) = (child("child"), child("sibling"));
        let outsider = log.once(&node, "outsider");
        act(&child, Act::Link(outsider.clone())).await;
        pass(1).await;
        act(&outsider, Act::Panic).await;
        pass(5).await;
        assert_eq!((log.starts("child"), log.starts("sibling")), (2, 2));
        assert_eq!(log.of("child"), ["started", "started"], "no hook runs, as after a panic");
    });
}
