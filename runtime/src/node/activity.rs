//! What the entities of a node do: how many there are, for how long, and which of them get most messages.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Node, NodeCore, any_mailbox::AnyMailbox};
use crate::{fixed_map::FixedMap, message::WireId};

/// The unit in which a mailbox notes when it was made: 10 ms, for 497 days.
const AGE_UNIT: Duration = Duration::from_millis(10);

/// The entities of one type that are active on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityCount {
    /// The name of the type.
    pub actor: &'static str,
    /// How many are active.
    pub active: usize,
    /// How long the oldest has been.
    pub oldest: Duration,
    /// How many messages wait for them, or are being handled.
    pub waiting: usize,
}

/// An entity that gets many messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotEntity {
    /// The name of its type.
    pub actor: &'static str,
    /// Its key.
    pub key: Arc<str>,
    /// For how long it has been active, give or take 10 ms.
    pub age: Duration,
    /// How many messages it has handled within the time that was asked for.
    pub messages: u64,
    /// How many wait for it, or are being handled.
    pub waiting: usize,
}

/// What a mailbox knows of its entity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    pub(crate) id: u64,
    /// When it was made, by [`NodeCore::age`].
    pub(crate) made_at: u32,
    /// How many messages were handled, modulo 2^32.
    pub(crate) handled: u32,
    /// How many were accepted and are not finished.
    pub(crate) waiting: usize,
}

impl NodeCore {
    /// How old this life of the node is, for a mailbox to note.
    pub(crate) fn age(&self) -> u32 {
        let age = self.clock().now().saturating_duration_since(self.born());
        // It wraps around: ages are told from the difference.
        (age.as_nanos() / AGE_UNIT.as_nanos()) as u32
    }

    fn age_of(&self, activity: Activity) -> Duration {
        AGE_UNIT * self.age().wrapping_sub(activity.made_at)
    }
}

impl Node {
    /// The entities that are active on this node, by their types, sorted by the names.
    ///
    /// Those that come and go meanwhile may be missing, or be counted although they have gone. It takes
    /// about 50 ns for each, and others go on in between.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use actix_cluster::Node;
    /// # async fn example(node: Node) {
    /// for count in node.entity_counts().await {
    ///     println!("{}: {} active, {} messages wait", count.actor, count.active, count.waiting);
    /// }
    /// # }
    /// ```
    pub async fn entity_counts(&self) -> Vec<EntityCount> {
        let core = self.core();
        let mut counts = BTreeMap::<&'static str, EntityCount>::new();
        let look = |_: WireId, mailbox: &Arc<dyn AnyMailbox>| {
            let activity = mailbox.activity()?;
            Some((mailbox.type_name(), core.age_of(activity), activity.waiting))
        };
        let count = |(actor, age, waiting)| {
            let new = EntityCount { actor, active: 0, oldest: Duration::ZERO, waiting: 0 };
            let count = counts.entry(actor).or_insert(new);
            count.active += 1;
            count.waiting += waiting;
            count.oldest = count.oldest.max(age);
        };
        core.entities().each(look, count).await;
        counts.into_values().collect()
    }

    /// The entities of this node that handle most messages within the next `time`, the hottest first, `most`
    /// of them at most; those that handle none are left out.
    ///
    /// It looks twice, at the beginning and at the end, and takes 16 bytes for each active entity in
    /// between.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use actix_cluster::Node;
    /// # async fn example(node: Node) {
    /// for hot in node.hot_entities(10, Duration::from_secs(1)).await {
    ///     println!("{} {}: {} messages in a second", hot.actor, hot.key, hot.messages);
    /// }
    /// # }
    /// ```
    pub async fn hot_entities(&self, most: usize, time: Duration) -> Vec<HotEntity> {
        let core = self.core();
        let mut before = FixedMap::<u64, u32>::default();
        let look = |_: WireId, mailbox: &Arc<dyn AnyMailbox>| mailbox.activity();
        let note = |activity: Activity| {
            before.insert(activity.id, activity.handled);
        };
        core.entities().each(look, note).await;
        core.clock().sleep(time).await;
        let mut hottest = Hottest { most, all: Vec::new() };
        let look = |_: WireId, mailbox: &Arc<dyn AnyMailbox>| {
            let activity = mailbox.activity()?;
            let handled = before.get(&activity.id).copied().unwrap_or(0);
            let messages = activity.handled.wrapping_sub(handled);
            (messages > 0).then(|| (messages, activity, Arc::clone(mailbox)))
        };
        core.entities().each(look, |found| hottest.add(found)).await;
        let told =
            |(messages, activity, mailbox): (u32, Activity, Arc<dyn AnyMailbox>)| HotEntity {
                actor: mailbox.type_name(),
                key: mailbox.key().unwrap_or_default().into(),
                age: core.age_of(activity),
                messages: messages.into(),
                waiting: activity.waiting,
            };
        hottest.sorted().into_iter().map(told).collect()
    }
}

/// The hottest entities seen so far.
struct Hottest {
    most: usize,
    all: Vec<(u32, Activity, Arc<dyn AnyMailbox>)>,
}

impl Hottest {
    fn add(&mut self, found: (u32, Activity, Arc<dyn AnyMailbox>)) {
        self.all.push(found);
        if self.all.len() >= self.most.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // Of two that are as hot, the older one first: it is the same whenever it is asked.
        self.all.sort_by_key(|(messages, activity, _)| (std::cmp::Reverse(*messages), activity.id));
        self.all.truncate(self.most);
    }

    fn sorted(mut self) -> Vec<(u32, Activity, Arc<dyn AnyMailbox>)> {
        self.cut();
        self.all
    }
}
