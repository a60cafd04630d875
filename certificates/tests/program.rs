//! The program from end to end: what it makes connects two transports, and what it revokes does not.

use std::{
    cell::{Cell, RefCell},
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use actix_cluster_transport::{
    Bound, Clock, ClusterName, ConnectError, CredentialFiles, Credentials, Events, Frames,
    NodeName, PeerId, Random, Refusal, Session, Transport, TransportConfig, Unsettled,
    simulation::SimulatedNetwork,
    tls::{Refuser, TlsReason},
};
use bytes::Bytes;
use serde_json::Value;
use tokio::task::LocalSet;

/// A directory that is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("actix-cluster-certificates-{id}-{number}"));
        fs::create_dir(&path).expect("created");
        Self(path)
    }

    fn try_run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_certificates"))
            .current_dir(&self.0)
            .args(arguments.split_whitespace())
            .output()
            .expect("started")
    }

    fn run(&self, arguments: &str) -> String {
        let output = self.try_run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {stderr}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{arguments} --json"))).expect("JSON")
    }

    /// What a refused call says.
    fn refused(&self, arguments: &str) -> String {
        let output = self.try_run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).expect("text")
    }

    fn files(&self, node: &str) -> CredentialFiles {
        let path = |file: &str| self.0.join(node).join(file);
        let (chain, key) = (path(&format!("{node}.pem")), path(&format!("{node}-key.pem")));
        CredentialFiles::new(chain, key, path("roots.pem")).revoked(path("crl.pem"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority and certificates of a and b.
fn prepared() -> Place {
    let place = Place::new();
    place.run("ca --out ca --days 100");
    place.run("node a --ca ca --out a --days 10");
    place.run("node b --ca ca --out b --days 10 --san *.shop.internal");
    place
}

#[derive(Default)]
struct Seen {
    links: Cell<u32>,
    revoked: RefCell<Vec<Refuser>>,
}

impl Seen {
    fn note(&self, error: &ConnectError) {
        match error {
            ConnectError::Tls(failure) if failure.reason == TlsReason::Revoked => {
                self.revoked.borrow_mut().push(failure.refused_by);
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Events for Seen {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, _: &Session, _: bool) {
        self.links.set(self.links.get() + 1);
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, _: &Session, _: &Frames) {}

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {}

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        self.note(error);
    }

    fn peer_refused(&self, _: SocketAddr, error: &ConnectError) {
        self.note(error);
    }
}

fn start(
    network: &SimulatedNetwork,
    node: &str,
    host: u8,
    credentials: Credentials,
) -> (Transport, Rc<Seen>) {
    let cluster = ClusterName::new("shop").expect("a name");
    let ip = Ipv4Addr::new(10, 0, 0, host).into();
    let name = NodeName::new(node).expect("a name");
    let config = TransportConfig::new(cluster, name, credentials, SocketAddr::new(ip, 7000));
    let random = Random::from_seed(u64::from(host));
    let bound = Bound::bind(config, &network.host(ip), Clock::default(), random).expect("bound");
    let seen = Rc::new(Seen::default());
    let events: Rc<dyn Events> = seen.clone();
    (bound.open(1, Bytes::new(), events), seen)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        Clock::default().sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to be {what}");
}

#[test]
fn what_it_makes_connects_two_nodes_and_what_it_revokes_is_cut() {
    let place = prepared();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let network = SimulatedNetwork::new(1);
        let load = |node: &str| place.files(node).load().expect("usable");
        let (a, seen_a) = start(&network, "a", 1, load("a"));
        let (b, seen_b) = start(&network, "b", 2, load("b"));
        a.connect(b.local(), b.addr());
        until("linked", || a.is_linked(b.local()) && b.is_linked(a.local())).await;

        place.run("revoke b --ca ca");
        fs::copy(place.0.join("ca/crl.pem"), place.0.join("a/crl.pem")).expect("copied");
        let rotated = a.rotate_from_files(&place.files("a")).expect("rotated");
        assert_eq!(rotated.cut, [b.local().clone()]);
        until("refused", || {
            seen_a.revoked.borrow().contains(&Refuser::Here)
                && seen_b.revoked.borrow().contains(&Refuser::Peer)
        })
        .await;
        assert_eq!((seen_a.links.get(), seen_b.links.get()), (1, 1));

        // Once renewed, it is welcome.
        place.run("node b --ca ca --out b --days 10 --force");
        b.rotate_from_files(&place.files("b")).expect("rotated");
        until("linked again", || a.is_linked(b.local())).await;
    });
}

#[test]
fn it_shows_what_it_made() {
    let place = prepared();
    let shown = place.json("show b/b.pem");
    let of = &shown["certificates"][0];
    assert_eq!(of["names"], serde_json::json!(["b", "*.shop.internal"]));
    let credentials = place.files("b").load().expect("usable");
    assert_eq!(of["fingerprint"], credentials.fingerprint().to_string());
    let text = place.run("show b/b.pem");
    for part in ["names:       b, *.shop.internal", "9 days left", "fingerprint: "] {
        assert!(text.contains(part), "{text}");
    }
    assert!(place.run("show ca/ca.pem").contains("names:       none"));
}

#[cfg(unix)]
#[test]
fn what_it_writes_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = prepared();
    place.run("revoke a --ca ca");
    let mut count = 0;
    let mut check = |path: &Path, wanted: u32| {
        let mode = fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, wanted, "{}", path.display());
        count += 1;
    };
    for directory in ["ca", "ca/issued", "a", "b"] {
        let directory = place.0.join(directory);
        check(&directory, 0o700);
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                check(&path, 0o600);
            }
        }
    }
    assert_eq!(count, 4 + 3 + 2 + 4 + 4);

    let key = place.0.join("ca/ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
    let said = place.refused("node c --ca ca --out c");
    assert!(said.contains("mode 644") && said.contains("chmod 600"), "{said}");
}

#[test]
fn nothing_is_overwritten_unless_it_is_forced() {
    let place = prepared();
    let before = fs::read(place.0.join("ca/ca-key.pem")).expect("a key");
    for again in ["ca --out ca", "node a --ca ca --out a"] {
        let said = place.refused(again);
        assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    }
    assert_eq!(fs::read(place.0.join("ca/ca-key.pem")).expect("a key"), before);
    place.run("ca --out ca --force");
    assert_ne!(fs::read(place.0.join("ca/ca-key.pem")).expect("a key"), before);
}

#[test]
fn every_certificate_of_a_name_is_revoked_and_a_file_is_by_itself() {
    let place = prepared();
    place.run("node a --ca ca --out renewed");
    place.run("node a-1 --ca ca --out other");
    assert_eq!(place.json("revoke a --ca ca")["revoked"].as_array().expect("a list").len(), 2);
    assert_eq!(place.json("revoke b/b.pem --ca ca")["revoked"][0]["names"][0], "b");
    let refused = |directory: &str, node: &str| {
        let path = |file: &str| place.0.join(directory).join(file);
        let list = place.0.join("ca/crl.pem");
        let (chain, key) = (path(&format!("{node}.pem")), path(&format!("{node}-key.pem")));
        CredentialFiles::new(chain, key, path("roots.pem")).revoked(list).load().is_err()
    };
    assert!(refused("a", "a") && refused("renewed", "a") && refused("b", "b"));
    assert!(!refused("other", "a-1"), "another name that begins alike");
}

#[test]
fn errors_say_what_to_do_next() {
    let place = prepared();
    for (arguments, parts) in [
        ("node a --ca none --out x", ["holds no authority", "certificates ca --out none"]),
        ("node a --ca ca --out x --days 200", ["outlive its authority", "shorter lifetime"]),
        ("node a --ca ca --out x --san a_b", ["no name for a certificate", "give a node name"]),
        ("revoke z --ca ca", ["issued nothing for z", "or a file"]),
        ("revoke ca/ca.pem --ca ca", ["cannot revoke itself", "off its roots"]),
        ("revoke a/a-key.pem --ca ca", ["holds no certificate", "give a node's certificate"]),
        ("show a/a-key.pem", ["holds no certificate", "give a file of certificates"]),
        ("show none.pem", ["none.pem", "a path that this user may use"]),
    ] {
        let said = place.refused(arguments);
        assert!(parts.iter().all(|part| said.contains(part)), "{arguments}: {said}");
        let json: Value = serde_json::from_str(&place.refused(&format!("{arguments} --json")))
            .expect("JSON as well");
        assert!(json["error"].as_str().is_some_and(|text| text.contains(parts[1])));
    }
    assert_eq!(place.try_run("node A_b --ca ca --out x").status.code(), Some(2), "no node name");
    let help = place.run("--help");
    for part in ["certificates ca --out ca", "certificates revoke carts-1", "rotate"] {
        assert!(help.contains(part), "{help}");
    }
}
