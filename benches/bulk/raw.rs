//! Two endpoints of bare quinn, with the transport's QUIC settings.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as blocking,
    },
    time::Duration,
};

use actix_cluster_transport::socket::{Network as _, Udp};
use bytes::Bytes;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{sync::mpsc, task::LocalSet};

use crate::{Log, Path};

pub(crate) struct Raw {
    short: mpsc::Sender<[u8; 64]>,
    flow: mpsc::Sender<Bytes>,
    long: Bytes,
    has_flowed: Arc<AtomicBool>,
    log: Log,
}

/// How many short messages may wait to be written.
const QUEUE: usize = 65_536;

/// How much of the long message is written and read at a time, as the transport does.
const CHUNK_BYTES: usize = 64 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Raw {
    /// Starts both, each on a thread of its own, which end with the process.
    ///
    /// # Errors
    ///
    /// What the system answers.
    pub(crate) fn start(long: Bytes) -> Result<Self, Failure> {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = key.cert.der().clone();
        let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let (has_flowed, log) = (Arc::<AtomicBool>::default(), Log::new());
        let (give, take) = blocking::sync_channel(1);
        let noted = Arc::clone(&has_flowed);
        let own = certificate.clone();
        on_a_thread(async move || right(own, private.into(), give, noted).await);
        let addr = take.recv()?;

        let (short, short_inbox) = mpsc::channel(QUEUE);
        let (flow, flow_inbox) = mpsc::channel(1);
        let answers = log.clone();
        on_a_thread(async move || left(certificate, addr, short_inbox, flow_inbox, answers).await);
        Ok(Self { short, flow, long, has_flowed, log })
    }
}

impl Path for Raw {
    fn try_send(&mut self, _: u64, payload: &[u8; 64]) -> bool {
        self.short.try_send(*payload).is_ok()
    }

    fn begin_flow(&mut self) {
        self.has_flowed.store(false, Ordering::Release);
        self.flow.try_send(self.long.clone()).expect("one at a time");
    }

    fn has_flowed(&self) -> bool {
        self.has_flowed.load(Ordering::Acquire)
    }

    fn long_bytes(&self) -> usize {
        self.long.len()
    }

    fn log(&self) -> &Log {
        &self.log
    }
}

fn on_a_thread<F: Future<Output = Result<(), Failure>>>(main: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), main()).expect("it goes well");
    });
}

/// What the transport sets by default, for two lanes and two bulk messages.
fn settings() -> Arc<quinn::TransportConfig> {
    const WINDOW_BYTES: u32 = 256 * 1024;
    let mut quic = quinn::TransportConfig::default();
    quic.keep_alive_interval(Some(Duration::from_millis(500)))
        .initial_rtt(Duration::from_millis(30))
        .stream_receive_window(WINDOW_BYTES.into())
        .receive_window((7 * WINDOW_BYTES).into())
        .send_window(289 * u64::from(WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_BYTES);
    quic.mtu_discovery_config(Some(discovery));
    Arc::new(quic)
}

/// The socket's buffers.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The longest datagram.
const DATAGRAM_BYTES: u16 = 6_500;

fn endpoint(server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(DATAGRAM_BYTES)?;
    let socket = Udp.bind_buffered(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), BUFFER_BYTES)?;
    Ok(Endpoint::new_with_abstract_socket(config, server, socket, Udp.runtime())?)
}

/// Sends short frames and the long message, and notes the echoes.
async fn left(
    certificate: CertificateDer<'static>,
    addr: SocketAddr,
    short: mpsc::Receiver<[u8; 64]>,
    mut flow: mpsc::Receiver<Bytes>,
    log: Log,
) -> Result<(), Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
    client.transport_config(settings());
    let connection = endpoint(None)?.connect_with(client, addr, "localhost")?.await?;
    let stream = connection.open_uni().await?;
    tokio::task::spawn_local(write_short(stream, short));
    let echoes = connection.clone();
    tokio::task::spawn_local(async move {
        let stream = echoes.accept_uni().await.expect("the other one opens it");
        each_frame(stream, |frame| log.answered(frame)).await
    });
    while let Some(mut long) = flow.recv().await {
        let mut stream = connection.open_uni().await?;
        stream.set_priority(-1)?;
        while !long.is_empty() {
            stream.write_chunk(long.split_to(long.len().min(CHUNK_BYTES))).await?;
        }
        stream.finish()?;
    }
    Ok(())
}

/// Writes what has come meanwhile in one go, as a lane does.
async fn write_short(mut stream: SendStream, mut short: mpsc::Receiver<[u8; 64]>) {
    let mut frames = Vec::new();
    while short.recv_many(&mut frames, QUEUE).await > 0 {
        stream.write_all(frames.as_flattened()).await.expect("the connection lasts");
        frames.clear();
    }
}

async fn each_frame(mut stream: RecvStream, mut handle: impl FnMut(&[u8; 64])) {
    let mut bytes = bytes::BytesMut::new();
    while let Ok(Some(chunk)) = stream.read_chunk(CHUNK_BYTES, true).await {
        bytes.extend_from_slice(&chunk.bytes);
        while let Some(frame) = bytes.first_chunk() {
            handle(frame);
            let _ = bytes.split_to(64);
        }
    }
}

/// Echoes short frames, and reads long messages to their end.
async fn right(
    certificate: CertificateDer<'static>,
    private: PrivateKeyDer<'static>,
    give: blocking::SyncSender<SocketAddr>,
    has_flowed: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let mut server = ServerConfig::with_single_cert(vec![certificate], private)?;
    server.transport_config(settings());
    let endpoint = endpoint(Some(server))?;
    give.send(endpoint.local_addr()?)?;
    let incoming = endpoint.accept().await.ok_or_else(|| io::Error::other("nobody dials"))?;
    let connection: Connection = incoming.await?;
    let (echo, echoes) = mpsc::channel(QUEUE);
    tokio::task::spawn_local(write_short(connection.open_uni().await?, echoes));
    let short = connection.accept_uni().await?;
    tokio::task::spawn_local(each_frame(short, move |frame| {
        echo.try_send(*frame).expect("there is room");
    }));
    loop {
        let mut long = connection.accept_uni().await?;
        while long.read_chunk(CHUNK_BYTES, true).await?.is_some() {}
        has_flowed.store(true, Ordering::Release);
    }
}
