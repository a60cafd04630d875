//! What a supervisor does next about its children: who is started, stopped, killed, and when.
//!
//! Invariants: children start one after the other in the order in which they were added, and are
//! stopped in the reverse one; a child is started only when no instance of it is left; restarts
//! stay within the intensity in every window; each stop ends, by itself or by a kill at its deadline.
//! Knows no clock, actor or generator: callers pass `now` and the draw, and carry out what
//! [`Plan::poll_action`] gives.
//!
//! ```text
//!            Start               handle_started
//!   Idle ────────────> Starting ────────────────> Running
//!    ^                    │                          │
//!    │                    ├──── Stop (deadline) ─────┤
//!    │   handle_ended     v                          v
//!    ├──────────────── Stopping ── Kill at the deadline
//!    └──────────────── handle_ended: unasked; wanted again after its backoff
//! ```
//!
//! A child that is not to run again is finished and forgotten, in whatever state it was.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix_cluster_transport::Random;

use crate::actor::{
    ActorId, Backoff, Restart,
    restart::{Ended, Intensity},
};

#[cfg(test)]
mod tests;

/// Which children of a supervisor are restarted when one of them fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// The one that failed: for children that do not need each other. The default.
    #[default]
    OneForOne,
    /// All: for children that can't go on without each other.
    OneForAll,
    /// The one that failed and those added after it: for children that need those before them.
    RestForOne,
}

/// What holds for a supervisor's children together.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) strategy: Strategy,
    pub(crate) limit: u32,
    pub(crate) within: Duration,
    pub(crate) backoff: Backoff,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            limit: 10,
            within: Duration::from_secs(10),
            backoff: Backoff::default(),
        }
    }
}

/// What holds for one child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildRules {
    pub(crate) restart: Restart,
    pub(crate) stop_within: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make an instance.
    Start(ActorId),
    /// Ask the instance to end, hooks included.
    Stop(ActorId),
    /// Drop the instance.
    Kill(ActorId),
    /// The child has no instance, and gets none any more.
    Finish(ActorId),
    /// No child has an instance; nothing follows until [`Plan::begin`].
    End(Outcome),
}

/// How a supervisor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was asked to.
    Stopped,
    /// It was killed.
    Killed,
    /// This child failed once more than the intensity grants.
    GaveUp { child: ActorId },
}

/// The state of a supervisor's children.
///
/// Feed it what happens (`add`, `remove`, `stop`, `kill`, `handle_*`), then carry out
/// `poll_action` until it is empty, then wait for the next report or for `poll_timeout`.
#[derive(Debug)]
pub(crate) struct Plan {
    rules: Rules,
    intensity: Intensity,
    mode: Mode,
    /// In the order in which they were added.
    children: Vec<Child>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not begun, or ended.
    Down,
    Up,
    Ending(Outcome),
}

#[derive(Debug)]
struct Child {
    id: ActorId,
    rules: ChildRules,
    state: State,
    fate: Fate,
    series: Series,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No instance. It starts in its turn, and not before this instant.
    Idle {
        not_before: Option<Instant>,
    },
    Starting,
    Running,
    /// Killed at the deadline; without one it was killed already.
    Stopping {
        deadline: Option<Instant>,
    },
}

/// What a child is stopped for, if it is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Run,
    /// Another child failed: stop in turn, then start again.
    Restart,
    /// Stop at once, and forget it.
    Remove,
}

/// Failures of one child that followed each other closely.
#[derive(Clone, Copy, Debug, Default)]
struct Series {
    failures: u32,
    last: Option<Instant>,
}

impl Plan {
    pub(crate) fn new(rules: Rules) -> Self {
        let (children, actions) = (Vec::new(), VecDeque::new());
        Self { rules, intensity: Intensity::default(), mode: Mode::Down, children, actions }
    }

    /// Whether a child is starting, or is to start in its turn.
    pub(crate) fn is_starting(&self) -> bool {
        let is_starting = |child: &Child| {
            matches!(child.state, State::Starting | State::Idle { not_before: None })
        };
        self.children.iter().any(is_starting)
    }

    /// Starts all children; anew, if it has ended. No effect otherwise.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.mode != Mode::Down {
            return;
        }
        self.mode = Mode::Up;
        self.intensity.reset();
        for child in &mut self.children {
            child.state = State::Idle { not_before: None };
            child.fate = Fate::Run;
            child.series = Series::default();
        }
        self.advance(now);
    }

    /// Adds a child behind all others. An id is never used twice.
    pub(crate) fn add(&mut self, now: Instant, id: ActorId, rules: ChildRules) {
        debug_assert!(self.find(id).is_none(), "a child is added once");
        let state = State::Idle { not_before: None };
        let series = Series::default();
        self.children.push(Child { id, rules, state, fate: Fate::Run, series });
        self.advance(now);
    }

    /// Stops a child and forgets it, without regard to the others.
    pub(crate) fn remove(&mut self, now: Instant, id: ActorId) {
        if let Some(at) = self.find(id) {
            self.children[at].fate = Fate::Remove;
            self.remove_leaving(now);
            self.advance(now);
        }
    }

    /// Stops all children, the last one first.
    pub(crate) fn stop(&mut self, now: Instant) {
        if self.mode == Mode::Up {
            self.mode = Mode::Ending(Outcome::Stopped);
            self.advance(now);
        }
    }

    /// Kills all children.
    pub(crate) fn kill(&mut self, now: Instant) {
        if self.mode == Mode::Down {
            return;
        }
        self.mode = Mode::Ending(Outcome::Killed);
        for child in self.children.iter_mut().rev() {
            child.kill(&mut self.actions);
        }
        self.advance(now);
    }

    /// A child's instance has started.
    pub(crate) fn handle_started(&mut self, now: Instant, id: ActorId) {
        if let Some(at) = self.find(id)
            && self.children[at].state == State::Starting
        {
            self.children[at].state = State::Running;
            self.advance(now);
        }
    }

    /// A child's instance has ended, or could not be started.
    pub(crate) fn handle_ended(
        &mut self,
        now: Instant,
        id: ActorId,
        ended: Ended,
        random: &mut Random,
    ) {
        let Some(at) = self.find(id) else { return };
        let child = &mut self.children[at];
        let was_told = matches!(child.state, State::Stopping { .. });
        let is_stopped = was_told || child.fate == Fate::Restart || self.mode != Mode::Up;
        child.state = State::Idle { not_before: None };
        let restart = child.rules.restart;
        // Whoever was told to stop ended as told, whatever else it says.
        let goes_on = restart.wants(ended) || was_told && restart != Restart::Temporary;
        if child.fate == Fate::Remove || !goes_on {
            self.finish(at);
        } else if !is_stopped {
            self.fail(now, at, random);
        }
        self.advance(now);
    }

    /// A child has ended for good by itself.
    pub(crate) fn handle_left(&mut self, now: Instant, id: ActorId) {
        if let Some(at) = self.find(id) {
            self.children.remove(at);
            self.advance(now);
        }
    }

    /// Time has come to where [`poll_timeout`](Self::poll_timeout) said.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for child in &mut self.children {
            match &mut child.state {
                State::Stopping { deadline: Some(at) } if *at <= now => {
                    child.kill(&mut self.actions);
                }
                State::Idle { not_before } if not_before.is_some_and(|at| at <= now) => {
                    *not_before = None;
                }
                _ => {}
            }
        }
        self.advance(now);
    }

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let is_up = self.mode == Mode::Up;
        let due = self.children.iter().filter_map(|child| match child.state {
            State::Stopping { deadline } => deadline,
            State::Idle { not_before } if is_up => not_before,
            _ => None,
        });
        due.min()
    }

    /// A child failed, and is wanted again: who is restarted with it, and after how long?
    fn fail(&mut self, now: Instant, at: usize, random: &mut Random) {
        let id = self.children[at].id;
        let Rules { limit, within, .. } = self.rules;
        if self.intensity.grant(now, limit, within).is_none() {
            self.mode = Mode::Ending(Outcome::GaveUp { child: id });
            return;
        }
        let failures = self.children[at].series.count(now, within);
        let wait = random.jittered(self.rules.backoff.nth(failures));
        let not_before = if wait.is_zero() { None } else { Some(later(now, wait)) };
        self.children[at].state = State::Idle { not_before };
        let affected = match self.rules.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => at,
        };
        for child in &mut self.children[affected..] {
            if child.fate == Fate::Run && !child.is_idle() {
                child.fate = Fate::Restart;
            }
        }
    }

    /// Does what can be done now: stops first, then starts.
    fn advance(&mut self, now: Instant) {
        let is_ending = matches!(self.mode, Mode::Ending(_));
        let to_stop = |child: &Child| is_ending || child.fate == Fate::Restart;
        let last = self.children.iter_mut().rev().find(|child| to_stop(child) && !child.is_idle());
        if let Some(child) = last {
            return child.stop(now, &mut self.actions);
        }
        match self.mode {
            Mode::Down => {}
            Mode::Ending(outcome) => {
                self.mode = Mode::Down;
                self.actions.push_back(Action::End(outcome));
            }
            Mode::Up => {
                for child in &mut self.children {
                    if child.fate == Fate::Restart {
                        child.fate = Fate::Run;
                    }
                }
                self.start_next();
            }
        }
    }

    /// Starts the first child that waits for it, unless one is just starting.
    fn start_next(&mut self) {
        if self.children.iter().any(|child| child.state == State::Starting) {
            return;
        }
        let is_alone = self.rules.strategy == Strategy::OneForOne;
        for child in &mut self.children {
            match child.state {
                State::Idle { not_before: None } => {
                    child.state = State::Starting;
                    return self.actions.push_back(Action::Start(child.id));
                }
                State::Idle { .. } if is_alone => {}
                State::Idle { .. } => return,
                State::Starting | State::Running | State::Stopping { .. } => {}
            }
        }
    }

    /// Stops those that are to be removed, or finishes them.
    fn remove_leaving(&mut self, now: Instant) {
        while let Some(at) =
            self.children.iter().position(|child| child.fate == Fate::Remove && child.is_idle())
        {
            self.finish(at);
        }
        for child in self.children.iter_mut().filter(|child| child.fate == Fate::Remove) {
            child.stop(now, &mut self.actions);
        }
    }

    fn finish(&mut self, at: usize) {
        let child = self.children.remove(at);
        self.actions.push_back(Action::Finish(child.id));
    }

    fn find(&self, id: ActorId) -> Option<usize> {
        self.children.iter().position(|child| child.id == id)
    }
}

impl Child {
    fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// Asks for the instance's end, once.
    fn stop(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        if !matches!(self.state, State::Starting | State::Running) {
            return;
        }
        if self.rules.stop_within.is_zero() {
            return self.kill(actions);
        }
        self.state = State::Stopping { deadline: Some(later(now, self.rules.stop_within)) };
        actions.push_back(Action::Stop(self.id));
    }

    /// Has the instance dropped, once.
    fn kill(&mut self, actions: &mut VecDeque<Action>) {
        if !self.is_idle() && self.state != (State::Stopping { deadline: None }) {
            self.state = State::Stopping { deadline: None };
            actions.push_back(Action::Kill(self.id));
        }
    }
}

impl Series {
    /// Counts a failure, and tells how many came before it in the series.
    fn count(&mut self, now: Instant, within: Duration) -> u32 {
        let follows = |last| now.saturating_duration_since(last) <= within;
        let before = if self.last.is_some_and(follows) { self.failures } else { 0 };
        (self.failures, self.last) = (before.saturating_add(1), Some(now));
        before
    }
}

/// The instant after `wait`; some 30 years ahead if that does not fit.
fn later(now: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}
