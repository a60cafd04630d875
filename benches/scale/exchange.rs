//! Membership cores under a virtual clock: packets take a millisecond or a little more, links show
//! each half second that they live, and a member may end.
//!
//! Invariant: what happens is decided by the seed and the calls. At one instant, what arrives goes
//! ahead of what is due.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use actix_cluster::{
    Random,
    benching::{Carried, Core},
    transport::Activity,
};

/// What a packet takes, and up to how much longer.
const LATENCY: Duration = Duration::from_millis(1);
const JITTER: Duration = Duration::from_micros(500);

/// How often a link shows that it lives, and after what silence it is given up: the transport's
/// keep-alive and idle timeout.
const BEAT: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_secs(3);

/// How long a host is given to refuse, as by the node's shell.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(250);

/// How a member ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its process is gone, and its host refuses for the port.
    Killed,
    /// It stands still, or its host is cut off: nothing comes from there.
    Silent,
}

/// A cluster of cores.
pub(crate) struct Exchange {
    now: Instant,
    random: Random,
    nodes: Vec<Node>,
    /// What is to happen: by when, arrivals before timers, and in order.
    queue: BTreeMap<(Instant, bool, u64), (u16, Happening)>,
    queued: u64,
    /// Who has ended, and when.
    ends: Vec<(u16, Instant)>,
    downs: Vec<Down>,
}

struct Node {
    core: Core,
    timer: Option<Instant>,
    end: Option<(Instant, End)>,
    sent: Sent,
}

/// What a node has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) longest: usize,
}

/// That somebody came to hold a member down.
struct Down {
    at: Instant,
    of: u16,
}

enum Happening {
    Packet { from: u16, carried: Carried },
    Port { of: u16, is_refused: bool },
    LinkDown { of: u16 },
    Timer,
}

impl Exchange {
    /// So many members, which all start to join at once, by way of the first three.
    pub(crate) fn joining(size: u16, seed: u64) -> Self {
        let mut exchange = Self::strangers(size, seed);
        for number in 1..size {
            let seed = if number < 3 { 0 } else { number % 3 };
            exchange.act(number, |core, now| core.join(now, seed));
        }
        exchange
    }

    /// So many members that see each other from the start, each with a beat of its own.
    pub(crate) fn whole(size: u16, seed: u64) -> Self {
        let mut exchange = Self::strangers(size, seed);
        for number in 0..size {
            let phase = Duration::from_micros(exchange.below(BEAT.as_micros() as u64));
            exchange.act(number, |core, now| core.acquaint(now + phase, 0..size));
        }
        exchange
    }

    /// So many that know of nobody.
    fn strangers(size: u16, seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let mut node = |number| {
            let core = Core::new(number, random.fork());
            Node { core, timer: None, end: None, sent: Sent::default() }
        };
        let nodes = (0..size).map(&mut node).collect();
        let (queue, ends, downs) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { now: start(), random, nodes, queue, queued: 0, ends, downs }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// A number below `bound`, for the choices of who measures.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// What each has sent since the last call.
    pub(crate) fn take_sent(&mut self) -> Vec<Sent> {
        self.nodes.iter_mut().map(|node| std::mem::take(&mut node.sent)).collect()
    }

    /// When each of the others came to hold a member down, in order.
    pub(crate) fn downs(&self, of: u16) -> impl Iterator<Item = Instant> {
        self.downs.iter().filter(move |down| down.of == of).map(|down| down.at)
    }

    /// How often a member was held down that had not ended.
    pub(crate) fn wrong_downs(&self) -> usize {
        let is_right = |down: &&Down| {
            let end = self.nodes[usize::from(down.of)].end;
            end.is_some_and(|(ended, _)| down.at >= ended)
        };
        self.downs.len() - self.downs.iter().filter(is_right).count()
    }

    /// Whether all who run see each other, and nobody else.
    pub(crate) fn agrees(&self) -> bool {
        let running = || self.nodes.iter().filter(|node| node.end.is_none());
        let members = running().count();
        running().all(|node| node.core.members() == members)
    }

    /// Ends a member.
    pub(crate) fn end(&mut self, of: u16, end: End) {
        self.nodes[usize::from(of)].end = Some((self.now, end));
        self.ends.push((of, self.now));
        for number in (0..self.nodes.len() as u16).filter(|number| *number != of) {
            self.push(self.now + IDLE, number, Happening::LinkDown { of });
        }
    }

    /// Runs for so long.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until it is so, which is looked at each millisecond, but for so long at most. Whether it
    /// came to be.
    pub(crate) fn run_until(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let last = self.now + limit;
        while self.now < last {
            self.run_for(Duration::from_millis(1));
            if is_so(self) {
                return true;
            }
        }
        false
    }

    /// Has the next thing happen, unless that is later.
    fn step(&mut self, until: Instant) -> bool {
        let next = self.queue.first_entry().filter(|next| next.key().0 <= until);
        let Some(next) = next else { return false };
        let ((at, ..), (number, happening)) = next.remove_entry();
        self.now = at;
        let timer = self.nodes[usize::from(number)].timer;
        match happening {
            Happening::Packet { from, carried } => {
                self.act(number, |core, now| core.handle(now, from, &carried));
            }
            Happening::Port { of, is_refused } => {
                self.act(number, |core, now| core.handle_port(now, of, is_refused));
            }
            Happening::LinkDown { of } => {
                self.act(number, |core, now| core.handle_link_down(now, of));
            }
            Happening::Timer if timer == Some(at) => self.fire(number),
            // It was armed anew.
            Happening::Timer => {}
        }
        true
    }

    fn fire(&mut self, number: u16) {
        let ends = std::mem::take(&mut self.ends);
        let activity = |of, now| {
            let ended = ends.iter().find(|(ended, _)| *ended == of).map_or(now, |(_, at)| *at);
            let is_up = now < ended + IDLE;
            is_up.then(|| Activity { link: 1, datagrams: beats(number, of, ended) })
        };
        self.act(number, |core, now| core.handle_timeout(now, |of| activity(of, now)));
        self.ends = ends;
    }

    fn act(&mut self, number: u16, call: impl FnOnce(&mut Core, Instant)) {
        let now = self.now;
        let node = &mut self.nodes[usize::from(number)];
        if node.end.is_some() {
            return;
        }
        call(&mut node.core, now);
        let downs = std::iter::from_fn(|| node.core.poll_down());
        self.downs.extend(downs.map(|of| Down { at: now, of }));
        while let Some((to, carried)) = self.nodes[usize::from(number)].core.poll_packet() {
            self.send(number, to, carried);
        }
        while let Some(of) = self.nodes[usize::from(number)].core.poll_port() {
            let is_refused =
                self.nodes[usize::from(of)].end.is_some_and(|(_, end)| end == End::Killed);
            let patience = if is_refused { LATENCY * 2 } else { REFUSAL_PATIENCE };
            self.push(now + patience, number, Happening::Port { of, is_refused });
        }
        let node = &mut self.nodes[usize::from(number)];
        let next = node.core.poll_timeout().map(|at| at.max(now));
        if next != node.timer || next == Some(now) {
            node.timer = next;
            if let Some(at) = next {
                self.push(at, number, Happening::Timer);
            }
        }
    }

    fn send(&mut self, from: u16, to: u16, carried: Carried) {
        let sent = &mut self.nodes[usize::from(from)].sent;
        sent.packets += 1;
        sent.bytes += carried.bytes() as u64;
        sent.longest = sent.longest.max(carried.bytes());
        let jitter = self.random.below(JITTER.as_nanos() as u64 + 1);
        let at = self.now + LATENCY + Duration::from_nanos(jitter);
        self.push(at, to, Happening::Packet { from, carried });
    }

    fn push(&mut self, at: Instant, to: u16, happening: Happening) {
        self.queued += 1;
        let is_timer = matches!(happening, Happening::Timer);
        self.queue.insert((at, is_timer, self.queued), (to, happening));
    }
}

/// How often a link has shown by then that it lives; each has a phase of its own.
fn beats(from: u16, to: u16, at: Instant) -> u64 {
    let link = (u64::from(from) << 16 | u64::from(to)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let phase = Duration::from_millis((link >> 32) % BEAT.as_millis() as u64);
    ((at - start() + phase).as_nanos() / BEAT.as_nanos()) as u64
}

/// When all virtual time begins. Instants come from the clock alone; what it shows does not matter.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
