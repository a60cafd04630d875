//! The turns of a running instance.
//!
//! Invariant: an instance is told to end before anything else, what was put back comes before what is
//! queued, and no poll gives it more than [`TURN_BUDGET`] turns.

use std::{collections::VecDeque, sync::Arc, task::Context};

use actix::{ActorState, Running as Answer};

use super::{Activation, Phase, lending::Borrower};
use crate::{
    actor::{
        ClusterContext, ExitReason,
        aside::{PutBack, Turned},
        envelope::BoxEnvelope,
        items::{Items, Woken},
        mailbox::{Mailbox, Signal, Taken},
        turns::Doing,
    },
    reference::RejectReason,
    remote_actor::RemoteActor,
};

/// How many messages and woken futures one poll may handle before the arbiter's other actors get
/// their turn.
pub(super) const TURN_BUDGET: u32 = 64;

/// What a poll of a running instance came to.
pub(super) enum Turn {
    /// Nothing left to do; wakers are set.
    Parked,
    /// The budget is used up.
    Yield,
    /// The instance ended by itself, or was told to.
    Exit(ExitReason),
    /// A handler that awaits is to have the instance.
    Lend(Borrower),
}

impl<A: RemoteActor> Activation<A> {
    /// Gives the instance its turns, up to the budget.
    pub(super) fn turns(&mut self, task: &mut Context<'_>, budget: &mut u32) -> Turn {
        let Phase::Running(actor) = &mut self.phase else { return Turn::Parked };
        let mut running = Running {
            actor,
            ctx: &mut self.ctx,
            mailbox: &self.mailbox,
            items: &mut self.items,
            batch: &mut self.batch,
            finished: &mut self.finished,
            budget,
        };
        running.turns(task)
    }
}

/// A running instance, and all that belongs to it, for one poll.
struct Running<'a, A: RemoteActor> {
    actor: &'a mut A,
    ctx: &'a mut ClusterContext<A>,
    mailbox: &'a Mailbox<A>,
    items: &'a mut Items<A>,
    batch: &'a mut VecDeque<BoxEnvelope<A>>,
    finished: &'a mut usize,
    budget: &'a mut u32,
}

impl<A: RemoteActor> Running<'_, A> {
    fn turns(&mut self, task: &mut Context<'_>) -> Turn {
        self.items.set_parent(task.waker());
        loop {
            if self.ctx.has_begun() {
                return Turn::Lend(Borrower::Begun);
            }
            let has_to_finish = self.has_to_finish();
            if !has_to_finish && let Some(reason) = check_end(self.mailbox, self.actor, self.ctx) {
                return Turn::Exit(reason);
            }
            self.take_over(task);
            if *self.budget == 0 {
                self.mailbox.release(self.finished);
                return Turn::Yield;
            }
            if self.items.has_waits() || self.ctx.has_new_waits() {
                if self.waits_on(task) {
                    return Turn::Parked;
                }
                continue;
            }
            match self.items.poll_woken(self.actor, self.ctx, self.budget) {
                Woken::None => {}
                Woken::Polled => continue,
                Woken::Reentrant(handle) => return Turn::Lend(Borrower::Woken(handle)),
            }
            if has_to_finish {
                self.mailbox.park(std::mem::take(self.finished), task.waker());
                if self.has_to_finish() {
                    return Turn::Parked;
                }
                continue;
            }
            if self.batch.is_empty() {
                let finished = std::mem::take(self.finished);
                let taken = Taken { finished, awaiting: self.items.reentrant() };
                self.mailbox.refill(taken, self.batch, task.waker());
            }
            self.ctx.poll_inlet(task);
            if self.batch.is_empty() && !self.ctx.has_inlet() {
                match self.rest() {
                    Some(turn) => return turn,
                    None => continue,
                }
            }
            self.handle_batch();
            self.handle_inlet();
        }
    }

    /// Takes over what the last turns left: messages put back, futures, and cancelled ones.
    fn take_over(&mut self, task: &Context<'_>) {
        if let Some(back) = self.ctx.take_put_back() {
            put_back(back, self.batch, self.mailbox);
        }
        let spawned = self.ctx.take_spawned();
        if !spawned.is_empty() {
            spawned.into_iter().for_each(|spawned| self.items.add(spawned));
            self.items.set_parent(task.waker());
        }
        for cancelled in self.ctx.take_cancelled() {
            drop(self.items.cancel(cancelled));
        }
    }

    /// Whether the actor waits for a future, and there is nothing else to do.
    fn waits_on(&mut self, task: &mut Context<'_>) -> bool {
        self.ctx.turns().begin(Doing::Wait);
        let polled = self.items.poll_waits(self.actor, self.ctx, self.budget, task);
        if polled.is_ready() {
            self.ctx.note_handled();
            return false;
        }
        self.mailbox.park(std::mem::take(self.finished), task.waker());
        matches!(self.mailbox.signalled(), Signal::None | Signal::Passivate | Signal::HandOver)
    }

    /// Whether it goes to another node, and something that it has begun has to end first. It begins nothing
    /// else.
    fn has_to_finish(&self) -> bool {
        let has_begun = || {
            self.items.reentrant() > 0
                || self.items.has_waits()
                || self.ctx.has_new_waits()
                || self.ctx.has_repeatable_runs()
        };
        self.mailbox.signalled() == Signal::HandOver && has_begun()
    }

    /// Nothing is queued: what the poll comes to, unless there is more to do.
    fn rest(&mut self) -> Option<Turn> {
        let has_more = self.items.has_woken() || self.ctx.has_spawned();
        let is_idle = self.items.is_idle() && !self.ctx.has_aside();
        match self.mailbox.signalled() {
            // A sweep found it idle, and a message has come since.
            Signal::Passivate if self.mailbox.decline_if_used() => {}
            Signal::None if !has_more => return Some(Turn::Parked),
            Signal::Passivate if !is_idle && !has_more => return Some(Turn::Parked),
            Signal::Passivate if !is_idle => {}
            Signal::Passivate if self.mailbox.close_if_empty(RejectReason::Passivated) => {
                stop_hooks(self.actor, self.ctx);
                return Some(Turn::Exit(ExitReason::Passivated));
            }
            // Somebody waits for room, or a message has just come: not idle after all.
            Signal::Passivate if self.mailbox.decline_if_swept() || has_more => {}
            // Whoever asked outright gets it once they have been served, which wakes this one.
            Signal::Passivate => return Some(Turn::Parked),
            _ => {}
        }
        None
    }

    fn handle_batch(&mut self) {
        let mut has_run = false;
        while *self.budget > 0 && !self.ctx.must_pause() {
            let Some(envelope) = self.batch.pop_front() else { break };
            *self.budget -= 1;
            // Counted before its turn, which may unwind.
            match self.ctx.turn_of(envelope) {
                Turned::Held => continue,
                Turned::Runs(envelope) => {
                    has_run = true;
                    // What has a place of its own takes none of the capacity.
                    *self.finished += usize::from(!envelope.is_reserved());
                    self.ctx.turns().begin_message(envelope.message());
                    envelope.handle(self.actor, self.ctx);
                }
                Turned::Displaces(held) => {
                    *self.finished += 1;
                    held.end(self.mailbox, self.ctx.core().dead_letters());
                }
            }
            if self.mailbox.signalled() > Signal::Passivate || self.ctx.has_put_back() {
                break;
            }
        }
        if has_run {
            self.ctx.note_handled();
        }
    }

    fn handle_inlet(&mut self) {
        while *self.budget > 0 && self.ctx.has_inlet() && !self.ctx.must_pause() {
            *self.budget -= 1;
            self.ctx.turns().begin_message(None);
            self.ctx.handle_inlet(self.actor);
            self.ctx.note_handled();
        }
    }
}

/// Puts messages at the head of what the activation has taken.
pub(super) fn put_back<A: RemoteActor>(
    back: PutBack<A>,
    batch: &mut VecDeque<BoxEnvelope<A>>,
    mailbox: &Mailbox<A>,
) {
    mailbox.take_again(back.uncounted);
    for envelope in back.messages.into_iter().rev() {
        batch.push_front(envelope);
    }
}

/// Whether the instance is to end now: told from outside, or by itself.
fn check_end<A: RemoteActor>(
    mailbox: &Mailbox<A>,
    actor: &mut A,
    ctx: &mut ClusterContext<A>,
) -> Option<ExitReason> {
    let told = match mailbox.signalled() {
        Signal::None | Signal::Passivate => None,
        Signal::Kill | Signal::KillForGood => return Some(ExitReason::Killed),
        Signal::Halt => {
            // Told once. One that declines ends by itself in time, or is killed at its deadline.
            mailbox.clear_signal(Signal::Halt);
            actix::ActorContext::stop(ctx);
            None
        }
        Signal::Linked => match linked(mailbox) {
            Some(reason) => return Some(reason),
            None => None,
        },
        Signal::Stop => Some(ExitReason::Stopped),
        Signal::HandOver if !pack(mailbox, actor, ctx) => {
            // Told again by and by.
            mailbox.clear_signal(Signal::HandOver);
            None
        }
        Signal::HandOver => Some(ExitReason::Moved),
        Signal::Move if !pack(mailbox, actor, ctx) && ctx.core().may_keep(mailbox) => {
            mailbox.clear_signal(Signal::HandOver);
            mailbox.clear_signal(Signal::Move);
            None
        }
        Signal::Move => Some(ExitReason::Moved),
        Signal::NodeStop => Some(ExitReason::NodeStopped),
    };
    if let Some(reason) = told {
        stop_hooks(actor, ctx);
        return Some(reason);
    }
    match ctx_state(ctx) {
        _ if ctx.has_failed() => Some(ExitReason::Stopped),
        ActorState::Started | ActorState::Running => None,
        ActorState::Stopping => {
            ctx.turns().begin(Doing::Ending);
            // One that has failed does not go on, whatever it says.
            if actor.stopping(ctx) == Answer::Continue && !ctx.has_failed() {
                ctx.set_state(ActorState::Running);
                return None;
            }
            ctx.set_state(ActorState::Stopped);
            actor.stopped(ctx);
            Some(ExitReason::Stopped)
        }
        ActorState::Stopped => {
            actor.stopped(ctx);
            Some(ExitReason::Stopped)
        }
    }
}

/// What is to go along with an entity that moves is packed. Returns whether it may end.
fn pack<A: RemoteActor>(mailbox: &Mailbox<A>, actor: &mut A, ctx: &mut ClusterContext<A>) -> bool {
    let core = Arc::clone(ctx.core());
    core.pack(mailbox, actor, ctx)
}

/// Why the instance fails with one that it is linked to. Told once; what was meant for the instance
/// before is forgotten, and says nothing.
pub(super) fn linked<A: RemoteActor>(mailbox: &Mailbox<A>) -> Option<ExitReason> {
    mailbox.clear_signal(Signal::Linked);
    mailbox.failing().map(|reason| ExitReason::Linked { reason })
}

fn ctx_state<A: RemoteActor>(ctx: &ClusterContext<A>) -> ActorState {
    actix::ActorContext::state(ctx)
}

/// Runs both hooks; what was told from outside can't be declined.
fn stop_hooks<A: RemoteActor>(actor: &mut A, ctx: &mut ClusterContext<A>) {
    ctx.turns().begin(Doing::Ending);
    ctx.set_state(ActorState::Stopping);
    let _declined = actor.stopping(ctx);
    ctx.set_state(ActorState::Stopped);
    actor.stopped(ctx);
}
