//! A network to hold claims against, and nodes on it, each in a process of its own.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroU64},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_cluster_transport::{
    Bound, Class, Clock, ClusterName, ConnectError, Events, Frames, Inbound, Later, NodeName,
    PeerId, Random, Receipt, Refusal, Session, Transport, TransportConfig, Unsettled,
    development::Authority,
    simulation::{Link, SimulatedNetwork},
    socket::{Faulty, Network, Udp, Way},
    tls::TlsFailure,
};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, LocalSet},
};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Simulated, in paused time.
    Simulated,
    /// Real UDP, in real time.
    Loopback,
}

/// Holds a claim on a network.
pub(crate) fn hold<F: Future<Output = ()>>(kind: Kind, claim: impl FnOnce(World) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = match kind {
        Kind::Simulated => runtime.enable_time().start_paused(true).build(),
        Kind::Loopback => runtime.enable_all().build(),
    };
    let world = World {
        kind,
        simulated: SimulatedNetwork::new(1),
        authority: Authority::new(),
        hosts: Cell::new(0),
        faulty: RefCell::default(),
    };
    LocalSet::new().block_on(&runtime.expect("a runtime"), claim(world));
}

/// How long a silent connection is kept in every world.
pub(crate) const IDLE: Duration = Duration::from_millis(500);

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) authority: Authority,
    simulated: SimulatedNetwork,
    hosts: Cell<u8>,
    faulty: RefCell<Vec<Faulty>>,
}

impl World {
    /// A node's first incarnation.
    pub(crate) async fn start(&self, node: &str) -> Member {
        self.start_with(node, 1, "same", |_| {}).await
    }

    /// Two nodes, a and b.
    pub(crate) async fn pair(&self) -> (Member, Member) {
        (self.start("a").await, self.start("b").await)
    }

    /// A node, in a process of its own, on a host of its own.
    pub(crate) async fn start_with(
        &self,
        node: &str,
        incarnation: u64,
        info: &'static str,
        adjust: impl FnOnce(&mut TransportConfig),
    ) -> Member {
        let host = self.hosts.get() + 1;
        self.hosts.set(host);
        let (ip, port) = match self.kind {
            Kind::Simulated => (IpAddr::from([10, 0, 0, host]), 7_000),
            Kind::Loopback => (Ipv4Addr::LOCALHOST.into(), 0),
        };
        let faulty = Faulty::new(Udp);
        let network: Rc<dyn Network> = match self.kind {
            Kind::Simulated => Rc::new(self.simulated.host(ip)),
            Kind::Loopback => Rc::new(faulty.clone()),
        };
        self.faulty.borrow_mut().push(faulty.clone());

        let cluster = ClusterName::new("test").expect("a name");
        let credentials = self.authority.issue(&name(node));
        let bind = SocketAddr::new(ip, port);
        let mut config = TransportConfig::new(cluster, name(node), credentials, bind);
        config.lanes = NonZeroU16::new(3).expect("not zero");
        config.idle_timeout = IDLE;
        config.keep_alive = IDLE / 5;
        config.handshake_timeout = 2 * IDLE;
        config.redial_first = IDLE / 25;
        config.redial_longest = IDLE / 2;
        adjust(&mut config);

        let seen = Rc::new(Seen::default());
        let events: Rc<dyn Events> = seen.clone();
        let process = Process::start(move || {
            let random = Random::from_seed(host.into());
            let bound = Bound::bind(config, &*network, Clock::default(), random).expect("bound");
            bound.open(incarnation, Bytes::from_static(info.as_bytes()), events)
        });
        let (process, transport) = process.await;
        Member { transport, seen, faulty, process }
    }

    /// Lets so many bytes a second pass on each way, where that can be decided.
    pub(crate) fn narrow(&self, bytes: u64) {
        let bandwidth_bytes = NonZeroU64::new(bytes);
        self.simulated.set_link(Link { bandwidth_bytes, ..Link::default() });
    }

    /// How many packets were sent so far, where they are counted.
    pub(crate) fn packets(&self) -> Option<u64> {
        (self.kind == Kind::Simulated).then(|| self.simulated.stats().sent)
    }

    /// Cuts the way between two nodes.
    pub(crate) fn cut(&self, a: &Member, b: &Member) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts the way from one node to another; the way back stays.
    pub(crate) fn cut_one_way(&self, from: &Member, to: &Member) {
        match self.kind {
            Kind::Simulated => self.simulated.partition_one_way(from.addr().ip(), to.addr().ip()),
            Kind::Loopback => {
                from.faulty.cut_peer(Way::Out, to.addr());
                to.faulty.cut_peer(Way::In, from.addr());
            }
        }
    }

    /// Mends every cut.
    pub(crate) fn heal(&self) {
        self.simulated.heal_all();
        self.faulty.borrow().iter().for_each(Faulty::heal);
    }
}

/// Lets something last: a fault, or the pause between two messages.
pub(crate) async fn last(duration: Duration) {
    Clock::default().sleep(duration).await;
}

/// Waits, generously, until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let clock = Clock::default();
    let deadline = clock.after(Duration::from_secs(60));
    while !holds() {
        assert!(clock.now() < deadline, "it never came to hold: {what}");
        clock.sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

/// A running node.
pub(crate) struct Member {
    pub(crate) transport: Transport,
    pub(crate) seen: Rc<Seen>,
    faulty: Faulty,
    process: Process,
}

impl Member {
    pub(crate) fn id(&self) -> &PeerId {
        self.transport.local()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.transport.addr()
    }

    /// Dials a node, from within this one's process.
    pub(crate) fn connect(&self, other: &Self) {
        self.connect_to(other.id(), other.addr());
    }

    pub(crate) fn connect_to(&self, peer: &PeerId, addr: SocketAddr) {
        let peer = peer.clone();
        self.process.run(move |transport| transport.connect(&peer, addr));
    }

    /// Runs a task within this node's process; the receiver hears of its end.
    #[expect(clippy::disallowed_methods, reason = "the process owns it")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> oneshot::Receiver<()> {
        let (ended, end) = oneshot::channel();
        self.process.run(move |_| {
            tokio::task::spawn_local(async move {
                task.await;
                let _ = ended.send(());
            });
        });
        end
    }

    pub(crate) fn is_linked(&self, other: &Self) -> bool {
        self.transport.is_linked(other.id())
    }

    /// The session with another node, once there is a connection.
    pub(crate) async fn session(&self, other: &Self) -> Session {
        self.connect(other);
        until("linked", || self.is_linked(other)).await;
        self.transport.session(&other.id().name).expect("linked")
    }

    /// The session with a node that has dialled this one.
    pub(crate) async fn session_from(&self, other: &Self) -> Session {
        until("linked from there", || self.is_linked(other)).await;
        self.transport.session(&other.id().name).expect("linked")
    }

    /// The numbers that came from another node, in order, of targets that match.
    pub(crate) fn numbers(&self, from: &Self, matches: impl Fn(u64) -> bool) -> Vec<u32> {
        let arrived = self.seen.arrived.borrow();
        let wanted = arrived.iter().filter(|m| m.from == *from.id() && matches(m.target));
        wanted.map(|message| number(&message.payload)).collect()
    }

    /// Stops the process as SIGSTOP does: nothing of it is polled, its ports stay open.
    pub(crate) fn pause(&self) {
        self.process.gate.is_paused.set(true);
    }

    pub(crate) fn resume(&self) {
        self.process.gate.is_paused.set(false);
        if let Some(waker) = self.process.gate.waker.take() {
            waker.wake();
        }
    }

    /// Ends the process as a kill would: nothing is said to anybody.
    pub(crate) async fn kill(self) {
        let Self { transport, seen, process, .. } = self;
        process.running.abort();
        assert!(process.running.await.expect_err("killed").is_cancelled());
        drop((transport, seen));
    }
}

/// What runs inside a node's process.
type Job = Box<dyn FnOnce(&Transport)>;

struct Process {
    jobs: mpsc::Sender<Job>,
    gate: Rc<Gate>,
    running: JoinHandle<()>,
}

/// Whether a process is polled.
#[derive(Default)]
struct Gate {
    is_paused: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Gate {
    fn poll(&self, life: Pin<&mut impl Future<Output = ()>>, task: &mut Context<'_>) -> Poll<()> {
        if self.is_paused.get() {
            self.waker.set(Some(task.waker().clone()));
            return Poll::Pending;
        }
        life.poll(task)
    }
}

impl Process {
    #[expect(clippy::disallowed_methods, reason = "a process that can be killed")]
    async fn start(start: impl FnOnce() -> Transport + 'static) -> (Self, Transport) {
        let (give, take) = oneshot::channel();
        let (jobs, mut inbox) = mpsc::channel::<Job>(64);
        let gate = Rc::<Gate>::default();
        let guard = Rc::clone(&gate);
        let running = tokio::task::spawn_local(async move {
            let set = LocalSet::new();
            let life = async {
                let transport = start();
                let _ = give.send(transport.clone());
                while let Some(job) = inbox.recv().await {
                    job(&transport);
                }
                std::future::pending::<()>().await;
            };
            let mut life = pin!(set.run_until(life));
            poll_fn(|task| guard.poll(life.as_mut(), task)).await;
        });
        (Self { jobs, gate, running }, take.await.expect("started"))
    }

    fn run(&self, job: impl FnOnce(&Transport) + 'static) {
        self.jobs.try_send(Box::new(job)).expect("the process lives");
    }
}

/// What a node does with a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Habit {
    #[default]
    Settle,
    /// Neither settle nor reject it.
    Hold,
    /// Hold those of targets below this one, and settle the others.
    HoldBelow(u64),
    Reject(u8),
    /// Answer with the same bytes, which settles it.
    Answer,
}

/// A message or an answer that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) from: PeerId,
    pub(crate) target: u64,
    pub(crate) payload: Bytes,
}

/// Why a dial failed, as far as claims look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused(Refusal),
    Refusing(Refusal),
    Tls(TlsFailure),
    Other(String),
}

/// What a node's layer above has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) habit: Cell<Habit>,
    pub(crate) arrived: RefCell<Vec<Arrived>>,
    pub(crate) answers: RefCell<Vec<Arrived>>,
    pub(crate) held: RefCell<Vec<(Session, Receipt)>>,
    pub(crate) packets: RefCell<Vec<Vec<u8>>>,
    pub(crate) rejected: RefCell<Vec<(Unsettled, u8)>>,
    pub(crate) ended: RefCell<Vec<Vec<Unsettled>>>,
    pub(crate) failures: RefCell<Vec<Failure>>,
    pub(crate) links: Cell<u32>,
    pub(crate) sessions: Cell<u32>,
}

impl Seen {
    /// Settles all that was held.
    pub(crate) fn settle_held(&self) {
        for (session, receipt) in self.held.borrow_mut().drain(..) {
            session.settle(receipt);
        }
    }
}

impl Events for Seen {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, info: &[u8]) -> Result<(), Refusal> {
        if info == b"same" {
            return Ok(());
        }
        let found = String::from_utf8_lossy(info).into_owned();
        Err(Refusal::Mismatch { field: "settings".into(), expected: "same".into(), found })
    }

    fn link_up(&self, _: &Session, first: bool) {
        self.links.set(self.links.get() + 1);
        self.sessions.set(self.sessions.get() + u32::from(first));
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, session: &Session, frames: &Frames) {
        for Inbound { ticket, class, target, payload } in frames {
            let from = session.peer().clone();
            let arrived = Arrived { from, target, payload: payload.to_bytes() };
            if class == Class::Answer {
                self.answers.borrow_mut().push(arrived);
                continue;
            }
            self.arrived.borrow_mut().push(arrived);
            match self.habit.get() {
                Habit::Settle => session.settle(ticket),
                Habit::HoldBelow(bound) if target >= bound => session.settle(ticket),
                Habit::Hold | Habit::HoldBelow(_) => {
                    self.held.borrow_mut().push((session.clone(), ticket));
                }
                Habit::Reject(reason) => session.reject(ticket, target, reason, Later::Deliver),
                Habit::Answer => session.answer(ticket, target, payload).expect("it is taken"),
            }
        }
    }

    fn packet(&self, _: &PeerId, packet: &[u8]) {
        self.packets.borrow_mut().push(packet.to_vec());
    }

    fn rejected(&self, _: &Session, message: Unsettled, reason: u8) {
        self.rejected.borrow_mut().push((message, reason));
    }

    fn session_ended(&self, _: &Session, unsettled: Vec<Unsettled>) {
        self.ended.borrow_mut().push(unsettled);
    }

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        let failure = match error {
            ConnectError::Refused(refusal) => Failure::Refused(refusal.clone()),
            ConnectError::Refusing(refusal) => Failure::Refusing(refusal.clone()),
            ConnectError::Tls(failure) => Failure::Tls(*failure),
            error => Failure::Other(error.to_string()),
        };
        self.failures.borrow_mut().push(failure);
    }
}

/// Sends bytes, once there is room.
pub(crate) async fn send(session: &Session, target: u64, token: u64, payload: &[u8]) {
    let mut ticket = None;
    let sent =
        std::future::poll_fn(|task| session.poll_send(target, token, payload, &mut ticket, task));
    sent.await.expect("the session lives");
}

/// How many messages of a length a target takes.
pub(crate) fn fill(session: &Session, target: u64, length: usize) -> usize {
    let payload = vec![0; length];
    (0..).take_while(|_| session.try_send(Class::Message, target, 0, &payload).is_ok()).count()
}

/// Sends a number, which is its token too.
pub(crate) async fn tell(session: &Session, target: u64, number: u32) {
    send(session, target, number.into(), &number.to_le_bytes()).await;
}

pub(crate) fn number(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload[..4].try_into().expect("four bytes"))
}

/// Waits until all that was sent is settled.
pub(crate) async fn settled(sessions: &[&Session]) {
    until("settled", || sessions.iter().all(|session| session.unsettled() == (0, 0))).await;
}
