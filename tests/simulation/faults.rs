//! The nemesis: what befalls the nodes of a run.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Stage, workload::Workload};
use crate::{ip, pause};

/// How many nodes there may be.
const MOST: u8 = 7;

/// How many nodes never leave for good.
const SEEDS: u8 = 2;

/// How long a node that starts may take to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Nemesis {
    stage: Rc<Stage>,
    workload: Rc<Workload>,
    last: Cell<u8>,
    /// The nodes that are about to start.
    starting: RefCell<BTreeSet<u8>>,
    /// The nodes that have left for good.
    left: RefCell<BTreeSet<u8>>,
    /// How many shut down right now.
    leaving: Cell<u32>,
    /// When the network is mended, and stopped nodes go on.
    mends: RefCell<Vec<(Instant, Mend)>>,
    /// Set in the calm: nothing is begun any more.
    is_calm: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Mend {
    Network,
    Process(u8),
}

impl Nemesis {
    pub(crate) fn new(stage: &Rc<Stage>, workload: &Rc<Workload>, count: u8) -> Rc<Self> {
        Rc::new(Self {
            stage: Rc::clone(stage),
            workload: Rc::clone(workload),
            last: Cell::new(count),
            starting: RefCell::default(),
            left: RefCell::default(),
            leaving: Cell::new(0),
            mends: RefCell::default(),
            is_calm: Cell::new(false),
        })
    }

    /// Strikes again and again.
    pub(crate) async fn storm(self: &Rc<Self>, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            pause(150 + self.stage.below(850)).await;
            self.mend_due();
            self.strike();
            if self.stage.below(2) == 0 {
                self.workload.crash();
            }
        }
    }

    fn running(&self) -> Vec<u8> {
        let leaving = self.left.borrow();
        let starting = self.starting.borrow();
        let is_there = |number: &u8| !leaving.contains(number) && !starting.contains(number);
        self.stage.cluster.running().into_iter().filter(is_there).collect()
    }

    fn pick(&self, from: &[u8]) -> Option<u8> {
        if from.is_empty() {
            return None;
        }
        Some(from[self.stage.below(from.len() as u64) as usize])
    }

    /// One that may be taken away, so that two are left at least.
    fn pick_victim(&self) -> Option<u8> {
        let running = self.running();
        if running.len() > 2 { self.pick(&running) } else { None }
    }

    fn strike(self: &Rc<Self>) {
        let (cluster, below) = (&self.stage.cluster, |bound| self.stage.below(bound));
        match below(13) {
            0 | 1 => self.pick_victim().into_iter().for_each(|victim| {
                self.workload.killed(victim);
                cluster.kill(victim);
                self.stage.tally.borrow_mut().kills += 1;
            }),
            2 | 3 => self.restart_one(),
            4 => self.pick_victim().into_iter().for_each(|victim| {
                cluster.pause(victim);
                self.stage.tally.borrow_mut().pauses += 1;
                self.mend_in(200 + below(6_000), Mend::Process(victim));
            }),
            5 => self.part(false),
            6 => self.part(true),
            7 => {
                cluster.lose(0.02 + below(30) as f64 / 100.0);
                self.stage.tally.borrow_mut().losses += 1;
                self.mend_in(500 + below(3_000), Mend::Network);
            }
            8 => self.pick(&self.running()).into_iter().for_each(|node| {
                cluster.slow(node, Duration::from_millis(5 + below(200)));
                self.stage.tally.borrow_mut().slowed += 1;
                self.mend_in(500 + below(3_000), Mend::Network);
            }),
            9 => self.pick(&self.running()).into_iter().for_each(|node| {
                let ppm = below(200_000) as i32 - 100_000;
                cluster.network().set_clock_rate(ip(node), ppm);
                self.stage.tally.borrow_mut().drifts += 1;
            }),
            10 => self.leave_one(true),
            11 => self.leave_one(false),
            _ => self.grow(),
        }
    }

    fn mend_in(&self, millis: u64, mend: Mend) {
        let at = Instant::now() + Duration::from_millis(millis);
        self.mends.borrow_mut().push((at, mend));
    }

    fn mend_due(&self) {
        let now = Instant::now();
        let due: Vec<Mend> = {
            let mut mends = self.mends.borrow_mut();
            let due = mends.iter().filter(|(at, _)| *at <= now).map(|(_, mend)| *mend).collect();
            mends.retain(|(at, _)| *at > now);
            due
        };
        for mend in due {
            match mend {
                Mend::Network => self.stage.cluster.heal(),
                Mend::Process(number) => self.stage.cluster.resume(number),
            }
        }
    }

    fn part(&self, is_one_way: bool) {
        let all = self.stage.cluster.running();
        let (a, b): (Vec<u8>, Vec<u8>) = all.iter().partition(|_| self.stage.below(2) == 0);
        if a.is_empty() || b.is_empty() {
            return;
        }
        match is_one_way {
            true => self.stage.cluster.partition_one_way(a, b),
            false => self.stage.cluster.partition(a, b),
        }
        let mut tally = self.stage.tally.borrow_mut();
        match is_one_way {
            true => tally.one_way += 1,
            false => tally.partitions += 1,
        }
        self.mend_in(300 + self.stage.below(6_000), Mend::Network);
    }

    /// The nodes that have ended, and are to come back.
    fn dead(&self) -> Vec<u8> {
        let (running, starting) = (self.stage.cluster.running(), self.starting.borrow());
        let (left, mends) = (self.left.borrow(), self.mends.borrow());
        let is_paused = |number: u8| {
            mends.iter().any(|(_, mend)| matches!(mend, Mend::Process(paused) if *paused == number))
        };
        let is_dead = |number: &u8| {
            let is_away = running.contains(number) || starting.contains(number);
            !is_away && !left.contains(number) && !is_paused(*number)
        };
        (1..=self.last.get()).filter(is_dead).collect()
    }

    fn restart_one(self: &Rc<Self>) {
        if let Some(number) = self.pick(&self.dead()) {
            self.stage.tally.borrow_mut().restarts += 1;
            self.start(number);
        }
    }

    fn grow(self: &Rc<Self>) {
        if self.last.get() < MOST {
            self.last.set(self.last.get() + 1);
            self.stage.tally.borrow_mut().grown += 1;
            self.start(self.last.get());
        }
    }

    fn start(self: &Rc<Self>, number: u8) {
        self.starting.borrow_mut().insert(number);
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let starting = this.stage.cluster.start_node(number, this.stage.build(number));
            let started = tokio::time::timeout(JOIN_PATIENCE, starting).await;
            this.starting.borrow_mut().remove(&number);
            // The network may have been in its way.
            if let Ok(Ok(node)) = started {
                this.workload.begin(number, &node).await;
            }
        });
    }

    /// A node shuts down; it starts anew, if it is restarted by plan. The first ones always do: others have
    /// nobody else to join by.
    fn leave_one(self: &Rc<Self>, comes_back: bool) {
        let Some(victim) = self.pick_victim() else { return };
        let comes_back = comes_back || victim <= SEEDS;
        self.left.borrow_mut().insert(victim);
        {
            let mut tally = self.stage.tally.borrow_mut();
            match comes_back {
                true => tally.rolled += 1,
                false => tally.shrunk += 1,
            }
        }
        let (this, node) = (Rc::clone(self), self.stage.cluster.node(victim));
        self.leaving.set(self.leaving.get() + 1);
        tokio::task::spawn_local(async move {
            // One that is stopped meanwhile is mended before the calm.
            node.shutdown().await;
            this.leaving.set(this.leaving.get() - 1);
            if comes_back {
                this.left.borrow_mut().remove(&victim);
                if !this.is_calm.get() {
                    this.start(victim);
                }
            }
        });
    }

    /// Mends all, and has every node back that has not left by plan.
    pub(crate) async fn calm(self: &Rc<Self>) {
        self.is_calm.set(true);
        let cluster = &self.stage.cluster;
        cluster.heal();
        for (_, mend) in self.mends.take() {
            if let Mend::Process(number) = mend {
                cluster.resume(number);
            }
        }
        for number in 1..=self.last.get() {
            cluster.network().set_clock_rate(ip(number), 0);
        }
        for _ in 0..100 {
            if self.starting.borrow().is_empty() && self.leaving.get() == 0 {
                match self.dead()[..] {
                    [] => return,
                    [number, ..] => self.start(number),
                }
            }
            pause(500).await;
        }
        let text = format!("{:?} do not start although all is mended", self.dead());
        self.stage.violated("all heals", text);
    }
}
