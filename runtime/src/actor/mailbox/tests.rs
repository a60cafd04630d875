//! What a mailbox does at its bound, policy by policy: by example, and whatever its senders and its
//! activation do.

use std::sync::{Arc, Mutex, PoisonError};

use proptest::prelude::{
    Just, ProptestConfig, Strategy, TestCaseError, prop, prop_assert, prop_assert_eq, prop_oneof,
    proptest,
};

use super::*;
use crate::{
    actor::{ClusterContext, Overflow, envelope::Envelope},
    node::DeadLetters,
};

struct Probe;

impl Actor for Probe {
    type Context = actix::Context<Self>;
}

/// How messages ended, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(u32, RejectReason)>>>);

impl Log {
    fn ends(&self) -> Vec<(u32, RejectReason)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of(&self, reason: RejectReason) -> Vec<u32> {
        let is_of = |(number, why): (u32, RejectReason)| (why == reason).then_some(number);
        self.ends().into_iter().filter_map(is_of).collect()
    }
}

/// A turn takes a context, which takes a node; so it is written as an end that no mailbox gives.
const HANDLED: RejectReason = RejectReason::Expired;
/// The sender has it still.
const GIVEN_BACK: RejectReason = RejectReason::Unreachable;

struct Numbered(u32, Log);

impl Envelope<Probe> for Numbered {
    fn handle(self: Box<Self>, _: &mut Probe, _: &mut ClusterContext<Probe>) {
        unreachable!("no turn without a context")
    }

    fn reject(
        self: Box<Self>,
        reason: RejectReason,
        _: &Mailbox<Probe>,
        dead_letters: &DeadLetters,
    ) {
        dead_letters.rejected(reason, |_| Default::default());
        self.1.0.lock().unwrap_or_else(PoisonError::into_inner).push((self.0, reason));
    }
}

/// The end of what an actor watches has a place of its own.
struct End;

impl Envelope<Probe> for End {
    fn handle(self: Box<Self>, _: &mut Probe, _: &mut ClusterContext<Probe>) {
        unreachable!("no turn without a context")
    }

    fn is_reserved(&self) -> bool {
        true
    }

    fn reject(self: Box<Self>, _: RejectReason, _: &Mailbox<Probe>, _: &DeadLetters) {}
}

/// A mailbox between senders and an activation.
struct Desk {
    mailbox: Mailbox<Probe>,
    bound: Bound,
    dead_letters: DeadLetters,
    log: Log,
    /// How many messages were made; their numbers.
    made: u32,
    accepted: Vec<u32>,
    line: Vec<Ticket>,
    batch: VecDeque<BoxEnvelope<Probe>>,
    finished: usize,
}

impl Desk {
    fn new(capacity: usize, overflow: Overflow) -> Self {
        let bound = Bound { capacity, overflow };
        Self {
            mailbox: Mailbox::new(NodeCore::for_tests(), ActorId(1), bound, None),
            bound,
            dead_letters: DeadLetters::default(),
            log: Log::default(),
            made: 0,
            accepted: Vec::new(),
            line: Vec::new(),
            batch: VecDeque::new(),
            finished: 0,
        }
    }

    fn make(&mut self) -> Box<Numbered> {
        self.made += 1;
        Box::new(Numbered(self.made, self.log.clone()))
    }

    /// One sender's `try_tell`.
    fn tell(&mut self) -> Result<(), Refusal> {
        let msg = self.make();
        let number = msg.0;
        let rejected = match self.mailbox.try_reserve() {
            Ok(slot) => slot.fill(msg),
            Err(refusal) => {
                msg.reject(GIVEN_BACK, &self.mailbox, &self.dead_letters);
                return Err(refusal);
            }
        };
        self.accepted.push(number);
        rejected.into_iter().for_each(|rejected| rejected.end(&self.mailbox, &self.dead_letters));
        Ok(())
    }

    /// One poll of a `tell`, of the sender with this place in the line or of a new one.
    fn poll_tell(&mut self, place: Option<usize>) {
        let place = place.filter(|place| *place < self.line.len());
        let ticket = place.map(|place| self.line[place]);
        let msg = self.make();
        let number = msg.0;
        let refusal = match self.mailbox.reserve(ticket, Waker::noop()) {
            Ok(slot) => {
                let rejected = slot.fill(msg);
                self.accepted.push(number);
                if let Some(place) = place {
                    self.line.remove(place);
                }
                rejected
                    .into_iter()
                    .for_each(|rejected| rejected.end(&self.mailbox, &self.dead_letters));
                return;
            }
            Err(refusal) => refusal,
        };
        // As if it had made its message only now: each poll has one of its own.
        msg.reject(GIVEN_BACK, &self.mailbox, &self.dead_letters);
        if let (Refusal::Full(Some(ticket)), None) = (refusal, place) {
            self.line.push(ticket);
        }
    }

    fn abandon(&mut self, place: usize) {
        if place < self.line.len() {
            self.mailbox.abandon(self.line.remove(place));
        }
    }

    /// A message from another node.
    fn arrive(&mut self) {
        let msg = self.make();
        let number = msg.0;
        match self.mailbox.accept(msg) {
            Some(rejected) if rejected.reason == RejectReason::Full => {
                rejected.end(&self.mailbox, &self.dead_letters);
            }
            rejected => {
                self.accepted.push(number);
                rejected
                    .into_iter()
                    .for_each(|rejected| rejected.end(&self.mailbox, &self.dead_letters));
            }
        }
    }

    /// One turn of the activation, which fetches more when it has none.
    fn turn(&mut self) {
        if self.batch.is_empty() {
            let finished = std::mem::take(&mut self.finished);
            let taken = Taken { finished, awaiting: 0 };
            self.mailbox.refill(taken, &mut self.batch, Waker::noop());
        }
        if let Some(envelope) = self.batch.pop_front() {
            self.finished += usize::from(!envelope.is_reserved());
            envelope.reject(HANDLED, &self.mailbox, &self.dead_letters);
        }
    }

    fn close(&mut self) {
        for envelope in self.batch.drain(..).chain(self.mailbox.close(RejectReason::Stopped)) {
            envelope.reject(RejectReason::Stopped, &self.mailbox, &self.dead_letters);
        }
    }

    fn load(&self) -> Load {
        self.mailbox.lock().load()
    }
}

#[test]
fn ends_take_no_room_while_they_wait_and_while_they_are_in_hand() {
    for overflow in [Overflow::Wait, Overflow::RejectNewest, Overflow::DropOldest] {
        let mut desk = Desk::new(2, overflow);
        (0..5).for_each(|_| desk.mailbox.push_reserved(Box::new(End)));
        desk.tell().expect("room beside ends that wait");
        (0..3).for_each(|_| desk.turn());
        desk.tell().expect("room beside ends in hand");
        desk.arrive();
        (0..9).for_each(|_| desk.turn());
        assert!(desk.mailbox.close_if_empty(RejectReason::Stopped), "{overflow:?}");
        let handled = match overflow {
            Overflow::Wait => [1, 2, 3].to_vec(),
            Overflow::RejectNewest => [1, 2].to_vec(),
            Overflow::DropOldest => [2, 3].to_vec(),
        };
        assert_eq!(desk.log.of(HANDLED), handled, "{overflow:?}");
    }
}

#[test]
fn a_full_mailbox_makes_a_tell_wait_unless_told_otherwise() {
    let mut desk = Desk::new(2, Overflow::default());
    desk.tell().expect("room");
    desk.tell().expect("room");
    assert_eq!(desk.tell(), Err(Refusal::Full(None)));
    desk.poll_tell(None);
    assert_eq!(desk.line.len(), 1, "it stands in line");
    desk.turn();
    desk.turn();
    desk.turn();
    assert_eq!(desk.tell(), Err(Refusal::Full(None)), "behind the one in line");
    desk.poll_tell(Some(0));
    assert_eq!((desk.line.len(), desk.accepted.len()), (0, 3));
}

#[test]
fn a_mailbox_that_rejects_the_newest_has_no_line() {
    let mut desk = Desk::new(2, Overflow::RejectNewest);
    desk.tell().expect("room");
    desk.tell().expect("room");
    desk.poll_tell(None);
    assert!(desk.line.is_empty() && !desk.mailbox.lock().has_waiters());
    desk.arrive();
    assert_eq!(desk.log.of(RejectReason::Full), [4], "from another node: rejected there");
    desk.turn();
    assert_eq!(desk.tell(), Err(Refusal::Full(None)), "the turn isn't known to be over");
    desk.turn();
    desk.turn();
    desk.tell().expect("room");
    assert_eq!(desk.log.of(HANDLED), [1, 2]);
}

#[test]
fn a_mailbox_that_drops_the_oldest_drops_what_waits_and_no_more_than_it_must() {
    let mut desk = Desk::new(2, Overflow::DropOldest);
    for _ in 0..3 {
        desk.tell().expect("there is always room");
    }
    assert_eq!(desk.log.of(RejectReason::Displaced), [1]);
    desk.turn();
    assert_eq!(desk.log.of(HANDLED), [2]);
    desk.arrive();
    assert_eq!(desk.log.of(RejectReason::Displaced), [1], "the one in its turn makes room");
    desk.arrive();
    assert_eq!(desk.log.of(RejectReason::Displaced), [1, 3]);
    desk.turn();
    desk.turn();
    assert_eq!(desk.log.of(HANDLED), [2, 4, 5]);
    assert_eq!(desk.dead_letters.counts().rejected(RejectReason::Displaced), 2);
}

#[test]
fn a_mailbox_that_drops_the_oldest_never_drops_a_signal() {
    let mut desk = Desk::new(1, Overflow::DropOldest);
    desk.mailbox.signal(Signal::Stop);
    for _ in 0..100 {
        desk.tell().expect("there is always room");
    }
    assert_eq!(desk.mailbox.signalled(), Signal::Stop);
}

#[test]
fn a_closed_mailbox_displaces_nothing() {
    let mut desk = Desk::new(1, Overflow::DropOldest);
    desk.tell().expect("room");
    desk.close();
    assert_eq!(desk.tell(), Err(Refusal::Closed(RejectReason::Stopped)));
    assert_eq!(desk.log.of(RejectReason::Stopped), [1]);
}

#[test]
fn a_displaced_message_that_panics_is_nothing_to_its_sender() {
    struct Bomb;
    impl Envelope<Probe> for Bomb {
        fn handle(self: Box<Self>, _: &mut Probe, _: &mut ClusterContext<Probe>) {}
        fn reject(self: Box<Self>, _: RejectReason, _: &Mailbox<Probe>, _: &DeadLetters) {
            panic!("its drop panics on purpose");
        }
    }
    let mut desk = Desk::new(1, Overflow::DropOldest);
    assert!(desk.mailbox.accept(Box::new(Bomb)).is_none());
    desk.tell().expect("there is always room");
    desk.turn();
    assert_eq!(desk.log.of(HANDLED), [1]);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Tell,
    PollTell(Option<usize>),
    Abandon(usize),
    Arrive,
    Turn,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Tell),
        3 => prop::option::of(0usize..4).prop_map(Op::PollTell),
        1 => (0usize..4).prop_map(Op::Abandon),
        2 => Just(Op::Arrive),
        4 => Just(Op::Turn),
    ]
}

/// How things stood before an operation.
struct Before {
    load: Load,
    accepted: usize,
    line: usize,
}

/// What holds after each operation.
fn check(desk: &Desk, before: &Before, op: Op) -> Result<(), TestCaseError> {
    let (load, capacity) = (desk.load(), desk.bound.capacity);
    let is_accepted = desk.accepted.len() > before.accepted;
    match desk.bound.overflow {
        Overflow::Wait => {
            let is_local = !matches!(op, Op::Arrive);
            let was_full = before.load.waiting + before.load.taken >= capacity;
            prop_assert!(!(is_accepted && is_local && was_full), "{op:?} passed by the bound");
            let is_in_line = matches!(op, Op::PollTell(Some(0)));
            let overtakes = is_accepted && is_local && before.line > 0 && !is_in_line;
            prop_assert!(!overtakes, "{op:?} overtook the line");
        }
        Overflow::RejectNewest => {
            prop_assert!(load.waiting + load.taken <= capacity, "{load:?}");
            prop_assert!(desk.line.is_empty());
        }
        Overflow::DropOldest => {
            prop_assert!(load.waiting <= capacity && load.taken <= 1, "{load:?}");
            prop_assert!(desk.line.is_empty());
            prop_assert!(is_accepted || matches!(op, Op::Turn | Op::Abandon(_)), "{op:?}");
        }
    }
    let given = desk.log.of(RejectReason::Displaced);
    prop_assert!(given.is_empty() || desk.bound.overflow == Overflow::DropOldest);
    // What leaves the queue, by its turn or for a newer one, leaves it in the order it came.
    let has_left =
        |(_, why): &(u32, RejectReason)| [HANDLED, RejectReason::Displaced].contains(why);
    let left: Vec<_> = desk.log.ends().into_iter().filter(has_left).map(|(n, _)| n).collect();
    if desk.bound.overflow == Overflow::DropOldest {
        prop_assert_eq!(&left[..], &desk.accepted[..left.len()]);
    }
    let handled = desk.log.of(HANDLED);
    let mut accepted = desk.accepted.iter();
    prop_assert!(handled.iter().all(|n| accepted.any(|a| a == n)), "out of order");
    Ok(())
}

#[test]
fn an_entity_that_was_used_since_a_sweep_saw_it_is_not_asked_to_go() {
    let mailbox = Desk::new(2, Overflow::Wait).mailbox;
    mailbox.signal_idle(mailbox.used_at().wrapping_add(1));
    assert_eq!(mailbox.signalled(), Signal::None);
    mailbox.signal_idle(mailbox.used_at());
    assert_eq!(mailbox.signalled(), Signal::Passivate);
}

#[test]
fn what_comes_after_a_sweep_has_asked_makes_an_entity_busy_again() {
    let mut desk = Desk::new(4, Overflow::Wait);
    desk.tell().expect("room");
    desk.mailbox.signal_idle(desk.mailbox.used_at());
    assert!(!desk.mailbox.decline_if_used(), "what came before does not count");
    desk.tell().expect("room");
    assert!(desk.mailbox.decline_if_used());
    assert!(!desk.mailbox.decline_if_used(), "it is told once");
    desk.mailbox.signal_idle(desk.mailbox.used_at());
    desk.mailbox.signal_passivate();
    desk.tell().expect("room");
    assert!(!desk.mailbox.decline_if_used(), "whoever asked for it outright gets it");
    desk.mailbox.signal_idle(desk.mailbox.used_at());
    desk.tell().expect("room");
    assert!(!desk.mailbox.decline_if_used(), "also if a sweep comes after that");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_a_policy_does_the_bound_holds_and_each_message_ends_once_in_order(
        capacity in 1usize..5,
        overflow in prop::sample::select(
            vec![Overflow::Wait, Overflow::RejectNewest, Overflow::DropOldest],
        ),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut desk = Desk::new(capacity, overflow);
        for op in ops {
            let (load, accepted, line) = (desk.load(), desk.accepted.len(), desk.line.len());
            let before = Before { load, accepted, line };
            match op {
                Op::Tell => {
                    let _given_back = desk.tell();
                }
                Op::PollTell(place) => desk.poll_tell(place),
                Op::Abandon(place) => desk.abandon(place),
                Op::Arrive => desk.arrive(),
                Op::Turn => desk.turn(),
            }
            check(&desk, &before, op)?;
        }
        desk.close();
        let mut ended: Vec<_> = desk.log.ends().into_iter().map(|(number, _)| number).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (1..=desk.made).collect::<Vec<_>>());
    }
}
