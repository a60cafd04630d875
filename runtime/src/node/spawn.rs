//! Starting an actor.

use std::{fmt, sync::Arc};

use super::{
    NodeCore,
    arbiter::{JOBS_LIMIT, JobRefusal, Residents},
    core::{AnyMailbox, Supervised},
    entities::EntityKey,
};
use crate::{
    actor::{
        ClusterContext, ExitReason, Overflow, RestartPolicy,
        activation::{Activation, OnExit, Supervision},
        bound::Bound,
        envelope::Rejected,
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
    arbiter: Option<usize>,
    on_exit: Option<OnExit>,
}

impl<A: RemoteActor> SpawnBuilder<A> {
    pub(super) fn new(core: Arc<NodeCore>, factory: Factory<A>) -> Self {
        Self {
            core,
            factory,
            policy: RestartPolicy::default(),
            bound: Bound::of::<A>(),
            arbiter: None,
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
        self.arbiter = Some(number);
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
        let Self { core, factory, policy, bound, arbiter, on_exit } = self;
        let supervision = Supervision::Own(RestartTracker::new(policy));
        let launch = Launch { factory, supervision, bound, arbiter, entity: None, on_exit };
        let mailbox = launch.prepare(&core);
        launch.start(&core, &mailbox, None)?;
        Ok(ActorRef::local(core, mailbox))
    }
}

/// All that it takes to begin an actor's life.
pub(crate) struct Launch<A: RemoteActor> {
    pub(crate) factory: Factory<A>,
    pub(crate) supervision: Supervision,
    pub(crate) bound: Bound,
    pub(crate) arbiter: Option<usize>,
    pub(crate) entity: Option<EntityKey>,
    pub(crate) on_exit: Option<OnExit>,
}

impl<A: RemoteActor> Launch<A> {
    /// Makes the mailbox: messages may be put into it from now on.
    pub(crate) fn prepare(&self, core: &NodeCore) -> Arc<Mailbox<A>> {
        Arc::new(Mailbox::new(core.next_id(), self.bound, self.entity.clone()))
    }

    /// Begins the actor's life; at once if `here` is its own arbiter. If it can't, the mailbox is
    /// closed, and what is in it is rejected.
    pub(crate) fn start(
        self,
        core: &Arc<NodeCore>,
        mailbox: &Arc<Mailbox<A>>,
        here: Option<&Residents>,
    ) -> Result<(), SpawnError> {
        let Self { factory, supervision, arbiter, entity, on_exit, .. } = self;
        let id = mailbox.id();
        let number = arbiter.unwrap_or(id.0 as usize) % core.arbiters().len();
        match &supervision {
            Supervision::Own(_) => core.insert(id, Arc::clone(mailbox) as Arc<dyn AnyMailbox>),
            Supervision::By { .. } => core.insert(id, Arc::new(Supervised(Arc::clone(mailbox)))),
        }
        let (theirs, inbox) = (Arc::clone(core), Arc::clone(mailbox));
        let begin = move |residents: &Residents| {
            let resident = residents.enter();
            let registry = Arc::clone(&theirs);
            let ended = Arc::clone(&inbox) as Arc<dyn AnyMailbox>;
            let report: OnExit = Box::new(move |reason| {
                registry.remove(id);
                if let Some(key) = &entity {
                    registry.entities().remove(key, &ended);
                }
                if let Some(on_exit) = on_exit {
                    on_exit(reason);
                }
                drop(resident);
            });
            let ctx = ClusterContext::new(inbox, theirs, residents.turns());
            spawn_local(Activation::new(ctx, factory, supervision, report));
        };
        if let Some(residents) = here.filter(|residents| residents.arbiter() == number) {
            begin(residents);
            return Ok(());
        }
        core.arbiters()[number].submit(Box::new(begin)).map_err(|refusal| {
            core.remove(id);
            let (error, reason) = match refusal {
                JobRefusal::Busy => (SpawnError::Busy, RejectReason::Full),
                JobRefusal::Closed => (SpawnError::NodeStopped, RejectReason::NodeStopped),
            };
            for envelope in mailbox.close(reason) {
                Rejected { envelope, reason }.end(mailbox, core.dead_letters());
            }
            // Of an entity somebody may have found it in the meantime.
            mailbox.record_exit(ExitReason::NodeStopped);
            watch::actor_ended(core, mailbox, &ExitReason::NodeStopped);
            error
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
    /// The node is shutting down.
    NodeStopped,
    /// The supervisor has as many children as it may; start it once one of them has ended.
    TooManyChildren {
        /// How many that is.
        limit: usize,
    },
    /// The supervisor has ended, or is about to.
    SupervisorEnded,
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
        }
    }
}

impl std::error::Error for SpawnError {}
