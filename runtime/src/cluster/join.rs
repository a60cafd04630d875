//! Joining: asking the seeds who they are, and which incarnation is free.
//!
//! Invariant: a node never joins under an incarnation that a seed has heard of, and never founds a
//! cluster of its own while a seed answers.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    task::Poll,
    time::Duration,
};

use actix_cluster_transport::{BindError, Bound, Clock, ConnectError, PeerId, Refusal};

use super::{ClusterConfigError, discovery::Seeds};

/// How long the first of the seeds looks for the others before it founds the cluster.
pub(super) const FOUND_AFTER: Duration = Duration::from_secs(2);

/// The pause between two rounds of asking.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// What a node starts with.
#[derive(Debug)]
pub(super) struct Found {
    /// The incarnation to join as.
    pub(super) incarnation: u64,
    /// The seeds that answered; none for the founder of a cluster.
    pub(super) contacts: Vec<(PeerId, SocketAddr)>,
}

/// Why a node did not join its cluster. Nothing of it is left running.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// A setting breaks its rule.
    Config(ClusterConfigError),
    /// The address can't be had.
    Bind(BindError),
    /// A seed refuses this node, for a reason that time won't change.
    Refused {
        /// The seed.
        seed: SocketAddr,
        /// What it says.
        source: ConnectError,
    },
    /// No seed answered, or none let this node in, in time; or nothing was found where seeds are to be
    /// looked up. Start one of the seeds, correct the addresses, or raise the join timeout.
    TimedOut {
        /// Who was asked last.
        seeds: Vec<SocketAddr>,
        /// For how long.
        after: Duration,
        /// What the last try came to.
        last: Option<ConnectError>,
    },
    /// The cluster's thread ended while the node was starting, or was declared down meanwhile.
    Interrupted,
    /// A thread could not be made.
    Thread(io::Error),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(_) => f.write_str("a cluster setting breaks its rule"),
            Self::Bind(_) => f.write_str("the node's address could not be bound"),
            Self::Refused { seed, .. } => write!(f, "seed {seed} and this node refuse each other"),
            Self::TimedOut { seeds, after, .. } => {
                write!(f, "no seed let this node in within {after:?}; asked: {seeds:?}")
            }
            Self::Interrupted => f.write_str("the cluster's thread ended early"),
            Self::Thread(_) => f.write_str("a thread could not be made"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(source) => Some(source),
            Self::Bind(source) => Some(source),
            Self::Refused { source, .. } => Some(source),
            Self::TimedOut { last, .. } => last.as_ref().map(|last| last as _),
            Self::Thread(source) => Some(source),
            Self::Interrupted => None,
        }
    }
}

/// Whether a node may found a cluster where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Founding {
    Allowed,
    /// There is one: it had this incarnation in it, or has tried to.
    Excluded {
        since: u64,
    },
}

/// Asks all seeds, round after round, until one answers or it is clear that none will. What stands
/// for the seeds is looked up anew for each round.
pub(super) async fn ask_seeds(
    bound: &Bound,
    clock: &Clock,
    own: SocketAddr,
    seeds: &mut Seeds,
    patience: Duration,
    founding: Founding,
) -> Result<Found, JoinError> {
    let founder = Found { incarnation: 1, contacts: Vec::new() };
    let lowest = match founding {
        Founding::Allowed if seeds.are_none(own) => return Ok(founder),
        Founding::Allowed => 0,
        Founding::Excluded { since } => since + 1,
    };
    let deadline = clock.after(patience);
    let found_at = clock.after(FOUND_AFTER.min(patience));
    let mut last = None;
    loop {
        let addrs = seeds.look_up(clock).await;
        let is_first = addrs.first() == Some(&own);
        let others: Vec<SocketAddr> = addrs.into_iter().filter(|seed| *seed != own).collect();
        let mut found = Found { incarnation: lowest, contacts: Vec::new() };
        let mut lasting = None;
        for (seed, answer) in ask_round(clock, &others, |seed| bound.inquire(seed)).await {
            match answer {
                Ok((peer, highest)) => {
                    found.incarnation = found.incarnation.max(highest.saturating_add(1));
                    found.contacts.push((peer, seed));
                }
                Err(source) if is_final(&source) && founding == Founding::Allowed => {
                    return Err(JoinError::Refused { seed, source });
                }
                // The connection of the life before may not be gone yet, and holds the name.
                Err(source) if is_final(&source) => lasting = Some((seed, source)),
                Err(source) => {
                    tracing::debug!(%seed, error = %source, "a seed did not answer");
                    last = Some(source);
                }
            }
        }
        if !found.contacts.is_empty() {
            return Ok(found);
        }
        let now = clock.now();
        if is_first && founding == Founding::Allowed && now >= found_at {
            return Ok(founder);
        }
        if now >= deadline {
            return Err(match (last, lasting) {
                (_, Some((seed, source))) => JoinError::Refused { seed, source },
                (last, None) => JoinError::TimedOut { seeds: others, after: patience, last },
            });
        }
        clock.sleep(ROUND_PAUSE).await;
    }
}

/// How long a round waits for the seeds that are slower than the fastest.
const STRAGGLERS: Duration = Duration::from_millis(300);

type Answer = Result<(PeerId, u64), ConnectError>;

/// Asks all at once; seeds that are slow are not waited for once one has answered.
pub(super) async fn ask_round<F: Future<Output = Answer>>(
    clock: &Clock,
    seeds: &[SocketAddr],
    inquire: impl Fn(SocketAddr) -> F,
) -> Vec<(SocketAddr, Answer)> {
    let mut asking: Vec<_> = seeds.iter().map(|seed| (*seed, Box::pin(inquire(*seed)))).collect();
    let mut answers = Vec::new();
    let mut stragglers = None;
    poll_fn(|task| {
        asking.retain_mut(|(seed, inquiry)| match inquiry.as_mut().poll(task) {
            Poll::Ready(answer) => {
                answers.push((*seed, answer));
                false
            }
            Poll::Pending => true,
        });
        if asking.is_empty() {
            return Poll::Ready(());
        }
        if !answers.iter().any(|(_, answer)| answer.is_ok()) {
            return Poll::Pending;
        }
        stragglers.get_or_insert_with(|| clock.sleep(STRAGGLERS)).as_mut().poll(task)
    })
    .await;
    answers
}

/// Whether asking again would bring nothing else.
fn is_final(error: &ConnectError) -> bool {
    match error {
        ConnectError::Tls(_) | ConnectError::Identity(_) => true,
        ConnectError::Refused(refusal) | ConnectError::Refusing(refusal) => is_lasting(refusal),
        _ => false,
    }
}

/// Whether a refusal will be the same next time.
pub(super) fn is_lasting(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Version { .. }
            | Refusal::Cluster { .. }
            | Refusal::Identity { .. }
            | Refusal::NameInUse { .. }
            | Refusal::Mismatch { .. }
    )
}
