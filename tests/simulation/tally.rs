//! What happened in a run, in numbers; so that no run is taken for a test that was none.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{Stage, record::Record, running};
use crate::pause;

/// What happened in a run, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were handled.
    pub handled: u64,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages whose sender was told that they may have run.
    pub unknown: u64,
    /// Entities that began.
    pub activations: u64,
    /// Entities that went on elsewhere with their state.
    pub moves: u64,
    /// Nodes killed.
    pub kills: u64,
    /// Killed nodes started again.
    pub restarts: u64,
    /// Processes stopped, and let go on later.
    pub pauses: u64,
    /// Sides parted both ways.
    pub partitions: u64,
    /// Sides parted one way.
    pub one_way: u64,
    /// Times in which packets were lost.
    pub losses: u64,
    /// Nodes whose packets were slow.
    pub slowed: u64,
    /// Nodes whose clocks drifted.
    pub drifts: u64,
    /// Nodes restarted by plan.
    pub rolled: u64,
    /// Nodes added.
    pub grown: u64,
    /// Nodes that left for good.
    pub shrunk: u64,
    /// Sessions that went on over another connection.
    pub resumes: u64,
    /// Connections given up since both ends had dialled.
    pub both_dials: u64,
    /// The last counts of each node's transport: resumed and raced.
    links: BTreeMap<(u8, u64), (u64, u64)>,
}

impl Tally {
    pub(crate) fn add_record(&mut self, record: &Record) {
        (self.handled, self.sent) = record.counts();
        let is_unknown = |outcome: &&Option<super::record::Outcome>| {
            **outcome == Some(super::record::Outcome::Unknown)
        };
        self.unknown = record.sent.values().filter(is_unknown).count() as u64;
        self.activations = record.activations.into();
        self.moves = record.moves.into();
        self.resumes = self.links.values().map(|(resumed, _)| resumed).sum();
        self.both_dials = self.links.values().map(|(_, raced)| raced).sum();
    }

    /// All of it, by name.
    pub fn named(&self) -> [(&'static str, u64); 18] {
        [
            ("handled", self.handled),
            ("sent", self.sent),
            ("unknown", self.unknown),
            ("activations", self.activations),
            ("moves", self.moves),
            ("kills", self.kills),
            ("restarts", self.restarts),
            ("pauses", self.pauses),
            ("partitions", self.partitions),
            ("one_way", self.one_way),
            ("losses", self.losses),
            ("slowed", self.slowed),
            ("drifts", self.drifts),
            ("rolled", self.rolled),
            ("grown", self.grown),
            ("shrunk", self.shrunk),
            ("resumes", self.resumes),
            ("both_dials", self.both_dials),
        ]
    }

    /// The same with another run.
    pub fn and(mut self, other: &Self) -> Self {
        self.handled += other.handled;
        self.sent += other.sent;
        self.unknown += other.unknown;
        self.activations += other.activations;
        self.moves += other.moves;
        self.kills += other.kills;
        self.restarts += other.restarts;
        self.pauses += other.pauses;
        self.partitions += other.partitions;
        self.one_way += other.one_way;
        self.losses += other.losses;
        self.slowed += other.slowed;
        self.drifts += other.drifts;
        self.rolled += other.rolled;
        self.grown += other.grown;
        self.shrunk += other.shrunk;
        self.resumes += other.resumes;
        self.both_dials += other.both_dials;
        self
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        let named = self.named();
        named[5..16].iter().map(|(_, count)| count).sum()
    }

    /// What never happened, or too seldom, for a set of seeds to have tested anything.
    pub fn missing(&self) -> Vec<String> {
        let never = self.named().into_iter().filter(|(_, count)| *count == 0);
        let mut missing: Vec<String> = never.map(|(name, _)| format!("{name}: never")).collect();
        if self.handled * 2 < self.sent {
            missing.push(format!("only {} of {} messages were handled", self.handled, self.sent));
        }
        missing
    }
}

/// Reads now and then what the nodes' transports count: what a killed node has counted is lost otherwise.
pub(crate) async fn count_links(stage: Rc<Stage>) {
    loop {
        count_once(&stage).await;
        pause(500).await;
    }
}

pub(crate) async fn count_once(stage: &Rc<Stage>) {
    for (number, node) in running(&stage.cluster) {
        let incarnation = node.id().incarnation;
        let reading = tokio::time::timeout(Duration::from_millis(50), node.transport_stats());
        if let Ok(Some(stats)) = reading.await {
            let counts = (stats.resumed, stats.raced);
            stage.tally.borrow_mut().links.insert((number, incarnation), counts);
        }
    }
}
