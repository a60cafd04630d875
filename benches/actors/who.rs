//! Who is measured, in what, and what is to be reached.

use std::fmt;

use actix_cluster_benches::report::{Standard, Target};
use actors_rules::Case;
use clap::ValueEnum;

/// Who runs the actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Who {
    /// This project.
    ActixCluster,
    /// Plain actix, tells by `try_send`.
    Actix,
    /// kameo; between processes with its feature `remote`.
    Kameo,
    /// ractor.
    Ractor,
    /// ractor with its cluster.
    #[value(name = "ractor_cluster")]
    RactorCluster,
    /// actix with actix-telepathy.
    ActixTelepathy,
    /// murmer.
    Murmer,
}

impl Who {
    pub(crate) const ALL: [Self; 7] = [
        Self::ActixCluster,
        Self::Actix,
        Self::Kameo,
        Self::Ractor,
        Self::RactorCluster,
        Self::ActixTelepathy,
        Self::Murmer,
    ];

    /// Whether a case is for it.
    pub(crate) fn plays(self, case: Case) -> bool {
        match self {
            Self::ActixCluster | Self::Kameo => true,
            Self::Actix | Self::Ractor => !case.is_remote(),
            Self::RactorCluster | Self::ActixTelepathy | Self::Murmer => case.is_remote(),
        }
    }

    /// The package in `peers/` that plays the case; `None` for this project.
    pub(crate) fn package(self, case: Case) -> Option<&'static str> {
        match self {
            Self::ActixCluster => None,
            Self::Actix => Some("peer-actix"),
            Self::Kameo if case.is_remote() => Some("peer-kameo-remote"),
            Self::Kameo => Some("peer-kameo"),
            Self::Ractor => Some("peer-ractor"),
            Self::RactorCluster => Some("peer-ractor-cluster"),
            Self::ActixTelepathy => Some("peer-actix-telepathy"),
            Self::Murmer => Some("peer-murmer"),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActixCluster => "actix-cluster",
            Self::Actix => "actix",
            Self::Kameo => "kameo",
            Self::Ractor => "ractor",
            Self::RactorCluster => "ractor_cluster",
            Self::ActixTelepathy => "actix-telepathy",
            Self::Murmer => "murmer",
        })
    }
}

/// What this project's figures are compared with, and what they are to reach.
pub(crate) fn standards(case: &str, _: &str, who: &str) -> Vec<Standard> {
    if who != Who::ActixCluster.to_string() {
        return Vec::new();
    }
    let to = |base, target| Standard { base: Some(base), target };
    let ahead = Some(Target::at_least(1.0));
    match Case::named(case) {
        Some(Case::Tell(..) | Case::Ask(..)) => {
            vec![to("actix", Some(Target::at_least(0.9))), to("kameo", ahead), to("ractor", ahead)]
        }
        Some(Case::Spawn) => vec![to("actix", None), to("kameo", ahead), to("ractor", ahead)],
        Some(Case::IdleBytes) => {
            let smaller = Some(Target::at_most(1.0));
            let small = Standard { base: None, target: Some(Target::at_most(800.0)) };
            vec![small, to("actix", None), to("kameo", smaller), to("ractor", smaller)]
        }
        Some(Case::RemoteTell) => vec![
            to("ractor_cluster", Some(Target::at_least(10.0))),
            to("kameo", Some(Target::at_least(10.0))),
            to("actix-telepathy", Some(Target::at_least(1.0).aim(15.0))),
            to("murmer", ahead),
        ],
        Some(Case::RemoteAsk(in_flight)) => {
            let times = if in_flight == 256 { 4.0 } else { 1.0 };
            vec![
                to("ractor_cluster", ahead),
                to("kameo", ahead),
                to("actix-telepathy", ahead),
                to("murmer", Some(Target::at_least(times))),
            ]
        }
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_found_by_its_name_and_compared_with_everybody_who_plays_it() {
        for case in Case::ALL {
            let name = case.to_string();
            assert_eq!(Case::named(&name), Some(case));
            let standards = standards(&name, "", "actix-cluster");
            for who in Who::ALL.into_iter().filter(|who| *who != Who::ActixCluster) {
                let who_name = who.to_string();
                let is_base = standards.iter().any(|s| s.base == Some(&who_name));
                assert_eq!(is_base, who.plays(case), "{case}, {who}");
                assert_eq!(who.package(case).is_some(), who != Who::ActixCluster);
            }
        }
    }
}
