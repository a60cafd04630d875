//! On which lanes a watcher may have been sent something by what it watches.
//!
//! Lanes keep their order each, and not among each other. An actor has one lane from any node; an
//! activation of an entity has two, since references lead to it by its key and by its number. Its
//! end is told on both, and counts once it has come on both: behind everything, whichever way that
//! took.

use super::reason::TerminatedReason;

/// How many lanes a watcher has at most.
pub(crate) const LANES_LIMIT: usize = 2;

/// The lanes of one watcher, by the hashes that choose them, and on which its watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes {
    hashes: [u64; LANES_LIMIT],
    count: u8,
    /// One bit for each that has reported.
    reported: u8,
    /// What the first one reported.
    reason: Option<TerminatedReason>,
}

impl Lanes {
    pub(crate) fn one(hash: u64) -> Self {
        Self { hashes: [hash, 0], count: 1, reported: 0, reason: None }
    }

    pub(crate) fn two(first: u64, second: u64) -> Self {
        if first == second {
            return Self::one(first);
        }
        Self { hashes: [first, second], count: 2, reported: 0, reason: None }
    }

    /// The lanes that a peer names; nothing if they are none, or too many.
    pub(crate) fn of(hashes: &[u64]) -> Option<Self> {
        match hashes {
            [one] => Some(Self::one(*one)),
            [first, second] => Some(Self::two(*first, *second)),
            _ => None,
        }
    }

    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes[..usize::from(self.count)]
    }

    /// The end has come on a lane. Returns the reason once it has on all of them.
    pub(crate) fn report(
        &mut self,
        hash: u64,
        reason: TerminatedReason,
    ) -> Option<TerminatedReason> {
        let at = self.hashes().iter().position(|known| *known == hash)?;
        self.reported |= 1 << at;
        let first = *self.reason.get_or_insert(reason);
        (self.reported.count_ones() == u32::from(self.count)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TerminatedReason::{Killed, NodeDown};

    #[test]
    fn an_end_counts_once_it_has_come_on_each_lane() {
        let mut lanes = Lanes::two(7, 8);
        assert_eq!(lanes.report(9, Killed), None, "no lane of it");
        assert_eq!(lanes.report(7, Killed), None);
        assert_eq!(lanes.report(7, Killed), None, "the same again");
        assert_eq!(lanes.report(8, NodeDown), Some(Killed), "the first one knows");
        assert_eq!(Lanes::one(7).report(7, NodeDown), Some(NodeDown));
    }

    #[test]
    fn a_peer_names_one_lane_or_two() {
        assert_eq!(Lanes::of(&[7, 7]), Some(Lanes::one(7)));
        assert_eq!(Lanes::of(&[7, 8]).map(|lanes| lanes.hashes().to_vec()), Some(vec![7, 8]));
        assert_eq!((Lanes::of(&[]), Lanes::of(&[1, 2, 3])), (None, None));
    }
}
