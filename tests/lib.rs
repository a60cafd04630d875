//! What the whole-cluster tests have beyond `actix_cluster::testkit`: worlds whose seed a test writes
//! down, on plain links, with one configuration and one seed to join by.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

pub mod processes;

use std::{future::Future, net::SocketAddr, time::Duration};

use actix_cluster::{
    ClusterConfig, Node, NodeBuilder, StartError,
    testkit::{self, TestCluster},
    transport::simulation::{Link, SimulatedNetwork},
};

pub use actix_cluster_simulation::{Shared, ip, pause};

/// The environment variable that chooses other worlds.
pub const SEEDS: &str = "ACTIX_CLUSTER_SEEDS_OF_TESTS";

/// The port that every simulated node binds.
pub const PORT: u16 = testkit::PORT;

/// How many arbiters a simulated node has.
pub const ARBITERS: usize = 3;

/// A simulated world: its network, and what its nodes have in common.
#[derive(Debug)]
pub struct World {
    /// The network between the nodes.
    pub network: SimulatedNetwork,
    /// What all nodes are configured with, apart from their addresses.
    pub config: ClusterConfig,
    cluster: TestCluster,
}

/// A node of a simulated world.
#[derive(Debug)]
pub struct SimulatedNode {
    /// The node itself.
    pub node: Node,
    /// The host it runs on.
    pub host: u8,
    cluster: TestCluster,
}

/// The address of the node on a host.
pub fn addr(host: u8) -> SocketAddr {
    SocketAddr::new(ip(host), PORT)
}

impl World {
    /// A world that `seed` decides, together with the number in the environment variable
    /// [`SEEDS`], if there is one: so the same tests play in as many worlds as one likes.
    pub fn new(seed: u64) -> Self {
        let others = std::env::var(SEEDS).ok().and_then(|text| text.parse().ok()).unwrap_or(0u64);
        let seed = seed.wrapping_add(others.wrapping_mul(1_000_003));
        // Shown when the test fails.
        println!("replay: {SEEDS}={others} cargo test -p actix-cluster-tests, seed {seed}");
        let config = ClusterConfig::dev("simulated").expect("a cluster name");
        let cluster = TestCluster::new(seed);
        cluster.network().set_link(Link::default());
        Self { network: cluster.network().clone(), config, cluster }
    }

    /// The configuration of the node on a host, which joins through the first host.
    pub fn config_of(&self, host: u8) -> ClusterConfig {
        let config = self.config.clone().network(self.cluster.host(host));
        config.bind(addr(host)).seed(addr(1))
    }

    /// Starts the node `n<host>`, with what `build` adds.
    pub async fn try_start(
        &self,
        host: u8,
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Result<SimulatedNode, StartError> {
        let seed = self.cluster.seed() ^ u64::from(host);
        let build = |builder: NodeBuilder| build(builder.seed(seed).cluster(self.config_of(host)));
        let node = self.cluster.start_node(host, build).await?;
        Ok(SimulatedNode { node, host, cluster: self.cluster.clone() })
    }

    /// As [`try_start`](Self::try_start), for nodes that are to join.
    pub async fn start(
        &self,
        host: u8,
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> SimulatedNode {
        self.try_start(host, build).await.expect("the node joins")
    }
}

impl SimulatedNode {
    /// Ends the node as SIGKILL ends a process: nothing of it runs any more, its port is closed.
    pub async fn kill(self) {
        self.cluster.kill(self.host);
    }

    /// Stops the node as SIGSTOP stops a process: its arbiters and its cluster's thread stand still,
    /// and packets queue up in its port.
    pub fn pause(&self) {
        self.cluster.pause(self.host);
    }

    /// Lets a paused node go on, with all that has become due meanwhile.
    pub fn resume(&self) {
        self.cluster.resume(self.host);
    }

    /// Waits until the node sees so many members, and all entities are where they belong by that.
    pub async fn sees(&self, members: usize) {
        self.knows(members).await;
        until("it has settled", || self.node.has_settled()).await;
    }

    /// Waits until the node sees so many members.
    pub async fn knows(&self, members: usize) {
        let mut view = self.node.view().expect("it has a cluster");
        while view.members.len() != members {
            view = self.node.view_after(view.version).await;
        }
    }
}

/// Runs a simulated world to its end. With `RUST_LOG` set its nodes say what they do.
pub fn simulate(world: impl Future<Output = ()>) {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Another test of the same process may have done it.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
    let patience = Duration::from_secs(3_600);
    testkit::simulate(patience, world).expect("the world ends within an hour of its own time");
}

/// Waits until `condition` holds, in virtual time.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if condition() {
            return;
        }
        pause(1).await;
    }
    panic!("a minute has passed, and still not: {what}");
}
