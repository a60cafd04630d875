//! What both ends share: who they are, and the QUIC settings of raw quinn.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_cluster_transport::{
    NodeName,
    development::Authority,
    socket::{Network as _, Udp},
};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use serde::{Deserialize, Serialize};

/// The names of the two ends.
pub(crate) const NEAR: &str = "near";
pub(crate) const FAR: &str = "far";

/// What one end proves itself with, as PEM.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) roots: String,
}

/// Where the far end listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) cluster: SocketAddr,
    pub(crate) quinn: SocketAddr,
    pub(crate) tcp: SocketAddr,
}

impl Setup {
    pub(crate) fn of(authority: &Authority, name: &str) -> Self {
        let name = NodeName::new(name).expect("the name keeps the rules");
        let issued = authority.issue_pem(&name);
        Self { chain: issued.chain, key: issued.key, roots: authority.roots_pem() }
    }

    /// An endpoint that dials and is dialled, on the same socket and runtime as the transport's.
    pub(crate) fn endpoint(&self) -> io::Result<quinn::Endpoint> {
        let quic = Arc::new(quic_config());
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(self.server()?));
        server.transport_config(Arc::clone(&quic));
        let mut client = quinn::ClientConfig::new(Arc::new(self.client()?));
        client.transport_config(quic);
        let mut config = quinn::EndpointConfig::default();
        config.max_udp_payload_size(PACKET_BYTES).map_err(io::Error::other)?;
        let socket = Udp.bind_buffered(([127, 0, 0, 1], 0).into(), BUFFER_BYTES)?;
        let mut endpoint =
            quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, Udp.runtime())?;
        endpoint.set_default_client_config(client);
        Ok(endpoint)
    }

    fn server(&self) -> io::Result<QuicServerConfig> {
        let clients = WebPkiClientVerifier::builder_with_provider(
            Arc::new(self.roots()?),
            Arc::new(ring::default_provider()),
        );
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_client_cert_verifier(clients.build().map_err(io::Error::other)?)
            .with_single_cert(self.chain()?, self.key()?)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"bench".to_vec()];
        QuicServerConfig::try_from(config).map_err(io::Error::other)
    }

    fn client(&self) -> io::Result<QuicClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain()?, self.key()?)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"bench".to_vec()];
        QuicClientConfig::try_from(config).map_err(io::Error::other)
    }

    fn chain(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        chain.collect::<Result<_, _>>().map_err(io::Error::other)
    }

    fn key(&self) -> io::Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(io::Error::other)
    }

    fn roots(&self) -> io::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        Ok(roots)
    }
}

/// The longest packet, as the transport has it.
const PACKET_BYTES: u16 = 6_500;

/// The window of one stream, as the transport has it.
const WINDOW_BYTES: u32 = 256 * 1024;

/// The socket's buffers, as the transport has them.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The transport's own settings with its defaults: two lanes, twice two bulk streams.
fn quic_config() -> quinn::TransportConfig {
    let mut quic = quinn::TransportConfig::default();
    let idle = quinn::IdleTimeout::try_from(Duration::from_secs(3)).expect("3 s are in range");
    quic.max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(Duration::from_millis(500)))
        .initial_rtt(Duration::from_millis(30))
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(6u8.into())
        .stream_receive_window(WINDOW_BYTES.into())
        .receive_window((WINDOW_BYTES * 7).into())
        .send_window(u64::from(WINDOW_BYTES) * 289)
        .datagram_receive_buffer_size(None);
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(PACKET_BYTES);
    quic.mtu_discovery_config(Some(discovery));
    quic
}
