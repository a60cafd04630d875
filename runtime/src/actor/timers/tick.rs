//! The futures of timers, and the turns of their ticks.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix::{Handler, Message, SpawnHandle, dev::MessageResponse, fut::ActorFuture};
use actix_cluster_transport::{Clock, clock::Sleep};

use super::{Key, ReceiveTimeout};
use crate::{
    actor::{ClusterContext, envelope::Envelope, mailbox::Mailbox, stash::GivenBack},
    node::DeadLetters,
    reference::RejectReason,
    remote_actor::RemoteActor,
};

/// A tick whose time has come.
struct Tick<M> {
    key: Key,
    /// The future of its timer.
    timer: SpawnHandle,
    is_last: bool,
    msg: M,
}

impl<M> Tick<M>
where
    M: Message<Result: Send> + Send + 'static,
{
    /// Has its turn, unless its timer is none any more.
    fn run<A: RemoteActor + Handler<M>>(self, actor: &mut A, ctx: &mut ClusterContext<A>) {
        let Self { key, timer, is_last, msg } = self;
        if !ctx.is_timer(&key, timer) {
            return;
        }
        if is_last {
            // Before its turn, which may start another.
            ctx.table().timers.remove(&key);
        }
        actor.handle(msg, ctx).handle(ctx, None);
        let Some(GivenBack { message: msg, .. }) = ctx.take_returned::<M>() else { return };
        if is_last && !ctx.table().timers.contains_key(&key) {
            ctx.table().timers.insert(key.clone(), timer);
        }
        // What the turn itself has cancelled or replaced does not come back.
        if !ctx.is_timer(&key, timer) {
            return;
        }
        let is_kept = ctx.stash(Box::new(Self { key: key.clone(), timer, is_last, msg }));
        if is_last && !is_kept {
            ctx.table().timers.remove(&key);
        }
    }
}

impl<A, M> Envelope<A> for Tick<M>
where
    A: RemoteActor + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn handle(self: Box<Self>, actor: &mut A, ctx: &mut ClusterContext<A>) {
        (*self).run(actor, ctx);
    }

    fn reject(
        self: Box<Self>,
        reason: RejectReason,
        mailbox: &Mailbox<A>,
        dead_letters: &DeadLetters,
    ) {
        // Timers end with their actor, and nobody has sent this.
        if reason == RejectReason::Full {
            dead_letters.rejected(reason, |letters| letters.about_mailbox(mailbox, None));
        }
    }
}

impl<A: RemoteActor> ClusterContext<A> {
    fn is_timer(&self, key: &Key, timer: SpawnHandle) -> bool {
        self.timers.as_ref().is_some_and(|table| table.timers.get(key) == Some(&timer))
    }
}

/// Tells once.
pub(super) struct Single<M> {
    sleep: Sleep,
    tick: Option<Tick<M>>,
}

impl<M> Single<M> {
    pub(super) fn new(sleep: Sleep, key: Key, timer: SpawnHandle, msg: M) -> Self {
        Self { sleep, tick: Some(Tick { key, timer, is_last: true, msg }) }
    }
}

// Nothing in it is pinned but what pins itself.
impl<M> Unpin for Single<M> {}

impl<A, M> ActorFuture<A> for Single<M>
where
    A: RemoteActor + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        ready!(self.sleep.as_mut().poll(task));
        if let Some(tick) = self.tick.take() {
            tick.run(actor, ctx);
        }
        Poll::Ready(())
    }
}

/// When the next tick of a timer is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So long after the turn of the one before.
    Delay(Duration),
    /// At multiples of the interval from a start on.
    Rate { interval: Duration, start: Instant },
}

impl Pace {
    /// How long it is to the next tick, after a turn that is over `now`.
    fn pause(self, now: Instant) -> Duration {
        match self {
            Self::Delay(interval) => interval,
            Self::Rate { interval, start } => {
                let run = now.saturating_duration_since(start).as_nanos();
                let over = run % interval.as_nanos();
                // Less than the interval, which fits.
                interval
                    .saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or(u64::MAX)))
            }
        }
    }
}

/// Tells again and again.
pub(super) struct Repeated<M> {
    clock: Clock,
    pace: Pace,
    /// Set by the first poll after a tick, so that what the turn waited for is over.
    sleep: Option<Sleep>,
    key: Key,
    timer: SpawnHandle,
    msg: M,
}

impl<M> Repeated<M> {
    pub(super) fn new(clock: Clock, pace: Pace, key: Key, timer: SpawnHandle, msg: M) -> Self {
        let sleep = Some(clock.sleep(pace.pause(clock.now())));
        Self { clock, pace, sleep, key, timer, msg }
    }
}

impl<M> Unpin for Repeated<M> {}

impl<A, M> ActorFuture<A> for Repeated<M>
where
    A: RemoteActor + Handler<M>,
    M: Message<Result: Send> + Clone + Send + 'static,
{
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        let Self { clock, pace, sleep, key, timer, msg } = self.get_mut();
        let due = sleep.get_or_insert_with(|| clock.sleep(pace.pause(clock.now())));
        ready!(due.as_mut().poll(task));
        *sleep = None;
        let (key, timer) = (key.clone(), *timer);
        Tick { key, timer, is_last: false, msg: msg.clone() }.run(actor, ctx);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Tells when nothing has been handled for long.
pub(super) struct Silence {
    clock: Clock,
    after: Duration,
    sleep: Sleep,
}

impl Silence {
    pub(super) fn new(clock: Clock, after: Duration) -> Self {
        let sleep = clock.sleep(after);
        Self { clock, after, sleep }
    }
}

impl<A: RemoteActor + Handler<ReceiveTimeout>> ActorFuture<A> for Silence {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        let Self { clock, after, sleep } = self.get_mut();
        ready!(sleep.as_mut().poll(task));
        let now = clock.now();
        let since = ctx.table().handled.unwrap_or(now);
        let left = after.saturating_sub(now.saturating_duration_since(since));
        if !left.is_zero() {
            *sleep = clock.sleep(left);
        } else {
            ctx.table().handled = Some(now);
            if let Some(timer) = ctx.table().timers.get(&Key::Silence).copied() {
                let (key, msg) = (Key::Silence, ReceiveTimeout);
                Tick { key, timer, is_last: false, msg }.run(actor, ctx);
            }
            *sleep = clock.sleep(*after);
        }
        // The new sleep is not armed until it is polled once.
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_at_a_rate_keep_to_its_multiples_and_leave_out_what_has_passed() {
        let start = Clock::default().now();
        let interval = Duration::from_millis(10);
        let rate = Pace::Rate { interval, start };
        for (now, due) in [(0, 10), (1, 10), (10, 20), (19, 20), (35, 40), (1_000_000, 1_000_010)] {
            let now = start + Duration::from_millis(now);
            assert_eq!(now + rate.pause(now), start + Duration::from_millis(due));
        }
        let now = start + Duration::from_millis(7);
        assert_eq!(Pace::Delay(interval).pause(now), interval);
        let longest = Pace::Rate { interval: Duration::MAX, start };
        assert!(longest.pause(now) > Duration::from_secs(1_000_000_000));
    }
}
