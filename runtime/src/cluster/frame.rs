//! A message from another node, on its way to its turn, and the one outcome it comes to.
//!
//! Invariant: each frame ends once, as handled, rejected, moved or unknown, and is settled with
//! that; one that is dropped on the way ends as rejected. A frame's budget at its sender is taken
//! until then, so what waits here is bounded by the senders.

use std::{ops::Range, sync::Arc, time::Instant};

use actix_cluster_transport::{Class, PeerId, Receipt, SendError, Session};
use bytes::Bytes;

use super::{
    cancel::{AskKey, Watch},
    delegation::{Claim, Claims, Delegation, answer_here},
    node_id, peer_id,
    pending::{Answer, Correlation},
    settling,
    wire::{Address, Extensions, Head, PayloadError, unknown_tell},
};
use crate::{
    actor::{mailbox::Remote, panic},
    call::{Travelling, Travels},
    message::WireId,
    node::{NodeCore, NodeId},
    reference::{RejectReason, UnknownReason},
};

/// A message from another node that has not had its turn.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Taken when the frame ends.
    origin: Option<Origin>,
    /// The target's hash, as its sender says.
    target: u64,
    to: To,
    payload: Bytes,
    body_at: usize,
    pub(crate) message: WireId,
    correlation: Option<Correlation>,
    pub(crate) deadline: Option<Instant>,
    /// What it says of answers that are owed to others than its sender.
    claims: Option<Box<Claims>>,
    /// What came along with it.
    pub(crate) travels: Travelling,
}

/// To whom a frame is sent, as its payload says: read once, and kept without borrowing from it.
#[derive(Clone, Debug)]
struct To {
    actor_type: WireId,
    which: Which,
}

#[derive(Clone, Debug)]
enum Which {
    Id(u64),
    /// Where in the payload the key is.
    Key(Range<usize>),
}

/// Where a frame came from, and so who is told how it ended.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Another node.
    There(Session, Receipt),
    /// This node: it was sent elsewhere, came back, and belongs here now.
    Here(Arc<NodeCore>),
}

/// A frame whose turn has begun.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Settled once it ends; `None` if it was handed over by another message.
    origin: Option<Origin>,
    deadline: Option<Instant>,
    /// There until it ends.
    asker: Option<Asker>,
}

/// Who hears how a turn ended.
#[derive(Debug)]
enum Asker {
    /// The sender, which awaits the result and has its message still.
    Sender(Correlation),
    /// The sender of a tell, if it is cut short. Nobody has its message any more, so it says what that
    /// was.
    Teller { target: u64, payload: Bytes },
    /// Somebody else than the sender awaits the result.
    Other(Box<Delegation>),
}

impl Frame {
    /// Reads a payload. `now` is when its time left begins to count.
    ///
    /// # Errors
    ///
    /// When it is no message that this release understands; the origin is given back.
    pub(crate) fn read(
        core: &Arc<NodeCore>,
        origin: Origin,
        target: u64,
        payload: Bytes,
        now: impl FnOnce() -> Instant,
    ) -> Result<Self, (Origin, PayloadError)> {
        let Parts { to, message, correlation, body_at, extensions } = match parts(&payload) {
            Ok(parts) => parts,
            Err(error) => return Err((origin, error)),
        };
        let claims = match Claims::read(core, &extensions, || core.clock().now()) {
            Ok(claims) => claims,
            Err(error) => return Err((origin, error)),
        };
        let travels = match Travels::read(&extensions) {
            Ok(travels) => travels,
            Err(error) => return Err((origin, error)),
        };
        let deadline = extensions.time_left.and_then(|left| now().checked_add(left));
        let origin = Some(origin);
        Ok(Self {
            origin,
            target,
            to,
            payload,
            body_at,
            message,
            correlation,
            deadline,
            claims,
            travels,
        })
    }

    /// The bytes of the message itself.
    pub(crate) fn body(&self) -> &[u8] {
        &self.payload[self.body_at..]
    }

    /// The type of whom it is sent to.
    pub(crate) fn actor_type(&self) -> WireId {
        self.to.actor_type
    }

    /// The target's hash, as its sender says.
    pub(crate) fn target(&self) -> u64 {
        self.target
    }

    /// To whom it is sent, until its turn begins.
    pub(crate) fn address(&self) -> Option<Address<'_>> {
        let WireId(actor_type) = self.to.actor_type;
        match &self.to.which {
            Which::Id(id) => Some(Address::Actor { actor_type, id: *id }),
            Which::Key(at) => {
                let key = str::from_utf8(self.payload.get(at.clone())?).ok()?;
                Some(Address::Entity { actor_type, key })
            }
        }
    }

    /// Whether somebody awaits the result.
    pub(crate) fn is_asked(&self) -> bool {
        let has_own = |claims: &Claims| claims.has_own();
        self.correlation.is_some() || self.claims.as_deref().is_some_and(has_own)
    }

    /// Settles a tell that was not handled, as nobody should.
    pub(crate) fn settle_tell(&mut self) {
        let is_told = self.correlation.is_none() && self.claims.is_none();
        let is_theirs = |origin: &mut Origin| matches!(origin, Origin::There(..));
        if is_told && let Some(Origin::There(session, receipt)) = self.origin.take_if(is_theirs) {
            session.settle(receipt);
        }
    }

    /// Who sent it, if another node did.
    pub(crate) fn from(&self) -> Option<Remote> {
        match &self.origin {
            Some(Origin::There(session, _)) => {
                Some(Remote { session: session.clone(), target: self.target })
            }
            Some(Origin::Here(_)) | None => None,
        }
    }

    /// The node that sent it, if another one did.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match &self.origin {
            Some(Origin::There(session, _)) => Some(node_id(session.peer())),
            Some(Origin::Here(_)) | None => None,
        }
    }

    /// It will not run.
    pub(crate) fn reject(mut self, reason: RejectReason) {
        self.give_back(reason);
    }

    fn give_back(&mut self, reason: RejectReason) {
        use RejectReason::{Cancelled, Expired};
        let Some(origin) = self.origin.take() else { return };
        // With its message an asker gets back what that carries, if it waits still.
        let is_given_back = self.correlation.is_some()
            && !matches!(reason, Cancelled | Expired)
            && !origin.is_gone();
        if let Some(claims) = self.claims.take().filter(|_| is_given_back) {
            claims.forget();
        }
        origin.reject(self.target, reason, &self.payload);
    }

    /// Lends what the message carries to whoever reads it.
    pub(crate) fn claims(&mut self) -> &mut Option<Box<Claims>> {
        &mut self.claims
    }

    /// Whether its asker has gone: it must not run.
    pub(crate) fn is_cancelled(&self, core: &NodeCore) -> bool {
        let (Some(origin), Some(correlation), Some(cluster)) =
            (&self.origin, self.correlation, core.cluster())
        else {
            return false;
        };
        cluster.cancels.take(|| core.clock().now(), || Some((origin.asker()?, correlation)))
    }

    /// Whether it is to go back, because something that its sender had sent before for its shard did.
    pub(crate) fn follows_what_went_back(&self, core: &NodeCore) -> bool {
        match (&self.origin, core.cluster()) {
            (Some(Origin::There(session, _)), Some(cluster)) => {
                cluster.routing.refuses(session, self.target)
            }
            _ => false,
        }
    }

    /// Whether it must not run, because an earlier message for its target was rejected and its
    /// sender had not seen that.
    pub(crate) fn is_held_back(&self) -> bool {
        match &self.origin {
            Some(Origin::There(session, receipt)) => {
                session.refusal(*receipt, self.target).is_some()
            }
            Some(Origin::Here(_)) | None => false,
        }
    }

    /// Its target is on another node: it goes back whole, and its sender is to find out where.
    pub(crate) fn moved(mut self, core: &NodeCore) {
        use RejectReason::Moved;
        let Some(origin) = self.origin.take() else { return };
        // Whoever gets it back owes what it carries; if nobody does, who waits for that is told.
        let claims = self.claims.take();
        match origin {
            Origin::There(session, receipt) => {
                // Counted before: once its sender knows that it has ended, it is.
                let returned = core.cluster().and_then(|cluster| cluster.routing.peer(&session));
                let count = returned.as_ref().map(|peer| &peer.returned);
                count.inspect(|count| count.sends_back(self.target));
                let mut moved = Head::Moved.put(Vec::with_capacity(self.payload.len() + 1));
                moved.extend_from_slice(&self.payload);
                match session.answer(receipt, self.target, &moved) {
                    Ok(()) => claims.into_iter().for_each(|claims| claims.forget()),
                    // Its end has told the sender already.
                    Err(SendError::Ended) => {}
                    // As long as a frame may be, the message has no room for the way back.
                    Err(_) => {
                        count.inspect(|count| count.does_not_send_back(self.target));
                        // With its message an asker gets back what that carries.
                        let is_asked = self.correlation.is_some();
                        claims.filter(|_| is_asked).into_iter().for_each(|claims| claims.forget());
                        Origin::There(session, receipt).reject(self.target, Moved, &[]);
                    }
                }
            }
            Origin::Here(core) => {
                claims.into_iter().for_each(|claims| claims.forget());
                core.redirect(self.target, &self.payload);
            }
        }
    }

    /// Its turn begins: from here on it may have run.
    pub(crate) fn begin(&mut self) -> Turn {
        let delegation = self.claims.as_mut().and_then(|claims| claims.take_own());
        let asker = match (delegation, self.correlation) {
            (Some(delegation), _) => Asker::Other(Box::new(delegation)),
            (None, Some(correlation)) => Asker::Sender(correlation),
            (None, None) => {
                Asker::Teller { target: self.target, payload: std::mem::take(&mut self.payload) }
            }
        };
        Turn { origin: self.origin.take(), deadline: self.deadline, asker: Some(asker) }
    }

    /// It has not run after all.
    pub(crate) fn take_back(&mut self, mut turn: Turn) {
        match turn.asker.take() {
            Some(Asker::Teller { payload, .. }) => self.payload = payload,
            Some(Asker::Other(delegation)) => {
                if let Some(claims) = &mut self.claims {
                    claims.put_own(*delegation);
                }
            }
            Some(Asker::Sender(_)) | None => {}
        }
        self.origin = turn.origin.take();
    }
}

/// What a payload's head says.
struct Parts<'a> {
    to: To,
    message: WireId,
    correlation: Option<Correlation>,
    body_at: usize,
    extensions: Extensions<'a>,
}

fn parts(payload: &[u8]) -> Result<Parts<'_>, PayloadError> {
    let (head, body) = Head::take(payload)?;
    let (to, message, correlation, extensions) = match head {
        Head::Tell { to, message, extensions } => (to, message, None, extensions),
        Head::Ask { to, message, correlation, extensions } => {
            (to, message, Some(correlation), extensions)
        }
        _ => return Err(PayloadError::Malformed),
    };
    let which = match to {
        Address::Actor { id, .. } => Which::Id(id),
        Address::Entity { key, .. } => {
            // It is a part of the payload.
            let key_at = key.as_ptr().addr() - payload.as_ptr().addr();
            Which::Key(key_at..key_at + key.len())
        }
    };
    Ok(Parts {
        to: To { actor_type: to.actor_type(), which },
        message: WireId(message),
        correlation,
        body_at: payload.len() - body.len(),
        extensions: Extensions::decode(extensions)?,
    })
}

impl Drop for Frame {
    fn drop(&mut self) {
        // While it is decoded, only the code that reads it can panic: it is not to be repeated.
        let unread = std::thread::panicking();
        self.give_back(if unread { RejectReason::Mismatch } else { RejectReason::Stopped });
    }
}

impl Origin {
    /// The node whose messages they are: this one, if they came home.
    fn node(&self) -> NodeId {
        match self {
            Self::There(session, _) => node_id(session.peer()),
            Self::Here(core) => core.id().clone(),
        }
    }

    /// As [`node`](Self::node), as the cancels of its asks name it.
    fn asker(&self) -> Option<PeerId> {
        match self {
            Self::There(session, _) => Some(session.peer().clone()),
            Self::Here(core) => peer_id(core.id()),
        }
    }

    /// Whether nobody there hears any more what becomes of it.
    fn is_gone(&self) -> bool {
        match self {
            Self::There(session, _) => session.has_ended(),
            Self::Here(_) => false,
        }
    }

    /// The frame will not run; `payload` is what is left of it.
    pub(crate) fn reject(self, target: u64, reason: RejectReason, payload: &[u8]) {
        match self {
            Self::There(session, receipt) => {
                session.reject(receipt, target, reason as u8, reason.later());
            }
            Self::Here(core) => core.give_up(reason, target, payload),
        }
    }
}

/// Replies longer than this, in bytes, are shared with the session instead of copied, if it sends
/// them as bulk.
pub(crate) const SHARE_OVER: usize = 16 * 1024;

impl Turn {
    /// The turn of a message that somebody else has handed over: its answer is owed here.
    pub(crate) fn of_claim(delegation: Delegation, deadline: Option<Instant>) -> Self {
        let asker = Some(Asker::Other(Box::new(delegation)));
        Self { origin: None, deadline, asker }
    }

    /// Whether somebody awaits the result.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.asker, Some(Asker::Sender(_) | Asker::Other(_)))
    }

    /// The ask as its cancel names it, if its sender awaits the result.
    pub(crate) fn key(&self) -> Option<AskKey> {
        match (&self.origin, &self.asker) {
            (Some(origin), Some(Asker::Sender(correlation))) => {
                Some((origin.asker()?, *correlation))
            }
            _ => None,
        }
    }

    /// Whether the node that sent it is gone, so that nobody there awaits the result.
    pub(crate) fn is_gone(&self) -> bool {
        self.origin.as_ref().is_some_and(Origin::is_gone)
    }

    /// The way to its asker and the ask as that knows it, if its sender awaits the result.
    pub(crate) fn link(&self) -> Option<(Session, Correlation)> {
        match (&self.origin, &self.asker) {
            (Some(Origin::There(session, _)), Some(Asker::Sender(correlation))) => {
                Some((session.clone(), *correlation))
            }
            _ => None,
        }
    }

    /// Who is to be answered, if not the sender.
    pub(crate) fn delegation(&self) -> Option<&Delegation> {
        match &self.asker {
            Some(Asker::Other(delegation)) => Some(delegation),
            Some(Asker::Sender(_) | Asker::Teller { .. }) | None => None,
        }
    }

    /// Settles the frame, and gives what it takes to answer its asker, who awaits the result of this
    /// version, from anywhere; `None` if nobody asked.
    pub(crate) fn into_delegation(
        mut self,
        core: &Arc<NodeCore>,
        version: WireId,
        watch: Option<Watch>,
    ) -> Option<Delegation> {
        let delegation = match (self.asker.take(), &self.origin) {
            (Some(Asker::Other(delegation)), _) => Some(*delegation),
            (Some(Asker::Sender(correlation)), Some(origin)) => {
                let claim = Claim { asker: origin.node(), correlation, hops: 0, version };
                Some(Delegation::watched(core, claim, watch))
            }
            _ => None,
        };
        self.settle();
        delegation
    }

    /// Until when somebody awaits the result.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The handler has returned, and nobody waits for what.
    pub(crate) fn finish(mut self) {
        self.asker = None;
        self.settle();
    }

    /// The handler's result, encoded by `encode` behind the head that it is given.
    /// It comes behind so many items.
    pub(crate) fn reply<E>(self, items: u64, encode: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, E>) {
        let correlation = match &self.asker {
            Some(Asker::Sender(correlation)) => *correlation,
            Some(Asker::Other(delegation)) => {
                delegation.reply(encode);
                return self.finish();
            }
            Some(Asker::Teller { .. }) | None => return,
        };
        let head = match (&self.origin, items) {
            (Some(Origin::Here(_)), _) => Vec::new(),
            (_, 0) => Head::Reply { correlation }.put(Vec::with_capacity(64)),
            (_, items) => Head::ReplyAfter { correlation, items }.put(Vec::with_capacity(64)),
        };
        let sent = match (encode(head), &self.origin) {
            (Ok(reply), Some(Origin::There(session, _))) => {
                let sent = if reply.len() > SHARE_OVER {
                    session.try_send(Class::Answer, correlation, 0, &Bytes::from(reply))
                } else {
                    session.try_send(Class::Answer, correlation, 0, &reply)
                };
                match sent {
                    // If the session is over, its end has told the asker already.
                    Ok(()) | Err(SendError::Ended) => Ok(()),
                    Err(SendError::Full) => Err(UnknownReason::RepliesFull),
                    Err(_) => Err(UnknownReason::BadReply),
                }
            }
            (Ok(reply), Some(Origin::Here(core))) => {
                answer_here(core, correlation, Answer::Reply(reply.into()));
                Ok(())
            }
            (Ok(_), None) => Ok(()),
            (Err(_), _) => Err(UnknownReason::BadReply),
        };
        match sent {
            Ok(()) => self.finish(),
            Err(reason) => self.fail(items, reason),
        }
    }

    /// It may have run, and there is no result. That comes behind so many items.
    pub(crate) fn fail(mut self, items: u64, reason: UnknownReason) {
        self.tell_unknown(items, reason);
    }

    /// Ends the turn without a result.
    fn tell_unknown(&mut self, items: u64, reason: UnknownReason) {
        if let (true, Some(Origin::There(session, _))) = (std::thread::panicking(), &self.origin) {
            panic::note_sender(node_id(session.peer()));
        }
        let reason_number = reason as u8;
        match (self.origin.take(), self.asker.take()) {
            (origin, Some(Asker::Other(delegation))) => {
                self.origin = origin;
                delegation.fail(reason);
                self.settle();
            }
            // These are short, and if the session is over, its end has told the sender already.
            (Some(Origin::There(session, receipt)), Some(Asker::Sender(correlation))) => {
                let head = match items {
                    0 => Head::Unknown { correlation, reason: reason_number },
                    items => Head::UnknownAfter { correlation, reason: reason_number, items },
                };
                let _ = session.answer(receipt, correlation, &head.put(Vec::new()));
            }
            (Some(Origin::There(session, receipt)), Some(Asker::Teller { target, payload })) => {
                let unknown = unknown_tell(reason_number, &payload);
                // With a long key it may be refused, where it is short enough without.
                if let Err(SendError::Full) = session.answer(receipt, target, &unknown) {
                    let head = Head::Unknown { correlation: 0, reason: reason_number };
                    let _ = session.answer(receipt, target, &head.put(Vec::new()));
                }
            }
            (Some(Origin::Here(core)), Some(Asker::Teller { target, payload })) => {
                let letters = core.dead_letters();
                letters.unknown(reason, |letters| letters.about_payload(&payload, target));
            }
            (Some(Origin::Here(core)), Some(Asker::Sender(correlation))) => {
                answer_here(&core, correlation, Answer::Unknown(reason));
            }
            (None, _) | (_, None) => {}
        }
    }

    fn settle(&mut self) {
        if let Some(Origin::There(session, receipt)) = self.origin.take() {
            settling::settle(session, receipt);
        }
    }
}

impl Drop for Turn {
    /// The turn was cut short.
    fn drop(&mut self) {
        if self.asker.is_some() {
            let panicked = std::thread::panicking();
            let reason = match panicked {
                true => UnknownReason::Panicked,
                false => UnknownReason::NoReply,
            };
            // Whoever has sent items says so when it fails.
            self.tell_unknown(0, reason);
        }
    }
}
