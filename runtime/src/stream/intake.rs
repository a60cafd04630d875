//! Where the items of one ask arrive, whatever their type.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::mpsc;

/// An item that has arrived.
pub(crate) enum Arrived<T> {
    /// From a handler on this node.
    Here(T),
    /// From another node, to be read.
    There(Bytes),
}

/// Where items arrive; who awaits them knows their type.
pub(crate) trait Intake: Send + Sync {
    /// Takes the bytes of an item of another node, the number of which counts from 0; false if that
    /// node has sent more than it may. Long ones may come late.
    fn take(&self, number: u64, item: Bytes) -> bool;
    /// Whether not all of the first so many have come.
    fn lacks(&self, items: u64) -> bool;
    /// How many items may be on their way.
    fn window(&self) -> u32;
    fn as_any(&self) -> &dyn Any;
}

/// An intake of items `T`.
pub(crate) struct Inlet<T> {
    pub(crate) items: mpsc::Sender<Arrived<T>>,
    order: Mutex<Order>,
}

/// What has come from another node.
#[derive(Default)]
struct Order {
    /// Which item comes next.
    next: u64,
    /// Items that came before it, no more than the window.
    early: BTreeMap<u64, Bytes>,
}

impl<T> Inlet<T> {
    pub(crate) fn new(items: mpsc::Sender<Arrived<T>>) -> Self {
        Self { items, order: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        // A number and a map that are changed one after the other: a poisoned lock guards whole ones.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Intake for Inlet<T> {
    fn take(&self, number: u64, item: Bytes) -> bool {
        use mpsc::error::TrySendError;
        let mut order = self.lock();
        if number < order.next || order.early.len() >= self.items.max_capacity() {
            return false;
        }
        order.early.insert(number, item);
        loop {
            let next = order.next;
            let Some(item) = order.early.remove(&next) else { return true };
            // Whoever has gone misses nothing.
            if let Err(TrySendError::Full(_)) = self.items.try_send(Arrived::There(item)) {
                return false;
            }
            order.next += 1;
        }
    }

    fn lacks(&self, items: u64) -> bool {
        self.lock().next < items
    }

    fn window(&self) -> u32 {
        u32::try_from(self.items.max_capacity()).expect("a window is within its limit")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Who awaits the items of an ask.
#[derive(Clone)]
pub(crate) enum Awaiting {
    /// Somebody on this node.
    Here(Arc<dyn Intake>),
    /// Somebody on the node that sent the ask, with room for so many.
    There(u32),
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here"),
            Self::There(window) => write!(f, "There({window})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inlet(window: usize) -> (Inlet<u8>, mpsc::Receiver<Arrived<u8>>) {
        let (sender, items) = mpsc::channel(window);
        (Inlet::new(sender), items)
    }

    fn taken(items: &mut mpsc::Receiver<Arrived<u8>>) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Ok(Arrived::There(item)) = items.try_recv() {
            taken.push(item[0]);
        }
        taken
    }

    fn take(inlet: &Inlet<u8>, number: u8) -> bool {
        inlet.take(number.into(), Bytes::copy_from_slice(&[number]))
    }

    #[test]
    fn what_comes_early_waits_for_its_turn() {
        let (inlet, mut items) = inlet(4);
        for number in [1, 3, 2] {
            assert!(take(&inlet, number));
        }
        assert!(taken(&mut items).is_empty() && inlet.lacks(1));
        assert!(take(&inlet, 0));
        assert_eq!(taken(&mut items), [0, 1, 2, 3]);
        assert!(inlet.lacks(5) && !inlet.lacks(4));
    }

    #[test]
    fn no_more_is_taken_than_there_is_room_for() {
        let (inlet, mut items) = inlet(2);
        assert!(take(&inlet, 0) && take(&inlet, 1) && !take(&inlet, 2), "the reader has two");
        assert_eq!(taken(&mut items), [0, 1]);
        let (inlet, _items) = self::inlet(2);
        assert!(take(&inlet, 1) && take(&inlet, 2) && !take(&inlet, 3), "two came early");
        let (inlet, _items) = self::inlet(2);
        assert!(take(&inlet, 0) && !take(&inlet, 0), "twice the same");
    }
}
