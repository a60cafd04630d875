//! The rules by which everybody in the `actors` bench plays.
//!
//! The bench runs a program for each measurement: `PROGRAM CASE MILLIS ACTORS [FAR]`. It prints a
//! line for each figure, name and value, and ends. For remote cases the bench first starts
//! `PROGRAM far`, which prints where it listens, and ends when its standard input does.
//!
//! Who sends how much in what pattern is written here once, so that all do the same: a contestant
//! only says how it starts an actor, tells, and asks.

#![expect(clippy::disallowed_methods, reason = "a bench reads the wall clock and starts threads")]

mod case;
mod local;
mod memory;
mod remote;

use std::{
    fmt::Display,
    io::{self, Read as _, Write as _},
    process::ExitCode,
    time::Duration,
};

pub use self::{
    case::{Case, Home},
    local::{CAPACITY, Local, mark_started, two_threads},
    remote::{Note, Remote, one_thread},
};

/// How long a measurement takes, or how many actors it is about.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// How long messages are sent.
    pub time: Duration,
    /// How many actors are started, where that is what is measured.
    pub actors: usize,
}

/// A figure: its name and its value.
pub type Reading = (&'static str, f64);

/// What a contestant's call may end with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How many actors handled how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Messages told.
    pub count: u64,
    /// The sum of their numbers, wrapping.
    pub sum: u64,
}

impl Total {
    /// Counts a message.
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum.wrapping_add(other.sum) }
    }

    /// Complains unless exactly what was sent has been handled.
    fn check(self, sent: Self) -> Result<(), Error> {
        if self == sent {
            return Ok(());
        }
        Err(format!("{} messages were sent, and {} handled", sent.count, self.count).into())
    }
}

/// What the bench asks of a program.
#[derive(Debug)]
pub enum Order {
    /// Be the far end.
    Far,
    /// Measure a case; remote ones with the far end at this address.
    Play(Case, Length, Option<String>),
}

impl Order {
    /// Reads a program's arguments.
    pub fn read(args: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut args = args.into_iter();
        let name = args.next().ok_or("a case, or far")?;
        if name == "far" {
            return Ok(Self::Far);
        }
        let case = Case::named(&name).ok_or_else(|| format!("{name} is no case"))?;
        let millis = args.next().ok_or("how many milliseconds")?.parse()?;
        let actors = args.next().ok_or("how many actors")?.parse()?;
        let length = Length { time: Duration::from_millis(millis), actors };
        Ok(Self::Play(case, length, args.next()))
    }
}

/// The `main` of one that plays the cases within a process.
pub fn play_local(contestant: impl Local) -> ExitCode {
    told(|| match Order::read(std::env::args().skip(1))? {
        Order::Play(case, length, _) => local::play(contestant, case, length),
        Order::Far => Err("it plays within one process only".into()),
    })
}

/// The `main` of one that plays the cases between processes.
pub fn play_remote(contestant: impl Remote) -> ExitCode {
    told(|| play_one_remote(contestant, Order::read(std::env::args().skip(1))?))
}

/// The `main` of one that plays both.
pub fn play_both(
    local: impl Local,
    remote: impl Remote,
    args: impl IntoIterator<Item = String>,
) -> ExitCode {
    told(|| match Order::read(args)? {
        Order::Play(case, length, None) => local::play(local, case, length),
        order => play_one_remote(remote, order),
    })
}

fn play_one_remote(contestant: impl Remote, order: Order) -> Result<Vec<Reading>, Error> {
    match order {
        Order::Far => contestant.far().map(|()| Vec::new()),
        Order::Play(case, length, Some(far)) => remote::play(contestant, case, length, &far),
        Order::Play(..) => Err("the address of the far end is missing".into()),
    }
}

fn told(play: impl FnOnce() -> Result<Vec<Reading>, Error>) -> ExitCode {
    match play() {
        Ok(readings) => {
            readings.iter().for_each(|(metric, value)| println!("{metric} {value}"));
            // What is left to run has nothing more to tell.
            let _ = io::stdout().flush();
            std::process::exit(0);
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says where the far end listens, and ends the process when its standard input ends.
pub fn listening(addr: impl Display) {
    println!("{addr}");
    let _ = io::stdout().flush();
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
