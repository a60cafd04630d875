//! A peer of raw quinn and rustls.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_cluster_transport::{
    Clock, NodeName, development::Authority, simulation::SimulatedNetwork, socket::Network as _,
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};

use super::wire::{Greeting, Hello, preface};

/// An endpoint that can dial and be dialled, with a certificate of the cluster's authority.
pub(crate) struct Fake {
    pub(crate) name: String,
    endpoint: quinn::Endpoint,
}

impl Fake {
    pub(crate) fn new(
        network: &SimulatedNetwork,
        authority: &Authority,
        name: &str,
        host: u8,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let issued = authority.issue_pem(&NodeName::new(name).expect("a name"));
        let chain = || {
            let certificates = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
            certificates.collect::<Result<Vec<_>, _>>().expect("certificates")
        };
        let key = || PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(authority.roots_pem().as_bytes()) {
            roots.add(root.expect("a certificate")).expect("a root");
        }
        let roots = Arc::new(roots);
        let protocol = vec![b"actix-cluster/1".to_vec()];

        let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .expect("versions")
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain(), key())
            .expect("a key for the certificate");
        client.alpn_protocols = protocol.clone();
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("roots"))
            .with_single_cert(chain(), key())
            .expect("a key for the certificate");
        server.alpn_protocols = protocol;

        let quic = Arc::new(settings());
        let client = QuicClientConfig::try_from(client).expect("a cipher suite");
        let mut client = quinn::ClientConfig::new(Arc::new(client));
        client.transport_config(quic.clone());
        let server = QuicServerConfig::try_from(server).expect("a cipher suite");
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(quic);

        let host = network.host([10, 0, 0, host].into());
        let socket = host.bind(SocketAddr::new(host.ip(), 7_000)).expect("a socket");
        let config = quinn::EndpointConfig::default();
        let runtime = host.runtime();
        let mut endpoint =
            quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
                .expect("an endpoint");
        endpoint.set_default_client_config(client);
        Self { name: name.to_owned(), endpoint }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("bound")
    }

    /// What a proper peer says of itself.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            cluster: "test".to_owned(),
            node: (self.name.clone(), 1),
            nonce: 7,
            to: None,
            capabilities: 0,
            lanes: 2,
            accepts: (1_000, 1_000_000, 1_000_000),
            resume: None,
            info: b"same".to_vec(),
        }
    }

    /// A connection, on which nothing has been said.
    pub(crate) async fn connect(&self, addr: SocketAddr) -> quinn::Connection {
        self.endpoint.connect(addr, "node").expect("dialled").await.expect("connected")
    }

    /// Begins a connection that need not come about.
    #[allow(dead_code, reason = "for the attacks")]
    pub(crate) fn dial(&self, addr: SocketAddr) -> quinn::Connecting {
        self.endpoint.connect(addr, "node").expect("dialled")
    }

    /// A connection with a control stream that begins with these bytes.
    pub(crate) async fn open(&self, addr: SocketAddr, first: &[u8]) -> Line {
        let connection = self.connect(addr).await;
        let (send, recv) = connection.open_bi().await.expect("a stream");
        let mut line = Line { connection, send, recv };
        line.write(first).await;
        line
    }

    /// A control stream after the exchange of prefaces, with this range of versions.
    pub(crate) async fn greet(&self, addr: SocketAddr, versions: (u16, u16)) -> Line {
        let mut line = self.open(addr, &preface(versions.0, versions.1)).await;
        let mut answer = [0; 8];
        line.recv.read_exact(&mut answer).await.expect("a preface");
        assert_eq!(answer, preface(1, 1));
        line
    }

    /// A whole handshake.
    pub(crate) async fn link(&self, addr: SocketAddr, hello: Hello) -> Line {
        let mut line = self.greet(addr, (1, 1)).await;
        line.say(&Greeting::Hello(hello)).await;
        let welcome = line.hear().await;
        assert!(matches!(welcome, Greeting::Welcome(_)), "{welcome:?}");
        line.say(&Greeting::Ready).await;
        line
    }

    /// The next connection that somebody dials, up to its Hello.
    pub(crate) async fn accept(&self) -> (Line, Hello) {
        let incoming = self.endpoint.accept().await.expect("dialled");
        let connection = incoming.await.expect("connected");
        let (send, recv) = connection.accept_bi().await.expect("a stream");
        let mut line = Line { connection, send, recv };
        let mut theirs = [0; 8];
        line.recv.read_exact(&mut theirs).await.expect("a preface");
        assert_eq!(theirs, preface(1, 1));
        line.write(&preface(1, 1)).await;
        match line.hear().await {
            Greeting::Hello(hello) => (line, hello),
            greeting => panic!("{greeting:?}"),
        }
    }
}

/// A peer that never goes silent by itself.
fn settings() -> quinn::TransportConfig {
    let mut quic = quinn::TransportConfig::default();
    quic.keep_alive_interval(Some(Duration::from_millis(100)));
    quic
}

/// A connection and its control stream.
pub(crate) struct Line {
    pub(crate) connection: quinn::Connection,
    pub(crate) send: quinn::SendStream,
    pub(crate) recv: quinn::RecvStream,
}

impl Line {
    /// Writes to the control stream; a connection that is gone takes no more.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.send.write_all(bytes).await;
    }

    pub(crate) async fn say(&mut self, greeting: &Greeting) {
        self.write(&greeting.to_frame()).await;
    }

    pub(crate) async fn hear(&mut self) -> Greeting {
        let mut head = [0; 4];
        self.recv.read_exact(&mut head).await.expect("a length");
        let mut body = vec![0; u32::from_le_bytes(head) as usize];
        self.recv.read_exact(&mut body).await.expect("a greeting");
        postcard::from_bytes(&body).expect("a greeting")
    }

    /// Waits until the node asks for a bulk message.
    pub(crate) async fn pulled(&mut self, id: u8, from: u8) {
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|frame| frame == [3, 9, id, from]) {
            let chunk = self.recv.read_chunk(1_024, true).await.expect("linked");
            bytes.extend_from_slice(&chunk.expect("open").bytes);
        }
    }

    /// Opens a stream of its own with these bytes.
    pub(crate) async fn stream(&self, bytes: &[u8]) -> quinn::SendStream {
        let mut stream = self.connection.open_uni().await.expect("a stream");
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// How the node ended the connection: code and reason.
    pub(crate) async fn ended(&self) -> (u64, String) {
        let clock = Clock::default();
        let end = tokio::select! {
            end = self.connection.closed() => end,
            () = clock.sleep(Duration::from_secs(60)) => panic!("the node does not end it"),
        };
        match end {
            quinn::ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8(close.reason.to_vec()).expect("text");
                (close.error_code.into_inner(), reason)
            }
            error => panic!("the node did not end it: {error}"),
        }
    }
}
