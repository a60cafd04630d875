//! How much later do short messages arrive while a long one flows beside them?
//!
//! 64-byte messages to 64 targets are sent at a fixed rate, each is answered, and the time is taken
//! from when it was to be sent until its answer is there; without anything else, and while a message
//! of 100 MB goes the same way. The same is done with bare quinn: a stream for short frames, one for
//! their echoes, and one of lower priority for the 100 MB, in 64 KiB chunks, under the same QUIC
//! settings. What the long message adds at the 99th percentile is compared.
//!
//! Two threads of one process on loopback are the two nodes, and a third one sends, for the transport
//! and for quinn alike; their rounds alternate. Run it with
//! `cargo run --release -p actix-cluster-benches --bin bulk`.

#![expect(clippy::disallowed_methods, reason = "it plays the world outside of the seams")]

mod nodes;
mod open_loop;
mod raw;

use std::{io, process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Parser;
use serde::Serialize;

use self::open_loop::{Log, Path, Until};

/// Sends short messages at a fixed rate, with and without a long one beside them, by the transport
/// and by bare quinn.
///
/// The exit code is 0 only if the long message adds at most 2 ms at the 99th percentile, or 1.5
/// times what it adds with bare quinn.
#[derive(Parser)]
struct Args {
    /// How often everything is measured; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The length of the long message, in MB.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=128))]
    megabytes: u64,
    /// How many short messages are sent in a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    rate: u64,
    /// Prints a line of JSON for each figure.
    #[arg(long)]
    json: bool,
}

/// How long short messages are sent alone.
const QUIET: Duration = Duration::from_secs(1);

/// What a long message may add at the 99th percentile, whatever quinn does, in milliseconds.
const ADDED_MS: f64 = 2.0;

/// What it may add in relation to what it adds with bare quinn.
const ADDED_RATIO: f64 = 1.5;

fn main() -> Result<ExitCode, Box<dyn std::error::Error + Send + Sync>> {
    let args = Args::parse();
    let long = Bytes::from(vec![7; args.megabytes as usize * 1_000_000]);
    let mut rounds = [Vec::new(), Vec::new()];
    let mut paths: [Box<dyn Path>; 2] =
        [Box::new(nodes::Nodes::start(long.clone())?), Box::new(raw::Raw::start(long)?)];
    // The first one warms up: paths learn their MTU and their congestion window.
    for round in 0..=args.rounds {
        for turn in 0..2 {
            let who = (round + turn) as usize % 2;
            let figures = measure(&mut *paths[who], args.rate)?;
            if round > 0 {
                rounds[who].push(figures);
            }
        }
    }
    let [ours, raw] = rounds;
    let lines: Vec<_> = lines("transport", &ours).chain(lines("quinn", &raw)).collect();
    for line in &lines {
        if args.json {
            println!("{}", serde_json::to_string(line)?);
        } else {
            line.print();
        }
    }
    let added = |rounds: &[Figures]| spread(rounds.iter().map(|round| round[ADDED])).0;
    let bound = ADDED_MS.max(ADDED_RATIO * added(&raw));
    let holds = added(&ours) <= bound;
    if !args.json {
        let result = if holds { "holds" } else { "FAILS" };
        println!("{result}: {:.2} ms added at p99, of {bound:.2} allowed", added(&ours));
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a round gives.
type Figures = [f64; METRICS.len()];

const METRICS: [(&str, &str); 6] = [
    ("quiet", "p50_ms"),
    ("quiet", "p99_ms"),
    ("flow", "p50_ms"),
    ("flow", "p99_ms"),
    ("flow", "added_p99_ms"),
    ("flow", "megabytes_per_second"),
];

/// The place among them of what the bound is about.
const ADDED: usize = 4;

fn measure(path: &mut dyn Path, rate: u64) -> io::Result<Figures> {
    let quiet = open_loop::run(path, rate, Until::Elapsed(QUIET))?;
    let flow = open_loop::run(path, rate, Until::Flowed)?;
    let (quiet_p99, flow_p99) = (quiet.percentile_ms(99), flow.percentile_ms(99));
    let megabytes = path.long_bytes() as f64 / 1e6;
    Ok([
        quiet.percentile_ms(50),
        quiet_p99,
        flow.percentile_ms(50),
        flow_p99,
        flow_p99 - quiet_p99,
        megabytes / flow.elapsed.as_secs_f64(),
    ])
}

/// A figure over all rounds.
#[derive(Serialize)]
struct Line {
    case: &'static str,
    who: &'static str,
    metric: &'static str,
    median: f64,
    min: f64,
    max: f64,
}

impl Line {
    fn print(&self) {
        let Self { case, who, metric, median, min, max } = self;
        println!("{who:10} {case:6} {metric:21} {median:9.2} ({min:.2} to {max:.2})");
    }
}

fn lines(who: &'static str, rounds: &[Figures]) -> impl Iterator<Item = Line> {
    METRICS.into_iter().enumerate().map(move |(at, (case, metric))| {
        let (median, min, max) = spread(rounds.iter().map(|round| round[at]));
        Line { case, who, metric, median, min, max }
    })
}

/// Median, least and greatest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}
