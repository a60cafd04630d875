//! What a process has used so far.

use actix_cluster_benches::machine::cpu_seconds;
use serde::{Deserialize, Serialize};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: Option<f64>,
    /// How often its thread went to sleep.
    pub(crate) parks: u64,
    /// How often the transport handed frames over.
    pub(crate) deliveries: u64,
    /// What arrived and should not have, or not then.
    pub(crate) faults: u64,
}

impl Usage {
    /// Of this process; call it on its runtime.
    pub(crate) fn now(deliveries: u64, faults: u64) -> Self {
        let parks = tokio::runtime::Handle::current().metrics().worker_park_count(0);
        Self { cpu_seconds: cpu_seconds(), parks, deliveries, faults }
    }

    /// What was used since an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let cpu = self.cpu_seconds.zip(before.cpu_seconds);
        Self {
            cpu_seconds: cpu.map(|(after, before)| after - before),
            parks: self.parks - before.parks,
            deliveries: self.deliveries - before.deliveries,
            faults: self.faults - before.faults,
        }
    }
}
