//! The shutdown of a node in phases, each with a deadline, and on a signal.

use std::{future::Future, time::Duration};

use super::Node;

/// How long each phase of a shutdown may take, in the order in which they come.
///
/// A phase that takes longer is cut short, and the next one begins: a shutdown ends in time, whatever its
/// entities and its peers do. The hooks and drops of actors are not bounded by it, since nothing can cut
/// them short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownPhases {
    /// The program stops to take in work: it closes its listeners, and lets requests end that have begun.
    /// Default 10 s.
    ///
    /// Too short, and requests are cut off that would have been answered.
    pub stop_intake: Duration,
    /// The node hands its entities over to others. Default 5 s.
    ///
    /// Entities that are left then are ended, within 2 s more: what waits for them goes back to its senders,
    /// state that moves is lost.
    pub hand_over: Duration,
    /// The node ends its actors, waits until what it has sent is settled, and closes its sessions. Default
    /// 5 s from the end of the last actor.
    ///
    /// What is not settled by then ends as *unknown* for whoever sent it.
    pub flush: Duration,
}

impl Default for ShutdownPhases {
    fn default() -> Self {
        let five = Duration::from_secs(5);
        Self { stop_intake: 2 * five, hand_over: five, flush: five }
    }
}

impl ShutdownPhases {
    /// The same, with another time for the program to stop to take in work.
    pub fn stop_intake(mut self, time: Duration) -> Self {
        self.stop_intake = time;
        self
    }

    /// The same, with another time for handing over.
    pub fn hand_over(mut self, time: Duration) -> Self {
        self.hand_over = time;
        self
    }

    /// The same, with another time for what was sent to be settled.
    pub fn flush(mut self, time: Duration) -> Self {
        self.flush = time;
        self
    }
}

/// How one phase of a shutdown has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhaseEnd {
    /// How long it took.
    pub took: Duration,
    /// Whether all was done; if not, it was cut short.
    pub is_complete: bool,
}

/// How a shutdown has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Stopping to take in work.
    pub stop_intake: PhaseEnd,
    /// Handing over.
    pub hand_over: PhaseEnd,
    /// Having all settled.
    pub flush: PhaseEnd,
}

impl Node {
    /// Shuts the node down as [`shutdown`](Self::shutdown) does, in phases that each have a deadline;
    /// `stop_intake` is what the program has to do in the first of them.
    ///
    /// A second call waits for the same end; the phases of the first count.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the first phase it has changed nothing; later, it leaves the shutdown running.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use actix_cluster::{Node, ShutdownPhases};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::builder().start().await?;
    /// let phases = ShutdownPhases::default().hand_over(Duration::from_secs(20));
    /// let report = node.shutdown_in_phases(phases, async { /* server.stop().await */ }).await;
    /// assert!(report.hand_over.is_complete);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown_in_phases(
        &self,
        phases: ShutdownPhases,
        stop_intake: impl Future<Output = ()>,
    ) -> ShutdownReport {
        let core = self.core();
        let clock = core.clock();
        let begun = clock.now();
        let is_complete = tokio::select! {
            biased;
            () = stop_intake => true,
            () = clock.sleep(phases.stop_intake) => false,
        };
        let took = clock.now().saturating_duration_since(begun);
        let stopped = PhaseEnd { took, is_complete };
        if !is_complete {
            tracing::warn!(node = %core.id(), ?took, "the program has not stopped to take in work");
        }
        // The life may have been followed by another.
        let core = self.core();
        if let Some(cluster) = core.cluster() {
            cluster.set_phases(phases);
        }
        self.shutdown().await;
        let report = match self.core().cluster() {
            Some(cluster) => cluster.shutdown_report(),
            None => {
                let all = PhaseEnd { is_complete: true, ..PhaseEnd::default() };
                ShutdownReport { hand_over: all, flush: all, ..ShutdownReport::default() }
            }
        };
        ShutdownReport { stop_intake: stopped, ..report }
    }

    /// Waits until the process is asked to end, by SIGTERM or by SIGINT (ctrl-C), and
    /// [shuts the node down in phases](Self::shutdown_in_phases) then. Where there are no such signals, on
    /// ctrl-C alone.
    ///
    /// # Errors
    ///
    /// When the system does not let it wait for signals; the node goes on.
    ///
    /// # Cancel safety
    ///
    /// As [`shutdown_in_phases`](Self::shutdown_in_phases). The process does not end by these signals any
    /// more once it was polled.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use actix_cluster::{Node, ShutdownPhases};
    /// # async fn example(node: Node) -> std::io::Result<()> {
    /// let report = node.shutdown_on_signal(ShutdownPhases::default(), async {}).await?;
    /// println!("handed over: {}", report.hand_over.is_complete);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "signal")]
    pub async fn shutdown_on_signal(
        &self,
        phases: ShutdownPhases,
        stop_intake: impl Future<Output = ()>,
    ) -> std::io::Result<ShutdownReport> {
        let signal = asked_to_end().await?;
        tracing::info!(node = %self.id(), signal, "asked to end");
        Ok(self.shutdown_in_phases(phases, stop_intake).await)
    }
}

/// Waits until the process is asked to end. Gives the signal's name.
#[cfg(all(feature = "signal", unix))]
async fn asked_to_end() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        biased;
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}

/// Waits until the process is asked to end. Gives the signal's name.
#[cfg(all(feature = "signal", not(unix)))]
async fn asked_to_end() -> std::io::Result<&'static str> {
    tokio::signal::ctrl_c().await?;
    Ok("ctrl-C")
}
