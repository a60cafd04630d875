//! Handlers that hold their actor while they await.

use super::*;

#[test]
fn an_async_handler_has_the_actor_to_itself_until_it_has_ended() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        desk.tell(Note(1)).await.expect("room");
        let slow = desk.ask(Slow(50));
        let (handled, ()) = tokio::join!(slow, async {
            settle().await;
            desk.tell(Note(2)).await.expect("room");
        });
        assert_eq!(handled.expect("answered"), 3);
        settle().await;
        assert_eq!(lines(&log), ["note 1", "slow begins", "slow ends", "note 2"]);
    });
}

#[test]
fn futures_and_timers_wait_for_an_async_handler() {
    on_a_node(async |node| {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let desk = node
            .spawn(move |ctx: &mut ClusterContext<Desk>| {
                ctx.run_later(Duration::from_millis(10), |desk: &mut Desk, _| desk.note("tick"));
                Desk { log: Arc::clone(&theirs), handled: 0 }
            })
            .start()
            .expect("spawned");
        desk.ask(Slow(50)).await.expect("answered");
        settle().await;
        assert_eq!(lines(&log), ["slow begins", "slow ends", "tick"]);
    });
}

#[test]
fn a_stop_takes_effect_at_an_async_handlers_await_and_hooks_run() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let asked = desk.ask(Forever);
        let waiting = desk.ask(Slow(1));
        let (asked, waiting, ()) = tokio::join!(asked, waiting, async {
            settle().await;
            desk.stop();
        });
        assert_eq!(unknown(asked), UnknownReason::NoReply);
        assert!(matches!(
            waiting,
            Err(AskError::Rejected { reason: RejectReason::Stopped, message: Slow(1) })
        ));
        assert_eq!(ended(&desk).await, ExitReason::Stopped);
        assert_eq!(lines(&log), ["forever is dropped", "stopped"]);
    });
}

#[test]
fn a_kill_takes_effect_at_an_async_handlers_await_and_no_hook_runs() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let (asked, ()) = tokio::join!(desk.ask(Forever), async {
            settle().await;
            desk.kill();
        });
        assert_eq!(unknown(asked), UnknownReason::NoReply);
        assert_eq!(ended(&desk).await, ExitReason::Killed);
        assert_eq!(lines(&log), ["forever is dropped"]);
    });
}

#[test]
fn the_end_of_a_node_ends_an_async_handler() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let (asked, ()) = tokio::join!(desk.ask(Forever), async {
            settle().await;
            node.shutdown().await;
        });
        assert_eq!(unknown(asked), UnknownReason::NoReply);
        assert_eq!(desk.exit_reason(), Some(ExitReason::NodeStopped));
        assert_eq!(lines(&log), ["forever is dropped", "stopped"]);
    });
}

#[test]
fn a_supervisor_stops_a_child_at_its_await_and_starts_it_anew() {
    on_a_node(async |node| {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let group = node.spawn_supervisor().strategy(actix_cluster::Strategy::OneForAll);
        let group = group.start().expect("started");
        let make =
            move |_: &mut ClusterContext<Desk>| Desk { log: Arc::clone(&theirs), handled: 0 };
        let awaiting = group.spawn(make.clone()).start().expect("started");
        let failing = group.spawn(make).start().expect("started");
        let (asked, ()) = tokio::join!(awaiting.ask(Forever), async {
            settle().await;
            awaiting.tell(Note(1)).await.expect("room");
            failing.tell(Burst).await.expect("room");
        });
        assert_eq!(unknown(asked), UnknownReason::NoReply);
        pause(1_000).await;
        assert_eq!(lines(&log), ["forever is dropped", "stopped", "note 1"]);
        assert_eq!(awaiting.ask(Slow(1)).await.expect("answered"), 3, "a fresh one");
        group.stop();
        group.ended().await;
    });
}

#[test]
fn a_panic_after_an_await_ends_the_instance_and_keeps_the_mailbox() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        desk.ask(Slow(1)).await.expect("answered");
        let (burst, noted) = tokio::join!(desk.ask(Burst), desk.tell(Note(1)));
        assert_eq!(unknown(burst), UnknownReason::Panicked);
        noted.expect("room");
        assert_eq!(desk.ask(Slow(1)).await.expect("answered"), 3, "handled by a fresh one");
        assert_eq!(desk.exit_reason(), None);
        let noted = ["slow begins", "slow ends", "note 1", "slow begins", "slow ends"];
        assert_eq!(lines(&log), noted);
    });
}

#[test]
fn an_async_handler_whose_asker_has_gone_is_dropped_at_its_await() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        desk.tell(Note(1)).await.expect("room");
        tokio::select! {
            biased;
            _ = desk.ask(Forever) => panic!("it never ends"),
            () = settle() => {}
        }
        settle().await;
        assert_eq!(lines(&log), ["note 1", "forever is dropped"]);
        assert_eq!(node.dead_letters().unknown(UnknownReason::Cancelled), 1);
        assert_eq!(desk.ask(Slow(1)).await.expect("answered"), 3, "the instance goes on");
    });
}

#[test]
fn an_async_handler_is_dropped_when_its_deadline_has_passed() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let asked = desk.ask(Forever).within(Duration::from_millis(20)).await;
        assert_eq!(unknown(asked), UnknownReason::Deadline);
        settle().await;
        assert_eq!(lines(&log), ["forever is dropped"]);
    });
}

#[test]
fn a_told_async_message_that_is_cut_short_is_counted() {
    on_a_node(async |node| {
        let (desk, _) = desk(&node);
        desk.tell(Burst).await.expect("room");
        pause(10).await;
        assert_eq!(node.dead_letters().unknown(UnknownReason::Panicked), 1);
        pause(1_000).await;
        desk.tell(Forever).await.expect("room");
        settle().await;
        desk.stop();
        ended(&desk).await;
        assert_eq!(node.dead_letters().unknown(UnknownReason::NoReply), 1);
    });
}

#[test]
fn a_value_that_panics_when_its_handler_is_dropped_ends_that_instance_only() {
    on_a_node(async |node| {
        let (desk, _) = desk(&node);
        tokio::select! {
            biased;
            _ = desk.ask(Sticky) => panic!("it never ends"),
            () = settle() => {}
        }
        pause(1_000).await;
        assert_eq!(desk.ask(Slow(1)).await.expect("answered"), 2, "a fresh one");
        let (asked, ()) = tokio::join!(desk.ask(Sticky), async {
            settle().await;
            desk.kill();
        });
        assert_eq!(unknown(asked), UnknownReason::Panicked);
        // The panic is why it ended, as with any other value of an actor's that panics when it is dropped.
        assert!(matches!(ended(&desk).await, ExitReason::Panicked { .. }));
    });
}

#[test]
fn an_async_message_takes_room_until_it_has_ended() {
    on_a_node(async |node| {
        let (desk, _) = desk_of(&node, 2, Overflow::default());
        desk.tell(Slow(50)).await.expect("room");
        settle().await;
        desk.try_tell(Note(1)).expect("one may wait");
        assert_eq!(desk.try_tell(Note(2)).expect_err("full").reason, RejectReason::Full);
        pause(60).await;
        for n in 0..2 {
            desk.try_tell(Note(n)).expect("both may");
        }
    });
}

#[test]
fn async_messages_that_never_wait_leave_others_their_turns() {
    on_a_node(async |node| {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let busy = node.spawn(move |_| Desk { log: Arc::clone(&theirs), handled: 0 }).arbiter(0);
        let busy = busy.start().expect("spawned");
        for _ in 0..1_000 {
            busy.try_tell(Slow(0)).expect("room");
        }
        let theirs = Arc::clone(&log);
        let other = node.spawn(move |_| Desk { log: Arc::clone(&theirs), handled: 0 }).arbiter(0);
        other.start().expect("spawned").tell(Note(1)).await.expect("room");
        pause(10).await;
        let lines = lines(&log);
        let noted = lines.iter().position(|line| line == "note 1").expect("it was handled");
        assert!(noted < 300, "after {noted} lines of the other");
    });
}

#[test]
fn an_async_handler_that_stops_its_actor_ends_first() {
    message!("test.Last", struct Last;, "u32");
    #[derive(RemoteActor)]
    #[remote(name = "test.Leaver", handles(async Last))]
    struct Leaver;
    impl Actor for Leaver {
        type Context = ClusterContext<Self>;
    }
    impl AsyncHandler<Last> for Leaver {
        async fn handle(&mut self, _: Last, ctx: &mut Self::Context) -> u32 {
            ctx.stop();
            ctx.clock().sleep(Duration::from_millis(5)).await;
            7
        }
    }
    on_a_node(async |node| {
        let leaver = node.spawn(|_| Leaver).start().expect("spawned");
        assert_eq!(leaver.ask(Last).await.expect("answered"), 7);
        pause(1).await;
        assert_eq!(leaver.exit_reason(), Some(ExitReason::Stopped));
    });
}

#[test]
fn an_entity_is_not_passivated_while_a_handler_awaits() {
    let log = Log::default();
    let theirs = Arc::clone(&log);
    let mut settings = EntitySettings::default();
    settings.passivate_after = Duration::from_millis(100);
    let make = move |_: &str| Desk { log: Arc::clone(&theirs), handled: 0 };
    let builder = Node::builder().entity_with(settings, make);
    on_a_node_of(builder, async |node| {
        let desk = node.entity::<Desk>("d");
        assert_eq!(desk.ask(Slow(1_000)).await.expect("answered"), 2);
        pause(1_000).await;
        assert_eq!(node.entity_count(), 0);
        let visits = desk.ask(Visit(1, 1_000)).await.expect("answered");
        assert_eq!(visits, 2);
        pause(1_000).await;
        let over = ["slow begins", "slow ends", "stopped", "visit 1 begins", "visit 1 ends"];
        assert_eq!(lines(&log)[..5], over);
        assert_eq!(node.entity_count(), 0);
    });
}
