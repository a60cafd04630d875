//! The futures and streams an actor runs beside its messages.
//!
//! Invariant: only a future that was woken is polled. Each has a waker of its own, so an actor
//! with a thousand timers does the work of the one that fired.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use actix::{Actor, ActorContext, SpawnHandle, fut::ActorFuture};

use super::{ClusterContext, loan::Handling, turns::Doing};
use crate::{
    call::{Travelling, chain::Link, current::Current},
    node::Sender,
    remote_actor::RemoteActor,
};

pub(crate) type ItemFuture<A> = Pin<Box<dyn ActorFuture<A, Output = ()>>>;

/// The name of the message that left a future behind, if one did.
pub(crate) type Behalf = Option<&'static &'static str>;

/// Whether a future keeps its actor from being passivated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Work in progress: it does.
    Work,
    /// A timer: it does not.
    Timer,
}

pub(crate) struct Spawned<A: Actor> {
    pub(crate) handle: SpawnHandle,
    pub(crate) kind: Kind,
    pub(crate) behalf: Behalf,
    /// What came along with the message that left it behind.
    pub(crate) travels: Travelling,
    pub(crate) future: ItemFuture<A>,
}

/// A future that is to end before the next message has its turn.
pub(crate) struct Waited<A: Actor> {
    pub(crate) behalf: Behalf,
    /// What is current while it is polled: its actor does nothing else.
    pub(crate) current: Current,
    pub(crate) future: ItemFuture<A>,
}

/// What a poll needs to be given.
pub(crate) enum Work<A: Actor> {
    /// Instance and context, by reference.
    Future(ItemFuture<A>),
    /// The instance at home, where the message's handler reaches it.
    Reentrant(Handling, Option<Sender>),
}

/// What became of the woken futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There was none, or none that may be polled.
    None,
    /// Some were polled.
    Polled,
    /// The next one is a reentrant message, which is to be polled by
    /// [`poll_reentrant`](Items::poll_reentrant).
    Reentrant(usize),
}

/// All that an actor runs beside its messages. It takes no room before the first of it: most actors
/// have none.
pub(crate) struct Items<A: Actor>(Option<Box<Table<A>>>);

struct Table<A: Actor> {
    items: BTreeMap<usize, Item<A>>,
    /// How many of them are [`Kind::Work`].
    work: usize,
    /// How many of those are reentrant messages.
    reentrant: usize,
    ready: Arc<Ready>,
    /// Futures that the actor waits for, the newest last.
    waits: Vec<Waited<A>>,
}

impl<A: Actor> Default for Table<A> {
    fn default() -> Self {
        let (items, ready, waits) = (BTreeMap::new(), Arc::default(), Vec::new());
        Self { items, work: 0, reentrant: 0, ready, waits }
    }
}

struct Item<A: Actor> {
    kind: Kind,
    behalf: Behalf,
    travels: Travelling,
    future: Work<A>,
    waker: Waker,
    state: Arc<ItemWaker>,
}

#[derive(Default)]
struct Ready(Mutex<ReadyState>);

#[derive(Default)]
struct ReadyState {
    woken: VecDeque<usize>,
    parent: Option<Waker>,
}

struct ItemWaker {
    handle: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl<A: Actor<Context = ClusterContext<A>>> Items<A> {
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// Whether nothing but timers is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(|table| table.work == 0)
    }

    /// Adds a future, to be polled soon. Then [`set_parent`](Self::set_parent) is to follow.
    pub(crate) fn add(&mut self, spawned: Spawned<A>) {
        let Spawned { handle, kind, behalf, travels, future } = spawned;
        let (handle, table) = (handle.into_usize(), self.table());
        table.insert(handle, kind, behalf, travels, Work::Future(future));
        table.ready.lock().woken.push_back(handle);
    }

    /// Adds a reentrant message, to be polled at once by its handle. Then
    /// [`set_parent`](Self::set_parent) is to follow.
    pub(crate) fn add_reentrant(
        &mut self,
        handle: SpawnHandle,
        (sender, behalf): (Option<Sender>, Behalf),
        handling: Handling,
    ) -> usize {
        let (handle, table) = (handle.into_usize(), self.table());
        table.reentrant += 1;
        // Its future knows itself what came along.
        table.insert(handle, Kind::Work, behalf, None, Work::Reentrant(handling, sender));
        handle
    }

    fn table(&mut self) -> &mut Table<A> {
        self.0.get_or_insert_default()
    }

    fn item(&mut self, handle: usize) -> Option<&mut Item<A>> {
        self.0.as_mut()?.items.get_mut(&handle)
    }

    /// Whose turn goes on when a reentrant message is polled.
    pub(crate) fn turn_of(&self, handle: usize) -> (Option<Sender>, Behalf) {
        match self.0.as_ref().and_then(|table| table.items.get(&handle)) {
            Some(Item { behalf, future: Work::Reentrant(_, sender), .. }) => (*sender, *behalf),
            Some(Item { behalf, .. }) => (None, *behalf),
            None => (None, None),
        }
    }

    /// Drops a future.
    pub(crate) fn cancel(&mut self, handle: SpawnHandle) -> Option<Work<A>> {
        self.0.as_mut()?.remove(handle.into_usize())
    }

    /// How many reentrant messages have not ended.
    pub(crate) fn reentrant(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.reentrant)
    }

    /// Gives up all futures.
    pub(crate) fn take_all(&mut self) -> (Vec<Work<A>>, Vec<Waited<A>>) {
        let Some(table) = self.0.take() else { return (Vec::new(), Vec::new()) };
        let Table { items, waits, .. } = *table;
        (items.into_values().map(|item| item.future).collect(), waits)
    }

    /// Whom to wake when a future is woken.
    pub(crate) fn set_parent(&self, waker: &Waker) {
        let Some(table) = &self.0 else { return };
        let mut ready = table.ready.lock();
        match &mut ready.parent {
            Some(parent) => parent.clone_from(waker),
            None => ready.parent = Some(waker.clone()),
        }
    }

    /// Polls woken futures until none is left, the budget is used up, the actor is to wait or to
    /// stop, or the next one is a reentrant message.
    pub(crate) fn poll_woken(
        &mut self,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        budget: &mut u32,
    ) -> Woken {
        match &mut self.0 {
            Some(table) if !table.items.is_empty() => table.poll_woken(actor, ctx, budget),
            Some(_) | None => Woken::None,
        }
    }

    /// Polls a reentrant message, whose instance is at home. Returns whether it has ended.
    pub(crate) fn poll_reentrant(&mut self, handle: usize) -> bool {
        let Some(item) = self.item(handle) else { return false };
        let Work::Reentrant(handling, _) = &mut item.future else { return false };
        item.state.begin_poll();
        let has_ended = handling.as_mut().poll(&mut Context::from_waker(&item.waker)).is_ready();
        if has_ended {
            drop(self.table().remove(handle));
        }
        has_ended
    }

    /// Whether a woken future waits for its poll.
    pub(crate) fn has_woken(&self) -> bool {
        let has_woken =
            |table: &Table<A>| !table.items.is_empty() && !table.ready.lock().woken.is_empty();
        self.0.as_deref().is_some_and(has_woken)
    }

    /// Whether the actor waits for a future.
    pub(crate) fn has_waits(&self) -> bool {
        self.0.as_ref().is_some_and(|table| !table.waits.is_empty())
    }

    /// Polls the newest future that the actor waits for; `Ready` once there is none, or the budget is
    /// used up.
    pub(crate) fn poll_waits(
        &mut self,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        budget: &mut u32,
        task: &mut Context<'_>,
    ) -> Poll<()>
    where
        A: RemoteActor,
    {
        let waits = &mut self.table().waits;
        while *budget > 0 {
            waits.append(&mut ctx.take_new_waits());
            let Some(newest) = waits.last_mut() else { return Poll::Ready(()) };
            if !ctx.state().alive() {
                return Poll::Ready(());
            }
            *budget -= 1;
            ctx.set_behalf(newest.behalf);
            let entered = newest.current.enter_waiting(|| Link::new(ctx.core(), &ctx.mailbox()));
            let polled = newest.future.as_mut().poll(actor, ctx, task);
            drop(entered);
            ctx.set_behalf(None);
            match polled {
                Poll::Ready(()) => drop(waits.pop()),
                Poll::Pending if ctx.has_new_waits() || !ctx.state().alive() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

impl<A: Actor<Context = ClusterContext<A>>> Table<A> {
    fn insert(
        &mut self,
        handle: usize,
        kind: Kind,
        behalf: Behalf,
        travels: Travelling,
        future: Work<A>,
    ) {
        self.work += usize::from(kind == Kind::Work);
        let state = Arc::new(ItemWaker {
            handle,
            queued: AtomicBool::new(true),
            ready: Arc::clone(&self.ready),
        });
        let waker = Waker::from(Arc::clone(&state));
        self.items.insert(handle, Item { kind, behalf, travels, future, waker, state });
    }

    fn remove(&mut self, handle: usize) -> Option<Work<A>> {
        let item = self.items.remove(&handle)?;
        self.work -= usize::from(item.kind == Kind::Work);
        self.reentrant -= usize::from(matches!(item.future, Work::Reentrant(..)));
        Some(item.future)
    }

    fn poll_woken(
        &mut self,
        actor: &mut A,
        ctx: &mut ClusterContext<A>,
        budget: &mut u32,
    ) -> Woken {
        let mut polled = Woken::None;
        while *budget > 0 && !ctx.must_pause() {
            let Some(handle) = self.ready.lock().woken.pop_front() else { break };
            let Some(item) = self.items.get_mut(&handle) else { continue };
            *budget -= 1;
            let Work::Future(future) = &mut item.future else { return Woken::Reentrant(handle) };
            item.state.begin_poll();
            polled = Woken::Polled;
            ctx.set_running(handle);
            ctx.turns().begin(match item.kind {
                Kind::Work => Doing::Future,
                Kind::Timer => Doing::Timer,
            });
            ctx.set_behalf(item.behalf);
            let mut task = Context::from_waker(&item.waker);
            let entered = Current::enter(&item.travels);
            let done = future.as_mut().poll(actor, ctx, &mut task);
            drop(entered);
            ctx.set_running(0);
            ctx.set_behalf(None);
            if done.is_ready() || ctx.state() == actix::ActorState::Stopped {
                drop(self.remove(handle));
            }
            for cancelled in ctx.take_cancelled() {
                drop(self.remove(cancelled.into_usize()));
            }
        }
        polled
    }
}

impl Ready {
    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ItemWaker {
    /// Whoever wakes it from here on queues it again. Not a mere store: what has woken it before is to be
    /// seen by the poll, and what is done after the poll has looked is to see this.
    fn begin_poll(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for ItemWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut ready = self.ready.lock();
        ready.woken.push_back(self.handle);
        let parent = ready.parent.clone();
        drop(ready);
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}
