//! What this process holds and uses.

use actix_cluster_benches::machine;

/// What it holds that is no file's, in bytes: without the program itself.
pub(crate) fn resident() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status");
    let status = status.map_err(|error| format!("the system tells of no memory: {error}"))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.map(|kib| kib * 1_024).ok_or_else(|| "the system tells of no memory".to_owned())
}

/// The processor time that it has used, in seconds: others on the machine do not count.
pub(crate) fn cpu_seconds() -> Result<f64, String> {
    machine::cpu_seconds().ok_or_else(|| "the system tells of no processor time".to_owned())
}
