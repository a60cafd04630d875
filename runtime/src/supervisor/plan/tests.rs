//! The plan against a world of children that a test plays, and against its invariants.

use std::collections::BTreeMap;

use proptest::prelude::{
    Just, ProptestConfig, Strategy as _, prop, prop_assert, prop_oneof, proptest,
};

use super::*;

const STOP_WITHIN: Duration = Duration::from_secs(5);
const WITHIN: Duration = Duration::from_secs(10);
const LIMIT: u32 = 3;

#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin")]
fn origin() -> Instant {
    Instant::now()
}

/// A child as it really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Real {
    Off,
    Starting,
    On,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    rules: ChildRules,
    real: Real,
    /// When it was told to stop, if it was.
    told: Option<Instant>,
    killed: bool,
    removed: bool,
    /// Another one failed, and this one must be off before anything starts.
    doomed: bool,
}

/// Carries the plan's actions out, and checks each against the invariants.
struct World {
    plan: Plan,
    strategy: Strategy,
    now: Instant,
    random: Random,
    facts: BTreeMap<ActorId, Facts>,
    granted: Vec<Instant>,
    is_ending: bool,
    is_killed: bool,
    ended: Option<Outcome>,
    finished: Vec<ActorId>,
    actions: Vec<Action>,
}

impl World {
    fn new(strategy: Strategy) -> Self {
        let rules = Rules { strategy, limit: LIMIT, within: WITHIN, ..Rules::default() };
        let now = origin();
        let mut plan = Plan::new(rules);
        plan.begin(now);
        Self {
            plan,
            strategy,
            now,
            random: Random::from_seed(7),
            facts: BTreeMap::new(),
            granted: Vec::new(),
            is_ending: false,
            is_killed: false,
            ended: None,
            finished: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// A world with children of these kinds, all started, numbered from 1.
    fn with(strategy: Strategy, kinds: &[Restart]) -> Self {
        let mut world = Self::new(strategy);
        for restart in kinds {
            world.add(*restart, STOP_WITHIN);
        }
        world.start_all();
        world.actions.clear();
        world
    }

    fn add(&mut self, restart: Restart, stop_within: Duration) -> ActorId {
        let id = ActorId(self.facts.len() as u64 + self.finished.len() as u64 + 1);
        let rules = ChildRules { restart, stop_within };
        let facts = Facts {
            rules,
            real: Real::Off,
            told: None,
            killed: false,
            removed: false,
            doomed: false,
        };
        self.facts.insert(id, facts);
        self.plan.add(self.now, id, rules);
        self.act();
        id
    }

    fn remove(&mut self, id: ActorId) {
        if let Some(facts) = self.facts.get_mut(&id) {
            // The others wait for it no longer.
            (facts.removed, facts.doomed) = (true, false);
            self.plan.remove(self.now, id);
            self.act();
        }
    }

    fn stop(&mut self) {
        self.is_ending = true;
        self.plan.stop(self.now);
        self.act();
    }

    fn kill(&mut self) {
        (self.is_ending, self.is_killed) = (true, true);
        self.plan.kill(self.now);
        self.act();
        let mut left = self.facts.values().filter(|facts| facts.real != Real::Off);
        assert!(left.all(|facts| facts.killed), "a kill takes all at once");
    }

    fn started(&mut self, id: ActorId) {
        if let Some(facts) = self.facts.get_mut(&id).filter(|facts| facts.real == Real::Starting) {
            facts.real = Real::On;
            self.plan.handle_started(self.now, id);
            self.act();
        }
    }

    fn start_all(&mut self) {
        while let Some(id) = self.first(Real::Starting) {
            self.started(id);
        }
    }

    fn first(&self, real: Real) -> Option<ActorId> {
        self.facts.iter().find(|(_, facts)| facts.real == real).map(|(id, _)| *id)
    }

    /// A child's instance ends, asked or not.
    fn ends(&mut self, id: ActorId, ended: Ended) {
        let Some(facts) = self.facts.get(&id).copied().filter(|facts| facts.real != Real::Off)
        else {
            return;
        };
        let unasked = facts.told.is_none() && !facts.killed && !facts.doomed && !facts.removed;
        let fails = unasked && !self.is_ending && facts.rules.restart.wants(ended);
        let facts = self.facts.get_mut(&id).expect("it is known");
        (facts.real, facts.told, facts.killed, facts.doomed) = (Real::Off, None, false, false);
        if fails {
            let now = self.now;
            let recent = self.granted.iter().filter(|at| now - **at <= WITHIN).count();
            if recent < LIMIT as usize {
                self.granted.push(now);
                self.doom(id);
            } else {
                self.is_ending = true;
            }
        }
        self.plan.handle_ended(self.now, id, ended, &mut self.random);
        self.act();
    }

    /// Who has to go down with a child that failed.
    fn doom(&mut self, failed: ActorId) {
        for (id, facts) in &mut self.facts {
            let is_affected = match self.strategy {
                Strategy::OneForOne => false,
                Strategy::OneForAll => true,
                Strategy::RestForOne => *id > failed,
            };
            facts.doomed |= is_affected && facts.real != Real::Off && !facts.removed;
        }
    }

    fn leaves(&mut self, id: ActorId) {
        if self.facts.remove(&id).is_some() {
            self.finished.push(id);
            self.plan.handle_left(self.now, id);
            self.act();
        }
    }

    fn passes(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.plan.poll_timeout().filter(|due| *due <= until) {
            assert!(due > self.now, "a timeout that has passed would never end");
            self.now = due;
            self.plan.handle_timeout(due);
            self.act();
        }
        self.now = until;
    }

    fn act(&mut self) {
        while let Some(action) = self.plan.poll_action() {
            self.actions.push(action);
            match action {
                Action::Start(id) => self.check_start(id),
                Action::Stop(id) => self.check_stop(id, false),
                Action::Kill(id) => self.check_stop(id, true),
                Action::Finish(id) => {
                    let facts = self.facts.remove(&id).expect("it is finished once");
                    assert_eq!(facts.real, Real::Off, "{id} is finished with an instance");
                    self.finished.push(id);
                }
                Action::End(outcome) => {
                    assert!(self.is_ending, "it ends because it was asked to, or gave up");
                    assert!(self.facts.values().all(|facts| facts.real == Real::Off));
                    assert_eq!(self.ended.replace(outcome), None, "it ends once");
                }
            }
        }
        let kept = self.facts.len();
        assert_eq!(self.plan.children.len(), kept, "it remembers those that live, and no others");
        assert!(self.plan.intensity.len() <= LIMIT as usize);
    }

    fn check_start(&mut self, id: ActorId) {
        assert!(!self.is_ending, "{id} starts while all end");
        assert_eq!(self.facts[&id].real, Real::Off, "{id} is started twice");
        let mut others = self.facts.values().filter(|facts| facts.told.is_none());
        assert!(others.all(|facts| facts.real != Real::Starting), "one child starts at a time");
        assert!(self.facts.values().all(|facts| !facts.doomed), "{id} starts before all stopped");
        if self.strategy != Strategy::OneForOne {
            let mut before = self.facts.range(..id).filter(|(_, facts)| !facts.removed);
            assert!(before.all(|(_, facts)| facts.real == Real::On), "{id} starts out of order");
        }
        self.facts.get_mut(&id).expect("it is known").real = Real::Starting;
    }

    fn check_stop(&mut self, id: ActorId, kill: bool) {
        let facts = self.facts[&id];
        assert_ne!(facts.real, Real::Off, "{id} is stopped without an instance");
        assert!(!facts.killed, "{id} is stopped after it was killed");
        assert!(self.is_ending || facts.doomed || facts.removed, "{id} is stopped for nothing");
        match (kill, facts.told) {
            _ if self.is_killed => assert!(kill, "{id} is asked, after all were to be killed"),
            (false, told) => assert_eq!(told, None, "{id} is stopped once"),
            (true, Some(told)) => {
                assert_eq!(self.now, told + facts.rules.stop_within, "{id} has its deadline");
            }
            (true, None) => assert_eq!(facts.rules.stop_within, Duration::ZERO),
        }
        if facts.told.is_none() && !facts.removed && !self.is_killed {
            let mut after = self
                .facts
                .range(id..)
                .skip(1)
                .filter(|(_, later)| self.is_ending || later.doomed && !later.removed);
            assert!(after.all(|(_, later)| later.real == Real::Off), "{id} stops out of order");
        }
        let now = self.now;
        let facts = self.facts.get_mut(&id).expect("it is known");
        facts.killed = kill;
        facts.told.get_or_insert(now);
    }

    /// A child with an instance, by a number of any size.
    fn nth(&self, at: usize) -> Option<ActorId> {
        let mut live = self.facts.iter().filter(|(_, facts)| facts.real != Real::Off);
        let count = live.clone().count();
        live.nth(at % count.max(1)).map(|(id, _)| *id)
    }

    /// Whether a child has been told to end.
    fn told(&self) -> Option<ActorId> {
        self.facts.iter().find(|(_, facts)| facts.told.is_some()).map(|(id, _)| *id)
    }

    /// Those that were told to end do so, one after the other.
    fn obey(&mut self) {
        while let Some(id) = self.told() {
            self.ends(id, Ended::Normally);
        }
    }

    /// The actions since the last call.
    fn acted(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }
}

const A: ActorId = ActorId(1);
const B: ActorId = ActorId(2);
const C: ActorId = ActorId(3);

use Action::{Finish, Kill, Start, Stop};

fn three(strategy: Strategy) -> World {
    World::with(strategy, &[Restart::Permanent, Restart::Transient, Restart::Permanent])
}

#[test]
fn children_start_one_after_the_other_in_order() {
    let mut world = World::new(Strategy::OneForAll);
    for _ in 0..3 {
        world.add(Restart::Permanent, STOP_WITHIN);
    }
    assert_eq!(world.acted(), [Start(A)]);
    world.started(A);
    assert_eq!(world.acted(), [Start(B)]);
    world.started(B);
    assert_eq!(world.acted(), [Start(C)]);
}

#[test]
fn children_stop_in_reverse_order_each_after_the_one_behind_it() {
    let mut world = three(Strategy::OneForOne);
    world.stop();
    assert_eq!(world.acted(), [Stop(C)]);
    world.ends(C, Ended::Normally);
    assert_eq!(world.acted(), [Stop(B)]);
    world.ends(B, Ended::Abnormally);
    assert_eq!(world.acted(), [Stop(A)]);
    world.ends(A, Ended::Normally);
    assert_eq!(world.acted(), [Action::End(Outcome::Stopped)]);
}

#[test]
fn one_for_one_restarts_the_one_that_failed() {
    let mut world = three(Strategy::OneForOne);
    world.ends(B, Ended::Abnormally);
    assert!(world.acted().is_empty(), "its backoff first");
    world.passes(WITHIN);
    assert_eq!(world.acted(), [Start(B)]);
}

#[test]
fn one_for_all_stops_all_in_reverse_and_starts_them_in_order() {
    let mut world = three(Strategy::OneForAll);
    world.ends(B, Ended::Abnormally);
    assert_eq!(world.acted(), [Stop(C)]);
    world.obey();
    assert_eq!(world.acted(), [Stop(A), Start(A)], "the first needs no backoff");
    world.started(A);
    assert!(world.acted().is_empty(), "those behind wait for the one that failed");
    world.passes(WITHIN);
    world.start_all();
    assert_eq!(world.acted(), [Start(B), Start(C)]);
}

#[test]
fn rest_for_one_leaves_those_before_alone() {
    let mut world = three(Strategy::RestForOne);
    world.ends(B, Ended::Abnormally);
    world.obey();
    world.passes(WITHIN);
    world.start_all();
    assert_eq!(world.acted(), [Stop(C), Start(B), Start(C)]);
}

#[test]
fn a_child_that_fails_while_it_waits_to_be_stopped_counts_for_nothing() {
    let mut world = three(Strategy::OneForAll);
    world.ends(B, Ended::Abnormally);
    world.ends(A, Ended::Abnormally);
    world.obey();
    assert_eq!(world.plan.intensity.len(), 1);
    assert_eq!(world.acted(), [Stop(C), Start(A)], "nor does it wait");
}

#[test]
fn a_temporary_child_that_goes_down_with_another_is_not_started_again() {
    let mut world = World::with(Strategy::OneForAll, &[Restart::Permanent, Restart::Temporary]);
    world.ends(A, Ended::Abnormally);
    world.obey();
    world.passes(WITHIN);
    world.start_all();
    assert_eq!(world.acted(), [Stop(B), Finish(B), Start(A)]);
}

#[test]
fn a_child_that_ends_as_it_should_takes_nobody_with_it() {
    let mut world = three(Strategy::OneForAll);
    world.ends(B, Ended::Normally);
    assert_eq!(world.acted(), [Finish(B)]);
}

#[test]
fn one_failure_beyond_the_intensity_ends_them_all() {
    let mut world = three(Strategy::OneForOne);
    for _ in 0..LIMIT {
        world.ends(B, Ended::Abnormally);
        world.passes(Duration::from_secs(1));
        world.start_all();
    }
    world.acted();
    world.ends(A, Ended::Abnormally);
    world.obey();
    let gave_up = Outcome::GaveUp { child: A };
    assert_eq!(world.acted(), [Stop(C), Stop(B), Action::End(gave_up)]);
}

#[test]
fn a_child_that_does_not_stop_is_killed_at_its_deadline() {
    let mut world = three(Strategy::OneForOne);
    world.stop();
    world.passes(STOP_WITHIN - Duration::from_nanos(1));
    assert_eq!(world.acted(), [Stop(C)]);
    world.passes(Duration::from_nanos(1));
    assert_eq!(world.acted(), [Kill(C)]);
    world.passes(STOP_WITHIN * 9);
    assert!(world.acted().is_empty(), "the next one waits until it is gone");
    world.ends(C, Ended::Abnormally);
    assert_eq!(world.acted(), [Stop(B)]);
}

#[test]
fn a_deadline_of_zero_kills_at_once() {
    let mut world = World::new(Strategy::OneForOne);
    let id = world.add(Restart::Permanent, Duration::ZERO);
    world.started(id);
    world.remove(id);
    world.ends(id, Ended::Abnormally);
    assert_eq!(world.acted(), [Start(id), Kill(id), Finish(id)]);
}

#[test]
fn waits_grow_with_each_failure_and_start_anew_after_a_calm_window() {
    let mut world = three(Strategy::OneForOne);
    world.plan.rules.backoff =
        Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
    let mut wait = |calm| {
        world.ends(B, Ended::Abnormally);
        let due = world.plan.poll_timeout().expect("a backoff") - world.now;
        world.passes(due);
        world.start_all();
        world.passes(calm);
        due.as_millis()
    };
    let waits = [wait(Duration::ZERO), wait(Duration::ZERO), wait(WITHIN * 2), wait(WITHIN)];
    let expected = [50..=100, 100..=200, 200..=400, 50..=100];
    for (wait, range) in waits.iter().zip(expected) {
        assert!(range.contains(wait), "{waits:?}");
    }
}

#[test]
fn a_child_in_backoff_holds_up_no_independent_one() {
    let mut world = three(Strategy::OneForOne);
    world.ends(A, Ended::Abnormally);
    let id = world.add(Restart::Permanent, STOP_WITHIN);
    assert_eq!(world.acted(), [Start(id)]);
}

#[test]
fn a_child_whose_backoff_is_over_waits_for_the_one_that_starts() {
    let mut world = three(Strategy::OneForOne);
    world.ends(A, Ended::Abnormally);
    let id = world.add(Restart::Permanent, STOP_WITHIN);
    world.passes(WITHIN);
    assert_eq!(world.acted(), [Start(id)]);
    world.started(id);
    assert_eq!(world.acted(), [Start(A)]);
}

#[test]
fn a_child_can_be_removed_in_each_state() {
    let mut world = three(Strategy::OneForAll);
    world.remove(A);
    assert_eq!(world.acted(), [Stop(A)], "running");
    world.ends(A, Ended::Abnormally);
    assert_eq!(world.acted(), [Finish(A)], "whatever it says at its end");
    world.ends(B, Ended::Abnormally);
    world.obey();
    world.acted();
    world.remove(B);
    assert_eq!(world.acted(), [Finish(B), Start(C)], "in its backoff, others wait no longer");
    world.remove(C);
    world.ends(C, Ended::Normally);
    assert_eq!(world.acted(), [Stop(C), Finish(C)], "starting");
}

#[test]
fn a_kill_takes_all_at_once() {
    let mut plan = Plan::new(Rules::default());
    let now = origin();
    plan.begin(now);
    let rules = ChildRules { restart: Restart::Permanent, stop_within: STOP_WITHIN };
    for id in [A, B] {
        plan.add(now, id, rules);
        plan.handle_started(now, id);
    }
    plan.kill(now);
    plan.kill(now);
    let actions: Vec<_> = std::iter::from_fn(|| plan.poll_action()).collect();
    assert_eq!(actions, [Start(A), Start(B), Kill(B), Kill(A)]);
    for id in [A, B] {
        plan.handle_ended(now, id, Ended::Abnormally, &mut Random::from_seed(1));
    }
    assert_eq!(plan.poll_action(), Some(Action::End(Outcome::Killed)));
}

#[test]
fn what_has_ended_can_begin_again_with_all_its_children() {
    let mut world = three(Strategy::RestForOne);
    world.stop();
    world.obey();
    world.acted();
    (world.is_ending, world.ended) = (false, None);
    world.plan.begin(world.now);
    world.act();
    world.start_all();
    assert_eq!(world.acted(), [Start(A), Start(B), Start(C)]);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add(Restart, Duration),
    Remove(u64),
    Started,
    /// One of those that have an instance.
    Ends(usize, Ended),
    Obeys,
    Leaves(u64),
    Passes(u64),
    Stop,
    Kill,
}

fn op() -> impl proptest::strategy::Strategy<Value = Op> {
    let restart =
        || prop::sample::select(&[Restart::Permanent, Restart::Transient, Restart::Temporary][..]);
    let ended = prop::sample::select(&[Ended::Normally, Ended::Abnormally][..]);
    let deadline = prop::sample::select(vec![Duration::ZERO, STOP_WITHIN, Duration::from_secs(60)]);
    prop_oneof![
        4 => (restart(), deadline).prop_map(|(restart, within)| Op::Add(restart, within)),
        1 => (1u64..20).prop_map(Op::Remove),
        8 => Just(Op::Started),
        9 => (0usize..20, ended).prop_map(|(at, ended)| Op::Ends(at, ended)),
        6 => Just(Op::Obeys),
        1 => (1u64..20).prop_map(Op::Leaves),
        6 => (0u64..2_000).prop_map(Op::Passes),
        1 => Just(Op::Stop),
        1 => Just(Op::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn whatever_happens_the_invariants_hold_and_each_child_reaches_an_end(
        strategy in prop::sample::select(
            &[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][..]
        ),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(strategy);
        for op in ops {
            match op {
                // An end is for good here: what a restarted supervisor does has a test of its own.
                _ if world.ended.is_some() => break,
                Op::Add(restart, within) => drop(world.add(restart, within)),
                Op::Remove(id) => world.remove(ActorId(id)),
                Op::Started => {
                    if let Some(id) = world.first(Real::Starting) {
                        world.started(id);
                    }
                }
                Op::Ends(at, ended) => {
                    if let Some(id) = world.nth(at) {
                        world.ends(id, ended);
                    }
                }
                Op::Obeys => {
                    if let Some(id) = world.told() {
                        world.ends(id, Ended::Normally);
                    }
                }
                Op::Leaves(id) => world.leaves(ActorId(id)),
                Op::Passes(millis) => world.passes(Duration::from_millis(millis)),
                Op::Stop => world.stop(),
                Op::Kill => world.kill(),
            }
        }
        if !world.is_ending {
            // Left alone, all that are wanted come to run.
            world.obey();
            for _ in 0..world.facts.len() + 1 {
                world.start_all();
                world.passes(Duration::from_secs(60));
                world.obey();
            }
            let mut kept = world.facts.values();
            prop_assert!(kept.all(|facts| facts.real == Real::On), "{:?}", world.facts);
            world.stop();
        }
        world.obey();
        prop_assert!(world.ended.is_some(), "{:?}", world.facts);
    }
}
