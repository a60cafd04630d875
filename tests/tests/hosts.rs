//! Real processes on hosts of their own, which the network parts in both directions or in one.
//!
//! Needs network namespaces: Linux, `ip`, and the right to use them. Where they are not to be had each test says
//! why, and is skipped.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

#[path = "hosts/wires.rs"]
mod wires;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    num::NonZeroUsize,
    process::Command,
    time::{Duration, Instant},
};

use actix_cluster::{
    prelude::*,
    transport::{NodeName, development::Authority},
};
use actix_cluster_tests::processes::{
    PATIENCE, Process, Scratch, command, orders,
    place::{Ping, Place, Where},
    role, run, say_lives,
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use self::wires::{Way, Wires, addr};

/// What a node's process is ordered to do, and answers in a line.
#[derive(Serialize, Deserialize)]
enum Order {
    /// To say how it is.
    State,
    /// To ask all keys, and wait for so long.
    Ask { patience: Duration },
}

/// How a node is, as it sees itself.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
struct State {
    id: String,
    members: BTreeSet<String>,
    has_majority: bool,
    has_settled: bool,
    entities: usize,
}

/// How an ask ended.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
enum Answer {
    At(Where),
    Rejected(String),
    Unknown(String),
}

/// How each key answered.
type Answers = BTreeMap<String, Answer>;

const ANSWER: &str = "answer ";

/// The keys that are asked, of which each host has some.
fn keys() -> impl Iterator<Item = String> {
    (0..48).map(|number| format!("place-{number}"))
}

/// The node that tests of this file start as a process on each host.
#[test]
fn a_node_on_a_host() {
    let Some(name) = role() else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("info").init();
    let mut orders = orders();
    run(async {
        let config = ClusterConfig::from_env().expect("the test has set it");
        let arbiters = NonZeroUsize::new(2).expect("not zero");
        let builder = Node::builder().name(&name).arbiters(arbiters).entity(|_| Place::default());
        let node = builder.cluster(config).start().await.expect("it joins");
        let obeys = async {
            while let Some(order) = orders.recv().await {
                let order = serde_json::from_str(&order).expect("an order");
                println!("{ANSWER}{}", obey(&node, order).await);
            }
        };
        tokio::join!(say_lives(&node), obeys);
    });
}

async fn obey(node: &Node, order: Order) -> String {
    match order {
        Order::State => serde_json::to_string(&state(node)),
        Order::Ask { patience } => serde_json::to_string(&ask(node, patience).await),
    }
    .expect("plain data")
}

fn state(node: &Node) -> State {
    let members = node.members().iter().map(|member| member.id.to_string()).collect();
    State {
        id: node.id().to_string(),
        members,
        has_majority: node.has_majority(),
        has_settled: node.has_settled(),
        entities: node.entity_count(),
    }
}

async fn ask(node: &Node, patience: Duration) -> Answers {
    let mut asks = JoinSet::new();
    for key in keys() {
        let entity = node.entity::<Place>(&key);
        asks.spawn(async move {
            let answer = match entity.ask(Ping).within(patience).await {
                Ok(at) => Answer::At(at),
                Err(error) if error.is_unknown() => Answer::Unknown(error.to_string()),
                Err(error) => Answer::Rejected(error.to_string()),
            };
            (key, answer)
        });
    }
    asks.join_all().await.into_iter().collect()
}

/// Three hosts, each with a node.
struct Hosts {
    nodes: BTreeMap<u8, Process>,
    // Gone after the processes that use them.
    wires: Wires,
    scratch: Scratch,
}

impl Hosts {
    /// Three that have come to know that they are three, unless there are none to be had.
    async fn start() -> Option<Self> {
        let wires = Wires::new(3)?;
        let (scratch, authority) = (Scratch::new(), Authority::new());
        fs::create_dir_all(&scratch.0).expect("a directory");
        let mut hosts = Self { nodes: BTreeMap::new(), wires, scratch };
        for host in 1..=3 {
            let process = hosts.process(&authority, host);
            hosts.nodes.insert(host, Process::start(process).await);
        }
        hosts.agree(&[1, 2, 3]).await;
        // The whole of a side is the largest view that has held for ten seconds.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let places = hosts.all_answer(&[1, 2, 3]).await;
        assert_eq!(owners(&places), ["n1/1", "n2/1", "n3/1"].map(str::to_owned).into());
        Some(hosts)
    }

    /// What starts a host's node, as one does in production: with a certificate of its own, by its
    /// environment.
    fn process(&self, authority: &Authority, host: u8) -> Command {
        let name = format!("n{host}");
        let issued = authority.issue_pem(&NodeName::new(&name).expect("a name"));
        let mut command = command(&self.wires.launcher(host), "a_node_on_a_host", &name);
        for (variable, file, pem) in [
            ("CERTIFICATE", "certificate", &issued.chain),
            ("KEY", "key", &issued.key),
            ("ROOTS", "roots", &authority.roots_pem()),
        ] {
            let path = self.scratch.0.join(format!("{name}-{file}.pem"));
            fs::write(&path, pem).expect("it is written");
            command.env(format!("ACTIX_CLUSTER_{variable}"), path);
        }
        let seeds = [addr(1), addr(2), addr(3)].map(|addr| addr.to_string()).join(",");
        command.env("ACTIX_CLUSTER_NAME", "hosts").env("ACTIX_CLUSTER_NODE", name);
        command.env("ACTIX_CLUSTER_BIND", addr(host).to_string());
        command.env("ACTIX_CLUSTER_SEEDS", seeds);
        command
    }

    async fn order<T: for<'de> Deserialize<'de>>(&mut self, host: u8, order: &Order) -> T {
        let node = self.nodes.get_mut(&host).expect("a host");
        node.order(&serde_json::to_string(order).expect("plain data"));
        serde_json::from_str(&node.wait_for(ANSWER).await).expect("what was asked for")
    }

    /// Waits until the nodes of these hosts are as they are to be.
    async fn until(&mut self, hosts: &[u8], what: &str, are: impl Fn(&[State]) -> bool) {
        let began = Instant::now();
        loop {
            let mut states = Vec::new();
            for &host in hosts {
                states.push(self.order::<State>(host, &Order::State).await);
            }
            if are(&states) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "still not: {what}: {states:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the nodes of these hosts, a majority, see each other as they are now and nobody else, and
    /// what they own is where it belongs by that.
    async fn agree(&mut self, hosts: &[u8]) {
        let agree = |states: &[State]| {
            let all: BTreeSet<_> = states.iter().map(|state| state.id.clone()).collect();
            let agrees =
                |state: &State| state.members == all && state.has_majority && state.has_settled;
            states.iter().all(agrees)
        };
        self.until(hosts, "they agree", agree).await;
    }

    /// Cuts a host off: the two others go on without it, and nothing is answered there.
    async fn leave_behind(&mut self, host: u8, ways: &[Way]) {
        for &way in ways {
            self.wires.cut(host, way);
        }
        let others: Vec<u8> = (1..=3).filter(|other| *other != host).collect();
        self.agree(&others).await;
        let places = self.all_answer(&others).await;
        assert_eq!(owners(&places), others.iter().map(|other| format!("n{other}/1")).collect());
        let has_none = |states: &[State]| states[0].entities == 0;
        self.until(&[host], "what it had has ended", has_none).await;
        let order = Order::Ask { patience: Duration::from_secs(1) };
        let refused: Answers = self.order(host, &order).await;
        let is_rejected = |answer: &Answer| matches!(answer, Answer::Rejected(_));
        assert!(refused.values().all(is_rejected), "{refused:?}");
        let state: State = self.order(host, &Order::State).await;
        assert_eq!(state.entities, 0, "nothing has begun there");
        self.agree(&others).await;
    }

    /// Mends the host's wire: its node becomes a member again as a later incarnation, the others are who they
    /// were, and all own keys that answer from everywhere.
    async fn take_back(&mut self, host: u8, ways: &[Way]) {
        for &way in ways {
            self.wires.mend(host, way);
        }
        self.agree(&[1, 2, 3]).await;
        let places = self.all_answer(&[1, 2, 3]).await;
        let incarnation = |each| if each == host { 2 } else { 1 };
        let ids = (1..=3).map(|each| format!("n{each}/{}", incarnation(each)));
        assert_eq!(owners(&places), ids.collect());
        let again = format!("n{host}/2");
        let is_fresh = |at: &Where| at.node != again || at.pings == 3;
        assert!(places.iter().all(is_fresh), "nothing is left there: {places:?}");
    }

    /// Where each key is, which answers from each of these hosts in turn, and as one activation.
    async fn all_answer(&mut self, hosts: &[u8]) -> Vec<Where> {
        let order = Order::Ask { patience: PATIENCE / 2 };
        let mut places = BTreeMap::<String, Where>::new();
        for &host in hosts {
            for (key, answer) in self.order::<Answers>(host, &order).await {
                let Answer::At(at) = answer else { panic!("{key} from {host}: {answer:?}") };
                if let Some(before) = places.insert(key.clone(), at.clone()) {
                    let next = Where { pings: before.pings + 1, ..before };
                    assert_eq!(at, next, "{key} from {host}: another activation");
                }
            }
        }
        places.into_values().collect()
    }
}

fn owners(places: &[Where]) -> BTreeSet<String> {
    places.iter().map(|at| at.node.clone()).collect()
}

#[test]
fn a_host_that_is_cut_off_stops_as_a_minority_and_joins_again_when_it_is_mended() {
    run(async {
        let Some(mut hosts) = Hosts::start().await else { return };
        hosts.leave_behind(3, &[Way::From, Way::To]).await;
        let state: State = hosts.order(3, &Order::State).await;
        assert_eq!((state.members, state.has_majority), ([state.id].into(), false));
        hosts.take_back(3, &[Way::From, Way::To]).await;
    });
}

#[test]
fn a_host_that_nobody_hears_is_left_behind_until_it_is_mended() {
    run(async {
        let Some(mut hosts) = Hosts::start().await else { return };
        hosts.leave_behind(1, &[Way::From]).await;
        hosts.take_back(1, &[Way::From]).await;
    });
}

#[test]
fn a_host_that_hears_nobody_is_left_behind_until_it_is_mended() {
    run(async {
        let Some(mut hosts) = Hosts::start().await else { return };
        hosts.leave_behind(2, &[Way::To]).await;
        hosts.take_back(2, &[Way::To]).await;
    });
}
