//! The command line.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::Parser;

/// Feeds a year of flights to a cluster of processes as messages between entities, kills a node
/// half-way, and shows that the totals are exact all the same.
#[derive(Parser, Debug, Clone)]
#[command(
    name = "fleet",
    after_help = "Exit code: 0 if all totals match the file, 1 if not, 2 for bad input or a port \
                  in use.\n\nExamples:\n  cargo run --release --example fleet\n  cargo run \
                  --release --example fleet -- --silent\n  cargo run --release --example fleet \
                  -- --rows 20000 --no-kill --json"
)]
pub(crate) struct Options {
    /// How many node processes hold the entities; a kill needs at least 3
    #[arg(long, default_value = "3", value_name = "N")]
    pub(crate) nodes: NonZeroUsize,
    /// Feeds the first N flights only
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<NonZeroUsize>,
    /// Kills no node
    #[arg(long)]
    pub(crate) no_kill: bool,
    /// Stops the node (SIGSTOP) instead of killing it, so that it falls silent, and wakes it up later
    /// (SIGCONT): it finds itself declared down, and joins again
    #[arg(long, conflicts_with = "no_kill")]
    pub(crate) silent: bool,
    /// The file of flights, gzipped
    #[arg(long, value_name = "FILE", default_value = default_data())]
    pub(crate) data: PathBuf,
    /// Ends with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The UDP port of this process on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value = "0", value_name = "PORT")]
    pub(crate) port: u16,
    /// Drops one row in N without applying it, which the job must notice
    #[arg(long, hide = true, default_value = "0")]
    pub(crate) drop_one_in: u32,
    #[command(flatten)]
    pub(crate) node: NodeOptions,
}

/// What makes a process one of the nodes.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct NodeOptions {
    /// The node's name
    #[arg(long, hide = true)]
    pub(crate) name: Option<String>,
    /// Where the feeder listens
    #[arg(long, hide = true)]
    pub(crate) seed: Option<SocketAddr>,
    /// Where the development authority is kept
    #[arg(long, hide = true)]
    pub(crate) authority: Option<PathBuf>,
    /// How many members it waits for
    #[arg(long, hide = true, default_value = "0")]
    pub(crate) members: usize,
}

/// The file in the repository, from wherever the example is started.
fn default_data() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights.csv.gz")
}

/// The most nodes: more than this is too much for one machine.
pub(crate) const NODES_LIMIT: usize = 32;

impl Options {
    /// Checks what the parser can't.
    pub(crate) fn check(&self) -> Result<(), String> {
        let nodes = self.nodes.get();
        if nodes > NODES_LIMIT {
            return Err(format!("--nodes {nodes} is too many: at most {NODES_LIMIT}"));
        }
        if nodes < 3 && !self.no_kill {
            return Err(format!("--nodes {nodes} is too few for a kill: at least 3, or --no-kill"));
        }
        Ok(())
    }
}

/// How many rows make a batch, if so many are fed: some forty batches, of a bounded size.
pub(crate) fn batch_rows(rows: usize) -> u32 {
    (rows / 40).clamp(1, BATCH_ROWS_LIMIT) as u32
}

const BATCH_ROWS_LIMIT: usize = 4_096;
