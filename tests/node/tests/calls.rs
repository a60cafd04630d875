//! What travels along with messages on one node: headers, the chain of those that wait, deadlines.

#![expect(clippy::disallowed_methods, reason = "a test plays the world outside of the seams")]

use std::{sync::Arc, sync::Mutex, time::Duration};

use actix_cluster::{Call, OrStash, SpawnError, node::LocalThreads, prelude::*};
use serde::{Deserialize, Serialize};

macro_rules! message {
    ($name:literal, $message:item, $result:literal) => {
        #[derive(Message, RemoteMessage, Serialize, Deserialize)]
        #[rtype(result = $result)]
        #[remote(name = $name, version = 1)]
        $message
    };
}

/// The actors to go through, and how each handles it.
type Steps = Vec<(ActorRef<Post>, How)>;

#[derive(Clone, Copy, Serialize, Deserialize)]
enum How {
    Async,
    Reentrant,
    /// In a future that the context waits for.
    Wait,
    /// By whoever comes next.
    Forward,
}

message!("test.Held", struct Held(Steps);, "String");
message!("test.Roam", struct Roam(Steps);, "String");
message!("test.Wait", struct Wait(Steps);, "()");
message!("test.Pass", struct Pass(Steps);, "String");
message!("test.Note", struct Note(u32);, "()");
message!("test.Leave", struct Leave(ActorRef<Post>);, "()");
message!("test.Ready", struct Ready;, "()");
message!("test.Left", struct Left;, "u64");

type Log = Arc<Mutex<Vec<String>>>;

#[derive(RemoteActor)]
#[remote(
    name = "test.Post",
    handles(async Held, reentrant Roam, Wait, responder Pass, Note, Leave, Ready, responder Left),
    placement = Eventual,
    state = volatile
)]
struct Post {
    log: Log,
    ready: bool,
}

impl Actor for Post {
    type Context = ClusterContext<Self>;
}

fn tenant() -> String {
    Call::current().header("tenant").unwrap_or("nobody").to_owned()
}

fn note(log: &Log, what: impl Into<String>) {
    log.lock().expect("a log").push(what.into());
}

/// Goes on to the next, and says what came of that; at the end, for whom.
async fn go(mut steps: Steps) -> String {
    if steps.is_empty() {
        return tenant();
    }
    let (to, how) = steps.remove(0);
    match how {
        How::Async => said(to.ask(Held(steps)).await),
        How::Reentrant => said(to.ask(Roam(steps)).await),
        How::Wait => said(to.ask(Wait(steps)).await.map(|()| "waits".to_owned())),
        How::Forward => said(to.ask(Pass(steps)).await),
    }
}

fn said<M>(outcome: Result<String, AskError<M>>) -> String
where
    M: RemoteMessage,
{
    match outcome {
        Ok(said) => said,
        Err(AskError::Cycle { chain, .. }) => {
            let ids = chain.links().iter().map(|link| format!("{}", link.target));
            format!("cycle {}", ids.collect::<Vec<_>>().join(" "))
        }
        Err(error) => error.to_string(),
    }
}

impl AsyncHandler<Held> for Post {
    async fn handle(&mut self, Held(steps): Held, _: &mut Self::Context) -> String {
        tokio::task::yield_now().await;
        go(steps).await
    }
}

impl ReentrantHandler<Roam> for Post {
    async fn handle(_: This<Self>, Roam(steps): Roam) -> String {
        tokio::task::yield_now().await;
        go(steps).await
    }
}

impl Handler<Wait> for Post {
    type Result = ();
    fn handle(&mut self, Wait(steps): Wait, ctx: &mut Self::Context) {
        ctx.wait(go(steps).into_actor(self).map(|said, post, _| note(&post.log, said)));
    }
}

impl RespondingHandler<Pass> for Post {
    fn handle(&mut self, Pass(mut steps): Pass, responder: Responder<Pass>, _: &mut Self::Context) {
        if steps.is_empty() {
            return responder.reply(tenant());
        }
        let (to, how) = steps.remove(0);
        let passed = match how {
            How::Async => {
                responder.try_forward(&to, Held(steps)).map_err(|it| (it.reason, it.responder))
            }
            _ => responder.try_forward(&to, Roam(steps)).map_err(|it| (it.reason, it.responder)),
        };
        if let Err((reason, responder)) = passed {
            responder.reply(reason.to_string());
        }
    }
}

impl Handler<Note> for Post {
    type Result = OrStash<Note>;
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) -> OrStash<Note> {
        if !self.ready {
            return OrStash::Stash(Note(n));
        }
        note(&self.log, format!("{n} {}", tenant()));
        OrStash::reply(())
    }
}

impl Handler<Ready> for Post {
    type Result = ();
    fn handle(&mut self, _: Ready, ctx: &mut Self::Context) {
        self.ready = true;
        ctx.unstash_all();
    }
}

/// What a handler leaves behind.
impl Handler<Leave> for Post {
    type Result = ();
    fn handle(&mut self, Leave(to): Leave, ctx: &mut Self::Context) {
        to.try_tell(Note(1)).expect("room");
        let then = to.clone();
        ctx.spawn(async move { then.tell(Note(2)).await }.into_actor(self).map(|sent, _, _| {
            sent.expect("room");
        }));
        let then = to.clone();
        ctx.run_later(Duration::from_millis(10), move |_, _| then.try_tell(Note(3)).expect("room"));
        ctx.pipe_to_self(async move { to }, Piped);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Piped(ActorRef<Post>);

impl Handler<Piped> for Post {
    type Result = ();
    fn handle(&mut self, Piped(to): Piped, _: &mut Self::Context) {
        to.try_tell(Note(4)).expect("room");
    }
}

/// For how many milliseconds somebody still waits.
impl RespondingHandler<Left> for Post {
    fn handle(&mut self, _: Left, responder: Responder<Left>, ctx: &mut Self::Context) {
        let left = responder.deadline().map(|at| at.duration_since(ctx.clock().now()));
        responder.reply(left.map_or(0, |left| left.as_millis() as u64));
    }
}

fn post(node: &Node) -> Result<ActorRef<Post>, SpawnError> {
    post_of(node, &Log::default())
}

fn post_of(node: &Node, log: &Log) -> Result<ActorRef<Post>, SpawnError> {
    let log = Arc::clone(log);
    node.spawn(move |_| Post { log: Arc::clone(&log), ready: true }).start()
}

fn lines(log: &Log) -> Vec<String> {
    log.lock().expect("a log").clone()
}

fn on_a_node(test: impl AsyncFnOnce(Node)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let builder = Node::builder()
            .threads(LocalThreads)
            .entity(|_| Post { log: Log::default(), ready: true });
        let node = builder.start().await.expect("a node");
        test(node.clone()).await;
        node.shutdown().await;
    });
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn acme() -> Call {
    Call::default().with("tenant", "acme").expect("within the limits")
}

#[test]
fn headers_follow_an_ask_through_all_that_it_asks() {
    on_a_node(async |node| {
        let (a, b, c) = (post(&node).expect("a"), post(&node).expect("b"), post(&node).expect("c"));
        let entity = node.entity::<Post>("one");
        for how in [How::Async, How::Reentrant, How::Forward] {
            let steps = vec![
                (a.clone(), how),
                (b.clone(), How::Async),
                (entity.clone(), How::Reentrant),
                (c.clone(), How::Async),
            ];
            assert_eq!(acme().scope(go(steps.clone())).await, "acme");
            assert_eq!(go(steps).await, "nobody", "nothing is left of an earlier call");
        }
    });
}

#[test]
fn headers_follow_what_a_handler_leaves_behind() {
    on_a_node(async |node| {
        let log = Log::default();
        let (a, b) = (post(&node).expect("a"), post_of(&node, &log).expect("b"));
        acme().run(|| a.try_tell(Leave(b.clone()))).expect("room");
        pause(20).await;
        a.tell(Leave(b.clone())).await.expect("room");
        pause(20).await;
        let mut found = lines(&log);
        found.sort();
        let expected: Vec<String> =
            (1..=4).flat_map(|n| [format!("{n} acme"), format!("{n} nobody")]).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn headers_stay_with_a_stashed_message() {
    on_a_node(async |node| {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let post = node.spawn(move |_| Post { log: Arc::clone(&theirs), ready: false });
        let post = post.start().expect("spawned");
        acme().scope(post.tell(Note(1))).await.expect("room");
        let asked = tokio::task::spawn_local(acme().scope(post.ask(Note(2))));
        pause(1).await;
        post.tell(Note(3)).await.expect("room");
        post.ask(Ready).await.expect("answered");
        asked.await.expect("no panic").expect("answered");
        pause(1).await;
        assert_eq!(lines(&log), ["1 acme", "2 acme", "3 nobody"]);
    });
}

#[test]
fn a_call_in_a_handler_is_that_of_the_message_with_what_is_added() {
    on_a_node(async |node| {
        let post = post(&node).expect("a post");
        let more = acme().with("user", "ada").expect("within the limits");
        let told = more.scope(async {
            let call = Call::current().with("tenant", "other").expect("within the limits");
            call.scope(go(vec![(post, How::Async)])).await
        });
        assert_eq!(told.await, "other");
        assert_eq!(Call::current(), Call::default());
        assert_eq!(more.run(|| Call::current().headers().count()), 2);
    });
}

#[test]
fn an_ask_that_could_only_deadlock_is_refused_at_once_and_names_who_waits() {
    on_a_node(async |node| {
        let (a, b) = (post(&node).expect("a"), post(&node).expect("b"));
        let entity = node.entity::<Post>("one");
        let at = tokio::time::Instant::now();
        // Itself; over another; an entity; one that waits in a future of its context.
        let steps = vec![(a.clone(), How::Async), (a.clone(), How::Async)];
        assert_eq!(go(steps).await, format!("cycle {0} {0}", target(&node, &a)));
        let steps =
            vec![(a.clone(), How::Async), (b.clone(), How::Async), (a.clone(), How::Reentrant)];
        let (ta, tb) = (target(&node, &a), target(&node, &b));
        assert_eq!(go(steps).await, format!("cycle {ta} {tb} {ta}"));
        let steps = vec![
            (b.clone(), How::Async),
            (entity.clone(), How::Async),
            (a.clone(), How::Reentrant),
            (entity.clone(), How::Async),
        ];
        assert_eq!(go(steps).await, "cycle [\"one\"] [\"one\"]");
        assert_eq!(at.elapsed(), Duration::ZERO, "at once");
        let log = Log::default();
        let c = post_of(&node, &log).expect("c");
        let steps = vec![(c.clone(), How::Wait), (b.clone(), How::Async), (c.clone(), How::Async)];
        assert_eq!(go(steps).await, "waits");
        pause(1).await;
        let tc = target(&node, &c);
        assert_eq!(lines(&log), [format!("cycle {tc} {tb} {tc}")]);
        assert_eq!(node.dead_letters().total(), 0);
    });
}

fn target(node: &Node, post: &ActorRef<Post>) -> String {
    format!("{}@{}", post.id().expect("an actor"), node.id())
}

#[test]
fn an_actor_that_goes_on_meanwhile_makes_no_cycle() {
    on_a_node(async |node| {
        let (a, b) = (post(&node).expect("a"), post(&node).expect("b"));
        let steps =
            vec![(a.clone(), How::Reentrant), (b.clone(), How::Async), (a.clone(), How::Async)];
        assert_eq!(go(steps).await, "nobody");
        // One that has been asked, and is asked again by somebody else at the same time.
        let one = go(vec![(a.clone(), How::Async), (b.clone(), How::Async)]);
        let other = go(vec![(b, How::Reentrant), (a, How::Async)]);
        assert_eq!(tokio::join!(one, other), ("nobody".to_owned(), "nobody".to_owned()));
    });
}

#[test]
fn a_forwarded_ask_keeps_its_chain() {
    on_a_node(async |node| {
        let (a, b) = (post(&node).expect("a"), post(&node).expect("b"));
        let steps =
            vec![(a.clone(), How::Async), (b.clone(), How::Forward), (a.clone(), How::Async)];
        assert_eq!(go(steps).await, "cycle", "the one that waits for the answer can't give it");
        let c = post(&node).expect("c");
        let steps = vec![
            (a.clone(), How::Async),
            (b, How::Forward),
            (c, How::Async),
            (a.clone(), How::Async),
        ];
        assert!(go(steps).await.starts_with("cycle "), "nor can it be asked by who is to give it");
    });
}

#[test]
fn an_ask_waits_no_longer_than_whoever_waits_for_its_asker() {
    on_a_node(async |node| {
        message!("test.Ask", struct AskLeft(ActorRef<Post>);, "u64");
        message!("test.RoamLeft", struct RoamLeft(ActorRef<Post>);, "u64");
        #[derive(RemoteActor)]
        #[remote(name = "test.Asker", handles(async AskLeft, reentrant RoamLeft))]
        struct Asker;
        impl Actor for Asker {
            type Context = ClusterContext<Self>;
        }
        impl AsyncHandler<AskLeft> for Asker {
            async fn handle(&mut self, AskLeft(to): AskLeft, _: &mut Self::Context) -> u64 {
                to.ask(Left).within(Duration::from_secs(60)).await.expect("answered")
            }
        }
        impl ReentrantHandler<RoamLeft> for Asker {
            async fn handle(_: This<Self>, RoamLeft(to): RoamLeft) -> u64 {
                to.ask(Left).within(Duration::from_secs(60)).await.expect("answered")
            }
        }
        let (asker, post) =
            (node.spawn(|_| Asker).start().expect("spawned"), post(&node).expect("a post"));
        let brief = Duration::from_millis(300);
        assert_eq!(asker.ask(AskLeft(post.clone())).within(brief).await.expect("answered"), 300);
        assert_eq!(asker.ask(RoamLeft(post.clone())).within(brief).await.expect("answered"), 300);
        assert_eq!(post.ask(Left).within(Duration::from_secs(60)).await.expect("answered"), 60_000);
        let longer = Duration::from_secs(300);
        assert_eq!(asker.ask(AskLeft(post)).within(longer).await.expect("answered"), 60_000);
    });
}
