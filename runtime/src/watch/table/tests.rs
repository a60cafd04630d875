//! What the table of watches makes of whatever comes, in whatever order.

use std::collections::VecDeque;

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
fn a_broken_link_that_was_refused_is_sent_again_to_be_broken() {
    let broken = Back::Broken(Killed);
    for told_of_the_refusal_first in [true, false] {
        let mut table = Plain::new(8);
        told(&mut table, 1, 7);
        assert_eq!(table.take_back(1, broken), Some((7, &1)));
        if told_of_the_refusal_first {
            assert_eq!(table.handle_refused(1, &7), None, "it is not to be sent twice at a time");
            assert_eq!(table.left(1), Next::Seek(1));
        } else {
            assert_eq!(table.left(1), Next::Nothing);
            assert_eq!(table.handle_refused(1, &8), None, "another peer says so");
            assert_eq!(table.handle_refused(1, &7), Some(1));
        }
        assert!(table.begin(1, 8).is_some());
        assert_eq!(table.sent(1), Some((&1, broken)));
        assert_eq!(table.left(1), Next::Nothing);
        assert_eq!(table.handle_report(1, Some(&7), 1, Killed), None);
        assert_eq!(table.len(), 1, "that one has not said that it knew of it");
        assert_eq!(table.handle_report(1, Some(&8), 1, Killed), None, "nobody is to be told");
        assert_eq!(table.len(), 0);
    }
}

#[test]
fn a_broken_link_is_over_when_its_target_or_the_other_side_is() {
    let mut table = Plain::new(8);
    for number in 1..=5 {
        told(&mut table, number, 7);
        assert!(table.take_back(number, Back::Broken(Killed)).is_some());
    }
    assert_eq!(table.handle_report(1, Some(&7), 1, Stopped), None);
    assert_eq!(table.len(), 5, "its place is taken until the word is on its way");
    assert_eq!((table.left(1), table.len()), (Next::Nothing, 4));
    table.untied(2);
    assert_eq!(table.len(), 3, "a target on this node needs no word");
    assert_eq!(table.left(3), Next::Nothing);
    assert_eq!(table.handle_refused(4, &7), None);
    assert_eq!(table.handle_gone(&7), vec![]);
    assert_eq!(table.len(), 1, "what had been refused there is to be broken elsewhere");
    assert_eq!(table.left(4), Next::Seek(1));
    assert_eq!(table.handle_report(4, None, 4, NodeDown), None);
    assert_eq!(table.len(), 0, "this node has given it up");
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
        table.left(number);
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
                Op::Left(at) => drop(table.left(number(at, &known))),
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

/// What is on its way to a node that may have the target of a link.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Watch,
    Broken,
}

/// What is on its way back.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Refused,
    Ended,
}

/// A link, number 1, to a target that moves between two nodes.
struct World {
    table: Plain,
    owner: u8,
    is_tied: bool,
    there: [VecDeque<Sent>; 2],
    back: [VecDeque<Answer>; 2],
    /// Whom an errand is about to tell that the link is broken.
    letter: Option<u8>,
    is_to_be_sought: bool,
    /// How often the target has failed by the link, or has ended with it.
    outcomes: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// By routes that may be old.
    Seek(u8),
    /// The link breaks.
    Break,
    Letter,
    Arrive(u8),
    Return(u8),
    /// The target's activation ends, and the next one is on the other node.
    Move,
}

impl World {
    fn new() -> Self {
        let mut table = Plain::new(1);
        set(&mut table, 1);
        let (there, back) = Default::default();
        let (letter, is_to_be_sought) = (None, true);
        Self { table, owner: 0, is_tied: false, there, back, letter, is_to_be_sought, outcomes: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Seek(to) if std::mem::take(&mut self.is_to_be_sought) => {
                if self.table.begin(1, to).is_none() {
                    return;
                }
                self.there[usize::from(to)].push_back(Sent::Watch);
                self.letter = self.table.sent(1).map(|_| to);
            }
            Step::Break => {
                if let Some((to, _)) = self.table.take_back(1, Back::Broken(Killed)) {
                    self.letter = Some(to);
                }
            }
            Step::Letter => {
                let Some(to) = self.letter.take() else { return };
                self.there[usize::from(to)].push_back(Sent::Broken);
                self.is_to_be_sought |= self.table.left(1) != Next::Nothing;
            }
            Step::Arrive(at) => self.arrive(at),
            Step::Return(from) => match self.back[usize::from(from)].pop_front() {
                Some(Answer::Refused) => {
                    self.is_to_be_sought |= self.table.handle_refused(1, &from).is_some();
                }
                Some(Answer::Ended) => drop(self.table.handle_report(1, Some(&from), 1, Killed)),
                None => {}
            },
            Step::Move => {
                if std::mem::take(&mut self.is_tied) {
                    self.outcomes += 1;
                    self.back[usize::from(self.owner)].push_back(Answer::Ended);
                }
                self.owner = 1 - self.owner;
            }
            Step::Seek(_) => {}
        }
    }

    fn arrive(&mut self, at: u8) {
        let answer = match self.there[usize::from(at)].pop_front() {
            Some(Sent::Watch) if at == self.owner => {
                self.is_tied = true;
                return;
            }
            Some(Sent::Watch) => Answer::Refused,
            Some(Sent::Broken) if at == self.owner && std::mem::take(&mut self.is_tied) => {
                self.outcomes += 1;
                Answer::Ended
            }
            Some(Sent::Broken) | None => return,
        };
        self.back[usize::from(at)].push_back(answer);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2u8).prop_map(Step::Seek),
        1 => Just(Step::Break),
        2 => Just(Step::Letter),
        4 => (0..2u8).prop_map(Step::Arrive),
        4 => (0..2u8).prop_map(Step::Return),
        1 => Just(Step::Move),
    ]
}

proptest! {
    #[test]
    fn a_link_that_breaks_fails_its_target_wherever_that_has_moved(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.step(Step::Break);
        for _ in 0..6 {
            let owner = world.owner;
            for step in [Step::Letter, Step::Seek(owner), Step::Letter] {
                world.step(step);
            }
            for step in [Step::Arrive(0), Step::Arrive(1), Step::Return(0), Step::Return(1)] {
                (0..8).for_each(|_| world.step(step));
            }
        }
        prop_assert_eq!(world.outcomes, 1);
        prop_assert_eq!(world.table.len(), 0, "nothing is left");
    }
}
