//! What benches time: two sessions with no network between them. Not for use by others.

use bytes::{Bytes, BytesMut};

use crate::{
    Class, NodeName, PeerId, Receipt, Session,
    session::{Arrived, Buffers, Limits, Shape, StreamReader, put_header},
    wire::{control::Control, handshake::Accepts},
};

const CARRIER: u64 = 1;

const SHAPE: Shape = Shape {
    lanes_out: LANES,
    lanes_in: LANES,
    limits: Limits { target_messages: 1_024, target_bytes: 1 << 20, lane_bytes: 1 << 24 },
    messages_limit: 65_536,
    bytes_limit: 1 << 26,
    answer_bytes: 1 << 26,
    accepts: Accepts { messages: 65_536, bytes: 1 << 26, longest: 1 << 26 },
    message_limit: 1 << 26,
    bulk_over: 65_536,
    bulk_streams: 2,
};

const LANES: u16 = 2;

/// Two ends, and the bytes between them.
#[derive(Debug)]
pub struct Pair {
    from: Session,
    to: Session,
    readers: [StreamReader; LANES as usize],
    arrived: Arrived,
    settled: Vec<Receipt>,
    control: BytesMut,
}

impl Default for Pair {
    fn default() -> Self {
        let id = |name| PeerId { name: NodeName::new(name).expect("a name"), incarnation: 1 };
        let session = |local, peer| {
            let session =
                Session::new(id(local), id(peer), Bytes::new(), &SHAPE, Buffers::default());
            session.resume(CARRIER, &[]).expect("nothing was sent");
            session
        };
        let (from, to) = (session("a", "b"), session("b", "a"));
        let mut pair = Self {
            from,
            to,
            readers: std::array::from_fn(|_| StreamReader::new(CARRIER)),
            arrived: Arrived::default(),
            settled: Vec::new(),
            control: BytesMut::new(),
        };
        for lane in 0..LANES {
            let mut header = Vec::new();
            put_header(lane, 1, &mut header);
            pair.read(lane, header.into());
        }
        pair
    }
}

impl Pair {
    /// Sends a message.
    ///
    /// # Panics
    ///
    /// When there is no room: [`carry`](Self::carry) what was sent before.
    pub fn send(&self, target: u64, payload: &[u8]) {
        self.from.try_send(Class::Message, target, 1, payload).expect("there is room");
    }

    /// Carries what was sent over, has all of it settled, and carries the marks back. Returns how
    /// many messages came.
    ///
    /// # Panics
    ///
    /// When what comes is not what was sent.
    pub fn carry(&mut self) -> usize {
        let mut count = 0;
        for lane in 0..LANES {
            while let Some(batch) = self.from.poll_batch(CARRIER, lane).expect("not replaced") {
                self.read(lane, batch);
                self.settled.extend(self.arrived.frames.iter().map(|frame| frame.ticket));
                self.arrived.frames.clear();
                count += self.settled.len();
                self.to.settle_all(self.settled.drain(..));
            }
        }
        let mut out = Vec::new();
        self.to.collect_control(CARRIER, &mut out).expect("not replaced");
        self.control.extend_from_slice(&out);
        while let Some(frame) = Control::take(&mut self.control).expect("our own frames") {
            self.from.handle_control(frame, &mut self.arrived).expect("our own frames");
        }
        count
    }

    fn read(&mut self, lane: u16, bytes: Bytes) {
        let reader = &mut self.readers[usize::from(lane)];
        reader.handle_bytes(&self.to, bytes, &mut self.arrived).expect("our own frames");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_sent_comes_and_is_settled() {
        let mut pair = Pair::default();
        for round in 0..3 {
            (0..1_000).for_each(|n| pair.send(n % 64, &[round; 64]));
            assert_eq!((pair.carry(), pair.from.unsettled()), (1_000, (0, 0)));
        }
    }
}
