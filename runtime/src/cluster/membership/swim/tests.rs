//! The wire, byte by byte, and the bounds: what only a look inside can tell.

use std::net::SocketAddr;

use actix_cluster_transport::Clock;

use super::{
    names::NAMES_LIMIT,
    wire::{PACKET_LIMIT, gossip},
    *,
};
use crate::{cluster::membership::profile::tests::weighing, node::NodeId};

fn swim(me: &Identity) -> Swim {
    Swim::new(&member(me, &Arc::new(weighing(1))), 1, Random::from_seed(1))
}

fn identity(name: &str, incarnation: u64, addr: &str) -> Identity {
    let id = NodeId { name: name.into(), incarnation };
    let addr: SocketAddr = addr.parse().expect("an address");
    Identity::from(&Contact { id, addr })
}

fn down(name: &str) -> foca::Member<Identity> {
    foca::Member::down(identity(name, 1, "10.0.0.9:1"))
}

/// A gossip of `peer` to `me`, of these members.
fn packet(members: &[foca::Member<Identity>]) -> Vec<u8> {
    let (src, dst) = (identity("peer", 1, "10.0.0.1:2"), identity("me", 1, "10.0.0.1:1"));
    let header = foca::Header { src, src_incarnation: 0, dst, message: Message::Gossip };
    let mut of_foca = postcard::to_stdvec(&header).expect("a header");
    of_foca.extend(u16::try_from(members.len()).expect("few").to_be_bytes());
    for member in members {
        of_foca.extend(postcard::to_stdvec(member).expect("a member"));
    }
    Standing { members: 3, lowest: 200 }.packet(1, &of_foca)
}

#[test]
fn golden_bytes_hold_both_ways() {
    let (a, b) = (identity("a", 5, "10.0.0.1:258"), identity("b", 1, "[::1]:258"));
    let suspect = foca::Member::new(b.clone(), 7, State::Suspect);
    let standing = Standing { members: 3, lowest: 200 };
    let packet = standing.packet(300, &gossip(&a, &b, &suspect));
    let of_a = [1, b'a', 5, 0, 10, 0, 0, 1, 130, 2];
    let of_b = [1, b'b', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 130, 2];
    let golden: [&[u8]; _] = [&[3, 200, 1, 172, 2], &of_a, &[0], &of_b, &[8, 0, 1], &of_b, &[7, 1]];
    assert_eq!(packet, golden.concat());
    let heard = Heard::read(&packet).expect("it is ours");
    assert_eq!((heard.standing, &heard.header.src, &heard.header.dst), (standing, &a, &b));
    assert_eq!(heard.profile_version, 300);
    assert_eq!((heard.header.message, heard.updates), (Message::Gossip, vec![suspect]));
}

#[test]
fn golden_bytes_of_notes_hold_both_ways() {
    let b = || NodeId { name: "b".into(), incarnation: 300 }.into();
    let profile = Profile {
        version: 2,
        roles: vec!["api".into()],
        zone: Some("z".into()),
        weight: 3,
        release: "1.0".into(),
        manifest_hash: 200,
        is_draining: true,
    };
    let of_profile: &[u8] =
        &[2, 1, 3, b'a', b'p', b'i', 1, 1, b'z', 3, 3, b'1', b'.', b'0', 200, 1, 1];
    let golden: [(Note, Vec<u8>); _] = [
        (Note::Refused { of: b(), asks: true }, vec![0, 1, b'b', 172, 2, 1]),
        (Note::Wanted { of: vec![b()] }, vec![1, 1, 1, b'b', 172, 2]),
        (
            Note::Profiles { of: vec![(b(), profile)] },
            [&[2, 1, 1, b'b', 172, 2], of_profile].concat(),
        ),
    ];
    for (note, bytes) in golden {
        assert_eq!(wire::encoded(&note), bytes);
        for broken in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat()] {
            assert_eq!(Note::read(broken), None, "{broken:?}");
        }
        assert_eq!(Note::read(&bytes), Some(note));
    }
    for broken in [&[0, 1, b'_', 1, 0][..], &[3], &[]] {
        assert_eq!(Note::read(broken), None, "{broken:?}");
    }
}

#[test]
fn notes_are_bounded() {
    let run = || NodeId { name: "b".into(), incarnation: 1 }.into();
    let label = |length| Arc::<str>::from("x".repeat(length));
    for (count, length, is_taken) in [(16, 64, true), (17, 64, false), (16, 65, false)] {
        let profile = || Profile { zone: Some(label(length)), ..weighing(1) };
        let profiles = Note::Profiles { of: (0..count).map(|_| (run(), profile())).collect() };
        assert_eq!(Note::read(&wire::encoded(&profiles)).is_some(), is_taken, "{count} {length}");
        let wanted = Note::Wanted { of: (0..count).map(|_| run()).collect() };
        assert_eq!(Note::read(&wire::encoded(&wanted)).is_some(), count <= 16);
    }
}

#[test]
fn the_tags_of_messages_and_states_are_frozen() {
    let (target, probe_number) = (|| identity("t", 1, "10.0.0.1:1"), 9);
    let messages = [
        Message::Ping(probe_number),
        Message::Ack(probe_number),
        Message::PingReq { target: target(), probe_number },
        Message::IndirectPing { origin: target(), probe_number },
        Message::IndirectAck { target: target(), probe_number },
        Message::ForwardedAck { origin: target(), probe_number },
        Message::Announce,
        Message::Feed,
        Message::Gossip,
        Message::Broadcast,
        Message::TurnUndead,
    ];
    for (tag, message) in messages.into_iter().enumerate() {
        let bytes = postcard::to_stdvec(&message).expect("a message");
        assert_eq!(usize::from(bytes[0]), tag, "{message:?}");
        let length = [2, 2, 11, 11, 11, 11, 1, 1, 1, 1, 1][tag];
        assert_eq!(bytes.len(), length, "{message:?}");
    }
    for (tag, state) in [(0, State::Alive), (1, State::Suspect), (2, State::Down)] {
        assert_eq!(postcard::to_stdvec(&state).expect("a state"), [tag]);
    }
}

#[test]
fn a_packet_may_be_as_long_as_the_limit_and_no_longer() {
    let head = Standing { members: 3, lowest: 200 }.packet(1, &[]).len();
    for (length, is_taken) in [(PACKET_LIMIT, true), (PACKET_LIMIT + 1, false)] {
        let mut members = vec![down(&"n".repeat(60)); 200];
        let label = loop {
            let missing = length + head - packet(&members).len();
            match missing {
                0..=30 => break missing,
                // Each takes 30 bytes.
                _ => members.push(down(&"n".repeat(20))),
            }
        };
        // The last bytes go into names of one letter.
        for member in members.iter_mut().take(label) {
            *member = down(&"n".repeat(61));
        }
        let packet = packet(&members);
        assert_eq!(packet.len(), length + head);
        assert_eq!(Heard::read(&packet).is_some(), is_taken, "{length}");
    }
}

#[test]
fn names_of_the_longest_kind_are_taken_and_no_longer_ones() {
    let long = |tail: usize| format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(tail));
    for (name, is_taken) in [(long(8), true), (long(9), false), (String::new(), false)] {
        assert_eq!(Heard::read(&packet(&[down(&name)])).is_some(), is_taken, "{name}");
    }
}

#[test]
fn who_hears_of_a_later_run_of_itself_ends_without_a_word() {
    let (me, now) = (identity("me", 1, "10.0.0.1:1"), Clock::default().now());
    for (incarnation, ends) in [(1, false), (2, true)] {
        let mut swim = swim(&me);
        let run = foca::Member::alive(identity("me", incarnation, "10.0.0.1:1"));
        swim.handle_packet(now, &packet(&[run]));
        let events = std::iter::from_fn(|| swim.poll_event());
        let has_ended = events.last() == Some(MembershipEvent::DeclaredDown);
        assert_eq!(has_ended, ends);
        assert_eq!(swim.poll_timeout().is_none(), ends);
        assert_eq!(swim.highest_incarnation("me"), incarnation);
        let is_gossip = |(_, packet): &(Contact, Packet)| matches!(packet, Packet::Gossip(_));
        let said = std::iter::from_fn(|| swim.poll_packet()).any(|packet| is_gossip(&packet));
        assert!(!said, "it would declare its successor down");
    }
}

#[test]
fn a_member_whose_run_is_over_for_this_node_is_down_here_for_good_and_nobody_is_told() {
    let (me, now) = (identity("me", 1, "10.0.0.1:1"), Clock::default().now());
    let mut swim = swim(&me);
    let [gone, peer] = [identity("gone", 1, "10.0.0.9:1"), identity("peer", 1, "10.0.0.1:2")];
    let members = [&gone, &peer].map(|other| member(other, &Arc::new(weighing(1))));
    swim.acquaint(now, &members);
    while swim.poll_event().is_some() {}
    swim.handle_over(now, &gone.node());
    let event = swim.poll_event();
    assert!(matches!(&event, Some(MembershipEvent::Down(of)) if of.id == gone.node()), "{event:?}");
    let tells = |packet: Packet| match packet {
        Packet::Gossip(packet) => {
            let heard = Heard::read(&packet).expect("its own");
            heard.updates.iter().any(|update| *update.id() == gone)
        }
        Packet::Note(_) => false,
    };
    assert!(!std::iter::from_fn(|| swim.poll_packet()).any(|(_, packet)| tells(packet)));
    swim.handle_packet(now, &packet(&[foca::Member::new(gone.clone(), 9, State::Alive)]));
    assert!(!swim.view().contains(&gone.node()), "whoever says that it lives");
}

#[test]
fn what_is_remembered_of_those_down_is_bounded() {
    let now = Clock::default().now();
    let mut swim = swim(&identity("me", 1, "10.0.0.1:1"));
    for n in 0..NAMES_LIMIT + 100 {
        swim.handle_packet(now, &packet(&[down(&format!("n{n}"))]));
    }
    assert_eq!(swim.refused_packets(), 0);
    assert_eq!(swim.foca.iter_members().count(), 1);
    let known = swim.foca.iter_membership_state().len();
    assert_eq!(known, NAMES_LIMIT, "the peer is one of them");
    assert_eq!(swim.highest_incarnation("n0"), 0);
    assert_eq!(swim.highest_incarnation(&format!("n{NAMES_LIMIT}")), 1);
    assert_eq!(swim.highest_incarnation("peer"), 1);
}

#[test]
fn a_packet_names_its_sender() {
    let sent = packet(&[down("other")]);
    let sender = Heard::read(&sent).map(|heard| heard.header.src.node());
    assert!(sender.is_some());
    assert_eq!(Swim::sender_of(&sent), sender);
    assert_eq!(Swim::sender_of(&sent[1..]), None);
}
