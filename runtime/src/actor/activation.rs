//! The supervised future that is an actor's life.
//!
//! It makes the instance, gives it turns, and when the instance ends asks the [`RestartTracker`]
//! what to do, or tells its supervisor and waits for the answer. Every piece of the user's code runs under `catch_unwind`, and a
//! failed instance is dropped under a second one.
//!
//! Invariant: the mailbox outlives every instance, and is closed exactly once, when the actor ends
//! for good; whatever is in it then is rejected.

mod lending;
mod running;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix::ActorState;
use actix_cluster_transport::clock::Sleep;

use self::{
    lending::Loan,
    running::{TURN_BUDGET, Turn, linked, put_back},
};
use super::{
    ClusterContext,
    context::Remains,
    envelope::BoxEnvelope,
    exit::ExitReason,
    items::{Behalf, Items},
    loading::{Factory, Load, Made},
    mailbox::{Mailbox, Signal},
    panic::{self, Disposal, Panic},
    restart::{Decision, Ended, RestartTracker},
    turns::Doing,
};
use crate::{
    cluster::settling,
    node::{EntityKey, Resident, Sender},
    reference::RejectReason,
    remote_actor::RemoteActor,
    supervisor::link::{Link, Order, Report},
    watch,
};

/// Called once, when the actor has ended for good.
pub(crate) type OnExit = Box<dyn FnOnce(ExitReason) + Send>;

pub(crate) struct Activation<A: RemoteActor> {
    ctx: ClusterContext<A>,
    mailbox: Arc<Mailbox<A>>,
    /// Makes instances, until it ends for good.
    factory: Option<Factory<A>>,
    /// There until it ends for good.
    resident: Option<Resident>,
    on_exit: Option<OnExit>,
    supervision: Supervision,
    phase: Phase<A>,
    batch: VecDeque<BoxEnvelope<A>>,
    finished: usize,
    items: Items<A>,
}

enum Phase<A: RemoteActor> {
    Starting,
    Loading(Load<A>),
    Running(A),
    /// A handler that awaits has the instance.
    Lent(Loan<A>),
    BackingOff(Sleep),
    /// A supervisor decides what is next; the last instance, if any, ended so.
    Held(Box<ExitReason>),
    Ended,
}

/// Who decides about an instance that ended.
pub(crate) enum Supervision {
    /// A policy of its own.
    Own(RestartTracker),
    /// A supervisor, which also says when to start.
    By { link: Arc<Link>, begun: u32 },
}

impl Supervision {
    fn restarts(&self) -> u32 {
        match self {
            Self::Own(restarts) => restarts.total(),
            Self::By { begun, .. } => begun.saturating_sub(1),
        }
    }
}

impl<A: RemoteActor> Activation<A> {
    pub(crate) fn new(
        ctx: ClusterContext<A>,
        factory: Factory<A>,
        supervision: Supervision,
        resident: Resident,
        on_exit: Option<OnExit>,
    ) -> Self {
        let phase = match supervision {
            Supervision::Own(_) => Phase::Starting,
            Supervision::By { .. } => Phase::Held(Box::new(ExitReason::Stopped)),
        };
        Self {
            mailbox: ctx.mailbox(),
            ctx,
            factory: Some(factory),
            resident: Some(resident),
            on_exit,
            supervision,
            phase,
            batch: VecDeque::new(),
            finished: 0,
            items: Items::new(),
        }
    }

    fn start(&mut self) -> Result<(), Panic> {
        self.ctx.turns().begin(Doing::Starting);
        let ctx = &mut self.ctx;
        let Some(factory) = &mut self.factory else { return Ok(()) };
        self.mailbox.instance_begins();
        match panic::catch(|| factory(ctx))? {
            Made::Ready(instance) => self.begin(instance),
            Made::Loading(load) => {
                self.phase = Phase::Loading(load);
                Ok(())
            }
        }
    }

    /// An instance is there: its hook runs, unless its factory has failed it already.
    fn begin(&mut self, mut instance: A) -> Result<(), Panic> {
        let ctx = &mut self.ctx;
        let started = if ctx.has_failed() {
            Ok(())
        } else {
            ctx.set_state(ActorState::Running);
            panic::catch(|| instance.started(ctx))
        };
        // Also when it failed: the failure path then drops it like any other.
        self.phase = Phase::Running(instance);
        if let (Ok(()), Supervision::By { link, .. }) = (&started, &self.supervision)
            && !self.ctx.has_failed()
        {
            link.report(Report::Started);
        }
        started
    }

    /// Goes on with a load, unless it is told to end. Messages wait in the mailbox meanwhile.
    fn poll_load(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Phase::Loading(load) = &mut self.phase else { return Poll::Ready(()) };
        self.ctx.turns().begin(Doing::Starting);
        // Parked first: a signal raised in between wakes this task again.
        self.mailbox.park(std::mem::take(&mut self.finished), task.waker());
        let told = match self.mailbox.signalled() {
            // A factory that failed its instance has no use for it.
            Signal::None | Signal::Passivate if self.ctx.has_failed() => Some(ExitReason::Stopped),
            Signal::None | Signal::Passivate => None,
            // Meant for the instance before: what is below it counts.
            Signal::Linked => match linked(&self.mailbox) {
                None => return self.poll_load(task),
                told => told,
            },
            Signal::Halt | Signal::Stop => Some(ExitReason::Stopped),
            Signal::HandOver | Signal::Move => Some(ExitReason::Moved),
            Signal::NodeStop => Some(ExitReason::NodeStopped),
            Signal::Kill | Signal::KillForGood => Some(ExitReason::Killed),
        };
        if let Some(reason) = told {
            self.exit(reason);
            return Poll::Ready(());
        }
        match panic::catch(|| load.as_mut().poll(task)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(instance))) => {
                if let Some(key) = self.mailbox.entity() {
                    self.ctx.core().load_failures().handle_success(key);
                }
                if let Err(panic) = self.begin(instance) {
                    self.fail(panic);
                }
            }
            Ok(Poll::Ready(Err(error))) => {
                let id = self.mailbox.id();
                tracing::warn!(actor = A::NAME, %id, error, "actor could not be loaded");
                let restarts = self.supervision.restarts();
                self.fail_to_load(ExitReason::FailedToStart { error, restarts });
            }
            Err(panic) => {
                let reason = self.panicked(panic, None);
                self.fail_to_load(reason);
            }
        }
        Poll::Ready(())
    }

    /// There is no instance. An entity is loaded again by a later message; anybody else is restarted.
    fn fail_to_load(&mut self, reason: ExitReason) {
        if let Some(panic) = self.drop_instance() {
            panic.report("drop of a load");
        }
        watch::instance_ended(&mut self.ctx, &reason);
        if let Some(key) = self.mailbox.entity() {
            self.ctx.core().load_failed::<A>(key);
            return self.finish_rejecting(reason, RejectReason::LoadFailed);
        }
        self.ended(Ended::Abnormally, reason);
    }

    /// Drops what is left of a failed instance, and lets the tracker decide.
    fn fail(&mut self, mut panic: Panic) {
        // Whose turn it was, its context knows.
        self.recall().unwrap_or_else(|again| again.report("drop of a handler"));
        let (sender, behalf) = self.ctx.take_turn();
        if sender.is_some() || behalf.is_some() {
            let letters = self.ctx.core().dead_letters();
            let mut about = letters.about_mailbox(&self.mailbox, behalf.copied());
            about.sender = panic.sender.take().or(about.sender);
            letters.panicked(about, sender.unwrap_or(Sender::IsTold));
        }
        let reason = self.panicked(panic, behalf);
        if let Some(again) = self.drop_instance() {
            again.report("drop of a failed instance");
        }
        watch::instance_ended(&mut self.ctx, &reason);
        self.ended(Ended::Abnormally, reason);
    }

    /// Reports a panic.
    fn panicked(&self, panic: Panic, behalf: Behalf) -> ExitReason {
        let Panic { message, location, .. } = panic;
        self.mailbox.count_panic();
        let (id, msg) = (self.mailbox.id(), behalf.copied());
        tracing::warn!(actor = A::NAME, %id, msg, panic = message, location, "actor panicked");
        ExitReason::Panicked { message, location, restarts: self.supervision.restarts() }
    }

    /// The instance ended without a panic, unless its drop brings one.
    fn exit(&mut self, reason: ExitReason) {
        let reason = match self.ctx.take_failure() {
            Some(error) if !reason.is_failure() => {
                tracing::warn!(actor = A::NAME, id = %self.mailbox.id(), error, "actor failed");
                ExitReason::Failed { error, restarts: self.supervision.restarts() }
            }
            _ => reason,
        };
        match self.drop_instance() {
            Some(panic) if reason.is_failure() => panic.report("drop of an ended instance"),
            Some(panic) => return self.fail(panic),
            None => {}
        }
        watch::instance_ended(&mut self.ctx, &reason);
        match reason {
            ExitReason::Stopped => self.ended(Ended::Normally, reason),
            _ if reason.is_failure() => self.ended(Ended::Abnormally, reason),
            _ => self.finish(reason),
        }
    }

    fn ended(&mut self, ended: Ended, reason: ExitReason) {
        let signal = self.mailbox.signalled();
        // A closed mailbox is that of an actor being passivated: its successor may be there already.
        let is_closed = self.mailbox.is_closed();
        match &mut self.supervision {
            Supervision::By { link, .. } if !is_closed && !signal.ends_for_good() => {
                link.report(Report::Ended(ended));
                self.phase = Phase::Held(Box::new(reason));
            }
            Supervision::Own(restarts) if !is_closed && signal <= Signal::Linked => {
                let now = self.ctx.clock().now();
                let core = Arc::clone(self.ctx.core());
                let decision = core.with_random(|random| restarts.handle_end(now, ended, random));
                self.decide(decision, reason);
            }
            _ => self.finish(reason),
        }
    }

    /// Carries out what the supervisor says, while there is no instance. Pending without a word.
    fn poll_held(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let (Phase::Held(last), Supervision::By { link, begun }) =
            (&self.phase, &mut self.supervision)
        else {
            return Poll::Ready(());
        };
        // Parked first: an order given in between wakes this task again.
        self.mailbox.park(std::mem::take(&mut self.finished), task.waker());
        match (link.take_order(), self.mailbox.signalled()) {
            // The reason why it will not run again is its own, if that was a failure.
            (Some(Order::Finish(_)), _) if last.is_failure() => {
                let last = ExitReason::clone(last);
                self.finish(last);
            }
            (Some(Order::Finish(reason)), _) => self.finish(reason),
            (_, Signal::Stop) => self.finish(ExitReason::Stopped),
            (_, Signal::HandOver | Signal::Move) => self.finish(ExitReason::Moved),
            (_, Signal::NodeStop) => self.finish(ExitReason::NodeStopped),
            (_, Signal::KillForGood) => self.finish(ExitReason::Killed),
            (Some(Order::Begin), _) => {
                *begun = begun.saturating_add(1);
                self.phase = Phase::Starting;
            }
            (None, _) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn decide(&mut self, decision: Decision, reason: ExitReason) {
        match decision {
            Decision::Restart { after } => {
                tracing::info!(actor = A::NAME, id = %self.mailbox.id(), ?after, "actor restarts");
                self.phase = Phase::BackingOff(self.ctx.clock().sleep(after));
            }
            Decision::GiveUp => self.finish(reason),
        }
    }

    /// Ends the actor for good.
    fn finish(&mut self, reason: ExitReason) {
        let reject = match reason {
            ExitReason::Passivated => RejectReason::Passivated,
            ExitReason::Moved => RejectReason::Moved,
            ExitReason::NodeStopped => RejectReason::NodeStopped,
            ExitReason::Stopped | ExitReason::Killed => RejectReason::Stopped,
            ExitReason::Panicked { .. }
            | ExitReason::FailedToStart { .. }
            | ExitReason::Failed { .. }
            | ExitReason::Linked { .. }
            | ExitReason::GaveUp { .. } => RejectReason::Failed,
        };
        self.finish_rejecting(reason, reject);
    }

    /// Ends the actor for good; what waits is told `reject`.
    fn finish_rejecting(&mut self, reason: ExitReason, reject: RejectReason) {
        self.phase = Phase::Ended;
        self.ctx.turns().begin(Doing::Ending);
        // It may have the state that came for the entity, which is to go on before anybody finds it gone.
        let factory = self.factory.take();
        panic::catch(|| drop(factory)).unwrap_or_else(|panic| panic.report("drop of a factory"));
        let queue = self.mailbox.close(reject);
        self.mailbox.record_exit(reason.clone());
        let core = Arc::clone(self.ctx.core());
        let dead_letters = core.dead_letters();
        // However it ended: if another node owns the shard by now, that one is to have the rest.
        let is_moved = |key: &&EntityKey| reject == RejectReason::Moved || !core.owns(key);
        let moved_from = self.mailbox.entity().filter(is_moved);
        for envelope in self.batch.drain(..).chain(queue) {
            // A message's own `drop` may panic; the others are to be answered all the same.
            let ended = panic::catch(|| match moved_from {
                Some(_) => envelope.redirect(&self.mailbox, &core),
                None => envelope.reject(reject, &self.mailbox, dead_letters),
            });
            ended.unwrap_or_else(|panic| panic.report("drop of a message"));
        }
        self.drain_inlet(&mut Context::from_waker(Waker::noop()));
        let left = self.ctx.take_inlet();
        for _ in &left {
            dead_letters.rejected(reject, |letters| letters.about_mailbox(&self.mailbox, None));
        }
        dispose_quietly(left);
        // What came since the last look is dropped with it, and that may panic.
        panic::catch(|| self.ctx.close_inlet())
            .unwrap_or_else(|panic| panic.report("drop of a message"));
        tracing::debug!(actor = A::NAME, id = %self.mailbox.id(), %reason, "actor ended");
        core.remove_actor(&self.mailbox);
        if let Some(on_exit) = self.on_exit.take() {
            panic::catch(|| on_exit(reason.clone()))
                .unwrap_or_else(|panic| panic.report("on_exit"));
        }
        self.resident = None;
        watch::actor_ended(&core, &self.mailbox, &reason);
        if let Supervision::By { link, .. } = &self.supervision {
            link.report(Report::Left);
        }
    }

    /// Drops the instance and all that belongs to it; gives the first panic of that.
    fn drop_instance(&mut self) -> Option<Panic> {
        self.ctx.turns().begin(Doing::Ending);
        let mut disposal = Disposal::default();
        self.recall().unwrap_or_else(|panic| disposal.note(panic));
        self.finished += self.items.reentrant();
        let (items, waits) = self.items.take_all();
        disposal.drop_all(items);
        disposal.drop_all(waits);
        let Remains { spawned, waits, begun } = self.ctx.reset();
        disposal.drop_all(spawned);
        disposal.drop_all(waits);
        disposal.drop(begun);
        disposal.drop(std::mem::replace(&mut self.phase, Phase::Starting));
        // What the instance had set aside has not run: the next one has it, ahead of what is queued.
        if let Some(back) = self.ctx.take_aside() {
            put_back(back, &mut self.batch, &self.mailbox);
        }
        disposal.end()
    }
}

impl<A: RemoteActor> Future for Activation<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let _gathering = settling::gather();
        this.ctx.turns().enter(this.mailbox.id());
        let polled = this.poll_phases(task);
        this.drain_inlet(task);
        this.ctx.turns().begin(Doing::Nothing);
        polled
    }
}

impl<A: RemoteActor> Activation<A> {
    /// Takes over what has come through addresses, and holds it to its cap: behind every poll, so that it
    /// is so while no instance can handle any. Only a handler that holds the instance has its inlet too.
    fn drain_inlet(&mut self, task: &mut Context<'_>) {
        // What is beyond the cap is dropped, and that may panic: what is behind it is looked at even so.
        while let Err(panic) = panic::catch(|| self.ctx.poll_inlet(task)) {
            panic.report("drop of a message");
        }
    }

    fn poll_phases(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let this = self;
        let mut budget = TURN_BUDGET;
        loop {
            match &mut this.phase {
                Phase::Starting => {
                    if let Err(panic) = this.start() {
                        this.fail(panic);
                    }
                }
                Phase::Loading(_) => std::task::ready!(this.poll_load(task)),
                Phase::Running(_) => match panic::catch(|| this.turns(task, &mut budget)) {
                    Ok(Turn::Parked) => return Poll::Pending,
                    Ok(Turn::Yield) => {
                        task.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(Turn::Exit(reason)) => this.exit(reason),
                    Ok(Turn::Lend(borrower)) => this.lend(borrower),
                    Err(panic) => this.fail(panic),
                },
                Phase::Lent(_) => match panic::catch(|| this.poll_lent(task)) {
                    Ok(polled) => {
                        std::task::ready!(polled);
                        this.resume();
                    }
                    Err(panic) => this.fail(panic),
                },
                Phase::BackingOff(sleep) => {
                    // Parked first: a signal raised in between wakes this task again.
                    this.mailbox.park(std::mem::take(&mut this.finished), task.waker());
                    match this.mailbox.signalled() {
                        Signal::None | Signal::Passivate | Signal::Halt | Signal::Linked => {
                            std::task::ready!(sleep.as_mut().poll(task));
                            this.phase = Phase::Starting;
                        }
                        Signal::Stop => this.finish(ExitReason::Stopped),
                        Signal::HandOver | Signal::Move => this.finish(ExitReason::Moved),
                        Signal::NodeStop => this.finish(ExitReason::NodeStopped),
                        Signal::Kill | Signal::KillForGood => this.finish(ExitReason::Killed),
                    }
                }
                Phase::Held(_) => std::task::ready!(this.poll_held(task)),
                Phase::Ended => return Poll::Ready(()),
            }
        }
    }
}

impl<A: RemoteActor> Drop for Activation<A> {
    /// The arbiter is gone: whoever waits is to learn it.
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            if let Some(panic) = self.drop_instance() {
                panic.report("drop of an instance whose arbiter is gone");
            }
            watch::instance_ended(&mut self.ctx, &ExitReason::NodeStopped);
            self.finish(ExitReason::NodeStopped);
        }
    }
}

// The instance is never pinned: it is only reached by `&mut`.
impl<A: RemoteActor> Unpin for Activation<A> {}

/// Drops values whose `drop` may panic, with nothing left that could fail.
fn dispose_quietly<T>(values: impl IntoIterator<Item = T>) {
    let mut disposal = Disposal::default();
    disposal.drop_all(values);
    if let Some(panic) = disposal.end() {
        panic.report("drop of a message");
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::remote_actor::MessageTable;

    struct Counter(#[expect(dead_code, reason = "it has a size")] [u64; 2]);

    impl actix::Actor for Counter {
        type Context = ClusterContext<Self>;
    }

    impl RemoteActor for Counter {
        const NAME: &'static str = "counter";
        fn messages(_: &mut MessageTable<Self>) {}
    }

    /// An idle actor is to take at most 800 bytes, by the bench `actors`. Most of them are these two: in
    /// an `Arc`, and in a task of 104 bytes more that is rounded up to 128.
    #[test]
    fn an_idle_actor_is_small() {
        assert!(size_of::<Mailbox<Counter>>() <= 160);
        assert!(size_of::<Activation<Counter>>() <= 280);
    }
}
