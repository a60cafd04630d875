//! Asks that may come more than once: what has become of those that came lately.
//!
//! Invariant: within the window, an ask of one key runs once, however often it comes, and all who ask hear
//! how that run ended. The window belongs to an activation: it goes along when an entity is handed over,
//! and is gone with an instance that fails.

mod running;

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_cluster_transport::sabotage::{self, Bug};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use self::running::handle;
use super::ClusterContext;
use crate::{call::Travelling, message::WireId};

/// How long the end of a run is remembered.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// How many ends one activation remembers; with one more the oldest is forgotten.
pub(crate) const ENDED_LIMIT: usize = 1_024;

/// How many bytes of results it keeps for them; with more the oldest are forgotten.
pub(crate) const RESULTS_LIMIT: usize = 1024 * 1024;

/// How many runs may be going on; one more ask with a key is rejected as full.
pub(crate) const GOING_LIMIT: usize = 256;

/// A run: the key of its ask, and the message.
type RunId = (u128, WireId);

/// What an activation remembers of asks with keys.
#[derive(Default)]
pub(crate) struct Repeats {
    runs: BTreeMap<RunId, Run>,
    /// The runs that have ended, the first first.
    ended: VecDeque<(Instant, RunId)>,
    going: usize,
    bytes: usize,
}

enum Run {
    /// It goes on; those who wait for its end.
    Going(Rc<dyn Any>),
    /// Its result, unless that was too long to be kept.
    Ended(Option<Bytes>),
}

/// What is known of an ask that comes.
enum Known {
    New,
    Going(Rc<dyn Any>),
    Ended(Option<Bytes>),
}

/// One end as it travels. Frozen.
#[derive(Serialize, Deserialize)]
struct Travelled<'a> {
    key: u128,
    message: u64,
    /// How long ago it was, in milliseconds.
    age: u64,
    #[serde(borrow)]
    result: Option<&'a [u8]>,
}

impl Repeats {
    fn look(&mut self, now: Instant, id: RunId) -> Known {
        self.forget_old(now);
        match self.runs.get(&id) {
            None => Known::New,
            Some(Run::Going(waiting)) => Known::Going(Rc::clone(waiting)),
            Some(Run::Ended(result)) => Known::Ended(result.clone()),
        }
    }

    /// Whether one more run has no room.
    fn is_full(&self, id: RunId) -> bool {
        self.going >= GOING_LIMIT && !self.runs.contains_key(&id)
    }

    fn begin(&mut self, id: RunId, waiting: Rc<dyn Any>) {
        if self.runs.insert(id, Run::Going(waiting)).is_none() {
            self.going += 1;
        }
    }

    /// A run has ended with this result.
    fn end(&mut self, now: Instant, id: RunId, result: &Bytes) {
        // Four are remembered at least.
        let is_kept = result.len() <= RESULTS_LIMIT / 4;
        self.drop_going(id);
        self.remember(now, id, is_kept.then(|| result.clone()));
        self.forget_old(now);
    }

    /// A run has ended without one: if the ask comes again, it runs again.
    fn fail(&mut self, id: RunId) {
        self.drop_going(id);
    }

    fn drop_going(&mut self, id: RunId) {
        if let Some(Run::Going(_)) = self.runs.get(&id) {
            self.runs.remove(&id);
            self.going -= 1;
        }
    }

    fn remember(&mut self, at: Instant, id: RunId, result: Option<Bytes>) {
        if !self.runs.contains_key(&id) {
            self.bytes += result.as_ref().map_or(0, Bytes::len);
            self.runs.insert(id, Run::Ended(result));
            self.ended.push_back((at, id));
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, id)) = self.ended.front().copied() {
            let is_old = now.saturating_duration_since(at) >= REMEMBERED_FOR;
            if !is_old && self.ended.len() <= ENDED_LIMIT && self.bytes <= RESULTS_LIMIT {
                return;
            }
            self.ended.pop_front();
            if let Some(Run::Ended(Some(result))) = self.runs.remove(&id) {
                self.bytes -= result.len();
            }
        }
    }

    /// The ends that are remembered, as bytes; empty if there is none.
    fn pack(&mut self, now: Instant) -> Bytes {
        self.forget_old(now);
        if self.ended.is_empty() || sabotage::has(Bug::RepeatsLeftBehind) {
            return Bytes::new();
        }
        let travelled = |(at, id): &(Instant, RunId)| {
            let (key, WireId(message)) = *id;
            let age = now.saturating_duration_since(*at).as_millis() as u64;
            let result = match self.runs.get(id) {
                Some(Run::Ended(result)) => result.as_deref(),
                Some(Run::Going(_)) | None => None,
            };
            Travelled { key, message, age, result }
        };
        let all: Vec<Travelled<'_>> = self.ended.iter().map(travelled).collect();
        postcard::to_allocvec(&all).expect("it has no value that serde refuses").into()
    }

    /// Remembers what another activation has. Returns whether it was understood.
    fn unpack(&mut self, now: Instant, bytes: &Bytes) -> bool {
        let Ok(mut all) = postcard::from_bytes::<Vec<Travelled<'_>>>(bytes) else { return false };
        all.retain(|ended| Duration::from_millis(ended.age) < REMEMBERED_FOR);
        all.sort_by_key(|ended| std::cmp::Reverse(ended.age));
        for Travelled { key, message, age, result } in all {
            // A clock that began later than that says at least that it is not over yet.
            let at = now.checked_sub(Duration::from_millis(age)).unwrap_or(now);
            // Copied, so that it does not keep all that it came with.
            let result = result.map(Bytes::copy_from_slice);
            self.remember(at, (key, WireId(message)), result);
        }
        self.forget_old(now);
        true
    }
}

/// The key of an ask that may come more than once.
pub(crate) fn key_of(travels: &Travelling) -> Option<u128> {
    travels.as_ref()?.repeat_key
}

impl<A: crate::RemoteActor> ClusterContext<A> {
    fn repeats_mut(&mut self) -> &mut Repeats {
        self.repeats.get_or_insert_default()
    }

    /// Whether asks with keys run.
    pub(crate) fn has_repeatable_runs(&self) -> bool {
        self.repeats.as_ref().is_some_and(|repeats| repeats.going > 0)
    }

    /// Whether an ask with a key is to wait for others with keys to end.
    pub(crate) fn has_no_room_for(&self, key: u128, message: WireId) -> bool {
        self.repeats.as_ref().is_some_and(|repeats| repeats.is_full((key, message)))
    }

    /// What is remembered, for the next activation.
    pub(crate) fn pack_repeats(&mut self) -> Bytes {
        let now = self.clock().now();
        self.repeats.as_mut().map_or_else(Bytes::new, |repeats| repeats.pack(now))
    }

    /// Takes over what another activation has remembered.
    pub(crate) fn unpack_repeats(&mut self, bytes: &Bytes) {
        let now = self.clock().now();
        if !bytes.is_empty() && !self.repeats_mut().unpack(now, bytes) {
            tracing::warn!(actor = A::NAME, "what an entity remembers of its asks can't be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: WireId = WireId(1);

    fn start() -> Instant {
        actix_cluster_transport::Clock::default().now()
    }

    fn is_known(repeats: &mut Repeats, now: Instant, key: u128) -> bool {
        !matches!(repeats.look(now, (key, MESSAGE)), Known::New)
    }

    fn run(repeats: &mut Repeats, now: Instant, key: u128, result: &[u8]) {
        repeats.begin((key, MESSAGE), Rc::new(()));
        repeats.end(now, (key, MESSAGE), &Bytes::copy_from_slice(result));
    }

    #[test]
    fn a_run_is_known_while_it_goes_on_and_for_a_minute_after_its_end() {
        let (mut repeats, now) = (Repeats::default(), start());
        repeats.begin((7, MESSAGE), Rc::new(5u32));
        let Known::Going(waiting) = repeats.look(now + 2 * REMEMBERED_FOR, (7, MESSAGE)) else {
            panic!("it goes on")
        };
        assert!(waiting.downcast::<u32>().is_ok_and(|number| *number == 5));
        assert!(matches!(repeats.look(now, (7, WireId(2))), Known::New), "another message");
        repeats.end(now, (7, MESSAGE), &Bytes::from_static(b"r"));
        let almost = now + REMEMBERED_FOR - Duration::from_millis(1);
        assert!(
            matches!(repeats.look(almost, (7, MESSAGE)), Known::Ended(Some(result)) if result == "r")
        );
        assert!(!is_known(&mut repeats, now + REMEMBERED_FOR, 7));
        assert_eq!((repeats.bytes, repeats.going, repeats.runs.len()), (0, 0, 0));
    }

    #[test]
    fn what_fails_may_run_again() {
        let (mut repeats, now) = (Repeats::default(), start());
        repeats.begin((7, MESSAGE), Rc::new(()));
        repeats.fail((7, MESSAGE));
        assert!(!is_known(&mut repeats, now, 7));
        assert_eq!(repeats.going, 0);
    }

    #[test]
    fn the_window_is_bounded_in_runs_in_ends_and_in_bytes() {
        let (mut repeats, now) = (Repeats::default(), start());
        for key in 0..GOING_LIMIT as u128 {
            assert!(!repeats.is_full((key, MESSAGE)));
            repeats.begin((key, MESSAGE), Rc::new(()));
        }
        assert!(repeats.is_full((9_999, MESSAGE)) && !repeats.is_full((3, MESSAGE)));
        let mut repeats = Repeats::default();
        for key in 0..=ENDED_LIMIT as u128 {
            run(&mut repeats, now, key, b"");
        }
        assert!(!is_known(&mut repeats, now, 0) && is_known(&mut repeats, now, 1));
        let mut repeats = Repeats::default();
        for key in 0..5 {
            run(&mut repeats, now, key, &vec![0; RESULTS_LIMIT / 4]);
        }
        assert!(!is_known(&mut repeats, now, 0) && is_known(&mut repeats, now, 1));
        assert_eq!(repeats.bytes, RESULTS_LIMIT);
        run(&mut repeats, now, 6, &vec![0; RESULTS_LIMIT / 4 + 1]);
        assert!(matches!(repeats.look(now, (6, MESSAGE)), Known::Ended(None)));
    }

    #[test]
    fn ends_go_along_with_their_age_and_runs_do_not() {
        let (mut repeats, now) = (Repeats::default(), start() + Duration::from_secs(600));
        assert!(repeats.pack(now).is_empty());
        run(&mut repeats, now, 300, b"one");
        repeats.begin((8, MESSAGE), Rc::new(()));
        let bytes = repeats.pack(now + Duration::from_secs(1));
        assert_eq!(bytes[..], [1, 0xac, 2, 1, 0xe8, 7, 1, 3, b'o', b'n', b'e']);
        let mut next = Repeats::default();
        let later = now + Duration::from_secs(500);
        assert!(next.unpack(later, &bytes));
        assert!(!is_known(&mut next, later, 8));
        assert!(is_known(&mut next, later + Duration::from_secs(58), 300));
        assert!(!is_known(&mut next, later + Duration::from_secs(59), 300));
        assert!(!Repeats::default().unpack(now, &Bytes::from_static(b"\xff")));
        let old = [1, 0xac, 2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
        let mut next = Repeats::default();
        assert!(next.unpack(now, &Bytes::copy_from_slice(&old)));
        assert!(!is_known(&mut next, now, 300), "however old");
    }
}
