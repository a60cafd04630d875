//! What becomes of a process that is paused, killed or restarted.

use std::{cell::Cell, rc::Rc};

use super::*;

async fn pass(millis: u64) {
    Clock::default().sleep(Duration::from_millis(millis)).await;
}

/// A process that counts how often its second passes, in a task of its own.
fn beating(network: &SimulatedNetwork, beats: &Rc<Cell<u32>>) -> Process {
    let beats = Rc::clone(beats);
    Process::start(network, SERVER, async move |host| {
        let clock = host.clock();
        let beat = async move {
            loop {
                clock.sleep(Duration::from_secs(1)).await;
                beats.set(beats.get() + 1);
            }
        };
        spawn(beat).await;
    })
}

#[expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]
async fn spawn(future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(future).await.unwrap();
}

/// A process that holds a socket and reads nothing.
async fn holding(
    network: &SimulatedNetwork,
    ip: IpAddr,
) -> (Process, Arc<dyn quinn::AsyncUdpSocket>) {
    let (give, take) = tokio::sync::oneshot::channel();
    let process = Process::start(network, ip, async move |host| {
        _ = give.send(host.bind((ip, PORT).into()).unwrap());
        std::future::pending::<()>().await;
    });
    (process, take.await.unwrap())
}

#[test]
fn nothing_of_a_paused_process_runs_until_it_is_resumed() {
    simulate(1, async |network| {
        let beats = Rc::new(Cell::new(0));
        let process = beating(&network, &beats);
        pass(3_500).await;
        assert_eq!(beats.get(), 3);
        process.pause();
        assert!(process.is_paused());
        pass(10_000).await;
        assert_eq!(beats.get(), 3);
        process.resume();
        pass(1).await;
        assert_eq!(beats.get(), 4, "what has become due fires at once, and the rest goes on");
        pass(3_000).await;
        assert_eq!(beats.get(), 7);
    });
}

#[test]
fn a_process_that_is_killed_runs_no_more() {
    for is_paused in [false, true] {
        simulate(2, async |network| {
            let beats = Rc::new(Cell::new(0));
            let process = beating(&network, &beats);
            pass(1_500).await;
            if is_paused {
                process.pause();
            }
            process.kill();
            assert!(process.has_ended());
            assert_eq!(Rc::strong_count(&beats), 1, "its tasks are dropped at once");
            process.resume();
            pass(5_000).await;
            assert_eq!((beats.get(), process.has_ended()), (1, true));
        });
    }
}

#[test]
fn a_process_can_kill_itself() {
    simulate(3, async |network| {
        let (give, take) = tokio::sync::oneshot::channel::<Rc<Process>>();
        let dropped = Rc::new(Cell::new(0));
        let held = Rc::clone(&dropped);
        let process = Process::start(&network, SERVER, async move |_| {
            take.await.unwrap().kill();
            held.set(1);
            std::future::pending::<()>().await;
        });
        let process = Rc::new(process);
        _ = give.send(Rc::clone(&process));
        pass(1).await;
        assert!(process.has_ended());
        assert_eq!((dropped.get(), Rc::strong_count(&dropped)), (1, 1));
    });
}

#[test]
fn a_process_whose_main_ends_has_ended() {
    simulate(4, async |network| {
        let process = Process::start(&network, SERVER, async |_| ());
        assert!(!process.has_ended());
        pass(1).await;
        assert!(process.has_ended());
    });
}

#[test]
fn packets_queue_up_in_a_paused_process_up_to_the_bound() {
    let run = simulate(5, async |network| {
        let beside = network.host(CLIENT).bind((CLIENT, PORT).into()).unwrap();
        let got = Rc::new(Cell::new(0));
        let count = Rc::clone(&got);
        let process = Process::start(&network, SERVER, async move |host| {
            let socket = host.bind((SERVER, PORT).into()).unwrap();
            loop {
                receive(&*socket).await;
                count.set(count.get() + 1);
            }
        });
        pass(1).await;
        process.pause();
        for _ in 0..fabric::QUEUE_PACKETS + 100 {
            beside.try_send(&transmit((SERVER, PORT).into(), b"packet")).unwrap();
        }
        pass(1_000).await;
        assert_eq!(got.get(), 0);
        process.resume();
        pass(1_000).await;
        got.get()
    });
    assert_eq!(run.value, fabric::QUEUE_PACKETS);
    assert_eq!((run.stats.overflowed, run.stats.refused), (100, 0));
}

#[test]
fn the_ports_of_a_killed_process_are_closed_whoever_holds_its_sockets() {
    let run = simulate(6, async |network| {
        let beside = network.host(CLIENT).bind((CLIENT, PORT).into()).unwrap();
        let (mut process, old) = holding(&network, SERVER).await;
        let seed = process.host().seed();
        let host = process.host().clone();
        process.kill();
        beside.try_send(&transmit((SERVER, PORT).into(), b"refused")).unwrap();
        assert_eq!(network.stats().refused, 1);
        old.try_send(&transmit((CLIENT, PORT).into(), b"from the dead")).unwrap();
        let error = host.bind((SERVER, PORT).into()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);

        let (give, take) = tokio::sync::oneshot::channel();
        process.restart(async move |host| {
            _ = give.send(host.bind((SERVER, PORT).into()).unwrap());
            std::future::pending::<()>().await;
        });
        assert_ne!(process.host().seed(), seed);
        let new = take.await.unwrap();
        beside.try_send(&transmit((SERVER, PORT).into(), b"heard")).unwrap();
        pass(10).await;
        assert_eq!(receive_now(&*old), None);
        drop(old);
        assert_eq!(receive_now(&*new).as_deref(), Some(&b"heard"[..]));
        assert_eq!(receive_now(&*beside), None);
    });
    assert_eq!((run.stats.sent, run.stats.delivered), (2, 1));
}

#[test]
fn a_connection_survives_a_pause_that_is_shorter_than_its_idle_timeout() {
    for (pause, survives) in [(IDLE_TIMEOUT / 2, true), (2 * IDLE_TIMEOUT, false)] {
        simulate(7, async |network| {
            let (give, take) = tokio::sync::oneshot::channel();
            let process = Process::start(&network, SERVER, async move |host| {
                let endpoint = endpoint(&host, Role::Server);
                let connection = endpoint.accept().await.unwrap().await.unwrap();
                _ = give.send(connection.clone());
                connection.closed().await;
            });
            let client = endpoint(&network.host(CLIENT), Role::Client);
            let dialled = client.connect(SocketAddr::new(SERVER, PORT), "node").unwrap();
            let connection = dialled.await.unwrap();
            let theirs = take.await.unwrap();
            process.pause();
            Clock::default().sleep(pause).await;
            assert_eq!(connection.close_reason().is_none(), survives);
            assert!(theirs.close_reason().is_none(), "its timers stand still");
            process.resume();
            pass(1_000).await;
            assert_eq!(theirs.close_reason().is_none(), survives);
        });
    }
}

#[test]
fn what_happens_to_a_process_is_in_the_trace() {
    type Change = fn(&mut Process);
    let changes: [Change; 4] = [
        |_| (),
        |process| process.pause(),
        |process| process.kill(),
        |process| {
            process.restart(async |_| std::future::pending().await);
        },
    ];
    let traces = changes.map(|change| {
        let run = simulate(8, async |network| {
            let (mut process, _socket) = holding(&network, SERVER).await;
            change(&mut process);
            network.trace().hash
        });
        run.value
    });
    let distinct: std::collections::BTreeSet<_> = traces.into_iter().collect();
    assert_eq!(distinct.len(), changes.len());
}
