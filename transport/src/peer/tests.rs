//! Two nodes, their cores, and any number of connections between them, which are dialled by either
//! side, cut in the middle of a frame, noticed late, replaced and raced, while either node restarts:
//! in order, exactly once, no gap, every message with one outcome, within the bounds.

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::world::{CLOSES, Fate, Message, STREAMS, Step, TARGETS, World};

fn step() -> impl Strategy<Value = Step> {
    let (pick, side) = (any::<usize>(), 0usize..2);
    let (stream, bytes) = (0..STREAMS, prop_oneof![1usize..40, Just(1_000)]);
    prop_oneof![
        2 => side.clone().prop_map(Step::Dial),
        6 => pick.prop_map(Step::Advance),
        6 => (side.clone(), 0..TARGETS, 0usize..60)
            .prop_map(|(side, target, length)| Step::Send { side, target, length }),
        1 => (side.clone(), prop_oneof![Just(0usize), Just(60)])
            .prop_map(|(side, length)| Step::Answer { side, length }),
        1 => (side.clone(), 1u64..8).prop_map(|(side, back)| Step::Cancel { side, back }),
        1 => (side.clone(), 0..TARGETS).prop_map(|(side, target)| Step::Pause { side, target }),
        1 => (side.clone(), 0..TARGETS).prop_map(|(side, target)| Step::Unpause { side, target }),
        12 => (pick, side.clone(), stream.clone(), bytes.clone())
            .prop_map(|(conn, from, stream, bytes)| Step::Write { conn, from, stream, bytes }),
        12 => (pick, side.clone(), stream, bytes)
            .prop_map(|(conn, to, stream, bytes)| Step::Arrive { conn, to, stream, bytes }),
        12 => (side.clone(), 0..STREAMS).prop_map(|(from, stream)| Step::Pump { from, stream }),
        4 => (side.clone(), pick, any::<bool>())
            .prop_map(|(side, pick, answer)| Step::Settle { side, pick, answer }),
        2 => (side.clone(), pick, any::<bool>())
            .prop_map(|(side, pick, closes)| Step::Reject { side, pick, closes }),
        1 => pick.prop_map(Step::Cut),
        1 => (pick, side.clone()).prop_map(|(conn, end)| Step::Notice { conn, end }),
        1 => side.prop_map(Step::Restart),
    ]
}

/// As [`step`], with no node restarting: sessions last, and so get into deeper states.
fn calm_step() -> impl Strategy<Value = Step> {
    step().prop_filter("no restart", |step| !matches!(step, Step::Restart(_)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_connections_and_nodes_each_message_has_one_outcome(
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        check(&steps);
    }

    #[test]
    fn whatever_happens_to_connections_a_session_loses_nothing(
        steps in proptest::collection::vec(calm_step(), 1..600),
    ) {
        let world = check(&steps);
        let incarnations = world.nodes.each_ref().map(|node| node.id.incarnation);
        assert_eq!(incarnations, [1, 1]);
        assert!(world.messages.values().all(|message| message.fates.len() == 1));
    }

    #[test]
    fn a_close_waits_for_both_ends(
        steps in proptest::collection::vec(calm_step(), 1..300),
        closers in prop_oneof![Just(vec![0]), Just(vec![1]), Just(vec![0, 1])],
        more in proptest::collection::vec(calm_step(), 1..100),
    ) {
        let mut world = World::new();
        world.connect();
        steps.iter().for_each(|step| world.run(step));
        closers.iter().for_each(|side| world.session(*side).close());
        let sent = world.messages.len();
        let taken = |world: &World, side: usize| world.session(side).is_closed();
        for step in &more {
            world.run(step);
            // Whoever calls itself closed has nothing under way, and the other takes nothing more.
            for side in 0..2 {
                if taken(&world, side) {
                    prop_assert_eq!(world.session(0).unsettled(), (0, 0));
                    prop_assert_eq!(world.session(1).unsettled(), (0, 0));
                }
            }
        }
        world.settle_down();
        for side in closers {
            prop_assert!(world.session(side).is_closed());
        }
        verify(&world);
        let from_closer = world.messages.values().skip(sent);
        prop_assert!(from_closer.clone().count() <= more.len());
    }
}

fn check(steps: &[Step]) -> World {
    let mut world = World::new();
    world.connect();
    for step in steps {
        world.run(step);
    }
    world.settle_down();
    verify(&world);
    world
}

/// Holds what became of all messages against the promises.
fn verify(world: &World) {
    for side in 0..2 {
        let session = world.session(side);
        assert_eq!(session.unsettled(), (0, 0), "side {side}");
        assert!(session.is_drained(), "side {side}");
    }
    for (token, message) in &world.messages {
        let count = |fate: fn(&Fate) -> bool| message.fates.iter().filter(|f| fate(f)).count();
        let handled = count(|fate| matches!(fate, Fate::Handled { .. }));
        let rejected = count(|fate| matches!(fate, Fate::Rejected { .. }));
        let unknown = count(|fate| matches!(fate, Fate::Unknown { .. }));
        let unwritten = count(|fate| matches!(fate, Fate::Unknown { written: false }));
        assert!(handled <= 1 && rejected + unknown <= 1, "{token}: {message:?}");
        assert!(handled + rejected <= 1, "{token} did not run, and did: {message:?}");
        assert!(unwritten == 0 || !message.arrived, "{token} was never written: {message:?}");
        if !message.sender_died {
            assert!(handled + rejected + unknown >= 1, "{token} has no outcome: {message:?}");
        }
    }
    let incarnations = world.nodes.each_ref().map(|node| node.id.incarnation);
    for (token, (path, arrived)) in &world.answers {
        let lasts = *path == incarnations;
        assert!(*arrived == 1 || *arrived == 0 && !lasts, "answer {token} came {arrived} times");
    }
    verify_that_no_repeat_could_reorder(&world.messages);
}

/// Nothing was handled that followed a rejected message for the same target, and was sent before
/// that rejection was seen.
fn verify_that_no_repeat_could_reorder(messages: &BTreeMap<u64, Message>) {
    for (token, message) in messages {
        let Some(seen_at) = message.rejected_at(CLOSES) else { continue };
        let later = messages
            .range(token + 1..)
            .filter(|(_, later)| later.path == message.path && later.target == message.target);
        for (later_token, later) in later {
            // What the layer above handled before it rejected the earlier one is its own affair.
            if later.handled_at().is_some_and(|at| at > message.refused_there_at) {
                assert!(
                    later.sent_at > seen_at,
                    "{later_token} was handled behind {token}: {later:?}, {message:?}"
                );
            }
        }
    }
}
