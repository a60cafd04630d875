//! The future that is a supervisor's life: it hands what comes to the [`Plan`], and carries out
//! what that says.
//!
//! Invariant: it ends after all of its children have left. It runs no code of a user's but the
//! report of its end.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use actix_cluster_transport::clock::Sleep;
use tokio::sync::watch;

use super::{
    inbox::{Event, Inbox},
    link::{Child, Link, Order, Report},
    plan::{Action, Outcome, Plan},
};
use crate::{
    actor::{ActorId, ExitReason, activation::OnExit, mailbox::Signal, panic, restart::Ended},
    node::NodeCore,
};

/// What a supervisor is made of.
pub(crate) struct Task {
    id: ActorId,
    core: Arc<NodeCore>,
    inbox: Arc<Inbox>,
    plan: Plan,
    children: BTreeMap<ActorId, Child>,
    /// Its own supervisor, if it has one.
    link: Option<Arc<Link>>,
    phase: Phase,
    timer: Option<(Instant, Sleep)>,
    exit: watch::Sender<Option<ExitReason>>,
    /// Called once, at the very end.
    on_exit: Option<OnExit>,
}

enum Phase {
    /// Nothing has begun, or all has ended so; its own supervisor decides what is next.
    Held(ExitReason),
    /// The children are about to be started.
    Beginning,
    Running,
    /// The children are leaving; it ends for this reason then.
    Finishing(ExitReason),
    Ended,
}

impl Task {
    /// One with a supervisor above waits for its order; any other one begins.
    pub(crate) fn new(
        id: ActorId,
        core: Arc<NodeCore>,
        inbox: Arc<Inbox>,
        mut plan: Plan,
        link: Option<Arc<Link>>,
        exit: watch::Sender<Option<ExitReason>>,
        on_exit: OnExit,
    ) -> Self {
        let phase = if link.is_some() {
            Phase::Held(ExitReason::Stopped)
        } else {
            plan.begin(core.clock().now());
            Phase::Running
        };
        let (children, timer, on_exit) = (BTreeMap::new(), None, Some(on_exit));
        Self { id, core, inbox, plan, children, link, phase, timer, exit, on_exit }
    }

    /// Begins: the children start, in order.
    fn begin(&mut self) {
        self.phase = Phase::Beginning;
        self.plan.begin(self.core.clock().now());
    }

    fn handle(&mut self, event: Event) {
        let now = self.core.clock().now();
        match event {
            Event::Added { id, rules, child } => {
                match &self.phase {
                    Phase::Finishing(reason) => child.finish(theirs(reason)),
                    _ => self.plan.add(now, id, rules),
                }
                self.children.insert(id, child);
            }
            Event::Removed(id) => self.plan.remove(now, id),
            Event::Reported(id, Report::Started) => self.plan.handle_started(now, id),
            Event::Reported(id, Report::Ended(ended)) => {
                let (core, plan) = (&self.core, &mut self.plan);
                core.with_random(|random| plan.handle_ended(now, id, ended, random));
            }
            Event::Reported(id, Report::Left) => {
                self.children.remove(&id);
                self.plan.handle_left(now, id);
            }
        }
    }

    /// Does what it was told, by its own supervisor or from outside.
    fn obey(&mut self) {
        if let Phase::Held(last) = &self.phase {
            let order = self.link.as_ref().and_then(|link| link.take_order());
            match (order, end_for_good(self.inbox.signalled())) {
                (Some(Order::Finish(_)), _) if last.is_failure() => self.finish(last.clone()),
                (Some(Order::Finish(reason)), _) | (_, Some(reason)) => self.finish(reason),
                (Some(Order::Begin), None) => self.begin(),
                (None, None) => {}
            }
        }
        if matches!(self.phase, Phase::Beginning | Phase::Running) {
            let now = self.core.clock().now();
            match self.inbox.signalled() {
                Signal::None | Signal::Passivate | Signal::Linked => {}
                Signal::Halt
                | Signal::Stop
                | Signal::HandOver
                | Signal::Move
                | Signal::NodeStop => {
                    self.plan.stop(now);
                }
                Signal::Kill | Signal::KillForGood => self.plan.kill(now),
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.plan.poll_action() {
            match action {
                Action::Start(id) => self.with(id, Child::begin),
                Action::Stop(id) => self.with(id, Child::halt),
                Action::Kill(id) => self.with(id, Child::kill),
                Action::Finish(id) => self.with(id, |child| child.finish(ExitReason::Stopped)),
                Action::End(outcome) => self.end(outcome),
            }
        }
        if matches!(self.phase, Phase::Beginning) && !self.plan.is_starting() {
            self.phase = Phase::Running;
            if let Some(link) = &self.link {
                link.report(Report::Started);
            }
        }
    }

    fn with(&self, id: ActorId, tell: impl FnOnce(&Child)) {
        if let Some(child) = self.children.get(&id) {
            tell(child);
        }
    }

    /// No child has an instance: for its own supervisor to decide, or for good.
    fn end(&mut self, outcome: Outcome) {
        let (reason, ended) = match outcome {
            Outcome::Stopped => (ExitReason::Stopped, Ended::Normally),
            Outcome::Killed => (ExitReason::Killed, Ended::Abnormally),
            Outcome::GaveUp { child } => (ExitReason::GaveUp { child }, Ended::Abnormally),
        };
        if reason.is_failure() {
            tracing::warn!(supervisor = %self.id, %reason, "supervisor failed");
        }
        match (&self.link, end_for_good(self.inbox.signalled())) {
            (_, Some(told)) => self.finish(if reason.is_failure() { reason } else { told }),
            (None, None) => self.finish(reason),
            (Some(link), None) => {
                link.report(Report::Ended(ended));
                self.phase = Phase::Held(reason);
            }
        }
    }

    /// Ends the children for good, and then itself.
    fn finish(&mut self, reason: ExitReason) {
        self.inbox.close();
        for child in self.children.values().rev() {
            child.finish(theirs(&reason));
        }
        self.phase = Phase::Finishing(reason);
    }

    /// Ends, once nobody is left.
    fn leave(&mut self, reason: ExitReason) {
        self.phase = Phase::Ended;
        self.inbox.end();
        tracing::debug!(supervisor = %self.id, %reason, "supervisor ended");
        if let Some(on_exit) = self.on_exit.take() {
            let told = reason.clone();
            panic::catch(|| on_exit(told)).unwrap_or_else(|panic| panic.report("on_exit"));
        }
        // Whoever waits for the end finds it in no table any more.
        self.exit.send_replace(Some(reason));
        if let Some(link) = &self.link {
            link.report(Report::Left);
        }
    }

    /// Waits for the plan's next timeout; true if it has come.
    fn poll_timer(&mut self, task: &mut Context<'_>) -> bool {
        let Some(due) = self.plan.poll_timeout() else {
            self.timer = None;
            return false;
        };
        let clock = self.core.clock();
        let timer = match &mut self.timer {
            Some((at, sleep)) if *at == due => sleep,
            other => &mut other.insert((due, clock.sleep_until(due))).1,
        };
        if timer.as_mut().poll(task).is_pending() {
            return false;
        }
        self.timer = None;
        self.plan.handle_timeout(clock.now().max(due));
        true
    }
}

/// Why the children end of one that ends for `reason`.
fn theirs(reason: &ExitReason) -> ExitReason {
    match reason {
        ExitReason::NodeStopped => ExitReason::NodeStopped,
        _ => ExitReason::Stopped,
    }
}

/// Why it ends for good, if it is told to.
fn end_for_good(signal: Signal) -> Option<ExitReason> {
    match signal {
        Signal::None | Signal::Passivate | Signal::Halt | Signal::Linked | Signal::Kill => None,
        Signal::Stop | Signal::HandOver | Signal::Move => Some(ExitReason::Stopped),
        Signal::NodeStop => Some(ExitReason::NodeStopped),
        Signal::KillForGood => Some(ExitReason::Killed),
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            let was_finishing = matches!(this.phase, Phase::Finishing(_));
            // Taken first, and the waker with it: what comes from here on wakes this task again.
            let events: VecDeque<_> = this.inbox.take(task.waker());
            let is_quiet = events.is_empty();
            events.into_iter().for_each(|event| this.handle(event));
            this.obey();
            this.act();
            if let Phase::Finishing(reason) = &this.phase {
                // Children came until the inbox was closed, which may have been after the last look.
                if !was_finishing {
                    continue;
                }
                if this.children.is_empty() {
                    let reason = reason.clone();
                    this.leave(reason);
                    return Poll::Ready(());
                }
            }
            if this.poll_timer(task) {
                this.act();
            } else if is_quiet {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Task {
    /// The arbiter is gone: whoever waits is to learn it.
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            self.children.values().for_each(Child::kill);
            self.finish(ExitReason::NodeStopped);
            // Whoever came since the last look has no instance.
            self.inbox.take(Waker::noop()).into_iter().for_each(|event| self.handle(event));
            self.leave(ExitReason::NodeStopped);
        }
    }
}
