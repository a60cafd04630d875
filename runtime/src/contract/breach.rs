//! What is wrong with a contract, and what to do about it.

use std::{error, fmt, io, path::PathBuf};

use super::MODE_VARIABLE;
use crate::{Collision, message::RemoteMessage};

/// Something that is published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The message's lasting name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What of it.
    pub part: Part,
}

/// What is published of a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// Its shape.
    Shape,
    /// The bytes of a value, under this label.
    Sample(String),
    /// The bytes of a result, under this label.
    Reply(String),
}

/// One difference between a program and what it has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What it is about.
    pub item: Item,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with something that is published, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is another one now. Give the change a new version.
    Changed {
        /// What the file says.
        published: String,
        /// What the program says.
        found: String,
    },
    /// The program does not list it any more. Keep it as an older version, or retire it.
    Removed {
        /// What the file says.
        published: String,
    },
    /// It is not in the file yet. Publish it.
    New {
        /// What the program says.
        found: String,
    },
    /// It is retired, and the program lists it all the same. Take a new version.
    Retired,
    /// The program lists it twice, and differently. Rename one of the two.
    Ambiguous {
        /// What was listed first.
        first: String,
        /// What was listed then.
        second: String,
    },
    /// The value is not read back from its own bytes as what it was. Correct its serde impls.
    NotReadBack,
}

/// Why a contract is not kept.
#[non_exhaustive]
pub enum ContractError {
    /// The file can't be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of the file is none, or says again what another one says.
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line's number.
        line: usize,
    },
    /// The messages of an actor type collide.
    Collision(Collision),
    /// The program's messages are not those of the file.
    Broken {
        /// The file.
        path: PathBuf,
        /// Every difference, sorted by the messages.
        breaches: Vec<Breach>,
    },
}

impl Item {
    pub(super) fn of<M: RemoteMessage>(part: Part) -> Self {
        Self { name: M::NAME.to_owned(), version: M::VERSION, part }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, part } = self;
        match part {
            Part::Shape => write!(f, "{name} version {version}"),
            Part::Sample(label) => write!(f, "the sample {label} of {name} version {version}"),
            Part::Reply(label) => write!(f, "the reply {label} of {name} version {version}"),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, fault } = self;
        let Item { name, version, part } = item;
        let next = u64::from(*version) + 1;
        match fault {
            Fault::Changed { published, found } => {
                writeln!(f, "{item} has changed")?;
                writeln!(f, "  published: {published}")?;
                writeln!(f, "  now:       {found}")?;
                if *part != Part::Shape {
                    writeln!(f, "  the value is another one, or a type inside of it has changed")?;
                }
                write!(f, "  give it version {next}, and keep version {version} as `older(..)`")
            }
            Fault::Removed { published } => {
                writeln!(f, "{item} is not listed any more")?;
                writeln!(f, "  published: {published}")?;
                match part {
                    Part::Shape => write!(
                        f,
                        "  keep it as `older(..)` of the next version; or, once no node knows it, \
                         write `retired {name} {version}` in the file"
                    ),
                    _ => write!(f, "  list it again, as it was"),
                }
            }
            Fault::New { found } => {
                writeln!(f, "{item} is not in the file")?;
                writeln!(f, "  now:       {found}")?;
                write!(f, "  publish it: run this test with {MODE_VARIABLE}=write")
            }
            Fault::Retired => {
                writeln!(f, "{item} is retired, and listed all the same")?;
                write!(f, "  give it a version that was never published")
            }
            Fault::Ambiguous { first, second } => {
                writeln!(f, "{item} is listed twice, and differently")?;
                writeln!(f, "  first:     {first}")?;
                writeln!(f, "  then:      {second}")?;
                write!(f, "  rename one of the two")
            }
            Fault::NotReadBack => {
                writeln!(f, "{item} is not read back from its bytes as what it was")?;
                write!(f, "  correct the serde impls of its types")
            }
        }
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{} can't be read or written", path.display()),
            Self::Malformed { path, line } => write!(
                f,
                "{}:{line} is not `message|retired <name> <version> <shape>`, nor \
                 `sample|reply <name> <version> <label> <bytes>`, or it is there twice",
                path.display()
            ),
            Self::Collision(_) => f.write_str("the messages of an actor type collide"),
            Self::Broken { path, breaches } => {
                write!(f, "{} is not kept", path.display())?;
                breaches.iter().try_for_each(|breach| write!(f, "\n\n{breach}"))
            }
        }
    }
}

/// As `Display`: it is what a test shows that returns the error.
impl fmt::Debug for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { source, .. } => write!(f, "{self}: {source}"),
            Self::Collision(source) => write!(f, "{self}: {source}"),
            Self::Malformed { .. } | Self::Broken { .. } => fmt::Display::fmt(self, f),
        }
    }
}

impl error::Error for ContractError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Collision(source) => Some(source),
            Self::Malformed { .. } | Self::Broken { .. } => None,
        }
    }
}
