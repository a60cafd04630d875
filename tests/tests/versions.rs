//! Two programs that differ by a version of their messages, in one cluster: what each understands of
//! the other, and what is given back.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix_cluster::{NodeBuilder, RejectReason, UnknownReason, prelude::*};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};

/// What was deposited by whom, at which nodes: `(node, message, amount)`.
type Log = Shared<Vec<(String, &'static str, i64)>>;

/// The program before the change.
mod old {
    use actix_cluster::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::Log;

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "Result<u32, String>")]
    #[remote(name = "bank.Deposit", version = 1)]
    pub(super) struct Deposit(pub(super) u32);

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Close", version = 1)]
    pub(super) struct Close;

    /// Unknown to the other program.
    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Freeze", version = 1)]
    pub(super) struct Freeze;

    /// Something inside of a message, whose shape says nothing of what is inside.
    #[derive(Serialize, Deserialize, Debug)]
    pub(super) struct Colour(pub(super) u8, pub(super) u8);

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Paint", version = 1)]
    pub(super) struct Paint(pub(super) Colour);

    #[derive(RemoteActor)]
    #[remote(
        name = "bank.Account",
        handles(Deposit, Close, Freeze, Paint),
        placement = Eventual,
        state = volatile
    )]
    pub(super) struct Account(pub(super) Log);

    impl Actor for Account {
        type Context = ClusterContext<Self>;
    }

    impl Handler<Deposit> for Account {
        type Result = Result<u32, String>;
        fn handle(&mut self, Deposit(amount): Deposit, ctx: &mut Self::Context) -> Self::Result {
            let node = ctx.node().id().name.to_string();
            self.0.lock().expect("not poisoned").push((node, "old deposit", amount.into()));
            if amount == 13 { Err("unlucky".to_owned()) } else { Ok(amount) }
        }
    }

    impl Handler<Close> for Account {
        type Result = ();
        fn handle(&mut self, _: Close, _: &mut Self::Context) {}
    }

    impl Handler<Freeze> for Account {
        type Result = ();
        fn handle(&mut self, _: Freeze, _: &mut Self::Context) {}
    }

    impl Handler<Paint> for Account {
        type Result = ();
        fn handle(&mut self, _: Paint, _: &mut Self::Context) {}
    }
}

/// The program after it.
mod new {
    use actix_cluster::{NewerReply, OlderReply, prelude::*};
    use serde::{Deserialize, Serialize};

    use super::Log;

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "Result<u32, String>")]
    #[remote(name = "bank.Deposit", version = 1)]
    pub(super) struct DepositV1(u32);

    #[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
    pub(super) enum Refused {
        Unlucky,
        Other(String),
    }

    /// Takes negative amounts, which version 1 can't say, and answers with more.
    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug, PartialEq, Eq)]
    #[rtype(result = "Result<i64, Refused>")]
    #[remote(name = "bank.Deposit", version = 2, older(DepositV1, send, reply))]
    pub(super) struct Deposit {
        pub(super) amount: i64,
        pub(super) memo: String,
    }

    /// What a conversion panics of, on purpose.
    pub(super) const PANICS: u32 = 1_000_000;

    /// What the conversion of a result panics of.
    pub(super) const PANICS_IN_ITS_REPLY: u32 = 1_000_001;

    impl From<DepositV1> for Deposit {
        fn from(DepositV1(amount): DepositV1) -> Self {
            assert_ne!(amount, PANICS, "on purpose");
            Self { amount: amount.into(), memo: "version 1".to_owned() }
        }
    }

    impl TryFrom<&Deposit> for DepositV1 {
        type Error = std::num::TryFromIntError;
        fn try_from(deposit: &Deposit) -> Result<Self, Self::Error> {
            let amount = deposit.amount.try_into()?;
            assert_ne!(amount, PANICS, "on purpose");
            Ok(Self(amount))
        }
    }

    impl OlderReply<DepositV1> for Deposit {
        fn older_reply(result: Result<i64, Refused>) -> Result<u32, String> {
            match result {
                Ok(balance) => {
                    assert_ne!(balance, PANICS_IN_ITS_REPLY.into(), "on purpose");
                    Ok(balance as u32)
                }
                Err(refused) => Err(format!("{refused:?}")),
            }
        }
    }

    impl NewerReply<DepositV1> for Deposit {
        fn newer_reply(result: Result<u32, String>) -> Result<i64, Refused> {
            result.map(i64::from).map_err(|error| match error.as_str() {
                "unlucky" => Refused::Unlucky,
                _ => Refused::Other(error),
            })
        }
    }

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Close", version = 1)]
    pub(super) struct CloseV1;

    /// Is never sent as version 1.
    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Close", version = 2, older(CloseV1))]
    pub(super) struct Close {
        pub(super) reason: String,
    }

    impl From<CloseV1> for Close {
        fn from(_: CloseV1) -> Self {
            Self { reason: "version 1".to_owned() }
        }
    }

    /// Unknown to the other program.
    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Audit", version = 1)]
    pub(super) struct Audit;

    /// Of another shape than in the other program, under one version.
    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Freeze", version = 1)]
    pub(super) struct Freeze {
        pub(super) days: u8,
    }

    /// Changed without a new version of what it is in.
    #[derive(Serialize, Deserialize, Debug)]
    pub(super) struct Colour(u8);

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Paint", version = 1)]
    pub(super) struct PaintV1(Colour);

    #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Paint", version = 2, older(PaintV1))]
    pub(super) struct Paint(Colour, u8);

    impl From<PaintV1> for Paint {
        fn from(PaintV1(colour): PaintV1) -> Self {
            Self(colour, 0)
        }
    }

    #[derive(RemoteActor)]
    #[remote(
        name = "bank.Account",
        handles(Deposit, Close, Audit, Freeze, Paint),
        placement = Eventual,
        state = volatile
    )]
    pub(super) struct Account(pub(super) Log);

    impl Actor for Account {
        type Context = ClusterContext<Self>;
    }

    impl Handler<Deposit> for Account {
        type Result = Result<i64, Refused>;
        fn handle(&mut self, deposit: Deposit, ctx: &mut Self::Context) -> Self::Result {
            let node = ctx.node().id().name.to_string();
            let message = match deposit.memo.as_str() {
                "version 1" => "upcast deposit",
                _ => "new deposit",
            };
            self.0.lock().expect("not poisoned").push((node, message, deposit.amount));
            if deposit.amount == 13 { Err(Refused::Unlucky) } else { Ok(deposit.amount) }
        }
    }

    impl Handler<Close> for Account {
        type Result = ();
        fn handle(&mut self, close: Close, _: &mut Self::Context) {
            assert_eq!(close.reason, "version 1", "what else there is was given back");
        }
    }

    impl Handler<Audit> for Account {
        type Result = ();
        fn handle(&mut self, _: Audit, _: &mut Self::Context) {}
    }

    impl Handler<Freeze> for Account {
        type Result = ();
        fn handle(&mut self, _: Freeze, _: &mut Self::Context) {}
    }

    impl Handler<Paint> for Account {
        type Result = ();
        fn handle(&mut self, _: Paint, _: &mut Self::Context) {
            panic!("it can't be read");
        }
    }
}

fn deposit(amount: i64) -> new::Deposit {
    new::Deposit { amount, memo: String::new() }
}

/// Node 1 runs the old program, node 2 the new one.
struct Bank {
    old: SimulatedNode,
    new: SimulatedNode,
    log: Log,
}

impl Bank {
    async fn open(world: &World) -> Self {
        let log = Log::default();
        let (old_log, new_log) = (log.clone(), log.clone());
        let (old, new) = tokio::join!(
            world.start(1, move |builder: NodeBuilder| {
                builder.entity(move |_| old::Account(old_log.clone()))
            }),
            world.start(2, move |builder: NodeBuilder| {
                builder.entity(move |_| new::Account(new_log.clone()))
            }),
        );
        old.sees(2).await;
        new.sees(2).await;
        Self { old, new, log }
    }

    /// A key that is owned by this node.
    fn key_of(&self, owner: &SimulatedNode) -> String {
        let owns = |key: &String| {
            self.old.node.owner_of::<old::Account>(key).as_ref() == Some(&owner.node.id())
        };
        (0..).map(|n| format!("acct-{n}")).find(owns).expect("some key is owned there")
    }

    /// An account on the new node, as the old program knows it.
    fn seen_by_old(&self) -> ActorRef<old::Account> {
        self.old.node.entity(self.key_of(&self.new))
    }

    /// An account on the old node, as the new program knows it.
    fn seen_by_new(&self) -> ActorRef<new::Account> {
        self.new.node.entity(self.key_of(&self.old))
    }

    fn log(&self) -> Vec<(String, &'static str, i64)> {
        self.log.lock().expect("not poisoned").clone()
    }

    async fn has_logged(&self, count: usize) -> Vec<(String, &'static str, i64)> {
        until("all is deposited", || self.log().len() >= count).await;
        self.log()
    }
}

fn rejected<M: RemoteMessage>(outcome: Result<M::Reply, AskError<M>>) -> (RejectReason, M) {
    match outcome {
        Err(AskError::Rejected { reason, message }) => (reason, message),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[test]
fn a_new_node_handles_what_an_old_one_sends_and_answers_in_its_version() {
    simulate(async {
        let bank = Bank::open(&World::new(1)).await;
        let account = bank.seen_by_old();
        account.tell(old::Deposit(1)).await.expect("it is taken");
        account.try_tell(old::Deposit(2)).expect("there is room");
        assert_eq!(account.ask(old::Deposit(3)).await.expect("it is answered"), 3);
        match account.ask(old::Deposit(13)).await {
            Err(AskError::Handler(error)) => assert_eq!(error, "Unlucky"),
            other => panic!("{other:?}"),
        }
        account.ask(old::Close).await.expect("a result of one type needs no conversion");
        let upcast = |amount| ("n2".to_owned(), "upcast deposit", amount);
        assert_eq!(bank.has_logged(4).await, [1, 2, 3, 13].map(upcast));
        assert_eq!(bank.old.node.dead_letters().total(), 0);
    });
}

#[test]
fn an_old_node_handles_what_a_new_one_may_send_as_its_version() {
    simulate(async {
        let bank = Bank::open(&World::new(2)).await;
        let account = bank.seen_by_new();
        account.tell(deposit(1)).await.expect("it is taken");
        account.try_tell(deposit(2)).expect("there is room");
        assert_eq!(account.ask(deposit(3)).await.expect("it is answered"), 3);
        match account.ask(deposit(13)).await {
            Err(AskError::Handler(error)) => assert_eq!(error, new::Refused::Unlucky),
            other => panic!("{other:?}"),
        }
        let logged = |amount| ("n1".to_owned(), "old deposit", amount);
        assert_eq!(bank.has_logged(4).await, [1, 2, 3, 13].map(logged));
        assert_eq!(bank.new.node.dead_letters().total(), 0);
    });
}

#[test]
fn what_may_not_be_sent_as_an_older_version_is_given_back_at_once() {
    simulate(async {
        let bank = Bank::open(&World::new(3)).await;
        let account = bank.seen_by_new();
        let close = || new::Close { reason: "moved".to_owned() };
        let (reason, message) = rejected(account.ask(close()).await);
        assert_eq!((reason, message.reason.as_str()), (RejectReason::Mismatch, "moved"));
        let told = account.tell(close()).await.expect_err("it is given back");
        assert_eq!((told.reason, told.message.reason.as_str()), (reason, "moved"));
        let told = account.try_tell(close()).expect_err("it is given back");
        assert_eq!(told.reason, RejectReason::Mismatch);
        // Nothing was sent: nothing comes back for a tell, and nothing behind it is held up.
        assert_eq!(account.ask(deposit(5)).await.expect("it is answered"), 5);
        pause(1_000).await;
        assert_eq!(bank.new.node.dead_letters().total(), 0);
    });
}

#[test]
fn a_value_that_the_older_version_can_not_say_is_given_back() {
    simulate(async {
        let bank = Bank::open(&World::new(4)).await;
        let account = bank.seen_by_new();
        let (reason, message) = rejected(account.ask(deposit(-1)).await);
        assert_eq!((reason, message), (RejectReason::Mismatch, deposit(-1)));
        let told = account.tell(deposit(-2)).await.expect_err("it is given back");
        assert_eq!((told.reason, told.message), (RejectReason::Mismatch, deposit(-2)));
        let told = account.try_tell(deposit(-3)).expect_err("it is given back");
        assert_eq!((told.reason, told.message), (RejectReason::Mismatch, deposit(-3)));
        assert_eq!(account.ask(deposit(5)).await.expect("it is answered"), 5);
        assert_eq!(bank.log(), [("n1".to_owned(), "old deposit", 5)]);
    });
}

#[test]
fn a_message_that_the_other_program_does_not_have_is_a_mismatch() {
    simulate(async {
        let bank = Bank::open(&World::new(5)).await;
        let (reason, new::Audit) = rejected(bank.seen_by_new().ask(new::Audit).await);
        assert_eq!(reason, RejectReason::Mismatch);
        // One name and version with two shapes is refused from both sides, before anything is sent.
        let (reason, _) = rejected(bank.seen_by_new().ask(new::Freeze { days: 3 }).await);
        assert_eq!(reason, RejectReason::Mismatch);
        let (reason, old::Freeze) = rejected(bank.seen_by_old().ask(old::Freeze).await);
        assert_eq!(reason, RejectReason::Mismatch);
    });
}

#[test]
fn bytes_that_are_no_older_version_are_rejected_and_run_nothing() {
    simulate(async {
        let bank = Bank::open(&World::new(10)).await;
        let account = bank.seen_by_old();
        let paint = || old::Paint(old::Colour(1, 2));
        let (reason, old::Paint(given_back)) = rejected(account.ask(paint()).await);
        assert_eq!((reason, given_back.1), (RejectReason::Mismatch, 2));
        account.tell(paint()).await.expect("the session takes it");
        let counts = || bank.old.node.dead_letters().rejected(RejectReason::Mismatch);
        until("the rejection is counted at its sender", || counts() == 1).await;
        assert_eq!(account.ask(old::Deposit(7)).await.expect("it is answered"), 7);
    });
}

#[test]
fn a_conversion_that_panics_ends_the_message_it_is_for() {
    simulate(async {
        let bank = Bank::open(&World::new(6)).await;
        let account = bank.seen_by_old();
        let (reason, _) = rejected(account.ask(old::Deposit(new::PANICS)).await);
        assert_eq!(reason, RejectReason::Mismatch);
        match account.ask(old::Deposit(new::PANICS_IN_ITS_REPLY)).await {
            Err(AskError::Unknown(UnknownReason::Panicked)) => {}
            other => panic!("{other:?}"),
        }
        // The activation has ended with each, as with any panic of a turn, and is made anew.
        assert_eq!(account.ask(old::Deposit(7)).await.expect("it is answered"), 7);
    });
}

/// A bank, and a third node that runs the new program and owns nothing.
async fn open_with_sender(world: &World) -> (Bank, SimulatedNode) {
    let bank = Bank::open(world).await;
    let config = world.config_of(3).weight(0);
    let sender = world.start(3, |builder| builder.actor::<new::Account>().cluster(config)).await;
    for node in [&bank.old, &bank.new, &sender] {
        node.sees(3).await;
    }
    (bank, sender)
}

/// Deposits from the third node while one of the two others leaves.
async fn deposit_while_one_leaves(seed: u64, leaver: usize) -> Vec<&'static str> {
    let (bank, sender) = open_with_sender(&World::new(seed)).await;
    let nodes = [&bank.old, &bank.new, &sender];
    let node = sender.node.clone();
    let deposits = tokio::task::spawn_local(async move {
        for amount in 0..4_000 {
            let account = node.entity::<new::Account>(&format!("acct-{}", amount % 50));
            account.tell(deposit(amount)).await.expect("it is taken");
            if amount % 40 == 0 {
                pause(1).await;
            }
        }
    });
    pause(50).await;
    nodes[leaver].node.shutdown().await;
    deposits.await.expect("they end");
    let log = bank.has_logged(4_000).await;
    let mut amounts: Vec<_> = log.iter().map(|(_, _, amount)| *amount).collect();
    amounts.sort_unstable();
    assert_eq!(amounts, (0..4_000).collect::<Vec<_>>(), "each exactly once");
    for node in nodes {
        assert_eq!(node.node.dead_letters().total(), 0);
    }
    let mut messages: Vec<_> = log.into_iter().map(|(_, message, _)| message).collect();
    messages.dedup();
    messages
}

#[test]
fn what_is_sent_on_to_an_old_node_becomes_its_version() {
    simulate(async {
        let messages = deposit_while_one_leaves(7, 1).await;
        assert_eq!(messages.last(), Some(&"old deposit"));
        assert!(messages.contains(&"new deposit"), "the new node had its share before");
    });
}

#[test]
fn what_is_sent_on_to_a_new_node_is_understood_as_it_is() {
    simulate(async {
        let messages = deposit_while_one_leaves(8, 0).await;
        assert_eq!(messages.last(), Some(&"new deposit"));
        assert!(messages.contains(&"old deposit"), "the old node had its share before");
        assert!(messages.contains(&"upcast deposit"), "some were on their way to the old node");
    });
}

#[test]
fn a_conversion_that_panics_while_a_message_is_sent_on_is_a_dead_letter() {
    simulate(async {
        let (bank, sender) = open_with_sender(&World::new(11)).await;
        let account = sender.node.entity::<new::Account>(&bank.key_of(&bank.new));
        let sent = account.clone();
        let deposits = tokio::task::spawn_local(async move {
            let send = || sent.try_tell(deposit(new::PANICS.into()));
            // It panics in its sender's own hands once it goes to the old node.
            while catch_unwind(AssertUnwindSafe(send)).is_ok() {
                pause(1).await;
            }
        });
        pause(50).await;
        bank.new.node.shutdown().await;
        deposits.await.expect("they end");
        let counts = || sender.node.dead_letters().rejected(RejectReason::Mismatch);
        until("what came back is a dead letter", || counts() > 0).await;
        assert_eq!(account.ask(deposit(5)).await.expect("the sender goes on"), 5);
    });
}

/// Accounts of the old program's messages only, to which a client without actors speaks.
#[test]
fn a_client_without_actors_sends_what_its_peer_understands() {
    simulate(async {
        let world = World::new(9);
        let log = Log::default();
        let host = log.clone();
        let old = world.start(1, |b| b.entity(move |_| old::Account(host.clone()))).await;
        let client = world.start(2, |b| b.cluster(world.config_of(2).weight(0))).await;
        client.sees(2).await;
        let account = client.node.entity::<new::Account>("acct");
        assert_eq!(account.ask(deposit(3)).await.expect("it is answered"), 3);
        let close = new::Close { reason: String::new() };
        assert_eq!(rejected(account.ask(close).await).0, RejectReason::Mismatch);
        // Its shape is refused although the client registers no message.
        let freeze = new::Freeze { days: 3 };
        assert_eq!(rejected(account.ask(freeze).await).0, RejectReason::Mismatch);
        assert_eq!(old.node.dead_letters().total(), 0);
        assert_eq!(log.lock().expect("not poisoned").len(), 1);
    });
}
