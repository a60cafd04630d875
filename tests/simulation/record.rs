//! What all actors of a run have seen: the oracle.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{actors::Note, invariants::Violation};

/// A message: who sent it, and the how manieth of that sender it is.
pub(crate) type MessageId = (u32, u32);

/// How the sending of a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A tell was taken.
    Accepted,
    /// An ask was answered.
    Answered,
    /// It was given back.
    Rejected,
    /// It may have run.
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) violations: Vec<Violation>,
    pub(crate) sent: BTreeMap<MessageId, Option<Outcome>>,
    /// In which activations a message was handled.
    pub(crate) handled: BTreeMap<MessageId, Vec<u32>>,
    /// By key, the activations, and the nodes they are on.
    pub(crate) active: BTreeMap<String, BTreeMap<u32, String>>,
    /// The last message of each sender, by activation.
    last: BTreeMap<(u32, u32), u32>,
    /// The node of each activation.
    places: BTreeMap<u32, String>,
    /// Of an activation with state that has moved to it, the one that had it before.
    before: BTreeMap<u32, u32>,
    /// Which asks with keys have run, by activation.
    deposits: BTreeSet<(u32, u64)>,
    /// How often the end of each watch was told, by watcher and watch.
    pub(crate) watches: BTreeMap<(u32, String), u32>,
    /// The last failure of each crasher, by its node's clock.
    pub(crate) failed: BTreeMap<u32, Instant>,
    /// The failures after which each was restarted.
    pub(crate) restarts: BTreeMap<u32, Vec<Instant>>,
    /// Of each slow actor, how many messages it was told and how many it has handled.
    pub(crate) slow: BTreeMap<u32, (u64, u64)>,
    pub(crate) activations: u32,
    pub(crate) moves: u32,
    pub(crate) watchers: u32,
    pub(crate) crashers: u32,
    pub(crate) slow_ones: u32,
}

/// How many violations of one run are kept.
const VIOLATIONS_KEPT: usize = 8;

impl Record {
    pub(crate) fn violated(&mut self, invariant: &'static str, text: String) {
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(Violation::new(invariant, text));
        }
    }

    /// An activation of a key begins, with the state of another one if that has moved to it. Gives its number.
    pub(crate) fn activated(&mut self, key: &str, node: String, before: Option<u32>) -> u32 {
        self.activations += 1;
        let activation = self.activations;
        if let Some(before) = before {
            self.moves += 1;
            self.before.insert(activation, before);
        }
        self.places.insert(activation, node.clone());
        self.active.entry(key.to_owned()).or_default().insert(activation, node);
        activation
    }

    /// An activation, and those whose state it has, the latest first. A node that is declared down may have
    /// gone on with the same state for a while: that one is not among them.
    fn line(&self, activation: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(activation), |activation| self.before.get(activation).copied())
    }

    pub(crate) fn ended(&mut self, key: &str, activation: u32) {
        if let Some(active) = self.active.get_mut(key) {
            active.remove(&activation);
        }
    }

    /// A message is handled. An ask that was never written to a node that died is asked again, by whatever way
    /// there is then, and may come behind what its sender sent later; a tell never does.
    pub(crate) fn handle(&mut self, note: Note, key: &str, activation: u32) {
        let Note { sender, number, is_told } = note;
        let id = (sender, number);
        let runs = self.handled.entry(id).or_default();
        runs.push(activation);
        if runs.len() > 1 {
            let text = format!("{id:?} to {key} was handled in the activations {runs:?}");
            self.violated("no message is handled twice", text);
        }
        let last_in = |activation| Some((*self.last.get(&(activation, sender))?, activation));
        let last = self.line(activation).find_map(last_in);
        if let Some((last, before)) = last.filter(|(last, _)| *last >= number && is_told) {
            let place = |activation: u32| {
                let node = self.places.get(&activation).map_or("?", String::as_str);
                format!("activation {activation} on {node}")
            };
            let (now, then) = (place(activation), place(before));
            let text =
                format!("{number} of {sender} to {key} in {now} came behind {last} in {then}");
            self.violated("order", text);
        }
        let last = last.map_or(number, |(last, _)| last.max(number));
        self.last.insert((activation, sender), last);
    }

    /// An ask with a key runs.
    pub(crate) fn deposit(&mut self, deposit: u64, key: &str, activation: u32) {
        let has_run = |activation: &u32| self.deposits.contains(&(*activation, deposit));
        let before = self.line(activation).find(has_run);
        if let Some(before) = before {
            let text =
                format!("ask {deposit} of {key} has run in {before} and again in {activation}");
            self.violated("asks with keys run once", text);
        }
        self.deposits.insert((activation, deposit));
    }

    /// The end of a watch is told.
    pub(crate) fn terminated(&mut self, watcher: u32, watch: String) {
        let ends = self.watches.entry((watcher, watch.clone())).or_default();
        *ends += 1;
        if *ends > 1 {
            let text = format!("{watch} of {watcher} has ended {ends} times");
            self.violated("watches end once", text);
        }
    }

    /// How many messages were handled, and how many were sent.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.handled.len() as u64, self.sent.len() as u64)
    }

    /// The tells of some senders that were taken, and how many of them were handled.
    pub(crate) fn accepted(&self, senders: &BTreeSet<u32>) -> (u64, u64) {
        let is_theirs = |(sender, _): &MessageId| senders.contains(sender);
        let accepted = self
            .sent
            .iter()
            .filter(|(id, outcome)| is_theirs(id) && **outcome == Some(Outcome::Accepted));
        accepted.fold((0, 0), |(accepted, handled), (id, _)| {
            (accepted + 1, handled + u64::from(self.handled.contains_key(id)))
        })
    }
}

/// Whether more than `limit` of these are within `window`; of the failures after which an actor was
/// restarted, as its supervision counts them.
pub(crate) fn are_too_many(restarts: &[Instant], limit: usize, window: Duration) -> bool {
    restarts.windows(limit + 1).any(|some| some[limit].duration_since(some[0]) < window)
}
