//! The part of an activation that lends its instance to handlers that await.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use super::{Activation, Phase};
use crate::{
    actor::{
        loan::{Begun, Handling, Home, Instance, Lent},
        mailbox::{Mailbox, Signal},
        panic::{self, Panic},
        turns::Doing,
    },
    message::WireId,
    remote_actor::RemoteActor,
};

/// An instance that is lent.
pub(super) struct Loan<A: RemoteActor> {
    home: Rc<Home<A>>,
    /// The handler that holds it until it ends; `None` if it is lent for one poll.
    holder: Option<Holder>,
}

/// A handler that holds its actor.
struct Holder {
    message: WireId,
    handling: Handling,
    /// Whether it was polled: a signal takes effect at its awaits, not before its turn.
    begun: bool,
}

/// Who borrows an instance.
pub(super) enum Borrower {
    /// The message whose turn has just begun.
    Begun,
    /// A reentrant message that was woken.
    Woken(usize),
}

impl<A: RemoteActor> Activation<A> {
    /// Lends the instance.
    pub(super) fn lend(&mut self, to: Borrower) {
        let home = self.ctx.home();
        let handle = match to {
            Borrower::Woken(handle) => {
                self.ctx.turns().begin(Doing::Future);
                handle
            }
            Borrower::Begun => match self.ctx.take_begun() {
                Some(Begun::Exclusive(message, begin)) => {
                    self.finished -= 1;
                    let Some(instance) = self.move_out() else { return };
                    let handling = begin(Lent::new(instance, Rc::clone(&home)));
                    let holder = Some(Holder { message, handling, begun: false });
                    self.phase = Phase::Lent(Loan { home, holder });
                    return;
                }
                Some(Begun::Reentrant(handling)) => {
                    self.finished -= 1;
                    let (handle, turn) = (self.ctx.next_handle(), self.ctx.take_turn());
                    self.items.add_reentrant(handle, turn, handling)
                }
                None => return,
            },
        };
        self.ctx.set_turn(self.items.turn_of(handle));
        let Some(instance) = self.move_out() else { return };
        home.put(instance);
        self.phase = Phase::Lent(Loan { home, holder: None });
        match panic::catch(|| self.items.poll_reentrant(handle)) {
            Ok(has_ended) => {
                self.finished += usize::from(has_ended);
                self.resume();
            }
            Err(panic) => self.fail(panic),
        }
    }

    /// Goes on with an instance that was lent: the turn is over, or the poll.
    pub(super) fn resume(&mut self) {
        match self.recall() {
            Ok(()) => {
                self.ctx.end_turn();
                self.ctx.note_handled();
            }
            Err(panic) => self.fail(panic),
        }
    }

    /// Polls the handler that holds the instance. Ready when the instance is back.
    pub(super) fn poll_lent(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Phase::Lent(Loan { holder: Some(holder), .. }) = &mut self.phase else {
            return Poll::Ready(());
        };
        let awaits = std::mem::replace(&mut holder.begun, true);
        if awaits && is_told(&self.mailbox) {
            return Poll::Ready(());
        }
        self.ctx.turns().begin_message(Some(holder.message));
        if holder.handling.as_mut().poll(task).is_ready() {
            return Poll::Ready(());
        }
        // Parked first: a signal raised in between wakes this task again.
        self.mailbox.park(std::mem::take(&mut self.finished), task.waker());
        if is_told(&self.mailbox) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes the instance back, and drops the handler that held it, if any.
    pub(super) fn recall(&mut self) -> Result<(), Panic> {
        let Phase::Lent(loan) = &mut self.phase else { return Ok(()) };
        let holder = loan.holder.take();
        let home = Rc::clone(&loan.home);
        self.finished += usize::from(holder.is_some());
        // The handler's own values may panic when they are dropped; the instance comes home even so.
        let dropped = panic::catch(|| drop(holder));
        let Instance { actor, ctx } = home.take().expect("a lent instance comes home");
        self.ctx = ctx;
        self.phase = Phase::Running(actor);
        dropped
    }

    /// Takes the running instance out, with its context. Another stands in for that meanwhile.
    fn move_out(&mut self) -> Option<Instance<A>> {
        let stand_in = self.ctx.stand_in();
        match std::mem::replace(&mut self.phase, Phase::Starting) {
            Phase::Running(actor) => {
                Some(Instance { actor, ctx: std::mem::replace(&mut self.ctx, stand_in) })
            }
            other => {
                self.phase = other;
                None
            }
        }
    }
}

/// Whether the instance is to come back for what it is told from outside.
fn is_told<A: RemoteActor>(mailbox: &Mailbox<A>) -> bool {
    match mailbox.signalled() {
        Signal::None | Signal::Passivate | Signal::HandOver => false,
        // Meant for the instance before.
        Signal::Linked if mailbox.failing().is_none() => {
            mailbox.clear_signal(Signal::Linked);
            is_told(mailbox)
        }
        _ => true,
    }
}
