//! A cluster under faults that a seed draws: a workload of which every message is accounted for, a nemesis,
//! and what must hold whatever the nemesis does.
//!
//! A run has two phases. In the *storm* nodes are killed, stopped, parted, slowed, restarted and replaced
//! while all of them send; what holds then is checked as it happens. In the *calm* all is mended, and the
//! cluster has to come to itself within a stated time. All of it, real QUIC and TLS included, runs in virtual
//! time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

mod actors;
mod bench;
mod faults;
mod invariants;
mod record;
mod tally;
mod workload;

use std::{
    cell::RefCell,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    Node, NodeBuilder, Rejoin,
    testkit::{self, TestCluster},
    transport::{Random, sabotage},
};

pub use self::{
    bench::{Batch, Seeds},
    invariants::Violation,
    tally::Tally,
};
use self::{faults::Nemesis, record::Record, workload::Workload};

/// Something that all nodes of a cluster write to.
pub type Shared<T> = Arc<Mutex<T>>;

/// The address of a host.
pub fn ip(host: u8) -> IpAddr {
    [127, 0, 0, host].into()
}

/// Lets so many milliseconds of virtual time pass.
pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// How long a node tries to join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// After how many milliseconds a peer is known to be gone that was no member.
const GONE_AFTER: u64 = 35_000;

/// How long the storm takes, in virtual time.
const STORM: Duration = Duration::from_secs(16);

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What happened.
    pub tally: Tally,
    /// What must not have been so; empty if all held.
    pub violations: Vec<Violation>,
    /// How much virtual time it took.
    pub simulated: Duration,
}

/// A cluster under test, and all that its parts share.
pub(crate) struct Stage {
    pub(crate) cluster: TestCluster,
    pub(crate) record: Shared<Record>,
    pub(crate) random: RefCell<Random>,
    pub(crate) tally: RefCell<Tally>,
}

/// Plays one seed, with a bug put in if one is given.
pub fn play(seed: u64, bug: Option<sabotage::Bug>) -> Report {
    sabotage::put_in(bug);
    let record = Shared::<Record>::default();
    let outcome = Rc::<RefCell<(Tally, Duration)>>::default();
    let (shared, told) = (Shared::clone(&record), Rc::clone(&outcome));
    let played = testkit::play(seed, async move |cluster: TestCluster| {
        let stage = Rc::new(Stage {
            random: RefCell::new(cluster.random()),
            cluster: cluster.clone(),
            record: Shared::clone(&shared),
            tally: RefCell::default(),
        });
        act(&stage).await;
        *told.borrow_mut() = (stage.tally.borrow().clone(), cluster.elapsed());
    });
    sabotage::put_in(None);
    let mut record = record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut violations = std::mem::take(&mut record.violations);
    if let Err(failure) = played {
        violations.push(Violation::new("the run ends", failure.cause));
    }
    let (mut tally, simulated) = outcome.borrow().clone();
    tally.add_record(&record);
    Report { seed, tally, violations, simulated }
}

impl Stage {
    /// A number below the bound.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    pub(crate) fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics under this lock")
    }

    pub(crate) fn violated(&self, invariant: &'static str, text: String) {
        self.record().violated(invariant, text);
    }

    /// The node of a number. Where all are declared down at once nobody is left to join by, until one gives up
    /// and is started anew: so they do soon.
    pub(crate) fn build(&self, number: u8) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
        let host = actors::host(&self.record, self.below(4) as usize + 1);
        let rejoin = Rejoin { limit: 4, within: Duration::from_secs(60), ..Rejoin::default() };
        let config = self.cluster.config(number).join_timeout(JOIN_TIMEOUT).rejoin(rejoin);
        move |builder| host(builder).cluster(config)
    }
}

async fn act(stage: &Rc<Stage>) {
    let cluster = &stage.cluster;
    let workload = Workload::new(stage);
    let count = 3 + stage.below(3) as u8;
    for number in 1..=count {
        match cluster.start_node(number, stage.build(number)).await {
            Ok(node) => workload.begin(number, &node).await,
            Err(error) => return stage.violated("nodes start", error.to_string()),
        }
    }
    let nemesis = Nemesis::new(stage, &workload, count);
    let sampling = tokio::task::spawn_local(invariants::watch_activations(Rc::clone(stage)));
    let counting = tokio::task::spawn_local(tally::count_links(Rc::clone(stage)));
    nemesis.storm(STORM).await;
    nemesis.calm().await;
    invariants::heals(stage).await;
    invariants::all_keys_answer(stage).await;
    workload.stop().await;
    // What waits in mailboxes is handled, and who was watched has ended.
    pause(5_000).await;
    if !invariants::open_watches(stage, &workload).is_empty() {
        // Of nodes that were gone before they were members.
        pause(GONE_AFTER).await;
    }
    sampling.abort();
    counting.abort();
    tally::count_once(stage).await;
    invariants::check(stage, &workload);
}

/// The nodes that run, by their numbers.
pub(crate) fn running(cluster: &TestCluster) -> Vec<(u8, Node)> {
    cluster.running().into_iter().map(|number| (number, cluster.node(number))).collect()
}
