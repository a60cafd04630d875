//! The switches by which a test breaks things, and mends them.

use std::{collections::BTreeMap, time::Duration};

use actix_cluster_transport::simulation::Link;

use super::{
    TestCluster,
    cluster::{Place, ip},
};
use crate::{Node, NodeBuilder, StartError};

/// How packets are carried, as far as the test has changed it.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// The share of packets that vanish.
    loss: f64,
    /// What each packet of a node takes longer; zero if it did once.
    slow: BTreeMap<u8, Duration>,
}

impl Weather {
    /// The link between nodes that are not slow. Its jitter is more than its latency, so that each seed
    /// has packets of different nodes overtake each other.
    pub(super) fn link(&self) -> Link {
        let (latency, jitter) = (Duration::from_millis(1), Duration::from_millis(4));
        Link { latency, jitter, loss: self.loss, ..Link::default() }
    }

    fn link_between(&self, a: u8, b: u8) -> Link {
        let added: Duration = [a, b].iter().filter_map(|number| self.slow.get(number)).sum();
        let link = self.link();
        Link { latency: link.latency + added, ..link }
    }
}

/// What may go wrong. Each switch says how it is mended; [`heal`](Self::heal) mends all that ails the
/// network.
///
/// # Examples
///
/// ```
/// # use actix_cluster::{StartError, testkit::TestCluster};
/// # use std::time::Duration;
/// # async fn example(cluster: TestCluster) -> Result<(), StartError> {
/// cluster.partition([1], [2, 3]);
/// cluster.advance(Duration::from_secs(10)).await;
/// cluster.heal();
/// cluster.slow(2, Duration::from_millis(200));
/// cluster.pause(3);
/// cluster.advance(Duration::from_secs(1)).await;
/// cluster.resume(3);
/// cluster.restart(1, |node| node).await?;
/// # Ok(())
/// # }
/// ```
impl TestCluster {
    /// Kills a node as SIGKILL kills a process: nothing of it runs any more, its port is closed and
    /// refuses packets, and nothing that it still had to say is said. Nothing happens if it has ended.
    ///
    /// [`start_node`](Self::start_node) starts its next incarnation.
    #[track_caller]
    pub fn kill(&self, number: u8) {
        self.at(number, |place| place.process.kill());
    }

    /// [Kills](Self::kill) a node unless it has ended, and starts the next incarnation at the same address.
    ///
    /// # Errors
    ///
    /// As [`start_node`](Self::start_node).
    pub async fn restart(
        &self,
        number: u8,
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Result<Node, StartError> {
        self.kill(number);
        self.start_node(number, build).await
    }

    /// Has a node stand still as SIGSTOP does a process: nothing of it runs, no timer of it fires, and
    /// packets queue up in its port, until it is [resumed](Self::resume).
    ///
    /// What the test itself awaits goes on, even if it was made with a handle of that node: an ask's
    /// deadline passes.
    #[track_caller]
    pub fn pause(&self, number: u8) {
        self.at(number, |place| place.process.pause());
    }

    /// Lets a paused node go on, at once with all that has become due.
    #[track_caller]
    pub fn resume(&self, number: u8) {
        self.at(number, |place| place.process.resume());
    }

    /// Cuts the nodes of one side off from those of the other, both ways: packets vanish, and nobody is
    /// told. Those that are on neither side reach both.
    pub fn partition(&self, a: impl IntoIterator<Item = u8>, b: impl IntoIterator<Item = u8>) {
        self.cut(a, b, |a, b| self.network().partition(ip(a), ip(b)));
    }

    /// Cuts the way from some nodes to others; the way back stays.
    pub fn partition_one_way(
        &self,
        from: impl IntoIterator<Item = u8>,
        to: impl IntoIterator<Item = u8>,
    ) {
        self.cut(from, to, |from, to| self.network().partition_one_way(ip(from), ip(to)));
    }

    #[track_caller]
    fn cut(
        &self,
        a: impl IntoIterator<Item = u8>,
        b: impl IntoIterator<Item = u8>,
        cut: impl Fn(u8, u8),
    ) {
        let b: Vec<u8> = b.into_iter().collect();
        for a in a {
            for b in &b {
                assert_ne!(a, *b, "node {a} is on both sides");
                cut(a, *b);
            }
        }
    }

    /// Has a node's host fall silent: it goes on running, and no packet reaches it or leaves it. To the
    /// others that is what a host looks like that has lost its power.
    pub fn silence(&self, number: u8) {
        self.network().silence(ip(number));
    }

    /// Has each packet to or from a node take so much longer; packets to itself don't travel.
    #[track_caller]
    pub fn slow(&self, number: u8, longer: Duration) {
        self.at(number, |_: &Place| {});
        self.weather().borrow_mut().slow.insert(number, longer);
        self.slow_paths();
    }

    /// Has the network lose a share of all packets, from 0.0, none, to 1.0, all.
    pub fn lose(&self, share: f64) {
        self.weather().borrow_mut().loss = share;
        self.apply_weather();
    }

    /// Makes the network what it was at the beginning: mends partitions, ends silences, slowness and
    /// losses. Processes stay as they are.
    pub fn heal(&self) {
        let mut weather = self.weather().borrow_mut();
        weather.loss = 0.0;
        weather.slow.values_mut().for_each(|longer| *longer = Duration::ZERO);
        drop(weather);
        self.apply_weather();
        self.network().heal_all();
    }

    fn apply_weather(&self) {
        let link = self.weather().borrow().link();
        self.network().set_link(link);
        self.slow_paths();
    }

    /// Gives the paths of nodes that are slow, or were, links of their own.
    pub(super) fn slow_paths(&self) {
        let weather = self.weather().borrow();
        let numbers = self.numbers();
        for (at, a) in numbers.iter().enumerate() {
            for b in &numbers[at + 1..] {
                if [a, b].iter().any(|number| weather.slow.contains_key(number)) {
                    self.network().set_link_between(ip(*a), ip(*b), weather.link_between(*a, *b));
                }
            }
        }
    }
}
