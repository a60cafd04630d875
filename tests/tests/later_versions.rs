//! Answers that come later or from elsewhere, between programs that differ by a version of their
//! messages: each asker is answered in the version that it asked.

use std::time::Duration;

use actix_cluster::{
    NodeBuilder, RejectReason, UnknownReason,
    message::{decode, encode},
    prelude::*,
};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};

type Log = Shared<Vec<String>>;

fn note(log: &Log, what: &str) {
    log.lock().expect("a log").push(what.to_owned());
}

fn count(log: &Log, what: &str) -> usize {
    log.lock().expect("a log").iter().filter(|line| *line == what).count()
}

/// The program before the change.
mod old {
    use actix_cluster::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::{Log, note};

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "Result<u32, String>")]
    #[remote(name = "test.Price", version = 1)]
    pub(super) struct Price(pub(super) u32);

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "Result<u32, String>")]
    #[remote(name = "test.Appraise", version = 1)]
    pub(super) struct Appraise(pub(super) u32);

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "()")]
    #[remote(name = "test.Take", version = 1)]
    pub(super) struct Take(pub(super) Responder<Price>);

    #[derive(RemoteActor)]
    #[remote(name = "test.Desk", handles(Price, Take))]
    pub(super) struct Desk;

    #[derive(RemoteActor)]
    #[remote(name = "test.Clerk", handles(Price))]
    pub(super) struct Clerk;

    #[derive(RemoteActor)]
    #[remote(name = "test.Usher", handles(Price))]
    pub(super) struct Usher;

    #[derive(RemoteActor)]
    #[remote(
        name = "test.Appraiser",
        handles(Appraise),
        placement = Eventual,
        state = volatile
    )]
    pub(super) struct Appraiser(pub(super) Log);

    macro_rules! actor {
        ($($actor:ty),*) => {
            $(impl Actor for $actor {
                type Context = ClusterContext<Self>;
            }

            impl Handler<Price> for $actor {
                type Result = Result<u32, String>;
                fn handle(&mut self, Price(of): Price, _: &mut Self::Context) -> Self::Result {
                    Ok(of)
                }
            })*
        };
    }

    actor!(Desk, Clerk, Usher);

    impl Actor for Appraiser {
        type Context = ClusterContext<Self>;
    }

    impl Handler<Take> for Desk {
        type Result = ();
        fn handle(&mut self, _: Take, _: &mut Self::Context) {
            panic!("it can't be read");
        }
    }

    impl Handler<Appraise> for Appraiser {
        type Result = Result<u32, String>;
        fn handle(&mut self, Appraise(of): Appraise, _: &mut Self::Context) -> Self::Result {
            note(&self.0, "old appraisal");
            if of == 13 { Err("unlucky".to_owned()) } else { Ok(of + 1) }
        }
    }
}

/// The program after it.
mod new {
    use std::{future::pending, sync::Arc};

    use actix_cluster::{NewerReply, OlderReply, RejectReason, prelude::*};
    use serde::{Deserialize, Serialize};

    use super::{Log, note};

    #[derive(Serialize, Deserialize, Debug, PartialEq, Eq, Clone)]
    pub(super) enum Refused {
        Unlucky,
        Other(String),
    }

    pub(super) type Worth = Result<i64, Refused>;

    macro_rules! versions {
        ($name:literal, $old:ident, $new:ident) => {
            #[derive(Message, RemoteMessage, Serialize, Deserialize)]
            #[rtype(result = "Result<u32, String>")]
            #[remote(name = $name, version = 1)]
            pub(super) struct $old(u32);

            #[derive(Message, RemoteMessage, Serialize, Deserialize)]
            #[rtype(result = "Result<i64, Refused>")]
            #[remote(name = $name, version = 2, older($old, send, reply))]
            pub(super) struct $new(pub(super) i64);

            impl From<$old> for $new {
                fn from($old(of): $old) -> Self {
                    Self(of.into())
                }
            }

            impl TryFrom<&$new> for $old {
                type Error = std::num::TryFromIntError;
                fn try_from($new(of): &$new) -> Result<Self, Self::Error> {
                    (*of).try_into().map(Self)
                }
            }

            impl OlderReply<$old> for $new {
                fn older_reply(worth: Worth) -> Result<u32, String> {
                    worth.map(|it| it as u32).map_err(|refused| format!("{refused:?}"))
                }
            }

            impl NewerReply<$old> for $new {
                fn newer_reply(worth: Result<u32, String>) -> Worth {
                    worth.map(i64::from).map_err(|error| match error.as_str() {
                        "unlucky" => Refused::Unlucky,
                        _ => Refused::Other(error),
                    })
                }
            }
        };
    }

    versions!("test.Price", PriceV1, Price);
    versions!("test.Appraise", AppraiseV1, Appraise);

    /// What becomes of the next prices that are asked.
    #[derive(Message, RemoteMessage, Serialize, Deserialize, Clone)]
    #[rtype(result = "()")]
    #[remote(name = "test.Answer", version = 1)]
    pub(super) enum Answer {
        Itself,
        By(ActorRef<Appraiser>),
        From(ActorRef<Desk>),
    }

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "()")]
    #[remote(name = "test.Take", version = 1)]
    pub(super) struct Take(pub(super) Responder<Price>);

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "bool")]
    #[remote(name = "test.Give", version = 1)]
    pub(super) struct Give(pub(super) ActorRef<Desk>, pub(super) bool);

    /// Answers all that is kept.
    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "()")]
    #[remote(name = "test.Sell", version = 1)]
    pub(super) struct Sell(pub(super) Worth);

    #[derive(RemoteActor)]
    #[remote(
        name = "test.Desk",
        handles(responder Price, Answer, Take, Sell, reentrant Give)
    )]
    pub(super) struct Desk {
        pub(super) log: Log,
        pub(super) answer: Answer,
        pub(super) kept: Vec<Responder<Price>>,
    }

    #[derive(RemoteActor)]
    #[remote(name = "test.Clerk", handles(async Price))]
    pub(super) struct Clerk;

    #[derive(RemoteActor)]
    #[remote(name = "test.Usher", handles(reentrant Price))]
    pub(super) struct Usher;

    #[derive(RemoteActor)]
    #[remote(
        name = "test.Appraiser",
        handles(async Appraise),
        placement = Eventual,
        state = volatile
    )]
    pub(super) struct Appraiser(pub(super) Log);

    macro_rules! actor {
        ($($actor:ty),*) => {
            $(impl Actor for $actor {
                type Context = ClusterContext<Self>;
            })*
        };
    }

    actor!(Desk, Clerk, Usher, Appraiser);

    fn worth(of: i64) -> Worth {
        if of == 13 { Err(Refused::Unlucky) } else { Ok(of + 1) }
    }

    impl AsyncHandler<Price> for Clerk {
        async fn handle(&mut self, Price(of): Price, _: &mut Self::Context) -> Worth {
            tokio::task::yield_now().await;
            worth(of)
        }
    }

    impl ReentrantHandler<Price> for Usher {
        async fn handle(_: This<Self>, Price(of): Price) -> Worth {
            tokio::task::yield_now().await;
            worth(of)
        }
    }

    /// One of 99 takes for ever.
    impl AsyncHandler<Appraise> for Appraiser {
        async fn handle(&mut self, Appraise(of): Appraise, _: &mut Self::Context) -> Worth {
            note(&self.0, "new appraisal");
            if of == 99 {
                let _dropped = Dropped(Arc::clone(&self.0));
                pending::<()>().await;
            }
            worth(of)
        }
    }

    struct Dropped(Log);

    impl Drop for Dropped {
        fn drop(&mut self) {
            note(&self.0, "dropped");
        }
    }

    impl RespondingHandler<Price> for Desk {
        fn handle(&mut self, Price(of): Price, responder: Responder<Price>, _: &mut Self::Context) {
            note(&self.log, "price");
            match &self.answer {
                Answer::Itself => self.kept.push(responder),
                Answer::By(appraiser) => {
                    // Nobody has it for a moment while it moves.
                    if let Err(unsent) = responder.try_forward(appraiser, Appraise(of)) {
                        assert_eq!(unsent.reason, RejectReason::Unreachable);
                        unsent.responder.reply(worth(of));
                    }
                }
                Answer::From(desk) => desk.try_tell(Take(responder)).expect("it is sent"),
            }
        }
    }

    impl Handler<Answer> for Desk {
        type Result = ();
        fn handle(&mut self, answer: Answer, _: &mut Self::Context) {
            self.answer = answer;
        }
    }

    impl Handler<Take> for Desk {
        type Result = ();
        fn handle(&mut self, Take(responder): Take, _: &mut Self::Context) {
            note(&self.log, "taken");
            self.kept.push(responder);
        }
    }

    impl Handler<Sell> for Desk {
        type Result = ();
        fn handle(&mut self, Sell(worth): Sell, _: &mut Self::Context) {
            self.kept.drain(..).for_each(|it| it.reply(worth.clone()));
        }
    }

    impl ReentrantHandler<Give> for Desk {
        async fn handle(this: This<Self>, Give(to, asks): Give) -> bool {
            let kept = this.with(|desk, _| desk.kept.pop()).expect("one is kept");
            let back = match asks {
                true => to.ask(Take(kept)).await.err().and_then(AskError::into_message),
                false => to.tell(Take(kept)).await.err().map(TellError::into_message),
            };
            let is_given = back.is_none();
            this.with(|desk, _| desk.kept.extend(back.map(|Take(responder)| responder)));
            is_given
        }
    }
}

/// Both programs, by how they build a node.
fn programs(
    log: &Log,
) -> (impl Fn(NodeBuilder) -> NodeBuilder + use<>, impl Fn(NodeBuilder) -> NodeBuilder + use<>) {
    let (of_old, of_new) = (log.clone(), log.clone());
    let old = move |builder: NodeBuilder| {
        let log = of_old.clone();
        let builder = builder.actor::<old::Desk>().actor::<old::Clerk>().actor::<old::Usher>();
        builder.entity(move |_| old::Appraiser(log.clone()))
    };
    let new = move |builder: NodeBuilder| {
        let log = of_new.clone();
        let builder = builder.actor::<new::Desk>().actor::<new::Clerk>().actor::<new::Usher>();
        builder.entity(move |_| new::Appraiser(log.clone()))
    };
    (old, new)
}

/// Node 1 runs the old program, nodes 2 and 3 the new one.
struct Auction {
    nodes: Vec<SimulatedNode>,
    log: Log,
    desks: [ActorRef<new::Desk>; 2],
    appraisers: [ActorRef<new::Appraiser>; 2],
    old_appraiser: ActorRef<old::Appraiser>,
    old_desk: ActorRef<old::Desk>,
}

impl Auction {
    async fn open(world: &World) -> Self {
        let log = Log::default();
        let (old, new) = programs(&log);
        let nodes =
            vec![world.start(1, old).await, world.start(2, &new).await, world.start(3, &new).await];
        for node in &nodes {
            node.sees(3).await;
        }
        let (at, to) = (&nodes[0].node, log.clone());
        let old_appraiser = at.spawn(move |_| old::Appraiser(to.clone())).start().expect("spawned");
        let old_desk = at.spawn(|_| old::Desk).start().expect("spawned");
        let start = |at: usize| {
            let (node, to) = (&nodes[at].node, log.clone());
            let desk = node.spawn(move |_| new::Desk {
                log: to.clone(),
                answer: new::Answer::Itself,
                kept: Vec::new(),
            });
            let to = log.clone();
            let appraiser = node.spawn(move |_| new::Appraiser(to.clone()));
            (desk.start().expect("spawned"), appraiser.start().expect("spawned"))
        };
        let ((second, by), (third, other)) = (start(1), start(2));
        let (desks, appraisers) = ([second, third], [by, other]);
        Self { nodes, log, desks, appraisers, old_appraiser, old_desk }
    }

    /// An actor, as the program of the node at this place knows it.
    fn known<A: RemoteActor, B: RemoteActor>(&self, at: usize, actor: &ActorRef<A>) -> ActorRef<B> {
        let bytes = encode(actor, Vec::new()).expect("a reference");
        self.nodes[at].node.scope(|| decode(&bytes)).expect("a reference")
    }

    /// The second node's desk, as the old program knows it.
    fn seen_by_old(&self) -> ActorRef<old::Desk> {
        self.known(0, &self.desks[0])
    }

    async fn answers(&self, answer: new::Answer) {
        self.desks[0].ask(answer).await.expect("answered");
    }
}

fn unknown<M: RemoteMessage>(outcome: Result<M::Reply, AskError<M>>) -> UnknownReason {
    match outcome {
        Err(AskError::Unknown(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was answered"),
    }
}

/// What an old asker of 7 and 13 is answered.
async fn asks<A: RemoteActor>(actor: &ActorRef<A>, case: &str)
where
    old::Price: actix_cluster::HandledBy<A>,
{
    let priced = actor.ask(old::Price(7)).await;
    assert_eq!(priced.unwrap_or_else(|error| panic!("{case}: {error}")), 8, "{case}");
    match actor.ask(old::Price(13)).await {
        Err(AskError::Handler(error)) => assert_eq!(error, "Unlucky", "{case}"),
        other => panic!("{case}: {other:?}"),
    }
}

#[test]
fn handlers_that_await_answer_an_older_version() {
    simulate(async {
        let auction = Auction::open(&World::new(1)).await;
        let node = &auction.nodes[1].node;
        let clerk = node.spawn(|_| new::Clerk).start().expect("spawned");
        let usher = node.spawn(|_| new::Usher).start().expect("spawned");
        asks::<old::Clerk>(&auction.known(0, &clerk), "async").await;
        asks::<old::Usher>(&auction.known(0, &usher), "reentrant").await;
    });
}

#[test]
fn a_responder_answers_an_older_version_wherever_it_is() {
    simulate(async {
        let auction = Auction::open(&World::new(2)).await;
        let desk = auction.seen_by_old();
        let third: ActorRef<new::Desk> = auction.known(1, &auction.desks[1]);
        for (answer, holder) in [(new::Answer::Itself, 0), (new::Answer::From(third), 1)] {
            auction.answers(answer).await;
            for (worth, expected) in [(Ok(8), Ok(8)), (Err(new::Refused::Unlucky), Err("Unlucky"))]
            {
                auction.log.lock().expect("a log").clear();
                let (priced, ()) = tokio::join!(desk.ask(old::Price(7)), async {
                    let kept = if holder == 0 { "price" } else { "taken" };
                    until(kept, || count(&auction.log, kept) == 1).await;
                    auction.desks[holder].ask(new::Sell(worth)).await.expect("answered");
                });
                match (priced, expected) {
                    (Ok(priced), Ok(expected)) => assert_eq!(priced, expected),
                    (Err(AskError::Handler(error)), Err(expected)) => assert_eq!(error, expected),
                    (other, _) => panic!("{other:?}"),
                }
            }
        }
    });
}

#[test]
fn a_forwarded_ask_is_answered_in_the_version_that_was_asked() {
    simulate(async {
        let auction = Auction::open(&World::new(3)).await;
        let desk = auction.seen_by_old();
        for (at, of) in [(1, 0), (1, 1)] {
            let by = auction.known(at, &auction.appraisers[of]);
            auction.answers(new::Answer::By(by)).await;
            asks(&desk, &format!("by the new appraiser {of}")).await;
        }
        // Back to the old program, which answers in its own version.
        auction.answers(new::Answer::By(auction.known(1, &auction.old_appraiser))).await;
        assert_eq!(desk.ask(old::Price(7)).await.expect("answered"), 8);
        assert_eq!(count(&auction.log, "old appraisal"), 1);
    });
}

#[test]
fn a_forwarded_ask_may_be_answered_by_an_older_version() {
    simulate(async {
        let auction = Auction::open(&World::new(4)).await;
        auction.answers(new::Answer::By(auction.known(1, &auction.old_appraiser))).await;
        // Asked at the same node, and at another.
        for desk in [auction.desks[0].clone(), auction.known(2, &auction.desks[0])] {
            assert_eq!(desk.ask(new::Price(7)).await.expect("answered"), 8);
            match desk.ask(new::Price(13)).await {
                Err(AskError::Handler(error)) => assert_eq!(error, new::Refused::Unlucky),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(count(&auction.log, "old appraisal"), 4);
    });
}

#[test]
fn an_answer_that_passes_through_a_node_is_cancelled_and_ends_as_any_other() {
    simulate(async {
        let mut auction = Auction::open(&World::new(5)).await;
        let desk = auction.seen_by_old();
        auction.answers(new::Answer::By(auction.known(1, &auction.appraisers[1]))).await;
        let late = desk.ask(old::Price(99)).within(Duration::from_millis(500)).await;
        assert_eq!(unknown(late), UnknownReason::Deadline);
        until("its cancel has come there", || count(&auction.log, "dropped") == 1).await;
        asks(&desk, "the appraiser goes on").await;
        auction.log.lock().expect("a log").clear();
        let gone = auction.nodes.pop().expect("the third node");
        let (asked, ()) =
            tokio::join!(desk.ask(old::Price(99)).within(Duration::from_secs(300)), async {
                until("it is there", || count(&auction.log, "new appraisal") == 1).await;
                pause(50).await;
                gone.kill().await;
            });
        assert_eq!(unknown(asked), UnknownReason::NodeDown);
    });
}

#[test]
fn a_responder_for_a_version_that_its_receiver_does_not_know_is_turned_away() {
    simulate(async {
        let auction = Auction::open(&World::new(6)).await;
        // Asked in the new version; the old program can't answer that.
        let desk = auction.known::<_, new::Desk>(2, &auction.desks[0]);
        let old_desk: ActorRef<new::Desk> = auction.known(1, &auction.old_desk);
        let (priced, ()) = tokio::join!(desk.ask(new::Price(7)), async {
            until("it is kept", || count(&auction.log, "price") == 1).await;
            let given = auction.desks[0].ask(new::Give(old_desk.clone(), true)).await;
            assert!(!given.expect("answered"), "it comes back");
            auction.desks[0].ask(new::Sell(Ok(8))).await.expect("answered");
        });
        assert_eq!(priced.expect("it still answers"), 8);
        let (priced, ()) = tokio::join!(desk.ask(new::Price(7)), async {
            until("it is kept", || count(&auction.log, "price") == 2).await;
            let given = auction.desks[0].ask(new::Give(old_desk, false)).await;
            assert!(given.expect("answered"));
        });
        assert_eq!(unknown(priced), UnknownReason::NoReply);
        let dead = auction.nodes[1].node.dead_letters();
        until("it is counted", || dead.rejected(RejectReason::Mismatch) == 1).await;
    });
}

#[test]
fn what_was_forwarded_is_not_restated_for_an_older_node_that_owns_its_target_now() {
    simulate(async {
        let (world, log) = (World::new(7), Log::default());
        let (old, new) = programs(&log);
        let nodes = [world.start(1, &new).await, world.start(2, &new).await];
        nodes[0].sees(2).await;
        let theirs = log.clone();
        let desk = nodes[1].node.spawn(move |_| new::Desk {
            log: theirs.clone(),
            answer: new::Answer::Itself,
            kept: Vec::new(),
        });
        let desk = desk.start().expect("spawned");
        let mut asks = tokio::task::JoinSet::new();
        for n in 0..60 {
            let to = nodes[1].node.entity::<new::Appraiser>(&format!("appraiser-{n}"));
            // It has no time for the next one.
            to.tell(new::Appraise(99)).await.expect("room");
            desk.ask(new::Answer::By(to)).await.expect("answered");
            asks.spawn_local(desk.ask(new::Price(7)).within(Duration::from_secs(8)));
        }
        let _third = world.start(3, &old).await;
        let mut unanswered = 0;
        for ended in asks.join_all().await {
            match ended {
                Err(AskError::Unknown(UnknownReason::NoReply)) => unanswered += 1,
                Err(AskError::Unknown(UnknownReason::Deadline)) => {}
                ended => panic!("{ended:?}"),
            }
        }
        assert!((5..40).contains(&unanswered), "{unanswered} came back while targets moved");
    });
}
