//! Messages too long for their lane.

use std::time::Duration;

use actix_cluster_transport::{Class, Session, TransportConfig, Unsettled};
use bytes::Bytes;

use super::world::{Habit, Kind, Member, World, last, number, send, settled, tell, until};

const MIB: usize = 1024 * 1024;

/// Two nodes, whose targets may have several long messages under way.
async fn pair(world: &World) -> (Member, Member) {
    let adjust = |config: &mut TransportConfig| config.target_bytes = 32 * MIB as u64;
    let a = world.start_with("a", 1, "same", adjust).await;
    (a, world.start_with("b", 1, "same", adjust).await)
}

/// A payload that begins with a number and is different everywhere.
fn long(number: u32, length: usize) -> Vec<u8> {
    let mut payload: Vec<u8> =
        (0..length).map(|at| (at as u32 * 31 + number * 7).to_le_bytes()[at % 3]).collect();
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

/// What came for a target.
fn payloads(member: &Member, target: u64) -> Vec<Bytes> {
    let arrived = member.seen.arrived.borrow();
    arrived.iter().filter(|m| m.target == target).map(|m| m.payload.clone()).collect()
}

pub(crate) async fn long_messages_keep_their_place_and_hold_up_no_other_target(world: World) {
    let (a, b) = pair(&world).await;
    let session = a.session(&b).await;
    let lengths = [4, 65_537, 10, 3 * MIB, 65_536, 65_537, 4, 1_000_000, 7, 2 * MIB, 4];
    let sent: Vec<_> = (0u32..).zip(lengths).map(|(n, length)| long(n, length)).collect();
    // 1 and 4 share a lane, 2 has another.
    for payload in &sent {
        for target in [1, 4] {
            send(&session, target, 0, payload).await;
        }
        for target in [2, 7] {
            tell(&session, target, 0).await;
        }
    }
    settled(&[&session]).await;
    for target in [1, 4] {
        assert!(payloads(&b, target) == sent, "target {target}: in order, and as they were");
    }
    let arrived = b.seen.arrived.borrow();
    let short_last = arrived.iter().rposition(|m| [2, 7].contains(&m.target)).expect("they came");
    let long_first = arrived.iter().position(|m| m.payload.len() == 65_537).expect("they came");
    assert!(short_last < long_first, "{short_last} and {long_first}: they overtake");
    assert_eq!(arrived.len(), 4 * lengths.len());
}

pub(crate) async fn a_long_message_goes_on_where_it_was_cut(world: World) {
    let (a, b) = pair(&world).await;
    let session = a.session(&b).await;
    let payload = long(1, 16 * MIB);
    // Two seconds, and as long as it takes on loopback.
    world.narrow(8 * MIB as u64);
    let before = world.packets();
    send(&session, 1, 0, &payload).await;
    settled(&[&session]).await;
    let whole = world.packets().zip(before).map(|(after, before)| after - before);

    let before = world.packets();
    send(&session, 1, 0, &payload).await;
    tell(&session, 1, 2).await;
    let pause = if world.kind == Kind::Simulated { 450 } else { 10 };
    for _ in 0..3 {
        last(Duration::from_millis(pause)).await;
        if world.kind == Kind::Simulated {
            assert_eq!(payloads(&b, 1).len(), 1, "it is on its way");
        }
        world.cut(&a, &b);
        until("noticed", || !a.is_linked(&b) && !b.is_linked(&a)).await;
        world.heal();
        until("linked again", || a.is_linked(&b) && b.is_linked(&a)).await;
    }
    settled(&[&session]).await;
    let arrived = payloads(&b, 1);
    assert!(arrived[..2] == [&payload[..], &payload[..]], "both as they were");
    assert_eq!((arrived.len(), number(&arrived[2])), (3, 2), "and what follows");
    if let Some((whole, before)) = whole.zip(before) {
        let packets = world.packets().expect("counted") - before;
        // From the start each time it would be more than twice as many.
        assert!(packets < whole * 3 / 2, "{packets} against {whole}");
    }
}

pub(crate) async fn a_long_message_that_is_given_up_ends_with_its_reason(world: World) {
    let (a, b) = pair(&world).await;
    let session = a.session(&b).await;
    world.narrow(4 * MIB as u64);
    let waits = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(300)];
    for (round, wait) in (0u32..).zip(waits) {
        send(&session, 1, 7, &long(0, 4 * MIB)).await;
        tell(&session, 1, 100 + round).await;
        if !wait.is_zero() {
            last(wait).await;
        }
        assert!(!session.cancel(u64::from(100 + round), 9), "a short one");
        assert!(!session.cancel(8, 9), "unknown");
        let found = session.cancel(7, 40 + round as u8);
        if world.kind == Kind::Simulated || wait.is_zero() {
            assert!(found, "it is on its way");
        }
        assert!(!session.cancel(7, 9), "it is given up once");
        settled(&[&session]).await;
        // On loopback it may just have arrived.
        let rejected = a.seen.rejected.take();
        let arrived = b.seen.arrived.take();
        if arrived.len() == 1 {
            let unsettled = Unsettled { target: 1, token: 7, written: true };
            assert_eq!(rejected, [(unsettled, 40 + round as u8)]);
        } else {
            assert_eq!((arrived.len(), rejected.len()), (2, 0), "it has one end");
        }
        let follows = arrived.last().expect("it came");
        assert_eq!(number(&follows.payload), 100 + round);
    }
}

pub(crate) async fn many_that_are_given_up_at_once_hold_up_nothing(world: World) {
    const MANY: u64 = 300;
    let (a, b) = pair(&world).await;
    let session = a.session(&b).await;
    world.narrow(4 * MIB as u64);
    let payload = long(1, 65_537);
    let longer = long(1, 4 * MIB);
    for token in 1..=MANY {
        let payload = if token <= 4 { &longer } else { &payload };
        send(&session, token, token, payload).await;
    }
    // Those that wait are given up first, and those that are on their way last.
    last(Duration::from_millis(10)).await;
    let given_up = (1..=MANY).rev().filter(|token| session.cancel(*token, 9)).count();
    assert!(given_up > 0);
    send(&session, 1, 0, &payload).await;
    settled(&[&session]).await;
    let ends = (a.seen.rejected.borrow().len(), b.seen.arrived.borrow().len());
    assert!(ends.0 <= given_up, "{ends:?}, {given_up} given up");
    assert_eq!(ends.0 + ends.1, MANY as usize + 1, "one end for each");
}

pub(crate) async fn more_long_messages_than_streams_all_arrive(world: World) {
    for streams in [1, 2] {
        let adjust = |config: &mut TransportConfig| config.bulk_streams = streams;
        let a = world.start_with(&format!("a{streams}"), 1, "same", adjust).await;
        let b = world.start_with(&format!("b{streams}"), 1, "same", adjust).await;
        let (to_b, to_a) = (a.session(&b).await, b.session_from(&a).await);
        let tell_all = async |session: &Session| {
            for n in 0..60 {
                send(session, u64::from(n) % 6, 0, &long(n, 65_537 + 5_000 * n as usize)).await;
            }
        };
        tokio::join!(tell_all(&to_b), tell_all(&to_a));
        settled(&[&to_a, &to_b]).await;
        for (from, to) in [(&a, &b), (&b, &a)] {
            for target in 0..6 {
                let expected: Vec<_> = (0..60).filter(|n| u64::from(n % 6) == target).collect();
                assert_eq!(to.numbers(from, |other| other == target), expected);
            }
            let whole = |m: &super::world::Arrived| {
                let n = number(&m.payload);
                m.payload == long(n, 65_537 + 5_000 * n as usize)
            };
            assert!(to.seen.arrived.borrow().iter().all(whole));
        }
    }
}

pub(crate) async fn a_long_answer_settles_its_question_only_as_a_whole(world: World) {
    let (a, b) = pair(&world).await;
    let session = a.session(&b).await;
    world.narrow(8 * MIB as u64);
    b.seen.habit.set(Habit::Hold);
    tell(&session, 1, 1).await;
    until("asked", || b.seen.held.borrow().len() == 1).await;
    let (to_a, receipt) = b.seen.held.borrow_mut().remove(0);
    let answer = long(5, 8 * MIB);
    to_a.answer(receipt, 1, &answer).expect("it is taken");
    to_a.try_send(Class::Answer, 1, 0, b"short").expect("it is taken");
    let is_whole = || {
        let arrived = a.seen.answers.borrow().iter().any(|m| m.payload == answer);
        if !arrived {
            assert_eq!(session.unsettled().0, 1, "it is not answered yet");
        }
        arrived
    };
    until("the short one", || !a.seen.answers.borrow().is_empty()).await;
    if world.kind == Kind::Simulated {
        last(Duration::from_millis(300)).await;
        assert!(!is_whole());
    }
    world.cut(&a, &b);
    until("noticed", || !a.is_linked(&b) && !b.is_linked(&a)).await;
    // On loopback it may have come before the cut.
    is_whole();
    world.heal();
    until("whole", is_whole).await;
    settled(&[&session]).await;
    assert_eq!(a.seen.answers.borrow().len(), 2);
}
