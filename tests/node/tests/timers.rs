//! Timers with keys, and the receive timeout, in paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    EntitySettings, OrStash, ReceiveTimeout, RejectReason, TooManyTimers, node::LocalThreads,
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::{task::LocalSet, time::Instant};

/// What a timer tells: the number that it was started with.
#[derive(Message, Clone, Copy, Debug, PartialEq)]
#[rtype(result = "()")]
struct Tick(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone)]
#[rtype(result = "bool")]
#[remote(name = "test.Do", version = 1)]
enum Do {
    Single(String, u64, u32),
    Repeated(String, u64, u32),
    AtRate(String, u64, u32),
    Cancel(String),
    CancelAll,
    IsActive(String),
    ReceiveTimeout(Option<u64>),
    /// Blocks the turns of the next ticks for so long, by a future that the mailbox waits for.
    TakeTime(u64),
    /// The next tick does so too.
    OnTick(Box<Do>),
    Stash(bool),
    Nothing,
    Panic,
    Stop,
}

/// Holds the actor for so many milliseconds.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Linger", version = 1)]
struct Linger(u64);

type Log = Arc<Mutex<Vec<(u64, u32)>>>;

#[derive(RemoteActor)]
#[remote(
    name = "test.Ticker",
    handles(Do, async Linger),
    placement = Eventual,
    state = volatile,
    mailbox = 2,
    stash = 1
)]
struct Ticker {
    start: Instant,
    log: Log,
    takes: Duration,
    on_tick: Option<Do>,
    stashes: bool,
}

impl Ticker {
    fn new(log: &Log) -> Self {
        let (takes, on_tick, stashes) = (Duration::ZERO, None, false);
        Self { start: Instant::now(), log: Arc::clone(log), takes, on_tick, stashes }
    }

    fn obey(&mut self, what: Do, ctx: &mut ClusterContext<Self>) -> bool {
        let millis = Duration::from_millis;
        let started: Result<(), TooManyTimers<Tick>> = match what {
            Do::Single(key, delay, number) => {
                ctx.timers().start_single(key, millis(delay), Tick(number))
            }
            Do::Repeated(key, interval, number) => {
                ctx.timers().start_repeated(key, millis(interval), Tick(number))
            }
            Do::AtRate(key, interval, number) => {
                ctx.timers().start_at_rate(key, millis(interval), Tick(number))
            }
            Do::Cancel(key) => return ctx.timers().cancel(&key),
            Do::IsActive(key) => return ctx.timers().is_active(&key),
            Do::CancelAll => {
                ctx.timers().cancel_all();
                Ok(())
            }
            Do::ReceiveTimeout(after) => {
                ctx.set_receive_timeout(after.map(millis));
                Ok(())
            }
            Do::TakeTime(time) => {
                self.takes = millis(time);
                Ok(())
            }
            Do::OnTick(then) => {
                self.on_tick = Some(*then);
                Ok(())
            }
            Do::Stash(stashes) => {
                self.stashes = stashes;
                if !stashes {
                    ctx.unstash_all();
                }
                Ok(())
            }
            Do::Nothing => Ok(()),
            Do::Panic => panic!("handler panics on purpose"),
            Do::Stop => {
                ctx.stop();
                Ok(())
            }
        };
        started.is_ok()
    }

    fn note(&self, number: u32) {
        let now = u64::try_from(self.start.elapsed().as_millis()).expect("a short test");
        self.log.lock().expect("unpoisoned").push((now, number));
    }
}

impl Actor for Ticker {
    type Context = ClusterContext<Self>;
}

impl Handler<Do> for Ticker {
    type Result = bool;
    fn handle(&mut self, what: Do, ctx: &mut Self::Context) -> bool {
        self.obey(what, ctx)
    }
}

impl AsyncHandler<Linger> for Ticker {
    async fn handle(&mut self, Linger(millis): Linger, ctx: &mut Self::Context) {
        ctx.clock().sleep(Duration::from_millis(millis)).await;
    }
}

impl Handler<Tick> for Ticker {
    type Result = OrStash<Tick>;
    fn handle(&mut self, tick: Tick, ctx: &mut Self::Context) -> OrStash<Tick> {
        if let Some(what) = self.on_tick.take() {
            self.obey(what, ctx);
        }
        if self.stashes {
            return OrStash::Stash(tick);
        }
        self.note(tick.0);
        if !self.takes.is_zero() {
            let sleep = ctx.clock().sleep(self.takes);
            ctx.wait(sleep.into_actor(self));
        }
        OrStash::reply(())
    }
}

/// Noted as number 0.
impl Handler<ReceiveTimeout> for Ticker {
    type Result = ();
    fn handle(&mut self, _: ReceiveTimeout, _: &mut Self::Context) {
        self.note(0);
    }
}

/// Runs a test on a node of one thread, with a ticker and what it has noted.
fn with_ticker<F: Future<Output = ()>>(test: impl FnOnce(Node, ActorRef<Ticker>, Log) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let (log, of_entities) = (Log::default(), Log::default());
        let mut settings = EntitySettings::default();
        settings.passivate_after = Duration::from_secs(1);
        let node = Node::builder()
            .arbiters(NonZeroUsize::MIN)
            .threads(LocalThreads)
            .entity_with(settings, move |_| Ticker::new(&of_entities));
        let node = node.start().await.expect("a node");
        let (theirs, start) = (Arc::clone(&log), Instant::now());
        let made = move |_: &mut _| Ticker { start, ..Ticker::new(&theirs) };
        let ticker = node.spawn(made).start().expect("it starts");
        test(node.clone(), ticker, log).await;
        node.shutdown().await;
    });
}

async fn act(ticker: &ActorRef<Ticker>, what: Do) -> bool {
    ticker.ask(what).await.expect("an answer")
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn noted(log: &Log) -> Vec<(u64, u32)> {
    std::mem::take(&mut *log.lock().expect("unpoisoned"))
}

fn key(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_single_timer_tells_once_and_is_active_until_then() {
    with_ticker(|_, ticker, log| async move {
        assert!(act(&ticker, Do::Single(key("a"), 10, 1)).await);
        assert!(act(&ticker, Do::IsActive(key("a"))).await);
        assert!(!act(&ticker, Do::IsActive(key("b"))).await);
        pass(100).await;
        assert_eq!(noted(&log), [(10, 1)]);
        assert!(!act(&ticker, Do::IsActive(key("a"))).await);
        assert!(!act(&ticker, Do::Cancel(key("a"))).await);
    });
}

#[test]
fn a_repeated_timer_waits_for_its_interval_after_each_turn() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::Repeated(key("a"), 10, 1)).await;
        pass(35).await;
        assert_eq!(noted(&log), [(10, 1), (20, 1), (30, 1)]);
        assert!(act(&ticker, Do::Cancel(key("a"))).await);
        pass(100).await;
        assert_eq!(noted(&log), []);
    });
}

#[test]
fn a_slow_actor_gets_fewer_ticks_and_no_burst() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::TakeTime(25)).await;
        act(&ticker, Do::AtRate(key("a"), 10, 1)).await;
        pass(75).await;
        // Those of 20 and 30 are left out, since the turn of the first lasts until 35.
        assert_eq!(noted(&log), [(10, 1), (40, 1), (70, 1)]);
        assert!(act(&ticker, Do::Cancel(key("a"))).await, "messages have their turns all the same");
        pass(25).await;
        act(&ticker, Do::Repeated(key("b"), 10, 2)).await;
        pass(90).await;
        assert_eq!(noted(&log), [(130, 2), (165, 2), (200, 2)]);
    });
}

#[test]
fn no_tick_is_handled_after_its_timer_was_cancelled_or_replaced() {
    with_ticker(|_, ticker, log| async move {
        // All three are due at one time; the first one that has its turn ends another.
        act(&ticker, Do::OnTick(Box::new(Do::Cancel(key("b"))))).await;
        act(&ticker, Do::Single(key("a"), 10, 1)).await;
        act(&ticker, Do::Single(key("b"), 10, 2)).await;
        pass(50).await;
        assert_eq!(noted(&log), [(10, 1)]);
        act(&ticker, Do::OnTick(Box::new(Do::Single(key("d"), 20, 5)))).await;
        act(&ticker, Do::Single(key("c"), 10, 3)).await;
        act(&ticker, Do::Repeated(key("d"), 10, 4)).await;
        pass(100).await;
        assert_eq!(noted(&log), [(60, 3), (80, 5)]);
        // A timer that cancels or replaces itself.
        act(&ticker, Do::OnTick(Box::new(Do::Cancel(key("e"))))).await;
        act(&ticker, Do::Repeated(key("e"), 10, 6)).await;
        pass(50).await;
        act(&ticker, Do::OnTick(Box::new(Do::Single(key("f"), 5, 8)))).await;
        act(&ticker, Do::Repeated(key("f"), 10, 7)).await;
        pass(50).await;
        assert_eq!(noted(&log), [(160, 6), (210, 7), (215, 8)]);
        assert!(!act(&ticker, Do::IsActive(key("f"))).await);
    });
}

#[test]
fn ticks_wait_for_a_handler_that_awaits_and_silence_begins_behind_it() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::ReceiveTimeout(Some(30))).await;
        act(&ticker, Do::Single(key("a"), 10, 1)).await;
        ticker.ask(Linger(50)).await.expect("an answer");
        pass(45).await;
        assert_eq!(noted(&log), [(50, 1), (80, 0)]);
    });
}

#[test]
fn a_stashed_tick_comes_back_only_if_its_timer_is_still_the_one() {
    with_ticker(|node, ticker, log| async move {
        for (then, told) in [
            (Do::Nothing, vec![1]),
            (Do::Cancel(key("a")), vec![]),
            (Do::Single(key("a"), 1_000, 2), vec![2]),
        ] {
            act(&ticker, Do::Stash(true)).await;
            act(&ticker, Do::Single(key("a"), 10, 1)).await;
            pass(20).await;
            assert!(act(&ticker, Do::IsActive(key("a"))).await, "it was not handled");
            act(&ticker, then).await;
            act(&ticker, Do::Stash(false)).await;
            pass(2_000).await;
            let numbers: Vec<_> = noted(&log).into_iter().map(|(_, number)| number).collect();
            assert_eq!(numbers, told);
            assert!(!act(&ticker, Do::IsActive(key("a"))).await);
        }
        // One that the full stash refuses is lost, and over.
        act(&ticker, Do::Stash(true)).await;
        act(&ticker, Do::Single(key("a"), 10, 1)).await;
        act(&ticker, Do::Single(key("b"), 20, 2)).await;
        pass(100).await;
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 1);
        assert!(!act(&ticker, Do::IsActive(key("b"))).await);
        assert!(act(&ticker, Do::IsActive(key("a"))).await);
    });
}

#[test]
fn timers_end_with_their_instance_and_nothing_of_them_is_told_to_the_next() {
    with_ticker(|node, ticker, log| async move {
        act(&ticker, Do::Stash(true)).await;
        act(&ticker, Do::Single(key("a"), 10, 1)).await;
        pass(20).await;
        act(&ticker, Do::Single(key("b"), 1_000, 2)).await;
        act(&ticker, Do::Repeated(key("c"), 1_000, 3)).await;
        act(&ticker, Do::ReceiveTimeout(Some(1_000))).await;
        ticker.ask(Do::Panic).await.expect_err("it panics");
        pass(10_000).await;
        assert_eq!(noted(&log), []);
        assert!(!act(&ticker, Do::IsActive(key("c"))).await);
        // A timer of the fresh instance is no former one's, though it bears its key.
        act(&ticker, Do::Single(key("a"), 10, 4)).await;
        pass(100).await;
        assert_eq!(noted(&log).len(), 1);
        act(&ticker, Do::Single(key("a"), 10, 5)).await;
        act(&ticker, Do::Stop).await;
        pass(100).await;
        assert_eq!((noted(&log).len(), node.dead_letters().total()), (0, 0));
    });
}

#[test]
fn a_timer_keeps_no_entity_active() {
    with_ticker(|node, _, _| async move {
        let entity = node.entity::<Ticker>("one");
        act(&entity, Do::Single(key("a"), 3_600_000, 1)).await;
        pass(10_000).await;
        assert_eq!(node.entity_count(), 0);
    });
}

#[test]
fn an_actor_has_so_many_timers_and_no_more() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::ReceiveTimeout(Some(3_600_000))).await;
        for n in 0..1_024 {
            assert!(act(&ticker, Do::Single(n.to_string(), 1_000, n)).await);
        }
        assert!(!act(&ticker, Do::Single(key("more"), 1_000, 1)).await);
        assert!(act(&ticker, Do::Single(key("7"), 1_000, 7)).await, "it takes the place of one");
        assert!(act(&ticker, Do::Cancel(key("8"))).await);
        assert!(act(&ticker, Do::Single(key("more"), 1_000, 1)).await);
        pass(2_000).await;
        assert_eq!(noted(&log).len(), 1_024);
    });
}

#[test]
fn ticks_need_no_room_in_a_full_mailbox() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::TakeTime(1_000)).await;
        act(&ticker, Do::Single(key("a"), 10, 1)).await;
        act(&ticker, Do::Single(key("b"), 20, 2)).await;
        pass(15).await;
        ticker.try_tell(Do::Nothing).expect("room");
        ticker.try_tell(Do::Nothing).expect("room");
        ticker.try_tell(Do::Nothing).expect_err("it is full");
        pass(2_000).await;
        assert_eq!(noted(&log), [(10, 1), (1_010, 2)]);
    });
}

#[test]
fn silence_is_told_again_and_again_until_something_is_handled() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::ReceiveTimeout(Some(100))).await;
        pass(250).await;
        assert_eq!(noted(&log), [(100, 0), (200, 0)]);
        for _ in 0..5 {
            act(&ticker, Do::Nothing).await;
            pass(90).await;
        }
        assert_eq!(noted(&log), [], "something was handled in time");
        pass(20).await;
        assert_eq!(noted(&log), [(710, 0)]);
        // Ticks are no messages, and what the actor waits for is part of its work.
        act(&ticker, Do::Repeated(key("a"), 60, 1)).await;
        pass(110).await;
        assert_eq!(noted(&log), [(780, 1), (820, 0)]);
        act(&ticker, Do::ReceiveTimeout(None)).await;
        act(&ticker, Do::CancelAll).await;
        pass(1_000).await;
        assert_eq!(noted(&log), []);
    });
}

#[test]
fn a_future_that_the_actor_waits_for_is_no_silence() {
    with_ticker(|_, ticker, log| async move {
        act(&ticker, Do::TakeTime(500)).await;
        act(&ticker, Do::ReceiveTimeout(Some(100))).await;
        act(&ticker, Do::Single(key("a"), 50, 1)).await;
        pass(640).await;
        assert_eq!(noted(&log), [(50, 1)]);
        pass(20).await;
        assert_eq!(noted(&log), [(650, 0)]);
    });
}
