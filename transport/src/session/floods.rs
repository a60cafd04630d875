//! What a peer repeats without end, or never takes notice of, costs a session neither memory nor time
//! by what it holds.

use bytes::Bytes;

use super::{
    Arrived, Buffers, Class, Later, Limits, Session, Shape, StreamReader, bulk::Gone, lock,
    put_header, tests::woken,
};
use crate::{
    identity::{NodeName, PeerId},
    wire::{WireError, control::Control, handshake::Accepts, lane::LaneFrame},
};

/// How many messages of the peer's are held.
const HELD: u64 = 1_000;

/// What answers may take, and rejections with them.
const ANSWER_BYTES: u64 = 64 * 1024;

const FLOOD: u64 = 20_000;

/// The connection of these tests.
const CARRIER: u64 = 1;

fn session() -> Session {
    let id = |name: &str| PeerId { name: NodeName::new(name).expect("a name"), incarnation: 1 };
    let shape = Shape {
        lanes_out: 1,
        lanes_in: 1,
        limits: Limits { target_messages: u32::MAX, target_bytes: u64::MAX, lane_bytes: 1 << 30 },
        messages_limit: HELD,
        bytes_limit: 1 << 30,
        answer_bytes: ANSWER_BYTES,
        accepts: Accepts { messages: HELD, bytes: 1 << 30, longest: 1_024 },
        message_limit: 1_024,
        bulk_over: 512,
        bulk_streams: 2,
    };
    let session = Session::new(id("a"), id("b"), Bytes::new(), &shape, Buffers::default());
    session.resume(CARRIER, &[]).expect("a connection");
    session
}

/// Lane 0 of the peer, read from its first frame on.
struct Lane<'a>(&'a Session, StreamReader);

impl<'a> Lane<'a> {
    fn begin(session: &'a Session) -> Self {
        let mut lane = Self(session, StreamReader::new(CARRIER));
        let mut header = Vec::new();
        put_header(0, 1, &mut header);
        lane.1.handle_bytes(session, header.into(), &mut Arrived::default()).expect("a header");
        lane
    }

    fn arrive(&mut self, frame: &LaneFrame) -> Result<Arrived, WireError> {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        let mut arrived = Arrived::default();
        self.1.handle_bytes(self.0, bytes.into(), &mut arrived).map(|()| arrived)
    }

    fn arrive_message(&mut self) -> Result<Arrived, WireError> {
        self.arrive(&LaneFrame::Message { target: 1, payload: Bytes::new() })
    }
}

/// Rejects what arrived; returns how much that was.
fn reject(session: &Session, arrived: &mut Arrived) -> u64 {
    let rejected = arrived.frames.len() as u64;
    for inbound in &arrived.frames {
        session.reject(inbound.ticket, inbound.target, 1, Later::Deliver);
    }
    arrived.frames.clear();
    rejected
}

#[test]
fn a_peer_that_does_not_read_its_rejections_is_soon_given_no_more() {
    let session = session();
    let mut lane = Lane::begin(&session);
    let (mut rejected, mut came) = (0, 0);
    let end = loop {
        match lane.arrive_message() {
            Ok(mut arrived) => rejected += reject(&session, &mut arrived),
            Err(error) => break error,
        }
        came += 1;
        assert!(came < FLOOD, "{rejected} were rejected");
    };
    // 64 bytes each, up to half of the budget. What comes then is held, and no more than that.
    assert_eq!(rejected, ANSWER_BYTES / 2 / 64 + 1);
    assert_eq!((end, came), (WireError::OverBudget, rejected + HELD));
}

#[test]
fn rejections_that_were_read_make_room_for_more() {
    let session = session();
    let mut lane = Lane::begin(&session);
    let mut rejected = 0;
    while rejected < FLOOD {
        for _ in 0..100 {
            let mut arrived = lane.arrive_message().expect("within the budget");
            assert_eq!(reject(&session, &mut arrived), 1, "nothing is held back");
            rejected += 1;
        }
        while session.poll_batch(CARRIER, 0).expect("carried").is_some() {}
        let mark = Control::Received { lane: 0, up_to: rejected };
        session.handle_control(mark, &mut Arrived::default()).expect("a mark");
    }
    session.resume(2, &[rejected]).expect("a connection");
    let answer = vec![0; 500];
    // Give-back is what was taken: all of the budget is there again.
    let fits = (0..).take_while(|_| session.try_send(Class::Answer, 1, 0, &answer).is_ok()).count();
    assert_eq!(fits as u64, ANSWER_BYTES / 519);
}

#[test]
fn bulk_that_is_given_up_again_and_again_is_soon_announced_in_vain() {
    let session = session();
    let mut lane = Lane::begin(&session);
    let end = (1..FLOOD).find_map(|id| {
        let bulk = LaneFrame::Bulk { answer: false, target: 1, id, length: 600 };
        let refused = lane.arrive(&bulk).err();
        let cancelled = Control::Cancelled { id, reason: 1 };
        session.handle_control(cancelled, &mut Arrived::default()).expect("a frame");
        refused.map(|error| (error, id))
    });
    let (error, id) = end.expect("it ends");
    assert_eq!(error, WireError::OverBudget);
    let bound = ANSWER_BYTES + 2 * 64 * HELD + 1_024;
    assert!((bound / 64..bound / 64 + 10).contains(&id), "{id}");
}

#[test]
fn rejections_of_what_was_never_sent_are_taken_until_nobody_takes_notice_that_they_were() {
    let session = session();
    let mut lane = Lane::begin(&session);
    let end = (1..FLOOD).find_map(|sequence| {
        let refused = lane.arrive(&LaneFrame::Rejected { lane: 0, sequence, reason: 1 }).err();
        session.rejection_seen(0);
        while session.poll_batch(CARRIER, 0).expect("carried").is_some() {}
        refused
    });
    assert_eq!(end, Some(WireError::OverBudget));
}

#[test]
fn a_mark_that_says_nothing_new_looks_at_no_bulk_message() {
    let session = session();
    session.try_send(Class::Message, 1, 0, b"x").expect("room");
    session.poll_batch(CARRIER, 0).expect("carried").expect("a batch");
    session.handle_settled(0, 1, &[]).expect("a mark");
    // As if it were of the frame that is settled: whoever looks at it lets it go.
    lock(&session.0.bulk_out).keep(1, (0, 1), 0, Bytes::from_static(b"x"), Gone::default());
    session.handle_settled(0, 1, &[]).expect("a mark");
    assert!(session.wants_bulk(1));
    session.try_send(Class::Message, 1, 0, b"x").expect("room");
    session.handle_settled(0, 2, &[]).expect("a mark");
    assert!(!session.wants_bulk(1), "one that says something new does");
}

#[test]
fn marks_of_what_was_settled_long_ago_cost_no_time_by_what_they_span() {
    let session = session();
    let mut sent = 0;
    while sent < 2_000_000 {
        for _ in 0..HELD {
            session.try_send(Class::Message, 1, 0, b"").expect("room");
        }
        session.poll_batch(CARRIER, 0).expect("carried").expect("a batch");
        sent += HELD;
        session.handle_received(0, sent).expect("a mark");
        session.handle_settled(0, sent, &[]).expect("a mark");
    }
    // As many steps as frames are in the range, for each, would take hours.
    for _ in 0..FLOOD {
        session.handle_settled(0, 0, &[(2, sent - 1)]).expect("a mark");
    }
}

#[test]
fn a_close_that_is_said_again_looks_at_no_target() {
    let session = session();
    let say = || session.handle_control(Control::Closing, &mut Arrived::default());
    say().expect("a frame");
    // Nobody can wait any more: whoever looks at the targets wakes this one.
    let (wake, task) = woken();
    lock(&session.0.outgoing[0].lane).join(1, None, &task).expect("a place");
    say().expect("a frame");
    assert!(!wake.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn marks_and_frames_after_the_end_change_nothing() {
    let session = session();
    let mut lane = Lane::begin(&session);
    for _ in 0..4 {
        session.try_send(Class::Message, 1, 1, b"x").expect("room");
    }
    session.try_send(Class::Message, 1, 1, &[0; 600]).expect("room");
    let mut arrived = lane.arrive_message().expect("a message");
    reject(&session, &mut arrived);
    session.poll_batch(CARRIER, 0).expect("carried").expect("a batch");
    assert_eq!(session.end().len(), 5);
    let before = session.unsettled();
    for frame in [
        Control::Settled { lane: 0, up_to: 1, ranges: vec![(3, 4)] },
        Control::Received { lane: 0, up_to: 6 },
        Control::Settled { lane: 0, up_to: 6, ranges: Vec::new() },
        Control::Settled { lane: 0, up_to: 0, ranges: vec![(2, 3)] },
        Control::Pause { target: 1 },
        Control::Resume { target: 1 },
        Control::Got { id: 1 },
        Control::Pull { id: 1, from: 0 },
        Control::Cancelled { id: 1, reason: 1 },
        Control::Closing,
        Control::Drained,
    ] {
        let done = session.handle_control(frame.clone(), &mut Arrived::default());
        assert_eq!(done, Ok(None), "{frame:?}");
    }
    let rejected = LaneFrame::Rejected { lane: 0, sequence: 2, reason: 1 };
    let arrived = lane.arrive(&rejected).expect("a frame");
    assert_eq!(arrived.rejected, [(0, None, 1)], "its end was told already");
    session.rejection_seen(0);
    assert_eq!(session.unsettled(), before);
    assert_eq!(session.poll_batch(CARRIER, 0).expect("carried"), None);
    assert_eq!(session.end(), []);
    session.resume(2, &[6]).expect("a connection that came too late");
}
