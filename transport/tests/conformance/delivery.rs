//! Order, and each message once, whatever becomes of connections.

use std::{task::Poll, time::Duration};

use actix_cluster_transport::{Class, Random, SendError, Session};

use super::world::{IDLE, Kind, Member, World, last, number, send, settled, tell, until};

const TARGETS: u64 = 7;

fn target_of(number: u32) -> u64 {
    u64::from(number) % TARGETS
}

/// Sends numbers over all targets, with a pause after each if it is not zero.
async fn tell_all(session: &Session, numbers: std::ops::Range<u32>, pause: Duration) {
    for number in numbers {
        tell(session, target_of(number), number).await;
        if !pause.is_zero() {
            last(pause).await;
        }
    }
}

/// Each lane brought its numbers once, in order.
fn assert_all_arrived(from: &Member, session: &Session, to: &Member, count: u32) {
    let mut total = 0;
    for lane in 0..3 {
        let arrived = to.numbers(from, |target| session.lane_of(target) == lane);
        let on_lane = |number: &u32| session.lane_of(target_of(*number)) == lane;
        assert_eq!(arrived, (0..count).filter(on_lane).collect::<Vec<_>>(), "lane {lane}");
        total += arrived.len();
    }
    assert_eq!(total, count as usize);
}

/// The two sessions of a pair, of which the first dials.
async fn sessions(a: &Member, b: &Member) -> (Session, Session) {
    (a.session(b).await, b.session_from(a).await)
}

pub(crate) async fn messages_arrive_in_order_on_every_lane(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = sessions(&a, &b).await;
    tokio::join!(
        tell_all(&to_b, 0..3_000, Duration::ZERO),
        tell_all(&to_a, 0..3_000, Duration::ZERO),
    );
    settled(&[&to_a, &to_b]).await;
    assert_all_arrived(&a, &to_b, &b, 3_000);
    assert_all_arrived(&b, &to_a, &a, 3_000);
}

pub(crate) async fn cuts_of_any_length_lose_and_repeat_nothing(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = sessions(&a, &b).await;
    let lengths = [1, 10, 100, 300, 480, 520, 700, 1_000, 2_000];
    for (round, ms) in (0u32..).zip(lengths) {
        let numbers = |half: u32| round * 100 + half * 50..round * 100 + half * 50 + 50;
        tell_all(&to_b, numbers(0), Duration::ZERO).await;
        tell_all(&to_a, numbers(0), Duration::ZERO).await;
        world.cut(&a, &b);
        tell_all(&to_b, numbers(1), Duration::ZERO).await;
        tell_all(&to_a, numbers(1), Duration::ZERO).await;
        last(Duration::from_millis(ms)).await;
        world.heal();
        settled(&[&to_a, &to_b]).await;
    }
    let count = 100 * lengths.len() as u32;
    assert_all_arrived(&a, &to_b, &b, count);
    assert_all_arrived(&b, &to_a, &a, count);
    assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));
    assert!(a.seen.links.get() > 1, "some cuts broke the connection");
}

pub(crate) async fn a_session_goes_on_with_the_next_connection(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = sessions(&a, &b).await;
    world.cut(&a, &b);
    until("both have noticed", || !a.is_linked(&b) && !b.is_linked(&a)).await;
    tell_all(&to_b, 0..100, Duration::ZERO).await;
    assert_eq!(b.numbers(&a, |_| true), []);
    world.heal();
    until("linked again", || a.is_linked(&b) && b.is_linked(&a)).await;
    settled(&[&to_b]).await;
    assert_all_arrived(&a, &to_b, &b, 100);
    assert_eq!(a.transport.session(&b.id().name), Some(to_b), "the same session");
    assert_eq!(b.transport.session(&a.id().name), Some(to_a), "the same session");
    assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));
    assert!(a.seen.links.get() >= 2 && b.seen.links.get() >= 2);
    assert!(a.seen.ended.borrow().is_empty());
}

pub(crate) async fn when_both_dial_one_connection_is_kept_and_nothing_is_lost(world: World) {
    // Handshakes overlap in more ways on the slower, simulated wire, and cost no time there.
    let rounds = if world.kind == Kind::Simulated { 24 } else { 6 };
    for round in 0..rounds {
        let a = world.start(&format!("a{round}")).await;
        let b = world.start(&format!("b{round}")).await;
        let (a, b) = if round % 2 == 0 { (a, b) } else { (b, a) };
        a.connect(&b);
        let second = async {
            last(Duration::from_millis(round / 2)).await;
            b.connect(&a);
        };
        // Each sends from its first connection on, be that the one that is kept or not.
        let there = async {
            let session = a.session_from(&b).await;
            tell_bursts(&session).await;
            session
        };
        let back = async {
            let session = b.session_from(&a).await;
            tell_bursts(&session).await;
            session
        };
        let (to_b, to_a, ()) = tokio::join!(there, back, second);
        settled(&[&to_a, &to_b]).await;
        assert_all_arrived(&a, &to_b, &b, 400);
        assert_all_arrived(&b, &to_a, &a, 400);
        assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));

        let links = (a.seen.links.get(), b.seen.links.get());
        last(IDLE).await;
        assert!(a.is_linked(&b) && b.is_linked(&a), "one is kept");
        // On real sockets a busy machine may break it.
        if world.kind == Kind::Simulated {
            let now = (a.seen.links.get(), b.seen.links.get());
            assert_eq!(now, links, "the same one");
        }
    }
}

/// Sends 400 numbers in bursts, so that some are on their way at any time.
async fn tell_bursts(session: &Session) {
    for burst in 0..20 {
        tell_all(session, burst * 20..burst * 20 + 20, Duration::ZERO).await;
        last(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn a_busy_sender_loses_nothing_when_its_connection_is_replaced(world: World) {
    let rounds = if world.kind == Kind::Simulated { 24 } else { 6 };
    for round in 0..rounds {
        // The lower name's connection is kept, so the one that comes first is replaced.
        let b = world.start(&format!("b{round}")).await;
        let a = world.start(&format!("a{round}")).await;
        b.connect(&a);
        last(Duration::from_millis(round / 4)).await;
        a.connect(&b);
        let to_a = b.session_from(&a).await;
        let to_b = a.session_from(&b).await;
        // On the thread of the connection, between its own turns.
        let there = b.spawn(tell_busily(to_a.clone()));
        let back = a.spawn(tell_busily(to_b.clone()));
        there.await.expect("sent");
        back.await.expect("sent");
        settled(&[&to_a, &to_b]).await;
        assert_all_arrived(&b, &to_a, &a, 3_000);
        assert_all_arrived(&a, &to_b, &b, 3_000);
    }
}

/// Sends 3,000 numbers, one at each turn of the task.
async fn tell_busily(session: Session) {
    for number in 0..3_000 {
        tell(&session, target_of(number), number).await;
        let mut turns = 0;
        let turn = std::future::poll_fn(|task| {
            turns += 1;
            task.waker().wake_by_ref();
            if turns > 1 { Poll::Ready(()) } else { Poll::Pending }
        });
        turn.await;
        if number % 150 == 149 {
            last(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) async fn a_flapping_connection_loses_and_repeats_nothing(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = sessions(&a, &b).await;
    b.connect(&a);
    let flapping = async {
        let mut random = Random::from_seed(11);
        for _ in 0..12 {
            last(Duration::from_millis(random.below(120))).await;
            world.cut(&a, &b);
            last(Duration::from_millis(random.below(900))).await;
            world.heal();
        }
    };
    let pause = Duration::from_millis(2);
    tokio::join!(flapping, tell_all(&to_b, 0..2_000, pause), tell_all(&to_a, 0..2_000, pause));
    settled(&[&to_a, &to_b]).await;
    assert_all_arrived(&a, &to_b, &b, 2_000);
    assert_all_arrived(&b, &to_a, &a, 2_000);
    assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));
}

pub(crate) async fn a_way_that_is_cut_in_one_direction_loses_nothing(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = sessions(&a, &b).await;
    let mut next = 0;
    for (from, to) in [(&a, &b), (&b, &a)] {
        for length in [IDLE / 2, 3 * IDLE] {
            world.cut_one_way(from, to);
            tell_all(&to_b, next..next + 50, Duration::ZERO).await;
            tell_all(&to_a, next..next + 50, Duration::ZERO).await;
            next += 50;
            last(length).await;
            world.heal();
            settled(&[&to_a, &to_b]).await;
        }
    }
    assert_all_arrived(&a, &to_b, &b, next);
    assert_all_arrived(&b, &to_a, &a, next);
    assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));
}

pub(crate) async fn a_connection_that_one_side_has_given_up_loses_nothing(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = sessions(&a, &b).await;
    let mut next = 0;
    // Each in turn hears nothing, while the other goes on to hear it.
    for (deaf, heard_by) in [(&a, &b), (&b, &a)] {
        world.cut_one_way(heard_by, deaf);
        until("given up", || !deaf.is_linked(heard_by)).await;
        if world.kind == Kind::Simulated {
            assert!(heard_by.is_linked(deaf), "half open");
        }
        tell_all(&to_b, next..next + 50, Duration::ZERO).await;
        tell_all(&to_a, next..next + 50, Duration::ZERO).await;
        next += 50;
        world.heal();
        settled(&[&to_a, &to_b]).await;
    }
    assert_all_arrived(&a, &to_b, &b, next);
    assert_all_arrived(&b, &to_a, &a, next);
    assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (1, 1));
}

pub(crate) async fn frames_up_to_the_limit_arrive_and_longer_ones_are_refused(world: World) {
    let limit = 4 * 1024 * 1024;
    let a = world.start_with("a", 1, "same", |config| config.message_limit = limit).await;
    let b = world.start_with("b", 1, "same", |config| config.message_limit = limit).await;
    let session = a.session(&b).await;
    let lengths = [0, 1, 65_535, 65_536, 1024 * 1024, limit - 1, limit, 3];
    for length in lengths {
        send(&session, 1, 0, &vec![length as u8; length]).await;
    }
    let longer = vec![0; limit + 1];
    let refused = session.try_send(Class::Message, 1, 0, &longer);
    assert_eq!(refused, Err(SendError::TooLong { limit }));
    let refused = session.try_send(Class::Answer, 1, 0, &longer);
    assert_eq!(refused, Err(SendError::TooLong { limit }));
    settled(&[&session]).await;
    let arrived = b.seen.arrived.borrow();
    assert_eq!(arrived.iter().map(|m| m.payload.len()).collect::<Vec<_>>(), lengths);
    for message in arrived.iter() {
        assert!(message.payload.iter().all(|byte| *byte == message.payload.len() as u8));
    }
}

pub(crate) async fn a_long_frame_outlives_its_connection(world: World) {
    let (a, b) = world.pair().await;
    let session = a.session(&b).await;
    let long: Vec<u8> = (0..8u32 * 1024 * 1024).map(|n| (n % 251) as u8).collect();
    tell(&session, 1, 7).await;
    until("the first has arrived", || b.numbers(&a, |_| true) == [7]).await;
    send(&session, 1, 1, &long).await;
    tell(&session, 2, 8).await;
    last(Duration::from_millis(3)).await;
    world.cut(&a, &b);
    if world.kind == Kind::Simulated {
        assert_eq!(b.seen.arrived.borrow().len(), 1, "it is on its way");
    }
    until("noticed", || !a.is_linked(&b)).await;
    world.heal();
    settled(&[&session]).await;
    let arrived = b.seen.arrived.borrow();
    assert_eq!(arrived.iter().filter(|m| m.payload == long).count(), 1);
    let short: Vec<_> = arrived.iter().filter(|m| m.payload.len() == 4).collect();
    assert_eq!(short.iter().map(|m| number(&m.payload)).collect::<Vec<_>>(), [7, 8]);
}

pub(crate) async fn five_nodes_reach_each_other(world: World) {
    let mut members = Vec::new();
    for node in ["a", "b", "c", "d", "e"] {
        members.push(world.start(node).await);
    }
    let pairs = || {
        let others = |from| members.iter().filter(move |to: &&Member| !std::ptr::eq(*to, from));
        members.iter().flat_map(move |from: &Member| others(from).map(move |to| (from, to)))
    };
    pairs().for_each(|(from, to)| from.connect(to));
    let mut all = Vec::new();
    for (from, to) in pairs() {
        all.push((from, from.session_from(to).await, to));
    }
    for number in 0..200 {
        for (_, session, _) in &all {
            tell(session, target_of(number), number).await;
        }
    }
    for (from, session, to) in &all {
        settled(&[session]).await;
        assert_all_arrived(from, session, to, 200);
    }
    for member in &members {
        assert_eq!(member.seen.sessions.get(), 4);
        assert_eq!(member.seen.arrived.borrow().len(), 800);
    }
}
