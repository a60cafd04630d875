//! Real sockets on loopback. What must not arrive is followed by something that must: loopback
//! keeps the order, so nothing waits for the absence of a packet.

use std::future::poll_fn;

use super::*;
use crate::socket::Udp;

struct End {
    network: Faulty,
    socket: Arc<dyn AsyncUdpSocket>,
    addr: SocketAddr,
}

fn end() -> End {
    let network = Faulty::new(Udp);
    let socket = network.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = socket.local_addr().unwrap();
    End { network, socket, addr }
}

impl End {
    async fn send(&self, to: &Self, contents: &[u8]) {
        self.send_to(to.addr, contents).await;
    }

    async fn send_to(&self, destination: SocketAddr, contents: &[u8]) {
        let transmit =
            Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        let mut poller = Arc::clone(&self.socket).create_io_poller();
        loop {
            match self.socket.try_send(&transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
                }
                sent => return sent.unwrap(),
            }
        }
    }

    /// The next packets, whose count is at least one.
    async fn receive(&self) -> Vec<Vec<u8>> {
        loop {
            let mut buf = [0; 2_000];
            let mut meta = [RecvMeta::default()];
            let mut bufs = [IoSliceMut::new(&mut buf)];
            poll_fn(|cx| self.socket.poll_recv(cx, &mut bufs, &mut meta)).await.unwrap();
            let [RecvMeta { len, stride, .. }] = meta;
            if len > 0 {
                return buf[..len].chunks(stride).map(<[u8]>::to_vec).collect();
            }
        }
    }

    /// Takes packets from the system until the next one has vanished.
    async fn lose_one(&self) {
        let before = self.network.vanished();
        while self.network.vanished() == before {
            let (mut buf, mut meta) = ([0; 2_000], [RecvMeta::default()]);
            let mut bufs = [IoSliceMut::new(&mut buf)];
            poll_fn(|cx| self.socket.poll_recv(cx, &mut bufs, &mut meta)).await.unwrap();
            assert_eq!(meta[0].len, 0, "a packet was heard");
        }
    }
}

#[tokio::test]
async fn without_a_fault_packets_pass() {
    let (a, b) = (end(), end());
    a.send(&b, b"one").await;
    assert_eq!(b.receive().await, [b"one"]);
    assert_eq!((a.network.vanished(), b.network.vanished()), (0, 0));
}

#[tokio::test]
async fn each_way_is_cut_apart() {
    let (a, b) = (end(), end());
    a.network.cut(Way::Out);
    a.send(&b, b"lost on its way out").await;
    b.send(&a, b"back").await;
    assert_eq!(a.receive().await, [b"back"]);
    a.network.heal();

    b.network.cut(Way::In);
    a.send(&b, b"lost on its way in").await;
    b.lose_one().await;
    b.send(&a, b"back").await;
    assert_eq!(a.receive().await, [b"back"]);
    b.network.heal();

    a.send(&b, b"heard").await;
    assert_eq!(b.receive().await, [b"heard"]);
    assert_eq!((a.network.vanished(), b.network.vanished()), (1, 1));
}

#[tokio::test]
async fn one_peer_is_cut_and_others_are_not() {
    let (a, b, c) = (end(), end(), end());
    a.network.cut_peer(Way::Both, b.addr);
    a.send(&b, b"lost").await;
    b.send(&a, b"lost too").await;
    a.send(&c, b"one").await;
    c.send(&a, b"two").await;
    assert_eq!(c.receive().await, [b"one"]);
    assert_eq!(a.receive().await, [b"two"]);
    assert_eq!(a.network.vanished(), 2);

    a.network.heal_peer(b.addr);
    a.send(&b, b"three").await;
    assert_eq!(b.receive().await, [b"three"]);
}

#[tokio::test]
async fn a_closed_port_takes_what_it_held_with_it_and_opens_at_its_address() {
    let (a, b) = (end(), end());
    a.send(&b, b"in the system's buffer").await;
    b.network.close_ports();
    let taken = Udp.bind(b.addr).expect("the port is free");
    assert_eq!(b.network.open_ports().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(taken);
    b.send(&a, b"vanishes").await;
    assert_eq!(b.network.vanished(), 1);

    b.network.open_ports().unwrap();
    a.send(&b, b"new").await;
    assert_eq!(b.receive().await, [b"new"]);
    b.send(&a, b"back").await;
    assert_eq!(a.receive().await, [b"back"]);
}

#[tokio::test]
async fn who_waits_for_a_closed_port_is_woken_when_it_opens() {
    let (a, b) = (end(), end());
    let (network, addr) = (b.network.clone(), b.addr);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { b.receive().await });
    tokio::task::yield_now().await;
    network.close_ports();
    network.open_ports().unwrap();
    a.send_to(addr, b"new").await;
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), [b"new"]);
}

#[tokio::test]
async fn a_cut_counts_each_segment() {
    let (a, b) = (end(), end());
    a.network.cut(Way::Out);
    let transmit = Transmit {
        destination: b.addr,
        ecn: None,
        contents: &[0; 25],
        segment_size: Some(10),
        src_ip: None,
    };
    a.socket.try_send(&transmit).unwrap();
    assert_eq!(a.network.vanished(), 3);
}

#[tokio::test]
async fn a_probe_over_a_cut_way_finds_silence() {
    let (a, b) = (end(), end());
    let closed = b.addr;
    drop(b);
    a.network.cut_peer(Way::In, closed);
    let cut = a.network.probe(closed, Box::pin(std::future::ready(())));
    assert_eq!(cut.await.unwrap(), Sign::Silent);
    a.network.heal();
    let healed = a.network.probe(closed, Box::pin(std::future::pending()));
    assert_eq!(healed.await.unwrap(), Sign::Refused);
}
