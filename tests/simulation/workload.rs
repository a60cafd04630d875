//! What is sent in a run: from each node, by a few senders.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use actix_cluster::{
    NodeId,
    message::{decode, encode},
    prelude::*,
    transport::Random,
};
use tokio::task::JoinSet;

use super::{
    Stage,
    actors::{Account, CHORES, Chore, Crasher, Deposit, End, Note, Slow, Watch, Watcher},
    record::Outcome,
};
use crate::{Shared, pause};

/// How many keys there are.
pub(crate) const KEYS: u64 = 40;

/// How many senders each node has.
const SENDERS: u32 = 2;

/// How long an ask of a sender waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many asks of a sender may be under way.
const UNDER_WAY: usize = 32;

pub(crate) fn key(number: u64) -> String {
    format!("acct-{number}")
}

/// A process that sends, or has sent.
pub(crate) struct Process {
    pub(crate) number: u8,
    pub(crate) node: Node,
    pub(crate) senders: BTreeSet<u32>,
    /// Whether it was killed: what it knew of its messages went with it.
    pub(crate) is_killed: bool,
}

pub(crate) struct Workload {
    stage: Rc<Stage>,
    stop: Rc<Cell<bool>>,
    senders: RefCell<JoinSet<()>>,
    last_sender: Cell<u32>,
    last_deposit: Rc<Cell<u64>>,
    pub(crate) processes: RefCell<Vec<Process>>,
    crashers: RefCell<Vec<ActorRef<Crasher>>>,
    /// The watchers, with their process, and who their node was.
    pub(crate) watchers: RefCell<Vec<(u32, usize, NodeId)>>,
}

impl Workload {
    pub(crate) fn new(stage: &Rc<Stage>) -> Rc<Self> {
        Rc::new(Self {
            stage: Rc::clone(stage),
            stop: Rc::default(),
            senders: RefCell::default(),
            last_sender: Cell::new(0),
            last_deposit: Rc::default(),
            processes: RefCell::default(),
            crashers: RefCell::default(),
            watchers: RefCell::default(),
        })
    }

    /// A node has joined: it sends, has crashers and a watcher of all that run.
    pub(crate) async fn begin(self: &Rc<Self>, number: u8, node: &Node) {
        let first = self.last_sender.get() + 1;
        self.last_sender.set(first + SENDERS - 1);
        let senders: BTreeSet<u32> = (first..first + SENDERS).collect();
        let process =
            Process { number, node: node.clone(), senders: senders.clone(), is_killed: false };
        self.processes.borrow_mut().push(process);
        let process = self.processes.borrow().len() - 1;
        for sender in senders {
            let sending = Sender {
                stage: Rc::clone(&self.stage),
                stop: Rc::clone(&self.stop),
                last_deposit: Rc::clone(&self.last_deposit),
                random: self.stage.random.borrow_mut().fork(),
                node: node.clone(),
                workload: Rc::clone(self),
                process,
                sender,
            };
            self.senders.borrow_mut().spawn_local(sending.run());
        }
        let keeping = keep_busy(Rc::clone(self), process, node.clone());
        self.senders.borrow_mut().spawn_local(keeping);
        self.spawn_watched(process, node).await;
    }

    /// Whether a process runs.
    pub(crate) fn runs(&self, process: usize) -> bool {
        let processes = self.processes.borrow();
        let Process { number, is_killed, .. } = &processes[process];
        let is_last = processes[process + 1..].iter().all(|later| later.number != *number);
        is_last && !is_killed && self.stage.cluster.running().contains(number)
    }

    async fn spawn_watched(&self, process: usize, node: &Node) {
        let record = &self.stage.record;
        for _ in 0..2 {
            let crasher = {
                let mut record = self.stage.record();
                record.crashers += 1;
                record.crashers
            };
            let spawned = node.spawn(Crasher::make(crasher, record)).supervise(Crasher::policy());
            let Ok(spawned) = spawned.start() else { return };
            self.crashers.borrow_mut().push(spawned);
        }
        let watcher = {
            let mut record = self.stage.record();
            record.watchers += 1;
            record.watchers
        };
        let theirs = Shared::clone(record);
        let spawned =
            node.spawn(move |_| Watcher { number: watcher, record: Shared::clone(&theirs) });
        let Ok(spawned) = spawned.start() else { return };
        self.watchers.borrow_mut().push((watcher, process, node.id()));
        let crashers = self.crashers.borrow().clone();
        for crasher in crashers {
            let bytes = encode(&crasher, Vec::new()).expect("a reference");
            if let Ok(known) = node.scope(|| decode(&bytes)) {
                // One that has ended already is told to be so.
                let _ = spawned.tell(Watch(known)).await;
            }
        }
    }

    /// Has one of the crashers fail.
    pub(crate) fn crash(&self) {
        let crashers = self.crashers.borrow();
        let at = self.stage.below(crashers.len().max(1) as u64) as usize;
        if let Some(crasher) = crashers.get(at) {
            let _ = crasher.try_tell(End::Crash);
        }
    }

    /// A process is killed.
    pub(crate) fn killed(&self, number: u8) {
        let mut processes = self.processes.borrow_mut();
        let last = processes.iter_mut().rev().find(|process| process.number == number);
        last.into_iter().for_each(|process| process.is_killed = true);
    }

    /// Ends all senders, and waits until all that they have sent has come to an end. Then all that is
    /// watched ends.
    pub(crate) async fn stop(&self) {
        self.stop.set(true);
        let mut senders = self.senders.take();
        let all = async { while senders.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(60), all).await.is_err() {
            let text = "senders wait for ever".to_owned();
            self.stage.violated("each message has one outcome", text);
        }
        for crasher in self.crashers.borrow().iter() {
            let _ = crasher.try_tell(End::Stop);
        }
    }
}

/// Sends from one node, for as long as that is what it was.
struct Sender {
    stage: Rc<Stage>,
    stop: Rc<Cell<bool>>,
    last_deposit: Rc<Cell<u64>>,
    random: Random,
    node: Node,
    workload: Rc<Workload>,
    process: usize,
    sender: u32,
}

impl Sender {
    async fn run(mut self) {
        let mut under_way = JoinSet::<()>::new();
        let mut number = 0;
        while !self.stop.get() && self.workload.runs(self.process) {
            number += 1;
            let account = self.node.entity::<Account>(key(self.random.below(KEYS)));
            match self.random.below(10) {
                0 => self.deposit(&account, &mut under_way),
                1..4 => self.ask(&account, number, &mut under_way).await,
                _ => self.tell(&account, number).await,
            }
            while under_way.len() > UNDER_WAY {
                under_way.join_next().await;
            }
            pause(2 + self.random.below(8)).await;
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn tell(&self, account: &ActorRef<Account>, number: u32) {
        let id = (self.sender, number);
        self.stage.record().sent.insert(id, None);
        let note = Note { sender: self.sender, number, is_told: true };
        let outcome = match account.tell(note).within(PATIENCE).await {
            Ok(()) => Outcome::Accepted,
            Err(_) => Outcome::Rejected,
        };
        self.stage.record().sent.insert(id, Some(outcome));
    }

    async fn ask(&self, account: &ActorRef<Account>, number: u32, under_way: &mut JoinSet<()>) {
        let id = (self.sender, number);
        self.stage.record().sent.insert(id, None);
        let note = Note { sender: self.sender, number, is_told: false };
        let mut ask = Box::pin(account.ask(note).within(PATIENCE));
        // The first poll takes its place in the order.
        let first = poll_fn(|task| Poll::Ready(Pin::new(&mut ask).poll(task))).await;
        let stage = Rc::clone(&self.stage);
        under_way.spawn_local(async move {
            let answer = match first {
                Poll::Ready(answer) => answer,
                Poll::Pending => ask.await,
            };
            let outcome = match answer {
                Ok(_) => Outcome::Answered,
                Err(AskError::Rejected { .. } | AskError::Cycle { .. }) => Outcome::Rejected,
                Err(_) => Outcome::Unknown,
            };
            stage.record().sent.insert(id, Some(outcome));
        });
    }

    /// Asks twice for the same thing, now and a little later.
    fn deposit(&mut self, account: &ActorRef<Account>, under_way: &mut JoinSet<()>) {
        let deposit = self.last_deposit.get() + 1;
        self.last_deposit.set(deposit);
        let later = self.random.below(4_000);
        for wait in [0, later] {
            let account = account.clone();
            under_way.spawn_local(async move {
                pause(wait).await;
                let ask = account.ask(Deposit(deposit)).within(PATIENCE);
                let _ = ask.dedupe_key(deposit.to_le_bytes()).await;
            });
        }
    }
}

/// Has a slow actor of a node told more than it can take.
async fn keep_busy(workload: Rc<Workload>, process: usize, node: Node) {
    let (stage, stop) = (Rc::clone(&workload.stage), Rc::clone(&workload.stop));
    let slow = {
        let mut record = stage.record();
        record.slow_ones += 1;
        record.slow_ones
    };
    let theirs = Shared::clone(&stage.record);
    let spawned = node.spawn(move |_| Slow { number: slow, record: Shared::clone(&theirs) });
    let Ok(spawned) = spawned.start() else { return };
    let id = node.id();
    while !stop.get() && workload.runs(process) && node.id() == id {
        if spawned.try_tell(Chore).is_ok() {
            let mut record = stage.record();
            let told = record.slow.entry(slow).or_default();
            told.0 += 1;
            let waiting = told.0 - told.1;
            if waiting > CHORES as u64 {
                let text = format!("{waiting} messages wait for a mailbox of {CHORES}");
                record.violated("queues keep their bounds", text);
                return;
            }
        }
        pause(5).await;
    }
}
