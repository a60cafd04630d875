//! What a simulated network saw: a fingerprint to compare runs by, and counts.

use std::net::{IpAddr, SocketAddr};

use crate::{clock::Instant, simulation::fabric::Packet};

/// A fingerprint of all packets handed to a network so far: the time since the first of them,
/// source, destination, length and [fate](Stats) of each, in order.
///
/// Two runs of one seed compare equal, across processes too, as long as what runs on the network is
/// decided by the seed as well. Contents are left out: TLS draws its keys from the operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Running xxh3-64 hash.
    pub hash: u64,
    /// Packets hashed.
    pub packets: u64,
}

/// Packets by what became of them. Once nothing is on its way or unread, `sent` plus `duplicated`
/// is the sum of all the others.
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
}

/// What becomes of a packet at the moment it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Carried,
    Duplicated,
    Lost,
    Cut,
    Refused,
    Oversized,
}

impl Stats {
    pub(super) fn count(&mut self, fate: Fate) {
        self.sent += 1;
        match fate {
            Fate::Carried => {}
            Fate::Duplicated => self.duplicated += 1,
            Fate::Lost => self.lost += 1,
            Fate::Cut => self.cut += 1,
            Fate::Refused => self.refused += 1,
            Fate::Oversized => self.oversized += 1,
        }
    }
}

/// A [`Trace`] being made.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    start: Option<Instant>,
    trace: Trace,
}

impl Recorder {
    pub(super) fn record(&mut self, now: Instant, packet: &Packet, fate: Fate) {
        let start = *self.start.get_or_insert(now);
        let nanos = now.saturating_duration_since(start).as_nanos();
        tracing::trace!(
            nanos,
            source = %packet.source,
            destination = %packet.destination,
            bytes = packet.contents.len(),
            ?fate,
            "packet"
        );
        let mut entry = Vec::with_capacity(64);
        entry.extend_from_slice(&nanos.to_le_bytes());
        push_addr(&mut entry, packet.source);
        push_addr(&mut entry, packet.destination);
        entry.extend_from_slice(&(packet.contents.len() as u64).to_le_bytes());
        entry.push(fate as u8);
        self.trace.hash = xxhash_rust::xxh3::xxh3_64_with_seed(&entry, self.trace.hash);
        self.trace.packets += 1;
    }

    pub(super) fn trace(&self) -> Trace {
        self.trace
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
