//! One simulated host: the [`Network`] that a simulated process is given, and its sockets.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use quinn::{
    AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use crate::{
    clock::{Clock, Instant, Sleep, TimeSource as _},
    simulation::{
        SimulatedNetwork,
        drift::HostTime,
        fabric::{Holder, Packet},
        present,
    },
    socket::{Journal, LocalRuntime, Network, PROBE, Probe, Sign, bind_error},
};

/// One process on a simulated host. Made by [`SimulatedNetwork::host`], once per start of the
/// process: each has a seed of its own. Clones are the same process.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) network: SimulatedNetwork,
    pub(super) ip: IpAddr,
    pub(super) seed: u64,
    /// How often a host was made for this address, with this one.
    pub(super) process: u64,
    pub(super) time: HostTime,
    pub(super) is_dead: Arc<AtomicBool>,
}

impl Host {
    /// The host's address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The host's clock, which runs at the rate that
    /// [`set_clock_rate`](SimulatedNetwork::set_clock_rate) gave it. All that runs on the host has
    /// to go by it; quinn does by itself.
    pub fn clock(&self) -> Clock {
        Clock::new(self.time.clone())
    }

    fn open(&self, addr: SocketAddr) -> io::Result<SimulatedSocket> {
        let ip = addr.ip().to_canonical();
        if ip != self.ip && !ip.is_unspecified() {
            return Err(bind_error(addr, io::ErrorKind::AddrNotAvailable.into()));
        }
        if self.is_dead.load(Ordering::Relaxed) {
            return Err(bind_error(addr, io::ErrorKind::NotConnected.into()));
        }
        let process = self.process;
        let wanted = Holder { addr: SocketAddr::new(self.ip, addr.port()), process };
        let addr = self
            .network
            .fabric()
            .open(present(), wanted)
            .map_err(|error| bind_error(addr, error))?;
        Ok(SimulatedSocket {
            network: self.network.clone(),
            holder: Holder { addr, process },
            timer: Mutex::new(None),
        })
    }

    /// Closes the process's ports for good.
    pub(super) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        // Bound first, so that the wakers are dropped after the lock is released.
        let wakers = self.network.fabric().close_all(present(), self.ip, self.process);
        drop(wakers);
    }

    pub(super) fn record_process(&self, event: &str) {
        self.network.record(format_args!("process {} on {} {event}", self.process, self.ip));
    }
}

impl Network for Host {
    /// Binds a simulated socket. The unspecified address of either family stands for the host's.
    /// A process that was killed is answered `NotConnected`.
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(self.open(addr)?))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(SimulatedRuntime(self.time.clone()))
    }

    /// The host of a closed port refuses, paused or not, unless it is silent; the refusal takes the
    /// way back, on which it can be late, lost or cut.
    fn probe(&self, to: SocketAddr, patience: Sleep) -> Probe {
        let bound = self.open((self.ip, 0).into());
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        Box::pin(async move {
            let socket = bound?;
            tokio::select! {
                biased;
                () = socket.refusal(to) => Ok(Sign::Refused),
                () = patience => Ok(Sign::Silent),
            }
        })
    }

    fn seed(&self) -> Option<u64> {
        Some(self.seed)
    }

    /// Records into the network's [`Trace`](super::Trace), under the host's address.
    fn journal(&self) -> Journal {
        let Self { network, ip, .. } = self.clone();
        Journal::new(move |event| network.record(format_args!("{ip}: {event}")))
    }
}

/// [`LocalRuntime`] by the host's clock, and without real sockets: nothing simulated leaves the
/// process by mistake.
#[derive(Debug)]
struct SimulatedRuntime(HostTime);

impl Runtime for SimulatedRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(self.0.timer(at))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        LocalRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// A bound port. Dropping it closes the port.
struct SimulatedSocket {
    network: SimulatedNetwork,
    holder: Holder,
    /// Set to the next arrival while the receiver waits. Locked before the fabric, never after.
    timer: Mutex<Option<Pin<Box<dyn AsyncTimer>>>>,
}

impl SimulatedSocket {
    /// Copies out what has arrived; how many packets that was.
    fn receive(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let now = LocalRuntime.now();
        let mut fabric = self.network.fabric();
        let mut received = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(packet) = fabric.poll_packet(now, self.holder) else { break };
            // As the system does, a packet is cut to what the buffer takes.
            let len = packet.contents.len().min(buf.len());
            buf[..len].copy_from_slice(&packet.contents[..len]);
            *meta = RecvMeta {
                addr: packet.source,
                len,
                stride: len,
                ecn: packet.ecn,
                dst_ip: Some(self.holder.addr.ip()),
            };
            received += 1;
        }
        received
    }

    /// Whether the next arrival is still to come; its timer or a sender wakes `cx` for it.
    fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        // The replaced waker is dropped after the fabric's lock is: it may own a task.
        let (arrival, _replaced) =
            self.network.fabric().poll_arrival(self.holder, cx.waker().clone());
        let Some(arrival) = arrival else { return Poll::Pending };
        let timer = timer.get_or_insert_with(|| LocalRuntime.new_timer(arrival));
        timer.as_mut().reset(arrival);
        timer.as_mut().poll(cx)
    }
}

impl SimulatedSocket {
    /// Ends when the port at `to` refuses a packet, and never if it does not.
    async fn refusal(&self, to: SocketAddr) {
        let packet = Packet {
            source: self.holder.addr,
            destination: to,
            ecn: None,
            contents: Bytes::from_static(PROBE),
        };
        let woken = self.network.fabric().probe(LocalRuntime.now(), self.holder, packet);
        if let Some(waker) = woken {
            waker.wake();
        }
        std::future::poll_fn(|task| {
            loop {
                let now = LocalRuntime.now();
                let arrived = self.network.fabric().poll_packet(now, self.holder);
                if arrived.is_some_and(|packet| packet.source == to && packet.contents.is_empty()) {
                    return Poll::Ready(());
                }
                std::task::ready!(self.poll_arrival(task));
            }
        })
        .await;
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = LocalRuntime.now();
        let to = transmit.destination;
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for contents in transmit.contents.chunks(segment) {
            let woken = self.network.fabric().send(
                now,
                self.holder,
                Packet {
                    source: self.holder.addr,
                    destination: SocketAddr::new(to.ip().to_canonical(), to.port()),
                    ecn: transmit.ecn,
                    contents: Bytes::copy_from_slice(contents),
                },
            );
            if let Some(waker) = woken {
                waker.wake();
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = self.receive(bufs, meta);
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            std::task::ready!(self.poll_arrival(cx));
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.holder.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        // Bound first, so that the waker is dropped after the lock is released.
        let waker = self.network.fabric().close(present(), self.holder);
        drop(waker);
    }
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedSocket").field("addr", &self.holder.addr).finish_non_exhaustive()
    }
}

/// A simulated wire takes all it is given; what is too much is dropped on arrival.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
