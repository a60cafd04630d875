//! Nodes that are named by the SRV records of a service.
//!
//! Invariant: each look-up asks anew, with the system's settings as they are then, and leaves nothing
//! behind. What the records say in one way is put in one order, wherever it is asked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{RData, rdata::SRV},
};
use tokio::task::JoinSet;

use super::{BlockingThread, Discovery, LookUp, SEEDS_LIMIT};

/// The nodes that the SRV records of a name lead to (RFC 2782): each with a host and a port of its own.
/// Needs the feature `dns-srv`.
///
/// Hosts come by the priority of their records, the lowest first; then by weight, the largest first; then
/// by name. Nothing is drawn by weight, since all nodes should come to the same order. Of hosts with several
/// addresses all count, and of records the first 64. A host that has no address is left out; where none has
/// any, and where there are no records, the look-up fails.
///
/// In Kubernetes the name is that of a headless service's port, as
/// `_cluster._udp.shop.default.svc.cluster.local.`; with the dot at its end it is not looked for under other
/// domains first.
///
/// # Examples
///
/// ```
/// use actix_cluster::{ClusterConfig, discovery::DnsService};
///
/// let config = ClusterConfig::dev("shop")?.discover(DnsService::new("_cluster._udp.shop.internal."));
/// // Of an agent that answers on this host:
/// let agent = DnsService::new("shop.service.consul.").by_way_of(([127, 0, 0, 1], 8600).into());
/// # let _ = (config, agent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DnsService {
    name: Arc<str>,
    server: Option<SocketAddr>,
    thread: BlockingThread,
}

impl DnsService {
    /// A service's name. Nothing is looked up yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), server: None, thread: BlockingThread::default() }
    }

    /// Asks this name server, and not those of the system.
    #[must_use]
    pub fn by_way_of(self, server: SocketAddr) -> Self {
        Self { server: Some(server), ..self }
    }
}

impl Discovery for DnsService {
    fn look_up(&self) -> LookUp {
        let (name, server) = (Arc::clone(&self.name), self.server);
        // Its own runtime, so that reading the system's settings holds up nobody, and no task is left.
        self.thread.run("actix-cluster-srv", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(look_up(&name, server))
        })
    }
}

/// How long one server is waited for, twice; longer than that a look-up does not count anyway.
const PATIENCE: Duration = Duration::from_secs(1);

fn resolver(server: Option<SocketAddr>) -> io::Result<TokioResolver> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio().map_err(io::Error::other)?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
                way.port = server.port();
                way
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let ResolverOpts { timeout, attempts, ip_strategy, .. } = builder.options_mut();
    (*timeout, *attempts, *ip_strategy) = (PATIENCE, 2, LookupIpStrategy::Ipv4AndIpv6);
    builder.build().map_err(io::Error::other)
}

async fn look_up(name: &str, server: Option<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let resolver = resolver(server)?;
    let found = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
    let records = found.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(record) => Some(record.clone()),
        _ => None,
    });
    let mut hosts = JoinSet::new();
    for (at, record) in (0..).zip(in_order(records)) {
        let resolver = resolver.clone();
        hosts.spawn(async move {
            let SRV { port, target, .. } = record;
            let found = resolver.lookup_ip(target.clone()).await;
            let found = found.map(|found| found.iter().collect::<Vec<_>>());
            (at, port, target, found)
        });
    }
    let mut addrs: Vec<(u32, IpAddr, u16)> = Vec::new();
    let mut failed = None;
    while let Some(host) = hosts.join_next().await {
        let (at, port, target, found) = host.map_err(io::Error::other)?;
        match found {
            Ok(found) => addrs.extend(found.into_iter().map(|ip| (at, ip, port))),
            Err(error) => {
                tracing::warn!(name, host = %target, %error, "a host of a service has no address");
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if addrs.is_empty() => return Err(io::Error::other(error)),
        _ => {}
    }
    addrs.sort_unstable();
    Ok(addrs.into_iter().map(|(_, ip, port)| SocketAddr::new(ip, port)).collect())
}

/// The records that count. A target that is the root says that there is no such service.
fn in_order(records: impl Iterator<Item = SRV>) -> Vec<SRV> {
    let mut records: Vec<_> = records.filter(|record| !record.target.is_root()).collect();
    records.sort_by(|a, b| {
        let rank = |record: &SRV| (record.priority, u16::MAX - record.weight);
        rank(a).cmp(&rank(b)).then_with(|| (&a.target, a.port).cmp(&(&b.target, b.port)))
    });
    records.truncate(SEEDS_LIMIT);
    records
}

#[cfg(test)]
mod tests {
    use std::{
        net::UdpSocket,
        sync::{Mutex, PoisonError},
    };

    use hickory_resolver::proto::{
        op::{Message, ResponseCode},
        rr::{Name, Record, RecordType, rdata::A},
    };

    use super::*;

    type Records = Arc<Mutex<Vec<(&'static str, RData)>>>;

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
        RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).expect("a name")))
    }

    fn a(last: u8) -> RData {
        RData::A(A::new(10, 0, 0, last))
    }

    const SERVICE: &str = "_cluster._udp.shop.test.";

    /// A name server that knows these records, for as long as the tests run. They may be kept for an hour.
    fn server(records: &Records) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let addr = socket.local_addr().expect("bound");
        let records = Arc::clone(records);
        let answering = std::thread::Builder::new().spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let query = Message::from_vec(&buffer[..length]).expect("a query");
                let reply = reply(&query, &records.lock().unwrap_or_else(PoisonError::into_inner));
                let reply = reply.to_vec().expect("it is well formed");
                socket.send_to(&reply, from).expect("it is there");
            }
        });
        answering.expect("a thread");
        addr
    }

    fn reply(query: &Message, records: &[(&'static str, RData)]) -> Message {
        let asked = &query.queries[0];
        let (name, kind) = (asked.name().to_ascii(), asked.query_type());
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.add_query(asked.clone());
        let found = records.iter().filter(|(of, data)| {
            of.eq_ignore_ascii_case(&name)
                && (data.record_type() == kind || kind == RecordType::ANY)
        });
        for (_, data) in found {
            reply.add_answer(Record::from_rdata(asked.name().clone(), 3_600, data.clone()));
        }
        let is_known = records.iter().any(|(of, _)| of.eq_ignore_ascii_case(&name));
        reply.metadata.response_code =
            if is_known { ResponseCode::NoError } else { ResponseCode::NXDomain };
        reply
    }

    fn found(addrs: Vec<SocketAddr>) -> Vec<String> {
        addrs.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_service_is_looked_up_anew_each_time_and_in_the_order_of_its_records() {
        let records = Records::default();
        *records.lock().expect("not poisoned") = vec![
            (SERVICE, srv(2, 9, 7_463, "c.test.")),
            (SERVICE, srv(1, 1, 7_461, "a.test.")),
            (SERVICE, srv(1, 1, 7_462, "b.test.")),
            (SERVICE, srv(1, 5, 7_464, "d.test.")),
            ("a.test.", a(1)),
            ("b.test.", a(3)),
            ("b.test.", a(2)),
            ("c.test.", a(4)),
            ("d.test.", a(5)),
        ];
        let service = DnsService::new(SERVICE).by_way_of(server(&records));
        assert_eq!(
            found(service.look_up().await.expect("it is known")),
            ["10.0.0.5:7464", "10.0.0.1:7461", "10.0.0.2:7462", "10.0.0.3:7462", "10.0.0.4:7463"]
        );
        *records.lock().expect("not poisoned") =
            vec![(SERVICE, srv(1, 1, 7_461, "a.test.")), ("a.test.", a(7))];
        let again = service.look_up().await.expect("it is known");
        assert_eq!(found(again), ["10.0.0.7:7461"], "nothing was kept");
    }

    #[tokio::test]
    async fn what_is_not_there_is_left_out_or_fails() {
        let records = Records::default();
        let service = DnsService::new(SERVICE).by_way_of(server(&records));
        assert!(service.look_up().await.is_err(), "there is no such name");
        *records.lock().expect("not poisoned") = vec![
            (SERVICE, srv(1, 1, 7_461, "gone.test.")),
            (SERVICE, srv(1, 1, 7_462, "there.test.")),
            ("there.test.", a(1)),
        ];
        let some = service.look_up().await.expect("one is there");
        assert_eq!(found(some), ["10.0.0.1:7462"]);
        records.lock().expect("not poisoned").pop();
        assert!(service.look_up().await.is_err(), "none has an address");
        *records.lock().expect("not poisoned") = vec![(SERVICE, srv(0, 0, 0, "."))];
        assert_eq!(service.look_up().await.expect("it is stated"), [], "there is no such service");
        let broken = DnsService::new("a..b").look_up().await;
        assert!(broken.is_err(), "that is no name");
    }

    #[test]
    fn so_many_records_count() {
        let all = (0..100).map(|n| match srv(n, 1, n, "a.test.") {
            RData::SRV(record) => record,
            _ => unreachable!("it is one"),
        });
        let counted = in_order(all.rev());
        assert_eq!(counted.len(), SEEDS_LIMIT);
        assert!(counted.iter().map(|record| record.port).eq(0..64));
    }
}
