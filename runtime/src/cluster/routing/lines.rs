//! Senders that wait on their way: for a node, or to an entity, in order of arrival.
//!
//! ```text
//!  line to one entity:   s1   s2   s3 | s4   s5        spot: where the first three have places of
//!                        standing: 3  |                their own, in this order
//! ```
//!
//! Whoever waits to get to an entity is in its line until its message is gone, also while it has a place at
//! a spot, the mailbox or the session that leads there, and waits for room. When the way changes, those
//! that stand at the former spot go over to the next one in the line's order.
//!
//! Invariant: those that stand are the first of their line, all at one spot, and took their places in that
//! order; of two that came at the same moment on two threads either may be the first. Another may go, or take a place, only if all before it
//! stand where it goes. So what was to be sent to an entity first is sent first, wherever it is; and nobody
//! waits for a sender to another entity. Whoever leaves a line, or goes over, passes the word on.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::Waker,
};

use actix_cluster_transport::{
    Session,
    wait_list::{Ticket, WaitList},
};

use crate::{
    actor::ActorId,
    cluster::placement::{SHARDS, Shard},
    message::WireId,
};

/// Where senders to an entity wait for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// A mailbox of this node.
    Here(ActorId),
    /// The session with the node that has the entity.
    There(Session),
}

/// An entity, for those on their way to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    pub(crate) actor_type: WireId,
    /// The hash of its key.
    pub(crate) target: u64,
}

/// What a sender to an entity may do at a spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has its place there.
    Stands,
    /// It may go, or take a place: a new one, if it has had one before.
    MayGo,
    /// Others are to go there before.
    Behind,
}

/// Among how many locks the lines are divided.
const STRIPES: usize = 64;

pub(crate) struct Lines {
    nodes: Mutex<WaitList>,
    /// Lines to entities, by the hashes of their keys, and divided by their shards. One that is empty is
    /// taken out.
    stripes: Box<[Mutex<Stripe>]>,
    /// How many wait, by shard, to be seen without the lock.
    counts: Box<[AtomicU32]>,
}

type Stripe = BTreeMap<u64, Line>;

struct Line {
    actor_type: WireId,
    waiting: WaitList,
    /// How many stand at the spot, from the first on.
    standing: usize,
    spot: Option<Spot>,
    /// Whether the way may have changed since anybody took its place.
    is_moving: bool,
}

impl Default for Lines {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        let counts = (0..SHARDS).map(|_| AtomicU32::new(0)).collect();
        Self { nodes: Mutex::default(), stripes, counts }
    }
}

impl Lines {
    /// Waits for any node, in the place of `rank` as long as that stands. `None` when too many wait.
    pub(crate) fn wait_for_node(&self, rank: Option<Ticket>, waker: &Waker) -> Option<Ticket> {
        let mut nodes = lock(&self.nodes);
        let kept = rank.filter(|rank| nodes.renew(*rank, waker));
        kept.or_else(|| nodes.join(waker))
    }

    /// Waits for a node no more.
    pub(crate) fn leave_nodes(&self, rank: Ticket) {
        lock(&self.nodes).leave(rank);
    }

    /// Waits in the line to an entity, and stands nowhere. `None` when too many wait.
    pub(crate) fn wait(&self, aim: Aim, rank: Option<Ticket>, waker: &Waker) -> Option<Ticket> {
        self.in_line(aim, |line| {
            let (rank, at) = line.keep(rank, waker)?;
            line.standing = line.standing.min(at);
            Some(rank)
        })
    }

    /// Waits in the line to an entity, and has taken a place at this spot: whether it may keep that, or
    /// others are to go there before. `None` when too many wait.
    ///
    /// `is_still_way` says whether the way is the one by which the spot was found: if it has changed since,
    /// those that stand elsewhere are still to be told.
    pub(crate) fn stand(
        &self,
        aim: Aim,
        rank: Option<Ticket>,
        spot: Spot,
        is_still_way: impl FnOnce() -> bool,
        waker: &Waker,
    ) -> Option<(Ticket, bool)> {
        let (rank, stands, next) = self.in_line(aim, |line| {
            let (rank, at) = line.keep(rank, waker)?;
            match line.standing_of(at, &spot) {
                Standing::Stands if !line.is_moving => return Some((rank, true, None)),
                Standing::Stands => {}
                Standing::MayGo => {
                    line.spot = Some(spot);
                    line.standing = at + 1;
                }
                Standing::Behind => {
                    line.standing = line.standing.min(at);
                    return Some((rank, false, None));
                }
            }
            line.is_moving &= !is_still_way();
            Some((rank, true, line.waiting.at(line.standing)))
        })?;
        next.into_iter().for_each(Waker::wake);
        Some((rank, stands))
    }

    /// Stands nowhere any more: it is about to give up its place at the spot.
    pub(crate) fn step_back(&self, aim: Aim, rank: Ticket) {
        if let Some(line) = self.lock(aim.shard()).get_mut(&aim.target)
            && let Some(at) = line.waiting.position(rank)
        {
            line.standing = line.standing.min(at);
        }
    }

    /// Leaves the line to an entity.
    pub(crate) fn leave(&self, aim: Aim, rank: Ticket) {
        let mut lines = self.lock(aim.shard());
        let Some(line) = lines.get_mut(&aim.target) else { return };
        let Some(at) = line.waiting.position(rank) else { return };
        line.waiting.leave(rank);
        self.count(aim.shard()).fetch_sub(1, Ordering::Release);
        let next = if at == line.standing { line.waiting.at(at) } else { None };
        if at < line.standing {
            line.standing -= 1;
        }
        // Those that stand are told by their spot, unless the way leads to another one by now.
        let is_told = line.standing > 0 && !line.is_moving;
        let first = if at == 0 && !is_told { line.waiting.first() } else { None };
        if line.waiting.is_empty() {
            lines.remove(&aim.target);
        }
        drop(lines);
        first.into_iter().chain(next).for_each(Waker::wake);
    }

    /// What a sender to an entity may do that has found its way to lead to this spot.
    pub(crate) fn standing(
        &self,
        aim: Aim,
        rank: Option<Ticket>,
        spot: impl FnOnce() -> Spot,
    ) -> Standing {
        if self.count(aim.shard()).load(Ordering::Acquire) == 0 {
            return Standing::MayGo;
        }
        let lines = self.lock(aim.shard());
        let Some(line) = lines.get(&aim.target) else { return Standing::MayGo };
        let at = rank.and_then(|rank| line.waiting.position(rank));
        line.standing_of(at.unwrap_or(line.waiting.len()), &spot())
    }

    /// Has all look again.
    pub(super) fn wake_all(&self) {
        self.wake_nodes();
        self.wake(|_| true);
    }

    /// Has all look again that wait for a node.
    pub(super) fn wake_nodes(&self) {
        let nodes = lock(&self.nodes).drain();
        nodes.into_iter().for_each(Waker::wake);
    }

    /// Has the first of each such line look again; the others follow.
    pub(super) fn wake(&self, is_meant: impl Fn(Aim) -> bool) {
        // Also where nobody seems to wait: who is about to looks once more after it has joined, and one of
        // the two sees the other, by the lock.
        for stripe in &self.stripes {
            let mut firsts = Vec::new();
            for (target, line) in &mut *lock(stripe) {
                if is_meant(Aim { actor_type: line.actor_type, target: *target }) {
                    firsts.extend(line.first_of_moving());
                }
            }
            firsts.into_iter().for_each(Waker::wake);
        }
    }

    /// Has the first of each line to a shard's entities look again; the others follow.
    pub(super) fn wake_shard(&self, shard: Shard) {
        let mut lines = self.lock(shard);
        let lines_there = lines.range_mut(shard.hashes());
        let firsts: Vec<_> = lines_there.filter_map(|(_, line)| line.first_of_moving()).collect();
        drop(lines);
        firsts.into_iter().for_each(Waker::wake);
    }

    fn lock(&self, Shard(shard): Shard) -> MutexGuard<'_, Stripe> {
        lock(&self.stripes[usize::from(shard) % STRIPES])
    }

    fn count(&self, Shard(shard): Shard) -> &AtomicU32 {
        &self.counts[usize::from(shard)]
    }

    fn in_line<T>(&self, aim: Aim, act: impl FnOnce(&mut Line) -> T) -> T {
        let mut lines = self.lock(aim.shard());
        let line = lines.entry(aim.target).or_insert_with(|| Line::new(aim.actor_type));
        let before = line.waiting.len();
        let done = act(line);
        if line.waiting.len() > before {
            self.count(aim.shard()).fetch_add(1, Ordering::Release);
        }
        done
    }
}

impl Aim {
    fn shard(self) -> Shard {
        Shard::of(self.target)
    }
}

impl Line {
    fn new(actor_type: WireId) -> Self {
        let waiting = WaitList::default();
        Self { actor_type, waiting, standing: 0, spot: None, is_moving: false }
    }

    /// Keeps a place, or joins the end; and which place that is.
    fn keep(&mut self, rank: Option<Ticket>, waker: &Waker) -> Option<(Ticket, usize)> {
        let kept = rank.filter(|rank| self.waiting.renew(*rank, waker));
        let rank = kept.or_else(|| self.waiting.join(waker))?;
        Some((rank, self.waiting.position(rank)?))
    }

    /// The first one, who is told that the way may have changed.
    fn first_of_moving(&mut self) -> Option<Waker> {
        self.is_moving = true;
        self.waiting.first()
    }

    fn standing_of(&self, at: usize, spot: &Spot) -> Standing {
        let is_there = self.spot.as_ref() == Some(spot);
        if is_there && at < self.standing {
            Standing::Stands
        } else if is_there && at == self.standing || at == 0 {
            Standing::MayGo
        } else {
            Standing::Behind
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only the lines' own code runs under these locks, so a poisoned one guards whole lines.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
