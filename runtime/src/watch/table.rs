//! The watches and links that a node's actors and futures have set, and how far each is.
//!
//! ```text
//!            begin            sent
//!  Waiting ────────> Sending ──────> Set ──── handle_report, handle_end ────> gone, and told
//!     ^  <───────────   │ not_sent    │
//!     ^                 │             ├── take_back: told nothing any more
//!     │                 └─────────────┴────────> Leaving ──── left ────> gone
//!     │                                             │ left, of a broken link
//!     └──── handle_refused ─────────────────────── Left ──── handle_report ────> gone
//! ```
//!
//! A link that is broken fails its target. So it is kept until the target's node has said that it knew
//! of the link, by an end: if it did not take the link instead, that is sent again, to be broken there.
//!
//! Invariant: whoever takes a watch out tells its watcher, so each ends once; one that was taken back
//! ends never. It counts against the limit until nobody owes it anything: neither an end, nor the
//! word to the other side that it was taken back, nor what that makes of it.
//! Knows no actor, session or clock: `W` is whoever is to be told, `P` is where the target is.

use super::{lanes::Lanes, reason::TerminatedReason};
use crate::fixed_map::FixedMap;

/// What stands for a watch on its node, and on the wire.
pub(crate) type Number = u64;

/// How a watch was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// Its watcher is not interested any more, or is gone.
    Quietly,
    /// It was a link, and the actor that set it has failed so.
    Broken(TerminatedReason),
}

#[derive(Debug)]
pub(crate) struct Table<W, P> {
    entries: FixedMap<Number, Entry<W, P>>,
    limit: usize,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry<W, P> {
    /// Whoever is to be told, unless it was taken back.
    watcher: W,
    lanes: Lanes,
    place: Place<P>,
    /// How it was taken back, if it was.
    back: Option<Back>,
    tries: u32,
    /// What became of a link that is broken, if that is known before the other side was told so.
    outcome: Option<Outcome>,
}

/// What became of a link that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its target has failed by it, or had ended.
    Ended,
    /// The other side had not taken it.
    Refused,
}

/// How far a watch has come.
#[derive(Debug)]
enum Place<P> {
    /// Somebody is about to find out where the target is.
    Waiting,
    /// Somebody is telling that one.
    Sending(P),
    /// That one knows.
    Set(P),
    /// That one is about to be told that it was taken back.
    Leaving(P),
    /// It was told that a link is broken, and has not said what came of that.
    Left(P),
}

/// What is left to do about a watch that was taken back, once the other side was told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// It is to be sent again, after so many tries.
    Seek(u32),
}

/// Why a watch was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl<W, P: Clone + PartialEq> Table<W, P> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: FixedMap::default(), limit, is_closed: false }
    }

    /// Sets a watch under a number that was not used before. It waits to be sent.
    pub(crate) fn set(&mut self, number: Number, lanes: Lanes, watcher: W) -> Result<(), Refused> {
        if self.is_closed {
            return Err(Refused::Closed);
        }
        if self.entries.len() >= self.limit {
            return Err(Refused::Full);
        }
        let (place, back, outcome) = (Place::Waiting, None, None);
        self.entries.insert(number, Entry { watcher, lanes, place, back, tries: 0, outcome });
        Ok(())
    }

    /// The watcher of a watch that waits, if it is to be told to the other side; one that was taken
    /// back before is gone.
    pub(crate) fn waiting(&mut self, number: Number) -> Option<&W> {
        let entry = self.entries.get(&number)?;
        if !matches!(entry.place, Place::Waiting) {
            return None;
        }
        if entry.back == Some(Back::Quietly) {
            self.entries.remove(&number);
        }
        self.entries.get(&number).map(|entry| &entry.watcher)
    }

    /// Somebody wants to tell `to` of a watch that waits. Its watcher, if it is still to be told.
    pub(crate) fn begin(&mut self, number: Number, to: P) -> Option<&W> {
        self.waiting(number)?;
        let entry = self.entries.get_mut(&number)?;
        entry.place = Place::Sending(to);
        Some(&entry.watcher)
    }

    /// It could not be told: the watch waits again.
    pub(crate) fn not_sent(&mut self, number: Number) {
        if let Some(entry) = self.entries.get_mut(&number)
            && matches!(entry.place, Place::Sending(_))
        {
            entry.place = Place::Waiting;
        }
    }

    /// It was told, unless the watch has ended meanwhile. Returns the watcher and how the watch was
    /// taken back, if it was: then that is to be told too.
    pub(crate) fn sent(&mut self, number: Number) -> Option<(&W, Back)> {
        let entry = self.entries.get_mut(&number)?;
        let Place::Sending(to) = &entry.place else { return None };
        let to = to.clone();
        entry.place = if entry.back.is_some() { Place::Leaving(to) } else { Place::Set(to) };
        Some((&entry.watcher, entry.back?))
    }

    /// The other side did not take it: it waits again. Returns how often that was so, and nothing if
    /// it is not wanted any more, is not that one's, or is to wait for [`left`](Self::left).
    pub(crate) fn handle_refused(&mut self, number: Number, by: &P) -> Option<u32> {
        let entry = self.entries.get_mut(&number)?;
        match &entry.place {
            Place::Set(to) | Place::Sending(to) | Place::Left(to) if to == by => {}
            Place::Leaving(to) if to == by && entry.is_broken() => {
                entry.outcome = Some(Outcome::Refused);
                return None;
            }
            _ => return None,
        }
        entry.place = Place::Waiting;
        entry.tries += 1;
        Some(entry.tries)
    }

    /// The target's end was told behind all that came on one lane; `from` is the other side, or
    /// nothing if it is this node that says so. Returns the watcher, if it may be told now.
    pub(crate) fn handle_report(
        &mut self,
        number: Number,
        from: Option<&P>,
        lane: u64,
        reason: TerminatedReason,
    ) -> Option<(W, TerminatedReason)> {
        let entry = self.entries.get_mut(&number)?;
        let is_known = match (&entry.place, from) {
            (Place::Leaving(_), _) if !entry.is_broken() => false,
            (_, None) => true,
            (Place::Set(to) | Place::Sending(to) | Place::Leaving(to) | Place::Left(to), from) => {
                Some(to) == from
            }
            (Place::Waiting, Some(_)) => false,
        };
        if !is_known {
            return None;
        }
        let reason = entry.lanes.report(lane, reason)?;
        if let Place::Leaving(_) = &entry.place {
            entry.outcome = Some(Outcome::Ended);
            return None;
        }
        Some((self.take(number)?, reason))
    }

    /// The target has ended, and nothing of it is on its way.
    pub(crate) fn handle_end(&mut self, number: Number) -> Option<W> {
        let entry = self.entries.get(&number)?;
        if matches!(entry.place, Place::Leaving(_) | Place::Left(_)) {
            return None;
        }
        self.take(number)
    }

    /// Takes a watch out; its watcher, if it is to be told.
    fn take(&mut self, number: Number) -> Option<W> {
        let Entry { watcher, back, .. } = self.entries.remove(&number)?;
        back.is_none().then_some(watcher)
    }

    /// Takes a watch back: its watcher hears nothing of it any more. Returns where the target is, and
    /// the watcher, if that is to be told.
    pub(crate) fn take_back(&mut self, number: Number, back: Back) -> Option<(P, &W)> {
        let entry = self.entries.get_mut(&number)?;
        if entry.back.is_some() {
            return None;
        }
        entry.back = Some(back);
        let Place::Set(to) = &entry.place else {
            // Whoever is at it will see it.
            return None;
        };
        let to = to.clone();
        entry.place = Place::Leaving(to.clone());
        Some((to, &entry.watcher))
    }

    /// The other side was told that a watch was taken back, or will never ask.
    pub(crate) fn left(&mut self, number: Number) -> Next {
        let Some(entry) = self.entries.get_mut(&number) else { return Next::Nothing };
        let Place::Leaving(to) = &entry.place else { return Next::Nothing };
        match entry.outcome.take() {
            None if entry.is_broken() => entry.place = Place::Left(to.clone()),
            None | Some(Outcome::Ended) => drop(self.entries.remove(&number)),
            Some(Outcome::Refused) => {
                entry.place = Place::Waiting;
                entry.tries += 1;
                return Next::Seek(entry.tries);
            }
        }
        Next::Nothing
    }

    /// The target itself has forgotten a watch that was taken back.
    pub(crate) fn untied(&mut self, number: Number) {
        if let Some(entry) = self.entries.get(&number)
            && matches!(entry.place, Place::Leaving(_))
        {
            self.entries.remove(&number);
        }
    }

    /// The other side is gone. Returns what ends by that, to be reported on each of its lanes behind
    /// all that came from there.
    pub(crate) fn handle_gone(&mut self, gone: &P) -> Vec<(Number, Lanes)> {
        self.entries.retain(|_, entry| {
            let is_there =
                matches!(&entry.place, Place::Leaving(to) | Place::Left(to) if to == gone);
            // What that one had not taken is to be broken elsewhere.
            !is_there || entry.outcome == Some(Outcome::Refused)
        });
        let ends = self.entries.iter().filter(|(_, entry)| {
            // Who is just telling it there finds out.
            matches!(&entry.place, Place::Set(to) if to == gone)
        });
        let mut ends: Vec<_> = ends.map(|(number, entry)| (*number, entry.lanes)).collect();
        ends.sort_unstable_by_key(|(number, _)| *number);
        ends
    }

    /// The lanes of one watch, if it is still to end.
    pub(crate) fn lanes(&self, number: Number) -> Option<Lanes> {
        self.entries.get(&number).map(|entry| entry.lanes)
    }

    /// Takes no more; returns all watchers, in the order in which they came.
    pub(crate) fn close(&mut self) -> Vec<(Number, W)> {
        self.is_closed = true;
        let left = std::mem::take(&mut self.entries).into_iter();
        let mut left: Vec<_> = left
            .filter(|(_, entry)| entry.back.is_none())
            .map(|(number, entry)| (number, entry.watcher))
            .collect();
        left.sort_unstable_by_key(|(number, _)| *number);
        left
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<W, P> Entry<W, P> {
    fn is_broken(&self) -> bool {
        matches!(self.back, Some(Back::Broken(_)))
    }
}

#[cfg(test)]
mod tests;
