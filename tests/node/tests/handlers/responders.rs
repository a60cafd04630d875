//! Answers that are given later, or by somebody else.

use super::*;

message!("test.Bid", struct Bid(u32);, "Result<u32, String>");
message!("test.Lot", struct Lot(u32);, "Result<u32, String>");
message!("test.Sell", struct Sell(Option<u32>);, "usize");
message!("test.Give", struct Give(ActorRef<Clerk>);, "()");
message!("test.Take", struct Take(Vec<Responder<Bid>>);, "()");
message!("test.Pass", struct Pass(ActorRef<Clerk>, u32);, "Result<u32, String>");
message!("test.Later", struct Later(u32);, "Result<u32, String>");

/// Keeps responders until it is told what to do with them.
#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Clerk",
    handles(responder Bid, Sell, Give, Take, responder Pass, Lot, async Later)
)]
struct Clerk {
    kept: Vec<Responder<Bid>>,
}

impl Actor for Clerk {
    type Context = ClusterContext<Self>;
}

impl RespondingHandler<Bid> for Clerk {
    fn handle(&mut self, Bid(n): Bid, responder: Responder<Bid>, _: &mut Self::Context) {
        match n {
            0 => responder.reply(Ok(0)),
            13 => panic!("a responding handler panics on purpose"),
            _ => self.kept.push(responder),
        }
    }
}

impl Handler<Sell> for Clerk {
    type Result = usize;
    fn handle(&mut self, Sell(price): Sell, _: &mut Self::Context) -> usize {
        let cancelled = self.kept.iter().filter(|it| it.is_cancelled()).count();
        for responder in self.kept.drain(..) {
            match price {
                Some(13) => responder.fail("unlucky".to_owned()),
                Some(price) => responder.reply(Ok(price)),
                None => drop(responder),
            }
        }
        cancelled
    }
}

impl Handler<Give> for Clerk {
    type Result = ();
    fn handle(&mut self, Give(to): Give, _: &mut Self::Context) {
        to.try_tell(Take(std::mem::take(&mut self.kept))).expect("room");
    }
}

impl Handler<Take> for Clerk {
    type Result = ();
    fn handle(&mut self, Take(responders): Take, _: &mut Self::Context) {
        self.kept.extend(responders);
    }
}

impl RespondingHandler<Pass> for Clerk {
    fn handle(&mut self, Pass(to, n): Pass, responder: Responder<Pass>, _: &mut Self::Context) {
        let passed = match n % 3 {
            0 => responder.try_forward(&to, Lot(n)).map_err(|error| error.responder),
            1 => responder.try_forward(&to, Later(n)).map_err(|error| error.responder),
            _ => responder.try_forward(&to, Bid(n)).map_err(|error| error.responder),
        };
        if let Err(responder) = passed {
            responder.fail("nobody takes it".to_owned());
        }
    }
}

impl Handler<Lot> for Clerk {
    type Result = Result<u32, String>;
    fn handle(&mut self, Lot(n): Lot, _: &mut Self::Context) -> Self::Result {
        assert!(n != 33, "the one it was forwarded to panics on purpose");
        Ok(n + 1)
    }
}

impl AsyncHandler<Later> for Clerk {
    async fn handle(&mut self, Later(n): Later, ctx: &mut Self::Context) -> Result<u32, String> {
        ctx.clock().sleep(Duration::from_millis(10)).await;
        Ok(n + 2)
    }
}

fn clerk(node: &Node) -> ActorRef<Clerk> {
    node.spawn(|_| Clerk::default()).start().expect("spawned")
}

#[test]
fn an_ask_is_answered_now_or_later_or_with_an_error() {
    on_a_node(async |node| {
        let clerk = clerk(&node);
        assert_eq!(clerk.ask(Bid(0)).await.expect("answered"), 0);
        for (price, expected) in [(7, Ok(7)), (13, Err("unlucky"))] {
            let (bid, cancelled) = tokio::join!(clerk.ask(Bid(1)), async {
                pause(10).await;
                clerk.ask(Sell(Some(price))).await
            });
            assert_eq!(cancelled.expect("answered"), 0);
            match (bid, expected) {
                (Ok(bid), Ok(expected)) => assert_eq!(bid, expected),
                (Err(AskError::Handler(error)), Err(expected)) => assert_eq!(error, expected),
                (other, _) => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_responder_that_is_dropped_ends_its_ask_without_a_reply() {
    on_a_node(async |node| {
        let clerk = clerk(&node);
        let (bid, _) = tokio::join!(clerk.ask(Bid(1)), clerk.ask(Sell(None)));
        assert_eq!(unknown(bid), UnknownReason::NoReply);
        let (bid, ()) = tokio::join!(clerk.ask(Bid(1)), async {
            settle().await;
            clerk.stop();
        });
        assert_eq!(unknown(bid), UnknownReason::NoReply);
    });
}

#[test]
fn a_responding_handler_that_panics_ends_its_ask_unknown() {
    on_a_node(async |node| {
        let clerk = clerk(&node);
        assert_eq!(unknown(clerk.ask(Bid(13)).await), UnknownReason::Panicked);
        clerk.tell(Bid(13)).await.expect("room");
        pause(1_000).await;
        assert_eq!(node.dead_letters().unknown(UnknownReason::Panicked), 1);
        clerk.tell(Bid(1)).await.expect("room");
        assert_eq!(clerk.ask(Sell(None)).await.expect("answered"), 1, "nobody awaits a tell");
        assert_eq!(node.dead_letters().total(), 1, "and it was handled");
    });
}

#[test]
fn a_responder_knows_that_its_asker_has_gone() {
    on_a_node(async |node| {
        let clerk = clerk(&node);
        let bid = clerk.ask(Bid(1)).within(Duration::from_millis(10)).await;
        assert_eq!(unknown(bid), UnknownReason::Deadline);
        assert_eq!(clerk.ask(Sell(Some(1))).await.expect("answered"), 1);
    });
}

#[test]
fn another_actor_may_answer() {
    on_a_node(async |node| {
        let (clerk, other) = (clerk(&node), clerk(&node));
        let (bid, ()) = tokio::join!(clerk.ask(Bid(1)), async {
            settle().await;
            clerk.ask(Give(other.clone())).await.expect("answered");
            clerk.stop();
            settle().await;
            other.ask(Sell(Some(9))).await.expect("answered");
        });
        assert_eq!(bid.expect("answered"), 9);
    });
}

#[test]
fn a_forwarded_ask_is_answered_by_another_actor() {
    on_a_node(async |node| {
        let (clerk, other) = (clerk(&node), clerk(&node));
        assert_eq!(clerk.ask(Pass(other.clone(), 3)).await.expect("answered"), 4);
        assert_eq!(clerk.ask(Pass(other.clone(), 4)).await.expect("answered"), 6);
        let (passed, _) = tokio::join!(clerk.ask(Pass(other.clone(), 5)), async {
            pause(10).await;
            other.ask(Sell(Some(9))).await
        });
        assert_eq!(passed.expect("answered"), 9);
        // The one who forwarded it may be gone by then.
        let (passed, ()) = tokio::join!(clerk.ask(Pass(other.clone(), 4)), async {
            settle().await;
            clerk.kill();
        });
        assert_eq!(passed.expect("answered"), 6);
    });
}

#[test]
fn a_forwarded_ask_ends_once_however_its_target_ends() {
    on_a_node(async |node| {
        let (first, other) = (clerk(&node), clerk(&node));
        let passed = first.ask(Pass(other.clone(), 33)).await;
        assert_eq!(unknown(passed), UnknownReason::Panicked);
        pause(1_000).await;
        let (passed, ()) = tokio::join!(first.ask(Pass(other.clone(), 4)), async {
            settle().await;
            other.kill();
        });
        assert_eq!(unknown(passed), UnknownReason::NoReply);
        // It is rejected at once by the one that is gone, and its message and responder given back.
        match first.ask(Pass(other.clone(), 3)).await {
            Err(AskError::Handler(error)) => assert_eq!(error, "nobody takes it"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_forwarded_message_that_waits_is_not_run_once_its_asker_has_gone() {
    on_a_node(async |node| {
        let (clerk, other) = (clerk(&node), clerk(&node));
        let (held, passed) = tokio::join!(
            other.ask(Later(1)),
            clerk.ask(Pass(other.clone(), 33)).within(Duration::from_millis(5)),
        );
        held.expect("answered");
        assert_eq!(unknown(passed), UnknownReason::Deadline);
        pause(10).await;
        assert_eq!(node.dead_letters().rejected(RejectReason::Cancelled), 1);
        assert_eq!(node.dead_letters().unknown(UnknownReason::Panicked), 0, "it did not run");
    });
}

#[test]
fn a_responder_is_written_inside_of_a_message_to_another_node_only() {
    on_a_node(async |node| {
        #[derive(RemoteActor)]
        #[remote(name = "test.Writer", handles(responder Bid))]
        struct Writer;
        impl Actor for Writer {
            type Context = ClusterContext<Self>;
        }
        impl RespondingHandler<Bid> for Writer {
            fn handle(&mut self, _: Bid, responder: Responder<Bid>, _: &mut Self::Context) {
                let written = actix_cluster::message::encode(&responder, Vec::new());
                responder.reply(Ok(u32::from(written.is_ok())));
            }
        }
        let writer = node.spawn(|_| Writer).start().expect("spawned");
        assert_eq!(writer.ask(Bid(1)).await.expect("answered"), 0);
    });
}
