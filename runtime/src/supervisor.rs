//! Supervisors: which children run, in which order they start and stop, and what one's failure
//! means for the others.
//!
//! A single actor restarts by its own [`RestartPolicy`](crate::RestartPolicy). A [`Supervisor`] is
//! for actors that belong together: it starts its children in the order in which they were added,
//! each once those before it have started; stops them in the reverse order, each within its deadline;
//! and answers a failure by its [`Strategy`]. All restarts count against one intensity. Beyond it
//! the supervisor stops its children and fails itself; then its own supervisor decides, or, without
//! one, all have ended. A child keeps its mailbox and its references across restarts, its own and
//! those of the supervisors above it.
//!
//! ```text
//!  builder ── Added ──> inbox ──> task ──> plan (pure)
//!                        ^          │  <── actions
//!   child's link ── Reported        └── orders, signals ──> activations, supervisors
//! ```
//!
//! # Examples
//!
//! ```
//! use actix_cluster::{Restart, Strategy, prelude::*};
//!
//! #[derive(RemoteActor)]
//! #[remote(name = "shop.Store", handles())]
//! struct Store;
//! impl Actor for Store {
//!     type Context = ClusterContext<Self>;
//! }
//!
//! #[derive(RemoteActor)]
//! #[remote(name = "shop.Reader", handles())]
//! struct Reader(ActorRef<Store>);
//! impl Actor for Reader {
//!     type Context = ClusterContext<Self>;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder().start().await?;
//! let shop = node.spawn_supervisor().strategy(Strategy::RestForOne).start()?;
//! let store = shop.spawn(|_ctx| Store).restart(Restart::Permanent).start()?;
//! // The reference outlives each instance, so the factory may keep it.
//! let reader = shop.spawn(move |_ctx| Reader(store.clone())).start()?;
//! assert_eq!(shop.child_count(), 2);
//! shop.remove(&reader);
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod builder;
pub(crate) mod inbox;
pub(crate) mod link;
mod plan;
mod task;

use std::{error::Error, fmt, sync::Arc};

use tokio::sync::watch;

pub use self::{
    builder::{ChildBuilder, SupervisorBuilder},
    plan::Strategy,
};
use self::{inbox::Inbox, link::Signals as _};
use crate::{
    actor::{ActorId, ClusterContext, ExitReason, loading, mailbox::Signal},
    node::NodeCore,
    reference::ActorRef,
    remote_actor::RemoteActor,
};

/// A handle to a running supervisor. Cloning it is cheap, and all clones are the same supervisor.
///
/// It runs until it is told to end, gives up, or its node shuts down; dropping handles does not
/// stop it.
#[derive(Clone)]
pub struct Supervisor {
    core: Arc<NodeCore>,
    id: ActorId,
    inbox: Arc<Inbox>,
    exited: watch::Receiver<Option<ExitReason>>,
}

impl Supervisor {
    /// The supervisor's number on its node.
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// Begins to add a child whose instances `factory` makes: the first one, and a fresh one at
    /// each restart.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{prelude::*, SpawnError, Supervisor};
    /// # use std::time::Duration;
    /// # fn example<A: RemoteActor + Default>(pool: &Supervisor) -> Result<ActorRef<A>, SpawnError> {
    /// pool.spawn(|_ctx| A::default()).stop_within(Duration::from_secs(30)).start()
    /// # }
    /// ```
    pub fn spawn<A, F>(&self, factory: F) -> ChildBuilder<A>
    where
        A: RemoteActor,
        F: FnMut(&mut ClusterContext<A>) -> A + Send + 'static,
    {
        let factory = loading::at_once(factory);
        ChildBuilder::new(Arc::clone(&self.core), Arc::clone(&self.inbox), factory)
    }

    /// Begins to add a child that has to load before it can serve, as
    /// [`Node::spawn_async`](crate::Node::spawn_async). It has started once it is loaded, so those
    /// added after it wait for that.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{prelude::*, SpawnError, Supervisor};
    /// # struct Stock;
    /// # impl Stock { async fn read(_: &str) -> std::io::Result<Self> { Ok(Self) } }
    /// # #[derive(RemoteActor)]
    /// # #[remote(name = "shop.Shelf", handles())]
    /// # struct Shelf(Stock);
    /// # impl Actor for Shelf { type Context = ClusterContext<Self>; }
    /// # fn example(shop: &Supervisor) -> Result<ActorRef<Shelf>, SpawnError> {
    /// shop.spawn_async(|_ctx| async { Stock::read("shelf-7").await.map(Shelf) }).start()
    /// # }
    /// ```
    pub fn spawn_async<A, F, L, E>(&self, factory: F) -> ChildBuilder<A>
    where
        A: RemoteActor,
        F: FnMut(&mut ClusterContext<A>) -> L + Send + 'static,
        L: Future<Output = Result<A, E>> + 'static,
        E: Into<Box<dyn Error>>,
    {
        let factory = loading::loading(factory);
        ChildBuilder::new(Arc::clone(&self.core), Arc::clone(&self.inbox), factory)
    }

    /// Begins to add a supervisor below this one. When it gives up, this one decides as for any
    /// child that failed; restarted, it starts all its children again, in order. It counts as
    /// started once they have.
    ///
    /// It stops once its children have: their deadlines are its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{SpawnError, Strategy, Supervisor};
    /// # fn example(shop: &Supervisor) -> Result<Supervisor, SpawnError> {
    /// shop.spawn_supervisor().strategy(Strategy::OneForAll).start()
    /// # }
    /// ```
    pub fn spawn_supervisor(&self) -> SupervisorBuilder {
        SupervisorBuilder::new(Arc::clone(&self.core), Some(Arc::clone(&self.inbox)))
    }

    /// Stops a child within its deadline, and forgets it: it is not started again, and the others
    /// go on. No effect on an actor that is no child of this supervisor; of requests that wait for its next
    /// turn, those beyond twice its limit of children, which such actors alone can cause, have none.
    ///
    /// [`ActorRef::stop`] ends it as well, but gives it no time; [`ActorRef::kill`] is a failure,
    /// after which it is restarted.
    pub fn remove<A: RemoteActor>(&self, child: &ActorRef<A>) {
        if let Some(id) = child.id().filter(|_| child.node_id() == Some(self.core.id())) {
            self.inbox.remove(id);
        }
    }

    /// How many children it has, from when they are added until they have ended for good.
    pub fn child_count(&self) -> usize {
        self.inbox.children()
    }

    /// Asks for its end, for good: its children stop, the last one first, each within its deadline.
    pub fn stop(&self) {
        self.inbox.raise(Signal::Stop);
    }

    /// Ends all its children at once, without their hooks. A supervisor above takes it as a
    /// failure, and may restart it.
    pub fn kill(&self) {
        self.inbox.raise(Signal::Kill);
    }

    /// Why it ended, once it has, and all its children have.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.exited.borrow().clone()
    }

    /// Waits until it has ended for good, and all its children have.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub async fn ended(&self) -> ExitReason {
        let mut exited = self.exited.clone();
        match exited.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(ExitReason::NodeStopped),
            // Its thread is gone, which is an end too.
            Err(_) => ExitReason::NodeStopped,
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervisor{}@{}", self.id, self.core.id())
    }
}
