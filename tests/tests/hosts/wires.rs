//! Hosts of their own: network namespaces, each on a wire of its own to a router, which can cut any wire in
//! either direction.
//!
//! A cut has to be silent, as it is in a network: the sender must not be told. A link that is set down, or a
//! filter in the host's own namespace, is told to its sockets at once. A router that routes into a black hole
//! drops what it has and says nothing, needs `ip` alone, and knows the two directions apart, which a
//! bridge does not without further tools. So there is a router here, and no bridge.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

/// What all namespaces of these tests are named by, before the id of the process that made them.
const PREFIX: &str = "actix-cluster-";

/// Which packets of a host a cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Those that it sends.
    From,
    /// Those that are sent to it.
    To,
}

/// Namespaces that are deleted when this is dropped, with all that is in them.
#[derive(Debug)]
pub(crate) struct Wires {
    name: String,
    hosts: u8,
}

impl Wires {
    /// So many hosts, numbered from 1, that reach each other. Where the machine does not allow that, it
    /// says so and why, and there are none.
    ///
    /// # Panics
    ///
    /// Where one host can be had, and the others can't.
    pub(crate) fn new(hosts: u8) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let wires = Self { name: format!("{PREFIX}{}-{number}", std::process::id()), hosts };
        if let Err(reason) = wires.lay_first() {
            skip(&reason);
            return None;
        }
        for host in 2..=hosts {
            wires.lay(host).expect("it is as the first one");
        }
        Some(wires)
    }

    /// The router and one host, with all that these tests need of the machine.
    fn lay_first(&self) -> Result<(), String> {
        sweep()?;
        // One that was killed may have had this process's id.
        self.remove();
        let router = self.router();
        ip(&format!("netns add {router}"))?;
        // A namespace has its own, and the process that it is read by is in it.
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(Command::new("ip").args(["netns", "exec", &router, "sh", "-c", forward]))?;
        self.lay(1)?;
        for way in [Way::From, Way::To] {
            self.rule("add", 1, way)?;
            self.rule("del", 1, way)?;
        }
        Ok(())
    }

    fn lay(&self, host: u8) -> Result<(), String> {
        let (router, namespace) = (self.router(), self.host(host));
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("-n {router} link add h{host} type veth peer name eth0 netns {namespace}"))?;
        ip(&format!("-n {router} addr add 10.77.{host}.1/24 dev h{host}"))?;
        ip(&format!("-n {router} link set h{host} up"))?;
        ip(&format!("-n {namespace} link set lo up"))?;
        ip(&format!("-n {namespace} addr add 10.77.{host}.2/24 dev eth0"))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        ip(&format!("-n {namespace} route add default via 10.77.{host}.1"))
    }

    /// The words that run a program on a host.
    pub(crate) fn launcher(&self, host: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.host(host)].map(str::to_owned).to_vec()
    }

    /// Drops the packets of a host that go one way, until it is mended.
    pub(crate) fn cut(&self, host: u8, way: Way) {
        self.rule("add", host, way).expect("the router takes a rule");
    }

    /// Undoes a cut.
    pub(crate) fn mend(&self, host: u8, way: Way) {
        self.rule("del", host, way).expect("the router has the rule");
    }

    fn rule(&self, verb: &str, host: u8, way: Way) -> Result<(), String> {
        let packets = match way {
            Way::From => format!("iif h{host}"),
            Way::To => format!("to 10.77.{host}.2"),
        };
        ip(&format!("-n {} rule {verb} {packets} blackhole", self.router()))
    }

    /// Removes all namespaces that there are.
    fn remove(&self) {
        for namespace in (1..=self.hosts).map(|host| self.host(host)).chain([self.router()]) {
            let _ = ip(&format!("netns del {namespace}"));
        }
    }

    fn router(&self) -> String {
        format!("{}-router", self.name)
    }

    fn host(&self, host: u8) -> String {
        format!("{}-h{host}", self.name)
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where the node of a host is bound.
pub(crate) fn addr(host: u8) -> SocketAddr {
    ([10, 77, host, 2], 7461).into()
}

/// Removes what runs left behind that were killed.
fn sweep() -> Result<(), String> {
    let listed = run(Command::new("ip").args(["netns", "list"]))?;
    for namespace in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        let Some((process, _)) = namespace.strip_prefix(PREFIX).and_then(|n| n.split_once('-'))
        else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            // Another run may sweep as well.
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
    Ok(())
}

fn ip(words: &str) -> Result<(), String> {
    run(Command::new("ip").args(words.split(' '))).map(drop)
}

/// What a command prints, or what it was and why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Past what keeps back the output of tests that pass.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: no network namespaces here: {reason}");
}
