//! Each case of what a peer lists, and what goes to it then.

use super::*;
use crate::message::version::tests::{Move, MoveV1, MoveV2, Stay};

fn of<M: RemoteMessage>() -> MessageFacts {
    MessageFacts::of::<M>()
}

fn peer(listed: impl IntoIterator<Item = MessageFacts>) -> Understood {
    let id = NodeId { name: "other".into(), incarnation: 1 };
    Understood::of(id, &Manifest::new(listed.into_iter()))
}

fn other_shape(facts: MessageFacts) -> MessageFacts {
    MessageFacts { schema: facts.schema ^ 1, ..facts }
}

#[track_caller]
fn goes<M: RemoteMessage>(
    listed: impl IntoIterator<Item = MessageFacts>,
    expected: Result<WireId, Dispute>,
) {
    assert_eq!(peer(listed).version_for::<M>(), expected);
}

#[test]
fn a_message_goes_in_its_own_version_wherever_that_is_listed() {
    goes::<Move>([of::<MoveV1>(), of::<Move>(), of::<Stay>()], Ok(Move::WIRE_ID));
    goes::<MoveV1>([of::<MoveV1>(), of::<MoveV2>()], Ok(MoveV1::WIRE_ID));
}

#[test]
fn a_message_goes_in_the_newest_older_version_that_is_listed() {
    goes::<Move>([of::<MoveV1>(), of::<MoveV2>()], Ok(MoveV2::WIRE_ID));
    goes::<Move>([of::<MoveV1>()], Ok(MoveV1::WIRE_ID));
    goes::<Move>([of::<MoveV1>(), other_shape(of::<MoveV2>())], Ok(MoveV1::WIRE_ID));
}

#[test]
fn a_message_that_the_peer_knows_in_no_such_version_does_not_go() {
    goes::<Stay>([of::<Move>(), of::<MoveV1>()], Err(Dispute::Version));
    goes::<MoveV2>([of::<Move>()], Err(Dispute::Version));
    goes::<Move>([other_shape(of::<MoveV1>())], Err(Dispute::Version));
    goes::<Move>([other_shape(of::<Move>()), of::<MoveV2>()], Err(Dispute::Shape));
}

#[test]
fn a_message_of_whose_name_the_peer_says_nothing_goes_as_it_is() {
    goes::<Move>([], Ok(Move::WIRE_ID));
    let other = MessageFacts { id: WireId(7), name: "test.Other", ..of::<Move>() };
    goes::<Move>([other], Ok(Move::WIRE_ID));
}

#[test]
fn a_dispute_is_told_once_for_each_message() {
    let peer = peer([of::<MoveV1>()]);
    for _ in 0..3 {
        assert!(peer.version_for::<Stay>().is_err());
    }
    assert_eq!(peer.told.lock().expect("not poisoned").len(), 1);
}

#[track_caller]
fn restates<M: RemoteMessage>(
    sent: &M,
    listed: impl IntoIterator<Item = MessageFacts>,
    expected: Result<Restated, Dispute>,
) {
    let body = version::encode(M::WIRE_ID, sent, Vec::new()).expect("it encodes");
    assert_eq!(restate::<Move>(&peer(listed), M::WIRE_ID, &body), expected);
}

#[test]
fn what_is_sent_on_becomes_what_the_next_peer_knows() {
    let mv = Move { by: 3, back: false };
    restates(&mv, [of::<Move>()], Ok(Restated::AsItIs));
    restates(&mv, [], Ok(Restated::AsItIs));
    restates(&mv, [of::<MoveV1>()], Ok(Restated::As(MoveV1::WIRE_ID, vec![3])));
    restates(&MoveV2 { by: 3 }, [of::<MoveV1>()], Ok(Restated::As(MoveV1::WIRE_ID, vec![3])));
    restates(&MoveV1(3), [of::<Move>(), of::<MoveV1>()], Ok(Restated::AsItIs));
    // A peer that has given the old version up.
    restates(&MoveV1(3), [of::<Move>()], Ok(Restated::As(Move::WIRE_ID, vec![3, 0])));
}

#[test]
fn what_the_next_peer_would_not_understand_is_not_sent_on() {
    let mv = Move { by: 3, back: true };
    restates(&mv, [of::<MoveV1>()], Err(Dispute::Value));
    restates(&mv, [of::<Stay>()], Err(Dispute::Version));
    restates(&mv, [other_shape(of::<Move>())], Err(Dispute::Shape));
    restates(&MoveV1(3), [other_shape(of::<MoveV1>())], Err(Dispute::Shape));
    let garbage = restate::<Move>(&peer([of::<MoveV1>()]), Move::WIRE_ID, &[3]);
    assert_eq!(garbage, Err(Dispute::Value));
}
