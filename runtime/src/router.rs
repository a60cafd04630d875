//! Routers: one handle to many actors of a type, which sends each message to one of them, or to all.
//!
//! A router is no actor: the sender itself chooses, so that a message takes no detour and waits in no
//! queue but its target's. A *pool* starts its routees, replaces those that end, and grows and shrinks;
//! a *group* is made of references that exist already, to actors anywhere.
//!
//! ```text
//!  sender ── pick ──> table of routees ──> mailbox of one of them
//!                        ^ replaced whole, by whoever grows, shrinks or mends the pool
//! ```
//!
//! Invariant: a routee keeps its slot until it ends, and whoever replaces it takes that slot, so that a
//! key stays with its slot. No more routees live than the bound, but for those that are finishing what
//! they had when the pool shrank.

mod builder;
mod pool;
mod routing;
mod scatter;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use self::pool::Pool;
pub use self::{
    builder::RouterBuilder,
    routing::{Resize, Routing, RoutingKey},
};
use crate::{
    node::NodeCore,
    reference::{ActorRef, AskError, DEFAULT_ASK_TIMEOUT, RejectReason, TellError},
    remote_actor::{HandledBy, RemoteActor},
};

/// How many routees a router may have.
pub(crate) const LIMIT: usize = 1_024;

/// A handle to several actors of one type, each of which will do. Cloning it is cheap.
///
/// [`Node::spawn_router`](crate::Node::spawn_router) makes a pool, [`Node::router`](crate::Node::router)
/// a group. What a message goes to is decided when it is sent, by the [`Routing`] or by its key. A routee
/// that has ended is left out; one that ends just then gives the message back, and the router sends it to
/// another. In a pool, whoever ends for good is replaced: after its own restart policy has given it up,
/// when the next message is routed, and not within a second after the last replacement.
///
/// Messages of one sender to one routee keep their order; to several they have none.
///
/// When the last handle of a pool is dropped, its routees end once they have nothing more to do.
///
/// # Examples
///
/// ```
/// use actix_cluster::{Routing, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, RemoteMessage, Serialize, Deserialize)]
/// #[rtype(result = "u64")]
/// #[remote(name = "shop.Price", version = 1)]
/// struct Price(u64);
///
/// #[derive(RemoteActor)]
/// #[remote(name = "shop.Pricer", handles(Price))]
/// struct Pricer;
/// impl Actor for Pricer {
///     type Context = ClusterContext<Self>;
/// }
/// impl Handler<Price> for Pricer {
///     type Result = u64;
///     fn handle(&mut self, Price(cents): Price, _: &mut Self::Context) -> u64 {
///         cents * 2
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder().start().await?;
/// let pricers = node.spawn_router(|_| Pricer).routees(4).routing(Routing::LeastLoaded).start()?;
/// assert_eq!(pricers.ask(Price(21)).await?, 42);
/// # node.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct Router<A: RemoteActor>(Arc<Shared<A>>);

struct Shared<A: RemoteActor> {
    core: Arc<NodeCore>,
    routing: Routing,
    /// Those that messages go to, by their slots.
    table: ArcSwap<Vec<Routee<A>>>,
    turn: AtomicUsize,
    whose: Whose,
    pool: Option<Pool<A>>,
}

/// Who has made a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The node, for its stateless workers: in its next life it makes another.
    Node,
    Program,
}

struct Routee<A: RemoteActor> {
    slot: usize,
    actor: ActorRef<A>,
}

impl<A: RemoteActor> Clone for Routee<A> {
    fn clone(&self) -> Self {
        Self { slot: self.slot, actor: self.actor.clone() }
    }
}

impl<A: RemoteActor> Router<A> {
    /// A group.
    pub(crate) fn of(
        core: Arc<NodeCore>,
        routing: Routing,
        actors: impl IntoIterator<Item = ActorRef<A>>,
    ) -> Self {
        let routees = actors.into_iter().take(LIMIT).enumerate();
        let table = routees.map(|(slot, actor)| Routee { slot, actor }).collect();
        Self(Arc::new(Shared {
            core,
            routing,
            table: ArcSwap::from_pointee(table),
            turn: AtomicUsize::new(0),
            whose: Whose::Program,
            pool: None,
        }))
    }

    /// The routee that the next message goes to, by the router's [`Routing`]; `None` if there is none
    /// that lives.
    pub fn pick(&self) -> Option<ActorRef<A>> {
        if let Some(next) = self.in_next_life() {
            return next.pick();
        }
        self.maintain();
        let Shared { core, routing, table, turn, .. } = &*self.0;
        let table = table.load();
        let count = table.len();
        if count == 0 {
            return None;
        }
        let first = match routing {
            Routing::Random => core.with_random(|random| random.below(count as u64)) as usize,
            Routing::RoundRobin | Routing::LeastLoaded => turn.fetch_add(1, Ordering::Relaxed),
        };
        let in_turn = (0..count).map(|n| &table[first.wrapping_add(n) % count].actor);
        let mut live = in_turn.filter(|actor| !actor.has_ended_here());
        let picked = match routing {
            Routing::LeastLoaded => {
                live.min_by_key(|actor| actor.unfinished().unwrap_or(usize::MAX))
            }
            Routing::RoundRobin | Routing::Random => live.next(),
        };
        picked.cloned()
    }

    /// The routee that a key belongs to: always the same one, as long as its slot has one. When the
    /// number of routees changes by one of n, some n-th part of the keys moves, and no other.
    ///
    /// Which that is follows from xxh3-64 over the key's bytes, seeded with the number of the slot: the
    /// highest one wins (rendezvous hashing). It is the same in each process and release.
    pub fn pick_for(&self, key: &[u8]) -> Option<ActorRef<A>> {
        if let Some(next) = self.in_next_life() {
            return next.pick_for(key);
        }
        self.maintain();
        let table = self.0.table.load();
        let live = table.iter().filter(|routee| !routee.actor.has_ended_here());
        live.max_by_key(|routee| routing::score(key, routee.slot))
            .map(|routee| routee.actor.clone())
    }

    /// How many routees messages go to; those of a pool that have ended since it was last looked at
    /// included.
    pub fn len(&self) -> usize {
        self.in_next_life().map_or_else(|| self.0.table.load().len(), |next| next.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All routees that messages go to, by their slots.
    pub fn routees(&self) -> Vec<ActorRef<A>> {
        if let Some(next) = self.in_next_life() {
            return next.routees();
        }
        self.0.table.load().iter().map(|routee| routee.actor.clone()).collect()
    }

    /// Sends `msg` to one routee, as [`ActorRef::tell`] does, with its timeout.
    ///
    /// # Errors
    ///
    /// As [`ActorRef::tell`]; without a routee that lives, [`RejectReason::NoSuchActor`].
    ///
    /// # Cancel safety
    ///
    /// As [`Tell`](crate::Tell).
    pub async fn tell<M: HandledBy<A>>(&self, msg: M) -> Result<(), TellError<M>> {
        self.tell_to(msg, |router, _| router.pick()).await
    }

    /// Sends `msg` to one routee, as [`ActorRef::try_tell`] does.
    ///
    /// # Errors
    ///
    /// As [`tell`](Self::tell).
    pub fn try_tell<M: HandledBy<A>>(&self, msg: M) -> Result<(), TellError<M>> {
        match self.pick() {
            Some(routee) => routee.try_tell(msg),
            None => Err(TellError { reason: RejectReason::NoSuchActor, message: msg }),
        }
    }

    /// Sends `msg` to the routee that its key belongs to ([`pick_for`](Self::pick_for)).
    ///
    /// # Errors
    ///
    /// As [`tell`](Self::tell).
    ///
    /// # Cancel safety
    ///
    /// As [`Tell`](crate::Tell).
    pub async fn tell_keyed<M>(&self, msg: M) -> Result<(), TellError<M>>
    where
        M: HandledBy<A> + RoutingKey,
    {
        self.tell_to(msg, |router, msg| router.pick_for(&msg.routing_key())).await
    }

    /// Sends `msg` to one routee and awaits its reply, for at most 5 s.
    ///
    /// # Errors
    ///
    /// As [`ActorRef::ask`]; without a routee that lives, [`RejectReason::NoSuchActor`].
    ///
    /// # Cancel safety
    ///
    /// As [`Ask`](crate::Ask).
    pub async fn ask<M: HandledBy<A>>(&self, msg: M) -> Result<M::Reply, AskError<M>> {
        self.ask_within(msg, DEFAULT_ASK_TIMEOUT).await
    }

    /// As [`ask`](Self::ask), for at most `timeout`, however many routees are tried.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`Ask`](crate::Ask).
    pub async fn ask_within<M: HandledBy<A>>(
        &self,
        msg: M,
        timeout: Duration,
    ) -> Result<M::Reply, AskError<M>> {
        self.ask_of(msg, timeout, |router, _| router.pick()).await
    }

    /// As [`ask`](Self::ask), of the routee that the message's key belongs to.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`Ask`](crate::Ask).
    pub async fn ask_keyed<M>(&self, msg: M) -> Result<M::Reply, AskError<M>>
    where
        M: HandledBy<A> + RoutingKey,
    {
        let pick = |router: &Self, msg: &M| router.pick_for(&msg.routing_key());
        self.ask_of(msg, DEFAULT_ASK_TIMEOUT, pick).await
    }

    async fn tell_to<M: HandledBy<A>>(
        &self,
        mut msg: M,
        pick: impl Fn(&Self, &M) -> Option<ActorRef<A>>,
    ) -> Result<(), TellError<M>> {
        let mut reason = RejectReason::NoSuchActor;
        for _ in 0..TRIES {
            let Some(routee) = pick(self, &msg) else { break };
            match routee.tell(msg).await {
                Err(error) if is_of_an_end(error.reason) => {
                    (reason, msg) = (error.reason, error.message)
                }
                told => return told,
            }
        }
        Err(TellError { reason, message: msg })
    }

    async fn ask_of<M: HandledBy<A>>(
        &self,
        mut msg: M,
        timeout: Duration,
        pick: impl Fn(&Self, &M) -> Option<ActorRef<A>>,
    ) -> Result<M::Reply, AskError<M>> {
        let mut last = RejectReason::NoSuchActor;
        let clock = self.0.core.clock();
        let deadline = clock.after(timeout);
        for _ in 0..TRIES {
            let Some(routee) = pick(self, &msg) else { break };
            let left = deadline.saturating_duration_since(clock.now());
            match routee.ask(msg).within(left).await {
                Err(AskError::Rejected { reason, message }) if is_of_an_end(reason) => {
                    (last, msg) = (reason, message);
                }
                answered => return answered,
            }
        }
        Err(AskError::Rejected { reason: last, message: msg })
    }

    /// The stateless workers of its node, if these are those of a former life of it.
    fn in_next_life(&self) -> Option<Self> {
        if self.0.whose == Whose::Program {
            return None;
        }
        self.0.core.successor()?.workers().find()
    }

    fn maintain(&self) {
        if let Some(pool) = &self.0.pool {
            pool.maintain(&self.0);
        }
    }
}

/// How many routees a message is sent to, one after the other, because each of them was ending.
const TRIES: usize = 3;

/// Whether a message was rejected because its target was ending, so that another may take it.
fn is_of_an_end(reason: RejectReason) -> bool {
    use RejectReason::{Failed, NoSuchActor, Passivated, Stopped};
    matches!(reason, Stopped | Failed | Passivated | NoSuchActor)
}

impl<A: RemoteActor> Clone for Router<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: RemoteActor> fmt::Debug for Router<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("actor", &A::NAME)
            .field("routing", &self.0.routing)
            .field("routees", &self.len())
            .finish_non_exhaustive()
    }
}
