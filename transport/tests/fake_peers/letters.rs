//! Packets for nodes that there is no session with.

use std::time::Duration;

use actix_cluster_transport::PeerId;

use super::{
    wire::{Greeting, Refused},
    world::{PATIENCE, World, play, until},
};

fn letters(world: &World) -> Vec<(PeerId, Vec<u8>)> {
    world.node.seen.letters.borrow().clone()
}

#[test]
fn a_letter_arrives_where_there_can_be_no_session_and_at_no_other_run() {
    play(|world| async {
        let (me, addr) = (world.node.transport.local().clone(), world.addr());
        let friend = world.friend.transport.clone();
        let other = PeerId { incarnation: me.incarnation - 1, ..me.clone() };
        friend.forget(&other);
        assert!(friend.is_over(&other) && !friend.is_over(&me));
        friend.post(&other, addr, b"for another run".to_vec());
        friend.post(&me, addr, b"for this one".to_vec());
        let expected = [(friend.local().clone(), b"for this one".to_vec())];
        until("it has come", || letters(&world) == expected).await;
        // Whom the receiver has forgotten may write as well.
        let name = "fake".parse().expect("a name");
        world.node.transport.forget(&PeerId { name, incarnation: 9 });
        let line = say(&world, ("test", "fake"), b"from the past".to_vec()).await;
        until("it has come", || letters(&world).len() == 2).await;
        drop(line);
        world
    });
}

/// A letter of the fake peer, and what is said to it.
async fn say(world: &World, (cluster, name): (&str, &str), packet: Vec<u8>) -> super::peer::Line {
    let me = world.node.transport.local();
    let mut line = world.fake.greet(world.addr(), (1, 1)).await;
    let (from, to) = ((name.to_owned(), 9), (me.name.to_string(), me.incarnation));
    line.say(&Greeting::Letter { cluster: cluster.to_owned(), from, to, packet }).await;
    line
}

#[test]
fn a_letter_of_another_cluster_or_name_or_length_is_refused() {
    let here = "node".to_owned();
    for (cluster, name, length, refusal) in [
        ("other", "fake", 1, Refused::Cluster { expected: "test".to_owned() }),
        ("test", "friend", 1, Refused::Identity { claimed: "friend".to_owned() }),
        ("test", "node", 1, Refused::Identity { claimed: here }),
        ("test", "fake", 256 * 1024 + 1, Refused::Protocol),
    ] {
        play(|world| async move {
            let mut line = say(&world, (cluster, name), vec![7; length]).await;
            assert_eq!(line.hear().await, Greeting::Refused(refusal));
            assert_eq!(letters(&world), []);
            world
        });
    }
}

#[test]
fn letters_that_nobody_takes_are_bounded() {
    play(|world| async {
        let (me, addr) = (world.node.transport.local().clone(), world.addr());
        let friend = world.friend.transport.clone();
        let nobody = PeerId { name: "nobody".parse().expect("a name"), incarnation: 1 };
        for _ in 0..16 {
            friend.post(&nobody, ([10, 0, 0, 99], 7_000).into(), b"lost".to_vec());
        }
        friend.post(&me, addr, b"one too many".to_vec());
        actix_cluster_transport::Clock::default()
            .sleep(3 * PATIENCE + Duration::from_secs(1))
            .await;
        assert_eq!(letters(&world), []);
        friend.post(&me, addr, b"there is room again".to_vec());
        until("it has come", || letters(&world).len() == 1).await;
        world
    });
}
