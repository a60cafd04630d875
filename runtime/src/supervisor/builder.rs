//! Starting supervisors and their children.

use std::{any::Any, fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Supervisor,
    inbox::Inbox,
    link::{Child, Link, Signals},
    plan::{ChildRules, Plan, Rules, Strategy},
    task::Task,
};
use crate::{
    actor::{
        ActorId, Backoff, ExitReason, Overflow, Restart,
        activation::{OnExit, Supervision},
        bound::Bound,
        loading::Factory,
        mailbox::{Mailbox, Signal},
    },
    node::{AnyMailbox, JobRefusal, Launch, NodeCore, Residents, RunsOn, SpawnError},
    reference::ActorRef,
    remote_actor::RemoteActor,
    watch::Watchable,
};

/// How long a child has for its end unless told otherwise.
const DEFAULT_STOP_WITHIN: Duration = Duration::from_secs(5);

/// How many children a supervisor may have unless told otherwise.
const DEFAULT_CHILDREN_LIMIT: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// A supervisor about to be started; made by [`Node::spawn_supervisor`](crate::Node::spawn_supervisor)
/// and [`Supervisor::spawn_supervisor`].
#[must_use = "a supervisor lives once it is started"]
pub struct SupervisorBuilder {
    core: Arc<NodeCore>,
    parent: Option<Arc<Inbox>>,
    rules: Rules,
    restart: Restart,
    children_limit: NonZeroUsize,
    arbiter: Option<usize>,
    on_exit: Option<OnExit>,
}

impl SupervisorBuilder {
    pub(crate) fn new(core: Arc<NodeCore>, parent: Option<Arc<Inbox>>) -> Self {
        Self {
            core,
            parent,
            rules: Rules::default(),
            restart: Restart::default(),
            children_limit: DEFAULT_CHILDREN_LIMIT,
            arbiter: None,
            on_exit: None,
        }
    }

    /// Which children are restarted when one fails. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.rules.strategy = strategy;
        self
    }

    /// The intensity: how many restarts all children together are granted in any `within`. One
    /// failure more, and the supervisor stops them all and fails itself. Default 10 in 10 s; 0 grants
    /// none.
    ///
    /// A restart of several children for the failure of one counts once. Too low, and a passing
    /// fault ends the whole tree; too high, and broken children keep their node busy.
    pub fn intensity(mut self, limit: u32, within: Duration) -> Self {
        (self.rules.limit, self.rules.within) = (limit, within);
        self
    }

    /// The waits before restarts: each child has a series of its own, which starts anew once it has
    /// not failed for as long as the window of the [`intensity`](Self::intensity). Default:
    /// [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = backoff;
        self
    }

    /// What this supervisor's own supervisor does when it fails. Default [`Restart::Transient`]; a
    /// supervisor ends by failing, or because it is told to, so [`Restart::Permanent`] says the same.
    /// No effect without a supervisor above.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How many children it may have, supervisors among them. Default 1,024.
    ///
    /// Each change takes time in proportion to how many there are; for more than some thousand,
    /// put supervisors between.
    pub fn children_limit(mut self, children: NonZeroUsize) -> Self {
        self.children_limit = children;
        self
    }

    /// The arbiter to run on, by number, modulo how many there are; its children choose their own.
    /// Default: one after the other.
    pub fn arbiter(mut self, number: usize) -> Self {
        self.arbiter = Some(number);
        self
    }

    /// Called once with the reason when the supervisor has ended for good, and all its children
    /// have, on its arbiter. It must not block, and must not panic.
    pub fn on_exit(mut self, report: impl FnOnce(ExitReason) + Send + 'static) -> Self {
        self.on_exit = Some(Box::new(report));
        self
    }

    /// Starts the supervisor. Children can be added at once.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: the node takes no actor now, or none any more; the supervisor above has too
    /// many children, or has ended.
    pub fn start(self) -> Result<Supervisor, SpawnError> {
        let id = self.core.next_id();
        let Self { core, parent, rules, restart, children_limit, arbiter, on_exit } = self;
        let inbox = Arc::new(Inbox::new(children_limit.get()));
        let (exit, exited) = watch::channel(None);
        let supervisor =
            Supervisor { core: Arc::clone(&core), id, inbox: Arc::clone(&inbox), exited };
        let theirs = Arc::clone(&inbox);
        let begin = move |link: Option<Arc<Link>>| {
            let has_supervisor = link.is_some();
            core.insert(id, Arc::new(Entry { inbox: Arc::clone(&theirs), has_supervisor }));
            let plan = Plan::new(rules);
            let number = arbiter.unwrap_or(id.0 as usize) % core.arbiters().len();
            let registry = Arc::clone(&core);
            let job = move |residents: &Residents| {
                let resident = residents.enter();
                let unlisted = Arc::clone(&core);
                let report: OnExit = Box::new(move |reason| {
                    unlisted.remove(id);
                    if let Some(on_exit) = on_exit {
                        on_exit(reason);
                    }
                    drop(resident);
                });
                spawn_local(Task::new(id, core, theirs, plan, link, exit, report));
            };
            registry.arbiters()[number].submit(Box::new(job)).map_err(|refusal| {
                registry.remove(id);
                match refusal {
                    JobRefusal::Busy => SpawnError::Busy,
                    JobRefusal::Closed => SpawnError::NodeStopped,
                }
            })
        };
        match parent {
            None => begin(None)?,
            Some(above) => {
                let rules = ChildRules { restart, stop_within: Duration::MAX };
                launch_child(&above, id, rules, inbox, |link| begin(Some(link)))?;
            }
        }
        Ok(supervisor)
    }
}

/// A child about to be started; made by [`Supervisor::spawn`].
#[must_use = "an actor lives once it is started"]
pub struct ChildBuilder<A: RemoteActor> {
    core: Arc<NodeCore>,
    supervisor: Arc<Inbox>,
    factory: Factory<A>,
    rules: ChildRules,
    bound: Bound,
    runs_on: RunsOn,
    on_exit: Option<OnExit>,
}

impl<A: RemoteActor> ChildBuilder<A> {
    pub(crate) fn new(core: Arc<NodeCore>, supervisor: Arc<Inbox>, factory: Factory<A>) -> Self {
        let rules = ChildRules { restart: Restart::default(), stop_within: DEFAULT_STOP_WITHIN };
        let bound = Bound::of::<A>();
        Self { core, supervisor, factory, rules, bound, runs_on: RunsOn::Next, on_exit: None }
    }

    /// After which ends the child is started again. Default [`Restart::Transient`].
    ///
    /// A [`Restart::Temporary`] child isn't started again either when it was stopped because
    /// another one failed.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// How long the child has from when its supervisor asks it to stop until it is killed. Default
    /// 5 s; zero kills at once, without hooks; [`Duration::MAX`] never does.
    ///
    /// A child stops at its next turn, unless its `stopping` hook answers `Running::Continue`: then
    /// it goes on handling messages until it stops itself, or is killed. Too short, and it is cut off
    /// in what it has to finish; too long, and one that hangs holds up its supervisor's end.
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.rules.stop_within = time;
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

    /// Runs the child on a thread of its own, as
    /// [`SpawnBuilder::own_thread`](crate::SpawnBuilder::own_thread) does.
    pub fn own_thread(mut self) -> Self {
        self.runs_on = RunsOn::OwnThread;
        self
    }

    /// Called once with the reason when the child has ended for good, on its arbiter; not at a
    /// restart. It must not block, and must not panic.
    pub fn on_exit(mut self, report: impl FnOnce(ExitReason) + Send + 'static) -> Self {
        self.on_exit = Some(Box::new(report));
        self
    }

    /// Adds the child behind all others. It starts once those before it have; until then its
    /// messages wait in the mailbox.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]: the supervisor has too many children, or has ended; the node takes no actor
    /// now, or none any more.
    pub fn start(self) -> Result<ActorRef<A>, SpawnError> {
        let Self { core, supervisor, factory, rules, bound, runs_on, on_exit } = self;
        // The link has the number of the mailbox, and the launch has the link.
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&core), core.next_id(), bound, None));
        let signals = Arc::clone(&mailbox) as Arc<dyn Signals>;
        launch_child(&supervisor, mailbox.id(), rules, signals, |link| {
            let supervision = Supervision::By { link, begun: 0 };
            let (entity, inlet) = (None, None);
            let launch = Launch { factory, supervision, bound, runs_on, entity, on_exit, inlet };
            launch.start(&core, &mailbox, None)
        })?;
        Ok(ActorRef::local(mailbox))
    }
}

/// Begins the life of a child, and hands it to its supervisor.
fn launch_child(
    supervisor: &Arc<Inbox>,
    id: ActorId,
    rules: ChildRules,
    signals: Arc<dyn Signals>,
    begin: impl FnOnce(Arc<Link>) -> Result<(), SpawnError>,
) -> Result<(), SpawnError> {
    supervisor.reserve()?;
    let link = Arc::new(Link::new(id, Arc::clone(supervisor)));
    let child = Child::new(Arc::clone(&link), signals);
    if let Err(error) = begin(link) {
        supervisor.release();
        return Err(error);
    }
    supervisor.add(id, rules, child).map_err(|child| {
        child.finish(ExitReason::Stopped);
        SpawnError::SupervisorEnded
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a supervisor belongs to its arbiter, and reports its own end"
)]
fn spawn_local(task: Task) {
    tokio::task::spawn_local(task);
}

/// A supervisor in the node's table of actors.
struct Entry {
    inbox: Arc<Inbox>,
    has_supervisor: bool,
}

impl AnyMailbox for Entry {
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn signal(&self, signal: Signal) {
        // The node's end reaches one with a supervisor through that, in order.
        if signal != Signal::NodeStop || !self.has_supervisor {
            self.inbox.raise(signal);
        }
    }

    fn signal_idle(&self, _: u32) {}

    fn used_at(&self) -> u32 {
        0
    }

    fn is_asked_to_go(&self) -> bool {
        false
    }

    fn watchable(self: Arc<Self>) -> Option<Arc<dyn Watchable>> {
        None
    }

    fn type_name(&self) -> &'static str {
        "a supervisor"
    }
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder")
            .field("rules", &self.rules)
            .field("children_limit", &self.children_limit)
            .finish_non_exhaustive()
    }
}

impl<A: RemoteActor> fmt::Debug for ChildBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildBuilder")
            .field("actor", &A::NAME)
            .field("rules", &self.rules)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
