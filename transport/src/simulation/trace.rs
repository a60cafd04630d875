//! What a simulated network saw: a fingerprint to compare runs by, and counts.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    clock::Instant,
    simulation::{
        fabric::Packet,
        trace_log::{Entry, TraceLog},
    },
};

/// A fingerprint of all that a network has seen so far, in order, each with the time since the
/// first:
///
/// - of each packet, source, destination, length and [fate](Stats), when it is sent and again when
///   it ends;
/// - each change of the world: ports, partitions, silence, clocks, links and processes;
/// - each state transition that the layers above hand to [`record`](super::SimulatedNetwork::record)
///   or to a host's [`Journal`](crate::socket::Journal).
///
/// Two runs of one seed compare equal, across processes too, as long as what runs on the network is
/// decided by the seed as well. Contents are left out: TLS draws its keys from the operating system.
/// Where two runs part is found by [`TraceLog`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// Running xxh3-64 hash.
    pub hash: u64,
    /// Packets sent.
    pub packets: u64,
    /// Changes and transitions recorded.
    pub events: u64,
}

/// Packets by what became of them. Once nothing is on its way or unread, `sent` plus `duplicated`
/// is the sum of all the other packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Handed to the network by a socket.
    pub sent: u64,
    /// Copies that the link made.
    pub duplicated: u64,
    /// Read by the receiving socket.
    pub delivered: u64,
    /// Lost by the link.
    pub lost: u64,
    /// Stopped by a partition or a silent host.
    pub cut: u64,
    /// For a port that nobody held, or that closed before the packet was read.
    pub refused: u64,
    /// Longer than the link carries.
    pub oversized: u64,
    /// Arrived at a full receive queue.
    pub overflowed: u64,
    /// Dropped at the tail of a link's full queue.
    pub congested: u64,
    /// For an address that a socket had before it was rebound.
    pub unmapped: u64,
    /// The bytes in all that were sent, without the headers of UDP and IP.
    pub sent_bytes: u64,
}

/// What becomes of a packet, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Carried,
    Duplicated,
    Lost,
    Cut,
    Refused,
    Oversized,
    Delivered,
    Overflowed,
    Congested,
    Unmapped,
}

impl Stats {
    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Carried => {}
            Fate::Duplicated => self.duplicated += 1,
            Fate::Lost => self.lost += 1,
            Fate::Cut => self.cut += 1,
            Fate::Refused => self.refused += 1,
            Fate::Oversized => self.oversized += 1,
            Fate::Delivered => self.delivered += 1,
            Fate::Overflowed => self.overflowed += 1,
            Fate::Congested => self.congested += 1,
            Fate::Unmapped => self.unmapped += 1,
        }
    }
}

/// A [`Trace`], its [`TraceLog`] and [`Stats`] being made.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    start: Option<Instant>,
    latest: Option<Instant>,
    trace: Trace,
    stats: Stats,
    log: TraceLog,
}

/// What an entry is about; its number is hashed.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Event = 0,
    Sent = 1,
    Ended = 2,
}

impl Recorder {
    /// A packet was handed to the network.
    pub(super) fn sent(&mut self, now: Instant, packet: &Packet, fate: Fate) {
        self.trace.packets += 1;
        self.stats.sent += 1;
        self.stats.sent_bytes += packet.contents.len() as u64;
        self.packet(Kind::Sent, now, packet, fate);
    }

    /// A packet that was on its way, or a copy of it, was there at `at`, or never will be.
    pub(super) fn ended(&mut self, at: Instant, packet: &Packet, fate: Fate) {
        self.packet(Kind::Ended, at, packet, fate);
    }

    fn packet(&mut self, kind: Kind, at: Instant, packet: &Packet, fate: Fate) {
        self.stats.count(fate);
        let Packet { source, destination, contents, .. } = packet;
        let bytes = contents.len();
        tracing::trace!(%source, %destination, bytes, ?fate, ?kind, "packet");
        let mut entry = Vec::with_capacity(64);
        push_addr(&mut entry, *source);
        push_addr(&mut entry, *destination);
        entry.extend_from_slice(&(bytes as u64).to_le_bytes());
        entry.push(fate as u8);
        let text = format_args!("{kind:?} {source} > {destination} {bytes} bytes {fate:?}");
        self.entry(kind, Some(at), &entry, text);
    }

    /// Something happened. Outside of a runtime there is no time: then it happens when the last
    /// thing did.
    pub(super) fn event(&mut self, now: Option<Instant>, event: &str) {
        tracing::trace!(event, "event");
        self.trace.events += 1;
        self.entry(Kind::Event, now, event.as_bytes(), format_args!("{event}"));
    }

    fn entry(&mut self, kind: Kind, at: Option<Instant>, what: &[u8], text: fmt::Arguments<'_>) {
        let at = self.since_start(at);
        let mut bytes = Vec::with_capacity(what.len() + 17);
        bytes.push(kind as u8);
        bytes.extend_from_slice(&at.as_nanos().to_le_bytes());
        bytes.extend_from_slice(what);
        self.trace.hash = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, self.trace.hash);
        let hash = self.trace.hash;
        self.log.push(|number| Entry { number, at, hash, text: text.to_string() });
    }

    fn since_start(&mut self, at: Option<Instant>) -> Duration {
        self.latest = self.latest.max(at);
        let Some(at) = at.or(self.latest) else { return Duration::ZERO };
        at.saturating_duration_since(*self.start.get_or_insert(at))
    }

    /// When the last thing happened.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.latest
    }

    pub(super) fn trace(&self) -> Trace {
        self.trace
    }

    pub(super) fn stats(&self) -> Stats {
        self.stats
    }

    pub(super) fn log(&mut self) -> &mut TraceLog {
        &mut self.log
    }
}

fn push_addr(entry: &mut Vec<u8>, addr: SocketAddr) {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    entry.extend_from_slice(&ip.octets());
    entry.extend_from_slice(&addr.port().to_le_bytes());
}
