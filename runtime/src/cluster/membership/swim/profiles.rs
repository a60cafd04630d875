//! The members' profiles, and whom to ask for those that are missing or old.
//!
//! Gossip names a member and nothing of its profile; each packet of its own says which version that
//! has. What is new is pulled over a session: first from whoever told of the member, then in turns
//! from the member itself, until it is there. So a member is in the view once its profile is, and
//! all of whom a view tells can be placed.
//!
//! Invariant: a profile is replaced by a later version only, and never outlives its incarnation.
//! Knows no packet: [`Swim`](super::Swim) asks and answers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{cluster::membership::Profile, node::NodeId};

/// How long an answer is waited for before another is asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The most profiles that one packet asks for: so that the answer fits one too.
pub(super) const WANTED_LIMIT: usize = 16;

/// What is known of the members that gossip tells of: as many as are alive.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    known: BTreeMap<Arc<str>, Known>,
}

#[derive(Debug)]
struct Known {
    id: NodeId,
    profile: Option<Arc<Profile>>,
    /// The highest version that was heard of.
    newest: u32,
    /// Who told of it.
    teller: NodeId,
    asks: u32,
    ask_at: Instant,
}

impl Known {
    fn is_current(&self) -> bool {
        self.profile.as_ref().is_some_and(|profile| profile.version >= self.newest)
    }
}

impl Profiles {
    /// Follows gossip: `alive` are all other members, and `teller` has told of those that are new.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        alive: impl Iterator<Item = NodeId>,
        teller: Option<&NodeId>,
    ) {
        let mut former = std::mem::take(&mut self.known);
        for id in alive {
            let kept = former.remove(&id.name).filter(|known| known.id == id);
            let known = kept.unwrap_or_else(|| {
                let teller = teller.unwrap_or(&id).clone();
                Known { id: id.clone(), profile: None, newest: 1, teller, asks: 0, ask_at: now }
            });
            self.known.insert(Arc::clone(&id.name), known);
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// The profile of one run of a node.
    pub(super) fn find(&self, id: &NodeId) -> Option<&Arc<Profile>> {
        self.known.get(&id.name).filter(|known| known.id == *id)?.profile.as_ref()
    }

    /// A member says which version its profile has.
    pub(super) fn hear(&mut self, now: Instant, id: &NodeId, version: u32) {
        if let Some(known) = self.known.get_mut(&id.name).filter(|known| known.id == *id)
            && version > known.newest
        {
            (known.newest, known.asks, known.ask_at) = (version, 0, now);
            known.teller = id.clone();
        }
    }

    /// Takes a profile in; whether it is news.
    pub(super) fn take(&mut self, id: &NodeId, profile: Profile) -> bool {
        let known = self.known.get_mut(&id.name).filter(|known| known.id == *id);
        let Some(known) = known else { return false };
        let is_news = known.profile.as_ref().is_none_or(|old| profile.version > old.version);
        if is_news {
            known.newest = known.newest.max(profile.version);
            known.profile = Some(Arc::new(profile));
        }
        is_news
    }

    /// When there is somebody to be asked.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        let missing = self.known.values().filter(|known| !known.is_current());
        missing.map(|known| known.ask_at).min()
    }

    /// Who is to be asked now, and for whose profiles.
    pub(super) fn asks(&mut self, now: Instant) -> BTreeMap<NodeId, Vec<NodeId>> {
        let mut asks: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        let is_due = |known: &&mut Known| !known.is_current() && known.ask_at <= now;
        for known in self.known.values_mut().filter(is_due) {
            let whom = if known.asks % 2 == 0 { &known.teller } else { &known.id };
            let wanted = asks.entry(whom.clone()).or_default();
            if wanted.len() < WANTED_LIMIT {
                wanted.push(known.id.clone());
                known.asks = known.asks.wrapping_add(1);
                known.ask_at = now + ASK_AGAIN;
            } else {
                // The next packet asks for it.
                known.ask_at = now + Duration::from_millis(1);
            }
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use actix_cluster_transport::Clock;

    use super::*;
    use crate::cluster::membership::profile::tests::weighing;

    fn id(name: &str, incarnation: u64) -> NodeId {
        NodeId { name: name.into(), incarnation }
    }

    fn version(version: u32) -> Profile {
        Profile { version, ..weighing(1) }
    }

    fn ask(whom: &NodeId, of: &[&NodeId]) -> BTreeMap<NodeId, Vec<NodeId>> {
        BTreeMap::from([(whom.clone(), of.iter().copied().cloned().collect())])
    }

    #[test]
    fn who_told_of_a_member_is_asked_first_and_then_the_member() {
        let (mut profiles, mut now) = (Profiles::default(), Clock::default().now());
        let (a, b) = (id("a", 1), id("b", 1));
        profiles.follow(now, [b.clone()].into_iter(), Some(&a));
        for whom in [&a, &b, &a, &b] {
            assert_eq!(profiles.ask_at(), Some(now));
            assert_eq!(profiles.asks(now), ask(whom, &[&b]));
            assert_eq!(profiles.asks(now), BTreeMap::new());
            now += ASK_AGAIN;
        }
        assert!(profiles.take(&b, version(1)));
        assert_eq!((profiles.ask_at(), profiles.asks(now)), (None, BTreeMap::new()));
    }

    #[test]
    fn a_later_version_is_asked_for_and_an_earlier_one_changes_nothing() {
        let (mut profiles, now) = (Profiles::default(), Clock::default().now());
        let (a, b) = (id("a", 1), id("b", 1));
        profiles.follow(now, [b.clone()].into_iter(), Some(&a));
        assert!(profiles.take(&b, version(2)));
        profiles.hear(now, &b, 2);
        assert_eq!(profiles.ask_at(), None);
        profiles.hear(now, &b, 3);
        assert_eq!(profiles.asks(now), ask(&b, &[&b]), "the member itself has it for certain");
        assert!(!profiles.take(&b, version(1)) && !profiles.take(&b, version(2)));
        assert_eq!(profiles.find(&b).map(|profile| profile.version), Some(2));
        assert!(profiles.ask_at().is_some());
        assert!(profiles.take(&b, version(3)));
        assert_eq!(profiles.ask_at(), None);
    }

    #[test]
    fn a_profile_goes_with_its_incarnation() {
        let (mut profiles, now) = (Profiles::default(), Clock::default().now());
        let (first, second) = (id("b", 1), id("b", 2));
        profiles.follow(now, [first.clone()].into_iter(), None);
        assert!(profiles.take(&first, version(7)));
        profiles.follow(now, [second.clone()].into_iter(), None);
        assert_eq!((profiles.find(&first), profiles.find(&second)), (None, None));
        assert!(!profiles.take(&first, version(8)), "it is over");
        assert!(profiles.take(&second, version(1)));
        profiles.follow(now, [].into_iter(), None);
        assert!(!profiles.take(&second, version(2)), "it is gone");
    }

    #[test]
    fn a_packet_asks_for_a_bounded_number() {
        let (mut profiles, mut now) = (Profiles::default(), Clock::default().now());
        let (a, ids) = (id("a", 1), (0..40).map(|n| id(&format!("n{n}"), 1)));
        profiles.follow(now, ids, Some(&a));
        let mut counts = Vec::new();
        while counts.iter().sum::<usize>() < 40 {
            counts.push(profiles.asks(now).values().map(Vec::len).sum());
            now += Duration::from_millis(1);
        }
        assert_eq!(counts, [16, 16, 8]);
    }
}
