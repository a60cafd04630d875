//! Peers that have a link, and flood it or stall it.

use std::time::Duration;

use actix_cluster_transport::Clock;

use super::{
    peer::Line,
    wire::{PROTOCOL, control, lane_frame, lane_header, message, varint},
    world::{FRAME_LIMIT, World, play, until},
};

/// The code that gives a bulk message's stream up.
const CANCELLED: u32 = 6;

async fn linked(world: &World) -> Line {
    let before = world.node.seen.links.get();
    let line = world.fake.link(world.addr(), world.fake.hello()).await;
    until("linked", || world.node.seen.links.get() == before + 1).await;
    line
}

/// Floods the control lane, as much as it takes in 300 ms, and holds that the friend is served
/// meanwhile.
fn floods_control(frame: &'static [u8]) {
    play(|world| async move {
        let mut line = linked(&world).await;
        let frames = frame.repeat(4_096);
        let flood = async {
            loop {
                line.write(&frames).await;
                tokio::task::yield_now().await;
            }
        };
        let served = async {
            for _ in 0..3 {
                Clock::default().sleep(Duration::from_millis(100)).await;
                world.serves_its_friend().await;
            }
        };
        tokio::select! {
            () = served => {}
            () = flood => unreachable!("it never ends"),
        }
        drop(line);
        world
    });
}

#[test]
fn pings_without_end_hold_up_nobody() {
    floods_control(&[2, 2, 5]);
}

#[test]
fn packets_without_end_hold_up_nobody() {
    floods_control(&[4, 4, 2, 1, 2]);
}

#[test]
fn pauses_and_marks_without_end_hold_up_nobody() {
    floods_control(&[2, 5, 6, 2, 6, 6, 3, 0, 0, 0, 4, 1, 0, 0, 0]);
}

#[test]
fn streams_that_are_opened_and_given_up_without_end_hold_up_nobody() {
    play(|world| async {
        let line = linked(&world).await;
        for n in 0..3_000u32 {
            let mut stream = line.connection.open_uni().await.expect("a stream");
            let _ = stream.write_all(&[1]).await;
            let _ = stream.reset(CANCELLED.into());
            if n % 1_000 == 0 {
                world.serves_its_friend().await;
            }
        }
        assert!(line.connection.close_reason().is_none(), "it broke no rule");
        world
    });
}

#[test]
fn links_that_are_made_and_dropped_without_end_hold_up_nobody() {
    play(|world| async {
        let frames = [&lane_header(0, 1)[..], &message(9, b"again")].concat();
        for round in 0..200 {
            let line = linked(&world).await;
            let _lane = line.stream(&frames).await;
            Clock::default().sleep(Duration::from_millis(5)).await;
            if round % 50 == 0 {
                world.serves_its_friend().await;
            }
        }
        let stats = world.node.transport.stats();
        assert_eq!((stats.peers, stats.sessions), (2, 2), "{stats:?}");
        let again = world.node.seen.arrived.borrow().iter().filter(|(to, _)| *to == 9).count();
        assert_eq!(again, 1, "the session remembers what has come");
        until("all are done", || world.node.transport.stats().greetings == 0).await;
        world
    });
}

#[test]
fn a_stream_that_is_given_up_without_reason_ends_the_connection() {
    play(|world| async {
        let line = linked(&world).await;
        let mut stream = line.connection.open_uni().await.expect("a stream");
        let _ = stream.write_all(&[1]).await;
        let _ = stream.reset(99u32.into());
        assert_eq!(line.ended().await.0, PROTOCOL);
        world
    });
}

#[test]
fn a_frame_that_drips_and_bulk_that_never_comes_hold_up_nobody_else() {
    play(|world| async {
        let mut line = linked(&world).await;
        let length = varint((FRAME_LIMIT / 4) as u64);
        let mut stream = line.stream(&[&lane_header(0, 1)[..], &length].concat()).await;
        // Announced on the other lane, pulled, and never sent.
        let announced = lane_frame(4, &[&7u64.to_le_bytes()[..], &[1], &varint(40_000)].concat());
        let _other =
            line.stream(&[&lane_header(1, 1)[..], &announced, &message(9, b"on")].concat()).await;
        line.pulled(1, 0).await;
        for _ in 0..100 {
            let _ = stream.write_all(&[1]).await;
            Clock::default().sleep(Duration::from_millis(50)).await;
        }
        assert!(line.connection.close_reason().is_none(), "slow is no breach");
        let arrived = || world.node.seen.arrived.borrow().iter().any(|(to, _)| *to == 9);
        until("its own other targets are served", arrived).await;
        world.serves_its_friend().await;
        world
    });
}

#[test]
fn control_frames_longer_than_may_be_are_cut_by_their_length() {
    play(|world| async {
        let mut line = linked(&world).await;
        let mut bytes = control(&[4, 1, 1]);
        bytes.extend(varint(u64::MAX));
        line.write(&bytes).await;
        let (code, told) = line.ended().await;
        assert_eq!(code, PROTOCOL);
        assert!(told.contains("over the limit"), "{told}");
        world
    });
}
