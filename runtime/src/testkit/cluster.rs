//! The nodes of a test: numbered, each in a process of its own on a host of its own.
//!
//! Invariant: all that a node does is decided by the cluster's seed, its number, and how often it was
//! started, as far as its actors are.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::pending,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    panic::Location,
    rc::Rc,
    time::Duration,
};

use actix_cluster_transport::{
    clock::Instant,
    simulation::{Host, Process, SimulatedNetwork, Trace},
};
use tokio::sync::{OnceCell, oneshot};

use super::{Mock, Probe, faults::Weather, time::within};
use crate::{
    Clock, ClusterConfig, JoinError, Node, NodeBuilder, NodeId, Random, RemoteMessage, StartError,
    node::LocalThreads,
};

/// The port that every node of a test has.
pub const PORT: u16 = 7000;

/// How many arbiters a node of a test has, unless it says otherwise: enough for actors of one node to
/// have several threads of control.
const ARBITERS: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");

/// How long is waited, in virtual time, for what has to come about by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at, in virtual time.
const LOOK: Duration = Duration::from_millis(1);

/// A cluster of simulated nodes, whose test plays fate. Clones are the same cluster.
///
/// Nodes have numbers from 1: node 2 is `n2` at 127.0.0.2. Each starts with the clock, the network, the
/// threads and the seed of the simulation, three arbiters, and the seeds that it joins by; the rest is up to
/// who starts it. The numbers of this page that are not of a node that was started are mistakes of the test,
/// and panic.
///
/// All methods belong into a simulation: the body of a [`macro@super::cluster_test`], or of
/// [`play`](super::play).
///
/// # Cancel safety
///
/// All futures may be dropped. A start that is dropped leaves nothing behind.
///
/// # Examples
///
/// ```
/// use actix_cluster::testkit::{self, TestCluster};
///
/// testkit::play(7, async |cluster: TestCluster| {
///     cluster.start(3, |node| node).await?;
///     cluster.kill(2);
///     cluster.converge().await;
///     assert_eq!(cluster.node(1).members().len(), 2);
///     Ok::<(), actix_cluster::StartError>(())
/// })?;
/// # Ok::<(), testkit::Failure>(())
/// ```
#[derive(Clone)]
pub struct TestCluster(Rc<Shared>);

struct Shared {
    seed: u64,
    network: SimulatedNetwork,
    config: ClusterConfig,
    random: RefCell<Random>,
    places: RefCell<BTreeMap<u8, Place>>,
    /// The hosts of nodes that start next.
    next_hosts: RefCell<BTreeMap<u8, Host>>,
    weather: RefCell<Weather>,
    /// A node that is no member, for the probes and mocks of the test itself.
    own: OnceCell<Node>,
    began: Cell<Option<Instant>>,
}

/// A node as it was last started.
pub(super) struct Place {
    node: Node,
    pub(super) process: Process,
}

impl TestCluster {
    /// A cluster without a node, of which `seed` decides every draw.
    pub fn new(seed: u64) -> Self {
        let network = SimulatedNetwork::new(seed);
        let weather = Weather::default();
        network.set_link(weather.link());
        Self(Rc::new(Shared {
            seed,
            network,
            config: ClusterConfig::dev("test").expect("a name by the rules"),
            random: RefCell::new(Random::from_seed(seed)),
            places: RefCell::default(),
            next_hosts: RefCell::default(),
            weather: RefCell::new(weather),
            own: OnceCell::new(),
            began: Cell::new(None),
        }))
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A source of random numbers for the test's own choices, decided by the seed: another one at each
    /// call.
    pub fn random(&self) -> Random {
        self.0.random.borrow_mut().fork()
    }

    /// Starts so many nodes, with the numbers that follow those started before, and waits until all see
    /// each other. `build` says what they have in common: the types that they host.
    ///
    /// # Errors
    ///
    /// [`StartError`] of the first that does not start. Those before it run.
    ///
    /// # Panics
    ///
    /// As [`converge`](Self::converge); and beyond 254 nodes.
    #[track_caller]
    pub fn start(
        &self,
        count: u8,
        build: impl Fn(NodeBuilder) -> NodeBuilder,
    ) -> impl Future<Output = Result<(), StartError>> {
        let place = Location::caller();
        async move {
            for _ in 0..count {
                let last = self.0.places.borrow().last_key_value().map_or(0, |(number, _)| *number);
                self.start_node(last + 1, &build).await?;
            }
            self.converge_at(place).await;
            Ok(())
        }
    }

    /// Starts the node of a number, 1 to 254, and gives it once it has joined by way of those that run: a
    /// new one, or the next incarnation of one that has ended.
    ///
    /// To change how it takes part in the cluster, give it a changed [`config`](Self::config).
    ///
    /// # Errors
    ///
    /// [`StartError`]; among others when the node of that number runs.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{StartError, testkit::TestCluster};
    /// # async fn example(cluster: TestCluster) -> Result<(), StartError> {
    /// let worker = cluster.config(4).roles(["worker"]);
    /// let node = cluster.start_node(4, |node| node.cluster(worker)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_node(
        &self,
        number: u8,
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Result<Node, StartError> {
        let host = self.host(number);
        let builder = build(self.builder(number, &host));
        self.0.next_hosts.borrow_mut().remove(&number);
        let (started, outcome) = oneshot::channel();
        let process = Process::start_on(host, async move |_| {
            let _ = started.send(builder.start().await);
            pending::<()>().await;
        });
        let starting = Starting(Some(process));
        let node = outcome.await.unwrap_or(Err(JoinError::Interrupted.into()))?;
        let place = Place { node: node.clone(), process: starting.done() };
        self.0.places.borrow_mut().insert(number, place);
        self.slow_paths();
        Ok(node)
    }

    fn builder(&self, number: u8, host: &Host) -> NodeBuilder {
        Node::builder()
            .name(&format!("n{number}"))
            .arbiters(ARBITERS)
            .threads(LocalThreads)
            .seed(self.random().next_u64())
            .clock(host.clock())
            .cluster(self.config(number))
    }

    /// How the node that starts next with a number takes part in the cluster, unless its start says
    /// otherwise: with development certificates, by way of the nodes that run now.
    pub fn config(&self, number: u8) -> ClusterConfig {
        // All that may be seeds of one node.
        const SEEDS: usize = 8;
        let seeds = self.running().into_iter().filter(|seed| *seed != number).take(SEEDS);
        let seeds = seeds.map(|number| self.addr(number));
        let config = self.0.config.clone().network(self.host(number));
        config.bind(self.addr(number)).seeds(seeds)
    }

    /// The host of the node that starts next with a number, for a configuration of its own: it is the
    /// network that this names.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::{ClusterConfig, testkit::TestCluster, transport::Credentials};
    /// # fn example(cluster: &TestCluster, credentials: Credentials) -> Result<(), Box<dyn std::error::Error>> {
    /// let config = ClusterConfig::new("shop", credentials)?;
    /// let config = config.network(cluster.host(4)).bind(cluster.addr(4)).seed(cluster.addr(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn host(&self, number: u8) -> Host {
        let mut hosts = self.0.next_hosts.borrow_mut();
        hosts.entry(number).or_insert_with(|| self.0.network.host(ip(number))).clone()
    }

    /// The node of a number, as it was last started.
    #[track_caller]
    pub fn node(&self, number: u8) -> Node {
        self.at(number, |place| place.node.clone())
    }

    /// The number of the node with this name.
    ///
    /// # Panics
    ///
    /// When none was started so.
    #[track_caller]
    pub fn number_of(&self, node: &NodeId) -> u8 {
        let places = self.0.places.borrow();
        let found = places.iter().find(|(_, place)| place.node.id().name == node.name);
        let Some((number, _)) = found else { panic!("{node} is none of this cluster's nodes") };
        *number
    }

    /// The numbers of the nodes that run: that were started and have not ended, nor are paused. One that was
    /// declared down and is to join again runs.
    pub fn running(&self) -> Vec<u8> {
        let places = self.0.places.borrow();
        let runs = |place: &Place| !place.process.has_ended() && !place.process.is_paused();
        let running = places.iter().filter(|(_, place)| runs(place) && !has_shut_down(&place.node));
        running.map(|(number, _)| *number).collect()
    }

    /// The address of the node of a number, whether there is one or not.
    pub fn addr(&self, number: u8) -> SocketAddr {
        SocketAddr::new(ip(number), PORT)
    }

    /// The network, for what has no switch of its own here: drifting clocks, narrow links, rebound
    /// sockets, and the log of all that happens on it.
    pub fn network(&self) -> &SimulatedNetwork {
        &self.0.network
    }

    /// The fingerprint of all that has happened on the network. Two runs of one seed have the same, as long
    /// as the actors are decided by the seed too.
    pub fn trace(&self) -> Trace {
        self.0.network.trace()
    }

    /// A probe that no fault of the cluster reaches, for references that are handed to the code under
    /// test; on a node of the test's own, which is no member. To watch actors, have one on a member:
    /// [`Probe::start`].
    pub async fn probe(&self) -> Probe {
        Probe::start(self.own_node().await)
    }

    /// A mock that no fault of the cluster reaches, as a [`probe`](Self::probe).
    pub async fn mock<M: RemoteMessage>(
        &self,
        answer: impl FnMut(M) -> M::Result + Send + 'static,
    ) -> Mock<M> {
        Mock::start(self.own_node().await, answer)
    }

    async fn own_node(&self) -> &Node {
        let start = async || {
            let builder = Node::builder().name("test").arbiters(NonZeroUsize::MIN);
            let builder = builder.threads(LocalThreads).seed(self.0.seed);
            builder.start().await.expect("a node without a cluster starts")
        };
        self.0.own.get_or_init(start).await
    }

    /// Lets so much virtual time pass, with all that happens in it.
    pub async fn advance(&self, duration: Duration) {
        Clock::default().sleep(duration).await;
    }

    /// The virtual time since the run began.
    pub fn elapsed(&self) -> Duration {
        let now = Clock::default().now();
        let began = self.0.began.get().unwrap_or(now);
        self.0.began.set(Some(began));
        now.saturating_duration_since(began)
    }

    /// Waits until `condition` holds, for at most a minute of virtual time; it is looked at each
    /// millisecond.
    ///
    /// # Panics
    ///
    /// When the minute has passed, with `what` was waited for and the place that waits.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            let failed = || format!("{place}: still not so after {PATIENCE:?}: {what}");
            wait_for(&mut condition, failed).await;
        }
    }

    /// Waits until each of the nodes that [run](Self::running) has exactly these in its view, for at most a
    /// minute of virtual time: until a node that was started is known to all, and one that has ended is
    /// forgotten; and until all entities are where they belong by that.
    ///
    /// # Panics
    ///
    /// When the minute has passed, with what each of them sees, and the place that waits.
    #[track_caller]
    pub fn converge(&self) -> impl Future<Output = ()> {
        self.converge_at(Location::caller())
    }

    async fn converge_at(&self, place: &Location<'_>) {
        let failed = || {
            let views = self.views();
            format!(
                "{place}: after {PATIENCE:?} the nodes that run still see other members: {views}"
            )
        };
        wait_for(&mut || self.have_converged(), failed).await;
    }

    fn have_converged(&self) -> bool {
        let nodes = self.running_nodes();
        let mut ids: Vec<_> = nodes.iter().map(|node| node.id().clone()).collect();
        ids.sort();
        let agrees = |node: &Node| {
            let mut members: Vec<_> = node.members().into_iter().map(|member| member.id).collect();
            members.sort();
            members == ids
        };
        nodes.iter().all(agrees) && nodes.iter().all(Node::has_settled)
    }

    /// What each node that runs sees.
    fn views(&self) -> String {
        let of = |node: &Node| {
            let members = node.members().into_iter().map(|member| member.id).collect::<Vec<_>>();
            let moves = if node.has_settled() { "" } else { ", and shards move" };
            format!("{} sees {members:?}{moves}", node.id())
        };
        self.running_nodes().iter().map(of).collect::<Vec<_>>().join(", ")
    }

    fn running_nodes(&self) -> Vec<Node> {
        self.running().into_iter().map(|number| self.node(number)).collect()
    }

    /// How each node that was started is.
    pub(super) fn states(&self) -> String {
        let of = |Place { node, process }: &Place| {
            let state = match (process.has_ended(), process.is_paused()) {
                (true, _) => "was killed",
                (false, true) => "is paused",
                (false, false) if has_shut_down(node) => "has shut down",
                (false, false) => "runs",
            };
            format!("{} {state}", node.id())
        };
        let states: Vec<_> = self.0.places.borrow().values().map(of).collect();
        if states.is_empty() { "no node was started".to_owned() } else { states.join(", ") }
    }

    /// Shuts all nodes down that run, one after the other.
    pub(super) async fn shut_down(&self) -> Result<(), String> {
        for node in self.running_nodes().iter().chain(self.0.own.get()) {
            if within(PATIENCE, node.shutdown()).await.is_none() {
                let id = node.id();
                return Err(format!("{id} has not shut down within {PATIENCE:?} of virtual time"));
            }
        }
        Ok(())
    }

    /// Kills all that is left.
    pub(super) fn end(&self) {
        self.0.places.borrow().values().for_each(|place| place.process.kill());
    }

    #[track_caller]
    pub(super) fn at<T>(&self, number: u8, read: impl FnOnce(&Place) -> T) -> T {
        let places = self.0.places.borrow();
        let Some(place) = places.get(&number) else {
            panic!("node {number} was not started; these were: {:?}", places.keys());
        };
        read(place)
    }

    pub(super) fn numbers(&self) -> Vec<u8> {
        self.0.places.borrow().keys().copied().collect()
    }

    pub(super) fn weather(&self) -> &RefCell<Weather> {
        &self.0.weather
    }
}

impl fmt::Debug for TestCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = self.states();
        f.debug_struct("TestCluster").field("seed", &self.0.seed).field("nodes", &states).finish()
    }
}

/// A process whose node is not there yet: it ends if the node never is.
struct Starting(Option<Process>);

impl Starting {
    fn done(mut self) -> Process {
        self.0.take().expect("it is taken once")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.iter().for_each(Process::kill);
    }
}

/// Looks again and again, and gives up by a panic with what `failed` says.
async fn wait_for(condition: &mut dyn FnMut() -> bool, failed: impl FnOnce() -> String) {
    let clock = Clock::default();
    let deadline = clock.after(PATIENCE);
    while !condition() {
        if clock.now() >= deadline {
            panic!("{}", failed());
        }
        clock.sleep(LOOK).await;
    }
}

fn has_shut_down(node: &Node) -> bool {
    node.core().lives().has_ended()
}

/// The address of a host.
#[track_caller]
pub(super) fn ip(number: u8) -> IpAddr {
    assert!((1..=254).contains(&number), "nodes have numbers from 1 to 254, not {number}");
    [127, 0, 0, number].into()
}
