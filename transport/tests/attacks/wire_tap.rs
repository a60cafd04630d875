//! Plain UDP sockets of the simulated network, to send what no QUIC stack would, and to see what
//! comes back.

use std::{
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_cluster_transport::{Clock, simulation::SimulatedNetwork, socket::Network as _};
use quinn::{
    AsyncUdpSocket,
    udp::{RecvMeta, Transmit},
};

use super::world::World;

/// A socket that counts.
pub(crate) struct Tap {
    socket: Arc<dyn AsyncUdpSocket>,
    pub(crate) sent_bytes: usize,
    pub(crate) received_bytes: usize,
}

impl Tap {
    pub(crate) fn new(network: &SimulatedNetwork, ip: IpAddr) -> Self {
        Self::on_port(network, ip, 9_000)
    }

    pub(crate) fn on_port(network: &SimulatedNetwork, ip: IpAddr, port: u16) -> Self {
        let host = network.host(ip);
        let socket = host.bind(SocketAddr::new(ip, port)).expect("a socket");
        Self { socket, sent_bytes: 0, received_bytes: 0 }
    }

    pub(crate) fn send(&mut self, destination: SocketAddr, contents: &[u8]) {
        self.sent_bytes += contents.len();
        let transmit =
            Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        self.socket.try_send(&transmit).expect("sent");
    }

    /// Takes all that has come.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let (mut bytes, mut meta) = ([0; 8_192], [RecvMeta::default()]);
            let mut bufs = [IoSliceMut::new(&mut bytes)];
            let mut task = Context::from_waker(Waker::noop());
            match self.socket.poll_recv(&mut task, &mut bufs, &mut meta) {
                Poll::Ready(Ok(_)) => {
                    self.received_bytes += meta[0].len;
                    packets.push(bytes[..meta[0].len].to_vec());
                }
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => return packets,
            }
        }
    }
}

/// So many first packets of handshakes, each of another connection.
pub(crate) async fn first_packets(world: &World, count: usize) -> Vec<Vec<u8>> {
    let mut tap = Tap::new(&world.network, [10, 9, 9, 9].into());
    let addr = SocketAddr::from(([10, 9, 9, 9], 9_000));
    let mut packets = Vec::new();
    for _ in 0..count {
        let connecting = world.fake.dial(addr);
        Clock::default().sleep(Duration::from_millis(5)).await;
        packets.extend(tap.drain().into_iter().filter(|packet| packet.len() >= 1_200).take(1));
        drop(connecting);
        Clock::default().sleep(Duration::from_millis(5)).await;
        tap.drain();
    }
    assert_eq!(packets.len(), count);
    packets
}
