//! Nodes in processes of their own: a test binary runs itself as them, and each says on its output what the
//! test waits for.

pub mod place;

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use actix_cluster::Node;
use tokio::sync::mpsc;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The environment variable that makes a process a node, and holds its name.
const ROLE: &str = "ACTIX_CLUSTER_TEST_NODE";

/// Whom this process was started as, if it is to be a node.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs the life of a node, or a test of several, to its end.
pub fn run(life: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(life);
}

/// The lines that a node's process is given. The end of whoever started it is the end of this process.
pub fn orders() -> mpsc::Receiver<String> {
    let (order, orders) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // A node that takes none ends with its test all the same.
            let _ = order.blocking_send(line);
        }
        std::process::exit(3);
    });
    orders
}

/// Says who the node is, in this life and in each that follows, until it has ended.
pub async fn say_lives(node: &Node) {
    let mut id = node.id();
    println!("joined {id} at {}", node.addr().expect("a cluster"));
    while let Some(next) = node.id_after(&id).await {
        id = next;
        println!("again {id}");
    }
    println!("ended {}", node.ended().await);
}

/// What runs `test`, a test of this binary, as the node `name`: by way of `launcher`, if it has words.
pub fn command(launcher: &[String], test: &str, name: &str) -> Command {
    let binary = env::current_exe().expect("this binary").into_os_string();
    let own = [binary, "--exact".into(), test.into(), "--nocapture".into()];
    let mut words = launcher.iter().map(OsString::from).chain(own);
    let mut command = Command::new(words.next().expect("the binary, if nothing else"));
    command.args(words).env(ROLE, name);
    command
}

/// A node in a process of its own, which is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    /// The process itself.
    pub child: Child,
    /// Who the node was when it last said so.
    pub id: String,
    /// The address that it is bound to.
    pub addr: String,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts a node, and waits until it has joined.
    pub async fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdin = child.stdin.take().expect("it was piped");
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let (line, lines) = mpsc::channel(64);
        // It ends with the child's output.
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|read| line.blocking_send(read))
        });
        let mut process = Self { child, id: String::new(), addr: String::new(), stdin, lines };
        let joined = process.wait_for("joined ").await;
        let (id, addr) = joined.split_once(" at ").expect("a name and an address");
        (process.id, process.addr) = (id.to_owned(), addr.to_owned());
        process
    }

    /// What follows `mark` in the first line that has it.
    pub async fn wait_for(&mut self, mark: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.recv().await.expect("the process has not ended");
                if let Some(at) = line.find(mark) {
                    return line[at + mark.len()..].trim().to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect(mark)
    }

    /// Gives the process a line.
    pub fn order(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the process has not ended");
    }

    /// Sends the process a signal, such as `-KILL`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that is removed at the end of a test.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// The name of one that nobody else has; whoever uses it makes it.
    #[expect(clippy::new_without_default, reason = "each one is different")]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("actix-cluster-{}-{number}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
