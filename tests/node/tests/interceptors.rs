//! Interceptors on one node: what they see, add, refuse and measure.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_cluster::{
    Call, DeadLetterOutcome, NodeBuilder, OrStash, RejectReason, UnknownReason,
    interceptor::{Arrival, Departure, Handled, Interceptor, Refused},
    node::LocalThreads,
    prelude::*,
};
use serde::{Deserialize, Serialize};

macro_rules! message {
    ($name:literal, $message:item, $result:literal) => {
        #[derive(Debug, Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = $result)]
        #[remote(name = $name, version = 1)]
        $message
    };
}

message!("test.Note", struct Note;, "String");
message!("test.Panic", struct Panic;, "()");
message!("test.Slow", struct Slow(u64);, "()");
message!("test.Pass", struct Pass(ActorRef<Desk>);, "String");
message!("test.Later", struct Later;, "()");
message!("test.Ready", struct Ready;, "()");

#[derive(RemoteActor)]
#[remote(
    name = "test.Desk",
    handles(Note, Panic, async Slow, responder Pass, Later, Ready),
    placement = Eventual,
    state = volatile
)]
#[derive(Default)]
struct Desk {
    ready: bool,
}

impl Actor for Desk {
    type Context = ClusterContext<Self>;
}

impl Handler<Note> for Desk {
    type Result = MessageResult<Note>;
    fn handle(&mut self, _: Note, _: &mut Self::Context) -> MessageResult<Note> {
        let call = Call::current();
        MessageResult(call.header("mark").unwrap_or("none").to_owned())
    }
}

impl Handler<Panic> for Desk {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

impl AsyncHandler<Slow> for Desk {
    async fn handle(&mut self, Slow(millis): Slow, _: &mut Self::Context) {
        pause(millis).await;
    }
}

impl RespondingHandler<Pass> for Desk {
    fn handle(&mut self, Pass(to): Pass, responder: Responder<Pass>, _: &mut Self::Context) {
        if let Err(error) = responder.try_forward(&to, Note) {
            error.responder.reply(error.reason.to_string());
        }
    }
}

impl Handler<Later> for Desk {
    type Result = OrStash<Later>;
    fn handle(&mut self, later: Later, _: &mut Self::Context) -> OrStash<Later> {
        if self.ready { OrStash::reply(()) } else { OrStash::Stash(later) }
    }
}

impl Handler<Ready> for Desk {
    type Result = ();
    fn handle(&mut self, _: Ready, ctx: &mut Self::Context) {
        self.ready = true;
        ctx.unstash_all();
    }
}

type Log = Arc<Mutex<Vec<String>>>;

/// Notes all that it sees, under a name.
struct Witness(&'static str, Log);

impl Witness {
    fn note(&self, what: String) {
        self.1.lock().expect("a log").push(format!("{} {what}", self.0));
    }
}

impl Interceptor for Witness {
    fn sending(&self, departure: &mut Departure<'_>) -> Result<(), Refused> {
        let kind = if departure.is_ask() { "asks" } else { "tells" };
        self.note(format!("{kind} {} {:?}", departure.message(), departure.key()));
        Ok(())
    }

    fn handling(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
        assert_eq!((arrival.actor(), arrival.from()), ("test.Desk", None));
        self.note(format!("begins {} {:?}", arrival.message(), arrival.key()));
        Ok(())
    }

    fn handled(&self, handled: &Handled<'_>) {
        let (took, outcome) = (handled.took().as_millis(), handled.outcome());
        self.note(format!("ended {} {took} {outcome:?}", handled.message()));
    }
}

/// Refuses messages of one name, where it is told to.
struct Guard {
    message: &'static str,
    at: At,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Sending,
    Handling,
    /// By a panic.
    SendingPanics,
    HandlingPanics,
    HandledPanics,
}

impl Guard {
    fn check(&self, message: &str, at: At, panics: At) -> Result<(), Refused> {
        let is_meant = message == self.message;
        assert!(!is_meant || self.at != panics, "on purpose");
        if is_meant && self.at == at { Err(Refused) } else { Ok(()) }
    }
}

impl Interceptor for Guard {
    fn sending(&self, departure: &mut Departure<'_>) -> Result<(), Refused> {
        self.check(departure.message(), At::Sending, At::SendingPanics)
    }

    fn handling(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
        self.check(arrival.message(), At::Handling, At::HandlingPanics)
    }

    fn handled(&self, handled: &Handled<'_>) {
        assert!(self.at != At::HandledPanics || handled.message() != self.message, "on purpose");
    }
}

/// Adds a header, behind what is there.
struct Marker(&'static str);

impl Interceptor for Marker {
    fn sending(&self, departure: &mut Departure<'_>) -> Result<(), Refused> {
        let mark = format!("{}{}", departure.header("mark").unwrap_or_default(), self.0);
        departure.set_header("mark", &mark).map_err(|_| Refused)
    }
}

fn on_a_node(builder: NodeBuilder, test: impl AsyncFnOnce(Node)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let builder = builder.threads(LocalThreads).entity(|_| Desk::default());
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
    });
}

fn witnessed(test: impl AsyncFnOnce(Node, Log)) {
    let log = Log::default();
    let witness = |name| Witness(name, Arc::clone(&log));
    let builder = Node::builder().interceptor(witness("a")).interceptor(witness("b"));
    on_a_node(builder, async |node| test(node, Arc::clone(&log)).await);
}

fn guarded(message: &'static str, at: At, test: impl AsyncFnOnce(Node, ActorRef<Desk>)) {
    on_a_node(Node::builder().interceptor(Guard { message, at }), async |node| {
        let desk = node.spawn(|_| Desk::default()).start().expect("a desk");
        test(node, desk).await;
    });
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().expect("a log"))
}

#[test]
fn interceptors_see_a_message_leave_begin_and_end() {
    witnessed(async |node, log| {
        let desk = node.spawn(|_| Desk::default()).start().expect("a desk");
        desk.ask(Note).await.expect("answered");
        let expected = [
            "a asks test.Note None",
            "b asks test.Note None",
            "a begins test.Note None",
            "b begins test.Note None",
            "b ended test.Note 0 Ok(())",
            "a ended test.Note 0 Ok(())",
        ];
        assert_eq!(taken(&log), expected);
        node.entity::<Desk>("one").tell(Slow(7)).await.expect("room");
        pause(10).await;
        let expected = [
            "a tells test.Slow Some(\"one\")",
            "b tells test.Slow Some(\"one\")",
            "a begins test.Slow Some(\"one\")",
            "b begins test.Slow Some(\"one\")",
            "b ended test.Slow 7 Ok(())",
            "a ended test.Slow 7 Ok(())",
        ];
        assert_eq!(taken(&log), expected);
    });
}

#[test]
fn interceptors_are_told_how_a_handler_was_cut_short() {
    witnessed(async |node, log| {
        let desk = node.spawn(|_| Desk::default()).start().expect("a desk");
        let ended = |log| -> Vec<String> {
            taken(log).into_iter().filter(|line| line.starts_with("a ended")).collect()
        };
        let panicked = desk.ask(Panic).await;
        assert!(matches!(panicked, Err(AskError::Unknown(UnknownReason::Panicked))));
        assert_eq!(ended(&log), ["a ended test.Panic 0 Err(Panicked)"]);
        desk.try_tell(Panic).expect("room");
        // The instance is replaced first.
        pause(2_000).await;
        assert_eq!(ended(&log), ["a ended test.Panic 0 Err(Panicked)"]);
        let late = desk.ask(Slow(50)).within(Duration::from_millis(20)).await;
        assert!(matches!(late, Err(AskError::Unknown(UnknownReason::Deadline))));
        pause(1).await;
        assert_eq!(ended(&log), ["a ended test.Slow 20 Err(Cancelled)"]);
        desk.try_tell(Slow(50)).expect("room");
        pause(5).await;
        desk.kill();
        pause(1).await;
        assert_eq!(ended(&log), ["a ended test.Slow 5 Err(NoReply)"]);
    });
}

#[test]
fn a_stashed_message_is_shown_at_each_turn_and_ends_once() {
    witnessed(async |node, log| {
        let desk = node.spawn(|_| Desk::default()).start().expect("a desk");
        desk.try_tell(Later).expect("room");
        let asked = tokio::task::spawn_local({
            let desk = desk.clone();
            async move { desk.ask(Later).await }
        });
        pause(1).await;
        desk.ask(Ready).await.expect("answered");
        asked.await.expect("no panic").expect("answered");
        let seen = taken(&log);
        let count = |line: &str| seen.iter().filter(|seen| *seen == line).count();
        assert_eq!(count("a begins test.Later None"), 4, "{seen:?}");
        assert_eq!(count("a ended test.Later 0 Ok(())"), 2, "{seen:?}");
    });
}

#[test]
fn a_message_that_is_not_to_be_sent_is_given_back() {
    for at in [At::Sending, At::SendingPanics] {
        guarded("test.Note", at, async |node, desk| {
            let refused = RejectReason::Refused;
            assert_eq!(desk.try_tell(Note).expect_err("refused").reason, refused);
            assert_eq!(desk.tell(Note).await.expect_err("refused").reason, refused);
            let asked = desk.ask(Note).await.expect_err("refused");
            assert!(matches!(asked, AskError::Rejected { reason, .. } if reason == refused));
            assert_eq!(desk.ask(Pass(desk.clone())).await.expect("answered"), "refused");
            desk.ask(Slow(1)).await.expect("others are not refused");
            assert_eq!(node.dead_letters().total(), 0);
        });
    }
}

#[test]
fn a_message_that_is_not_to_be_handled_does_not_run() {
    for at in [At::Handling, At::HandlingPanics] {
        guarded("test.Panic", at, async |node, desk| {
            let mut letters = node.subscribe_dead_letters();
            let asked = desk.ask(Panic).await.expect_err("refused");
            let refused = RejectReason::Refused;
            assert!(matches!(asked, AskError::Rejected { reason, .. } if reason == refused));
            desk.tell(Panic).await.expect("room");
            desk.ask(Slow(1)).await.expect("others are not refused");
            let letter = letters.next().await.expect("a letter");
            assert_eq!(letter.outcome, DeadLetterOutcome::Rejected(refused));
            assert_eq!(node.dead_letters().total(), 1, "an asker was told");
        });
    }
    guarded("test.Note", At::Handling, async |_, desk| {
        let passed = desk.ask(Pass(desk.clone())).await;
        assert!(matches!(passed, Err(AskError::Unknown(UnknownReason::NoReply))));
    });
}

#[test]
fn a_panic_after_the_handler_changes_nothing() {
    guarded("test.Note", At::HandledPanics, async |_, desk| {
        assert_eq!(desk.ask(Note).await.expect("answered"), "none");
        desk.ask(Slow(1)).await.expect("the actor lives");
    });
}

#[test]
fn headers_that_interceptors_add_follow_the_call() {
    let builder = Node::builder().interceptor(Marker("1")).interceptor(Marker("2"));
    on_a_node(builder, async |node| {
        let desk = node.spawn(|_| Desk::default()).start().expect("a desk");
        assert_eq!(desk.ask(Note).await.expect("answered"), "12");
        assert_eq!(desk.ask(Pass(desk.clone())).await.expect("answered"), "1212");
        let call = Call::current().with("mark", "0").expect("within the limits");
        assert_eq!(call.scope(desk.ask(Note)).await.expect("answered"), "012");
    });
}
