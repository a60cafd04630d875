//! Frames on the control lane: marks, pings, pauses, and packets of the layer above.
//!
//! Each is a varint length and a postcard value of [`Control`].

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{WireError, varint};

/// The longest control frame, in bytes.
pub(crate) const LIMIT: u64 = 256 * 1024;

/// The most ranges in one [`Control::Settled`]; what is beyond follows later.
pub(crate) const RANGES_LIMIT: usize = 1_024;

/// A control frame. Frozen: new variants go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// Everything on the lane up to here has arrived.
    Received { lane: u16, up_to: u64 },
    /// Everything up to here, and these ranges (first and last), was handled or rejected.
    Settled { lane: u16, up_to: u64, ranges: Vec<(u64, u64)> },
    /// Asks for a [`Control::Pong`].
    Ping(u64),
    /// Answers a [`Control::Ping`].
    Pong(u64),
    /// A packet of the layer above, best effort, like a datagram.
    Packet(Vec<u8>),
    /// The target is full: send it nothing more until [`Control::Resume`].
    Pause { target: u64 },
    /// The target has room again.
    Resume { target: u64 },
    /// The sender's session takes no more messages, its own or the receiver's: the receiver is to
    /// answer [`Control::Drained`] once all that it sent is settled.
    Closing,
    /// All messages that the sender of this sent are settled, and no more will come.
    Drained,
    /// Asks for the bytes of a bulk message, from this one on.
    Pull { id: u64, from: u64 },
    /// All bytes of a bulk message have arrived.
    Got { id: u64 },
    /// The sender of a bulk message has given it up.
    Cancelled { id: u64, reason: u8 },
}

impl Control {
    /// Appends the frame.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let body = postcard::to_stdvec(self).expect("a control frame has no value serde refuses");
        varint::put(body.len() as u64, out);
        out.extend_from_slice(&body);
    }

    /// Takes a whole frame from the front; `None` while bytes are missing.
    pub(crate) fn take(bytes: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some((length, head)) = varint::take(bytes)? else { return Ok(None) };
        if length > LIMIT {
            return Err(WireError::TooLong { length, limit: LIMIT });
        }
        let end = head + usize::try_from(length).map_err(|_| WireError::Malformed)?;
        if bytes.len() < end {
            return Ok(None);
        }
        let frame = bytes.split_to(end);
        match postcard::take_from_bytes(&frame[head..]) {
            Ok((control, [])) => Ok(Some(control)),
            Ok(_) | Err(_) => Err(WireError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{assert_documented, name_of};

    #[test]
    fn golden_bytes_hold_both_ways() {
        let golden: [(Control, &[u8]); 12] = [
            (Control::Received { lane: 1, up_to: 300 }, &[4, 0, 1, 0xac, 2]),
            (
                Control::Settled { lane: 1, up_to: 7, ranges: vec![(9, 10)] },
                &[6, 1, 1, 7, 1, 9, 10],
            ),
            (Control::Ping(5), &[2, 2, 5]),
            (Control::Pong(5), &[2, 3, 5]),
            (Control::Packet(vec![1, 2]), &[4, 4, 2, 1, 2]),
            (Control::Pause { target: 6 }, &[2, 5, 6]),
            (Control::Resume { target: 6 }, &[2, 6, 6]),
            (Control::Closing, &[1, 7]),
            (Control::Drained, &[1, 8]),
            (Control::Pull { id: 1, from: 300 }, &[4, 9, 1, 0xac, 2]),
            (Control::Got { id: 1 }, &[2, 10, 1]),
            (Control::Cancelled { id: 1, reason: 7 }, &[3, 11, 1, 7]),
        ];
        for (control, golden) in golden {
            let mut bytes = Vec::new();
            control.put(&mut bytes);
            assert_eq!(bytes, golden, "{control:?}");
            assert_documented(&name_of(&control), golden);
            assert_eq!(Control::take(&mut BytesMut::from(golden)), Ok(Some(control)));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes: Vec<u8>) {
            let mut bytes = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Control::take(&mut bytes) {}
        }
    }
}
