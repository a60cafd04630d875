//! Starting an actor.

use std::{fmt, sync::Arc};

use actix::Addr;

use super::{
    NodeCore,
    any_mailbox::{AnyMailbox, Supervised},
    arbiter::{JOBS_LIMIT, JobRefusal, Residents},
    entities::EntityKey,
};
use crate::{
    actor::{
        ClusterContext, ExitReason, Overflow, RestartPolicy,
        activation::{Activation, OnExit, Supervision},
        bound::Bound,
        envelope::Rejected,
        inlet::Inlet,
        loading::Factory,
        mailbox::Mailbox,
        restart::RestartTracker,
    },
    reference::{ActorRef, RejectReason},
    remote_actor::RemoteActor,
    watch,
};

/// An actor about to be started; made by [`Node::spawn`](super::Node::spawn).
#[must_use = "an actor lives once it is started"]
pub struct SpawnBuilder<A: RemoteActor> {
    core: Arc<NodeCore>,
    factory: Factory<A>,
    policy: RestartPolicy,
    bound: Bound,
    runs_on: RunsOn,
    on_exit: Option<OnExit>,
}

impl<A: RemoteActor> SpawnBuilder<A> {
    pub(super) fn new(core: Arc<NodeCore>, factory: Factory<A>) -> Self {
        Self {
            core,
            factory,
            policy: RestartPolicy::default(),
            bound: Bound::of::<A>(),
            runs_on: RunsOn::Next,
            on_exit: None,
        }
    }

    /// What is to be done when the actor fails. Default: [`RestartPolicy::default`].
    pub fn supervise(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How many accepted messages may wait; at least 1. Default: what the actor type states
    /// ([`RemoteActor::MAILBOX_CAPACITY`]), or else 1,024.
    ///
    /// Too small, and senders wait although there is memory; too large, and an overloaded actor
    /// answers late instead of telling its senders.
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.bound.capacity = messages;
        self
    }

    /// What becomes of a message for which there is no room. Default: what the actor type states
    /// ([`RemoteActor::OVERFLOW`]), or else [`Overflow::Wait`].
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.bound.overflow = policy;
        self
    }

    /// The arbiter to run on, by number, modulo how many there are. Default: one after the other.
    pub fn arbiter(mut self, number: usize) -> Self {
        self.runs_on = RunsOn::Arbiter(number);
        self
    }

    /// Runs the actor on a thread of its own, which starts with it and ends with it. For handlers that
    /// compute for long or block: on an arbiter all its other actors would wait.
    ///
    /// All else is as it is for any actor. No watchdog looks at such a thread, since it keeps nobody
    /// waiting but the actor's own senders. A node has at most 256.
    pub fn own_thread(mut self) -> Self {
        self.runs_on = RunsOn::OwnThread;
        self
    }

    /// Called once with the reason when the actor has ended for good, on its arbiter. It must not
    /// block, and must not panic.
    pub fn on_exit(mut self, report: impl FnOnce(ExitReason) + Send + 'static) -> Self {
        self.on_exit = Some(Box::new(report));
        self
    }

    /// Starts the actor. Messages can be sent at once; they wait in the mailbox until it runs.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: the node takes no actor now, or none any more.
    pub fn start(self) -> Result<ActorRef<A>, SpawnError> {
        self.launch(None)
    }

    /// Starts the actor, and gives an actix address of it beside its reference: for existing code that
    /// holds an `Addr` or a `Recipient`.
    ///
    /// Both lead to the same actor and survive its restarts; the address is good on this node alone, is
    /// closed once the actor has ended for good, and doesn't keep it alive. What is sent by it passes by
    /// the mailbox: its order is its own, and its bound
    /// [`INLET_LIMIT`](ClusterContext::INLET_LIMIT) messages, each beyond being a dead letter without a
    /// name. It is dropped then, so that `send` ends in `MailboxError::Closed`. That bound is kept when
    /// the actor has its turn: code on other threads may be ahead of it by more, as with any `do_send`,
    /// and so may all while a handler awaits that has the actor to itself.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::prelude::*;
    /// #[derive(Message)]
    /// #[rtype(result = "u32")]
    /// struct Add(u32);
    ///
    /// #[derive(RemoteActor)]
    /// #[remote(name = "shop.Sum", handles())]
    /// struct Sum(u32);
    ///
    /// # impl Actor for Sum { type Context = ClusterContext<Self>; }
    /// impl Handler<Add> for Sum {
    ///     type Result = u32;
    ///     fn handle(&mut self, Add(number): Add, _: &mut Self::Context) -> u32 {
    ///         self.0 += number;
    ///         self.0
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::builder().start().await?;
    /// let (_sum, addr) = node.spawn(|_| Sum(0)).start_with_addr()?;
    /// addr.do_send(Add(1));
    /// assert_eq!(addr.recipient().send(Add(2)).await?, 3);
    /// # node.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn start_with_addr(self) -> Result<(ActorRef<A>, Addr<A>), SpawnError> {
        let inlet = Inlet::new();
        let addr = inlet.addr();
        Ok((self.launch(Some(inlet))?, addr))
    }

    fn launch(self, inlet: Option<Box<Inlet<A>>>) -> Result<ActorRef<A>, SpawnError> {
        let Self { core, factory, policy, bound, runs_on, on_exit } = self;
        let supervision = Supervision::Own(RestartTracker::new(policy));
        let launch = Launch { factory, supervision, bound, runs_on, entity: None, on_exit, inlet };
        let mailbox = launch.prepare(&core);
        launch.start(&core, &mailbox, None)?;
        Ok(ActorRef::local(mailbox))
    }
}

/// The thread that an actor runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunsOn {
    /// That of the next arbiter.
    Next,
    /// That of the arbiter with this number, modulo how many there are.
    Arbiter(usize),
    /// One of its own.
    OwnThread,
}

/// All that it takes to begin an actor's life.
pub(crate) struct Launch<A: RemoteActor> {
    pub(crate) factory: Factory<A>,
    pub(crate) supervision: Supervision,
    pub(crate) bound: Bound,
    pub(crate) runs_on: RunsOn,
    pub(crate) entity: Option<EntityKey>,
    pub(crate) on_exit: Option<OnExit>,
    /// Where an actix address leads that was given out before the start.
    pub(crate) inlet: Option<Box<Inlet<A>>>,
}

impl<A: RemoteActor> Launch<A> {
    /// Makes the mailbox: messages may be put into it from now on.
    pub(crate) fn prepare(&self, core: &Arc<NodeCore>) -> Arc<Mailbox<A>> {
        Arc::new(Mailbox::new(Arc::clone(core), core.next_id(), self.bound, self.entity.clone()))
    }

    /// Begins the actor's life; at once if `here` is its own arbiter. If it can't, the mailbox is
    /// closed, and what is in it is rejected.
    pub(crate) fn start(
        self,
        core: &Arc<NodeCore>,
        mailbox: &Arc<Mailbox<A>>,
        here: Option<&Residents>,
    ) -> Result<(), SpawnError> {
        let Self { factory, supervision, runs_on, on_exit, inlet, .. } = self;
        let id = mailbox.id();
        let number = match runs_on {
            RunsOn::Next => Some(id.0 as usize % core.arbiters().len()),
            RunsOn::Arbiter(number) => Some(number % core.arbiters().len()),
            RunsOn::OwnThread => None,
        };
        match &supervision {
            Supervision::Own(_) => core.insert(id, Arc::clone(mailbox) as Arc<dyn AnyMailbox>),
            Supervision::By { .. } => core.insert(id, Arc::new(Supervised(Arc::clone(mailbox)))),
        }
        let inbox = Arc::clone(mailbox);
        let begin = move |residents: &Residents| {
            let mut ctx = ClusterContext::new(inbox, residents.turns());
            if let Some(inlet) = inlet {
                ctx.set_inlet(inlet);
            }
            spawn_local(Activation::new(ctx, factory, supervision, residents.enter(), on_exit));
        };
        // Looked at after it was put into the table: who closes arbiters tells whoever is there then.
        let is_there =
            |residents: &&Residents| Some(residents.arbiter()) == number && !residents.is_closed();
        if let Some(residents) = here.filter(is_there) {
            begin(residents);
            return Ok(());
        }
        let started = match number {
            Some(number) => {
                core.arbiters()[number].submit(Box::new(begin)).map_err(SpawnError::from)
            }
            None => {
                let name = format!("{}-actor-{}", core.id().name, id.0);
                core.own_threads().start(name, Box::new(begin))
            }
        };
        started.inspect_err(|error| {
            core.remove(id);
            let reason = match error {
                SpawnError::NodeStopped => RejectReason::NodeStopped,
                _ => RejectReason::Full,
            };
            for envelope in mailbox.close(reason) {
                Rejected { envelope, reason }.end(mailbox, core.dead_letters());
            }
            // Of an entity somebody may have found it in the meantime.
            mailbox.record_exit(ExitReason::NodeStopped);
            watch::actor_ended(core, mailbox, &ExitReason::NodeStopped);
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an activation belongs to its arbiter, reports its own end, and catches panics"
)]
fn spawn_local<A: RemoteActor>(activation: Activation<A>) {
    tokio::task::spawn_local(activation);
}

impl<A: RemoteActor> fmt::Debug for SpawnBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnBuilder")
            .field("actor", &A::NAME)
            .field("policy", &self.policy)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

/// Why an actor was not started. Nothing of it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The arbiter has too many starts ahead of this one; try again once it has caught up.
    Busy,
    /// The node is shutting down, or was declared down and has not joined again yet.
    NodeStopped,
    /// The supervisor has as many children as it may; start it once one of them has ended.
    TooManyChildren {
        /// How many that is.
        limit: usize,
    },
    /// The supervisor has ended, or is about to.
    SupervisorEnded,
    /// As many actors of the node have a thread of their own as may; start it once one of them has ended.
    TooManyThreads {
        /// How many that is.
        limit: usize,
    },
    /// The operating system gave no thread; the log says why.
    NoThread,
}

impl From<JobRefusal> for SpawnError {
    fn from(refusal: JobRefusal) -> Self {
        match refusal {
            JobRefusal::Busy => Self::Busy,
            JobRefusal::Closed => Self::NodeStopped,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "{JOBS_LIMIT} starts wait for this arbiter already"),
            Self::NodeStopped => f.write_str("the node is shutting down"),
            Self::TooManyChildren { limit } => {
                write!(f, "the supervisor has {limit} children already")
            }
            Self::SupervisorEnded => f.write_str("the supervisor has ended"),
            Self::TooManyThreads { limit } => {
                write!(f, "{limit} actors of the node have a thread of their own already")
            }
            Self::NoThread => f.write_str("a thread could not be made"),
        }
    }
}

impl std::error::Error for SpawnError {}
