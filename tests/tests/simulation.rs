//! The simulation: 200 seeds of it hold, one seed is one run, and bugs that are put in are found. More seeds
//! are played by the program `simulate`.

use std::thread;

use actix_cluster::transport::sabotage::Bug;
use actix_cluster_simulation::{Seeds, Tally, play};

#[test]
fn one_seed_is_one_run() {
    let runs = [play(7, None), play(7, None)];
    assert_eq!(runs[0].tally, runs[1].tally);
    assert_eq!(runs[0].simulated, runs[1].simulated);
    assert!(runs[0].tally.sent > 1_000 && runs[0].tally.faults() > 5, "{:?}", runs[0].tally);
}

#[test]
fn all_holds_in_200_seeds() {
    let mut tally = Tally::default();
    let mut violations = Vec::new();
    let seeds = Seeds { from: 0, count: 200, threads: threads(), bug: None, stops: false };
    for report in seeds.play() {
        let of_seed = |violation| format!("seed {}: {violation}", report.seed);
        violations.extend(report.violations.iter().map(of_seed));
        tally = tally.and(&report.tally);
    }
    assert!(
        violations.is_empty(),
        "{}\nreplay one: cargo run --release -p actix-cluster-tests --bin simulate -- --seed SEED",
        violations.join("\n")
    );
    assert!(tally.missing().is_empty(), "not tested: {:?}", tally.missing());
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// What must be seen to be violated if a bug was put in.
fn violated_by(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::SettledBeforeHandled => &["each message has one outcome"],
        Bug::RouteWithoutFlush => &["order"],
        Bug::TakenWithoutShard => &["one activation by one view", "all heals"],
        Bug::RepeatsLeftBehind => &["asks with keys run once"],
        Bug::EndLostOnResume => &["watches end once"],
        Bug::MailboxWithoutBound => &["queues keep their bounds"],
    }
}

#[test]
fn each_bug_that_is_put_in_is_found_within_100_seeds() {
    for bug in Bug::ALL {
        let seeds = Seeds { from: 0, count: 100, threads: threads(), bug: Some(bug), stops: false };
        let found = seeds.play().find_map(|report| {
            let is_meant = |invariant| violated_by(bug).contains(&invariant);
            let violation = report.violations.into_iter().find(|it| is_meant(it.invariant));
            violation.map(|violation| (report.seed, violation))
        });
        let (seed, violation) = found.unwrap_or_else(|| panic!("{bug} is not found"));
        println!("{bug}: seed {seed}, {violation}");
    }
}
