//! A node's transport: its endpoint, its peers, and a session with each of them.
//!
//! It lives on one thread, inside a `LocalSet`; sessions are what other threads hold of it. For
//! each peer that is wanted a task dials, greets, carries the session until the connection ends,
//! and dials again, with growing waits.
//!
//! What is decided about a peer is decided in [`Peer`]; here connections are made and ended.

mod accept;
mod dial;
mod drivers;
mod gate;
mod greetings;
mod letters;
mod peers;
mod rotate;
mod stats;

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{sync::Notify, task::JoinSet};

use self::{
    drivers::Drivers,
    gate::Gate,
    greetings::Greetings,
    peers::Peers,
    rotate::{Proof, warn_of_expiry},
};
pub use self::{
    rotate::{CertificateStatus, RotateError, Rotated, Rotator},
    stats::{Stats, StatsReader},
};
use crate::{
    Clock, Random,
    config::{ConfigError, TransportConfig, open_window, quinn_config},
    greet::{CLOSED, ConnectError, ControlStream, FORGOTTEN, REPLACED},
    identity::{NodeName, PeerId},
    link::{Link, LinkEnd},
    peer::Over,
    session::{Buffers, Frames, Session, Unsettled},
    simulation::endpoint_config,
    socket::{Journal, Network},
    tls::peer_expires,
    wire::{
        control::Control,
        handshake::{Accepts, Hello, LANES_LIMIT, Refusal},
    },
};

/// What the layer above is told, always on the transport's thread. No call may block.
pub trait Events: 'static {
    /// The highest incarnation known of a name; 0 if none. Asked for a node that wants to join.
    fn highest_incarnation(&self, name: &NodeName) -> u64;

    /// Whether the layer above accepts a peer, by what that peer's layer above said.
    ///
    /// # Errors
    ///
    /// The refusal that the peer is to be told.
    fn admit(&self, peer: &PeerId, info: &[u8]) -> Result<(), Refusal>;

    /// A connection carries the session; `first` says that the session is new.
    fn link_up(&self, session: &Session, first: bool);

    /// The session has no connection now, and may get one again.
    fn link_down(&self, session: &Session);

    /// Frames arrived, in order, for the first and only time.
    fn deliver(&self, session: &Session, frames: &Frames);

    /// A packet arrived.
    fn packet(&self, peer: &PeerId, packet: &[u8]);

    /// A packet arrived from a node that there may be no session with ([`Transport::post`]). Does nothing
    /// by default.
    fn letter(&self, from: &PeerId, packet: &[u8]) {
        let _ = (from, packet);
    }

    /// The peer says that a message did not run.
    fn rejected(&self, session: &Session, message: Unsettled, reason: u8);

    /// The session has ended: the peer's incarnation is over, or the peer was forgotten.
    fn session_ended(&self, session: &Session, unsettled: Vec<Unsettled>);

    /// A dial failed; it will be tried again.
    fn dial_failed(&self, peer: &PeerId, error: &ConnectError);

    /// A connection that came in from an address came to nothing: this node refused it, or it this
    /// node, before there was a link. Who it was is not proven. Does nothing by default.
    fn peer_refused(&self, from: SocketAddr, error: &ConnectError) {
        let _ = (from, error);
    }
}

/// A bound endpoint that knows its name and not yet its incarnation.
pub struct Bound {
    config: TransportConfig,
    clock: Clock,
    random: Random,
    endpoint: quinn::Endpoint,
    drivers: Drivers,
    proof: Proof,
    addr: SocketAddr,
    journal: Journal,
}

/// Why an endpoint could not be bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// A setting breaks its rule.
    Config(ConfigError),
    /// The address cannot be bound.
    Socket {
        /// The address.
        addr: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(_) => f.write_str("a transport setting breaks its rule"),
            Self::Socket { addr, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "address {addr} is in use; stop the process that holds it, or bind another port"
            ),
            Self::Socket { addr, .. } => write!(f, "address {addr} cannot be bound"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(source) => Some(source),
            Self::Socket { source, .. } => Some(source),
        }
    }
}

/// A running transport; a handle that stays on its thread.
#[derive(Clone)]
pub struct Transport(Rc<Shared>);

struct Shared {
    config: TransportConfig,
    clock: Clock,
    random: RefCell<Random>,
    endpoint: quinn::Endpoint,
    drivers: Drivers,
    proof: RefCell<Proof>,
    addr: SocketAddr,
    journal: Journal,
    local: PeerId,
    /// Tells this run from another that took the same incarnation.
    nonce: u64,
    info: Bytes,
    events: Rc<dyn Events>,
    peers: RefCell<Peers>,
    gate: Gate,
    greetings: Greetings,
    tasks: RefCell<JoinSet<()>>,
    next_link: Cell<u64>,
    /// Connections that went on with a session, and that were given up for another.
    resumed: Cell<u64>,
    raced: Cell<u64>,
    /// What sessions copy long messages to.
    buffers: Buffers,
    closing: Cell<bool>,
    /// How many letters are on their way.
    posted: Cell<usize>,
    /// Told whenever a link comes up or goes down.
    changed: Notify,
}

/// What came in from a peer so far: see [`Transport::activity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The connection: one that is replaced has another number.
    pub link: u64,
    /// The packets that have come in over it.
    pub datagrams: u64,
}

struct LinkHandle {
    id: u64,
    connection: quinn::Connection,
    /// When the peer's certificate expires.
    expires: Option<SystemTime>,
    stop: Rc<Notify>,
    pong: Rc<Notify>,
}

impl Bound {
    /// Binds the endpoint. Call it inside the `LocalSet` that the transport is to live in.
    ///
    /// # Errors
    ///
    /// [`BindError`]: a setting breaks its rule, or the address is not to be had.
    pub fn bind(
        config: TransportConfig,
        network: &dyn Network,
        clock: Clock,
        mut random: Random,
    ) -> Result<Self, BindError> {
        config.validate().map_err(BindError::Config)?;
        let seed = network.seed().map(|seed| seed ^ random.next_u64());
        let proof = Proof::new(&config, quinn_config(&config), seed);
        warn_of_expiry(&config.node, &config.credentials);
        let failed = |source| BindError::Socket { addr: config.bind, source };
        let buffers = config.quic.socket_buffer_bytes as usize;
        let socket = network.bind_buffered(config.bind, buffers).map_err(failed)?;
        let drivers = Drivers::new(network.runtime());
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config(seed, config.quic.packet_bytes),
            Some(proof.server()),
            socket,
            Arc::new(drivers.clone()),
        )
        .map_err(failed)?;
        let addr = endpoint.local_addr().map_err(failed)?;
        let journal = network.journal();
        Ok(Self { config, clock, random, endpoint, drivers, proof, addr, journal })
    }

    /// The address that was bound.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Begins to accept peers, as this incarnation. `info` is what peers are told of the layer
    /// above.
    pub fn open(self, incarnation: u64, info: Bytes, events: Rc<dyn Events>) -> Transport {
        let Self { config, clock, mut random, endpoint, drivers, proof, addr, journal } = self;
        let local = PeerId { name: config.node.clone(), incarnation };
        let peers = RefCell::new(Peers::new(config.peers_limit));
        let transport = Transport(Rc::new(Shared {
            config,
            clock,
            nonce: random.next_u64(),
            random: RefCell::new(random),
            endpoint,
            drivers,
            proof: RefCell::new(proof),
            addr,
            journal,
            local,
            info,
            events,
            peers,
            gate: Gate::default(),
            greetings: Greetings::default(),
            tasks: RefCell::default(),
            next_link: Cell::new(1),
            resumed: Cell::new(0),
            raced: Cell::new(0),
            buffers: Buffers::default(),
            closing: Cell::new(false),
            posted: Cell::new(0),
            changed: Notify::new(),
        }));
        transport.spawn(accept::run(transport.clone()));
        transport
    }
}

impl Transport {
    /// Who this node is.
    pub fn local(&self) -> &PeerId {
        &self.0.local
    }

    /// The address that was bound.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Keeps a session with a peer from now on. A higher incarnation of a known name ends the
    /// session with the lower one; a lower one is ignored, and so is one that is dialled there already.
    pub fn connect(&self, peer: &PeerId, addr: SocketAddr) {
        if peer.name == self.0.local.name || self.0.closing.get() {
            return;
        }
        self.raise_floor(peer);
        let mut peers = self.0.peers.borrow_mut();
        let entry = peers.entry(&peer.name);
        if !entry.peer.want(peer.incarnation, addr) {
            peers.release(&peer.name);
            return;
        }
        if !std::mem::replace(&mut entry.dialling, true) {
            drop(peers);
            self.spawn(dial::run(self.clone(), peer.name.clone()));
        } else {
            drop(peers);
            self.0.changed.notify_waiters();
        }
    }

    /// Ends the session with an incarnation that is over, and listens to it no more.
    pub fn forget(&self, peer: &PeerId) {
        let over = PeerId { name: peer.name.clone(), incarnation: peer.incarnation + 1 };
        let mut peers = self.0.peers.borrow_mut();
        peers.entry(&peer.name).peer.unwant(peer.incarnation);
        drop(peers);
        self.raise_floor(&over);
        self.0.peers.borrow_mut().release(&peer.name);
        self.0.changed.notify_waiters();
    }

    /// The session with a peer of this name, if there is one.
    pub fn session(&self, name: &NodeName) -> Option<Session> {
        self.0.peers.borrow().get(name)?.peer.session().cloned()
    }

    /// Whether a connection carries the session with a peer right now.
    pub fn is_linked(&self, peer: &PeerId) -> bool {
        let peers = self.0.peers.borrow();
        peers.get(&peer.name).is_some_and(|entry| {
            entry.peer.link().is_some()
                && entry.peer.session().is_some_and(|session| session.peer() == peer)
        })
    }

    /// The peers whose sessions a connection carries right now, and where they are: where they are dialled,
    /// or else where their connection comes from.
    pub fn linked(&self) -> Vec<(PeerId, SocketAddr)> {
        let peers = self.0.peers.borrow();
        let linked = peers.values().filter_map(|entry| {
            let remote = entry.peer.link()?.connection.remote_address();
            let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
            let peer = entry.peer.session()?.peer().clone();
            let dialled = entry.peer.wanted().filter(|(wanted, _)| *wanted == peer.incarnation);
            Some((peer, dialled.map_or(remote, |(_, addr)| addr)))
        });
        linked.collect()
    }

    /// How much has come in from a peer; `None` while no connection carries the session. Whoever
    /// looks twice and finds it changed knows that the peer has sent something meanwhile, which a
    /// live one does each [`keep_alive`](TransportConfig::keep_alive) at least.
    pub fn activity(&self, peer: &PeerId) -> Option<Activity> {
        let peers = self.0.peers.borrow();
        let known = &peers.get(&peer.name)?.peer;
        known.session().filter(|session| session.peer() == peer)?;
        let LinkHandle { id, connection, .. } = known.link()?;
        Some(Activity { link: *id, datagrams: connection.stats().udp_rx.datagrams })
    }

    /// Asks a peer for a sign of life, for at most `patience`.
    pub async fn ping(&self, name: &NodeName, patience: Duration) -> bool {
        let Some((session, pong)) = self.link_of(name) else { return false };
        let pong = pong.notified();
        session.send_control(Control::Ping(0));
        tokio::select! {
            biased;
            () = pong => true,
            () = self.0.clock.sleep(patience) => false,
        }
    }

    /// Stops the intake of every session, this node's messages and its peers'; waits until all that
    /// was taken is settled, for at most `patience`; and closes every connection. Sessions go on
    /// over new connections meanwhile; new peers are refused.
    ///
    /// A peer that has no connection and is owed nothing is not waited for.
    pub async fn close(&self, patience: Duration) {
        self.0.closing.set(true);
        let sessions: Vec<Session> = {
            let peers = self.0.peers.borrow();
            let known = peers.values().filter(|entry| {
                let owed = entry.peer.session().is_some_and(|s| s.unsettled().0 > 0);
                owed || entry.peer.link().is_some()
            });
            known.filter_map(|entry| entry.peer.session().cloned()).collect()
        };
        sessions.iter().for_each(Session::close);
        let all_closed = async {
            for session in &sessions {
                session.closed().await;
            }
        };
        tokio::select! {
            biased;
            () = all_closed => {}
            () = self.0.clock.sleep(patience) => {}
        }
        self.0.endpoint.close(CLOSED.into(), b"closed");
        let names = self.0.peers.borrow().names();
        for name in names {
            self.raise_floor(&PeerId { name, incarnation: u64::MAX });
        }
        tokio::select! {
            biased;
            () = self.0.endpoint.wait_idle() => {}
            () = self.0.clock.sleep(CLOSE_PATIENCE) => {}
        }
        self.0.tasks.borrow_mut().abort_all();
        self.0.drivers.stop();
    }

    /// Takes a state transition down, for who plays the run again.
    fn record(&self, transition: fmt::Arguments<'_>) {
        self.0.journal.record(format_args!("{}: {transition}", self.0.local));
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }

    fn link_of(&self, name: &NodeName) -> Option<(Session, Rc<Notify>)> {
        let peers = self.0.peers.borrow();
        let peer = &peers.get(name)?.peer;
        Some((peer.session()?.clone(), Rc::clone(&peer.link()?.pong)))
    }

    /// Ends what belongs to incarnations of a name below this one.
    fn raise_floor(&self, peer: &PeerId) {
        let mut peers = self.0.peers.borrow_mut();
        let entry = peers.entry(&peer.name);
        let Over { session, link } = entry.peer.raise_floor(peer.incarnation);
        drop(peers);
        if let Some(link) = link {
            link.end(FORGOTTEN, b"");
        }
        if let Some(session) = session {
            let unsettled = session.end();
            let count = unsettled.len();
            self.record(format_args!("session with {} ends, {count} unsettled", session.peer()));
            self.0.events.session_ended(&session, unsettled);
        }
    }

    /// What this node says of itself to a peer.
    fn hello(&self, peer: Option<&NodeName>) -> Hello {
        let resume = peer
            .and_then(|name| self.session(name))
            .map(|session| (session.peer().incarnation, session.received()));
        Hello {
            cluster: self.0.config.cluster.to_string(),
            node: self.0.local.clone(),
            nonce: self.0.nonce,
            to: peer.cloned(),
            capabilities: 0,
            lanes: self.0.config.lanes.get(),
            accepts: self.0.config.accepts(),
            resume,
            info: self.0.info.to_vec(),
        }
    }

    /// Whether this node wants to talk to a peer at all.
    fn check(&self, hello: &Hello, control: &ControlStream) -> Result<(), Refusal> {
        let local = &self.0.local;
        if self.0.closing.get() && !self.knows(&hello.node) {
            return Err(Refusal::Closing);
        }
        if hello.cluster != self.0.config.cluster.as_str() {
            return Err(Refusal::Cluster { expected: self.0.config.cluster.to_string() });
        }
        if hello.to.as_ref().is_some_and(|to| *to != local.name) {
            return Err(Refusal::WrongNode { here: local.name.clone() });
        }
        if !control.names_peer(&hello.node.name) {
            return Err(Refusal::Identity { claimed: hello.node.name.clone() });
        }
        if hello.node.name == local.name {
            return Err(Refusal::NameInUse { name: local.name.clone() });
        }
        // No node counts so far, and none begins before the first.
        if matches!(hello.node.incarnation, 0 | u64::MAX) {
            return Err(Refusal::Protocol);
        }
        if hello.lanes == 0 || hello.lanes > LANES_LIMIT {
            return Err(Refusal::Protocol);
        }
        let Accepts { messages, bytes, longest } = hello.accepts;
        if [messages, bytes, longest].contains(&0) {
            return Err(Refusal::Protocol);
        }
        let peers = self.0.peers.borrow();
        if peers.is_stale(&hello.node, hello.nonce) {
            return Err(Refusal::Stale { known: peers.highest(&hello.node.name) });
        }
        if !peers.has_room_for(&hello.node.name) {
            return Err(Refusal::TooManyPeers);
        }
        drop(peers);
        self.0.events.admit(&hello.node, &hello.info)
    }

    /// Whether there is a session with a peer.
    fn knows(&self, peer: &PeerId) -> bool {
        self.session(&peer.name).is_some_and(|session| session.peer() == peer)
    }

    /// The session with a peer that has greeted, made if there is none.
    fn session_with(&self, hello: &Hello) -> Session {
        self.raise_floor(&hello.node);
        let mut peers = self.0.peers.borrow_mut();
        let entry = peers.entry(&hello.node.name);
        entry.peer.session_or_else(hello.nonce, || {
            let shape = self.0.config.shape(hello.lanes, hello.accepts);
            let info = Bytes::copy_from_slice(&hello.info);
            Session::new(
                self.0.local.clone(),
                hello.node.clone(),
                info,
                &shape,
                self.0.buffers.clone(),
            )
        })
    }

    /// Whether a connection dialled by `dialled_by` would replace what carries the session now.
    fn may_carry(&self, peer: &NodeName, dialled_by: &NodeName) -> bool {
        self.0.peers.borrow().get(peer).is_none_or(|entry| entry.peer.may_carry(dialled_by))
    }

    /// A connection was given up because both ends had dialled.
    fn note_race(&self) {
        self.0.raced.set(self.0.raced.get() + 1);
    }

    /// Lets a connection carry the session from now on. Gives the task that carries it.
    fn carry(
        &self,
        control: ControlStream,
        session: &Session,
        received: &[u64],
        dialled_by: NodeName,
    ) -> Result<impl Future<Output = ()> + use<>, ConnectError> {
        let name = &session.peer().name;
        let connection = control.connection.clone();
        // It may have been trusted under credentials that were rotated while the two greeted.
        self.judge(&connection)?;
        let id = self.0.next_link.replace(self.0.next_link.get() + 1);
        let resumed = session.resume(id, received)?;
        let first = session.introduce();
        open_window(&self.0.config, &connection);
        let (stop, pong) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let handle = LinkHandle {
            expires: connection.peer_identity().and_then(|shown| peer_expires(&*shown)),
            id,
            connection: connection.clone(),
            stop: Rc::clone(&stop),
            pong: Rc::clone(&pong),
        };
        let mut peers = self.0.peers.borrow_mut();
        let replaced =
            peers.get_mut(name).and_then(|entry| entry.peer.carry(id, dialled_by, handle));
        drop(peers);
        if let Some(replaced) = replaced {
            self.note_race();
            replaced.end(REPLACED, b"");
        }
        self.0.resumed.set(self.0.resumed.get() + u64::from(!first));
        tracing::info!(node = %self.0.local, peer = %session.peer(), first, "link up");
        self.record(format_args!("link with {} is up, first: {first}", session.peer()));
        let events = Rc::clone(&self.0.events);
        events.link_up(session, first);
        self.0.changed.notify_waiters();
        let session = session.clone();
        let link = Link {
            connection,
            control,
            session: session.clone(),
            carrier: id,
            first: resumed,
            events,
            stop,
            pong,
            clock: self.0.clock.clone(),
        };
        let transport = self.clone();
        Ok(async move {
            let end = link.run().await;
            transport.link_ended(&session, id, &end);
        })
    }

    fn link_ended(&self, session: &Session, id: u64, end: &LinkEnd) {
        tracing::info!(node = %self.0.local, peer = %session.peer(), %end, "link down");
        self.record(format_args!("link with {} is down: {end}", session.peer()));
        let mut peers = self.0.peers.borrow_mut();
        let entry = peers.get_mut(&session.peer().name);
        let carried = entry.is_some_and(|entry| entry.peer.link_ended(id));
        peers.release(&session.peer().name);
        drop(peers);
        if carried {
            self.0.events.link_down(session);
        }
        self.0.changed.notify_waiters();
    }
}

/// How long peers are given to take notice of a close.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

impl LinkHandle {
    fn end(&self, code: u32, reason: &[u8]) {
        self.stop.notify_one();
        self.connection.close(code.into(), reason);
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transport").field(&self.0.local).finish()
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("addr", &self.addr).finish_non_exhaustive()
    }
}
