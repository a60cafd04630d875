//! The watchdog: reports a turn that blocks its thread, while it still does.
//!
//! A turn can't be interrupted, and nothing on its own thread can notice; so a thread of the node looks
//! at what the arbiters have written down ([`TurnCell`](crate::actor::turns::TurnCell)), at a quarter
//! of the threshold. [`Watchdog`] decides what is to be said; it knows no clock, thread or actor.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{NodeCore, threads::Threads};
use crate::actor::{
    ActorId,
    turns::{Doing, Snapshot},
};

/// How long a turn may block its thread unless told otherwise.
pub(super) const DEFAULT_THRESHOLD: Duration = Duration::from_secs(1);

/// How many looks there are in one threshold.
const LOOKS: u32 = 4;

/// The shortest time between looks.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// The turns of a node that have blocked their threads for longer than the node's threshold
/// ([`NodeBuilder::blocked_after`](super::NodeBuilder::blocked_after)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedTurns {
    /// How many there have been, those that still run among them.
    pub total: u64,
    /// Those that still ran when last looked at: at most one on each arbiter.
    pub now: Vec<BlockedTurn>,
}

/// A turn that blocks its thread, and with it all actors of its arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedTurn {
    /// The actor type's name.
    pub actor: &'static str,
    /// The actor's number on the node.
    pub id: ActorId,
    /// The key, if the actor is an entity.
    pub key: Option<Box<str>>,
    /// The name of the message that is being handled, or what else it is, such as `a timer`.
    pub turn: &'static str,
    /// For how long at least; exact to a quarter of the threshold.
    pub blocked_for: Duration,
}

impl fmt::Display for BlockedTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, id, key, turn, blocked_for } = self;
        match key {
            Some(key) => write!(f, "{actor}[{key:?}]")?,
            None => write!(f, "{actor}{id}")?,
        }
        write!(f, " has blocked its thread for {blocked_for:?} with {turn}")
    }
}

/// What the watchdog last saw.
#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<BlockedTurns>);

impl Sightings {
    pub(crate) fn read(&self) -> BlockedTurns {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BlockedTurns> {
        // It is replaced whole, so a poisoned lock guards a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides which turns block their threads, and when to say so.
#[derive(Debug)]
pub(crate) struct Watchdog {
    threshold: Duration,
    /// By arbiter.
    seen: Vec<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    turn: u64,
    since: Instant,
    /// How long it is to have taken at the next report: twice as long each time.
    next: Duration,
}

/// A turn that has taken longer than the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) snapshot: Snapshot,
    pub(crate) blocked_for: Duration,
    pub(crate) report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    First,
    Again,
    NotNow,
}

impl Watchdog {
    pub(crate) fn new(threshold: Duration) -> Self {
        Self { threshold, seen: Vec::new() }
    }

    /// When to look.
    pub(crate) fn period(&self) -> Duration {
        (self.threshold / LOOKS).max(SHORTEST_PERIOD)
    }

    /// Takes what the arbiters do at `now`, always in the same order; tells which turns are overdue.
    pub(crate) fn handle_sample(
        &mut self,
        now: Instant,
        snapshots: impl Iterator<Item = Option<Snapshot>>,
    ) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        for (arbiter, snapshot) in snapshots.enumerate() {
            if arbiter == self.seen.len() {
                self.seen.push(None);
            }
            let Some(snapshot) = snapshot else {
                self.seen[arbiter] = None;
                continue;
            };
            match &mut self.seen[arbiter] {
                Some(seen) if seen.turn == snapshot.turn => {
                    overdue.extend(seen.look(now, snapshot, self.threshold));
                }
                other => {
                    let (turn, next) = (snapshot.turn, self.threshold);
                    *other = Some(Seen { turn, since: now, next });
                }
            }
        }
        overdue
    }
}

impl Seen {
    fn look(&mut self, now: Instant, snapshot: Snapshot, threshold: Duration) -> Option<Overdue> {
        let blocked_for = now.saturating_duration_since(self.since);
        if blocked_for < threshold {
            return None;
        }
        let report = match self.next {
            next if blocked_for < next => Report::NotNow,
            next if next == threshold => Report::First,
            _ => Report::Again,
        };
        while self.next <= blocked_for {
            self.next = self.next.saturating_mul(2).max(SHORTEST_PERIOD);
        }
        Some(Overdue { snapshot, blocked_for, report })
    }
}

/// Starts the watchdog on a thread of its own, unless it is off, or could see nothing there.
pub(super) fn start(
    core: &Arc<NodeCore>,
    threads: &dyn Threads,
    threshold: Duration,
) -> io::Result<()> {
    if threshold == Duration::MAX || !threads.are_apart() {
        return Ok(());
    }
    let (weak, clock) = (Arc::downgrade(core), core.clock().clone());
    let mut ended = core.subscribe_ended();
    let main = async move {
        let mut watchdog = Watchdog::new(threshold);
        loop {
            let pause = clock.sleep(watchdog.period());
            tokio::select! {
                // The node has shut down, or was never started.
                _ = ended.wait_for(|ended| *ended) => return,
                () = pause => {}
            }
            let Some(core) = Weak::upgrade(&weak) else { return };
            look(&core, &mut watchdog);
        }
    };
    threads.run(format!("{}-watchdog", core.id().name), Box::new(move || Box::pin(main)))
}

fn look(core: &NodeCore, watchdog: &mut Watchdog) {
    let snapshots = core.arbiters().iter().map(|arbiter| arbiter.turns().snapshot());
    let overdue = watchdog.handle_sample(core.clock().now(), snapshots);
    let mut now = Vec::with_capacity(overdue.len());
    let mut new = 0;
    for Overdue { snapshot, blocked_for, report } in overdue {
        let turn = described(core, snapshot, blocked_for);
        if report != Report::NotNow {
            tracing::warn!(
                node = %core.id(),
                actor = turn.actor,
                id = %turn.id,
                key = turn.key.as_deref(),
                turn = turn.turn,
                blocked_for = ?turn.blocked_for,
                "a turn blocks its thread"
            );
        }
        new += u64::from(report == Report::First);
        now.push(turn);
    }
    let mut sightings = core.sightings().lock();
    sightings.total += new;
    sightings.now = now;
}

/// Puts names to what was seen.
fn described(core: &NodeCore, snapshot: Snapshot, blocked_for: Duration) -> BlockedTurn {
    let Snapshot { doing, actor: id, message, .. } = snapshot;
    let mailbox = core.mailbox(id);
    let mailbox = mailbox.as_deref();
    let message = mailbox
        .filter(|_| doing == Doing::Message)
        .and_then(|mailbox| mailbox.message_name(message));
    BlockedTurn {
        // An actor that has just ended is listed no more.
        actor: mailbox.map_or("an actor", |mailbox| mailbox.type_name()),
        id,
        key: mailbox.and_then(|mailbox| mailbox.key()).map(Box::from),
        turn: message.unwrap_or(doing.as_str()),
        blocked_for,
    }
}

#[cfg(test)]
mod tests;
