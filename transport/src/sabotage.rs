//! Bugs that are put in on purpose, to see whether a simulation finds them: for tests of this project
//! alone.
//!
//! Without the feature `sabotage` there is none, and nothing of it is left in the program.

#[cfg(feature = "sabotage")]
use std::cell::Cell;
use std::fmt;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A tell is settled when it has come, not when it was handled.
    SettledBeforeHandled,
    /// A sender goes over to the next owner of a shard before what it sent to the former has come back.
    RouteWithoutFlush,
    /// A node takes messages for shards that it does not have.
    TakenWithoutShard,
    /// What an entity remembers of its asks stays behind when it moves.
    RepeatsLeftBehind,
    /// The end of an actor that is watched is lost after its node's connection has broken.
    EndLostOnResume,
    /// A mailbox takes more messages than it may.
    MailboxWithoutBound,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SettledBeforeHandled,
        Self::RouteWithoutFlush,
        Self::TakenWithoutShard,
        Self::RepeatsLeftBehind,
        Self::EndLostOnResume,
        Self::MailboxWithoutBound,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SettledBeforeHandled => "settled-before-handled",
            Self::RouteWithoutFlush => "route-without-flush",
            Self::TakenWithoutShard => "taken-without-shard",
            Self::RepeatsLeftBehind => "repeats-left-behind",
            Self::EndLostOnResume => "end-lost-on-resume",
            Self::MailboxWithoutBound => "mailbox-without-bound",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "sabotage")]
thread_local! {
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

/// Puts a bug in, for all nodes of this thread; `None` mends it.
#[cfg(feature = "sabotage")]
pub fn put_in(bug: Option<Bug>) {
    BUG.set(bug);
    ARMED.set(false);
}

/// Whether a bug was put in on this thread.
#[inline]
pub fn has(bug: Bug) -> bool {
    #[cfg(feature = "sabotage")]
    return BUG.get() == Some(bug);
    #[cfg(not(feature = "sabotage"))]
    {
        let _ = bug;
        false
    }
}

/// Something has happened on which a bug is to strike once.
#[inline]
pub fn arm(bug: Bug) {
    #[cfg(feature = "sabotage")]
    ARMED.set(ARMED.get() || has(bug));
    #[cfg(not(feature = "sabotage"))]
    let _ = bug;
}

/// Whether a bug strikes now.
#[inline]
pub fn strikes(bug: Bug) -> bool {
    #[cfg(feature = "sabotage")]
    return has(bug) && ARMED.take();
    #[cfg(not(feature = "sabotage"))]
    {
        let _ = bug;
        false
    }
}
