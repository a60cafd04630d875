//! Clocks that run at rates of their own.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How long `own` on the server's clock takes in the network's time.
async fn takes(network: &SimulatedNetwork, own: Duration) -> Duration {
    let start = present().unwrap();
    network.host(SERVER).clock().sleep(own).await;
    present().unwrap() - start
}

fn is_about(found: Duration, expected: Duration) -> bool {
    found.abs_diff(expected) <= Duration::from_millis(2)
}

#[test]
fn a_fast_clock_wakes_its_sleepers_early_and_a_slow_one_late() {
    for (ppm, expected_ms) in
        [(0, 10_000), (100_000, 9_091), (-100_000, 11_111), (i32::MIN, 100_000), (i32::MAX, 1_000)]
    {
        let run = simulate(1, async |network| {
            network.set_clock_rate(SERVER, ppm);
            takes(&network, 10 * SECOND).await
        });
        let expected = Duration::from_millis(expected_ms);
        assert!(is_about(run.value, expected), "{ppm} ppm: {:?}", run.value);
    }
}

#[test]
fn a_clock_goes_on_from_what_it_shows_when_its_rate_changes() {
    simulate(2, async |network| {
        let clock = network.host(SERVER).clock();
        let mut random = Random::from_seed(2);
        let mut before = clock.now();
        for _ in 0..1_000 {
            Clock::default().sleep(Duration::from_millis(random.below(50))).await;
            let now = clock.now();
            assert!(now >= before);
            network.set_clock_rate(SERVER, random.below(1_500_000) as i32 - 700_000);
            assert!(clock.now() - now <= Duration::from_nanos(1));
            before = clock.now();
        }
        assert_ne!(clock.now(), present().unwrap());
    });
}

#[test]
fn sleepers_follow_a_rate_that_changes_under_them() {
    for (ppm, expected_ms) in [(1_000_000, 7_500), (-500_000, 15_000), (0, 10_000)] {
        let run = simulate(3, async |network| {
            let changes = async {
                Clock::default().sleep(5 * SECOND).await;
                network.set_clock_rate(SERVER, ppm);
            };
            tokio::join!(biased; takes(&network, 10 * SECOND), changes).0
        });
        let expected = Duration::from_millis(expected_ms);
        assert!(is_about(run.value, expected), "{ppm} ppm: {:?}", run.value);
    }
}

#[test]
fn nobody_wakes_before_its_own_time() {
    simulate(4, async |network| {
        let clock = network.host(SERVER).clock();
        for ppm in [-333_333, -7, 7, 123_457] {
            network.set_clock_rate(SERVER, ppm);
            for nanos in [1, 999_999, 1_000_001, 77_777_777] {
                let at = clock.after(Duration::from_nanos(nanos));
                clock.sleep_until(at).await;
                assert!(clock.now() >= at, "{ppm} ppm, {nanos} ns");
            }
        }
    });
}

#[test]
fn the_other_hosts_keep_their_rate() {
    simulate(5, async |network| {
        network.set_clock_rate(CLIENT, 500_000);
        assert!(is_about(takes(&network, 10 * SECOND).await, 10 * SECOND));
    });
}

#[test]
fn a_rate_set_before_the_first_runtime_counts_from_its_start() {
    let network = SimulatedNetwork::new(6);
    network.set_clock_rate(SERVER, 1_000_000);
    paused().block_on(async {
        assert!(is_about(takes(&network, 10 * SECOND).await, 5 * SECOND));
    });
}

#[test]
fn the_timers_of_quinn_follow_the_clock_of_their_host() {
    for (ppm, expected_ms) in [(0, 5_000), (1_000_000, 2_500)] {
        let run = simulate(7, async |network| {
            let link = connect(&network).await;
            network.set_clock_rate(SERVER, ppm);
            network.partition(SERVER, CLIENT);
            let start = present().unwrap();
            link.server.closed().await;
            present().unwrap() - start
        });
        let expected = Duration::from_millis(expected_ms);
        assert!(run.value.abs_diff(expected) < Duration::from_millis(50), "{:?}", run.value);
    }
}

#[test]
fn a_sleeper_that_is_dropped_leaves_nothing_behind() {
    simulate(8, async |network| {
        let host = network.host(SERVER);
        for _ in 0..10 {
            let mut sleep = host.clock().sleep(SECOND);
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(sleep.as_mut().poll(&mut task).is_pending());
        }
        assert_eq!(host.time.sleepers(), 0);
    });
}

#[test]
fn a_rate_is_in_the_trace() {
    let hash = |ppm| {
        let network = SimulatedNetwork::new(9);
        network.set_clock_rate(SERVER, ppm);
        network.trace().hash
    };
    assert_ne!(hash(1), hash(2));
}
