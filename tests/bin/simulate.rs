//! Plays a cluster under faults, seed after seed, and says which of them violate what must hold.

use std::{process::ExitCode, thread, time::Duration};

use actix_cluster::transport::sabotage::Bug;
use actix_cluster_simulation::{Report, Seeds, Tally};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Plays a whole cluster, real QUIC included, in virtual time under faults that a seed draws, and looks
/// whether all holds that must.
#[derive(Parser, Debug)]
#[command(
    name = "simulate",
    after_help = "Exit code: 0 if nothing was violated, 1 if something was, or if a set of 50 seeds or more \
                  never met a fault.\n\nExamples:\n  cargo run --release -p actix-cluster-tests --bin \
                  simulate -- --seeds 1000\n  cargo run --release -p actix-cluster-tests --bin simulate -- \
                  --seed 42"
)]
struct Options {
    /// How many seeds to play
    #[arg(long, default_value = "200", value_name = "N")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value = "0", value_name = "SEED")]
    from: u64,
    /// Plays this one alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// On how many threads; one for each core unless said otherwise
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Puts a bug in, to see whether it is found
    #[arg(long, value_name = "BUG", value_parser = bug)]
    bug: Option<Bug>,
    /// Stops at the first seed that violates something
    #[arg(long)]
    stop: bool,
    /// Ends with one line of JSON
    #[arg(long)]
    json: bool,
}

fn bug(word: &str) -> Result<Bug, String> {
    Bug::ALL.into_iter().find(|bug| bug.as_str() == word).ok_or_else(|| {
        let words: Vec<_> = Bug::ALL.iter().map(|bug| bug.as_str()).collect();
        format!("there is {}", words.join(", "))
    })
}

fn main() -> ExitCode {
    let options = Options::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let cores = || thread::available_parallelism().map_or(1, |cores| cores.get());
    let (from, count) = options.seed.map_or((options.from, options.seeds), |seed| (seed, 1));
    let threads = options.threads.unwrap_or_else(cores);
    let seeds = Seeds { from, count, threads, bug: options.bug, stops: options.stop };
    let bar = ProgressBar::new(count);
    let style = "{bar:40} {pos}/{len} seeds, {eta} left";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let (mut tally, mut simulated) = (Tally::default(), Duration::ZERO);
    let (mut violated, mut played) = (0u64, 0u64);
    for Report { seed, tally: more, violations, simulated: time } in seeds.play() {
        bar.inc(1);
        played += 1;
        tally = tally.and(&more);
        simulated += time;
        violated += u64::from(!violations.is_empty());
        for violation in &violations {
            bar.suspend(|| println!("seed {seed}: {violation}"));
        }
        if !violations.is_empty() {
            bar.suspend(|| println!("replay it: {}", replay(seed, options.bug)));
        }
    }
    bar.finish_and_clear();
    for (name, count) in tally.named() {
        println!("{name:<12} {count}");
    }
    let missing = if played >= 50 { tally.missing() } else { Vec::new() };
    missing.iter().for_each(|missing| println!("not tested: {missing}"));
    let hours = simulated.as_secs_f64() / 3_600.0;
    println!("{played} seeds, {hours:.2} simulated hours, {violated} with violations");
    if options.json {
        let line = serde_json::json!({
            "seeds": played,
            "violations": violated,
            "simulated_hours": hours,
            "handled": tally.handled,
            "faults": tally.faults(),
        });
        println!("{line}");
    }
    if violated == 0 && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// The command that plays one seed.
fn replay(seed: u64, bug: Option<Bug>) -> String {
    let bug = bug.map_or_else(String::new, |bug| format!(" --bug {bug}"));
    format!("cargo run --release -p actix-cluster-tests --bin simulate -- --seed {seed}{bug}")
}
