//! Two cores and a connection that is cut at any point: in order, exactly once, every message with
//! one outcome.

mod marks;
mod together;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use bytes::{Buf as _, Bytes, BytesMut};
use proptest::prelude::*;

use super::{
    Arrived, Budget, Buffers, Class, Frame, Frames, Incoming, Later, Limits, Outgoing, PushRefusal,
    Receipt, SendError, Session, Shape, budget::Prepaid,
};
use crate::{
    identity::{NodeName, PeerId},
    wire::{WireError, control::Control, handshake::Accepts, lane::LaneFrame},
};

const LIMITS: Limits = Limits { target_messages: 4, target_bytes: 400, lane_bytes: 600 };

/// The one connection of these tests.
const CARRIER: u64 = 0;

#[derive(Clone, Debug)]
enum Step {
    Send { target: u64, length: usize },
    Answer,
    Write,
    Arrive { frames: usize },
    Settle { pick: usize },
    Marks,
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..3, 0usize..150).prop_map(|(target, length)| Step::Send { target, length }),
        1 => Just(Step::Answer),
        3 => Just(Step::Write),
        3 => (1usize..5).prop_map(|frames| Step::Arrive { frames }),
        3 => any::<usize>().prop_map(|pick| Step::Settle { pick }),
        2 => Just(Step::Marks),
        1 => Just(Step::Cut),
    ]
}

struct Pair {
    outgoing: Outgoing,
    incoming: Incoming,
    budget: Budget,
    /// What the connection carries, and the sequence number of its next frame.
    wire: BytesMut,
    sequence: u64,
    sent: Vec<u64>,
    arrived: Vec<u64>,
    unsettled: Vec<u64>,
}

impl Pair {
    fn new() -> Self {
        Self {
            outgoing: Outgoing::new(LIMITS),
            incoming: Incoming::default(),
            budget: Budget::new(8, 800, 1_000_000),
            wire: BytesMut::new(),
            sequence: 1,
            sent: Vec::new(),
            arrived: Vec::new(),
            unsettled: Vec::new(),
        }
    }

    fn push(&mut self, class: Class, target: u64, length: usize) {
        let token = self.sent.len() as u64 + 1;
        let mut payload = token.to_le_bytes().to_vec();
        payload.resize(8 + length, 0);
        let frame = Frame { class, target, token, payload: &payload, bulk: None };
        match self.outgoing.push(&frame, None, &mut Prepaid::nothing(&self.budget)) {
            Ok(_) => self.sent.push(token),
            Err(PushRefusal::Full) => assert_eq!(class, Class::Message),
            Err(refusal) => panic!("nobody ended it: {refusal:?}"),
        }
    }

    fn write(&mut self) {
        if let Some(batch) =
            self.outgoing.poll_batch(CARRIER, &self.budget, &mut Vec::new()).expect("not replaced")
        {
            self.wire.extend_from_slice(&batch);
        }
    }

    fn arrive(&mut self, frames: usize) {
        for _ in 0..frames {
            let mut wire = self.wire.clone().freeze();
            let Some(frame) = LaneFrame::take(&mut wire, 1_000).expect("our own frames") else {
                return;
            };
            self.wire.advance(self.wire.len() - wire.len());
            let sequence = self.sequence;
            self.sequence += 1;
            let is_new = sequence > self.incoming.received();
            self.incoming.handle_frames(sequence, 1, 0).expect("no gap");
            let (LaneFrame::Message { payload, .. } | LaneFrame::Answer { payload, .. }) = &frame
            else {
                panic!("{frame:?}")
            };
            if is_new {
                let token = u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"));
                self.arrived.push(token);
                match frame {
                    LaneFrame::Message { .. } => self.unsettled.push(sequence),
                    _ => _ = self.incoming.settle(sequence),
                }
            }
        }
    }

    fn settle(&mut self, pick: usize) {
        if !self.unsettled.is_empty() {
            let at = pick % self.unsettled.len();
            self.incoming.settle(self.unsettled.swap_remove(at));
        }
    }

    fn marks(&mut self) {
        let marks = self.incoming.poll_marks();
        if let Some(received) = marks.received {
            self.outgoing
                .handle_received(received, &self.budget, &mut Vec::new())
                .expect("our own marks");
        }
        if let Some((up_to, ranges)) = marks.settled {
            let mut wake = Vec::new();
            self.outgoing
                .handle_settled(up_to, &ranges, &self.budget, &mut wake)
                .expect("our own marks");
        }
    }

    fn cut(&mut self) {
        self.wire.clear();
        let received = self.incoming.received();
        let resumed = self.outgoing.resume(CARRIER, received, &self.budget);
        self.sequence = resumed.expect("our own mark");
        self.incoming.retell();
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Send { target, length } => self.push(Class::Message, target, length),
            Step::Answer => self.push(Class::Answer, 9, 1),
            Step::Write => self.write(),
            Step::Arrive { frames } => self.arrive(frames),
            Step::Settle { pick } => self.settle(pick),
            Step::Marks => self.marks(),
            Step::Cut => self.cut(),
        }
        let (messages, bytes) = self.budget.used();
        assert!(messages <= 8 && bytes <= 800, "{messages} messages, {bytes} bytes");
    }
}

proptest! {
    #[test]
    fn every_frame_arrives_in_order_and_once_whatever_is_cut(
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step);
            prop_assert_eq!(&pair.arrived[..], &pair.sent[..pair.arrived.len()]);
        }
        pair.cut();
        // As many writes as there are frames are always enough.
        for _ in 0..=pair.sent.len() {
            pair.write();
            pair.arrive(1_000);
        }
        prop_assert_eq!(&pair.arrived, &pair.sent);
        while !pair.unsettled.is_empty() {
            pair.settle(0);
        }
        pair.marks();
        prop_assert!(pair.outgoing.is_drained());
        prop_assert_eq!(pair.budget.used(), (0, 0));
    }

    #[test]
    fn an_end_reports_each_unsettled_message_once_and_says_whether_it_was_written(
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let mut pair = Pair::new();
        let mut written = 0;
        let mut messages = std::collections::BTreeSet::new();
        for step in &steps {
            let before = pair.sent.len();
            pair.run(step);
            if let (Step::Send { .. }, true) = (step, pair.sent.len() > before) {
                messages.insert(before as u64 + 1);
            }
            if matches!(step, Step::Write | Step::Cut) {
                written = written.max(pair.outgoing.last_written());
            }
        }
        let unsettled = pair.outgoing.end(&mut Vec::new());
        let tokens: std::collections::BTreeSet<u64> =
            unsettled.iter().map(|message| message.token).collect();
        prop_assert_eq!(tokens.len(), unsettled.len());
        prop_assert!(tokens.is_subset(&messages));
        for message in &unsettled {
            prop_assert_eq!(message.written, message.token <= written);
        }
        prop_assert!(pair.outgoing.end(&mut Vec::new()).is_empty());
    }
}

fn session() -> Session {
    session_of(6)
}

fn session_of(messages_limit: u64) -> Session {
    session_with(messages_limit, 10_000)
}

fn session_with(messages_limit: u64, bytes_limit: u64) -> Session {
    let peer = |name| PeerId { name: NodeName::new(name).expect("a name"), incarnation: 1 };
    let shape = Shape {
        lanes_out: 2,
        lanes_in: 2,
        limits: LIMITS,
        messages_limit,
        bytes_limit,
        answer_bytes: 400,
        accepts: Accepts { messages: 16, bytes: 10_000, longest: 2_000 },
        message_limit: 2_000,
        bulk_over: 100,
        bulk_streams: 1,
    };
    Session::new(peer("a"), peer("b"), Bytes::new(), &shape, Buffers::default())
}

#[test]
fn a_full_target_stalls_itself_and_a_full_session_everybody() {
    let session = session();
    let send = |target| session.try_send(Class::Message, target, 0, b"x");
    for _ in 0..4 {
        assert_eq!(send(1), Ok(()));
    }
    assert_eq!(send(1), Err(SendError::Full), "the target's own bound");
    assert_eq!(send(2), Ok(()));
    assert_eq!(send(3), Ok(()));
    assert_eq!(send(4), Err(SendError::Full), "the session's bound");
    assert_eq!(session.try_send(Class::Answer, 4, 0, b"x"), Ok(()), "answers always pass");
}

#[test]
fn answers_that_nobody_waits_for_one_by_one_stop_at_a_quarter() {
    let session = session();
    // 400 bytes in all; each counts its head too.
    let send = || session.try_send(Class::Answer, 1, 0, &[0; 80]);
    assert!(session.has_answers_to_spare());
    assert_eq!(send(), Ok(()));
    assert!(session.has_answers_to_spare(), "not more than 100 bytes");
    assert_eq!(send(), Ok(()));
    assert!(!session.has_answers_to_spare());
    assert_eq!(send(), Ok(()), "others have their room");
}

#[test]
fn a_lane_holds_no_more_bytes_than_its_limit_until_they_have_arrived() {
    let session = session_of(100);
    let send = |target| session.try_send(Class::Message, target, 0, &[0; 90]);
    let mut sent = 0;
    // Even targets share lane 0.
    while send(2 * sent).is_ok() {
        sent += 1;
    }
    // 101 bytes each, and room is asked for up to 109.
    assert_eq!(sent, 5, "600 bytes of the lane");
    assert_eq!(send(1), Ok(()), "the other lane goes on");
    let (wake, task) = woken();
    let mut ticket = None;
    let poll = |ticket: &mut _| {
        let task = std::task::Context::from_waker(&task);
        session.poll_send(2 * sent, 0, &[0; 90], ticket, &task)
    };
    assert!(poll(&mut ticket).is_pending());
    session.poll_batch(CARRIER, 0).expect("not replaced").expect("a batch");
    assert!(!wake.load(Ordering::Relaxed));
    session.handle_received(0, sent).expect("a mark");
    assert!(wake.load(Ordering::Relaxed), "what has arrived makes room, settled or not");
    assert!(poll(&mut ticket).is_ready());
}

/// A waker, and whether it was woken.
pub(super) fn woken() -> (Arc<AtomicBool>, Waker) {
    struct Flag(Arc<AtomicBool>);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = Arc::new(AtomicBool::new(false));
    (Arc::clone(&flag), Waker::from(Arc::new(Flag(flag))))
}

#[test]
fn a_closing_session_takes_answers_and_no_messages() {
    let session = session();
    let (wake, task) = woken();
    for _ in 0..4 {
        session.try_send(Class::Message, 2, 0, b"x").expect("room");
    }
    let mut ticket = None;
    let mut poll = || {
        let task = std::task::Context::from_waker(&task);
        session.poll_send(2, 0, b"x", &mut ticket, &task)
    };
    assert!(poll().is_pending());
    session.close();
    assert!(wake.load(Ordering::Relaxed), "who waits is told");
    assert_eq!(poll(), std::task::Poll::Ready(Err(SendError::Closing)));
    assert!(!session.takes_messages());
    assert_eq!(session.try_send(Class::Answer, 2, 0, b"x"), Ok(()));
    assert!(!session.is_closed());
    session.handle_control(Control::Drained, &mut Arrived::default()).expect("a frame");
    assert!(!session.is_closed(), "what this end sent is not settled");
    session.handle_settled(0, 4, &[]).expect("a mark");
    assert!(session.is_closed());
}

#[test]
fn waiters_of_a_target_are_served_in_order() {
    let session = session();
    let task = std::task::Context::from_waker(Waker::noop());
    for _ in 0..4 {
        session.try_send(Class::Message, 2, 0, b"x").expect("room");
    }
    let (mut first, mut second) = (None, None);
    assert!(session.poll_send(2, 0, b"x", &mut first, &task).is_pending());
    assert!(session.poll_send(2, 0, b"x", &mut second, &task).is_pending());
    session.handle_settled(0, 1, &[]).expect("a mark");
    assert!(session.poll_send(2, 0, b"x", &mut second, &task).is_pending(), "not its turn");
    assert_eq!(session.try_send(Class::Message, 2, 0, b"x"), Err(SendError::Full));
    assert!(session.poll_send(2, 0, b"x", &mut first, &task).is_ready());
    assert!(session.poll_send(2, 0, b"x", &mut second, &task).is_pending(), "no room left");
    session.leave(2, second.take().expect("a place"));
}

#[test]
fn a_payload_over_the_limit_is_refused() {
    let session = session();
    assert_eq!(session.try_send(Class::Message, 1, 0, &[0; 2_000]), Ok(()));
    let refused = session.try_send(Class::Message, 2, 0, &[0; 2_001]);
    assert_eq!(refused, Err(SendError::TooLong { limit: 2_000 }));
}

#[test]
fn a_rejection_is_told_before_its_mark() {
    let session = session();
    assert_eq!(session.handle_frames(1, 1, 1, 9), Ok(()));
    session.reject(Receipt { lane: 1, sequence: 1, bytes: 0 }, 5, 7, Later::Deliver);
    let marks = |session: &Session| {
        let mut out = Vec::new();
        session.tell_waiting_marks();
        session.collect_control(CARRIER, &mut out).expect("not replaced");
        out
    };
    assert_eq!(marks(&session), [3, 0, 1, 1], "received, and not settled yet");
    // The peer has the rejection, which is the first frame of lane 1.
    session.handle_received(1, 1).expect("a mark");
    assert_eq!(marks(&session), [4, 1, 1, 1, 0], "settled now");
}

#[test]
fn a_bulk_answer_settles_its_message_once_all_of_it_has_arrived() {
    let session = session();
    assert_eq!(session.handle_frames(1, 1, 1, 9), Ok(()));
    let receipt = Receipt { lane: 1, sequence: 1, bytes: 0 };
    assert_eq!(session.answer(receipt, 5, &[0; 150]), Ok(()));
    session.handle_received(1, 1).expect("a mark");
    let settled = |session: &Session| {
        let mut out = Vec::new();
        session.tell_waiting_marks();
        session.collect_control(CARRIER, &mut out).expect("not replaced");
        out.windows(5).any(|frame| frame == [4, 1, 1, 1, 0])
    };
    assert!(!settled(&session), "only its place has arrived");
    session.handle_control(Control::Got { id: 1 }, &mut Arrived::default()).expect("a frame");
    assert!(settled(&session));
}

#[test]
fn announcements_of_bulk_are_bounded() {
    let session = session();
    let place = |sequence| Receipt { lane: 0, sequence, bytes: 0 };
    let expect = |id| session.expect_bulk(id, 1, place(id), Class::Answer, 1);
    assert!((1..=65_536).all(|id| expect(id).is_ok()));
    assert_eq!(expect(65_537), Err(WireError::OverBudget));
}

#[test]
fn a_peer_that_floods_us_with_pings_gets_no_more_than_so_many_answers() {
    let session = session();
    for nonce in 0..1_000 {
        let ping = session.handle_control(Control::Ping(nonce), &mut Arrived::default());
        assert_eq!(ping, Ok(None));
    }
    let mut out = Vec::new();
    session.collect_control(CARRIER, &mut out).expect("not replaced");
    let mut out = BytesMut::from(&out[..]);
    let pongs = std::iter::from_fn(|| Control::take(&mut out).expect("our own")).count();
    assert_eq!(pongs, 256);
}

#[test]
fn pauses_are_told_and_told_again_on_a_new_connection() {
    let told = |session: &Session, carrier| {
        let mut out = Vec::new();
        session.tell_waiting_marks();
        session.collect_control(carrier, &mut out).expect("not replaced");
        out
    };
    let session = session();
    session.pause_target(9);
    session.pause_target(9);
    assert_eq!(told(&session, CARRIER), [2, 5, 9]);
    assert_eq!(told(&session, CARRIER), []);
    session.resume(1, &[]).expect("our own");
    assert_eq!(told(&session, 1)[..3], [2, 5, 9]);
    session.resume_target(9);
    assert_eq!(told(&session, 1), [2, 6, 9]);
    session.resume(2, &[]).expect("our own");
    assert!(!told(&session, 2).starts_with(&[2, 5, 9]), "there is nothing to say of it");
}

#[test]
fn a_paused_target_takes_nothing_and_stalls_nobody_until_it_is_resumed() {
    let session = session();
    let control = |frame| session.handle_control(frame, &mut Arrived::default());
    let send = |target| session.try_send(Class::Message, target, 0, b"x");
    assert_eq!(send(2), Ok(()));
    control(Control::Pause { target: 2 }).expect("a frame");
    assert_eq!(send(2), Err(SendError::Full));
    assert_eq!(send(4), Ok(()), "on the same lane");
    assert_eq!(session.try_send(Class::Answer, 2, 0, b"x"), Ok(()), "answers always pass");
    let (wake, task) = woken();
    let mut ticket = None;
    let task = std::task::Context::from_waker(&task);
    assert!(session.poll_send(2, 0, b"x", &mut ticket, &task).is_pending());
    control(Control::Resume { target: 2 }).expect("a frame");
    assert!(wake.load(Ordering::Relaxed));
    assert!(session.poll_send(2, 0, b"x", &mut ticket, &task).is_ready());
    // A pause of what has nothing under way is nothing, and takes no memory.
    control(Control::Pause { target: 7 }).expect("a frame");
    assert_eq!(send(7), Ok(()));
}

#[test]
fn answers_are_bounded_and_hold_up_messages_before_they_come_there() {
    let session = session();
    let mut arrived = Arrived::default();
    let offer = |sequence, frames: &mut Frames| {
        let ticket = Receipt { lane: 0, sequence, bytes: 0 };
        session.offer(ticket, sequence, &Bytes::new(), 0..0, frames);
    };
    let answer = |length: usize| session.try_send(Class::Answer, 1, 0, &vec![0; length]);
    offer(1, &mut arrived.frames);
    assert_eq!(arrived.frames.len(), 1);
    for _ in 0..3 {
        assert_eq!(answer(90), Ok(()));
    }
    // 327 of 400 bytes: more than half.
    offer(2, &mut arrived.frames);
    assert_eq!(arrived.frames.len(), 1, "it waits");
    assert_eq!(answer(90), Err(SendError::Full));
    for _ in 0..10 {
        assert_eq!(answer(30), Ok(()), "short ones pass: each ends a message");
    }
    session.poll_batch(CARRIER, 1).expect("not replaced").expect("a batch");
    let received = Control::Received { lane: 1, up_to: 13 };
    session.handle_control(received, &mut arrived).expect("a mark");
    let sequences: Vec<_> = arrived.frames.iter().map(|frame| frame.ticket.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    assert_eq!(answer(90), Ok(()));
}

#[test]
fn marks_beyond_what_was_sent_are_refused() {
    let session = session();
    assert!(session.handle_received(0, 1).is_err());
    assert!(session.handle_settled(0, 1, &[]).is_err());
    assert!(session.handle_settled(0, 0, &[(1, 1)]).is_err());
    assert!(session.handle_received(9, 0).is_err(), "no such lane");
}

#[test]
fn shared_bytes_that_travel_as_bulk_are_not_copied() {
    let session = session();
    let payload = Bytes::from(vec![7; 150]);
    assert_eq!(session.try_send(Class::Message, 2, 0, &payload), Ok(()));
    let errand = session.handle_control(Control::Pull { id: 1, from: 50 }, &mut Arrived::default());
    let Ok(Some(super::Errand::Write { bytes, .. })) = errand else { panic!("{errand:?}") };
    assert_eq!((bytes.as_ptr(), bytes.len()), (payload[50..].as_ptr(), 100));
}
