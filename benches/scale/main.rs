//! What does a cluster cost each of its nodes, and how soon does it know of an end, as it grows?
//!
//! Axes: the number of members, 3 to 1,000; the membership core alone, whole nodes, and the tables of
//! placement. Cores and nodes run on one thread in virtual time, so that times to join, to detect and to
//! agree, and what is sent, are decided by the seed and do not depend on the machine. The time that work
//! takes, and memory, do.
//!
//! Each measurement is a process of its own. Run it with
//! `cargo run --release -p actix-cluster-scale`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the wall clock")]

mod exchange;
mod measurement;
mod membership;
mod nodes;
mod placement;
mod process;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use actix_cluster_benches::{progress, report::Report};
use clap::Parser;

use self::measurement::{MEASURE, Measurement, Part};

/// Measures what a cluster of so many members costs each of its nodes, and how soon an end is known.
///
/// membership: the core that finds members and notices their ends, many of them in virtual time, with
/// packets that take 1 to 1.5 ms. All start at once and join by way of three of them: join is until all
/// see each other; more than 200 see each other from the start. Then what each sends while nothing
/// happens, and the processor time that one takes for a second of it (work, with what carries packets
/// here). Then one member ends, and detect is until the first of the others holds it down, agree until the
/// last; silent, as a process that stands still or a host that is cut off, or killed, so that its port
/// refuses. wrongly_down counts members that had not ended. Memory is what the process holds, by cores.
///
/// nodes: the same of whole nodes, with QUIC and TLS in the simulated network. Packets and bytes are those
/// of UDP, acknowledgements and keep-alives included.
///
/// placement: the processor time to compute the table of 4,096 shards, members of equal weights and of 1,
/// 2, 4, 8.
///
/// Figures are medians, the lowest and the highest, over clusters of different seeds. Takes some
/// minutes in release, most of them for 1,000 members.
#[derive(Parser)]
struct Args {
    /// How many members; may be given several times [default: 3, 10, 50, 200, 1000; whole nodes 3, 10].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=4_000))]
    members: Vec<u16>,
    /// Only this part; may be given several times.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Over how many clusters each figure is taken [default: fewer for larger ones].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// How long nothing happens while what is sent is counted, in virtual seconds [default: 20, and 5
    /// beyond 200 members].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: Option<u32>,
    /// Decides every draw.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    seed: u64,
    /// Prints one line of JSON for each figure: case, who, metric, median, min, max.
    #[arg(long)]
    json: bool,
}

/// The sizes that are measured unless said otherwise.
const SIZES: [u16; 5] = [3, 10, 50, 200, 1_000];

/// The most whole nodes of one cluster, unless more are asked for: each has a connection with each other,
/// and all of them share one thread here.
const NODES_UP_TO: u16 = 10;

/// The most that the test kit has addresses for.
const NODES_LIMIT: u16 = 254;

/// Beyond this, fewer seconds are enough: there are so many nodes to take a mean over.
const LONG_UP_TO: u16 = 200;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let done = match args.next().as_deref() {
        Some(MEASURE) => Measurement::play(args),
        _ => run(&Args::parse()).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let measurements = measurements(args);
    let mut report = Report::new(|_, _, _| Vec::new());
    let bar = progress(measurements.len() as u64);
    bar.enable_steady_tick(Duration::from_millis(500));
    for measurement in &measurements {
        let Measurement { part, members, seconds, .. } = measurement;
        bar.set_message(format!("{part}, {members} members"));
        let who = format!("{members} members");
        measurement.run(|metric, value| report.add(&part.to_string(), &who, metric, value))?;
        if *part != Part::Placement && *members > LONG_UP_TO {
            report.note(format!("{part} of {members}: {seconds} virtual seconds without an event"));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    if args.json {
        report.write_json(&mut out)?;
    } else {
        report.write_table(&mut out)?;
    }
    out.flush()
}

fn measurements(args: &Args) -> Vec<Measurement> {
    let sizes = if args.members.is_empty() { &SIZES[..] } else { &args.members };
    let parts =
        Part::ALL.into_iter().filter(|part| args.only.is_empty() || args.only.contains(part));
    let mut measurements = Vec::new();
    for part in parts {
        let limit = match (part, args.members.is_empty()) {
            (Part::Nodes, true) => NODES_UP_TO,
            (Part::Nodes, false) => NODES_LIMIT,
            (Part::Membership | Part::Placement, _) => u16::MAX,
        };
        let is_measured = |members: &&u16| **members <= limit;
        for &members in sizes.iter().filter(is_measured) {
            let seconds = args.seconds.unwrap_or(if members > LONG_UP_TO { 5 } else { 20 });
            let rounds = args.rounds.unwrap_or_else(|| rounds(part, members));
            measurements.push(Measurement { part, members, rounds, seconds, seed: args.seed });
        }
    }
    measurements
}

/// Over how many clusters a figure is taken: many where one ends soon.
fn rounds(part: Part, members: u16) -> u32 {
    match part {
        Part::Membership => (500 / u32::from(members)).clamp(1, 40),
        Part::Nodes => (60 / u32::from(members)).clamp(2, 10),
        Part::Placement => 5,
    }
}
