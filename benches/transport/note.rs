//! What is sent, the same for all: a payload that says what it is and has a number, and, for raw
//! streams, a frame around it as long as the transport's own.

/// The shortest payload: a kind and a number, eight bytes each.
pub(crate) const SHORTEST: usize = 16;

/// How many targets messages are spread over, in turn.
pub(crate) const TARGETS: u64 = 64;

/// How much is written at a time.
pub(crate) const WRITE_BYTES: usize = 16 * 1_024;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counted, not answered.
    Note,
    /// Sent back.
    Ask,
    /// Sent back once as many notes have come as its number says.
    End,
    /// None of these.
    Unknown,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Note, Self::Ask, Self::End];

    fn of(payload: &[u8]) -> Self {
        let kind = |byte: &u8| Self::ALL.get(usize::from(*byte)).copied();
        payload.first().and_then(kind).unwrap_or(Self::Unknown)
    }
}

/// A payload that is written anew for each message.
#[derive(Clone, Debug)]
pub(crate) struct Payload(Vec<u8>);

impl Payload {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(vec![0xa5; bytes.max(SHORTEST)])
    }

    pub(crate) fn fill(&mut self, kind: Kind, number: u64) -> &[u8] {
        self.0[0] = kind as u8;
        self.0[8..16].copy_from_slice(&number.to_le_bytes());
        &self.0
    }
}

/// What arrived at one end, checked.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The number that is due at each target.
    due: [u64; TARGETS as usize],
    pub(crate) notes: u64,
    /// How many notes there are, once that was said.
    total: Option<u64>,
    /// What came out of order, twice, or as nonsense.
    pub(crate) faults: u64,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { due: std::array::from_fn(|n| n as u64), notes: 0, total: None, faults: 0 }
    }

    /// A payload arrived.
    pub(crate) fn handle(&mut self, payload: &[u8]) -> Kind {
        let kind = Kind::of(payload);
        let number = payload.get(8..16).and_then(|bytes| bytes.first_chunk());
        let Some(number) = number.map(|bytes| u64::from_le_bytes(*bytes)) else {
            self.faults += 1;
            return Kind::Unknown;
        };
        match kind {
            Kind::Note | Kind::Ask => {
                let due = &mut self.due[(number % TARGETS) as usize];
                self.faults += u64::from(*due != number);
                *due = number + TARGETS;
                self.notes += u64::from(kind == Kind::Note);
            }
            Kind::End => self.total = Some(number),
            Kind::Unknown => self.faults += 1,
        }
        kind
    }

    /// Whether the end was said and all before it has come. If so, begins anew.
    pub(crate) fn take_end(&mut self) -> bool {
        let ended = self.total.is_some_and(|total| self.notes >= total);
        if ended {
            let over = self.notes - self.total.unwrap_or_default();
            *self = Self { faults: self.faults + over, ..Self::new() };
        }
        ended
    }
}

/// Appends a frame: a varint length, a kind, a target, a payload.
pub(crate) fn put_frame(target: u64, payload: &[u8], out: &mut Vec<u8>) {
    let mut length = payload.len() as u64 + 9;
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.push(1);
    out.extend_from_slice(&target.to_le_bytes());
    out.extend_from_slice(payload);
}

/// What is at the front of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// A frame with this payload, and how long it is as a whole.
    Frame(&'a [u8], usize),
    /// A part of one; how long it is as a whole, if that is known.
    Part(usize),
    /// No frame.
    Broken,
}

pub(crate) fn front(bytes: &[u8]) -> Front<'_> {
    let (mut length, mut head) = (0, 0);
    loop {
        let Some(byte) = bytes.get(head) else { return Front::Part(0) };
        length |= usize::from(byte & 0x7f) << (7 * head);
        head += 1;
        match byte & 0x80 {
            0 => break,
            _ if head == 4 => return Front::Broken,
            _ => {}
        }
    }
    match bytes.get(head..head + length) {
        None => Front::Part(head + length),
        Some(body) if length < 9 || body[0] != 1 => Front::Broken,
        Some(body) => Front::Frame(&body[9..], head + length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(numbers: &[u64], total: u64) -> (bool, u64) {
        let (mut ledger, mut payload) = (Ledger::new(), Payload::new(16));
        for number in numbers {
            ledger.handle(payload.fill(Kind::Note, *number));
        }
        ledger.handle(payload.fill(Kind::End, total));
        (ledger.take_end(), ledger.faults)
    }

    #[test]
    fn what_is_lost_repeated_or_overtaken_is_a_fault() {
        assert_eq!(faults(&[0, 1, 64, 65], 4), (true, 0));
        assert_eq!(faults(&[1, 0], 2), (true, 0), "of other targets");
        assert_eq!(faults(&[0, 64], 3), (false, 0), "lost: there is no end");
        assert_eq!(faults(&[0, 128], 2), (true, 1), "lost in between");
        assert_eq!(faults(&[0, 0], 2), (true, 1), "repeated");
        assert_eq!(faults(&[0, 64, 64], 2), (true, 2), "repeated, and too many");
        assert_eq!(faults(&[64, 0], 2), (true, 2), "overtaken");
    }

    #[test]
    fn frames_come_back_whole() {
        for length in [16, 117, 118, 1_024, 1_048_576] {
            let mut bytes = Vec::new();
            put_frame(7, &vec![3; length], &mut bytes);
            let whole = bytes.len();
            assert!(matches!(front(&bytes[..whole - 1]), Front::Part(n) if n == whole));
            bytes.push(0);
            assert_eq!(front(&bytes), Front::Frame(&vec![3; length], whole));
        }
        assert_eq!(front(&[]), Front::Part(0));
        assert_eq!(front(&[3, 1, 2, 3]), Front::Broken);
        assert_eq!(front(&[0xff; 8]), Front::Broken);
    }
}
