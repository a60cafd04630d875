//! What this node's own links tell of the members, and the hosts of those that are quiet.
//!
//! QUIC shows each half second that a link lives. A member of which nothing comes is asked for, and
//! its host is asked whether anybody holds its port:
//!
//! ```text
//!            C is killed                              C is silent
//!     0 ms   its last packet was up to 500 ms ago     the same
//!   800 ms   A probes C's port, and has B and D       the same
//!            ping C
//!   802 ms   C's host refuses A; A asks B and D       nobody answers
//!   806 ms   it refuses B: for A and B, C is down
//!  1200 ms                                            C is suspect for A
//!  2700 ms                                            C is down for A
//! ```
//!
//! A refusal is a sign that the kernel gives, but whoever has the address now gives it: a firewall,
//! or a stranger. So it takes two nodes that were refused, and a link on which nothing has come
//! since. A link that lives is stronger than any suspicion. Where nobody else is left to ask, this
//! node asks twice.
//!
//! Invariant: a refusal counts no longer once anything has come from the member after it. Knows no
//! socket, and nothing of gossip: [`Swim`](super::Swim) carries the errands out.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::Activity;

use crate::node::NodeId;

/// How often the links are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// After how long without a packet a member is asked for: above the transport's keep-alive of half
/// a second and a long round trip, so that a link that is merely idle is not bothered.
pub(super) const QUIET: Duration = Duration::from_millis(700);

/// How long a quiet member, and those who are to reach it, have to answer.
const ANSWER: Duration = Duration::from_millis(400);

/// How often a quiet member is asked for that others still reach.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How often the port of a quiet member is probed: packets get lost.
const PROBE_AGAIN: Duration = Duration::from_millis(200);

/// How long a member whose link is not quiet has to send something after its port has refused.
const GRACE: Duration = Duration::from_millis(200);

/// How many are asked to reach a quiet member, or whether its port refuses them too.
const HELPERS: usize = 3;

/// How many ports are probed at once, and how many members are asked for at each look. In a large
/// cluster that has parted the others wait for their turn; gossip goes on meanwhile.
pub(super) const AT_ONCE: usize = 16;

/// The links with all members but this node: as many as the view has.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<Arc<str>, Link>,
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Link {
    id: NodeId,
    activity: Option<Activity>,
    /// When something was seen to have come.
    heard: Instant,
    asked: Option<Asked>,
    port: Port,
    /// The refutation counter under which it was told that it is suspect.
    told: Option<u16>,
}

/// A member that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// Whether somebody has reached it since.
    is_reached: bool,
    is_suspected: bool,
}

/// What is known of a member's port since it was last heard.
#[derive(Debug, Default)]
struct Port {
    probed: Option<Instant>,
    is_probed_now: bool,
    refused: Option<Instant>,
    refusals: u32,
    /// Whether the others know of the last refusal.
    is_told: bool,
    /// Members who were refused too, and those who want to know.
    witnesses: BTreeSet<Arc<str>>,
    askers: BTreeSet<Arc<str>>,
}

/// What is to be done about a quiet member, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Its host is to be asked whether anybody holds its port.
    Probe(NodeId),
    /// It is to be pinged.
    Ping(NodeId),
    /// It is to be pinged by another.
    PingThrough { target: NodeId, helper: NodeId },
    /// Nobody has reached it.
    Suspect(NodeId),
    /// Another is to hear that the port refuses, and perhaps to probe it too.
    Testify { of: NodeId, to: NodeId, asks: bool },
    /// It is dead.
    Down(NodeId),
}

impl Links {
    /// Follows the view: members that are new have been heard now.
    pub(super) fn follow<'a>(&mut self, now: Instant, others: impl Iterator<Item = &'a NodeId>) {
        let mut former = std::mem::take(&mut self.links);
        for id in others {
            let kept = former.remove(&id.name).filter(|link| link.id == *id);
            let link = kept.unwrap_or_else(|| Link::new(now, id.clone()));
            self.links.insert(Arc::clone(&id.name), link);
        }
        self.look_at = match self.links.is_empty() {
            true => None,
            false => self.look_at.or(Some(now + LOOK)),
        };
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When [`look`](Self::look) wants to be called.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes in how much has come in from a member.
    pub(super) fn see(&mut self, now: Instant, id: &NodeId, activity: Option<Activity>) -> bool {
        let Some(link) = self.link(id) else { return false };
        let has_come = activity.is_some() && activity != link.activity;
        link.activity = activity;
        if has_come {
            link.hear(now);
        }
        has_come
    }

    /// Something has come from a member.
    pub(super) fn hear(&mut self, now: Instant, id: &NodeId) {
        if let Some(link) = self.link(id) {
            link.hear(now);
        }
    }

    /// The connection with a member broke: it is quiet from now on, unless it is heard again.
    pub(super) fn lose(&mut self, now: Instant, id: &NodeId) {
        if let Some(link) = self.link(id) {
            link.heard = link.heard.min(now.checked_sub(QUIET).unwrap_or(now));
            self.look_at = Some(now);
        }
    }

    /// Somebody has reached a member for this node.
    pub(super) fn reach(&mut self, id: &NodeId) {
        if let Some(asked) = self.link(id).and_then(|link| link.asked.as_mut()) {
            asked.is_reached = true;
        }
    }

    /// This node stood still for so long: what the others sent meanwhile is yet to be read.
    pub(super) fn stand_still(&mut self, now: Instant, time: Duration) {
        for link in self.links.values_mut() {
            link.heard = (link.heard + time).min(now);
        }
    }

    /// Whether the link with a member lives.
    pub(super) fn lives(&self, now: Instant, id: &NodeId) -> bool {
        let link = self.links.get(&id.name).filter(|link| link.id == *id);
        link.is_some_and(|link| link.activity.is_some() && now < link.heard + QUIET)
    }

    /// Whether a member whose link lives is to be told that others suspect it: once for each of its
    /// refutations.
    pub(super) fn tells_suspect(&mut self, now: Instant, id: &NodeId, refutations: u16) -> bool {
        let lives = self.lives(now, id);
        let Some(link) = self.link(id).filter(|_| lives) else { return false };
        link.told.replace(refutations) != Some(refutations)
    }

    /// Decides what is to be done now. `factor` is how much longer all takes on a slow node.
    pub(super) fn look(&mut self, now: Instant, factor: u32) -> Vec<Errand> {
        self.look_at = (!self.links.is_empty()).then(|| now + LOOK);
        let quiet = QUIET * factor;
        let mut errands = Vec::new();
        let mut probes = self.links.values().filter(|link| link.port.is_probed_now).count();
        let mut asks = 0;
        for link in self.links.values_mut() {
            let is_quiet = now >= link.heard + quiet;
            let wants_probe = is_quiet || !link.port.askers.is_empty();
            if wants_probe && probes < AT_ONCE && link.port.is_due(now) {
                probes += 1;
                errands.push(link.probe(now));
            }
            if is_quiet && asks < AT_ONCE {
                asks += usize::from(link.ask(now, factor, &mut errands));
            }
        }
        let stands = |(_, link): &(&Arc<str>, &Link)| link.refusal_stands(now, quiet);
        let refused = self.links.iter().filter(stands).map(|(name, _)| Arc::clone(name));
        for name in refused.collect::<Vec<_>>() {
            self.judge(now, &name, quiet, &mut errands);
        }
        self.add_helpers(&mut errands);
        errands
    }

    /// A member's host has answered, or not, whether anybody holds the member's port.
    pub(super) fn handle_port(
        &mut self,
        now: Instant,
        id: &NodeId,
        is_refused: bool,
        factor: u32,
    ) -> Vec<Errand> {
        let mut errands = Vec::new();
        let Some(link) = self.link(id) else { return errands };
        link.port.is_probed_now = false;
        if is_refused && link.port.probed.is_some_and(|probed| link.heard <= probed) {
            let port = &mut link.port;
            (port.refused, port.is_told) = (Some(now), false);
            port.refusals = port.refusals.saturating_add(1);
            self.judge(now, &id.name, QUIET * factor, &mut errands);
        }
        errands
    }

    /// A member says that the port of another has refused it, and perhaps asks for the same of this
    /// node.
    pub(super) fn handle_refusal(
        &mut self,
        now: Instant,
        from: &NodeId,
        of: &NodeId,
        asks: bool,
        factor: u32,
    ) -> Vec<Errand> {
        let mut errands = Vec::new();
        if from.name == of.name || self.link(from).is_none() {
            return errands;
        }
        let probes = self.links.values().filter(|link| link.port.is_probed_now).count();
        let Some(link) = self.link(of) else { return errands };
        link.port.witnesses.insert(Arc::clone(&from.name));
        if asks {
            link.port.askers.insert(Arc::clone(&from.name));
            if probes < AT_ONCE && link.port.is_due(now) {
                errands.push(link.probe(now));
                // One that lives answers before its silence is taken for a sign.
                errands.push(Errand::Ping(of.clone()));
            }
        }
        self.judge(now, &of.name, QUIET * factor, &mut errands);
        errands
    }

    fn link(&mut self, id: &NodeId) -> Option<&mut Link> {
        self.links.get_mut(&id.name).filter(|link| link.id == *id)
    }

    /// Draws the conclusion from a refusal, once it stands.
    fn judge(&mut self, now: Instant, name: &str, quiet: Duration, errands: &mut Vec<Errand>) {
        let stands = |link: &Link| link.refusal_stands(now, quiet);
        let Some(link) = self.links.get(name).filter(|link| stands(link)) else { return };
        let of = link.id.clone();
        // Those who are themselves refused can't confirm anything.
        let mut helpers: Vec<_> =
            self.links.values().filter(|other| other.id != of && !stands(other)).collect();
        helpers.sort_by_key(|other| std::cmp::Reverse(other.heard));
        let is_alone = helpers.is_empty();
        let asked: Vec<NodeId> =
            helpers.into_iter().take(HELPERS).map(|helper| helper.id.clone()).collect();
        let owed: Vec<NodeId> = link
            .port
            .askers
            .iter()
            .filter_map(|asker| Some(self.links.get(asker)?.id.clone()))
            .collect();
        let Some(link) = self.links.get_mut(name) else { return };
        link.port.askers.clear();
        for to in owed {
            errands.push(Errand::Testify { of: of.clone(), to, asks: false });
        }
        let is_confirmed = !link.port.witnesses.is_empty() || (is_alone && link.port.refusals > 1);
        if is_confirmed {
            errands.push(Errand::Down(of));
        } else if !std::mem::replace(&mut link.port.is_told, true) {
            let asks = true;
            errands.extend(asked.into_iter().map(|to| Errand::Testify {
                of: of.clone(),
                to,
                asks,
            }));
        }
    }

    /// Chooses who is to ping the members that this node pings in vain: those heard last.
    fn add_helpers(&self, errands: &mut Vec<Errand>) {
        let pinged = |errand: &Errand| match errand {
            Errand::Ping(target) => Some(target.clone()),
            _ => None,
        };
        let targets: Vec<NodeId> = errands.iter().filter_map(pinged).collect();
        if targets.is_empty() {
            return;
        }
        let mut helpers: Vec<&Link> = self.links.values().collect();
        helpers.sort_by_key(|link| std::cmp::Reverse(link.heard));
        for target in targets {
            let others = helpers.iter().filter(|helper| helper.id != target).take(HELPERS);
            errands.extend(others.map(|helper| Errand::PingThrough {
                target: target.clone(),
                helper: helper.id.clone(),
            }));
        }
    }
}

impl Link {
    fn new(now: Instant, id: NodeId) -> Self {
        let port = Port::default();
        Self { id, activity: None, heard: now, asked: None, port, told: None }
    }

    fn hear(&mut self, now: Instant) {
        let is_probed_now = self.port.is_probed_now;
        let askers = std::mem::take(&mut self.port.askers);
        let probed = self.port.probed;
        self.heard = now;
        self.asked = None;
        self.port = Port { is_probed_now, askers, probed, ..Port::default() };
    }

    fn probe(&mut self, now: Instant) -> Errand {
        self.port.probed = Some(now);
        self.port.is_probed_now = true;
        Errand::Probe(self.id.clone())
    }

    /// Asks for a quiet member, or suspects it. Returns whether it was asked for now.
    fn ask(&mut self, now: Instant, factor: u32, errands: &mut Vec<Errand>) -> bool {
        if let Some(asked) = &mut self.asked {
            let is_over = now >= asked.at + ANSWER * factor;
            if is_over && !asked.is_reached && !asked.is_suspected {
                asked.is_suspected = true;
                errands.push(Errand::Suspect(self.id.clone()));
            }
            if now < asked.at + ASK_AGAIN * factor {
                return false;
            }
        }
        self.asked = Some(Asked { at: now, is_reached: false, is_suspected: false });
        errands.push(Errand::Ping(self.id.clone()));
        true
    }

    fn refusal_stands(&self, now: Instant, quiet: Duration) -> bool {
        self.port.refused.is_some_and(|refused| now >= self.heard + quiet || now >= refused + GRACE)
    }
}

impl Port {
    fn is_due(&self, now: Instant) -> bool {
        !self.is_probed_now && self.probed.is_none_or(|probed| now >= probed + PROBE_AGAIN)
    }
}
