//! The pure parts of the fleet example, with their own tests.

#![expect(dead_code, reason = "the example uses all of it")]

#[path = "../fleet/flights.rs"]
mod flights;
#[path = "../fleet/ledger.rs"]
mod ledger;
