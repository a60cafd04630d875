//! How fast are actors, beside plain actix, kameo and ractor, and between processes beside those
//! that cross processes?
//!
//! Axes: who; tells and asks; on the sender's thread or on another; one actor or 1,000; the rate of
//! starts; the memory of an idle actor; tells and asks of 64 bytes between two processes of one core
//! each. All of them take turns in each round, so that what disturbs the machine disturbs all; ratios
//! are taken round by round.
//!
//! Every measurement is a process of its own, which plays by the rules in `rules/`: patterns of
//! sending, windows, warm-up and counting are written once there, for all, and each run ends with a
//! count of what was handled, which has to be what was sent. The others live in `peers/`, a workspace
//! of its own, and are built when they are needed; this program itself is the contestant of this
//! project (`ours.rs`).
//!
//! Run it with `cargo run --release -p actix-cluster-benches --bin actors`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the wall clock and starts threads")]

mod ours;
mod peers;
mod process;
mod who;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use actix_cluster_benches::{progress, report::Report};
use actors_rules::{Case, Length};
use clap::Parser;

use self::{peers::Programs, process::Cores, who::Who};

/// Measures actors beside those of others, each in processes of their own.
///
/// Cases are tell-HOME-N and ask-HOME-N: messages of one number to N actors, told as fast as they are
/// taken, or one ask in flight to each; on the sender's thread (same) or on another (across). spawn:
/// starts a second, each counted once it runs. idle-bytes: resident bytes of an actor that has
/// answered one ask, of a million. remote-tell-64, remote-ask-64-in-flight-N: messages of 64 bytes to
/// one actor of another process, one core for each process.
///
/// actix, kameo and ractor play within a process; ractor_cluster, kameo, actix-telepathy and murmer
/// between two. Mailboxes hold 1,024 messages; where they are unbounded, the sender waits at as many.
/// Each is measured in every round; what is shown is the median of the rounds with the lowest and
/// the highest, and the ratios to others. Let the machine do nothing else.
///
/// The exit code says whether this project could be measured, not whether targets were met.
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
}

fn case_named(name: &str) -> Result<Case, String> {
    let names = || Case::ALL.map(|case| case.to_string()).join(", ");
    Case::named(name).ok_or_else(|| format!("the cases are {}", names()))
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some(process::PLAY) {
        return actors_rules::play_both(ours::Local::default(), ours::Remote, args);
    }
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> io::Result<()> {
    let report = run(args)?;
    let mut out = io::stdout().lock();
    if args.json {
        report.write_json(&mut out)?
    } else {
        report.write_table(&mut out)?
    }
    out.flush()
}

/// How many actors are started or stand idle.
fn length(args: &Args, case: Case) -> Length {
    let actors = match (args.quick, case) {
        (true, _) => 1_000,
        (false, Case::IdleBytes) => 1_000_000,
        (false, _) => 100_000,
    };
    let millis = args.millis.unwrap_or(if args.quick { 20 } else { 500 });
    Length { time: Duration::from_millis(millis), actors }
}

fn run(args: &Args) -> io::Result<Report> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 });
    let is_asked = |case: &Case| args.only.is_empty() || args.only.contains(case);
    let is_named = |who: &Who| args.who.is_empty() || args.who.contains(who);
    let mut pairs: Vec<(Case, Who)> = Vec::new();
    for case in Case::ALL.into_iter().filter(is_asked) {
        let players = Who::ALL.into_iter().filter(|who| is_named(who) && who.plays(case));
        pairs.extend(players.map(|who| (case, who)));
    }
    let mut report = Report::new(who::standards);
    let programs = Programs::build(&pairs, &mut report)?;
    pairs.retain(|(case, who)| programs.has(*who, *case));
    let cores = Cores::find();
    let bar = progress(u64::from(rounds) * pairs.len() as u64);
    for _ in 0..rounds {
        let mut failed = Vec::new();
        for (case, who) in &pairs {
            bar.set_message(format!("{case}, {who}"));
            bar.inc(1);
            let program = programs.of(*who, *case);
            match process::measure(&program, *case, length(args, *case), &cores) {
                Ok(readings) => readings.iter().for_each(|(metric, value)| {
                    report.add(&case.to_string(), &who.to_string(), metric, *value);
                }),
                Err(error) if *who == Who::ActixCluster => {
                    return Err(io::Error::other(format!("{case}, {who}: {error}")));
                }
                Err(error) => {
                    report.note(format!("{who} could not play {case}: {error}"));
                    failed.push((*case, *who));
                }
            }
        }
        pairs.retain(|pair| !failed.contains(pair));
    }
    bar.finish_and_clear();
    if cores.is_none() {
        report.note("processes were not pinned to cores: figures vary more".to_owned());
    }
    Ok(report)
}
