//! Membership by SWIM gossip, as foca implements it.
//!
//! Owns foca, its timers, and the view made of foca's members. Invariant: once this node has left,
//! or has learned that it was declared down, it sends nothing more. Knows no socket and no clock.
//!
//! How a silent node is noticed, at the constants below (C is the silent one):
//!
//! ```text
//!     0 ms  A pings C
//!   250 ms  no answer: B and D ping C for A
//!   500 ms  no answer: C is suspect, gossip says so; C could still refute it
//!  2000 ms  C is down for A; gossip brings it to all, 200 ms a hop
//! ```
//!
//! Ahead of it comes the wait until the first probe, which takes turns among the members.
//!
//! Here foca is added to:
//!
//! - Its probes take turns among the members, so that in a large cluster a silent one waits long for
//!   the first. So each node watches its own links ([`links`]): one that is quiet is asked for out
//!   of turn, and a process that is dead is told from a host that is silent.
//! - A suspicion runs out wherever it is known. So a node whose link with the suspect lives lets it
//!   not run out, and tells the suspect at once.
//! - It knows one set of timeouts. A node that is slow itself has longer ones ([`health`]).
//! - It tells who is there, and nothing else of them. What a node says of itself is pulled
//!   ([`profiles`]).
//! - It leaves a member's end to periodic gossip. So what is new of it is passed on at once.
//! - It does not repeat an announce that was lost, and looks for nobody once it is alone. So the
//!   seed is asked again every [`ANNOUNCE_AGAIN`] while the view holds nobody else.
//! - It tells a member that it is down when a suspicion's time is up, even a refuted one. So such a
//!   timer does not reach it.
//! - A node that is cut off for two seconds would declare the others down before they do so with
//!   it, and have them end when it is back. So it doubts itself first ([`Turn::Wait`]), and once
//!   it hears again suspects get their time anew ([`Turn::Renew`]).
//! - Two nodes that hold each other down, as after a partition, would both end when they meet. So
//!   packets carry the sender's [`Standing`], and only the one with the lower standing yields.
//! - A node that hears of a later run of itself would declare that one down. So it ends instead.

mod config;
mod errands;
mod health;
mod links;
mod names;
mod profiles;
#[cfg(test)]
mod tests;
mod timers;
mod wire;

use std::{
    cmp::Ordering,
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{Activity, PACKETS_LIMIT, Random};
use foca::{
    Foca, Message, NoCustomBroadcast, Notification, PostcardCodec, Runtime, State, Timer,
    TimerToken,
};
use rand::rngs::StdRng;
use xxhash_rust::xxh3::xxh3_64;

use self::{
    config::{ANNOUNCE_AGAIN, SUSPECT_TO_DOWN, config},
    health::{Health, LATE},
    links::Links,
    names::Names,
    profiles::Profiles,
    timers::{Timers, Turn},
    wire::{Heard, Identity, Note, Standing},
};
use super::{Contact, Member, Membership, MembershipEvent, Packet, Profile, View};
use crate::node::NodeId;

/// Membership by SWIM gossip: see [`Membership`] for the order of calls.
///
/// Its timers are bounded: a few periodic ones of foca's, and suspicions, of each member at most one
/// for each of its refutations. So is what it knows of links, by the view. Members that are down are remembered, lest they come back, for as long as their
/// names are among the 4,096 heard of last. Of packets that nobody polls the last
/// [`PACKETS_LIMIT`] are kept; events number at most the changes of the view.
pub(crate) struct Swim {
    me: Identity,
    foca: Machine,
    effects: Effects,
    timers: Timers,
    /// What foca wants to see on a timer that it is to obey.
    token: TimerToken,
    links: Links,
    health: Health,
    /// The highest counter under which this node heard that it is suspect.
    suspected: Option<u16>,
    view: Arc<View>,
    /// Whether what the view is made of has changed: making it takes time by the members.
    is_view_stale: bool,
    /// What this node says of itself.
    profile: Arc<Profile>,
    profiles: Profiles,
    names: Names,
    seed: Option<Contact>,
    announce_at: Option<Instant>,
    packets: VecDeque<(Contact, Packet)>,
    ports: VecDeque<Contact>,
    events: VecDeque<MembershipEvent>,
    refused: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Ended,
}

impl Swim {
    /// A membership of this node alone, whose view has this version. Its name has to keep the rules of
    /// [`NodeName`](actix_cluster_transport::NodeName), or no peer takes its packets.
    pub(crate) fn new(me: &Member, version: u64, random: Random) -> Self {
        let profile = Arc::clone(&me.profile);
        let me = Identity::from(&me.contact());
        Self {
            foca: Foca::new(me.clone(), config(), random.into_rng(), PostcardCodec),
            effects: Effects::default(),
            timers: Timers::default(),
            token: TimerToken::default(),
            links: Links::default(),
            health: Health::default(),
            suspected: None,
            view: Arc::new(View { version, members: vec![member(&me, &profile)] }),
            is_view_stale: false,
            profile,
            profiles: Profiles::default(),
            names: Names::default(),
            seed: None,
            announce_at: None,
            packets: VecDeque::new(),
            ports: VecDeque::new(),
            events: VecDeque::new(),
            refused: 0,
            phase: Phase::Running,
            me,
        }
    }

    /// How many packets were refused: malformed, too long, or not for this node.
    pub(crate) fn refused_packets(&self) -> u64 {
        self.refused
    }

    /// Whom a packet names as its sender; `None` for one that is malformed.
    pub(crate) fn sender_of(packet: &[u8]) -> Option<NodeId> {
        Heard::read(packet).map(|heard| heard.header.src.node())
    }

    fn is_alone(&self) -> bool {
        self.view.members.len() == 1
    }

    fn standing(&self) -> Standing {
        let lowest =
            self.view.members.first().map_or(0, |member| xxh3_64(member.id.name.as_bytes()));
        let members = u32::try_from(self.view.members.len()).unwrap_or(u32::MAX);
        Standing { members, lowest }
    }

    /// Remembers a name, and lets foca forget what no longer fits: the one bound for both.
    fn hear(&mut self, identity: &Identity) {
        let Some(forgotten) = self.names.hear(&identity.node()) else { return };
        let known = self.foca.iter_membership_state().find(|known| *known.id().name() == forgotten);
        if let Some(known) = known.filter(|known| known.state() == State::Down) {
            let timer = Timer::RemoveDown(known.id().clone());
            self.run(|foca, effects| foca.handle_timer(timer, effects));
        }
    }

    /// Whether `peer`, or a later run of it, is known to be past.
    fn holds_down(&self, peer: &Identity) -> bool {
        let mut known = self.foca.iter_membership_state();
        known.find(|known| known.id().name() == peer.name()).is_some_and(|known| {
            known.id().supersedes(peer) || (known.id() == peer && known.state() == State::Down)
        })
    }

    /// Whether a suspicion still stands: it was not refuted, and others have not ended it.
    fn stands(&self, suspicion: &Timer<Identity>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = suspicion else {
            return true;
        };
        self.foca.iter_membership_state().any(|known| {
            known.id() == member_id
                && known.incarnation() == *incarnation
                && known.state() == State::Suspect
        })
    }

    /// Gives a suspect its full time once more, and tells it.
    fn renew(&mut self, now: Instant, timer: Timer<Identity>) {
        let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer else { return };
        let suspect = foca::Member::new(member_id.clone(), *incarnation, State::Suspect);
        self.tell(member_id.clone(), &suspect);
        self.timers.set(now, SUSPECT_TO_DOWN, timer);
    }

    /// Of two that hold each other down, whether it is this node that stays.
    fn outranks(&self, heard: &Heard<'_>) -> bool {
        let peer = &heard.header.src;
        let is_superseded = self.names.highest(peer.name()) > Some(peer.node().incarnation);
        let rank = self.standing().cmp(&heard.standing);
        is_superseded || rank.then_with(|| peer.name().cmp(self.me.name())) == Ordering::Greater
    }

    /// Lets foca do something; whether it found nothing wrong. It goes on after all of its errors.
    fn run(
        &mut self,
        step: impl FnOnce(&mut Machine, &mut Effects) -> Result<(), foca::Error>,
    ) -> bool {
        let done = step(&mut self.foca, &mut self.effects);
        if let Err(error) = &done {
            tracing::debug!(node = %self.me.name(), %error, "membership step failed");
        }
        done.is_ok()
    }

    /// Hands a packet to foca; whether foca found nothing wrong.
    fn take(&mut self, mut heard: Heard<'_>) -> bool {
        let says_down = heard.header.message == Message::TurnUndead;
        if !says_down || !self.holds_down(&heard.header.src) || !self.outranks(&heard) {
            return self.run(|foca, effects| foca.handle_data(heard.of_foca, effects));
        }
        // Foca would yield; anything else from one that is down it answers in kind.
        heard.header.message = Message::Gossip;
        let gossip = wire::encoded(&heard.header);
        self.run(|foca, effects| foca.handle_data(&gossip, effects))
    }

    fn send_announce(&mut self, now: Instant) {
        let Some(seed) = self.seed.as_ref().map(Identity::from) else { return };
        self.run(|foca, effects| foca.announce(seed, effects));
        self.announce_at = Some(now + ANNOUNCE_AGAIN);
    }

    /// Turns what foca did into what is to be polled. Ends every `handle_*` and command.
    fn settle(&mut self, now: Instant) {
        self.settle_told(now, None);
    }

    /// As [`settle`](Self::settle), after something that a node has told.
    fn settle_told(&mut self, now: Instant, teller: Option<&NodeId>) {
        let mut effects = std::mem::take(&mut self.effects);
        if self.phase == Phase::Running {
            if effects.set_changed {
                self.follow(now, teller);
                self.is_view_stale = true;
            }
            if std::mem::take(&mut self.is_view_stale) && self.publish(now) {
                // The end of a member is worth a packet at once. An error is of a packet that was
                // lost.
                let _ = self.foca.gossip(&mut effects);
            }
        }
        if self.phase == Phase::Running && effects.is_defunct {
            self.end();
            self.packets.clear();
            self.events.push_back(MembershipEvent::DeclaredDown);
            return;
        }
        let (standing, version) = (self.standing(), self.profile.version);
        for (to, of_foca) in effects.packets {
            // Foca tries those that are down again, an earlier run of this node among them.
            if to.name() != self.me.name() {
                let packet = Packet::Gossip(standing.packet(version, &of_foca));
                self.packets.push_back((Contact::from(&to), packet));
            }
        }
        let surplus = self.packets.len().saturating_sub(PACKETS_LIMIT);
        self.packets.drain(..surplus);
        if self.phase == Phase::Running {
            for (after, timer) in effects.timers {
                self.set_timer(now, after, timer);
            }
        }
    }

    fn set_timer(&mut self, now: Instant, after: Duration, timer: Timer<Identity>) {
        let factor = match timer {
            Timer::ProbeRandomMember(token) => {
                self.token = token;
                self.health.factor(now)
            }
            Timer::SendIndirectProbe { .. } | Timer::ChangeSuspectToDown { .. } => {
                self.health.factor(now)
            }
            _ => 1,
        };
        self.timers.set(now, after * factor, timer);
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.announce_at = None;
        self.timers.clear();
        self.links.clear();
        self.profiles.clear();
        self.ports.clear();
    }

    /// Makes the view of foca's members, and events of the difference. Whether a member has ended.
    fn publish(&mut self, now: Instant) -> bool {
        let old = Arc::clone(&self.view);
        let mut members = vec![member(&self.me, &self.profile)];
        let known = |known: &foca::Member<Identity>| {
            let profile = self.profiles.find(&known.id().node())?;
            Some(member(known.id(), profile))
        };
        members.extend(self.foca.iter_members().filter_map(known));
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        if members == old.members {
            return false;
        }
        let view = Arc::new(View { version: old.version + 1, members });
        let is_down = |member: &&Member| !view.contains(&member.id);
        let down: Vec<_> = old.members.iter().filter(is_down).cloned().collect();
        let has_ended = !down.is_empty();
        self.events.extend(down.into_iter().map(MembershipEvent::Down));
        self.events.extend(view.members.iter().filter_map(|member| {
            let is_same = |former: &Member| former.id == member.id;
            match old.find(&member.id.name).filter(|former| is_same(former)) {
                None => Some(MembershipEvent::Up(member.clone())),
                Some(former) if former == member => None,
                Some(_) => Some(MembershipEvent::Changed(member.clone())),
            }
        }));
        let me = self.me.name();
        let ids = view.members.iter().map(|member| &member.id);
        self.links.follow(now, ids.filter(|id| id.name != *me));
        self.view = view;
        if self.is_alone() && self.seed.is_some() {
            self.announce_at = Some(now + ANNOUNCE_AGAIN);
        }
        has_ended
    }
}

impl Membership for Swim {
    fn view(&self) -> &Arc<View> {
        &self.view
    }

    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        if self.phase == Phase::Ended {
            return;
        }
        let heard = Heard::read(packet).filter(|heard| heard.header.dst.name() == self.me.name());
        let Some(heard) = heard else {
            self.refused += 1;
            return;
        };
        self.note(now, &heard);
        for identity in heard.identities() {
            self.hear(identity);
        }
        let src = heard.header.src.node();
        let is_me = |identity: &&Identity| identity.name() == self.me.name();
        if heard.identities().filter(is_me).any(|later| later.supersedes(&self.me)) {
            self.effects.is_defunct = true;
        } else if !self.take(heard) {
            self.refused += 1;
        }
        self.settle_told(now, Some(&src));
    }

    fn wants_activity(&self, now: Instant) -> bool {
        self.links.look_at().is_some_and(|at| at <= now)
    }

    fn handle_activity(&mut self, now: Instant, id: &NodeId, activity: Option<Activity>) {
        if self.links.see(now, id, activity) {
            self.timers.hear(now);
        }
    }

    fn handle_link_down(&mut self, now: Instant, id: &NodeId) {
        self.links.lose(now, id);
    }

    fn handle_over(&mut self, now: Instant, id: &NodeId) {
        self.bury(id);
        self.settle(now);
    }

    fn handle_port(&mut self, now: Instant, id: &NodeId, is_refused: bool) {
        let factor = self.health.factor(now);
        let errands = self.links.handle_port(now, id, is_refused, factor);
        self.carry_out(errands);
        self.settle(now);
    }

    fn handle_note(&mut self, now: Instant, from: &NodeId, note: &[u8]) {
        if self.phase == Phase::Ended {
            return;
        }
        match Note::read(note) {
            Some(Note::Refused { of, asks }) => {
                let of = of.into();
                self.tell_if_down(from, &of);
                let factor = self.health.factor(now);
                let errands = self.links.handle_refusal(now, from, &of, asks, factor);
                self.carry_out(errands);
            }
            Some(Note::Wanted { of }) => {
                self.answer(from, of.into_iter().map(Into::into).collect());
            }
            Some(Note::Profiles { of }) => {
                for (of, profile) in of {
                    self.is_view_stale |= self.profiles.take(&of.into(), profile);
                }
            }
            None => self.refused += 1,
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let late =
            self.poll_timeout().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        if late >= LATE {
            self.health.trouble(now);
            self.links.stand_still(now, late);
            self.timers.postpone_suspicions(late);
        }
        while let Some(due) = self.timers.pop(now) {
            let has_several_peers = self.view.members.len() > 2;
            match self.timers.turn(now, &due, has_several_peers) {
                _ if !self.stands(&due.timer) => {}
                Turn::Fire if self.vetoes(now, &due.timer) => self.renew(now, due.timer),
                Turn::Fire => {
                    self.run(|foca, effects| foca.handle_timer(due.timer, effects));
                }
                Turn::Wait(until) => self.timers.put_back(until, due),
                Turn::Renew => self.renew(now, due.timer),
            }
        }
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announce_at = None;
            if self.is_alone() {
                self.send_announce(now);
            }
        }
        if self.wants_activity(now) {
            let errands = self.links.look(now, self.health.factor(now));
            self.carry_out(errands);
        }
        self.ask_for_profiles(now);
        self.settle(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = [self.announce_at, self.links.look_at(), self.profiles.ask_at()];
        self.timers.next().into_iter().chain(own.into_iter().flatten()).min()
    }

    fn poll_packet(&mut self) -> Option<(Contact, Packet)> {
        self.packets.pop_front()
    }

    fn poll_port(&mut self) -> Option<Contact> {
        self.ports.pop_front()
    }

    fn poll_event(&mut self) -> Option<MembershipEvent> {
        self.events.pop_front()
    }

    fn announce(&mut self, now: Instant, seed: Contact) {
        if self.phase == Phase::Ended {
            return;
        }
        self.seed = Some(seed);
        self.send_announce(now);
        self.settle(now);
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn set_profile(&mut self, now: Instant, profile: Profile) {
        let version = self.profile.version + 1;
        self.profile = Arc::new(Profile { version, ..profile });
        self.is_view_stale = true;
        let alive: Vec<_> = self.foca.iter_members().map(|known| known.id().clone()).collect();
        if self.phase == Phase::Running {
            for to in alive {
                let gossip = wire::bare(&self.me, &to, Message::Gossip);
                self.effects.packets.push((to, gossip));
            }
        }
        self.settle(now);
    }

    fn leave(&mut self, now: Instant) {
        if self.phase == Phase::Ended {
            return;
        }
        self.run(|foca, effects| foca.leave_cluster(effects));
        self.end();
        self.settle(now);
    }

    fn highest_incarnation(&self, name: &str) -> u64 {
        let in_view = self.view.find(name).map(|member| member.id.incarnation);
        in_view.max(self.names.highest(name)).unwrap_or(0)
    }
}

fn member(identity: &Identity, profile: &Arc<Profile>) -> Member {
    let Contact { id, addr } = Contact::from(identity);
    Member { id, addr, profile: Arc::clone(profile) }
}

/// Foca as used here.
type Machine = Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>;

/// What foca asks for during one step.
#[derive(Default)]
struct Effects {
    packets: Vec<(Identity, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Identity>)>,
    set_changed: bool,
    is_defunct: bool,
}

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        match notification {
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => {
                self.set_changed = true;
            }
            Notification::Defunct => self.is_defunct = true,
            // `Rejoin` is for identities that renew themselves.
            Notification::Active | Notification::Idle | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.packets.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        self.timers.push((after, timer));
    }
}
