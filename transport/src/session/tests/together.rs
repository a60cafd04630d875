//! Messages that are sent together, beside the same ones sent one by one.

use super::*;
use crate::session::{Outbound, SendAllError, SendError};

/// Targets and lengths; those over 100 bytes travel as bulk, those over 2,000 not at all.
fn messages() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let length = prop_oneof![8 => 0usize..40, 2 => 90usize..160, 1 => 1_990usize..2_010];
    proptest::collection::vec((0u64..5, length), 0..150)
}

proptest! {
    #[test]
    fn messages_sent_together_are_what_they_are_one_by_one(
        (messages, before) in (messages(), messages()),
        messages_limit in 1u64..200,
        bytes_limit in 1u64..4_000,
    ) {
        let (one, all) = (session_with(messages_limit, bytes_limit), session_with(messages_limit, bytes_limit));
        let payloads: Vec<_> = messages.iter().map(|(_, length)| vec![7; *length]).collect();
        for session in [&one, &all] {
            for (target, length) in &before {
                let _ = session.try_send(Class::Message, *target, 1, &vec![8; *length]);
            }
            let _ = session.poll_batch(CARRIER, 0);
        }
        let outbound: Vec<_> = (1..)
            .zip(messages.iter().zip(&payloads))
            .map(|(token, ((target, _), payload))| Outbound { target: *target, token, payload: payload.into() })
            .collect();
        let together = all.try_send_all(&outbound);
        let mut one_by_one = Ok(());
        for (sent, Outbound { target, token, payload }) in outbound.iter().enumerate() {
            if let Err(error) = one.try_send(Class::Message, *target, *token, *payload) {
                one_by_one = Err(SendAllError { sent, error });
                break;
            }
        }
        prop_assert_eq!(together, one_by_one);
        prop_assert_eq!(all.unsettled(), one.unsettled());
        for lane in 0..2 {
            let batch = |session: &Session| session.poll_batch(CARRIER, lane).expect("not replaced");
            prop_assert_eq!(batch(&all), batch(&one));
        }
        prop_assert_eq!(all.end(), one.end());
    }
}

#[test]
fn what_is_sent_together_wakes_the_writer_of_each_lane_once() {
    let session = session();
    let payload = b"x"[..].into();
    let outbound = [2, 3, 4, 5].map(|target| Outbound { target, token: 0, payload });
    let waits = |lane: usize| {
        let mut ready = Box::pin(session.0.outgoing[lane].ready.notified());
        let task = std::task::Context::from_waker(Waker::noop());
        move || ready.as_mut().poll(&mut { task }).is_pending()
    };
    assert_eq!(session.try_send_all(&outbound[..1]), Ok(()));
    assert!(waits(1)() && !waits(0)());
    assert_eq!(session.try_send_all(&outbound[1..]), Ok(()));
    assert!(!waits(1)(), "its first");
    assert!(waits(0)(), "its writer has been told, and has not come yet");
}

#[test]
fn room_that_was_held_for_what_is_not_sent_is_offered_to_who_was_turned_away() {
    let session = session();
    let payload = b"x"[..].into();
    let message = |target| Outbound { target, token: 0, payload };
    assert_eq!(session.try_send_all(&[2; 4].map(message)), Ok(()));
    // Held for a moment, while somebody else comes for the session's last room.
    let mut held = Prepaid::take(&session.0.budget, 2, 40);
    let (was_woken, waker) = woken();
    let mut ticket = None;
    let task = std::task::Context::from_waker(&waker);
    assert!(session.poll_send(3, 0, b"x", &mut ticket, &task).is_pending());
    held.give_back();
    assert!(!was_woken.load(Ordering::Relaxed));
    // What is held here is refused at its target, and given back.
    let error = SendError::Full;
    assert_eq!(session.try_send_all(&[2].map(message)), Err(SendAllError { sent: 0, error }));
    assert!(was_woken.load(Ordering::Relaxed));
    assert!(session.poll_send(3, 0, b"x", &mut ticket, &task).is_ready());
}

#[test]
fn a_close_that_waited_for_room_held_for_what_is_not_sent_comes_to_its_end() {
    let session = session();
    let payload = b"x"[..].into();
    session.close();
    let closed = || session.0.control_ready.notified();
    // What woke it before is over.
    while std::pin::pin!(closed())
        .poll(&mut std::task::Context::from_waker(Waker::noop()))
        .is_ready()
    {}
    let outbound = [Outbound { target: 2, token: 0, payload }];
    let error = SendError::Closing;
    assert_eq!(session.try_send_all(&outbound), Err(SendAllError { sent: 0, error }));
    let mut told = std::pin::pin!(closed());
    assert!(told.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready());
}

#[test]
fn what_is_not_sent_is_given_back() {
    let session = session();
    let payload = b"x"[..].into();
    let outbound = [2; 6].map(|target| Outbound { target, token: 0, payload });
    let error = SendError::Full;
    assert_eq!(session.try_send_all(&outbound), Err(SendAllError { sent: 4, error }));
    assert_eq!(session.unsettled().0, 4, "a target takes four, the session six");
    session.close();
    session.handle_settled(0, 4, &[]).expect("a mark");
    let error = SendError::Closing;
    assert_eq!(session.try_send_all(&outbound), Err(SendAllError { sent: 0, error }));
    assert_eq!(session.unsettled(), (0, 0));
}
