//! What is owed for an ask, while a message leaves that is to answer it.
//!
//! ```text
//!  asker ──ask──> here ──message──> there        the asker takes the result as it is
//!    ^───────────answer───────────────┘
//!
//!  asker ──ask as V1──> here ──message──> there  only this node knows what V1 is answered
//!    ^──answer to V1──────┘ ^──answer───────┘
//! ```
//!
//! Invariant: a message that was not sent owes nothing, and what is owed is given back.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Wake, Waker},
};

use crate::{
    actor::panic,
    cluster::{
        cancel,
        delegation::{self, Claim},
        pending::{Answer, Correlation},
    },
    handler::owed::{Owed, Unclaimed},
    message::{RemoteMessage, WireId, version},
    node::{NodeCore, NodeId},
    reference::UnknownReason,
};

/// An end that another node is about to owe.
pub(crate) struct Leaving<R> {
    core: Arc<NodeCore>,
    /// What the message is to say of it; `None` if nobody awaits its result.
    claim: Option<Claim>,
    kept: Kept<R>,
}

enum Kept<R> {
    /// The answer goes straight to the asker.
    Straight(Owed<R>),
    /// This node reads it, and answers itself.
    Through(Slot<R>),
}

/// Taken by whoever ends it: the answer, or the asker that goes away.
type Slot<R> = Arc<Mutex<Option<Owed<R>>>>;

impl<R: Send + 'static> Leaving<R> {
    /// Makes an end ready for this target, where a message `N` that goes there as `version` decides it.
    ///
    /// # Errors
    ///
    /// The end, unchanged, when too many answers are awaited.
    pub(crate) fn begin<N: RemoteMessage<Result = R>>(
        core: &Arc<NodeCore>,
        version: WireId,
        target: u64,
        mut owed: Owed<R>,
    ) -> Result<Self, Box<Owed<R>>> {
        if version != N::WIRE_ID || !owed.encoding().is_as_handled() {
            return through::<N>(core, version, target, owed);
        }
        let claim = match owed.delegation(core) {
            Ok(delegation) => Some(Claim { version, ..delegation.claim().next() }),
            Err(Unclaimed::NotAsked) => None,
            Err(Unclaimed::Full) => return Err(Box::new(owed)),
        };
        Ok(Self { core: Arc::clone(core), claim, kept: Kept::Straight(owed) })
    }

    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The message was sent: this node owes it now.
    pub(crate) fn sent(self, to: &NodeId) {
        match self.kept {
            Kept::Straight(owed) => drop(owed.hand_over(&self.core, to)),
            Kept::Through(_) => {
                if let Some(claim) = &self.claim {
                    delegation::follow(&self.core, claim, to);
                }
            }
        }
    }

    /// The message was not sent. Gives what is owed, unless its asker has gone.
    pub(crate) fn unsent(self) -> Option<Owed<R>> {
        match self.kept {
            Kept::Straight(owed) => Some(owed),
            Kept::Through(slot) => {
                let owed = lock(&slot).take();
                if let Some(claim) = &self.claim {
                    self.core.forget_answer(claim.correlation);
                }
                owed
            }
        }
    }
}

/// Awaits the answer of a message that goes to another node, in the asker's place.
fn through<N: RemoteMessage>(
    core: &Arc<NodeCore>,
    version: WireId,
    target: u64,
    owed: Owed<N::Result>,
) -> Result<Leaving<N::Result>, Box<Owed<N::Result>>> {
    let Some(cluster) = core.cluster().filter(|_| owed.is_asked()) else {
        return Ok(Leaving { core: Arc::clone(core), claim: None, kept: Kept::Straight(owed) });
    };
    let slot = Arc::new(Mutex::new(Some(owed)));
    let reader = Reader::<N> {
        core: Arc::clone(core),
        version,
        slot: Arc::clone(&slot),
        message: PhantomData,
    };
    let Ok(correlation) = cluster.pending.leave(core.id(), reader, Reader::read) else {
        return Err(Box::new(lock(&slot).take().expect("it was not awaited")));
    };
    let gone = Gone { core: Arc::downgrade(core), correlation, target };
    let waker = Waker::from(Arc::new(gone));
    let is_gone = match &mut *lock(&slot) {
        Some(owed) => owed.poll_gone(&mut Context::from_waker(&waker)).is_ready(),
        None => true,
    };
    if is_gone {
        waker.wake();
    }
    let claim = Claim { asker: core.id().clone(), correlation, hops: 1, version };
    Ok(Leaving { core: Arc::clone(core), claim: Some(claim), kept: Kept::Through(slot) })
}

/// Reads an answer in the version that was sent, and answers in the one that was asked.
struct Reader<N: RemoteMessage> {
    core: Arc<NodeCore>,
    version: WireId,
    slot: Slot<N::Result>,
    message: PhantomData<fn() -> N>,
}

impl<N: RemoteMessage> Reader<N> {
    fn read(self, answer: Answer) {
        let Some(owed) = lock(&self.slot).take() else { return };
        let bytes = match answer {
            Answer::Reply(bytes) => bytes,
            Answer::Unknown(reason) => return owed.fail(reason),
            Answer::Rejected(_) => return owed.fail(UnknownReason::NoReply),
        };
        let _scope = NodeCore::enter(&self.core);
        // Code of the messages' own, which may panic. What is owed says so when it is dropped.
        let answered =
            panic::catch(move || match version::decode_result::<N>(self.version, &bytes) {
                Ok(result) => owed.reply(result),
                Err(error) => {
                    tracing::warn!(message = N::NAME, %error, "a reply could not be read");
                    owed.fail(UnknownReason::BadReply);
                }
            });
        answered.unwrap_or_else(|panic| panic.report("conversion of a reply"));
    }
}

/// Called when the asker has gone: nobody awaits the answer any more.
struct Gone {
    core: Weak<NodeCore>,
    correlation: Correlation,
    target: u64,
}

impl Wake for Gone {
    fn wake(self: Arc<Self>) {
        let Some(core) = self.core.upgrade() else { return };
        if let Some(node) = core.forget_answer(self.correlation) {
            cancel::send(&core, &node, self.target, self.correlation);
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    // It is taken or left as a whole, so a poisoned lock guards a whole one.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
