//! What is measured.

use std::fmt;

/// Where the actors are, seen from who sends to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// On the sender's thread.
    Same,
    /// On another thread.
    Across,
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Tells of one number to so many actors in turn, as fast as they are taken.
    Tell(Home, usize),
    /// Asks of one number, one in flight to each of so many actors.
    Ask(Home, usize),
    /// Starts of actors, each counted once it runs.
    Spawn,
    /// Resident bytes of an actor that has handled one message and has nothing to do.
    IdleBytes,
    /// Tells of 64 bytes to an actor of another process.
    RemoteTell,
    /// Asks of 64 bytes with so many in flight to an actor of another process.
    RemoteAsk(usize),
}

impl Case {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::Tell(Home::Same, 1),
        Self::Tell(Home::Same, 1_000),
        Self::Tell(Home::Across, 1),
        Self::Tell(Home::Across, 1_000),
        Self::Ask(Home::Same, 1),
        Self::Ask(Home::Same, 1_000),
        Self::Ask(Home::Across, 1),
        Self::Ask(Home::Across, 1_000),
        Self::Spawn,
        Self::IdleBytes,
        Self::RemoteTell,
        Self::RemoteAsk(1),
        Self::RemoteAsk(256),
    ];

    /// The case of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.to_string() == name)
    }

    /// Whether it takes two processes.
    pub fn is_remote(self) -> bool {
        matches!(self, Self::RemoteTell | Self::RemoteAsk(_))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tell(home, actors) => write!(f, "tell-{home}-{actors}"),
            Self::Ask(home, actors) => write!(f, "ask-{home}-{actors}"),
            Self::Spawn => f.write_str("spawn"),
            Self::IdleBytes => f.write_str("idle-bytes"),
            Self::RemoteTell => f.write_str("remote-tell-64"),
            Self::RemoteAsk(in_flight) => write!(f, "remote-ask-64-in-flight-{in_flight}"),
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "same",
            Self::Across => "across",
        })
    }
}
