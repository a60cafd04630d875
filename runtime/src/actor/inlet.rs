//! The way in for actix's own addresses, beside the mailbox.
//!
//! Invariant: at most [`LIMIT`] messages wait once it is polled; each beyond is a counted dead letter.
//! It outlives instances, so that an address stays good over a restart.

use std::{cell::OnceCell, collections::VecDeque, pin::Pin, task};

use actix::{
    Actor, Addr,
    dev::{Envelope, EnvelopeProxy as _, channel},
};
use futures_core::Stream as _;

use super::ClusterContext;
use crate::{
    node::{DeadLetters, Sender},
    reference::RejectReason,
    remote_actor::RemoteActor,
};

/// How many messages from actix addresses may wait at a time.
pub(super) const LIMIT: usize = 128;

/// The sender is kept so that the channel stays open.
pub(crate) struct Inlet<A: Actor> {
    sender: channel::AddressSender<A>,
    receiver: channel::AddressReceiver<A>,
    /// What came in and has not had its turn.
    queue: VecDeque<Envelope<A>>,
}

impl<A: Actor> Inlet<A> {
    pub(crate) fn new() -> Box<Self> {
        let (sender, receiver) = channel::channel(LIMIT);
        Box::new(Self { sender, receiver, queue: VecDeque::new() })
    }

    /// An address that leads here.
    pub(crate) fn addr(&self) -> Addr<A> {
        Addr::new(self.sender.clone())
    }
}

/// What comes in through actix addresses.
impl<A: RemoteActor> ClusterContext<A> {
    /// Has addresses that were made before the context lead to it.
    pub(crate) fn set_inlet(&mut self, inlet: Box<Inlet<A>>) {
        self.inlet = inlet.into();
    }

    /// Takes over what came in; what is beyond the cap is a dead letter.
    pub(crate) fn poll_inlet(&mut self, task: &mut task::Context<'_>) {
        let Some(inlet) = self.inlet.get_mut() else { return };
        while let task::Poll::Ready(Some(envelope)) = Pin::new(&mut inlet.receiver).poll_next(task)
        {
            if inlet.queue.len() < LIMIT {
                inlet.queue.push_back(envelope);
            } else {
                let about = |letters: &DeadLetters| letters.about_mailbox(&self.mailbox, None);
                self.mailbox.core().dead_letters().rejected(RejectReason::Full, about);
            }
        }
    }

    /// Whether something that came in waits for its turn.
    pub(crate) fn has_inlet(&self) -> bool {
        self.inlet.get().is_some_and(|inlet| !inlet.queue.is_empty())
    }

    /// Runs one message, if there is one. What it is called, only actix knows.
    pub(crate) fn handle_inlet(&mut self, actor: &mut A) {
        let next = self.inlet.get_mut().and_then(|inlet| inlet.queue.pop_front());
        if let Some(mut envelope) = next {
            self.begin_turn(None, Sender::IsGone);
            envelope.handle(actor, self);
            self.end_turn();
        }
    }

    /// Gives up what came in.
    pub(crate) fn take_inlet(&mut self) -> VecDeque<Envelope<A>> {
        self.inlet.get_mut().map(|inlet| std::mem::take(&mut inlet.queue)).unwrap_or_default()
    }

    /// Drops the addresses' end of the inlet, so that they see a closed mailbox.
    pub(crate) fn close_inlet(&mut self) {
        self.inlet = OnceCell::new();
    }
}
