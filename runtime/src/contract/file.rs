//! The text of a contract file.
//!
//! Invariant: what is read stays as it was written, comments and order too; lines are only added.

use std::collections::BTreeMap;

use super::breach::{Breach, Fault, Item, Part};

/// What a new file begins with.
pub(super) const HEADER: &str = "\
# The published messages of this program. What stands here is never changed; `retired` in place of
# `message` says that no node knows it any more. ACTIX_CLUSTER_CONTRACT=write adds what is new.
";

/// A contract file.
#[derive(Debug)]
pub(super) struct File {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    written: String,
    /// `None` for a comment or an empty line.
    entry: Option<Entry>,
}

/// One thing that was published.
#[derive(Clone, Debug)]
struct Entry {
    item: Item,
    text: String,
    is_retired: bool,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The number of the first line that is none.
    pub(super) fn read(text: &str) -> Result<Self, usize> {
        let mut lines: Vec<Line> = Vec::new();
        for (number, written) in (1..).zip(text.lines()) {
            let trimmed = written.trim();
            let entry = match trimmed.is_empty() || trimmed.starts_with('#') {
                true => None,
                false => Some(Entry::read(trimmed).ok_or(number)?),
            };
            let is_same = |line: &Line| match (&line.entry, &entry) {
                (Some(one), Some(other)) => one.item == other.item,
                _ => false,
            };
            if lines.iter().any(is_same) {
                return Err(number);
            }
            lines.push(Line { written: written.to_owned(), entry });
        }
        Ok(Self { lines })
    }

    /// What is wrong with a program that has this.
    pub(super) fn compare(&self, found: &BTreeMap<Item, String>) -> Vec<Breach> {
        let published: BTreeMap<&Item, &Entry> =
            self.entries().map(|entry| (&entry.item, entry)).collect();
        let is_retired = |item: &Item| {
            let message = Item { part: Part::Shape, ..item.clone() };
            published.get(&message).is_some_and(|entry| entry.is_retired)
        };
        let mut breaches = Vec::new();
        for (item, entry) in &published {
            let published = entry.text.clone();
            let fault = match found.get(*item) {
                Some(_) if is_retired(item) => Fault::Retired,
                Some(found) if *found == entry.text => continue,
                Some(found) => Fault::Changed { published, found: found.clone() },
                None if is_retired(item) => continue,
                None => Fault::Removed { published },
            };
            breaches.push(Breach { item: Item::clone(item), fault });
        }
        for (item, found) in found.iter().filter(|(item, _)| !published.contains_key(item)) {
            let fault = Fault::New { found: found.clone() };
            breaches.push(Breach { item: item.clone(), fault });
        }
        breaches.sort_by(|one, other| one.item.cmp(&other.item));
        breaches
    }

    /// Adds a line behind those that come before it.
    pub(super) fn add(&mut self, item: Item, text: String) {
        if self.lines.is_empty() {
            let comment = |line: &str| Line { written: line.to_owned(), entry: None };
            self.lines.extend(HEADER.lines().map(comment));
        }
        let place = |line: &Line, is_before: bool| {
            line.entry.as_ref().is_some_and(|entry| (entry.item < item) == is_before)
        };
        let at = match self.lines.iter().rposition(|line| place(line, true)) {
            Some(last_before) => last_before + 1,
            None => {
                let first = self.lines.iter().position(|line| place(line, false));
                first.unwrap_or(self.lines.len())
            }
        };
        let entry = Entry { item, text, is_retired: false };
        self.lines.insert(at, Line { written: entry.to_line(), entry: Some(entry) });
    }

    pub(super) fn to_text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.written)).collect()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| line.entry.as_ref())
    }
}

impl Entry {
    fn read(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (name, rest) = rest.split_once(' ')?;
        let (version, rest) = rest.split_once(' ')?;
        let labelled = || {
            let (label, bytes) = rest.split_once(' ').unwrap_or((rest, ""));
            (label.to_owned(), bytes)
        };
        let (part, text) = match kind {
            "message" | "retired" => (Part::Shape, rest),
            "sample" => {
                let (label, bytes) = labelled();
                (Part::Sample(label), bytes)
            }
            "reply" => {
                let (label, bytes) = labelled();
                (Part::Reply(label), bytes)
            }
            _ => return None,
        };
        let item = Item { name: name.to_owned(), version: version.parse().ok()?, part };
        Some(Self { item, text: text.to_owned(), is_retired: kind == "retired" })
    }

    fn to_line(&self) -> String {
        let Self { item: Item { name, version, part }, text, .. } = self;
        let line = match part {
            Part::Shape => format!("message {name} {version} {text}"),
            Part::Sample(label) => format!("sample {name} {version} {label} {text}"),
            Part::Reply(label) => format!("reply {name} {version} {label} {text}"),
        };
        // A value may have no bytes.
        line.trim_end().to_owned()
    }
}
