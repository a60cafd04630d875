//! Messages that have arrived and are not delivered yet: because one before them, for the same
//! target, is still coming in on a stream of its own, or because the peer has too many answers to
//! take before it is given more to ask for.
//!
//! Invariant: the messages of one target leave in the order in which they came. What is parked is
//! bounded by what the peer may have unsettled.

use std::collections::{BTreeMap, VecDeque};

use super::frames::Parcel;

#[derive(Debug, Default)]
pub(super) struct Parking {
    targets: BTreeMap<u64, VecDeque<Parked>>,
    /// Whether nothing is delivered at all for the time being.
    shut: bool,
}

#[derive(Debug)]
enum Parked {
    Whole(Parcel),
    /// Still coming in.
    Bulk(u64),
}

impl Parking {
    /// A whole message has come. Gives it back if it can be delivered at once.
    pub(super) fn offer(&mut self, parcel: Parcel) -> Option<Parcel> {
        if self.shut {
            self.targets.entry(parcel.target).or_default().push_back(Parked::Whole(parcel));
            return None;
        }
        match self.targets.get_mut(&parcel.target) {
            Some(line) => {
                line.push_back(Parked::Whole(parcel));
                None
            }
            None => Some(parcel),
        }
    }

    /// A message begins to come in on a stream of its own.
    pub(super) fn expect(&mut self, target: u64, id: u64) {
        self.targets.entry(target).or_default().push_back(Parked::Bulk(id));
    }

    /// It is complete, or `None` if it will never come. Appends what can be delivered now.
    pub(super) fn complete(
        &mut self,
        target: u64,
        id: u64,
        parcel: Option<Parcel>,
        out: &mut Vec<Parcel>,
    ) {
        let Some(line) = self.targets.get_mut(&target) else { return };
        let is_it = |parked: &Parked| matches!(parked, Parked::Bulk(other) if *other == id);
        let Some(at) = line.iter().position(is_it) else { return };
        match parcel {
            Some(parcel) => line[at] = Parked::Whole(parcel),
            None => _ = line.remove(at),
        }
        if !self.shut {
            drain(line, out);
        }
        if line.is_empty() {
            self.targets.remove(&target);
        }
    }

    /// Delivers nothing more until it is opened again.
    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    /// Delivers again. Appends what can be delivered now.
    pub(super) fn open(&mut self, out: &mut Vec<Parcel>) {
        if std::mem::take(&mut self.shut) {
            self.targets.retain(|_, line| {
                drain(line, out);
                !line.is_empty()
            });
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Whether whatever comes can be delivered at once.
    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && !self.shut
    }
}

fn drain(line: &mut VecDeque<Parked>, out: &mut Vec<Parcel>) {
    while let Some(Parked::Whole(_)) = line.front() {
        if let Some(Parked::Whole(parcel)) = line.pop_front() {
            out.push(parcel);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::session::{Class, Receipt};

    fn message(target: u64, sequence: u64) -> Parcel {
        let ticket = Receipt { lane: 0, sequence, bytes: 0 };
        Parcel { ticket, class: Class::Message, target, payload: Bytes::new() }
    }

    fn sequences(out: &mut Vec<Parcel>) -> Vec<u64> {
        out.drain(..).map(|parcel| parcel.ticket.sequence).collect()
    }

    #[test]
    fn a_bulk_message_holds_its_place_and_stalls_its_target_only() {
        let (mut parking, mut out) = (Parking::default(), Vec::new());
        assert!(parking.offer(message(1, 1)).is_some());
        parking.expect(1, 7);
        assert!(parking.offer(message(1, 3)).is_none());
        assert!(parking.offer(message(2, 4)).is_some());
        parking.expect(1, 8);
        assert!(parking.offer(message(1, 6)).is_none());
        parking.complete(1, 8, Some(message(1, 5)), &mut out);
        assert_eq!(sequences(&mut out), [], "the one before it is not complete");
        parking.complete(1, 7, Some(message(1, 2)), &mut out);
        assert_eq!(sequences(&mut out), [2, 3, 5, 6]);
        assert!(parking.is_empty() && parking.offer(message(1, 7)).is_some());
    }

    #[test]
    fn what_never_comes_gives_its_place_up() {
        let (mut parking, mut out) = (Parking::default(), Vec::new());
        parking.expect(1, 7);
        assert!(parking.offer(message(1, 2)).is_none());
        parking.complete(1, 9, None, &mut out);
        parking.complete(2, 7, None, &mut out);
        assert_eq!(sequences(&mut out), [], "not these");
        parking.complete(1, 7, None, &mut out);
        assert_eq!(sequences(&mut out), [2]);
        assert!(parking.is_empty());
    }

    #[test]
    fn a_shut_one_keeps_all_and_opens_in_order() {
        let (mut parking, mut out) = (Parking::default(), Vec::new());
        parking.shut();
        for sequence in 1..=3 {
            assert!(parking.offer(message(1, sequence)).is_none());
        }
        parking.expect(1, 7);
        assert!(parking.offer(message(1, 5)).is_none());
        parking.open(&mut out);
        assert_eq!(sequences(&mut out), [1, 2, 3]);
        parking.complete(1, 7, Some(message(1, 4)), &mut out);
        assert_eq!(sequences(&mut out), [4, 5]);
    }
}
