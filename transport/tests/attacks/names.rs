//! Those who come under one name after another, and as one incarnation after another.

use actix_cluster_transport::PeerId;

use super::{
    peer::{Fake, Line},
    wire::{Greeting, REFUSED, Refused},
    world::{PEERS_LIMIT, World, play, until},
};

/// What the node answers to a peer that says it is this incarnation.
async fn answer(world: &World, fake: &Fake, incarnation: u64) -> (Line, Greeting) {
    let mut hello = fake.hello();
    hello.node.1 = incarnation;
    let mut line = fake.greet(world.addr(), (1, 1)).await;
    line.say(&Greeting::Hello(hello)).await;
    let heard = line.hear().await;
    (line, heard)
}

#[test]
fn incarnations_without_end_leave_one_peer() {
    play(|world| async {
        for incarnation in 1..=90 {
            let mut hello = world.fake.hello();
            hello.node.1 = incarnation;
            let line = world.fake.link(world.addr(), hello).await;
            until("linked", || world.node.seen.links.get() as u64 == incarnation + 1).await;
            let stats = world.node.transport.stats();
            assert_eq!((stats.peers, stats.sessions, stats.links), (2, 2, 2), "{incarnation}");
            drop(line);
        }
        until("all are done", || world.node.transport.stats().greetings == 0).await;
        world
    });
}

#[test]
fn names_beyond_the_limit_are_refused_until_others_are_forgotten() {
    play(|world| async {
        // The friend is known already.
        let mut lines = Vec::new();
        for host in 4..6 {
            let fake = world.another(&format!("fake{host}"), host);
            let (line, heard) = answer(&world, &fake, 1).await;
            assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
            lines.push((fake, line));
        }
        assert_eq!(world.node.transport.stats().peers, PEERS_LIMIT as usize);
        let (line, heard) = answer(&world, &world.fake, 1).await;
        assert_eq!(heard, Greeting::Refused(Refused::TooManyPeers));
        assert_eq!(line.ended().await.0, REFUSED);
        assert_eq!(world.node.transport.stats().peers, PEERS_LIMIT as usize);
        let over = PeerId { name: "fake4".parse().expect("a name"), incarnation: 1 };
        world.node.transport.forget(&over);
        let (_line, heard) = answer(&world, &world.fake, 1).await;
        assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
        world
    });
}

#[test]
fn a_name_that_was_forgotten_comes_back_as_a_later_incarnation_only() {
    play(|world| async {
        let fake = world.another("again", 4);
        let name = fake.name.parse().expect("a name");
        let linked = answer(&world, &fake, 7).await;
        world.node.transport.forget(&PeerId { name, incarnation: 7 });
        assert_eq!(world.node.transport.stats().peers, 1, "the friend");
        let (_, heard) = answer(&world, &fake, 7).await;
        assert_eq!(heard, Greeting::Refused(Refused::Stale { known: 7 }));
        let (_line, heard) = answer(&world, &fake, 8).await;
        assert!(matches!(heard, Greeting::Welcome(_)), "{heard:?}");
        drop(linked);
        world
    });
}

#[test]
fn names_without_end_are_taken_one_after_another() {
    play(|world| async {
        for host in 10..40 {
            let fake = world.another(&format!("fake{host}"), host);
            let links = world.node.seen.links.get();
            let line = fake.link(world.addr(), fake.hello()).await;
            until("linked", || world.node.seen.links.get() == links + 1).await;
            let name = fake.name.parse().expect("a name");
            world.node.transport.forget(&PeerId { name, incarnation: 1 });
            line.ended().await;
            until("forgotten", || world.node.transport.stats().peers == 1).await;
        }
        world
    });
}
