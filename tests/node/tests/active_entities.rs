//! How many entities are active on a node at a time, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    collections::BTreeSet,
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{EntitySettings, RejectReason, node::LocalThreads, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Touch", version = 1)]
struct Touch;

/// Takes so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Linger", version = 1)]
struct Linger(u64);

/// The keys that are active.
type Active = Arc<Mutex<BTreeSet<String>>>;

struct Presence {
    key: String,
    active: Active,
}

impl Presence {
    fn new(key: &str, active: &Active) -> Self {
        let is_new = active.lock().expect("unpoisoned").insert(key.to_owned());
        assert!(is_new, "{key} is active once");
        Self { key: key.to_owned(), active: Arc::clone(active) }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.active.lock().expect("unpoisoned").remove(&self.key);
    }
}

#[derive(RemoteActor)]
#[remote(
    name = "test.Session",
    handles(Touch, async Linger),
    placement = Eventual,
    state = volatile
)]
struct Session(#[expect(dead_code, reason = "its drop counts")] Presence);

/// Of a type that is never passivated.
#[derive(RemoteActor)]
#[remote(name = "test.Kept", handles(Touch), placement = Eventual, state = volatile)]
struct Kept(#[expect(dead_code, reason = "its drop counts")] Presence);

impl Actor for Session {
    type Context = ClusterContext<Self>;
}

impl Actor for Kept {
    type Context = ClusterContext<Self>;
}

impl Handler<Touch> for Session {
    type Result = ();
    fn handle(&mut self, Touch: Touch, _: &mut Self::Context) {}
}

impl Handler<Touch> for Kept {
    type Result = ();
    fn handle(&mut self, Touch: Touch, _: &mut Self::Context) {}
}

impl AsyncHandler<Linger> for Session {
    async fn handle(&mut self, Linger(millis): Linger, _: &mut Self::Context) {
        pass(millis).await;
    }
}

const LIMIT: usize = 32;

/// Runs a test on a node with that limit, and what is active on it.
fn with_node<F: Future<Output = ()>>(test: impl FnOnce(Node, Active) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let active = Active::default();
        let (sessions, kept) = (Arc::clone(&active), Arc::clone(&active));
        let mut never = EntitySettings::default();
        never.passivate_after = Duration::MAX;
        let node = Node::builder()
            .arbiters(NonZeroUsize::MIN)
            .threads(LocalThreads)
            .active_entities(NonZeroUsize::new(LIMIT).expect("not zero"))
            .entity(move |key| Session(Presence::new(key, &sessions)))
            .entity_with(never, move |key| Kept(Presence::new(key, &kept)));
        let node = node.start().await.expect("a node");
        test(node.clone(), active).await;
        node.shutdown().await;
    });
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

async fn touch(node: &Node, key: usize) {
    node.entity::<Session>(&format!("s-{key}")).ask(Touch).await.expect("an answer");
}

fn has(active: &Active, key: usize) -> bool {
    active.lock().expect("unpoisoned").contains(&format!("s-{key}"))
}

#[test]
fn beyond_its_limit_a_node_passivates_what_was_used_longest_ago() {
    with_node(|node, active| async move {
        for key in 0..LIMIT {
            touch(&node, key).await;
            pass(200).await;
        }
        assert_eq!(node.entity_count(), LIMIT, "as many as may be");
        // The oldest two are used again.
        touch(&node, 1).await;
        touch(&node, 0).await;
        pass(1_000).await;
        assert_eq!(node.entity_count(), LIMIT);

        touch(&node, 100).await;
        pass(100).await;
        // One too many, and a sixteenth of the limit more.
        let gone: Vec<_> = (0..LIMIT).filter(|key| !has(&active, *key)).collect();
        assert_eq!(gone, [2, 3, 4]);
        assert_eq!(node.entity_count(), LIMIT - 2);
        assert!(has(&active, 100));

        // The next ones have room.
        touch(&node, 101).await;
        touch(&node, 102).await;
        pass(100).await;
        assert_eq!(node.entity_count(), LIMIT);
        touch(&node, 2).await;
        pass(100).await;
        assert!(has(&active, 2) && !has(&active, 5), "it is activated again, in place of others");
    });
}

#[test]
fn however_many_keys_there_are_only_so_many_are_active() {
    with_node(|node, active| async move {
        for key in 0..1_000 {
            touch(&node, key).await;
            assert!(node.entity_count() <= 2 * LIMIT);
            if key % 8 == 0 {
                pass(15).await;
            }
        }
        pass(100).await;
        assert!(node.entity_count() <= LIMIT);
        assert_eq!(active.lock().expect("unpoisoned").len(), node.entity_count());
    });
}

#[test]
fn entities_that_are_never_idle_make_no_room() {
    with_node(|node, active| async move {
        for key in 0..LIMIT {
            let kept = node.entity::<Kept>(&format!("k-{key}"));
            kept.ask(Touch).await.expect("an answer");
            pass(200).await;
        }
        touch(&node, 0).await;
        pass(100).await;
        assert_eq!(node.entity_count(), LIMIT, "all that could make room is what came last");
        assert!(!has(&active, 0));
    });
}

#[test]
fn busy_entities_do_not_keep_others_from_making_room() {
    with_node(|node, active| async move {
        let busy: Vec<_> = (0..LIMIT / 2)
            .map(|key| node.entity::<Session>(&format!("s-{key}")).ask(Linger(60_000)))
            .map(|ask| tokio::task::spawn_local(ask.within(Duration::from_secs(120))))
            .collect();
        for key in LIMIT..4 * LIMIT {
            pass(200).await;
            touch(&node, key).await;
        }
        pass(1_000).await;
        assert!(node.entity_count() <= LIMIT, "{}", node.entity_count());
        assert!((0..LIMIT / 2).all(|key| has(&active, key)), "they are at work");
        for ask in busy {
            ask.await.expect("it ends").expect("an answer");
        }
    });
}

#[test]
fn at_twice_the_limit_messages_for_others_are_given_back() {
    with_node(|node, _| async move {
        let busy: Vec<_> = (0..2 * LIMIT)
            .map(|key| node.entity::<Session>(&format!("s-{key}")).ask(Linger(50_000)))
            .map(|ask| tokio::task::spawn_local(ask.within(Duration::from_secs(120))))
            .collect();
        pass(1_000).await;
        assert_eq!(node.entity_count(), 2 * LIMIT);
        let one_more = node.entity::<Session>("one-more");
        let refused = one_more.try_tell(Touch).expect_err("no room for it");
        assert_eq!(refused.reason, RejectReason::Full);
        for key in 0..2 * LIMIT {
            let active = node.entity::<Session>(&format!("s-{key}"));
            active.tell(Touch).await.expect("one that is active has room");
        }
        for ask in busy {
            ask.await.expect("it ends").expect("an answer");
        }
        // All of them were asked to go, and declined for what had come since.
        let mut tries = 0;
        while one_more.try_tell(Touch).is_err() {
            tries += 1;
            assert!(tries < 50, "that is less than the time to the next sweep");
            pass(100).await;
        }
        pass(2_000).await;
        assert!(node.entity_count() <= LIMIT, "once they are idle they make room");
        one_more.ask(Touch).await.expect("an answer");
    });
}
