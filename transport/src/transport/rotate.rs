//! Certificates of a running transport: what it proves itself with now, how that changes, and when
//! it ends.
//!
//! Invariant: no link outlives the trust in its peer by more than the next rotation. Each new
//! connection is judged by the credentials of the moment it becomes a link; each rotation judges
//! all links again.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot};

use super::Transport;
use crate::{
    config::{ConfigError, OWN_NAME, TransportConfig},
    greet::DISTRUSTED,
    identity::{NodeName, PeerId},
    simulation::{seeded_client, seeded_server},
    tls::{CredentialFiles, Credentials, CredentialsError, End, TlsFailure},
};

/// What new connections are made with.
pub(super) struct Proof {
    credentials: Credentials,
    server: quinn::ServerConfig,
    client: quinn::ClientConfig,
    quic: Arc<quinn::TransportConfig>,
    /// Where a simulated endpoint's numbers come from, another one after each rotation.
    seed: Option<u64>,
}

impl Proof {
    pub(super) fn new(
        config: &TransportConfig,
        quic: quinn::TransportConfig,
        seed: Option<u64>,
    ) -> Self {
        let (credentials, quic) = (config.credentials.clone(), Arc::new(quic));
        let mut server = quinn::ServerConfig::with_crypto(credentials.server_config());
        server.transport_config(Arc::clone(&quic));
        server
            .max_incoming(super::gate::HANDSHAKES_LIMIT)
            .incoming_buffer_size(super::gate::INCOMING_BYTES)
            .incoming_buffer_size_total(super::gate::INCOMING_BYTES_ALL);
        if let Some(seed) = seed {
            seeded_server(&mut server, seed);
        }
        let client = client(&credentials, &quic, seed);
        Self { credentials, server, client, quic, seed }
    }

    pub(super) fn server(&self) -> quinn::ServerConfig {
        self.server.clone()
    }

    pub(super) fn client(&self) -> quinn::ClientConfig {
        self.client.clone()
    }

    /// When the first certificate of this node's chain expires.
    pub(super) fn expires(&self) -> SystemTime {
        self.credentials.expires()
    }

    fn rotate(&mut self, credentials: Credentials) {
        // The rest of the server's configuration stays, so that tokens it has given still hold.
        self.server.crypto = credentials.server_config();
        self.seed = self.seed.map(|seed| seed.wrapping_add(1));
        self.client = client(&credentials, &self.quic, self.seed);
        self.credentials = credentials;
    }
}

fn client(
    credentials: &Credentials,
    quic: &Arc<quinn::TransportConfig>,
    seed: Option<u64>,
) -> quinn::ClientConfig {
    let mut client = quinn::ClientConfig::new(credentials.client_config());
    client.transport_config(Arc::clone(quic));
    if let Some(seed) = seed {
        seeded_client(&mut client, seed);
    }
    client
}

/// What a rotation has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotated {
    /// When the new credentials expire.
    pub expires: SystemTime,
    /// Peers whose connection was cut, as their certificates are trusted no longer. Their sessions
    /// go on if they come back with others.
    pub cut: Vec<PeerId>,
}

/// Why credentials were not taken. Those before them stay in use, and nothing was cut.
#[derive(Debug)]
#[non_exhaustive]
pub enum RotateError {
    /// The credentials cannot be used now: among others, they have expired or are revoked by their
    /// own list.
    Credentials(CredentialsError),
    /// The certificate does not allow the node's name. A node keeps its name while it runs.
    Name(ConfigError),
    /// The transport has closed.
    Closed,
}

impl fmt::Display for RotateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credentials(_) => "the new credentials cannot be used",
            Self::Name(_) => "the new certificate is not this node's",
            Self::Closed => "the transport has closed",
        })
    }
}

impl std::error::Error for RotateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Credentials(source) => Some(source),
            Self::Name(source) => Some(source),
            Self::Closed => None,
        }
    }
}

impl From<CredentialsError> for RotateError {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(error)
    }
}

/// When certificates expire: for metrics and alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateStatus {
    /// When the node's own expire: the first one of its chain.
    pub own_expires: SystemTime,
    /// The same of each peer that has a connection, by name. A connection goes on past this time
    /// until it breaks or this node rotates; no new one is made.
    pub peers: Vec<(NodeName, SystemTime)>,
}

/// A handle to rotate a transport's credentials from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Rotator(mpsc::Sender<Order>);

struct Order {
    credentials: Credentials,
    done: oneshot::Sender<Result<Rotated, RotateError>>,
}

/// How many rotations may wait; further ones wait for room.
const ORDERS_LIMIT: usize = 4;

impl Rotator {
    /// As [`Transport::rotate`]. One that finds others waiting comes after them.
    ///
    /// # Errors
    ///
    /// [`RotateError`]; [`RotateError::Closed`] when the transport has.
    ///
    /// # Cancel safety
    ///
    /// Not safe: the rotation may or may not take place when the future is dropped.
    pub async fn rotate(&self, credentials: Credentials) -> Result<Rotated, RotateError> {
        let (done, outcome) = oneshot::channel();
        let order = Order { credentials, done };
        self.0.send(order).await.map_err(|_| RotateError::Closed)?;
        outcome.await.map_err(|_| RotateError::Closed)?
    }
}

impl fmt::Debug for Rotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotator")
    }
}

impl Transport {
    /// Goes on with other credentials: certificate, key, roots and what is revoked.
    ///
    /// Connections made from now on, in both directions, use the new ones. Those there are go on,
    /// except those whose peer would not be trusted now: because its authority is none of the roots
    /// any more, because it is revoked, or because its certificate has expired. They are closed
    /// with that as the reason; the session goes on, with nothing lost, if the peer comes back with
    /// a certificate that is trusted.
    ///
    /// To change the authority, rotate every node three times: to roots that hold both authorities,
    /// then to certificates of the new one, then to roots without the old one.
    ///
    /// # Errors
    ///
    /// [`RotateError`]; nothing has changed then.
    pub fn rotate(&self, credentials: Credentials) -> Result<Rotated, RotateError> {
        let node = &self.0.local.name;
        credentials.check()?;
        if !credentials.allows(node) {
            let value = node.to_string();
            return Err(RotateError::Name(ConfigError { field: "node", value, rule: OWN_NAME }));
        }
        let expires = credentials.expires();
        warn_of_expiry(node, &credentials);
        let fingerprint = credentials.fingerprint();
        let server = {
            let mut proof = self.0.proof.borrow_mut();
            proof.rotate(credentials);
            proof.server()
        };
        self.0.endpoint.set_server_config(Some(server));
        let cut = self.cut_distrusted();
        tracing::info!(node = %self.0.local, %fingerprint, cut = cut.len(), "credentials rotated");
        self.record(format_args!("credentials rotated, {} cut", cut.len()));
        // Who was refused until now may be welcome.
        self.0.changed.notify_waiters();
        Ok(Rotated { expires, cut })
    }

    /// Reads the files as they are now, and [rotates](Self::rotate) to what they hold. Blocks while
    /// it reads. Files are not watched: call it when they have changed, or every so often.
    ///
    /// # Errors
    ///
    /// [`RotateError`], which names the file; nothing has changed then.
    pub fn rotate_from_files(&self, files: &CredentialFiles) -> Result<Rotated, RotateError> {
        self.rotate(files.load()?)
    }

    /// What the node proves itself with now.
    pub fn credentials(&self) -> Credentials {
        self.0.proof.borrow().credentials.clone()
    }

    /// A handle to rotate the credentials from any thread. It serves while the transport is open.
    pub fn rotator(&self) -> Rotator {
        let (orders, mut waiting) = mpsc::channel::<Order>(ORDERS_LIMIT);
        let transport = self.clone();
        self.spawn(async move {
            while let Some(Order { credentials, done }) = waiting.recv().await {
                // Whoever asked may have gone.
                let _ = done.send(transport.rotate(credentials));
            }
        });
        Rotator(orders)
    }

    /// When the certificate of the peer at the other end of a connection expires; `None` if none
    /// is connected under this name.
    pub fn peer_expiry(&self, name: &NodeName) -> Option<SystemTime> {
        self.0.peers.borrow().get(name)?.peer.link()?.expires
    }

    /// When the certificates of this node and of its peers expire. As long as there are connected
    /// peers.
    pub fn certificates(&self) -> CertificateStatus {
        let names = self.0.peers.borrow().names();
        let peers = names.into_iter().filter_map(|name| {
            let expires = self.peer_expiry(&name)?;
            Some((name, expires))
        });
        let own_expires = self.0.proof.borrow().expires();
        CertificateStatus { own_expires, peers: peers.collect() }
    }

    /// Whether the peer of a connection is trusted by the credentials of now.
    pub(super) fn judge(&self, connection: &quinn::Connection) -> Result<(), TlsFailure> {
        let end = match connection.side() {
            quinn::Side::Client => End::Server,
            quinn::Side::Server => End::Client,
        };
        let certificates = connection.peer_identity().unwrap_or_else(|| Box::new(()));
        self.0.proof.borrow().credentials.judge(&*certificates, end)
    }

    fn cut_distrusted(&self) -> Vec<PeerId> {
        let mut cut = Vec::new();
        for entry in self.0.peers.borrow().values() {
            let (Some(link), Some(session)) = (entry.peer.link(), entry.peer.session()) else {
                continue;
            };
            let Err(failure) = self.judge(&link.connection) else { continue };
            let (node, peer) = (&self.0.local, session.peer());
            tracing::warn!(%node, %peer, remedy = %failure, "link cut: its peer is trusted no longer");
            link.end(DISTRUSTED, failure.reason.told().as_bytes());
            cut.push(peer.clone());
        }
        cut
    }
}

/// How soon a certificate's end is worth a warning.
const WARNINGS: [(u64, &str); 3] = [(1, "a day"), (7, "7 days"), (30, "30 days")];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Within which time the certificate expires, if that is soon; `Err` if it has.
fn soon(expires: SystemTime, now: SystemTime) -> Result<Option<&'static str>, ()> {
    let left = expires.duration_since(now).map_err(|_| ())?;
    let within = |(days, _): &&(u64, &str)| left.as_secs() < days * DAY.as_secs();
    Ok(WARNINGS.iter().find(within).map(|(_, text)| *text))
}

/// Tells the log if the node's own certificate needs to be renewed.
pub(super) fn warn_of_expiry(node: &NodeName, credentials: &Credentials) {
    let now = UNIX_EPOCH + Duration::from_secs(UnixTime::now().as_secs());
    let remedy = "issue a new certificate and rotate to it";
    let left = credentials.expires().duration_since(now).unwrap_or_default();
    let days = left.as_secs() / DAY.as_secs();
    match soon(credentials.expires(), now) {
        Ok(None) => {}
        Ok(Some(within)) => {
            tracing::warn!(%node, within, days, remedy, "the certificate expires soon");
        }
        Err(()) => tracing::warn!(%node, remedy, "the certificate has expired"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_a_month_a_week_and_a_day_before() {
        let now = UNIX_EPOCH + 20_000 * DAY;
        let second = Duration::from_secs(1);
        for (left, told) in [
            (30 * DAY, None),
            (30 * DAY - second, Some("30 days")),
            (7 * DAY, Some("30 days")),
            (7 * DAY - second, Some("7 days")),
            (DAY, Some("7 days")),
            (DAY - second, Some("a day")),
            (Duration::ZERO, Some("a day")),
        ] {
            assert_eq!(soon(now + left, now), Ok(told), "{left:?}");
        }
        assert_eq!(soon(now - second, now), Err(()));
    }
}
