//! Messages that were turned away, or may have run, with nobody waiting to be told.
//!
//! Each is counted by its reason. What it was is worked out for subscribers, and for the log, which
//! takes a line of the first one of each reason and of each whose count is a power of two: so a flood
//! writes a few lines, and costs a counter and a look at whether anybody subscribes.

mod feed;
mod keys;
mod letter;
mod names;
mod poison;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use actix_cluster_transport::{Clock, PeerId};

pub(crate) use self::names::Names;
pub use self::{
    feed::DeadLetterSubscription,
    letter::{DeadLetter, DeadLetterOutcome, DeadLetterTarget},
};
use self::{feed::Feed, keys::Keys, poison::Poison};
use super::{EntityKey, NodeId};
use crate::{
    actor::{ActorId, mailbox::Mailbox},
    cluster::{
        self,
        mark::TellMark,
        placement::Shard,
        wire::{Address, Head},
    },
    message::WireId,
    reference::{RejectReason, UnknownReason, target_id},
    remote_actor::RemoteActor,
};

/// A node's dead letters, as one incarnation of it knows them.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    node: NodeId,
    kept: Arc<Kept>,
}

/// What outlives an incarnation.
#[derive(Debug)]
struct Kept {
    clock: Clock,
    names: Names,
    rejected: [AtomicU64; RejectReason::ALL.len()],
    unknown: [AtomicU64; UnknownReason::ALL.len()],
    poisonous: AtomicU64,
    feed: Arc<Feed>,
    keys: Mutex<Keys>,
    poison: Mutex<Poison>,
}

/// What is known of a message beside how it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) actor: Option<&'static str>,
    pub(crate) target: Option<DeadLetterTarget>,
    pub(crate) message: Option<&'static str>,
    pub(crate) sender: Option<NodeId>,
}

impl DeadLetters {
    pub(crate) fn new(node: NodeId, clock: Clock, names: Names) -> Self {
        let kept = Kept {
            clock,
            names,
            rejected: Default::default(),
            unknown: Default::default(),
            poisonous: AtomicU64::new(0),
            feed: Arc::default(),
            keys: Mutex::new(Keys::new(keys::LIMIT)),
            poison: Mutex::new(Poison::new(poison::LIMIT)),
        };
        Self { node, kept: Arc::new(kept) }
    }

    /// Those of a later incarnation: counted and published together with these.
    pub(super) fn of_later(&self, node: NodeId) -> Self {
        Self { node, kept: Arc::clone(&self.kept) }
    }

    /// A message did not run.
    pub(crate) fn rejected(&self, reason: RejectReason, about: impl FnOnce(&Self) -> About) {
        let count = self.kept.rejected[reason as usize].fetch_add(1, Ordering::Relaxed) + 1;
        self.ended(DeadLetterOutcome::Rejected(reason), count, about);
    }

    /// A message may have run.
    pub(crate) fn unknown(&self, reason: UnknownReason, about: impl FnOnce(&Self) -> About) {
        let count = self.kept.unknown[reason as usize].fetch_add(1, Ordering::Relaxed) + 1;
        self.ended(DeadLetterOutcome::Unknown(reason), count, about);
    }

    /// A message ended its actor by a panic. Its sender may wait for it, and is told then; whoever
    /// waits or not, poison is published.
    pub(crate) fn panicked(&self, about: About, sender: Sender) {
        const OUTCOME: DeadLetterOutcome = DeadLetterOutcome::Unknown(UnknownReason::Panicked);
        let poison = match (&about.target, about.message) {
            (Some(target), Some(message)) => {
                lock(&self.kept.poison).handle_panic(self.kept.clock.now(), target, message)
            }
            _ => None,
        };
        let letter = about.letter(OUTCOME, poison);
        if let Some(panics) = poison {
            self.kept.poisonous.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(node = %self.node, %letter, panics, "poison message");
        }
        if sender == Sender::IsGone {
            let counter = &self.kept.unknown[UnknownReason::Panicked as usize];
            let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
            self.log(&letter, count);
        }
        if self.is_watched() && (poison.is_some() || sender == Sender::IsGone) {
            self.kept.feed.publish(&letter);
        }
    }

    fn ended(&self, outcome: DeadLetterOutcome, count: u64, about: impl FnOnce(&Self) -> About) {
        let is_watched = self.is_watched();
        if !is_watched && !count.is_power_of_two() {
            return;
        }
        let letter = about(self).letter(outcome, None);
        self.log(&letter, count);
        if is_watched {
            self.kept.feed.publish(&letter);
        }
    }

    fn log(&self, letter: &DeadLetter, count: u64) {
        if count.is_power_of_two() {
            tracing::info!(node = %self.node, %letter, count, "dead letter");
        }
    }

    /// Whether anybody subscribes.
    pub(crate) fn is_watched(&self) -> bool {
        self.kept.feed.is_watched()
    }

    pub(crate) fn subscribe(&self) -> DeadLetterSubscription {
        self.kept.feed.subscribe()
    }

    /// No letter comes any more.
    pub(crate) fn close(&self) {
        self.kept.feed.close();
    }

    /// A message leaves for another node. Only its hash comes back.
    pub(crate) fn note_sent(&self, to: &Address<'_>, hash: u64) {
        if self.is_watched()
            && let Address::Entity { key, .. } = to
        {
            lock(&self.kept.keys).remember(hash, key);
        }
    }

    pub(crate) fn counts(&self) -> DeadLetterCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeadLetterCounts {
            rejected: std::array::from_fn(|n| read(&self.kept.rejected[n])),
            unknown: std::array::from_fn(|n| read(&self.kept.unknown[n])),
            poison: read(&self.kept.poisonous),
        }
    }
}

/// Whether the sender of a message that panicked waits for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// It is told by an error, or by its own node.
    IsTold,
    /// It told, and went on.
    IsGone,
}

/// What is known of a message, from what is left of it.
impl DeadLetters {
    /// One for an actor of this node, sent by this node.
    pub(crate) fn about_mailbox<A: RemoteActor>(
        &self,
        mailbox: &Mailbox<A>,
        message: Option<&'static str>,
    ) -> About {
        let target = match mailbox.entity() {
            Some(key) => key.into(),
            None => DeadLetterTarget::Actor { node: self.node.clone(), id: mailbox.id() },
        };
        let (actor, target) = (Some(A::NAME), Some(target));
        About { actor, target, message, sender: Some(self.node.clone()) }
    }

    /// The name of an actor type, if this node knows it.
    pub(crate) fn actor_name(&self, actor_type: WireId) -> Option<&'static str> {
        self.kept.names.actor(actor_type)
    }

    /// One whose names and target its sender has.
    pub(crate) fn about(
        &self,
        actor: &'static str,
        target: DeadLetterTarget,
        message: &'static str,
    ) -> About {
        let (actor, target, message) = (Some(actor), Some(target), Some(message));
        About { actor, target, message, sender: Some(self.node.clone()) }
    }

    /// One that came back, or never left: its payload is there. It is for an entity of this hash.
    pub(crate) fn about_payload(&self, payload: &[u8], hash: u64) -> About {
        self.about_head(payload, hash, &self.node)
    }

    /// One that a peer has handled, of which its head came back.
    pub(crate) fn about_told(&self, head: &[u8], hash: u64, peer: &PeerId) -> About {
        self.about_head(head, hash, &cluster::node_id(peer))
    }

    fn about_head(&self, head: &[u8], hash: u64, node: &NodeId) -> About {
        let Ok((Head::Tell { to, message, .. } | Head::Ask { to, message, .. }, _)) =
            Head::take(head)
        else {
            return About { sender: Some(self.node.clone()), ..About::default() };
        };
        let target = match to {
            Address::Actor { id, .. } => {
                DeadLetterTarget::Actor { node: node.clone(), id: ActorId::from(id) }
            }
            Address::Entity { key, .. } => {
                DeadLetterTarget::Entity { key: Some(key.into()), shard: Shard::of(hash).0 }
            }
        };
        let (actor, message) =
            (self.kept.names.actor(to.actor_type()), self.kept.names.message(WireId(message)));
        About { actor, target: Some(target), message, sender: Some(self.node.clone()) }
    }

    /// One that has left for a peer, and of which the transport gives mark and hash back.
    pub(crate) fn about_mark(&self, mark: TellMark, hash: u64, peer: &PeerId) -> About {
        let (actor, message) = self.kept.names.marked(mark).unzip();
        let target = if mark.is_entitys() {
            let key = lock(&self.kept.keys).find(hash);
            DeadLetterTarget::Entity { key, shard: Shard::of(hash).0 }
        } else {
            DeadLetterTarget::Actor { node: cluster::node_id(peer), id: target_id(hash) }
        };
        About { actor, target: Some(target), message, sender: Some(self.node.clone()) }
    }
}

impl From<&EntityKey> for DeadLetterTarget {
    fn from(key: &EntityKey) -> Self {
        Self::Entity { key: Some(key.as_str().into()), shard: key.shard().0 }
    }
}

impl About {
    fn letter(self, outcome: DeadLetterOutcome, poison: Option<u32>) -> DeadLetter {
        let Self { actor, target, message, sender } = self;
        DeadLetter { actor, target, message, outcome, sender, poison }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only operations on lists and maps run under these locks, so a poisoned one guards a whole one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For tests that have no node.
#[cfg(test)]
impl Default for DeadLetters {
    fn default() -> Self {
        let node = NodeId { name: "test".into(), incarnation: 1 };
        Self::new(node, Clock::default(), Names::default())
    }
}

/// How many dead letters a node has counted, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    rejected: [u64; RejectReason::ALL.len()],
    unknown: [u64; UnknownReason::ALL.len()],
    poison: u64,
}

impl DeadLetterCounts {
    /// Messages that did not run, for this reason.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Messages that may have run, for this reason.
    pub fn unknown(&self, reason: UnknownReason) -> u64 {
        self.unknown[reason as usize]
    }

    /// Poison messages: each panic from the third in a row on, on the node of the actor and on that
    /// of the sender, whether or not somebody waited.
    pub fn poison(&self) -> u64 {
        self.poison
    }

    /// All that were rejected or ended unknown.
    pub fn total(&self) -> u64 {
        self.rejected.iter().chain(&self.unknown).sum()
    }
}
