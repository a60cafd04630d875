//! How fast is the transport, beside raw quinn and raw TCP that do the same work?
//!
//! Two processes on loopback, one thread and one core each; the far one counts, checks and answers.
//! Axes: who moves the messages (this transport, raw quinn with the same QUIC settings, raw TCP);
//! one way by payload (16 bytes to 1 MiB), requests by how many are in flight (1 to 4,096), and
//! idle round trips. All of them take turns in each round, so that what disturbs the machine
//! disturbs all; ratios to raw quinn are taken round by round.
//!
//! Raw streams carry frames as long as the transport's, in writes of 16 KiB, one stream each way.
//! The transport has what it always has: sequence numbers, both marks, the bytes kept to be sent
//! again, flow control; messages go to 64 targets in turn, and the far end settles each.
//!
//! Wakes of the transport's tasks are not counted but bounded: at the far end each wake of a lane's
//! reader that finds frames hands them over in one call at least, and calls are counted; at the near
//! end a turn of the sender wakes each lane's writer once at most, and turns are counted. Sleeps are
//! the runtime's own count of how often its thread had nothing to do.
//!
//! Run it with `cargo run --release -p actix-cluster-benches --bin transport`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the wall clock and starts threads")]

mod case;
mod cluster;
mod far;
mod near;
mod note;
mod setup;
mod streams;
mod usage;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use actix_cluster_benches::{machine, progress, report::Report};
use clap::Parser;
use tokio::task::LocalSet;

use self::{
    case::{Case, Length, Who, standards},
    near::Near,
};

/// Measures the transport beside raw quinn and raw TCP, between two processes on one core each.
///
/// Cases are one-way-N (messages of N bytes, a second), in-flight-N (requests a second with N in
/// flight, 64 bytes), idle (round trips of one request after another) and payload-N (MB a second).
/// Each is measured for everybody in every round; what is shown is the median of the rounds with
/// the lowest and the highest, and the ratio to raw quinn. Let the machine do nothing else.
///
/// The exit code says whether it could be measured, not whether targets were met.
#[derive(Parser)]
struct Args {
    /// How often everything is measured, 5 or more for figures that count [default: 5, 1 if quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// How long one measurement takes, in milliseconds [default: 500, 20 if quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    millis: Option<u64>,
    /// For a moment only: shows that it works, and nothing else.
    #[arg(long)]
    quick: bool,
    /// Only this case; may be given several times.
    #[arg(long, value_name = "CASE", value_parser = case_named)]
    only: Vec<Case>,
    /// Only who is named; may be given several times.
    #[arg(long, value_enum)]
    who: Vec<Who>,
    /// Prints one line of JSON for each figure: case, who, metric, median, min, max.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    far: bool,
    #[arg(long, hide = true)]
    core: Option<usize>,
}

fn case_named(name: &str) -> Result<Case, String> {
    let names = || Case::ALL.map(|case| case.to_string()).join(", ");
    Case::named(name).ok_or_else(|| format!("the cases are {}", names()))
}

/// What one end did in one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Messages or requests.
    pub(crate) count: u64,
    pub(crate) took: Duration,
    /// How often the sender had its turn.
    pub(crate) turns: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = if args.far { far::run(args.core) } else { compare(&args) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> io::Result<()> {
    let far_core = pin_here();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, run(args, far_core))?;
    let mut out = io::stdout().lock();
    if args.json {
        report.write_json(&mut out)?
    } else {
        report.write_table(&mut out)?
    }
    out.flush()
}

/// How long each is warmed up, at most.
const WARM_UP: Duration = Duration::from_millis(200);

/// Keeps this process on one core. Gives the core for the other.
fn pin_here() -> Option<usize> {
    let cores = machine::cores();
    if let [near, .., far] = cores[..]
        && machine::pin(&[near])
    {
        return Some(far);
    }
    eprintln!("processes are not pinned to cores: figures will vary more");
    None
}

async fn run(args: &Args, far_core: Option<usize>) -> io::Result<Report> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 });
    let length = Length {
        time: Duration::from_millis(args.millis.unwrap_or(if args.quick { 20 } else { 500 })),
        pings: if args.quick { 20 } else { 2_000 },
    };
    let is_asked = |case: &Case| args.only.is_empty() || args.only.contains(case);
    let cases: Vec<Case> = Case::ALL.into_iter().filter(is_asked).collect();
    let everybody: Vec<Who> = if args.who.is_empty() { Who::ALL.into() } else { args.who.clone() };

    let mut near = Near::connect(far_core).await?;
    // The longest packet that passes is found, and windows have opened, before it counts.
    for who in &everybody {
        let length = Length { time: length.time.min(WARM_UP), ..length };
        near.measure(Case::OneWay(1_024), *who, length).await?;
    }
    let mut report = Report::new(standards);
    let bar = progress(u64::from(rounds) * (cases.len() * everybody.len()) as u64);
    for _ in 0..rounds {
        for case in &cases {
            for who in &everybody {
                bar.set_message(format!("{case}, {who}"));
                let readings = near.measure(*case, *who, length).await.map_err(|error| {
                    io::Error::new(error.kind(), format!("{case}, {who}: {error}"))
                })?;
                for (metric, value) in readings {
                    report.add(&case.to_string(), &who.to_string(), metric, value);
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(report)
}
