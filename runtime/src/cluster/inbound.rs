//! What arrives from other nodes: messages to the arbiters, answers to whom they are for.
//!
//! Runs on the cluster's thread, which must not wait: messages are grouped by arbiter and handed
//! over as one job each; nothing of a message but its frame's target is looked at here.

use std::{collections::VecDeque, sync::Arc};

use actix_cluster_transport::{
    Class, Frames, Inbound, PeerId, Receipt, Session, Unsettled,
    sabotage::{self, Bug},
};
use bytes::Bytes;

use super::{
    Cluster, Heard, Installed, delegation,
    frame::{Frame, Origin},
    mark::Mark,
    node_id,
    pending::{Answer, Correlation},
    placement::Shard,
    transfers::Parcel,
    wire::{Address, Head},
};
use crate::{
    node::{DeadLetters, EntityKey, NodeCore, NodeId, Residents, Sender},
    reference::{RejectReason, UnknownReason},
    watch,
};

/// Hands over what arrived on a session, in order.
pub(super) fn deliver(core: &Arc<NodeCore>, cluster: &Cluster, session: &Session, frames: &Frames) {
    let arbiters = core.arbiters();
    let mut batches: Vec<VecDeque<Message>> = arbiters.iter().map(|_| VecDeque::new()).collect();
    for Inbound { ticket, class, target, payload } in frames {
        let payload = payload.to_bytes();
        match class {
            Class::Message => {
                let batch = &mut batches[(target % arbiters.len() as u64) as usize];
                batch.push_back(Message { ticket, target, payload });
            }
            Class::Answer => answer(core, cluster, session, target, &payload),
        }
    }
    for (arbiter, messages) in arbiters.iter().zip(batches) {
        if messages.is_empty() {
            continue;
        }
        let mut batch = Batch { core: Arc::clone(core), session: session.clone(), messages };
        let job = Box::new(move |residents: &Residents| {
            while let Some((origin, Message { target, payload, .. })) = batch.next() {
                receive(&batch.core, residents, origin, target, payload);
            }
        });
        // A job that comes back is dropped, and its frames are turned away.
        let _ = arbiter.deliver(job);
    }
}

/// Messages for one arbiter. What it does not receive is turned away.
struct Batch {
    core: Arc<NodeCore>,
    session: Session,
    messages: VecDeque<Message>,
}

struct Message {
    ticket: Receipt,
    target: u64,
    payload: Bytes,
}

impl Batch {
    fn next(&mut self) -> Option<(Origin, Message)> {
        let message = self.messages.pop_front()?;
        Some((Origin::There(self.session.clone(), message.ticket), message))
    }
}

impl Drop for Batch {
    /// The node is shutting down: its entities are elsewhere soon, its actors nowhere.
    fn drop(&mut self) {
        while let Some((origin, Message { target, payload, .. })) = self.next() {
            let origin = match origin {
                Origin::There(session, receipt) if Head::is_of_a_watch(&payload) => {
                    watch::turn_away(&session, receipt, target, &payload);
                    continue;
                }
                Origin::There(session, receipt) if Head::is_flush(&payload) => {
                    answer_flush(&self.core, &session, receipt, target, &payload);
                    continue;
                }
                origin if Head::is_install(&payload) => {
                    origin.reject(target, RejectReason::NodeStopped, &[]);
                    continue;
                }
                origin => origin,
            };
            let now = || self.core.clock().now();
            match Frame::read(&self.core, origin, target, payload, now) {
                Ok(frame) if matches!(frame.address(), Some(Address::Entity { .. })) => {
                    frame.moved(&self.core);
                }
                Ok(frame) => frame.reject(RejectReason::NodeStopped),
                Err((origin, _)) => origin.reject(target, RejectReason::Mismatch, &[]),
            }
        }
    }
}

/// A message that came back to this node, which has its shard now: until it is in its mailbox, or is given
/// up because its arbiter ends before.
struct Returning {
    core: Arc<NodeCore>,
    target: u64,
    payload: Option<Bytes>,
}

impl Drop for Returning {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            self.core.give_up(RejectReason::NodeStopped, self.target, &payload);
        }
        if let Some(cluster) = self.core.cluster() {
            cluster.routing.release(Shard::of(self.target));
        }
    }
}

/// Hands over a message that came back to this node, which has its shard now. Until it is in its mailbox,
/// its shard is held.
pub(super) fn deliver_here(core: &Arc<NodeCore>, target: u64, payload: Bytes) {
    let arbiters = core.arbiters();
    let mut returning = Returning { core: Arc::clone(core), target, payload: Some(payload) };
    let job = Box::new(move |residents: &Residents| {
        let core = Arc::clone(&returning.core);
        if let Some(payload) = returning.payload.take() {
            receive(&core, residents, Origin::Here(Arc::clone(&core)), target, payload);
        }
    });
    // A job that comes back is dropped, and what it was to bring is given up.
    let _ = arbiters[(target % arbiters.len() as u64) as usize].deliver(job);
}

/// Brings a message to its target's mailbox. Runs on an arbiter.
pub(crate) fn receive(
    core: &Arc<NodeCore>,
    residents: &Residents,
    origin: Origin,
    target: u64,
    payload: Bytes,
) {
    let origin = match origin {
        Origin::There(session, receipt) if Head::is_of_a_watch(&payload) => {
            return watch::receive(core, &session, receipt, target, &payload);
        }
        Origin::There(session, receipt) if Head::is_flush(&payload) => {
            return answer_flush(core, &session, receipt, target, &payload);
        }
        Origin::There(session, receipt) if Head::is_install(&payload) => {
            return install(core, &session, receipt, target, &payload);
        }
        origin => origin,
    };
    let frame = match Frame::read(core, origin, target, payload, || core.clock().now()) {
        Ok(mut frame) => {
            if sabotage::has(Bug::SettledBeforeHandled) {
                frame.settle_tell();
            }
            frame
        }
        Err((origin, error)) => {
            tracing::warn!(node = %core.id(), %error, "a message was not understood");
            return origin.reject(target, RejectReason::Mismatch, &[]);
        }
    };
    match core.kinds().find(frame.actor_type()) {
        Some(kind) => kind.deliver(core, residents, frame),
        None => {
            tracing::warn!(
                node = %core.id(),
                message = %frame.message,
                "a message came for an actor type that is not registered; add it to the builder"
            );
            frame.reject(RejectReason::Mismatch);
        }
    }
}

/// All that came before on this lane is in its mailbox by now, or has gone back.
fn answer_flush(core: &NodeCore, session: &Session, receipt: Receipt, target: u64, payload: &[u8]) {
    let peer = core.cluster().and_then(|cluster| cluster.routing.peer(session));
    let answered = match Head::take(payload) {
        Ok((Head::Flush { marker, seen }, _)) => {
            let moved = peer.map_or(0, |peer| peer.returned.peer_has_seen(target, seen));
            let flushed = Head::Flushed { marker, moved }.put(Vec::new());
            session.answer(receipt, target, &flushed).is_ok()
        }
        _ => false,
    };
    if !answered {
        // Whoever asked asks again.
        Origin::There(session.clone(), receipt).reject(target, RejectReason::Full, &[]);
    }
}

/// Keeps what an entity has left on another node until its shard is opened here. The cluster's thread says
/// so to its sender.
fn install(core: &NodeCore, session: &Session, receipt: Receipt, target: u64, payload: &Bytes) {
    let refused = match parcel(core, target, payload) {
        Ok((cluster, key, correlation, parcel)) => {
            let (actor_type, session) = (key.actor_type(), session.clone());
            let installed = Installed { actor_type, session, receipt, target, correlation };
            cluster.install(&key, parcel, installed).err()
        }
        Err(reason) => Some(reason),
    };
    if let Some(reason) = refused {
        Origin::There(session.clone(), receipt).reject(target, reason, &[]);
    }
}

/// What an entity has left on another node, and how its sender knows the ask for it to be taken.
fn parcel<'a>(
    core: &'a NodeCore,
    target: u64,
    payload: &Bytes,
) -> Result<(&'a Cluster, EntityKey, u64, Parcel), RejectReason> {
    let (Some(cluster), Ok((head, body))) = (core.cluster(), Head::take(payload)) else {
        return Err(RejectReason::Mismatch);
    };
    let Head::Install { to, message, correlation, .. } = head else {
        return Err(RejectReason::Mismatch);
    };
    let Address::Entity { key, .. } = to else { return Err(RejectReason::Mismatch) };
    let key = core.kinds().entity_key(to.actor_type(), key).ok_or(RejectReason::NoSuchActor)?;
    let parcel = Parcel::read(message, &payload.slice_ref(body)).ok_or(RejectReason::Mismatch)?;
    let version = parcel.state.as_ref().map(|(version, _)| *version);
    let kind = core.kinds().find(key.actor_type());
    if key.hash() != target || !kind.is_some_and(|kind| kind.takes_over(version)) {
        return Err(RejectReason::Mismatch);
    }
    if core.owns(&key) {
        // It has begun without that.
        return Err(RejectReason::Moved);
    }
    Ok((cluster, key, correlation, parcel))
}

fn answer(
    core: &Arc<NodeCore>,
    cluster: &Cluster,
    session: &Session,
    target: u64,
    payload: &Bytes,
) {
    let from = session.peer();
    match Head::take(payload) {
        Ok((Head::Reply { correlation }, body)) => {
            let body = payload.slice_ref(body);
            cluster.pending.answer(from, correlation, Answer::Reply(body));
        }
        Ok((Head::Unknown { correlation, reason }, told)) => {
            let reason = UnknownReason::from_wire(reason);
            match correlation {
                0 => unknown_tell(core, from, target, reason, told),
                _ => cluster.pending.answer(from, correlation, Answer::Unknown(reason)),
            }
        }
        Ok((Head::Moved, body)) => {
            let body = payload.slice_ref(body);
            match whose(core, cluster, from, &body) {
                Whose::Told => core.redirect(target, &body),
                // Items reach an asker on the same node by another way: it asks again.
                Whose::Asked(correlation) if cluster.pending.has_items(correlation) => {
                    cluster.pending.answer(
                        from,
                        correlation,
                        Answer::Rejected(RejectReason::Moved),
                    );
                }
                Whose::Asked(correlation) => {
                    // It is here: the end of that node is none of it.
                    cluster.pending.owe(correlation, core.id());
                    core.redirect(target, &body);
                }
                Whose::Gone => delegation::abandon(core, &body),
                Whose::Another => {}
            }
            if let Some(peer) = cluster.routing.peer(session) {
                peer.returned.comes_back(target);
                cluster.came_back(&peer, target, &body);
            }
        }
        Ok((Head::Flushed { marker, moved }, _)) => {
            cluster.hear(Heard::Flushed { node: node_id(from), marker, lane: target, moved });
        }
        Ok((Head::Cancel { correlation, .. }, _)) => {
            cluster.cancels.cancel(core.clock().now(), (from.clone(), correlation));
        }
        Ok((Head::Item { correlation, number }, body)) => {
            cluster.pending.item(from, correlation, number, payload.slice_ref(body));
        }
        Ok((Head::ReplyAfter { correlation, items }, body)) => {
            let body = payload.slice_ref(body);
            cluster.pending.answer_after(from, correlation, items, Answer::Reply(body));
        }
        Ok((Head::UnknownAfter { correlation, reason, items }, _)) => {
            let answer = Answer::Unknown(UnknownReason::from_wire(reason));
            cluster.pending.answer_after(from, correlation, items, answer);
        }
        Ok((Head::Credit { correlation, items }, _)) => {
            cluster.cancels.credit(&(from.clone(), correlation), items);
        }
        Ok((Head::Delegated { correlation, hops, name, incarnation }, _)) => {
            let node = NodeId { name: name.into(), incarnation };
            delegation::follow_here(core, correlation, hops, &node);
        }
        Ok((Head::DelegatedReply { correlation }, body)) => {
            let body = payload.slice_ref(body);
            cluster.pending.answer_delegated(correlation, Answer::Reply(body));
        }
        Ok((Head::DelegatedUnknown { correlation, reason }, _)) => {
            let reason = UnknownReason::from_wire(reason);
            cluster.pending.answer_delegated(correlation, Answer::Unknown(reason));
        }
        // Reserved for later releases, which ask first whether they are understood.
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(node = %core.id(), %error, "an answer was not understood");
        }
    }
}

/// What a peer sends back.
enum Whose {
    /// A tell, or what is none of either.
    Told,
    /// An ask that this node awaits the answer of from that peer.
    Asked(Correlation),
    /// An ask whose asker has gone.
    Gone,
    /// An ask that the peer was not sent.
    Another,
}

fn whose(core: &NodeCore, cluster: &Cluster, from: &PeerId, payload: &[u8]) -> Whose {
    let Ok((Head::Ask { correlation, .. }, _)) = Head::take(payload) else { return Whose::Told };
    match cluster.pending.owed_by(correlation) {
        Some(node) if node == node_id(from) => Whose::Asked(correlation),
        None => Whose::Gone,
        Some(_) => {
            tracing::warn!(node = %core.id(), peer = %from, "a peer sent back what it was not sent");
            Whose::Another
        }
    }
}

/// A peer says that a tell, whose head may follow, may have run.
fn unknown_tell(core: &NodeCore, from: &PeerId, target: u64, reason: UnknownReason, told: &[u8]) {
    let letters = core.dead_letters();
    let about = |letters: &DeadLetters| letters.about_told(told, target, from);
    match reason {
        UnknownReason::Panicked => letters.panicked(about(letters), Sender::IsGone),
        _ => letters.unknown(reason, about),
    }
}

/// A peer says that a message did not run.
pub(super) fn rejected(
    core: &Arc<NodeCore>,
    cluster: &Cluster,
    session: &Session,
    message: Unsettled,
    reason: u8,
) {
    let reason = RejectReason::from_wire(reason);
    let from = session.peer();
    match Mark::read(message.token) {
        Mark::Tell(mark) => {
            let about = |letters: &DeadLetters| letters.about_mark(mark, message.target, from);
            core.dead_letters().rejected(reason, about);
        }
        Mark::Ask(correlation) => {
            cluster.pending.answer(from, correlation, Answer::Rejected(reason));
        }
        Mark::Watch(token) => {
            watch::rejected(core, session, message.target, token, reason);
        }
    }
}

/// A session has ended with this unsettled.
pub(super) fn lost(core: &NodeCore, cluster: &Cluster, from: &PeerId, unsettled: Vec<Unsettled>) {
    use {RejectReason::Unreachable, UnknownReason::NodeDown};
    let letters = core.dead_letters();
    for Unsettled { target, token, written } in unsettled {
        match (Mark::read(token), written) {
            (Mark::Tell(mark), true) => {
                letters.unknown(NodeDown, |letters| letters.about_mark(mark, target, from));
            }
            (Mark::Tell(mark), false) => {
                letters.rejected(Unreachable, |letters| letters.about_mark(mark, target, from));
            }
            (Mark::Ask(correlation), true) => {
                cluster.pending.answer(from, correlation, Answer::Unknown(NodeDown));
            }
            (Mark::Ask(correlation), false) => {
                cluster.pending.answer(from, correlation, Answer::Rejected(Unreachable));
            }
            // What was said of watches is over with the session.
            (Mark::Watch(_), _) => {}
        }
    }
}
