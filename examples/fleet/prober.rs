//! How long the shards of a killed node are without an owner that answers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actix_cluster::{Node, NodeId};
use tokio::task::JoinSet;

use crate::{
    Failure,
    entities::{Aircraft, Setting},
};

/// How often an entity of each lost shard is asked, once the last answer or failure is in.
const PERIOD: Duration = Duration::from_millis(20);

/// How long one probe waits.
const PROBE_PATIENCE: Duration = Duration::from_millis(200);

/// How long a shard may stay lost before the job gives up.
const GIVE_UP: Duration = Duration::from_secs(120);

/// One key for each shard that a node owns; where no aircraft falls into a shard, a made-up one.
pub(crate) fn keys_of(node: &Node, setting: &Setting, owner: &str) -> Vec<String> {
    let owned = |key: &str| {
        node.owner_of::<Aircraft>(key).is_some_and(|id: NodeId| id.to_string() == owner)
    };
    let known = setting.flights.aircraft.iter().map(str::to_owned);
    // With 4,096 shards, this many keys leave one out about once in ten million times.
    let made_up = (0..100_000).map(|n| format!("probe-{n}"));
    let mut keys = BTreeMap::new();
    for key in known.chain(made_up) {
        let shard = node.shard_of::<Aircraft>(&key);
        if !keys.contains_key(&shard) && owned(&key) {
            keys.insert(shard, key);
        }
    }
    keys.into_values().collect()
}

/// Asks one entity of each lost shard again and again, until all have answered.
#[derive(Debug)]
pub(crate) struct Prober(JoinSet<Option<Duration>>);

impl Prober {
    /// Begins to ask, at the moment of the kill.
    pub(crate) fn start(node: &Node, keys: Vec<String>, killed: Instant) -> Self {
        let mut probes = JoinSet::new();
        for key in keys {
            let entity = node.entity::<Aircraft>(&key);
            probes.spawn(async move {
                let mut ticks = tokio::time::interval(PERIOD);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                while killed.elapsed() < GIVE_UP {
                    ticks.tick().await;
                    let probe = entity.ask(crate::entities::Probe).within(PROBE_PATIENCE);
                    if probe.await.is_ok() {
                        return Some(killed.elapsed());
                    }
                }
                None
            });
        }
        Self(probes)
    }

    /// The longest time that a shard was lost.
    pub(crate) async fn longest(mut self) -> Result<Duration, Failure> {
        let mut longest = Duration::ZERO;
        while let Some(probe) = self.0.join_next().await {
            let Some(time) = probe.expect("a probe does not panic") else {
                return Err(Failure::Wrong(format!(
                    "a lost shard has not answered in {GIVE_UP:?}"
                )));
            };
            longest = longest.max(time);
        }
        Ok(longest)
    }
}
