//! What is measured, and what the transport is to reach.

use std::{fmt, time::Duration};

use clap::ValueEnum;

/// Who moves the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Who {
    /// This project's transport.
    ActixCluster,
    /// Raw quinn with the same QUIC settings.
    Quinn,
    /// Raw TCP.
    Tcp,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::ActixCluster, Self::Quinn, Self::Tcp];
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActixCluster => "actix-cluster",
            Self::Quinn => "quinn",
            Self::Tcp => "tcp",
        })
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Messages one way, as fast as they are taken; the payload's size in bytes.
    OneWay(usize),
    /// Requests with so many in flight, each answered by an echo of 64 bytes.
    InFlight(u64),
    /// One request at a time, with a pause between.
    Idle,
    /// As one way, counted in bytes.
    Payload(usize),
}

const KIB: usize = 1_024;

impl Case {
    pub(crate) const ALL: [Self; 11] = [
        Self::OneWay(16),
        Self::OneWay(64),
        Self::OneWay(256),
        Self::OneWay(1_024),
        Self::InFlight(1),
        Self::InFlight(16),
        Self::InFlight(256),
        Self::InFlight(4_096),
        Self::Idle,
        Self::Payload(64 * KIB),
        Self::Payload(1_024 * KIB),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.to_string() == name)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneWay(bytes) => write!(f, "one-way-{bytes}"),
            Self::InFlight(count) => write!(f, "in-flight-{count}"),
            Self::Idle => f.write_str("idle"),
            Self::Payload(bytes) => write!(f, "payload-{}k", bytes / KIB),
        }
    }
}

/// How long each measurement takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) time: Duration,
    /// Idle round trips.
    pub(crate) pings: usize,
}

/// The pause before an idle round trip.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// What the transport is to reach, as a ratio to raw quinn in the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) bound: Bound,
    /// What would be better still.
    pub(crate) aim: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    /// The target of a case's figure, if it has one.
    pub(crate) fn of(case: Case, metric: &str) -> Option<Self> {
        let at_least = |ratio, aim| Some(Self { bound: Bound::AtLeast(ratio), aim });
        match (case, metric) {
            (Case::OneWay(64), "messages_per_second") => at_least(0.5, Some(0.7)),
            (Case::InFlight(256), "requests_per_second") => at_least(0.6, Some(0.8)),
            (Case::Payload(1_048_576), "megabytes_per_second") => at_least(0.85, None),
            (Case::Idle, "p50_us") => Some(Self { bound: Bound::AtMost(1.15), aim: None }),
            _ => None,
        }
    }

    pub(crate) fn is_met_by(&self, ratio: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => ratio >= bound,
            Bound::AtMost(bound) => ratio <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Bound::AtLeast(bound) => write!(f, "at least {bound}")?,
            Bound::AtMost(bound) => write!(f, "at most {bound}")?,
        }
        self.aim.map_or(Ok(()), |aim| write!(f, ", aim {aim}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_found_by_its_name() {
        for case in Case::ALL {
            assert_eq!(Case::named(&case.to_string()), Some(case));
        }
        assert_eq!(Case::named("one-way-65"), None);
    }

    #[test]
    fn a_target_is_met_at_its_bound() {
        let rate = Target::of(Case::OneWay(64), "messages_per_second").expect("it has one");
        assert!(rate.is_met_by(0.5) && !rate.is_met_by(0.49));
        let wait = Target::of(Case::Idle, "p50_us").expect("it has one");
        assert!(wait.is_met_by(1.15) && !wait.is_met_by(1.16));
        assert!(Target::of(Case::Idle, "p99_us").is_none());
    }
}
