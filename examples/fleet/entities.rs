//! The two kinds of entities, and the messages between them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix_cluster::{EntitySettings, NodeBuilder, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{
    flights::{self, Flights},
    ledger::{Counts, Ledger, Verdict},
};

/// How long a message may take before it counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A flight of an aircraft.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<(), Undelivered>")]
#[remote(name = "fleet.Flight", version = 1)]
pub(crate) struct Flight {
    pub(crate) batch: u32,
    pub(crate) row: u32,
    pub(crate) carrier: String,
    pub(crate) origin: String,
    pub(crate) dest: String,
    pub(crate) delay: Option<i32>,
    pub(crate) miles: u32,
}

/// One of the two airports has not answered: the row is to be sent again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Undelivered;

/// A departure from, or an arrival at, an airport.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "fleet.Visit", version = 1)]
pub(crate) struct Visit {
    pub(crate) batch: u32,
    pub(crate) row: u32,
    pub(crate) arrival: bool,
}

/// Asks for all that an entity has counted, once everything before `batch` is applied.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Report")]
#[remote(name = "fleet.Total", version = 1)]
pub(crate) struct Total {
    pub(crate) batch: u32,
}

/// Asks whether an entity answers. It touches nothing.
#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "fleet.Probe", version = 1)]
pub(crate) struct Probe;

/// What an entity has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The node it lives on.
    pub(crate) node: String,
    pub(crate) totals: Totals,
    pub(crate) counts: Counts,
}

/// The totals of one entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Totals {
    /// Of an aircraft, by carrier.
    Aircraft(BTreeMap<String, Flown>),
    /// Of an airport.
    Airport { departures: u64, arrivals: u64 },
}

/// What was flown for one carrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flown {
    pub(crate) flights: u64,
    pub(crate) miles: u64,
    /// Flights that departed, and so have a delay, however small.
    pub(crate) delays: u64,
    /// The sum of all delays; an early departure counts below zero.
    pub(crate) minutes: i64,
}

impl Flown {
    /// Counts one flight.
    pub(crate) fn add(&mut self, miles: u32, delay: Option<i32>) {
        self.flights += 1;
        self.miles += u64::from(miles);
        if let Some(minutes) = delay {
            self.delays += 1;
            self.minutes += i64::from(minutes);
        }
    }

    /// Counts what another aircraft has flown.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.flights += other.flights;
        self.miles += other.miles;
        self.delays += other.delays;
        self.minutes += other.minutes;
    }
}

/// What the entities of a process have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) flights: Flights,
    /// How many rows make a batch.
    pub(crate) batch_rows: u32,
    /// One row in so many is dropped, to show that the job notices; 0 for none.
    pub(crate) drop_one_in: u32,
}

/// An aircraft, by its tail number.
#[derive(RemoteActor)]
#[remote(
    name = "fleet.Aircraft",
    handles(Flight, Total, Probe),
    placement = Eventual,
    state = volatile
)]
pub(crate) struct Aircraft {
    setting: Arc<Setting>,
    tail_number: String,
    ledger: Ledger,
    flown: BTreeMap<String, Flown>,
}

/// An airport, by its code.
#[derive(RemoteActor)]
#[remote(
    name = "fleet.Airport",
    handles(Visit, Total, Probe),
    placement = Eventual,
    state = volatile
)]
pub(crate) struct Airport {
    setting: Arc<Setting>,
    code: String,
    ledger: Ledger,
    departures: u64,
    arrivals: u64,
}

/// Lets a node host both kinds.
pub(crate) fn host(builder: NodeBuilder, setting: &Arc<Setting>) -> NodeBuilder {
    let mut settings = EntitySettings::default();
    // A passivated entity would have to be rebuilt, and the job is to prove messaging.
    settings.passivate_after = Duration::MAX;
    let (aircraft, airports) = (Arc::clone(setting), Arc::clone(setting));
    builder
        .entity_with(settings.clone(), move |tail_number| Aircraft {
            setting: Arc::clone(&aircraft),
            tail_number: tail_number.to_owned(),
            ledger: Ledger::default(),
            flown: BTreeMap::new(),
        })
        .entity_with(settings, move |code| Airport {
            setting: Arc::clone(&airports),
            code: code.to_owned(),
            ledger: Ledger::default(),
            departures: 0,
            arrivals: 0,
        })
}

impl Actor for Aircraft {
    type Context = ClusterContext<Self>;
}

impl Actor for Airport {
    type Context = ClusterContext<Self>;
}

impl Aircraft {
    /// Completes the batches before this one.
    fn advance(&mut self, batch: u32) {
        let Self { setting, tail_number, ledger, flown } = self;
        let flights = &setting.flights;
        let start = batch.saturating_mul(setting.batch_rows);
        ledger.advance(batch, start, flights.rows_of(tail_number), |row| {
            let flights::Flight { carrier, miles, delay, .. } = flights.rows[row as usize];
            let carrier = flights.carriers.text(carrier).to_owned();
            flown.entry(carrier).or_default().add(miles, delay);
        });
    }
}

impl Handler<Flight> for Aircraft {
    type Result = ResponseFuture<Result<(), Undelivered>>;

    fn handle(&mut self, flight: Flight, ctx: &mut Self::Context) -> Self::Result {
        let Flight { batch, row, carrier, origin, dest, delay, miles } = flight;
        let drop_one_in = self.setting.drop_one_in;
        if drop_one_in > 0 && row % drop_one_in == drop_one_in - 1 {
            return Box::pin(async { Ok(()) });
        }
        self.advance(batch);
        match self.ledger.accept(batch, row) {
            Verdict::Apply => self.flown.entry(carrier).or_default().add(miles, delay),
            // The airports may not have heard of it: they are told in any case.
            Verdict::Duplicate => {}
            Verdict::Stale => return Box::pin(async { Ok(()) }),
        }
        let node = ctx.node();
        let (origin, dest) = (node.entity::<Airport>(&origin), node.entity::<Airport>(&dest));
        let departure = origin.ask(Visit { batch, row, arrival: false }).within(PATIENCE);
        let arrival = dest.ask(Visit { batch, row, arrival: true }).within(PATIENCE);
        Box::pin(async move {
            match tokio::join!(departure, arrival) {
                (Ok(()), Ok(())) => Ok(()),
                _ => Err(Undelivered),
            }
        })
    }
}

impl Handler<Visit> for Airport {
    type Result = ();

    fn handle(&mut self, Visit { batch, row, arrival }: Visit, _: &mut Self::Context) {
        self.advance(batch);
        let visit = row * 2 + u32::from(arrival);
        if self.ledger.accept(batch, visit) == Verdict::Apply {
            self.count(visit);
        }
    }
}

impl Airport {
    /// Completes the batches before this one.
    fn advance(&mut self, batch: u32) {
        let setting = Arc::clone(&self.setting);
        let start = batch.saturating_mul(setting.batch_rows).saturating_mul(2);
        let own = setting.flights.visits_of(&self.code);
        let mut missing = Vec::new();
        self.ledger.advance(batch, start, own, |visit| missing.push(visit));
        missing.into_iter().for_each(|visit| self.count(visit));
    }

    fn count(&mut self, visit: u32) {
        match visit % 2 {
            0 => self.departures += 1,
            _ => self.arrivals += 1,
        }
    }
}

impl Handler<Total> for Aircraft {
    type Result = MessageResult<Total>;

    fn handle(&mut self, Total { batch }: Total, ctx: &mut Self::Context) -> MessageResult<Total> {
        self.advance(batch);
        MessageResult(Report {
            node: ctx.node().id().to_string(),
            totals: Totals::Aircraft(self.flown.clone()),
            counts: self.ledger.counts,
        })
    }
}

impl Handler<Total> for Airport {
    type Result = MessageResult<Total>;

    fn handle(&mut self, Total { batch }: Total, ctx: &mut Self::Context) -> MessageResult<Total> {
        self.advance(batch);
        let Self { departures, arrivals, .. } = *self;
        MessageResult(Report {
            node: ctx.node().id().to_string(),
            totals: Totals::Airport { departures, arrivals },
            counts: self.ledger.counts,
        })
    }
}

impl Handler<Probe> for Aircraft {
    type Result = ();
    fn handle(&mut self, _: Probe, _: &mut Self::Context) {}
}

impl Handler<Probe> for Airport {
    type Result = ();
    fn handle(&mut self, _: Probe, _: &mut Self::Context) {}
}
