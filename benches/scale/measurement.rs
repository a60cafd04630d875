//! One measurement: a process of its own, so that what another has left in memory does not count.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader},
    process::{Command, Stdio},
};

use clap::ValueEnum;

use crate::{membership, nodes, placement};

/// The first argument of a process that is one measurement.
pub(crate) const MEASURE: &str = "measure";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The membership core alone.
    Membership,
    /// Whole nodes.
    Nodes,
    /// Tables of placement.
    Placement,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Membership, Self::Nodes, Self::Placement];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Membership => "membership",
            Self::Nodes => "nodes",
            Self::Placement => "placement",
        })
    }
}

/// A part at one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    pub(crate) part: Part,
    pub(crate) members: u16,
    pub(crate) rounds: u32,
    /// How long nothing happens while what is said is counted, in virtual time.
    pub(crate) seconds: u32,
    pub(crate) seed: u64,
}

/// A figure: its name and its value.
pub(crate) type Reading = (&'static str, f64);

/// Tells figures to the process that waits for them, as they come.
pub(crate) struct Figures;

impl Figures {
    pub(crate) fn tell(&mut self, name: &str, value: f64) {
        println!("{name} {value}");
    }
}

impl Measurement {
    /// The members, to divide by.
    pub(crate) fn nodes(&self) -> f64 {
        self.members.into()
    }

    /// Measures in this process, as its arguments say.
    pub(crate) fn play(args: impl Iterator<Item = String>) -> Result<(), String> {
        let args: Vec<_> = args.collect();
        let [part, members, rounds, seconds, seed] = &args[..] else {
            return Err("a part, members, rounds, seconds and a seed".to_owned());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        let small = |text: &str| u32::try_from(number(text)?).map_err(|error| error.to_string());
        let by = Self {
            part: Part::from_str(part, false)?,
            members: u16::try_from(number(members)?).map_err(|error| error.to_string())?,
            rounds: small(rounds)?,
            seconds: small(seconds)?,
            seed: number(seed)?,
        };
        match by.part {
            Part::Membership => membership::measure(&by, &mut Figures),
            Part::Nodes => nodes::measure(&by, &mut Figures),
            Part::Placement => placement::measure(&by, &mut Figures),
        }
    }

    /// Measures in a process of its own.
    pub(crate) fn run(&self, mut take: impl FnMut(&str, f64)) -> io::Result<()> {
        let Self { part, members, rounds, seconds, seed } = self;
        let args = [part.to_string(), members.to_string(), rounds.to_string(), seconds.to_string()];
        let mut child = Command::new(std::env::current_exe()?)
            .arg(MEASURE)
            .args(args)
            .arg(seed.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let figures = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        for line in BufReader::new(figures).lines() {
            let line = line?;
            let reading =
                line.split_once(' ').and_then(|(name, value)| Some((name, value.parse().ok()?)));
            let (name, value) =
                reading.ok_or_else(|| io::Error::other(format!("no figure: {line}")))?;
            take(name, value);
        }
        if child.wait()?.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{part} of {members} members was not measured")))
    }
}
