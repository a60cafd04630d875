//! What has come to a probe and was not expected yet.
//!
//! Invariant: it holds at most [`LIMIT`] items in the order in which they came, and counts each that it had no
//! room for.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use actix_cluster_transport::clock::Instant;
use tokio::sync::Notify;

use super::Expected;
use crate::{Clock, RemoteMessage, Terminated};

/// How much waits to be expected at most.
pub(super) const LIMIT: usize = 1_024;

#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    lost: u64,
}

/// Something that has come.
pub(super) enum Item {
    Message {
        /// An `Expected<M>`.
        expected: Box<dyn Any + Send>,
        show: fn(&(dyn Any + Send), &mut fmt::Formatter<'_>) -> fmt::Result,
    },
    Terminated(Terminated),
}

impl Item {
    pub(super) fn of<M: RemoteMessage + fmt::Debug>(expected: Expected<M>) -> Self {
        Self::Message {
            expected: Box::new(expected),
            show: |expected, f| match expected.downcast_ref::<Expected<M>>() {
                Some(expected) => fmt::Display::fmt(expected, f),
                None => f.write_str(M::NAME),
            },
        }
    }

    /// The message, if it is an `M`.
    pub(super) fn message<M: RemoteMessage>(self) -> Result<Expected<M>, Self> {
        match self {
            Self::Message { expected, show } => match expected.downcast::<Expected<M>>() {
                Ok(expected) => Ok(*expected),
                Err(expected) => Err(Self::Message { expected, show }),
            },
            end @ Self::Terminated(_) => Err(end),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { expected, show } => show(&**expected, f),
            Self::Terminated(end) => write!(f, "the end of {}: {}", end.target, end.reason),
        }
    }
}

impl Inbox {
    pub(super) fn put(&self, item: Item) {
        let refused = {
            let mut waiting = self.lock();
            if waiting.items.len() < LIMIT {
                waiting.items.push_back(item);
                None
            } else {
                waiting.lost += 1;
                Some(item)
            }
        };
        // Outside of the lock: what it drops is the user's.
        drop(refused);
        self.arrived.notify_one();
    }

    /// The next item, as soon as there is one; none at the deadline.
    pub(super) async fn take_by(&self, deadline: Instant) -> Option<Item> {
        let mut late = Clock::default().sleep_until(deadline);
        loop {
            if let Some(item) = self.take() {
                return Some(item);
            }
            tokio::select! {
                biased;
                () = self.arrived.notified() => {}
                () = &mut late => return self.take(),
            }
        }
    }

    /// How many found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn take(&self) -> Option<Item> {
        self.lock().items.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
