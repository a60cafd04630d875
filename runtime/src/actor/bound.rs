//! A mailbox's bound: how many messages may wait, and what becomes of one more.
//!
//! Invariant: as long as what it says is done, no more wait than the capacity, whatever the policy.
//! Knows no queue, lock or message: it is told how full a mailbox is, and answers what to do.

use actix_cluster_transport::sabotage::{self, Bug};

use crate::remote_actor::RemoteActor;

/// How many messages a mailbox holds unless told otherwise.
pub(crate) const DEFAULT_MAILBOX_CAPACITY: usize = 1_024;

/// What becomes of a message for which a mailbox has no room.
///
/// It is about messages only: what ends, restarts or passivates an actor passes by the mailbox, and
/// is never refused or dropped.
///
/// # Examples
///
/// ```
/// # use actix_cluster::{ActorRef, Node, Overflow, RemoteActor, SpawnError};
/// # fn example<Gauge: RemoteActor + Default>(node: &Node) -> Result<(), SpawnError> {
/// // Only the latest reading counts.
/// let gauge: ActorRef<Gauge> = node
///     .spawn(|_| Gauge::default())
///     .mailbox_capacity(1)
///     .overflow(Overflow::DropOldest)
///     .start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Its sender waits for room, in order of arrival and for as long as it chose; `try_tell` gives
    /// the message back. Senders on other nodes are paused. The one to choose unless there is a
    /// reason for another: nothing is lost, and an overload is felt where it comes from.
    #[default]
    Wait,
    /// It is rejected as [`Full`](crate::RejectReason::Full) at once, and given back to a sender on
    /// this node. For those who have something better to do with it than to wait.
    ///
    /// One from another node is rejected there: an asker gets it back, a tell is a dead letter of
    /// its sender's node, and so is what that node sent to the same actor before it knew.
    RejectNewest,
    /// The message that has waited longest makes room for it: that one is rejected as
    /// [`Displaced`](crate::RejectReason::Displaced), and is a dead letter of its sender's node, or
    /// given back to its asker. For readings that the next one makes worthless.
    ///
    /// `tell` and `try_tell` always find room. The message whose turn it is doesn't count, so that a
    /// capacity of 1 keeps the newest one. The actor takes one message at a time out of its mailbox,
    /// not all of them, which costs some of its rate.
    DropOldest,
}

/// How many messages may wait, and what becomes of one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
}

impl Bound {
    /// What the actor type states.
    pub(crate) fn of<A: RemoteActor>() -> Self {
        Self { capacity: A::MAILBOX_CAPACITY, overflow: A::OVERFLOW }
    }
}

/// How full a mailbox is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Messages that no activation has taken.
    pub(crate) waiting: usize,
    /// Messages that the activation has taken and not finished.
    pub(crate) taken: usize,
}

/// What to do with a message that wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There is room.
    Enter,
    /// The one that waits longest is to make room.
    Displace,
    /// There will be room.
    Wait,
    /// It isn't to wait for it.
    Refuse,
}

impl Bound {
    pub(crate) fn has_room(self, load: Load) -> bool {
        // What displaces can only displace what waits, so only that is bounded.
        let counted = match self.overflow {
            Overflow::DropOldest => load.waiting,
            Overflow::Wait | Overflow::RejectNewest => load.waiting + load.taken,
        };
        counted < self.capacity.max(1)
    }

    /// Decides about a message; `is_next` says that nobody stands in line before it.
    pub(crate) fn admit(self, load: Load, is_next: bool) -> Admission {
        if is_next && self.has_room(load) || sabotage::has(Bug::MailboxWithoutBound) {
            return Admission::Enter;
        }
        match self.overflow {
            Overflow::Wait => Admission::Wait,
            Overflow::RejectNewest => Admission::Refuse,
            Overflow::DropOldest => Admission::Displace,
        }
    }

    /// How few messages must be unfinished for paused senders to go on: half of the capacity.
    pub(crate) fn resumes(self, load: Load) -> bool {
        load.waiting + load.taken <= self.capacity.max(1) / 2
    }

    /// How many messages an activation may take at once: what it has taken can't be displaced. None as
    /// long as reentrant messages take the whole capacity.
    pub(crate) fn batch_limit(self, awaiting: usize) -> usize {
        match self.overflow {
            Overflow::DropOldest if awaiting >= self.capacity.max(1) => 0,
            Overflow::DropOldest => 1,
            Overflow::Wait | Overflow::RejectNewest => usize::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(overflow: Overflow, waiting: usize, taken: usize, is_next: bool) -> Admission {
        Bound { capacity: 4, overflow }.admit(Load { waiting, taken }, is_next)
    }

    #[test]
    fn each_policy_has_its_own_answer_at_the_bound() {
        use Admission::{Displace, Enter, Refuse, Wait};
        for (overflow, at_the_bound) in [
            (Overflow::Wait, Wait),
            (Overflow::RejectNewest, Refuse),
            (Overflow::DropOldest, Displace),
        ] {
            assert_eq!(admit(overflow, 3, 0, true), Enter, "{overflow:?}");
            assert_eq!(admit(overflow, 4, 0, true), at_the_bound, "{overflow:?}");
        }
        // What the actor has taken is as good as waiting, unless it can't make room any more.
        assert_eq!(admit(Overflow::Wait, 0, 4, true), Wait);
        assert_eq!(admit(Overflow::RejectNewest, 1, 3, true), Refuse);
        assert_eq!(admit(Overflow::DropOldest, 3, 1, true), Enter);
        assert_eq!(admit(Overflow::Wait, 0, 0, false), Wait, "behind those in line");
    }

    #[test]
    fn a_capacity_of_zero_is_one() {
        for overflow in [Overflow::Wait, Overflow::RejectNewest, Overflow::DropOldest] {
            let bound = Bound { capacity: 0, overflow };
            assert!(bound.has_room(Load { waiting: 0, taken: 0 }), "{overflow:?}");
            assert!(!bound.has_room(Load { waiting: 1, taken: 0 }), "{overflow:?}");
        }
    }
}
