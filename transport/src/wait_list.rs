//! Senders that wait for room, in order of arrival.
//!
//! Invariant: only the first waiter may take freed room, and whoever leaves the front passes the
//! word on, so that no wake-up is lost and nobody overtakes.
//! Knows no queue: its owner decides when there is room.

use std::{collections::VecDeque, task::Waker};

/// A place in a [`WaitList`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How many may wait for one target; one more is refused at once.
pub const WAITERS_LIMIT: usize = 16_384;

/// Senders that wait for one target, in order of arrival.
#[derive(Debug, Default)]
pub struct WaitList {
    next: u64,
    line: VecDeque<(Ticket, Waker)>,
}

impl WaitList {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Joins the end of the line; `None` when it is full.
    pub fn join(&mut self, waker: &Waker) -> Option<Ticket> {
        if self.line.len() >= WAITERS_LIMIT {
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.line.push_back((ticket, waker.clone()));
        Some(ticket)
    }

    /// Whether `ticket` may take room now.
    pub fn is_first(&self, ticket: Ticket) -> bool {
        self.line.front().is_some_and(|(first, _)| *first == ticket)
    }

    /// Renews the waker of a waiter that was polled again. Returns whether it is in the line still.
    pub fn renew(&mut self, ticket: Ticket, waker: &Waker) -> bool {
        let position = self.position(ticket);
        if let Some(at) = position {
            self.line[at].1.clone_from(waker);
        }
        position.is_some()
    }

    /// Leaves the line, served or given up.
    pub fn leave(&mut self, ticket: Ticket) {
        if let Some(at) = self.position(ticket) {
            self.line.remove(at);
        }
    }

    /// Who is to be told that there is room.
    pub fn first(&self) -> Option<Waker> {
        self.line.front().map(|(_, waker)| waker.clone())
    }

    /// The waker of whoever has so many before it.
    pub fn at(&self, position: usize) -> Option<Waker> {
        self.line.get(position).map(|(_, waker)| waker.clone())
    }

    /// Empties the line: everybody is to look again.
    pub fn drain(&mut self) -> Vec<Waker> {
        self.line.drain(..).map(|(_, waker)| waker).collect()
    }

    /// How many are before this one, if it is in the line.
    pub fn position(&self, ticket: Ticket) -> Option<usize> {
        self.line.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_are_served_in_order_of_arrival() {
        let mut line = WaitList::default();
        let [a, b, c] = std::array::from_fn(|_| line.join(Waker::noop()).expect("room"));
        assert!(line.is_first(a) && !line.is_first(b));
        line.leave(b);
        assert_eq!([a, b, c].map(|ticket| line.position(ticket)), [Some(0), None, Some(1)]);
        assert!(line.at(1).is_some() && line.at(2).is_none());
        line.leave(a);
        assert!(line.is_first(c));
        line.leave(c);
        assert!(line.is_empty());
    }

    #[test]
    fn the_line_is_bounded() {
        let mut line = WaitList::default();
        for _ in 0..WAITERS_LIMIT {
            assert!(line.join(Waker::noop()).is_some());
        }
        assert!(line.join(Waker::noop()).is_none());
    }
}
