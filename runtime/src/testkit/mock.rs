//! Actors that answer by a closure.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::Actor;

use crate::{
    ActorRef, Backoff, ClusterContext, Handles, MessageRef, MessageTable, Node, RemoteActor,
    RemoteMessage, Responder, RespondingHandler, RestartPolicy, handler, remote_actor::Envelopes,
};

/// An actor that answers each message of one type by a closure, and counts them: it stands for one that
/// the code under test asks.
///
/// A closure that panics is a handler that panics: its asker learns
/// [`Unknown(Panicked)`](crate::UnknownReason::Panicked), and the mock goes on. For answers that come
/// late, or never, take a [`Probe`](super::Probe). Dropping the mock changes nothing: it lives as long as its
/// node.
///
/// # Examples
///
/// ```
/// use actix_cluster::{prelude::*, testkit::{self, TestCluster}};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "u32")]
/// #[remote(name = "shop.Price", version = 1)]
/// struct Price(String);
///
/// testkit::play(7, async |cluster: TestCluster| {
///     let prices = cluster.mock(|Price(item)| item.len() as u32).await;
///     let to_prices: MessageRef<Price> = prices.message_ref();
///     let price = to_prices.ask(Price("lamp".to_owned()), Duration::from_secs(5)).await;
///     assert_eq!((price.expect("it answers"), prices.asked()), (4, 1));
/// })?;
/// # Ok::<(), testkit::Failure>(())
/// ```
pub struct Mock<M: RemoteMessage> {
    actor: ActorRef<MockActor<M>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    told: AtomicU64,
}

impl<M: RemoteMessage> Mock<M> {
    /// Starts a mock on a node.
    ///
    /// # Panics
    ///
    /// When the node takes no actor, because it is shutting down or was killed.
    #[track_caller]
    pub fn start(node: &Node, answer: impl FnMut(M) -> M::Result + Send + 'static) -> Self {
        let counts = Arc::<Counts>::default();
        let (answer, theirs) = (Arc::new(Mutex::new(answer)), Arc::clone(&counts));
        let factory = move |_: &mut _| MockActor {
            answer: Arc::clone(&answer) as Answer<M>,
            counts: Arc::clone(&theirs),
        };
        let at_once = Backoff { first: Duration::ZERO, longest: Duration::ZERO };
        let limit = u32::MAX;
        let policy = RestartPolicy { limit, backoff: at_once, ..RestartPolicy::default() };
        let started = node.spawn(factory).supervise(policy).start();
        let actor = started.unwrap_or_else(|error| panic!("no mock on {}: {error}", node.id()));
        Self { actor, counts }
    }

    /// The mock, for code that sends it messages.
    pub fn message_ref(&self) -> MessageRef<M> {
        self.actor.narrow()
    }

    /// The mock, for code that takes any actor which handles what it sends.
    pub fn actor_ref(&self) -> ActorRef<MockActor<M>> {
        self.actor.clone()
    }

    /// How many messages it was asked.
    pub fn asked(&self) -> u64 {
        self.counts.asked.load(Ordering::Relaxed)
    }

    /// How many messages it was told. Their answers were dropped.
    pub fn told(&self) -> u64 {
        self.counts.told.load(Ordering::Relaxed)
    }
}

impl<M: RemoteMessage> fmt::Debug for Mock<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, counts } = self;
        f.debug_struct("Mock").field("actor", actor).field("counts", counts).finish()
    }
}

type Answer<M> = Arc<Mutex<dyn FnMut(M) -> <M as actix::Message>::Result + Send>>;

/// The actor of a [`Mock`].
pub struct MockActor<M: RemoteMessage> {
    answer: Answer<M>,
    counts: Arc<Counts>,
}

#[diagnostic::do_not_recommend]
impl<M: RemoteMessage> Actor for MockActor<M> {
    type Context = ClusterContext<Self>;
}

#[diagnostic::do_not_recommend]
impl<M: RemoteMessage> RemoteActor for MockActor<M> {
    const NAME: &'static str = "testkit.Mock";

    /// It is reached without the network, where messages need no table.
    fn messages(_: &mut MessageTable<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<M: RemoteMessage> Handles<M> for MockActor<M> {
    fn envelopes() -> Envelopes<Self, M> {
        handler::responding::<Self, M>()
    }
}

#[diagnostic::do_not_recommend]
impl<M: RemoteMessage> RespondingHandler<M> for MockActor<M> {
    fn handle(&mut self, msg: M, responder: Responder<M>, _: &mut Self::Context) {
        let is_asked = responder.deadline().is_some();
        let count = if is_asked { &self.counts.asked } else { &self.counts.told };
        count.fetch_add(1, Ordering::Relaxed);
        // A closure that has panicked is called again, as a handler is.
        let result = self.answer.lock().unwrap_or_else(PoisonError::into_inner)(msg);
        responder.reply(result);
    }
}

impl<M: RemoteMessage> fmt::Debug for MockActor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockActor").field("counts", &self.counts).finish_non_exhaustive()
    }
}
