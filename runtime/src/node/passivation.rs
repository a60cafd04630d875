//! Passivation of idle entities, by sweeps: no entity has a timer of its own.
//!
//! A sweep raises each entity's count, and a message resets it; the entity whose count has reached
//! [`SWEEPS`] is asked to be passivated, which it declines if a message has come meanwhile.

use std::{sync::Arc, time::Duration};

use super::{NodeCore, arbiter::Residents};
use crate::message::WireId;

/// How many sweeps see an entity idle before it is passivated: the time it idles is exact to one
/// part in so many.
const SWEEPS: u32 = 4;

/// The shortest time between sweeps.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);

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
        loop {
            core.clock().sleep(period).await;
            sweep(&core, period);
        }
    });
}

fn sweep(core: &NodeCore, period: Duration) {
    let sweeps_of = |actor_type: WireId| {
        let after = core.kinds().find(actor_type)?.passivate_after()?;
        // Types that idle longer than the shortest are seen by more sweeps.
        u32::try_from(after.as_nanos().div_ceil(period.as_nanos())).ok()
    };
    core.entities().passivate(|actor_type, mailbox| {
        let seen = mailbox.count_sweep();
        sweeps_of(actor_type).is_some_and(|sweeps| seen >= sweeps)
    });
}
