//! Actors whose messages a test takes one by one.

mod actor;
mod inbox;

use std::{any::type_name, fmt, ops::Deref, panic::Location, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

pub use self::actor::ProbeActor;
use self::{
    actor::Command,
    inbox::{Inbox, Item},
};
use super::time::within;
use crate::{
    ActorRef, Clock, MessageRef, Node, RemoteActor, RemoteMessage, Responder, Terminated, Watched,
};

/// How long is waited for what is expected, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many commands to a probe's actor may wait.
const COMMANDS: usize = 64;

/// An actor in the hand of a test: it takes whatever message is sent to it, and the test says what it
/// expects next, and answers.
///
/// What is sent to it waits in order, whatever the types, until it is expected: 1,024 messages at most, and an
/// expectation fails if there were more. Each expectation looks at the next message only: another one in
/// its place is a failure, and its text names it. Waits go by tokio's clock: in virtual time they cost
/// nothing.
///
/// It is reached from its own node's process, by the references that it gives. Dropping the probe
/// stops its actor.
///
/// # Cancel safety
///
/// All waits are safe: a message is taken when the future is ready, and not before.
///
/// # Examples
///
/// ```
/// use actix_cluster::{prelude::*, testkit::{self, Mock, TestCluster}};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
/// #[rtype(result = "u32")]
/// #[remote(name = "shop.Price", version = 1)]
/// struct Price(String);
///
/// async fn total(prices: MessageRef<Price>) -> Result<u32, AskError<Price>> {
///     let lamp = prices.ask(Price("lamp".to_owned()), Duration::from_secs(5)).await?;
///     Ok(lamp + 3)
/// }
///
/// testkit::play(7, async |cluster: TestCluster| {
///     let mut prices = cluster.probe().await;
///     let total = total(prices.message_ref());
///     let answering = async {
///         let asked = prices.expect::<Price>().await;
///         assert_eq!(asked.0, "lamp");
///         asked.reply(20);
///     };
///     let (total, ()) = tokio::join!(total, answering);
///     assert_eq!(total.expect("it is answered"), 23);
///     prices.expect_nothing_for(Duration::from_secs(60)).await;
/// })?;
/// # Ok::<(), testkit::Failure>(())
/// ```
#[must_use = "a probe that is dropped takes nothing"]
pub struct Probe {
    actor: ActorRef<ProbeActor>,
    inbox: Arc<Inbox>,
    commands: mpsc::Sender<Command>,
}

impl Probe {
    /// Starts a probe on a node.
    ///
    /// # Panics
    ///
    /// When the node takes no actor, because it is shutting down or was killed.
    #[track_caller]
    pub fn start(node: &Node) -> Self {
        let (commands, received) = mpsc::channel(COMMANDS);
        let inbox = Arc::new(Inbox::default());
        let (theirs, mut received) = (Arc::clone(&inbox), Some(received));
        // There is one instance: nothing that it does fails.
        let factory = move |_: &mut _| ProbeActor::new(Arc::clone(&theirs), received.take());
        let started = node.spawn(factory).start();
        let actor = started.unwrap_or_else(|error| panic!("no probe on {}: {error}", node.id()));
        Self { actor, inbox, commands }
    }

    /// The probe, for code that sends it messages of one type.
    pub fn message_ref<M: RemoteMessage + fmt::Debug>(&self) -> MessageRef<M> {
        self.actor.narrow()
    }

    /// The probe, for code that takes any actor which handles what it sends.
    pub fn actor_ref(&self) -> ActorRef<ProbeActor> {
        self.actor.clone()
    }

    /// Waits for the next message, which is to be an `M`, for at most 30 s.
    ///
    /// # Panics
    ///
    /// When another message comes, or none; when the probe had no room for one. The text names what came,
    /// and the place that expected.
    #[track_caller]
    pub fn expect<M: RemoteMessage + fmt::Debug>(&mut self) -> impl Future<Output = Expected<M>> {
        self.expect_within(PATIENCE)
    }

    /// As [`expect`](Self::expect), for at most so long.
    ///
    /// # Panics
    ///
    /// As [`expect`](Self::expect).
    #[track_caller]
    pub fn expect_within<M: RemoteMessage + fmt::Debug>(
        &mut self,
        timeout: Duration,
    ) -> impl Future<Output = Expected<M>> {
        let wish = Wish { what: M::NAME.to_owned(), place: Location::caller(), timeout };
        async move {
            let item = self.next(&wish, Clock::default().after(timeout)).await;
            item.message().unwrap_or_else(|item| wish.is_broken_by(&item))
        }
    }

    /// Waits for an `M` of which `is_it` holds, for at most 30 s, and drops what comes before it.
    ///
    /// # Panics
    ///
    /// When it does not come. The text names what came last.
    #[track_caller]
    pub fn fish_for<M: RemoteMessage + fmt::Debug>(
        &mut self,
        mut is_it: impl FnMut(&M) -> bool,
    ) -> impl Future<Output = Expected<M>> {
        let what = format!("a certain {}", M::NAME);
        let mut wish = Wish { what, place: Location::caller(), timeout: PATIENCE };
        async move {
            let deadline = Clock::default().after(PATIENCE);
            let mut dropped = 0;
            loop {
                let item = match self.next(&wish, deadline).await.message::<M>() {
                    Ok(expected) if is_it(&expected) => return expected,
                    Ok(other) => other.to_string(),
                    Err(other) => other.to_string(),
                };
                dropped += 1;
                wish.what = format!("a certain {} ({dropped} others came, last {item})", M::NAME);
            }
        }
    }

    /// Waits so long, and nothing may come: no message, and no end of what is watched.
    ///
    /// # Panics
    ///
    /// When something comes, or is there already. The text names it.
    #[track_caller]
    pub fn expect_nothing_for(&mut self, duration: Duration) -> impl Future<Output = ()> {
        let wish =
            Wish { what: "nothing".to_owned(), place: Location::caller(), timeout: duration };
        async move {
            let deadline = Clock::default().after(duration);
            if let Some(item) = self.inbox.take_by(deadline).await {
                wish.is_broken_by(&item);
            }
            self.assert_room(&wish);
        }
    }

    /// Has the probe watch an actor, here or on another node, from when this is ready:
    /// [`expect_terminated`](Self::expect_terminated) waits for its end.
    ///
    /// # Panics
    ///
    /// When the actor's node can't be reached from the probe's, because that is no member of a cluster; when
    /// the probe's node does not run, or has no room for a watch.
    #[track_caller]
    pub fn watch<A: RemoteActor>(&self, actor: &ActorRef<A>) -> impl Future<Output = ()> {
        let (place, actor) = (Location::caller(), actor.clone());
        let core = self.actor.core();
        let is_here = actor.node_id().is_none_or(|node| node == core.id());
        assert!(
            core.cluster().is_some() || is_here,
            "{actor:?} can't be watched from {}, which is no member of its cluster: \
             have a probe on one, by `Probe::start`",
            core.id()
        );
        let commands = self.commands.clone();
        async move {
            let (set, is_set) = oneshot::channel();
            let shown = format!("{actor:?}");
            let command: Command = Box::new(move |ctx| {
                let _ = set.send(ctx.watch(&actor));
            });
            let watched = async {
                let _ = commands.send(command).await;
                is_set.await
            };
            match within(PATIENCE, watched).await.and_then(Result::ok) {
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{place}: {shown} is not watched: {error}"),
                None => panic!("{place}: {shown} is not watched: the probe's node does not run"),
            }
        }
    }

    /// Waits for the end of an actor that is [watched](Self::watch), which is to be the next thing to come,
    /// for at most 30 s. It comes behind all that the actor had sent to the probe.
    ///
    /// # Panics
    ///
    /// When something else comes, or nothing. The text names it.
    #[track_caller]
    pub fn expect_terminated<A: RemoteActor>(
        &mut self,
        actor: &ActorRef<A>,
    ) -> impl Future<Output = Terminated> {
        let (watched, _) = actor.watched();
        self.expect_end_of(watched, Location::caller())
    }

    async fn expect_end_of(
        &mut self,
        watched: Watched,
        place: &'static Location<'static>,
    ) -> Terminated {
        let wish = Wish { what: format!("the end of {watched}"), place, timeout: PATIENCE };
        let item = self.next(&wish, Clock::default().after(PATIENCE)).await;
        match item {
            Item::Terminated(end) if end.target == watched => end,
            other => wish.is_broken_by(&other),
        }
    }

    async fn next(&mut self, wish: &Wish, deadline: crate::transport::clock::Instant) -> Item {
        let item = self.inbox.take_by(deadline).await;
        self.assert_room(wish);
        item.unwrap_or_else(|| wish.is_unfulfilled())
    }

    fn assert_room(&self, Wish { what, place, .. }: &Wish) {
        let lost = self.inbox.lost();
        assert!(
            lost == 0,
            "{place}: {what} was expected, and the probe has had no room for {lost} messages: \
             {} waited to be expected",
            inbox::LIMIT
        );
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.actor).finish()
    }
}

/// What is expected, where in the test, and for how long.
struct Wish {
    what: String,
    place: &'static Location<'static>,
    timeout: Duration,
}

impl Wish {
    fn is_broken_by(&self, item: &Item) -> ! {
        let Self { what, place, .. } = self;
        panic!("{place}: {what} was expected, and this came: {item}")
    }

    fn is_unfulfilled(&self) -> ! {
        let Self { what, place, timeout } = self;
        panic!("{place}: {what} was expected, and nothing came within {timeout:?}")
    }
}

/// A message that was expected and has come. It is used as the message is.
///
/// One that was asked is answered by [`reply`](Self::reply), now or later; dropped, its asker learns that
/// there is no reply.
pub struct Expected<M: RemoteMessage> {
    /// The message.
    pub message: M,
    /// What answers it. Of a message that was told it answers nobody.
    pub responder: Responder<M>,
}

impl<M: RemoteMessage> Expected<M> {
    /// Answers it.
    ///
    /// # Panics
    ///
    /// When it was told, and nobody waits for an answer.
    #[track_caller]
    pub fn reply(self, result: M::Result) {
        assert!(self.is_asked(), "{} was told, and has nobody to be answered", M::NAME);
        self.responder.reply(result);
    }

    /// Whether it was asked, and not told.
    pub fn is_asked(&self) -> bool {
        self.responder.deadline().is_some()
    }
}

impl<M: RemoteMessage> Deref for Expected<M> {
    type Target = M;
    fn deref(&self) -> &M {
        &self.message
    }
}

impl<M: RemoteMessage + fmt::Debug> fmt::Debug for Expected<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.message, f)
    }
}

impl<M: RemoteMessage + fmt::Debug> fmt::Display for Expected<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.is_asked() { "asked" } else { "told" };
        write!(f, "{:?} ({}, {how})", self.message, type_name::<M>())
    }
}
