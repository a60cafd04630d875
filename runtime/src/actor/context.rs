//! What a handler is given: the actor's own end of its mailbox, timers, futures and node.
//!
//! One context serves all instances of an actor, one after the other; what belongs to an instance
//! (its futures, its waits) is dropped with it.

use std::{cell::OnceCell, error::Error, fmt, rc::Rc, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle,
    dev::{Envelope, ToEnvelope},
    fut::ActorFuture,
};
use actix_cluster_transport::Clock;
use tokio::sync::oneshot;

use super::{
    aside::Aside,
    failure,
    inlet::{self, Inlet},
    items::{Behalf, Kind, Spawned, Waited},
    loan::{Begun, Home},
    mailbox::{ActorId, Mailbox},
    repeats::Repeats,
    timer::{Every, Later, deliver},
    timers,
    turns::TurnCell,
};
use crate::{
    call::current::{self, Current},
    handler::pipe::Pipe,
    node::{EntityKey, Node, NodeCore, Sender},
    reference::ActorRef,
    remote_actor::RemoteActor,
    watch::Watching,
};

/// The context of an actor that a [`Node`] runs.
///
/// It does all that `actix::Context` does (futures, streams, waits, timers, `stop`), and is driven
/// by our own supervised future: a panic drops the instance and keeps the mailbox, a turn's budget
/// keeps one actor from starving its arbiter, timers follow the node's clock.
///
/// [`AsyncContext::address`] is for actix code that needs an `Addr`, as is
/// [`SpawnBuilder::start_with_addr`](crate::SpawnBuilder::start_with_addr): what is sent there passes
/// by the mailbox's bound and order, so it is drained with a cap of
/// [`INLET_LIMIT`](Self::INLET_LIMIT) messages at a time, beyond which each is a counted dead
/// letter. Everything else goes through [`actor_ref`](Self::actor_ref).
pub struct ClusterContext<A: Actor> {
    pub(super) mailbox: Arc<Mailbox<A>>,
    turns: Arc<TurnCell>,
    state: ActorState,
    /// There while the instance has asked for something that the activation has not taken over.
    requested: Option<Box<Requested<A>>>,
    last_handle: SpawnHandle,
    running: usize,
    /// Whose turn it is, if a message has one: whether its sender will hear how it ended.
    in_hand: Option<Sender>,
    /// The name of the message on whose behalf code runs: in its turn, or in a future that it left.
    behalf: Behalf,
    /// What the instance failed with, if it said so itself.
    failure: Option<Box<str>>,
    pub(super) inlet: OnceCell<Box<Inlet<A>>>,
    /// What the instance watches and is linked to.
    watching: Option<Box<Watching>>,
    pub(super) aside: Option<Box<Aside<A>>>,
    /// Its timers with keys.
    pub(super) timers: Option<Box<timers::Table>>,
    /// What it remembers of asks that may come more than once.
    pub(super) repeats: Option<Box<Repeats>>,
    lending: OnceCell<Box<Lending<A>>>,
}

/// What an instance has asked for.
struct Requested<A: Actor> {
    spawned: Vec<Spawned<A>>,
    waits: Vec<Waited<A>>,
    cancelled: Vec<SpawnHandle>,
}

impl<A: Actor> Default for Requested<A> {
    fn default() -> Self {
        Self { spawned: Vec::new(), waits: Vec::new(), cancelled: Vec::new() }
    }
}

/// What it takes to have messages that await.
struct Lending<A: Actor> {
    home: Rc<Home<A>>,
    /// A message whose turn has begun, for the activation to go on with at once.
    begun: Option<Begun<A>>,
}

/// What an instance had asked for and not seen begin.
pub(crate) struct Remains<A: Actor> {
    pub(crate) spawned: Vec<Spawned<A>>,
    pub(crate) waits: Vec<Waited<A>>,
    pub(crate) begun: Option<Begun<A>>,
}

impl<A: Actor> ClusterContext<A> {
    /// How many messages from actix addresses may wait at a time.
    pub const INLET_LIMIT: usize = inlet::LIMIT;

    /// The actor's number on its node.
    pub fn id(&self) -> ActorId {
        self.mailbox.id()
    }

    /// The key, if the actor is an entity.
    pub fn key(&self) -> Option<&str> {
        self.mailbox.entity().map(EntityKey::as_str)
    }

    /// The node the actor runs on.
    pub fn node(&self) -> Node {
        Node::from_core(Arc::clone(self.mailbox.core()))
    }

    /// The clock that the actor's timers follow.
    pub fn clock(&self) -> &Clock {
        self.mailbox.core().clock()
    }

    /// Ends the activation once there is nothing more to do: no message in the mailbox, nobody
    /// waiting for room. An entity's next message activates it again.
    pub fn passivate(&mut self) {
        self.mailbox.signal_passivate();
    }

    /// Ends this instance as a failure, as a panic would, and without one: once the current turn or
    /// poll has returned, the instance and its futures are dropped, no hook runs, and whoever
    /// supervises the actor decides. The message in hand is answered as its handler says. The first
    /// error counts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// # fn example<A: RemoteActor>(ctx: &mut ClusterContext<A>, read: std::io::Result<u64>) {
    /// match read {
    ///     Ok(_) => {}
    ///     // A fresh instance may find the disk in a better state.
    ///     Err(error) => ctx.fail(error),
    /// }
    /// # }
    /// ```
    pub fn fail(&mut self, error: impl Into<Box<dyn Error>>) {
        if self.failure.is_none() {
            self.failure = Some(failure::text_of(&*error.into()).into());
        }
        self.state = ActorState::Stopped;
    }
}

impl<A: RemoteActor> ClusterContext<A> {
    /// A reference to this actor that can be sent anywhere.
    pub fn actor_ref(&self) -> ActorRef<A> {
        ActorRef::local(Arc::clone(&self.mailbox))
    }
}

impl<A: RemoteActor> ClusterContext<A> {
    /// Runs a future beside the actor's messages, and has its result come back as one of them.
    ///
    /// The message takes its place in the mailbox once the future is ready, behind those that came
    /// before, and within the mailbox's bound: when that is full it waits for room with the other
    /// senders, for as long as the instance lives, or is treated as the mailbox's
    /// [`Overflow`](crate::Overflow) policy says. It need not be a remote message. Future and message
    /// end with the instance; a panic in either fails it; until then the actor isn't passivated.
    /// [`cancel_future`](AsyncContext::cancel_future) takes the handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::prelude::*;
    ///
    /// #[derive(Message)]
    /// #[rtype(result = "()")]
    /// struct Fetched(Result<Vec<u8>, std::io::Error>);
    ///
    /// #[derive(RemoteActor)]
    /// #[remote(name = "web.Page", handles())]
    /// struct Page(Vec<u8>);
    ///
    /// # async fn fetch() -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
    /// impl Actor for Page {
    ///     type Context = ClusterContext<Self>;
    ///
    ///     fn started(&mut self, ctx: &mut Self::Context) {
    ///         ctx.pipe_to_self(fetch(), Fetched);
    ///     }
    /// }
    ///
    /// impl Handler<Fetched> for Page {
    ///     type Result = ();
    ///     fn handle(&mut self, Fetched(bytes): Fetched, _: &mut Self::Context) {
    ///         self.0 = bytes.unwrap_or_default();
    ///     }
    /// }
    /// ```
    pub fn pipe_to_self<F, M>(
        &mut self,
        future: F,
        into_message: impl FnOnce(F::Output) -> M + 'static,
    ) -> SpawnHandle
    where
        A: Handler<M>,
        F: Future + 'static,
        M: Message + Send + 'static,
    {
        let pipe = Pipe::new(self.mailbox(), future, into_message);
        self.push(Kind::Work, pipe)
    }
}

/// For the activation.
impl<A: Actor<Context = Self>> ClusterContext<A> {
    pub(crate) fn new(mailbox: Arc<Mailbox<A>>, turns: Arc<TurnCell>) -> Self {
        Self {
            mailbox,
            turns,
            state: ActorState::Started,
            requested: None,
            last_handle: SpawnHandle::default(),
            running: 0,
            in_hand: None,
            behalf: None,
            failure: None,
            inlet: OnceCell::new(),
            watching: None,
            aside: None,
            timers: None,
            repeats: None,
            lending: OnceCell::new(),
        }
    }

    pub(crate) fn watching(&mut self) -> &mut Option<Box<Watching>> {
        &mut self.watching
    }

    /// An empty context of the same actor, for as long as this one is elsewhere.
    pub(crate) fn stand_in(&self) -> Self {
        Self::new(Arc::clone(&self.mailbox), Arc::clone(&self.turns))
    }

    /// Where the handlers of reentrant messages find the instance.
    pub(crate) fn home(&self) -> Rc<Home<A>> {
        Rc::clone(&self.lending().home)
    }

    fn lending(&self) -> &Lending<A> {
        self.lending.get_or_init(|| Box::new(Lending { home: Rc::default(), begun: None }))
    }

    /// Leaves the rest of a message's turn to the activation, before anything else of the actor runs.
    pub(crate) fn begin(&mut self, begun: Begun<A>) {
        self.lending();
        if let Some(lending) = self.lending.get_mut() {
            debug_assert!(lending.begun.is_none(), "one turn begins after the other");
            lending.begun = Some(begun);
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.lending.get().is_some_and(|lending| lending.begun.is_some())
    }

    pub(crate) fn take_begun(&mut self) -> Option<Begun<A>> {
        self.lending.get_mut()?.begun.take()
    }

    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        self.mailbox.core()
    }

    pub(crate) fn mailbox(&self) -> Arc<Mailbox<A>> {
        Arc::clone(&self.mailbox)
    }

    /// Where it is written down what the actor does.
    pub(crate) fn turns(&self) -> &TurnCell {
        &self.turns
    }

    pub(crate) fn panics(&self) -> u32 {
        self.mailbox.panics()
    }

    pub(crate) fn set_state(&mut self, state: ActorState) {
        self.state = state;
    }

    pub(crate) fn set_running(&mut self, handle: usize) {
        self.running = handle;
    }

    pub(crate) fn begin_turn(&mut self, message: Behalf, sender: Sender) {
        (self.in_hand, self.behalf) = (Some(sender), message);
    }

    pub(crate) fn end_turn(&mut self) {
        (self.in_hand, self.behalf) = (None, None);
    }

    /// Ends a turn, unless a handler goes on with it.
    pub(crate) fn end_turn_unless_begun(&mut self) {
        if !self.has_begun() {
            self.end_turn();
        }
    }

    /// Goes on with a turn.
    pub(crate) fn set_turn(&mut self, (sender, behalf): (Option<Sender>, Behalf)) {
        (self.in_hand, self.behalf) = (sender, behalf);
    }

    pub(crate) fn set_behalf(&mut self, behalf: Behalf) {
        self.behalf = behalf;
    }

    /// Whose turn was cut short, and on whose behalf.
    pub(crate) fn take_turn(&mut self) -> (Option<Sender>, Behalf) {
        (self.in_hand.take(), self.behalf.take())
    }

    /// Whether the instance failed, and said so itself.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// What it failed with.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take().map(String::from)
    }

    /// Whether futures and messages have to wait: for a future that is to end first, or for ever.
    pub(crate) fn must_pause(&self) -> bool {
        self.has_new_waits() || !self.state.alive() || self.has_begun()
    }

    pub(crate) fn take_spawned(&mut self) -> Vec<Spawned<A>> {
        self.take_requested(|requested| &mut requested.spawned)
    }

    pub(crate) fn has_spawned(&self) -> bool {
        self.requested.as_ref().is_some_and(|requested| !requested.spawned.is_empty())
    }

    pub(crate) fn take_new_waits(&mut self) -> Vec<Waited<A>> {
        self.take_requested(|requested| &mut requested.waits)
    }

    pub(crate) fn has_new_waits(&self) -> bool {
        self.requested.as_ref().is_some_and(|requested| !requested.waits.is_empty())
    }

    pub(crate) fn take_cancelled(&mut self) -> Vec<SpawnHandle> {
        self.take_requested(|requested| &mut requested.cancelled)
    }

    /// Takes all of one kind, and the room of all kinds with the last of them.
    fn take_requested<T>(&mut self, kind: impl FnOnce(&mut Requested<A>) -> &mut Vec<T>) -> Vec<T> {
        let Some(requested) = &mut self.requested else { return Vec::new() };
        let taken = std::mem::take(kind(requested));
        let Requested { spawned, waits, cancelled } = &**requested;
        if spawned.is_empty() && waits.is_empty() && cancelled.is_empty() {
            self.requested = None;
        }
        taken
    }

    /// Makes ready for a fresh instance; the caller drops what is returned under its own guard.
    pub(crate) fn reset(&mut self) -> Remains<A> {
        self.state = ActorState::Started;
        self.running = 0;
        self.failure = None;
        self.timers = None;
        self.repeats = None;
        let Requested { spawned, waits, .. } = *self.requested.take().unwrap_or_default();
        Remains { spawned, waits, begun: self.take_begun() }
    }

    /// Adds a timer that is told its own handle.
    pub(super) fn spawn_timer<F>(&mut self, make: impl FnOnce(SpawnHandle) -> F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let timer = make(self.last_handle.next());
        self.push(Kind::Timer, timer)
    }

    fn push<F>(&mut self, kind: Kind, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let handle = self.next_handle();
        let (behalf, future) = (self.behalf, Box::pin(future));
        let travels = current::travelling();
        self.requested().spawned.push(Spawned { handle, kind, behalf, travels, future });
        handle
    }

    fn requested(&mut self) -> &mut Requested<A> {
        self.requested.get_or_insert_default()
    }

    pub(crate) fn next_handle(&mut self) -> SpawnHandle {
        self.last_handle = self.last_handle.next();
        self.last_handle
    }
}

impl<A: Actor<Context = Self>> ActorContext for ClusterContext<A> {
    fn stop(&mut self) {
        if self.state.alive() {
            self.state = ActorState::Stopping;
        }
    }

    fn terminate(&mut self) {
        self.state = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.state
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for ClusterContext<A> {
    fn address(&self) -> Addr<A> {
        self.inlet.get_or_init(Inlet::new).addr()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.push(Kind::Work, future)
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let current = Current::of(current::travelling());
        let waited = Waited { behalf: self.behalf, current, future: Box::pin(future) };
        self.requested().waits.push(waited);
    }

    fn waiting(&self) -> bool {
        self.must_pause()
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        let Requested { spawned, cancelled, .. } = self.requested();
        match spawned.iter().position(|spawned| spawned.handle == handle) {
            Some(at) => drop(spawned.remove(at)),
            None => cancelled.push(handle),
        }
        true
    }

    fn notify_later<M>(&mut self, msg: M, after: Duration) -> SpawnHandle
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        self.run_later(after, deliver(msg))
    }

    fn run_later<F>(&mut self, after: Duration, run: F) -> SpawnHandle
    where
        F: FnOnce(&mut A, &mut Self) + 'static,
    {
        let timer = Later::new(self.mailbox.core().clock(), after, run);
        self.push(Kind::Timer, timer)
    }

    fn run_interval<F>(&mut self, period: Duration, run: F) -> SpawnHandle
    where
        F: FnMut(&mut A, &mut Self) + 'static,
    {
        let timer = Every::new(self.mailbox.core().clock(), period, run);
        self.push(Kind::Timer, timer)
    }
}

impl<A, M> ToEnvelope<A, M> for ClusterContext<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: Message<Result: Send> + Send + 'static,
{
    fn pack(msg: M, reply: Option<oneshot::Sender<M::Result>>) -> Envelope<A> {
        Envelope::new(msg, reply)
    }
}

impl<A: Actor> fmt::Debug for ClusterContext<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterContext")
            .field("id", &self.mailbox.id())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
