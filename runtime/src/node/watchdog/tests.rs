//! What is reported, and when: by example, and whatever turns there are.

use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::{actor::turns::TurnCell, message::WireId};

const THRESHOLD: Duration = Duration::from_millis(1_000);

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin")]
fn origin() -> Instant {
    Instant::now()
}

fn turn(number: u64) -> Option<Snapshot> {
    let (actor, message) = (ActorId(7), WireId(9));
    Some(Snapshot { turn: number, doing: Doing::Message, actor, message })
}

/// Looks at one arbiter every 250 ms, and tells at which looks something is said of which turn.
fn reports(looks: &[Option<Snapshot>]) -> Vec<(usize, u64, Report)> {
    let (start, mut watchdog) = (origin(), Watchdog::new(THRESHOLD));
    assert_eq!(watchdog.period(), THRESHOLD / 4);
    let mut reports = Vec::new();
    for (look, snapshot) in looks.iter().enumerate() {
        let now = start + THRESHOLD / 4 * look as u32;
        for overdue in watchdog.handle_sample(now, [*snapshot].into_iter()) {
            if overdue.report != Report::NotNow {
                reports.push((look, overdue.snapshot.turn, overdue.report));
            }
        }
    }
    reports
}

#[test]
fn a_turn_is_reported_at_the_threshold_and_again_after_twice_as_long_each_time() {
    use Report::{Again, First};
    assert_eq!(
        reports(&[turn(1); 40]),
        [(4, 1, First), (8, 1, Again), (16, 1, Again), (32, 1, Again)]
    );
    assert_eq!(reports(&[turn(1); 4]), []);
}

#[test]
fn another_turn_counts_from_its_own_beginning() {
    let looks: Vec<_> = (0..40).map(|look| turn(look / 4)).collect();
    assert_eq!(reports(&looks), [], "busy is not blocked");
    let mut looks = vec![turn(1); 4];
    looks.push(None);
    looks.extend([turn(1); 4]);
    assert_eq!(reports(&looks), [], "it can't be the same turn: another has the same number");
    let mut looks = vec![turn(1); 5];
    looks.extend([turn(2); 5]);
    assert_eq!(reports(&looks), [(4, 1, Report::First), (9, 2, Report::First)]);
}

#[test]
fn an_overdue_turn_is_told_at_each_look_until_it_ends() {
    let (start, mut watchdog) = (origin(), Watchdog::new(THRESHOLD));
    let mut told = |millis, snapshots: [Option<Snapshot>; 2]| {
        let now = start + Duration::from_millis(millis);
        let overdue = watchdog.handle_sample(now, snapshots.into_iter());
        overdue.iter().map(|o| (o.snapshot.turn, o.blocked_for.as_millis())).collect::<Vec<_>>()
    };
    assert_eq!(told(0, [turn(1), None]), []);
    assert_eq!(told(500, [turn(1), turn(5)]), []);
    assert_eq!(told(1_000, [turn(1), turn(5)]), [(1, 1_000)]);
    assert_eq!(told(1_500, [turn(1), turn(5)]), [(1, 1_500), (5, 1_000)]);
    assert_eq!(told(1_750, [None, turn(5)]), [(5, 1_250)]);
    assert_eq!(told(2_000, [turn(2), turn(6)]), []);
}

#[test]
fn a_threshold_of_nothing_still_looks_at_intervals() {
    let (start, mut watchdog) = (origin(), Watchdog::new(Duration::ZERO));
    assert_eq!(watchdog.period(), SHORTEST_PERIOD);
    for look in 0..10 {
        let _overdue =
            watchdog.handle_sample(start + SHORTEST_PERIOD * look, [turn(1)].into_iter());
    }
}

#[test]
fn a_cell_numbers_its_turns_and_tells_what_they_are() {
    let cell = TurnCell::default();
    assert_eq!(cell.snapshot(), None);
    cell.enter(ActorId(7));
    cell.begin_message(Some(WireId(9)));
    let first = cell.snapshot().expect("a turn");
    assert_eq!((first.doing, first.actor, first.message), (Doing::Message, ActorId(7), WireId(9)));
    assert_eq!(cell.snapshot(), Some(first), "it is the same turn still");
    cell.begin_message(Some(WireId(9)));
    assert_ne!(cell.snapshot().expect("a turn").turn, first.turn);
    for doing in [
        Doing::OtherMessage,
        Doing::Future,
        Doing::Timer,
        Doing::Wait,
        Doing::Starting,
        Doing::Ending,
    ] {
        cell.begin(doing);
        assert_eq!(cell.snapshot().expect("a turn").doing, doing);
    }
    cell.begin(Doing::Nothing);
    assert_eq!(cell.snapshot(), None);
}

proptest! {
    #[test]
    fn a_turn_is_reported_once_if_it_lasts_and_never_too_early(
        lengths in prop::collection::vec(1u64..4_000, 1..40),
        step in 1u64..300,
    ) {
        let (start, mut watchdog) = (origin(), Watchdog::new(THRESHOLD));
        // When each turn ends, one after the other.
        let ends: Vec<u64> = lengths
            .iter()
            .scan(0, |at, length| { *at += length; Some(*at) })
            .collect();
        let last = *ends.last().expect("one at least");
        let mut first = vec![0; ends.len()];
        for millis in (0..last).step_by(step as usize) {
            let running = ends.iter().position(|end| millis < *end).expect("before the last end");
            let now = start + Duration::from_millis(millis);
            for overdue in watchdog.handle_sample(now, [turn(running as u64)].into_iter()) {
                let begun = ends[running] - lengths[running];
                prop_assert!(u128::from(millis - begun) >= overdue.blocked_for.as_millis());
                prop_assert!(overdue.blocked_for >= THRESHOLD);
                first[running] += u32::from(overdue.report == Report::First);
            }
        }
        for (length, first) in lengths.iter().zip(&first) {
            prop_assert!(*first <= 1);
            if *length >= 1_000 + 2 * step {
                prop_assert_eq!(*first, 1, "{} ms", length);
            }
        }
    }
}
