//! An in-memory network under real quinn and rustls, decided by one seed.
//!
//! Packets take a latency, may be lost, doubled or overtaken, and stop at partitions, silent hosts
//! and closed ports. Arrival is a matter of tokio's timers, so with paused time a second of traffic
//! takes as long as its computation.
//!
//! Runs repeat exactly on one current-thread runtime that *starts* paused, with one `LocalSet` per
//! node, Ed25519 certificates of equal length and no session tickets.
//!
//! ```text
//!  process killed   socket dropped   port closed: packets are refused
//!  host gone        silence          packets to and from it vanish
//!  cable cut        partition        packets on that path vanish, each way apart
//! ```

mod fabric;
mod host;
mod link;
mod seeded;
mod trace;
mod trace_log;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::fabric::Fabric;
pub(crate) use self::seeded::{
    MAX_UDP_PAYLOAD_BYTES, endpoint_config, seeded_client, seeded_server,
};
pub use self::{
    host::Host,
    link::Link,
    trace::{Stats, Trace},
    trace_log::{Difference, Entry, TraceLog},
};
use crate::{
    clock::{Instant, TimeSource as _, TokioTime},
    random::Random,
};

/// A simulated network, and the handle to it. Clones are the same network.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::{simulation::SimulatedNetwork, socket::Network};
///
/// # fn main() -> std::io::Result<()> {
/// let network = SimulatedNetwork::new(7);
/// let host = network.host([10, 0, 0, 1].into());
/// let socket = host.bind(([10, 0, 0, 1], 4433).into())?;
/// assert!(host.bind(([10, 0, 0, 1], 4433).into()).is_err()); // taken
/// drop(socket);
/// host.bind(([10, 0, 0, 1], 4433).into())?; // closed, so free again
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimulatedNetwork(Arc<Shared>);

struct Shared {
    seed: u64,
    /// How often [`SimulatedNetwork::host`] was called per address.
    starts: Mutex<BTreeMap<IpAddr, u64>>,
    fabric: Mutex<Fabric>,
}

impl SimulatedNetwork {
    /// A network of which `seed` decides every draw, with [`Link::default`] everywhere.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            seed,
            starts: Mutex::default(),
            fabric: Mutex::new(Fabric::new(Random::from_seed(seed))),
        }))
    }

    /// A process started on the host at `ip`. Its seed is decided by the network's, the address and
    /// how many were started there before, so that a restart repeats no connection id.
    pub fn host(&self, ip: IpAddr) -> Host {
        let ip = ip.to_canonical();
        let mut starts = self.0.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let start = starts.entry(ip).or_default();
        *start += 1;
        let identity = format!("{ip}#{start}");
        let seed = xxhash_rust::xxh3::xxh3_64_with_seed(identity.as_bytes(), self.0.seed);
        Host { network: self.clone(), ip, seed }
    }

    /// Changes how packets sent from now on are carried.
    pub fn set_link(&self, link: Link) {
        self.fabric().set_link(present(), link);
    }

    /// Cuts the path between two hosts both ways. What is on its way is lost too.
    pub fn partition(&self, a: IpAddr, b: IpAddr) {
        self.change(format_args!("{a} and {b} are cut"), |cuts| cuts.paths.extend(both_ways(a, b)));
    }

    /// Cuts the path from one host to another; the way back stays.
    pub fn partition_one_way(&self, from: IpAddr, to: IpAddr) {
        self.change(format_args!("{from} is cut from {to}"), |cuts| {
            cuts.paths.insert((from.to_canonical(), to.to_canonical()));
        });
    }

    /// Mends the path between two hosts both ways.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        self.change(format_args!("{a} and {b} are mended"), |cuts| {
            cuts.paths.retain(|path| !both_ways(a, b).contains(path));
        });
    }

    /// Mends every path and ends every silence.
    pub fn heal_all(&self) {
        self.change(format_args!("all is mended"), |cuts| *cuts = fabric::Cuts::default());
    }

    /// Drops all packets to and from a host, which goes on running: nobody is told.
    pub fn silence(&self, ip: IpAddr) {
        self.change(format_args!("{ip} is silent"), |cuts| {
            cuts.silent.insert(ip.to_canonical());
        });
    }

    /// Ends a host's silence.
    pub fn unsilence(&self, ip: IpAddr) {
        self.change(format_args!("{ip} is heard"), |cuts| {
            cuts.silent.remove(&ip.to_canonical());
        });
    }

    /// Adds a state transition of a layer above to the trace, with its time. What is recorded has
    /// to be decided by the seed: names, numbers and causes, but no keys and no addresses in memory.
    ///
    /// A host's own transitions go through its [`Journal`](crate::socket::Journal), which adds the
    /// host's address.
    pub fn record(&self, event: fmt::Arguments<'_>) {
        // Before the lock: what is shown may look at the network.
        let event = event.to_string();
        self.fabric().recorder().event(present(), &event);
    }

    /// The fingerprint of all that happened so far.
    pub fn trace(&self) -> Trace {
        self.fabric().recorder().trace()
    }

    /// Keeps the last `entries` of the trace as text, from now on. Default 0, because each costs an
    /// allocation: about 150 bytes for as long as it is kept.
    pub fn keep_log(&self, entries: usize) {
        self.fabric().recorder().log().keep(entries);
    }

    /// The entries that were kept.
    pub fn log(&self) -> TraceLog {
        self.fabric().recorder().log().clone()
    }

    /// What became of all packets so far.
    pub fn stats(&self) -> Stats {
        self.fabric().recorder().stats()
    }

    fn change(&self, event: fmt::Arguments<'_>, change: impl FnOnce(&mut fabric::Cuts)) {
        self.fabric().change_cuts(present(), &event.to_string(), change);
    }

    /// No waker may be woken or dropped while this is held.
    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.0.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network's own time, which no host's drift changes; there is none outside of a runtime, where
/// tokio's clock is the real one.
fn present() -> Option<Instant> {
    tokio::runtime::Handle::try_current().is_ok().then(|| TokioTime.now())
}

fn both_ways(a: IpAddr, b: IpAddr) -> [(IpAddr, IpAddr); 2] {
    let (a, b) = (a.to_canonical(), b.to_canonical());
    [(a, b), (b, a)]
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedNetwork").field("seed", &self.0.seed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
