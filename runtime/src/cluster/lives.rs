//! The lives that a node has in its cluster, one after the other: the first, and one more each time that
//! the others have declared it down.
//!
//! Runs on the cluster's thread, and ends with it.
//! Invariant: a life begins under an incarnation above all that its node had or tried, once nothing of
//! the life before runs any more. Only the first life founds a cluster.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{BindError, Bound, Clock, Random, TransportConfig};
use tokio::sync::oneshot;

use super::{
    JoinError, Rejoin, Validated,
    discovery::Seeds,
    join::{self, Found, Founding},
    membership::{Member, Profile},
    shell::{End, Former, Shell},
};
use crate::{
    actor::restart::Intensity,
    node::{Blueprint, NodeCore, NodeEnd, NodeId, Unborn},
};

/// What the cluster's thread starts with.
pub(crate) struct Plan {
    pub(crate) config: Validated,
    pub(crate) manifest_hash: u64,
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// Told who the node is to be.
    pub(crate) born: oneshot::Sender<Result<Birth, JoinError>>,
}

/// Who a node is to be, and how it hears that it has joined.
pub(crate) struct Birth {
    pub(crate) member: Member,
    /// Takes the node, once it is made.
    pub(crate) core: oneshot::Sender<Arc<NodeCore>>,
    pub(crate) joined: oneshot::Receiver<Result<(), JoinError>>,
}

/// Runs a node's cluster until the node has ended.
pub(crate) async fn run(plan: Plan) {
    let Plan { config, manifest_hash, name, clock, random, born } = plan;
    if config.is_dev {
        tracing::warn!(
            node = %name,
            "a development authority vouches for this cluster: not for production"
        );
    }
    let profile = Profile { manifest_hash, ..config.profile.clone() };
    let tries = Tries::new(config.rejoin.clone());
    let mut lives = Lives { config, profile, name, clock, random, last: 0, tries };
    let arrival = match lives.arrive_first().await {
        Ok(arrival) => arrival,
        Err(error) => return drop(born.send(Err(error))),
    };
    let (core_sender, core) = oneshot::channel();
    let (joined_sender, joined) = oneshot::channel();
    let birth = Birth { member: arrival.member.clone(), core: core_sender, joined };
    if born.send(Ok(birth)).is_err() {
        return;
    }
    // Whoever was starting the node has gone away.
    let Ok(mut core) = core.await else { return };
    let cut_short = CutShort(Arc::clone(&core));
    let Some(mut end) = lives.live(&core, arrival, joined_sender).await else { return };
    let reason = loop {
        let former = match end {
            End::Stopped => break NodeEnd::ShutDown,
            End::DeclaredDown(former) => former,
        };
        match lives.follow(&core, former).await {
            Ok(next) => (core, end) = next,
            Err(reason) => break reason,
        }
    };
    drop(core);
    cut_short.0.finish(reason).await;
}

/// Whoever waits for the node's end is told of it, also when the thread is cut short.
struct CutShort(Arc<NodeCore>);

impl Drop for CutShort {
    fn drop(&mut self) {
        self.0.cut_short(NodeEnd::Interrupted);
    }
}

/// What all lives have in common.
struct Lives {
    config: Validated,
    profile: Profile,
    name: Arc<str>,
    clock: Clock,
    random: Random,
    /// The last incarnation that the node had, or tried to have.
    last: u64,
    tries: Tries,
}

/// A node that is about to join, as this member.
pub(super) struct Arrival {
    pub(super) bound: Bound,
    pub(super) member: Member,
    pub(super) found: Found,
    pub(super) seeds: Seeds,
    pub(super) met: Met,
    pub(super) deadline: Instant,
}

/// How long a life waits until the port of the one before is free.
const PORT_PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const PORT_PERIOD: Duration = Duration::from_millis(20);

impl Lives {
    async fn arrive_first(&mut self) -> Result<Arrival, JoinError> {
        let bound = self.bind(self.config.transport.clone()).map_err(JoinError::Bind)?;
        let seeds = self.seeds();
        // The next life is where this one was.
        self.config.transport.bind = bound.addr();
        self.arrive(bound, seeds, Met::default(), Founding::Allowed).await
    }

    async fn arrive_again(&mut self, former: &Former) -> Result<Arrival, JoinError> {
        let mut config = self.config.transport.clone();
        config.credentials = former.credentials.clone();
        let until = self.clock.after(PORT_PATIENCE);
        let bound = loop {
            match self.bind(config.clone()) {
                Ok(bound) => break bound,
                Err(error) if self.clock.now() >= until => return Err(JoinError::Bind(error)),
                Err(_) => self.clock.sleep(PORT_PERIOD).await,
            }
        };
        let seeds = self.seeds().and_met(former.met.addrs().to_vec());
        let founding = Founding::Excluded { since: self.last };
        self.arrive(bound, seeds, former.met.clone(), founding).await
    }

    fn bind(&mut self, config: TransportConfig) -> Result<Bound, BindError> {
        Bound::bind(config, &*self.config.network, self.clock.clone(), self.random.fork())
    }

    fn seeds(&self) -> Seeds {
        Seeds::new(self.config.seeds.clone(), &self.config.sources, self.config.is_dev)
    }

    async fn arrive(
        &mut self,
        bound: Bound,
        mut seeds: Seeds,
        met: Met,
        founding: Founding,
    ) -> Result<Arrival, JoinError> {
        let addr = self.config.advertise.unwrap_or_else(|| bound.addr());
        let (clock, patience) = (&self.clock, self.config.join_timeout);
        let deadline = clock.after(patience);
        let found = join::ask_seeds(&bound, clock, addr, &mut seeds, patience, founding).await?;
        self.last = found.incarnation;
        let id = NodeId { name: Arc::clone(&self.name), incarnation: found.incarnation };
        let member = Member { id, addr, profile: Arc::new(self.profile.clone()) };
        Ok(Arrival { bound, member, found, seeds, met, deadline })
    }

    /// Lives until the life is over; `None` if it never quite began.
    async fn live(
        &mut self,
        core: &Arc<NodeCore>,
        arrival: Arrival,
        joined: oneshot::Sender<Result<(), JoinError>>,
    ) -> Option<End> {
        let network = Arc::clone(&self.config.network);
        let shell = Shell::new(Arc::clone(core), &arrival.member, network, self.random.fork())?;
        shell.live(arrival, self.config.join_timeout, joined).await
    }

    /// Joins again after a life that is over, and lives on until that life is over too.
    ///
    /// # Errors
    ///
    /// Why the node ends.
    async fn follow(
        &mut self,
        core: &Arc<NodeCore>,
        former: Former,
    ) -> Result<(Arc<NodeCore>, End), NodeEnd> {
        let lives = Arc::clone(core.lives());
        let mut last = None;
        loop {
            let Some(wait) = self.tries.next(self.clock.now(), &mut self.random) else {
                tracing::error!(node = %core.id(), "declared down, and not to join again: it ends");
                return Err(NodeEnd::DeclaredDown { id: core.id().clone(), last });
            };
            let begin = async {
                self.clock.sleep(wait).await;
                self.begin_again(core, &former).await
            };
            let begun = tokio::select! {
                biased;
                () = lives.stopping() => return Err(NodeEnd::ShutDown),
                begun = begin => begun,
            };
            let error = match begun {
                Ok((arrival, life)) => match self.live_again(core, arrival, life).await {
                    Ok(lived) => return Ok(lived),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(node = %core.id(), %error, cause, "could not join again");
            let is_final = matches!(error, JoinError::Refused { .. });
            last = Some(Arc::new(error));
            if is_final {
                return Err(NodeEnd::DeclaredDown { id: core.id().clone(), last });
            }
        }
    }

    async fn begin_again(
        &mut self,
        core: &NodeCore,
        former: &Former,
    ) -> Result<(Arrival, Unborn), JoinError> {
        let mut arrival = self.arrive_again(former).await?;
        let is_draining = core.cluster().is_some_and(|cluster| cluster.is_draining());
        let profile = Profile { is_draining, ..self.profile.clone() };
        arrival.member.profile = Arc::new(profile);
        let life = Blueprint::next(core, arrival.member.clone()).map_err(JoinError::Thread)?;
        Ok((arrival, life))
    }

    async fn live_again(
        &mut self,
        former: &Arc<NodeCore>,
        arrival: Arrival,
        life: Unborn,
    ) -> Result<(Arc<NodeCore>, End), JoinError> {
        let (core, lives) = (Arc::clone(life.core()), Arc::clone(former.lives()));
        let (sender, joined) = oneshot::channel();
        let living = self.live(&core, arrival, sender);
        let taking_over = async {
            let outcome = tokio::select! {
                biased;
                outcome = joined => outcome.unwrap_or(Err(JoinError::Interrupted)),
                () = lives.stopping() => {
                    core.shutdown().await;
                    return Ok(());
                }
            };
            outcome?;
            life.begin();
            if lives.begin(former, &core) {
                tracing::info!(former = %former.id(), node = %core.id(), "joined again");
                hand_over(former, &core);
            } else {
                core.shutdown().await;
            }
            Ok(())
        };
        let (end, taken_over) = tokio::join!(living, taking_over);
        taken_over?;
        Ok((core, end.unwrap_or(End::Stopped)))
    }
}

/// What came to a life until another one followed it.
fn hand_over(former: &NodeCore, core: &NodeCore) {
    let (Some(former), Some(cluster)) = (former.cluster(), core.cluster()) else { return };
    if former.is_draining() {
        cluster.drain();
    }
    // Types that were placed while this one was joining.
    for (actor_type, site) in former.routing.placed_apart() {
        cluster.place(actor_type, site);
    }
    former.routing.wake_waiters();
}

/// Grants tries to join again.
#[derive(Debug)]
struct Tries {
    policy: Rejoin,
    granted: Intensity,
}

impl Tries {
    fn new(policy: Rejoin) -> Self {
        Self { policy, granted: Intensity::default() }
    }

    /// How long to wait before the next try; `None` if there is to be none.
    fn next(&mut self, now: Instant, random: &mut Random) -> Option<Duration> {
        let Rejoin { limit, within, backoff } = &self.policy;
        let recent = self.granted.grant(now, *limit, *within)?;
        Some(random.jittered(backoff.nth(recent)))
    }
}

/// The addresses of members, those that came or went last first, for a life that follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Met(Vec<SocketAddr>);

/// How many are remembered: as many as a node asks.
const MET_LIMIT: usize = super::discovery::SEEDS_LIMIT;

impl Met {
    /// A member has come, or gone.
    pub(super) fn note(&mut self, addr: SocketAddr) {
        self.0.retain(|known| *known != addr);
        self.0.truncate(MET_LIMIT - 1);
        self.0.insert(0, addr);
    }

    pub(super) fn addrs(&self) -> &[SocketAddr] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use actix_cluster_transport::simulation::SimulatedNetwork;
    use tokio::task::LocalSet;

    use super::*;
    use crate::{
        actor::Backoff,
        cluster::ClusterConfig,
        node::{LocalThreads, Node},
    };

    #[test]
    fn tries_to_join_again_are_so_many_within_a_time_with_growing_waits() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(250));
        let within = Duration::from_secs(60);
        let mut tries =
            Tries::new(Rejoin { limit: 3, within, backoff: Backoff { first, longest } });
        let (now, mut random) = (Clock::default().now(), Random::from_seed(1));
        for most in [first, 2 * first, longest] {
            let wait = tries.next(now, &mut random).expect("it is granted");
            assert!((most / 2..=most).contains(&wait), "{wait:?}");
        }
        assert_eq!(tries.next(now + within, &mut random), None);
        let later = now + within + Duration::from_millis(1);
        assert!(tries.next(later, &mut random).is_some(), "the window has passed");
        assert_eq!(Tries::new(Rejoin::never()).next(now, &mut random), None);
    }

    #[test]
    fn the_members_met_last_are_remembered() {
        let addr = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        let mut met = Met::default();
        (1..=100).chain([50]).for_each(|n| met.note(addr(n)));
        let addrs = met.addrs();
        assert_eq!(addrs.len(), MET_LIMIT);
        assert_eq!(addrs[..3], [addr(50), addr(100), addr(99)]);
        assert_eq!(addrs.last(), Some(&addr(37)));
    }

    /// Two nodes on hosts of their own, of which the second joins through the first.
    async fn pair(network: &SimulatedNetwork) -> [Node; 2] {
        let config = ClusterConfig::dev("pair").expect("a name");
        let addr = |host: u8| SocketAddr::from(([127, 0, 0, host], 7_000));
        let start = |host: u8| {
            let machine = network.host(addr(host).ip());
            let config = config.clone().network(machine.clone()).bind(addr(host)).seed(addr(1));
            let builder = Node::builder().name(&format!("n{host}")).clock(machine.clock());
            builder.threads(LocalThreads).cluster(config).start()
        };
        [start(1).await.expect("it founds"), start(2).await.expect("it joins")]
    }

    #[test]
    fn a_life_that_nobody_holds_is_gone_once_the_next_has_begun() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let network = SimulatedNetwork::new(1);
            let nodes = pair(&network).await;
            for node in &nodes {
                node.wait_for_members(2).await;
            }
            let ips = [1, 2].map(|host| [127, 0, 0, host].into());
            let mut lives = Vec::new();
            for _ in 0..3 {
                lives.push(nodes.each_ref().map(|node| Arc::downgrade(&node.core())));
                let known = nodes.each_ref().map(Node::id);
                network.partition(ips[0], ips[1]);
                Clock::default().sleep(Duration::from_secs(15)).await;
                network.heal(ips[0], ips[1]);
                let next = |n: usize| nodes[n].id_after(&known[n]);
                tokio::select! {
                    next = next(0) => next,
                    next = next(1) => next,
                }
                .expect("one of them joins again");
                nodes[0].wait_for_members(2).await;
                nodes[1].wait_for_members(2).await;
            }
            let held = |n: usize| lives.iter().map(move |life| life[n].strong_count() > 0);
            // Handles hold the life that they were made in, and the cluster's thread the last one until the
            // present one is over.
            let held: Vec<Vec<bool>> = [0, 1].map(|n| held(n).collect()).into();
            assert!(held.contains(&vec![true; 3]), "one has never fallen: {held:?}");
            assert!(held.contains(&vec![true, false, true]), "{held:?}");
        });
    }
}
