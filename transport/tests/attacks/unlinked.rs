//! Those who never get a link.

use std::time::Duration;

use actix_cluster_transport::{Clock, Random};

use super::{
    wire::Greeting,
    wire_tap::{Tap, first_packets},
    world::{PATIENCE, World, play, until},
};

async fn pause(millis: u64) {
    Clock::default().sleep(Duration::from_millis(millis)).await;
}

/// Until every handshake that was begun is over: its deadline and a little.
const DEADLINE: Duration = PATIENCE.saturating_add(Duration::from_millis(1_200));

/// Three times what came, and one datagram: quinn sends a whole one as long as a byte is left
/// (quinn-rs/quinn#1082).
fn most_answered(tap: &Tap) -> usize {
    3 * tap.sent_bytes + 1_200
}

#[test]
fn garbage_at_the_port_takes_no_place_and_is_not_answered_with_more() {
    play(|world| async {
        let packets = first_packets(&world, 20).await;
        let mut tap = Tap::new(&world.network, [10, 8, 0, 1].into());
        let (to, mut random) = (world.addr(), Random::from_seed(7));
        for burst in 0..60 {
            for n in 0..100 {
                let packet = &packets[n % packets.len()];
                let mut bytes: Vec<u8> = match n % 4 {
                    // No packet at all; half a one; a broken one; one of a version nobody has.
                    0 => (0..random.next_u64() % 1_400).map(|_| random.next_u64() as u8).collect(),
                    1 => packet[..(random.next_u64() % packet.len() as u64) as usize].to_vec(),
                    _ => packet.clone(),
                };
                match n % 4 {
                    2 => bytes[300 + n] ^= 1,
                    3 => bytes[1] ^= 0x55,
                    _ => {}
                }
                tap.send(to, &bytes);
            }
            pause(10).await;
            tap.drain();
            assert_eq!(world.node.transport.stats().handshakes, 0, "burst {burst}");
            if burst % 20 == 10 {
                world.serves_its_friend().await;
            }
        }
        let Tap { sent_bytes, received_bytes, .. } = tap;
        assert!(received_bytes < sent_bytes, "{received_bytes} for {sent_bytes}");
        world
    });
}

#[test]
fn handshakes_from_forged_addresses_hold_few_places_and_let_proper_ones_in() {
    play(|world| async {
        let packets = first_packets(&world, 300).await;
        let tap = |n: u16| {
            let [high, low] = n.to_be_bytes();
            Tap::new(&world.network, [10, 8, high, low].into())
        };
        let mut taps: Vec<Tap> = (0..300).map(tap).collect();
        for (n, (tap, packet)) in taps.iter_mut().zip(&packets).enumerate() {
            tap.send(world.addr(), packet);
            if n % 100 == 99 {
                pause(10).await;
            }
        }
        let stats = world.node.transport.stats();
        let turned_away = (stats.retried, stats.refused, stats.ignored);
        assert_eq!((stats.handshakes, turned_away), (32, (268, 0, 0)));
        // They go on, and a proper one comes in all the same.
        let clock = Clock::default();
        let begun = clock.now();
        let flood = async {
            loop {
                for (tap, packet) in taps.iter_mut().zip(&packets) {
                    tap.send(world.addr(), packet);
                }
                pause(10).await;
            }
        };
        let links = world.node.seen.links.get();
        let line = tokio::select! {
            line = world.fake.link(world.addr(), world.fake.hello()) => line,
            () = flood => unreachable!("it never ends"),
        };
        until("linked", || world.node.seen.links.get() == links + 1).await;
        assert!(clock.now() - begun < Duration::from_millis(500), "{:?}", clock.now() - begun);
        assert!(world.node.transport.stats().handshakes <= 33);
        world.serves_its_friend().await;
        Clock::default().sleep(DEADLINE).await;
        assert_eq!(world.node.transport.stats().handshakes, 0, "all places are given back");
        for tap in &mut taps {
            tap.drain();
            assert!(tap.received_bytes <= most_answered(tap), "{}", tap.received_bytes);
        }
        drop(line);
        world
    });
}

#[test]
fn one_that_is_answered_and_not_heard_from_gets_little_more_than_three_times_its_bytes() {
    play(|world| async {
        let packets = first_packets(&world, 1).await;
        let mut tap = Tap::new(&world.network, [10, 8, 0, 1].into());
        tap.send(world.addr(), &packets[0]);
        Clock::default().sleep(DEADLINE).await;
        tap.drain();
        assert!(tap.received_bytes > 0, "it was answered");
        assert!(tap.received_bytes <= most_answered(&tap), "{}", tap.received_bytes);
        assert_eq!(world.node.transport.stats().handshakes, 0);
        world
    });
}

#[test]
fn a_certificate_greets_on_so_many_connections_and_the_oldest_make_room() {
    play(|world: World| async {
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(world.fake.connect(world.addr()).await);
        }
        until("the oldest are cut", || world.node.transport.stats().crowded >= 136).await;
        let stats = world.node.transport.stats();
        assert_eq!((stats.handshakes, stats.greetings), (0, 64), "{stats:?}");
        let end = silent[0].closed().await;
        assert!(end.to_string().contains("of one certificate are greeting"), "{end}");
        assert_eq!(silent[199].close_reason(), None);
        // Neither its own newest one nor another's has to wait for them.
        let other = world.another("other", 9);
        for fake in [&other, &world.fake] {
            let (clock, links) = (Clock::default(), world.node.seen.links.get());
            let begun = clock.now();
            let line = fake.link(world.addr(), fake.hello()).await;
            until("linked", || world.node.seen.links.get() == links + 1).await;
            assert!(clock.now() - begun < Duration::from_millis(500), "at once");
            drop(line);
        }
        Clock::default().sleep(DEADLINE).await;
        assert_eq!(world.node.transport.stats().greetings, 0, "all places are given back");
        assert!(silent.iter().all(|connection| connection.close_reason().is_some()));
        world
    });
}

#[test]
fn nobody_opens_a_lane_before_it_has_said_who_it_is() {
    play(|world| async {
        let mut line = world.fake.greet(world.addr(), (1, 1)).await;
        tokio::select! {
            stream = line.connection.open_uni() => panic!("{stream:?}"),
            () = pause(300) => {}
        }
        tokio::select! {
            stream = line.connection.open_bi() => panic!("{stream:?}"),
            () = pause(300) => {}
        }
        // Nor sends it a datagram, ever.
        assert_eq!(line.connection.max_datagram_size(), None);
        line.say(&Greeting::Hello(world.fake.hello())).await;
        assert!(matches!(line.hear().await, Greeting::Welcome(_)));
        line.connection.open_uni().await.expect("a stream");
        world
    });
}

#[test]
fn who_is_not_linked_makes_the_node_hold_no_more_than_a_greeting() {
    /// As much as a greeting may be, with what packets and acknowledgements add.
    const MOST_BYTES: u64 = 1024 * 1024 * 11 / 10;
    play(|world| async {
        let mut line = world.fake.greet(world.addr(), (1, 1)).await;
        line.say(&Greeting::Hello(world.fake.hello())).await;
        assert!(matches!(line.hear().await, Greeting::Welcome(_)));
        // Two lanes and what bulk may have: their windows together are more.
        let mut floods = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let mut stream = line.connection.open_uni().await.expect("a stream");
            floods.spawn_local(async move {
                stream.write_all(&vec![1; 4 * 1024 * 1024]).await.expect_err("all of it was taken");
            });
        }
        pause(800).await;
        let sent = line.connection.stats().udp_tx.bytes;
        assert!((1024 * 1024..MOST_BYTES).contains(&sent), "{sent}");
        assert!(line.connection.close_reason().is_none(), "it breaks no rule");
        world
    });
}
