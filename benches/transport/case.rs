//! What is measured, and what the transport is to reach.

use std::{fmt, time::Duration};

use actix_cluster_benches::report::{Standard, Target};
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

/// What a figure is compared with: raw quinn's, which this transport's is to reach for some.
pub(crate) fn standards(case: &str, metric: &str, who: &str) -> Vec<Standard> {
    if who == Who::Quinn.to_string() {
        return Vec::new();
    }
    let target = Case::named(case)
        .filter(|_| who == Who::ActixCluster.to_string())
        .and_then(|case| target(case, metric));
    vec![Standard { base: Some("quinn"), target }]
}

/// What the transport is to reach, as a ratio to raw quinn in the same run.
fn target(case: Case, metric: &str) -> Option<Target> {
    match (case, metric) {
        (Case::OneWay(64), "messages_per_second") => Some(Target::at_least(0.5).aim(0.7)),
        (Case::InFlight(256), "requests_per_second") => Some(Target::at_least(0.6).aim(0.8)),
        (Case::Payload(1_048_576), "megabytes_per_second") => Some(Target::at_least(0.85)),
        (Case::Idle, "p50_us") => Some(Target::at_most(1.15)),
        _ => None,
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
    fn only_this_transport_has_targets() {
        let target = |who| standards("one-way-64", "messages_per_second", who)[0].target;
        assert!(target("actix-cluster").is_some() && target("tcp").is_none());
        assert!(standards("one-way-64", "messages_per_second", "quinn").is_empty());
    }
}
