//! The number that a sender's transport keeps of a frame until it is settled, and gives back with a
//! rejection or a loss: all that is left of a message that has left its node.
//!
//! ```text
//!  ask   0 | correlation
//!  watch 01 | kind | reason | number, as `watch/token.rs` has it
//!  tell  1 | is an entity's | 62 bits that stand for the actor type and the message
//! ```

use super::{
    pending::Correlation,
    wire::{Address, Head},
};
use crate::{message::WireId, watch::Token};

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// An ask, whose asker waits under this number.
    Ask(Correlation),
    /// Something about a watch.
    Watch(Token),
    /// A tell.
    Tell(TellMark),
}

/// What a tell was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TellMark(u64);

const TELL: u64 = 1 << 63;
const ENTITY: u64 = 1 << 62;

impl Mark {
    /// What a number stands for.
    pub(crate) fn read(number: u64) -> Self {
        if number & TELL != 0 {
            return Self::Tell(TellMark(number));
        }
        Token::read(number).map_or(Self::Ask(number), Self::Watch)
    }
}

impl TellMark {
    /// The mark of a tell to an actor.
    pub(crate) const fn new(actor_type: WireId, message: WireId) -> Self {
        Self(TELL | (actor_type.0.rotate_left(1) ^ message.0) & !(TELL | ENTITY))
    }

    /// The mark of a tell to whoever has this address.
    pub(crate) fn to(address: &Address<'_>, message: WireId) -> Self {
        let mark = Self::new(address.actor_type(), message);
        match address {
            Address::Actor { .. } => mark,
            Address::Entity { .. } => Self(mark.0 | ENTITY),
        }
    }

    /// The mark of a tell whose payload is there.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        match Head::take(payload) {
            Ok((Head::Tell { to, message, .. }, _)) => Some(Self::to(&to, WireId(message))),
            Ok(_) | Err(_) => None,
        }
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Whether it went to an entity.
    pub(crate) fn is_entitys(self) -> bool {
        self.0 & ENTITY != 0
    }

    /// What stands for actor type and message.
    pub(crate) fn pair(self) -> u64 {
        self.0 & !(TELL | ENTITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_it_was_made_of() {
        let (actor_type, message) = (WireId(u64::MAX), WireId(0x8000_0000_0000_0001));
        let actor = Address::Actor { actor_type: actor_type.0, id: 7 };
        let entity = Address::Entity { actor_type: actor_type.0, key: "k" };
        let plain = TellMark::new(actor_type, message);
        for (address, is_entitys) in [(actor, false), (entity, true)] {
            let mark = TellMark::to(&address, message);
            assert_eq!(Mark::read(mark.number()), Mark::Tell(mark));
            assert_eq!((mark.is_entitys(), mark.pair()), (is_entitys, plain.pair()));
        }
        assert_eq!(Mark::read(7), Mark::Ask(7));
        assert_eq!(Mark::read(Token::Watch(7).to_mark()), Mark::Watch(Token::Watch(7)));
        assert_ne!(plain.pair(), TellMark::new(message, actor_type).pair());
    }
}
