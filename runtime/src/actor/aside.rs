//! What an actor has set aside: messages that it stashed, and those of types that it has paused.
//!
//! It is made when an instance first sets something aside, and goes with the instance; what is in it
//! goes back to the head of the mailbox. An actor that never does pays for one pointer.

use std::{any::Any, collections::VecDeque};

use actix::{Actor, Message};

use super::{
    ClusterContext, Overflow,
    envelope::{BoxEnvelope, Rejected},
    pause::Pauses,
    stash::{GivenBack, Returned, Stash},
};
use crate::{remote_actor::RemoteActor, watch::WatchId};

pub(super) struct Aside<A: Actor> {
    pub(super) stash: Stash<A>,
    pub(super) pauses: Pauses<A>,
    /// What a handler gave back, until its envelope takes it.
    returned: Option<Box<dyn Returned<A>>>,
}

/// Messages for the head of the mailbox, in order.
pub(super) struct PutBack<A: Actor> {
    pub(super) messages: VecDeque<BoxEnvelope<A>>,
    /// How many of them the mailbox doesn't count as unfinished any more.
    pub(super) uncounted: usize,
}

/// What becomes of a message whose turn has come.
pub(super) enum Turned<A: Actor> {
    /// It has its turn.
    Runs(BoxEnvelope<A>),
    /// Its type is paused.
    Held,
    /// Its type is paused, and this one had to make room for it.
    Displaces(Rejected<A>),
}

impl<A: Actor> Aside<A> {
    fn put_back(&mut self) -> PutBack<A> {
        let released = self.stash.take_released();
        // What has a place of its own was never counted.
        let uncounted = released.iter().filter(|envelope| !envelope.is_reserved()).count();
        let mut messages = self.pauses.hold_first(released);
        messages.append(&mut self.pauses.take_resumed());
        PutBack { messages, uncounted }
    }
}

impl<A: RemoteActor> ClusterContext<A> {
    pub(super) fn aside_mut(&mut self) -> &mut Aside<A> {
        self.aside.get_or_insert_with(|| {
            let stash = Stash::new(A::STASH_CAPACITY);
            Box::new(Aside { stash, pauses: Pauses::default(), returned: None })
        })
    }

    /// Keeps what a handler gave back for its envelope.
    pub(super) fn give_back(&mut self, message: Box<dyn Returned<A>>) {
        self.stash_returned();
        self.aside_mut().returned = Some(message);
    }
}

/// For envelopes and the activation.
impl<A: Actor<Context = Self>> ClusterContext<A> {
    /// The message whose turn it was, if its handler gave it back.
    #[inline]
    pub(crate) fn take_returned<M: Message + 'static>(&mut self) -> Option<GivenBack<M>> {
        let returned = self.aside.as_mut()?.returned.take()?;
        self.give_returned(returned)
    }

    fn give_returned<M: Message + 'static>(
        &mut self,
        returned: Box<dyn Returned<A>>,
    ) -> Option<GivenBack<M>> {
        let is_another = !(&*returned as &dyn Any).is::<GivenBack<M>>();
        if is_another {
            self.stash(returned.into_envelope());
            return None;
        }
        (returned as Box<dyn Any>).downcast().ok().map(|given_back| *given_back)
    }

    /// Stashes what was given back and came in no envelope: by a timer, a stream or an actix address.
    fn stash_returned(&mut self) {
        if let Some(returned) = self.aside.as_mut().and_then(|aside| aside.returned.take()) {
            self.stash(returned.into_envelope());
        }
    }

    /// Sets a message aside that has not run; without room it is rejected as full. Returns whether
    /// there was room.
    pub(crate) fn stash(&mut self, envelope: BoxEnvelope<A>) -> bool {
        let Some(aside) = &mut self.aside else { unreachable!("what is given back is kept there") };
        let rejected = aside.stash.push(envelope);
        let has_room = rejected.is_none();
        if let Some(rejected) = rejected {
            rejected.end(&self.mailbox, self.mailbox.core().dead_letters());
        }
        has_room
    }

    /// The end of this watch is not to be told any more.
    pub(crate) fn forget_stashed_end(&mut self, watch: WatchId) {
        if let Some(aside) = &mut self.aside {
            aside.stash.forget_end(watch);
        }
    }

    /// Whether messages wait that were stashed or held back.
    pub(super) fn has_aside(&self) -> bool {
        let has_some = |aside: &Aside<A>| !aside.stash.is_empty() || !aside.pauses.is_empty();
        self.aside.as_deref().is_some_and(has_some)
    }

    /// Whether the message has its turn, or is held back.
    pub(super) fn turn_of(&mut self, envelope: BoxEnvelope<A>) -> Turned<A> {
        let Some(aside) = &mut self.aside else { return Turned::Runs(envelope) };
        if !aside.pauses.has(envelope.message()) {
            return Turned::Runs(envelope);
        }
        // Where senders wait or are refused, those held back count as unfinished. Where the oldest is
        // dropped only those that wait are counted, so these are bounded by themselves.
        let bound = self.mailbox.bound();
        let limit = (bound.overflow == Overflow::DropOldest).then_some(bound.capacity.max(1));
        aside.pauses.hold(envelope, limit).map_or(Turned::Held, Turned::Displaces)
    }

    /// Whether something is to go back to the head of the mailbox.
    pub(super) fn has_put_back(&self) -> bool {
        let goes_back = |aside: &Aside<A>| {
            aside.returned.is_some() || aside.stash.has_released() || aside.pauses.has_resumed()
        };
        self.aside.as_deref().is_some_and(goes_back)
    }

    /// What is to go back to the head of the mailbox.
    pub(super) fn take_put_back(&mut self) -> Option<PutBack<A>> {
        if !self.has_put_back() {
            return None;
        }
        self.stash_returned();
        Some(self.aside.as_mut()?.put_back())
    }

    /// All that was set aside: the instance is gone.
    pub(super) fn take_aside(&mut self) -> Option<PutBack<A>> {
        self.stash_returned();
        let mut aside = self.aside.take()?;
        aside.stash.release(usize::MAX);
        aside.pauses.resume_all();
        Some(aside.put_back())
    }
}
