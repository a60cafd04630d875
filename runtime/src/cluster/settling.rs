//! Frames whose turns have ended, until their session is told: together, for one poll of their actor.
//!
//! Invariant: what is kept back is told when the poll is over, however it ends, and before it is more
//! than [`LIMIT`]. Outside of a poll every frame is told of at once.

use std::cell::{Cell, RefCell};

use actix_cluster_transport::{Receipt, Session};

/// How many frames are kept back at most. Where each turn takes long, the budget of so many is not free
/// until the poll is over, and they end *unknown* if the process is killed before, although they were
/// handled: so few, that it is no more than what the peer has under way anyhow.
const LIMIT: usize = 16;

thread_local! {
    /// Whether a poll has begun on this thread.
    static IS_GATHERING: Cell<bool> = const { Cell::new(false) };
    /// Whether it has kept anything back.
    static HAS_ANY: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { session: None, receipts: Vec::new() }) };
}

/// What is kept back, all of one session.
struct Kept {
    session: Option<Session>,
    receipts: Vec<Receipt>,
}

impl Kept {
    fn tell(&mut self) {
        if let Some(session) = self.session.take() {
            session.settle_all(self.receipts.drain(..));
        }
    }
}

/// Keeps back what settles on this thread, until it is dropped.
#[must_use = "it gathers until it is dropped"]
pub(crate) struct Gathering(());

/// Begins a poll.
pub(crate) fn gather() -> Gathering {
    IS_GATHERING.set(true);
    Gathering(())
}

impl Drop for Gathering {
    fn drop(&mut self) {
        IS_GATHERING.set(false);
        if HAS_ANY.replace(false) {
            KEPT.with_borrow_mut(Kept::tell);
        }
    }
}

/// Settles a frame, now or at the end of this thread's poll.
pub(crate) fn settle(session: Session, receipt: Receipt) {
    if !IS_GATHERING.get() {
        return session.settle(receipt);
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.receipts.len() >= LIMIT || kept.session.as_ref() != Some(&session) {
            kept.tell();
            kept.session = Some(session);
        }
        kept.receipts.push(receipt);
    });
    HAS_ANY.set(true);
}
