//! Supervisors: which children run, in which order they start and stop, and what one's failure
//! means for the others.

#[allow(dead_code, reason = "what acts on it comes next")]
mod plan;

pub use self::plan::Strategy;
