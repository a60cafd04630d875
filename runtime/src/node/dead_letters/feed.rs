//! Who is told of a node's dead letters.
//!
//! Invariant: a subscriber keeps at most [`KEPT`] letters that it has not taken; one more, and the
//! oldest is dropped and counted as missed, so that nobody is held up and memory is bounded.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use super::DeadLetter;

/// How many letters wait for one subscriber.
pub(crate) const KEPT: usize = 1_024;

#[derive(Default)]
pub(crate) struct Feed {
    /// How many subscribers there are: all that is looked at while there is none.
    watched: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Arc<Tray>>,
    closed: bool,
}

/// What waits for one subscriber.
#[derive(Default)]
struct Tray(Mutex<Letters>);

#[derive(Default)]
struct Letters {
    waiting: VecDeque<DeadLetter>,
    missed: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Feed {
    /// Whether anybody is to be told.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn subscribe(self: &Arc<Self>) -> DeadLetterSubscription {
        let tray = Arc::new(Tray::default());
        let mut state = self.lock();
        tray.lock().closed = state.closed;
        if !state.closed {
            state.subscribers.push(Arc::clone(&tray));
            self.watched.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        DeadLetterSubscription { feed: Arc::clone(self), tray }
    }

    pub(crate) fn publish(&self, letter: &DeadLetter) {
        let wakers: Vec<_> =
            self.lock().subscribers.iter().filter_map(|tray| tray.put(letter.clone())).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// No letter comes any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let trays = std::mem::take(&mut state.subscribers);
        self.watched.store(0, Ordering::Relaxed);
        drop(state);
        for tray in trays {
            let mut letters = tray.lock();
            letters.closed = true;
            let waker = letters.waker.take();
            drop(letters);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn leave(&self, tray: &Arc<Tray>) {
        let mut state = self.lock();
        if let Some(at) = state.subscribers.iter().position(|other| Arc::ptr_eq(other, tray)) {
            state.subscribers.swap_remove(at);
            self.watched.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only list operations run under this lock, so a poisoned one guards a whole list.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tray {
    /// Puts a letter in; returns whom to wake.
    fn put(&self, letter: DeadLetter) -> Option<Waker> {
        let mut letters = self.lock();
        if letters.waiting.len() >= KEPT {
            letters.waiting.pop_front();
            letters.missed += 1;
        }
        letters.waiting.push_back(letter);
        letters.waker.take()
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        // As above.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's dead letters from now on; made by
/// [`Node::subscribe_dead_letters`](crate::Node::subscribe_dead_letters).
///
/// At most 1,024 letters wait for a subscriber. One that does not keep up misses the oldest, which
/// are counted: nobody who sends is ever held up.
pub struct DeadLetterSubscription {
    feed: Arc<Feed>,
    tray: Arc<Tray>,
}

impl DeadLetterSubscription {
    /// Waits for the next letter; `None` once the node has shut down and all were taken.
    ///
    /// # Cancel safety
    ///
    /// Safe: no letter is lost.
    pub async fn next(&mut self) -> Option<DeadLetter> {
        poll_fn(|task| self.poll_letter(task)).await
    }

    /// The next letter, if one waits.
    pub fn try_next(&mut self) -> Option<DeadLetter> {
        self.tray.lock().waiting.pop_front()
    }

    /// How many letters were dropped because too many waited.
    pub fn missed(&self) -> u64 {
        self.tray.lock().missed
    }

    fn poll_letter(&mut self, task: &Context<'_>) -> Poll<Option<DeadLetter>> {
        let mut letters = self.tray.lock();
        if let Some(letter) = letters.waiting.pop_front() {
            return Poll::Ready(Some(letter));
        }
        if letters.closed {
            return Poll::Ready(None);
        }
        letters.waker = Some(task.waker().clone());
        Poll::Pending
    }
}

impl futures_core::Stream for DeadLetterSubscription {
    type Item = DeadLetter;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<DeadLetter>> {
        self.get_mut().poll_letter(task)
    }
}

impl Drop for DeadLetterSubscription {
    fn drop(&mut self) {
        self.feed.leave(&self.tray);
    }
}

impl fmt::Debug for DeadLetterSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterSubscription")
            .field("missed", &self.missed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("watched", &self.watched).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::DeadLetterOutcome, reference::RejectReason};

    fn letter(number: u16) -> DeadLetter {
        let target = super::super::DeadLetterTarget::Entity { key: None, shard: number };
        DeadLetter {
            actor: None,
            target: Some(target),
            message: None,
            outcome: DeadLetterOutcome::Rejected(RejectReason::Full),
            sender: None,
            poison: None,
        }
    }

    #[test]
    fn a_subscriber_that_does_not_keep_up_misses_the_oldest_and_is_told_how_many() {
        let feed = Arc::new(Feed::default());
        let (mut slow, mut quick) = (feed.subscribe(), feed.subscribe());
        for number in 0..KEPT as u16 + 3 {
            feed.publish(&letter(number));
            assert_eq!(quick.try_next(), Some(letter(number)));
        }
        assert_eq!((slow.missed(), quick.missed()), (3, 0));
        assert_eq!(slow.try_next(), Some(letter(3)), "the oldest that is left");
        let left = std::iter::from_fn(|| slow.try_next()).count();
        assert_eq!(left, KEPT - 1);
    }

    #[test]
    fn nobody_watches_once_the_last_subscriber_has_gone() {
        let feed = Arc::new(Feed::default());
        assert!(!feed.is_watched());
        let (first, second) = (feed.subscribe(), feed.subscribe());
        drop(first);
        assert!(feed.is_watched());
        drop(second);
        assert!(!feed.is_watched());
        assert!(feed.lock().subscribers.is_empty());
    }

    #[tokio::test]
    async fn a_closed_feed_gives_what_waits_and_then_ends() {
        let feed = Arc::new(Feed::default());
        let mut subscription = feed.subscribe();
        feed.publish(&letter(1));
        feed.close();
        assert_eq!(subscription.next().await, Some(letter(1)));
        assert_eq!(subscription.next().await, None);
        assert_eq!(feed.subscribe().next().await, None, "one who comes too late");
        drop(subscription);
        assert!(!feed.is_watched());
    }
}
