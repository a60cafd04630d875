//! The actors of a run. Each writes what it does to the record.

use std::{num::NonZeroUsize, time::Duration};

use actix_cluster::{MovedState, NodeBuilder, RestartPolicy, Terminated, prelude::*};
use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::{Shared, pause};

/// A numbered message, told or asked.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "u32")]
#[remote(name = "simulation.Note", version = 1)]
pub(crate) struct Note {
    pub(crate) sender: u32,
    pub(crate) number: u32,
    pub(crate) is_told: bool,
}

/// An ask with a key.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "u64")]
#[remote(name = "simulation.Deposit", version = 1)]
pub(crate) struct Deposit(pub(crate) u64);

#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
#[remote(name = "simulation.AccountState", version = 1)]
pub(crate) struct AccountState {
    activation: u32,
    deposits: u64,
}

/// An entity whose state moves.
#[derive(RemoteActor)]
#[remote(
    name = "simulation.Account",
    handles(Note, Deposit),
    placement = Eventual,
    state = moved
)]
pub(crate) struct Account {
    key: String,
    activation: u32,
    /// Which one had its state before.
    before: Option<u32>,
    deposits: u64,
    record: Shared<Record>,
}

impl Actor for Account {
    type Context = ClusterContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut record = lock(&self.record);
        let node = ctx.node().id().to_string();
        self.activation = record.activated(&self.key, node, self.before);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        lock(&self.record).ended(&self.key, self.activation);
    }
}

impl MovedState for Account {
    type State = AccountState;

    fn save(&self) -> AccountState {
        AccountState { activation: self.activation, deposits: self.deposits }
    }

    fn restore(&mut self, AccountState { activation, deposits }: AccountState) {
        (self.before, self.deposits) = (Some(activation), deposits);
    }
}

impl Handler<Note> for Account {
    type Result = u32;
    fn handle(&mut self, note: Note, _: &mut Self::Context) -> u32 {
        lock(&self.record).handle(note, &self.key, self.activation);
        note.number
    }
}

impl Handler<Deposit> for Account {
    type Result = u64;
    fn handle(&mut self, Deposit(deposit): Deposit, _: &mut Self::Context) -> u64 {
        self.deposits += 1;
        lock(&self.record).deposit(deposit, &self.key, self.activation);
        self.deposits
    }
}

/// Crashes, or ends.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "()")]
#[remote(name = "simulation.End", version = 1)]
pub(crate) enum End {
    Crash,
    Stop,
}

/// Fails now and then, and is restarted within its intensity.
#[derive(RemoteActor)]
#[remote(name = "simulation.Crasher", handles(End))]
pub(crate) struct Crasher {
    number: u32,
    record: Shared<Record>,
}

/// How often a crasher may be restarted.
pub(crate) const RESTARTS: (u32, Duration) = (3, Duration::from_secs(5));

impl Crasher {
    pub(crate) fn policy() -> RestartPolicy {
        let (limit, within) = RESTARTS;
        RestartPolicy { limit, within, ..RestartPolicy::default() }
    }

    pub(crate) fn make(
        number: u32,
        record: &Shared<Record>,
    ) -> impl FnMut(&mut ClusterContext<Self>) -> Self + Send + 'static + use<> {
        let record = Shared::clone(record);
        move |_| Self { number, record: Shared::clone(&record) }
    }
}

impl Actor for Crasher {
    type Context = ClusterContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let mut record = lock(&self.record);
        if let Some(failed) = record.failed.remove(&self.number) {
            record.restarts.entry(self.number).or_default().push(failed);
        }
    }
}

impl Handler<End> for Crasher {
    type Result = ();
    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        match end {
            // As a panic, without its output.
            End::Crash => {
                lock(&self.record).failed.insert(self.number, ctx.clock().now());
                ctx.fail("on purpose");
            }
            End::Stop => ctx.stop(),
        }
    }
}

/// Whom to watch.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
#[remote(name = "simulation.Watch", version = 1)]
pub(crate) struct Watch(pub(crate) ActorRef<Crasher>);

/// Watches crashers.
#[derive(RemoteActor)]
#[remote(name = "simulation.Watcher", handles(Watch))]
pub(crate) struct Watcher {
    pub(crate) number: u32,
    pub(crate) record: Shared<Record>,
}

impl Actor for Watcher {
    type Context = ClusterContext<Self>;
}

impl Handler<Watch> for Watcher {
    type Result = ();
    fn handle(&mut self, Watch(crasher): Watch, ctx: &mut Self::Context) {
        if let Ok(watch) = ctx.watch(&crasher) {
            let watch = (self.number, watch.to_string());
            lock(&self.record).watches.entry(watch).or_insert(0);
        }
    }
}

impl Handler<Terminated> for Watcher {
    type Result = ();
    fn handle(&mut self, end: Terminated, _: &mut Self::Context) {
        lock(&self.record).terminated(self.number, end.watch.to_string());
    }
}

/// Takes its time.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "()")]
#[remote(name = "simulation.Chore", version = 1)]
pub(crate) struct Chore;

/// How many chores a slow one may have at a time.
pub(crate) const CHORES: usize = 8;

/// Is always behind.
#[derive(RemoteActor)]
#[remote(name = "simulation.Slow", handles(async Chore), mailbox = 8)]
pub(crate) struct Slow {
    pub(crate) number: u32,
    pub(crate) record: Shared<Record>,
}

impl Actor for Slow {
    type Context = ClusterContext<Self>;
}

impl AsyncHandler<Chore> for Slow {
    async fn handle(&mut self, _: Chore, _: &mut Self::Context) {
        pause(20).await;
        lock(&self.record).slow.entry(self.number).or_default().1 += 1;
    }
}

fn lock(record: &Shared<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().expect("nobody panics under this lock")
}

pub(crate) fn host(
    record: &Shared<Record>,
    arbiters: usize,
) -> impl FnOnce(NodeBuilder) -> NodeBuilder + use<> {
    let record = Shared::clone(record);
    move |builder| {
        let arbiters = NonZeroUsize::new(arbiters).expect("at least one");
        let builder = builder.arbiters(arbiters).actor::<Crasher>().actor::<Watcher>();
        builder.actor::<Slow>().entity(move |key| Account {
            key: key.to_owned(),
            activation: 0,
            before: None,
            deposits: 0,
            record: Shared::clone(&record),
        })
    }
}
