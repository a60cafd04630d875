//! A message from another node, on its way to its turn, and the one outcome it comes to.
//!
//! Invariant: each frame ends once, as handled, rejected, moved or unknown, and is settled with
//! that; one that is dropped on the way ends as rejected. A frame's budget at its sender is taken
//! until then, so what waits here is bounded by the senders.

use std::{sync::Arc, time::Instant};

use actix_cluster_transport::{Class, Receipt, SendError, Session};
use bytes::Bytes;

use super::{
    node_id,
    pending::Correlation,
    wire::{Address, Extensions, Head, PayloadError, unknown_tell},
};
use crate::{
    actor::{mailbox::Remote, panic},
    message::{CodecError, RemoteMessage, WireId, version},
    node::NodeCore,
    reference::{RejectReason, UnknownReason},
};

/// A message from another node that has not had its turn.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Taken when the frame ends.
    origin: Option<Origin>,
    /// The target's hash.
    target: u64,
    payload: Bytes,
    body_at: usize,
    pub(crate) message: WireId,
    correlation: Option<Correlation>,
    pub(crate) deadline: Option<Instant>,
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
    origin: Option<Origin>,
    about: About,
}

/// What a turn that is cut short tells its sender.
#[derive(Debug)]
enum About {
    /// The asker has its message still, and awaits the result of this version.
    Asked { correlation: Correlation, message: WireId },
    /// Nobody has a tell's message any more, so it says what that was.
    Told { target: u64, payload: Bytes },
}

impl Frame {
    /// Reads a payload. `now` is when its time left begins to count.
    ///
    /// # Errors
    ///
    /// When it is no message that this release understands; the origin is given back.
    pub(crate) fn read(
        origin: Origin,
        target: u64,
        payload: Bytes,
        now: impl FnOnce() -> Instant,
    ) -> Result<Self, (Origin, PayloadError)> {
        let (message, correlation, body_at, extensions) = match parts(&payload) {
            Ok(parts) => parts,
            Err(error) => return Err((origin, error)),
        };
        let deadline = extensions.time_left.and_then(|left| now().checked_add(left));
        let origin = Some(origin);
        Ok(Self { origin, target, payload, body_at, message, correlation, deadline })
    }

    /// The bytes of the message itself.
    pub(crate) fn body(&self) -> &[u8] {
        &self.payload[self.body_at..]
    }

    /// To whom it is sent. It was read once already, so it can be read again.
    pub(crate) fn address(&self) -> Option<Address<'_>> {
        match Head::take(&self.payload) {
            Ok((Head::Tell { to, .. } | Head::Ask { to, .. }, _)) => Some(to),
            Ok(_) | Err(_) => None,
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

    /// It will not run.
    pub(crate) fn reject(mut self, reason: RejectReason) {
        if let Some(origin) = self.origin.take() {
            origin.reject(self.target, reason, &self.payload);
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

    /// Its target is on another node: the sender is to find out where. A tell goes back whole, an
    /// asker has its message still.
    pub(crate) fn moved(mut self) {
        use RejectReason::Moved;
        let Some(origin) = self.origin.take() else { return };
        match (origin, self.correlation) {
            (Origin::There(session, receipt), None) => {
                let mut moved = Head::Moved.put(Vec::with_capacity(self.payload.len() + 1));
                moved.extend_from_slice(&self.payload);
                match session.answer(receipt, self.target, &moved) {
                    // If the session is over, its end has told the sender already.
                    Ok(()) | Err(SendError::Ended) => {}
                    // As long as a frame may be, the message has no room for the way back.
                    Err(_) => Origin::There(session, receipt).reject(self.target, Moved, &[]),
                }
            }
            (Origin::Here(core), None) => core.redirect(self.target, &self.payload),
            (origin, Some(_)) => origin.reject(self.target, Moved, &self.payload),
        }
    }

    /// Its turn begins: from here on it may have run.
    pub(crate) fn begin(&mut self) -> Turn {
        let about = match self.correlation {
            Some(correlation) => About::Asked { correlation, message: self.message },
            None => About::Told { target: self.target, payload: std::mem::take(&mut self.payload) },
        };
        Turn { origin: self.origin.take(), about }
    }

    /// It has not run after all.
    pub(crate) fn take_back(&mut self, mut turn: Turn) {
        if let About::Told { payload, .. } = &mut turn.about {
            self.payload = std::mem::take(payload);
        }
        self.origin = turn.origin.take();
    }
}

/// Message, correlation, where the body begins, and the extensions.
type Parts = (WireId, Option<Correlation>, usize, Extensions);

fn parts(payload: &[u8]) -> Result<Parts, PayloadError> {
    let (head, body) = Head::take(payload)?;
    let (message, correlation, extensions) = match head {
        Head::Tell { message, extensions, .. } => (message, None, extensions),
        Head::Ask { message, correlation, extensions, .. } => {
            (message, Some(correlation), extensions)
        }
        _ => return Err(PayloadError::Malformed),
    };
    let extensions = Extensions::decode(extensions)?;
    Ok((WireId(message), correlation, payload.len() - body.len(), extensions))
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(origin) = self.origin.take() {
            // While it is decoded, only the code that reads it can panic: it is not to be repeated.
            let unread = std::thread::panicking();
            let reason = if unread { RejectReason::Mismatch } else { RejectReason::Stopped };
            origin.reject(self.target, reason, &self.payload);
        }
    }
}

impl Origin {
    /// The frame will not run; `payload` is what is left of it.
    pub(crate) fn reject(self, target: u64, reason: RejectReason, payload: &[u8]) {
        match self {
            Self::There(session, receipt) => {
                session.reject(receipt, target, reason as u8, reason.later());
            }
            Self::Here(core) => {
                let letters = core.dead_letters();
                letters.rejected(reason, |letters| letters.about_payload(payload, target));
            }
        }
    }
}

/// Replies longer than this, in bytes, are shared with the session instead of copied, if it sends
/// them as bulk.
const SHARE_OVER: usize = 16 * 1024;

impl Turn {
    /// Whether somebody awaits the result.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.about, About::Asked { .. })
    }

    /// The handler has returned, and nobody waits for what.
    pub(crate) fn finish(mut self) {
        self.settle();
    }

    /// The handler's result, as the version that was asked has it.
    pub(crate) fn answer<M: RemoteMessage>(self, result: M::Result) {
        let About::Asked { message, .. } = self.about else { return };
        self.reply(|out| version::encode_result::<M>(message, result, out));
    }

    /// The result, encoded by `encode` behind the head that it is given.
    fn reply(mut self, encode: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, CodecError>) {
        let About::Asked { correlation, .. } = self.about else { return };
        let head = Head::Reply { correlation }.put(Vec::with_capacity(64));
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
            (Ok(_), _) => Ok(()),
            (Err(_), _) => Err(UnknownReason::BadReply),
        };
        match sent {
            Ok(()) => self.settle(),
            Err(reason) => self.fail(reason),
        }
    }

    /// It may have run, and there is no result.
    pub(crate) fn fail(mut self, reason: UnknownReason) {
        self.tell_unknown(reason);
    }

    /// Ends the turn without a result.
    fn tell_unknown(&mut self, reason: UnknownReason) {
        let reason_number = reason as u8;
        match (self.origin.take(), &self.about) {
            // These are short, and if the session is over, its end has told the sender already.
            (Some(Origin::There(session, receipt)), About::Asked { correlation, .. }) => {
                let correlation = *correlation;
                let head = Head::Unknown { correlation, reason: reason_number };
                let _ = session.answer(receipt, correlation, &head.put(Vec::new()));
            }
            (Some(Origin::There(session, receipt)), About::Told { target, payload }) => {
                let unknown = unknown_tell(reason_number, payload);
                // With a long key it may be refused, where it is short enough without.
                if let Err(SendError::Full) = session.answer(receipt, *target, &unknown) {
                    let head = Head::Unknown { correlation: 0, reason: reason_number };
                    let _ = session.answer(receipt, *target, &head.put(Vec::new()));
                }
            }
            (Some(Origin::Here(core)), About::Told { target, payload }) => {
                let letters = core.dead_letters();
                letters.unknown(reason, |letters| letters.about_payload(payload, *target));
            }
            // An ask comes back by itself, and never through here.
            (Some(Origin::Here(_)), About::Asked { .. }) | (None, _) => {}
        }
    }

    fn settle(&mut self) {
        if let Some(Origin::There(session, receipt)) = self.origin.take() {
            session.settle(receipt);
        }
    }
}

impl Drop for Turn {
    /// The turn was cut short.
    fn drop(&mut self) {
        if self.origin.is_some() {
            let panicked = std::thread::panicking();
            if let (true, Some(Origin::There(session, _))) = (panicked, &self.origin) {
                panic::note_sender(node_id(session.peer()));
            }
            let reason = if panicked { UnknownReason::Panicked } else { UnknownReason::NoReply };
            self.tell_unknown(reason);
        }
    }
}
