//! The run of an ask that may come more than once, and those who wait for its end.

use std::{
    any::Any,
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix::{AsyncContext as _, fut::ActorFuture};
use actix_cluster_transport::clock::{Instant, Sleep};
use bytes::Bytes;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{Known, RunId};
use crate::{
    actor::{
        ClusterContext,
        envelope::{AskCell, AskEnd, LocalAsker},
        mailbox::Mailbox,
    },
    call::Travels,
    cluster::pending::Answer,
    handler::{mode::Mode, owed::Owed},
    interceptor::Shown,
    message::RemoteMessage,
    node::NodeCore,
    reference::{DEFAULT_ASK_TIMEOUT, UnknownReason},
    remote_actor::RemoteActor,
};

/// How often one ask may wait for the end of its run; with once more, the first hears nothing any more.
const WAITING_LIMIT: usize = 16;

/// Those who wait for the end of a run whose result has the type `R`.
type Waiting<R> = RefCell<Vec<Owed<R>>>;

/// The turn of an ask with a key: it runs, or waits for the run that goes on, or is answered as that was.
pub(crate) fn handle<A, M, H>(
    key: u128,
    msg: M,
    owed: Owed<M::Result>,
    shown: Shown,
    actor: &mut A,
    ctx: &mut ClusterContext<A>,
) where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    let (id, now) = ((key, M::WIRE_ID), ctx.clock().now());
    match ctx.repeats_mut().look(now, id) {
        Known::New => run::<A, M, H>(id, msg, owed, shown, actor, ctx),
        Known::Going(waiting) => {
            shown.ended();
            if let Ok(waiting) = waiting.downcast::<Waiting<M::Result>>() {
                let mut waiting = waiting.borrow_mut();
                let first =
                    if waiting.len() < WAITING_LIMIT { None } else { Some(waiting.remove(0)) };
                waiting.push(owed);
                drop(waiting);
                drop(first);
            }
        }
        Known::Ended(result) => {
            shown.ended();
            match result {
                Some(result) => reply::<M>(ctx.core(), owed, &result),
                // It has run, and what it gave is not there any more.
                None => owed.fail(UnknownReason::BadReply),
            }
        }
    }
}

fn run<A, M, H>(
    id: RunId,
    msg: M,
    owed: Owed<M::Result>,
    shown: Shown,
    actor: &mut A,
    ctx: &mut ClusterContext<A>,
) where
    A: RemoteActor,
    M: RemoteMessage,
    H: Mode<A, M>,
{
    let deadline = owed.deadline().unwrap_or_else(|| ctx.clock().after(DEFAULT_ASK_TIMEOUT));
    let travels = Travels::once(owed.travels());
    let waiting = Rc::new(Waiting::new(vec![owed]));
    ctx.repeats_mut().begin(id, Rc::clone(&waiting) as Rc<dyn Any>);
    let (asker, reply, cell) = LocalAsker::begun(ctx.panics(), deadline, travels);
    let (mailbox, panics) = (ctx.mailbox(), ctx.panics());
    // If the turn panics, it is dropped by that.
    let until = Until::At(deadline);
    let mut running = Running::<A, M> { id, reply, cell, waiting, mailbox, panics, until };
    H::asked(msg, asker, shown, actor, ctx);
    match running.reply.try_recv() {
        Ok(result) => running.end(result, ctx),
        Err(TryRecvError::Closed) => running.closed(ctx),
        Err(TryRecvError::Empty) => drop(ctx.spawn(running)),
    }
}

/// A run that goes on.
struct Running<A: RemoteActor, M: RemoteMessage> {
    id: RunId,
    reply: oneshot::Receiver<M::Result>,
    cell: Arc<AskCell<M>>,
    waiting: Rc<Waiting<M::Result>>,
    mailbox: Arc<Mailbox<A>>,
    /// How many panics the mailbox had counted when the turn began.
    panics: u32,
    /// When its first asker waits no longer: what has given no answer by then gives none.
    until: Until,
}

enum Until {
    At(Instant),
    Asleep(Sleep),
}

impl<A: RemoteActor, M: RemoteMessage> Running<A, M> {
    fn end(&mut self, result: M::Result, ctx: &mut ClusterContext<A>) {
        let bytes = M::encode_result(&result, Vec::new()).map(Bytes::from);
        let mut waiting = self.waiting.take().into_iter();
        if let Some(first) = waiting.next() {
            first.reply(result);
        }
        match bytes {
            Ok(bytes) => {
                waiting.for_each(|owed| reply::<M>(ctx.core(), owed, &bytes));
                let now = ctx.clock().now();
                ctx.repeats_mut().end(now, self.id, &bytes);
            }
            Err(_) => {
                waiting.for_each(|owed| owed.fail(UnknownReason::BadReply));
                ctx.repeats_mut().fail(self.id);
            }
        }
    }

    /// Nothing comes by the usual way: others have answered, or nobody does.
    fn closed(&mut self, ctx: &mut ClusterContext<A>) {
        let reason = match self.cell.closed(self.mailbox.panics()) {
            AskEnd::Answered(Answer::Reply(bytes)) => {
                let waiting = self.waiting.take().into_iter();
                waiting.for_each(|owed| reply::<M>(ctx.core(), owed, &bytes));
                let now = ctx.clock().now();
                return ctx.repeats_mut().end(now, self.id, &bytes);
            }
            AskEnd::Answered(Answer::Unknown(reason)) | AskEnd::Unknown(reason) => reason,
            AskEnd::Answered(Answer::Rejected(_)) | AskEnd::Rejected(..) => UnknownReason::NoReply,
        };
        ctx.repeats_mut().fail(self.id);
        self.fail(reason);
    }

    fn fail(&self, reason: UnknownReason) {
        self.waiting.take().into_iter().for_each(|owed| owed.fail(reason));
    }
}

impl<A: RemoteActor, M: RemoteMessage> ActorFuture<A> for Running<A, M> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        let this = self.get_mut();
        match Pin::new(&mut this.reply).poll(task) {
            Poll::Ready(Ok(result)) => this.end(result, ctx),
            Poll::Ready(Err(_)) => this.closed(ctx),
            Poll::Pending => {
                if let Until::At(deadline) = this.until {
                    this.until = Until::Asleep(ctx.clock().sleep_until(deadline));
                }
                if let Until::Asleep(sleep) = &mut this.until {
                    ready!(sleep.as_mut().poll(task));
                }
                ctx.repeats_mut().fail(this.id);
                this.fail(UnknownReason::Deadline);
            }
        }
        Poll::Ready(())
    }
}

// Nothing in it is pinned.
impl<A: RemoteActor, M: RemoteMessage> Unpin for Running<A, M> {}

impl<A: RemoteActor, M: RemoteMessage> Drop for Running<A, M> {
    /// The instance has ended before it was told of the run's end, or before that.
    fn drop(&mut self) {
        if let Ok(result) = self.reply.try_recv() {
            let bytes = M::encode_result(&result, Vec::new());
            let mut waiting = self.waiting.take().into_iter();
            if let Some(first) = waiting.next() {
                first.reply(result);
            }
            if let Ok(bytes) = bytes {
                waiting.for_each(|owed| reply::<M>(self.mailbox.core(), owed, &bytes));
            }
            return;
        }
        let panicked = std::thread::panicking() || self.mailbox.panics() != self.panics;
        self.fail(if panicked { UnknownReason::Panicked } else { UnknownReason::NoReply });
    }
}

/// Answers with a result as it is remembered.
fn reply<M: RemoteMessage>(core: &Arc<NodeCore>, owed: Owed<M::Result>, result: &[u8]) {
    let decoded = {
        let _scope = NodeCore::enter(core);
        M::decode_result(result)
    };
    match decoded {
        Ok(result) => owed.reply(result),
        Err(_) => owed.fail(UnknownReason::BadReply),
    }
}
