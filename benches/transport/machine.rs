//! What the system is asked for: a core for a process, and its processor time.

#[cfg(target_os = "linux")]
mod linux {
    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        sys::resource::{UsageWho, getrusage},
        unistd::Pid,
    };

    /// The cores this process may run on.
    pub(crate) fn cores() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
        (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
    }

    /// Keeps this thread, and those it starts from now on, on one core. Returns whether it worked.
    pub(crate) fn pin(core: usize) -> bool {
        let mut set = CpuSet::new();
        set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).is_ok()
    }

    /// What this process has used so far, user and system, in seconds.
    pub(crate) fn cpu_seconds() -> Option<f64> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let seconds = |time: nix::sys::time::TimeVal| {
            time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0
        };
        Some(seconds(usage.user_time()) + seconds(usage.system_time()))
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    pub(crate) fn cores() -> Vec<usize> {
        Vec::new()
    }

    pub(crate) fn pin(_: usize) -> bool {
        false
    }

    pub(crate) fn cpu_seconds() -> Option<f64> {
        None
    }
}

pub(crate) use linux::{cores, cpu_seconds, pin};

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
