//! How messages end: settled, rejected, or reported with their session's end; and what passes
//! beside them.

use std::{task::Poll, time::Duration};

use actix_cluster_transport::{Class, Clock, SendError, Unsettled};
use bytes::Bytes;

use super::world::{Habit, IDLE, World, fill, last, name, number, send, settled, tell, until};

pub(crate) async fn a_restarted_peer_ends_the_session_and_each_unsettled_message_is_told_once(
    world: World,
) {
    let (a, first) = world.pair().await;
    let session = a.session(&first).await;
    tell(&session, 1, 1).await;
    settled(&[&session]).await;
    first.seen.habit.set(Habit::Hold);
    for number in 2..=10 {
        tell(&session, u64::from(number) % 3, number).await;
    }
    until("all have arrived", || first.seen.arrived.borrow().len() == 10).await;
    world.cut(&a, &first);
    until("the cut is noticed", || !a.is_linked(&first)).await;
    for number in 11..=15 {
        tell(&session, u64::from(number) % 3, number).await;
    }
    first.kill().await;
    world.heal();

    let second = world.start_with("b", 2, "same", |_| {}).await;
    let next = a.session(&second).await;
    assert_ne!(session, next);
    assert!(session.has_ended());
    assert_eq!(session.try_send(Class::Message, 1, 0, b"late"), Err(SendError::Ended));
    tell(&next, 1, 16).await;
    settled(&[&next]).await;
    assert_eq!(second.numbers(&a, |_| true), [16]);

    let ended = a.seen.ended.borrow();
    assert_eq!(ended.len(), 1, "one session has ended");
    let mut told: Vec<_> = ended[0].iter().map(|u| (u.token, u.target, u.written)).collect();
    told.sort();
    let expected: Vec<_> = (2..=15).map(|token| (token, token % 3, token <= 10)).collect();
    assert_eq!(told, expected);
}

pub(crate) async fn rejections_reach_the_sender_with_their_reason(world: World) {
    let (a, b) = world.pair().await;
    let session = a.session(&b).await;
    b.seen.habit.set(Habit::Reject(9));
    for number in 1..=50 {
        tell(&session, 4, number).await;
    }
    settled(&[&session]).await;
    let expected: Vec<_> =
        (1..=50).map(|token| (Unsettled { target: 4, token, written: true }, 9)).collect();
    assert_eq!(*a.seen.rejected.borrow(), expected);
    assert!(a.seen.ended.borrow().is_empty());

    // A reason is not lost with a connection.
    world.cut(&a, &b);
    until("the cut is noticed", || !a.is_linked(&b) && !b.is_linked(&a)).await;
    tell(&session, 4, 51).await;
    b.seen.habit.set(Habit::Reject(200));
    world.heal();
    settled(&[&session]).await;
    let last = (Unsettled { target: 4, token: 51, written: true }, 200);
    assert_eq!(a.seen.rejected.borrow()[50..], [last]);
}

pub(crate) async fn a_receiver_that_settles_nothing_stops_its_sender_at_each_bound(world: World) {
    let a = world.start_with("a", 1, "same", |config| {
        config.target_messages = 40;
        config.target_bytes = 100_000;
        config.session_messages = 100;
        config.session_bytes = 250_000;
    });
    let (a, b) = (a.await, world.start("b").await);
    let session = a.session(&b).await;
    b.seen.habit.set(Habit::Hold);

    assert_eq!(fill(&session, 1, 8), 40, "messages of a target");
    assert_eq!(fill(&session, 2, 9_900), 10, "bytes of a target");
    assert_eq!(fill(&session, 3, 8), 40, "another target goes on");
    assert_eq!(fill(&session, 4, 8), 10, "messages of the session");
    until("nothing is held back", || b.seen.arrived.borrow().len() == 100).await;
    let mut ticket = None;
    let mut waiting =
        Box::pin(std::future::poll_fn(|task| session.poll_send(1, 0, b"waits", &mut ticket, task)));
    let first = std::future::poll_fn(|task| Poll::Ready(waiting.as_mut().poll(task))).await;
    assert!(first.is_pending());
    b.seen.settle_held();
    waiting.await.expect("woken by the room there is now");
    until("it has arrived", || b.seen.arrived.borrow().len() == 101).await;
    b.seen.settle_held();
    settled(&[&session]).await;

    assert_eq!(fill(&session, 1, 90_000), 1);
    assert_eq!(fill(&session, 2, 90_000), 1);
    assert_eq!(fill(&session, 3, 90_000), 0, "bytes of the session");
    until("both have arrived", || b.seen.arrived.borrow().len() == 103).await;
    b.seen.settle_held();
    settled(&[&session]).await;
}

pub(crate) async fn answers_pass_while_messages_may_not(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = (a.session(&b).await, b.session_from(&a).await);
    a.seen.habit.set(Habit::Hold);
    b.seen.habit.set(Habit::Hold);
    for session in [&to_a, &to_b] {
        assert_eq!(fill(session, 1, 4), 1_024);
        for number in 0..2_000u32 {
            session.try_send(Class::Answer, 1, 0, &number.to_le_bytes()).expect("an answer");
        }
    }
    for member in [&a, &b] {
        until("all answers", || member.seen.answers.borrow().len() == 2_000).await;
        let answers = member.seen.answers.borrow();
        let numbers: Vec<_> = answers.iter().map(|answer| number(&answer.payload)).collect();
        assert_eq!(numbers, (0..2_000).collect::<Vec<_>>());
        assert_eq!(member.seen.arrived.borrow().len(), 1_024);
    }
    assert_eq!((to_a.unsettled().0, to_b.unsettled().0), (1_024, 1_024));
}

pub(crate) async fn an_answer_settles_what_it_answers(world: World) {
    let (a, b) = world.pair().await;
    let session = a.session(&b).await;
    b.seen.habit.set(Habit::Answer);
    for number in 0..100 {
        tell(&session, 5, number).await;
    }
    world.cut(&a, &b);
    for number in 100..200 {
        tell(&session, 5, number).await;
    }
    last(2 * IDLE).await;
    world.heal();
    settled(&[&session]).await;
    let numbers: Vec<_> =
        a.seen.answers.borrow().iter().map(|answer| number(&answer.payload)).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());

    // Marks are faster than long answers, and may not overtake them.
    for number in 0..20 {
        send(&session, 5, number, &[1; 200_000]).await;
    }
    settled(&[&session]).await;
    assert_eq!(a.seen.answers.borrow().len(), 220);
}

pub(crate) async fn packets_pass_beside_the_lanes(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = (a.session(&b).await, b.session_from(&a).await);
    b.seen.habit.set(Habit::Hold);
    fill(&to_b, 1, 64);
    to_b.send_packet(Bytes::from_static(b"there"));
    to_a.send_packet(Bytes::from_static(b"and back"));
    until("both", || a.seen.packets.borrow().len() + b.seen.packets.borrow().len() == 2).await;
    assert_eq!(*b.seen.packets.borrow(), [b"there"]);
    assert_eq!(*a.seen.packets.borrow(), [b"and back"]);
}

pub(crate) async fn a_ping_is_answered_by_whoever_is_linked(world: World) {
    let (a, b) = world.pair().await;
    let second = Duration::from_secs(1);
    assert!(!a.transport.ping(&name("b"), second).await, "not yet");
    a.session(&b).await;
    assert!(a.transport.ping(&name("b"), 10 * second).await);
    assert!(b.transport.ping(&name("a"), 10 * second).await);
    assert!(!a.transport.ping(&name("c"), second).await, "unknown");
    world.cut_one_way(&b, &a);
    assert!(!a.transport.ping(&name("b"), second).await, "the pong is lost");
}

pub(crate) async fn close_waits_until_all_is_settled(world: World) {
    let (a, b) = world.pair().await;
    let session = a.session(&b).await;
    b.seen.habit.set(Habit::Hold);
    for number in 0..500 {
        tell(&session, 1, number).await;
    }
    let closed = a.transport.close(Duration::from_secs(60));
    let observed = async {
        until("all have arrived", || b.seen.arrived.borrow().len() == 500).await;
        assert!(!session.has_ended(), "it waits");
        b.seen.settle_held();
    };
    tokio::join!(closed, observed);
    assert!(session.has_ended());
    assert_eq!(session.unsettled(), (0, 0));
    assert_eq!(a.seen.ended.borrow().concat(), []);
    assert_eq!(b.numbers(&a, |_| true), (0..500).collect::<Vec<_>>());
}

pub(crate) async fn close_ends_at_its_deadline_and_tells_what_is_open(world: World) {
    let (a, b) = world.pair().await;
    let session = a.session(&b).await;
    b.seen.habit.set(Habit::Hold);
    for number in 1..=5 {
        tell(&session, 1, number).await;
    }
    until("all have arrived", || b.seen.arrived.borrow().len() == 5).await;
    let clock = Clock::default();
    let deadline = clock.after(IDLE);
    a.transport.close(IDLE).await;
    assert!(clock.now() >= deadline);
    let ended = a.seen.ended.borrow().clone();
    let told: Vec<_> = ended.concat().iter().map(|u| (u.token, u.written)).collect();
    assert_eq!(told, (1..=5).map(|token| (token, true)).collect::<Vec<_>>());
    assert_eq!(session.try_send(Class::Message, 1, 0, b"late"), Err(SendError::Ended));
    until("the peer knows", || !b.is_linked(&a)).await;
}
