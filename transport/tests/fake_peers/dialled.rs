//! Fake peers that a node dials.

use actix_cluster_transport::PeerId;

use super::{
    peer::Line,
    wire::{Greeting, Hello, REFUSED, Refused},
    world::{World, play, until},
};

/// Lets the node dial the fake; gives the line on which it waits for a Welcome.
async fn dialled(world: &World) -> (Line, Hello) {
    let peer = PeerId { name: world.fake.name.parse().expect("a name"), incarnation: 1 };
    world.node.transport.connect(&peer, world.fake.addr());
    let (line, hello) = world.fake.accept().await;
    assert_eq!(hello.cluster, "test");
    assert_eq!(hello.node, ("node".to_owned(), 7));
    assert_eq!(hello.to.as_deref(), Some("fake"));
    (line, hello)
}

/// The node does not take this answer, says so with this refusal, and dials again.
fn refuses(answer: impl FnOnce(Hello) -> Greeting, refusal: Refused) {
    play(|world| async {
        let (mut line, _) = dialled(&world).await;
        line.say(&answer(world.fake.hello())).await;
        assert_eq!(line.hear().await, Greeting::Refused(refusal));
        assert!(line.recv.read_to_end(0).await.is_ok());
        assert_eq!(line.ended().await, (REFUSED, "refused".to_owned()));
        until("told", || !world.node.seen.failures.borrow().is_empty()).await;
        assert_eq!(world.node.seen.links.get(), 1, "the friend's");
        let (mut line, _) = world.fake.accept().await;
        line.say(&Greeting::Welcome(world.fake.hello())).await;
        assert_eq!(line.hear().await, Greeting::Ready);
        until("linked", || world.node.seen.links.get() == 2).await;
        world
    });
}

#[test]
fn a_welcome_is_taken() {
    play(|world| async {
        let (mut line, _) = dialled(&world).await;
        line.say(&Greeting::Welcome(world.fake.hello())).await;
        assert_eq!(line.hear().await, Greeting::Ready);
        until("linked", || world.node.seen.links.get() == 2).await;
        world
    });
}

#[test]
fn a_welcome_from_another_node_is_refused() {
    refuses(
        |mut hello| {
            hello.node.0 = "friend".to_owned();
            Greeting::Welcome(hello)
        },
        Refused::WrongNode { here: "friend".to_owned() },
    );
}

#[test]
fn a_welcome_of_another_cluster_is_refused() {
    refuses(
        |mut hello| {
            hello.cluster = "other".to_owned();
            Greeting::Welcome(hello)
        },
        Refused::Cluster { expected: "test".to_owned() },
    );
}

#[test]
fn a_welcome_without_lanes_is_refused() {
    for lanes in [0, 257] {
        refuses(
            |mut hello| {
                hello.lanes = lanes;
                Greeting::Welcome(hello)
            },
            Refused::Protocol,
        );
    }
}

#[test]
fn an_answer_that_is_no_welcome_is_refused() {
    refuses(Greeting::Hello, Refused::Protocol);
    refuses(|_| Greeting::Ready, Refused::Protocol);
}

#[test]
fn an_acceptor_that_says_nothing_is_given_up() {
    play(|world| async {
        let (line, _) = dialled(&world).await;
        line.connection.closed().await;
        until("told", || !world.node.seen.failures.borrow().is_empty()).await;
        assert_eq!(world.node.seen.failures.borrow()[0], "nobody answered in time");
        world
    });
}
