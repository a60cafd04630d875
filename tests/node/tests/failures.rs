//! Panics in an actor's code, one test for each place where one can happen; what else ends an
//! instance as a failure; and what no library can catch. In paused time on one thread.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use actix_cluster::{ExitReason, RestartPolicy, UnknownReason, node::LocalThreads, prelude::*};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Note", version = 1)]
struct Note(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Vec<u32>")]
#[remote(name = "test.Notes", version = 1)]
struct Notes;

/// Has the actor panic, there.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "test.Fuse", version = 1)]
struct Fuse(Place);

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
enum Place {
    Handler,
    Future,
    Stream,
    Waited,
    Timer,
    Interval,
    Notified,
    Started,
    Stopping,
    Stopped,
    DropOfInstance,
    DropOfMessage,
    DropOfFuture,
    DropOfMany,
    Factory,
    Twice,
}

impl Place {
    /// What a panic there says.
    fn message(self) -> String {
        format!("{self:?} panics on purpose")
    }

    fn panic(self) -> ! {
        panic!("{}", self.message())
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if self.0 == Place::DropOfMessage {
            self.0.panic();
        }
    }
}

/// Panics when it is dropped; never ready.
struct Bomb(Place);

impl Future for Bomb {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.panic();
    }
}

/// One item, for a handler that panics.
struct OneItem(Option<Place>);

impl futures_core::Stream for OneItem {
    type Item = Place;
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Place>> {
        Poll::Ready(self.0.take())
    }
}

/// Where the next instance is to panic before it is there, or while it starts.
type Next = Arc<Mutex<Option<Place>>>;

#[derive(RemoteActor)]
#[remote(name = "test.Fragile", handles(Note, Notes, Fuse))]
struct Fragile {
    notes: Vec<u32>,
    panics_in: Option<Place>,
    next: Next,
}

impl Fragile {
    fn make(next: &Next) -> Self {
        let taken = next.lock().expect("unpoisoned").take_if(|place| *place == Place::Factory);
        if let Some(place) = taken {
            place.panic();
        }
        Self { notes: Vec::new(), panics_in: None, next: Arc::clone(next) }
    }

    fn panic_if(&self, here: Place) {
        if self.panics_in == Some(here) {
            here.panic();
        }
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.panic_if(Place::DropOfInstance);
    }
}

impl Actor for Fragile {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let place = self.next.lock().expect("unpoisoned").take();
        if let Some(place) = place {
            place.panic();
        }
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.panic_if(Place::Stopping);
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.panic_if(Place::Stopped);
    }
}

impl Handler<Note> for Fragile {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.notes.push(n);
    }
}

impl Handler<Notes> for Fragile {
    type Result = Vec<u32>;
    fn handle(&mut self, _: Notes, _: &mut Self::Context) -> Vec<u32> {
        self.notes.clone()
    }
}

impl StreamHandler<Place> for Fragile {
    fn handle(&mut self, place: Place, _: &mut Self::Context) {
        place.panic();
    }
}

/// What a timer or a future of the actor is to do.
#[derive(Message)]
#[rtype(result = "()")]
struct Explode(Place);

impl Handler<Explode> for Fragile {
    type Result = ();
    fn handle(&mut self, Explode(place): Explode, _: &mut Self::Context) {
        place.panic();
    }
}

impl Handler<Fuse> for Fragile {
    type Result = ();
    fn handle(&mut self, fuse: Fuse, ctx: &mut Self::Context) {
        let place = fuse.0;
        let soon = Duration::from_millis(1);
        match place {
            Place::Handler => place.panic(),
            Place::Twice => {
                let _dropped_while_the_panic_unwinds = Bomb(place);
                place.panic();
            }
            Place::Future => {
                ctx.spawn(async {}.into_actor(self).map(move |(), _, _| place.panic()));
            }
            Place::Stream => {
                Self::add_stream(OneItem(Some(place)), ctx);
            }
            Place::Waited => ctx.wait(async {}.into_actor(self).map(move |(), _, _| place.panic())),
            Place::Timer => {
                ctx.run_later(soon, move |_, _| place.panic());
            }
            Place::Interval => {
                ctx.run_interval(soon, move |_, _| place.panic());
            }
            Place::Notified => {
                ctx.notify_later(Explode(place), soon);
            }
            Place::Stopping | Place::Stopped | Place::DropOfInstance => {
                self.panics_in = Some(place);
                ctx.stop();
            }
            Place::DropOfMessage => {}
            Place::DropOfFuture => {
                let handle = ctx.spawn(Bomb(place).into_actor(self));
                ctx.run_later(soon, move |_, ctx| {
                    ctx.cancel_future(handle);
                });
            }
            Place::DropOfMany => {
                for _ in 0..3 {
                    ctx.spawn(Bomb(place).into_actor(self));
                    ctx.wait(Bomb(place).into_actor(self));
                }
                ctx.stop();
            }
            Place::Started | Place::Factory => {
                *self.next.lock().expect("unpoisoned") = Some(place);
                panic!("the next instance is to panic too");
            }
        }
    }
}

const ARBITERS: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

/// Runs `test` on a node of its own, in paused time.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let builder = Node::builder().arbiters(ARBITERS).threads(LocalThreads).seed(1);
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
        assert_eq!(node.actor_count(), 0, "shutdown leaves no actor behind");
    });
}

fn fragile() -> impl FnMut(&mut ClusterContext<Fragile>) -> Fragile + Send {
    let next = Next::default();
    move |_| Fragile::make(&next)
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const LONG: Duration = Duration::from_secs(60);

/// The actor panics there with messages behind the fatal one: they are handled, in order, by a fresh
/// value; an actor beside it notices nothing.
async fn restarts(node: &Node, target: &ActorRef<Fragile>, place: Place) {
    let beside = node.spawn(fragile()).arbiter(0).start().expect("spawned");
    beside.tell(Note(9)).await.expect("accepted");
    target.tell(Note(1)).await.expect("accepted");
    target.tell(Fuse(place)).await.expect("accepted");
    // What panics a moment later takes what was handled until then with it.
    use Place::{DropOfFuture, Future, Interval, Notified, Stream, Timer};
    if [DropOfFuture, Future, Interval, Notified, Stream, Timer].contains(&place) {
        pass(LONG).await;
    }
    for n in 2..6 {
        target.tell(Note(n)).await.expect("accepted");
    }
    pass(LONG).await;
    let notes = target.ask(Notes).await.expect("it is back");
    assert_eq!(notes, [2, 3, 4, 5], "{place:?}: a fresh value, and the mailbox in order");
    assert_eq!(beside.ask(Notes).await.expect("it never noticed"), [9]);
    assert_eq!(target.exit_reason(), None);
    beside.stop();
}

/// One place: with a policy of its own, under a supervisor, and without any restart.
fn check(place: Place) {
    on_a_node(|node| async move {
        let target = node.spawn(fragile()).arbiter(0).start().expect("spawned");
        restarts(&node, &target, place).await;
        // The turn of the fatal message was cut short, or it had ended before.
        let in_a_turn =
            [Place::Handler, Place::DropOfMessage, Place::Started, Place::Factory].contains(&place);
        assert_eq!(node.dead_letters().unknown(UnknownReason::Panicked), u64::from(in_a_turn));
        assert_eq!(node.dead_letters().total(), u64::from(in_a_turn));
    });
    on_a_node(|node| async move {
        let supervisor = node.spawn_supervisor().start().expect("started");
        let target = supervisor.spawn(fragile()).arbiter(0).start().expect("room");
        restarts(&node, &target, place).await;
        assert_eq!((supervisor.child_count(), supervisor.exit_reason()), (1, None));
    });
    on_a_node(|node| async move {
        let limit = u32::from(matches!(place, Place::Started | Place::Factory));
        let policy = RestartPolicy { limit, ..RestartPolicy::default() };
        let target = node.spawn(fragile()).supervise(policy).start().expect("spawned");
        target.tell(Fuse(place)).await.expect("accepted");
        pass(LONG).await;
        match target.exit_reason() {
            Some(ExitReason::Panicked { message, location, restarts }) => {
                assert_eq!((message, restarts), (place.message(), limit));
                let location = location.expect("the node notes it");
                assert!(location.contains("tests/failures.rs:"), "{location}");
            }
            other => panic!("{place:?}: {other:?}"),
        }
    });
}

macro_rules! places {
    ($(fn $name:ident() { $place:ident })*) => {$(
        #[test]
        fn $name() {
            check(Place::$place);
        }
    )*};
}

places! {
    fn a_panic_in_a_handler() { Handler }
    fn a_panic_in_a_future() { Future }
    fn a_panic_in_a_stream() { Stream }
    fn a_panic_in_a_future_that_the_mailbox_waits_for() { Waited }
    fn a_panic_in_a_timer() { Timer }
    fn a_panic_in_an_interval() { Interval }
    fn a_panic_in_the_handler_of_a_message_to_itself() { Notified }
    fn a_panic_in_started() { Started }
    fn a_panic_in_stopping() { Stopping }
    fn a_panic_in_stopped() { Stopped }
    fn a_panic_in_the_drop_of_an_instance() { DropOfInstance }
    fn a_panic_in_the_drop_of_a_message() { DropOfMessage }
    fn a_panic_in_the_drop_of_a_future() { DropOfFuture }
    fn panics_in_the_drops_of_many_futures_are_caught_one_by_one() { DropOfMany }
    fn a_panic_in_the_factory() { Factory }
}

#[test]
fn a_drop_that_panics_while_its_actor_is_told_to_stop_is_the_reason_of_its_end() {
    on_a_node(|node| async move {
        let stopped = node.spawn(fragile()).start().expect("spawned");
        let killed = node.spawn(fragile()).start().expect("spawned");
        for target in [&stopped, &killed] {
            target.tell(Fuse(Place::DropOfFuture)).await.expect("accepted");
            target.ask(Notes).await.expect("answered");
        }
        stopped.stop();
        killed.kill();
        pass(LONG).await;
        let reason = stopped.exit_reason().expect("it has ended");
        assert!(matches!(reason, ExitReason::Panicked { restarts: 0, .. }), "{reason}");
        assert_eq!(killed.exit_reason(), Some(ExitReason::Killed), "a failure before that one");
    });
}

#[test]
fn a_message_that_panics_when_it_is_rejected_leaves_the_others_their_outcome() {
    on_a_node(|node| async move {
        let target = node.spawn(fragile()).start().expect("spawned");
        target.stop();
        for place in [Place::DropOfMessage, Place::Handler, Place::DropOfMessage] {
            target.tell(Fuse(place)).await.expect("accepted");
        }
        pass(LONG).await;
        assert_eq!(target.exit_reason(), Some(ExitReason::Stopped));
        assert_eq!(node.dead_letters().total(), 3, "each once");
        assert_eq!(node.actor_count(), 0);
    });
}

#[test]
fn a_report_of_an_end_that_panics_holds_nobody_up() {
    on_a_node(|node| async move {
        let supervisor = node.spawn_supervisor().on_exit(|_| panic!("on_exit panics on purpose"));
        let supervisor = supervisor.start().expect("started");
        let child = supervisor.spawn(fragile()).on_exit(|_| panic!("on_exit panics on purpose"));
        child.start().expect("room");
        pass(LONG).await;
        supervisor.stop();
        let ended = tokio::time::timeout(LONG, supervisor.ended()).await;
        assert_eq!(ended.expect("it ends"), ExitReason::Stopped);
        assert_eq!(supervisor.child_count(), 0);
    });
}

#[test]
fn the_programs_own_panic_hook_is_called_and_may_be_left_alone() {
    // Its own process: the hook is one for all tests of this one.
    if !is_child("own_hook") {
        let output = run_child("own_hook", "the_programs_own_panic_hook_is_called_and_may_be_left");
        return assert!(output.status.success(), "{output:?}");
    }
    let seen = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&seen);
    std::panic::set_hook(Box::new(move |_| *theirs.lock().expect("unpoisoned") += 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let end_of = |builder: actix_cluster::NodeBuilder| {
        LocalSet::new().block_on(&runtime, async {
            let node = builder.threads(LocalThreads).start().await.expect("a node");
            let policy = RestartPolicy::never();
            let target = node.spawn(fragile()).supervise(policy).start().expect("spawned");
            target.tell(Fuse(Place::Handler)).await.expect("accepted");
            while target.exit_reason().is_none() {
                tokio::task::yield_now().await;
            }
            node.shutdown().await;
            match target.exit_reason() {
                Some(ExitReason::Panicked { location, .. }) => location,
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(end_of(Node::builder().without_panic_hook()), None);
    assert!(end_of(Node::builder()).is_some_and(|location| location.contains("failures.rs:")));
    assert_eq!(*seen.lock().expect("unpoisoned"), 2, "the program's own hook saw both");
}

#[test]
fn a_second_panic_while_the_first_unwinds_aborts_the_process() {
    if !is_child("abort") {
        let output =
            run_child("abort", "a_second_panic_while_the_first_unwinds_aborts_the_process");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the node runs"), "{said}");
        assert!(said.contains("panic in a destructor during cleanup"), "{said}");
        #[cfg(unix)]
        {
            const SIGABRT: i32 = 6;
            let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
            assert_eq!(signal, Some(SIGABRT), "{output:?}");
        }
        return assert!(!output.status.success());
    }
    on_a_node(|node| async move {
        let target = node.spawn(fragile()).start().expect("spawned");
        target.ask(Notes).await.expect("answered");
        eprintln!("the node runs");
        target.tell(Fuse(Place::Twice)).await.expect("accepted");
        pass(LONG).await;
    });
}

/// Whether this process was started to play that part.
fn is_child(part: &str) -> bool {
    std::env::var("ACTIX_CLUSTER_TEST_PART").is_ok_and(|told| told == part)
}

/// Runs the test of this name in a process of its own, which plays that part.
fn run_child(part: &str, test: &str) -> std::process::Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--nocapture", "--test-threads=1"])
        .env("ACTIX_CLUSTER_TEST_PART", part)
        .output()
        .expect("it runs")
}
