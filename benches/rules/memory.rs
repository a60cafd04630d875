//! The resident memory of this process.

use crate::Error;

/// In bytes.
pub(crate) fn resident() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("this system does not tell resident memory: {error}"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).ok_or("no resident memory")?;
    Ok(kib.parse::<u64>()? * 1_024)
}
