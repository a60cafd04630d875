//! Selective pause: messages of some types wait while others are handled.
//!
//! Invariant: messages of one type never overtake each other. What is held back stays unfinished to
//! the mailbox, whose capacity bounds it.

use std::collections::VecDeque;

use actix::Actor;

use super::{
    ClusterContext,
    envelope::{BoxEnvelope, Rejected},
};
use crate::{
    message::{RemoteMessage, WireId},
    reference::RejectReason,
    remote_actor::{Handles, RemoteActor},
};

/// Selective pause.
impl<A: RemoteActor> ClusterContext<A> {
    /// Holds messages of type `M` back from now on, in their order, while messages of other types go
    /// on and so overtake them. To let all wait for a future, `wait` is simpler.
    ///
    /// Messages that are held back count as unfinished: they use up the mailbox's capacity, and make
    /// senders wait at the bound as any others. So what ends the pause should not need room there: a
    /// future or a timer of the actor's own. (Where the mailbox drops the oldest, that one of those
    /// held back is dropped, once there are as many as the capacity.)
    ///
    /// A restart ends all pauses, and puts what was held back to the head of the mailbox. An entity
    /// with such messages is not passivated. What comes by an actix address is never held back.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # use std::time::Duration;
    /// # fn example<A: Handles<M>, M: RemoteMessage>(ctx: &mut ClusterContext<A>) {
    /// // No more than one in a second; whatever else is asked meanwhile is answered.
    /// ctx.pause::<M>();
    /// ctx.run_later(Duration::from_secs(1), |_, ctx| ctx.resume::<M>());
    /// # }
    /// ```
    pub fn pause<M: RemoteMessage>(&mut self)
    where
        A: Handles<M>,
    {
        self.aside_mut().pauses.pause(M::WIRE_ID);
    }

    /// Ends the pause of messages of type `M`: after this turn those held back come before
    /// everything queued, in their order.
    pub fn resume<M: RemoteMessage>(&mut self)
    where
        A: Handles<M>,
    {
        if let Some(aside) = &mut self.aside {
            aside.pauses.resume(M::WIRE_ID);
        }
    }

    /// Whether messages of type `M` are held back.
    pub fn is_paused<M: RemoteMessage>(&self) -> bool
    where
        A: Handles<M>,
    {
        self.aside.as_ref().is_some_and(|aside| aside.pauses.has(Some(M::WIRE_ID)))
    }
}

/// Which types are paused, and their messages.
pub(super) struct Pauses<A: Actor> {
    /// No more than the actor lists.
    types: Vec<WireId>,
    held: VecDeque<BoxEnvelope<A>>,
    /// Whether a type was resumed since the last look.
    resumed: bool,
}

impl<A: Actor> Default for Pauses<A> {
    fn default() -> Self {
        Self { types: Vec::new(), held: VecDeque::new(), resumed: false }
    }
}

impl<A: Actor> Pauses<A> {
    pub(super) fn has(&self, message: Option<WireId>) -> bool {
        message.is_some_and(|message| self.types.contains(&message))
    }

    fn pause(&mut self, message: WireId) {
        if !self.types.contains(&message) {
            self.types.push(message);
        }
    }

    fn resume(&mut self, message: WireId) {
        self.types.retain(|paused| *paused != message);
        self.resumed = true;
    }

    pub(super) fn resume_all(&mut self) {
        self.types.clear();
        self.resumed = true;
    }

    /// Holds a message back. Beyond `limit`, the one that has been held back longest makes room.
    pub(super) fn hold(
        &mut self,
        envelope: BoxEnvelope<A>,
        limit: Option<usize>,
    ) -> Option<Rejected<A>> {
        let is_full = limit.is_some_and(|limit| self.held.len() >= limit);
        let oldest = if is_full { self.held.pop_front() } else { None };
        self.held.push_back(envelope);
        oldest.map(|envelope| Rejected { envelope, reason: RejectReason::Displaced })
    }

    /// Holds back those messages whose type is paused, before what is held back already, since they
    /// came before it; the others are given back, in order.
    pub(super) fn hold_first(
        &mut self,
        messages: VecDeque<BoxEnvelope<A>>,
    ) -> VecDeque<BoxEnvelope<A>> {
        let (mut first, free): (VecDeque<_>, _) =
            messages.into_iter().partition(|envelope| self.has(envelope.message()));
        first.append(&mut self.held);
        self.held = first;
        free
    }

    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn has_resumed(&self) -> bool {
        self.resumed
    }

    /// The messages held back whose type is paused no longer, in order.
    pub(super) fn take_resumed(&mut self) -> VecDeque<BoxEnvelope<A>> {
        self.resumed = false;
        let held = std::mem::take(&mut self.held);
        let (held, resumed) = held.into_iter().partition(|envelope| self.has(envelope.message()));
        self.held = held;
        resumed
    }
}
