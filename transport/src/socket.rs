//! The network seam: where an endpoint's packets go, and what drives quinn.
//!
//! Invariant: sockets are opened and quinn's tasks are spawned here or in a [`Network`] handed in,
//! and nowhere else; the tasks belong to the `LocalSet` of the node that asked for them.
//! Knows no session, no certificate and no peer.

mod faulty;

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

pub use self::faulty::{Faulty, Way};
use crate::clock::{Instant, Sleep};
#[cfg(doc)]
use crate::simulation::SimulatedNetwork;

/// Where an endpoint's packets go.
///
/// [`Udp`] is the real one, [`Faulty`] lets it fail in tests; [`SimulatedNetwork`] makes one per
/// simulated host.
pub trait Network: Send + Sync + fmt::Debug + 'static {
    /// Binds a socket; port 0 picks a free one. Dropping the socket closes the port.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when another socket holds the address, `AddrNotAvailable` when this host does
    /// not have it, and whatever else the system answers.
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// As [`bind`](Self::bind), with send and receive buffers of so many bytes each. Default: what a
    /// network without buffers of its own does, it ignores them.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind). Smaller buffers than asked for are no error.
    fn bind_buffered(
        &self,
        addr: SocketAddr,
        buffer_bytes: usize,
    ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _ = buffer_bytes;
        self.bind(addr)
    }

    /// The runtime that drives quinn.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// A seed for quinn's own draws (connection ids, skipped packet numbers, padding); `None` for
    /// the operating system's randomness. One value for the life of a process.
    fn seed(&self) -> Option<u64> {
        None
    }

    /// Asks whether anybody holds the port at `to`, with a packet that QUIC ignores. A process that
    /// was killed is told from a host that is gone this way: the system refuses for the one, nobody
    /// answers for the other. A process that hangs holds its port. Packets get lost, firewalls keep
    /// refusals back: silence proves nothing, and a refusal is sent by whoever has the address now.
    ///
    /// `patience` is how long to wait, usually a sleep of the caller's clock of a few round trips.
    ///
    /// # Errors
    ///
    /// What the system answers when the packet can't be sent, such as an unreachable network.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future ends the probe.
    fn probe(&self, to: SocketAddr, patience: Sleep) -> Probe;

    /// Where the layers above record their state transitions, so that two simulated runs can be
    /// compared by them. Default: nowhere.
    fn journal(&self) -> Journal {
        Journal::default()
    }
}

/// The end of a [`Network::probe`].
pub type Probe = Pin<Box<dyn Future<Output = io::Result<Sign>> + Send>>;

/// What a [`Network::probe`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sign {
    /// The host says that nobody holds the port.
    Refused,
    /// Nothing came back in time: the port is held, or the host is gone, or a packet was lost.
    Silent,
}

/// What a probe sends: too short for any QUIC packet, so that endpoints drop it unanswered.
pub(crate) const PROBE: &[u8] = &[0];

/// Takes down the state transitions of one process: links, sessions, views, and why a dial failed.
/// Clones write to the same place; the default one writes nowhere, at no cost.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::{simulation::SimulatedNetwork, socket::Network};
///
/// let network = SimulatedNetwork::new(7);
/// let journal = network.host([10, 0, 0, 1].into()).journal();
/// let before = network.trace();
/// journal.record(format_args!("link to {} is up", "n2"));
/// assert_ne!(network.trace(), before);
/// ```
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Write>>);

type Write = dyn Fn(fmt::Arguments<'_>) + Send + Sync;

impl Journal {
    /// A journal that hands each transition to `write`.
    pub fn new(write: impl Fn(fmt::Arguments<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(write)))
    }

    /// Records a transition. What is recorded has to be decided by the seed: names, numbers and
    /// causes, but no keys and no addresses in memory. Nothing is formatted if nobody reads it.
    pub fn record(&self, transition: fmt::Arguments<'_>) {
        if let Some(write) = &self.0 {
            write(transition);
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("is_read", &self.0.is_some()).finish()
    }
}

/// Real UDP via tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct Udp;

impl Network for Udp {
    /// Binds a socket of the operating system with the buffers that the system gives by itself.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its IO driver on.
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = std::net::UdpSocket::bind(addr).map_err(|source| bind_error(addr, source))?;
        LocalRuntime.wrap_udp_socket(socket)
    }

    /// Warns if the system grants less than was asked for, and says how to have it grant more: it
    /// costs throughput, as bursts are dropped and sent again.
    fn bind_buffered(
        &self,
        addr: SocketAddr,
        buffer_bytes: usize,
    ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = std::net::UdpSocket::bind(addr).map_err(|source| bind_error(addr, source))?;
        match set_buffers(&socket, buffer_bytes) {
            Ok(granted) => {
                if let Some(remedy) = granted.remedy() {
                    tracing::warn!(%addr, ?granted, "socket buffers are small: {remedy}");
                }
            }
            Err(error) => tracing::warn!(%addr, %error, "socket buffers stay as they are"),
        }
        LocalRuntime.wrap_udp_socket(socket)
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(LocalRuntime)
    }

    /// Sends from a connected socket of its own, which the system tells of a refusal.
    fn probe(&self, to: SocketAddr, patience: Sleep) -> Probe {
        Box::pin(async move {
            tokio::select! {
                biased;
                sign = refusal(to) => sign,
                () = patience => Ok(Sign::Silent),
            }
        })
    }
}

/// Ends when a port refuses, and never if it does not.
async fn refusal(to: SocketAddr) -> io::Result<Sign> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    let mut heard = socket.send(PROBE).await;
    loop {
        match heard {
            // Whoever answers holds the port.
            Ok(_) => heard = socket.recv(&mut [0]).await,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Ok(Sign::Refused);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Buffers of a socket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Buffers {
    asked: usize,
    receive: usize,
    send: usize,
}

impl Buffers {
    /// What to do to have as much as was asked for; nothing, if it was granted.
    fn remedy(&self) -> Option<String> {
        let Self { asked, receive, send } = *self;
        let short = [(receive, "net.core.rmem_max"), (send, "net.core.wmem_max")];
        let names: Vec<String> = short
            .iter()
            .filter(|(granted, _)| *granted < asked)
            .map(|(_, name)| format!("{name}={asked}"))
            .collect();
        (!names.is_empty())
            .then(|| format!("on Linux, `sysctl -w {}`; or ask for less", names.join(" ")))
    }
}

fn set_buffers(socket: &std::net::UdpSocket, asked: usize) -> io::Result<Buffers> {
    let state = quinn::udp::UdpSocketState::new(socket.into())?;
    state.set_recv_buffer_size(socket.into(), asked)?;
    state.set_send_buffer_size(socket.into(), asked)?;
    Ok(Buffers {
        asked,
        receive: state.recv_buffer_size(socket.into())? / REPORTED,
        send: state.send_buffer_size(socket.into())? / REPORTED,
    })
}

/// Linux counts its own bookkeeping in and reports twice what was granted (socket(7)).
const REPORTED: usize = if cfg!(target_os = "linux") { 2 } else { 1 };

/// A refused bind with the address that was asked for, which the system's own error leaves out.
pub(crate) fn bind_error(addr: SocketAddr, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), BindError { addr, source })
}

#[derive(Debug)]
struct BindError {
    addr: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind udp socket {}: {}", self.addr, self.source.kind())
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// tokio's runtime, with quinn's drivers on the current `LocalSet`, so that a node's tasks end with
/// its set. Spawning outside a `LocalSet` panics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalRuntime;

impl Runtime for LocalRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam that all else goes through")]
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::task::spawn_local(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_are_too_small_are_told_with_the_remedy() {
        let granted = |receive, send| Buffers { asked: 1_000, receive, send }.remedy();
        assert_eq!(granted(1_000, 2_000), None);
        let remedy = granted(999, 1_000).expect("too small");
        assert_eq!(remedy, "on Linux, `sysctl -w net.core.rmem_max=1000`; or ask for less");
        let remedy = granted(0, 0).expect("too small");
        assert!(remedy.contains("net.core.rmem_max=1000 net.core.wmem_max=1000"), "{remedy}");
    }

    #[tokio::test]
    async fn a_socket_gets_the_buffers_that_were_asked_for_or_less() {
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let granted = set_buffers(&socket, 70_000).unwrap();
        assert_eq!((granted.receive, granted.send), (70_000, 70_000));
        let granted = set_buffers(&socket, 1 << 40).unwrap();
        assert!(granted.remedy().is_some(), "{granted:?}");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = Udp.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = first.local_addr().unwrap();
        let error = Udp.bind(addr).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("cannot bind udp socket {addr}: address in use"));
    }

    #[tokio::test]
    async fn a_dropped_socket_frees_its_port() {
        let addr = Udp.bind(([127, 0, 0, 1], 0).into()).unwrap().local_addr().unwrap();
        Udp.bind(addr).unwrap();
    }

    #[tokio::test]
    async fn a_closed_port_on_loopback_refuses_and_an_open_one_is_silent() {
        let clock = crate::Clock::default();
        let socket = Udp.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = socket.local_addr().unwrap();
        let short = std::time::Duration::from_millis(50);
        assert_eq!(Udp.probe(addr, clock.sleep(short)).await.unwrap(), Sign::Silent);
        drop(socket);
        let long = std::time::Duration::from_secs(60);
        assert_eq!(Udp.probe(addr, clock.sleep(long)).await.unwrap(), Sign::Refused);
    }
}
