//! The handlers, and what they share: a node of the fleet, and which aircraft and airports it knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_cluster::{Entity, HandledBy, Node};
use actix_web::{HttpResponse, get, http::StatusCode, post, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answers::Refusal,
    entities::{Aircraft, Airport, Flight, Report, Setting, Total, Totals},
};

/// How long a request may take at the fleet.
const PATIENCE: Duration = Duration::from_secs(5);

/// What each worker of the server has.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) node: Node,
    pub(crate) setting: Arc<Setting>,
    /// The batch of what is posted: behind all that the file holds.
    pub(crate) batch: u32,
    /// The row of the flight that is posted next.
    pub(crate) next_row: Arc<AtomicU32>,
}

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    // What serde says of a body names the field, or the place of what is wrong.
    let bodies = web::JsonConfig::default()
        .limit(4_096)
        .error_handler(|error, _| Refusal::of_body(&error).into());
    config.app_data(bodies).service(health).service(airport).service(aircraft).service(post_flight);
}

#[get("/health")]
async fn health(service: web::Data<Service>) -> HttpResponse {
    let members = service.node.view().map_or(0, |view| view.members.len());
    HttpResponse::Ok().json(json!({ "node": service.node.id().to_string(), "members": members }))
}

#[get("/airports/{code}")]
async fn airport(
    service: web::Data<Service>,
    code: web::Path<String>,
) -> Result<web::Json<Value>, Refusal> {
    let is_known = service.setting.flights.airports.find(&code).is_some();
    service.total::<Airport>("airport", code.into_inner(), is_known).await
}

#[get("/aircraft/{tail}")]
async fn aircraft(
    service: web::Data<Service>,
    tail: web::Path<String>,
) -> Result<web::Json<Value>, Refusal> {
    let is_known = service.setting.flights.aircraft.find(&tail).is_some();
    service.total::<Aircraft>("aircraft", tail.into_inner(), is_known).await
}

impl Service {
    /// What an entity has counted. Only those that the fleet has are asked: a guess in a URL is not to
    /// activate one.
    async fn total<A: Entity>(
        &self,
        what: &'static str,
        key: String,
        is_known: bool,
    ) -> Result<web::Json<Value>, Refusal>
    where
        Total: HandledBy<A>,
    {
        if !is_known {
            return Err(Refusal::Unknown { what, key });
        }
        let asked = self.node.entity::<A>(&key).ask(Total { batch: self.batch }).within(PATIENCE);
        let Report { node, totals, .. } = asked.await.map_err(|error| Refusal::of(&error))?;
        let totals = match totals {
            Totals::Airport { departures, arrivals } => {
                json!({ "departures": departures, "arrivals": arrivals })
            }
            Totals::Aircraft(carriers) => json!({ "carriers": carriers }),
        };
        Ok(web::Json(json!({ what: key, "node": node, "totals": totals })))
    }
}

/// A flight as it is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    tail: String,
    carrier: String,
    origin: String,
    dest: String,
    /// Minutes, if it has departed.
    delay: Option<i32>,
    miles: u32,
}

impl Posted {
    /// Checks each field.
    fn check(&self, setting: &Setting) -> Result<(), Refusal> {
        let bad = |field, text: String| Err(Refusal::Bad { field, text });
        let flights = &setting.flights;
        if flights.aircraft.find(&self.tail).is_none() {
            return bad("tail", format!("no aircraft {}", self.tail));
        }
        let is_of_a_code = self.carrier.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !(1..=3).contains(&self.carrier.len()) || !is_of_a_code {
            return bad("carrier", "one to three letters or digits".to_owned());
        }
        for (field, code) in [("origin", &self.origin), ("dest", &self.dest)] {
            if flights.airports.find(code).is_none() {
                return bad(field, format!("no airport {code}"));
            }
        }
        Ok(())
    }
}

#[post("/flights")]
async fn post_flight(
    service: web::Data<Service>,
    posted: web::Json<Posted>,
) -> Result<HttpResponse, Refusal> {
    posted.check(&service.setting)?;
    let Posted { tail, carrier, origin, dest, delay, miles } = posted.into_inner();
    let (batch, row) = (service.batch, service.next_row.fetch_add(1, Ordering::Relaxed));
    let target = service.node.entity::<Aircraft>(&tail);
    // An entity counts a row once, so that a repeat is safe whatever became of the first; and it brings the
    // row to an airport that has not got it yet.
    let mut tries = 0..TRIES;
    loop {
        tries.next();
        let (carrier, origin, dest) = (carrier.clone(), origin.clone(), dest.clone());
        let flight = Flight { batch, row, carrier, origin, dest, delay, miles };
        match target.ask(flight).within(PATIENCE).await {
            Ok(()) => {
                let posted = json!({ "tail": tail, "row": row });
                return Ok(HttpResponse::build(StatusCode::CREATED).json(posted));
            }
            Err(error) if tries.is_empty() => return Err(Refusal::of(&error)),
            Err(_) => {}
        }
    }
}

/// How often a flight is brought to its aircraft before the request is given up.
const TRIES: u32 = 3;
