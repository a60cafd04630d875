//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Parser;

/// Serves the totals of a fleet over HTTP, out of entities on several nodes.
#[derive(Parser, Debug, Clone)]
#[command(
    name = "web",
    after_help = "It prints the address that it serves, and ends on Ctrl-C or once its standard \
                  input ends, when all requests under way are answered.\n\nExamples:\n  cargo run \
                  --release --example web -- --port 8080\n  curl -i \
                  http://127.0.0.1:8080/airports/JFK\n  curl -i http://127.0.0.1:8080/flights \
                  --json '{\"tail\":\"N14228\",\"carrier\":\"UA\",\"origin\":\"EWR\",\"dest\":\"IAH\",\
                  \"delay\":2,\"miles\":1400}'"
)]
pub(crate) struct Options {
    /// The TCP port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value = "0", value_name = "PORT")]
    pub(crate) port: u16,
    /// How many nodes hold the entities, all in this process; at most 8
    #[arg(long, default_value = "3", value_name = "N")]
    pub(crate) nodes: NonZeroUsize,
    /// Feeds the first N flights of the file before it serves
    #[arg(long, default_value = "2000", value_name = "N")]
    pub(crate) rows: NonZeroUsize,
    /// The file of flights, gzipped
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights.csv.gz"))]
    pub(crate) data: PathBuf,
    /// Asks itself for one airport, prints the answer, and ends
    #[arg(long)]
    pub(crate) once: bool,
}

impl Options {
    /// Checks what the parser can't.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.nodes.get() {
            1..=8 => Ok(()),
            nodes => Err(format!("--nodes {nodes} is too many: at most 8")),
        }
    }
}
