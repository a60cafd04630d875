//! This project's actors, as a contestant.

use std::{
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use actix_cluster::{SpawnError, prelude::*};
use actors_rules::{CAPACITY, Error, Home, Note, Total, listening, mark_started};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, task::yield_now};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bench.Add", version = 1)]
struct Add(u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "bench.Echo", version = 1)]
struct Echo(u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bench.AddNote", version = 1)]
struct AddNote(Note);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "bench.EchoNote", version = 1)]
struct EchoNote(Note);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "(u64, u64)")]
#[remote(name = "bench.GetTotal", version = 1)]
struct GetTotal;

#[derive(Default, RemoteActor)]
#[remote(name = "bench.Counter", handles(Add, Echo, GetTotal))]
pub(crate) struct Counter(Total);

#[derive(Default, RemoteActor)]
#[remote(
    name = "bench.FarCounter",
    handles(AddNote, EchoNote, GetTotal),
    placement = Eventual,
    state = volatile
)]
pub(crate) struct FarCounter(Total);

impl Actor for Counter {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        mark_started();
    }
}

impl Handler<Add> for Counter {
    type Result = ();
    fn handle(&mut self, Add(number): Add, _: &mut Self::Context) {
        self.0.add(number);
    }
}

impl Handler<Echo> for Counter {
    type Result = u64;
    fn handle(&mut self, Echo(number): Echo, _: &mut Self::Context) -> u64 {
        number
    }
}

impl Handler<GetTotal> for Counter {
    type Result = MessageResult<GetTotal>;
    fn handle(&mut self, _: GetTotal, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.0.count, self.0.sum))
    }
}

impl Actor for FarCounter {
    type Context = ClusterContext<Self>;
}

impl Handler<AddNote> for FarCounter {
    type Result = ();
    fn handle(&mut self, AddNote(note): AddNote, _: &mut Self::Context) {
        self.0.add(note[0]);
    }
}

impl Handler<EchoNote> for FarCounter {
    type Result = u64;
    fn handle(&mut self, EchoNote(note): EchoNote, _: &mut Self::Context) -> u64 {
        note[0]
    }
}

impl Handler<GetTotal> for FarCounter {
    type Result = MessageResult<GetTotal>;
    fn handle(&mut self, _: GetTotal, _: &mut Self::Context) -> Self::Result {
        MessageResult((self.0.count, self.0.sum))
    }
}

/// Runs what is given to it on its own arbiter.
#[derive(RemoteActor)]
#[remote(name = "bench.Launcher", handles())]
struct Launcher(Option<Box<dyn FnOnce() + Send>>);

impl Actor for Launcher {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let Some(launch) = self.0.take() {
            launch();
        }
    }
}

/// Within one process: a node with an arbiter for the sender, and one more for actors across.
#[derive(Clone, Default)]
pub(crate) struct Local(Option<Node>);

impl Local {
    fn start(&self, arbiter: usize) -> Result<ActorRef<Counter>, SpawnError> {
        let node = self.0.as_ref().expect("it is on a stage");
        node.spawn(|_| Counter::default()).mailbox_capacity(CAPACITY).arbiter(arbiter).start()
    }
}

impl actors_rules::Local for Local {
    type Ref = ActorRef<Counter>;

    async fn spawn(&self) -> Result<Self::Ref, Error> {
        loop {
            match self.start(0) {
                Err(SpawnError::Busy) => yield_now().await,
                started => return Ok(started?),
            }
        }
    }

    async fn tell(actor: &Self::Ref, number: u64) -> Result<(), Error> {
        Ok(actor.tell(Add(number)).await?)
    }

    async fn ask(actor: &Self::Ref, number: u64) -> Result<u64, Error> {
        Ok(actor.ask(Echo(number)).await?)
    }

    async fn total(actor: &Self::Ref) -> Result<Total, Error> {
        let (count, sum) = actor.ask(GetTotal).within(PATIENCE).await?;
        Ok(Total { count, sum })
    }

    fn stage<T, F, S>(self, home: Home, actors: usize, send: S) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + 'static,
        S: FnOnce(Self, Vec<Self::Ref>) -> F + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let arbiters = [1, 2][usize::from(home == Home::Across)];
            let builder = Node::builder().arbiters(arbiters.try_into().expect("not zero"));
            let on_stage = Self(Some(builder.start().await?));
            let starts = (0..actors).map(|_| on_stage.start(arbiters - 1));
            let refs = starts.collect::<Result<Vec<_>, _>>()?;
            let (give, sent) = oneshot::channel();
            let node = on_stage.0.clone().expect("it is on a stage");
            let mut launch: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(move || {
                tokio::task::spawn_local(async move {
                    let _ = give.send(send(on_stage, refs).await);
                });
            }));
            let _launcher = node.spawn(move |_| Launcher(launch.take())).arbiter(0).start()?;
            sent.await?
        })
    }
}

/// How long the last answer may take, behind all that was sent before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two processes: each a node of one cluster, with certificates in a folder for both.
#[derive(Clone, Copy)]
pub(crate) struct Remote;

impl Remote {
    async fn node(name: &str, config: ClusterConfig) -> Result<Node, Error> {
        let builder = Node::builder().name(name).entity(|_| FarCounter::default());
        Ok(builder.cluster(config).start().await?)
    }
}

impl actors_rules::Remote for Remote {
    /// The far end's entity, and the node that reaches it.
    type Ref = (ActorRef<FarCounter>, Node);

    fn far(self) -> Result<(), Error> {
        actors_rules::one_thread(async {
            let folder = std::env::temp_dir().join(format!("actors-{}", std::process::id()));
            let config = ClusterConfig::dev_in("bench", &folder)?;
            let node = Self::node("far", config).await?;
            let addr = node.addr().ok_or("it is in no cluster")?;
            listening(format_args!("{addr} {}", folder.display()));
            node.ended().await;
            Ok(())
        })
    }

    async fn connect(&self, far: &str) -> Result<Self::Ref, Error> {
        let (addr, folder) = far.split_once(' ').ok_or("an address and a folder")?;
        let config = ClusterConfig::dev_in("bench", folder)?.seed(addr.parse()?);
        let node = Self::node("near", config).await?;
        forget(&PathBuf::from(folder))?;
        node.wait_for_members(2).await;
        let is_far =
            |key: &String| node.owner_of::<FarCounter>(key).is_some_and(|owner| owner != node.id());
        let key = (0..).map(|n| format!("counter-{n}")).find(is_far).ok_or("no key is far")?;
        Ok((node.entity(&key), node))
    }

    async fn tell((actor, _): &Self::Ref, note: Note) -> Result<(), Error> {
        Ok(actor.tell(AddNote(note)).within(PATIENCE).await?)
    }

    async fn ask((actor, _): &Self::Ref, note: Note) -> Result<u64, Error> {
        Ok(actor.ask(EchoNote(note)).within(PATIENCE).await?)
    }

    async fn total((actor, _): &Self::Ref) -> Result<Total, Error> {
        let (count, sum) = actor.ask(GetTotal).within(PATIENCE).await?;
        Ok(Total { count, sum })
    }
}

/// Removes the certificates: both ends have read them.
fn forget(folder: &Path) -> Result<(), Error> {
    Ok(std::fs::remove_dir_all(folder)?)
}
