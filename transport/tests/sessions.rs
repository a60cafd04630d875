//! Transports over real QUIC on the simulated network, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    rc::Rc,
    time::Duration,
};

use actix_cluster_transport::{
    Bound, Class, Clock, ClusterName, ConnectError, Credentials, Events, Frames, Later, NodeName,
    PeerId, Random, Refusal, SendError, Session, Transport, TransportConfig, Unsettled,
    development::Authority,
    simulation::{Link, SimulatedNetwork},
    socket::Udp,
};
use bytes::Bytes;
use tokio::task::{JoinHandle, LocalSet};

/// What a node's layer above has seen.
#[derive(Default)]
struct Seen {
    arrived: RefCell<Vec<(u64, Vec<u8>)>>,
    packets: RefCell<Vec<Vec<u8>>>,
    rejected: RefCell<Vec<(Unsettled, u8)>>,
    ended: RefCell<Vec<Vec<Unsettled>>>,
    failures: RefCell<Vec<String>>,
    links: Cell<u32>,
    sessions: Cell<u32>,
    /// Frames are rejected with this reason, if any, and settled otherwise.
    reject: Cell<Option<u8>>,
    /// Frames are neither settled nor rejected.
    hold: Cell<bool>,
    /// Frames are answered, and the network's trace is told of each time that some came.
    answer: RefCell<Option<SimulatedNetwork>>,
}

impl Events for Seen {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, info: &[u8]) -> Result<(), Refusal> {
        if info == b"same" {
            return Ok(());
        }
        let found = String::from_utf8_lossy(info).into_owned();
        Err(Refusal::Mismatch { field: "settings".into(), expected: "same".into(), found })
    }

    fn link_up(&self, _: &Session, first: bool) {
        self.links.set(self.links.get() + 1);
        self.sessions.set(self.sessions.get() + u32::from(first));
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, session: &Session, frames: &Frames) {
        if let Some(network) = &*self.answer.borrow() {
            network.record(format_args!("answers {}", frames.len()));
            for frame in frames {
                session.answer(frame.ticket, frame.target, frame.payload).expect("there is room");
            }
            return;
        }
        for frame in frames {
            self.arrived.borrow_mut().push((frame.target, frame.payload.to_vec()));
            match self.reject.get() {
                _ if frame.class == Class::Answer || self.hold.get() => {}
                Some(reason) => session.reject(frame.ticket, frame.target, reason, Later::Deliver),
                None => session.settle(frame.ticket),
            }
        }
    }

    fn packet(&self, _: &PeerId, packet: &[u8]) {
        self.packets.borrow_mut().push(packet.to_vec());
    }

    fn rejected(&self, _: &Session, message: Unsettled, reason: u8) {
        self.rejected.borrow_mut().push((message, reason));
    }

    fn session_ended(&self, _: &Session, unsettled: Vec<Unsettled>) {
        self.ended.borrow_mut().push(unsettled);
    }

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        self.failures.borrow_mut().push(cause.unwrap_or_else(|| error.to_string()));
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

struct World {
    network: SimulatedNetwork,
    authority: Authority,
}

struct Member {
    transport: Transport,
    seen: Rc<Seen>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { network: SimulatedNetwork::new(seed), authority: Authority::new() }
    }

    fn config(&self, node: &str, credentials: Credentials, host: u8) -> TransportConfig {
        let cluster = ClusterName::new("test").expect("a name");
        let mut config =
            TransportConfig::new(cluster, name(node), credentials, SocketAddr::new(ip(host), 7000));
        config.lanes = std::num::NonZeroU16::new(3).expect("not zero");
        config
    }

    fn bind(&self, config: TransportConfig, host: u8) -> Bound {
        let random = Random::from_seed(u64::from(host));
        Bound::bind(config, &self.network.host(ip(host)), Clock::default(), random).expect("bound")
    }

    fn start(&self, node: &str, host: u8, incarnation: u64, info: &'static [u8]) -> Member {
        let config = self.config(node, self.authority.issue(&name(node)), host);
        self.start_with(config, host, incarnation, info)
    }

    fn start_with(
        &self,
        config: TransportConfig,
        host: u8,
        incarnation: u64,
        info: &'static [u8],
    ) -> Member {
        let seen = Rc::new(Seen::default());
        let events: Rc<dyn Events> = seen.clone();
        let bound = self.bind(config, host);
        let transport = bound.open(incarnation, Bytes::from_static(info), events);
        Member { transport, seen }
    }

    fn pair(&self) -> (Member, Member) {
        (self.start("a", 1, 1, b"same"), self.start("b", 2, 1, b"same"))
    }
}

impl Member {
    fn connect(&self, other: &Self) {
        self.transport.connect(other.transport.local(), other.transport.addr());
    }

    async fn session(&self, other: &Self) -> Session {
        self.connect(other);
        until(|| self.transport.is_linked(other.transport.local())).await;
        self.transport.session(&other.transport.local().name).expect("linked")
    }

    fn numbers(&self) -> Vec<u32> {
        let arrived = self.seen.arrived.borrow();
        let number = |bytes: &Vec<u8>| u32::from_le_bytes(bytes[..4].try_into().expect("four"));
        arrived.iter().map(|(_, bytes)| number(bytes)).collect()
    }
}

/// Waits, in virtual time, until something holds.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        pass(1).await;
    }
    panic!("it never came to hold");
}

async fn pass(ms: u64) {
    Clock::default().sleep(Duration::from_millis(ms)).await;
}

/// Starts something in a process of its own: aborting the handle kills it.
async fn process<T: 'static>(start: impl FnOnce() -> T + 'static) -> (JoinHandle<()>, T) {
    let (give, take) = tokio::sync::oneshot::channel();
    let running = tokio::task::spawn_local(async move {
        let set = LocalSet::new();
        let life = async {
            let _ = give.send(start());
            std::future::pending::<()>().await;
        };
        set.run_until(life).await;
    });
    (running, take.await.expect("started"))
}

async fn tell(session: &Session, target: u64, number: u32) {
    let mut ticket = None;
    let payload = number.to_le_bytes();
    std::future::poll_fn(|task| {
        session.poll_send(target, number.into(), &payload, &mut ticket, task)
    })
    .await
    .expect("the session lives");
}

fn tell_now(session: &Session, target: u64, number: u32) -> Result<(), SendError> {
    session.try_send(Class::Message, target, number.into(), &number.to_le_bytes())
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async { test().await });
}

#[test]
fn messages_arrive_in_order_on_every_lane_and_are_settled() {
    simulate(|| async {
        let world = World::new(1);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        for number in 0..3_000 {
            tell(&session, u64::from(number % 7), number).await;
        }
        until(|| session.unsettled() == (0, 0)).await;
        for target in 0..7 {
            let arrived = b.seen.arrived.borrow();
            let of_target: Vec<_> =
                arrived.iter().filter(|(to, _)| *to == target).map(|(_, p)| p.clone()).collect();
            let expected: Vec<_> = (0..3_000u32)
                .filter(|n| u64::from(n % 7) == target)
                .map(|n| n.to_le_bytes().to_vec())
                .collect();
            assert_eq!(of_target, expected);
        }
        assert_eq!(b.seen.arrived.borrow().len(), 3_000);
    });
}

#[test]
fn a_cut_longer_than_the_idle_timeout_loses_and_repeats_nothing() {
    simulate(|| async {
        let world = World::new(2);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        for round in 0..5u32 {
            for number in 0..100 {
                tell(&session, 1, round * 200 + number).await;
            }
            pass(u64::from(round)).await;
            world.network.partition(ip(1), ip(2));
            for number in 100..200 {
                tell(&session, 1, round * 200 + number).await;
            }
            pass(10_000).await;
            assert!(!a.transport.is_linked(b.transport.local()), "the link is down");
            world.network.heal_all();
            until(|| session.unsettled() == (0, 0)).await;
        }
        assert_eq!(b.numbers(), (0..1_000).collect::<Vec<_>>());
        assert_eq!((a.seen.links.get(), a.seen.sessions.get()), (6, 1), "one session, six links");
        assert!(a.seen.ended.borrow().is_empty());
    });
}

#[test]
fn a_connection_that_migrates_goes_on() {
    simulate(|| async {
        let world = World::new(40);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        for round in 0..5 {
            for number in 0..100 {
                tell(&session, 1, round * 100 + number).await;
            }
            // As a router does that forgets who was behind which of its ports.
            world.network.rebind(a.transport.addr(), 9_000 + round as u16).expect("a free port");
        }
        until(|| session.unsettled() == (0, 0)).await;
        assert_eq!(b.numbers(), (0..500).collect::<Vec<_>>());
        assert_eq!(a.seen.links.get(), 1, "on the same connection");
    });
}

#[test]
fn when_both_dial_one_connection_is_kept_and_nothing_is_lost() {
    for seed in 0..20 {
        simulate(|| async move {
            let world = World::new(100 + seed);
            let (a, b) = world.pair();
            a.connect(&b);
            b.connect(&a);
            let (to_b, to_a) = (a.session(&b).await, b.session(&a).await);
            for number in 0..200 {
                tell(&to_b, 1, number).await;
                tell(&to_a, 1, number).await;
                pass(number as u64 % 3).await;
            }
            until(|| to_a.unsettled() == (0, 0) && to_b.unsettled() == (0, 0)).await;
            assert_eq!(a.numbers(), (0..200).collect::<Vec<_>>());
            assert_eq!(b.numbers(), (0..200).collect::<Vec<_>>());
            assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));
        });
    }
}

#[test]
fn a_new_incarnation_ends_the_session_and_what_was_unsettled_is_reported_once() {
    simulate(|| async {
        let world = World::new(3);
        let a = world.start("a", 1, 1, b"same");
        let world = Rc::new(world);
        let theirs = Rc::clone(&world);
        let (running, first) = process(move || theirs.start("b", 2, 1, b"same")).await;
        first.seen.hold.set(true);
        let session = a.session(&first).await;
        for number in 1..=10 {
            tell(&session, 1, number).await;
        }
        until(|| first.seen.arrived.borrow().len() == 10).await;
        running.abort();
        assert!(running.await.expect_err("killed").is_cancelled());
        drop(first);
        tell(&session, 1, 11).await;

        let second = world.start("b", 2, 2, b"same");
        let next = a.session(&second).await;
        assert_ne!(session, next);
        assert!(session.has_ended());
        let ended = a.seen.ended.borrow().clone();
        assert_eq!(ended.len(), 1);
        let tokens: Vec<_> = ended[0].iter().map(|unsettled| unsettled.token).collect();
        assert_eq!(tokens, (1..=11).collect::<Vec<_>>());
        tell(&next, 1, 5).await;
        until(|| second.numbers() == [5]).await;
    });
}

#[test]
fn a_forgotten_peer_ends_the_session_and_what_was_never_written_is_told_apart() {
    simulate(|| async {
        let world = World::new(4);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        b.seen.hold.set(true);
        tell(&session, 1, 1).await;
        until(|| b.numbers() == [1]).await;
        world.network.partition(ip(1), ip(2));
        pass(10_000).await;
        tell(&session, 1, 2).await;
        a.transport.forget(b.transport.local());
        let written: Vec<_> =
            a.seen.ended.borrow()[0].iter().map(|u| (u.token, u.written)).collect();
        assert_eq!(written, [(1, true), (2, false)]);
        assert!(session.try_send(Class::Message, 1, 0, b"x").is_err());
        world.network.heal_all();
        a.connect(&b);
        pass(5_000).await;
        assert!(!a.transport.is_linked(b.transport.local()), "this incarnation is over");
    });
}

#[test]
fn rejections_reach_the_sender_with_their_reason() {
    simulate(|| async {
        let world = World::new(5);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        b.seen.reject.set(Some(9));
        for number in 1..=50 {
            tell(&session, 1, number).await;
        }
        until(|| session.unsettled() == (0, 0)).await;
        let rejected = a.seen.rejected.borrow();
        let tokens: Vec<_> = rejected.iter().map(|(message, _)| message.token).collect();
        assert_eq!(tokens, (1..=50).collect::<Vec<_>>());
        assert!(rejected.iter().all(|(_, reason)| *reason == 9));
    });
}

#[test]
fn a_receiver_that_settles_nothing_stops_its_sender_at_the_bound() {
    simulate(|| async {
        let world = World::new(6);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        b.seen.hold.set(true);
        let mut accepted = 0;
        while session.try_send(Class::Message, 1, 0, &[0; 64]).is_ok() {
            accepted += 1;
        }
        assert_eq!(accepted, 1_024, "the bound of one target");
        assert!(session.try_send(Class::Message, 2, 0, &[0; 64]).is_ok(), "others go on");
        pass(1_000).await;
        assert_eq!(b.seen.arrived.borrow().len(), 1_025, "and nothing is held back");
    });
}

#[test]
fn a_quiet_peer_shows_that_it_lives_until_it_is_cut_off() {
    simulate(|| async {
        let world = World::new(14);
        let (a, b) = world.pair();
        assert_eq!(a.transport.activity(b.transport.local()), None);
        a.session(&b).await;
        pass(5_000).await;
        let look = || a.transport.activity(b.transport.local());
        let mut last = look();
        for _ in 0..20 {
            pass(600).await;
            assert_ne!(look(), last, "a keep-alive is sent each 500 ms");
            last = look();
            assert!(last.is_some());
        }
        world.network.silence(ip(2));
        pass(600).await;
        last = look();
        pass(1_400).await;
        assert_eq!(look(), last);
        pass(2_000).await;
        assert_eq!(look(), None, "the connection has timed out");
        let later = PeerId { incarnation: 2, ..b.transport.local().clone() };
        world.network.heal_all();
        until(|| look().is_some()).await;
        assert_eq!(a.transport.activity(&later), None);
    });
}

#[test]
fn packets_pass_beside_the_lanes() {
    simulate(|| async {
        let world = World::new(7);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        session.send_packet(Bytes::from_static(b"gossip"));
        until(|| !b.seen.packets.borrow().is_empty()).await;
        assert_eq!(b.seen.packets.borrow()[0], b"gossip");
        assert!(a.transport.ping(&name("b"), Duration::from_secs(1)).await);
        world.network.silence(ip(2));
        assert!(!a.transport.ping(&name("b"), Duration::from_secs(1)).await);
    });
}

#[test]
fn all_that_the_control_lane_has_goes_before_what_the_lanes_have() {
    const PACKETS: usize = 200;
    const PACKET_BYTES: usize = 1_000;
    const MESSAGE_BYTES: usize = 4_096;
    simulate(|| async {
        let world = World::new(1);
        // A slow way, on which no more than a few packets are under way at a time.
        let (bandwidth_bytes, queue_bytes) = (NonZeroU64::new(2_000_000), 32 * 1024);
        world.network.set_link(Link { bandwidth_bytes, queue_bytes, ..Link::default() });
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        for number in 0..600 {
            let message = [number as u8; MESSAGE_BYTES];
            session.try_send(Class::Message, number, 0, &message).expect("there is room");
        }
        until(|| b.seen.arrived.borrow().len() >= 100).await;
        for _ in 0..PACKETS {
            session.send_packet(Bytes::from_static(&[7; PACKET_BYTES]));
        }
        let arrived = || b.seen.arrived.borrow().len() * MESSAGE_BYTES;
        let before = arrived();
        until(|| b.seen.packets.borrow().len() == PACKETS).await;
        let beside = arrived() - before;
        // Three lanes that went beside it would have carried three times as much as it.
        let control = PACKETS * PACKET_BYTES;
        assert!(beside < control / 2, "{beside} bytes of lanes beside {control} of control");
        until(|| b.seen.arrived.borrow().len() == 600).await;
    });
}

#[test]
fn close_waits_for_what_was_sent() {
    simulate(|| async {
        let world = World::new(8);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        for number in 0..500 {
            tell(&session, 1, number).await;
        }
        a.transport.close(Duration::from_secs(5)).await;
        assert_eq!(b.numbers(), (0..500).collect::<Vec<_>>());
        assert_eq!(a.seen.ended.borrow().concat(), []);
    });
}

#[test]
fn close_stops_the_intake_of_both_ends_and_settles_what_was_taken() {
    simulate(|| async {
        let world = World::new(30);
        let (a, b) = world.pair();
        let (to_b, to_a) = (a.session(&b).await, b.session(&a).await);
        for number in 0..50 {
            tell(&to_b, 1, number).await;
            tell(&to_a, 1, number).await;
        }
        let mut sent_by_b = 50;
        let close = a.transport.close(Duration::from_secs(5));
        let send = async {
            while tell_now(&to_a, 1, sent_by_b).is_ok() {
                sent_by_b += 1;
                pass(1).await;
            }
        };
        tokio::join!(biased; close, send);
        assert_eq!(tell_now(&to_b, 1, 0), Err(SendError::Ended));
        assert!(sent_by_b < 60, "b was told soon: {sent_by_b}");
        assert_eq!(b.numbers(), (0..50).collect::<Vec<_>>());
        assert_eq!(a.numbers(), (0..sent_by_b).collect::<Vec<_>>(), "all that b was promised");
        assert_eq!(a.seen.ended.borrow().concat(), []);
        assert_eq!(to_a.unsettled(), (0, 0));
    });
}

#[test]
fn close_goes_on_over_a_new_connection() {
    simulate(|| async {
        let world = World::new(31);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        b.connect(&a);
        world.network.partition(ip(1), ip(2));
        for number in 0..50 {
            tell(&session, 1, number).await;
        }
        let close = a.transport.close(Duration::from_secs(60));
        let mend = async {
            pass(10_000).await;
            assert!(!a.transport.is_linked(b.transport.local()));
            world.network.heal_all();
        };
        tokio::join!(biased; close, mend);
        assert_eq!(b.numbers(), (0..50).collect::<Vec<_>>());
        assert_eq!(a.seen.ended.borrow().concat(), []);
    });
}

#[test]
fn close_gives_up_at_its_deadline() {
    simulate(|| async {
        let world = World::new(32);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        b.seen.hold.set(true);
        tell(&session, 1, 7).await;
        let start = Clock::default().now();
        a.transport.close(Duration::from_secs(5)).await;
        let took = Clock::default().now() - start;
        assert!((5..7).contains(&took.as_secs()), "{took:?}");
        let tokens: Vec<_> = a.seen.ended.borrow().concat().iter().map(|u| u.token).collect();
        assert_eq!(tokens, [7]);
    });
}

#[test]
fn messages_written_before_there_is_a_connection_arrive_once_there_is() {
    simulate(|| async {
        let world = World::new(9);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        world.network.partition(ip(1), ip(2));
        pass(10_000).await;
        for number in 0..100 {
            tell(&session, 1, number).await;
        }
        world.network.heal_all();
        until(|| b.numbers().len() == 100).await;
        assert_eq!(b.numbers(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn the_first_answers_are_on_their_way_while_the_rest_of_what_came_is_taken() {
    simulate(|| async {
        let world = World::new(9);
        let (a, b) = world.pair();
        let session = a.session(&b).await;
        pass(1_000).await;
        b.seen.answer.replace(Some(world.network.clone()));
        world.network.keep_log(1_000);
        for number in 0..400 {
            session.try_send(Class::Message, 3, number, &[7; 64]).expect("there is room");
        }
        until(|| a.numbers().len() == 400).await;
        let log = world.network.log();
        let is_answering = |text: &str| text.starts_with("answers");
        // Acknowledgements alone are shorter.
        let is_answer = |text: &str| {
            let sent = text.strip_prefix("Sent 10.0.0.2:7000 > 10.0.0.1:7000 ");
            let bytes = sent.and_then(|sent| sent.split(' ').next()?.parse::<u32>().ok());
            bytes.is_some_and(|bytes| bytes > 500)
        };
        let turns: Vec<&str> = log
            .entries()
            .map(|entry| entry.text.as_str())
            .filter(|text| is_answering(text) || is_answer(text))
            .collect();
        let first = turns.iter().position(|text| is_answering(text)).expect("some came");
        let last = turns.iter().rposition(|text| is_answering(text)).expect("some came");
        assert!(is_answer(turns[first + 1]) && first + 1 < last, "{turns:#?}");
    });
}

#[test]
fn the_port_is_free_once_a_transport_has_closed_however_slow_its_peers_seem() {
    simulate(|| async {
        let world = World::new(31);
        world.network.set_link(Link { latency: Duration::from_millis(400), ..Link::default() });
        let (a, b) = world.pair();
        let _session = a.session(&b).await;
        let addr = a.transport.addr();
        let begun = Clock::default().now();
        a.transport.close(Duration::ZERO).await;
        drop(a);
        let config = world.config("a", world.authority.issue(&name("a")), 1);
        let again = world.bind(config, 1);
        assert_eq!(again.addr(), addr);
        // Shorter than a packet and its answer take: nothing was waited for that depends on these.
        assert!(Clock::default().now() - begun < Duration::from_millis(800));
    });
}

#[test]
fn real_udp_on_loopback_carries_a_session_too() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(0);
        let start = |node: &str| {
            let mut config = world.config(node, world.authority.issue(&name(node)), 1);
            config.bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let seen = Rc::new(Seen::default());
            let events: Rc<dyn Events> = seen.clone();
            let bound = Bound::bind(config, &Udp, Clock::default(), Random::from_os());
            let info = Bytes::from_static(b"same");
            Member { transport: bound.expect("bound").open(1, info, events), seen }
        };
        let (a, b) = (start("a"), start("b"));
        let session = a.session(&b).await;
        for number in 0..20_000 {
            tell(&session, 1, number).await;
        }
        a.transport.close(Duration::from_secs(30)).await;
        assert_eq!(b.numbers(), (0..20_000).collect::<Vec<_>>());
        assert_eq!(a.seen.ended.borrow().concat(), []);
    });
}

/// Dials `b`, and gives what the failed dials said.
async fn failures(a: &Member, b: &Member) -> Vec<String> {
    a.connect(b);
    until(|| a.seen.failures.borrow().len() >= 2).await;
    assert!(!a.transport.is_linked(b.transport.local()));
    assert!(!b.transport.is_linked(a.transport.local()));
    a.seen.failures.borrow().clone()
}

#[test]
fn a_wrong_authority_is_refused() {
    simulate(|| async {
        let world = World::new(20);
        let b = world.start("b", 2, 1, b"same");
        let stranger = Authority::new().issue(&name("a"));
        let a = world.start_with(world.config("a", stranger, 1), 1, 1, b"same");
        let failures = failures(&a, &b).await;
        assert!(failures[0].contains("authority"), "{failures:?}");
    });
}

#[test]
fn another_cluster_is_refused() {
    simulate(|| async {
        let world = World::new(21);
        let b = world.start("b", 2, 1, b"same");
        let mut config = world.config("a", world.authority.issue(&name("a")), 1);
        config.cluster = ClusterName::new("other").expect("a name");
        let a = world.start_with(config, 1, 1, b"same");
        let failures = failures(&a, &b).await;
        assert!(failures[0].contains("belongs to cluster test"), "{failures:?}");
    });
}

#[test]
fn a_certificate_that_does_not_name_the_node_is_refused() {
    simulate(|| async {
        let world = World::new(22);
        let mut config = world.config("mallory", world.authority.issue(&name("mallory")), 1);
        config.node = name("a");
        let refused =
            Bound::bind(config, &world.network.host(ip(1)), Clock::default(), Random::from_seed(1));
        let error = refused.expect_err("its own certificate does not allow the name");
        let rule = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(rule.contains("node is a") && rule.contains("DNS name"), "{rule}");
    });
}

#[test]
fn settings_that_differ_are_refused_by_field() {
    simulate(|| async {
        let world = World::new(23);
        let b = world.start("b", 2, 1, b"same");
        let a = world.start("a", 1, 1, b"other");
        let failures = failures(&a, &b).await;
        assert!(failures[0].contains("settings differs"), "{failures:?}");
    });
}

#[test]
fn a_newcomer_beyond_the_limit_of_peers_is_refused() {
    simulate(|| async {
        let world = World::new(26);
        let mut config = world.config("b", world.authority.issue(&name("b")), 2);
        config.peers_limit = 1;
        let b = world.start_with(config, 2, 1, b"same");
        let a = world.start("a", 1, 1, b"same");
        a.session(&b).await;
        let c = world.start("c", 3, 1, b"same");
        let failures = failures(&c, &b).await;
        assert!(failures[0].contains("as many nodes are known"), "{failures:?}");
        // One that is forgotten makes room.
        b.transport.forget(a.transport.local());
        c.session(&b).await;
    });
}

#[test]
fn another_node_than_the_one_dialled_is_refused() {
    simulate(|| async {
        let world = World::new(24);
        let (a, b) = world.pair();
        let c = PeerId { name: name("c"), incarnation: 1 };
        a.transport.connect(&c, b.transport.addr());
        until(|| !a.seen.failures.borrow().is_empty()).await;
        assert!(a.seen.failures.borrow()[0].contains("node b answers"));
    });
}

#[test]
fn the_name_of_a_live_node_is_refused_and_that_of_a_dead_one_is_free() {
    simulate(|| async {
        let world = Rc::new(World::new(25));
        let a = world.start("a", 1, 3, b"same");
        let joiner = |node: &str, host| {
            world.bind(world.config(node, world.authority.issue(&name(node)), host), host)
        };
        let (seed, highest) = joiner("new", 9).inquire(a.transport.addr()).await.expect("free");
        assert_eq!((seed, highest), (a.transport.local().clone(), 0));

        let in_use = |error| match error {
            ConnectError::Refused(Refusal::NameInUse { name }) => name,
            other => panic!("{other:?}"),
        };
        let seeds_own = joiner("a", 8).inquire(a.transport.addr()).await;
        assert_eq!(in_use(seeds_own.expect_err("in use")), name("a"));

        let theirs = Rc::clone(&world);
        let (running, b) = process(move || theirs.start("b", 2, 5, b"same")).await;
        a.session(&b).await;
        let second = joiner("b", 3).inquire(a.transport.addr()).await;
        assert_eq!(in_use(second.expect_err("in use")), name("b"));
        running.abort();
        assert!(running.await.expect_err("killed").is_cancelled());
        drop(b);
        let (_, highest) = joiner("b", 4).inquire(a.transport.addr()).await.expect("it is dead");
        assert_eq!(highest, 5);
    });
}

#[test]
fn one_seed_gives_one_trace() {
    fn trace(seed: u64) -> (u64, u64) {
        let result = Rc::new(Cell::new((0, 0)));
        let out = Rc::clone(&result);
        simulate(|| async move {
            let world = World::new(seed);
            let (a, b) = world.pair();
            a.connect(&b);
            b.connect(&a);
            let session = a.session(&b).await;
            for number in 0..300 {
                tell(&session, u64::from(number % 5), number).await;
            }
            world.network.partition(ip(1), ip(2));
            pass(8_000).await;
            world.network.heal_all();
            until(|| session.unsettled() == (0, 0)).await;
            let trace = world.network.trace();
            out.set((trace.hash, trace.packets));
        });
        result.get()
    }
    let first = trace(50);
    assert!(first.1 > 50, "{first:?}");
    assert_eq!(first, trace(50));
    assert_ne!(first, trace(51));
}
