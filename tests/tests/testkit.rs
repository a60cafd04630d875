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
    testkit::{self, Failure, Mock, Probe, TestCluster, cluster_test},
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
fn failing<T: testkit::Outcome>(body: impl AsyncFn(TestCluster) -> T) -> String {
    let Failure { seed, cause, .. } = testkit::play(7, body).expect_err("it is to fail");
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

#[cluster_test]
async fn a_probe_takes_messages_of_all_types_in_order_and_answers(cluster: TestCluster) {
    let mut probe = cluster.probe().await;
    let (notes, prices) = (probe.message_ref::<Note>(), probe.message_ref::<Price>());
    let asking = async {
        notes.tell(Note(1)).await.expect("taken");
        let price = prices.ask(Price(lamp()), SHORT).await;
        notes.tell(Note(2)).await.expect("taken");
        notes.tell(Note(3)).await.expect("taken");
        price
    };
    let expecting = async {
        assert_eq!(*probe.expect::<Note>().await, Note(1));
        let price = probe.expect_within::<Price>(SHORT).await;
        assert!(price.is_asked());
        assert_eq!(price.0, "lamp");
        price.reply(20);
        let note = probe.fish_for::<Note>(|Note(n)| *n == 3).await;
        assert!(!note.is_asked());
        let before = cluster.elapsed();
        probe.expect_nothing_for(LONG).await;
        assert!(cluster.elapsed() >= before + LONG);
    };
    let (price, ()) = tokio::join!(asking, expecting);
    assert_eq!(price.expect("it is answered"), 20);
}

#[cluster_test]
async fn an_ask_that_a_probe_drops_has_no_reply(cluster: TestCluster) {
    let mut probe = cluster.probe().await;
    let prices = probe.message_ref::<Price>();
    let asking = prices.ask(Price(lamp()), SHORT);
    let dropping = async { drop(probe.expect::<Price>().await) };
    let (price, ()) = tokio::join!(asking, dropping);
    assert!(matches!(price, Err(AskError::Unknown(UnknownReason::NoReply))), "{price:?}");
}

#[cluster_test]
async fn a_probe_that_is_dropped_takes_nothing_any_more(cluster: TestCluster) {
    let probe = cluster.probe().await;
    let notes = probe.message_ref::<Note>();
    notes.tell(Note(1)).await.expect("taken");
    drop(probe);
    cluster.advance(SHORT).await;
    let refused = notes.tell(Note(2)).await.expect_err("it has ended");
    assert_eq!(refused.message, Note(2));
}

#[test]
fn another_message_than_the_one_expected_is_a_failure_that_names_both() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        probe.message_ref().tell(Price(lamp())).await.expect("taken");
        probe.expect::<Note>().await;
    });
    let said = "test.Note was expected, and this came: Price(\"lamp\") (testkit::Price, told)";
    assert_says(&cause, &["testkit.rs:", said]);
}

#[test]
fn silence_in_place_of_a_message_is_a_failure_after_half_a_minute() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        probe.expect::<Note>().await;
    });
    assert_says(&cause, &["testkit.rs:", "test.Note was expected, and nothing came within 30s"]);
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        let notes = probe.message_ref();
        let late = async {
            cluster.advance(2 * SHORT).await;
            let _ = notes.tell(Note(1)).await;
        };
        tokio::join!(probe.expect_within::<Note>(SHORT), late);
    });
    assert_says(&cause, &["test.Note was expected, and nothing came within 1s"]);
}

#[test]
fn a_message_in_place_of_silence_is_a_failure_whether_it_is_there_or_comes() {
    for delay in [Duration::ZERO, SHORT / 2] {
        let cause = failing(async |cluster| {
            let mut probe = cluster.probe().await;
            let notes = probe.message_ref();
            let telling = async {
                cluster.advance(delay).await;
                notes.tell(Note(5)).await.expect("taken");
            };
            tokio::join!(probe.expect_nothing_for(SHORT), telling);
        });
        assert_says(&cause, &["nothing was expected, and this came: Note(5)"]);
    }
}

#[test]
fn a_fish_that_does_not_come_is_a_failure_that_names_the_last_other() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        for n in 0..3 {
            probe.message_ref().tell(Note(n)).await.expect("taken");
        }
        probe.fish_for::<Note>(|Note(n)| *n == 3).await;
    });
    let said = "a certain test.Note (3 others came, last Note(2)";
    assert_says(&cause, &[said, "was expected, and nothing came within 30s"]);
}

#[test]
fn a_probe_holds_so_many_messages_and_one_more_fails_its_next_expectation() {
    let fill = async |cluster: TestCluster, count: u32| {
        let mut probe = cluster.probe().await;
        for n in 0..count {
            probe.message_ref().tell(Note(n)).await.expect("taken");
        }
        cluster.advance(SHORT).await;
        assert_eq!(probe.expect::<Note>().await.0, 0);
    };
    testkit::play(7, async |cluster| fill(cluster, 1_024).await).expect("room for all");
    let cause = failing(async |cluster| fill(cluster, 1_025).await);
    assert_says(&cause, &["no room for 1 messages: 1024 waited"]);
}

#[test]
fn a_reply_to_what_was_told_is_a_mistake() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        probe.message_ref().tell(Price(lamp())).await.expect("taken");
        probe.expect::<Price>().await.reply(1);
    });
    assert_says(&cause, &["test.Price was told, and has nobody to be answered"]);
}

#[derive(RemoteActor)]
#[remote(name = "test.Teller", handles(Note))]
struct Teller(MessageRef<Note>);
impl Actor for Teller {
    type Context = ClusterContext<Self>;
}
impl Handler<Note> for Teller {
    type Result = ();
    fn handle(&mut self, note: Note, ctx: &mut Self::Context) {
        self.0.try_tell(note).expect("room");
        ctx.stop();
    }
}

#[cluster_test(seeds = 3)]
async fn a_probe_hears_of_an_end_behind_what_came_before(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(2, |node| node.actor::<Teller>()).await?;
    let mut probe = Probe::start(&cluster.node(1));
    let notes = probe.message_ref::<Note>();
    let teller = cluster.node(1).spawn(move |_| Teller(notes.clone())).start().expect("room");
    probe.watch(&teller).await;
    teller.tell(Note(1)).await.expect("taken");
    assert_eq!(probe.expect::<Note>().await.0, 1);
    assert_eq!(probe.expect_terminated(&teller).await.reason, TerminatedReason::Stopped);
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_probe_hears_that_the_node_of_an_actor_is_down(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(3, |node| node.entity(|_key| Lasting)).await?;
    let mut probe = Probe::start(&cluster.node(1));
    let key = (0..1_000).map(|n| format!("key-{n}")).find(|key| {
        let owner = cluster.node(1).owner_of::<Lasting>(key).expect("it has an owner");
        cluster.number_of(&owner) == 2
    });
    let lasting = cluster.node(1).entity::<Lasting>(&key.expect("one of a thousand"));
    lasting.ask(Note(0)).await.expect("it is active");
    probe.watch(&lasting).await;
    probe.expect_nothing_for(LONG).await;
    cluster.kill(2);
    assert_eq!(probe.expect_terminated(&lasting).await.reason, TerminatedReason::NodeDown);
    Ok(())
}

#[derive(RemoteActor)]
#[remote(name = "test.Lasting", handles(Note), placement = Eventual, state = volatile)]
struct Lasting;
impl Actor for Lasting {
    type Context = ClusterContext<Self>;
}
impl Handler<Note> for Lasting {
    type Result = ();
    fn handle(&mut self, _: Note, _: &mut Self::Context) {}
}

#[test]
fn an_end_that_does_not_come_is_a_failure_and_so_is_another() {
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let node = cluster.node(1);
        let mut probe = Probe::start(&node);
        let lasting = node.spawn(|_| Lasting).start().expect("room");
        probe.watch(&lasting).await;
        probe.expect_terminated(&lasting).await;
    });
    assert_says(&cause, &["the end of test.Lasting", "was expected, and nothing came within 30s"]);
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let node = cluster.node(1);
        let mut probe = Probe::start(&node);
        let [one, other] = [(); 2].map(|()| node.spawn(|_| Lasting).start().expect("room"));
        probe.watch(&one).await;
        probe.watch(&other).await;
        other.kill();
        probe.expect_terminated(&one).await;
    });
    assert_says(&cause, &["was expected, and this came: the end of test.Lasting", ": killed"]);
}

#[test]
fn a_probe_that_is_no_members_does_not_watch_members() {
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let probe = cluster.probe().await;
        let lasting = cluster.node(1).spawn(|_| Lasting).start().expect("room");
        probe.watch(&lasting).await;
    });
    assert_says(&cause, &["can't be watched from test/1", "`Probe::start`"]);
}

#[test]
fn a_watch_on_a_node_that_stands_still_is_a_failure_in_time() {
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let probe = Probe::start(&cluster.node(1));
        let lasting = cluster.node(1).spawn(|_| Lasting).start().expect("room");
        cluster.pause(1);
        probe.watch(&lasting).await;
    });
    assert_says(&cause, &["is not watched: the probe's node does not run"]);
}

#[cluster_test]
async fn a_mock_whose_closure_panics_is_asked_again(cluster: TestCluster) {
    let prices = cluster
        .mock(|Price(item)| {
            assert!(item != "nothing", "on purpose");
            7
        })
        .await;
    for _ in 0..20 {
        let price = prices.message_ref().ask(Price("nothing".to_owned()), SHORT).await;
        assert!(matches!(price, Err(AskError::Unknown(UnknownReason::Panicked))), "{price:?}");
    }
    let price = prices.actor_ref().ask(Price(lamp())).within(LONG).await;
    assert_eq!((price.expect("it answers"), prices.asked()), (7, 21));
}

#[cluster_test(seeds = 3)]
async fn a_killed_node_is_gone_and_comes_back_as_its_next_incarnation(
    cluster: TestCluster,
) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(3, selling(&prices)).await?;
    // The first too, by way of the others.
    for number in [2, 1] {
        let key = key_on(&cluster, number);
        cluster.kill(number);
        assert!(!cluster.running().contains(&number));
        cluster.converge().await;
        let till = cluster.node(3).entity::<Till>(&key);
        let sum = till.ask(Buy(lamp())).await.expect("it answers elsewhere");
        assert_ne!(sum.node, format!("n{number}"));
        let again = cluster.restart(number, selling(&prices)).await?;
        assert_eq!(again.id().incarnation, 2);
        cluster.converge().await;
        assert_eq!(cluster.running(), [1, 2, 3]);
    }
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_running_node_is_restarted_in_one_step(cluster: TestCluster) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    assert!(cluster.start_node(2, |node| node).await.is_err(), "its port is in use");
    let again = cluster.restart(2, |node| node).await?;
    assert_eq!((again.id().to_string(), again.members().len()), ("n2/2".to_owned(), 2));
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_paused_node_answers_once_it_is_resumed(cluster: TestCluster) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(2, selling(&prices)).await?;
    let till = cluster.node(1).entity::<Till>(&key_on(&cluster, 2));
    till.ask(Buy(lamp())).await.expect("it answers");
    cluster.pause(2);
    assert_eq!(cluster.running(), [1]);
    let late = till.ask(Buy(lamp())).within(SHORT / 2).await;
    assert!(matches!(late, Err(AskError::Unknown(_) | AskError::Rejected { .. })), "{late:?}");
    cluster.resume(2);
    assert!(till.ask(Buy(lamp())).await.expect("it answers").sum >= 2);
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_partition_parts_and_heals(cluster: TestCluster) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(3, selling(&prices)).await?;
    let from_here = cluster.node(1).entity::<Till>(&key_on(&cluster, 2));
    let is_answered = async || from_here.ask(Buy(lamp())).within(SHORT).await.is_ok();
    assert!(is_answered().await);
    type Cut = fn(&TestCluster);
    let cuts: [Cut; 4] = [
        |cluster| cluster.partition([1, 3], [2]),
        |cluster| cluster.partition_one_way([1], [2]),
        |cluster| cluster.partition_one_way([2], [1]),
        |cluster| cluster.silence(2),
    ];
    for cut in cuts {
        cut(&cluster);
        assert!(!is_answered().await);
        cluster.heal();
        cluster.advance(SHORT).await;
        assert!(is_answered().await);
    }
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_one_way_partition_leaves_the_way_back(cluster: TestCluster) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    cluster.network().keep_log(1 << 16);
    cluster.partition_one_way([1], [2]);
    cluster.advance(SHORT).await;
    let log = cluster.network().log();
    let ways = |fate: &str, from: u8, to: u8| {
        let way = format!("{} > {}", cluster.addr(from), cluster.addr(to));
        log.entries()
            .filter(|entry| entry.text.contains(&way) && entry.text.ends_with(fate))
            .count()
    };
    assert!(ways("Cut", 1, 2) > 0 && ways("Delivered", 2, 1) > 0);
    assert_eq!((ways("Delivered", 1, 2), ways("Cut", 2, 1)), (0, 0));
    Ok(())
}

#[test]
fn a_test_may_leave_its_faults_behind() {
    let faults: [fn(&TestCluster); 5] = [
        |cluster| cluster.partition([1], [2, 3]),
        |cluster| cluster.silence(2),
        |cluster| cluster.lose(1.0),
        |cluster| cluster.pause(2),
        |cluster| cluster.kill(1),
    ];
    for fault in faults {
        let faulty = async |cluster: TestCluster| {
            cluster.start(3, |node| node).await?;
            fault(&cluster);
            Ok::<(), StartError>(())
        };
        testkit::play(7, faulty).expect("all that run shut down");
    }
}

#[cluster_test(seeds = 3)]
async fn a_slow_node_is_slow_until_it_heals(cluster: TestCluster) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(2, selling(&prices)).await?;
    let till = cluster.node(1).entity::<Till>(&key_on(&cluster, 2));
    let took = async || {
        let before = cluster.elapsed();
        till.ask(Buy(lamp())).await.expect("it answers");
        cluster.elapsed() - before
    };
    let longer = Duration::from_millis(100);
    assert!(took().await < longer);
    cluster.slow(2, longer);
    assert!(took().await >= 2 * longer);
    // A node that comes later is as far from it.
    cluster.start(1, selling(&prices)).await?;
    let far = cluster.node(3).entity::<Till>(&key_on(&cluster, 2));
    let before = cluster.elapsed();
    far.ask(Buy(lamp())).await.expect("it answers");
    assert!(cluster.elapsed() - before >= 2 * longer);
    cluster.heal();
    cluster.advance(SHORT).await;
    assert!(took().await < longer);
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_share_of_the_packets_is_lost_until_it_heals(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    let lost = || cluster.network().stats().lost;
    assert_eq!(lost(), 0);
    cluster.lose(0.2);
    cluster.advance(10 * SHORT).await;
    let so_far = lost();
    assert!(so_far > 0);
    cluster.heal();
    cluster.advance(10 * SHORT).await;
    assert_eq!(lost(), so_far);
    Ok(())
}

/// Asks of all tills, while faults come and go as the seed decides.
async fn stormy(cluster: TestCluster) {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(3, selling(&prices)).await.expect("they start");
    let mut random = cluster.random();
    for _ in 0..50 {
        let number = random.below(3) as u8 + 1;
        match random.below(3) {
            0 => cluster.pause(number),
            1 => cluster.slow(number, Duration::from_millis(random.below(50))),
            _ => cluster.lose(0.05),
        }
        let key = format!("till-{}", random.below(20));
        let asker = cluster.node(number % 3 + 1);
        let asked = asker.entity::<Till>(&key).ask(Buy(lamp())).within(SHORT / 4).await;
        cluster.network().record(format_args!("{:?}", asked.ok()));
        cluster.resume(number);
        cluster.heal();
    }
}

#[test]
fn one_seed_is_one_run_and_another_seed_another() {
    let trace = |seed| testkit::play(seed, stormy).expect("it ends well");
    let first = trace(1);
    assert!(first.packets > 500, "{first:?} is no storm");
    assert_eq!(trace(1), first);
    assert_ne!(trace(2), first);
}

#[test]
fn a_test_that_hangs_ends_with_an_error_that_says_how_its_nodes_are() {
    let cause = failing(async |cluster| {
        cluster.start(3, |node| node).await.expect("they start");
        cluster.pause(2);
        cluster.kill(3);
        cluster.node(2).ended().await;
    });
    let states = "n1/1 runs, n2/1 is paused, n3/1 was killed";
    assert_says(&cause, &["it has not ended after 3600s of virtual time", states]);
}

#[test]
fn a_test_that_leaves_a_hung_node_behind_ends_with_an_error_that_names_it() {
    let cause = failing(async |cluster| {
        cluster.start(2, |node| node).await.expect("they start");
        let pausing = cluster.clone();
        #[expect(clippy::disallowed_methods, reason = "it outlives the body, on purpose")]
        tokio::task::spawn_local(async move { pausing.pause(2) });
    });
    assert_says(&cause, &["n2/1 has not shut down within 60s of virtual time"]);
}

#[test]
fn an_error_that_a_test_returns_fails_it() {
    let cause = failing(async |_| Err::<(), _>("no lamp"));
    assert_eq!(cause, "\"no lamp\"");
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

/// What tests of this program are asked to do by a test that runs the program again.
const ASKED: &str = "ACTIX_CLUSTER_FAIL_IN_TESTS";

fn is_asked_to(what: &str) -> bool {
    std::env::var(ASKED).is_ok_and(|asked| asked == what)
}

#[cluster_test(seeds = 5)]
async fn the_third_seed_fails_if_asked(cluster: TestCluster) {
    println!("runs under {}", cluster.seed());
    assert!(!is_asked_to("fail") || cluster.seed() != 2, "the third seed fails");
}

#[cluster_test(seeds = 2, limit_secs = 5)]
async fn a_run_hangs_if_asked(cluster: TestCluster) {
    if is_asked_to("hang") {
        cluster.advance(LONG).await;
    }
}

/// What became of a test of this program in a process of its own.
struct Played {
    is_well: bool,
    said: String,
}

impl Played {
    /// Runs the program with these arguments, asks its tests to do something, and sets the seeds.
    fn run(arguments: &[&str], asked: &str, seeds: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(arguments).env(ASKED, asked).env_remove(testkit::SEEDS);
        command.envs(seeds.map(|seeds| (testkit::SEEDS, seeds)));
        let output = command.output().expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("a text");
        Self { is_well: output.status.success(), said }
    }

    fn of(test: &str, asked: &str, seeds: Option<&str>) -> Self {
        Self::run(&["--exact", test, "--nocapture"], asked, seeds)
    }

    fn seeds(&self) -> Vec<&str> {
        self.said.lines().filter_map(|line| line.strip_prefix("runs under ")).collect()
    }
}

#[test]
fn a_test_runs_under_each_of_its_seeds_up_to_the_first_that_fails() {
    let play = |asked, seeds| Played::of("the_third_seed_fails_if_asked", asked, seeds);
    let well = play("nothing", None);
    assert!(well.is_well && well.seeds() == ["0", "1", "2", "3", "4"], "{}", well.said);
    let failed = play("fail", None);
    assert!(!failed.is_well && failed.seeds() == ["0", "1", "2"], "{}", failed.said);
}

#[test]
fn other_seeds_than_its_own_are_set_by_the_environment() {
    let play = |seeds| Played::of("the_third_seed_fails_if_asked", "fail", Some(seeds));
    for (seeds, runs) in [("1", &["1"][..]), ("0..2", &["0", "1"]), ("7..10", &["7", "8", "9"])] {
        let played = play(seeds);
        assert!(played.is_well && played.seeds() == runs, "{}", played.said);
    }
    for wrong in ["x", "5..5", "-1", "18446744073709551615"] {
        let Played { is_well, said } = play(wrong);
        assert!(!is_well && said.contains("neither a number nor a range such as 0..100"), "{said}");
    }
}

#[test]
fn the_command_that_is_printed_replays_the_failing_seed_alone() {
    let name = "the_third_seed_fails_if_asked";
    let Played { is_well, said } = Played::run(&["--exact", name], "fail", None);
    assert!(
        !is_well && said.contains("seed 2 failed: it panicked: the third seed fails"),
        "{said}"
    );
    let command = format!(
        "ACTIX_CLUSTER_SEEDS=2 cargo test -p actix-cluster-tests --test testkit -- --exact {name} --nocapture"
    );
    let line = said.lines().find_map(|line| line.strip_prefix("replay it: "));
    assert_eq!(line, Some(&*command), "{said}");
    // As the command has it, with what stands behind the two hyphens.
    let arguments: Vec<_> = command.split(" -- ").nth(1).expect("two").split(' ').collect();
    let replayed = Played::run(&arguments, "fail", Some("2"));
    assert!(!replayed.is_well && replayed.seeds() == ["2"], "{}", replayed.said);
    assert!(replayed.said.contains("seed 2 failed"), "{}", replayed.said);
}

#[test]
fn a_test_has_as_much_virtual_time_as_it_states() {
    let Played { is_well, said } = Played::of("a_run_hangs_if_asked", "hang", None);
    assert!(!is_well, "{said}");
    assert_says(&said, &["seed 0 failed: it has not ended after 5s of virtual time"]);
}

#[test]
fn a_single_node_is_tested_in_virtual_time_without_a_cluster() {
    let asked = Arc::new(AtomicU64::new(0));
    let world = async {
        let builder = Node::builder().threads(actix_cluster::node::LocalThreads);
        let node = builder.start().await.expect("it starts");
        let counted = Arc::clone(&asked);
        let prices = Mock::start(&node, move |Price(_)| {
            counted.fetch_add(1, Relaxed);
            3
        });
        let prices = prices.message_ref();
        let till = node.spawn(move |_| Till { sum: 0, prices: prices.clone(), notes: None });
        let till = till.start().expect("room");
        assert_eq!(till.ask(Buy(lamp())).await.expect("it answers").sum, 3);
        node.shutdown().await;
    };
    testkit::simulate(LONG, world).expect("it ends");
    assert_eq!(asked.load(Relaxed), 1);
    let hung = testkit::simulate(LONG, std::future::pending::<()>());
    assert_eq!(hung.expect_err("it hangs").to_string(), "not ended after 100s of virtual time");
}

#[test]
fn wrong_cluster_tests_are_refused_readably() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}
