//! Actors on one node: context, mailbox, and the supervised future that drives them.
//!
//! An actor's life is one `Activation` future on one arbiter. It owns the instance,
//! its context and its futures; the mailbox is shared with the senders and outlives every
//! instance, so that a restart keeps it.
//!
//! ```text
//!  senders ──> mailbox (bounded) ──> activation ──> instance (factory, handlers)
//!                 │  signals ──────────^   │ panic: drop instance, back off, factory again
//!                 └── waiters              └ end: close mailbox, reject the rest, report the reason
//! ```

pub(crate) mod activation;
mod aside;
pub(crate) mod bound;
mod context;
pub(crate) mod envelope;
mod exit;
pub(crate) mod failure;
pub(crate) mod frame_envelope;
pub(crate) mod inlet;
mod items;
pub(crate) mod loading;
pub(crate) mod loan;
pub(crate) mod mailbox;
pub(crate) mod panic;
mod pause;
pub(crate) mod repeats;
pub(crate) mod restart;
pub(crate) mod stash;
mod timer;
mod timers;
pub(crate) mod turns;

pub use self::{
    bound::Overflow,
    context::ClusterContext,
    exit::ExitReason,
    mailbox::ActorId,
    restart::{Backoff, Restart, RestartPolicy},
    stash::OrStash,
    timers::{ReceiveTimeout, Timers, TooManyTimers},
};
