//! A year of flights, fed to a cluster of processes as messages between entities, one of which is
//! killed half-way: the totals are exact all the same.
//!
//! ```sh
//! cargo run --release --example fleet
//! ```
//!
//! It starts three node processes (itself, with other options) and feeds them from this process, a
//! member of weight 0. Each aircraft and each airport is an entity; an aircraft tells its two
//! airports of each flight. It ends with a table of carriers, what each node has handled, how long
//! the killed node's entities were away, and `totals match the file: yes`. With `--silent` the node is
//! stopped instead of killed, as a host that hangs, and wakes up later: it finds itself declared down,
//! and joins again as another incarnation.
//!
//! # Why it is exact although a node is killed
//!
//! The state of an entity is volatile: it is gone with its node. Messages between live nodes arrive
//! exactly once, but what a killed node had accepted may or may not have been handled: it ends
//! *unknown*. So exactness needs an order in which to repeat, and a way to recognise repeats:
//!
//! 1. Rows go in batches. A batch is over when each of its rows is answered in one view *of the
//!    feeder*, and an aircraft answers a row only after both airports have. So when a batch begins, all rows of the
//!    batches before it are handled, by somebody.
//! 2. Every message carries its batch and its row. An entity applies a row of the current batch
//!    once ([`ledger`]): it keeps the set of those it has applied. It drops what belongs to an
//!    earlier batch: by 1, nobody waits for that any more.
//! 3. When a message of a new batch comes, the entity makes sure that each of its own rows of all
//!    earlier batches is applied. Normally they are, by messages. A fresh activation, which has
//!    none of them, folds them from the file; that is the *rebuild*. So does one that missed a row
//!    because a node that did not know the new view yet sent it to the former owner.
//! 4. When a message ends unknown, or the view has changed during the batch, the whole batch is
//!    sent again, since an entity may have moved and forgotten rows of it. A repeated row is always
//!    passed on to the airports: the aircraft may have applied it, and died before it told them;
//!    or an airport may have moved after it was told.
//!
//! By 2 and 3 each activation is exact by itself whatever was lost, doubled or late; 1 and 4 see to
//! it that messages, not rebuilds, do the work. The last activation of each entity has seen a message, or is completed when it is asked for its
//! totals. So even two activations that live at once, as `placement = Eventual` allows for a
//! moment, do no harm: only the one that the final question reaches counts, and it is exact.
//!
//! That alone would not show that messages do the work: an entity that ignored every message would
//! be rebuilt and be just as exact. So the job counts what was applied by message and by rebuild,
//! and fails if anything is rebuilt in an entity whose shard never changed its owner.

#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads the wall clock, sleeps and spawns as programs do"
)]

mod entities;
mod feeder;
mod flights;
mod ledger;
mod options;
mod prober;
mod processes;
mod progress;
mod report;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster::Node;
use clap::Parser as _;

use crate::{
    entities::Setting,
    feeder::{Feeder, Mark},
    flights::Flights,
    options::Options,
    prober::Prober,
    processes::{Authority, Joining, Launcher, Process},
    progress::Progress,
    report::Run,
};

/// Why the job has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What it was given, or where it runs, is to be corrected: exit code 2.
    Input(String),
    /// The cluster did not do what it has to: exit code 1.
    Wrong(String),
    /// Ctrl-C.
    Interrupted,
}

impl Failure {
    /// An error of the input, with all its causes.
    pub(crate) fn input(error: impl std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self::Input(text)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error")),
        )
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&options)),
        Err(error) => Err(Failure::input(error)),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Input(text)) => {
            eprintln!("fleet: {text}");
            ExitCode::from(2)
        }
        Err(Failure::Wrong(text)) => {
            eprintln!("fleet: {text}");
            ExitCode::from(1)
        }
        Err(Failure::Interrupted) => {
            eprintln!("fleet: interrupted");
            ExitCode::from(130)
        }
    }
}

async fn run(options: &Options) -> Result<ExitCode, Failure> {
    options.check().map_err(Failure::Input)?;
    let limit = options.rows.map_or(usize::MAX, std::num::NonZeroUsize::get);
    let flights = Flights::read(&options.data, limit).map_err(Failure::input)?;
    let batch_rows = options::batch_rows(flights.rows.len());
    let setting = Setting { flights, batch_rows, drop_one_in: options.drop_one_in };
    if options.node.name.is_some() {
        processes::run_node(options, setting).await?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        code = feed(options, Arc::new(setting)) => code,
    }
}

async fn feed(options: &Options, setting: Arc<Setting>) -> Result<ExitCode, Failure> {
    let authority = Authority::new();
    let node = processes::start_feeder(&authority, options.port).await?;
    let launcher = Launcher {
        options,
        authority: &authority,
        seed: node.addr().expect("the feeder has a cluster"),
        members: options.nodes.get() + 1,
        rows: setting.flights.rows.len(),
    };
    // Each waits until it sees all others: they are started together.
    let joining: Vec<Joining> = (1..=options.nodes.get())
        .map(|number| launcher.start(&format!("node-{number}")))
        .collect::<Result<_, _>>()?;
    let mut processes = Vec::new();
    for process in joining {
        processes.push(process.joined().await?);
    }
    node.wait_for_members(launcher.members).await;
    let job = Job { options, setting: &setting, node: &node, launcher: &launcher };
    let (mut feeder, run) = job.feed_all(&mut processes).await?;
    processes.iter_mut().try_for_each(Process::check)?;
    let reports = report::collect(&node, &setting, feeder.batches()).await?;
    let outcome = report::judge(&node, &setting, &reports, feeder.moved(), &run);
    for process in processes {
        process.kill().await?;
    }
    println!("{}", outcome.to_text(&run));
    if options.json {
        println!("{}", outcome.to_json(&run));
    }
    Ok(if outcome.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What the feeding needs.
struct Job<'a> {
    options: &'a Options,
    setting: &'a Arc<Setting>,
    node: &'a Node,
    launcher: &'a Launcher<'a>,
}

impl Job<'_> {
    /// Feeds all batches, with the kill and the replacement on the way.
    async fn feed_all(&self, processes: &mut Vec<Process>) -> Result<(Feeder, Run), Failure> {
        let mut feeder = Feeder::new(self.node.clone(), Arc::clone(self.setting));
        let batches = feeder.batches();
        let progress = Progress::new(self.setting.flights.rows.len());
        let mut run =
            Run { feeding: Duration::ZERO, repeats: 0, killed_node: None, failover: None };
        let (mut prober, mut replacement, mut stopped) = (None, None, None);
        let start = Instant::now();
        for batch in 0..batches {
            processes.iter_mut().try_for_each(Process::check)?;
            if batch >= batches * 9 / 10
                && let Some(back) = replacement.take()
            {
                let process = self.back(back).await?;
                progress.say(&format!("{} has joined in its place", process.id));
                processes.push(process);
            }
            if !self.options.no_kill && batch == batches / 2 {
                let lost = self.feed_and_lose(&mut feeder, batch, processes).await?;
                let what = if self.options.silent { "stopped" } else { "killed" };
                progress.say(&format!("{what} {}", lost.id));
                run.killed_node = Some(lost.id);
                (prober, stopped) = (Some(lost.prober), lost.stopped);
            } else {
                feeder.feed(batch, None).await?;
            }
            // It joins while the rows go on, and has to have joined before their last tenth.
            if run.killed_node.is_some() && batch == batches * 3 / 4 {
                replacement = Some(match stopped.take() {
                    Some(process) => {
                        progress.say(&format!("{} wakes up", process.id));
                        process.go_on().await?;
                        Back::Woken(process)
                    }
                    None => Back::Started(self.launcher.start(KILLED)?),
                });
            }
            progress.advance(self.setting.batch_rows as usize);
        }
        run.feeding = start.elapsed();
        run.repeats = feeder.repeats;
        if let Some(prober) = prober {
            run.failover = Some(prober.longest().await?);
        }
        progress.finish();
        Ok((feeder, run))
    }

    /// Waits until the node has joined again.
    async fn back(&self, back: Back) -> Result<Process, Failure> {
        let mut process = match back {
            Back::Started(joining) => joining.joined().await?,
            Back::Woken(process) => process,
        };
        self.node.wait_for_members(self.launcher.members).await;
        let members = self.node.members();
        if let Some(member) = members.iter().find(|member| *member.id.name == *KILLED) {
            process.id = member.id.to_string();
        }
        Ok(process)
    }

    /// Feeds a batch, and kills or stops a node while it is under way.
    async fn feed_and_lose(
        &self,
        feeder: &mut Feeder,
        batch: u32,
        processes: &mut Vec<Process>,
    ) -> Result<Lost, Failure> {
        let at = processes.iter().position(|process| process.id.starts_with(KILLED));
        let victim = processes.remove(at.expect("there are at least three nodes"));
        let id = victim.id.clone();
        let keys = prober::keys_of(self.node, self.setting, &id);
        let after = self.setting.batch_rows as usize / 4;
        let mark = Arc::new(Mark { after, ..Mark::default() });
        let lose = async {
            mark.reached.notified().await;
            let lost = Instant::now();
            let stopped = match self.options.silent {
                true => {
                    victim.stop().await?;
                    Some(victim)
                }
                false => {
                    victim.kill().await?;
                    None
                }
            };
            Ok((Prober::start(self.node, keys, lost), stopped))
        };
        let (fed, lost) = tokio::join!(feeder.feed(batch, Some(Arc::clone(&mark))), lose);
        fed?;
        let (prober, stopped) = lost?;
        Ok(Lost { id, prober, stopped })
    }
}

/// A node that was killed, or stopped.
struct Lost {
    id: String,
    prober: Prober,
    /// Its process, if that only stands still.
    stopped: Option<Process>,
}

/// A node on its way back.
enum Back {
    /// A process that has taken its place.
    Started(Joining),
    /// The same process.
    Woken(Process),
}

/// The node that is killed, and replaced under its own name.
const KILLED: &str = "node-2";
