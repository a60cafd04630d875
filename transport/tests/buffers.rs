//! Socket buffers: a transport asks for what its settings say, and a system that grants less is told of.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_cluster_transport::{
    BindError, Bound, Clock, NodeName, Random, TransportConfig,
    clock::Sleep,
    development::Authority,
    socket::{Network, Probe, Udp},
};
use quinn::{AsyncUdpSocket, Runtime};

#[path = "certificates/log.rs"]
#[allow(dead_code, reason = "shared with the certificates")]
mod log;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn buffers_that_the_system_caps_are_warned_of_with_the_remedy() {
    /// No system grants as much.
    const ASKED: usize = 1 << 30;
    let log = log::Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let socket = Udp.bind_buffered(ANY, ASKED).expect("it is bound all the same");
    let addr = format!("addr={}", socket.local_addr().expect("bound"));
    drop(socket);
    assert_eq!(log.count("WARN"), 1, "{log:?}");
    let remedy = ["sysctl -w net.core.rmem_max=1073741824", "net.core.wmem_max=1073741824"];
    assert!(log.says(&["WARN", "addr=127.0.0.1", remedy[0], remedy[1]]), "{addr}: {log:?}");
    Udp.bind_buffered(ANY, 64 * 1024).expect("bound");
    assert_eq!(log.count("WARN"), 1, "what is granted is no news: {log:?}");
    drop(guard);
}

/// A network that grants no socket, and remembers what it was asked for.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<AtomicUsize>);

impl Network for Asked {
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.bind_buffered(addr, 0)
    }

    fn bind_buffered(
        &self,
        _: SocketAddr,
        buffer_bytes: usize,
    ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.0.store(buffer_bytes, Ordering::Relaxed);
        Err(io::ErrorKind::Unsupported.into())
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Udp.runtime()
    }

    fn probe(&self, to: SocketAddr, patience: Sleep) -> Probe {
        Udp.probe(to, patience)
    }
}

#[test]
fn a_transport_asks_for_the_buffers_of_its_settings() {
    let (name, network) = (NodeName::new("n1").expect("a name"), Asked::default());
    let credentials = Authority::new().issue(&name);
    let cluster = "test".parse().expect("a name");
    let mut config = TransportConfig::new(cluster, name, credentials, ANY);
    config.quic.socket_buffer_bytes = 123_456;
    let bound = Bound::bind(config, &network, Clock::default(), Random::from_seed(1));
    assert!(matches!(bound, Err(BindError::Socket { addr: ANY, .. })));
    assert_eq!(network.0.load(Ordering::Relaxed), 123_456);
}
