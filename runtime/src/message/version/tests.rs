//! One message in three versions: what each step keeps, and what can't be said.

use actix::Message;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(
    Message, actix_cluster::RemoteMessage, Serialize, Deserialize, Clone, Debug, PartialEq,
)]
#[rtype(result = "u32")]
#[remote(name = "test.Move", version = 1)]
pub(crate) struct MoveV1(pub(crate) u8);

#[derive(
    Message, actix_cluster::RemoteMessage, Serialize, Deserialize, Clone, Debug, PartialEq,
)]
#[rtype(result = "Result<u32, String>")]
#[remote(name = "test.Move", version = 2, older(MoveV1, send, reply))]
pub(crate) struct MoveV2 {
    pub(crate) by: u32,
}

#[derive(
    Message, actix_cluster::RemoteMessage, Serialize, Deserialize, Clone, Debug, PartialEq,
)]
#[rtype(result = "Result<u32, String>")]
#[remote(name = "test.Move", version = 4, older(MoveV2, send))]
pub(crate) struct Move {
    pub(crate) by: u32,
    pub(crate) back: bool,
}

/// Of [`Move`]'s name, never sent as an older version.
#[derive(
    Message, actix_cluster::RemoteMessage, Serialize, Deserialize, Clone, Debug, PartialEq,
)]
#[rtype(result = "Result<u32, String>")]
#[remote(name = "test.Move", version = 5, older(Move))]
pub(crate) struct Stay(pub(crate) i64);

impl From<MoveV1> for MoveV2 {
    fn from(MoveV1(by): MoveV1) -> Self {
        Self { by: by.into() }
    }
}

impl From<MoveV2> for Move {
    fn from(MoveV2 { by }: MoveV2) -> Self {
        Self { by, back: false }
    }
}

impl From<Move> for Stay {
    fn from(Move { by, back }: Move) -> Self {
        let by = i64::from(by);
        Self(if back { -by } else { by })
    }
}

impl TryFrom<&MoveV2> for MoveV1 {
    type Error = std::num::TryFromIntError;

    fn try_from(MoveV2 { by }: &MoveV2) -> Result<Self, Self::Error> {
        Ok(Self(u8::try_from(*by)?))
    }
}

impl TryFrom<&Move> for MoveV2 {
    type Error = &'static str;

    fn try_from(Move { by, back }: &Move) -> Result<Self, Self::Error> {
        if *back { Err("there is no way back") } else { Ok(Self { by: *by }) }
    }
}

impl OlderReply<MoveV1> for MoveV2 {
    fn older_reply(result: Result<u32, String>) -> u32 {
        result.unwrap_or(u32::MAX)
    }
}

impl NewerReply<MoveV1> for MoveV2 {
    fn newer_reply(result: u32) -> Result<u32, String> {
        if result == u32::MAX { Err("blocked".to_owned()) } else { Ok(result) }
    }
}

fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
    crate::message::encode(value, Vec::new()).expect("it encodes")
}

#[test]
fn a_message_of_any_version_is_read_as_the_newest() {
    let (v1, v2) = (bytes(&MoveV1(7)), bytes(&MoveV2 { by: 300 }));
    let v4 = bytes(&Move { by: 300, back: true });
    assert_eq!(decode::<Stay>(MoveV1::WIRE_ID, &v1), Ok(Stay(7)));
    assert_eq!(decode::<Stay>(MoveV2::WIRE_ID, &v2), Ok(Stay(300)));
    assert_eq!(decode::<Stay>(Move::WIRE_ID, &v4), Ok(Stay(-300)));
    assert_eq!(decode::<Stay>(Stay::WIRE_ID, &bytes(&Stay(-2))), Ok(Stay(-2)));
}

#[test]
fn an_asker_of_any_version_gets_its_own_result() {
    let fine = || Ok(5);
    let as_v1 = encode_result::<Stay>(MoveV1::WIRE_ID, fine(), Vec::new());
    assert_eq!(as_v1, Ok(bytes(&5u32)));
    let as_v2 = encode_result::<Stay>(MoveV2::WIRE_ID, fine(), Vec::new());
    assert_eq!(as_v2, Ok(bytes(&Ok::<u32, String>(5))));
    let failed = Err("a wall".to_owned());
    let as_v1 = encode_result::<Stay>(MoveV1::WIRE_ID, failed, Vec::new());
    assert_eq!(as_v1, Ok(bytes(&u32::MAX)));
}

#[test]
fn a_message_is_sent_as_an_older_version_step_by_step_and_its_answer_comes_back_so() {
    let mv = Move { by: 9, back: false };
    assert_eq!(encode(MoveV1::WIRE_ID, &mv, Vec::new()), Ok(bytes(&MoveV1(9))));
    assert_eq!(encode(MoveV2::WIRE_ID, &mv, Vec::new()), Ok(bytes(&MoveV2 { by: 9 })));
    assert_eq!(decode_result::<Move>(MoveV1::WIRE_ID, &bytes(&4u32)), Ok(Ok(4)));
    let blocked = decode_result::<Move>(MoveV1::WIRE_ID, &bytes(&u32::MAX));
    assert_eq!(blocked, Ok(Err("blocked".to_owned())));
}

#[test]
fn what_an_older_version_can_not_say_is_not_sent() {
    let back = Move { by: 9, back: true };
    let refused = Err(CodecError::Inexpressible { version: 2 });
    assert_eq!(encode(MoveV2::WIRE_ID, &back, Vec::new()), refused);
    assert_eq!(encode(MoveV1::WIRE_ID, &back, Vec::new()), refused);
    let far = Move { by: 256, back: false };
    let refused = Err(CodecError::Inexpressible { version: 1 });
    assert_eq!(encode(MoveV1::WIRE_ID, &far, Vec::new()), refused);
}

#[test]
fn only_what_says_send_is_sent_as_an_older_version() {
    let sent = |older: Vec<OlderVersion>| -> Vec<_> {
        older.into_iter().map(|older| (older.facts.version, older.is_sent)).collect()
    };
    assert_eq!(sent(older::<Move>()), [(2, true), (1, true)]);
    // The first step is not sent, so nothing behind it is.
    assert_eq!(sent(older::<Stay>()), [(4, false), (2, false), (1, false)]);
    assert_eq!(encode(Move::WIRE_ID, &Stay(1), Vec::new()), Err(CodecError::UnknownVersion));
    let answer = bytes(&Ok::<u32, String>(1));
    assert_eq!(decode_result::<Stay>(Move::WIRE_ID, &answer), Err(CodecError::UnknownVersion));
}

#[test]
fn a_version_that_is_not_there_is_an_error_and_so_are_bytes_of_another() {
    let unknown = WireId::of("test.Move", 3);
    assert_eq!(decode::<Stay>(unknown, &[1]), Err(CodecError::UnknownVersion));
    let answer = encode_result::<Stay>(unknown, Ok(1), Vec::new());
    assert_eq!(answer, Err(CodecError::UnknownVersion));
    // A newer version is none of an older one's.
    assert_eq!(decode::<MoveV1>(MoveV2::WIRE_ID, &[1]), Err(CodecError::UnknownVersion));
    assert_eq!(
        decode::<Stay>(MoveV1::WIRE_ID, &[1, 0]),
        Err(CodecError::TrailingBytes { count: 1 })
    );
}

#[test]
fn another_name_or_no_lower_version_is_a_fault() {
    assert_eq!(older_fault::<Move, MoveV2>(), None);
    assert!(older_fault::<MoveV2, Move>().is_some_and(|fault| fault.contains("lower")));
    assert!(older_fault::<Move, Move>().is_some_and(|fault| fault.contains("lower")));
    assert!(is_same("", "") && !is_same("a", "b") && !is_same("a", "ab"));
}

proptest! {
    #[test]
    fn any_bytes_of_any_version_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..16),
        version in 0u32..7,
    ) {
        let version = WireId::of("test.Move", version);
        if let Ok(msg) = decode::<Stay>(version, &bytes) {
            prop_assert!(version != WireId::of("test.Move", 3));
            prop_assert!(encode(Stay::WIRE_ID, &msg, Vec::new()).is_ok());
        }
        let _ = decode_result::<Move>(version, &bytes);
    }
}
