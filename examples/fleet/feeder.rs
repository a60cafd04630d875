//! Feeding: the rows in batches, each until every row of it is answered in one view.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_cluster::{Node, NodeId};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    Failure,
    entities::{Aircraft, Airport, Flight, PATIENCE, Setting},
};

/// How many rows are under way at once.
const CONCURRENCY: usize = 1_024;

/// The pause before a batch is repeated.
const REPEAT_PAUSE: Duration = Duration::from_millis(50);

/// How often one batch may be repeated: far more than a failover takes.
const REPEATS_LIMIT: u32 = 1_000;

/// Feeds batches, and watches which shards change their owner.
#[derive(Debug)]
pub(crate) struct Feeder {
    node: Node,
    setting: Arc<Setting>,
    owners: Owners,
    /// How often a batch was fed again.
    pub(crate) repeats: u64,
}

/// A point within a batch at which something happens.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// How many rows of the batch are answered before.
    pub(crate) after: usize,
    /// Told when it is reached.
    pub(crate) reached: Notify,
}

impl Feeder {
    pub(crate) fn new(node: Node, setting: Arc<Setting>) -> Self {
        let owners = Owners::new(&node, &setting);
        Self { node, setting, owners, repeats: 0 }
    }

    /// How many batches there are.
    pub(crate) fn batches(&self) -> u32 {
        (self.setting.flights.rows.len() as u32).div_ceil(self.setting.batch_rows)
    }

    /// Feeds a batch until all its rows are answered and the view has not changed meanwhile.
    pub(crate) async fn feed(
        &mut self,
        batch: u32,
        mark: Option<Arc<Mark>>,
    ) -> Result<(), Failure> {
        let mut mark = mark;
        for _ in 0..REPEATS_LIMIT {
            let version = self.version();
            let unanswered = self.feed_once(batch, mark.take()).await;
            let changed = self.version() != version;
            if changed {
                self.owners.look(&self.node, &self.setting);
            }
            if unanswered == 0 && !changed {
                return Ok(());
            }
            self.repeats += 1;
            tokio::time::sleep(REPEAT_PAUSE).await;
        }
        Err(Failure::Wrong(format!("batch {batch} was repeated {REPEATS_LIMIT} times in vain")))
    }

    /// The shards of both kinds that have changed their owner so far.
    pub(crate) fn moved(&mut self) -> &BTreeSet<(Kind, u16)> {
        self.owners.look(&self.node, &self.setting);
        &self.owners.moved
    }

    fn version(&self) -> u64 {
        self.node.view().expect("the feeder has a cluster").version
    }

    /// Feeds each row of a batch once; returns how many were not answered.
    async fn feed_once(&self, batch: u32, mark: Option<Arc<Mark>>) -> u64 {
        let size = self.setting.batch_rows as usize;
        let start = batch as usize * size;
        let end = (start + size).min(self.setting.flights.rows.len());
        let next = Arc::new(AtomicUsize::new(start));
        let unanswered = Arc::new(AtomicU64::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..CONCURRENCY.min(end - start) {
            let (node, setting) = (self.node.clone(), Arc::clone(&self.setting));
            let (next, unanswered) = (Arc::clone(&next), Arc::clone(&unanswered));
            let mark = mark.clone();
            workers.spawn(async move {
                loop {
                    let row = next.fetch_add(1, Ordering::Relaxed);
                    if row >= end {
                        break;
                    }
                    if let Some(mark) = mark.as_ref().filter(|mark| row == start + mark.after) {
                        mark.reached.notify_one();
                    }
                    if !ask(&node, &setting, batch, row as u32).await {
                        unanswered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker.expect("a worker does not panic");
        }
        unanswered.load(Ordering::Relaxed)
    }
}

/// Sends one row to its aircraft; whether it was answered.
async fn ask(node: &Node, setting: &Setting, batch: u32, row: u32) -> bool {
    let flights = &setting.flights;
    let flight = &flights.rows[row as usize];
    let aircraft = node.entity::<Aircraft>(flights.aircraft.text(flight.aircraft));
    let message = Flight {
        batch,
        row,
        carrier: flights.carriers.text(flight.carrier).to_owned(),
        origin: flights.airports.text(flight.origin).to_owned(),
        dest: flights.airports.text(flight.dest).to_owned(),
        delay: flight.delay,
        miles: flight.miles,
    };
    // An aircraft waits for its airports, so its own patience ends first.
    aircraft.ask(message).within(PATIENCE * 2).await.is_ok()
}

/// The kind of an entity: shards are counted for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Aircraft,
    Airport,
}

/// Who owns each entity, and whose shard has ever changed its owner.
#[derive(Debug, Default)]
struct Owners {
    aircraft: Vec<Option<NodeId>>,
    airports: Vec<Option<NodeId>>,
    moved: BTreeSet<(Kind, u16)>,
}

impl Owners {
    fn new(node: &Node, setting: &Setting) -> Self {
        let mut owners = Self::default();
        owners.look(node, setting);
        owners.moved.clear();
        owners
    }

    fn look(&mut self, node: &Node, setting: &Setting) {
        let flights = &setting.flights;
        let aircraft = flights.aircraft.iter().map(|key| node.owner_of::<Aircraft>(key)).collect();
        let airports = flights.airports.iter().map(|key| node.owner_of::<Airport>(key)).collect();
        let before = std::mem::replace(&mut self.aircraft, aircraft);
        for ((key, now), before) in flights.aircraft.iter().zip(&self.aircraft).zip(before) {
            if *now != before {
                self.moved.insert((Kind::Aircraft, node.shard_of::<Aircraft>(key)));
            }
        }
        let before = std::mem::replace(&mut self.airports, airports);
        for ((key, now), before) in flights.airports.iter().zip(&self.airports).zip(before) {
            if *now != before {
                self.moved.insert((Kind::Airport, node.shard_of::<Airport>(key)));
            }
        }
    }
}
