//! What an arbiter's thread does just now, written down for the node's watchdog.
//!
//! Invariant: only that thread writes. A turn costs it two plain stores and no look at a clock; whoever
//! reads sees turns by their numbers, so that the same number again means the same turn.

use std::sync::atomic::{AtomicU64, Ordering};

use super::mailbox::ActorId;
use crate::message::WireId;

/// What an actor does in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Doing {
    /// No actor has a turn.
    Nothing = 0,
    /// A message with a name.
    Message = 1,
    /// One without a lasting name: from an actix address, or of the actor's own node.
    OtherMessage = 2,
    Future = 3,
    Timer = 4,
    Wait = 5,
    Starting = 6,
    Ending = 7,
}

impl Doing {
    fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Self::Message,
            2 => Self::OtherMessage,
            3 => Self::Future,
            4 => Self::Timer,
            5 => Self::Wait,
            6 => Self::Starting,
            7 => Self::Ending,
            _ => Self::Nothing,
        }
    }

    /// The words for logs; a message has a name of its own.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Message => "a message",
            Self::OtherMessage => "a message without a lasting name",
            Self::Future => "a future",
            Self::Timer => "a timer",
            Self::Wait => "a future that it waits for",
            Self::Starting => "its start",
            Self::Ending => "its end",
        }
    }
}

/// How many low bits of a turn's number say what it is.
const DOING_BITS: u32 = 8;

/// Written by one arbiter.
#[derive(Debug, Default)]
pub(crate) struct TurnCell {
    /// The number of the turn, above the bits that say what is being done.
    turn: AtomicU64,
    actor: AtomicU64,
    message: AtomicU64,
}

/// A turn, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The same for as long as the turn takes.
    pub(crate) turn: u64,
    pub(crate) doing: Doing,
    pub(crate) actor: ActorId,
    /// The message, if that is what it is.
    pub(crate) message: WireId,
}

impl TurnCell {
    /// The actor whose turns are next.
    pub(crate) fn enter(&self, actor: ActorId) {
        self.actor.store(actor.0, Ordering::Relaxed);
    }

    /// A turn with a message begins.
    pub(crate) fn begin_message(&self, message: Option<WireId>) {
        match message {
            Some(WireId(message)) => {
                self.message.store(message, Ordering::Relaxed);
                self.begin(Doing::Message);
            }
            None => self.begin(Doing::OtherMessage),
        }
    }

    /// Another turn begins, or none.
    pub(crate) fn begin(&self, doing: Doing) {
        let number = (self.turn.load(Ordering::Relaxed) >> DOING_BITS).wrapping_add(1);
        // After what belongs to it.
        self.turn.store(number << DOING_BITS | doing as u64, Ordering::Release);
    }

    /// The turn that runs now, if one does. One that just begins may be seen with the actor or message
    /// of the one before; it is seen right by the time it has taken long.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let turn = self.turn.load(Ordering::Acquire);
        let doing = Doing::from_bits(turn & ((1 << DOING_BITS) - 1));
        if doing == Doing::Nothing {
            return None;
        }
        let actor = ActorId(self.actor.load(Ordering::Relaxed));
        let message = WireId(self.message.load(Ordering::Relaxed));
        Some(Snapshot { turn, doing, actor, message })
    }
}
