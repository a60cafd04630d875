//! What a trace covers, and how two of them are told apart.

use super::*;

/// The trace of a world in which nothing but `event` happens.
fn trace_of(event: impl FnOnce(&SimulatedNetwork)) -> Trace {
    let network = SimulatedNetwork::new(1);
    paused().block_on(async { event(&network) });
    network.trace()
}

#[test]
fn every_change_of_the_world_is_in_the_trace() {
    type Change = fn(&SimulatedNetwork);
    let changes: [Change; 11] = [
        |_| (),
        |network| network.set_link(Link { loss: 0.5, ..Link::default() }),
        |network| network.partition(SERVER, CLIENT),
        |network| network.partition_one_way(SERVER, CLIENT),
        |network| network.heal(SERVER, CLIENT),
        |network| network.heal_all(),
        |network| network.silence(SERVER),
        |network| network.unsilence(SERVER),
        |network| drop(network.host(SERVER).bind((SERVER, PORT).into())),
        |network| network.record(format_args!("a link is up")),
        |network| network.host(SERVER).journal().record(format_args!("a link is up")),
    ];
    let traces: std::collections::BTreeSet<_> =
        changes.iter().map(|change| trace_of(change).hash).collect();
    assert_eq!(traces.len(), changes.len());
}

#[test]
fn the_time_of_a_transition_is_in_the_trace() {
    let after = |millis| {
        let network = SimulatedNetwork::new(1);
        paused().block_on(async {
            network.record(format_args!("start"));
            Clock::default().sleep(Duration::from_millis(millis)).await;
            network.record(format_args!("end"));
        });
        network.trace()
    };
    assert_eq!(after(5), after(5));
    assert_ne!(after(5), after(6));
    assert_eq!(after(5).events, 2);
}

#[test]
fn the_end_of_a_packet_is_in_the_trace() {
    let traced = |change: fn(&mut fabric::Cuts)| {
        let network = SimulatedNetwork::new(1);
        paused().block_on(async {
            let [a, b] = [SERVER, CLIENT].map(|ip| network.host(ip).bind((ip, PORT).into()));
            let (a, b) = (a.unwrap(), b.unwrap());
            a.try_send(&transmit(b.local_addr().unwrap(), b"packet")).unwrap();
            network.fabric().change_cuts(present(), "something changes", change);
            Clock::default().sleep(Duration::from_secs(1)).await;
            _ = receive_now(&*b);
        });
        (network.trace(), network.stats())
    };
    let (read, stats) = traced(|_| ());
    assert_eq!((stats.delivered, stats.cut), (1, 0));
    let (cut, stats) = traced(|cuts| _ = cuts.silent.insert(CLIENT));
    assert_eq!((stats.delivered, stats.cut), (0, 1));
    assert_ne!(read, cut);
}

#[test]
fn a_log_shows_where_two_runs_part() {
    let log = |lost| {
        let network = SimulatedNetwork::new(1);
        network.keep_log(1_000);
        paused().block_on(async {
            let [a, b] = [SERVER, CLIENT].map(|ip| network.host(ip).bind((ip, PORT).into()));
            let (a, b) = (a.unwrap(), b.unwrap());
            a.try_send(&transmit(b.local_addr().unwrap(), b"packet")).unwrap();
            if lost {
                network.partition(SERVER, CLIENT);
            }
            a.try_send(&transmit(b.local_addr().unwrap(), b"packet")).unwrap();
        });
        network.log()
    };
    assert_eq!(log(false).first_difference(&log(false)), None);
    let difference = log(false).first_difference(&log(true)).unwrap();
    assert_eq!(difference.number, 3, "{difference}");
    let [ours, theirs] = [difference.ours, difference.theirs].map(|entry| entry.unwrap().text);
    assert_eq!(ours, "Sent 10.0.0.1:4433 > 10.0.0.2:4433 6 bytes Carried");
    assert_eq!(theirs, "10.0.0.1 and 10.0.0.2 are cut");
}

#[test]
fn a_log_keeps_the_last_entries_and_their_numbers() {
    let log = |limit| {
        let network = SimulatedNetwork::new(1);
        network.keep_log(limit);
        (0..10).for_each(|number| network.record(format_args!("event {number}")));
        network.log()
    };
    let numbers = |log: &TraceLog| log.entries().map(|entry| entry.number).collect::<Vec<_>>();
    assert_eq!(numbers(&log(0)), []);
    assert_eq!(numbers(&log(3)), [7, 8, 9]);
    assert_eq!(numbers(&log(10)).len(), 10);
    assert_eq!(log(3).first_difference(&log(10)), None, "both kept the last three");
    assert_eq!(log(3).to_string().lines().count(), 3);
}
