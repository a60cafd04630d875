//! Typed, supervised actix actors that are addressed the same way on this thread or on another
//! machine.
//!
//! An actor is ordinary actix with another context type: `impl Actor` with
//! [`ClusterContext`], and `impl Handler<M>` for each message. A [`Node`] runs actors on its
//! arbiters, restarts those that panic, and hands out [`ActorRef`]s.
//!
//! # Examples
//!
//! ```
//! use actix_cluster::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, RemoteMessage, Serialize, Deserialize)]
//! #[rtype(result = "i64")]
//! #[remote(name = "bank.Deposit", version = 1)]
//! struct Deposit(i64);
//!
//! #[derive(RemoteActor)]
//! #[remote(name = "bank.Account", handles(Deposit))]
//! struct Account { balance: i64 }
//!
//! impl Actor for Account {
//!     type Context = ClusterContext<Self>;
//! }
//!
//! impl Handler<Deposit> for Account {
//!     type Result = i64;
//!     fn handle(&mut self, Deposit(amount): Deposit, _: &mut Self::Context) -> i64 {
//!         self.balance += amount;
//!         self.balance
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder().start().await?;
//! let account = node.spawn(|_| Account { balance: 0 }).start()?;
//! account.tell(Deposit(5)).await?;
//! assert_eq!(account.ask(Deposit(2)).await?, 7);
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

extern crate self as actix_cluster;

pub mod actor;
pub mod call;
pub mod cluster;
pub mod contract;
pub mod handler;
pub mod interceptor;
pub mod message;
pub mod node;
pub mod reference;
pub mod remote_actor;
pub mod responder;
pub mod router;
pub mod stream;
pub mod supervisor;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod watch;

#[cfg(any(test, feature = "benching"))]
#[doc(hidden)]
pub mod benching;
mod fixed_map;

/// Compiles and runs the programs of the chapters.
#[cfg(doctest)]
#[doc = include_str!("../../docs/actors.md")]
mod actors_chapter {}
#[cfg(doctest)]
#[doc = include_str!("../../docs/supervision.md")]
mod supervision_chapter {}
#[cfg(doctest)]
#[doc = include_str!("../../docs/messages.md")]
mod messages_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/failures.md")]
mod failures_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/watching.md")]
mod watching_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/mailboxes.md")]
mod mailboxes_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/timers.md")]
mod timers_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/routers.md")]
mod routers_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/names.md")]
mod names_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/blocking.md")]
mod blocking_chapter {}

/// As above.
#[cfg(doctest)]
#[doc = include_str!("../../docs/moving.md")]
mod moving_chapter {}

/// As above.
#[cfg(all(doctest, feature = "testkit"))]
#[doc = include_str!("../../docs/testing.md")]
mod testing_chapter {}

pub use actix_cluster_derive::{RemoteActor, RemoteMessage};
/// The transport, as far as a node's settings name it.
pub use actix_cluster_transport as transport;
pub use actix_cluster_transport::{Clock, Random, TimeSource};

pub use crate::{
    actor::{
        ActorId, Backoff, ClusterContext, ExitReason, OrStash, Overflow, ReceiveTimeout, Restart,
        RestartPolicy, Timers, TooManyTimers,
    },
    call::{Call, CallChain, HeaderError},
    cluster::{
        ClusterConfig, ClusterConfigError, JoinError, Member, Minority, PlacementStrategy, Profile,
        Rejoin, Site, View, discovery,
    },
    handler::{AsyncHandler, ReentrantHandler, RespondingHandler, StreamingHandler, This},
    message::{CodecError, NewerReply, OlderReply, RemoteMessage, WireId},
    node::{
        Blocking, BlockingError, DeadLetter, DeadLetterOutcome, DeadLetterSubscription,
        DeadLetterTarget, EntityCount, EntitySettings, HotEntity, Key, Node, NodeBuilder, NodeEnd,
        NodeId, PhaseEnd, RegisterError, ShutdownPhases, ShutdownReport, SpawnBuilder, SpawnError,
        StartError, WhereisError,
    },
    reference::{
        ActorRef, Ask, AskError, MessageRef, RejectReason, Tell, TellError, UnknownReason,
    },
    remote_actor::{
        Collision, Entity, EntityState, HandledBy, Handles, MessageTable, MovedState, Placement,
        RemoteActor,
    },
    responder::{Forward, ForwardError, Responder},
    router::{Resize, Router, Routing, RoutingKey},
    stream::{ItemSink, ItemStream, SendItemError, StreamMessage},
    supervisor::{Strategy, Supervisor},
    watch::{Terminated, TerminatedReason, Watch, WatchCounts, WatchError, WatchId, Watched},
};

/// What most programs need: actix's actor traits, and this crate's own.
pub mod prelude {
    pub use actix::{
        Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, Message, MessageResult,
        ResponseActFuture, ResponseFuture, Running, StreamHandler, WrapFuture,
    };

    pub use crate::{
        ActorRef, AskError, AsyncHandler, ClusterConfig, ClusterContext, Entity, Handles,
        MessageRef, Node, ReentrantHandler, RemoteActor, RemoteMessage, Responder,
        RespondingHandler, TellError, This, WireId,
    };
}
