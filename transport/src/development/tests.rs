use std::{
    fs,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
};

use super::*;

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

/// A directory that does not exist yet, and is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let token = fingerprint(&new_key());
        Self(std::env::temp_dir().join(format!("actix-cluster-{token}")))
    }

    fn load(&self) -> Result<Authority, DevelopmentError> {
        Authority::from_directory(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_issued_as_pem_verifies() {
    let authority = Authority::new();
    let pem = authority.issue_pem(&name("n1"));
    let roots = authority.roots_pem();
    let credentials =
        Credentials::from_pem(pem.chain.as_bytes(), pem.key.as_bytes(), roots.as_bytes())
            .expect("usable now");
    assert_eq!(credentials.names(), ["n1"]);
    assert!(credentials.allows(&name("n1")));
    assert!(!credentials.allows(&name("n2")));
}

#[test]
fn fixed_dates_are_what_they_say() {
    for validity in [Validity::LONG, Validity::EXPIRED, Validity::FUTURE] {
        let (year, month, day) = validity.from;
        let start = date_time_ymd(year, month, day).unix_timestamp();
        assert_eq!(u64::try_from(start), Ok(validity.start));
    }
    let authority = Authority::new();
    authority.issue_expired(&name("n1"));
    authority.issue_not_yet_valid(&name("n1"));
}

#[test]
fn certificates_of_equal_names_are_of_equal_length() {
    let lengths = || {
        let authority = Authority::new();
        let leaf =
            authority.0.sign(&node_params(&new_key(), &name("n1"), &Validity::LONG), &new_key());
        (authority.0.root.len(), leaf.der().len())
    };
    let first = lengths();
    assert!((0..100).all(|_| lengths() == first));
}

#[test]
fn keys_are_not_shown() {
    let authority = Authority::new();
    let pem = authority.issue_pem(&name("n1"));
    assert!(pem.key.contains("PRIVATE KEY"));
    let shown = format!("{authority:?} {pem:?} {:?}", authority.issue(&name("n1")));
    let secret = pem.key.lines().nth(1).expect("a line of the key");
    assert!(!shown.contains(secret) && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn a_directory_keeps_one_authority() {
    let place = Place::new();
    let first = place.load().expect("made");
    let second = place.load().expect("read");
    assert_eq!(first.roots_pem(), second.roots_pem());
    assert_eq!(first.0.fingerprint, second.0.fingerprint);
    fs::remove_file(place.0.join("ca.pem")).expect("removed");
    let third = place.load().expect("its certificate is made anew");
    assert_eq!(first.roots_pem(), third.roots_pem());
}

#[test]
fn racing_starts_get_one_authority() {
    for _ in 0..20 {
        let place = Place::new();
        let start = Barrier::new(8);
        let load = || {
            start.wait();
            place.load().expect("loaded").roots_pem()
        };
        let roots: Vec<String> = thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
        let mut files: Vec<_> = fs::read_dir(&place.0)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        files.sort();
        assert_eq!(files, ["ca-key.pem", "ca.pem"], "no draft stays behind");
    }
}

#[cfg(unix)]
#[test]
fn what_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    };
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let place = Place::new();
    place.load().expect("made");
    let key = place.0.join("ca-key.pem");
    assert_eq!((mode(&place.0), mode(&key)), (0o700, 0o600));

    for open in [0o750, 0o701, 0o777] {
        set(&place.0, open);
        let error = place.load().expect_err("open").to_string();
        let path = place.0.display();
        assert_eq!(error, format!("{path} has mode {open:o}, open to others; chmod 700 {path}"));
    }
    set(&place.0, 0o700);
    for open in [0o640, 0o604, 0o620] {
        set(&key, open);
        let error = place.load().expect_err("open").to_string();
        assert!(error.contains("chmod 600") && error.contains("ca-key.pem"), "{error}");
    }
    set(&key, 0o400);
    place.load().expect("private again");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.load().expect("made");
    let (key, root) = (place.0.join("ca-key.pem"), place.0.join("ca.pem"));
    let stranger = Authority::new().roots_pem();
    for wrong in [stranger.as_str(), "", "not a certificate"] {
        fs::write(&root, wrong).expect("written");
        assert!(matches!(place.load(), Err(DevelopmentError::Mismatch { path }) if path == root));
    }
    let other_kind = KeyPair::generate().expect("a P-256 key").serialize_pem();
    for wrong in [other_kind.as_str(), "", "-----BEGIN PRIVATE KEY-----\n"] {
        fs::write(&key, wrong).expect("written");
        assert!(matches!(place.load(), Err(DevelopmentError::Key { path }) if path == key));
    }
}

#[test]
fn a_path_that_is_no_directory_is_named() {
    let place = Place::new();
    fs::write(&place.0, "").expect("written");
    let error = place.load().expect_err("a file");
    assert!(matches!(&error, DevelopmentError::Io { path, .. } if *path == place.0));
    fs::remove_file(&place.0).expect("removed");
}
