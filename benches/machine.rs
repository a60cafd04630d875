//! What the system is asked for: a core for a process, and its processor time.

#[cfg(target_os = "linux")]
mod linux {
    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        sys::resource::{UsageWho, getrusage},
        unistd::Pid,
    };

    /// The cores this process may run on.
    pub fn cores() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
        (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
    }

    /// Keeps this thread, and the threads and processes it starts from now on, on some cores. Returns
    /// whether it worked.
    pub fn pin(cores: &[usize]) -> bool {
        let mut set = CpuSet::new();
        cores.iter().all(|core| set.set(*core).is_ok())
            && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
    }

    /// What this process has used so far, user and system, in seconds.
    pub fn cpu_seconds() -> Option<f64> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let seconds = |time: nix::sys::time::TimeVal| {
            time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0
        };
        Some(seconds(usage.user_time()) + seconds(usage.system_time()))
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    /// The cores this process may run on: the system does not tell.
    pub fn cores() -> Vec<usize> {
        Vec::new()
    }

    /// Keeps this thread on some cores: the system does not do it.
    pub fn pin(_: &[usize]) -> bool {
        false
    }

    /// What this process has used so far: the system does not tell.
    pub fn cpu_seconds() -> Option<f64> {
        None
    }
}

pub use linux::{cores, cpu_seconds, pin};
