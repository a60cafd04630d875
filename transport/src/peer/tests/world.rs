//! The world that the two nodes live in.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::super::{Over, Peer};
use crate::{
    identity::{NodeName, PeerId},
    session::{
        Arrived, Buffers, Class, Errand, Inbound, Later, Limits, Receipt, Session, Shape,
        StreamReader, Unsettled, put_bulk_header, put_header,
    },
    wire::{control::Control, handshake::Accepts},
};

/// The reason of rejections that let later messages pass.
pub(super) const PASSES: u8 = 1;
/// The reason of rejections that later messages are rejected with too.
pub(super) const CLOSES: u8 = 2;

const LANES: u16 = 2;
/// The stream that is no lane. Those that follow it are bulk messages.
const CONTROL: u16 = LANES;
pub(super) const STREAMS: u16 = LANES + 3;
pub(super) const TARGETS: u64 = 4;

const SHAPE: Shape = Shape {
    lanes_out: LANES,
    lanes_in: LANES,
    limits: Limits { target_messages: 5, target_bytes: 400, lane_bytes: 500 },
    messages_limit: 12,
    bytes_limit: 900,
    answer_bytes: 300,
    accepts: Accepts { messages: 12, bytes: 900, longest: 200 },
    message_limit: 200,
    bulk_over: 40,
    bulk_streams: 2,
};

#[derive(Clone, Debug)]
pub(super) enum Step {
    Dial(usize),
    /// The next greeting of a connection arrives.
    Advance(usize),
    Send {
        side: usize,
        target: u64,
        length: usize,
    },
    Answer {
        side: usize,
        length: usize,
    },
    /// Gives up one of the last messages.
    Cancel {
        side: usize,
        back: u64,
    },
    Pause {
        side: usize,
        target: u64,
    },
    Unpause {
        side: usize,
        target: u64,
    },
    Write {
        conn: usize,
        from: usize,
        stream: u16,
        bytes: usize,
    },
    Arrive {
        conn: usize,
        to: usize,
        stream: u16,
        bytes: usize,
    },
    /// All of one stream of the connection in use is written and arrives.
    Pump {
        from: usize,
        stream: u16,
    },
    Settle {
        side: usize,
        pick: usize,
        answer: bool,
    },
    Reject {
        side: usize,
        pick: usize,
        closes: bool,
    },
    /// Nothing of a connection travels any more; its ends do not know yet.
    Cut(usize),
    /// One end gives a connection up.
    Notice {
        conn: usize,
        end: usize,
    },
    Restart(usize),
}

pub(super) struct World {
    pub(super) nodes: [Node; 2],
    conns: Vec<Conn>,
    next_conn: u64,
    time: u64,
    next_token: u64,
    pub(super) messages: BTreeMap<u64, Message>,
    /// The last message that arrived for a target: receiving side, path, target.
    last: BTreeMap<(usize, Path, u64), u64>,
    /// Answers that were sent, with their path, and how often they arrived.
    pub(super) answers: BTreeMap<u64, (Path, u32)>,
}

/// The incarnations that a session binds, by side.
type Path = [u64; 2];

pub(super) struct Node {
    pub(super) id: PeerId,
    peer: Peer<u64>,
    parked: Vec<Parked>,
}

struct Parked {
    session: Session,
    ticket: Receipt,
    target: u64,
    token: u64,
    /// Whether something for its target was rejected while it was parked.
    late: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) target: u64,
    /// The sending side, and the session.
    pub(super) path: (usize, Path),
    pub(super) sent_at: u64,
    pub(super) arrived: bool,
    /// When the layer above rejected it; 0 if the session itself did.
    pub(super) refused_there_at: u64,
    pub(super) sender_died: bool,
    pub(super) fates: Vec<Fate>,
}

#[derive(Debug)]
pub(super) enum Fate {
    Handled {
        at: u64,
    },
    /// Its sender was told.
    Rejected {
        at: u64,
        reason: u8,
    },
    /// Its sender was told that the session has ended.
    Unknown {
        written: bool,
    },
}

impl Message {
    pub(super) fn rejected_at(&self, wanted: u8) -> Option<u64> {
        self.fates.iter().find_map(|fate| match fate {
            Fate::Rejected { at, reason } if *reason == wanted => Some(*at),
            _ => None,
        })
    }

    pub(super) fn handled_at(&self) -> Option<u64> {
        self.fates.iter().find_map(|fate| match fate {
            Fate::Handled { at } => Some(*at),
            _ => None,
        })
    }
}

struct Conn {
    id: u64,
    dialled_by: usize,
    greetings: VecDeque<(usize, Greeting)>,
    /// What the dialler said, as the other side remembers it until `Ready`.
    hello: Option<Hello>,
    dead: bool,
    ends: [End; 2],
}

struct End {
    up: bool,
    /// Set once this end lets the connection carry the session.
    session: Option<Session>,
    /// Towards the other end: lanes and control.
    pipes: Vec<Pipe>,
    /// Towards the other end: bulk messages.
    bulks: Vec<(u64, Pipe)>,
    /// What the other end's lanes and bulk messages are read with.
    readers: Vec<StreamReader>,
    bulk_readers: BTreeMap<u64, StreamReader>,
    control: BytesMut,
}

#[derive(Default)]
struct Pipe {
    /// Taken from the session and not on its way yet.
    pending: VecDeque<u8>,
    wire: VecDeque<u8>,
}

enum Greeting {
    Hello(Hello),
    Welcome(Hello),
    Ready,
}

#[derive(Clone)]
struct Hello {
    node: PeerId,
    nonce: u64,
    resume: Option<(u64, Vec<u64>)>,
}

fn name(side: usize) -> NodeName {
    NodeName::new(["a", "b"][side]).expect("a name")
}

impl Node {
    fn new(side: usize, incarnation: u64) -> Self {
        let id = PeerId { name: name(side), incarnation };
        Self { id, peer: Peer::default(), parked: Vec::new() }
    }

    fn hello(&self) -> Hello {
        let session = self.peer.session();
        let resume = session.map(|session| (session.peer().incarnation, session.received()));
        Hello { node: self.id.clone(), nonce: self.id.incarnation, resume }
    }
}

impl End {
    fn new(id: u64) -> Self {
        Self {
            up: true,
            session: None,
            pipes: (0..=LANES).map(|_| Pipe::default()).collect(),
            bulks: Vec::new(),
            readers: (0..LANES).map(|_| StreamReader::new(id)).collect(),
            bulk_readers: BTreeMap::new(),
            control: BytesMut::new(),
        }
    }
}

impl Pipe {
    fn take(&mut self, most: usize) -> Vec<u8> {
        self.wire.drain(..most.min(self.wire.len())).collect()
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            nodes: [Node::new(0, 1), Node::new(1, 1)],
            conns: Vec::new(),
            next_conn: 1,
            time: 0,
            next_token: 1,
            messages: BTreeMap::new(),
            last: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    pub(super) fn session(&self, side: usize) -> &Session {
        self.nodes[side].peer.session().expect("the two have met")
    }

    /// Dials and greets, undisturbed.
    pub(super) fn connect(&mut self) {
        self.dial(0);
        for _ in 0..3 {
            let newest = self.conns.len() - 1;
            self.advance(newest);
        }
    }

    pub(super) fn run(&mut self, step: &Step) {
        self.time += 1;
        let conns = self.conns.len();
        let pick = |conn: usize| (conns > 0).then(|| conn % conns);
        match *step {
            Step::Dial(side) => self.dial(side),
            Step::Advance(conn) => pick(conn).into_iter().for_each(|conn| self.advance(conn)),
            Step::Send { side, target, length } => self.send(side, target, length),
            Step::Answer { side, length } => self.answer(side, length),
            Step::Cancel { side, back } => {
                if let Some(session) = self.nodes[side].peer.session() {
                    session.cancel(self.next_token.saturating_sub(back), PASSES);
                }
            }
            Step::Pause { side, target } => {
                self.nodes[side].peer.session().into_iter().for_each(|s| s.pause_target(target));
            }
            Step::Unpause { side, target } => {
                self.nodes[side].peer.session().into_iter().for_each(|s| s.resume_target(target));
            }
            Step::Write { conn, from, stream, bytes } => {
                pick(conn).into_iter().for_each(|conn| _ = self.write(conn, from, stream, bytes));
            }
            Step::Arrive { conn, to, stream, bytes } => {
                pick(conn).into_iter().for_each(|conn| _ = self.arrive(conn, to, stream, bytes));
            }
            Step::Pump { from, stream } => {
                if let Some(conn) = self.in_use() {
                    self.pump(conn, from, stream);
                }
            }
            Step::Settle { side, pick, answer } => self.settle(side, pick, answer),
            Step::Reject { side, pick, closes } => self.reject(side, pick, closes),
            Step::Cut(conn) => pick(conn).into_iter().for_each(|conn| self.cut(conn)),
            Step::Notice { conn, end } => {
                pick(conn).into_iter().for_each(|conn| self.notice(conn, end));
            }
            Step::Restart(side) => self.restart(side),
        }
        self.conns.retain(|conn| conn.ends.iter().any(|end| end.up));
        for node in &self.nodes {
            if let Some(session) = node.peer.session() {
                let (messages, bytes) = session.unsettled();
                assert!(messages <= SHAPE.messages_limit && bytes <= SHAPE.bytes_limit);
            }
        }
    }

    /// Faults end, the two connect, and all comes to its end.
    pub(super) fn settle_down(&mut self) {
        let conn = self.in_use().unwrap_or_else(|| self.reconnect());
        for (side, target) in (0..2).flat_map(|side| (0..TARGETS).map(move |t| (side, t))) {
            self.session(side).resume_target(target);
        }
        let mut moved = true;
        while moved {
            moved = false;
            self.time += 1;
            for (side, stream) in (0..2).flat_map(|side| (0..STREAMS).map(move |s| (side, s))) {
                moved |= self.pump(conn, side, stream);
            }
            for side in 0..2 {
                while !self.nodes[side].parked.is_empty() {
                    self.settle(side, 0, false);
                    moved = true;
                }
            }
        }
    }

    /// The connection that carries the session at both ends.
    fn in_use(&self) -> Option<usize> {
        let carries = |conn: &Conn| {
            self.nodes.iter().all(|node| node.peer.link() == Some(&conn.id))
                && conn.ends.iter().all(|end| end.up)
        };
        self.conns.iter().position(|conn| !conn.dead && carries(conn))
    }

    fn reconnect(&mut self) -> usize {
        for conn in 0..self.conns.len() {
            self.notice(conn, 0);
            self.notice(conn, 1);
        }
        self.conns.clear();
        self.connect();
        0
    }

    fn pump(&mut self, conn: usize, from: usize, stream: u16) -> bool {
        let mut moved = false;
        while self.write(conn, from, stream, usize::MAX) {
            moved = true;
        }
        self.arrive(conn, 1 - from, stream, usize::MAX) || moved
    }

    fn path(&self, side: usize, session: &Session) -> Path {
        let (own, other) = (self.nodes[side].id.incarnation, session.peer().incarnation);
        if side == 0 { [own, other] } else { [other, own] }
    }

    fn dial(&mut self, side: usize) {
        let hello = Greeting::Hello(self.nodes[side].hello());
        let id = self.next_conn;
        self.next_conn += 1;
        self.conns.push(Conn {
            id,
            dialled_by: side,
            greetings: [(side, hello)].into(),
            hello: None,
            dead: false,
            ends: [End::new(id), End::new(id)],
        });
    }

    fn advance(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let Some((from, greeting)) = conn.greetings.pop_front() else { return };
        let to = 1 - from;
        if conn.dead || !conn.ends[to].up {
            return;
        }
        let dialler = name(conn.dialled_by);
        let accepted = match greeting {
            Greeting::Hello(hello) => {
                let welcome = self.may_greet(to, &hello, &dialler);
                if welcome {
                    self.meet(to, &hello);
                    let answer = Greeting::Welcome(self.nodes[to].hello());
                    self.conns[at].hello = Some(hello);
                    self.conns[at].greetings.push_back((to, answer));
                }
                welcome
            }
            Greeting::Welcome(welcome) => {
                let accepted = self.may_greet(to, &welcome, &dialler);
                if accepted {
                    self.meet(to, &welcome);
                    self.conns[at].greetings.push_back((to, Greeting::Ready));
                    self.carry(at, to, &welcome);
                }
                accepted
            }
            Greeting::Ready => {
                let hello = self.conns[at].hello.take().expect("it came first");
                let session = self.nodes[to].peer.session();
                let lasts = session.is_some_and(|session| *session.peer() == hello.node);
                let accepted = lasts && self.nodes[to].peer.may_carry(&dialler);
                if accepted {
                    self.carry(at, to, &hello);
                }
                accepted
            }
        };
        if !accepted {
            self.conns[at].dead = true;
            self.notice(at, to);
        }
    }

    fn may_greet(&self, side: usize, hello: &Hello, dialler: &NodeName) -> bool {
        let peer = &self.nodes[side].peer;
        !peer.is_stale(hello.node.incarnation, hello.nonce) && peer.may_carry(dialler)
    }

    /// As `Transport::session_with`.
    fn meet(&mut self, side: usize, hello: &Hello) {
        let other = &hello.node;
        let node = &mut self.nodes[side];
        let over = node.peer.raise_floor(other.incarnation);
        let (local, peer) = (node.id.clone(), other.clone());
        node.peer.session_or_else(hello.nonce, || {
            Session::new(local, peer, Bytes::new(), &SHAPE, Buffers::default())
        });
        self.end(side, over);
    }

    fn end(&mut self, side: usize, Over { session, link }: Over<u64>) {
        if let Some(at) = self.conns.iter().position(|conn| Some(conn.id) == link) {
            self.conns[at].dead = true;
            self.conns[at].ends[side].up = false;
        }
        for Unsettled { token, written, .. } in session.iter().flat_map(Session::end) {
            let message = self.messages.get_mut(&token).expect("sent");
            message.fates.push(Fate::Unknown { written });
        }
    }

    /// As `Transport::carry`.
    fn carry(&mut self, at: usize, end: usize, other: &Hello) {
        let node = &mut self.nodes[end];
        let session = node.peer.session().expect("they have met").clone();
        let received = match &other.resume {
            Some((incarnation, received)) if *incarnation == node.id.incarnation => &received[..],
            _ => &[],
        };
        let conn = &mut self.conns[at];
        let first = session.resume(conn.id, received).expect("our own marks");
        let replaced = node.peer.carry(conn.id, name(conn.dialled_by), conn.id);
        for (lane, first) in (0..).zip(first) {
            let mut header = Vec::new();
            put_header(lane, first, &mut header);
            conn.ends[end].pipes[usize::from(lane)].pending.extend(header);
        }
        conn.ends[end].session = Some(session);
        if let Some(at) = self.conns.iter().position(|conn| Some(conn.id) == replaced) {
            // Its tasks may still run for a moment.
            self.conns[at].dead = true;
        }
    }

    fn send(&mut self, side: usize, target: u64, length: usize) {
        let Some(session) = self.nodes[side].peer.session() else { return };
        let token = self.next_token;
        let mut payload = token.to_le_bytes().to_vec();
        payload.resize(8 + length, 0);
        if session.try_send(Class::Message, target, token, &payload).is_err() {
            return;
        }
        self.next_token += 1;
        let path = (side, self.path(side, session));
        let message = Message {
            target,
            path,
            sent_at: self.time,
            arrived: false,
            refused_there_at: 0,
            sender_died: false,
            fates: Vec::new(),
        };
        self.messages.insert(token, message);
    }

    fn answer(&mut self, side: usize, length: usize) {
        let Some(session) = self.nodes[side].peer.session() else { return };
        let mut payload = self.next_token.to_le_bytes().to_vec();
        payload.resize(8 + length, 0);
        let path = self.path(side, session);
        // A short one always passes.
        if session.try_send(Class::Answer, 1, 0, &payload).is_ok() {
            self.answers.insert(self.next_token, (path, 0));
            self.next_token += 1;
        } else {
            assert!(length > 40);
        }
    }

    fn write(&mut self, at: usize, from: usize, stream: u16, most: usize) -> bool {
        let conn = &mut self.conns[at];
        let (dead, id) = (conn.dead, conn.id);
        let End { up: true, session: Some(session), pipes, bulks, .. } = &mut conn.ends[from]
        else {
            return false;
        };
        let pipe = if stream > CONTROL {
            let Some((_, pipe)) = bulks.get_mut(usize::from(stream - CONTROL - 1)) else {
                return false;
            };
            pipe
        } else {
            &mut pipes[usize::from(stream)]
        };
        if pipe.pending.is_empty() && stream <= CONTROL {
            let mut bytes = Vec::new();
            let taken = match stream {
                CONTROL => session.collect_control(id, &mut bytes).and_then(|()| {
                    if bytes.is_empty() {
                        // What may wait has waited.
                        session.tell_waiting_marks();
                    }
                    session.collect_control(id, &mut bytes)
                }),
                lane => session
                    .poll_batch(id, lane)
                    .map(|batch| bytes.extend_from_slice(&batch.unwrap_or_default())),
            };
            if taken.is_err() {
                self.notice(at, from);
                return false;
            }
            pipe.pending.extend(bytes);
        }
        let count = most.min(pipe.pending.len());
        let written = pipe.pending.drain(..count);
        if dead {
            drop(written);
        } else {
            pipe.wire.extend(written);
        }
        count > 0
    }

    fn arrive(&mut self, at: usize, to: usize, stream: u16, most: usize) -> bool {
        let conn = &mut self.conns[at];
        let [a, b] = &mut conn.ends;
        let (here, there) = if to == 0 { (a, b) } else { (b, a) };
        let (true, Some(session)) = (here.up, here.session.clone()) else { return false };
        let mut arrived = Arrived::default();
        let some = if stream > CONTROL {
            let at = usize::from(stream - CONTROL - 1);
            let Some((id, pipe)) = there.bulks.get_mut(at) else { return false };
            let bytes = pipe.take(most);
            let reader = here.bulk_readers.entry(*id).or_insert_with(|| StreamReader::new(conn.id));
            reader
                .handle_bytes(&session, Bytes::from(bytes.clone()), &mut arrived)
                .expect("our own bytes");
            if !conn.dead && pipe.pending.is_empty() && pipe.wire.is_empty() {
                reader.handle_end(&session).expect("it is whole");
                here.bulk_readers.remove(id);
                there.bulks.remove(at);
            }
            !bytes.is_empty()
        } else if stream == CONTROL {
            let bytes = there.pipes[usize::from(stream)].take(most);
            here.control.extend_from_slice(&bytes);
            while let Some(frame) = Control::take(&mut here.control).expect("our own frames") {
                match session.handle_control(frame, &mut arrived).expect("our own frames") {
                    Some(Errand::Write { id, from, bytes }) => {
                        let mut pipe = Pipe::default();
                        let mut header = Vec::new();
                        put_bulk_header(id, from, &mut header);
                        pipe.pending.extend(header.into_iter().chain(bytes));
                        here.bulks.push((id, pipe));
                    }
                    other => assert_eq!(other, None),
                }
            }
            !bytes.is_empty()
        } else {
            let bytes = there.pipes[usize::from(stream)].take(most);
            let reader = &mut here.readers[usize::from(stream)];
            reader
                .handle_bytes(&session, Bytes::from(bytes.clone()), &mut arrived)
                .expect("our own frames");
            !bytes.is_empty()
        };
        self.take_arrived(to, &session, arrived);
        some
    }

    fn take_arrived(&mut self, to: usize, session: &Session, arrived: Arrived) {
        for (lane, unsettled, reason) in arrived.rejected {
            let token = unsettled.expect("rejected once").token;
            let message = self.messages.get_mut(&token).expect("sent");
            message.fates.push(Fate::Rejected { at: self.time, reason });
            session.rejection_seen(lane);
        }
        for Inbound { ticket, class, target, payload } in &arrived.frames {
            let token = u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"));
            if class == Class::Answer {
                self.answers.get_mut(&token).expect("sent").1 += 1;
            } else {
                let place = (to, self.path(to, session), target);
                let last = self.last.insert(place, token);
                assert!(last.is_none_or(|last| last < token), "{token} came after {last:?}");
                self.messages.get_mut(&token).expect("sent").arrived = true;
                let session = session.clone();
                let late = false;
                self.nodes[to].parked.push(Parked { session, ticket, target, token, late });
            }
        }
    }

    fn settle(&mut self, side: usize, pick: usize, answer: bool) {
        let Some(parked) = self.unpark(side, pick) else { return };
        // What arrives after a rejection is the session's business.
        let refusal = parked.session.refusal(parked.ticket, parked.target).filter(|_| parked.late);
        if let Some(reason) = refusal {
            return self.reject_parked(side, &parked, reason);
        }
        let Parked { session, ticket, target, token, .. } = parked;
        let at = self.time;
        self.messages.get_mut(&token).expect("sent").fates.push(Fate::Handled { at });
        let mut payload = self.next_token.to_le_bytes().to_vec();
        payload.resize(if pick.is_multiple_of(3) { 100 } else { 8 }, 0);
        if answer && session.answer(ticket, target, &payload).is_ok() {
            self.answers.insert(self.next_token, (self.path(side, &session), 0));
            self.next_token += 1;
        } else {
            session.settle(ticket);
        }
    }

    fn reject(&mut self, side: usize, pick: usize, closes: bool) {
        let Some(parked) = self.unpark(side, pick) else { return };
        let reason = parked.session.refusal(parked.ticket, parked.target);
        let reason = reason.unwrap_or(if closes { CLOSES } else { PASSES });
        self.reject_parked(side, &parked, reason);
    }

    fn reject_parked(&mut self, side: usize, parked: &Parked, reason: u8) {
        let Parked { session, ticket, target, token, .. } = parked;
        let later = if reason == CLOSES { Later::Reject(CLOSES) } else { Later::Deliver };
        session.reject(*ticket, *target, reason, later);
        self.messages.get_mut(token).expect("sent").refused_there_at = self.time;
        for other in &mut self.nodes[side].parked {
            other.late |= other.target == *target && other.session == *session;
        }
    }

    fn unpark(&mut self, side: usize, pick: usize) -> Option<Parked> {
        let parked = &mut self.nodes[side].parked;
        (!parked.is_empty()).then(|| parked.remove(pick % parked.len()))
    }

    fn cut(&mut self, at: usize) {
        self.conns[at].dead = true;
    }

    fn notice(&mut self, at: usize, end: usize) {
        let conn = &mut self.conns[at];
        conn.ends[end].up = false;
        conn.dead = true;
        self.nodes[end].peer.link_ended(conn.id);
    }

    fn restart(&mut self, side: usize) {
        for conn in &mut self.conns {
            conn.dead = true;
            conn.ends[side].up = false;
        }
        let incarnation = self.nodes[side].id.incarnation;
        for message in self.messages.values_mut() {
            let (sender, path) = message.path;
            message.sender_died |= sender == side && path[side] == incarnation;
        }
        self.nodes[side] = Node::new(side, incarnation + 1);
    }
}
