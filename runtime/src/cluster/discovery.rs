//! Finding the nodes by way of which a node joins.
//!
//! A source is looked up again and again, before a node has joined and after: names come to stand
//! for other addresses, and two clusters that were founded apart become one. Order counts: the node
//! at the first address is the one to found the cluster.
//! Invariant: a look-up that fails or hangs holds up nobody; what the source said last still holds.
//! Knows no node: what is at an address is found out by asking.

mod seeds;
#[cfg(feature = "dns-srv")]
mod srv;

use std::{
    fmt,
    fs::File,
    future::Future,
    io::{self, Read as _},
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::oneshot;

pub(crate) use self::seeds::{SEEDS_LIMIT, Seeds};
#[cfg(feature = "dns-srv")]
pub use self::srv::DnsService;
#[cfg(feature = "dns-srv")]
pub(crate) use self::srv::is_name;

/// Where the addresses of nodes are looked up: see [`ClusterConfig::discover`].
///
/// [`DnsName`] and [`AddressFile`] are two of them, and `DnsService` of the feature `dns-srv`; a service
/// registry may be another.
///
/// [`ClusterConfig::discover`]: crate::ClusterConfig::discover
///
/// # Examples
///
/// ```
/// use std::{future::ready, net::SocketAddr};
///
/// use actix_cluster::discovery::{Discovery, LookUp};
///
/// /// Nodes that an operator has told this process of.
/// #[derive(Debug)]
/// struct Told(Vec<SocketAddr>);
///
/// impl Discovery for Told {
///     fn look_up(&self) -> LookUp {
///         Box::pin(ready(Ok(self.0.clone())))
///     }
/// }
/// ```
pub trait Discovery: fmt::Debug + Send + Sync + 'static {
    /// Looks the addresses up as they are now; no earlier result may be kept for long.
    ///
    /// All nodes should come to the same order, for the node at the first address founds the cluster
    /// when no other answers. Where they do not, and two are founded, they become one as soon as a
    /// node of one finds one of the other. Of all addresses the first 64 count.
    ///
    /// It is called on the cluster's thread, which must not be blocked. The future is dropped after
    /// 2 s; then, and after an error, what was found last counts.
    ///
    /// # Errors
    ///
    /// Whatever keeps the source from answering. It is logged, and tried again.
    fn look_up(&self) -> LookUp;
}

/// The end of a [`Discovery::look_up`].
pub type LookUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The addresses of a host name: its A and AAAA records, as the system's resolver gives them, in
/// order. All nodes listen on one port; where each has its own, `DnsService` finds it.
///
/// In Kubernetes the name is a headless service's, with `publishNotReadyAddresses: true`, so that
/// nodes find each other before they are ready.
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
#[derive(Debug)]
pub struct DnsName {
    host: Arc<str>,
    port: u16,
    thread: BlockingThread,
}

impl DnsName {
    /// A host name, and the port of the nodes behind it.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port, thread: BlockingThread::default() }
    }
}

impl Discovery for DnsName {
    fn look_up(&self) -> LookUp {
        let (host, port) = (Arc::clone(&self.host), self.port);
        self.thread.run("actix-cluster-dns", move || {
            let mut addrs: Vec<_> = (&*host, port).to_socket_addrs()?.collect();
            addrs.sort_unstable();
            addrs.dedup();
            Ok(addrs)
        })
    }
}

/// The addresses in a file, one to a line as ip:port, in that order; empty lines, and what follows a
/// `#`, do not count. It has at most 64 KiB. Whoever changes it should put another file in its place, so that none is read
/// half written.
///
/// # Examples
///
/// ```
/// use actix_cluster::{ClusterConfig, discovery::AddressFile};
///
/// let config = ClusterConfig::dev("shop")?.discover(AddressFile::new("/etc/shop/nodes"));
/// # let _ = config;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AddressFile {
    path: PathBuf,
    thread: BlockingThread,
}

impl AddressFile {
    /// The file at this path. It is not read yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_path_buf(), thread: BlockingThread::default() }
    }
}

impl Discovery for AddressFile {
    fn look_up(&self) -> LookUp {
        let path = self.path.clone();
        self.thread.run("actix-cluster-file", move || addresses(&text_of(&path)?))
    }
}

/// How long a file of addresses may be, in bytes.
const FILE_LIMIT: u64 = 64 * 1024;

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(FILE_LIMIT + 1).read_to_string(&mut text)?;
    if length as u64 > FILE_LIMIT {
        let error = format!("{} has more than {FILE_LIMIT} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(text)
}

fn addresses(text: &str) -> io::Result<Vec<SocketAddr>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let addrs = lines.zip(1..).filter(|(line, _)| !line.is_empty());
    let parsed = addrs.map(|(line, number)| {
        let broken = |_| {
            let text = format!("line {number} is {line:?}, and has to be an ip:port");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        line.parse().map_err(broken)
    });
    parsed.collect()
}

/// A thread for what would block the cluster's, as a resolver of the system that hangs: at most one at
/// a time. It ends with its work, and nobody waits for it.
#[derive(Clone, Debug, Default)]
struct BlockingThread(Arc<AtomicBool>);

/// Gives the thread's place back, also if its work panics.
struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl BlockingThread {
    fn run(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> LookUp {
        if self.0.swap(true, Ordering::AcqRel) {
            let error = io::Error::new(io::ErrorKind::WouldBlock, "the last look-up still hangs");
            return Box::pin(std::future::ready(Err(error)));
        }
        let place = Place(Arc::clone(&self.0));
        let (found, answer) = oneshot::channel();
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let place = place;
            let outcome = work();
            // First of all: whoever hears of the end may look up again at once.
            drop(place);
            let _nobody_may_wait = found.send(outcome);
        });
        Box::pin(async move {
            spawned?;
            let ended = |_| io::Error::other("the look-up panicked");
            answer.await.map_err(ended)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_file_holds_addresses_and_remarks() {
        let text = "10.0.0.1:1 # the first\n\n  # nobody\n[::1]:2\n";
        assert_eq!(
            addresses(text).expect("it is well formed"),
            [addr("10.0.0.1:1"), addr("[::1]:2")]
        );
        let error = addresses("10.0.0.1:1\nhost:2").expect_err("that is no address");
        assert_eq!(error.to_string(), "line 2 is \"host:2\", and has to be an ip:port");
    }

    #[tokio::test]
    async fn a_file_is_read_again_each_time() {
        let path = std::env::temp_dir().join(format!("actix-cluster-nodes-{}", std::process::id()));
        let file = AddressFile::new(&path);
        assert_eq!(file.look_up().await.expect_err("none").kind(), io::ErrorKind::NotFound);
        for port in [1, 2] {
            std::fs::write(&path, format!("10.0.0.1:{port}")).expect("written");
            assert_eq!(
                file.look_up().await.expect("it is there"),
                [SocketAddr::from(([10, 0, 0, 1], port))]
            );
        }
        std::fs::write(&path, "#".repeat(FILE_LIMIT as usize)).expect("written");
        assert_eq!(file.look_up().await.expect("just so long"), []);
        std::fs::write(&path, "#".repeat(FILE_LIMIT as usize + 1)).expect("written");
        let error = file.look_up().await.expect_err("too long");
        assert!(error.to_string().ends_with("has more than 65536 bytes"), "{error}");
        std::fs::remove_file(path).expect("it was there");
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found = DnsName::new("127.0.0.1", 7).look_up().await.expect("an address is a name");
        assert_eq!(found, [addr("127.0.0.1:7")]);
        assert!(DnsName::new("no host\0", 7).look_up().await.is_err());
    }

    #[tokio::test]
    async fn one_look_up_that_hangs_is_all_that_hangs() {
        let thread = BlockingThread::default();
        let (go_on, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let hanging = thread.run("hanging", move || {
            let _ = wait.recv();
            Ok(Vec::new())
        });
        let second = thread.run("second", || Ok(Vec::new())).await.expect_err("one at a time");
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        let third = thread.run("third", || Ok(Vec::new())).await.expect_err("still");
        assert_eq!(third.kind(), io::ErrorKind::WouldBlock);
        drop(go_on);
        hanging.await.expect("it ends");
        for _ in 0..50 {
            let panicking = thread.run("panicking", || panic!("on purpose"));
            let error = panicking.await.expect_err("it panicked");
            assert_eq!(error.kind(), io::ErrorKind::Other, "the place is free at once");
            thread.run("quick", || Ok(Vec::new())).await.expect("the place is free at once");
        }
    }
}
