//! Asks that may be asked more than once: across a node's death, a move, and beside each other.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{collections::BTreeMap, time::Duration};

use actix_cluster::{NodeBuilder, RejectReason, UnknownReason, prelude::*};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// Deposits so much, and takes so many milliseconds for it. Answers with the balance and the node.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rtype(result = "Receipt")]
#[remote(name = "test.Deposit", version = 1)]
struct Deposit(u64, u64);

/// As a plain handler has it.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
#[rtype(result = "Receipt")]
#[remote(name = "test.DepositAtOnce", version = 1)]
struct DepositAtOnce(u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "Receipt")]
#[remote(name = "test.Fail", version = 1)]
struct Fail;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Receipt {
    balance: u64,
    node: String,
}

/// How often each key's handler ran.
type Runs = Shared<BTreeMap<String, u32>>;

#[derive(RemoteActor)]
#[remote(
    name = "test.Account",
    handles(reentrant Deposit, DepositAtOnce, Fail),
    placement = Eventual,
    state = volatile
)]
struct Account {
    balance: u64,
    runs: Runs,
}

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

impl Account {
    fn deposit(&mut self, amount: u64, ctx: &ClusterContext<Self>) -> Receipt {
        self.balance += amount;
        Receipt { balance: self.balance, node: ctx.node().id().name.to_string() }
    }

    fn runs(&self, ctx: &ClusterContext<Self>) {
        let key = ctx.key().expect("it is an entity").to_owned();
        *self.runs.lock().expect("not poisoned").entry(key).or_default() += 1;
    }
}

impl ReentrantHandler<Deposit> for Account {
    async fn handle(this: This<Self>, Deposit(amount, millis): Deposit) -> Receipt {
        this.with(|account, ctx| account.runs(ctx));
        pause(millis).await;
        this.with(|account, ctx| account.deposit(amount, ctx))
    }
}

impl Handler<DepositAtOnce> for Account {
    type Result = MessageResult<DepositAtOnce>;
    fn handle(&mut self, msg: DepositAtOnce, ctx: &mut Self::Context) -> Self::Result {
        self.runs(ctx);
        MessageResult(self.deposit(msg.0, ctx))
    }
}

impl Handler<Fail> for Account {
    type Result = MessageResult<Fail>;
    fn handle(&mut self, _: Fail, ctx: &mut Self::Context) -> Self::Result {
        self.runs(ctx);
        panic!("it fails")
    }
}

fn hosting(runs: &Runs) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
    let runs = Runs::clone(runs);
    move |builder| builder.entity(move |_| Account { balance: 0, runs: Runs::clone(&runs) })
}

/// Two nodes and a key of the second's.
async fn two(seed: u64) -> (World, Runs, SimulatedNode, SimulatedNode, String) {
    let (world, runs) = (World::new(seed), Runs::default());
    let a = world.start(1, hosting(&runs)).await;
    let b = world.start(2, hosting(&runs)).await;
    for node in [&a, &b] {
        node.sees(2).await;
    }
    pause(200).await;
    let key = key_of(&b, &a);
    (world, runs, a, b, key)
}

/// A key that `node` has, as `seen` sees it.
fn key_of(node: &SimulatedNode, seen: &SimulatedNode) -> String {
    let is_its = |key: &String| seen.node.owner_of::<Account>(key) == Some(node.node.id());
    (0..1_000).map(|number| format!("acct-{number}")).find(is_its).expect("it has some")
}

fn account(node: &SimulatedNode, key: &str) -> ActorRef<Account> {
    node.node.entity(key)
}

fn runs_of(runs: &Runs, key: &str) -> u32 {
    runs.lock().expect("not poisoned").get(key).copied().unwrap_or(0)
}

fn spawn<T: 'static>(ask: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    tokio::task::spawn_local(ask)
}

#[test]
fn an_idempotent_ask_is_asked_again_when_the_node_of_its_target_dies() {
    simulate(async {
        let (_world, runs, a, b, key) = two(1).await;
        let within = Duration::from_secs(10);
        let plain = spawn(account(&a, &key).ask(Deposit(5, 2_000)).within(within));
        let again = spawn(account(&a, &key).ask(Deposit(7, 2_000)).within(within).idempotent());
        until("both have begun", || runs_of(&runs, &key) == 2).await;
        b.kill().await;
        let plain = plain.await.expect("it ends").expect_err("nobody knows");
        assert!(matches!(plain, AskError::Unknown(UnknownReason::NodeDown)), "{plain:?}");
        let receipt = again.await.expect("it ends").expect("an answer");
        assert_eq!(receipt, Receipt { balance: 7, node: "n1".to_owned() });
        assert_eq!(runs_of(&runs, &key), 3);
    });
}

#[test]
fn an_idempotent_ask_that_nobody_answers_in_time_may_have_run() {
    simulate(async {
        let (_world, runs, a, b, key) = two(2).await;
        let ask = account(&a, &key).ask(Deposit(7, 60_000)).within(Duration::from_secs(4));
        let asked = spawn(ask.idempotent());
        until("it has begun", || runs_of(&runs, &key) == 1).await;
        b.kill().await;
        let ended = asked.await.expect("it ends").expect_err("there is no time for the answer");
        assert!(matches!(ended, AskError::Unknown(_)), "{ended:?}");
    });
}

#[test]
fn an_ask_that_comes_again_waits_for_the_run_that_goes_on() {
    simulate(async {
        let (_world, runs, a, b, key) = two(3).await;
        let deposit = |node, amount| {
            let ask = account(node, &key).ask(Deposit(amount, 500));
            spawn(ask.dedupe_key("transfer-1"))
        };
        let first = deposit(&a, 7);
        until("it has begun", || runs_of(&runs, &key) == 1).await;
        // From the same node, and from that of the account.
        let (second, third) = (deposit(&a, 7), deposit(&b, 7));
        let other = spawn(account(&a, &key).ask(Deposit(1, 600)).dedupe_key("transfer-2"));
        let expected = Receipt { balance: 7, node: "n2".to_owned() };
        for receipt in [first, second, third] {
            assert_eq!(receipt.await.expect("it ends").expect("an answer"), expected);
        }
        let other = other.await.expect("it ends").expect("an answer");
        assert_eq!((other.balance, runs_of(&runs, &key)), (8, 2), "another key runs");
    });
}

#[test]
fn an_ask_that_comes_again_is_answered_as_it_was_for_a_minute() {
    simulate(async {
        let (_world, runs, a, b, key) = two(4).await;
        let deposit = async |node| {
            let ask = account(node, &key).ask(DepositAtOnce(7)).dedupe_key("transfer-1");
            ask.await.expect("an answer").balance
        };
        assert_eq!(deposit(&a).await, 7);
        assert_eq!((deposit(&a).await, deposit(&b).await), (7, 7));
        assert_eq!(runs_of(&runs, &key), 1);
        // Without its key it is another ask; another message is too.
        assert_eq!(account(&a, &key).ask(DepositAtOnce(7)).await.expect("an answer").balance, 14);
        let other = account(&a, &key).ask(Deposit(1, 0)).dedupe_key("transfer-1");
        assert_eq!(other.await.expect("an answer").balance, 15);
        pause(59_000).await;
        assert_eq!(deposit(&a).await, 7);
        pause(2_000).await;
        assert_eq!(deposit(&a).await, 22);
    });
}

#[test]
fn a_handler_that_panics_answers_all_and_runs_again_when_it_is_asked_again() {
    simulate(async {
        let (_world, runs, a, b, key) = two(5).await;
        for node in [&a, &b] {
            let failed =
                account(node, &key).ask(Fail).dedupe_key("k").await.expect_err("it panics");
            assert!(matches!(failed, AskError::Unknown(UnknownReason::Panicked)), "{failed:?}");
        }
        assert_eq!(runs_of(&runs, &key), 2);
    });
}

#[test]
fn what_was_answered_goes_along_when_its_entity_moves() {
    simulate(async {
        let (world, runs) = (World::new(6), Runs::default());
        let a = world.start(1, hosting(&runs)).await;
        let keys: Vec<String> = (0..30).map(|number| format!("acct-{number}")).collect();
        for key in &keys {
            let receipt = account(&a, key).ask(DepositAtOnce(7)).dedupe_key("transfer-1").await;
            assert_eq!(receipt.expect("an answer").balance, 7);
        }
        let b = world.start(2, hosting(&runs)).await;
        b.sees(2).await;
        pause(500).await;
        let mut there = 0;
        for key in &keys {
            there += u32::from(a.node.owner_of::<Account>(key) == Some(b.node.id()));
            for node in [&a, &b] {
                let ask = account(node, key).ask(DepositAtOnce(7)).dedupe_key("transfer-1");
                let receipt = ask.await.expect("an answer");
                assert_eq!(receipt, Receipt { balance: 7, node: "n1".to_owned() });
            }
            assert_eq!(runs_of(&runs, key), 1);
        }
        assert!((1..30).contains(&there), "{there} have moved");
    });
}

#[test]
fn a_run_that_goes_on_while_its_entity_is_to_move_is_answered_and_remembered() {
    simulate(async {
        let (world, runs) = (World::new(8), Runs::default());
        let a = world.start(1, hosting(&runs)).await;
        let keys: Vec<String> = (0..30).map(|number| format!("acct-{number}")).collect();
        let ask = |node, key: &String| account(node, key).ask(Deposit(7, 300)).dedupe_key("t");
        let asked: Vec<_> = keys.iter().map(|key| spawn(ask(&a, key))).collect();
        pause(20).await;
        let b = world.start(2, hosting(&runs)).await;
        b.knows(2).await;
        let expected = Receipt { balance: 7, node: "n1".to_owned() };
        for ask in asked {
            assert_eq!(ask.await.expect("it ends").expect("an answer"), expected);
        }
        b.sees(2).await;
        assert!(keys.iter().any(|key| b.node.owner_of::<Account>(key) == Some(b.node.id())));
        for key in &keys {
            assert_eq!(ask(&b, key).await.expect("an answer"), expected);
            assert_eq!(runs_of(&runs, key), 1);
        }
    });
}

#[test]
fn a_run_without_an_answer_ends_at_the_deadline_of_its_first_asker() {
    simulate(async {
        let (_world, runs, a, _b, key) = two(9).await;
        let ask = |millis| {
            let ask = account(&a, &key).ask(Deposit(7, millis)).dedupe_key("t");
            ask.within(Duration::from_millis(500))
        };
        let ended = ask(60_000).await.expect_err("it takes longer");
        assert!(matches!(ended, AskError::Unknown(UnknownReason::Deadline)), "{ended:?}");
        pause(50).await;
        assert_eq!(ask(0).await.expect("it runs again").balance, 7);
        assert_eq!(runs_of(&runs, &key), 2);
    });
}

#[test]
fn asks_with_keys_are_bounded_and_one_more_is_rejected_as_full() {
    simulate(async {
        let (_world, runs, a, _b, key) = two(7).await;
        let mut asked = Vec::new();
        for number in 0..256 {
            let ask = account(&a, &key).ask(Deposit(1, 1_000)).dedupe_key(format!("k-{number}"));
            asked.push(spawn(ask));
        }
        until("all have begun", || runs_of(&runs, &key) == 256).await;
        let more = account(&a, &key).ask(Deposit(1, 0)).dedupe_key("more").await;
        let more = more.expect_err("there is no room");
        let reason = RejectReason::Full;
        assert!(matches!(more, AskError::Rejected { reason: given, .. } if given == reason));
        account(&a, &key).ask(Deposit(1, 0)).await.expect("others run");
        for ask in asked {
            ask.await.expect("it ends").expect("an answer");
        }
        account(&a, &key).ask(Deposit(1, 0)).dedupe_key("more").await.expect("there is room");
    });
}
