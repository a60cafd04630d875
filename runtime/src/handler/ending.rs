//! How a handler's future ends its message.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use super::owed::Owed;
use crate::{
    actor::{ClusterContext, mailbox::Mailbox},
    interceptor::Shown,
    message::RemoteMessage,
    node::{DeadLetters, NodeCore},
    reference::UnknownReason,
    remote_actor::RemoteActor,
};

/// What is owed for a message whose handler awaits.
///
/// Invariant: if it is dropped, its handler was: by a panic of its instance, or because that ended.
pub(crate) struct Ending<A: RemoteActor, R> {
    /// There until it ends.
    owed: Option<Owed<R>>,
    /// Told how the handler ends, if that is to be told.
    shown: Option<Shown>,
    message: &'static str,
    core: Arc<NodeCore>,
    mailbox: Arc<Mailbox<A>>,
    /// How many panics the mailbox had counted when the turn began.
    panics: u32,
}

impl<A: RemoteActor, R> Ending<A, R> {
    pub(crate) fn new<M: RemoteMessage<Result = R>>(
        owed: Owed<R>,
        ctx: &ClusterContext<A>,
    ) -> Self {
        let (core, mailbox) = (Arc::clone(ctx.core()), ctx.mailbox());
        let panics = mailbox.panics();
        Self { owed: Some(owed), shown: None, message: M::NAME, core, mailbox, panics }
    }

    /// The same, of a handler whose end interceptors are told.
    pub(super) fn shown(mut self, shown: Shown) -> Self {
        self.shown = Some(shown);
        self
    }

    /// The handler has ended.
    pub(crate) fn reply(&mut self, result: R) {
        self.shown.take().into_iter().for_each(Shown::ended);
        if let Some(owed) = self.owed.take() {
            owed.reply(result);
        }
    }

    /// Runs the handler to its end, or until nobody awaits its result any more.
    pub(super) async fn of(mut self, handling: impl Future<Output = R>) {
        let mut handling = pin!(handling);
        let result = poll_fn(|task| match (handling.as_mut().poll(task), &mut self.owed) {
            (Poll::Ready(result), _) => Poll::Ready(Some(result)),
            (Poll::Pending, Some(owed)) => owed.poll_gone(task).map(|()| None),
            (Poll::Pending, None) => Poll::Pending,
        });
        let result = result.await;
        match result {
            Some(result) => self.reply(result),
            None => self.fail(UnknownReason::Cancelled),
        }
    }

    fn fail(&mut self, reason: UnknownReason) {
        self.shown.take().into_iter().for_each(|shown| shown.failed(reason));
        let Some(owed) = self.owed.take() else { return };
        // A panic is reported where it is caught.
        let is_heard = owed.is_asked() && reason != UnknownReason::Cancelled;
        if owed.is_of_this_node() && !is_heard && !std::thread::panicking() {
            let about =
                |letters: &DeadLetters| letters.about_mailbox(&self.mailbox, Some(self.message));
            self.core.dead_letters().unknown(reason, about);
        }
        owed.fail(reason);
    }
}

impl<A: RemoteActor, R> Drop for Ending<A, R> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking() || self.mailbox.panics() != self.panics;
        self.fail(if panicked { UnknownReason::Panicked } else { UnknownReason::NoReply });
    }
}
