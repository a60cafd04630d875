//! When marks are told, and what comes of those that are told.

use super::{
    super::{StreamReader, Unsettled, lock, put_header, urgency},
    *,
};
use crate::wire::lane;

/// What the control lane writes now.
fn control(session: &Session) -> Vec<u8> {
    let mut out = Vec::new();
    session.collect_control(CARRIER, &mut out).expect("not replaced");
    out
}

const RECEIVED: [u8; 4] = [3, 0, 1, 1];

#[test]
fn what_has_only_arrived_is_told_with_what_goes_to_the_peer_next() {
    let session = session();
    session.handle_frames(1, 1, 1, 9).expect("no gap");
    assert_eq!(control(&session), [], "it may wait");
    session.send_control(Control::Ping(7));
    assert!(control(&session).ends_with(&RECEIVED));
    session.handle_frames(1, 2, 1, 9).expect("no gap");
    session.tell_waiting_marks();
    assert_eq!(control(&session), [3, 0, 1, 2], "or when it has waited long enough");
    session.handle_frames(1, 3, 1, urgency::UNTOLD_BYTES).expect("no gap");
    assert_eq!(control(&session), [3, 0, 1, 3], "or when it is much");
    session.handle_frames(1, 4, 1, 9).expect("no gap");
    session.settle(Receipt { lane: 1, sequence: 4, bytes: 0 });
    assert!(control(&session).starts_with(&[3, 0, 1, 4]), "what frees a budget never waits");
}

#[tokio::test(start_paused = true)]
async fn marks_that_are_due_go_along_with_a_lane_that_is_written_in_the_same_turn() {
    let (session, clock) = (session(), crate::Clock::default());
    let due = |first| session.handle_frames(1, first, 1, urgency::UNTOLD_BYTES).expect("no gap");
    let (was_woken, waker) = woken();
    let mut task = std::task::Context::from_waker(&waker);
    due(1);
    let mut writer = std::pin::pin!(session.control(CARRIER, &clock));
    assert!(writer.as_mut().poll(&mut task).is_pending(), "others go first");
    assert!(!was_woken.load(Ordering::Relaxed));
    assert_eq!(session.try_send(Class::Message, 2, 0, b"x"), Ok(()));
    session.batch(CARRIER, 0).await.expect("not replaced");
    assert!(was_woken.load(Ordering::Relaxed), "before the batch is written");
    let told = std::task::Poll::Ready(Ok(RECEIVED.to_vec()));
    assert_eq!(writer.as_mut().poll(&mut task), told);
    due(2);
    assert_eq!(session.control(CARRIER, &clock).await, Ok(vec![3, 0, 1, 2]), "or by themselves");
}

#[tokio::test(start_paused = true)]
async fn marks_that_may_wait_go_along_with_the_next_lane_that_is_written() {
    let (session, clock) = (session(), crate::Clock::default());
    session.handle_frames(1, 1, 1, 9).expect("no gap");
    let (was_woken, waker) = woken();
    let mut task = std::task::Context::from_waker(&waker);
    let mut writer = std::pin::pin!(session.control(CARRIER, &clock));
    // Once lets others go first, and once more begins to wait.
    assert!(writer.as_mut().poll(&mut task).is_pending());
    tokio::task::yield_now().await;
    assert!(writer.as_mut().poll(&mut task).is_pending());
    was_woken.store(false, Ordering::Relaxed);
    assert_eq!(session.try_send(Class::Message, 2, 0, b"x"), Ok(()));
    assert!(!was_woken.load(Ordering::Relaxed));
    session.batch(CARRIER, 0).await.expect("not replaced");
    assert!(was_woken.load(Ordering::Relaxed), "before the batch is written");
    let told = std::task::Poll::Ready(Ok(RECEIVED.to_vec()));
    assert_eq!(writer.as_mut().poll(&mut task), told, "without a turn for others");
}

#[test]
fn a_sender_that_was_turned_away_hurries_what_is_told() {
    let session = session_of(1);
    session.handle_frames(1, 1, 1, 9).expect("no gap");
    assert_eq!(session.try_send(Class::Message, 2, 0, b"x"), Ok(()));
    assert_eq!(control(&session), []);
    assert_eq!(session.try_send(Class::Message, 2, 0, b"x"), Err(SendError::Full));
    assert_eq!(control(&session), RECEIVED);
    assert_eq!(session.try_send(Class::Message, 2, 0, b"x"), Err(SendError::Full));
    session.handle_frames(1, 2, 1, 9).expect("no gap");
    assert_eq!(control(&session), [3, 0, 1, 2], "and what comes later as well");
    session.handle_frames(1, 3, 1, 9).expect("no gap");
    assert_eq!(control(&session), [], "but only once");
}

/// Sends messages and has all but the first settled, so that it stands aside.
fn one_open_of_many(session: &Session) {
    assert_eq!(session.try_send(Class::Message, 2, 7, b"x"), Ok(()));
    for sent in 2..200 {
        assert_eq!(session.try_send(Class::Message, 4, 0, b"x"), Ok(()));
        while session.poll_batch(CARRIER, 0).expect("not replaced").is_some() {}
        session.handle_received(0, sent).expect("a mark");
        session.handle_settled(0, 0, &[(2, sent)]).expect("a mark");
    }
}

#[test]
fn a_mark_that_breaks_the_protocol_changes_nothing() {
    let session = session();
    one_open_of_many(&session);
    for wrong in [&[(1, 0)][..], &[(1, 1), (5, 3)], &[(1, 4), (4, 9)], &[(0, 1)]] {
        assert!(session.handle_settled(0, 0, wrong).is_err(), "{wrong:?}");
        assert_eq!(session.unsettled().0, 1);
    }
    assert_eq!(session.end(), [Unsettled { target: 2, token: 7, written: true }]);
}

#[test]
fn what_is_told_to_be_settled_has_been_let_go() {
    let session = session();
    let mut reader = StreamReader::new(CARRIER);
    let mut stream = Vec::new();
    put_header(0, 1, &mut stream);
    lane::put_payload(false, 2, b"x", &mut stream);
    reader.handle_bytes(&session, stream.into(), &mut Arrived::default()).expect("a frame");
    assert_eq!(session.0.held.get().0, 1);
    // Lane 0 is free once the next receipt of lane 1 is drawn: a mark could be told by then.
    let bytes = session.0.held.get().1 as u32;
    let receipts = [(0, 1, bytes), (1, 1, 0), (1, 2, 0)].into_iter().enumerate();
    session.settle_all(receipts.map(|(n, (lane, sequence, bytes))| {
        assert_eq!(session.0.held.get().0, u64::from(n < 2), "at receipt {n}");
        Receipt { lane, sequence, bytes }
    }));
}

/// Messages of the peer's that have arrived, on lane 0.
fn arrived(session: &Session, count: u64) -> Vec<Receipt> {
    let (mut reader, mut stream) = (StreamReader::new(CARRIER), Vec::new());
    put_header(0, 1, &mut stream);
    (0..count).for_each(|_| lane::put_payload(false, 2, b"x", &mut stream));
    reader.handle_bytes(session, stream.into(), &mut Arrived::default()).expect("frames");
    let (_, bytes) = session.0.held.get();
    let bytes = (bytes / count) as u32;
    (1..=count).map(|sequence| Receipt { lane: 0, sequence, bytes }).collect()
}

#[test]
fn what_is_little_of_what_is_under_way_here_is_told_a_little_later() {
    let session = session();
    let receipts = arrived(&session, 16);
    session.tell_waiting_marks();
    control(&session);
    session.settle_all(receipts[..3].iter().copied());
    assert_eq!(control(&session), [], "less than a quarter");
    session.settle(receipts[3]);
    assert!(!control(&session).is_empty(), "a quarter of all");
    session.settle_all(receipts[4..6].iter().copied());
    assert_eq!(control(&session), [], "counted anew");
    session.tell_waiting_marks();
    assert!(!control(&session).is_empty(), "in the end, however little it is");
    receipts[6..].iter().for_each(|receipt| session.settle(*receipt));
    assert!(!control(&session).is_empty(), "the last of all never waits");
}

#[test]
fn the_first_mark_of_a_connection_lets_bulk_answers_go_whatever_is_known_of_them() {
    let session = session();
    assert_eq!(session.try_send(Class::Message, 2, 7, b"x"), Ok(()));
    let receipt = Receipt { lane: 0, sequence: 1, bytes: 0 };
    assert_eq!(session.answer(receipt, 2, &[0; 150]), Ok(()));
    for sent in 3..200 {
        assert_eq!(session.try_send(Class::Message, 4, 0, b"x"), Ok(()));
        while session.poll_batch(CARRIER, 0).expect("not replaced").is_some() {}
        session.handle_received(0, sent).expect("a mark");
        session.handle_settled(0, 0, &[(3, sent)]).expect("a mark");
    }
    // All of it has arrived, and the word of that is lost with the connection.
    session.resume(CARRIER + 1, &[199, 0]).expect("as far as it was sent");
    session.handle_settled(0, 0, &[(2, 199)]).expect("a mark");
    assert!(lock(&session.0.bulk_out).is_empty());
}
