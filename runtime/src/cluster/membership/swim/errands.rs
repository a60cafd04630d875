//! What this node does beside gossip: about members that are quiet, and for profiles.
//!
//! Carries out what [`links`](super::links) and [`profiles`](super::profiles) decide, by foca and by
//! packets.

use std::{sync::Arc, time::Instant};

use foca::{Message, State, Timer};

use super::{
    Swim,
    config::SUSPECT_TO_DOWN,
    links::Errand,
    wire::{self, Heard, Identity, Note},
};
use crate::{
    cluster::membership::{Contact, Member, Packet, Profile},
    node::NodeId,
};

impl Swim {
    /// Tells a member what is believed of another, or of itself.
    pub(super) fn tell(&mut self, to: Identity, of: &foca::Member<Identity>) {
        let gossip = wire::gossip(&self.me, &to, of);
        self.effects.packets.push((to, gossip));
    }

    /// Tells a member that asks for another one that it is down, if that is known here.
    pub(super) fn tell_if_down(&mut self, from: &NodeId, of: &NodeId) {
        let down = self.known(of).filter(|known| known.state() == State::Down);
        let from = self.view.find(&from.name).map(Member::contact);
        if let (Some(down), Some(from)) = (down, from) {
            self.tell(Identity::from(&from), &down);
        }
    }

    /// What foca believes of one run of a node.
    fn known(&self, id: &NodeId) -> Option<foca::Member<Identity>> {
        let mut known = self.foca.iter_membership_state();
        known.find(|known| known.id().node() == *id).cloned()
    }

    /// Whether this node knows better than a suspicion whose time is up.
    pub(super) fn vetoes(&self, now: Instant, suspicion: &Timer<Identity>) -> bool {
        let Timer::ChangeSuspectToDown { member_id, .. } = suspicion else { return false };
        self.links.lives(now, &member_id.node())
    }

    /// Notes what a packet says of its sender's link, and of suspects.
    pub(super) fn note(&mut self, now: Instant, heard: &Heard<'_>) {
        self.timers.hear(now);
        let src = heard.header.src.node();
        self.links.hear(now, &src);
        self.profiles.hear(now, &src, heard.profile_version);
        if let Message::ForwardedAck { origin, .. } = &heard.header.message {
            self.links.reach(&origin.node());
        }
        for update in heard.updates.iter().filter(|update| update.state() == State::Suspect) {
            let counter = update.incarnation();
            if *update.id() == self.me {
                // It seems slow to others, and then the others may seem slow to it.
                if self.suspected < Some(counter) {
                    self.suspected = Some(counter);
                    self.health.trouble(now);
                }
            } else if self.links.tells_suspect(now, &update.id().node(), counter) {
                self.tell(update.id().clone(), update);
            }
        }
    }

    pub(super) fn carry_out(&mut self, errands: Vec<Errand>) {
        // Foca has numbers of its own: an answer that it takes for one of its probes is one that the
        // member could have given.
        const PROBE: u8 = 0;
        let view = Arc::clone(&self.view);
        let contact = |id: &NodeId| view.find(&id.name).map(Member::contact);
        let identity = |id: &NodeId| contact(id).as_ref().map(Identity::from);
        for errand in errands {
            match errand {
                Errand::Probe(id) => self.ports.extend(contact(&id)),
                Errand::Ping(id) => {
                    let Some(to) = identity(&id) else { continue };
                    let ping = wire::bare(&self.me, &to, Message::Ping(PROBE));
                    self.effects.packets.push((to, ping));
                }
                Errand::PingThrough { target, helper } => {
                    let (Some(to), Some(target)) = (identity(&helper), identity(&target)) else {
                        continue;
                    };
                    let message = Message::PingReq { target, probe_number: PROBE };
                    self.effects.packets.push((to.clone(), wire::bare(&self.me, &to, message)));
                }
                Errand::Testify { of, to, asks } => {
                    self.write(&to, &Note::Refused { of: of.into(), asks });
                }
                Errand::Suspect(id) => self.declare(&id, State::Suspect),
                Errand::Down(id) => self.declare(&id, State::Down),
            }
        }
    }

    /// Sends a note to a member, in the view or not.
    fn write(&mut self, to: &NodeId, note: &Note) {
        if let Some(known) = self.known(to) {
            let note = Packet::Note(wire::encoded(note));
            self.packets.push_back((Contact::from(known.id()), note));
        }
    }

    /// Asks for the profiles that are missing.
    pub(super) fn ask_for_profiles(&mut self, now: Instant) {
        for (whom, of) in self.profiles.asks(now) {
            let of = of.into_iter().map(Into::into).collect();
            self.write(&whom, &Note::Wanted { of });
        }
    }

    /// Answers a node that wants to know profiles: with those that are known here.
    pub(super) fn answer(&mut self, to: &NodeId, of: Vec<NodeId>) {
        let me = self.me.node();
        let profile = |id: &NodeId| match *id == me {
            true => Some(Profile::clone(&self.profile)),
            false => self.profiles.find(id).map(|profile| Profile::clone(profile)),
        };
        let known = |id: NodeId| profile(&id).map(|profile| (id.into(), profile));
        let of: Vec<_> = of.into_iter().filter_map(known).collect();
        if !of.is_empty() {
            self.write(to, &Note::Profiles { of });
        }
    }

    /// Has foca hold a member down, and tell nobody.
    pub(super) fn bury(&mut self, id: &NodeId) {
        let Some(known) = self.known(id) else { return };
        let down = foca::Member::down(known.id().clone());
        self.run(|foca, effects| foca.apply_many(std::iter::once(down), false, effects));
    }

    /// Has this node see members as if all of them had joined long ago: nobody has more to say of it.
    #[cfg(any(test, feature = "benching"))]
    pub(crate) fn acquaint(&mut self, now: Instant, members: &[Member]) {
        let identity = |member: &Member| Identity::from(&member.contact());
        let others = members.iter().map(|member| foca::Member::alive(identity(member)));
        self.run(|foca, effects| foca.apply_many(others, false, effects));
        self.profiles.follow(now, members.iter().map(|member| member.id.clone()), None);
        for Member { id, profile, .. } in members {
            self.is_view_stale |= self.profiles.take(id, Profile::clone(profile));
        }
        self.settle(now);
    }

    /// Has foca believe this of a member that it believes to be better off.
    fn declare(&mut self, id: &NodeId, state: State) {
        let Some(known) = self.known(id).filter(|known| match state {
            State::Suspect => known.state() == State::Alive,
            State::Alive | State::Down => known.state() != State::Down,
        }) else {
            return;
        };
        let (member_id, incarnation) = (known.id().clone(), known.incarnation());
        tracing::info!(node = %self.me.name(), member = %id, ?state, "judged by its link");
        let update = foca::Member::new(member_id.clone(), incarnation, state);
        self.run(|foca, effects| {
            foca.apply_many(std::iter::once(update), true, &mut *effects)?;
            foca.gossip(effects)
        });
        if state == State::Suspect {
            let timer = Timer::ChangeSuspectToDown { member_id, incarnation, token: self.token };
            self.effects.timers.push((SUSPECT_TO_DOWN, timer));
        }
    }

    /// Looks for the profiles of those who are alive, and for no others.
    pub(super) fn follow(&mut self, now: Instant, teller: Option<&NodeId>) {
        let alive = self.foca.iter_members().map(|known| known.id().node());
        self.profiles.follow(now, alive, teller);
        self.ask_for_profiles(now);
    }
}
