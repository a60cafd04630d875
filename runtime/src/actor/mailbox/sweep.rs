//! Who looks which entities are idle, and what has come since.
//!
//! Invariant: what comes after an idle entity was asked to go, and before it has ended, keeps it active.
//! Whoever asked for its end outright is not overruled by a sweep.

use std::sync::{MutexGuard, atomic::Ordering};

use actix::Actor;

use super::{Mailbox, Signal, State, wake};

/// Whether it is a sweep that asks for passivation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    Not,
    Asked,
    /// It was asked, and a message has come since.
    UsedSince,
}

impl<A: Actor> Mailbox<A> {
    /// When a message came last, by the node's ticks, or else when it was made.
    pub(crate) fn used_at(&self) -> u32 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// Asks for passivation because nothing has come for long: since that tick. Declined if a message
    /// has come meanwhile, also before the actor gets to it. It adds nothing to what was asked before.
    pub(crate) fn signal_idle(&self, used_at: u32) {
        let state = self.lock();
        if self.used_at() == used_at && self.signalled() == Signal::None {
            self.ask_to_go(state, Swept::Asked);
        }
    }

    /// Asks for passivation, whatever came before.
    pub(crate) fn signal_passivate(&self) {
        self.ask_to_go(self.lock(), Swept::Not);
    }

    /// As one step, so that it is known who has asked.
    fn ask_to_go(&self, mut state: MutexGuard<'_, State<A>>, swept: Swept) {
        state.swept = swept;
        self.signals.add(Signal::Passivate);
        let activation = state.waker.take();
        drop(state);
        wake(activation);
    }

    /// Takes back what a sweep has asked for, if a message has come since. Returns whether that is so.
    pub(crate) fn decline_if_used(&self) -> bool {
        self.decline(|swept| swept == Swept::UsedSince)
    }

    /// Takes back what a sweep has asked for, and not what anybody has asked for outright. Returns whether
    /// that is so.
    pub(crate) fn decline_if_swept(&self) -> bool {
        self.decline(|swept| swept != Swept::Not)
    }

    /// As one step, so that whoever asks outright meanwhile is not declined with it.
    fn decline(&self, is_meant: impl FnOnce(Swept) -> bool) -> bool {
        let mut state = self.lock();
        let is_declined = is_meant(state.swept);
        if is_declined {
            state.swept = Swept::Not;
            self.clear_signal(Signal::Passivate);
        }
        is_declined
    }

    /// A message comes.
    pub(super) fn touch(&self, state: &mut State<A>) {
        self.used_at.store(self.core.tick(), Ordering::Relaxed);
        if state.swept == Swept::Asked {
            state.swept = Swept::UsedSince;
        }
    }
}
