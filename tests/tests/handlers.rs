//! Handlers that await, and answers that come later or from elsewhere, between nodes.

use std::{future::pending, sync::Arc, time::Duration};

use actix_cluster::{
    NodeBuilder, RejectReason, UnknownReason,
    message::{decode, encode},
    prelude::*,
};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
use serde::{Deserialize, Serialize, Serializer};

macro_rules! message {
    ($name:literal, $message:item, $result:literal) => {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = $result)]
        #[remote(name = $name, version = 1)]
        $message
    };
}

message!("test.Note", struct Note(u32);, "usize");
message!("test.Slow", struct Slow(u64);, "u32");
message!("test.Forever", struct Forever;, "()");
message!("test.Visit", struct Visit(u64);, "u32");
message!("test.Burst", struct Burst;, "()");
message!("test.Quit", struct Quit;, "()");
// What may be answered later.
message!("test.Bid", struct Bid(u32);, "Result<u32, String>");
message!("test.Lot", struct Lot(u32);, "Result<u32, String>");
message!("test.Later", struct Later(u32);, "Result<u32, String>");
// What to do with what is kept: answer with a price, or drop it.
message!("test.Sell", struct Sell(Option<u32>);, "usize");
message!("test.Give", struct Give(ActorRef<Desk>, bool);, "bool");
message!("test.Take", struct Take(Vec<Responder<Bid>>);, "usize");
message!("test.Pass", struct Pass(ActorRef<Desk>, How);, "Result<u32, String>");

// Gives what is kept as one that names its responder twice.
message!("test.Double", struct Double(ActorRef<Desk>);, "u32");

/// Says twice where its responder is to be found.
#[derive(Message, RemoteMessage, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Twice", version = 1)]
struct Twice(Responder<Bid>, Responder<Bid>);

impl Serialize for Twice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, 0u32).serialize(serializer)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum How {
    Plain,
    Async,
    Kept,
}

type Log = Shared<Vec<String>>;

#[derive(RemoteActor, Default)]
#[remote(
    name = "test.Desk",
    handles(
        Note, Quit, async Slow, async Forever, async Burst, reentrant Visit, responder Bid, Lot,
        async Later, Sell, reentrant Give, Take, responder Pass, reentrant Double, Twice
    ),
    placement = Eventual,
    state = volatile
)]
struct Desk {
    log: Log,
    kept: Vec<Responder<Bid>>,
}

impl Actor for Desk {
    type Context = ClusterContext<Self>;
}

struct Dropped(Log);

impl Drop for Dropped {
    fn drop(&mut self) {
        note(&self.0, "dropped");
    }
}

fn note(log: &Log, what: impl Into<String>) {
    log.lock().expect("a log").push(what.into());
}

fn has(log: &Log, what: &str) -> bool {
    log.lock().expect("a log").iter().any(|line| line == what)
}

impl Handler<Note> for Desk {
    type Result = usize;
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) -> usize {
        note(&self.log, format!("note {n}"));
        self.log.lock().expect("a log").len()
    }
}

impl Handler<Quit> for Desk {
    type Result = ();
    fn handle(&mut self, _: Quit, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl AsyncHandler<Slow> for Desk {
    async fn handle(&mut self, Slow(millis): Slow, ctx: &mut Self::Context) -> u32 {
        note(&self.log, "slow begins");
        ctx.clock().sleep(Duration::from_millis(millis)).await;
        note(&self.log, "slow ends");
        7
    }
}

impl AsyncHandler<Forever> for Desk {
    async fn handle(&mut self, _: Forever, _: &mut Self::Context) {
        note(&self.log, "forever begins");
        let _dropped = Dropped(Arc::clone(&self.log));
        pending::<()>().await;
    }
}

impl AsyncHandler<Burst> for Desk {
    async fn handle(&mut self, _: Burst, ctx: &mut Self::Context) {
        ctx.clock().sleep(Duration::from_millis(1)).await;
        panic!("a handler panics on purpose, after an await");
    }
}

impl ReentrantHandler<Visit> for Desk {
    async fn handle(this: This<Self>, Visit(millis): Visit) -> u32 {
        let (log, sleep) = this.with(|desk, ctx| {
            (Arc::clone(&desk.log), ctx.clock().sleep(Duration::from_millis(millis)))
        });
        note(&log, "visit begins");
        let _dropped = Dropped(Arc::clone(&log));
        sleep.await;
        note(&log, "visit ends");
        8
    }
}

impl RespondingHandler<Bid> for Desk {
    fn handle(&mut self, Bid(n): Bid, responder: Responder<Bid>, _: &mut Self::Context) {
        note(&self.log, "bid");
        match n {
            0 => responder.reply(Ok(0)),
            _ => self.kept.push(responder),
        }
    }
}

impl Handler<Lot> for Desk {
    type Result = Result<u32, String>;
    fn handle(&mut self, Lot(n): Lot, _: &mut Self::Context) -> Self::Result {
        if n == 13 { Err("unlucky".to_owned()) } else { Ok(n + 1) }
    }
}

impl AsyncHandler<Later> for Desk {
    async fn handle(&mut self, Later(n): Later, ctx: &mut Self::Context) -> Result<u32, String> {
        ctx.clock().sleep(Duration::from_millis(200)).await;
        Ok(n + 2)
    }
}

/// How many of those that were kept nobody awaits any more.
impl Handler<Sell> for Desk {
    type Result = usize;
    fn handle(&mut self, Sell(price): Sell, _: &mut Self::Context) -> usize {
        let cancelled = self.kept.iter().filter(|it| it.is_cancelled()).count();
        for responder in self.kept.drain(..) {
            if let Some(price) = price {
                responder.reply(Ok(price));
            }
        }
        cancelled
    }
}

/// Gives what is kept to another desk, by an ask or by a tell. What comes back is kept again.
impl ReentrantHandler<Give> for Desk {
    async fn handle(this: This<Self>, Give(to, asks): Give) -> bool {
        let take = Take(this.with(|desk, _| std::mem::take(&mut desk.kept)));
        let given_back = if asks {
            to.ask(take).await.err().and_then(AskError::into_message)
        } else {
            to.tell(take).await.err().map(|error| error.into_message())
        };
        let is_given = given_back.is_none();
        let kept = given_back.map_or_else(Vec::new, |Take(kept)| kept);
        this.with(|desk, _| desk.kept.extend(kept));
        is_given
    }
}

impl Handler<Take> for Desk {
    type Result = usize;
    fn handle(&mut self, Take(responders): Take, _: &mut Self::Context) -> usize {
        self.kept.extend(responders);
        self.kept.len()
    }
}

impl ReentrantHandler<Double> for Desk {
    async fn handle(this: This<Self>, Double(to): Double) -> u32 {
        let twice = this.with(|desk, _| Twice(desk.kept.remove(0), desk.kept.remove(0)));
        match to.ask(twice).await {
            Err(AskError::Rejected { reason, .. }) => reason as u32,
            _ => u32::MAX,
        }
    }
}

impl Handler<Twice> for Desk {
    type Result = ();
    fn handle(&mut self, Twice(first, second): Twice, _: &mut Self::Context) {
        note(&self.log, "twice");
        self.kept.extend([first, second]);
    }
}

impl RespondingHandler<Pass> for Desk {
    fn handle(&mut self, Pass(to, how): Pass, responder: Responder<Pass>, ctx: &mut Self::Context) {
        // A handler that is no async one waits for room in a future of its own.
        match how {
            How::Plain => {
                let forward = responder.forward(&to, Lot(3));
                ctx.spawn(forward.into_actor(self).map(|sent, _, _| drop(sent)));
            }
            How::Async => drop(responder.try_forward(&to, Later(3))),
            How::Kept => drop(responder.try_forward(&to, Bid(3))),
        }
    }
}

/// A world of so many nodes, with one desk on each; the desks write to one log.
struct Office {
    nodes: Vec<SimulatedNode>,
    desks: Vec<ActorRef<Desk>>,
    log: Log,
}

fn build(log: &Log) -> impl Fn(NodeBuilder) -> NodeBuilder + use<> {
    let log = Arc::clone(log);
    move |builder| {
        let log = Arc::clone(&log);
        builder.entity(move |_| Desk { log: Arc::clone(&log), kept: Vec::new() })
    }
}

impl Office {
    async fn open(world: &World, count: u8) -> Self {
        let log = Log::default();
        let mut office = Self { nodes: Vec::new(), desks: Vec::new(), log };
        for host in 1..=count {
            office.nodes.push(world.start(host, build(&office.log)).await);
        }
        for node in &office.nodes {
            node.sees(usize::from(count)).await;
            let log = Arc::clone(&office.log);
            let desk = node.node.spawn(move |_| Desk { log: Arc::clone(&log), kept: Vec::new() });
            office.desks.push(desk.start().expect("spawned"));
        }
        // Every pair of nodes is linked.
        for at in 0..office.nodes.len() {
            for of in 0..office.nodes.len() {
                office.desk(of, at).ask(Sell(None)).await.expect("it answers");
            }
        }
        office
    }

    /// The desk of one node, as another one knows it.
    fn desk(&self, of: usize, at: usize) -> ActorRef<Desk> {
        let bytes = encode(&self.desks[of], Vec::new()).expect("a reference");
        self.nodes[at].node.scope(|| decode(&bytes)).expect("a reference")
    }

    async fn logged(&self, what: &str) {
        until(what, || has(&self.log, what)).await;
    }
}

fn unknown<M: RemoteMessage>(outcome: Result<M::Reply, AskError<M>>) -> UnknownReason {
    match outcome {
        Err(AskError::Unknown(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[test]
fn async_and_reentrant_handlers_answer_other_nodes() {
    simulate(async {
        let office = Office::open(&World::new(1), 2).await;
        let desk = office.desk(1, 0);
        let (slow, count) = tokio::join!(desk.ask(Slow(100)), desk.ask(Note(1)));
        assert_eq!((slow.expect("answered"), count.expect("answered")), (7, 3));
        let (visit, count) = tokio::join!(desk.ask(Visit(100)), desk.ask(Note(2)));
        assert_eq!((visit.expect("answered"), count.expect("answered")), (8, 5));
        let lines = office.log.lock().expect("a log").join(", ");
        let expected = "slow begins, slow ends, note 1, visit begins, note 2, visit ends, dropped";
        assert_eq!(lines, expected);
        assert_eq!(unknown(desk.ask(Burst).await), UnknownReason::Panicked);
        assert_eq!(desk.ask(Slow(1)).await.expect("a fresh one answers"), 7);
        let entity = office.nodes[0].node.entity::<Desk>("somewhere");
        assert_eq!(entity.ask(Slow(1)).await.expect("answered"), 7);
        assert_eq!(entity.ask(Visit(1)).await.expect("answered"), 8);
    });
}

#[test]
fn an_ask_that_is_dropped_before_its_turn_at_another_node_never_runs() {
    simulate(async {
        let office = Office::open(&World::new(2), 2).await;
        let desk = office.desk(1, 0);
        let slow = desk.ask(Slow(500));
        let dropped = async {
            office.logged("slow begins").await;
            for n in 0..3 {
                tokio::select! {
                    biased;
                    _ = desk.ask(Note(n)) => panic!("its turn has not come"),
                    () = pause(20) => {}
                }
            }
            let expired = desk.ask(Note(3)).within(Duration::from_millis(20)).await;
            assert_eq!(unknown(expired), UnknownReason::Deadline);
            pause(50).await;
        };
        let (slow, ()) = tokio::join!(slow, dropped);
        slow.expect("answered");
        desk.ask(Note(9)).await.expect("what follows is handled");
        let lines = office.log.lock().expect("a log").join(", ");
        assert_eq!(lines, "slow begins, slow ends, note 9");
    });
}

#[test]
fn a_handler_at_another_node_is_dropped_at_its_await_when_its_asker_goes() {
    simulate(async {
        let office = Office::open(&World::new(3), 2).await;
        let desk = office.desk(1, 0);
        tokio::select! {
            biased;
            _ = desk.ask(Forever) => panic!("it never ends"),
            () = office.logged("forever begins") => {}
        }
        office.logged("dropped").await;
        office.log.lock().expect("a log").clear();
        let asked = desk.ask(Visit(60_000)).within(Duration::from_millis(100)).await;
        assert_eq!(unknown(asked), UnknownReason::Deadline);
        office.logged("dropped").await;
        assert!(!has(&office.log, "visit ends"));
        assert_eq!(desk.ask(Slow(1)).await.expect("the desk goes on"), 7);
    });
}

#[test]
fn a_cancel_overtakes_no_ask_and_passes_a_full_target() {
    simulate(async {
        let office = Office::open(&World::new(4), 2).await;
        let desk = office.desk(1, 0);
        let slow = desk.ask(Slow(1_000)).within(Duration::from_secs(60));
        let many = async {
            office.logged("slow begins").await;
            let asks: Vec<_> = (0..1_500).map(|n| Box::pin(desk.ask(Note(n)))).collect();
            let mut asks: Vec<_> = asks.into_iter().map(Some).collect();
            let started = std::future::poll_fn(|task| {
                for ask in asks.iter_mut().flatten() {
                    assert!(ask.as_mut().poll(task).is_pending());
                }
                std::task::Poll::Ready(())
            });
            started.await;
            pause(100).await;
            asks.clear();
        };
        let (slow, ()) = tokio::join!(slow, many);
        slow.expect("answered");
        let counted = desk.ask(Note(9_999)).await.expect("answered");
        assert_eq!(counted, 3, "none of the dropped ones has run");
    });
}

#[test]
fn an_ask_is_forwarded_to_any_node_and_answered_from_there() {
    simulate(async {
        let office = Office::open(&World::new(5), 3).await;
        // Asked at the first node: of a desk there, and of one at the second node; each forwards it to a
        // desk of each node.
        for asked in [0, 1] {
            for answers in [0, 1, 2] {
                for (how, expected) in [(How::Plain, 4), (How::Async, 5), (How::Kept, 9)] {
                    let to = office.desk(answers, 0);
                    let pass = office.desk(asked, 0);
                    let pass = pass.ask(Pass(to.clone(), how));
                    let sell = async {
                        if matches!(how, How::Kept) {
                            office.logged("bid").await;
                            to.ask(Sell(Some(9))).await.expect("answered");
                        }
                    };
                    let (passed, ()) = tokio::join!(pass, sell);
                    let case = format!("{asked} to {answers}");
                    assert_eq!(passed.unwrap_or_else(|error| panic!("{case}: {error}")), expected);
                    office.log.lock().expect("a log").clear();
                }
            }
        }
        for node in &office.nodes {
            assert_eq!(node.node.dead_letters().total(), 0);
        }
    });
}

#[test]
fn a_forwarded_ask_does_not_need_who_forwarded_it() {
    simulate(async {
        let mut office = Office::open(&World::new(6), 3).await;
        let (middle, last) = (office.desk(1, 0), office.desk(2, 0));
        let gone = office.nodes.remove(1);
        let (passed, ()) = tokio::join!(middle.ask(Pass(last.clone(), How::Kept)), async {
            office.logged("bid").await;
            pause(100).await;
            gone.kill().await;
            office.nodes[0].sees(2).await;
            last.ask(Sell(Some(9))).await.expect("answered");
        });
        assert_eq!(passed.expect("answered straight"), 9);
    });
}

#[test]
fn a_forwarded_ask_ends_with_the_node_that_owes_its_answer() {
    simulate(async {
        let mut office = Office::open(&World::new(7), 3).await;
        let gone = office.nodes.remove(2);
        // Asked at the first node, forwarded to the third: by the first node itself, and by the second.
        let (own, middle, last) = (office.desk(0, 0), office.desk(1, 0), office.desk(2, 0));
        let minutes = Duration::from_secs(300);
        let (by_own, by_middle, ()) = tokio::join!(
            own.ask(Pass(last.clone(), How::Kept)).within(minutes),
            middle.ask(Pass(last, How::Kept)).within(minutes),
            async {
                until("both are kept", || office.log.lock().expect("a log").len() == 2).await;
                pause(100).await;
                gone.kill().await;
            }
        );
        assert_eq!(unknown(by_own), UnknownReason::NodeDown);
        assert_eq!(unknown(by_middle), UnknownReason::NodeDown);
    });
}

#[test]
fn a_forwarded_ask_whose_message_is_rejected_or_panics_ends_unknown() {
    simulate(async {
        let office = Office::open(&World::new(8), 3).await;
        let (middle, last) = (office.desk(1, 0), office.desk(2, 0));
        let (passed, quit) = tokio::join!(middle.ask(Pass(last.clone(), How::Kept)), async {
            office.logged("bid").await;
            last.ask(Quit).await
        });
        quit.expect("answered");
        assert_eq!(unknown(passed), UnknownReason::NoReply, "it went with its holder");
        let passed = middle.ask(Pass(last, How::Plain)).await;
        assert_eq!(unknown(passed), UnknownReason::NoReply, "it was turned away there");
        let dead = office.nodes[1].node.dead_letters();
        assert_eq!(dead.rejected(RejectReason::NoSuchActor), 1);
    });
}

#[test]
fn a_responder_travels_and_answers_straight_to_its_asker() {
    simulate(async {
        for asks in [false, true] {
            let mut office = Office::open(&World::new(9), 3).await;
            let (middle, last) = (office.desk(1, 0), office.desk(2, 0));
            let gone = office.nodes.remove(1);
            let bids = async { tokio::join!(middle.ask(Bid(1)), middle.ask(Bid(2))) };
            let (bids, ()) = tokio::join!(bids, async {
                office.logged("bid").await;
                pause(50).await;
                assert!(middle.ask(Give(last.clone(), asks)).await.expect("answered"));
                pause(50).await;
                gone.kill().await;
                office.nodes[0].sees(2).await;
                assert_eq!(last.ask(Sell(Some(9))).await.expect("answered"), 0);
            });
            assert_eq!((bids.0.expect("answered"), bids.1.expect("answered")), (9, 9));
        }
    });
}

#[test]
fn a_responder_comes_home_to_its_askers_node() {
    simulate(async {
        let office = Office::open(&World::new(10), 2).await;
        // Asked at the first node of its own desk, sent to the second and back again.
        let (own, other) = (office.desk(0, 0), office.desk(1, 0));
        for price in [Some(9), None] {
            office.log.lock().expect("a log").clear();
            let (bid, ()) = tokio::join!(own.ask(Bid(1)), async {
                office.logged("bid").await;
                assert!(own.ask(Give(other.clone(), false)).await.expect("answered"));
                assert!(other.ask(Give(own.clone(), true)).await.expect("answered"));
                own.ask(Sell(price)).await.expect("answered");
            });
            match price {
                Some(price) => assert_eq!(bid.expect("answered"), price),
                None => assert_eq!(unknown(bid), UnknownReason::NoReply),
            }
        }
    });
}

#[test]
fn a_responder_that_another_node_drops_ends_its_ask_at_once() {
    simulate(async {
        let office = Office::open(&World::new(11), 3).await;
        let (own, last) = (office.desk(0, 0), office.desk(2, 0));
        for asked in [own, office.desk(1, 0)] {
            office.log.lock().expect("a log").clear();
            let (bid, ()) = tokio::join!(asked.ask(Bid(1)), async {
                office.logged("bid").await;
                assert!(asked.ask(Give(last.clone(), false)).await.expect("answered"));
                last.ask(Sell(None)).await.expect("answered");
            });
            assert_eq!(unknown(bid), UnknownReason::NoReply);
        }
    });
}

#[test]
fn a_responder_in_a_message_that_is_turned_away_is_given_back_or_ends_its_ask() {
    simulate(async {
        let office = Office::open(&World::new(12), 3).await;
        let (middle, last) = (office.desk(1, 0), office.desk(2, 0));
        last.ask(Quit).await.expect("answered");
        // Asked, the message comes back with the responder, which still answers.
        let (bid, ()) = tokio::join!(middle.ask(Bid(1)), async {
            office.logged("bid").await;
            assert!(!middle.ask(Give(last.clone(), true)).await.expect("answered"));
            middle.ask(Sell(Some(9))).await.expect("answered");
        });
        assert_eq!(bid.expect("answered"), 9);
        // Told, it is dropped where it was turned away.
        office.log.lock().expect("a log").clear();
        let (bid, ()) = tokio::join!(middle.ask(Bid(1)), async {
            office.logged("bid").await;
            assert!(middle.ask(Give(last.clone(), false)).await.expect("answered"));
        });
        assert_eq!(unknown(bid), UnknownReason::NoReply);
    });
}

#[test]
fn a_responder_is_read_once() {
    simulate(async {
        let office = Office::open(&World::new(15), 3).await;
        let (middle, last) = (office.desk(1, 0), office.desk(2, 0));
        let (bids, ()) =
            tokio::join!(async { tokio::join!(middle.ask(Bid(1)), middle.ask(Bid(2))) }, async {
                until("both are kept", || office.log.lock().expect("a log").len() == 2).await;
                let doubled = middle.ask(Double(last.clone())).await.expect("answered");
                assert_eq!(doubled, RejectReason::Mismatch as u32);
            });
        assert!(!has(&office.log, "twice"));
        for bid in [bids.0, bids.1] {
            assert_eq!(unknown(bid), UnknownReason::NoReply, "nobody holds it any more");
        }
    });
}

#[test]
fn a_cancel_finds_whoever_owes_the_answer() {
    simulate(async {
        let office = Office::open(&World::new(13), 3).await;
        let (own, middle, last) = (office.desk(0, 0), office.desk(1, 0), office.desk(2, 0));
        for asked in [&own, &middle] {
            let bid = asked.ask(Bid(1)).within(Duration::from_millis(500));
            let (bid, ()) = tokio::join!(bid, async {
                office.logged("bid").await;
                assert!(asked.ask(Give(last.clone(), false)).await.expect("answered"));
            });
            assert_eq!(unknown(bid), UnknownReason::Deadline);
            pause(50).await;
            assert_eq!(last.ask(Sell(Some(1))).await.expect("answered"), 1, "it knows");
            office.log.lock().expect("a log").clear();
        }
        // One that is kept where it was asked, too.
        let bid = middle.ask(Bid(1)).within(Duration::from_millis(500)).await;
        assert_eq!(unknown(bid), UnknownReason::Deadline);
        pause(50).await;
        assert_eq!(middle.ask(Sell(Some(1))).await.expect("answered"), 1);
    });
}

#[test]
fn forwarded_asks_find_entities_that_move() {
    simulate(async {
        let world = World::new(14);
        let office = Office::open(&world, 2).await;
        let middle = office.desk(1, 0);
        let (asks, third) = tokio::join!(
            async {
                let mut asks = tokio::task::JoinSet::new();
                for n in 0..400 {
                    let to = office.nodes[0].node.entity::<Desk>(&format!("desk-{n}"));
                    asks.spawn_local(
                        middle.ask(Pass(to, How::Plain)).within(Duration::from_secs(30)),
                    );
                    pause(5).await;
                }
                asks.join_all().await
            },
            world.start(3, build(&office.log)),
        );
        let owns = |n: usize| {
            let owner = third.node.owner_of::<Desk>(&format!("desk-{n}"));
            owner.as_ref() == Some(&third.node.id())
        };
        assert!((0..400).filter(|n| owns(*n)).count() > 50, "some have moved");
        assert_eq!(asks.len(), 400);
        for ended in asks {
            assert_eq!(ended.expect("answered"), 4);
        }
    });
}

/// An entity on the node at `of`, which handles something for half a second more.
async fn busy(office: &Office, of: usize) -> ActorRef<Desk> {
    let Office { nodes, .. } = office;
    let owner = Some(nodes[of].node.id());
    let is_there = |key: &String| nodes[0].node.owner_of::<Desk>(key) == owner;
    let key = (0..).map(|n| format!("busy-{n}")).find(is_there).expect("each has some");
    let desk = nodes[0].node.entity::<Desk>(&key);
    desk.tell(Slow(500)).await.expect("room");
    office.logged("slow begins").await;
    desk
}

#[test]
fn an_ask_that_is_dropped_before_its_turn_does_not_run_where_its_target_moves() {
    simulate(async {
        let office = Office::open(&World::new(15), 2).await;
        let desk = busy(&office, 0).await;
        for n in 0..3 {
            tokio::select! {
                biased;
                _ = desk.ask(Note(n)) => panic!("its turn has not come"),
                () = pause(20) => {}
            }
        }
        office.nodes[0].node.drain().await;
        desk.ask(Note(9)).await.expect("it answers where it is now");
        let lines = office.log.lock().expect("a log").join(", ");
        assert_eq!(lines, "slow begins, slow ends, note 9");
    });
}

#[test]
fn an_ask_whose_target_moves_to_its_askers_node_is_forwarded_from_there() {
    simulate(async {
        let office = Office::open(&World::new(16), 2).await;
        let desk = busy(&office, 1).await;
        let asked = desk.ask(Pass(office.desk(1, 0), How::Async));
        let drained = async {
            pause(50).await;
            office.nodes[1].node.drain().await;
        };
        let (asked, ()) = tokio::join!(asked, drained);
        assert_eq!(asked.expect("answered"), 5);
        assert_eq!(office.nodes[0].node.entity_count(), 1, "it has come home");
    });
}

#[test]
fn an_ask_whose_target_moves_to_its_askers_node_is_cancelled_there() {
    simulate(async {
        let office = Office::open(&World::new(17), 2).await;
        let desk = busy(&office, 1).await;
        let mut asked = Box::pin(desk.ask(Forever));
        let begun = async {
            pause(50).await;
            office.nodes[1].node.drain().await;
            office.logged("forever begins").await;
        };
        tokio::select! {
            biased;
            _ = &mut asked => panic!("nobody answers it"),
            () = begun => {}
        }
        assert_eq!(office.nodes[0].node.entity_count(), 1, "it has come home");
        drop(asked);
        office.logged("dropped").await;
    });
}
