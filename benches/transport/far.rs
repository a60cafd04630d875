//! The far end: a process of its own, which counts and answers until its standard input ends.

use std::{
    cell::Cell,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use actix_cluster_benches::machine;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinSet, LocalSet},
};

use crate::{
    cluster,
    setup::{Addresses, Setup},
    streams::Streams,
    usage::Usage,
};

/// Runs this process as the far end. Lines of JSON come and go: its setup, where it listens; then,
/// for each line, what it has used so far.
pub(crate) fn run(core: Option<usize>) -> io::Result<()> {
    if let Some(core) = core {
        machine::pin(&[core]);
    }
    let (give, mut lines) = mpsc::channel(4);
    std::thread::spawn(move || pass_on(io::stdin().lines(), &give));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let Some(line) = lines.recv().await else { return Ok(()) };
        let setup: Setup = serde_json::from_str(&line)?;
        let cluster = cluster::Far::open(&setup)?;
        let endpoint = setup.endpoint()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        tell(&Addresses {
            cluster: cluster.addr(),
            quinn: endpoint.local_addr()?,
            tcp: listener.local_addr()?,
        })?;
        let faults = Rc::new(Cell::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn_local(serve(serve_quinn(endpoint, Rc::clone(&faults))));
        tasks.spawn_local(serve(serve_tcp(listener, Rc::clone(&faults))));
        while lines.recv().await.is_some() {
            tell(&Usage::now(cluster.deliveries(), cluster.faults() + faults.get()))?;
        }
        Ok(())
    })
}

/// Ends when the near end is gone; what that means is the near end's to say.
async fn serve(served: impl Future<Output = io::Result<()>>) {
    let _ = served.await;
}

async fn serve_quinn(endpoint: quinn::Endpoint, faults: Rc<Cell<u64>>) -> io::Result<()> {
    let incoming = endpoint.accept().await.ok_or(io::ErrorKind::NotConnected)?;
    let streams = Streams::quinn(incoming.await?).await?;
    streams.serve(|more| faults.set(faults.get() + more)).await
}

async fn serve_tcp(listener: TcpListener, faults: Rc<Cell<u64>>) -> io::Result<()> {
    let streams = Streams::tcp(listener.accept().await?.0)?;
    streams.serve(|more| faults.set(faults.get() + more)).await
}

fn tell(what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn pass_on(lines: impl Iterator<Item = io::Result<String>>, give: &mpsc::Sender<String>) {
    for line in lines.map_while(Result::ok) {
        if give.blocking_send(line).is_err() {
            return;
        }
    }
}

/// The far end's process, as the near end holds it. It is killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

/// How long the far end may take for a line.
const PATIENCE: Duration = Duration::from_secs(20);

impl Process {
    /// Starts this program once more, as the far end.
    pub(crate) async fn start(core: Option<usize>, setup: &Setup) -> io::Result<(Self, Addresses)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--far").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().expect("it is a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (give, lines) = mpsc::channel(4);
        std::thread::spawn(move || pass_on(stdout.lines(), &give));
        let mut process = Self { child, stdin, lines };
        let addresses = process.ask(setup).await?;
        Ok((process, addresses))
    }

    /// What it has used so far.
    pub(crate) async fn usage(&mut self) -> io::Result<Usage> {
        self.ask(&()).await
    }

    async fn ask<A: DeserializeOwned>(&mut self, what: &impl Serialize) -> io::Result<A> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stdin.write_all(&line)?;
        self.stdin.flush()?;
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await?;
        let line = line.ok_or_else(|| io::Error::other("the far end's process has ended"))?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
