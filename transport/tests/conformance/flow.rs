//! What is bounded, and who waits at the bounds.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use actix_cluster_transport::{Class, SendError, Session, TransportConfig};

use super::world::{
    Habit, IDLE, Member, World, fill, last, name, number, send, settled, tell, until,
};

/// What a frame takes of the budgets beside its payload.
const HEAD_BYTES: u64 = 19;

pub(crate) async fn a_full_target_stalls_others_only_once_the_session_is_full(world: World) {
    const LENGTH: usize = 100;
    let frame = LENGTH as u64 + HEAD_BYTES;
    // W is 8 messages, or as many bytes, and S is 4 W.
    let by_messages = |config: &mut TransportConfig| {
        (config.target_messages, config.session_messages) = (8, 32);
    };
    let by_bytes = |config: &mut TransportConfig| {
        (config.target_bytes, config.session_bytes) = (8 * frame, 32 * frame);
    };
    type Change<'a> = &'a dyn Fn(&mut TransportConfig);
    let bounds: [(&str, Change<'_>); 2] = [("messages", &by_messages), ("bytes", &by_bytes)];
    for (bound, adjust) in bounds {
        let a = world.start_with(&format!("a-{bound}"), 1, "same", adjust).await;
        let b = world.start(&format!("b-{bound}")).await;
        let session = a.session(&b).await;
        b.seen.habit.set(Habit::HoldBelow(4));
        for target in 0..4u64 {
            until("the others are settled", || session.unsettled().0 == 8 * target).await;
            assert_eq!(fill(&session, target, LENGTH), 8, "{bound} of target {target}");
            if target == 3 {
                break;
            }
            // Not yet S / W: all others go on, those of the same lane too.
            for number in 0..60 {
                send(&session, 10 + number % 6, 0, &[0; LENGTH]).await;
            }
        }
        until("all is there", || b.seen.arrived.borrow().len() == 32 + 3 * 60).await;
        for target in 0..20 {
            assert_eq!(fill(&session, target, LENGTH), 0, "now all of them wait: {target}");
        }
        let mut waiting: Vec<_> =
            (10..16).map(|target| Box::pin(tell(&session, target, 1))).collect();
        assert!(waiting.iter_mut().all(|sender| is_pending(sender.as_mut())));
        b.seen.settle_held();
        for sender in waiting {
            sender.await;
        }
        settled(&[&session]).await;
        assert_eq!(b.seen.arrived.borrow().len(), 32 + 3 * 60 + 6);
    }
}

/// Polls a future once.
fn is_pending(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// What a sender offered and the session took, by lane.
#[derive(Default)]
struct Taken {
    /// Payload bytes of messages that travel on their lane.
    lane_bytes: BTreeMap<u16, u64>,
    message_bytes: u64,
    messages: u32,
    answer_bytes: u64,
    answers: u32,
}

impl Taken {
    /// Offers messages to many targets, first such as lanes carry, and answers, until none is taken.
    fn offer(&mut self, session: &Session) {
        self.offer_all(session, Class::Message, &[100, 3_000, 65_536]);
        self.offer_all(session, Class::Message, &[65_537, 100_000]);
        self.offer_all(session, Class::Answer, &[100, 3_000, 65_536, 65_537, 100_000]);
    }

    fn offer_all(&mut self, session: &Session, class: Class, lengths: &[usize]) {
        let mut refused = 0;
        for (target, length) in (0..97).cycle().zip(lengths.iter().copied().cycle()) {
            let number = if class == Class::Message { self.messages } else { self.answers };
            let payload = numbered(vec![0; length], number);
            if session.try_send(class, target, 0, &payload).is_err() {
                refused += 1;
                if refused == 500 {
                    break;
                }
                continue;
            }
            refused = 0;
            let (count, bytes) = match class {
                Class::Message => (&mut self.messages, &mut self.message_bytes),
                Class::Answer => (&mut self.answers, &mut self.answer_bytes),
            };
            (*count, *bytes) = (*count + 1, *bytes + length as u64);
            if class == Class::Message && length <= 65_536 {
                *self.lane_bytes.entry(session.lane_of(target)).or_default() += length as u64;
            }
        }
    }
}

fn numbered(mut payload: Vec<u8>, number: u32) -> Vec<u8> {
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

pub(crate) async fn a_peer_that_stops_reading_costs_its_sender_no_more_than_was_configured(
    world: World,
) {
    const LANE: u64 = 200_000;
    const SESSION: u64 = 2_000_000;
    const ANSWERS: u64 = 500_000;
    for fault in ["paused", "cut"] {
        let names = ["a", "b"].map(|node| format!("{node}-{fault}"));
        let a = world.start_with(&names[0], 1, "same", |config| {
            config.lane_bytes = LANE;
            config.session_bytes = SESSION;
            config.answer_bytes = ANSWERS;
        });
        let (a, b) = (a.await, world.start(&names[1]).await);
        let session = a.session(&b).await;
        b.session_from(&a).await;
        if fault == "paused" {
            b.pause()
        } else {
            world.cut(&a, &b)
        }

        let mut taken = Taken::default();
        // While it seems to be there, while it is given up, and while it is dialled again.
        for _ in 0..8 {
            taken.offer(&session);
            last(IDLE / 2).await;
        }
        assert!(!a.is_linked(&b), "noticed");
        for (lane, bytes) in &taken.lane_bytes {
            assert!((LANE - 70_000..=LANE).contains(bytes), "lane {lane}: {bytes}");
        }
        let messages = taken.message_bytes + u64::from(taken.messages) * HEAD_BYTES;
        // A full lane takes no more announcements of long ones either, so it is not all.
        assert!((SESSION / 2..=SESSION).contains(&messages), "messages: {messages}");
        assert_eq!(session.unsettled(), (taken.messages.into(), messages));
        let answers = taken.answer_bytes;
        assert!((ANSWERS - 110_000..=ANSWERS).contains(&answers), "answers: {answers}");

        if fault == "paused" {
            b.resume()
        } else {
            world.heal()
        }
        settled(&[&session]).await;
        until("all answers", || b.seen.answers.borrow().len() as u32 == taken.answers).await;
        let mut numbers = b.numbers(&a, |_| true);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..taken.messages).collect::<Vec<_>>(), "each once");
        let mut numbers: Vec<_> =
            b.seen.answers.borrow().iter().map(|answer| number(&answer.payload)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..taken.answers).collect::<Vec<_>>(), "each once");
        // All room is there again.
        let before = taken.messages;
        taken.offer(&session);
        assert!(taken.messages > before && taken.answer_bytes > answers);
    }
}

pub(crate) async fn nothing_that_was_accepted_is_rejected_for_fullness(world: World) {
    const TARGETS: u64 = 7;
    const SENDERS: u32 = 200;
    const EACH: u32 = 5;
    let a = world.start_with("a", 1, "same", |config| {
        (config.target_messages, config.target_bytes) = (2, 600);
        (config.session_messages, config.session_bytes) = (5, 1_500);
    });
    let (a, b) = (a.await, world.start("b").await);
    let session = a.session(&b).await;
    b.seen.habit.set(Habit::Hold);

    let accepted = Rc::<RefCell<BTreeMap<u64, Vec<u32>>>>::default();
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        if sender % 50 == 49 {
            last(Duration::from_millis(1)).await;
        }
        let (session, accepted) = (session.clone(), Rc::clone(&accepted));
        senders.push(a.spawn(async move {
            for nth in 0..EACH {
                let number = sender * EACH + nth;
                let target = u64::from(number) % TARGETS;
                let payload = numbered(vec![0; 4 + number as usize % 280], number);
                let mut ticket = None;
                let sent = poll_fn(|task| {
                    let sent =
                        session.poll_send(target, number.into(), &payload, &mut ticket, task);
                    if sent.is_ready() {
                        accepted.borrow_mut().entry(target).or_default().push(number);
                    }
                    sent
                });
                sent.await.expect("the session lives");
            }
        }));
    }
    let total = (SENDERS * EACH) as usize;
    let mut handled = 0;
    while handled < total {
        until("one has arrived", || !b.seen.held.borrow().is_empty()).await;
        let held = b.seen.held.borrow().len();
        assert!(held <= 5, "{held} at once");
        // In turn the oldest and the newest.
        let (session, receipt) = b.seen.held.borrow_mut().remove((held - 1) * (handled % 2));
        session.settle(receipt);
        handled += 1;
    }
    for sender in senders {
        sender.await.expect("sent");
    }
    settled(&[&session]).await;
    for target in 0..TARGETS {
        let arrived = b.numbers(&a, |other| other == target);
        assert_eq!(arrived, accepted.borrow()[&target], "target {target}");
    }
    assert_eq!(b.seen.arrived.borrow().len(), total);
    assert!(a.seen.rejected.borrow().is_empty());
}

/// The target that is paused, with room for many more.
const PAUSED: u64 = 0;

/// Lets `to` hold a message for a target, pause it, and `from` know that. Returns how many messages
/// it was sent.
async fn pause(session: &Session, from: &Member, to: &Member) -> u32 {
    to.seen.habit.set(Habit::HoldBelow(PAUSED + 1));
    tell(session, PAUSED, 0).await;
    until("it has come", || to.numbers(from, |target| target == PAUSED) == [0]).await;
    to.session_from(from).await.pause_target(PAUSED);
    let told = from.transport.ping(&to.id().name, Duration::from_secs(10)).await;
    assert!(told, "what was said before the pong has arrived");
    let refused = session.try_send(Class::Message, PAUSED, 0, &[0; 4]);
    assert_eq!(refused, Err(SendError::Full), "it is paused");
    1
}

/// Starts senders of the numbers that follow, each with one.
fn wait_in_line(session: &Session, from: &Member, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let session = session.clone();
        drop(from.spawn(async move { tell(&session, PAUSED, number).await }));
    }
}

pub(crate) async fn a_paused_target_holds_up_its_own_senders_only(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = (a.session(&b).await, b.session_from(&a).await);
    let sent = pause(&to_b, &a, &b).await;
    wait_in_line(&to_b, &a, sent..sent + 20);

    // 3 is on the same lane; all others go on, and answers pass, even with the target's own hash.
    for number in 0..300 {
        tell(&to_b, 1 + u64::from(number) % 3, number).await;
        for session in [&to_a, &to_b] {
            session.try_send(Class::Answer, PAUSED, 0, &number.to_le_bytes()).expect("it passes");
        }
    }
    until("the others are settled", || to_b.unsettled().0 == 1).await;
    for member in [&a, &b] {
        until("all answers", || member.seen.answers.borrow().len() == 300).await;
    }
    for target in 1..=3 {
        let expected: Vec<_> = (0..300).filter(|number| 1 + number % 3 == target).collect();
        assert_eq!(b.numbers(&a, |other| other == target.into()), expected);
    }
    assert_eq!(b.numbers(&a, |target| target == PAUSED), [0], "these wait");
    // Room in its budget is no reason to go on.
    b.seen.settle_held();
    until("settled", || to_b.unsettled().0 == 0).await;
    assert_eq!(b.numbers(&a, |target| target == PAUSED), [0], "these wait still");

    to_a.resume_target(PAUSED);
    until("all are woken", || b.numbers(&a, |target| target == PAUSED).len() == 21).await;
    assert_eq!(b.numbers(&a, |target| target == PAUSED), (0..21).collect::<Vec<_>>());
    b.seen.settle_held();
    settled(&[&to_b]).await;
}

pub(crate) async fn a_pause_outlives_its_connection(world: World) {
    let (a, b) = world.pair().await;
    let (to_b, to_a) = (a.session(&b).await, b.session_from(&a).await);
    let sent = pause(&to_b, &a, &b).await;
    wait_in_line(&to_b, &a, sent..sent + 20);
    for round in 0..3 {
        world.cut(&a, &b);
        until("noticed", || !a.is_linked(&b) && !b.is_linked(&a)).await;
        world.heal();
        until("linked again", || a.is_linked(&b) && b.is_linked(&a)).await;
        tell(&to_b, 3, round).await;
        until("others go on", || b.numbers(&a, |target| target == 3).len() as u32 == round + 1)
            .await;
        assert!(a.transport.ping(&name("b"), Duration::from_secs(10)).await);
        assert_eq!(b.numbers(&a, |target| target == PAUSED), [0], "these wait");
    }
    // Resumed while nobody can be told.
    world.cut(&a, &b);
    until("noticed", || !a.is_linked(&b) && !b.is_linked(&a)).await;
    to_a.resume_target(PAUSED);
    world.heal();
    until("all are woken", || b.numbers(&a, |target| target == PAUSED).len() == 21).await;
    assert_eq!(b.numbers(&a, |target| target == PAUSED), (0..21).collect::<Vec<_>>());
    b.seen.settle_held();
    settled(&[&to_b]).await;
}
