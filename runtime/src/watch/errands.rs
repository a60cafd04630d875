//! What of watches can't be done at once: to find a target's node, or room in a session.
//!
//! Errands run on the cluster's thread, each a future of its own that waits in the line that it
//! needs. Invariant: a watch of this node has at most one at a time, and what another node is owed
//! has a slot of it, so that errands are bounded by the watches.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix_cluster_transport::{Class, SendError, Session};

use super::{
    Next, find_here,
    incoming::Slot,
    reason::TerminatedReason,
    remote::{Line, Step, end_in_order, seek_again, tell_of},
    table::Number,
    watched::{Watched, WatchedPlace},
    watchers::Remote,
};
use crate::{
    cluster::redirect::{BOUNCES_LIMIT, pause},
    node::{NodeCore, NodeId},
};

/// Something to be done once it can be.
pub(crate) enum Errand {
    /// Tell the node that has a watch's target, after so many tries.
    Seek { number: Number, tries: u32 },
    /// Send this.
    Deliver(Letter),
}

/// A frame about a watch.
pub(crate) struct Letter {
    pub(super) session: Session,
    pub(super) target: u64,
    pub(super) token: u64,
    pub(super) payload: Vec<u8>,
    pub(super) owed: Owed,
}

/// What is free again once a letter is on its way.
pub(super) enum Owed {
    /// The place of a watch of this node.
    Place(Number),
    /// The place of another node's.
    Slot(#[expect(dead_code, reason = "held until it is dropped")] Arc<Remote>),
    /// A place that was taken for this alone.
    Again(#[expect(dead_code, reason = "held until it is dropped")] Slot),
}

/// How long an errand stands in a line before it looks whether it is still wanted there.
const LOOK: Duration = Duration::from_millis(250);

impl Letter {
    /// Sends it now, or leaves it to an errand.
    pub(super) fn post(self, core: &Arc<NodeCore>) {
        let Self { session, target, token, payload, .. } = &self;
        match (session.try_send(Class::Message, *target, *token, payload), core.cluster()) {
            (Err(SendError::Full), Some(cluster)) => cluster.errand(Errand::Deliver(self)),
            // If the session takes nothing more, its end tells the other side all that it must know.
            _ => self.finish(core),
        }
    }

    fn finish(self, core: &Arc<NodeCore>) {
        let Owed::Place(number) = self.owed else { return };
        let next = core.watches().own().left(number);
        if let Next::Seek(tries) = next {
            seek_again(core, number, tries);
        }
    }
}

impl Errand {
    /// Does it. `has_heard` says whether a node, or a later run of it, was ever heard of.
    pub(crate) async fn run(self, core: Arc<NodeCore>, has_heard: impl Fn(&NodeId) -> bool) {
        match self {
            Self::Deliver(letter) => deliver(&core, letter).await,
            Self::Seek { number, tries } => seek(&core, number, tries, has_heard).await,
        }
    }
}

async fn deliver(core: &Arc<NodeCore>, letter: Letter) {
    let mut line = Line::new(&letter.session, letter.target);
    loop {
        let sent = poll_fn(|task| line.poll(letter.token, &letter.payload, task)).await;
        match sent {
            // The line itself is full.
            Err(SendError::Full) => core.clock().sleep(LOOK).await,
            _ => break,
        }
    }
    letter.finish(core);
}

async fn seek(
    core: &Arc<NodeCore>,
    number: Number,
    mut tries: u32,
    has_heard: impl Fn(&NodeId) -> bool,
) {
    loop {
        if tries > 0 {
            core.clock().sleep(pause(tries)).await;
        }
        let waiting = core.watches().own().waiting(number).map(|watcher| watcher.target.clone());
        let Some(watched) = waiting else { return };
        match try_to_tell(core, number, &watched).await {
            Step::Done => return,
            Step::NoRoom => {}
            Step::Later => tries = tries.saturating_add(1),
            Step::NoWay => {
                // One that was never heard of may be about to be; references are faster than gossip.
                if tries >= BOUNCES_LIMIT || is_gone(&watched, &has_heard) {
                    return end_in_order(core, number, TerminatedReason::NodeDown);
                }
                tries += 1;
            }
        }
    }
}

fn is_gone(watched: &Watched, has_heard: impl Fn(&NodeId) -> bool) -> bool {
    match &watched.place {
        WatchedPlace::Actor { node, .. } => has_heard(node),
        WatchedPlace::Entity(_) => false,
    }
}

/// Tells the target's node of a watch, or waits for room for a moment.
async fn try_to_tell(core: &Arc<NodeCore>, number: Number, watched: &Watched) -> Step {
    let mut line: Option<Line> = None;
    let mut patience = pin!(core.clock().sleep(LOOK));
    poll_fn(|task| {
        let Err(route) = find_here(core, number, watched) else { return Poll::Ready(Step::Done) };
        let step = tell_of(core, number, watched, route, |session, target, token, payload| {
            let line = match &mut line {
                Some(line) if line.is_of(session, target) => line,
                other => other.insert(Line::new(session, target)),
            };
            line.poll(token, payload, task)
        });
        match step {
            Step::NoRoom => patience.as_mut().poll(task).map(|()| Step::NoRoom),
            step => Poll::Ready(step),
        }
    })
    .await
}
