//! A sender's way to its target, and its place in whatever line there is on it.
//!
//! Invariant: a sender stands in at most one line for room at a time, and leaves it when its way changes
//! or it is dropped. On its way to an entity it is in the line to that too, from the moment at which it
//! first waits until its message is gone: that line decides who goes first when the way changes.

use std::{
    cell::Cell,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_cluster_transport::{Class, SendError, Session, clock::Sleep, wait_list::Ticket};

use super::RejectReason;
pub(crate) use super::actor_ref::Place;
use crate::{
    actor::{
        ActorId,
        mailbox::{Mailbox, Refusal, Slot},
    },
    call::chain::Link,
    cluster::{
        routing::{Aim, Peer, Route, Routing, Spot, Standing},
        wire::Address,
    },
    message::{CodecError, RemoteMessage, WireId},
    node::{DeadLetterTarget, EntityKey, NodeCore},
    remote_actor::RemoteActor,
};

/// Where the target is, as far as this node knows.
pub(super) enum Destination<A: RemoteActor> {
    Here(Arc<Mailbox<A>>),
    There(Arc<Peer>),
    /// Known, and others are to go there before.
    Behind,
    /// Not known now; known soon, perhaps.
    Later,
    Nowhere(RejectReason),
}

/// When a route to an entity was looked up, by the generation of the routes; an actor's never changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sighting(Option<u64>);

impl<A: RemoteActor> Place<A> {
    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        match self {
            Self::Local(mailbox) => mailbox.core(),
            Self::Away { core, .. } => core,
            Self::Entity(entity) => &entity.core,
        }
    }

    /// The core of the life that the node is in, if that is a later one than the target is sought in.
    /// An actor of this node has ended with its own.
    #[inline]
    pub(crate) fn successor(&self) -> Option<Arc<NodeCore>> {
        match self {
            Self::Local(_) => None,
            Self::Away { core, .. } => core.successor(),
            Self::Entity(entity) => entity.core.successor(),
        }
    }

    /// The address on the node that has the target, and the hash that decides its lane.
    pub(crate) fn address(&self) -> (Address<'_>, u64) {
        let actor =
            |id: ActorId| (Address::Actor { actor_type: A::TYPE_ID.0, id: id.0 }, target_hash(id));
        match self {
            Self::Local(mailbox) => actor(mailbox.id()),
            Self::Away { id, .. } => actor(*id),
            Self::Entity(entity) => (entity.key.address(), entity.key.hash()),
        }
    }

    /// The target as a chain of those that wait knows it.
    pub(crate) fn link(&self) -> Link {
        match self {
            Self::Local(mailbox) => Link::new(mailbox.core(), mailbox),
            Self::Away { node, id, .. } => {
                Link::Actor { actor_type: A::TYPE_ID, node: node.clone(), id: *id }
            }
            Self::Entity(entity) => Link::Entity(entity.key.clone()),
        }
    }

    /// The target's key, if it is an entity.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Entity(entity) => Some(entity.key.as_str()),
            Self::Local(mailbox) => mailbox.entity().map(EntityKey::as_str),
            Self::Away { .. } => None,
        }
    }

    /// The target as a dead letter names it.
    pub(super) fn letter_target(&self) -> DeadLetterTarget {
        match self {
            Self::Local(mailbox) => {
                let node = mailbox.core().id().clone();
                DeadLetterTarget::Actor { node, id: mailbox.id() }
            }
            Self::Away { node, id, .. } => DeadLetterTarget::Actor { node: node.clone(), id: *id },
            Self::Entity(entity) => (&entity.key).into(),
        }
    }

    fn routing(&self) -> Option<&Routing> {
        self.core().cluster().map(|cluster| &cluster.routing)
    }

    /// The line of senders to the target, if it is an entity that may be on other nodes.
    fn line(&self) -> Option<(&Routing, Aim)> {
        let Self::Entity(entity) = self else { return None };
        let aim = Aim { actor_type: entity.key.actor_type(), target: entity.key.hash() };
        Some((self.routing()?, aim))
    }

    /// The mailbox of an actor that lives and dies on this node.
    fn known_here(&self) -> Option<&Arc<Mailbox<A>>> {
        match self {
            Self::Local(mailbox) => Some(mailbox),
            Self::Away { .. } | Self::Entity(_) => None,
        }
    }

    /// When the routes are looked at, by whoever asks later whether they have changed since.
    fn sighting(&self) -> Sighting {
        Sighting(self.line().map(|(routing, _)| routing.generation()))
    }

    /// Where the target is.
    pub(super) fn destination(&self) -> Destination<A> {
        match self {
            Self::Local(mailbox) => Destination::Here(Arc::clone(mailbox)),
            Self::Away { core, node, id } => match core.route_to_node(node) {
                Route::Here => core
                    .find::<A>(node, *id)
                    .map_or(Destination::Nowhere(RejectReason::NoSuchActor), Destination::Here),
                route => route.into(),
            },
            Self::Entity(entity) => match entity.core.route_to_entity(&entity.key) {
                Route::Here => entity
                    .core
                    .entity_here::<A>(&entity.key, None)
                    .map_or_else(Destination::Nowhere, Destination::Here),
                route => route.into(),
            },
        }
    }

    /// What a sender with this place in the line to the target, if any, may do there.
    fn standing(&self, destination: &Destination<A>, rank: Option<Ticket>) -> Standing {
        let Some((routing, aim)) = self.line() else { return Standing::MayGo };
        let lines = routing.lines();
        match destination {
            Destination::Here(mailbox) => lines.standing(aim, rank, || Spot::Here(mailbox.id())),
            Destination::There(peer) => {
                lines.standing(aim, rank, || Spot::There(peer.session.clone()))
            }
            _ => Standing::MayGo,
        }
    }

    /// A message was sent to a peer by a route that was looked up then. Has what comes after it wait if
    /// that has changed meanwhile.
    fn sent(&self, peer: &Arc<Peer>, sighting: Sighting) {
        if let Self::Entity(entity) = self
            && sighting != self.sighting()
        {
            entity.core.sent_late(&entity.key, peer);
        }
    }

    /// Whether it is an entity.
    pub(super) fn is_entity(&self) -> bool {
        matches!(self, Self::Entity(_))
    }

    /// Whether a message that did not run may be sent again, to wherever the target is then.
    pub(super) fn may_be_elsewhere(&self, reason: RejectReason) -> bool {
        self.outlives(reason)
            || matches!(self, Self::Entity(_)) && reason == RejectReason::Unreachable
    }

    /// Whether a target that is gone may be found again: an entity is activated anew.
    pub(super) fn outlives(&self, reason: RejectReason) -> bool {
        use RejectReason::{Failed, Moved, Passivated, Stopped};
        matches!(self, Self::Entity(_)) && matches!(reason, Moved | Passivated | Stopped | Failed)
    }
}

/// Spreads the numbers of actors over lanes: 2^64 divided by the golden ratio, made odd (Knuth,
/// The Art of Computer Programming, volume 3, section 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What undoes the product: an odd number has an inverse, modulo 2^64. Each step of Newton's doubles
/// the bits that are right; an odd number is its own inverse in the lowest three.
const GATHER: u64 = {
    let (mut inverse, mut step) = (SPREAD, 0);
    while step < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(SPREAD.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
};

/// The hash that stands for an actor of this number in its frames.
pub(crate) fn target_hash(id: ActorId) -> u64 {
    id.0.wrapping_mul(SPREAD).rotate_left(32)
}

/// The actor whose frames have this hash.
pub(crate) fn target_id(hash: u64) -> ActorId {
    ActorId(hash.rotate_right(32).wrapping_mul(GATHER))
}

impl<A: RemoteActor> From<Route> for Destination<A> {
    /// A target that is on this node has yet to be found there.
    fn from(route: Route) -> Self {
        match route {
            Route::There(peer) => Self::There(peer),
            Route::Nowhere(reason) => Self::Nowhere(reason),
            Route::Here | Route::Later => Self::Later,
        }
    }
}

/// Where a sender waits, and until when.
pub(crate) struct Wait<A: RemoteActor> {
    line: Line<A>,
    /// Its place in the line to an entity, once it has waited on its way there.
    rank: Option<Ticket>,
    sleep: Option<Sleep>,
    /// How often the target was gone when its line was reached.
    gone: u32,
    /// A session that takes nothing any more, for as long as the routes lead there.
    ended: Option<Session>,
}

enum Line<A: RemoteActor> {
    None,
    Mailbox(Arc<Mailbox<A>>, Ticket),
    Session(Session, u64, Ticket),
    /// Of those that wait for a node.
    Nodes(Ticket),
}

impl<A: RemoteActor> Default for Wait<A> {
    fn default() -> Self {
        Self { line: Line::None, rank: None, sleep: None, gone: 0, ended: None }
    }
}

/// How often a sender looks again at once for a target that is gone.
const GONE_LIMIT: u32 = 8;

/// A message on its way, asked for the form that its destination needs.
pub(crate) trait Outgoing<A: RemoteActor> {
    /// Fills a place in a local mailbox.
    fn fill(&mut self, mailbox: &Arc<Mailbox<A>>, slot: Slot<'_, A>);
    /// Appends the payload for another node to `out`, with the message as `version`.
    fn encode(
        &mut self,
        peer: &Peer,
        version: WireId,
        out: Vec<u8>,
    ) -> Result<Vec<u8>, EncodeError>;
    /// What `encode` has written was sent, or not.
    fn encoded(&mut self, sent: bool);
    /// The mark by which an ask's frame is known; 0 for a tell.
    fn token(&self) -> u64;
}

/// Why a message could not be made ready for another node.
pub(crate) enum EncodeError {
    Codec(CodecError),
    /// Too many answers are awaited.
    Full,
}

impl<A: RemoteActor> Wait<A> {
    /// Has the target be sought in the life that its node is in.
    #[inline]
    pub(crate) fn follow(&mut self, place: &mut Place<A>) {
        if place.successor().is_some() {
            self.leave(place);
            // A clone is always of the life that its node is in.
            *place = place.clone();
        }
    }

    /// Sends a message, or waits for room for at most `patience`, which is asked once it has to.
    pub(crate) fn poll_send<M: RemoteMessage>(
        &mut self,
        place: &Place<A>,
        patience: impl FnOnce() -> Duration,
        msg: &mut impl Outgoing<A>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), RejectReason>> {
        // Most messages go to an actor of this node that has room.
        if let (Line::None, Some(mailbox)) = (&self.line, place.known_here())
            && let Ok(slot) = mailbox.try_reserve()
        {
            msg.fill(mailbox, slot);
            return Poll::Ready(Ok(()));
        }
        self.poll_line::<M>(place, patience, msg, task)
    }

    /// Sends a message from its place in a line, or from none.
    fn poll_line<M: RemoteMessage>(
        &mut self,
        place: &Place<A>,
        patience: impl FnOnce() -> Duration,
        msg: &mut impl Outgoing<A>,
        task: &mut Context<'_>,
    ) -> Poll<Result<(), RejectReason>> {
        let waits_for_room = loop {
            let sighting = place.sighting();
            let destination = self.look(place);
            let is_behind = matches!(destination, Destination::Behind);
            let done = match destination {
                Destination::Nowhere(reason) => Some(Err(reason)),
                Destination::Here(mailbox) => {
                    self.poll_mailbox(place, mailbox, sighting, msg, task)
                }
                Destination::There(peer) if self.has_ended(&peer) => {
                    self.poll_routes(place, RejectReason::Unreachable, task)
                }
                Destination::There(peer) => match peer.understood.version_for::<M>() {
                    Ok(version) => {
                        let known = (&*peer, version, sighting);
                        self.poll_session(place, known, msg, task).inspect(|sent| {
                            if sent.is_ok() {
                                place.sent(&peer, sighting);
                            }
                        })
                    }
                    Err(_) => Some(Err(RejectReason::Mismatch)),
                },
                Destination::Behind => self.poll_routes(place, RejectReason::Full, task),
                Destination::Later => self.poll_routes(place, RejectReason::Unreachable, task),
            };
            match done {
                Some(Err(reason)) if place.outlives(reason) && self.gone < GONE_LIMIT => {
                    self.gone += 1;
                }
                Some(done) => {
                    self.leave(place);
                    return Poll::Ready(done);
                }
                None => {
                    if sighting != place.sighting() {
                        // Whoever told of the change did not know of this sender, perhaps.
                        task.waker().wake_by_ref();
                    }
                    break is_behind || matches!(self.line, Line::Mailbox(..) | Line::Session(..));
                }
            }
        };
        let core = place.core();
        let sleep = self.sleep.get_or_insert_with(|| core.clock().sleep(patience()));
        std::task::ready!(sleep.as_mut().poll(task));
        self.leave(place);
        let reason = if waits_for_room { RejectReason::Full } else { RejectReason::Unreachable };
        Poll::Ready(Err(reason))
    }

    /// Where the target is, and whether this one may go there.
    fn look(&mut self, place: &Place<A>) -> Destination<A> {
        let destination = place.destination();
        match (place.standing(&destination, self.rank), self.rank, place.line()) {
            (Standing::Behind, ..) => return Destination::Behind,
            (Standing::MayGo, Some(rank), Some((routing, aim)))
                if matches!(destination, Destination::Here(_) | Destination::There(_)) =>
            {
                // What place it has, if any, is at another spot, or from before those ahead of it went over.
                routing.lines().step_back(aim, rank);
                self.leave_line(place);
            }
            _ => {}
        }
        destination
    }

    fn poll_mailbox(
        &mut self,
        place: &Place<A>,
        mailbox: Arc<Mailbox<A>>,
        sighting: Sighting,
        msg: &mut impl Outgoing<A>,
        task: &Context<'_>,
    ) -> Option<Result<(), RejectReason>> {
        let ticket = match &self.line {
            Line::Mailbox(line, ticket) if Arc::ptr_eq(line, &mailbox) => Some(*ticket),
            _ => {
                self.leave_line(place);
                None
            }
        };
        let refusal = match mailbox.reserve(ticket, task.waker()) {
            Ok(slot) => {
                self.line = Line::None;
                msg.fill(&mailbox, slot);
                return Some(Ok(()));
            }
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::Closed(reason) => {
                self.line = Line::None;
                Some(Err(reason))
            }
            Refusal::Full(None) => Some(Err(RejectReason::Full)),
            Refusal::Full(Some(ticket)) => {
                let spot = Spot::Here(mailbox.id());
                self.line = Line::Mailbox(mailbox, ticket);
                self.stand(place, spot, sighting, task)
            }
        }
    }

    fn poll_session(
        &mut self,
        place: &Place<A>,
        (peer, version, sighting): (&Peer, WireId, Sighting),
        msg: &mut impl Outgoing<A>,
        task: &Context<'_>,
    ) -> Option<Result<(), RejectReason>> {
        let (_, target) = place.address();
        let mut ticket = match &self.line {
            Line::Session(line, _, ticket) if *line == peer.session => Some(*ticket),
            _ => {
                self.leave_line(place);
                None
            }
        };
        let sent = with_scratch(|scratch| match msg.encode(peer, version, scratch) {
            Ok(payload) => {
                let token = msg.token();
                let sent = peer.session.poll_send(target, token, &payload, &mut ticket, task);
                (payload, Ok(sent))
            }
            Err(error) => (Vec::new(), Err(error)),
        });
        self.line = match ticket {
            Some(ticket) => Line::Session(peer.session.clone(), target, ticket),
            None => Line::None,
        };
        msg.encoded(matches!(sent, Ok(Poll::Ready(Ok(())))));
        match sent {
            Ok(Poll::Ready(Ok(()))) => Some(Ok(())),
            Ok(Poll::Pending) => {
                self.stand(place, Spot::There(peer.session.clone()), sighting, task)
            }
            Ok(Poll::Ready(Err(SendError::Full))) | Err(EncodeError::Full) => {
                Some(Err(RejectReason::Full))
            }
            // The routes are about to say so too.
            Ok(Poll::Ready(Err(SendError::Closing | SendError::Ended))) => {
                self.ended = Some(peer.session.clone());
                self.poll_routes(place, RejectReason::Unreachable, task)
            }
            Ok(Poll::Ready(Err(_))) => Some(Err(RejectReason::Unsendable)),
            Err(EncodeError::Codec(error)) => {
                tracing::warn!(actor = A::NAME, %error, "a message could not be written");
                Some(Err(unwritten(&error)))
            }
        }
    }

    /// Notes that it waits for room at this spot, if nobody is to go there before.
    fn stand(
        &mut self,
        place: &Place<A>,
        spot: Spot,
        sighting: Sighting,
        task: &Context<'_>,
    ) -> Option<Result<(), RejectReason>> {
        let (routing, aim) = place.line()?;
        let is_still_way = || sighting == place.sighting();
        let stood = routing.lines().stand(aim, self.rank, spot, is_still_way, task.waker());
        let Some((rank, stands)) = stood else { return Some(Err(RejectReason::Full)) };
        self.rank = Some(rank);
        if !stands {
            // Somebody came between the look and this. It is told when they have gone.
            self.leave_line(place);
        }
        None
    }

    /// Waits for the routes to change, or for those before. `full` is why it can't, if too many wait.
    fn poll_routes(
        &mut self,
        place: &Place<A>,
        full: RejectReason,
        task: &Context<'_>,
    ) -> Option<Result<(), RejectReason>> {
        let is_waiting = match place.line() {
            Some((routing, aim)) => {
                self.rank = routing.lines().wait(aim, self.rank, task.waker());
                // Not before: who is told that it may go to the spot finds this one to go first.
                self.leave_line(place);
                self.rank.is_some()
            }
            None => self.wait_for_node(place, task),
        };
        if !is_waiting {
            return Some(Err(full));
        }
        // They may have changed between the look and the wait, or another life begun: then nobody is left to
        // wake us.
        match self.look(place) {
            _ if place.successor().is_some() => task.waker().wake_by_ref(),
            Destination::Later | Destination::Behind => {}
            Destination::There(peer) if self.has_ended(&peer) => {}
            _ => task.waker().wake_by_ref(),
        }
        None
    }

    fn wait_for_node(&mut self, place: &Place<A>, task: &Context<'_>) -> bool {
        let rank = match self.line {
            Line::Nodes(rank) => Some(rank),
            _ => {
                self.leave_line(place);
                None
            }
        };
        let waiting =
            place.routing().and_then(|routing| routing.lines().wait_for_node(rank, task.waker()));
        self.line = waiting.map_or(Line::None, Line::Nodes);
        waiting.is_some()
    }

    /// Whether the session with this peer takes nothing any more. It keeps its place then: who left it
    /// would only let the next one find the same.
    fn has_ended(&self, peer: &Peer) -> bool {
        self.ended.as_ref() == Some(&peer.session)
    }

    /// Leaves whatever line it is in.
    #[inline]
    pub(crate) fn leave(&mut self, place: &Place<A>) {
        if !matches!(self.line, Line::None) {
            self.leave_line(place);
        }
        if self.rank.is_some() {
            self.leave_rank(place);
        }
    }

    /// Leaves the line for room, or for a node.
    fn leave_line(&mut self, place: &Place<A>) {
        match std::mem::replace(&mut self.line, Line::None) {
            Line::None => {}
            Line::Mailbox(mailbox, ticket) => mailbox.abandon(ticket),
            Line::Session(session, target, ticket) => session.leave(target, ticket),
            Line::Nodes(rank) => {
                if let Some(routing) = place.routing() {
                    routing.lines().leave_nodes(rank);
                }
            }
        }
    }

    fn leave_rank(&mut self, place: &Place<A>) {
        if let (Some(rank), Some((routing, aim))) = (self.rank.take(), place.line()) {
            routing.lines().leave(aim, rank);
        }
    }
}

/// Sends a message now, or not at all.
pub(crate) fn send_now<A: RemoteActor, M: RemoteMessage>(
    place: &Place<A>,
    msg: &mut impl Outgoing<A>,
) -> Result<(), RejectReason> {
    let mut gone = 0;
    loop {
        let sighting = place.sighting();
        let sent = match Wait::default().look(place) {
            Destination::Nowhere(reason) => Err(reason),
            Destination::Later => Err(RejectReason::Unreachable),
            Destination::Behind => Err(RejectReason::Full),
            Destination::Here(mailbox) => match mailbox.try_reserve() {
                Ok(slot) => {
                    msg.fill(&mailbox, slot);
                    Ok(())
                }
                Err(Refusal::Full(_)) => Err(RejectReason::Full),
                Err(Refusal::Closed(reason)) => Err(reason),
            },
            Destination::There(peer) => match peer.understood.version_for::<M>() {
                Ok(version) => try_session(place, &peer, version, msg)
                    .inspect(|()| place.sent(&peer, sighting)),
                Err(_) => Err(RejectReason::Mismatch),
            },
        };
        match sent {
            Err(reason) if place.outlives(reason) && gone < GONE_LIMIT => gone += 1,
            sent => return sent,
        }
    }
}

fn try_session<A: RemoteActor>(
    place: &Place<A>,
    peer: &Peer,
    version: WireId,
    msg: &mut impl Outgoing<A>,
) -> Result<(), RejectReason> {
    let (_, target) = place.address();
    let sent = with_scratch(|scratch| match msg.encode(peer, version, scratch) {
        Ok(payload) => {
            let sent = peer.session.try_send(Class::Message, target, msg.token(), &payload);
            (payload, Ok(sent))
        }
        Err(error) => (Vec::new(), Err(error)),
    });
    msg.encoded(matches!(sent, Ok(Ok(()))));
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(SendError::Full)) | Err(EncodeError::Full) => Err(RejectReason::Full),
        Ok(Err(SendError::Closing | SendError::Ended)) => Err(RejectReason::Unreachable),
        Ok(Err(_)) => Err(RejectReason::Unsendable),
        Err(EncodeError::Codec(error)) => Err(unwritten(&error)),
    }
}

/// Why a message that could not be written did not run.
fn unwritten(error: &CodecError) -> RejectReason {
    match error {
        CodecError::Inexpressible { .. } => RejectReason::Mismatch,
        _ => RejectReason::Unsendable,
    }
}

thread_local! {
    /// Where payloads are written before a lane takes them over.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest scratch that a thread keeps.
const SCRATCH_KEPT: usize = 64 * 1024;

/// Lends the thread's scratch to `write`, which gives a vector back.
pub(super) fn with_scratch<T>(write: impl FnOnce(Vec<u8>) -> (Vec<u8>, T)) -> T {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let (scratch, value) = write(scratch);
    if scratch.capacity() <= SCRATCH_KEPT {
        SCRATCH.set(scratch);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_actor_gives_its_number_back() {
        for id in [0, 1, 2, 300, 1 << 40, u64::MAX] {
            assert_eq!(target_id(target_hash(ActorId(id))), ActorId(id));
        }
    }
}
