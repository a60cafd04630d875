//! What has arrived, held against the numbers that were sent.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// How many targets each side sends to.
pub(crate) const TARGETS: u64 = 64;

/// How many missing numbers of one target are remembered; beyond, late ones count as repeated.
const MISSING_LIMIT: usize = 100_000;

/// A bug put in on purpose, in what one side sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// One message is dropped.
    Lose,
    /// One message comes twice.
    Repeat,
    /// Two messages change places.
    Reorder,
}

/// The numbers of each target, from 0, in order.
#[derive(Debug)]
pub(crate) struct Check {
    targets: Vec<Target>,
    arrived: u64,
    duplicated: u64,
    reordered: u64,
    plant: Option<Plant>,
}

#[derive(Debug, Default)]
struct Target {
    next: u64,
    /// Numbers below `next` that have not come.
    missing: BTreeSet<u64>,
    /// Missing numbers beyond the limit.
    forgotten: u64,
}

/// The check's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) arrived: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

/// Which message of the first target a planted bug hits.
const PLANTED: u64 = 1_000;

impl Check {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        let targets = (0..TARGETS).map(|_| Target::default()).collect();
        Self { targets, arrived: 0, duplicated: 0, reordered: 0, plant }
    }

    /// A message arrived.
    pub(crate) fn handle(&mut self, target: u64, number: u64) {
        let planted = self.plant.filter(|_| target == 0);
        match (planted, number) {
            (Some(Plant::Lose), PLANTED) => {}
            (Some(Plant::Repeat), PLANTED) => {
                self.note(target, number);
                self.note(target, number);
            }
            (Some(Plant::Reorder), PLANTED) => self.note(target, number + 1),
            (Some(Plant::Reorder), _) if number == PLANTED + 1 => self.note(target, PLANTED),
            _ => self.note(target, number),
        }
    }

    fn note(&mut self, target: u64, number: u64) {
        let Some(target) = self.targets.get_mut(target as usize) else {
            // Nobody sends to it.
            self.duplicated += 1;
            return;
        };
        self.arrived += 1;
        if number == target.next {
            target.next += 1;
            return;
        }
        if number < target.next {
            let late = target.missing.remove(&number);
            self.reordered += u64::from(late);
            self.duplicated += u64::from(!late);
            return;
        }
        let room = MISSING_LIMIT.saturating_sub(target.missing.len()) as u64;
        let remembered = number.min(target.next + room);
        target.missing.extend(target.next..remembered);
        target.forgotten += number - remembered;
        target.next = number + 1;
    }

    /// The result, given how many were sent to each target.
    pub(crate) fn verdict(&self, sent: &[u64]) -> Verdict {
        let Self { arrived, duplicated, reordered, .. } = *self;
        let lost = self.targets.iter().zip(sent).map(|(target, sent)| {
            target.missing.len() as u64 + target.forgotten + sent.saturating_sub(target.next)
        });
        Verdict { arrived, lost: lost.sum(), duplicated, reordered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(numbers: &[u64], sent: u64) -> (u64, u64, u64) {
        let mut check = Check::new(None);
        numbers.iter().for_each(|number| check.handle(3, *number));
        let mut all = vec![0; TARGETS as usize];
        all[3] = sent;
        let verdict = check.verdict(&all);
        assert_eq!(verdict.arrived, numbers.len() as u64);
        (verdict.lost, verdict.duplicated, verdict.reordered)
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        assert_eq!(check(&[0, 1, 2], 3), (0, 0, 0));
        assert_eq!(check(&[0, 2], 3), (1, 0, 0), "lost");
        assert_eq!(check(&[0, 1], 3), (1, 0, 0), "lost at the end");
        assert_eq!(check(&[0, 1, 1, 2], 3), (0, 1, 0), "duplicated");
        assert_eq!(check(&[0, 2, 1], 3), (0, 0, 1), "reordered");
        assert_eq!(check(&[1_000_000], 1_000_001), (1_000_000, 0, 0), "beyond the limit");
    }

    #[test]
    fn planted_bugs_are_found() {
        for (plant, expected) in
            [(Plant::Lose, (1, 0, 0)), (Plant::Repeat, (0, 1, 0)), (Plant::Reorder, (0, 0, 1))]
        {
            let mut check = Check::new(Some(plant));
            (0..PLANTED + 10).for_each(|number| check.handle(0, number));
            let mut sent = vec![0; TARGETS as usize];
            sent[0] = PLANTED + 10;
            let verdict = check.verdict(&sent);
            assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), expected);
        }
    }
}
