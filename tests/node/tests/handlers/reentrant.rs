//! Handlers that let others pass while they await.

use super::*;

#[test]
fn other_messages_are_handled_while_a_reentrant_one_awaits() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let (first, second, noted) =
            tokio::join!(desk.ask(Visit(1, 20)), desk.ask(Visit(2, 10)), desk.tell(Note(3)));
        noted.expect("room");
        assert_eq!((second.expect("answered"), first.expect("answered")), (4, 5));
        let lines = lines(&log);
        let order: Vec<_> = lines.iter().filter(|line| *line != "a visit is over").collect();
        let begins = ["visit 1 begins", "visit 2 begins", "note 3"];
        assert_eq!(order, [&begins[..], &["visit 2 ends", "visit 1 ends"]].concat());
    });
}

#[test]
fn actors_that_ask_each_other_in_turn_do_not_wait_for_ever() {
    on_a_node(async |node| {
        let ((one, _), (other, _)) = (desk(&node), desk(&node));
        assert_eq!(one.ask(Round(other, 5)).await.expect("answered"), 5);
        let (alone, _) = desk(&node);
        assert_eq!(alone.ask(Round(alone.clone(), 3)).await.expect("answered"), 3);
    });
}

#[test]
fn a_reentrant_handler_whose_asker_has_gone_is_dropped_at_its_await() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let asked = desk.ask(Visit(1, 1_000)).within(Duration::from_millis(5)).await;
        assert_eq!(unknown(asked), UnknownReason::Deadline);
        settle().await;
        assert_eq!(lines(&log), ["visit 1 begins", "a visit is over"]);
    });
}

#[test]
fn a_panic_ends_all_reentrant_handlers_of_its_instance() {
    on_a_node(async |node| {
        let (desk, log) = desk(&node);
        let (visit, fall) = tokio::join!(desk.ask(Visit(1, 1_000)), desk.ask(Fall));
        assert_eq!(unknown(visit), UnknownReason::Panicked);
        assert_eq!(unknown(fall), UnknownReason::Panicked);
        assert_eq!(desk.ask(Visit(2, 1)).await.expect("answered"), 2, "a fresh one");
        assert_eq!(lines(&log)[..2], ["visit 1 begins", "a visit is over"]);
    });
}

#[test]
fn an_actor_is_reached_from_its_own_handler_only_and_once_at_a_time() {
    on_a_node(async |node| {
        for inside in [true, false] {
            let (desk, _) = desk(&node);
            let asked = desk.ask(Careless(inside)).await;
            assert_eq!(asked.is_err(), inside, "the other one panics after it has ended");
            pause(1_000).await;
            assert_eq!(desk.ask(Slow(1)).await.expect("answered"), 2, "a fresh one");
        }
    });
}

#[test]
fn stop_and_kill_end_reentrant_handlers() {
    on_a_node(async |node| {
        let (stopped, log) = desk(&node);
        let (asked, ()) = tokio::join!(stopped.ask(Visit(1, 1_000)), async {
            settle().await;
            stopped.stop();
        });
        assert_eq!(unknown(asked), UnknownReason::NoReply);
        assert_eq!(lines(&log), ["visit 1 begins", "stopped", "a visit is over"]);
        let (killed, log) = desk(&node);
        let (asked, ()) = tokio::join!(killed.ask(Visit(1, 1_000)), async {
            settle().await;
            killed.kill();
        });
        assert_eq!(unknown(asked), UnknownReason::NoReply);
        assert_eq!(lines(&log), ["visit 1 begins", "a visit is over"]);
    });
}

#[test]
fn as_many_reentrant_messages_await_as_the_mailbox_holds() {
    on_a_node(async |node| {
        let (desk, log) = desk_of(&node, 3, Overflow::default());
        for n in 0..3 {
            desk.try_tell(Visit(n, 50)).expect("room");
            settle().await;
        }
        assert_eq!(lines(&log).len(), 3, "all have begun");
        assert_eq!(desk.try_tell(Note(1)).expect_err("full").reason, RejectReason::Full);
        let waits = desk.tell(Note(2));
        waits.await.expect("there is room once one has ended");
        pause(1).await;
        desk.try_tell(Note(3)).expect("room");
        settle().await;
        // Restarted with some of them awaiting, it has the whole of its room again.
        desk.try_tell(Visit(4, 50)).expect("room");
        desk.try_tell(Fall).expect("room");
        pause(1_000).await;
        for n in 0..3 {
            desk.try_tell(Visit(n, 50)).expect("room");
        }
    });
}

#[test]
fn a_mailbox_that_drops_the_oldest_bounds_reentrant_messages_too() {
    on_a_node(async |node| {
        let (desk, log) = desk_of(&node, 2, Overflow::DropOldest);
        for n in 0..4 {
            desk.try_tell(Visit(n, 50)).expect("it always has room");
            settle().await;
        }
        assert_eq!(lines(&log), ["visit 0 begins", "visit 1 begins"]);
        desk.try_tell(Note(1)).expect("it displaces one that waits");
        pause(60).await;
        let lines = lines(&log);
        assert!(lines.contains(&"visit 3 begins".to_owned()), "{lines:?}");
        assert!(lines.contains(&"note 1".to_owned()), "{lines:?}");
        assert!(!lines.contains(&"visit 2 begins".to_owned()), "{lines:?}");
        desk.stop();
        assert_eq!(ended(&desk).await, ExitReason::Stopped);
    });
}
