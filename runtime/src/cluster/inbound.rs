//! What arrives from other nodes: messages to the arbiters, answers to whom they are for.
//!
//! Runs on the cluster's thread, which must not wait: messages are grouped by arbiter and handed
//! over as one job each; nothing of a message but its frame's target is looked at here.

use std::{collections::VecDeque, sync::Arc};

use actix_cluster_transport::{Class, Frames, Inbound, PeerId, Receipt, Session, Unsettled};
use bytes::Bytes;

use super::{
    Cluster, delegation,
    frame::{Frame, Origin},
    mark::Mark,
    pending::Answer,
    wire::{Address, Head},
};
use crate::{
    node::{DeadLetters, NodeCore, NodeId, Residents, Sender},
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
            Class::Answer => answer(core, cluster, session.peer(), target, &payload),
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
                origin => origin,
            };
            let now = || self.core.clock().now();
            match Frame::read(&self.core, origin, target, payload, now) {
                Ok(frame) if matches!(frame.address(), Some(Address::Entity { .. })) => {
                    frame.moved();
                }
                Ok(frame) => frame.reject(RejectReason::NodeStopped),
                Err((origin, _)) => origin.reject(target, RejectReason::Mismatch, &[]),
            }
        }
    }
}

/// Hands over a message that came back to this node, which owns its target now.
pub(super) fn deliver_here(core: &Arc<NodeCore>, target: u64, payload: Bytes) {
    let arbiters = core.arbiters();
    let (theirs, kept) = (Arc::clone(core), payload.clone());
    let job = Box::new(move |residents: &Residents| {
        let origin = Origin::Here(Arc::clone(&theirs));
        receive(&theirs, residents, origin, target, payload);
    });
    if arbiters[(target % arbiters.len() as u64) as usize].deliver(job).is_err() {
        let about = |letters: &DeadLetters| letters.about_payload(&kept, target);
        core.dead_letters().rejected(RejectReason::NodeStopped, about);
    }
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
        origin => origin,
    };
    let frame = match Frame::read(core, origin, target, payload, || core.clock().now()) {
        Ok(frame) => frame,
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

fn answer(core: &Arc<NodeCore>, cluster: &Cluster, from: &PeerId, target: u64, payload: &Bytes) {
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
        Ok((Head::Moved, body)) => core.redirect(target, &payload.slice_ref(body)),
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
