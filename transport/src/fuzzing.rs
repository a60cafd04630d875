//! What fuzzers feed, and what the plain tests replay their corpus through: every decoder on bytes,
//! and a session on whatever a peer may send it. Each takes any bytes and returns; a panic, a hang
//! or memory beyond the bounds is a find.

use bytes::{Bytes, BytesMut};

use crate::{
    identity::{ClusterName, NodeName, PeerId},
    session::{Arrived, Buffers, Limits, Session, Shape, StreamReader},
    tls::Credentials,
    wire::{
        control::Control,
        handshake::{Accepts, Greeting, PREFACE, agree},
        lane::LaneFrame,
        varint,
    },
};

/// A target and its name, which is that of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("lane", lane),
    ("control", control),
    ("greeting", greeting),
    ("varint", number),
    ("names", names),
    ("credentials", credentials),
    ("session", session),
];

/// Frames of a lane, of which each is written as it was read.
fn lane(data: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(data);
    while let Ok(Some(frame)) = LaneFrame::take(&mut bytes, LANE_LIMIT) {
        let mut again = Vec::new();
        frame.put(&mut again);
        let mut again = Bytes::from(again);
        assert_eq!(LaneFrame::take(&mut again, u64::MAX), Ok(Some(frame)));
    }
}

/// The longest frame of a lane here.
const LANE_LIMIT: u64 = 4_096;

/// Control frames, of which each is written as it was read.
fn control(data: &[u8]) {
    let mut bytes = BytesMut::from(data);
    while let Ok(Some(frame)) = Control::take(&mut bytes) {
        let mut again = Vec::new();
        frame.put(&mut again);
        assert_eq!(Control::take(&mut BytesMut::from(&again[..])), Ok(Some(frame)));
    }
}

/// A preface and a greeting.
fn greeting(data: &[u8]) {
    if let Some(preface) = data.first_chunk::<PREFACE>() {
        let _ = agree(*preface);
    }
    if let Some(head) = data.first_chunk::<4>() {
        let _ = Greeting::length(*head);
    }
    if let Ok(greeting) = Greeting::parse(data) {
        assert_eq!(Greeting::parse(&greeting.to_frame()[4..]), Ok(greeting));
    }
}

fn number(data: &[u8]) {
    if let Ok(Some((value, length))) = varint::take(data) {
        let mut again = Vec::new();
        varint::put(value, &mut again);
        assert!(again.len() <= length && length <= data.len());
    }
}

fn names(data: &[u8]) {
    let _ = postcard::from_bytes::<PeerId>(data);
    let _ = postcard::from_bytes::<ClusterName>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = ClusterName::new(text);
        if let Ok(name) = NodeName::new(text) {
            assert_eq!(name.as_str(), text);
        }
    }
}

/// The three parts of credentials, in any order, as one text.
fn credentials(data: &[u8]) {
    let _ = Credentials::from_pem(data, data, data);
}

/// A whole session: each piece begins with a byte that says where it goes and one for its length.
fn session(data: &[u8]) {
    let id = |name| PeerId { name: NodeName::new(name).expect("a name"), incarnation: 1 };
    let session = Session::new(id("a"), id("b"), Bytes::new(), &SHAPE, Buffers::default());
    let _ = session.resume(CARRIER, &[]);
    let mut readers: [StreamReader; 4] = std::array::from_fn(|_| StreamReader::new(CARRIER));
    let mut control = BytesMut::new();
    let mut arrived = Arrived::default();
    let mut rest = data;
    while let [to, length, more @ ..] = rest {
        let (piece, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let taken = match usize::from(*to) % 8 {
            lane @ 0..=3 => {
                let piece = Bytes::copy_from_slice(piece);
                readers[lane].handle_bytes(&session, piece, &mut arrived)
            }
            4 | 5 => {
                control.extend_from_slice(piece);
                take_control(&session, &mut control, &mut arrived)
            }
            6 => {
                let _ = session.try_send(crate::Class::Message, u64::from(*length), 1, piece);
                let _ = session.try_send(crate::Class::Answer, u64::from(*length), 0, piece);
                Ok(())
            }
            _ => write_all(&session),
        };
        for frame in &arrived.frames {
            match frame.target % 3 {
                0 => session.settle(frame.ticket),
                1 => session.reject(frame.ticket, frame.target, 1, crate::Later::Reject(2)),
                _ => _ = session.answer(frame.ticket, frame.target, frame.payload),
            }
        }
        arrived.frames.clear();
        arrived.rejected.drain(..).for_each(|(lane, ..)| session.rejection_seen(lane));
        let (messages, bytes) = session.unsettled();
        assert!(messages <= SHAPE.messages_limit && bytes <= SHAPE.bytes_limit);
        if taken.is_err() {
            break;
        }
    }
    let unsettled = session.end().len() as u64;
    assert!(unsettled <= SHAPE.messages_limit);
}

fn take_control(
    session: &Session,
    control: &mut BytesMut,
    arrived: &mut Arrived,
) -> Result<(), crate::WireError> {
    while let Some(frame) = Control::take(control)? {
        let _ = session.handle_control(frame, arrived)?;
    }
    Ok(())
}

fn write_all(session: &Session) -> Result<(), crate::WireError> {
    for lane in 0..SHAPE.lanes_out {
        while let Ok(Some(_)) = session.poll_batch(CARRIER, lane) {}
    }
    session.tell_waiting_marks();
    let _ = session.collect_control(CARRIER, &mut Vec::new());
    Ok(())
}

const CARRIER: u64 = 1;

const SHAPE: Shape = Shape {
    lanes_out: 2,
    lanes_in: 2,
    limits: Limits { target_messages: 4, target_bytes: 1_000, lane_bytes: 2_000 },
    messages_limit: 8,
    bytes_limit: 4_000,
    answer_bytes: 2_000,
    accepts: Accepts { messages: 8, bytes: 4_000, longest: 1_000 },
    message_limit: 1_000,
    bulk_over: 100,
    bulk_streams: 2,
};

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn folder(target: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
    }

    #[test]
    fn the_corpus_is_replayed() {
        for (name, target) in TARGETS {
            let files = fs::read_dir(folder(name)).expect("a folder for each target");
            let mut count = 0;
            for file in files {
                target(&fs::read(file.expect("an entry").path()).expect("a file"));
                count += 1;
            }
            assert!(count >= 3, "the corpus of {name} has {count} entries");
        }
    }

    #[test]
    fn each_target_has_a_program() {
        let programs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let manifest = fs::read_to_string(programs.join("../Cargo.toml")).expect("a manifest");
        for (name, _) in TARGETS {
            assert!(programs.join(format!("{name}.rs")).is_file(), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken_by_every_target(data: Vec<u8>) {
            TARGETS.iter().for_each(|(_, target)| target(&data));
        }

        /// What is in the corpus, with some bytes changed: nearer to what is understood.
        #[test]
        fn what_is_nearly_right_is_taken_by_every_target(
            pick: usize,
            changes in proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u8::ANY), 0..8),
            cut: usize,
        ) {
            for (name, target) in TARGETS {
                let mut files: Vec<_> = fs::read_dir(folder(name))
                    .expect("a folder")
                    .map(|file| file.expect("an entry").path())
                    .collect();
                files.sort();
                let mut data = fs::read(&files[pick % files.len()]).expect("a file");
                for (at, byte) in &changes {
                    let length = data.len().max(1);
                    if let Some(changed) = data.get_mut(at % length) {
                        *changed = *byte;
                    }
                }
                data.truncate(cut % (data.len() + 1) + 1);
                target(&data);
            }
        }
    }
}
