//! Two nodes with the transport between them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc as blocking,
    },
    time::{Duration, Instant},
};

use actix_cluster_transport::{
    Bound, Class, Clock, ClusterName, ConnectError, Events, Frames, Inbound, NodeName, PeerId,
    Random, Refusal, Session, TransportConfig, Unsettled, development::Authority, socket::Udp,
};
use bytes::Bytes;
use tokio::task::LocalSet;

use crate::{Log, Path};

/// The target of the long message.
const LONG: u64 = 0;

pub(crate) struct Nodes {
    session: Session,
    long: Bytes,
    has_flowed: Arc<AtomicBool>,
    log: Log,
}

impl Nodes {
    /// Starts two nodes, each on a thread of its own, which end with the process.
    ///
    /// # Errors
    ///
    /// When they do not reach each other.
    pub(crate) fn start(long: Bytes) -> io::Result<Self> {
        let authority = Authority::new();
        let watch = Watch { log: Log::new(), has_flowed: Arc::default(), session: Arc::default() };
        let right = node("right", &authority, watch.clone(), None)?;
        node("left", &authority, watch.clone(), Some(right))?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if let Some(session) = watch.session.get() {
                let Watch { log, has_flowed, .. } = watch;
                return Ok(Self { session: session.clone(), long, has_flowed, log });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the two nodes do not reach each other"))
    }
}

impl Path for Nodes {
    fn try_send(&mut self, target: u64, payload: &[u8; 64]) -> bool {
        self.session.try_send(Class::Message, target, 0, payload).is_ok()
    }

    fn begin_flow(&mut self) {
        self.has_flowed.store(false, Ordering::Release);
        // The sender of the long message is not the one of the short ones.
        let (session, long) = (self.session.clone(), self.long.clone());
        std::thread::spawn(move || {
            session.try_send(Class::Message, LONG, 0, &long).expect("nothing else is as long");
        });
    }

    fn has_flowed(&self) -> bool {
        self.has_flowed.load(Ordering::Acquire)
    }

    fn long_bytes(&self) -> usize {
        self.long.len()
    }

    fn log(&self) -> &Log {
        &self.log
    }
}

/// Starts a node that dials another, or is dialled. Returns where it is.
fn node(
    name: &str,
    authority: &Authority,
    watch: Watch,
    dial: Option<(PeerId, SocketAddr)>,
) -> io::Result<(PeerId, SocketAddr)> {
    let name = NodeName::new(name).expect("the name keeps the rules");
    let mut config = TransportConfig::new(
        ClusterName::new("bulk").expect("the name keeps the rules"),
        name.clone(),
        authority.issue(&name),
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    );
    config.message_limit = 128 << 20;
    // So that it goes along with others, and not alone.
    config.session_bytes = 256 << 20;
    let (give, take) = blocking::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), async move {
            let bound = Bound::bind(config, &Udp, Clock::default(), Random::from_os());
            let bound = match bound {
                Ok(bound) => bound,
                Err(error) => return give.send(Err(io::Error::other(error))).expect("it waits"),
            };
            give.send(Ok(bound.addr())).expect("it is waited for");
            let watch = Rc::new(watch);
            let transport = bound.open(1, Bytes::new(), watch);
            if let Some((peer, addr)) = dial {
                transport.connect(&peer, addr);
            }
            std::future::pending::<()>().await;
        });
    });
    let addr = take.recv().map_err(|_| io::Error::other("the node's thread has ended"))??;
    Ok((PeerId { name, incarnation: 1 }, addr))
}

/// Answers short messages, and notes their answers and the end of a long one.
#[derive(Clone)]
struct Watch {
    log: Log,
    has_flowed: Arc<AtomicBool>,
    /// Of the one that dials.
    session: Arc<OnceLock<Session>>,
}

impl Events for Watch {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, session: &Session, _: bool) {
        if session.local().name.as_str() == "left" {
            let _ = self.session.set(session.clone());
        }
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, session: &Session, frames: &Frames) {
        for Inbound { ticket, class, target, payload } in frames {
            match class {
                Class::Answer => self.log.answered(&payload),
                Class::Message if target == LONG => {
                    session.settle(ticket);
                    self.has_flowed.store(true, Ordering::Release);
                }
                Class::Message => session.answer(ticket, target, payload).expect("it is short"),
            }
        }
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {}

    fn dial_failed(&self, _: &PeerId, _: &ConnectError) {}
}
