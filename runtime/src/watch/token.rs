//! The marks by which frames about watches are known to the session that carries them.
//!
//! A frame that its receiver rejects comes back as a mark alone. All that it takes to send it again
//! is in there, so that nothing is kept for that.

use super::{
    reason::TerminatedReason,
    table::{Back, Number},
};

/// The numbers of watches on the wire are below this: so many bits are left for them in a mark.
pub(super) const NUMBER_LIMIT: Number = 1 << 48;

/// Set in every mark, and in no number of an ask; the bit above is set in those of tells.
const MARK: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Watch(Number),
    Unwatch(Number, Back),
    Terminated(Number, TerminatedReason),
}

impl Token {
    pub(crate) fn to_mark(self) -> u64 {
        let (kind, number, reason) = match self {
            Self::Watch(number) => (1, number, None),
            Self::Unwatch(number, Back::Quietly) => (2, number, None),
            Self::Unwatch(number, Back::Broken(reason)) => (2, number, Some(reason)),
            Self::Terminated(number, reason) => (3, number, Some(reason)),
        };
        let reason = reason.map_or(0, |reason| reason as u64 + 1);
        MARK | kind << 60 | reason << 48 | (number % NUMBER_LIMIT)
    }

    /// Reads a mark; nothing if it is that of an ask or a tell.
    pub(crate) fn read(mark: u64) -> Option<Self> {
        let number = mark % NUMBER_LIMIT;
        let reason = (mark >> 48 & 0xff) as u8;
        let reason = reason.checked_sub(1).map(TerminatedReason::from_wire);
        match (mark >> 62 == 1).then_some(mark >> 60 & 3)? {
            1 => Some(Self::Watch(number)),
            2 => Some(Self::Unwatch(number, reason.map_or(Back::Quietly, Back::Broken))),
            3 => Some(Self::Terminated(number, reason?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_is_no_ask() {
        for number in [1, 300, NUMBER_LIMIT - 1] {
            let of_reason = TerminatedReason::ALL.into_iter().flat_map(|reason| {
                [Token::Terminated(number, reason), Token::Unwatch(number, Back::Broken(reason))]
            });
            let others = [Token::Watch(number), Token::Unwatch(number, Back::Quietly)];
            for token in of_reason.chain(others) {
                assert_eq!(Token::read(token.to_mark()), Some(token));
            }
        }
        assert_eq!((Token::read(0), Token::read(NUMBER_LIMIT), Token::read(1)), (None, None, None));
    }
}
