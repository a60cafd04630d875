//! One measurement: a contestant's process, or two of them.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use actix_cluster_benches::machine;
use actors_rules::{Case, Length};

/// The argument by which this program is a contestant.
pub(crate) const PLAY: &str = "play";

/// How long a process may take beyond the length of its measurement.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Whether it is this very program.
    pub(crate) is_this: bool,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if self.is_this {
            command.arg(PLAY);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The cores of the two ends of remote cases, and all that there are.
pub(crate) struct Cores {
    near: usize,
    far: usize,
    all: Vec<usize>,
}

impl Cores {
    /// `None` if processes can't be kept on cores.
    pub(crate) fn find() -> Option<Self> {
        let all = machine::cores();
        match all[..] {
            [near, .., far] if machine::pin(&all) => Some(Self { near, far, all }),
            _ => None,
        }
    }

    /// Starts a process on some cores.
    fn start(&self, cores: &[usize], command: &mut Command) -> io::Result<Child> {
        // A child runs where its parent's thread does.
        machine::pin(cores);
        let child = command.spawn();
        machine::pin(&self.all);
        child
    }
}

/// Measures a case, once. Gives each figure's name and value.
///
/// # Errors
///
/// When the program can't play it, takes too long, or has lost messages; with what it said.
pub(crate) fn measure(
    program: &Program,
    case: Case,
    length: Length,
    cores: &Option<Cores>,
) -> io::Result<Vec<(String, f64)>> {
    let mut command = program.command();
    command.arg(case.to_string());
    command.args([length.time.as_millis().to_string(), length.actors.to_string()]);
    if !case.is_remote() {
        return Process::started(command.spawn()?).readings(length);
    }
    let (mut far, mut near) = (program.command(), command);
    far.arg("far").stderr(Stdio::null());
    let start = |command: &mut Command, core: fn(&Cores) -> usize| match cores {
        Some(cores) => cores.start(&[core(cores)], command),
        None => command.spawn(),
    };
    let far = Process::started(start(&mut far, |cores| cores.far)?);
    near.arg(far.line()?);
    Process::started(start(&mut near, |cores| cores.near)?).readings(length)
}

/// A process that is killed when dropped.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn started(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("it is a pipe");
        let (give, lines) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if give.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Its first line.
    fn line(&self) -> io::Result<String> {
        let error = |_| io::Error::other("the far end did not say where it listens");
        self.lines.recv_timeout(PATIENCE).map_err(error)
    }

    /// All its figures.
    fn readings(mut self, length: Length) -> io::Result<Vec<(String, f64)>> {
        let until = Instant::now() + PATIENCE + length.time;
        let mut readings = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => readings.push(reading(&line)?),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        if self.child.wait()?.success() && !readings.is_empty() {
            return Ok(readings);
        }
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            stderr.take(64 * 1_024).read_to_string(&mut said)?;
        }
        let said = said.lines().last().unwrap_or("it ended without a figure");
        Err(io::Error::other(said.to_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reading(line: &str) -> io::Result<(String, f64)> {
    let reading = line
        .split_once(' ')
        .and_then(|(metric, value)| Some((metric.to_owned(), value.parse().ok()?)));
    reading.ok_or_else(|| io::Error::other(format!("{line:?} is no figure")))
}
