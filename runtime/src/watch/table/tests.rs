//! What the table of watches makes of whatever comes, in whatever order.

use proptest::prelude::*;

use super::*;
use TerminatedReason::{Killed, NodeDown, Stopped};

/// Watchers are known by their numbers, parties by theirs.
type Plain = Table<Number, u8>;

fn set(table: &mut Plain, number: Number) {
    table.set(number, Lanes::one(number), number).expect("room");
}

/// A watch that the party knows of.
fn told(table: &mut Plain, number: Number, party: u8) {
    set(table, number);
    assert_eq!(table.begin(number, party), Some(&number));
    assert_eq!(table.sent(number), None);
}

#[test]
fn an_end_is_told_once() {
    let mut table = Plain::new(8);
    told(&mut table, 1, 7);
    assert_eq!(table.handle_report(1, Some(&8), 1, Killed), None, "another peer says so");
    assert_eq!(table.handle_report(1, Some(&7), 2, Killed), None, "on a lane that is none of it");
    assert_eq!(table.handle_report(1, Some(&7), 1, Killed), Some((1, Killed)));
    assert_eq!(table.handle_report(1, Some(&7), 1, Stopped), None);
    assert_eq!((table.handle_end(1), table.handle_gone(&7), table.len()), (None, vec![], 0));
}

#[test]
fn the_end_of_the_other_side_ends_its_watches_and_no_others() {
    let mut table = Plain::new(8);
    told(&mut table, 1, 7);
    told(&mut table, 2, 8);
    set(&mut table, 3);
    assert_eq!(table.handle_gone(&7), [(1, Lanes::one(1))]);
    assert_eq!(table.handle_report(1, Some(&7), 1, NodeDown), Some((1, NodeDown)));
    assert_eq!(table.len(), 2);
}

#[test]
fn a_watch_that_is_taken_back_while_it_is_sent_is_taken_back_there_too() {
    let mut table = Plain::new(8);
    set(&mut table, 1);
    assert!(table.begin(1, 7).is_some());
    assert_eq!(table.take_back(1, Back::Quietly), None, "whoever sends it says so");
    assert_eq!(table.sent(1), Some((&1, Back::Quietly)));
    assert_eq!((table.handle_report(1, Some(&7), 1, Killed), table.len()), (None, 1));
    table.left(1);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_watch_that_is_taken_back_before_it_is_sent_never_is() {
    let mut table = Plain::new(8);
    set(&mut table, 1);
    assert_eq!(table.take_back(1, Back::Quietly), None);
    assert_eq!(table.begin(1, 7), None);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_link_that_is_broken_before_it_is_sent_is_sent_all_the_same() {
    let mut table = Plain::new(8);
    set(&mut table, 1);
    let broken = Back::Broken(Killed);
    assert_eq!(table.take_back(1, broken), None);
    assert!(table.begin(1, 7).is_some());
    assert_eq!(table.sent(1), Some((&1, broken)));
}

#[test]
fn a_watch_that_is_refused_waits_again_and_counts_how_often() {
    let mut table = Plain::new(8);
    told(&mut table, 1, 7);
    assert_eq!(table.handle_refused(1, &8), None, "another peer says so");
    assert_eq!(table.handle_refused(1, &7), Some(1));
    assert!(table.begin(1, 8).is_some());
    assert_eq!(table.sent(1), None);
    assert_eq!(table.handle_refused(1, &8), Some(2));
    assert_eq!(table.handle_report(1, Some(&8), 1, Killed), None, "it doesn't know of it");
    assert_eq!(table.handle_report(1, None, 1, NodeDown), Some((1, NodeDown)));
}

#[test]
fn the_table_is_bounded_and_a_place_is_free_once_nobody_owes_anything() {
    let mut table = Plain::new(2);
    told(&mut table, 1, 7);
    told(&mut table, 2, 7);
    assert_eq!(table.set(3, Lanes::one(3), 3), Err(Refused::Full));
    assert_eq!(table.take_back(1, Back::Quietly), Some((7, &1)));
    assert_eq!(table.set(3, Lanes::one(3), 3), Err(Refused::Full), "it is to be told yet");
    table.left(1);
    table.set(3, Lanes::one(3), 3).expect("room again");
    assert_eq!(table.close(), [(2, 2), (3, 3)]);
    assert_eq!(table.set(4, Lanes::one(4), 4), Err(Refused::Closed));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Set,
    Begin(usize, u8),
    Sent(usize),
    NotSent(usize),
    Refused(usize, u8),
    Report(usize, Option<u8>, u8),
    End(usize),
    TakeBack(usize, bool),
    Left(usize),
    Gone(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let at = 0..6usize;
    let party = 0..2u8;
    prop_oneof![
        4 => Just(Op::Set),
        4 => (at.clone(), party.clone()).prop_map(|(at, party)| Op::Begin(at, party)),
        4 => at.clone().prop_map(Op::Sent),
        1 => at.clone().prop_map(Op::NotSent),
        1 => (at.clone(), party.clone()).prop_map(|(at, party)| Op::Refused(at, party)),
        3 => (at.clone(), proptest::option::of(party.clone()), 0..3u8)
            .prop_map(|(at, from, lane)| Op::Report(at, from, lane)),
        1 => at.clone().prop_map(Op::End),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, is_link)| Op::TakeBack(at, is_link)),
        2 => at.prop_map(Op::Left),
        1 => party.prop_map(Op::Gone),
    ]
}

/// What a test knows of one watch.
#[derive(Debug, Default)]
struct Known {
    ends: u32,
    is_taken_back: bool,
}

/// Does what is left for whoever was at it, as the shell would, until the table is empty.
fn finish(table: &mut Plain, known: &mut [Known]) {
    for number in 1..=known.len() as Number {
        // Whoever sends has come to an end; what was refused goes out once more; the peer goes.
        table.sent(number);
        if table.begin(number, 0).is_some() {
            table.sent(number);
        }
    }
    for party in 0..2 {
        for (number, lanes) in table.handle_gone(&party) {
            for lane in lanes.hashes() {
                if let Some((watcher, _)) =
                    table.handle_report(number, Some(&party), *lane, NodeDown)
                {
                    known[watcher as usize - 1].ends += 1;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_each_watch_ends_once_unless_taken_back_and_none_is_left(
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut table = Plain::new(5);
        let mut known: Vec<Known> = Vec::new();
        let ended = |known: &mut Vec<Known>, watcher: Option<Number>| {
            if let Some(watcher) = watcher {
                known[watcher as usize - 1].ends += 1;
            }
        };
        for op in ops {
            // The latest ones, so that most operations meet something.
            let number = |at: usize, known: &[Known]| (known.len() + 1).saturating_sub(at + 1) as Number;
            match op {
                Op::Set => {
                    let next = known.len() as Number + 1;
                    let lanes = Lanes::two(0, next % 2);
                    let is_full = table.len() >= 5;
                    prop_assert_eq!(table.set(next, lanes, next).is_err(), is_full);
                    if !is_full {
                        known.push(Known::default());
                    }
                }
                Op::Begin(at, party) => drop(table.begin(number(at, &known), party).copied()),
                Op::Sent(at) => drop(table.sent(number(at, &known))),
                Op::NotSent(at) => table.not_sent(number(at, &known)),
                Op::Refused(at, party) => drop(table.handle_refused(number(at, &known), &party)),
                Op::Report(at, from, lane) => {
                    let told =
                        table.handle_report(number(at, &known), from.as_ref(), lane.into(), Killed);
                    ended(&mut known, told.map(|(watcher, _)| watcher));
                }
                Op::End(at) => {
                    let told = table.handle_end(number(at, &known));
                    ended(&mut known, told);
                }
                Op::TakeBack(at, is_link) => {
                    let number = number(at, &known);
                    let back = if is_link { Back::Broken(Killed) } else { Back::Quietly };
                    let is_over = table.lanes(number).is_none();
                    table.take_back(number, back);
                    if !is_over {
                        known[number as usize - 1].is_taken_back = true;
                    }
                }
                Op::Left(at) => table.left(number(at, &known)),
                Op::Gone(party) => {
                    for (number, lanes) in table.handle_gone(&party) {
                        for lane in lanes.hashes() {
                            let told = table.handle_report(number, Some(&party), *lane, NodeDown);
                            ended(&mut known, told.map(|(watcher, _)| watcher));
                        }
                    }
                }
            }
        }
        finish(&mut table, &mut known);
        prop_assert_eq!(table.len(), 0, "nothing is left");
        for (at, Known { ends, is_taken_back }) in known.iter().enumerate() {
            prop_assert_eq!(*ends, u32::from(!is_taken_back), "watch {}", at + 1);
        }
    }
}
