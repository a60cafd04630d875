//! Runs: one seed is one run, and what is said of the one that fails.

use super::*;

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
    let trace = |seed| kit::play(seed, stormy).expect("it ends well");
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
        command.args(arguments).env(ASKED, asked).env_remove(kit::SEEDS);
        command.envs(seeds.map(|seeds| (kit::SEEDS, seeds)));
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
    let play =
        |asked, seeds| Played::of("testkit::seeds::the_third_seed_fails_if_asked", asked, seeds);
    let well = play("nothing", None);
    assert!(well.is_well && well.seeds() == ["0", "1", "2", "3", "4"], "{}", well.said);
    let failed = play("fail", None);
    assert!(!failed.is_well && failed.seeds() == ["0", "1", "2"], "{}", failed.said);
}

#[test]
fn other_seeds_than_its_own_are_set_by_the_environment() {
    let play =
        |seeds| Played::of("testkit::seeds::the_third_seed_fails_if_asked", "fail", Some(seeds));
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
    let name = "testkit::seeds::the_third_seed_fails_if_asked";
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
    let Played { is_well, said } = Played::of("testkit::seeds::a_run_hangs_if_asked", "hang", None);
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
    kit::simulate(LONG, world).expect("it ends");
    assert_eq!(asked.load(Relaxed), 1);
    let hung = kit::simulate(LONG, std::future::pending::<()>());
    assert_eq!(hung.expect_err("it hangs").to_string(), "not ended after 100s of virtual time");
}

#[test]
fn wrong_cluster_tests_are_refused_readably() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}
