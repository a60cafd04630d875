//! Senders that wait for a route, in order of arrival.
//!
//! Invariant: of those that wait for a shard only the first may go, whoever else has a route by then; and
//! who leaves a line passes the word on. So what was to be sent first is sent first.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use actix_cluster_transport::wait_list::{Ticket, WaitList};

use crate::cluster::placement::{SHARDS, Shard};

pub(super) struct Lines {
    /// Those that wait for a node.
    nodes: Mutex<WaitList>,
    /// Those that wait for a shard; a line that is empty is taken out.
    shards: Mutex<BTreeMap<Shard, WaitList>>,
    /// How many wait for each shard, to be seen without the lock.
    counts: Box<[AtomicUsize]>,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            shards: Mutex::default(),
            counts: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
        }
    }
}

impl Lines {
    /// Waits for a shard, or for a node, in the place of `ticket` as long as that stands. `None` when too
    /// many wait.
    pub(super) fn wait(
        &self,
        shard: Option<Shard>,
        ticket: Option<Ticket>,
        waker: &Waker,
    ) -> Option<Ticket> {
        let keep = |line: &mut WaitList| {
            let kept = ticket.filter(|ticket| line.renew(*ticket, waker));
            kept.or_else(|| line.join(waker))
        };
        let Some(shard) = shard else { return keep(&mut lock(&self.nodes)) };
        let mut shards = lock(&self.shards);
        let line = shards.entry(shard).or_default();
        let ticket = keep(line);
        self.count(shard).store(line.len(), Ordering::Release);
        ticket
    }

    /// Gives up a place.
    pub(super) fn leave(&self, shard: Option<Shard>, ticket: Ticket) {
        let Some(shard) = shard else { return lock(&self.nodes).leave(ticket) };
        let mut shards = lock(&self.shards);
        let Some(line) = shards.get_mut(&shard) else { return };
        line.leave(ticket);
        let next = line.first();
        self.count(shard).store(line.len(), Ordering::Release);
        if line.is_empty() {
            shards.remove(&shard);
        }
        drop(shards);
        if let Some(next) = next {
            next.wake();
        }
    }

    /// Whether somebody else is to go first.
    pub(super) fn is_behind(&self, shard: Shard, ticket: Option<Ticket>) -> bool {
        if self.count(shard).load(Ordering::Acquire) == 0 {
            return false;
        }
        let shards = lock(&self.shards);
        let is_first = |line: &WaitList| ticket.is_some_and(|ticket| line.is_first(ticket));
        shards.get(&shard).is_some_and(|line| !is_first(line))
    }

    /// Has all look again that may go if there is a route.
    pub(super) fn wake_all(&self) {
        let nodes = lock(&self.nodes).drain();
        let firsts: Vec<Waker> = lock(&self.shards).values().filter_map(WaitList::first).collect();
        nodes.into_iter().chain(firsts).for_each(Waker::wake);
    }

    /// Has the first look again that waits for a shard.
    pub(super) fn wake_first(&self, shard: Shard) {
        let first = lock(&self.shards).get(&shard).and_then(WaitList::first);
        if let Some(first) = first {
            first.wake();
        }
    }

    fn count(&self, shard: Shard) -> &AtomicUsize {
        &self.counts[usize::from(shard.0)]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only the lines' own code runs under these locks, so a poisoned one guards whole lines.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicU32},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicU32);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Bell {
        fn rung(&self) -> u32 {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    #[test]
    fn only_the_first_may_go_and_passes_the_word_on() {
        let lines = Lines::default();
        let bells: [Arc<Bell>; 3] = Default::default();
        let wakers = bells.each_ref().map(|bell| Waker::from(Arc::clone(bell)));
        let shard = Shard(7);
        assert!(!lines.is_behind(shard, None));
        let [first, second, _] =
            wakers.each_ref().map(|waker| lines.wait(Some(shard), None, waker).expect("room"));
        assert!(!lines.is_behind(shard, Some(first)) && lines.is_behind(shard, Some(second)));
        assert!(lines.is_behind(shard, None), "who has not waited goes last");
        assert!(!lines.is_behind(Shard(8), None));
        assert_eq!(
            lines.wait(Some(shard), Some(first), &wakers[0]),
            Some(first),
            "it keeps its place"
        );
        lines.wake_all();
        assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0, 0]);
        lines.leave(Some(shard), second);
        assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0, 0], "the first is told again");
        lines.leave(Some(shard), first);
        assert_eq!(bells.each_ref().map(|bell| bell.rung()), [0, 0, 1]);
        lines.wake_first(shard);
        assert_eq!(bells[2].rung(), 1);
    }

    #[test]
    fn those_that_wait_for_a_node_are_all_told() {
        let lines = Lines::default();
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        let ticket = lines.wait(None, None, &waker).expect("room");
        lines.wait(None, None, &waker).expect("room");
        lines.leave(None, ticket);
        lines.wake_all();
        assert_eq!(bell.rung(), 1);
    }
}
