//! Interceptors: a program's own look at all that a node sends and handles.
//!
//! Invariant: where a node has none, a message pays for one look at an empty list.
//! Knows no mailbox and no session; what it refuses is turned away by whoever asked it.

use std::{fmt, sync::Arc, time::Instant};

mod facts;

pub use self::facts::{Arrival, Departure, Handled, Refused};
use crate::{
    actor::{ClusterContext, panic},
    call::{Headers, Travelling, Travels},
    message::RemoteMessage,
    node::{EntityKey, NodeCore, NodeId},
    reference::{RejectReason, UnknownReason, route::Place},
    remote_actor::RemoteActor,
};

/// Looks at every message that a node sends and handles: to add headers, to refuse, to measure.
///
/// A node may have several ([`NodeBuilder::interceptor`](crate::NodeBuilder::interceptor)): `sending`
/// and `handling` run in the order in which they were added and end with the first that refuses,
/// `handled` in the reverse order.
///
/// `sending` runs on the sender's thread, once for a message however long that waits for room or
/// follows its target; `handling` and `handled` run on the actor's arbiter. All three are short and
/// never wait: they are in the way of every message. A panic in one is logged; in the first two it
/// refuses the message.
///
/// They see what goes by [`ActorRef`](crate::ActorRef), asks that are forwarded included. They do not
/// see what goes by an actix `Addr`, timers, and ends of watches.
///
/// # Examples
///
/// Only calls that name a tenant may reach an account:
///
/// ```
/// use actix_cluster::interceptor::{Arrival, Interceptor, Refused};
///
/// struct Tenants;
///
/// impl Interceptor for Tenants {
///     fn handling(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
///         let is_open = arrival.actor() != "bank.Account" || arrival.header("tenant").is_some();
///         if is_open { Ok(()) } else { Err(Refused) }
///     }
/// }
///
/// let builder = actix_cluster::Node::builder().interceptor(Tenants);
/// ```
pub trait Interceptor: Send + Sync + 'static {
    /// A message is about to be sent by this node.
    ///
    /// # Errors
    ///
    /// [`Refused`]: it is not sent, and given back as [`RejectReason::Refused`].
    fn sending(&self, departure: &mut Departure<'_>) -> Result<(), Refused> {
        let _ = departure;
        Ok(())
    }

    /// The turn of a message is about to begin on this node. Runs again for one that was stashed.
    ///
    /// # Errors
    ///
    /// [`Refused`]: it does not run. Its asker gets it back as [`RejectReason::Refused`]; of a tell, and
    /// of what an ask was forwarded to, a dead letter says so, and the asker of the latter hears of
    /// [no reply](UnknownReason::NoReply).
    fn handling(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
        let _ = arrival;
        Ok(())
    }

    /// The handler of a message that [`handling`](Self::handling) let pass has ended. Its asker may have
    /// the answer before this runs.
    fn handled(&self, handled: &Handled<'_>) {
        let _ = handled;
    }
}

/// The interceptors of a node; a clone has the same ones.
#[derive(Clone, Default)]
pub(crate) struct Interceptors(Vec<Arc<dyn Interceptor>>);

impl Interceptors {
    pub(crate) fn add(&mut self, interceptor: impl Interceptor) {
        self.0.push(Arc::new(interceptor));
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets a message depart with what travels along, which is given back.
    #[inline]
    pub(crate) fn send<A: RemoteActor, M: RemoteMessage>(
        &self,
        place: &Place<A>,
        is_ask: bool,
        travels: Travelling,
    ) -> Result<Travelling, RejectReason> {
        if self.is_empty() { Ok(travels) } else { self.ask::<A, M>(place, is_ask, travels) }
    }

    fn ask<A: RemoteActor, M: RemoteMessage>(
        &self,
        place: &Place<A>,
        is_ask: bool,
        travels: Travelling,
    ) -> Result<Travelling, RejectReason> {
        let headers = headers_of(&travels);
        let mut departure =
            Departure { actor: A::NAME, message: M::NAME, key: place.key(), is_ask, headers };
        self.all("sending", |interceptor| interceptor.sending(&mut departure))?;
        let chain = travels.as_ref().map(|travels| travels.chain.clone()).unwrap_or_default();
        Ok(Travels::of(departure.headers, chain))
    }

    /// Runs all of them up to the first that refuses.
    fn all(
        &self,
        at: &'static str,
        mut run: impl FnMut(&dyn Interceptor) -> Result<(), Refused>,
    ) -> Result<(), RejectReason> {
        let run = || self.0.iter().try_for_each(|interceptor| run(&**interceptor));
        match panic::catch(run) {
            Ok(passed) => passed.map_err(|Refused| RejectReason::Refused),
            Err(panic) => {
                panic.report(at);
                Err(RejectReason::Refused)
            }
        }
    }
}

fn headers_of(travels: &Travelling) -> Headers {
    travels.as_ref().map(|travels| travels.headers.clone()).unwrap_or_default()
}

impl fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interceptors").field(&self.0.len()).finish()
    }
}

/// A turn that interceptors were shown, until they are told how it ended; mostly none.
#[must_use = "dropped, it says that the handler has failed"]
pub(crate) struct Shown(Option<Box<Turn>>);

struct Turn {
    core: Arc<NodeCore>,
    actor: &'static str,
    message: &'static str,
    travels: Travelling,
    begun: Instant,
}

/// Shows the interceptors of the node a message whose turn has come. `from` is the node that sent it,
/// if another did.
#[inline]
pub(crate) fn show<A: RemoteActor, M: RemoteMessage>(
    ctx: &ClusterContext<A>,
    travels: &Travelling,
    from: impl FnOnce() -> Option<NodeId>,
) -> Result<Shown, RejectReason> {
    if ctx.core().interceptors().is_empty() {
        return Ok(Shown(None));
    }
    show_all::<A, M>(ctx, travels, from())
}

fn show_all<A: RemoteActor, M: RemoteMessage>(
    ctx: &ClusterContext<A>,
    travels: &Travelling,
    from: Option<NodeId>,
) -> Result<Shown, RejectReason> {
    let core = ctx.core();
    let interceptors = core.interceptors();
    let (mailbox, headers) = (ctx.mailbox(), headers_of(travels));
    let (actor, message) = (A::NAME, M::NAME);
    let key = mailbox.entity().map(EntityKey::as_str);
    let arrival = Arrival { actor, message, key, from: from.as_ref(), headers: &headers };
    interceptors.all("handling", |interceptor| interceptor.handling(&arrival))?;
    let (core, travels, begun) = (Arc::clone(core), travels.clone(), core.clock().now());
    Ok(Shown(Some(Box::new(Turn { core, actor, message, travels, begun }))))
}

impl Shown {
    /// The handler has ended.
    #[inline]
    pub(crate) fn ended(mut self) {
        self.end(Ok(()));
    }

    /// The handler was cut short.
    pub(crate) fn failed(mut self, reason: UnknownReason) {
        self.end(Err(reason));
    }

    /// The message has not run after all.
    pub(crate) fn taken_back(mut self) {
        self.0 = None;
    }

    #[inline]
    fn end(&mut self, outcome: Result<(), UnknownReason>) {
        if let Some(turn) = self.0.take() {
            turn.end(outcome);
        }
    }
}

impl Turn {
    fn end(self, outcome: Result<(), UnknownReason>) {
        let Self { core, actor, message, travels, begun } = self;
        let (headers, took) =
            (headers_of(&travels), core.clock().now().saturating_duration_since(begun));
        let handled = Handled { actor, message, headers: &headers, outcome, took };
        for interceptor in core.interceptors().0.iter().rev() {
            panic::catch(|| interceptor.handled(&handled))
                .unwrap_or_else(|panic| panic.report("handled"));
        }
    }
}

impl Drop for Shown {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_none() {
            return;
        }
        let panicked = std::thread::panicking();
        self.end(Err(if panicked { UnknownReason::Panicked } else { UnknownReason::NoReply }));
    }
}
