//! The entries behind a trace as text, to find where two runs part.

use std::{collections::VecDeque, fmt, time::Duration};

#[cfg(doc)]
use crate::simulation::{SimulatedNetwork, Trace};

/// The last entries of a [`Trace`] as text, once asked for by [`SimulatedNetwork::keep_log`].
///
/// Shown, it is one line for each entry. Two runs in one process are compared by
/// [`first_difference`](Self::first_difference), two processes by their lines.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::simulation::SimulatedNetwork;
///
/// let run = |last: &str| {
///     let network = SimulatedNetwork::new(1);
///     network.keep_log(100);
///     network.record(format_args!("a starts"));
///     network.record(format_args!("{last}"));
///     network.log()
/// };
/// let difference = run("b starts").first_difference(&run("c starts")).expect("they differ");
/// assert_eq!(difference.number, 1);
/// assert!(difference.ours.expect("an entry").text == "b starts");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceLog {
    limit: usize,
    /// The number of the next entry, kept or not.
    next: u64,
    entries: VecDeque<Entry>,
}

/// One line of a [`TraceLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Entries before it.
    pub number: u64,
    /// Time since the first entry.
    pub at: Duration,
    /// The hash of the [`Trace`] with this entry in it.
    pub hash: u64,
    /// What happened.
    pub text: String,
}

/// The first entry in which two logs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The entry's number. If it is the first that both logs kept, and not number 0, the runs may
    /// have parted earlier: keep more.
    pub number: u64,
    /// The entry here; `None` when this run had ended.
    pub ours: Option<Entry>,
    /// The entry there; `None` when the other run had ended.
    pub theirs: Option<Entry>,
}

impl TraceLog {
    /// The entries kept, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Where the two runs part, as far as both kept it; `None` if they do not.
    pub fn first_difference(&self, other: &Self) -> Option<Difference> {
        let first = self.first().max(other.first());
        let end = self.next.max(other.next);
        (first..end)
            .map(|number| Difference {
                number,
                ours: self.entry(number).cloned(),
                theirs: other.entry(number).cloned(),
            })
            .find(|pair| pair.ours != pair.theirs)
    }

    /// The number of the first entry kept, or of the next one.
    fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        let place = number.checked_sub(self.first())?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    pub(super) fn keep(&mut self, limit: usize) {
        self.limit = limit;
        self.shorten(limit);
    }

    /// Adds the entry that `make` gives for its number, if entries are kept.
    pub(super) fn push(&mut self, make: impl FnOnce(u64) -> Entry) {
        if self.limit > 0 {
            self.shorten(self.limit - 1);
            self.entries.push_back(make(self.next));
        }
        self.next += 1;
    }

    fn shorten(&mut self, limit: usize) {
        let surplus = self.entries.len().saturating_sub(limit);
        self.entries.drain(..surplus);
    }
}

impl fmt::Display for TraceLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at, hash, text } = self;
        write!(f, "{number} {:.6} {hash:016x} {text}", at.as_secs_f64())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |entry: &Option<Entry>| match entry {
            Some(entry) => entry.to_string(),
            None => "the run has ended".to_owned(),
        };
        write!(f, "here: {}\nthere: {}", show(&self.ours), show(&self.theirs))
    }
}
