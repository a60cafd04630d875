//! The watches and links of one instance, as its context keeps them.
//!
//! Invariant: what is here was set by the instance that runs now. Its end takes all of it back, so
//! that a fresh value is told of nothing that it has not asked for.

use std::sync::Arc;

use actix::{Actor, Handler};

use super::{
    Back, LIMIT, Lanes, Number, Subject, To, WatchError, Watchable,
    reason::TerminatedReason,
    remote::is_watcher,
    set, take_back, tell,
    terminated::{Terminated, WatchId},
    watched::Watched,
};
use crate::{
    actor::{ClusterContext, ExitReason, mailbox::Mailbox},
    fixed_map::FixedMap,
    node::EntityKey,
    reference::{ActorRef, target_hash},
    remote_actor::RemoteActor,
};

/// What an instance has set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bond {
    target: Watched,
    is_link: bool,
}

/// The watches and links of an instance; made for the first.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    numbers: FixedMap<Bond, Number>,
    bonds: FixedMap<Number, Bond>,
}

impl Watching {
    fn insert(&mut self, number: Number, bond: Bond) {
        self.numbers.insert(bond.clone(), number);
        self.bonds.insert(number, bond);
    }

    fn find(&self, bond: &Bond) -> Option<Number> {
        self.numbers.get(bond).copied()
    }

    fn remove(&mut self, number: Number) -> Option<Bond> {
        let bond = self.bonds.remove(&number)?;
        self.numbers.remove(&bond);
        Some(bond)
    }
}

impl<A: RemoteActor> ClusterContext<A> {
    /// Has the actor told, by one [`Terminated`], when `target` has ended: wherever that lives, and
    /// however it ends. What has ended already is told at once. Watching a target that is watched
    /// already gives the same handle, and one [`Terminated`].
    ///
    /// A restart of the target is no end. Of an entity its activation is watched: the watch makes
    /// none ([`TerminatedReason::NotActive`] says that there is none), and doesn't keep one from
    /// being passivated.
    ///
    /// The [`Terminated`] comes behind all that the target had sent to this actor before, except for
    /// replies. Connections that break in between make no difference; when the target's node is
    /// killed or declared down, it says [`TerminatedReason::NodeDown`]. It takes a place of its own in
    /// the mailbox, beyond the capacity, whatever the [`Overflow`](crate::Overflow) policy.
    ///
    /// The watch is the instance's: when that ends, its watches are gone, and so they are after a
    /// restart. Set them in `started`.
    ///
    /// # Errors
    ///
    /// [`WatchError`]: nothing is watched.
    ///
    /// # Examples
    ///
    /// See [`Terminated`].
    pub fn watch<T: RemoteActor>(&mut self, target: &ActorRef<T>) -> Result<WatchId, WatchError>
    where
        A: Handler<Terminated>,
    {
        let to = To::Actor(self.mailbox());
        self.set_bond(target, to, false)
    }

    /// Takes a watch back: from here on this instance is not told of it, even if the end is waiting
    /// in its mailbox already. Returns whether there was one.
    pub fn unwatch<T: RemoteActor>(&mut self, target: &ActorRef<T>) -> bool {
        self.take_bond_back(target, false)
    }

    /// Ties this actor to `target`, so that they fail together: when the instance of one panics, is
    /// killed, or fails with another that it is linked to, or when its node goes down, the other's
    /// instance ends at its next turn or await, without hooks, as
    /// [`ExitReason::Linked`]. That is a failure like a panic: its supervisor, or its own
    /// [`RestartPolicy`](crate::RestartPolicy), decides what follows.
    ///
    /// A link ties two instances. It is over when either has ended, also when that one is restarted;
    /// an end that is no failure (a stop, a passivation, a move, the shutdown of a node) ends the
    /// link and nothing else. Those who always want to be linked link in `started`, on one side;
    /// a target that is about to be restarted is linked to by its next instance. To link to
    /// what has ended already is to fail, unless it is known to have ended without a failure.
    ///
    /// Links do not wait in mailboxes. Who wants to decide for itself what an end means watches
    /// instead.
    ///
    /// # Errors
    ///
    /// [`WatchError`]: a link takes the place of a watch, and there is none. Nothing is linked.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_cluster::prelude::*;
    ///
    /// #[derive(RemoteActor)]
    /// #[remote(name = "shop.Ledger", handles())]
    /// struct Ledger;
    /// impl Actor for Ledger {
    ///     type Context = ClusterContext<Self>;
    /// }
    ///
    /// /// Holds what it has read of the ledger, which is worth nothing once the ledger has failed.
    /// #[derive(RemoteActor)]
    /// #[remote(name = "shop.Report", handles())]
    /// struct Report(ActorRef<Ledger>);
    /// impl Actor for Report {
    ///     type Context = ClusterContext<Self>;
    ///     fn started(&mut self, ctx: &mut Self::Context) {
    ///         ctx.link(&self.0).expect("room for a link");
    ///     }
    /// }
    /// ```
    pub fn link<T: RemoteActor>(&mut self, target: &ActorRef<T>) -> Result<WatchId, WatchError> {
        let to = To::Linked(self.mailbox());
        self.set_bond(target, to, true)
    }

    /// Takes the links between this actor and `target` back, whichever of them has set them. Returns
    /// whether there was one that this end knows of.
    pub fn unlink<T: RemoteActor>(&mut self, target: &ActorRef<T>) -> bool {
        let own = self.take_bond_back(target, true);
        let (mailbox, core) = (self.mailbox(), Arc::clone(self.core()));
        let (actor, _) = target.watched();
        let ties = mailbox.links().into_iter().filter(|tie| is_watcher(&core, tie, &actor));
        let ties: Vec<_> = ties.filter_map(|tie| mailbox.remove(&tie.key())).collect();
        let theirs = !ties.is_empty();
        // No failure: whoever has set them forgets them.
        tell(&core, ties, TerminatedReason::Stopped);
        own || theirs
    }

    fn set_bond<T: RemoteActor>(
        &mut self,
        target: &ActorRef<T>,
        to: To,
        is_link: bool,
    ) -> Result<WatchId, WatchError> {
        let core = Arc::clone(self.core());
        let subject = target.subject(&core);
        let bond = Bond { target: subject.watched.clone(), is_link };
        if let Some(number) = self.watching().as_ref().and_then(|watching| watching.find(&bond)) {
            // Of a watch the end may be in the mailbox; a link that is over is none.
            if !is_link || core.watches().is_set(number) {
                return Ok(WatchId(number));
            }
            self.forget_watch(number);
        }
        // What has ended is out of the table, and may wait in the mailbox all the same.
        if self.watching().as_ref().is_some_and(|watching| watching.bonds.len() >= LIMIT) {
            return Err(WatchError::TooMany { limit: LIMIT });
        }
        let mailbox = self.mailbox();
        let number = set(&core, subject, to, |_| lanes_of(&mailbox))?;
        self.watching().get_or_insert_default().insert(number, bond);
        Ok(WatchId(number))
    }

    fn take_bond_back<T: RemoteActor>(&mut self, target: &ActorRef<T>, is_link: bool) -> bool {
        let core = Arc::clone(self.core());
        let bond = Bond { target: target.subject(&core).watched, is_link };
        let number = self.watching().as_ref().and_then(|watching| watching.find(&bond));
        let Some(number) = number else { return false };
        self.forget_watch(number);
        self.forget_stashed_end(WatchId(number));
        take_back(&core, number, Back::Quietly);
        true
    }
}

impl<A: Actor<Context = Self>> ClusterContext<A> {
    /// Takes a watch or link out, if it is one of the instance's.
    pub(super) fn forget_watch(&mut self, number: Number) -> Option<Bond> {
        self.watching().as_mut()?.remove(number)
    }

    /// Puts back what was taken out. False if another stands for it since.
    pub(super) fn keep_watch(&mut self, number: Number, bond: Bond) -> bool {
        let watching = self.watching().get_or_insert_default();
        let is_free = watching.find(&bond).is_none();
        if is_free {
            watching.insert(number, bond);
        }
        is_free
    }
}

/// An instance has ended: what it has set is taken back, and those that are linked to it fail with
/// it, if it has failed.
pub(crate) fn instance_ended<A: RemoteActor>(ctx: &mut ClusterContext<A>, reason: &ExitReason) {
    let core = Arc::clone(ctx.core());
    let reason = TerminatedReason::from(reason);
    let mut bonds: Vec<_> =
        ctx.watching().take().map_or_else(Vec::new, |own| own.bonds.into_iter().collect());
    bonds.sort_unstable_by_key(|(number, _)| *number);
    for (number, Bond { is_link, .. }) in bonds {
        let is_broken = is_link && reason.is_failure();
        take_back(&core, number, if is_broken { Back::Broken(reason) } else { Back::Quietly });
    }
    tell(&core, ctx.mailbox().instance_ended(), reason);
}

/// Where an actor gets what others send to it.
fn lanes_of<A: RemoteActor>(mailbox: &Mailbox<A>) -> Lanes {
    let own = target_hash(mailbox.id());
    mailbox.entity().map(EntityKey::hash).map_or(Lanes::one(own), |key| Lanes::two(own, key))
}

impl<A: RemoteActor> ActorRef<A> {
    /// What is watched by this reference on the node of `core`.
    pub(super) fn subject(&self, core: &Arc<crate::node::NodeCore>) -> Subject {
        let (watched, mailbox) = self.watched();
        let is_here = watched.node_id() == Some(core.id());
        let mailbox = mailbox.filter(|_| is_here).map(|mailbox| mailbox as Arc<dyn Watchable>);
        Subject { watched, mailbox }
    }
}
