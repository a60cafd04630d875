//! What paths carry and how fast, and sockets that are seen elsewhere.

use std::num::NonZeroU64;

use super::*;

fn narrow(bytes: u64) -> Link {
    Link { bandwidth_bytes: NonZeroU64::new(bytes), ..Link::default() }
}

#[test]
fn a_narrow_link_carries_no_more_than_its_bandwidth() {
    for (bytes_per_second, least, most) in [(1 << 20, 1_000, 2_500), (4 << 20, 250, 700)] {
        let run = simulate(1, async |network| {
            network.set_link(narrow(bytes_per_second));
            transfer(&connect(&network).await).await;
        });
        let took = run.took.as_millis();
        assert!((least..most).contains(&took), "{bytes_per_second}: {took} ms, {:?}", run.stats);
    }
}

#[test]
fn packets_queue_behind_one_another_and_the_queue_drops_its_tail() {
    let run = simulate(2, async |network| {
        // 100 bytes with their headers pass in 100 ms; nine more wait, and one of them leaves.
        let link = Link { queue_bytes: 1_000, jitter: Duration::ZERO, ..narrow(1_000) };
        network.set_link(link);
        let [a, b] = [SERVER, CLIENT].map(|ip| network.host(ip).bind((ip, PORT).into()).unwrap());
        let start = present().unwrap();
        for _ in 0..15 {
            a.try_send(&transmit((CLIENT, PORT).into(), &[0; 72])).unwrap();
        }
        for nth in 1..=10 {
            receive(&*b).await;
            assert_eq!(present().unwrap() - start, Duration::from_millis(100 * nth + 1));
        }
    });
    assert_eq!((run.stats.delivered, run.stats.congested), (10, 5));
}

#[test]
fn a_packet_longer_than_the_queue_passes_an_idle_link() {
    let run = simulate(3, async |network| {
        network.set_link(Link { queue_bytes: 0, ..narrow(1_000) });
        let [a, b] = [SERVER, CLIENT].map(|ip| network.host(ip).bind((ip, PORT).into()).unwrap());
        for _ in 0..2 {
            a.try_send(&transmit((CLIENT, PORT).into(), &[0; 72])).unwrap();
        }
        receive(&*b).await;
    });
    assert_eq!((run.stats.delivered, run.stats.congested), (1, 1));
}

#[test]
fn a_link_of_their_own_concerns_two_hosts_only_and_each_direction_has_its_width() {
    simulate(4, async |network| {
        const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
        let ips = [SERVER, CLIENT, THIRD];
        let [a, b, c] = ips.map(|ip| network.host(ip).bind((ip, PORT).into()).unwrap());
        let slow =
            Link { latency: Duration::from_millis(50), jitter: Duration::ZERO, ..narrow(1_000) };
        network.set_link_between(SERVER, CLIENT, slow);
        for (socket, to) in [(&a, CLIENT), (&b, SERVER), (&a, THIRD)] {
            socket.try_send(&transmit((to, PORT).into(), &[0; 72])).unwrap();
        }
        let start = present().unwrap();
        receive(&*c).await;
        assert!(present().unwrap() - start < Duration::from_millis(3));
        receive(&*a).await;
        receive(&*b).await;
        assert_eq!(present().unwrap() - start, Duration::from_millis(150));
    });
}

#[test]
fn a_connection_survives_that_its_client_is_rebound() {
    let run = simulate(5, async |network| {
        let link = connect(&network).await;
        transfer(&link).await;
        let seen = network.rebind((CLIENT, PORT).into(), 9_999).unwrap();
        assert_eq!(seen, (CLIENT, 9_999).into());
        transfer(&link).await;
        assert_eq!(link.server.remote_address(), seen);
        assert_eq!(link.endpoints[1].local_addr().unwrap(), (CLIENT, PORT).into());
        // The server, too, can speak first after that.
        let mut stream = link.server.open_uni().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.finish().unwrap();
        let mut stream = link.client.accept_uni().await.unwrap();
        assert_eq!(stream.read_to_end(5).await.unwrap(), b"hello");
    });
    assert!(run.took < IDLE_TIMEOUT, "{:?}", run.took);
}

#[test]
fn a_rebound_socket_is_no_longer_reached_where_it_was() {
    let run = simulate(6, async |network| {
        let [a, b] = [SERVER, CLIENT].map(|ip| network.host(ip).bind((ip, PORT).into()).unwrap());
        let send = |to: u16, contents: &[u8]| {
            a.try_send(&transmit((CLIENT, to).into(), contents)).unwrap();
        };
        send(PORT, b"on its way");
        network.rebind((CLIENT, PORT).into(), 1).unwrap();
        send(PORT, b"too late");
        network.rebind((CLIENT, PORT).into(), 2).unwrap();
        send(1, b"refused");
        send(2, b"found");
        assert_eq!(receive(&*b).await, b"found");
        Clock::default().sleep(Duration::from_secs(1)).await;
        assert_eq!(receive_now(&*b), None);
        // What others could take for its own is taken, until it is closed.
        assert!(network.host(CLIENT).bind((CLIENT, 2).into()).is_err());
        drop(b);
        network.host(CLIENT).bind((CLIENT, 2).into()).unwrap();
    });
    assert_eq!((run.stats.unmapped, run.stats.refused, run.stats.delivered), (2, 1, 1));
}

#[test]
fn a_socket_is_rebound_to_free_ports_only() {
    let network = SimulatedNetwork::new(7);
    let _sockets = [1, 2].map(|port| network.host(CLIENT).bind((CLIENT, port).into()).unwrap());
    for (from, to, kind) in [
        (1, 2, std::io::ErrorKind::AddrInUse),
        (1, 0, std::io::ErrorKind::AddrInUse),
        (3, 4, std::io::ErrorKind::NotFound),
    ] {
        assert_eq!(network.rebind((CLIENT, from).into(), to).unwrap_err().kind(), kind);
    }
}

#[test]
fn links_and_bindings_are_in_the_trace() {
    let hash = |change: fn(&SimulatedNetwork)| {
        let network = SimulatedNetwork::new(8);
        let _socket = network.host(CLIENT).bind((CLIENT, 1).into()).unwrap();
        change(&network);
        network.trace().hash
    };
    let nothing = hash(|_| ());
    assert_ne!(hash(|network| _ = network.rebind((CLIENT, 1).into(), 2)), nothing);
    assert_ne!(hash(|network| network.set_link_between(CLIENT, SERVER, narrow(1))), nothing);
}
