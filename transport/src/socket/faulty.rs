//! Faults on real sockets: what [`SimulatedNetwork`](crate::simulation::SimulatedNetwork) does to
//! simulated ones.
//!
//! Invariant: a packet is passed on as it is, at once, or not at all; none is kept, so there is
//! nothing to bound but the list of peers that the caller cuts apart. Whoever waits for a socket
//! is woken when its port is closed or opened.
//! Knows no connection: to quinn a fault looks as it does on a wire, as silence.
//!
//! ```text
//!  cable cut        cut, cut_peer    packets vanish, each way apart
//!  process gone     close_ports      the socket is dropped: what waits in it is lost,
//!                                    the system refuses packets to its port
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use quinn::{
    AsyncUdpSocket, Runtime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{Journal, Network, Probe, Sign};
use crate::clock::Sleep;

/// A network whose packets can be made to vanish: to test on real sockets what a service does when
/// its connections break. Clones are the same network.
///
/// Give each node one of its own. All is well until a fault is set; faults may be set from any
/// thread and hold for packets sent and received from then on. Nobody is told: connections find
/// out by their idle timeouts, and sessions go on with the next connection.
///
/// For whole clusters under one seed in virtual time use
/// [`SimulatedNetwork`](crate::simulation::SimulatedNetwork).
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::socket::{Faulty, Network as _, Udp, Way};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let network = Faulty::new(Udp); // goes where a node takes its network
/// let socket = network.bind(([127, 0, 0, 1], 0).into())?;
/// network.cut(Way::In); // still sends, and hears nothing
/// network.heal();
/// assert_eq!(network.vanished(), 0); // nobody had sent anything
/// # drop(socket);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Faulty(Arc<Shared>);

/// Which packets of a [`Faulty`] network a cut makes vanish, as its own sockets see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those that are sent.
    Out,
    /// Those that are received.
    In,
    /// All.
    Both,
}

struct Shared {
    network: Box<dyn Network>,
    cuts: Mutex<Cuts>,
    sockets: Mutex<Vec<Weak<FaultySocket>>>,
    vanished: AtomicU64,
}

impl Faulty {
    /// The faulty version of a network, without faults so far.
    pub fn new(network: impl Network) -> Self {
        Self(Arc::new(Shared {
            network: Box::new(network),
            cuts: Mutex::default(),
            sockets: Mutex::default(),
            vanished: AtomicU64::new(0),
        }))
    }

    /// Cuts the way to or from everybody, until [`heal`](Self::heal).
    pub fn cut(&self, way: Way) {
        self.0.each_cut(way, |cut| cut.everybody = true);
    }

    /// Cuts the way to or from one peer, until [`heal`](Self::heal) or
    /// [`heal_peer`](Self::heal_peer). Each peer takes an entry until then.
    pub fn cut_peer(&self, way: Way, peer: SocketAddr) {
        self.0.each_cut(way, |cut| _ = cut.peers.insert(canonical(peer)));
    }

    /// Mends what [`cut_peer`](Self::cut_peer) cut of one peer, both ways.
    pub fn heal_peer(&self, peer: SocketAddr) {
        self.0.each_cut(Way::Both, |cut| _ = cut.peers.remove(&canonical(peer)));
    }

    /// Mends every cut. Closed ports stay closed.
    pub fn heal(&self) {
        self.0.each_cut(Way::Both, |cut| *cut = Cut::default());
    }

    /// Drops the sockets, as if the process were gone: what waits in them is lost, and the system
    /// refuses packets to their ports. Their users notice nothing; what they send vanishes.
    pub fn close_ports(&self) {
        for socket in self.0.live_sockets() {
            socket.replace(None);
        }
    }

    /// Binds closed ports again, each to the address it had.
    ///
    /// # Errors
    ///
    /// What the system answers, `AddrInUse` among others, when somebody took a port meanwhile or
    /// another thread is just using the old socket. That port and those after it stay closed; call
    /// again.
    ///
    /// # Panics
    ///
    /// As the network's own [`bind`](Network::bind): for [`Udp`](super::Udp), outside the tokio
    /// runtime that is to drive the sockets.
    pub fn open_ports(&self) -> io::Result<()> {
        for socket in self.0.live_sockets() {
            if socket.is_closed() {
                socket.replace(Some(self.0.network.bind(socket.addr)?));
            }
        }
        Ok(())
    }

    /// How many packets have vanished so far.
    pub fn vanished(&self) -> u64 {
        self.0.vanished.load(Ordering::Relaxed)
    }

    fn wrap(&self, socket: Arc<dyn AsyncUdpSocket>) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = Arc::new(FaultySocket {
            network: Arc::clone(&self.0),
            addr: socket.local_addr()?,
            receive_segments: socket.max_receive_segments(),
            may_fragment: socket.may_fragment(),
            port: Mutex::new(Port { socket: Some(socket), ..Port::default() }),
        });
        let mut sockets = lock(&self.0.sockets);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(&socket));
        Ok(socket)
    }
}

impl Network for Faulty {
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.wrap(self.0.network.bind(addr)?)
    }

    fn bind_buffered(
        &self,
        addr: SocketAddr,
        buffer_bytes: usize,
    ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.wrap(self.0.network.bind_buffered(addr, buffer_bytes)?)
    }
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.0.network.runtime()
    }

    fn seed(&self) -> Option<u64> {
        self.0.network.seed()
    }

    /// As the network below, unless the way to or from the address is cut: then all is silent.
    fn probe(&self, to: SocketAddr, patience: Sleep) -> Probe {
        let cuts = lock(&self.0.cuts);
        if cuts.out.catches(to) || cuts.into.catches(to) {
            return Box::pin(async move {
                patience.await;
                Ok(Sign::Silent)
            });
        }
        drop(cuts);
        self.0.network.probe(to, patience)
    }

    fn journal(&self) -> Journal {
        self.0.network.journal()
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("network", &self.0.network)
            .field("vanished", &self.vanished())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn each_cut(&self, way: Way, change: impl Fn(&mut Cut)) {
        let mut cuts = lock(&self.cuts);
        if way != Way::In {
            change(&mut cuts.out);
        }
        if way != Way::Out {
            change(&mut cuts.into);
        }
    }

    fn live_sockets(&self) -> Vec<Arc<FaultySocket>> {
        lock(&self.sockets).iter().filter_map(Weak::upgrade).collect()
    }

    fn count_vanished(&self, bytes: usize, segment: usize) {
        let packets = bytes.div_ceil(segment.max(1)) as u64;
        self.vanished.fetch_add(packets, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Cuts {
    out: Cut,
    into: Cut,
}

#[derive(Default)]
struct Cut {
    everybody: bool,
    peers: BTreeSet<SocketAddr>,
}

impl Cut {
    fn catches(&self, peer: SocketAddr) -> bool {
        self.everybody || !self.peers.is_empty() && self.peers.contains(&canonical(peer))
    }
}

/// A socket that its network can cut and drop while it is in use.
struct FaultySocket {
    network: Arc<Shared>,
    addr: SocketAddr,
    receive_segments: usize,
    may_fragment: bool,
    port: Mutex<Port>,
}

#[derive(Default)]
struct Port {
    /// `None` while the port is closed.
    socket: Option<Arc<dyn AsyncUdpSocket>>,
    receiver: Option<Waker>,
    writers: BTreeMap<u64, Writer>,
    next_writer: u64,
}

/// Somebody who may wait until the socket takes packets.
#[derive(Default)]
struct Writer {
    /// Of the socket at hand; it holds the socket, and so has to go with it.
    poller: Option<Pin<Box<dyn UdpPoller>>>,
    waker: Option<Waker>,
}

impl FaultySocket {
    fn is_closed(&self) -> bool {
        lock(&self.port).socket.is_none()
    }

    /// Closes the port or opens it, and wakes who waits: their wakers went with the old socket.
    fn replace(&self, socket: Option<Arc<dyn AsyncUdpSocket>>) {
        let mut port = lock(&self.port);
        let old = std::mem::replace(&mut port.socket, socket);
        let mut pollers = Vec::new();
        let mut wakers = Vec::from_iter(port.receiver.take());
        for writer in port.writers.values_mut() {
            pollers.extend(writer.poller.take());
            wakers.extend(writer.waker.take());
        }
        // Sockets and wakers may own a task: the lock goes first.
        drop(port);
        drop((old, pollers));
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll_writable(&self, writer: u64, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut port = lock(&self.port);
        // What is sent to a closed port vanishes, so it takes all it is given.
        let Some(socket) = port.socket.clone() else { return Poll::Ready(Ok(())) };
        let writer = port.writers.entry(writer).or_default();
        let poller = writer.poller.get_or_insert_with(|| socket.create_io_poller());
        let writable = poller.as_mut().poll_writable(cx);
        if writable.is_pending() {
            writer.waker = Some(cx.waker().clone());
        }
        writable
    }
}

impl AsyncUdpSocket for FaultySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let mut port = lock(&self.port);
        let writer = port.next_writer;
        port.next_writer += 1;
        drop(port);
        Box::pin(FaultyPoller { socket: self, writer })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let socket = lock(&self.port).socket.clone();
        let cut = lock(&self.network.cuts).out.catches(transmit.destination);
        match socket {
            Some(socket) if !cut => socket.try_send(transmit),
            _ => {
                let bytes = transmit.contents.len();
                self.network.count_vanished(bytes, transmit.segment_size.unwrap_or(bytes));
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut port = lock(&self.port);
        port.receiver = Some(cx.waker().clone());
        let Some(socket) = port.socket.clone() else { return Poll::Pending };
        drop(port);
        let received = std::task::ready!(socket.poll_recv(cx, bufs, meta))?;
        let cuts = lock(&self.network.cuts);
        for meta in meta[..received].iter_mut().filter(|meta| cuts.into.catches(meta.addr)) {
            self.network.count_vanished(meta.len, meta.stride);
            // Nothing in it, hence no packet.
            meta.len = 0;
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn max_transmit_segments(&self) -> usize {
        let socket = lock(&self.port).socket.clone();
        socket.map_or(1, |socket| socket.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
    }

    fn may_fragment(&self) -> bool {
        self.may_fragment
    }
}

impl fmt::Debug for FaultySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultySocket").field("addr", &self.addr).finish_non_exhaustive()
    }
}

struct FaultyPoller {
    socket: Arc<FaultySocket>,
    writer: u64,
}

impl UdpPoller for FaultyPoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(self.writer, cx)
    }
}

impl Drop for FaultyPoller {
    fn drop(&mut self) {
        // Bound first, so that it is dropped after the lock is released.
        let writer = lock(&self.socket.port).writers.remove(&self.writer);
        drop(writer);
    }
}

impl fmt::Debug for FaultyPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyPoller").field("writer", &self.writer).finish_non_exhaustive()
    }
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
