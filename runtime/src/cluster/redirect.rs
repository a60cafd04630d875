//! Messages that came back from a node that does not own their target, until they are sent on.
//!
//! Invariant: of what has come back for a target the message that was sent first is sent on first. It came
//! back as often as those behind it at least, wherever they went; so of two that is first which came back
//! more often, or else sooner. A message is sent on a bounded number of times, with growing pauses, since
//! views need a moment to agree.
//! Knows no session and no clock: callers say what became of each try.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    delegation,
    wire::{ExtensionBuffer, Extensions, Head},
};
/// How many messages of one node may wait to be sent on; one more is rejected.
pub(crate) const LIMIT: usize = 65_536;

/// How many bytes they may have; a single one may be larger.
pub(crate) const BYTES_LIMIT: usize = 64 * 1024 * 1024;

/// How long a message waits for somebody to take it, as long as a tell waits for room.
const PATIENCE: Duration = crate::reference::DEFAULT_TELL_TIMEOUT;

/// How often a message is sent on before it is given up: with the pauses below, for some 5 s.
pub(crate) const BOUNCES_LIMIT: u32 = 24;

/// The pause before a message that came back for the `bounces`th time is sent on.
pub(crate) fn pause(bounces: u32) -> Duration {
    let doubled = Duration::from_millis(5) * (1 << bounces.saturating_sub(1).min(6));
    doubled.min(Duration::from_millis(250))
}

#[derive(Debug)]
pub(crate) struct Redirects {
    queues: Queues,
    /// How many wait, and how many bytes they have: those that are being tried included.
    count: usize,
    bytes: usize,
    limit: usize,
    is_closed: bool,
}

/// What waits, by target, in order; none is empty.
pub(crate) type Queues = BTreeMap<u64, VecDeque<Redirect>>;

/// A message that came back.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    /// The target's hash.
    pub(crate) target: u64,
    /// The payload, with the next bounce counted.
    pub(crate) payload: Bytes,
    /// How often it has come back.
    bounces: u32,
    not_before: Instant,
    give_up_at: Instant,
}

impl Redirect {
    /// Whether it has waited too long for somebody to take it.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.give_up_at <= now
    }
}

/// What became of a try to send a message on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It is gone, to its owner or to the dead letters.
    Done,
    /// Not now; nor anything behind it for the same target.
    NotNow,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// It came back too often.
    Bounces,
    /// Too many wait.
    Full,
    /// It is neither a tell nor an ask.
    Malformed,
}

impl Redirects {
    pub(crate) fn new(limit: usize) -> Self {
        Self { queues: Queues::new(), count: 0, bytes: 0, limit, is_closed: false }
    }

    /// A message came back.
    ///
    /// # Errors
    ///
    /// When it is to be given up.
    pub(crate) fn push(&mut self, now: Instant, target: u64, payload: &[u8]) -> Result<(), GiveUp> {
        let (payload, bounces) = counted(payload).ok_or(GiveUp::Malformed)?;
        if bounces > BOUNCES_LIMIT {
            return Err(GiveUp::Bounces);
        }
        let fits = self.count == 0 || self.bytes + payload.len() <= BYTES_LIMIT;
        if self.is_closed || self.count >= self.limit || !fits {
            return Err(GiveUp::Full);
        }
        self.count += 1;
        self.bytes += payload.len();
        let (not_before, give_up_at) = (now + pause(bounces), now + PATIENCE);
        insert(&mut self.queues, Redirect { target, payload, bounces, not_before, give_up_at });
        Ok(())
    }

    /// Takes out all that waits, to be tried by [`try_all`]; then [`put_back`](Self::put_back) is to follow.
    pub(crate) fn take(&mut self) -> Queues {
        std::mem::take(&mut self.queues)
    }

    /// Puts back what is left, in order with what has come since.
    pub(crate) fn put_back(&mut self, Tried { left, gone, bytes, .. }: Tried) {
        self.count -= gone;
        self.bytes -= bytes;
        let since = std::mem::replace(&mut self.queues, left);
        for redirect in since.into_values().flatten() {
            insert(&mut self.queues, redirect);
        }
    }

    /// Takes no more; gives what waits, to be given up.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Redirect> {
        self.is_closed = true;
        (self.count, self.bytes) = (0, 0);
        std::mem::take(&mut self.queues).into_values().flatten()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

/// What became of those that were tried.
#[derive(Debug)]
pub(crate) struct Tried {
    left: Queues,
    /// How many are gone, and how many bytes they had.
    gone: usize,
    bytes: usize,
    /// When to try again, if anything is left.
    pub(crate) next: Option<Instant>,
}

/// Puts a message where it belongs: it was sent before those that have come back less often.
fn insert(queues: &mut Queues, redirect: Redirect) {
    let queue = queues.entry(redirect.target).or_default();
    let place = queue.partition_point(|other| other.bounces >= redirect.bounces);
    queue.insert(place, redirect);
}

/// Tries to send on what is due, in order, without holding the queues: an attempt may run any code.
pub(crate) fn try_all(
    queues: Queues,
    now: Instant,
    mut attempt: impl FnMut(&Redirect) -> Attempt,
) -> Tried {
    let mut tried = Tried { left: Queues::new(), gone: 0, bytes: 0, next: None };
    for (target, mut queue) in queues {
        while let Some(first) = queue.front() {
            let is_due = first.not_before <= now;
            if !is_due || attempt(first) == Attempt::NotNow {
                let again = if is_due { now + RETRY } else { first.not_before };
                tried.next = Some(tried.next.map_or(again, |next| next.min(again)));
                tried.left.insert(target, queue);
                break;
            }
            tried.gone += 1;
            tried.bytes += first.payload.len();
            queue.pop_front();
        }
    }
    tried
}

/// The pause after a try that did not succeed.
const RETRY: Duration = Duration::from_millis(10);

/// The payload of a message with one more bounce counted, and how many there are now.
fn counted(payload: &[u8]) -> Option<(Bytes, u32)> {
    let (head, body) = Head::take(payload).ok()?;
    let (Head::Tell { extensions, .. } | Head::Ask { extensions, .. }) = head else {
        return None;
    };
    let extensions = Extensions::decode(extensions).ok()?;
    let bounces = extensions.bounces.saturating_add(1);
    let mut buffer = ExtensionBuffer::default();
    let answers = delegation::passed_on(extensions.answers)?;
    let carries = delegation::passed_on(extensions.carries)?;
    let (answers, carries) = (&answers[..], &carries[..]);
    let extensions = Extensions { bounces, answers, carries, ..extensions }.encode(&mut buffer);
    let head = match head {
        Head::Tell { to, message, .. } => Head::Tell { to, message, extensions },
        Head::Ask { to, message, correlation, .. } => {
            Head::Ask { to, message, correlation, extensions }
        }
        _ => return None,
    };
    let mut counted = head.put(Vec::with_capacity(payload.len() + 8));
    counted.extend_from_slice(body);
    Some((counted.into(), bounces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::wire::Address;

    fn tell(body: u8) -> Vec<u8> {
        let to = Address::Entity { actor_type: 1, key: "k" };
        let mut payload = Head::Tell { to, message: 2, extensions: &[] }.put(Vec::new());
        payload.push(body);
        payload
    }

    fn start() -> Instant {
        actix_cluster_transport::Clock::default().now()
    }

    fn poll(
        redirects: &mut Redirects,
        now: Instant,
        attempt: impl FnMut(&Redirect) -> Attempt,
    ) -> Option<Instant> {
        let tried = try_all(redirects.take(), now, attempt);
        let next = tried.next;
        redirects.put_back(tried);
        next
    }

    fn bodies(redirects: &mut Redirects, now: Instant, refused: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        poll(redirects, now, |redirect| {
            let body = *redirect.payload.last().expect("a body");
            if refused.contains(&body) {
                return Attempt::NotNow;
            }
            sent.push(body);
            Attempt::Done
        });
        sent
    }

    #[test]
    fn what_waits_for_a_target_is_not_overtaken() {
        let mut redirects = Redirects::new(8);
        let now = start();
        for (target, body) in [(7, 1), (8, 2), (7, 3), (8, 4)] {
            redirects.push(now, target, &tell(body)).expect("room");
        }
        assert!(bodies(&mut redirects, now, &[]).is_empty(), "the pause is not over");
        let later = now + pause(1);
        assert_eq!(bodies(&mut redirects, later, &[1]), [2, 4], "3 stays behind 1");
        assert_eq!(bodies(&mut redirects, later, &[]), [1, 3]);
        assert_eq!(redirects.len(), 0);
    }

    #[test]
    fn what_comes_back_again_is_ahead_of_what_was_sent_behind_it() {
        let mut redirects = Redirects::new(8);
        let now = start();
        for body in [1, 2] {
            redirects.push(now, 7, &tell(body)).expect("room");
        }
        let later = now + Duration::from_millis(1);
        redirects.push(later, 7, &tell(3)).expect("room");
        let mut sent = Vec::new();
        poll(&mut redirects, now + pause(1), |redirect| {
            sent.push(redirect.payload.clone());
            Attempt::Done
        });
        assert_eq!(sent.len(), 2, "the third is not due");
        for payload in &sent {
            redirects.push(later, 7, payload).expect("room");
        }
        assert_eq!(bodies(&mut redirects, later + pause(2), &[]), [1, 2, 3]);
        assert_eq!((redirects.len(), redirects.bytes), (0, 0));
    }

    #[test]
    fn what_comes_while_others_are_tried_is_behind_them_and_within_the_limit() {
        let mut redirects = Redirects::new(2);
        let now = start();
        redirects.push(now, 7, &tell(1)).expect("room");
        let taken = redirects.take();
        redirects.push(now, 7, &tell(2)).expect("room");
        assert_eq!(redirects.push(now, 7, &tell(3)), Err(GiveUp::Full), "the taken one counts");
        redirects.put_back(try_all(taken, now + pause(1), |_| Attempt::NotNow));
        assert_eq!(bodies(&mut redirects, now + pause(1), &[]), [1, 2]);
        assert_eq!((redirects.len(), redirects.bytes), (0, 0));
    }

    #[test]
    fn a_tell_is_sent_on_a_bounded_number_of_times() {
        let mut redirects = Redirects::new(8);
        let mut now = start();
        let mut payload = Bytes::from(tell(1));
        for _ in 0..BOUNCES_LIMIT {
            redirects.push(now, 7, &payload).expect("within the limit");
            now += Duration::from_secs(1);
            poll(&mut redirects, now, |redirect| {
                payload = redirect.payload.clone();
                Attempt::Done
            });
        }
        assert_eq!(redirects.push(now, 7, &payload), Err(GiveUp::Bounces));
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_and_gives_what_waits_when_it_is_closed() {
        let mut redirects = Redirects::new(8);
        let mut large = tell(1);
        large.resize(BYTES_LIMIT, 0);
        redirects.push(start(), 7, &large).expect("a single one may be larger");
        assert_eq!(redirects.push(start(), 7, &tell(2)), Err(GiveUp::Full));
        let left: Vec<Redirect> = redirects.close().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(redirects.push(start(), 7, &tell(2)), Err(GiveUp::Full), "it is closed");
    }

    #[test]
    fn a_peer_that_counts_too_far_is_given_up_on() {
        let to = Address::Entity { actor_type: 1, key: "k" };
        let mut buffer = ExtensionBuffer::default();
        let extensions = Extensions { bounces: u32::MAX, ..Extensions::default() };
        let extensions = extensions.encode(&mut buffer);
        let payload = Head::Tell { to, message: 2, extensions }.put(Vec::new());
        assert_eq!(Redirects::new(8).push(start(), 7, &payload), Err(GiveUp::Bounces));
    }

    #[test]
    fn the_queue_is_bounded_and_takes_tells_and_asks_only() {
        let mut redirects = Redirects::new(1);
        redirects.push(start(), 7, &tell(1)).expect("room");
        assert_eq!(redirects.push(start(), 7, &tell(2)), Err(GiveUp::Full));
        assert_eq!(redirects.push(start(), 7, &[9, 9]), Err(GiveUp::Malformed));
        let to = Address::Entity { actor_type: 1, key: "k" };
        let ask = Head::Ask { to, message: 2, correlation: 300, extensions: &[] };
        let mut redirects = Redirects::new(1);
        redirects.push(start(), 7, &ask.put(Vec::new())).expect("room");
        let kept = redirects.close().next().expect("one").payload;
        let (head, _) = Head::take(&kept).expect("a head");
        assert!(matches!(head, Head::Ask { correlation: 300, .. }), "{head:?}");
    }
}
