//! The programs of the contestants: this one, and those of `peers/`, built when they are needed.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use actix_cluster_benches::report::Report;
use actors_rules::Case;

use crate::{process::Program, who::Who};

/// Those that could be built.
pub(crate) struct Programs {
    this: PathBuf,
    peers: BTreeMap<&'static str, PathBuf>,
}

impl Programs {
    /// Builds what these measurements need. Whoever can't be built is left out, with a note.
    ///
    /// # Errors
    ///
    /// When cargo can't be run at all.
    pub(crate) fn build(pairs: &[(Case, Who)], report: &mut Report) -> io::Result<Self> {
        let mut programs = Self { this: std::env::current_exe()?, peers: BTreeMap::new() };
        let mut packages: Vec<_> =
            pairs.iter().filter_map(|(case, who)| who.package(*case)).collect();
        packages.sort_unstable();
        packages.dedup();
        if !packages.is_empty() {
            eprintln!("building the contestants in benches/peers: the first time takes minutes");
        }
        for package in packages {
            // One after the other, so that no features of one reach another.
            match build(package)? {
                Ok(program) => {
                    programs.peers.insert(package, program);
                }
                Err(command) => {
                    eprintln!("{package} is left out; to see why: {command}");
                    report
                        .note(format!("{package} could not be built here; to see why: {command}"));
                }
            }
        }
        Ok(programs)
    }

    pub(crate) fn has(&self, who: Who, case: Case) -> bool {
        who.package(case).is_none_or(|package| self.peers.contains_key(package))
    }

    pub(crate) fn of(&self, who: Who, case: Case) -> Program {
        match who.package(case).and_then(|package| self.peers.get(package)) {
            Some(path) => Program { path: path.clone(), is_this: false },
            None => Program { path: self.this.clone(), is_this: true },
        }
    }
}

/// Gives the program, or the command that failed.
fn build(package: &str) -> io::Result<Result<PathBuf, String>> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let target = peers.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--locked", "--package", package]);
    command.arg("--manifest-path").arg(peers.join("Cargo.toml"));
    command.arg("--target-dir").arg(&target);
    let status = command.status().map_err(|error| {
        let remedy = "the contestants are built with cargo: put it into PATH, or measure this \
                      project alone with --who actix-cluster";
        io::Error::new(error.kind(), format!("{remedy} ({error})"))
    })?;
    if !status.success() {
        return Ok(Err(format!(
            "cargo build --release --locked --manifest-path benches/peers/Cargo.toml -p {package}"
        )));
    }
    let program =
        target.join("release").join(package).with_extension(std::env::consts::EXE_EXTENSION);
    Ok(Ok(program))
}
