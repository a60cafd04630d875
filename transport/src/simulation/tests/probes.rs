//! Closed ports and silence, told apart.

use super::*;
use crate::socket::Sign;

/// What the client finds at the server's port within two seconds, and when.
async fn probe(network: &SimulatedNetwork) -> (Sign, Duration) {
    let (clock, start) = (Clock::default(), present().unwrap());
    let patience = clock.sleep(Duration::from_secs(2));
    let sign = network.host(CLIENT).probe((SERVER, PORT).into(), patience).await.unwrap();
    (sign, present().unwrap() - start)
}

fn process(network: &SimulatedNetwork) -> Process {
    Process::start(network, SERVER, async |host| {
        let endpoint = endpoint(&host, Role::Server);
        while endpoint.accept().await.is_some() {}
    })
}

#[test]
fn the_port_of_a_killed_process_refuses_and_that_of_a_paused_one_does_not() {
    simulate(1, async |network| {
        let link = Link { latency: Duration::from_millis(20), ..Link::default() };
        network.set_link(link);
        let process = process(&network);
        Clock::default().sleep(Duration::from_millis(1)).await;
        assert_eq!(probe(&network).await.0, Sign::Silent, "quinn ignores it");
        process.pause();
        assert_eq!(probe(&network).await.0, Sign::Silent);
        process.kill();
        let (sign, after) = probe(&network).await;
        assert_eq!(sign, Sign::Refused);
        let round_trip = Duration::from_millis(40)..Duration::from_millis(42);
        assert!(round_trip.contains(&after), "{after:?}");
    });
}

#[test]
fn nobody_refuses_across_a_partition_or_for_a_silent_host() {
    type Cut = fn(&SimulatedNetwork);
    let cuts: [Cut; 4] = [
        |network| network.partition_one_way(CLIENT, SERVER),
        |network| network.partition_one_way(SERVER, CLIENT),
        |network| network.silence(SERVER),
        |network| network.set_link(Link { loss: 1.0, ..Link::default() }),
    ];
    for cut in cuts {
        simulate(2, async |network| {
            cut(&network);
            assert_eq!(probe(&network).await, (Sign::Silent, Duration::from_secs(2)));
            network.set_link(Link::default());
            network.heal_all();
            assert_eq!(probe(&network).await.0, Sign::Refused);
        });
    }
}

#[test]
fn a_refusal_is_cut_on_its_way_back() {
    simulate(3, async |network| {
        network.set_link(Link { latency: Duration::from_millis(100), ..Link::default() });
        let cutting = async {
            Clock::default().sleep(Duration::from_millis(150)).await;
            network.partition_one_way(SERVER, CLIENT);
        };
        let ((sign, _), ()) = tokio::join!(biased; probe(&network), cutting);
        assert_eq!(sign, Sign::Silent);
    });
}
