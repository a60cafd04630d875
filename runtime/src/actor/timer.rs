//! The context's timers, on the node's clock.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix::{Actor, Handler, Message, dev::MessageResponse, fut::ActorFuture};
use actix_cluster_transport::{Clock, clock::Sleep};

use super::ClusterContext;

/// Runs a closure once, later.
pub(crate) struct Later<F> {
    sleep: Sleep,
    run: Option<F>,
}

impl<F> Later<F> {
    pub(crate) fn new(clock: &Clock, after: Duration, run: F) -> Self {
        Self { sleep: clock.sleep(after), run: Some(run) }
    }
}

impl<F> Unpin for Later<F> {}

impl<A, F> ActorFuture<A> for Later<F>
where
    A: Actor<Context = ClusterContext<A>>,
    F: FnOnce(&mut A, &mut ClusterContext<A>),
{
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        std::task::ready!(self.sleep.as_mut().poll(task));
        if let Some(run) = self.run.take() {
            run(actor, ctx);
        }
        Poll::Ready(())
    }
}

/// Runs a closure again and again; a late tick is followed by a whole period, never by a burst.
pub(crate) struct Every<F> {
    clock: Clock,
    sleep: Sleep,
    period: Duration,
    run: F,
}

impl<F> Every<F> {
    pub(crate) fn new(clock: &Clock, period: Duration, run: F) -> Self {
        let period = period.max(Duration::from_nanos(1));
        Self { clock: clock.clone(), sleep: clock.sleep(period), period, run }
    }
}

impl<F> Unpin for Every<F> {}

impl<A, F> ActorFuture<A> for Every<F>
where
    A: Actor<Context = ClusterContext<A>>,
    F: FnMut(&mut A, &mut ClusterContext<A>),
{
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        std::task::ready!(self.sleep.as_mut().poll(task));
        (self.run)(actor, ctx);
        self.sleep = self.clock.sleep(self.period);
        // The new sleep is not armed until it is polled once.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Delivers a message to its own actor, later.
pub(crate) fn deliver<A, M>(msg: M) -> impl FnOnce(&mut A, &mut ClusterContext<A>)
where
    A: Actor<Context = ClusterContext<A>> + Handler<M>,
    M: Message,
{
    move |actor, ctx| actor.handle(msg, ctx).handle(ctx, None)
}
