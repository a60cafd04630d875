//! How a node takes part in a cluster: its settings, and the rules they keep.
//!
//! Invariant: a development authority vouches for loopback addresses only, and nothing read from
//! the environment leads to one. What [`ClusterConfig::validate`] lets through keeps every rule.
//! Knows no socket, session or view: it opens nothing but the files it is pointed to.

mod environment;
mod rejoin;

use std::{
    env,
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::Path,
    sync::Arc,
    time::Duration,
};

use actix_cluster_transport::{
    ClusterName, ConfigError, Credentials, NodeName, QuicConfig, TransportConfig,
    development::{Authority, DevelopmentError},
    identity::NameError,
    socket::{Network, Udp},
    tls::CredentialsError,
};

pub use self::rejoin::Rejoin;
use super::{
    discovery::{Discovery, SEEDS_LIMIT},
    membership::{BrokenProfile, LABEL_RULE, Profile},
};

/// How a node takes part in a cluster.
///
/// Made for production by [`from_env`](Self::from_env) or [`new`](Self::new), and for development
/// by [`dev`](Self::dev) or [`dev_in`](Self::dev_in); the setters change the rest. All rules are
/// checked when the node starts.
///
/// A clone is the same configuration. Nodes of one process that share a development authority
/// each start with a clone.
///
/// # Examples
///
/// Nodes of one process, the later ones by way of the first:
///
/// ```
/// use std::net::SocketAddr;
///
/// use actix_cluster::ClusterConfig;
///
/// let first = ClusterConfig::dev("shop")?.bind("127.0.0.1:7461".parse()?);
/// let seed: SocketAddr = "127.0.0.1:7461".parse()?;
/// let others = first.clone().bind("127.0.0.1:0".parse()?).seed(seed);
/// # let _ = others;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until a node starts with it"]
pub struct ClusterConfig {
    cluster: ClusterName,
    identity: Identity,
    node: Option<NodeName>,
    bind: SocketAddr,
    advertise: Option<SocketAddr>,
    seeds: Vec<SocketAddr>,
    sources: Vec<Arc<dyn Discovery>>,
    roles: Vec<Arc<str>>,
    zone: Option<Arc<str>>,
    weight: u32,
    join_timeout: Duration,
    rejoin: Rejoin,
    quic: QuicConfig,
    network: Arc<dyn Network>,
}

/// Where a node's credentials come from.
#[derive(Clone, Debug)]
enum Identity {
    /// Issued at the start for whatever name the node has; loopback only.
    Development(Authority),
    Given(Credentials),
}

impl ClusterConfig {
    /// A development cluster within this process: with a certificate authority of its own, which
    /// clones of the configuration share.
    ///
    /// Two calls make two authorities, and their nodes refuse each other. Processes of one host
    /// share one by [`dev_in`](Self::dev_in). Binds a free port of 127.0.0.1 unless told
    /// otherwise, and takes loopback addresses only.
    ///
    /// # Errors
    ///
    /// [`ClusterConfigError::Name`], when the cluster's name breaks a rule.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::ClusterConfig;
    ///
    /// assert!(ClusterConfig::dev("shop").is_ok());
    /// assert!(ClusterConfig::dev("not a name").is_err());
    /// ```
    pub fn dev(cluster: &str) -> Result<Self, ClusterConfigError> {
        let cluster = ClusterName::new(cluster).map_err(ClusterConfigError::Name)?;
        Ok(Self::assemble(cluster, Identity::Development(Authority::new()), DEVELOPMENT_BIND))
    }

    /// A development cluster of one user's processes on this host: as [`dev`](Self::dev), with the
    /// authority kept in `directory`. Blocks.
    ///
    /// The directory is made with mode 0700 at the first call. Whoever may read it can become any
    /// node.
    ///
    /// # Errors
    ///
    /// [`ClusterConfigError::Name`], and [`ClusterConfigError::Development`] when the directory
    /// cannot be used, among others because other users may read it.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::ClusterConfig;
    ///
    /// # let directory = std::env::temp_dir().join(format!("dev-in-{}", std::process::id()));
    /// let one = ClusterConfig::dev_in("shop", &directory)?;
    /// let another = ClusterConfig::dev_in("shop", &directory)?; // as in another process
    /// # let _ = (one, another);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dev_in(cluster: &str, directory: impl AsRef<Path>) -> Result<Self, ClusterConfigError> {
        let cluster = ClusterName::new(cluster).map_err(ClusterConfigError::Name)?;
        let authority =
            Authority::from_directory(directory).map_err(ClusterConfigError::Development)?;
        Ok(Self::assemble(cluster, Identity::Development(authority), DEVELOPMENT_BIND))
    }

    /// A production cluster, with credentials that are valid for the node's name.
    ///
    /// Binds UDP port 7461 of all IPv4 addresses unless told otherwise.
    ///
    /// # Errors
    ///
    /// [`ClusterConfigError::Name`], when the cluster's name breaks a rule.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use actix_cluster::ClusterConfig;
    /// use actix_cluster_transport::Credentials;
    ///
    /// let credentials = Credentials::from_files("node.pem", "node-key.pem", "roots.pem")?;
    /// let config = ClusterConfig::new("shop", credentials)?
    ///     .bind("10.0.0.7:7461".parse()?)
    ///     .seeds(["10.0.0.5:7461".parse()?, "10.0.0.6:7461".parse()?]);
    /// # let _ = config;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(cluster: &str, credentials: Credentials) -> Result<Self, ClusterConfigError> {
        let cluster = ClusterName::new(cluster).map_err(ClusterConfigError::Name)?;
        Ok(Self::assemble(cluster, Identity::Given(credentials), PRODUCTION_BIND))
    }

    /// A production cluster as the environment describes it. Reads PEM files, and so blocks.
    ///
    /// | variable | holds |
    /// |---|---|
    /// | `ACTIX_CLUSTER_NAME` | the cluster's name |
    /// | `ACTIX_CLUSTER_NODE` | this node's name, which its certificate allows |
    /// | `ACTIX_CLUSTER_BIND` | the UDP address to bind, as ip:port |
    /// | `ACTIX_CLUSTER_ADVERTISE` | optional: see [`advertise`](Self::advertise) |
    /// | `ACTIX_CLUSTER_SEEDS` | ip:port, separated by commas; set and empty on a first node |
    /// | `ACTIX_CLUSTER_SEEDS_DNS` | in place of seeds, or beside them: host:port, see [`DnsName`] |
    /// | `ACTIX_CLUSTER_SEEDS_SRV` | in place of seeds, or beside them: a service's name, with the feature `dns-srv` |
    /// | `ACTIX_CLUSTER_SEEDS_FILE` | in place of seeds, or beside them: see [`AddressFile`] |
    /// | `ACTIX_CLUSTER_CERTIFICATE` | the path of the certificate chain, as PEM |
    /// | `ACTIX_CLUSTER_KEY` | the path of the private key, as PEM |
    /// | `ACTIX_CLUSTER_ROOTS` | the path of the trusted roots, as PEM |
    /// | `ACTIX_CLUSTER_REVOKED` | optional: the path of revocation lists, as PEM |
    /// | `ACTIX_CLUSTER_ROLES` | optional, separated by commas: see [`roles`](Self::roles) |
    /// | `ACTIX_CLUSTER_ZONE` | optional: see [`zone`](Self::zone) |
    /// | `ACTIX_CLUSTER_WEIGHT` | optional: see [`weight`](Self::weight) |
    ///
    /// [`DnsName`]: crate::discovery::DnsName
    /// [`AddressFile`]: crate::discovery::AddressFile
    ///
    /// A variable that is empty counts as missing, but for the seeds. No value leads to a
    /// development authority.
    ///
    /// # Errors
    ///
    /// [`ClusterConfigError::Missing`] with all that is missing,
    /// [`ClusterConfigError::Setting`] and [`ClusterConfigError::Name`] for a value that breaks its
    /// rule, and [`ClusterConfigError::Credentials`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use actix_cluster::ClusterConfig;
    ///
    /// let config = ClusterConfig::from_env()?;
    /// # let _ = config;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_env() -> Result<Self, ClusterConfigError> {
        // What is not Unicode keeps no rule of a name or address, and is no file's path.
        environment::read(|name| env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    fn assemble(cluster: ClusterName, identity: Identity, bind: SocketAddr) -> Self {
        Self {
            cluster,
            identity,
            node: None,
            bind,
            advertise: None,
            seeds: Vec::new(),
            sources: Vec::new(),
            roles: Vec::new(),
            zone: None,
            weight: 1,
            join_timeout: Duration::from_secs(30),
            rejoin: Rejoin::default(),
            quic: QuicConfig::default(),
            network: Arc::new(Udp),
        }
    }

    /// The UDP address to bind. Port 0 picks a free one.
    ///
    /// Default: 127.0.0.1:0 for development, and 0.0.0.0:7461 for production.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// The address under which peers reach this node, when it is not the bound one: behind a
    /// translated port. It has an ip and a port, and is needed when all addresses of a host are bound.
    pub fn advertise(mut self, addr: SocketAddr) -> Self {
        self.advertise = Some(addr);
        self
    }

    /// Adds the address of a node by way of which this one joins; 64 at most.
    ///
    /// One that answers is enough; give two or three that seldom change. Without any, the node
    /// founds the cluster.
    pub fn seed(mut self, addr: SocketAddr) -> Self {
        self.seeds.push(addr);
        self
    }

    /// Adds several seeds, as [`seed`](Self::seed) does.
    pub fn seeds(mut self, addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.seeds.extend(addrs);
        self
    }

    /// Adds a source of seeds beside those that are given by address; 8 at most. It is looked up
    /// until the node has joined, and then every 10 s, so that clusters that were founded apart, by
    /// nodes that did not reach each other, become one.
    ///
    /// A node with a source waits to be found or to find somebody, and founds the cluster only if it
    /// is itself at the first of all addresses, fixed ones before others: under the address that
    /// others [reach](Self::advertise) it at.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::{ClusterConfig, discovery::DnsName};
    ///
    /// let config = ClusterConfig::dev("shop")?.discover(DnsName::new("localhost", 7461));
    /// # let _ = config;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn discover(mut self, source: impl Discovery) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Adds to what the node is there for, such as `api` or `worker`: at most 32 roles of 1 to 64
    /// letters, digits, dots, hyphens and underscores. None by default.
    ///
    /// All members see it, by [`Member::profile`](crate::Member::profile).
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::ClusterConfig;
    ///
    /// let config = ClusterConfig::dev("shop")?.roles(["api", "worker"]).zone("eu-central-1a");
    /// # let _ = config;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn roles<'a>(mut self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        self.roles.extend(roles.into_iter().map(Arc::from));
        self.roles.sort_unstable();
        self.roles.dedup();
        self
    }

    /// Where the node runs: what fails together, such as a data centre or a rack. It is named by the
    /// same rule as a [role](Self::roles). None by default.
    pub fn zone(mut self, zone: &str) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// The node's share of the entities relative to other nodes' weights, 0 to 1,000. Default 1.
    ///
    /// With 0 it sends to entities and owns none. Weights are dealt out most evenly, and with the
    /// fewest moves, while they are small: 1 and 3 rather than 100 and 300.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// How long the node tries to join before its start fails, 1 s to 1 h. Default 30 s.
    ///
    /// Too short, and nodes that start together give up on each other; too long, and a wrong seed
    /// is noticed late.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// What the node does once the others have declared it down. Default: [`Rejoin::default`].
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::{ClusterConfig, Rejoin};
    ///
    /// // Whoever runs the process starts it anew.
    /// let config = ClusterConfig::dev("shop")?.rejoin(Rejoin::never());
    /// # let _ = config;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rejoin(mut self, rejoin: Rejoin) -> Self {
        self.rejoin = rejoin;
        self
    }

    /// How QUIC is set up. Default: [`QuicConfig::data_center`]. It may differ from node to node.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::{ClusterConfig, transport::QuicConfig};
    ///
    /// // Nodes of several regions.
    /// let config = ClusterConfig::dev("shop")?.quic(QuicConfig::wide_area());
    /// # let _ = config;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quic(mut self, quic: QuicConfig) -> Self {
        self.quic = quic;
        self
    }

    /// Where packets go. Default: UDP of the operating system.
    pub fn network(mut self, network: impl Network) -> Self {
        self.network = Arc::new(network);
        self
    }

    /// The node's name, when the environment gave one.
    pub(crate) fn node_name(&self) -> Option<&str> {
        self.node.as_ref().map(NodeName::as_str)
    }

    /// Checks every rule for a node of this name, and issues its credentials in development.
    pub(crate) fn validate(
        &self,
        node: &str,
        lanes: NonZeroU16,
    ) -> Result<Validated, ClusterConfigError> {
        let node = NodeName::new(node).map_err(ClusterConfigError::Name)?;
        let is_dev = matches!(self.identity, Identity::Development(_));
        self.check_addrs(is_dev)?;
        let profile = self.profile();
        check_profile(&profile)?;
        check(
            "join_timeout",
            JOIN_TIMEOUTS.contains(&self.join_timeout),
            &self.join_timeout,
            "1 s to 1 h",
        )?;
        let limit = self.rejoin.limit;
        check("rejoin.limit", limit <= rejoin::LIMIT, &limit, "at most 1000")?;
        let credentials = match &self.identity {
            Identity::Development(authority) => authority.issue(&node),
            Identity::Given(credentials) => credentials.clone(),
        };
        let mut transport =
            TransportConfig::new(self.cluster.clone(), node, credentials, self.bind);
        transport.lanes = lanes;
        transport.quic = self.quic.clone();
        transport.validate().map_err(ClusterConfigError::Transport)?;
        Ok(Validated {
            transport,
            advertise: self.advertise,
            seeds: self.seeds.clone(),
            sources: self.sources.clone(),
            profile,
            join_timeout: self.join_timeout,
            rejoin: self.rejoin.clone(),
            network: self.network.clone(),
            is_dev,
        })
    }

    /// What the node says of itself. What it says at the handshake is not known yet.
    fn profile(&self) -> Profile {
        Profile {
            version: 1,
            roles: self.roles.clone(),
            zone: self.zone.clone(),
            weight: self.weight,
            release: env!("CARGO_PKG_VERSION").into(),
            manifest_hash: 0,
            is_draining: false,
        }
    }

    fn check_addrs(&self, is_dev: bool) -> Result<(), ClusterConfigError> {
        let count = self.seeds.len();
        check("seeds", count <= SEEDS_LIMIT, &format_args!("{count} addresses"), "at most 64")?;
        let count = self.sources.len();
        check("discover", count <= SOURCES_LIMIT, &format_args!("{count} sources"), "at most 8")?;
        let named = |field| move |addr: &SocketAddr| (field, *addr);
        let seeds = self.seeds.iter().map(named("seed"));
        for (field, addr) in self.advertise.iter().map(named("advertise")).chain(seeds) {
            let reachable = addr.port() != 0 && !addr.ip().to_canonical().is_unspecified();
            check(field, reachable, &addr, "an ip that is not 0.0.0.0 or ::, and a port")?;
            let allowed = !is_dev || is_loopback(addr);
            check(field, allowed, &addr, LOOPBACK_RULE)?;
        }
        check("bind", !is_dev || is_loopback(self.bind), &self.bind, LOOPBACK_RULE)?;
        let found = self.advertise.is_some() || !self.bind.ip().to_canonical().is_unspecified();
        check("advertise", found, &self.advertise, ADVERTISE_RULE)
    }
}

const ADVERTISE_RULE: &str =
    "the address at which others reach this node, since it binds all addresses of its host";

const DEVELOPMENT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PRODUCTION_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7461);

/// The most sources of seeds: they are looked up one after the other.
const SOURCES_LIMIT: usize = 8;
const ROLES_RULE: &str = "at most 32";
const WEIGHT_RULE: &str = "a whole number from 0 to 1000";
const JOIN_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
const LOOPBACK_RULE: &str =
    "a loopback address in development; across hosts use ClusterConfig::new or from_env";

fn check_profile(profile: &Profile) -> Result<(), ClusterConfigError> {
    let Err(broken) = profile.check() else { return Ok(()) };
    match broken {
        BrokenProfile::TooManyRoles(count) => {
            check("roles", false, &format_args!("{count} roles"), ROLES_RULE)
        }
        BrokenProfile::Role(role) => check("role", false, &role, LABEL_RULE),
        BrokenProfile::Zone(zone) => check("zone", false, &zone, LABEL_RULE),
        BrokenProfile::Weight(weight) => check("weight", false, &weight, WEIGHT_RULE),
        BrokenProfile::Release(release) => check("release", false, &release, LABEL_RULE),
    }
}

fn is_loopback(addr: SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback()
}

fn check(
    field: &'static str,
    holds: bool,
    value: &dyn fmt::Debug,
    rule: &'static str,
) -> Result<(), ClusterConfigError> {
    if holds {
        return Ok(());
    }
    Err(ClusterConfigError::Setting { field, value: format!("{value:?}"), rule })
}

/// A configuration that keeps every rule, for one node.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(crate) transport: TransportConfig,
    /// Where peers reach the node; the bound address if `None`.
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) seeds: Vec<SocketAddr>,
    pub(crate) sources: Vec<Arc<dyn Discovery>>,
    /// What the node says of itself.
    pub(crate) profile: Profile,
    pub(crate) join_timeout: Duration,
    pub(crate) rejoin: Rejoin,
    pub(crate) network: Arc<dyn Network>,
    /// Whether a development authority vouches for the node, which is worth a warning.
    pub(crate) is_dev: bool,
}

/// Why a cluster configuration cannot be used. Nothing has been started.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterConfigError {
    /// The environment lacks variables; set them all.
    Missing {
        /// Their names.
        variables: Vec<&'static str>,
    },
    /// A setting, or a variable of the environment, breaks its rule.
    Setting {
        /// Its name.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What it has to be.
        rule: &'static str,
    },
    /// The cluster's or the node's name breaks a rule.
    Name(NameError),
    /// The certificate, the key or the roots cannot be used.
    Credentials(CredentialsError),
    /// The directory holds no development authority that can be used.
    Development(DevelopmentError),
    /// The transport refuses a setting; above all, a certificate not issued for the node's name.
    Transport(ConfigError),
}

impl fmt::Display for ClusterConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { variables } => {
                write!(f, "missing in the environment, set all of: {}", variables.join(", "))
            }
            Self::Setting { field, value, rule } => {
                write!(f, "{field} is {value}, and has to be {rule}")
            }
            Self::Name(_) => f.write_str("a name in the cluster configuration breaks a rule"),
            Self::Credentials(_) => f.write_str("the node's credentials cannot be used"),
            Self::Development(_) => f.write_str("there is no development authority to use"),
            Self::Transport(_) => f.write_str("the transport refuses a setting"),
        }
    }
}

impl Error for ClusterConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Missing { .. } | Self::Setting { .. } => None,
            Self::Name(source) => Some(source),
            Self::Credentials(source) => Some(source),
            Self::Development(source) => Some(source),
            Self::Transport(source) => Some(source),
        }
    }
}

#[cfg(test)]
mod tests;
