//! The fleet example's messages are those that it has published, in `fleet/messages.contract`.
//!
//! A change fails this test: give it a new version. What is new is added to the file by
//! `ACTIX_CLUSTER_CONTRACT=write cargo test -p actix-cluster-examples --test fleet_contract`.

#![expect(dead_code, reason = "the example uses all of it")]

use actix_cluster::contract::{Contract, ContractError};

use crate::{
    entities::{Aircraft, Airport, Flight, Flown, Report, Total, Totals, Undelivered},
    ledger::Counts,
};

#[path = "../fleet/entities.rs"]
mod entities;
#[path = "../fleet/flights.rs"]
mod flights;
#[path = "../fleet/ledger.rs"]
mod ledger;

#[test]
fn published_messages_are_frozen() -> Result<(), ContractError> {
    let flight = Flight {
        batch: 300,
        row: 70_000,
        carrier: "AA".to_owned(),
        origin: "JFK".to_owned(),
        dest: "LAX".to_owned(),
        delay: Some(-300),
        miles: 2_475,
    };
    let report = |totals| Report {
        node: "node-1#1".to_owned(),
        counts: Counts { by_message: 70_000, by_rebuild: 300, duplicates: 70_000, stale: 300 },
        totals,
    };
    let flown = Flown { flights: 300, miles: 70_000, delays: 300, minutes: -70_000 };
    let aircraft = report(Totals::Aircraft([("AA".to_owned(), flown)].into()));
    let airport = report(Totals::Airport { departures: 300, arrivals: 70_000 });
    Contract::new()
        .actor::<Aircraft>()
        .actor::<Airport>()
        .sample("full", &flight)
        .reply_sample::<Flight>("undelivered", &Err(Undelivered))
        .reply_sample::<Total>("aircraft", &aircraft)
        .reply_sample::<Total>("airport", &airport)
        .check("fleet/messages.contract")
}
