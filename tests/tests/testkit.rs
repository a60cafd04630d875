//! The test kit, tested: what it expects comes or fails, what it breaks is broken, and one seed is one
//! run.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_cluster::{
    MessageRef, NodeBuilder, StartError, TerminatedReason, UnknownReason,
    prelude::*,
    testkit::{self as kit, Failure, Mock, Probe, TestCluster, cluster_test},
};
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug, PartialEq)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug, PartialEq)]
#[rtype(result = "u32")]
#[remote(name = "test.Price", version = 1)]
struct Price(String);

/// Asks for what it adds, and tells of it.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "Sum")]
#[remote(name = "test.Buy", version = 1)]
struct Buy(String);

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
struct Sum {
    node: String,
    sum: u32,
}

#[derive(RemoteActor)]
#[remote(
    name = "test.Till",
    handles(async Buy),
    placement = Eventual,
    state = volatile,
    minority = Continue
)]
struct Till {
    sum: u32,
    prices: MessageRef<Price>,
    notes: Option<MessageRef<Note>>,
}

impl Actor for Till {
    type Context = ClusterContext<Self>;
}

impl AsyncHandler<Buy> for Till {
    async fn handle(&mut self, Buy(item): Buy, ctx: &mut Self::Context) -> Sum {
        self.sum += self.prices.ask(Price(item), SHORT).await.unwrap_or(1_000);
        if let Some(notes) = &self.notes {
            notes.tell(Note(self.sum)).await.expect("taken");
        }
        Sum { node: ctx.node().id().name.to_string(), sum: self.sum }
    }
}

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(100);

fn lamp() -> String {
    "lamp".to_owned()
}

/// Nodes with tills that ask `prices`.
fn selling(prices: &Mock<Price>) -> impl Fn(NodeBuilder) -> NodeBuilder + use<> {
    let prices = prices.message_ref();
    move |node| {
        let prices = prices.clone();
        node.entity(move |_key| Till { sum: 0, prices: prices.clone(), notes: None })
    }
}

/// The key of a till that a node owns.
fn key_on(cluster: &TestCluster, number: u8) -> String {
    let is_there = |key: &String| {
        let owner = cluster.node(1).owner_of::<Till>(key).expect("it has an owner");
        cluster.number_of(&owner) == number
    };
    (0..1_000).map(|n| format!("till-{n}")).find(is_there).expect("one of a thousand")
}

/// What is said of a run that is to fail.
fn failing<T: kit::Outcome>(body: impl AsyncFn(TestCluster) -> T) -> String {
    let Failure { seed, cause, .. } = kit::play(7, body).expect_err("it is to fail");
    assert_eq!(seed, 7);
    cause
}

#[track_caller]
fn assert_says(cause: &str, parts: &[&str]) {
    for part in parts {
        assert!(cause.contains(part), "{cause:?} lacks {part:?}");
    }
}

#[cluster_test(seeds = 5)]
async fn a_cluster_starts_in_a_line_and_its_entities_are_reached(
    cluster: TestCluster,
) -> Result<(), StartError> {
    let prices = cluster.mock(|Price(item)| item.len() as u32).await;
    cluster.start(3, selling(&prices)).await?;
    for number in 1..=3 {
        let key = key_on(&cluster, number);
        let asker = cluster.node(number % 3 + 1);
        let sum = asker.entity::<Till>(&key).ask(Buy(lamp())).await.expect("it answers");
        assert_eq!(sum, Sum { node: format!("n{number}"), sum: 4 });
    }
    assert_eq!((prices.asked(), prices.told()), (3, 0));
    prices.message_ref().tell(Price(lamp())).await.expect("taken");
    cluster.until("it was told", || prices.told() == 1).await;
    Ok(())
}

#[test]
fn what_does_not_come_about_is_a_failure_that_names_it() {
    let cause = failing(async |cluster| {
        cluster.start(2, |node| node).await.expect("they start");
        cluster.until("pigs fly", || false).await;
    });
    assert_says(&cause, &["testkit.rs:", "still not so after 60s: pigs fly"]);
    let cause = failing(async |cluster| {
        cluster.start(3, |node| node).await.expect("they start");
        cluster.partition([1], [2, 3]);
        cluster.advance(10 * SHORT).await;
        cluster.converge().await;
    });
    let views = "n1/1 sees [n1/1], n2/1 sees [n2/1, n3/1]";
    assert_says(&cause, &["after 60s the nodes that run still see other members", views]);
}

#[test]
fn a_node_that_was_not_started_is_a_mistake_of_the_test() {
    let cause = failing(async |cluster| cluster.kill(1));
    assert_says(&cause, &["node 1 was not started; these were: []"]);
    let cause = failing(async |cluster| cluster.partition([1, 2], [2]));
    assert_says(&cause, &["node 2 is on both sides"]);
}

/// By what is tested.
mod testkit {
    use super::*;

    mod faults;
    mod probes;
    mod seeds;
}
