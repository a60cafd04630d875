//! One side: a transport on a thread of its own, and the check of what arrives there.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc as blocking,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use actix_cluster_transport::{
    BindError, Bound, Class, Clock, ClusterName, ConnectError, Events, Frames, NodeName, PeerId,
    Random, Refusal, Session, Transport, TransportConfig, Unsettled,
    development::Authority,
    socket::{Faulty, Udp},
};
use bytes::Bytes;
use tokio::{sync::mpsc, task::LocalSet};

use crate::check::{Check, Plant, Verdict};

/// How long a silent connection is kept: cuts are to outlast it.
pub(crate) const IDLE: Duration = Duration::from_millis(500);

/// How long the two may take to find each other.
const FIRST_LINK: Duration = Duration::from_secs(10);

pub(crate) struct Node {
    /// Where its faults are set.
    pub(crate) network: Faulty,
    pub(crate) counts: Arc<Counts>,
    id: PeerId,
    addr: SocketAddr,
    session: Arc<OnceLock<Session>>,
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<Check>,
}

/// What is counted while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) arrived: AtomicU64,
    /// Connections of a session after its first.
    pub(crate) resumes: AtomicU64,
    /// Dials that failed because another connection is kept.
    pub(crate) refused: AtomicU64,
    /// Connections that took over from one that was still up.
    pub(crate) replaced: AtomicU64,
    pub(crate) sessions_ended: AtomicU64,
}

enum Command {
    Connect(PeerId, SocketAddr),
    /// Sockets belong to the thread's runtime, so that is where they are opened.
    OpenPorts(blocking::SyncSender<io::Result<()>>),
}

impl Node {
    /// Binds a transport on loopback, on a thread of its own.
    pub(crate) fn start(
        name: &str,
        authority: &Authority,
        plant: Option<Plant>,
    ) -> Result<Self, BindError> {
        let name = NodeName::new(name).expect("the name keeps the rules");
        let mut config = TransportConfig::new(
            ClusterName::new("soak").expect("the name keeps the rules"),
            name.clone(),
            authority.issue(&name),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        );
        config.idle_timeout = IDLE;
        config.keep_alive = IDLE / 5;
        config.handshake_timeout = IDLE * 2;
        config.redial_first = IDLE / 20;
        config.redial_longest = IDLE / 2;

        let network = Faulty::new(Udp);
        let (counts, session) = (Arc::<Counts>::default(), Arc::<OnceLock<Session>>::default());
        let (commands, inbox) = mpsc::channel(64);
        let (give, take) = blocking::sync_channel(1);
        let thread = {
            let (network, counts) = (network.clone(), Arc::clone(&counts));
            let session = Arc::clone(&session);
            std::thread::spawn(move || {
                let check = RefCell::new(Check::new(plant));
                let watch = Rc::new(Watch { check, counts, session, linked: Cell::new(false) });
                run(config, &network, Rc::clone(&watch), &give, inbox);
                watch.check.replace(Check::new(None))
            })
        };
        let addr = take.recv().expect("the thread tells")?;
        let id = PeerId { name, incarnation: 1 };
        Ok(Self { network, counts, id, addr, session, commands, thread })
    }

    /// Dials another node, again if it is dialling already.
    pub(crate) fn connect(&self, other: &Self) {
        // When commands pile up there is a dial among them.
        let _ = self.commands.try_send(Command::Connect(other.id.clone(), other.addr));
    }

    /// The session, once there is one.
    pub(crate) fn session(&self) -> Result<Session, io::Error> {
        let begun = Instant::now();
        while begun.elapsed() < FIRST_LINK {
            if let Some(session) = self.session.get() {
                return Ok(session.clone());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the two nodes do not reach each other"))
    }

    /// Opens the ports that were closed.
    pub(crate) fn open_ports(&self) -> io::Result<()> {
        let (give, take) = blocking::sync_channel(1);
        let told = self.commands.blocking_send(Command::OpenPorts(give));
        told.map_err(|_| io::Error::other("the node's thread has ended"))?;
        take.recv().map_err(|_| io::Error::other("the node's thread has ended"))?
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.counts.arrived.load(Ordering::Relaxed)
    }

    /// Ends the thread; the check's result, given what the other side has sent.
    pub(crate) fn end(self, sent: &[u64]) -> Verdict {
        drop(self.commands);
        self.thread.join().expect("a node never panics").verdict(sent)
    }
}

fn run(
    config: TransportConfig,
    network: &Faulty,
    watch: Rc<Watch>,
    give: &blocking::SyncSender<Result<SocketAddr, BindError>>,
    mut inbox: mpsc::Receiver<Command>,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async move {
        let bound = match Bound::bind(config, network, Clock::default(), Random::from_os()) {
            Ok(bound) => bound,
            Err(error) => return give.send(Err(error)).expect("it is waited for"),
        };
        give.send(Ok(bound.addr())).expect("it is waited for");
        let transport: Transport = bound.open(1, Bytes::new(), watch);
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Connect(peer, addr) => transport.connect(&peer, addr),
                Command::OpenPorts(done) => {
                    // Nobody listens once the run is over.
                    let _ = done.send(network.open_ports());
                }
            }
        }
    });
}

/// Counts and checks what the transport tells.
struct Watch {
    check: RefCell<Check>,
    counts: Arc<Counts>,
    session: Arc<OnceLock<Session>>,
    linked: Cell<bool>,
}

impl Events for Watch {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, session: &Session, first: bool) {
        let replaced = self.linked.replace(true);
        self.counts.replaced.fetch_add(replaced.into(), Ordering::AcqRel);
        self.counts.resumes.fetch_add((!first).into(), Ordering::AcqRel);
        // A second session is counted when the first one ends.
        let _ = self.session.set(session.clone());
    }

    fn link_down(&self, _: &Session) {
        self.linked.set(false);
    }

    fn deliver(&self, session: &Session, frames: &Frames) {
        let mut check = self.check.borrow_mut();
        let mut count = 0;
        for frame in frames.iter().filter(|frame| frame.class == Class::Message) {
            let number = frame.payload.first_chunk().map_or(u64::MAX, |n| u64::from_le_bytes(*n));
            check.handle(frame.target, number);
            session.settle(frame.ticket);
            count += 1;
        }
        self.counts.arrived.fetch_add(count, Ordering::Relaxed);
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {
        self.counts.sessions_ended.fetch_add(1, Ordering::AcqRel);
    }

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        let duplicate = matches!(
            error,
            ConnectError::Refused(Refusal::Duplicate) | ConnectError::Refusing(Refusal::Duplicate)
        );
        self.counts.refused.fetch_add(duplicate.into(), Ordering::AcqRel);
    }
}
