//! All that a node knows of whom to join by.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_cluster_transport::Clock;

use super::Discovery;

/// The most addresses: each is asked while the node joins.
pub(crate) const SEEDS_LIMIT: usize = 64;

/// How long one look-up may take.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(2);

/// Fixed addresses, and sources of others.
#[derive(Debug)]
pub(crate) struct Seeds {
    fixed: Vec<SocketAddr>,
    sources: Vec<Source>,
    /// Where members were in a former life.
    met: Vec<SocketAddr>,
    /// Whether only addresses of this host count.
    loopback_only: bool,
}

#[derive(Debug)]
struct Source {
    discovery: Arc<dyn Discovery>,
    /// What it said last, as far as that counts: each once, and at most [`SEEDS_LIMIT`].
    last: Vec<SocketAddr>,
}

impl Seeds {
    pub(crate) fn new(
        fixed: Vec<SocketAddr>,
        sources: &[Arc<dyn Discovery>],
        loopback_only: bool,
    ) -> Self {
        let source = |discovery: &Arc<dyn Discovery>| Source {
            discovery: Arc::clone(discovery),
            last: Vec::new(),
        };
        let sources = sources.iter().map(source).collect();
        Self { fixed, sources, met: Vec::new(), loopback_only }
    }

    /// The same, and where members were met: they come last.
    pub(crate) fn and_met(self, met: Vec<SocketAddr>) -> Self {
        Self { met, ..self }
    }

    /// Whether there is nobody to join by, and never will be.
    pub(crate) fn are_none(&self, own: SocketAddr) -> bool {
        self.sources.is_empty() && self.fixed.iter().chain(&self.met).all(|seed| *seed == own)
    }

    /// The addresses as they are now, this node's own among them where a source names it, the fixed
    /// ones first; each once, and at most [`SEEDS_LIMIT`].
    pub(crate) async fn look_up(&mut self, clock: &Clock) -> Vec<SocketAddr> {
        for source in &mut self.sources {
            let found = tokio::select! {
                biased;
                found = source.discovery.look_up() => found,
                () = clock.sleep(LOOK_UP_PATIENCE) => Err(std::io::ErrorKind::TimedOut.into()),
            };
            match found {
                Ok(found) => source.last = counted(&found, self.loopback_only),
                Err(error) => {
                    tracing::warn!(source = ?source.discovery, %error, "a look-up of nodes failed");
                }
            }
        }
        let found = self.sources.iter().flat_map(|source| &source.last);
        counted(self.fixed.iter().chain(found).chain(&self.met), self.loopback_only)
    }
}

/// The first of these that count, each once, and at most [`SEEDS_LIMIT`].
fn counted<'a>(
    found: impl IntoIterator<Item = &'a SocketAddr>,
    loopback_only: bool,
) -> Vec<SocketAddr> {
    let mut seeds: Vec<SocketAddr> = Vec::new();
    for seed in found {
        if seeds.len() == SEEDS_LIMIT {
            break;
        }
        let is_allowed = !loopback_only || seed.ip().to_canonical().is_loopback();
        if !is_allowed {
            tracing::warn!(%seed, "a development cluster is on this host only");
        } else if !seeds.contains(seed) {
            seeds.push(*seed);
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        io,
        sync::Mutex,
    };

    use super::*;
    use crate::cluster::discovery::LookUp;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Says one thing after the other, and then hangs.
    #[derive(Debug)]
    struct Script(Mutex<Vec<io::Result<Vec<SocketAddr>>>>);

    impl Discovery for Script {
        fn look_up(&self) -> LookUp {
            match self.0.lock().expect("not poisoned").pop() {
                Some(found) => Box::pin(ready(found)),
                None => Box::pin(pending()),
            }
        }
    }

    fn script(says: impl IntoIterator<Item = io::Result<Vec<SocketAddr>>>) -> Arc<dyn Discovery> {
        let mut says: Vec<_> = says.into_iter().collect();
        says.reverse();
        Arc::new(Script(Mutex::new(says)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_source_said_last_counts_while_it_fails_or_hangs() {
        let source = script([
            Ok(vec![addr(2), addr(1)]),
            Err(io::ErrorKind::NotFound.into()),
            Ok(vec![addr(3), addr(1)]),
        ]);
        let mut seeds = Seeds::new(vec![addr(1)], &[source], false);
        let clock = Clock::default();
        for expected in
            [[addr(1), addr(2)], [addr(1), addr(2)], [addr(1), addr(3)], [addr(1), addr(3)]]
        {
            assert_eq!(seeds.look_up(&clock).await, expected);
        }
    }

    #[tokio::test]
    async fn there_is_a_bound_and_a_development_cluster_stays_on_its_host() {
        let far = SocketAddr::from(([10, 0, 0, 1], 1));
        let many: Vec<_> = [far].into_iter().chain((1..=65).map(addr)).collect();
        let mut seeds = Seeds::new(Vec::new(), &[script([Ok(many)])], true);
        assert_eq!(seeds.look_up(&Clock::default()).await, (1..=64).map(addr).collect::<Vec<_>>());
        assert_eq!(seeds.sources[0].last.len(), SEEDS_LIMIT, "no more is kept");
    }

    #[test]
    fn there_is_nobody_to_join_by_without_seeds_and_sources() {
        let none = |fixed, sources: &[_]| Seeds::new(fixed, sources, false).are_none(addr(1));
        assert!(none(vec![], &[]) && none(vec![addr(1)], &[]));
        assert!(!none(vec![addr(2)], &[]) && !none(vec![], &[script([])]));
    }
}
