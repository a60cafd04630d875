//! The near end: it sends and asks, and reads the figures off.

use std::{io, time::Duration};

use actix_cluster_transport::development::Authority;
use tokio::net::TcpStream;

use crate::{
    Done,
    case::{Case, Length, PAUSE, Who},
    cluster,
    far::Process,
    setup::{FAR, NEAR, Setup},
    streams::Streams,
    usage::Usage,
};

pub(crate) struct Near {
    far: Process,
    cluster: cluster::Near,
    quinn: Streams,
    tcp: Streams,
    /// Keeps raw quinn's socket.
    _endpoint: quinn::Endpoint,
}

/// One figure of one measurement: its name and value.
pub(crate) type Reading = (&'static str, f64);

/// How long the two ends may take to find each other, and what a measurement may take beyond its
/// length.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lanes of the transport, by its defaults.
const LANES: u64 = 2;

impl Near {
    /// Starts the far end, and connects to it every way.
    pub(crate) async fn connect(far_core: Option<usize>) -> io::Result<Self> {
        let authority = Authority::new();
        let (far, addresses) = Process::start(far_core, &Setup::of(&authority, FAR)).await?;
        let setup = Setup::of(&authority, NEAR);
        let endpoint = setup.endpoint()?;
        let connected = async {
            let cluster = cluster::Near::connect(&setup, addresses.cluster).await?;
            let dialled = endpoint.connect(addresses.quinn, FAR).map_err(io::Error::other)?;
            let quinn = Streams::quinn(dialled.await?).await?;
            let tcp = Streams::tcp(TcpStream::connect(addresses.tcp).await?)?;
            io::Result::Ok((cluster, quinn, tcp))
        };
        let (cluster, quinn, tcp) = tokio::time::timeout(PATIENCE, connected).await??;
        Ok(Self { far, cluster, quinn, tcp, _endpoint: endpoint })
    }

    /// Measures one case, once.
    ///
    /// # Errors
    ///
    /// When it takes too long, a connection breaks, or messages are lost, repeated or overtaken.
    pub(crate) async fn measure(
        &mut self,
        case: Case,
        who: Who,
        length: Length,
    ) -> io::Result<Vec<Reading>> {
        let before = (self.usage(), self.far.usage().await?);
        let pings = u32::try_from(length.pings).unwrap_or(u32::MAX);
        let patience = PATIENCE + length.time + pings.saturating_mul(10) * PAUSE;
        let played = tokio::time::timeout(patience, self.play(case, who, length)).await??;
        let used = (self.usage().since(&before.0), self.far.usage().await?.since(&before.1));
        if used.0.faults + used.1.faults > 0 {
            return Err(io::Error::other("messages were lost, repeated or overtaken"));
        }
        Ok(match played {
            Played::Stream(done) => readings(case, who, &done, &used.0, &used.1),
            Played::Pings(took) => quantiles(took),
        })
    }

    async fn play(&mut self, case: Case, who: Who, length: Length) -> io::Result<Played> {
        let Length { time, pings } = length;
        let Self { cluster, quinn, tcp, .. } = self;
        let streams = match who {
            Who::ActixCluster => None,
            Who::Quinn => Some(quinn),
            Who::Tcp => Some(tcp),
        };
        let done = match (case, streams) {
            (Case::OneWay(bytes) | Case::Payload(bytes), None) => {
                cluster.send_for(bytes, time).await?
            }
            (Case::OneWay(bytes) | Case::Payload(bytes), Some(streams)) => {
                streams.send_for(bytes, time).await?
            }
            (Case::InFlight(count), None) => cluster.ask_for(count, time).await?,
            (Case::InFlight(count), Some(streams)) => streams.ask_for(count, time).await?,
            (Case::Idle, None) => return Ok(Played::Pings(cluster.ping(pings, PAUSE).await?)),
            (Case::Idle, Some(streams)) => {
                return Ok(Played::Pings(streams.ping(pings, PAUSE).await?));
            }
        };
        Ok(Played::Stream(done))
    }

    fn usage(&self) -> Usage {
        let faults = self.cluster.faults() + self.quinn.faults() + self.tcp.faults();
        Usage::now(self.cluster.deliveries(), faults)
    }
}

enum Played {
    Stream(Done),
    Pings(Vec<Duration>),
}

fn readings(case: Case, who: Who, done: &Done, near: &Usage, far: &Usage) -> Vec<Reading> {
    let Done { count, took, turns } = *done;
    let rate = count as f64 / took.as_secs_f64();
    match case {
        Case::InFlight(_) => return vec![("requests_per_second", rate)],
        Case::Payload(bytes) => return vec![("megabytes_per_second", rate * bytes as f64 / 1e6)],
        Case::OneWay(_) | Case::Idle => {}
    }
    let each = |events: u64| events as f64 / count as f64;
    let mut readings = vec![("messages_per_second", rate)];
    if let (Some(near), Some(far)) = (near.cpu_seconds, far.cpu_seconds) {
        let per_million = |seconds: f64| seconds / count as f64 * 1e6;
        readings.push(("cpu_seconds_per_million", per_million(near + far)));
        readings.push(("near_cpu_seconds_per_million", per_million(near)));
        readings.push(("far_cpu_seconds_per_million", per_million(far)));
    }
    if who == Who::ActixCluster {
        readings.push(("near_wakes_per_message", each(turns * (1 + LANES))));
        readings.push(("far_wakes_per_message", each(far.deliveries)));
    }
    readings.push(("near_sleeps_per_message", each(near.parks)));
    readings.push(("far_sleeps_per_message", each(far.parks)));
    readings
}

fn quantiles(mut took: Vec<Duration>) -> Vec<Reading> {
    took.sort_unstable();
    let quantile = |share: f64| {
        let at = (took.len() as f64 * share) as usize;
        took.get(at.min(took.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    vec![("p50_us", quantile(0.5)), ("p99_us", quantile(0.99)), ("p99_9_us", quantile(0.999))]
}
