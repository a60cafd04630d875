//! What must hold, whatever befalls the nodes.

mod activations;
mod healing;
mod outcomes;
mod restarts;
mod watches;

use std::{fmt, rc::Rc};

pub(crate) use self::{
    activations::watch as watch_activations,
    healing::{all_keys_answer, heals},
    watches::open as open_watches,
};
use super::{Stage, workload::Workload};

/// What was not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What must hold.
    pub invariant: &'static str,
    /// What was instead.
    pub text: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, text: String) -> Self {
        Self { invariant, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// Looks at what can be judged once all is over. Order, repeats and bounds are looked at as messages are
/// handled, by the record.
pub(crate) fn check(stage: &Rc<Stage>, workload: &Workload) {
    outcomes::check(stage, workload);
    watches::check(stage, workload);
    restarts::check(stage);
}
