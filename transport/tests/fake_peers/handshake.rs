//! Fake peers that dial and greet.

use std::time::Duration;

use actix_cluster_transport::{Clock, PeerId};

use super::{
    peer::Line,
    wire::{GREETING_LIMIT, Greeting, Hello, PROTOCOL, REFUSED, Refused, preface},
    world::{PATIENCE, World, play, until},
};

/// What the node answers to a Hello.
async fn answer(world: &World, hello: Hello) -> (Line, Greeting) {
    let mut line = world.fake.greet(world.addr(), (1, 1)).await;
    line.say(&Greeting::Hello(hello)).await;
    let greeting = line.hear().await;
    (line, greeting)
}

/// The node refuses, says why, and closes with that reason.
async fn assert_refused(mut line: Line, heard: Greeting, refusal: Refused) {
    assert_eq!(heard, Greeting::Refused(refusal));
    // A peer that takes its time to read does not matter.
    assert!(line.recv.read_to_end(0).await.is_ok());
    assert_eq!(line.ended().await, (REFUSED, "refused".to_owned()));
}

fn refuses(change: impl FnOnce(&mut Hello), refusal: Refused) {
    play(|world| async {
        let mut hello = world.fake.hello();
        change(&mut hello);
        let (line, heard) = answer(&world, hello).await;
        assert_refused(line, heard, refusal).await;
        assert_eq!(world.node.seen.links.get(), 1, "the friend's");
        world
    });
}

#[test]
fn a_newer_peer_that_still_speaks_ours_is_welcomed() {
    play(|world| async {
        let mut line = world.fake.greet(world.addr(), (1, 9)).await;
        line.say(&Greeting::Hello(world.fake.hello())).await;
        assert!(matches!(line.hear().await, Greeting::Welcome(_)));
        line.say(&Greeting::Ready).await;
        until("linked", || world.node.seen.links.get() == 2).await;
        world
    });
}

#[test]
fn versions_with_nothing_in_common_are_refused() {
    for versions in [(2, 9), (0, 0), (5, 1), (u16::MAX, u16::MAX)] {
        play(|world| async move {
            let line = world.fake.greet(world.addr(), versions).await;
            let (code, told) = line.ended().await;
            assert_eq!((code, &told[..]), (REFUSED, "no protocol version in common"));
            world
        });
    }
}

#[test]
fn capabilities_that_nobody_knows_are_off() {
    play(|world| async {
        let mut hello = world.fake.hello();
        hello.capabilities = u64::MAX;
        let (mut line, heard) = answer(&world, hello).await;
        let Greeting::Welcome(welcome) = heard else { panic!("{heard:?}") };
        assert_eq!(welcome.capabilities, 0);
        assert_eq!(welcome.node, ("node".to_owned(), 7));
        line.say(&Greeting::Ready).await;
        until("linked", || world.node.seen.links.get() == 2).await;
        world
    });
}

#[test]
fn a_hello_of_another_cluster_is_refused() {
    refuses(
        |hello| hello.cluster = "other".to_owned(),
        Refused::Cluster { expected: "test".to_owned() },
    );
}

#[test]
fn a_name_that_the_certificate_lacks_is_refused() {
    refuses(
        |hello| hello.node.0 = "friend".to_owned(),
        Refused::Identity { claimed: "friend".to_owned() },
    );
}

#[test]
fn a_hello_to_another_node_is_refused() {
    refuses(
        |hello| hello.to = Some("friend".to_owned()),
        Refused::WrongNode { here: "node".to_owned() },
    );
}

#[test]
fn incarnations_that_no_run_has_are_refused() {
    for incarnation in [0, u64::MAX] {
        refuses(|hello| hello.node.1 = incarnation, Refused::Protocol);
    }
}

#[test]
fn no_lanes_and_too_many_are_refused() {
    for lanes in [0, 257, u16::MAX] {
        refuses(|hello| hello.lanes = lanes, Refused::Protocol);
    }
}

#[test]
fn the_most_lanes_are_taken() {
    play(|world| async {
        let mut hello = world.fake.hello();
        hello.lanes = 256;
        let _line = world.fake.link(world.addr(), hello).await;
        until("linked", || world.node.seen.links.get() == 2).await;
        world
    });
}

#[test]
fn settings_that_differ_are_refused_by_field() {
    let differs = Refused::Mismatch {
        field: "settings".to_owned(),
        expected: "same".to_owned(),
        found: "other".to_owned(),
    };
    refuses(|hello| hello.info = b"other".to_vec(), differs);
}

#[test]
fn an_earlier_incarnation_is_refused() {
    play(|world| async {
        let mut hello = world.fake.hello();
        hello.node.1 = 5;
        let linked = world.fake.link(world.addr(), hello.clone()).await;
        until("linked", || world.node.seen.links.get() == 2).await;
        hello.node.1 = 4;
        let (line, heard) = answer(&world, hello).await;
        assert_refused(line, heard, Refused::Stale { known: 5 }).await;
        drop(linked);
        world
    });
}

/// Two runs can take one incarnation: the first was killed when this node alone knew of it.
#[test]
fn another_run_of_the_same_incarnation_is_refused_and_the_same_one_is_not() {
    play(|world| async {
        let mut hello = world.fake.hello();
        let linked = world.fake.link(world.addr(), hello.clone()).await;
        until("linked", || world.node.seen.links.get() == 2).await;
        let (line, heard) = answer(&world, hello.clone()).await;
        assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
        drop(line);
        hello.nonce += 1;
        let (line, heard) = answer(&world, hello.clone()).await;
        assert_refused(line, heard, Refused::Stale { known: 1 }).await;
        hello.node.1 += 1;
        let (line, heard) = answer(&world, hello).await;
        assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
        drop((line, linked));
        world
    });
}

#[test]
fn an_incarnation_that_was_forgotten_is_refused() {
    play(|world| async {
        let name = "fake".parse().expect("a name");
        world.node.transport.forget(&PeerId { name, incarnation: 5 });
        let mut hello = world.fake.hello();
        hello.node.1 = 5;
        let (line, heard) = answer(&world, hello).await;
        assert_refused(line, heard, Refused::Stale { known: 5 }).await;
        world
    });
}

#[test]
fn greetings_out_of_their_order_are_refused() {
    play(|world| async {
        let hello = world.fake.hello();
        let known = Greeting::Known { node: ("fake".to_owned(), 1), highest: 1 };
        for greeting in [Greeting::Ready, Greeting::Welcome(hello.clone()), known] {
            let mut line = world.fake.greet(world.addr(), (1, 1)).await;
            line.say(&greeting).await;
            let heard = line.hear().await;
            assert_refused(line, heard, Refused::Protocol).await;
        }
        let inquire = Greeting::Inquire { cluster: "test".to_owned(), name: "fake".to_owned() };
        for greeting in [Greeting::Hello(hello.clone()), inquire] {
            let (mut line, heard) = answer(&world, hello.clone()).await;
            assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
            line.say(&greeting).await;
            let heard = line.hear().await;
            assert_refused(line, heard, Refused::Protocol).await;
        }
        world
    });
}

#[test]
fn bytes_that_are_no_greeting_end_the_connection() {
    let garbage: [(&str, Vec<u8>); 6] = [
        ("another magic", b"GET / HT".to_vec()),
        ("another magic's version", b"acx2\x01\0\x01\0".to_vec()),
        ("one over the limit", [&preface(1, 1)[..], &(GREETING_LIMIT + 1).to_le_bytes()].concat()),
        ("the largest length", [&preface(1, 1)[..], &u32::MAX.to_le_bytes()].concat()),
        ("an unknown tag", [&preface(1, 1)[..], &1u32.to_le_bytes(), &[99]].concat()),
        ("an empty greeting", [&preface(1, 1)[..], &0u32.to_le_bytes()].concat()),
    ];
    play(|world| async {
        let clock = Clock::default();
        for (what, bytes) in garbage {
            let begun = clock.now();
            let line = world.fake.open(world.addr(), &bytes).await;
            let (code, reason) = line.ended().await;
            assert_eq!(code, PROTOCOL, "{what}: {reason}");
            let reasons = ["another protocol", "over the limit", "malformed frame"];
            assert!(reasons.iter().any(|known| reason.contains(known)), "{what}: {reason}");
            assert!(clock.now() - begun < PATIENCE / 2, "{what}: at once");
        }
        world
    });
}

/// Holds that a connection on which the fake goes silent is cut in time.
async fn assert_cut_in_time(world: &World, what: &str, line: &quinn::Connection) {
    let clock = Clock::default();
    let begun = clock.now();
    let cut = tokio::select! {
        end = line.closed() => end,
        () = clock.sleep(PATIENCE + Duration::from_millis(1_500)) => panic!("{what}: not cut"),
    };
    assert!(matches!(cut, quinn::ConnectionError::ApplicationClosed(_)), "{what}: {cut}");
    assert!(clock.now() - begun > PATIENCE / 2, "{what}: it was given time");
    assert_eq!(world.node.seen.links.get(), 1, "{what}");
}

#[test]
fn a_peer_that_never_finishes_its_greeting_is_cut() {
    play(|world| async {
        let silent = world.fake.connect(world.addr()).await;
        assert_cut_in_time(&world, "no stream", &silent).await;
        let hello = Greeting::Hello(world.fake.hello()).to_frame();
        let limit = [&preface(1, 1)[..], &GREETING_LIMIT.to_le_bytes()].concat();
        for (what, bytes) in [
            ("half a preface", preface(1, 1)[..5].to_vec()),
            ("no greeting", preface(1, 1).to_vec()),
            ("half a greeting", [&preface(1, 1)[..], &hello[..hello.len() / 2]].concat()),
            ("a greeting at the limit that does not come", limit),
        ] {
            let line = world.fake.open(world.addr(), &bytes).await;
            assert_cut_in_time(&world, what, &line.connection).await;
        }
        let (line, heard) = answer(&world, world.fake.hello()).await;
        assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
        assert_cut_in_time(&world, "never ready", &line.connection).await;
        world
    });
}

#[test]
fn a_greeting_that_drips_is_cut_off_in_time() {
    play(|world| async {
        let clock = Clock::default();
        let mut line = world.fake.greet(world.addr(), (1, 1)).await;
        let begun = clock.now();
        line.write(&GREETING_LIMIT.to_le_bytes()).await;
        let closed = line.connection.clone();
        let drip = async {
            loop {
                line.write(&[0]).await;
                clock.sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            _ = closed.closed() => {}
            () = drip => {}
        }
        let took = clock.now() - begun;
        assert!(took < PATIENCE + Duration::from_secs(2), "{took:?}: all of it counts, not a read");
        world
    });
}

#[test]
fn many_silent_peers_do_not_keep_others_out() {
    play(|world| async {
        let mut silent = Vec::new();
        for host in 10..15 {
            let fake = world.another(&format!("fake{host}"), host);
            for _ in 0..40 {
                silent.push(fake.connect(world.addr()).await);
            }
        }
        let mut hello = world.fake.hello();
        hello.node.1 = 2;
        let line = world.fake.link(world.addr(), hello).await;
        until("linked", || world.node.seen.links.get() == 2).await;
        drop(line);
        world
    });
}

#[test]
fn marks_that_cannot_be_are_no_link() {
    let received = [vec![1, 0], vec![0; 3], vec![0], vec![u64::MAX, 0]];
    play(|world| async {
        for (incarnation, received) in (1..).zip(received) {
            let mut hello = world.fake.hello();
            hello.node.1 = incarnation;
            hello.resume = Some((7, received.clone()));
            let line = world.fake.link(world.addr(), hello).await;
            assert_eq!(line.ended().await.0, PROTOCOL, "{received:?}");
        }
        assert_eq!(world.node.seen.links.get(), 1);
        world
    });
}
