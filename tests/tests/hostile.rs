//! A peer with a good certificate and bad manners: whatever it sends, the node answers others.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use actix_cluster::{
    ClusterConfig, Node, RejectReason, UnknownReason, WireId,
    node::LocalThreads,
    prelude::*,
    transport::{
        Bound, Class, Clock, ClusterName, ConnectError, Events, Frames, NodeName, PeerId, Random,
        Refusal, Session, Transport, TransportConfig, Unsettled, development::Authority,
    },
};
use actix_cluster_tests::{World, addr, ip, pause, simulate, until};
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "String")]
#[remote(name = "test.Say", version = 1)]
struct Say(String);

#[derive(RemoteActor)]
#[remote(name = "test.Echo", handles(Say), placement = Eventual, state = volatile)]
struct Echo;

impl Actor for Echo {
    type Context = ClusterContext<Self>;
}

impl Handler<Say> for Echo {
    type Result = String;
    fn handle(&mut self, Say(what): Say, _: &mut Self::Context) -> String {
        what
    }
}

/// What the bad peer hears.
#[derive(Default)]
struct Heard {
    session: RefCell<Option<Session>>,
    rejected: RefCell<Vec<u8>>,
    answers: RefCell<Vec<Vec<u8>>>,
    messages: RefCell<Vec<(u64, Vec<u8>)>>,
    ended: Cell<bool>,
}

impl Events for Heard {
    fn highest_incarnation(&self, _: &NodeName) -> u64 {
        0
    }

    fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn link_up(&self, session: &Session, _: bool) {
        self.session.replace(Some(session.clone()));
    }

    fn link_down(&self, _: &Session) {}

    fn deliver(&self, session: &Session, frames: &Frames) {
        for frame in frames {
            match frame.class {
                Class::Message if frame.payload.first() == Some(&FLUSH) => {
                    // Whether it answers.
                    session.settle(frame.ticket);
                }
                Class::Message => {
                    session.settle(frame.ticket);
                    self.messages.borrow_mut().push((frame.target, frame.payload.to_vec()));
                }
                Class::Answer => self.answers.borrow_mut().push(frame.payload.to_vec()),
            }
        }
    }

    fn packet(&self, _: &PeerId, _: &[u8]) {}

    fn rejected(&self, _: &Session, _: Unsettled, reason: u8) {
        self.rejected.borrow_mut().push(reason);
    }

    fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {
        self.ended.set(true);
    }

    fn dial_failed(&self, _: &PeerId, error: &ConnectError) {
        panic!("{error}");
    }
}

/// The first byte of a head that asks for a marker.
const FLUSH: u8 = 16;

/// What a node of this release says of itself when it knows no message.
const MANIFEST: &[u8] = b"\0\x07xxh3-64\x80\x20\x01\0";

struct Bad {
    heard: Rc<Heard>,
    session: Session,
    _transport: Transport,
}

/// A node that hosts echoes, and the bad peer with a session to it.
async fn meet(world: &World) -> (Node, Bad) {
    let authority = Authority::new();
    let name = |text: &str| NodeName::new(text).expect("a name");
    let credentials = |node: &str| authority.issue(&name(node));
    let config = ClusterConfig::new("simulated", credentials("good")).expect("a name");
    let config = config.network(world.network.host(ip(1))).bind(addr(1));
    let builder = Node::builder().name("good").threads(LocalThreads).entity(|_| Echo);
    let node = builder.cluster(config).start().await.expect("it founds a cluster");

    let cluster = ClusterName::new("simulated").expect("a name");
    let config = TransportConfig::new(cluster, name("bad"), credentials("bad"), addr(2));
    let network = world.network.host(ip(2));
    let bound = Bound::bind(config, &network, Clock::default(), Random::from_seed(9));
    let heard = Rc::new(Heard::default());
    let events = Rc::clone(&heard) as Rc<dyn Events>;
    let transport = bound.expect("bound").open(1, MANIFEST.into(), events);
    transport.connect(&PeerId { name: name("good"), incarnation: 1 }, addr(1));
    until("the link is up", || heard.session.borrow().is_some()).await;
    let session = heard.session.borrow().clone().expect("it is up");
    (node, Bad { heard, session, _transport: transport })
}

impl Bad {
    fn send(&self, class: Class, target: u64, payload: &[u8]) {
        self.session.try_send(class, target, 1, payload).expect("there is room");
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A tell to an entity, as `docs/wire.md` has it.
fn tell(actor_type: WireId, key: &str, message: WireId, body: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 1];
    payload.extend(varint(actor_type.0));
    payload.extend(varint(key.len() as u64));
    payload.extend(key.as_bytes());
    payload.extend(varint(message.0));
    payload.push(0);
    payload.extend(body);
    payload
}

async fn answers(node: &Node) {
    let echo = node.entity::<Echo>("k").ask(Say("still here".to_owned())).await;
    assert_eq!(echo.expect("it answers"), "still here");
}

#[test]
fn a_peers_garbage_is_rejected_and_harms_nobody() {
    simulate(async {
        let (node, bad) = meet(&World::new(1)).await;
        let good = tell(Echo::TYPE_ID, "k", Say::WIRE_ID, b"\x02hi");
        let long_key = "k".repeat(Node::KEY_LIMIT + 1);
        let garbage: Vec<Vec<u8>> = vec![
            vec![],
            vec![0xff; 40],
            good[..5].to_vec(),
            // A type, and a message, that nobody has registered.
            tell(WireId(7), "k", Say::WIRE_ID, b"\x02hi"),
            tell(Echo::TYPE_ID, "k", WireId(7), b"\x02hi"),
            // A body that is no such message: too short, too long, no text.
            tell(Echo::TYPE_ID, "k", Say::WIRE_ID, b"\x09hi"),
            tell(Echo::TYPE_ID, "k", Say::WIRE_ID, b"\x02hi!"),
            tell(Echo::TYPE_ID, "k", Say::WIRE_ID, b"\x02\xff\xff"),
            tell(Echo::TYPE_ID, &long_key, Say::WIRE_ID, b"\x02hi"),
            // An answer where a message should be.
            vec![2, 1],
        ];
        for (target, payload) in (0..).zip(&garbage) {
            bad.send(Class::Message, target, payload);
        }
        until("all are rejected", || bad.heard.rejected.borrow().len() == garbage.len()).await;
        let mismatch =
            RejectReason::ALL.iter().position(|reason| *reason == RejectReason::Mismatch);
        for reason in &*bad.heard.rejected.borrow() {
            assert_eq!(Some(usize::from(*reason)), mismatch);
        }
        assert_eq!(node.entity_count(), 1, "the one whose messages could not be read");
        // A good message whose target's hash is of another one is handled all the same.
        for target in 0..20 {
            bad.send(Class::Message, target, &good);
        }
        until("all are settled", || bad.session.unsettled() == (0, 0)).await;
        assert_eq!(bad.heard.rejected.borrow().len(), garbage.len());
        answers(&node).await;
    });
}

#[test]
fn what_follows_a_rejected_message_is_rejected_until_its_sender_knows() {
    simulate(async {
        let (node, bad) = meet(&World::new(3)).await;
        let good = tell(Echo::TYPE_ID, "k", Say::WIRE_ID, b"\x02hi");
        let unreadable = tell(Echo::TYPE_ID, "k", Say::WIRE_ID, b"\x09hi");
        for payload in [&good, &unreadable, &good, &good] {
            bad.send(Class::Message, 1, payload);
        }
        bad.send(Class::Message, 2, &good);
        until("all are settled", || bad.session.unsettled() == (0, 0)).await;
        let reasons: Vec<&str> =
            bad.heard.rejected.borrow().iter().map(|reason| word(*reason)).collect();
        assert_eq!(reasons, ["mismatch", "earlier rejected", "earlier rejected"]);
        bad.send(Class::Message, 1, &good);
        until("it is settled", || bad.session.unsettled() == (0, 0)).await;
        assert_eq!(bad.heard.rejected.borrow().len(), 3, "the sender knew");
        answers(&node).await;
    });
}

fn word(reason: u8) -> &'static str {
    RejectReason::ALL[usize::from(reason)].as_str()
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    simulate(async {
        let (node, bad) = meet(&World::new(2)).await;
        for correlation in 0..200 {
            let mut reply = vec![2];
            reply.extend(varint(correlation));
            bad.send(Class::Answer, 1, &reply);
            bad.send(Class::Answer, 1, &[&[3][..], &varint(correlation), &[99]].concat());
        }
        for reserved in [[5, 0, 1, 1, 1], [6, 0, 1, 1, 1], [7, 0, 1, 1, 1], [8, 1, 1, 0, 0]] {
            bad.send(Class::Answer, 1, &reserved);
        }
        bad.send(Class::Answer, 1, &[]);
        bad.send(Class::Answer, 1, &[4, 9, 9, 9]);
        for packet in [&[][..], &[1], &[1, 2, 3], &[9, 9]] {
            bad.session.send_packet(packet.to_vec().into());
        }
        pause(1_000).await;
        answers(&node).await;
        let unknown: u64 =
            UnknownReason::ALL.into_iter().map(|r| node.dead_letters().unknown(r)).sum();
        assert_eq!(unknown, 1, "correlation 0 stands for a tell, and this one was never sent");
        assert_eq!(node.dead_letters().rejected(RejectReason::Mismatch), 1, "what came back");
        assert_eq!(node.members().len(), 1, "the peer has never joined");
        assert!(!bad.heard.ended.get());
    });
}

/// A watch of an actor, as `docs/wire.md` has it.
fn watch(actor_type: WireId, id: u64, number: u64, body: &[u8]) -> Vec<u8> {
    let numbers = [actor_type.0, id, number].map(varint).concat();
    [&[6, 0][..], &numbers, body].concat()
}

/// The only actor of the node, an entity.
async fn echo(node: &Node) -> u64 {
    answers(node).await;
    assert_eq!(node.actor_count(), 1);
    1
}

#[test]
fn garbage_about_watches_is_rejected_and_changes_nothing() {
    simulate(async {
        let (node, bad) = meet(&World::new(4)).await;
        let (echo, lanes) = (echo(&node).await, &[0, 1, 7]);
        let of_echo = |number, body: &[u8]| watch(Echo::TYPE_ID, echo, number, body);
        let garbage = [
            of_echo(1, &[]),
            of_echo(1, &[0, 0]),
            of_echo(1, &[0, 3, 1, 2, 3]),
            of_echo(1, &[9, 1, 7]),
            of_echo(1, &[0, 1, 7, 0]),
            of_echo(1 << 48, lanes),
            vec![6],
            vec![7, 0, 1, 1, 1, 2, 3],
            vec![8, 1, 1, 1],
            // Its number is taken.
            of_echo(2, lanes),
        ];
        bad.send(Class::Message, 1, &of_echo(2, lanes));
        for payload in &garbage {
            bad.send(Class::Message, 1, payload);
        }
        // Ends of what this node has not watched, and takings back of what was never set.
        for number in 0..200 {
            bad.send(Class::Message, 1, &[&[8][..], &varint(number), &[1]].concat());
            bad.send(Class::Message, 1, &[&[7, 0, 1, 1][..], &varint(number + 3), &[1]].concat());
        }
        until("all are settled", || bad.session.unsettled() == (0, 0)).await;
        let reasons: Vec<&str> =
            bad.heard.rejected.borrow().iter().map(|reason| word(*reason)).collect();
        assert_eq!(reasons, ["mismatch"; 10]);
        assert_eq!(node.watch_counts().held, 1);
        // Of an actor that never was, and of one of another type.
        bad.send(Class::Message, 1, &watch(Echo::TYPE_ID, 99, 5, &[0, 2, 7, 8]));
        bad.send(Class::Message, 1, &watch(WireId(3), echo, 6, lanes));
        until("both are told", || bad.heard.messages.borrow().len() == 3).await;
        let never_existed = 11;
        let mut told = bad.heard.messages.borrow().clone();
        told.sort();
        let expected = [(7, 5), (7, 6), (8, 5)];
        assert_eq!(told, expected.map(|(lane, number)| (lane, vec![8, number, never_existed])));
        assert_eq!(node.watch_counts().held, 1);
        answers(&node).await;
    });
}

#[test]
fn a_peer_has_so_many_watches_and_no_more() {
    simulate(async {
        const LIMIT: u64 = 327_680;
        let (node, bad) = meet(&World::new(5)).await;
        let echo = echo(&node).await;
        for number in 1..=LIMIT + 2 {
            // Spread over targets, each of which has a budget of its own.
            let body = [&[0, 1][..], &varint(number)].concat();
            bad.send(Class::Message, number, &watch(Echo::TYPE_ID, echo, number, &body));
            if number % 1_000 == 0 {
                until("they are settled", || bad.session.unsettled() == (0, 0)).await;
            }
        }
        until("all are settled", || bad.session.unsettled() == (0, 0)).await;
        let reasons: Vec<&str> =
            bad.heard.rejected.borrow().iter().map(|reason| word(*reason)).collect();
        assert_eq!(reasons, ["full"; 2]);
        assert_eq!(node.watch_counts().held as u64, LIMIT);
        answers(&node).await;
    });
}
