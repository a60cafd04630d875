//! Who has set a watch, and how that one is told.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    reason::TerminatedReason,
    table::Number,
    terminated::{Terminated, WatchId},
    watchable::{Notified, Watchable},
    watched::Watched,
};

/// Who has set a watch on this node.
pub(crate) struct Watcher {
    pub(crate) target: Watched,
    pub(crate) to: To,
}

/// How it is told.
pub(crate) enum To {
    /// An actor handles [`Terminated`].
    Actor(Arc<dyn Notified>),
    /// Somebody may be awaiting it.
    Future(oneshot::Sender<Terminated>),
    /// An actor fails with the target, if that has failed.
    Linked(Arc<dyn Watchable>),
}

impl Watcher {
    pub(crate) fn is_link(&self) -> bool {
        matches!(self.to, To::Linked(_))
    }

    /// Tells of the target's end. Returns who is to fail by that.
    pub(crate) fn tell(
        self,
        number: Number,
        reason: TerminatedReason,
    ) -> Option<Arc<dyn Watchable>> {
        let Self { target, to } = self;
        tracing::debug!(watch = number, %target, %reason, "a watched actor has ended");
        let terminated = Terminated { watch: WatchId(number), target, reason };
        match to {
            To::Actor(actor) => actor.notify(terminated),
            To::Future(waiting) => {
                let _nobody_may_wait = waiting.send(terminated);
            }
            To::Linked(actor) if reason.is_failure() => return Some(actor),
            To::Linked(actor) => actor.unlinked(number),
        }
        None
    }
}
