//! Connections whose peers have shown a certificate that is trusted, and not greeted yet.
//!
//! Invariant: one certificate has at most [`CERTIFICATE_LIMIT`] of them, and all together
//! [`GREETINGS_LIMIT`]. Beyond, the oldest makes room: of that certificate, or of the one that has
//! the most. So who holds connections open loses those, and who greets at once gets through.
//! Knows no connection: callers end what is cut.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use tokio::sync::Notify;

use crate::tls::Fingerprint;

/// The most of one certificate: many nodes may share one.
pub(super) const CERTIFICATE_LIMIT: usize = 64;

/// The most of all.
pub(super) const GREETINGS_LIMIT: usize = 1_024;

/// Connections that are greeting. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Greetings(Rc<RefCell<UnderWay>>);

#[derive(Debug, Default)]
struct UnderWay {
    /// Of each certificate, the oldest first; none is empty.
    lines: BTreeMap<Fingerprint, VecDeque<(u64, Rc<Notify>)>>,
    count: usize,
    next: u64,
    cut: u64,
}

/// A greeting that is under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Greeting {
    greetings: Greetings,
    certificate: Fingerprint,
    number: u64,
    cut: Rc<Notify>,
}

impl Greetings {
    /// One begins; the oldest may be cut for it.
    pub(super) fn begin(&self, certificate: Fingerprint) -> Greeting {
        let cut = Rc::new(Notify::new());
        let mut under_way = self.0.borrow_mut();
        let number = under_way.next;
        under_way.next += 1;
        under_way.count += 1;
        let line = under_way.lines.entry(certificate).or_default();
        line.push_back((number, Rc::clone(&cut)));
        if line.len() > CERTIFICATE_LIMIT {
            under_way.cut_oldest(certificate);
        } else if under_way.count > GREETINGS_LIMIT {
            // Of those with as many, who has waited longest.
            let oldest =
                |line: &VecDeque<(u64, _)>| Reverse(line.front().map(|(number, _)| *number));
            let most = under_way.lines.iter().max_by_key(|(_, line)| (line.len(), oldest(line)));
            if let Some((&certificate, _)) = most {
                under_way.cut_oldest(certificate);
            }
        }
        Greeting { greetings: self.clone(), certificate, number, cut }
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.0.borrow().count
    }

    /// How many were cut, since the start.
    pub(super) fn cut(&self) -> u64 {
        self.0.borrow().cut
    }
}

impl UnderWay {
    fn cut_oldest(&mut self, certificate: Fingerprint) {
        let oldest = self.lines.get(&certificate).and_then(|line| line.front());
        if let Some((number, cut)) = oldest.cloned() {
            cut.notify_one();
            self.cut += 1;
            self.end(certificate, number);
        }
    }

    fn end(&mut self, certificate: Fingerprint, number: u64) {
        let Some(line) = self.lines.get_mut(&certificate) else { return };
        let Some(at) = line.iter().position(|(other, _)| *other == number) else { return };
        line.remove(at);
        self.count -= 1;
        if line.is_empty() {
            self.lines.remove(&certificate);
        }
    }
}

impl Greeting {
    /// Ready when it has to make room.
    ///
    /// # Cancel safety
    ///
    /// Safe, as long as it is awaited in one place.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        // One that was cut is gone already.
        self.greetings.0.borrow_mut().end(self.certificate, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn certificate(number: usize) -> Fingerprint {
        format!("{number:064x}").parse().expect("a fingerprint")
    }

    fn is_cut(greeting: &Greeting) -> bool {
        let mut cut = std::pin::pin!(greeting.is_cut());
        cut.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_of_a_certificate_makes_room_for_its_newest_and_for_nobody_elses() {
        let greetings = Greetings::default();
        let other = greetings.begin(certificate(2));
        let all: Vec<Greeting> =
            (0..=CERTIFICATE_LIMIT).map(|_| greetings.begin(certificate(1))).collect();
        assert!(is_cut(&all[0]) && !is_cut(&all[1]) && !is_cut(&other));
        assert_eq!((greetings.under_way(), greetings.cut()), (CERTIFICATE_LIMIT + 1, 1));
        drop((other, all));
        assert_eq!((greetings.under_way(), greetings.0.borrow().lines.len()), (0, 0));
    }

    #[test]
    fn among_equals_the_oldest_makes_room() {
        let greetings = Greetings::default();
        let all: Vec<Greeting> =
            (0..=GREETINGS_LIMIT).rev().map(|n| greetings.begin(certificate(n))).collect();
        assert!(is_cut(&all[0]) && !is_cut(&all[1]) && !all[1..].iter().any(is_cut));
    }

    #[test]
    fn who_has_the_most_makes_room_when_there_are_too_many() {
        let greetings = Greetings::default();
        let many: Vec<Greeting> = (0..3).map(|_| greetings.begin(certificate(0))).collect();
        let others: Vec<Greeting> =
            (3..GREETINGS_LIMIT).map(|n| greetings.begin(certificate(n))).collect();
        assert!(!is_cut(&many[0]));
        let newest = greetings.begin(certificate(GREETINGS_LIMIT));
        assert!(is_cut(&many[0]) && !is_cut(&many[1]) && !is_cut(&newest));
        assert!(!others.iter().any(is_cut));
        assert_eq!(greetings.under_way(), GREETINGS_LIMIT);
    }
}
