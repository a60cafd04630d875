//! What a node says of itself, beside its name and its address.
//!
//! Invariant: what [`Profile::check`] lets through keeps every bound. Of two profiles of one
//! incarnation the one with the higher version counts.
//! Knows no gossip: see [`Swim`](super::Swim) for how profiles come to the other members.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a node says of itself: set by [`ClusterConfig`](crate::ClusterConfig), and the same for all
/// who see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Profile {
    /// How often it has changed in this incarnation, counted from 1.
    pub version: u32,
    /// What the node is there for, in order: see [`ClusterConfig::roles`](crate::ClusterConfig::roles).
    pub roles: Vec<Arc<str>>,
    /// Where it runs: see [`ClusterConfig::zone`](crate::ClusterConfig::zone).
    pub zone: Option<Arc<str>>,
    /// Its share of what is placed over the nodes, relative to the others', 0 to 1,000.
    pub weight: u32,
    /// The release of this library that it runs.
    pub release: Arc<str>,
    /// A hash of what it said of its messages and settings at the handshake: xxh3-64, seed 0. Nodes
    /// with the same one understand the same messages.
    pub manifest_hash: u64,
    /// Whether it is [giving up](crate::Node::drain) all it owns.
    pub is_draining: bool,
}

impl Profile {
    /// Whether the node has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| **own == *role)
    }

    /// Whether every bound is kept.
    pub(crate) fn check(&self) -> Result<(), BrokenProfile> {
        if self.roles.len() > ROLES_LIMIT {
            return Err(BrokenProfile::TooManyRoles(self.roles.len()));
        }
        if let Some(twice) = self.roles.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(BrokenProfile::Role(Arc::clone(&twice[1])));
        }
        if let Some(role) = self.roles.iter().find(|role| !is_label(role)) {
            return Err(BrokenProfile::Role(Arc::clone(role)));
        }
        if let Some(zone) = self.zone.iter().find(|zone| !is_label(zone)) {
            return Err(BrokenProfile::Zone(Arc::clone(zone)));
        }
        if self.weight > WEIGHT_LIMIT {
            return Err(BrokenProfile::Weight(self.weight));
        }
        if !is_label(&self.release) {
            return Err(BrokenProfile::Release(Arc::clone(&self.release)));
        }
        Ok(())
    }
}

/// The most roles of one node.
pub(crate) const ROLES_LIMIT: usize = 32;

/// The greatest weight.
pub(crate) const WEIGHT_LIMIT: u32 = 1_000;

/// The longest role, zone or release, in bytes.
const LABEL_LIMIT: usize = 64;

/// What a role, a zone and a release have to be.
pub(crate) const LABEL_RULE: &str = "1 to 64 letters, digits, dots, hyphens and underscores";

fn is_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=LABEL_LIMIT).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// What breaks a rule in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BrokenProfile {
    TooManyRoles(usize),
    Role(Arc<str>),
    Zone(Arc<str>),
    Weight(u32),
    Release(Arc<str>),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A profile with nothing but a weight.
    pub(crate) fn weighing(weight: u32) -> Profile {
        Profile {
            version: 1,
            roles: Vec::new(),
            zone: None,
            weight,
            release: "1.0".into(),
            manifest_hash: 0,
            is_draining: false,
        }
    }

    fn with_roles(roles: &[&str]) -> Profile {
        let roles = roles.iter().map(|role| Arc::from(*role)).collect();
        Profile { roles, ..weighing(1) }
    }

    #[test]
    fn a_role_is_found_by_its_whole_name() {
        let profile = with_roles(&["api", "worker"]);
        assert!(profile.has_role("api") && !profile.has_role("ap"));
    }

    #[test]
    fn labels_are_bounded_and_roles_are_in_order() {
        let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
        for (roles, is_ok) in [
            (&["a", "b"][..], true),
            (&[&longest], true),
            (&[&too_long], false),
            (&[""], false),
            (&["a b"], false),
            (&["b", "a"], false),
            (&["a", "a"], false),
        ] {
            assert_eq!(with_roles(roles).check().is_ok(), is_ok, "{roles:?}");
        }
        let many = |count: usize| {
            let roles: Vec<String> = (0..count).map(|n| format!("role-{n:02}")).collect();
            with_roles(&roles.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(many(32).check(), Ok(()));
        assert_eq!(many(33).check(), Err(BrokenProfile::TooManyRoles(33)));
        let zone = Profile { zone: Some("".into()), ..weighing(1) };
        assert_eq!(zone.check(), Err(BrokenProfile::Zone("".into())));
        for (weight, is_ok) in [(0, true), (1_000, true), (1_001, false)] {
            assert_eq!(weighing(weight).check().is_ok(), is_ok, "{weight}");
        }
        let release = Profile { release: too_long.as_str().into(), ..weighing(1) };
        assert_eq!(release.check(), Err(BrokenProfile::Release(too_long.as_str().into())));
    }
}
