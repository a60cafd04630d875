//! A node, and a proper peer that it has to go on serving.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Once,
    time::Duration,
};

use actix_cluster_transport::{
    Bound, Clock, ClusterName, ConnectError, Events, Frames, NodeName, PeerId, Random, Refusal,
    Session, Transport, TransportConfig, Unsettled, development::Authority,
    simulation::SimulatedNetwork,
};
use bytes::Bytes;
use tokio::task::LocalSet;

use super::peer::Fake;

/// How long the node gives a handshake.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The longest payload that the node takes.
pub(crate) const FRAME_LIMIT: usize = 64 * 1024;

/// How many peers the node knows at once.
pub(crate) const PEERS_LIMIT: u32 = 3;

/// How many messages the node holds for each peer.
pub(crate) const MESSAGES_ACCEPTED: u64 = 20;

pub(crate) struct World {
    pub(crate) node: Member,
    pub(crate) fake: Fake,
    pub(crate) friend: Member,
    pub(crate) network: SimulatedNetwork,
    authority: Authority,
}

pub(crate) struct Member {
    pub(crate) transport: Transport,
    pub(crate) seen: Rc<Seen>,
}

/// Plays a fake peer against a node, and holds that the node still serves a proper one.
pub(crate) fn play<F: Future<Output = World>>(scene: impl FnOnce(World) -> F) {
    count_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (network, authority) = (SimulatedNetwork::new(1), Authority::new());
        let node = start(&network, &authority, "node", 1);
        let friend = start(&network, &authority, "friend", 2);
        let fake = Fake::new(&network, &authority, "fake", 3);
        friend.transport.connect(node.transport.local(), node.transport.addr());
        let world = World { node, fake, friend, network, authority };
        world.serves_its_friend().await;
        let world = scene(world).await;
        world.serves_its_friend().await;
        assert_eq!(world.friend.seen.links.get(), 1, "the friend kept its connection");
        // And the fake one is no worse off than any other, if it behaves.
        let mut hello = world.fake.hello();
        hello.node.1 = 100;
        let before = world.node.seen.links.get();
        let _line = world.fake.link(world.node.transport.addr(), hello).await;
        until("a proper handshake is taken", || world.node.seen.links.get() == before + 1).await;
    });
    assert_eq!(PANICS.get(), 0, "a task of the node panicked");
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts the panics of this test's thread: those of tasks end nowhere else.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            report(info);
        }));
    });
}

fn start(network: &SimulatedNetwork, authority: &Authority, node: &str, host: u8) -> Member {
    let host = network.host([10, 0, 0, host].into());
    let name = NodeName::new(node).expect("a name");
    let cluster = ClusterName::new("test").expect("a name");
    let credentials = authority.issue(&name);
    let bind = SocketAddr::new(host.ip(), 7_000);
    let mut config = TransportConfig::new(cluster, name, credentials, bind);
    config.handshake_timeout = PATIENCE;
    config.message_limit = FRAME_LIMIT;
    config.bulk_over = FRAME_LIMIT / 2;
    config.target_messages = 10;
    config.peers_limit = PEERS_LIMIT;
    config.session_messages = MESSAGES_ACCEPTED;
    let seen = Rc::new(Seen::default());
    let events: Rc<dyn Events> = seen.clone();
    let bound = Bound::bind(config, &host, Clock::default(), Random::from_seed(1)).expect("bound");
    Member { transport: bound.open(7, Bytes::from_static(b"same"), events), seen }
}

impl World {
    /// A fake peer more, on another host.
    pub(crate) fn another(&self, name: &str, host: u8) -> Fake {
        Fake::new(&self.network, &self.authority, name, host)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.node.transport.addr()
    }

    pub(crate) async fn serves_its_friend(&self) {
        let node = self.node.transport.local();
        until("linked", || self.friend.transport.is_linked(node)).await;
        let session = self.friend.transport.session(&node.name).expect("linked");
        let payload = b"from the friend";
        session.try_send(actix_cluster_transport::Class::Message, 1, 1, payload).expect("room");
        until("settled", || session.unsettled() == (0, 0)).await;
        assert_eq!(self.node.seen.arrived.borrow().last().map(|(_, p)| &p[..]), Some(&payload[..]));
    }
}

/// Waits, in virtual time, until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        Clock::default().sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to hold: {what}");
}

/// What the node's layer above has seen; it settles all.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) arrived: RefCell<Vec<(u64, Bytes)>>,
    pub(crate) failures: RefCell<Vec<String>>,
    pub(crate) letters: RefCell<Vec<(PeerId, Vec<u8>)>>,
    pub(crate) links: Cell<u32>,
    /// Nothing is settled meanwhile.
    pub(crate) hold: Cell<bool>,
}

impl Events for Seen {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, info: &[u8]) -> Result<(), Refusal> {
        if info == b"same" {
            return Ok(());
        }
        let (expected, found) = ("same".to_owned(), String::from_utf8_lossy(info).into_owned());
        Err(Refusal::Mismatch { field: "settings".to_owned(), expected, found })
    }

    fn link_up(&self, _: &Session, _: bool) {
        self.links.set(self.links.get() + 1);
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, session: &Session, frames: &Frames) {
        for frame in frames {
            if !self.hold.get() {
                session.settle(frame.ticket);
            }
            self.arrived.borrow_mut().push((frame.target, frame.payload.to_bytes()));
        }
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn letter(&self, from: &PeerId, packet: &[u8]) {
        self.letters.borrow_mut().push((from.clone(), packet.to_vec()));
    }

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {}

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        self.failures.borrow_mut().push(cause.unwrap_or_else(|| error.to_string()));
    }
}
