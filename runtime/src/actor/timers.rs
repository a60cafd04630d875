//! Timers with keys: ticks of an actor to itself, and the word that nothing has come for long.
//!
//! A timer is a future of its instance, which runs the tick's turn itself when its time has come. So
//! no tick waits in a queue where a cancel would have to find it, and it needs no room in the mailbox.
//! Only a tick that its handler stashes waits, and is looked up here when it comes back.
//!
//! Invariant: a key stands for at most one timer, and a tick has its turn only as long as its own
//! timer is the one of its key. What was started by an instance ends with it.

mod tick;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext as _, Handler, Message, SpawnHandle};

use self::tick::{Pace, Repeated, Silence, Single};
use super::ClusterContext;
use crate::remote_actor::RemoteActor;

/// How many timers with keys an actor may have; one more is refused.
pub(crate) const LIMIT: usize = 1_024;

/// The shortest interval: below, an actor would do nothing but tick.
const SHORTEST: Duration = Duration::from_millis(1);

/// Nothing has been handled for as long as [`ClusterContext::set_receive_timeout`] says.
///
/// An ordinary message of the actor to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiveTimeout;

impl Message for ReceiveTimeout {
    type Result = ();
}

/// The actor has as many timers as it may. Nothing was started; here is the message again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TooManyTimers<M> {
    /// What was to be told.
    pub message: M,
}

impl<M> fmt::Debug for TooManyTimers<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TooManyTimers")
    }
}

impl<M> fmt::Display for TooManyTimers<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the actor has {LIMIT} timers already")
    }
}

impl<M> std::error::Error for TooManyTimers<M> {}

/// What stands for a timer of an actor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Named(Cow<'static, str>),
    /// The receive timeout.
    Silence,
}

/// The timers of an instance; made for the first.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Each one's future, whose handle is never used again.
    timers: BTreeMap<Key, SpawnHandle>,
    /// When a message had its last turn; noted while there is a receive timeout.
    handled: Option<Instant>,
}

impl Table {
    fn named(&self) -> usize {
        self.timers.len() - usize::from(self.timers.contains_key(&Key::Silence))
    }
}

/// An actor's timers, by their keys; made by [`ClusterContext::timers`].
///
/// A timer tells its actor a message, once or again and again. Its tick is a turn of its own, like a
/// future's: it does not wait behind what is queued, takes no room in the mailbox, and is not lost
/// when that is full. While the actor waits for a future (`ctx.wait`) its ticks wait too.
///
/// To start a timer under a key that is taken replaces the one before. Once `cancel` has returned, or
/// another has taken the key, no tick of the former timer is handled any more, even if it was due
/// or had been stashed ([`OrStash`](crate::OrStash)). Timers end with their instance: after a
/// restart, a passivation or a stop nothing of them is told, and the next instance starts its own. They
/// don't keep an entity from being passivated. At most 1,024 are active at a time.
///
/// For what needs no key, actix's `run_later`, `notify_later` and `run_interval` do as well.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use actix_cluster::prelude::*;
///
/// #[derive(RemoteActor)]
/// #[remote(name = "shop.Cart", handles())]
/// struct Cart;
///
/// #[derive(Message, Clone)]
/// #[rtype(result = "()")]
/// struct Remind;
///
/// impl Actor for Cart {
///     type Context = ClusterContext<Self>;
///     fn started(&mut self, ctx: &mut Self::Context) {
///         let day = Duration::from_secs(86_400);
///         ctx.timers().start_repeated("remind", day, Remind).expect("it is the first");
///     }
/// }
///
/// impl Handler<Remind> for Cart {
///     type Result = ();
///     fn handle(&mut self, _: Remind, ctx: &mut Self::Context) {
///         ctx.timers().cancel("remind");
///     }
/// }
/// ```
pub struct Timers<'a, A: Actor>(&'a mut ClusterContext<A>);

impl<A: RemoteActor> ClusterContext<A> {
    /// The actor's timers with keys.
    pub fn timers(&mut self) -> Timers<'_, A> {
        Timers(self)
    }

    /// Has the actor told [`ReceiveTimeout`] when no message has had its turn for `after`, and again
    /// each time that passes; `None` ends that. What counts is messages, from the mailbox or an actix
    /// address, and futures that the actor waited for; not timers, nor futures beside its messages. A
    /// message that comes at the last moment may be handled right behind the word.
    ///
    /// At least 1 ms. It is the instance's: a restart ends it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_cluster::{ReceiveTimeout, prelude::*};
    ///
    /// #[derive(RemoteActor)]
    /// #[remote(name = "chat.Session", handles())]
    /// struct Session;
    /// impl Actor for Session {
    ///     type Context = ClusterContext<Self>;
    ///     fn started(&mut self, ctx: &mut Self::Context) {
    ///         ctx.set_receive_timeout(Some(Duration::from_secs(600)));
    ///     }
    /// }
    /// impl Handler<ReceiveTimeout> for Session {
    ///     type Result = ();
    ///     fn handle(&mut self, _: ReceiveTimeout, ctx: &mut Self::Context) {
    ///         ctx.stop();
    ///     }
    /// }
    /// ```
    pub fn set_receive_timeout(&mut self, after: Option<Duration>)
    where
        A: Handler<ReceiveTimeout>,
    {
        self.cancel_timer(&Key::Silence);
        let Some(after) = after.map(|after| after.max(SHORTEST)) else { return };
        let now = self.clock().now();
        let silence = Silence::new(self.clock().clone(), after);
        self.start_timer(Key::Silence, |_| silence);
        self.table().handled = Some(now);
    }

    fn table(&mut self) -> &mut Table {
        self.timers.get_or_insert_default()
    }

    fn start_timer<F>(&mut self, key: Key, make: impl FnOnce(SpawnHandle) -> F)
    where
        F: actix::fut::ActorFuture<A, Output = ()> + 'static,
    {
        self.cancel_timer(&key);
        let handle = self.spawn_timer(make);
        self.table().timers.insert(key, handle);
    }

    fn cancel_timer(&mut self, key: &Key) -> bool {
        let cancelled = self.timers.as_mut().and_then(|table| table.timers.remove(key));
        if let Some(handle) = cancelled {
            self.cancel_future(handle);
        }
        cancelled.is_some()
    }
}

impl<A: RemoteActor> Timers<'_, A> {
    /// Tells the actor `msg` once, after `delay`.
    ///
    /// # Errors
    ///
    /// [`TooManyTimers`], with the message: nothing was started.
    pub fn start_single<M>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        delay: Duration,
        msg: M,
    ) -> Result<(), TooManyTimers<M>>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Send + 'static,
    {
        let (key, msg) = self.admit(key.into(), msg)?;
        let sleep = self.0.clock().sleep(delay);
        self.0.start_timer(key.clone(), |handle| Single::new(sleep, key, handle, msg));
        Ok(())
    }

    /// Tells the actor `msg` again and again, first after `interval`, and then `interval` after the
    /// turn of the tick before is over, what it has the actor wait for (`ctx.wait`) included: a slow
    /// actor gets fewer ticks, and has the interval for its messages. At least 1 ms.
    ///
    /// # Errors
    ///
    /// [`TooManyTimers`], with the message: nothing was started.
    pub fn start_repeated<M>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        interval: Duration,
        msg: M,
    ) -> Result<(), TooManyTimers<M>>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Clone + Send + 'static,
    {
        let pace = Pace::Delay(interval.max(SHORTEST));
        self.repeat(key.into(), pace, msg)
    }

    /// As [`start_repeated`](Self::start_repeated), at multiples of `interval` from now on, however
    /// long the turns take: for ticks that are counted, or meet those of other actors. A tick whose
    /// time comes before the turn of the one before is over is left out; there is never a burst.
    ///
    /// # Errors
    ///
    /// [`TooManyTimers`], with the message: nothing was started.
    pub fn start_at_rate<M>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        interval: Duration,
        msg: M,
    ) -> Result<(), TooManyTimers<M>>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Clone + Send + 'static,
    {
        let (interval, now) = (interval.max(SHORTEST), self.0.clock().now());
        self.repeat(key.into(), Pace::Rate { interval, start: now }, msg)
    }

    /// Ends the timer of a key, if there is one: from here on it tells nothing. Returns whether there
    /// was one.
    pub fn cancel(&mut self, key: &str) -> bool {
        self.0.cancel_timer(&Key::Named(Cow::Owned(key.to_owned())))
    }

    /// Ends all timers with keys; the receive timeout goes on.
    pub fn cancel_all(&mut self) {
        let table = self.0.timers.as_ref();
        let keys: Vec<_> = table.map_or_else(Vec::new, |table| {
            table.timers.keys().filter(|key| **key != Key::Silence).cloned().collect()
        });
        for key in keys {
            self.0.cancel_timer(&key);
        }
    }

    /// Whether the timer of a key is still to tell something. A single one is over when its tick has
    /// its turn, unless that stashes it.
    pub fn is_active(&self, key: &str) -> bool {
        let key = Key::Named(Cow::Owned(key.to_owned()));
        self.0.timers.as_ref().is_some_and(|table| table.timers.contains_key(&key))
    }

    fn repeat<M>(
        &mut self,
        key: Cow<'static, str>,
        pace: Pace,
        msg: M,
    ) -> Result<(), TooManyTimers<M>>
    where
        A: Handler<M>,
        M: Message<Result: Send> + Clone + Send + 'static,
    {
        let (key, msg) = self.admit(key, msg)?;
        let clock = self.0.clock().clone();
        self.0.start_timer(key.clone(), |handle| Repeated::new(clock, pace, key, handle, msg));
        Ok(())
    }

    fn admit<M>(&self, key: Cow<'static, str>, msg: M) -> Result<(Key, M), TooManyTimers<M>> {
        let key = Key::Named(key);
        let has_room = |table: &Table| table.named() < LIMIT || table.timers.contains_key(&key);
        if self.0.timers.as_deref().is_none_or(has_room) {
            return Ok((key, msg));
        }
        Err(TooManyTimers { message: msg })
    }
}

impl<A: Actor> fmt::Debug for Timers<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timers").field(&self.0.timers).finish()
    }
}

/// For the activation.
impl<A: Actor<Context = Self>> ClusterContext<A> {
    /// A message had its turn, or a future that the actor waited for has ended.
    pub(super) fn note_handled(&mut self) {
        let Some(table) = &mut self.timers else { return };
        if table.timers.contains_key(&Key::Silence) {
            table.handled = Some(self.mailbox.core().clock().now());
        }
    }
}
