//! An in-memory network under real quinn and rustls, decided by one seed.
//!
//! Packets take a latency, may be lost, doubled or overtaken, and stop at partitions, silent hosts
//! and closed ports; links may be narrow and sockets rebound, as behind a NAT. Arrival is a matter of tokio's timers, so with paused time a second of traffic
//! takes as long as its computation.
//!
//! Runs repeat exactly on one current-thread runtime that *starts* paused, with one `LocalSet` per
//! node, Ed25519 certificates of equal length and no session tickets.
//!
//! A [`Process`] is what runs on a host. It can be paused, killed and restarted, and the clock of its
//! host may drift from the network's.
//!
//! ```text
//!  process killed   tasks dropped    port closed: packets are refused
//!  process paused   nothing polled   port open: packets queue up, then are dropped
//!  host gone        silence          packets to and from it vanish
//!  cable cut        partition        packets on that path vanish, each way apart
//! ```

mod drift;
mod fabric;
mod host;
mod link;
mod process;
mod seeded;
mod trace;
mod trace_log;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(crate) use self::seeded::{endpoint_config, seeded_client, seeded_server};
use self::{drift::HostTime, fabric::Fabric};
pub use self::{
    host::Host,
    link::Link,
    process::Process,
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
    machines: Mutex<BTreeMap<IpAddr, Machine>>,
    fabric: Mutex<Fabric>,
}

/// What all processes at an address have in common.
#[derive(Default)]
struct Machine {
    /// How often [`SimulatedNetwork::host`] was called.
    starts: u64,
    time: HostTime,
}

impl SimulatedNetwork {
    /// A network of which `seed` decides every draw, with [`Link::default`] everywhere.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            seed,
            machines: Mutex::default(),
            fabric: Mutex::new(Fabric::new(Random::from_seed(seed))),
        }))
    }

    /// A process started on the host at `ip`. Its seed is decided by the network's, the address and
    /// how many were started there before, so that a restart repeats no connection id.
    pub fn host(&self, ip: IpAddr) -> Host {
        let ip = ip.to_canonical();
        let mut machines = self.machines();
        let machine = machines.entry(ip).or_default();
        machine.starts += 1;
        let identity = format!("{ip}#{}", machine.starts);
        let seed = xxhash_rust::xxh3::xxh3_64_with_seed(identity.as_bytes(), self.0.seed);
        Host {
            network: self.clone(),
            ip,
            seed,
            process: machine.starts,
            time: machine.time.clone(),
            is_dead: Arc::default(),
        }
    }

    /// Makes the clock of the host at `ip` run `ppm` parts per million faster than the network's,
    /// or slower if negative, from now on; 0, the default, is the network's rate. It is cut to
    /// -900,000, a tenth, and 9,000,000, ten times. The clock goes on from what it shows.
    ///
    /// What goes by [`Host::clock`] follows, and quinn's timers. Packets travel by the network's
    /// time, and are noticed by it, as tokio's own timers are.
    pub fn set_clock_rate(&self, ip: IpAddr, ppm: i32) {
        let ip = ip.to_canonical();
        self.record(format_args!("the clock of {ip} drifts by {ppm} ppm"));
        let time = self.machines().entry(ip).or_default().time.clone();
        time.set_rate(present(), ppm);
    }

    /// Changes how packets sent from now on are carried, other than on paths with a link of their
    /// own.
    pub fn set_link(&self, link: Link) {
        self.fabric().set_link(present(), link);
    }

    /// Gives the paths between two hosts, both ways, a link of their own from now on.
    pub fn set_link_between(&self, a: IpAddr, b: IpAddr, link: Link) {
        let mut fabric = self.fabric();
        for path in both_ways(a, b) {
            fabric.set_own_link(present(), path, link.clone());
        }
    }

    /// Moves the socket that is bound to `addr` to another port, as a NAT does that has lost its
    /// mapping: from now on its packets come from the address returned, what is sent to that reaches
    /// it, and what is sent to the address it was seen at before is dropped. The socket itself goes
    /// on reporting `addr`.
    ///
    /// # Errors
    ///
    /// `NotFound` when no socket is bound to `addr`, `AddrInUse` when the port is taken or 0.
    pub fn rebind(&self, addr: SocketAddr, port: u16) -> io::Result<SocketAddr> {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        self.fabric().rebind(present(), addr, port)
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

    fn machines(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Machine>> {
        self.0.machines.lock().unwrap_or_else(PoisonError::into_inner)
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
