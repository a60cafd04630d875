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

use actix_cluster_transport::Clock;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::{Name, RData, rdata::SRV},
};
use tokio::task::JoinSet;

use super::{BlockingThread, Discovery, LookUp, SEEDS_LIMIT};

/// The nodes that the SRV records of a name lead to (RFC 2782): each with a host and a port of its own.
/// Needs the feature `dns-srv`.
///
/// Hosts come by the priority of their records, the lowest first; then by weight, the largest first; then
/// by name, from the last label on. Nothing is drawn by weight, since all nodes should come to the same order.
/// The records may name at most 64 hosts that count, and all addresses of each are given, IPv4 first: a node
/// that advertises another one than the first is not taken for the first node.
///
/// A host that has no address is left out, and so is one whose addresses can't be learned within a second and
/// a half in all. But where the latter is the first host, or where none is left, or there are no records,
/// the look-up fails: what was found last counts. A service that is stated not to be there, by the root
/// as its target, has no nodes.
///
/// The name has to have records of its own, and be no alias. In Kubernetes it is that of a headless service's
/// port, as `_cluster._udp.shop.default.svc.cluster.local.`. One without the dot at its end is looked for under
/// the system's search domains too. The hosts file does not count.
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
    /// A service's name. Nothing is looked up yet; one that is no name fails then.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), server: None, thread: BlockingThread::default() }
    }

    /// Asks this name server, in place of those of the system, and under no search domain.
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

/// How long an answer is waited for before it is asked for once more.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);

/// How long all may take: after 2 s a look-up does not count any more.
const PATIENCE: Duration = Duration::from_millis(1_500);

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
    let options = builder.options_mut();
    (options.timeout, options.attempts) = (ANSWER_PATIENCE, 1);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // A host's own name mostly stands there for itself alone.
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(io::Error::other)
}

async fn look_up(name: &str, server: Option<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let mut patience = Clock::default().sleep(PATIENCE);
    let resolver = resolver(server)?;
    let found = tokio::select! {
        biased;
        found = resolver.srv_lookup(name) => found.map_err(io::Error::other)?,
        () = &mut patience => return Err(io::ErrorKind::TimedOut.into()),
    };
    let records = found.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(record) => Some(record.clone()),
        _ => None,
    });
    let records = in_order(records);
    let mut hosts = JoinSet::new();
    for (at, record) in records.iter().enumerate() {
        let (resolver, target) = (resolver.clone(), record.target.clone());
        hosts.spawn(async move { (at, addresses(&resolver, target).await) });
    }
    let mut learned: Vec<Option<Vec<IpAddr>>> = vec![None; records.len()];
    loop {
        let host = tokio::select! {
            biased;
            host = hosts.join_next() => host,
            () = &mut patience => break,
        };
        let Some(host) = host else { break };
        let (at, found) = host.map_err(io::Error::other)?;
        learned[at] = found;
    }
    collected(&records, &learned)
}

/// The addresses of a host, also if there are none; `None` if that can't be learned.
async fn addresses(resolver: &TokioResolver, target: Name) -> Option<Vec<IpAddr>> {
    match resolver.lookup_ip(target.clone()).await {
        Ok(found) => {
            let mut found: Vec<_> = found.iter().collect();
            found.sort_unstable();
            Some(found)
        }
        Err(error) if error.is_no_records_found() => Some(Vec::new()),
        Err(error) => {
            tracing::warn!(host = %target, %error, "the addresses of a service's host were not found");
            None
        }
    }
}

/// What is known of the hosts, in their order. Who does not know the first one must not take another for it.
fn collected(records: &[SRV], learned: &[Option<Vec<IpAddr>>]) -> io::Result<Vec<SocketAddr>> {
    let hosts = || records.iter().zip(learned);
    if let Some((first, None)) = hosts().find(|(_, learned)| *learned != &Some(Vec::new())) {
        return Err(io::Error::other(format!("the addresses of {} are not known", first.target)));
    }
    let known = hosts().flat_map(|(record, learned)| {
        let addrs = learned.iter().flatten();
        addrs.map(|addr| SocketAddr::new(*addr, record.port))
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() && !records.is_empty() {
        return Err(io::Error::other("no host of the service has an address"));
    }
    Ok(known)
}

/// Whether records can be asked for under this name.
pub(crate) fn is_name(name: &str) -> bool {
    Name::from_utf8(name).is_ok_and(|name| !name.is_root())
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
        rr::{Record, RecordType, rdata::A},
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
                // It is silent about these.
                if query.queries[0].name().to_ascii().starts_with("silent") {
                    continue;
                }
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
        assert!(is_name(SERVICE) && !is_name("a..b") && !is_name("."));
    }

    #[tokio::test]
    async fn a_host_whose_name_server_is_silent_is_left_out_unless_it_is_the_first() {
        let records = Records::default();
        let service = DnsService::new(SERVICE).by_way_of(server(&records));
        let of = |priority| {
            vec![
                (SERVICE, srv(priority, 1, 7_461, "silent.test.")),
                (SERVICE, srv(2, 1, 7_462, "there.test.")),
                ("there.test.", a(1)),
            ]
        };
        *records.lock().expect("not poisoned") = of(3);
        let some = service.look_up().await.expect("the first is there");
        assert_eq!(found(some), ["10.0.0.1:7462"]);
        *records.lock().expect("not poisoned") = of(1);
        let error = service.look_up().await.expect_err("another would be taken for the first");
        assert!(error.to_string().contains("silent.test."), "{error}");
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
