//! One life of a node in its cluster: what carries packets between membership and transport, views to
//! the routes, and the node out of its cluster. It runs on the cluster's thread.
//!
//! It decides nothing: membership, placement and redirects do, and say when they want to be called
//! next. Invariant: nothing here waits for an actor.

mod ending;
mod errands;
mod events;
mod handing_over;
mod search;
mod sending_on;
mod signs;
mod strangers;
mod transferring;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{
    ConnectError, Credentials, Events, PeerId, Random, Transport, socket::Network,
};
use tokio::{sync::oneshot, task::JoinSet};

use self::{handing_over::HandingOver, strangers::Lost};
use super::{
    Cluster, JoinError, Phase,
    lives::{Arrival, Met},
    majority::Majority,
    membership::{Contact, Member, Membership, MembershipEvent, Packet, Profile, Swim, View},
    node_id, peer_id,
    placement::Candidate,
    routing::Owner,
    wire::packet,
};
use crate::node::{NodeCore, NodeId};

/// How long entities are given to move out before their arbiters end.
const MOVE_OUT_PATIENCE: Duration = Duration::from_secs(2);

/// How long the session of a peer that leaves is kept, if the peer does not close it before.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

/// How often a leaving node looks whether its entities are gone.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

pub(super) struct Shell {
    core: Arc<NodeCore>,
    cluster: Arc<Cluster>,
    membership: RefCell<Swim>,
    majority: RefCell<Majority>,
    handing_over: RefCell<HandingOver>,
    /// What there is for membership since the last look, the oldest first.
    told: RefCell<VecDeque<Told>>,
    /// The seeds that this node joins through until it has joined, and those found later.
    seeds: RefCell<Vec<Contact>>,
    /// Those of them that can be reached now, and are to be asked at once.
    reached: RefCell<Vec<Contact>>,
    /// Peers that said they leave, and until when their sessions are kept. At most one for each
    /// session.
    leaving: RefCell<BTreeMap<PeerId, Instant>>,
    /// Whether somebody has said so since the last look.
    has_leavers: Cell<bool>,
    /// Peers that have no link, and for how long one is waited for. At most one for each session.
    lost: RefCell<Lost>,
    /// Why a peer that was dialled refuses this node, if it does.
    refused: RefCell<Option<(PeerId, ConnectError)>>,
    /// Empty before it is opened, and again once the node's life is over.
    transport: RefCell<Option<Transport>>,
    /// Whether this node has found others, or is the one to found the cluster: before, it has nothing.
    has_joined: Cell<bool>,
    /// Whether the others have declared this node down.
    is_down: Cell<bool>,
    /// Where members were.
    met: RefCell<Met>,
    /// The node's own shutdown, once it leaves.
    tasks: RefCell<JoinSet<()>>,
    /// What could not be done at once for watches.
    errands: RefCell<JoinSet<()>>,
    network: Arc<dyn Network>,
    /// Hosts that are being asked whether anybody holds a member's port.
    probes: RefCell<JoinSet<()>>,
    /// Those that have answered, and whether they refused.
    ports: RefCell<Vec<(NodeId, bool)>>,
    /// The search for nodes that are no members; it ends with the node's life.
    searching: RefCell<JoinSet<()>>,
}

/// Something for membership.
enum Told {
    Gossip(Vec<u8>),
    Note(NodeId, Vec<u8>),
    LinkDown(NodeId),
}

/// A node's life, however it ends: transport and shell hold each other, and are to be let go.
struct Life<'a>(&'a Shell);

impl Drop for Life<'_> {
    fn drop(&mut self) {
        drop(self.0.transport.take());
        drop(self.0.probes.take());
        drop(self.0.searching.take());
        // Also when the thread was cut short: whoever shuts the node down is not to wait for it.
        self.0.cluster.phase.send_replace(Phase::Closed);
    }
}

/// How a node's time in its cluster begins.
struct Joining {
    joined: oneshot::Sender<Result<(), JoinError>>,
    founder: bool,
    deadline: Instant,
    patience: Duration,
    contacts: Vec<(PeerId, SocketAddr)>,
}

/// How a life has ended.
pub(super) enum End {
    /// The node was shut down.
    Stopped,
    /// The others have declared it down.
    DeclaredDown(Former),
}

/// What a life that was declared down leaves to the next.
pub(super) struct Former {
    /// Where members were.
    pub(super) met: Met,
    /// What the node proved itself with last.
    pub(super) credentials: Credentials,
}

impl Shell {
    /// `None` for a node that is in no cluster.
    pub(super) fn new(
        core: Arc<NodeCore>,
        member: &Member,
        network: Arc<dyn Network>,
        random: Random,
    ) -> Option<Rc<Self>> {
        let cluster = Arc::clone(core.cluster()?);
        let view = Arc::clone(&cluster.routing.routes().view);
        let version = view.version + 1;
        let handing_over = HandingOver::new(core.id().clone(), view);
        Some(Rc::new(Self {
            membership: RefCell::new(Swim::new(member, version, random)),
            majority: RefCell::new(Majority::new(core.clock().now())),
            handing_over: RefCell::new(handing_over),
            told: RefCell::default(),
            seeds: RefCell::default(),
            reached: RefCell::default(),
            leaving: RefCell::default(),
            has_leavers: Cell::default(),
            lost: RefCell::default(),
            refused: RefCell::default(),
            transport: RefCell::default(),
            has_joined: Cell::default(),
            is_down: Cell::default(),
            met: RefCell::default(),
            tasks: RefCell::default(),
            errands: RefCell::default(),
            network,
            probes: RefCell::default(),
            ports: RefCell::default(),
            searching: RefCell::default(),
            core,
            cluster,
        }))
    }

    /// Lives until the life is over; `None` if the node was not let in.
    pub(super) async fn live(
        self: &Rc<Self>,
        arrival: Arrival,
        patience: Duration,
        joined: oneshot::Sender<Result<(), JoinError>>,
    ) -> Option<End> {
        let Arrival { bound, member, found, seeds, met, deadline } = arrival;
        self.met.replace(met);
        let info = self.cluster.manifest.to_bytes().into();
        let events = Rc::clone(self) as Rc<dyn Events>;
        let transport = bound.open(member.id.incarnation, info, events);
        self.transport.replace(Some(transport.clone()));
        self.cluster.rotator.get_or_init(|| transport.rotator());
        self.cluster.stats.get_or_init(|| transport.stats_reader());
        let _life = Life(self);
        if !seeds.are_none(member.addr) {
            self.searching.borrow_mut().spawn_local(Rc::clone(self).search(seeds));
        }
        for (peer, addr) in &found.contacts {
            transport.connect(peer, *addr);
            let seed = Contact { id: node_id(peer), addr: *addr };
            self.membership.borrow_mut().announce(self.now(), seed.clone());
            self.seeds.borrow_mut().push(seed);
        }
        let founder = found.contacts.is_empty();
        self.has_joined.set(founder);
        let contacts = found.contacts;
        let mut joining = Some(Joining { joined, founder, deadline, patience, contacts });
        self.publish_view();
        let mut phase = self.cluster.phase.subscribe();
        loop {
            let next = self.turn();
            if let Some(begun) = joining.take() {
                joining = self.check_joined(begun);
                if joining.is_none() && *phase.borrow() == Phase::Closed {
                    self.flush(&transport).await;
                    return None;
                }
            }
            // Read first: no guard may be held while the phase is changed.
            let asked = *phase.borrow_and_update();
            match asked {
                Phase::Running if self.is_down.get() => {
                    self.fall(&transport).await;
                    let (met, credentials) = (self.met.take(), transport.credentials());
                    let former = Former { met, credentials };
                    return joining.is_none().then_some(End::DeclaredDown(former));
                }
                Phase::Leaving => self.leave().await,
                Phase::Closing => {
                    self.flush_redirects().await;
                    self.flush_errands().await;
                    break;
                }
                Phase::Running | Phase::Left | Phase::Closed => {}
            }
            let next = [next, joining.as_ref().map(|joining| joining.deadline)];
            let next = next.into_iter().flatten().min();
            self.idle_until(next).await;
        }
        self.flush(&transport).await;
        Some(End::Stopped)
    }

    async fn idle_until(&self, at: Option<Instant>) {
        let clock = self.core.clock();
        // Without a timer there is still the wake-up.
        let at = at.unwrap_or_else(|| clock.after(Duration::from_secs(3_600)));
        let timer = clock.sleep_until(at);
        tokio::select! {
            biased;
            () = self.cluster.wake.notified() => {}
            () = timer => {}
        }
    }

    fn now(&self) -> Instant {
        self.core.clock().now()
    }

    fn transport(&self) -> Transport {
        let transport = self.transport.borrow().clone();
        transport.expect("it is there for as long as the node lives")
    }

    /// Does all that there is to do now. Returns when there will be more.
    fn turn(self: &Rc<Self>) -> Option<Instant> {
        let now = self.now();
        let mut events = Vec::new();
        let next = {
            let mut membership = self.membership.borrow_mut();
            let refused = membership.refused_packets();
            for told in self.told.take() {
                match told {
                    Told::Gossip(packet) => membership.handle_packet(now, &packet),
                    Told::Note(from, note) => {
                        membership.handle_note(now, &from, &note);
                    }
                    Told::LinkDown(peer) => membership.handle_link_down(now, &peer),
                }
            }
            for (id, is_refused) in self.ports.take() {
                membership.handle_port(now, &id, is_refused);
            }
            if membership.refused_packets() > refused {
                tracing::warn!(node = %self.core.id(), "a packet of membership was not understood");
            }
            for seed in self.reached.take() {
                membership.announce(now, seed);
            }
            if self.cluster.is_draining() && !membership.profile().is_draining {
                let profile = Profile { is_draining: true, ..membership.profile().clone() };
                membership.set_profile(now, profile);
            }
            self.look_at_links(now, &mut membership);
            membership.handle_timeout(now);
            while let Some(event) = membership.poll_event() {
                events.push(event);
            }
            self.send_packets(&mut membership);
            self.probe_ports(&mut membership);
            membership.poll_timeout()
        };
        let has_leavers = self.has_leavers.take();
        if !events.is_empty() || has_leavers {
            self.carry_out(events);
            self.count(now);
            self.publish_view();
        }
        let count = self.await_count(now);
        let forget = self.forget_gone(now).into_iter().chain(self.forget_lost(now)).min();
        let hand_over = self.hand_over(now);
        let redirects = self.send_redirects(now);
        self.run_errands();
        [next, count, forget, hand_over, redirects].into_iter().flatten().min()
    }

    /// Ends the sessions of peers that have left. Returns when there will be more.
    fn forget_gone(&self, now: Instant) -> Option<Instant> {
        let mut leaving = self.leaving.borrow_mut();
        let is_over = |(peer, until): (&PeerId, &Instant)| (*until <= now).then(|| peer.clone());
        let gone: Vec<PeerId> = leaving.iter().filter_map(is_over).collect();
        leaving.retain(|_, until| *until > now);
        let next = leaving.values().min().copied();
        drop(leaving);
        gone.iter().for_each(|peer| self.transport().forget(peer));
        next
    }

    fn send_packets(&self, membership: &mut Swim) {
        while let Some((to, packet)) = membership.poll_packet() {
            let Some(peer) = peer_id(&to.id) else { continue };
            let transport = self.transport();
            match transport.session(&peer.name) {
                // Gossip tries those that are down: they may hold this node for down as well.
                _ if transport.is_over(&peer) => {
                    if let Packet::Gossip(packet) = packet {
                        transport.post(&peer, to.addr, packet);
                    }
                }
                Some(session) if *session.peer() == peer => {
                    // It may be no member, and so be dialled by nobody; or hold this node to be over,
                    // which it says when it is dialled.
                    if !transport.is_linked(&peer) {
                        transport.connect(&peer, to.addr);
                    }
                    let (kind, packet) = match packet {
                        Packet::Gossip(packet) => (packet::MEMBERSHIP, packet),
                        Packet::Note(packet) => (packet::NOTE, packet),
                    };
                    session.send_packet([kind].into_iter().chain(packet).collect());
                }
                // It is lost, as a packet may be; the next one finds a session, perhaps.
                _ => transport.connect(&peer, to.addr),
            }
        }
    }

    fn carry_out(self: &Rc<Self>, events: Vec<MembershipEvent>) {
        for event in events {
            match event {
                MembershipEvent::Up(member) => {
                    tracing::info!(node = %self.core.id(), member = %member.id, "member up");
                    self.met.borrow_mut().note(member.addr);
                    match peer_id(&member.id) {
                        // Its session has ended, and there can be none again with this run.
                        Some(peer) if self.transport().is_over(&peer) => {
                            self.membership.borrow_mut().handle_over(self.now(), &member.id);
                            self.cluster.wake.notify_one();
                        }
                        Some(peer) => self.transport().connect(&peer, member.addr),
                        None => {}
                    }
                }
                MembershipEvent::Down(member) => {
                    tracing::info!(node = %self.core.id(), member = %member.id, "member down");
                    self.met.borrow_mut().note(member.addr);
                    let peer = peer_id(&member.id);
                    let leaving = |peer: &PeerId| self.leaving.borrow().contains_key(peer);
                    match peer {
                        Some(peer) if leaving(&peer) => {
                            self.majority.borrow_mut().handle_leave(&member.id.name);
                        }
                        Some(peer) => self.transport().forget(&peer),
                        None => {}
                    }
                }
                MembershipEvent::Changed(member) => {
                    let Profile { version, weight, is_draining, .. } = &*member.profile;
                    tracing::info!(
                        node = %self.core.id(), member = %member.id, version, weight, is_draining,
                        "member changed"
                    );
                }
                MembershipEvent::DeclaredDown => self.declared_down(),
            }
        }
    }

    /// Lets the shards follow the view.
    fn publish_view(&self) {
        let phase = *self.cluster.phase.borrow();
        if phase > Phase::Leaving {
            return;
        }
        let view = Arc::clone(self.membership.borrow().view());
        // Whoever leaves has said so to all, before gossip has told them.
        let leaving = self.leaving.borrow();
        let stays = |member: &&Member| match member.id == *self.core.id() {
            true => phase < Phase::Leaving,
            false => peer_id(&member.id).is_none_or(|peer| !leaving.contains_key(&peer)),
        };
        let owners = match self.has_joined.get() {
            true => owners(view.members.iter().filter(stays)),
            false => Vec::new(),
        };
        drop(leaving);
        self.set_owners(view, owners);
    }

    /// Counts the members of this side.
    fn count(&self, now: Instant) {
        let view = Arc::clone(self.membership.borrow().view());
        let names = view.members.iter().map(|member| Arc::clone(&member.id.name));
        self.majority.borrow_mut().handle_view(now, names);
    }

    /// Lets a view that has held count. Returns when there will be more.
    fn await_count(&self, now: Instant) -> Option<Instant> {
        let mut majority = self.majority.borrow_mut();
        majority.handle_timeout(now);
        majority.poll_timeout()
    }

    /// Lets the shards follow a view in which these may own something.
    fn set_owners(&self, view: Arc<View>, owners: Vec<Owner>) {
        let (version, has_majority) = (view.version, self.majority.borrow().has_majority());
        let former = self.cluster.routing.routes();
        if former.has_majority && !has_majority {
            tracing::warn!(
                node = %self.core.id(),
                members = view.members.len(),
                "this node is in a minority: entities of types that stop there are stopped"
            );
        }
        if former.view.version != version {
            let members = view.members.len();
            tracing::info!(node = %self.core.id(), version, members, "view changed");
        }
        self.set_targets(view, &owners, has_majority);
    }

    fn check_joined(&self, joining: Joining) -> Option<Joining> {
        let seen = self.membership.borrow().view().members.len() > 1;
        let outcome = if joining.founder || seen {
            Ok(())
        } else if let Some((peer, source)) = self.refused.take() {
            let at = joining.contacts.iter().find(|(contact, _)| *contact == peer);
            let Some((_, seed)) = at else { return Some(joining) };
            Err(JoinError::Refused { seed: *seed, source })
        } else if self.now() >= joining.deadline {
            let seeds = joining.contacts.iter().map(|(_, addr)| *addr).collect();
            Err(JoinError::TimedOut { seeds, after: joining.patience, last: None })
        } else {
            return Some(joining);
        };
        self.seeds.take();
        let failed = outcome.is_err();
        if !failed {
            self.has_joined.set(true);
            self.publish_view();
            // Whoever awaits it is to find who owns what.
            self.hand_over(self.now());
            self.cluster.wake.notify_one();
        }
        if joining.joined.send(outcome).is_err() || failed {
            // Nobody wants the node: it ends at once.
            self.cluster.phase.send_replace(Phase::Closed);
        }
        None
    }
}

/// Who of these members may own something, and how much. One that is draining gets nothing, unless all
/// are.
fn owners<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> Vec<Owner> {
    let keeps = |member: &Member| !member.profile.is_draining && member.profile.weight > 0;
    let some_keep = members.clone().any(keeps);
    let weight = |member: &Member| match some_keep && member.profile.is_draining {
        true => 0,
        false => member.profile.weight,
    };
    let owner = |member: &Member| {
        let candidate = Candidate { node: member.id.clone(), weight: weight(member) };
        (candidate, Arc::clone(&member.profile))
    };
    members.map(owner).collect()
}
