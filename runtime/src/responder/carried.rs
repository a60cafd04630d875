//! Responders inside of messages to other nodes.
//!
//! While a message is written, its responders are collected here; once it has been accepted, they belong
//! to whoever receives it. Invariant: a responder is held by one node at a time, or by a message on its
//! way; a message that comes back unhandled has it again.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    call::Travelling,
    cluster::{
        delegation::{self, CLAIMS_LIMIT, Claim, Claims, Delegation, WireClaim},
        frame::Frame,
    },
    handler::owed::{Encoding, Owed, Unclaimed},
    message::WireId,
    node::{NodeCore, NodeId},
};

/// What a responder holds, while it is one of this node.
pub(crate) struct Hand<R> {
    core: Arc<NodeCore>,
    state: Mutex<State<R>>,
}

enum State<R> {
    Held(Owed<R>),
    /// Another node answers, unless it gives it back.
    Away {
        claim: Claim,
        encoding: Encoding<R>,
        deadline: Option<Instant>,
    },
    Ended,
}

/// A responder that a message carries, whatever it answers.
trait Carry: Send + Sync {
    /// As the receiver is to know it.
    fn claim(&self) -> Result<(Claim, Duration), CarryError>;
    fn hand_over(&self, to: &NodeId);
    fn take_back(&self);
}

/// Why a responder can't be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CarryError {
    /// It is written to something else than a message.
    NoMessage,
    /// The message carries as many as it may.
    TooMany,
    /// It answers no more: it was sent before.
    Gone,
    /// Too many answers are awaited.
    Full,
}

impl fmt::Display for CarryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMessage => "a responder is written inside of a message to another node only",
            Self::TooMany => "a message carries too many responders",
            Self::Gone => "the responder was sent before",
            Self::Full => "too many answers are awaited",
        })
    }
}

impl<R> Hand<R> {
    pub(super) fn new(core: &Arc<NodeCore>, owed: Owed<R>) -> Self {
        Self { core: Arc::clone(core), state: Mutex::new(State::Held(owed)) }
    }

    pub(super) fn take(&self) -> Option<Owed<R>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Ended) {
            State::Held(owed) => Some(owed),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Puts back what was taken.
    pub(super) fn put(&self, owed: Owed<R>) {
        *self.lock() = State::Held(owed);
    }

    /// What came along with the message that is to be answered.
    pub(super) fn travels(&self) -> Travelling {
        match &*self.lock() {
            State::Held(owed) => owed.travels().clone(),
            State::Away { .. } | State::Ended => None,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        match &*self.lock() {
            State::Held(owed) => owed.is_gone(),
            State::Away { .. } | State::Ended => true,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &*self.lock() {
            State::Held(owed) => owed.deadline(),
            State::Away { deadline, .. } => *deadline,
            State::Ended => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        // A state is replaced whole, so a poisoned lock guards a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Send + 'static> Carry for Hand<R> {
    fn claim(&self) -> Result<(Claim, Duration), CarryError> {
        let State::Held(owed) = &mut *self.lock() else { return Err(CarryError::Gone) };
        let deadline = owed.deadline();
        let delegation = owed.delegation(&self.core).map_err(|unclaimed| match unclaimed {
            Unclaimed::NotAsked => CarryError::Gone,
            Unclaimed::Full => CarryError::Full,
        })?;
        let claim = delegation.claim().next();
        let now = self.core.clock().now();
        let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(now));
        Ok((claim, left))
    }

    fn hand_over(&self, to: &NodeId) {
        let mut state = self.lock();
        let State::Held(owed) = std::mem::replace(&mut *state, State::Ended) else { return };
        let (encoding, deadline) = (owed.encoding(), owed.deadline());
        if let Some(claim) = owed.hand_over(&self.core, to) {
            *state = State::Away { claim, encoding, deadline };
        }
    }

    fn take_back(&self) {
        let mut state = self.lock();
        *state = match std::mem::replace(&mut *state, State::Ended) {
            State::Away { claim, encoding, deadline } => {
                let delegation = Delegation::take_back(&self.core, claim);
                State::Held(Owed::delegated(delegation, deadline, encoding))
            }
            other => other,
        };
    }
}

/// The responders that one message carries.
#[derive(Default)]
pub(crate) struct Carried(Vec<Arc<dyn Carry>>);

impl Carried {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their claims, one after the other.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let claims = self.0.iter().filter_map(|hand| hand.claim().ok());
        claims.fold(Vec::new(), |out, (claim, left)| WireClaim::new(&claim, left).put(out))
    }

    /// The message was accepted: `to` answers from now on.
    pub(crate) fn hand_over(&self, to: &NodeId) {
        self.0.iter().for_each(|hand| hand.hand_over(to));
    }

    /// The message came back unhandled.
    pub(crate) fn take_back(&self) {
        self.0.iter().for_each(|hand| hand.take_back());
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Carried").field(&self.0.len()).finish()
    }
}

thread_local! {
    /// The responders of the message that the current thread writes, if it writes one.
    static WRITTEN: RefCell<Option<Carried>> = const { RefCell::new(None) };
    /// The claims of the message that the current thread reads, if it has some.
    static READ: RefCell<Option<Box<Claims>>> = const { RefCell::new(None) };
}

/// Puts back what was written before, also when writing panics.
struct Before(Option<Carried>);

impl Drop for Before {
    fn drop(&mut self) {
        WRITTEN.set(self.0.take());
    }
}

/// Collects the responders in what `write` writes.
pub(crate) fn collect<T>(write: impl FnOnce() -> T) -> (T, Carried) {
    let before = Before(WRITTEN.replace(Some(Carried::default())));
    let written = write();
    let carried = WRITTEN.take().unwrap_or_default();
    drop(before);
    (written, carried)
}

/// Adds a responder to the message that is written. Returns its place in it.
pub(super) fn add<R: Send + 'static>(hand: &Arc<Hand<R>>) -> Result<u32, CarryError> {
    WRITTEN.with_borrow_mut(|written| {
        let Carried(hands) = written.as_mut().ok_or(CarryError::NoMessage)?;
        if hands.len() >= CLAIMS_LIMIT {
            return Err(CarryError::TooMany);
        }
        hand.claim()?;
        hands.push(Arc::clone(hand) as Arc<dyn Carry>);
        Ok(hands.len() as u32 - 1)
    })
}

/// Lends a frame's claims to whoever reads the message.
pub(crate) fn lend<T>(frame: &mut Frame, read: impl FnOnce(&Frame) -> T) -> T {
    let Some(claims) = frame.claims().take() else { return read(frame) };
    READ.set(Some(claims));
    let value = read(frame);
    *frame.claims() = READ.take();
    value
}

/// Takes a claim of the message that is read, if it is for a version that is known. Each can be taken
/// once.
pub(super) fn take(place: usize, is_known: fn(WireId) -> bool) -> Option<delegation::Carried> {
    READ.with_borrow_mut(|read| read.as_mut()?.take_carried(place, is_known))
}
