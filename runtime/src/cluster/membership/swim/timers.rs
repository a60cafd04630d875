//! Foca's timers, and the doubt of a node that may itself be the one cut off.
//!
//! Without it, a node cut off for two seconds does harm when it is back. All its probes fail, so
//! that it declares the others down sooner than they do so with it:
//!
//! ```text
//!                       foca alone                      here
//!     0 ms  cut off
//!   500 ms  suspects A, then B, C, ...
//!  2000 ms  declares A down                             hears from nobody: waits
//!  2400 ms  back: says that A is down, and A ends       back: A, B and C get 1500 ms anew
//!  2600 ms                                              all have refuted
//! ```
//!
//! Invariant: no suspicion ends in a down while this node is deaf, unless it has been so for
//! [`ISOLATED`]; nor one that began before it could last hear. Knows no member.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use foca::Timer;

use super::{
    config::{DEAF, ISOLATED},
    wire::Identity,
};

/// What foca wants to be reminded of. Bounded by foca: see [`Swim`](super::Swim).
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeMap<(Instant, u64), Due>,
    count: u64,
    hearing: Option<Hearing>,
}

/// A timer of foca's, and since when it runs.
#[derive(Debug)]
pub(super) struct Due {
    set_at: Instant,
    pub(super) timer: Timer<Identity>,
}

/// Since when packets have come in without a long break, and when the last one did.
#[derive(Clone, Copy, Debug)]
struct Hearing {
    since: Instant,
    last: Instant,
}

/// What becomes of a timer that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Foca has it.
    Fire,
    /// This node hears from nobody.
    Wait(Instant),
    /// This node could not hear a refutation for some of the time.
    Renew,
}

impl Timers {
    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn set(&mut self, now: Instant, after: Duration, timer: Timer<Identity>) {
        self.put_back(now + after, Due { set_at: now, timer });
    }

    /// Sets a timer again, as old as it is.
    pub(super) fn put_back(&mut self, at: Instant, due: Due) {
        self.queue.insert((at, self.count), due);
        self.count += 1;
    }

    /// Takes the first one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Due> {
        let first = self.queue.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// This node stood still for so long: suspects could not refute meanwhile.
    pub(super) fn postpone_suspicions(&mut self, by: Duration) {
        for ((at, number), due) in std::mem::take(&mut self.queue) {
            let at = if is_suspicion(&due.timer) { at + by } else { at };
            self.queue.insert((at, number), due);
        }
    }

    /// Notes that something came in.
    pub(super) fn hear(&mut self, now: Instant) {
        let unbroken = self.hearing.filter(|hearing| now < hearing.last + DEAF);
        let since = unbroken.map_or(now, |hearing| hearing.since);
        self.hearing = Some(Hearing { since, last: now });
    }

    /// What to do with a timer that is due. With a single peer the doubt has to go: its silence is
    /// all the evidence that there can be.
    pub(super) fn turn(&self, now: Instant, due: &Due, has_several_peers: bool) -> Turn {
        let hearing = self.hearing.filter(|_| is_suspicion(&due.timer));
        let Some(Hearing { since, last }) = hearing else {
            return Turn::Fire;
        };
        let is_deaf = now >= last + DEAF;
        if is_deaf && has_several_peers && now < last + ISOLATED {
            Turn::Wait(last + ISOLATED)
        } else if !is_deaf && due.set_at < since {
            Turn::Renew
        } else {
            Turn::Fire
        }
    }
}

fn is_suspicion(timer: &Timer<Identity>) -> bool {
    matches!(timer, Timer::ChangeSuspectToDown { .. })
}
