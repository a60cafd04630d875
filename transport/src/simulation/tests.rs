//! Real quinn and rustls over the simulated network, in virtual time.

mod drift;
mod paths;
mod probes;
mod process;
mod trace;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, ServerConfig, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::{clock::Clock, socket::Network};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const PORT: u16 = 4433;
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
const MEGABYTE: usize = 1 << 20;

#[test]
fn a_megabyte_crosses() {
    let run = simulate(1, async |network| {
        let link = connect(&network).await;
        transfer(&link).await;
    });
    assert!(run.stats.delivered > 100, "{:?}", run.stats);
    assert_eq!((run.stats.lost, run.stats.cut, run.stats.overflowed), (0, 0, 0));
    let megabytes = run.stats.sent_bytes as f64 / MEGABYTE as f64;
    assert!((1.0..1.3).contains(&megabytes), "{:?}", run.stats);
    assert!(run.took < Duration::from_secs(1), "{:?}", run.took);
}

#[test]
fn a_megabyte_crosses_a_bad_link() {
    let run = simulate(2, async |network| {
        network.set_link(Link { loss: 0.05, duplicate: 0.05, reorder: 0.05, ..Link::default() });
        let link = connect(&network).await;
        transfer(&link).await;
    });
    assert!(run.stats.lost > 10 && run.stats.duplicated > 10, "{:?}", run.stats);
    assert!(run.took < Duration::from_secs(60), "{:?}", run.took);
}

#[test]
fn path_mtu_discovery_finds_large_packets() {
    let mtu = simulate(3, async |network| {
        let link = connect(&network).await;
        transfer(&link).await;
        link.client.stats().path.current_mtu
    });
    assert!(mtu.value > 6_000, "{}", mtu.value);
}

#[test]
fn path_mtu_discovery_stops_at_the_link() {
    let run = simulate(3, async |network| {
        network.set_link(Link { mtu_bytes: 1_500, ..Link::default() });
        let link = connect(&network).await;
        // Each probe that is too long takes three losses to be given up.
        for _ in 0..10 {
            transfer(&link).await;
        }
        link.client.stats().path.current_mtu
    });
    assert!((1_400..=1_472).contains(&run.value), "{}", run.value);
    assert!(run.stats.oversized > 0, "{:?}", run.stats);
}

#[test]
fn a_lasting_partition_times_out_both_ends() {
    let run = simulate(4, async |network| {
        let link = connect(&network).await;
        let start = Clock::default().now();
        network.partition(CLIENT, SERVER);
        let [client, server] = [link.client.closed().await, link.server.closed().await];
        assert!(matches!(client, ConnectionError::TimedOut), "{client}");
        assert!(matches!(server, ConnectionError::TimedOut), "{server}");
        Clock::default().now() - start
    });
    assert!(run.value >= IDLE_TIMEOUT && run.value < 2 * IDLE_TIMEOUT, "{:?}", run.value);
    assert!(run.stats.cut > 0);
}

#[test]
fn a_short_partition_is_survived() {
    let run = simulate(5, async |network| {
        let link = connect(&network).await;
        network.partition(CLIENT, SERVER);
        let healing = async {
            Clock::default().sleep(IDLE_TIMEOUT / 2).await;
            network.heal(SERVER, CLIENT);
        };
        tokio::join!(biased; transfer(&link), healing);
    });
    assert!(run.stats.cut > 0 && run.took >= IDLE_TIMEOUT / 2, "{:?}", run.stats);
}

#[test]
fn a_one_way_partition_leaves_the_way_back() {
    let run = simulate(6, async |network| {
        let link = connect(&network).await;
        network.partition_one_way(CLIENT, SERVER);
        // The server's close reaches the client; the client's answer would not get back.
        link.server.close(7u8.into(), b"");
        link.client.closed().await
    });
    assert!(matches!(run.value, ConnectionError::ApplicationClosed(_)), "{}", run.value);
}

#[test]
fn a_silent_host_is_cut_from_all() {
    let run = simulate(7, async |network| {
        let link = connect(&network).await;
        network.silence(SERVER);
        let error = link.client.closed().await;
        assert!(matches!(error, ConnectionError::TimedOut), "{error}");
        let silenced = network.stats();
        network.unsilence(SERVER);
        transfer(&link.again().await).await;
        silenced
    });
    assert!(run.value.cut > 0 && run.value.refused == 0, "{:?}", run.value);
}

#[test]
fn a_killed_process_refuses_packets() {
    let run = simulate(8, async |network| {
        let node = tokio::task::LocalSet::new();
        let server = node.run_until(async { endpoint(&network.host(SERVER), Role::Server) }).await;
        drop((server, node));
        let client = endpoint(&network.host(CLIENT), Role::Client);
        client.connect(SocketAddr::new(SERVER, PORT), "node").unwrap().await.unwrap_err()
    });
    assert!(matches!(run.value, ConnectionError::TimedOut), "{}", run.value);
    assert!(run.stats.refused > 0 && run.stats.refused == run.stats.sent, "{:?}", run.stats);
}

#[test]
fn what_is_sent_is_accounted_for() {
    let run = simulate(9, async |network| {
        network.set_link(Link { loss: 0.1, duplicate: 0.1, ..Link::default() });
        let link = connect(&network).await;
        transfer(&link).await;
        network.partition(CLIENT, SERVER);
        link.client.closed().await;
    });
    let Stats { sent, duplicated, delivered, lost, cut, refused, oversized, .. } = run.stats;
    let Stats { overflowed, congested, unmapped, .. } = run.stats;
    let ended = delivered + lost + cut + refused + oversized + overflowed + congested + unmapped;
    assert_eq!(sent + duplicated, ended);
    assert_eq!(sent, run.trace.packets);
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed| {
        let run = simulate(seed, async |network| {
            network.set_link(Link { loss: 0.02, reorder: 0.02, ..Link::default() });
            let link = connect(&network).await;
            transfer(&link).await;
            network.partition(CLIENT, SERVER);
            link.client.closed().await;
            network.heal_all();
            transfer(&link.again().await).await;
        });
        (run.trace, run.stats, run.took)
    };
    let first = trace(10);
    // Shown with --nocapture, to compare across processes.
    println!("{first:?}");
    for _ in 0..3 {
        assert_eq!(trace(10), first);
    }
    assert_ne!(trace(11).0, first.0);
}

#[test]
fn a_full_queue_drops_the_newest() {
    let network = SimulatedNetwork::new(12);
    let runtime = paused();
    runtime.block_on(async {
        let [a, b] = [SERVER, CLIENT].map(|ip| network.host(ip).bind((ip, PORT).into()).unwrap());
        for sent in 0..fabric::QUEUE_PACKETS as u32 + 10 {
            let contents = sent.to_le_bytes();
            a.try_send(&transmit(b.local_addr().unwrap(), &contents)).unwrap();
        }
        Clock::default().sleep(Duration::from_secs(1)).await;
        for sent in 0..fabric::QUEUE_PACKETS as u32 {
            assert_eq!(receive(&*b).await, sent.to_le_bytes());
        }
        a.try_send(&transmit(b.local_addr().unwrap(), b"last")).unwrap();
        assert_eq!(receive(&*b).await, b"last");
    });
    assert_eq!(network.stats().overflowed, 10);
}

#[test]
fn free_ports_differ_and_taken_ones_are_refused() {
    let host = SimulatedNetwork::new(13).host(SERVER);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let [first, second] = [host.bind(any).unwrap(), host.bind(any).unwrap()];
    assert_ne!(first.local_addr().unwrap(), second.local_addr().unwrap());
    let taken = host.bind(first.local_addr().unwrap()).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let foreign = host.bind((CLIENT, 0).into()).unwrap_err();
    assert_eq!(foreign.kind(), std::io::ErrorKind::AddrNotAvailable);
}

#[test]
fn each_start_of_a_host_has_its_own_seed() {
    let seeds = |network: SimulatedNetwork| {
        [SERVER, SERVER, CLIENT].map(|ip| network.host(ip).seed().unwrap())
    };
    let drawn = seeds(SimulatedNetwork::new(1));
    assert_eq!(drawn, seeds(SimulatedNetwork::new(1)));
    let distinct: std::collections::BTreeSet<_> =
        drawn.into_iter().chain(seeds(SimulatedNetwork::new(2))).collect();
    assert_eq!(distinct.len(), 6);
}

struct Run<T> {
    value: T,
    trace: Trace,
    stats: Stats,
    took: Duration,
}

/// Runs `main` in virtual time on a runtime of its own.
fn simulate<T>(seed: u64, main: impl AsyncFnOnce(SimulatedNetwork) -> T) -> Run<T> {
    let network = SimulatedNetwork::new(seed);
    let runtime = paused();
    let set = tokio::task::LocalSet::new();
    let clock = Clock::default();
    let (value, took) = set.block_on(&runtime, async {
        let start = clock.now();
        (main(network.clone()).await, clock.now() - start)
    });
    drop(set);
    Run { value, trace: network.trace(), stats: network.stats(), took }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Two connected endpoints.
struct Pair {
    endpoints: [Endpoint; 2],
    client: Connection,
    server: Connection,
}

async fn connect(network: &SimulatedNetwork) -> Pair {
    let endpoints = [
        endpoint(&network.host(SERVER), Role::Server),
        endpoint(&network.host(CLIENT), Role::Client),
    ];
    dial(endpoints).await
}

async fn dial(endpoints: [Endpoint; 2]) -> Pair {
    let [server, client] = &endpoints;
    let dialled = client.connect(SocketAddr::new(SERVER, PORT), "node").unwrap();
    let accepted = async { server.accept().await.unwrap().await.unwrap() };
    let (client, server) = tokio::join!(biased; async { dialled.await.unwrap() }, accepted);
    Pair { endpoints, client, server }
}

impl Pair {
    async fn again(self) -> Pair {
        dial(self.endpoints).await
    }
}

/// A megabyte from client to server, acknowledged and compared.
async fn transfer(pair: &Pair) {
    let sent: Vec<u8> = (0..MEGABYTE).map(|at| (at * 31 % 251) as u8).collect();
    let send = async {
        let mut stream = pair.client.open_uni().await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.finish().unwrap();
        stream.stopped().await.unwrap();
    };
    let receive = async {
        let mut stream: RecvStream = pair.server.accept_uni().await.unwrap();
        stream.read_to_end(MEGABYTE).await.unwrap()
    };
    let ((), received) = tokio::join!(biased; send, receive);
    assert!(received == sent);
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Client,
    Server,
}

fn endpoint(host: &Host, role: Role) -> Endpoint {
    let seed = host.seed().unwrap();
    let (certificate, key) = certificate();
    let server = (role == Role::Server).then(|| server_config(seed, &certificate, key));
    let socket = host.bind((host.ip(), PORT).into()).unwrap();
    let mut endpoint = Endpoint::new_with_abstract_socket(
        endpoint_config(host.seed(), MAX_UDP_PAYLOAD_BYTES),
        server,
        socket,
        host.runtime(),
    )
    .unwrap();
    endpoint.set_default_client_config(client_config(seed, &certificate));
    endpoint
}

fn server_config(
    seed: u64,
    certificate: &CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> ServerConfig {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    tls.send_tls13_tickets = 0;
    let tls = QuicServerConfig::try_from(tls).unwrap();
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    seeded_server(&mut config, seed);
    config.transport_config(transport_config());
    config
}

fn client_config(seed: u64, certificate: &CertificateDer<'static>) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    seeded_client(&mut config, seed);
    config.transport_config(transport_config());
    config
}

/// Ten of these fit one segmented send.
const MAX_UDP_PAYLOAD_BYTES: u16 = 6_500;

fn transport_config() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(MAX_UDP_PAYLOAD_BYTES);
    transport
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().unwrap()))
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .initial_rtt(Duration::from_millis(20))
        .mtu_discovery_config(Some(discovery));
    Arc::new(transport)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// One for the whole process: the key is random, and of one length.
fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    static MADE: std::sync::OnceLock<(Vec<u8>, Vec<u8>)> = std::sync::OnceLock::new();
    let (certificate, key) = MADE.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
        params.serial_number = Some(1u64.into());
        let made = params.self_signed(&key).unwrap();
        (made.der().to_vec(), key.serialize_der())
    });
    (certificate.clone().into(), key.clone().try_into().unwrap())
}

fn transmit(destination: SocketAddr, contents: &[u8]) -> quinn::udp::Transmit<'_> {
    quinn::udp::Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
}

async fn receive(socket: &dyn quinn::AsyncUdpSocket) -> Vec<u8> {
    let mut buf = [0; 2048];
    let mut meta = [quinn::udp::RecvMeta::default()];
    std::future::poll_fn(|cx| {
        socket.poll_recv(cx, &mut [std::io::IoSliceMut::new(&mut buf)], &mut meta)
    })
    .await
    .unwrap();
    buf[..meta[0].len].to_vec()
}

/// What has arrived by now, if anything.
fn receive_now(socket: &dyn quinn::AsyncUdpSocket) -> Option<Vec<u8>> {
    let mut receiving = Box::pin(receive(socket));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    match receiving.as_mut().poll(&mut task) {
        std::task::Poll::Ready(packet) => Some(packet),
        std::task::Poll::Pending => None,
    }
}
