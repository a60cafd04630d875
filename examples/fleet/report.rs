//! The end: every entity is asked for its totals, which are compared with a plain fold of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use actix_cluster::{ActorRef, HandledBy, Node, RemoteActor};
use tokio::task::JoinSet;

use crate::{
    Failure,
    entities::{Aircraft, Airport, Flown, PATIENCE, Report, Setting, Total, Totals},
    feeder::Kind,
    ledger::Counts,
};

/// How often an entity is asked for its totals before the job gives up.
const TRIES: u32 = 20;

/// All reports, by the kind and key of the entity.
type Reports = BTreeMap<(Kind, String), Report>;

/// What the job has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rows: usize,
    pub(crate) aircraft: usize,
    pub(crate) airports: usize,
    pub(crate) miles: u64,
    pub(crate) carriers: Vec<(String, Flown)>,
    /// Entities and messages handled, by node.
    pub(crate) nodes: BTreeMap<String, (u64, u64)>,
    pub(crate) counts: Counts,
    /// What does not match; empty if all is as it should be.
    pub(crate) wrong: Vec<String>,
}

/// How the rows were fed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) feeding: Duration,
    pub(crate) repeats: u64,
    pub(crate) killed_node: Option<String>,
    pub(crate) failover: Option<Duration>,
}

/// Asks all entities, once everything before `batch` is over.
pub(crate) async fn collect(
    node: &Node,
    setting: &Arc<Setting>,
    batch: u32,
) -> Result<Reports, Failure> {
    let mut asks = JoinSet::new();
    let mut reports = Reports::new();
    let flights = &setting.flights;
    let aircraft = flights.aircraft.iter().map(|key| (Kind::Aircraft, key));
    let airports = flights.airports.iter().map(|key| (Kind::Airport, key));
    for (kind, key) in aircraft.chain(airports) {
        let (node, key) = (node.clone(), key.to_owned());
        asks.spawn(async move {
            let report = match kind {
                Kind::Aircraft => ask(node.entity::<Aircraft>(&key), batch).await,
                Kind::Airport => ask(node.entity::<Airport>(&key), batch).await,
            };
            (kind, key, report)
        });
    }
    while let Some(asked) = asks.join_next().await {
        let (kind, key, report) = asked.expect("an ask does not panic");
        let report = report.ok_or_else(|| Failure::Wrong(format!("{key} does not answer")))?;
        reports.insert((kind, key), report);
    }
    Ok(reports)
}

async fn ask<A: RemoteActor>(entity: ActorRef<A>, batch: u32) -> Option<Report>
where
    Total: HandledBy<A>,
{
    for _ in 0..TRIES {
        if let Ok(report) = entity.ask(Total { batch }).within(PATIENCE).await {
            return Some(report);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    None
}

/// What each entity should have counted.
fn expected(setting: &Setting) -> BTreeMap<(Kind, String), Totals> {
    let flights = &setting.flights;
    let mut totals: BTreeMap<(Kind, String), Totals> = BTreeMap::new();
    for flight in &flights.rows {
        let key = (Kind::Aircraft, flights.aircraft.text(flight.aircraft).to_owned());
        let of_aircraft = totals.entry(key).or_insert_with(|| Totals::Aircraft(BTreeMap::new()));
        if let Totals::Aircraft(flown) = of_aircraft {
            let carrier = flights.carriers.text(flight.carrier).to_owned();
            flown.entry(carrier).or_default().add(flight.miles, flight.delay);
        }
        for (airport, arrives) in [(flight.origin, false), (flight.dest, true)] {
            let key = (Kind::Airport, flights.airports.text(airport).to_owned());
            let none = Totals::Airport { departures: 0, arrivals: 0 };
            if let Totals::Airport { departures, arrivals } = totals.entry(key).or_insert(none) {
                *departures += u64::from(!arrives);
                *arrivals += u64::from(arrives);
            }
        }
    }
    totals
}

/// Compares the reports with the file, and the counts with what they have to be.
pub(crate) fn judge(
    node: &Node,
    setting: &Setting,
    reports: &Reports,
    moved: &BTreeSet<(Kind, u16)>,
    run: &Run,
) -> Outcome {
    let flights = &setting.flights;
    let mut wrong = Vec::new();
    let mut counts = Counts::default();
    let mut nodes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut carriers: BTreeMap<String, Flown> = BTreeMap::new();
    for ((kind, key), totals) in &expected(setting) {
        let Some(report) = reports.get(&(*kind, key.clone())) else {
            wrong.push(format!("{key} has not reported"));
            continue;
        };
        if report.totals != *totals {
            wrong.push(format!("{key} counted {:?}, the file says {totals:?}", report.totals));
        }
        if let Totals::Aircraft(flown) = &report.totals {
            for (carrier, flown) in flown {
                carriers.entry(carrier.clone()).or_default().merge(flown);
            }
        }
        let of_entity = report.counts;
        let shard = match kind {
            Kind::Aircraft => node.shard_of::<Aircraft>(key),
            Kind::Airport => node.shard_of::<Airport>(key),
        };
        if of_entity.by_rebuild > 0 && !moved.contains(&(*kind, shard)) {
            let rebuilt = of_entity.by_rebuild;
            wrong.push(format!(
                "{key} rebuilt {rebuilt} entries, and its shard {shard} never moved"
            ));
        }
        let (entities, messages) = nodes.entry(report.node.clone()).or_default();
        *entities += 1;
        *messages += of_entity.by_message + of_entity.duplicates + of_entity.stale;
        counts.by_message += of_entity.by_message;
        counts.by_rebuild += of_entity.by_rebuild;
        counts.duplicates += of_entity.duplicates;
        counts.stale += of_entity.stale;
    }
    let mut carriers: Vec<_> = carriers.into_iter().collect();
    carriers.sort_by_key(|(code, flown)| (std::cmp::Reverse(flown.flights), code.clone()));
    check_carriers(setting, &carriers, &mut wrong);
    check_counts(setting, counts, run, &mut wrong);
    Outcome {
        rows: flights.rows.len(),
        aircraft: flights.aircraft.len(),
        airports: flights.airports.len(),
        miles: carriers.iter().map(|(_, flown)| flown.miles).sum(),
        carriers,
        nodes,
        counts,
        wrong,
    }
}

fn check_carriers(setting: &Setting, found: &[(String, Flown)], wrong: &mut Vec<String>) {
    let mut expected = vec![Flown::default(); setting.flights.carriers.len()];
    for flight in &setting.flights.rows {
        expected[flight.carrier as usize].add(flight.miles, flight.delay);
    }
    let found: BTreeMap<&str, &Flown> =
        found.iter().map(|(c, flown)| (c.as_str(), flown)).collect();
    for (code, expected) in setting.flights.carriers.iter().zip(&expected) {
        if found.get(code) != Some(&expected) {
            wrong
                .push(format!("carrier {code}: {:?}, the file says {expected:?}", found.get(code)));
        }
    }
}

/// The totals could be right by rebuilding alone: the counts show that messages made them.
fn check_counts(setting: &Setting, counts: Counts, run: &Run, wrong: &mut Vec<String>) {
    let pairs = setting.flights.rows.len() as u64 * 3;
    let Counts { by_message, by_rebuild, .. } = counts;
    if by_message + by_rebuild != pairs {
        wrong.push(format!("{by_message} + {by_rebuild} entries are applied, not {pairs}"));
    }
    if run.killed_node.is_some() {
        return;
    }
    if by_rebuild > 0 {
        wrong.push(format!("{by_rebuild} entries are rebuilt, though no node was killed"));
    }
    if run.repeats > 0 {
        wrong.push(format!("{} batches are repeated, though no node was killed", run.repeats));
    }
}

impl Outcome {
    /// Messages answered in each second of feeding: three for each row, repeats not counted.
    pub(crate) fn messages_per_second(&self, run: &Run) -> f64 {
        (self.rows as f64 * 3.0 / run.feeding.as_secs_f64()).round()
    }

    /// The report for people.
    pub(crate) fn to_text(&self, run: &Run) -> String {
        let mut text = String::from("\ncarrier   flights        miles  mean delay\n");
        for (code, flown) in self.carriers.iter().take(10) {
            let mean = flown.minutes as f64 / flown.delays.max(1) as f64;
            let Flown { flights, miles, .. } = flown;
            let _ = writeln!(text, "{code:<7} {flights:>9} {miles:>12} {mean:>7.1} min");
        }
        text += "\nnode           entities     messages handled by them\n";
        for (node, (entities, messages)) in &self.nodes {
            let _ = writeln!(text, "{node:<12} {entities:>10} {messages:>24}");
        }
        let Counts { by_message, by_rebuild, duplicates, stale } = self.counts;
        let _ = writeln!(
            text,
            "\nrows                 {}\naircraft             {}\nairports             {}\nmiles          \
             \x20     {}\nmessages per second  {}\napplied_by_message   {by_message}\n\
             applied_by_rebuild   {by_rebuild}\nrepeats              {}\nduplicates           \
             {duplicates}\nstale                {stale}",
            self.rows,
            self.aircraft,
            self.airports,
            self.miles,
            self.messages_per_second(run),
            run.repeats,
        );
        if let (Some(node), Some(failover)) = (&run.killed_node, run.failover) {
            let _ = writeln!(text, "killed_node          {node}");
            let _ = writeln!(text, "failover_ms          {}", failover.as_millis());
        }
        for wrong in self.wrong.iter().take(WRONG_SHOWN) {
            let _ = writeln!(text, "wrong: {wrong}");
        }
        if self.wrong.len() > WRONG_SHOWN {
            let _ = writeln!(text, "and {} more that are wrong", self.wrong.len() - WRONG_SHOWN);
        }
        let matched = if self.wrong.is_empty() { "yes" } else { "no" };
        let _ = write!(text, "\ntotals match the file: {matched}");
        text
    }

    /// The report for machines, in one line.
    pub(crate) fn to_json(&self, run: &Run) -> String {
        let Counts { by_message, by_rebuild, duplicates, stale } = self.counts;
        serde_json::json!({
            "rows": self.rows,
            "aircraft": self.aircraft,
            "airports": self.airports,
            "miles": self.miles,
            "matched": self.wrong.is_empty(),
            "messages_per_second": self.messages_per_second(run),
            "failover_ms": run.failover.map(|failover| failover.as_millis() as u64),
            "killed_node": run.killed_node,
            "applied_by_message": by_message,
            "applied_by_rebuild": by_rebuild,
            "repeats": run.repeats,
            "duplicates": duplicates,
            "stale": stale,
        })
        .to_string()
    }
}

/// How many mistakes are shown.
const WRONG_SHOWN: usize = 10;
