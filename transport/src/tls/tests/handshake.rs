//! Real connections over loopback, within one process.

use std::{any::Any, net::Ipv4Addr};

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig};
use rustls::{crypto::CryptoProvider, pki_types::pem::PemObject as _};

use super::{
    super::{config::*, *},
    name,
};
use crate::development::{Authority, IssuedPem};

/// Two endpoints; a connection lives no longer than they do.
struct Pair {
    server: Endpoint,
    client: Endpoint,
}

impl Pair {
    fn new(server: Arc<QuicServerConfig>, client: Arc<QuicClientConfig>) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Endpoint::server(ServerConfig::with_crypto(server), any).expect("bound");
        let mut endpoint = Endpoint::client(any).expect("bound");
        endpoint.set_default_client_config(ClientConfig::new(client));
        Self { server, client: endpoint }
    }

    fn of(server: &Credentials, client: &Credentials) -> Self {
        Self::new(server.server_config(), client.client_config())
    }

    fn dial(&self) -> quinn::Connecting {
        let addr = self.server.local_addr().expect("bound");
        self.client.connect(addr, "any").expect("a valid configuration")
    }

    async fn accept(&self) -> Result<Connection, ConnectionError> {
        self.server.accept().await.expect("still open").await
    }

    /// What the server and the client see at once.
    async fn meet(
        &self,
    ) -> (Result<Connection, ConnectionError>, Result<Connection, ConnectionError>) {
        tokio::join!(self.accept(), self.dial())
    }

    /// The failures that the server and the client see.
    async fn refuse(&self) -> (TlsFailure, TlsFailure) {
        let (server, client) =
            tokio::join!(async { self.accept().await.expect_err("refused") }, async {
                match self.dial().await {
                    // The server's refusal comes after the client's side has succeeded.
                    Ok(connection) => connection.closed().await,
                    Err(error) => error,
                }
            },);
        let explained = |error| explain(&error).unwrap_or_else(|| panic!("not of TLS: {error}"));
        (explained(server), explained(client))
    }
}

fn here(reason: TlsReason) -> TlsFailure {
    TlsFailure { refused_by: Refuser::Here, reason }
}

fn peer(reason: TlsReason) -> TlsFailure {
    TlsFailure { refused_by: Refuser::Peer, reason }
}

fn identity(connection: &Connection) -> Box<dyn Any> {
    connection.peer_identity().expect("both sides show a certificate")
}

/// Credentials that trust another authority as well as their own.
fn trusting_both(own: &Authority, other: &Authority) -> Credentials {
    let IssuedPem { chain, key } = own.issue_pem(&name("n2"));
    let roots = own.roots_pem() + &other.roots_pem();
    Credentials::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes()).expect("usable")
}

#[tokio::test]
async fn nodes_of_one_authority_know_each_other_by_name() {
    let authority = Authority::new();
    let pair = Pair::of(&authority.issue(&name("n1")), &authority.issue(&name("n2")));
    let (server, client) = pair.meet().await;
    let (server, client) = (server.expect("connected"), client.expect("connected"));
    assert_eq!(peer_names_allow(&*identity(&client), &name("n1")), Ok(()));
    assert_eq!(peer_names_allow(&*identity(&server), &name("n2")), Ok(()));

    let stolen = peer_names_allow(&*identity(&server), &name("n1")).expect_err("not its name");
    let names = vec!["n2".to_owned()];
    assert_eq!(stolen, IdentityError::NotNamed { claimed: name("n1"), names });
    assert!(stolen.to_string().contains("goes by n1 and its certificate is for [\"n2\"]"));
    assert_eq!(peer_names_allow(&(), &name("n1")), Err(IdentityError::NoCertificate));
}

#[tokio::test]
async fn a_wildcard_certificate_allows_its_names() {
    let authority = Authority::new();
    let wild = authority.issue_pem_with(&name("n1"), |params| {
        let wildcard = "*.shop.internal".try_into().expect("ascii");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(wildcard)];
    });
    let roots = authority.roots_pem();
    let wild = Credentials::from_pem(wild.chain.as_bytes(), wild.key.as_bytes(), roots.as_bytes());
    let pair = Pair::of(&wild.expect("usable"), &authority.issue(&name("n2")));
    let (_server, client) = pair.meet().await;
    let certificates = identity(&client.expect("connected"));
    assert!(peer_names_allow(&*certificates, &name("n7.shop.internal")).is_ok());
    assert!(peer_names_allow(&*certificates, &name("shop.internal")).is_err());
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let pair = Pair::of(&theirs.issue(&name("n1")), &ours.issue(&name("n2")));
    let reason = TlsReason::UnknownAuthority;
    assert_eq!(pair.refuse().await, (peer(reason), here(reason)));
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let pair = Pair::of(&ours.issue(&name("n1")), &trusting_both(&theirs, &ours));
    let reason = TlsReason::UnknownAuthority;
    assert_eq!(pair.refuse().await, (here(reason), peer(reason)));
}

#[tokio::test]
async fn certificates_outside_their_validity_are_refused_on_both_sides() {
    let authority = Authority::new();
    let good = authority.issue(&name("n1"));
    let reason = TlsReason::OutOfValidity;
    for bad in [authority.issue_expired(&name("n2")), authority.issue_not_yet_valid(&name("n2"))] {
        assert_eq!(Pair::of(&bad, &good).refuse().await, (peer(reason), here(reason)));
        assert_eq!(Pair::of(&good, &bad).refuse().await, (here(reason), peer(reason)));
    }
}

fn provider_and_trust(authority: &Authority) -> (Arc<CryptoProvider>, Arc<Trust>) {
    let root = CertificateDer::from_pem_slice(authority.roots_pem().as_bytes()).expect("PEM");
    let provider = ring::default_provider();
    let trust = Trust::new(&provider, &[root], &[]).expect("a root");
    (Arc::new(provider), Arc::new(trust))
}

/// A node may thus not take a connection for a link before its own handshake has passed.
#[tokio::test]
async fn a_missing_client_certificate_shows_after_the_client_has_connected() {
    let authority = Authority::new();
    let (provider, trust) = provider_and_trust(&authority);
    let anonymous = finish_client(client_builder(&provider, trust).with_no_client_auth());
    let server = authority.issue(&name("n1")).server_config();
    let pair = Pair::new(server, Arc::new(anonymous));

    let (server, client) = pair.meet().await;
    let client = client.expect("the client's side succeeds");
    let reason = TlsReason::MissingCertificate;
    assert_eq!(explain(&server.expect_err("refused")), Some(here(reason)));
    assert_eq!(explain(&client.closed().await), Some(peer(reason)));
}

#[tokio::test]
async fn a_certificate_for_clients_alone_is_refused_as_a_server() {
    let authority = Authority::new();
    let (provider, trust) = provider_and_trust(&authority);
    let pem = authority.issue_pem_with(&name("n1"), |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let chain = vec![CertificateDer::from_pem_slice(pem.chain.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).expect("PEM");
    let certified = CertifiedKey::from_der(chain, key, &provider).expect("a pair");
    let one_sided = config::server(&provider, trust, Arc::new(certified));
    let client = authority.issue(&name("n2")).client_config();
    let reason = TlsReason::WrongUsage;
    let failures = Pair::new(Arc::new(one_sided), client).refuse().await;
    assert_eq!(failures, (peer(reason), here(reason)));
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let authority = Authority::new();
    let (provider, trust) = provider_and_trust(&authority);
    for protocols in [vec![b"h3".to_vec()], Vec::new()] {
        let mut config = client_builder(&provider, trust.clone()).with_no_client_auth();
        config.alpn_protocols = protocols;
        let client = QuicClientConfig::try_from(config).expect("a suite");
        let server = authority.issue(&name("n1")).server_config();
        let reason = TlsReason::NoCommonProtocol;
        let failures = Pair::new(server, Arc::new(client)).refuse().await;
        assert_eq!(failures, (here(reason), peer(reason)));
    }
}

#[tokio::test]
async fn a_connection_is_never_resumed() {
    let authority = Authority::new();
    let pair = Pair::of(&authority.issue(&name("n1")), &authority.issue(&name("n2")));
    for _ in 0..2 {
        let (server, client) = pair.meet().await;
        let (server, client) = (server.expect("connected"), client.expect("connected"));
        // A round trip, so that a ticket would have arrived.
        let mut stream = client.open_uni().await.expect("open");
        stream.write_all(b"x").await.expect("written");
        server.accept_uni().await.expect("arrived");
        let data = server.handshake_data().expect("connected");
        let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().expect("of rustls");
        assert_eq!(data.protocol.as_deref(), Some(PROTOCOL));
        assert_eq!(data.server_name, None, "no name in the clear");
        assert!(pair.dial().into_0rtt().is_err(), "no early data");
        // That dial goes on in the background: take it off the queue.
        drop(pair.server.accept().await.expect("still open"));
    }
}

#[test]
fn ends_that_are_not_of_tls_are_not_explained() {
    let raised =
        |code: quinn::TransportErrorCode| explain(&ConnectionError::TransportError(code.into()));
    let alert = quinn::TransportErrorCode::crypto;
    assert_eq!(raised(alert(48)), Some(here(TlsReason::UnknownAuthority)));
    assert_eq!(raised(alert(255)), Some(here(TlsReason::Other(255))));
    assert_eq!(raised(quinn::TransportErrorCode::PROTOCOL_VIOLATION), None);
    for error in [ConnectionError::TimedOut, ConnectionError::Reset, ConnectionError::LocallyClosed]
    {
        assert_eq!(explain(&error), None);
    }
}

#[test]
fn each_failure_says_who_refuses_whom() {
    let shown = here(TlsReason::UnknownAuthority).to_string();
    assert!(shown.starts_with("this node does not trust the authority of the peer's"), "{shown}");
    let shown = peer(TlsReason::OutOfValidity).to_string();
    assert!(shown.starts_with("this node's certificate has expired or is not"), "{shown}");
}
