//! The node processes: this program, run again with options of its own.
//!
//! A node ends when its standard input does, so that none outlives the feeder, however that ends;
//! and each is killed when its handle is dropped.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use actix_cluster::{ClusterConfig, Node};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
};

use crate::{
    Failure,
    entities::{Setting, host},
    options::Options,
};

/// The cluster that all processes belong to.
const CLUSTER: &str = "fleet";

/// How long a process may take to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// What the names of authorities' directories begin with.
const PREFIX: &str = "actix-cluster-fleet-";

/// A directory for the development authority, with mode 0700, gone at the end.
#[derive(Debug)]
pub(crate) struct Authority(PathBuf);

impl Authority {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id())))
    }

    /// Whether a path looks like one that [`new`](Self::new) has made.
    fn is_one(path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts the feeder's own node: a member that owns nothing.
pub(crate) async fn start_feeder(authority: &Authority, port: u16) -> Result<Node, Failure> {
    let config = ClusterConfig::dev_in(CLUSTER, &authority.0).map_err(Failure::input)?;
    let config = config.bind(([127, 0, 0, 1], port).into()).weight(0);
    let builder = Node::builder().name("feeder").arbiters(NonZeroUsize::MIN).cluster(config);
    builder.start().await.map_err(Failure::input)
}

/// Runs this process as a node, until its standard input ends.
pub(crate) async fn run_node(options: &Options, setting: Setting) -> Result<(), Failure> {
    let of_node = &options.node;
    let (Some(name), Some(seed), Some(authority)) =
        (&of_node.name, of_node.seed, &of_node.authority)
    else {
        return Err(Failure::Input("a node needs --name, --seed and --authority".to_owned()));
    };
    let config = ClusterConfig::dev_in(CLUSTER, authority).map_err(Failure::input)?.seed(seed);
    // Not before: what removes the directory must come after all that makes it.
    end_with_the_feeder(authority.clone());
    let builder = host(Node::builder().name(name), &Arc::new(setting)).cluster(config);
    let node = builder.start().await.map_err(Failure::input)?;
    node.wait_for_members(of_node.members).await;
    println!("{}", node.id());
    Err(Failure::Input(node.ended().await.to_string()))
}

/// Ends this process once its standard input does.
fn end_with_the_feeder(authority: PathBuf) {
    std::thread::spawn(move || {
        let _ended = io::stdin().read(&mut [0]);
        // However the feeder has ended, it may not have had the time to remove this.
        if Authority::is_one(&authority) {
            let _ = std::fs::remove_dir_all(authority);
        }
        std::process::exit(0);
    });
}

/// A node process that does not see all members yet.
#[derive(Debug)]
pub(crate) struct Joining {
    child: Child,
    lines: BufReader<ChildStdout>,
    name: String,
}

/// A node process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Which run of which node it is.
    pub(crate) id: String,
}

/// What it takes to start a node process.
#[derive(Debug)]
pub(crate) struct Launcher<'a> {
    pub(crate) options: &'a Options,
    pub(crate) authority: &'a Authority,
    pub(crate) seed: SocketAddr,
    /// How many members there are once all are up.
    pub(crate) members: usize,
    /// How many rows are fed.
    pub(crate) rows: usize,
}

impl Launcher<'_> {
    /// Starts a node.
    pub(crate) fn start(&self, name: &str) -> Result<Joining, Failure> {
        let program = std::env::current_exe().map_err(Failure::input)?;
        let mut child = self
            .command(&program, name)
            .spawn()
            .map_err(|error| Failure::Input(format!("{name} can't be started: {error}")))?;
        let lines = BufReader::new(child.stdout.take().expect("it was piped"));
        Ok(Joining { child, lines, name: name.to_owned() })
    }

    fn command(&self, program: &Path, name: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--data")
            .arg(&self.options.data)
            .arg("--authority")
            .arg(&self.authority.0)
            .args(["--name", name, "--seed", &self.seed.to_string()])
            .args(["--members", &self.members.to_string(), "--rows", &self.rows.to_string()])
            .args(["--drop-one-in", &self.options.drop_one_in.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

impl Joining {
    /// Waits until the node sees all members.
    pub(crate) async fn joined(self) -> Result<Process, Failure> {
        let Self { child, mut lines, name } = self;
        let mut line = String::new();
        match tokio::time::timeout(JOIN_PATIENCE, lines.read_line(&mut line)).await {
            Ok(Ok(read)) if read > 0 => Ok(Process { child, id: line.trim().to_owned() }),
            Ok(_) => Err(Failure::Input(format!("{name} ended before it had joined"))),
            Err(_) => Err(Failure::Wrong(format!("{name} has not joined in {JOIN_PATIENCE:?}"))),
        }
    }
}

impl Process {
    /// An error if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(Failure::Wrong(format!("{} has ended by itself: {status}", self.id)))
            }
            Err(error) => Err(Failure::input(error)),
        }
    }

    /// Has it stand still, with SIGSTOP.
    pub(crate) async fn stop(&self) -> Result<(), Failure> {
        self.signal("STOP").await
    }

    /// Lets it go on, with SIGCONT.
    pub(crate) async fn go_on(&self) -> Result<(), Failure> {
        self.signal("CONT").await
    }

    async fn signal(&self, signal: &str) -> Result<(), Failure> {
        // It has not been waited for, so that the number is its own.
        let number = self.child.id().map(|number| number.to_string()).unwrap_or_default();
        let kill = Command::new("kill").args([format!("-{signal}"), number]).status().await;
        match kill.map_err(Failure::input)?.success() {
            true => Ok(()),
            false => Err(Failure::Input(format!("`kill -{signal}` has failed for {}", self.id))),
        }
    }

    /// Ends it with SIGKILL, and waits until it has.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::input)
    }
}
