//! This project's transport, at both ends.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{
    Bound, Class, Clock, ClusterName, ConnectError, Credentials, Events, Frames, Inbound, NodeName,
    Outbound, PeerId, Random, Receipt, Refusal, SendAllError, SendError, Session, Transport,
    TransportConfig, Unsettled, socket::Udp,
};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    Done,
    note::{Kind, Ledger, Payload, TARGETS},
    setup::{FAR, NEAR, Setup},
};

fn open(name: &str, setup: &Setup, events: Rc<dyn Events>) -> io::Result<Transport> {
    let name = NodeName::new(name).expect("the name keeps the rules");
    let cluster = ClusterName::new("bench").expect("the name keeps the rules");
    let Setup { chain, key, roots } = setup;
    let credentials = Credentials::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes())
        .map_err(io::Error::other)?;
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = TransportConfig::new(cluster, name, credentials, bind);
    let bound = Bound::bind(config, &Udp, Clock::default(), Random::from_os());
    Ok(bound.map_err(io::Error::other)?.open(1, Bytes::new(), events))
}

/// The end that counts and answers.
pub(crate) struct Far {
    transport: Transport,
    events: Rc<FarEvents>,
}

#[derive(Debug)]
struct FarEvents {
    ledger: RefCell<Ledger>,
    /// What is settled together, kept for its room.
    settled: RefCell<Vec<Receipt>>,
    deliveries: Cell<u64>,
    /// The end's message, until all before it has come.
    end: Cell<Option<(Receipt, u64)>>,
    /// Answers that were not taken.
    untaken: Cell<u64>,
}

impl Far {
    pub(crate) fn open(setup: &Setup) -> io::Result<Self> {
        let events = Rc::new(FarEvents {
            ledger: RefCell::new(Ledger::new()),
            settled: RefCell::default(),
            deliveries: Cell::new(0),
            end: Cell::new(None),
            untaken: Cell::new(0),
        });
        let transport = open(FAR, setup, events.clone())?;
        Ok(Self { transport, events })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.transport.addr()
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.events.deliveries.get()
    }

    pub(crate) fn faults(&self) -> u64 {
        self.events.ledger.borrow().faults + self.events.untaken.get()
    }
}

impl FarEvents {
    fn answer(&self, session: &Session, ticket: Receipt, target: u64, payload: &[u8]) {
        if session.answer(ticket, target, payload).is_err() {
            session.settle(ticket);
            self.untaken.set(self.untaken.get() + 1);
        }
    }
}

impl Events for FarEvents {
    fn deliver(&self, session: &Session, frames: &Frames) {
        self.deliveries.set(self.deliveries.get() + 1);
        let mut ledger = self.ledger.borrow_mut();
        let mut settled = self.settled.borrow_mut();
        for Inbound { ticket, target, payload, .. } in frames {
            match ledger.handle(&payload) {
                Kind::Ask => self.answer(session, ticket, target, &payload),
                Kind::End => self.end.set(Some((ticket, target))),
                Kind::Note | Kind::Unknown => settled.push(ticket),
            }
        }
        session.settle_all(settled.drain(..));
        if let Some((ticket, target)) = self.end.get()
            && ledger.take_end()
        {
            self.end.set(None);
            let mut payload = Payload::new(0);
            self.answer(session, ticket, target, payload.fill(Kind::End, 0));
        }
    }

    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, _: &Session, _: bool) {}

    fn link_down(&self, _: &Session) {}

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {}

    fn dial_failed(&self, _: &PeerId, _: &ConnectError) {}
}

/// The end that sends and asks.
pub(crate) struct Near {
    session: Session,
    events: Rc<NearEvents>,
    /// Ends its tasks when dropped.
    _transport: Transport,
}

struct NearEvents {
    session: OnceCell<Session>,
    ledger: RefCell<Ledger>,
    answers: Cell<u64>,
    ends: Cell<u64>,
    broken: Cell<bool>,
    deliveries: Cell<u64>,
    changed: Notify,
}

impl Near {
    /// Dials the far end, and waits until it is there.
    pub(crate) async fn connect(setup: &Setup, far: SocketAddr) -> io::Result<Self> {
        let events = Rc::new(NearEvents {
            session: OnceCell::new(),
            ledger: RefCell::new(Ledger::new()),
            answers: Cell::new(0),
            ends: Cell::new(0),
            broken: Cell::new(false),
            deliveries: Cell::new(0),
            changed: Notify::new(),
        });
        let transport = open(NEAR, setup, events.clone())?;
        let name = NodeName::new(FAR).expect("the name keeps the rules");
        transport.connect(&PeerId { name, incarnation: 1 }, far);
        let session = loop {
            events.changed.notified().await;
            if let Some(session) = events.session.get() {
                break session.clone();
            }
        };
        Ok(Self { session, events, _transport: transport })
    }

    /// Sends notes of a size until it is time, and waits until they have come.
    ///
    /// As many go in one turn as one system call carries; then others have theirs. A raw stream's
    /// writer goes on until its window is full.
    pub(crate) async fn send_for(&self, bytes: usize, time: Duration) -> io::Result<Done> {
        let in_turn = (TURN_BYTES / bytes).max(1);
        let mut payloads = vec![Payload::new(bytes); in_turn];
        let begun = Instant::now();
        let (mut count, mut turns) = (0, 0);
        while begun.elapsed() < time {
            turns += 1;
            let notes: Vec<_> = (count..)
                .zip(&mut payloads)
                .map(|(number, payload)| Outbound {
                    target: number % TARGETS,
                    token: 1,
                    payload: payload.fill(Kind::Note, number).into(),
                })
                .collect();
            turns += self.send_all(&notes).await?;
            count += notes.len() as u64;
            tokio::task::yield_now().await;
        }
        self.end(count).await?;
        Ok(Done { count, took: begun.elapsed(), turns })
    }

    /// Keeps so many requests in flight until it is time, and waits for all answers.
    pub(crate) async fn ask_for(&self, in_flight: u64, time: Duration) -> io::Result<Done> {
        self.events.answers.set(0);
        let mut payload = Payload::new(ASK_BYTES);
        let begun = Instant::now();
        let (mut count, mut turns) = (0, 0);
        loop {
            turns += 1;
            let answers = self.events.answers.get();
            if begun.elapsed() < time {
                while count < answers + in_flight {
                    turns += self.send(payload.fill(Kind::Ask, count), count % TARGETS).await?;
                    count += 1;
                }
            } else if answers == count {
                break;
            }
            self.changed().await?;
        }
        let took = begun.elapsed();
        self.end(0).await?;
        Ok(Done { count, took, turns })
    }

    /// One request after another, with a pause between.
    pub(crate) async fn ping(&self, count: usize, pause: Duration) -> io::Result<Vec<Duration>> {
        self.events.answers.set(0);
        let mut payload = Payload::new(ASK_BYTES);
        let mut took = Vec::with_capacity(count);
        for number in 0..count as u64 {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            self.send(payload.fill(Kind::Ask, number), number % TARGETS).await?;
            while self.events.answers.get() <= number {
                self.changed().await?;
            }
            took.push(begun.elapsed());
        }
        self.end(0).await?;
        Ok(took)
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.events.deliveries.get()
    }

    pub(crate) fn faults(&self) -> u64 {
        self.events.ledger.borrow().faults
    }

    /// Waits until so many notes have come. Numbers begin anew then, at both ends.
    async fn end(&self, notes: u64) -> io::Result<()> {
        let ends = self.events.ends.get();
        self.send(Payload::new(0).fill(Kind::End, notes), 0).await?;
        while self.events.ends.get() == ends {
            self.changed().await?;
        }
        Ok(())
    }

    /// Sends messages together, or waits for room. Returns how often it had to.
    async fn send_all(&self, mut messages: &[Outbound<'_>]) -> io::Result<u64> {
        let mut waits = 0;
        while let Err(SendAllError { sent, error, .. }) = self.session.try_send_all(messages) {
            let Outbound { target, payload, .. } = messages[sent];
            if error != SendError::Full {
                return Err(io::Error::other(error));
            }
            waits += self.send(payload.as_slice(), target).await?;
            messages = &messages[sent + 1..];
        }
        Ok(waits)
    }

    /// Sends now, or waits for room. Returns how often it had to.
    async fn send(&self, payload: &[u8], target: u64) -> io::Result<u64> {
        match self.session.try_send(Class::Message, target, 1, payload) {
            Ok(()) => return Ok(0),
            Err(SendError::Full) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        let mut place = None;
        poll_fn(|task| self.session.poll_send(target, 1, payload, &mut place, task))
            .await
            .map_err(io::Error::other)?;
        Ok(1)
    }

    async fn changed(&self) -> io::Result<()> {
        self.events.changed.notified().await;
        if self.events.broken.get() {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke"));
        }
        Ok(())
    }
}

/// How much is sent in one turn: about as much as segmentation offload carries.
const TURN_BYTES: usize = 64 * 1_024;

/// The payload of a request, and of its answer.
pub(crate) const ASK_BYTES: usize = 64;

impl Events for NearEvents {
    fn deliver(&self, _: &Session, frames: &Frames) {
        self.deliveries.set(self.deliveries.get() + 1);
        let mut ledger = self.ledger.borrow_mut();
        for frame in frames {
            match ledger.handle(&frame.payload) {
                Kind::End => {
                    self.ends.set(self.ends.get() + 1);
                    ledger.take_end();
                }
                _ => self.answers.set(self.answers.get() + 1),
            }
        }
        self.changed.notify_one();
    }

    fn link_up(&self, session: &Session, _: bool) {
        let _ = self.session.set(session.clone());
        self.changed.notify_one();
    }

    fn link_down(&self, _: &Session) {
        self.broken.set(true);
        self.changed.notify_one();
    }

    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {}

    fn dial_failed(&self, peer: &PeerId, error: &ConnectError) {
        eprintln!("cannot reach {peer}: {error}");
    }
}
