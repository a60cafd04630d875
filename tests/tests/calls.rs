//! What travels along with messages between nodes: headers, the chain of those that wait, deadlines.

use std::time::Duration;

use actix_cluster::{
    Call, NodeBuilder, RejectReason,
    interceptor::{Arrival, Interceptor, Refused},
    message::{decode, encode},
    prelude::*,
};
use actix_cluster_tests::{Shared, SimulatedNode, World, pause, simulate, until};
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
    /// By whoever comes next.
    Forward,
}

message!("test.Held", struct Held(Steps);, "String");
message!("test.Roam", struct Roam(Steps);, "String");
message!("test.Pass", struct Pass(Steps);, "String");
message!("test.Hold", struct Hold;, "()");
message!("test.Note", struct Note(u32);, "()");
message!("test.Left", struct Left;, "u64");
message!("test.AskLeft", struct AskLeft(ActorRef<Post>);, "u64");

#[derive(RemoteActor)]
#[remote(
    name = "test.Post",
    handles(async Held, reentrant Roam, responder Pass, Note, responder Left, async AskLeft, async Hold),
    placement = Eventual,
    state = volatile
)]
struct Post(Shared<Vec<String>>);

impl Actor for Post {
    type Context = ClusterContext<Self>;
}

fn tenant() -> String {
    Call::current().header("tenant").unwrap_or("nobody").to_owned()
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
        How::Forward => said(to.ask(Pass(steps)).await),
    }
}

fn said<M: RemoteMessage>(outcome: Result<String, AskError<M>>) -> String {
    match outcome {
        Ok(said) => said,
        Err(AskError::Cycle { chain, .. }) => format!("cycle {chain}"),
        Err(error) => error.to_string(),
    }
}

impl AsyncHandler<Held> for Post {
    async fn handle(&mut self, Held(steps): Held, _: &mut Self::Context) -> String {
        go(steps).await
    }
}

impl ReentrantHandler<Roam> for Post {
    async fn handle(_: This<Self>, Roam(steps): Roam) -> String {
        go(steps).await
    }
}

impl RespondingHandler<Pass> for Post {
    fn handle(&mut self, Pass(mut steps): Pass, responder: Responder<Pass>, _: &mut Self::Context) {
        let (to, _) = steps.remove(0);
        if let Err(error) = responder.try_forward(&to, Held(steps)) {
            error.responder.reply(error.reason.to_string());
        }
    }
}

impl Handler<Note> for Post {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) {
        self.0.lock().expect("a log").push(format!("{n} {}", tenant()));
    }
}

impl RespondingHandler<Left> for Post {
    fn handle(&mut self, _: Left, responder: Responder<Left>, ctx: &mut Self::Context) {
        let left = responder.deadline().map(|at| at.saturating_duration_since(ctx.clock().now()));
        responder.reply(left.map_or(0, |left| left.as_millis() as u64));
    }
}

impl AsyncHandler<AskLeft> for Post {
    async fn handle(&mut self, AskLeft(to): AskLeft, _: &mut Self::Context) -> u64 {
        to.ask(Left).within(Duration::from_secs(60)).await.expect("answered")
    }
}

/// Keeps the actor for longer than any test.
impl AsyncHandler<Hold> for Post {
    async fn handle(&mut self, _: Hold, _: &mut Self::Context) {
        pause(600_000).await;
    }
}

/// Three nodes, with a post on each.
struct Country {
    nodes: Vec<SimulatedNode>,
    posts: Vec<ActorRef<Post>>,
    log: Shared<Vec<String>>,
}

impl Country {
    async fn open(world: &World) -> Self {
        let log = Shared::default();
        let build = |builder: NodeBuilder| {
            let log = Shared::clone(&log);
            builder.entity(move |_| Post(Shared::clone(&log)))
        };
        let mut country = Self { nodes: Vec::new(), posts: Vec::new(), log: Shared::clone(&log) };
        for host in 1..=3 {
            country.nodes.push(world.start(host, build).await);
        }
        for node in &country.nodes {
            node.sees(3).await;
            let log = Shared::clone(&log);
            let post = node.node.spawn(move |_| Post(Shared::clone(&log)));
            country.posts.push(post.start().expect("spawned"));
        }
        country
    }

    /// The post of a node, as the first one knows it.
    fn post(&self, of: usize) -> ActorRef<Post> {
        let bytes = encode(&self.posts[of], Vec::new()).expect("a reference");
        self.nodes[0].node.scope(|| decode(&bytes)).expect("a reference")
    }

    /// As a chain names it.
    fn name(&self, of: usize) -> String {
        format!("test.Post {}@{}", self.posts[of].id().expect("an actor"), self.nodes[of].node.id())
    }
}

fn acme() -> Call {
    Call::default().with("tenant", "acme").expect("within the limits")
}

#[test]
fn headers_follow_what_is_sent_to_other_nodes() {
    simulate(async {
        let country = Country::open(&World::new(1)).await;
        for how in [How::Async, How::Reentrant, How::Forward] {
            let entity = country.nodes[0].node.entity("one");
            let steps = vec![
                (country.post(1), how),
                (country.post(2), How::Async),
                (entity, How::Reentrant),
                (country.post(0), How::Async),
            ];
            assert_eq!(acme().scope(go(steps.clone())).await, "acme");
            assert_eq!(go(steps).await, "nobody", "nothing is left of an earlier call");
        }
        acme().scope(country.post(1).tell(Note(1))).await.expect("room");
        acme().run(|| country.post(1).try_tell(Note(2))).expect("room");
        country.post(1).tell(Note(3)).await.expect("room");
        until("all has come", || country.log.lock().expect("a log").len() == 3).await;
        assert_eq!(*country.log.lock().expect("a log"), ["1 acme", "2 acme", "3 nobody"]);
    });
}

#[test]
fn a_cycle_over_other_nodes_is_refused_and_names_who_waits() {
    simulate(async {
        let country = Country::open(&World::new(2)).await;
        let steps = vec![
            (country.post(1), How::Async),
            (country.post(2), How::Async),
            (country.post(1), How::Reentrant),
        ];
        let (second, third) = (country.name(1), country.name(2));
        assert_eq!(go(steps).await, format!("cycle {second} -> {third} -> {second}"));
        let entity = country.nodes[0].node.entity::<Post>("one");
        let steps = vec![
            (entity.clone(), How::Async),
            (country.post(2), How::Reentrant),
            (entity, How::Async),
        ];
        assert_eq!(go(steps).await, "cycle test.Post [\"one\"] -> test.Post [\"one\"]");
        let steps = vec![
            (country.post(1), How::Async),
            (country.post(2), How::Forward),
            (country.post(1), How::Async),
        ];
        assert_eq!(go(steps).await, "cycle");
        let steps = vec![
            (country.post(1), How::Reentrant),
            (country.post(2), How::Async),
            (country.post(1), How::Async),
        ];
        assert_eq!(go(steps).await, "nobody", "one that goes on meanwhile makes no cycle");
    });
}

#[test]
fn an_ask_from_another_node_waits_no_longer_than_its_first_asker() {
    simulate(async {
        let country = Country::open(&World::new(3)).await;
        let asked = country.post(1).ask(AskLeft(country.post(2))).within(Duration::from_secs(1));
        let left = asked.await.expect("answered");
        assert!((900..=1_000).contains(&left), "{left} ms were left");
        pause(1).await;
    });
}

#[test]
fn headers_follow_what_is_sent_on_to_an_entity_that_moved() {
    simulate(async {
        let (world, log) = (World::new(4), Shared::<Vec<String>>::default());
        let build = |builder: NodeBuilder| {
            let log = Shared::clone(&log);
            builder.entity(move |_| Post(Shared::clone(&log)))
        };
        let nodes = [world.start(1, build).await, world.start(2, build).await];
        nodes[0].sees(2).await;
        let tells = async {
            for n in 0..400 {
                let post = nodes[0].node.entity::<Post>(&format!("post-{n}"));
                acme().scope(post.tell(Note(n))).await.expect("room");
                pause(5).await;
            }
        };
        let ((), _third) = tokio::join!(tells, world.start(3, build));
        until("all has come", || log.lock().expect("a log").len() == 400).await;
        assert!(log.lock().expect("a log").iter().all(|line| line.ends_with(" acme")));
    });
}

#[test]
fn headers_stay_with_what_waits_for_an_entity_that_leaves_with_its_node() {
    simulate(async {
        let (world, log) = (World::new(7), Shared::<Vec<String>>::default());
        let build = |builder: NodeBuilder| {
            let log = Shared::clone(&log);
            builder.entity(move |_| Post(Shared::clone(&log)))
        };
        let nodes = [world.start(1, build).await, world.start(2, build).await];
        nodes[1].sees(2).await;
        let leaving = &nodes[1].node;
        let is_there = |key: &String| leaving.owner_of::<Post>(key).as_ref() == Some(&leaving.id());
        let key = (0..).map(|n| format!("post-{n}")).find(is_there).expect("a key");
        let post = leaving.entity::<Post>(&key);
        post.tell(Hold).await.expect("room");
        acme().scope(post.tell(Note(1))).await.expect("room");
        post.tell(Note(2)).await.expect("room");
        // The first is being handled by then.
        pause(20).await;
        leaving.shutdown().await;
        until("both have come", || log.lock().expect("a log").len() == 2).await;
        assert_eq!(*log.lock().expect("a log"), ["1 acme", "2 nobody"]);
    });
}

/// Says which node each message came from, and refuses those that a header names.
struct Border(Shared<Vec<String>>);

impl Interceptor for Border {
    fn handling(&self, arrival: &Arrival<'_>) -> Result<(), Refused> {
        let from = arrival.from().map_or_else(|| "here".to_owned(), |node| node.name.to_string());
        self.0.lock().expect("a log").push(format!("{} from {from}", arrival.message()));
        if arrival.header("tenant") == Some("nobody") { Err(Refused) } else { Ok(()) }
    }
}

#[test]
fn interceptors_see_what_comes_from_other_nodes_and_may_refuse_it() {
    simulate(async {
        let (log, seen) = (Shared::<Vec<String>>::default(), Shared::<Vec<String>>::default());
        let world = World::new(6);
        let build = |builder: NodeBuilder| {
            let log = Shared::clone(&log);
            let builder = builder.entity(move |_| Post(Shared::clone(&log)));
            builder.interceptor(Border(Shared::clone(&seen)))
        };
        let (one, two) = (world.start(1, build).await, world.start(2, build).await);
        one.sees(2).await;
        let theirs = Shared::clone(&log);
        let post = two.node.spawn(move |_| Post(Shared::clone(&theirs))).start().expect("spawned");
        let bytes = encode(&post, Vec::new()).expect("a reference");
        let post: ActorRef<Post> = one.node.scope(|| decode(&bytes)).expect("a reference");
        let nobody = Call::default().with("tenant", "nobody").expect("within the limits");

        let refused = nobody.scope(post.ask(Note(1))).await.expect_err("refused");
        let reason = RejectReason::Refused;
        assert!(matches!(refused, AskError::Rejected { reason: given, .. } if given == reason));
        nobody.scope(post.tell(Note(2))).await.expect("room");
        post.tell(Note(3)).await.expect("room");
        post.ask(Note(4)).await.expect("what comes behind a refused message runs");
        assert_eq!(*log.lock().expect("a log"), ["3 nobody", "4 nobody"]);
        let from = one.node.id().name.to_string();
        let all = vec![format!("test.Note from {from}"); 4];
        assert_eq!(*seen.lock().expect("a log"), all);
        until("the sender hears of it", || one.node.dead_letters().rejected(reason) == 1).await;
    });
}
