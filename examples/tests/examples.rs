//! The examples as processes: what they print, how they end, and that nothing is left behind.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of whole processes: it reads the wall clock and sleeps"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// An example, built by the run of the tests.
fn example(name: &str) -> Command {
    let test = env::current_exe().expect("this binary");
    let profile = test.parent().and_then(Path::parent).expect("the folder of the profile");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is not built: run all tests, or build it", program.display());
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn fleet(options: &[&str]) -> Output {
    example("fleet").args(options).output().expect("it runs")
}

fn code(output: &Output) -> i32 {
    let stderr = String::from_utf8_lossy(&output.stderr);
    output.status.code().unwrap_or_else(|| panic!("it was killed: {stderr}"))
}

/// The line of JSON at the end of a run that succeeds.
fn json(options: &[&str], expected: i32) -> serde_json::Value {
    let output = fleet(options);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(&output), expected, "{stdout}\n{stderr}");
    serde_json::from_str(stdout.lines().last().expect("a line")).expect("json")
}

/// Its error, and that it ends with exit code 2.
fn refused(options: &[&str]) -> String {
    let output = fleet(options);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(&output), 2, "{stderr}");
    assert!(output.stdout.is_empty(), "nothing but the error is said");
    stderr
}

/// A file that is removed at the end of a test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = env::temp_dir().join(format!("fleet-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path of text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).expect("written");
    gzip.finish().expect("written")
}

const HEAD: &str = "time_hour,carrier,flight,tailnum,origin,dest,dep_delay,distance\n";

#[test]
fn the_readmes_program_answers_and_is_short() {
    let output = example("hello_min").output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "balance: 5\n");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = fs::read_to_string(root.join("hello_min.rs")).expect("it is there");
    let lines = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let count = program.lines().filter(lines).count();
    assert!(count <= 30, "hello_min has {count} lines of code");
    let readme = fs::read_to_string(root.join("../README.md")).expect("it is there");
    let (_, code) = program.split_once("\n\n").expect("a header");
    assert!(readme.contains(code), "the README holds another program than hello_min.rs");
}

#[test]
fn hello_prints_the_balance_of_both_deposits() {
    let output = example("hello").output().expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("first/1 and second/1 are one cluster"), "{stdout}");
    assert!(stdout.ends_with("balance: 12\n"), "{stdout}");
    let program = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("hello.rs"));
    let count = program.expect("it is there").lines().count();
    assert!(count < 60, "hello has {count} lines");
}

#[test]
fn the_moved_program_prints_what_the_plain_one_does() {
    let output = example("from_actix").output().expect("it runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(code(&output), 0, "{stdout}");
    let (before, rest) = stdout
        .strip_prefix("before, with actix:\n")
        .and_then(|rest| rest.split_once("after, with actix-cluster:\n"))
        .expect("both headings");
    let (after, bought) = rest.split_once("and what that buys:\n").expect("the last heading");
    assert_eq!(before, after);
    assert_eq!(before.lines().last(), Some("closed with 47 pieces"), "it came to its end");
    assert!(bought.contains("shop.Count may have run: panicked\n"), "{bought}");
    assert!(bought.contains("by a fresh stock: 10 bolts, 10 nuts\n"), "{bought}");
}

#[test]
fn without_a_kill_messages_alone_make_the_totals() {
    let end = json(&["--rows", "6000", "--no-kill", "--nodes", "2", "--json"], 0);
    assert_eq!(end["matched"], true);
    assert_eq!(end["rows"], 6000);
    assert_eq!(end["applied_by_message"], 18_000);
    for counter in ["applied_by_rebuild", "repeats", "duplicates"] {
        assert_eq!(end[counter], 0, "{counter}");
    }
    assert!(end["killed_node"].is_null() && end["failover_ms"].is_null());
}

#[test]
fn a_killed_node_changes_no_total() {
    let end = json(&["--rows", "20000", "--json"], 0);
    assert_eq!(end["matched"], true);
    assert_eq!(end["killed_node"], "node-2/1");
    assert!(end["failover_ms"].as_u64().is_some_and(|failover| failover > 0));
    assert!(end["repeats"].as_u64().is_some_and(|repeats| repeats > 0));
    let count = |name: &str| end[name].as_u64().expect(name);
    assert_eq!(count("applied_by_message") + count("applied_by_rebuild"), 60_000);
    assert!(count("applied_by_rebuild") > 0, "the killed node had entities");
}

#[test]
fn a_node_that_falls_silent_and_wakes_up_changes_no_total() {
    let end = json(&["--rows", "20000", "--silent", "--json"], 0);
    assert_eq!(end["matched"], true);
    assert_eq!(end["killed_node"], "node-2/1");
    assert!(end["failover_ms"].as_u64().is_some_and(|failover| failover > 0));
    let count = |name: &str| end[name].as_u64().expect(name);
    assert_eq!(count("applied_by_message") + count("applied_by_rebuild"), 60_000);
    assert!(count("applied_by_rebuild") > 0, "the silent node had entities");
}

#[test]
fn one_dropped_message_in_a_thousand_is_noticed() {
    let drop = ["--rows", "6000", "--drop-one-in", "1000", "--json"];
    assert_eq!(json(&drop, 1)["matched"], false);
    let without_kill = [&drop[..], &["--no-kill"]].concat();
    assert_eq!(json(&without_kill, 1)["matched"], false);
}

#[test]
fn bad_input_is_refused_by_name() {
    let missing = refused(&["--data", "nowhere.csv.gz"]);
    assert!(missing.contains("nowhere.csv.gz can't be opened"), "{missing}");
    let empty = Scratch::new("empty", b"");
    assert!(refused(&["--data", empty.path()]).contains("holds no flight"));
    let bare = Scratch::new("bare", &gzip(HEAD));
    assert!(refused(&["--data", bare.path()]).contains("holds no flight"));
    let no_gzip = Scratch::new("plain", HEAD.as_bytes());
    let plain = refused(&["--data", no_gzip.path()]);
    assert!(plain.contains("line 1") && plain.contains("damaged"), "{plain}");

    let rows = "t,UA,1,N1,EWR,IAH,2,1400\n".repeat(5_000);
    let whole = gzip(&format!("{HEAD}{rows}"));
    let cut = Scratch::new("cut", &whole[..whole.len() - 20]);
    let cut = refused(&["--data", cut.path()]);
    assert!(cut.contains("damaged or cut off"), "{cut}");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let damaged = Scratch::new("damaged", &damaged);
    refused(&["--data", damaged.path()]);

    let bad = gzip(&format!("{HEAD}t,UA,1,N1,EWR,IAH,2,1400\nt,UA,1,N1,EWR,IAH,soon,1400\n"));
    let bad = Scratch::new("bad", &bad);
    let bad = refused(&["--data", bad.path()]);
    assert!(bad.contains("line 3") && bad.contains("soon"), "{bad}");
}

#[test]
fn bad_options_are_refused_by_name() {
    assert!(refused(&["--rows", "0"]).contains("--rows"));
    assert!(refused(&["--rows", "many"]).contains("many"));
    assert!(refused(&["--nodes", "2"]).contains("too few for a kill"));
    assert!(refused(&["--nodes", "99"]).contains("at most 32"));
    assert!(refused(&["--fast"]).contains("--fast"));
    let held = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = held.local_addr().expect("bound").port().to_string();
    let in_use = refused(&["--rows", "100", "--port", &port]);
    assert!(in_use.contains("in use") && in_use.contains(&port), "{in_use}");
    assert_eq!(code(&fleet(&["--help"])), 0);
}

/// How many processes have this text in their command line.
fn processes_with(text: &str) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let lines = processes.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "a minute, and still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_process_outlives_the_feeder() {
    let rows = "t,UA,1,N1,EWR,IAH,2,1400\n".repeat(400_000);
    for signal in ["-INT", "-KILL"] {
        let data = Scratch::new(signal, &gzip(&format!("{HEAD}{rows}")));
        let mut feeder = example("fleet")
            .args(["--data", data.path()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait_until("all processes run", || processes_with(data.path()) == 4);
        let id = feeder.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
        let status = feeder.wait().expect("it ends");
        if signal == "-INT" {
            assert_eq!(status.code(), Some(130));
        }
        wait_until("all processes have ended", || processes_with(data.path()) == 0);
        let authority = env::temp_dir().join(format!("actix-cluster-fleet-{id}"));
        wait_until("the authority is gone", || !authority.exists());
    }
}
