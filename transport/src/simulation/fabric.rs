//! The simulated network's state: who holds which port, what is on its way, what is cut.
//!
//! Invariant: a packet is in exactly one place, on its way or in one receive queue, until it is
//! counted; with one seed and one sequence of calls, every answer is the same.
//! Knows no clock, task or quinn: callers pass `now` and wake who is returned.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    task::Waker,
};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

use crate::{
    clock::Instant,
    random::Random,
    simulation::{
        link::Link,
        trace::{Fate, Recorder},
    },
};

/// One UDP datagram.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) contents: Bytes,
}

impl Packet {
    fn path(&self) -> (IpAddr, IpAddr) {
        (self.source.ip(), self.destination.ip())
    }

    fn ip_bytes(&self) -> usize {
        self.contents.len() + if self.destination.is_ipv4() { 28 } else { 48 }
    }
}

/// Which process holds which port: what a killed process leaves behind is no longer its port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    pub(super) addr: SocketAddr,
    /// How often the host was started before and with this process.
    pub(super) process: u64,
}

/// All of a network but its lock.
///
/// [`send`](Self::send) and the controls may be called at any time, with `now` never going back.
/// A receiver calls [`poll_packet`](Self::poll_packet) until it is empty and then waits for
/// [`poll_arrival`](Self::poll_arrival) or its waker, whichever comes first.
#[derive(Debug)]
pub(super) struct Fabric {
    random: Random,
    link: Link,
    /// From and to, where it is not `link`.
    own_links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// From and to, until when packets that were sent are still leaving.
    busy_paths: BTreeMap<(IpAddr, IpAddr), Instant>,
    cuts: Cuts,
    /// Which port answers at an address that is not its own.
    mapped: BTreeMap<SocketAddr, SocketAddr>,
    ports: BTreeMap<SocketAddr, Port>,
    sequence: u64,
    recorder: Recorder,
}

/// Packets that a port holds unread; what arrives at a full queue is dropped.
pub(super) const QUEUE_PACKETS: usize = 4096;

/// The first port handed out to who asks for any.
const FIRST_FREE_PORT: u16 = 49_152;

impl Fabric {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            link: Link::default(),
            own_links: BTreeMap::new(),
            busy_paths: BTreeMap::new(),
            mapped: BTreeMap::new(),
            cuts: Cuts::default(),
            ports: BTreeMap::new(),
            sequence: 0,
            recorder: Recorder::default(),
        }
    }

    pub(super) fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    pub(super) fn set_link(&mut self, now: Option<Instant>, link: Link) {
        self.recorder.event(now, &format!("every link is {link:?}"));
        self.link = link;
    }

    pub(super) fn set_own_link(
        &mut self,
        now: Option<Instant>,
        (from, to): (IpAddr, IpAddr),
        link: Link,
    ) {
        self.recorder.event(now, &format!("the link from {from} to {to} is {link:?}"));
        self.own_links.insert((from, to), link);
    }

    fn link(&self, packet: &Packet) -> &Link {
        self.own_links.get(&packet.path()).unwrap_or(&self.link)
    }

    /// Makes a port be seen at another port of its address.
    pub(super) fn rebind(
        &mut self,
        now: Option<Instant>,
        addr: SocketAddr,
        port: u16,
    ) -> io::Result<SocketAddr> {
        self.settle(now);
        let seen = SocketAddr::new(addr.ip(), port);
        let is_taken = seen != addr && self.is_taken(seen);
        let Some(port) = self.ports.get_mut(&addr) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if is_taken || seen.port() == 0 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if let Some(old) = port.seen_at.replace(seen) {
            self.mapped.remove(&old);
        }
        self.mapped.insert(seen, addr);
        self.recorder.event(now, &format!("{addr} is rebound to {seen}"));
        Ok(seen)
    }

    fn is_taken(&self, addr: SocketAddr) -> bool {
        self.ports.contains_key(&addr) || self.mapped.contains_key(&addr)
    }

    /// Who holds the port that is seen at an address.
    fn holder(&self, seen: SocketAddr) -> Option<SocketAddr> {
        self.mapped.get(&seen).copied().or_else(|| self.ports.contains_key(&seen).then_some(seen))
    }

    /// Changes what is cut from `now` on: what has arrived by then has arrived.
    pub(super) fn change_cuts(
        &mut self,
        now: Option<Instant>,
        event: &str,
        change: impl FnOnce(&mut Cuts),
    ) {
        self.settle(now);
        self.recorder.event(now, event);
        change(&mut self.cuts);
    }

    /// Brings all ports up to `now`; without a runtime no time has passed.
    fn settle(&mut self, now: Option<Instant>) {
        let Some(now) = now.or(self.recorder.latest()) else { return };
        for port in self.ports.values_mut() {
            port.settle(now, &self.cuts, &mut self.recorder);
        }
    }

    /// Takes a port, any free one for port 0.
    pub(super) fn open(
        &mut self,
        now: Option<Instant>,
        Holder { addr, process }: Holder,
    ) -> io::Result<SocketAddr> {
        let taken = |port| self.is_taken(SocketAddr::new(addr.ip(), port));
        let port = match addr.port() {
            0 => (FIRST_FREE_PORT..=u16::MAX).find(|port| !taken(*port)),
            port => Some(port).filter(|port| !taken(*port)),
        };
        let addr = SocketAddr::new(addr.ip(), port.ok_or(io::ErrorKind::AddrInUse)?);
        self.recorder.event(now, &format!("{addr} opens"));
        self.ports.insert(addr, Port { process, ..Port::default() });
        Ok(addr)
    }

    /// Gives a port back. What it held unread is refused.
    pub(super) fn close(&mut self, now: Option<Instant>, holder: Holder) -> Option<Waker> {
        self.held(holder)?;
        self.settle(now);
        let addr = holder.addr;
        let port = self.ports.remove(&addr)?;
        if let Some(seen) = port.seen_at {
            self.mapped.remove(&seen);
        }
        self.recorder.event(now, &format!("{addr} closes"));
        if let Some(now) = now.or(self.recorder.latest()) {
            for packet in port.queue.iter().chain(port.on_the_way.values()) {
                self.recorder.ended(now, packet, Fate::Refused);
            }
        }
        port.waker
    }

    /// Closes all ports of a process.
    pub(super) fn close_all(
        &mut self,
        now: Option<Instant>,
        ip: IpAddr,
        process: u64,
    ) -> Vec<Waker> {
        let of_process = |(addr, port): (&SocketAddr, &Port)| {
            (addr.ip() == ip && port.process == process).then_some(*addr)
        };
        let closed: Vec<_> = self.ports.iter().filter_map(of_process).collect();
        closed.into_iter().filter_map(|addr| self.close(now, Holder { addr, process })).collect()
    }

    /// The port, if it is still the holder's.
    fn held(&mut self, holder: Holder) -> Option<&mut Port> {
        self.ports.get_mut(&holder.addr).filter(|port| port.process == holder.process)
    }

    /// Sends a packet of a port's holder on its way; returns who must be woken. What is left of a
    /// killed process sends nothing.
    pub(super) fn send(&mut self, now: Instant, from: Holder, mut packet: Packet) -> Option<Waker> {
        packet.source = self.held(from)?.seen_at.unwrap_or(from.addr);
        let departure = self.departure(now, &packet);
        let fate = departure.err().unwrap_or_else(|| self.fate_on_the_wire(&packet));
        self.recorder.sent(now, &packet, fate);
        let copies = match fate {
            Fate::Carried => 1,
            Fate::Duplicated => 2,
            _ => return None,
        };
        let link = self.own_links.get(&packet.path()).unwrap_or(&self.link);
        let holder = self.mapped.get(&packet.destination).unwrap_or(&packet.destination);
        let port = self.ports.get_mut(holder)?;
        let departure = departure.unwrap_or(now);
        port.settle(now, &self.cuts, &mut self.recorder);
        let first = port.arrival();
        for _ in 0..copies {
            let last = port.last_arrivals.entry(packet.source).or_insert(now);
            let arrival = link.arrival(departure, &mut self.random, last);
            self.sequence += 1;
            port.on_the_way.insert((arrival, self.sequence), packet.clone());
        }
        port.forget_idle_paths(now);
        if port.arrival() == first { None } else { port.waker.take() }
    }

    /// As [`send`](Self::send), for a holder that is told of a refusal: by an empty packet from the
    /// port that refused, which takes as long there and back as packets on that path do.
    pub(super) fn probe(&mut self, now: Instant, from: Holder, packet: Packet) -> Option<Waker> {
        let (there, back) = (packet.destination, self.held(from)?.seen_at.unwrap_or(from.addr));
        let is_refused = !self.cuts.stop(&packet) && self.holder(there).is_none();
        let refusal =
            Packet { source: there, destination: back, ecn: None, contents: Bytes::new() };
        let [way_there, way_back] = [&packet, &refusal].map(|packet| self.link(packet).clone());
        let woken = self.send(now, from, packet);
        let is_lost = way_there.loses(&mut self.random) || way_back.loses(&mut self.random);
        if !is_refused || is_lost {
            return woken;
        }
        // Nothing else that is on its way keeps its order with these.
        let arrives = way_there.arrival(now, &mut self.random, &mut now.clone());
        let answered = way_back.arrival(arrives, &mut self.random, &mut now.clone());
        self.sequence += 1;
        let sequence = self.sequence;
        self.recorder.sent(now, &refusal, Fate::Carried);
        let port = self.held(from)?;
        port.on_the_way.insert((answered, sequence), refusal);
        port.waker.take()
    }

    /// When a packet has left its sender, or what became of it before.
    fn departure(&mut self, now: Instant, packet: &Packet) -> Result<Instant, Fate> {
        const MANY: usize = 1024;
        let link = self.link(packet);
        if packet.ip_bytes() > link.mtu_bytes {
            return Err(Fate::Oversized);
        }
        if self.cuts.stop(packet) {
            return Err(Fate::Cut);
        }
        let Some(holder) = self.holder(packet.destination) else { return Err(Fate::Refused) };
        if self.ports[&holder].seen_at.is_some_and(|seen| seen != packet.destination) {
            return Err(Fate::Unmapped);
        }
        let busy_until = self.busy_paths.get(&packet.path()).copied();
        let departure =
            link.departure(now, packet.ip_bytes(), busy_until).ok_or(Fate::Congested)?;
        if departure > now {
            self.busy_paths.insert(packet.path(), departure);
        }
        if self.busy_paths.len() > MANY {
            self.busy_paths.retain(|_, until| *until > now);
        }
        Ok(departure)
    }

    fn fate_on_the_wire(&mut self, packet: &Packet) -> Fate {
        let link = self.own_links.get(&packet.path()).unwrap_or(&self.link);
        if link.loses(&mut self.random) {
            return Fate::Lost;
        }
        if link.duplicates(&mut self.random) { Fate::Duplicated } else { Fate::Carried }
    }

    /// The next packet that has arrived.
    pub(super) fn poll_packet(&mut self, now: Instant, holder: Holder) -> Option<Packet> {
        let port = self.ports.get_mut(&holder.addr)?;
        if port.process != holder.process {
            return None;
        }
        port.settle(now, &self.cuts, &mut self.recorder);
        let packet = port.queue.pop_front()?;
        self.recorder.ended(now, &packet, Fate::Delivered);
        Some(packet)
    }

    /// When the next packet arrives. `waker` is returned by whatever makes that sooner;
    /// the one it replaces is handed back, to be dropped outside the lock.
    pub(super) fn poll_arrival(
        &mut self,
        holder: Holder,
        waker: Waker,
    ) -> (Option<Instant>, Option<Waker>) {
        match self.held(holder) {
            Some(port) => (port.arrival(), port.waker.replace(waker)),
            None => (None, Some(waker)),
        }
    }
}

/// Which hosts do not hear which.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// From and to.
    pub(super) paths: BTreeSet<(IpAddr, IpAddr)>,
    pub(super) silent: BTreeSet<IpAddr>,
}

impl Cuts {
    fn stop(&self, packet: &Packet) -> bool {
        let (from, to) = (packet.source.ip(), packet.destination.ip());
        self.paths.contains(&(from, to)) || [from, to].iter().any(|ip| self.silent.contains(ip))
    }
}

/// One open port.
#[derive(Debug, Default)]
struct Port {
    process: u64,
    /// The address that the others see, if it was rebound.
    seen_at: Option<SocketAddr>,
    /// By arrival, then by the order sent.
    on_the_way: BTreeMap<(Instant, u64), Packet>,
    /// Arrived, unread, at most [`QUEUE_PACKETS`].
    queue: VecDeque<Packet>,
    /// Per source, when the last packet that keeps its order arrives.
    last_arrivals: BTreeMap<SocketAddr, Instant>,
    waker: Option<Waker>,
}

impl Port {
    fn arrival(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((arrival, _), _)| *arrival)
    }

    /// Moves what has arrived by now into the queue. Doing so late gives the same result, as long
    /// as it happens before the queue is read and before the cuts change.
    fn settle(&mut self, now: Instant, cuts: &Cuts, recorder: &mut Recorder) {
        while let Some(first) = self.on_the_way.first_entry()
            && first.key().0 <= now
        {
            let ((arrival, _), packet) = first.remove_entry();
            if cuts.stop(&packet) {
                recorder.ended(arrival, &packet, Fate::Cut);
            } else if self.seen_at.is_some_and(|seen| seen != packet.destination) {
                recorder.ended(arrival, &packet, Fate::Unmapped);
            } else if self.queue.len() >= QUEUE_PACKETS {
                recorder.ended(arrival, &packet, Fate::Overflowed);
            } else {
                self.queue.push_back(packet);
            }
        }
    }

    /// A path whose packets have all arrived constrains nothing.
    fn forget_idle_paths(&mut self, now: Instant) {
        const MANY: usize = 1024;
        if self.last_arrivals.len() > MANY {
            self.last_arrivals.retain(|_, last| *last > now);
        }
    }
}
