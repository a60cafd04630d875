//! Passivation of entities that are idle, or that make room for others, by sweeps: no entity has a timer
//! of its own.
//!
//! A mailbox notes when a message came last. A sweep asks those to be passivated that have had none for
//! as long as their type says; and where more are active than are to be, those that have had none for
//! longest. Each declines if a message has come meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    NodeCore,
    any_mailbox::AnyMailbox,
    arbiter::Residents,
    ticks::{Looks, in_ticks},
};
use crate::message::WireId;

/// How many sweeps see an entity idle before it is passivated: the time it idles is exact to one
/// part in so many.
const SWEEPS: u32 = 4;

/// The shortest time between sweeps, and between two looks for room.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

/// The longest time between two looks for room, while there is none.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How much room is made beyond what is needed, as a part of the limit: a look at all entities is worth
/// while then.
const ROOM: usize = 16;

/// How exact the order is in which entities were used.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// How much longer than a look for room the pause after it is.
const PAUSE: u32 = 10;

/// Starts the sweeps on the first arbiter, if the node hosts entities that may be passivated.
pub(super) fn start(core: &Arc<NodeCore>) {
    let Some(shortest) = core.kinds().shortest_passivation() else { return };
    if shortest == Duration::MAX {
        return;
    }
    let period = (shortest / SWEEPS).max(SHORTEST_PERIOD);
    let theirs = Arc::clone(core);
    let job = Box::new(move |_: &Residents| spawn_local(theirs, period));
    // An arbiter that takes nothing so early is shutting down, and then nothing is to be swept.
    let _ = core.arbiters()[0].submit(job);
}

#[expect(clippy::disallowed_methods, reason = "it belongs to its arbiter, and ends with it")]
fn spawn_local(core: Arc<NodeCore>, period: Duration) {
    tokio::task::spawn_local(async move {
        let looks = Looks::new(core.clock().now(), period);
        let mut sweeper = Sweeper { core, looks, period };
        loop {
            sweeper.wait().await;
            sweeper.sweep().await;
            sweeper.make_room().await;
        }
    });
}

struct Sweeper {
    core: Arc<NodeCore>,
    looks: Looks,
    period: Duration,
}

impl Sweeper {
    /// Waits for the next sweep, and makes room meanwhile when it is asked to, with pauses.
    async fn wait(&mut self) {
        let core = Arc::clone(&self.core);
        let mut next = core.clock().sleep(self.period);
        let (mut pause, mut is_pausing) = (core.clock().sleep(Duration::ZERO), false);
        loop {
            tokio::select! {
                biased;
                () = &mut next => return,
                () = &mut pause, if is_pausing => is_pausing = false,
                () = core.clock().sleep(LOOK_PERIOD) => {
                    self.look();
                }
                () = core.entities().crowded(), if !is_pausing => {
                    let begun = core.clock().now();
                    let has_asked = self.make_room().await;
                    let took = core.clock().now().saturating_duration_since(begun);
                    // Where nobody could be asked, a look was in vain.
                    let shortest = if has_asked { SHORTEST_PERIOD } else { LOOK_PERIOD };
                    pause = core.clock().sleep((PAUSE * took).clamp(shortest, LONGEST_PAUSE));
                    is_pausing = true;
                }
            }
        }
    }

    /// Takes time further, and says what it is.
    fn look(&mut self) -> u32 {
        self.looks.look(self.core.clock().now(), self.core.ticks())
    }

    /// Asks those to be passivated that have idled for long enough.
    async fn sweep(&mut self) {
        let (now, limits) = (self.look(), Limits::of(&self.core));
        let is_idle = |actor_type, mailbox: &Arc<dyn AnyMailbox>| {
            let used_at = mailbox.used_at();
            let after = limits.of_type(actor_type)?;
            let is_idle = u64::from(now.wrapping_sub(used_at)) >= after;
            is_idle.then(|| (Arc::clone(mailbox), used_at))
        };
        self.core.entities().each(is_idle, ask).await;
    }

    /// Asks those to be passivated that were used longest ago, if there are too many. Whether it asked
    /// any.
    async fn make_room(&mut self) -> bool {
        let (now, limits) = (self.look(), Limits::of(&self.core));
        let entities = self.core.entities();
        let excess = entities.excess();
        if excess == 0 {
            return true;
        }
        let used_at = |actor_type, mailbox: &Arc<dyn AnyMailbox>| {
            limits.of_type(actor_type)?;
            // Those that were asked before and are there still have something to do.
            (!mailbox.is_asked_to_go()).then(|| mailbox.used_at())
        };
        let mut ages = Vec::new();
        entities.each(used_at, |used_at| ages.push(now.wrapping_sub(used_at))).await;
        let wanted = excess.saturating_add(entities.limit() / ROOM).min(ages.len());
        let Some(last) = wanted.checked_sub(1) else { return false };
        let (_, least, _) = ages.select_nth_unstable_by(last, |a, b| b.cmp(a));
        let (least, mut left) = (*least, wanted);
        let is_old = |actor_type, mailbox: &Arc<dyn AnyMailbox>| {
            let used_at = used_at(actor_type, mailbox)?;
            if now.wrapping_sub(used_at) < least {
                return None;
            }
            left = left.checked_sub(1)?;
            Some((Arc::clone(mailbox), used_at))
        };
        entities.each(is_old, ask).await;
        true
    }
}

fn ask((mailbox, used_at): (Arc<dyn AnyMailbox>, u32)) {
    mailbox.signal_idle(used_at);
}

/// How many ticks entities may idle, by type; those that are kept are not in it.
struct Limits(BTreeMap<WireId, u64>);

impl Limits {
    fn of(core: &NodeCore) -> Self {
        let kept = |(_, after): &(WireId, Duration)| *after != Duration::MAX;
        let all = core.kinds().passivations().filter(kept);
        Self(all.map(|(actor_type, after)| (actor_type, ticks_of(after))).collect())
    }

    fn of_type(&self, actor_type: WireId) -> Option<u64> {
        self.0.get(&actor_type).copied()
    }
}

/// For how many ticks an entity idles that is to idle for so long: for as many sweeps at the least.
fn ticks_of(after: Duration) -> u64 {
    in_ticks(after).max(SWEEPS.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_short_the_time_an_entity_idles_for_as_long_as_sweeps_take() {
        let millis = Duration::from_millis;
        assert_eq!([0, 9, 40, 55].map(|after| ticks_of(millis(after))), [4, 4, 4, 5]);
        assert_eq!(ticks_of(Duration::MAX), u64::MAX);
    }
}
