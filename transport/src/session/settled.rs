//! Which frames of a lane are settled beyond the first one that is not.
//!
//! A peer tells all its ranges again with each mark, since marks may get lost with a connection. What
//! was known before is passed over range by range, so that a mark costs what is new in it.
//! Invariant: ranges are sorted and do not touch.

use crate::wire::WireError;

/// First and last of each range.
#[derive(Debug, Default)]
pub(super) struct SettledRanges(Vec<(u64, u64)>);

/// Checks the ranges of a mark, beyond `up_to`.
///
/// # Errors
///
/// When they are not sorted, or touch or overlap: nobody says so who keeps to the protocol, and it
/// would make a short mark cost much.
pub(super) fn check(up_to: u64, ranges: &[(u64, u64)]) -> Result<(), WireError> {
    let mut end = up_to;
    for (first, last) in ranges {
        // At least one that is not settled lies between.
        if first > last || *first <= end.saturating_add(1) {
            return Err(WireError::Malformed);
        }
        end = *last;
    }
    Ok(())
}

impl SettledRanges {
    /// Takes the ranges of a mark, beyond `up_to`, that were [checked](check), and calls `settle` for
    /// each frame that is new. All below `base` is settled: what is told of that again costs nothing,
    /// however many frames it spans.
    pub(super) fn add(
        &mut self,
        base: u64,
        up_to: u64,
        ranges: &[(u64, u64)],
        mut settle: impl FnMut(u64),
    ) {
        let mut known = self.0.iter().peekable();
        for (first, last) in ranges {
            let mut next = (*first).max(base);
            while next <= *last {
                while known.next_if(|(_, end)| *end < next).is_some() {}
                match known.peek() {
                    Some((begin, end)) if *begin <= next => next = end + 1,
                    Some((begin, _)) => {
                        (next..=(*last).min(begin - 1)).for_each(&mut settle);
                        next = (*last).min(begin - 1) + 1;
                    }
                    None => {
                        (next..=*last).for_each(&mut settle);
                        break;
                    }
                }
            }
        }
        self.merge(up_to, ranges);
    }

    /// All below `base` is settled: ranges that end before it are over.
    pub(super) fn forget(&mut self, base: u64) {
        let over = self.0.partition_point(|(_, last)| *last < base);
        self.0.drain(..over);
    }

    fn merge(&mut self, up_to: u64, ranges: &[(u64, u64)]) {
        let known = std::mem::take(&mut self.0);
        let mut known = known.into_iter().filter(|(_, last)| *last > up_to).peekable();
        let mut new = ranges.iter().copied().peekable();
        loop {
            let next = match (known.peek(), new.peek()) {
                (Some(a), Some(b)) if a.0 <= b.0 => known.next(),
                (Some(_), None) => known.next(),
                _ => new.next(),
            };
            let Some((first, last)) = next else { break };
            match self.0.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => self.0.push((first, last)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(set: &BTreeSet<u64>) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for n in set {
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == *n => last.1 = *n,
                _ => ranges.push((*n, *n)),
            }
        }
        ranges
    }

    proptest! {
        #[test]
        fn each_frame_is_settled_once_whatever_is_told_again(
            marks in proptest::collection::vec(proptest::collection::btree_set(2u64..60, 0..30), 1..20),
        ) {
            let mut settled = SettledRanges::default();
            let mut model = BTreeSet::new();
            for mark in &marks {
                let mut new = Vec::new();
                check(0, &ranges(mark)).expect("sorted");
                settled.add(0, 0, &ranges(mark), |n| new.push(n));
                let expected: Vec<u64> = mark.difference(&model).copied().collect();
                prop_assert_eq!(new, expected);
                model.extend(mark);
                prop_assert_eq!(&settled.0, &ranges(&model));
            }
        }
    }

    #[test]
    fn ranges_that_are_not_sorted_are_refused() {
        for wrong in
            [vec![(5, 4)], vec![(5, 6), (7, 8)], vec![(5, 6), (6, 9)], vec![(9, 9), (5, 5)]]
        {
            let refused = check(0, &wrong);
            assert_eq!(refused, Err(WireError::Malformed), "{wrong:?}");
        }
        assert!(check(4, &[(5, 5)]).is_err(), "part of `up_to`");
        let top = [(u64::MAX - 1, u64::MAX)];
        assert!(check(u64::MAX - 3, &top).is_ok());
    }

    #[test]
    fn what_is_below_the_first_open_frame_is_forgotten() {
        let mut settled = SettledRanges::default();
        settled.add(1, 0, &[(3, 4), (8, 9)], |_| {});
        settled.forget(5);
        assert_eq!(settled.0, [(8, 9)]);
        // A mark that was overtaken, or one that is to cost time.
        let mut new = Vec::new();
        settled.add(5, 0, &[(2, 6), (8, 9)], |n| new.push(n));
        assert_eq!(new, [5, 6]);
    }
}
