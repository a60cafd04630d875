//! How a session closes: intake stops at both ends, each waits until what it sent is settled, and
//! says so.
//!
//! ```text
//!  closes ── Closing ──> takes no more messages
//!         <── Drained ── once all it sent is settled
//! ```
//!
//! Invariant: an end says `Drained` only when it takes no more messages and all that it took is
//! settled; so an end that was told, and is drained itself, knows that nothing is under way.

use crate::wire::control::Control;

/// Where one end of a session is with its close.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Whether this end wants to close.
    asked: bool,
    /// Whether the peer does.
    by_peer: bool,
    told_closing: bool,
    told_drained: bool,
    peer_drained: bool,
}

impl Closing {
    /// This end is to close.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// The peer closes.
    pub(super) fn handle_closing(&mut self) {
        self.by_peer = true;
    }

    /// Whether the peer has said that it closes.
    pub(super) fn is_by_peer(&self) -> bool {
        self.by_peer
    }

    /// The peer is drained.
    pub(super) fn handle_drained(&mut self) {
        self.peer_drained = true;
    }

    /// Whether the peer will send no more messages, and all that it sent is settled.
    pub(super) fn is_peer_drained(&self) -> bool {
        self.peer_drained
    }

    /// What the peer is to be told; `is_drained` says whether all that this end sent is settled.
    pub(super) fn poll(&mut self, is_drained: impl FnOnce() -> bool) -> [Option<Control>; 2] {
        if !self.asked && !self.by_peer {
            return [None, None];
        }
        let closing = self.asked && !std::mem::replace(&mut self.told_closing, true);
        let drained = !self.told_drained && is_drained();
        self.told_drained |= drained;
        [closing.then_some(Control::Closing), drained.then_some(Control::Drained)]
    }

    /// Tells all again: a new connection knows nothing of what the last one carried.
    pub(super) fn retell(&mut self) {
        self.told_closing = false;
        self.told_drained = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_says_once_per_connection_that_it_closes_and_that_it_is_drained() {
        let mut closing = Closing::default();
        assert_eq!(closing.poll(|| true), [None, None], "nobody closes");
        closing.ask();
        assert_eq!(closing.poll(|| false), [Some(Control::Closing), None]);
        assert_eq!(closing.poll(|| true), [None, Some(Control::Drained)]);
        assert_eq!(closing.poll(|| true), [None, None]);
        closing.retell();
        assert_eq!(closing.poll(|| true), [Some(Control::Closing), Some(Control::Drained)]);
    }

    #[test]
    fn the_end_that_did_not_ask_only_says_that_it_is_drained() {
        let mut closing = Closing::default();
        closing.handle_closing();
        assert_eq!(closing.poll(|| false), [None, None]);
        assert_eq!(closing.poll(|| true), [None, Some(Control::Drained)]);
    }
}
