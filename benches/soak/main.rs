//! Does anything get lost, repeated or overtaken while connections break all the time?
//!
//! Two transports on loopback, each on a thread of its own, send each other numbered messages over
//! 64 targets each way, from threads of their own, while their real sockets are cut, half cut and
//! closed at random, and both dial at once. Every number is checked on arrival. Run it with
//! `cargo run --release -p actix-cluster-benches --bin soak -- --seconds 60`.

#![expect(clippy::disallowed_methods, reason = "it plays the world outside of the seams")]

mod check;
mod faults;
mod node;
mod sender;

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix_cluster_transport::{Random, Session, development::Authority};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::watch;

use self::{
    check::{Plant, Verdict},
    faults::Faults,
    node::Node,
    sender::Sent,
};

/// Sends numbered messages both ways between two transports on loopback while their sockets are
/// cut at random, and checks that each arrives once and in order.
///
/// The exit code is 0 only if nothing was lost, repeated or overtaken, no session ended, and there
/// were cuts, resumed sessions and races of both sides dialling at once. Runs under 10 s may be too
/// short for these.
#[derive(Parser)]
struct Args {
    /// How long to send, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Decides which faults come when. What the system's scheduler does differs all the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
    /// Puts a bug between the transport and the check, to see that it is found.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
}

/// How long what was sent may take to be settled once all is well again.
const DRAIN: Duration = Duration::from_secs(30);

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let args = Args::parse();
    let authority = Authority::new();
    let left = Node::start("left", &authority, args.plant)?;
    let right = Node::start("right", &authority, None)?;
    left.connect(&right);
    right.connect(&left);
    let sessions = [left.session()?, right.session()?];

    let begun = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let senders = sessions.clone().map(|session| sender::start(session, stopped.clone()));
    let mut faults = Faults::new(Random::from_seed(args.seed));
    let bar = progress(args.seconds);
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        faults.step(&left, &right, begun.elapsed())?;
        bar.set_position(begun.elapsed().as_secs());
        let arrived = left.arrived() + right.arrived();
        bar.set_message(format!("{arrived} messages, {} cuts", faults.cuts));
        std::thread::sleep(STEP);
    }
    faults.end(&left, &right)?;
    stop.send_replace(true);
    let [by_left, by_right] = senders.map(|sender| sender.join().expect("a sender never panics"));
    let sending = begun.elapsed();
    let drained = drain(&sessions);
    bar.finish_and_clear();

    let report = Report::new(&args, [left, right], [by_left, by_right], faults, sending, drained);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How often faults begin and end.
const STEP: Duration = Duration::from_millis(5);

/// A bar on standard error, if that is a terminal.
fn progress(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} s  {msg}");
    ProgressBar::new(seconds).with_style(style.expect("the template is right"))
}

/// Waits until all is settled; whether it came to that.
fn drain(sessions: &[Session]) -> bool {
    let begun = Instant::now();
    while sessions.iter().any(|session| session.unsettled() != (0, 0)) {
        if begun.elapsed() > DRAIN {
            return false;
        }
        std::thread::sleep(STEP);
    }
    true
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    seconds: f64,
    seed: u64,
    messages: u64,
    messages_per_second: u64,
    cuts: u64,
    resumes: u64,
    /// Connections that were refused or replaced because both sides had dialled.
    races: u64,
    packets_vanished: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    sessions_ended: u64,
    /// Whether all was settled in the end.
    drained: bool,
    holds: bool,
}

impl Report {
    fn new(
        args: &Args,
        nodes: [Node; 2],
        sent: [Sent; 2],
        faults: Faults,
        sending: Duration,
        drained: bool,
    ) -> Self {
        let [by_left, by_right] = sent;
        let counts = nodes.each_ref().map(|node| Arc::clone(&node.counts));
        let total = |pick: fn(&node::Counts) -> &std::sync::atomic::AtomicU64| -> u64 {
            counts.iter().map(|counts| pick(counts).load(Ordering::Acquire)).sum()
        };
        let packets_vanished = nodes.iter().map(|node| node.network.vanished()).sum();
        let [left, right] = nodes;
        // What one has sent, the other has checked.
        let verdicts = [left.end(&by_right), right.end(&by_left)];
        let sum = |pick: fn(&Verdict) -> u64| verdicts.iter().map(pick).sum();
        let messages = sum(|verdict| verdict.arrived);
        let mut report = Self {
            seconds: sending.as_secs_f64(),
            seed: args.seed,
            messages,
            messages_per_second: (messages as f64 / sending.as_secs_f64()) as u64,
            cuts: faults.cuts,
            resumes: total(|counts| &counts.resumes) / 2,
            races: total(|counts| &counts.refused) + total(|counts| &counts.replaced),
            packets_vanished,
            lost: sum(|verdict| verdict.lost),
            duplicated: sum(|verdict| verdict.duplicated),
            reordered: sum(|verdict| verdict.reordered),
            sessions_ended: total(|counts| &counts.sessions_ended),
            drained,
            holds: false,
        };
        let clean = [report.lost, report.duplicated, report.reordered, report.sessions_ended];
        let played = [report.messages, report.cuts, report.resumes, report.races];
        report.holds = drained && clean == [0; 4] && !played.contains(&0);
        report
    }

    fn print(&self) {
        let Self { messages, messages_per_second, seconds, .. } = self;
        println!("messages    {messages} in {seconds:.0} s, {messages_per_second} a second");
        println!("cuts        {}, {} packets vanished", self.cuts, self.packets_vanished);
        println!("resumes     {}", self.resumes);
        println!("races       {}", self.races);
        println!("lost        {}", self.lost);
        println!("duplicated  {}", self.duplicated);
        println!("reordered   {}", self.reordered);
        println!("sessions    {} ended", self.sessions_ended);
        if !self.drained {
            println!("not all was settled {} s after the last fault", DRAIN.as_secs());
        }
        let result = if self.holds { "holds" } else { "FAILS" };
        println!("{result}; again with --seconds {} --seed {}", seconds.trunc(), self.seed);
    }
}
