//! Names of actors on one node.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{future::Future, num::NonZeroUsize, time::Duration};

use actix_cluster::{
    RegisterError, RestartPolicy, Supervisor, WhereisError, node::LocalThreads, prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// Panics.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Panic", version = 1)]
struct Panic;

/// Answered with whether somebody of that name answers too.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "bool")]
#[remote(name = "test.Knows", version = 1)]
struct Knows(Option<String>);

#[derive(RemoteActor)]
#[remote(name = "test.Clerk", handles(Panic, async Knows), placement = Eventual, state = volatile)]
struct Clerk;
impl Actor for Clerk {
    type Context = ClusterContext<Self>;
}
impl Handler<Panic> for Clerk {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("handler panics on purpose");
    }
}
impl AsyncHandler<Knows> for Clerk {
    async fn handle(&mut self, Knows(name): Knows, ctx: &mut Self::Context) -> bool {
        let Some(name) = name else { return true };
        match ctx.node().whereis::<Clerk>(&name) {
            Ok(other) => other.ask(Knows(None)).await.is_ok(),
            Err(_) => false,
        }
    }
}

#[derive(RemoteActor)]
#[remote(name = "test.Guard", handles())]
struct Guard;
impl Actor for Guard {
    type Context = ClusterContext<Self>;
}

/// Runs a test on a node of one thread.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let node = Node::builder().entity(|_| Clerk).threads(LocalThreads).start();
        let node = node.await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
    });
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn a_name_leads_to_its_actor_from_every_arbiter() {
    let arbiters = NonZeroUsize::new(2).expect("not zero");
    let node = Node::builder().arbiters(arbiters).start().await.expect("a node");
    let clerks = [0, 1].map(|n| node.spawn(|_| Clerk).arbiter(n).start().expect("it starts"));
    for (clerk, name) in clerks.iter().zip(["here", "there"]) {
        node.register(name, clerk).expect("a free name");
        assert_eq!(node.whereis::<Clerk>(name).as_ref(), Ok(clerk));
    }
    assert!(clerks[0].ask(Knows(Some("there".to_owned()))).await.expect("an answer"));
    assert!(clerks[1].ask(Knows(Some("here".to_owned()))).await.expect("an answer"));
    assert!(!clerks[1].ask(Knows(Some("nobody".to_owned()))).await.expect("an answer"));
    node.shutdown().await;
    assert_eq!(node.whereis::<Clerk>("here"), Err(WhereisError::Unknown));
    assert_eq!(node.register("late", &clerks[0]), Err(RegisterError::Ended));
}

#[test]
fn a_name_is_kept_through_restarts_and_free_once_its_actor_has_ended() {
    on_a_node(|node| async move {
        let clerk = node.spawn(|_| Clerk).start().expect("it starts");
        node.register("clerk", &clerk).expect("a free name");
        node.register("second name", &clerk).expect("a free name");
        clerk.ask(Panic).await.expect_err("it panics");
        pass(60_000).await;
        assert_eq!(node.whereis("clerk").as_ref(), Ok(&clerk));
        clerk.stop();
        pass(10).await;
        assert_eq!(node.whereis::<Clerk>("clerk"), Err(WhereisError::Unknown));
        assert!(!node.unregister("clerk") && !node.unregister("second name"));
        let next = node.spawn(|_| Clerk).supervise(RestartPolicy::never()).start();
        let next = next.expect("it starts");
        node.register("clerk", &next).expect("it is free");
        assert!(clerk.exit_reason().is_some());
        assert_eq!(node.whereis("clerk").as_ref(), Ok(&next), "the end of the first is past");
        next.ask(Panic).await.expect_err("it panics");
        pass(10).await;
        assert_eq!(node.whereis::<Clerk>("clerk"), Err(WhereisError::Unknown));
    });
}

#[test]
fn a_supervisors_child_can_have_a_name() {
    on_a_node(|node| async move {
        let supervisor: Supervisor = node.spawn_supervisor().start().expect("it starts");
        let child = supervisor.spawn(|_| Clerk).start().expect("it starts");
        node.register("child", &child).expect("a free name");
        let found: ActorRef<Clerk> = node.whereis("child").expect("it is known");
        assert!(found.ask(Knows(None)).await.expect("an answer"));
        child.kill();
        pass(60_000).await;
        assert_eq!(node.whereis("child").as_ref(), Ok(&child), "another instance");
        child.stop();
        pass(10).await;
        assert_eq!(node.whereis::<Clerk>("child"), Err(WhereisError::Unknown));
    });
}

#[test]
fn a_name_that_is_taken_is_refused_with_its_holder() {
    on_a_node(|node| async move {
        let clerk = node.spawn(|_| Clerk).start().expect("it starts");
        let guard = node.spawn(|_| Guard).start().expect("it starts");
        node.register("door", &clerk).expect("a free name");
        node.register("door", &clerk).expect("its own name");
        let holder = clerk.id().expect("it has a number");
        let taken = RegisterError::Taken { by: "test.Clerk", id: holder };
        assert_eq!(node.register("door", &guard), Err(taken));
        assert!(node.unregister("door"));
        assert!(!node.unregister("door"));
        node.register("door", &guard).expect("it is free");
        clerk.stop();
        pass(10).await;
        assert_eq!(node.whereis("door").as_ref(), Ok(&guard), "it is not the clerk's any more");
    });
}

#[test]
fn a_name_of_another_type_is_an_error_that_says_which() {
    on_a_node(|node| async move {
        let guard = node.spawn(|_| Guard).start().expect("it starts");
        node.register("guard", &guard).expect("a free name");
        let error = node.whereis::<Clerk>("guard").expect_err("it is no clerk");
        assert_eq!(error, WhereisError::OtherType { is: "test.Guard" });
        assert_eq!(error.to_string(), "the actor of this name is a test.Guard");
    });
}

#[test]
fn only_an_actor_that_lives_here_can_have_a_name() {
    on_a_node(|node| async move {
        let entity: ActorRef<Clerk> = node.entity("e");
        assert_eq!(node.register("entity", &entity), Err(RegisterError::NotHere));
        let other = Node::builder().name("other").threads(LocalThreads).start().await;
        let other = other.expect("a node");
        let theirs = other.spawn(|_| Clerk).start().expect("it starts");
        assert_eq!(node.register("theirs", &theirs), Err(RegisterError::NotHere));
        other.shutdown().await;
        let clerk = node.spawn(|_| Clerk).start().expect("it starts");
        clerk.stop();
        pass(10).await;
        assert_eq!(node.register("late", &clerk), Err(RegisterError::Ended));
        assert_eq!(node.whereis::<Clerk>("late"), Err(WhereisError::Unknown));
    });
}

#[test]
fn a_node_has_so_many_names_and_no_more() {
    on_a_node(|node| async move {
        let clerk = node.spawn(|_| Clerk).start().expect("it starts");
        node.register(&"n".repeat(255), &clerk).expect("not too long");
        let bytes = RegisterError::TooLong { bytes: 256 };
        assert_eq!(node.register(&"n".repeat(256), &clerk), Err(bytes));
        for n in 1..65_536 {
            node.register(&n.to_string(), &clerk).expect("room");
        }
        assert_eq!(node.register("one more", &clerk), Err(RegisterError::Full));
        node.unregister("1");
        node.register("one more", &clerk).expect("room");
        let other = node.spawn(|_| Guard).start().expect("it starts");
        clerk.stop();
        pass(10).await;
        node.register("one more", &other).expect("all are free");
    });
}
