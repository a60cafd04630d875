//! Nodes with certificates of our choice, in virtual time; certificates are judged by the wall
//! clock.

use std::{
    cell::RefCell,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, SystemTime},
};

use actix_cluster_transport::{
    Bound, Clock, ClusterName, ConnectError, Credentials, Events, Frames, NodeName, PeerId, Random,
    Refusal, Session, Transport, TransportConfig, Unsettled,
    authority::{CertificateAuthority, IssuedPem},
    simulation::SimulatedNetwork,
    tls::{Refuser, TlsFailure, TlsReason},
};
use bytes::Bytes;
use tokio::task::LocalSet;

use super::log::Log;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a node was told of a connection that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Tls(Refuser, TlsReason),
    Refused(Refusal),
    Refusing(Refusal),
    Other(String),
}

impl Fault {
    fn of(error: &ConnectError) -> Self {
        match error {
            ConnectError::Tls(TlsFailure { refused_by, reason, .. }) => {
                Self::Tls(*refused_by, *reason)
            }
            ConnectError::Refused(refusal) => Self::Refused(refusal.clone()),
            ConnectError::Refusing(refusal) => Self::Refusing(refusal.clone()),
            error => Self::Other(format!("{error:?}")),
        }
    }
}

/// A fault, and the text of its cause.
pub(crate) type Told = (Fault, String);

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) arrived: RefCell<Vec<(String, u32)>>,
    pub(crate) dials: RefCell<Vec<Told>>,
    pub(crate) refusals: RefCell<Vec<(SocketAddr, Told)>>,
    pub(crate) links: RefCell<u32>,
    pub(crate) sessions: RefCell<u32>,
    pub(crate) ended: RefCell<u32>,
}

fn told(error: &ConnectError) -> Told {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    (Fault::of(error), cause)
}

impl Events for Seen {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, _: &Session, first: bool) {
        *self.links.borrow_mut() += 1;
        *self.sessions.borrow_mut() += u32::from(first);
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, session: &Session, frames: &Frames) {
        for frame in frames {
            let number = u32::from_le_bytes(frame.payload[..4].try_into().expect("four"));
            self.arrived.borrow_mut().push((session.peer().name.to_string(), number));
            session.settle(frame.ticket);
        }
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {
        *self.ended.borrow_mut() += 1;
    }

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        self.dials.borrow_mut().push(told(error));
    }

    fn peer_refused(&self, from: SocketAddr, error: &ConnectError) {
        self.refusals.borrow_mut().push((from, told(error)));
    }
}

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

pub(crate) fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

#[expect(clippy::disallowed_methods, reason = "certificates are judged by the wall clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn authority() -> CertificateAuthority {
    CertificateAuthority::new(now(), 365 * DAY).expect("made")
}

pub(crate) fn issue(authority: &CertificateAuthority, node: &str) -> IssuedPem {
    authority.issue(now(), 90 * DAY, &name(node), &[]).expect("issued")
}

/// Credentials that trust these authorities.
pub(crate) fn trusting(issued: &IssuedPem, roots: &[&CertificateAuthority]) -> Credentials {
    let roots: String = roots.iter().map(|root| root.certificate_pem()).collect();
    Credentials::from_pem(issued.chain.as_bytes(), issued.key.as_bytes(), roots.as_bytes())
        .expect("usable")
}

pub(crate) struct World {
    pub(crate) network: SimulatedNetwork,
    pub(crate) log: Log,
}

pub(crate) struct Member {
    pub(crate) transport: Transport,
    pub(crate) seen: Rc<Seen>,
}

/// Plays in virtual time, with the thread's log taken down.
pub(crate) fn play<F: Future<Output = ()>>(scene: impl FnOnce(World) -> F) {
    let log = Log::default();
    let world = World { network: SimulatedNetwork::new(1), log: log.clone() };
    tracing::subscriber::with_default(log, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async { scene(world).await });
    });
}

impl World {
    pub(crate) fn start(&self, node: &str, host: u8, credentials: Credentials) -> Member {
        self.start_in("test", node, host, credentials)
    }

    pub(crate) fn start_in(
        &self,
        cluster: &str,
        node: &str,
        host: u8,
        credentials: Credentials,
    ) -> Member {
        let cluster = ClusterName::new(cluster).expect("a name");
        let addr = SocketAddr::new(ip(host), 7000);
        let config = TransportConfig::new(cluster, name(node), credentials, addr);
        let random = Random::from_seed(u64::from(host));
        let host = self.network.host(ip(host));
        let bound = Bound::bind(config, &host, Clock::default(), random).expect("bound");
        let seen = Rc::new(Seen::default());
        let events: Rc<dyn Events> = seen.clone();
        Member { transport: bound.open(1, Bytes::new(), events), seen }
    }
}

impl Member {
    pub(crate) fn connect(&self, other: &Self) {
        self.transport.connect(other.transport.local(), other.transport.addr());
    }

    pub(crate) fn is_linked(&self, other: &Self) -> bool {
        self.transport.is_linked(other.transport.local())
    }

    pub(crate) async fn session(&self, other: &Self) -> Session {
        self.connect(other);
        until("linked", || self.is_linked(other) && other.is_linked(self)).await;
        self.transport.session(&other.transport.local().name).expect("linked")
    }

    /// The numbers that came from a node.
    pub(crate) fn numbers(&self, from: &str) -> Vec<u32> {
        let arrived = self.seen.arrived.borrow();
        arrived.iter().filter(|(node, _)| node == from).map(|(_, number)| *number).collect()
    }
}

/// Waits, in virtual time, until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        pass(1).await;
    }
    panic!("it never came to be {what}");
}

pub(crate) async fn pass(ms: u64) {
    Clock::default().sleep(Duration::from_millis(ms)).await;
}

pub(crate) async fn tell(session: &Session, number: u32) {
    let mut ticket = None;
    let payload = number.to_le_bytes();
    std::future::poll_fn(|task| session.poll_send(1, number.into(), &payload, &mut ticket, task))
        .await
        .expect("the session lives");
}
