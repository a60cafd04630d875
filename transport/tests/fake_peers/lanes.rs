//! Fake peers that are linked, and then break the protocol.

use std::future::Future;

use bytes::Bytes;
use quinn::SendStream;

use super::{
    peer::Line,
    wire::{CONTROL_LIMIT, Greeting, PROTOCOL, control, lane_frame, lane_header, message, varint},
    world::{FRAME_LIMIT, MESSAGES_ACCEPTED, World, play, until},
};

/// A fake peer with a link; it receives on two lanes.
async fn linked(world: &World) -> Line {
    linked_as(world, 1).await
}

async fn linked_as(world: &World, incarnation: u64) -> Line {
    let before = world.node.seen.links.get();
    let mut hello = world.fake.hello();
    hello.node.1 = incarnation;
    let line = world.fake.link(world.addr(), hello).await;
    until("linked", || world.node.seen.links.get() == before + 1).await;
    line
}

/// Links once for each breach, and holds that each ends the connection with this reason.
///
/// What commits the breach gives its stream back: one that is dropped ends, which is a breach too.
fn breaks<F: Future<Output = (Line, Option<SendStream>)>>(
    reason: &'static str,
    breaches: Vec<(&'static str, Vec<u8>)>,
    commit: impl Fn(Line, Vec<u8>) -> F,
) {
    play(|world| async move {
        for (incarnation, (what, bytes)) in (1..).zip(breaches) {
            let (line, _stream) = commit(linked_as(&world, incarnation).await, bytes).await;
            let (code, told) = line.ended().await;
            assert_eq!(code, PROTOCOL, "{what}: {told}");
            assert!(told.contains(reason), "{what}: {told}");
        }
        world
    });
}

/// Writes to a new lane's stream.
async fn on_a_lane(line: Line, bytes: Vec<u8>) -> (Line, Option<SendStream>) {
    let stream = line.stream(&bytes).await;
    (line, Some(stream))
}

/// Writes to the control stream.
async fn on_control(mut line: Line, bytes: Vec<u8>) -> (Line, Option<SendStream>) {
    line.write(&bytes).await;
    (line, None)
}

fn on_lane_zero(frames: &[u8]) -> Vec<u8> {
    [&lane_header(0, 1)[..], frames].concat()
}

#[test]
fn a_proper_message_is_delivered() {
    play(|world| async {
        let line = linked(&world).await;
        let payload = vec![7; FRAME_LIMIT];
        let _stream = line.stream(&on_lane_zero(&message(3, &payload))).await;
        until("delivered", || {
            world.node.seen.arrived.borrow().iter().any(|(to, p)| *to == 3 && *p == payload)
        })
        .await;
        world
    });
}

#[test]
fn unknown_kinds_of_lane_frames_end_the_connection() {
    let unknown = [0, 9, 99, 255];
    for kind in unknown {
        let frame = on_lane_zero(&lane_frame(kind, &[1; 8]));
        breaks("unknown kind of frame", vec![("unknown", frame)], on_a_lane);
    }
}

#[test]
fn lane_frames_that_nobody_agreed_on_end_the_connection() {
    let frames = vec![
        ("flush", on_lane_zero(&lane_frame(5, &[5, 6]))),
        ("flushed", on_lane_zero(&lane_frame(6, &[6, 0]))),
    ];
    breaks("malformed", frames, on_a_lane);
}

#[test]
fn a_frame_that_ended_its_connection_was_not_received() {
    play(|world| async {
        let line = linked(&world).await;
        let _stream = line.stream(&on_lane_zero(&lane_frame(5, &[5, 6]))).await;
        assert_eq!(line.ended().await.0, PROTOCOL);
        let mut line = world.fake.greet(world.addr(), (1, 1)).await;
        line.say(&Greeting::Hello(world.fake.hello())).await;
        let heard = line.hear().await;
        let Greeting::Welcome(welcome) = heard else { panic!("{heard:?}") };
        assert_eq!(welcome.resume, Some((1, vec![0, 0])), "it was not taken");
        world
    });
}

#[test]
fn a_peer_that_sends_more_than_was_accepted_is_cut_off() {
    play(|world| async {
        world.node.seen.hold.set(true);
        let mut frames = Vec::new();
        for _ in 0..=MESSAGES_ACCEPTED {
            frames.extend(message(1, b"x"));
        }
        let line = linked(&world).await;
        let _stream = line.stream(&on_lane_zero(&frames)).await;
        let (code, told) = line.ended().await;
        assert_eq!(code, PROTOCOL, "{told}");
        assert!(told.contains("more is unsettled"), "{told}");
        let is_x = |(_, payload): &&(u64, Bytes)| payload[..] == b"x"[..];
        let arrived = world.node.seen.arrived.borrow().iter().filter(is_x).count() as u64;
        assert_eq!(arrived, MESSAGES_ACCEPTED, "what was accepted is delivered");
        world.node.seen.hold.set(false);
        world
    });
}

#[test]
fn bulk_announcements_that_break_the_rules_end_the_connection() {
    let bulk = |id: u64, length: u64| {
        let body = [&1u64.to_le_bytes()[..], &varint(id), &varint(length)].concat();
        lane_frame(4, &body)
    };
    let longer = FRAME_LIMIT as u64 + 1;
    breaks("over the limit", vec![("too long", on_lane_zero(&bulk(1, longer)))], on_a_lane);
    let twice = [bulk(1, 100), bulk(1, 100)].concat();
    let frames =
        vec![("empty", on_lane_zero(&bulk(1, 0))), ("a number twice", on_lane_zero(&twice))];
    breaks("malformed", frames, on_a_lane);
}

#[test]
fn a_bulk_message_comes_when_it_is_pulled_and_no_more_of_it_than_announced() {
    let announced = || {
        let body = [&1u64.to_le_bytes()[..], &varint(7), &varint(3)].concat();
        on_lane_zero(&lane_frame(4, &body))
    };
    let stream = |bytes: &[u8]| [&varint(0xffff)[..], &varint(7), &varint(0), bytes].concat();
    play(|world| async move {
        let mut line = linked(&world).await;
        let _lane = line.stream(&announced()).await;
        line.pulled(7, 0).await;
        line.stream(&stream(b"abc")).await.finish().expect("open");
        until("delivered", || {
            world.node.seen.arrived.borrow().iter().any(|(to, p)| *to == 1 && p[..] == b"abc"[..])
        })
        .await;
        world
    });
    for (bytes, reason) in [(&b"abcd"[..], "over the limit"), (b"ab", "malformed")] {
        play(|world| async move {
            let mut line = linked(&world).await;
            let _lane = line.stream(&announced()).await;
            line.pulled(7, 0).await;
            line.stream(&stream(bytes)).await.finish().expect("open");
            let (code, told) = line.ended().await;
            assert!(code == PROTOCOL && told.contains(reason), "{told}");
            world
        });
    }
}

#[test]
fn rejections_that_were_never_sent_cannot_have_been_seen() {
    breaks("malformed", vec![("one", on_lane_zero(&lane_frame(7, &[1])))], on_a_lane);
}

#[test]
fn pulls_of_nothing_change_nothing() {
    play(|world| async {
        let mut line = linked(&world).await;
        for id in 0..100 {
            line.write(&control(&[&[9][..], &varint(id), &varint(id)].concat())).await;
            line.write(&control(&[&[10][..], &varint(id)].concat())).await;
            line.write(&control(&[&[11][..], &varint(id), &[3]].concat())).await;
        }
        let _stream = line.stream(&on_lane_zero(&message(3, b"on"))).await;
        until("delivered", || world.node.seen.arrived.borrow().len() == 1).await;
        world
    });
}

#[test]
fn malformed_lane_frames_end_the_connection() {
    let frames = vec![
        ("an empty frame", on_lane_zero(&[0])),
        ("a message without a target", on_lane_zero(&lane_frame(1, &[1, 2, 3]))),
        ("a rejection with more behind it", on_lane_zero(&lane_frame(3, &[0, 1, 9, 9]))),
        ("a rejection of no lane", on_lane_zero(&lane_frame(3, &[9, 1, 9]))),
        ("a number that does not end", on_lane_zero(&[0xff; 12])),
    ];
    breaks("malformed", frames, on_a_lane);
}

#[test]
fn a_rejection_of_what_was_never_sent_changes_nothing() {
    play(|world| async {
        let line = linked(&world).await;
        let frames = [lane_frame(3, &[0, 1, 9]), message(4, b"after")].concat();
        let _stream = line.stream(&on_lane_zero(&frames)).await;
        until("it goes on", || {
            world.node.seen.arrived.borrow().iter().any(|(_, payload)| payload == "after")
        })
        .await;
        world
    });
}

#[test]
fn lane_frames_over_the_limit_end_the_connection_before_they_come() {
    let over = varint(64 * 1024 * 1024);
    let most = varint(u64::MAX);
    let frames = vec![("over", on_lane_zero(&over)), ("most", on_lane_zero(&most))];
    breaks("over the limit", frames, on_a_lane);
}

#[test]
fn a_lane_that_begins_beyond_a_gap_ends_the_connection() {
    let begin = |first| [lane_header(0, first), message(1, b"x")].concat();
    let frames = vec![("two", begin(2)), ("most", begin(u64::MAX))];
    breaks("where 1 was due", frames, on_a_lane);
}

#[test]
fn a_lane_that_begins_before_the_first_frame_repeats_it() {
    play(|world| async {
        let line = linked(&world).await;
        let frames = [lane_header(0, 0), message(5, b"zero"), message(5, b"one")].concat();
        let _stream = line.stream(&frames).await;
        let of_five = || {
            let arrived = world.node.seen.arrived.borrow();
            arrived.iter().filter(|(to, _)| *to == 5).map(|(_, p)| p.clone()).collect::<Vec<_>>()
        };
        until("the first has come", || !of_five().is_empty()).await;
        assert_eq!(of_five(), ["one"]);
        world
    });
}

#[test]
fn lanes_out_of_range_end_the_connection() {
    let on = |lane| [lane_header(lane, 1), message(1, b"x")].concat();
    let frames = vec![("one over", on(2)), ("widest", on(65_534)), ("wider", on(65_536))];
    breaks("malformed", frames, on_a_lane);
}

#[test]
fn a_second_stream_of_a_lane_repeats_nothing_and_ends_the_connection() {
    play(|world| async {
        let line = linked(&world).await;
        let _first = line.stream(&on_lane_zero(&message(6, b"one"))).await;
        let both = [message(6, b"one"), message(6, b"two")].concat();
        let _second = line.stream(&on_lane_zero(&both)).await;
        let of_six = || {
            let arrived = world.node.seen.arrived.borrow();
            arrived.iter().filter(|(to, _)| *to == 6).map(|(_, p)| p.clone()).collect::<Vec<_>>()
        };
        until("two have come", || of_six().len() >= 2).await;
        assert_eq!(of_six(), ["one", "two"]);
        assert_eq!(line.ended().await.0, PROTOCOL);
        world
    });
}

#[test]
fn more_streams_than_lanes_and_bulk_messages_are_not_to_be_had() {
    play(|world| async {
        let line = linked(&world).await;
        let _lanes = [line.stream(&[]).await, line.stream(&[]).await];
        // Two at once, and two that are about to end.
        let _bulks = [line.stream(&[]).await, line.stream(&[]).await];
        let _ending = [line.stream(&[]).await, line.stream(&[]).await];
        // QUIC itself lets nobody open more.
        let another = line.connection.open_uni();
        let clock = actix_cluster_transport::Clock::default();
        tokio::select! {
            stream = another => panic!("{stream:?}"),
            () = clock.sleep(std::time::Duration::from_secs(1)) => {}
        }
        world
    });
}

#[test]
fn a_lane_that_ends_ends_the_connection() {
    play(|world| async {
        let line = linked(&world).await;
        let mut first = line.stream(&lane_header(0, 1)).await;
        first.finish().expect("open");
        let (code, reason) = line.ended().await;
        assert_eq!((code, reason.as_str()), (PROTOCOL, "malformed frame"));
        world
    });
}

#[test]
fn unknown_and_malformed_control_frames_end_the_connection() {
    let frames = vec![
        ("unknown tag", control(&[100])),
        ("far tag", control(&[200, 1])),
        ("empty", control(&[])),
        ("more behind it", control(&[2, 1, 1])),
        ("a number that does not end", vec![0xff; 12]),
    ];
    breaks("malformed", frames, on_control);
}

#[test]
fn control_frames_over_the_limit_end_the_connection_before_they_come() {
    let frames = vec![("one over", varint(CONTROL_LIMIT + 1)), ("most", varint(u64::MAX))];
    breaks("over the limit", frames, on_control);
}

#[test]
fn marks_beyond_what_was_sent_end_the_connection() {
    let most = varint(u64::MAX);
    let frames = vec![
        ("received", control(&[0, 0, 1])),
        ("received, most", control(&[&[0, 0][..], &most].concat())),
        ("settled", control(&[1, 0, 1, 0])),
        ("settled in a range", control(&[1, 0, 0, 1, 1, 2])),
        ("settled, most", control(&[&[1, 0, 0, 1, 1][..], &most].concat())),
    ];
    breaks("was due", frames, on_control);
}

#[test]
fn marks_of_no_lane_end_the_connection() {
    let frames = vec![("received", control(&[0, 2, 0])), ("settled", control(&[1, 2, 0, 0]))];
    breaks("malformed", frames, on_control);
}

#[test]
fn marks_that_go_backwards_or_overlap_change_nothing() {
    play(|world| async {
        let mut line = linked(&world).await;
        for frame in
            [control(&[0, 0, 0]), control(&[1, 0, 0, 0]), control(&[1, 0, 0, 2, 0, 0, 0, 0])]
        {
            line.write(&frame).await;
        }
        let _stream = line.stream(&on_lane_zero(&message(8, b"after"))).await;
        until("it goes on", || world.node.seen.arrived.borrow().iter().any(|(to, _)| *to == 8))
            .await;
        world
    });
}

#[test]
fn a_control_stream_that_ends_ends_the_connection() {
    play(|world| async {
        let mut line = linked(&world).await;
        line.send.finish().expect("open");
        let (code, reason) = line.ended().await;
        assert_eq!((code, reason.as_str()), (PROTOCOL, "malformed frame"));
        world
    });
}

#[test]
fn a_flood_of_pings_is_survived() {
    play(|world| async {
        let mut line = linked(&world).await;
        let pings = control(&[2, 1]).repeat(20_000);
        line.write(&pings).await;
        let _stream = line.stream(&on_lane_zero(&message(9, b"after"))).await;
        until("it goes on", || world.node.seen.arrived.borrow().iter().any(|(to, _)| *to == 9))
            .await;
        world
    });
}
