//! An HTTP service in front of a fleet: actix-web handlers that ask entities on several nodes.
//!
//! ```sh
//! cargo run --example web -- --port 8080
//! curl -i http://127.0.0.1:8080/airports/JFK
//! ```
//!
//! It starts three nodes in this process, one cluster over QUIC on loopback, and feeds them the first
//! flights of the file; the entities are those of the example `fleet`. Then it serves
//! `GET /airports/{code}`, `GET /aircraft/{tail}`, `POST /flights` and `GET /health`. The first node
//! owns nothing: it stands for a web server that is a member of a cluster of others.
//!
//! What the fleet says of a failed ask is what the status says (`answers.rs`): 503 with `Retry-After`
//! where nothing has run, 504 or 502 where it may have. What is posted is as volatile as the entities, and
//! stays with them for as long as they live: a service that goes on for long would put it into a store.
//!
//! `--once` asks itself for one airport and ends.

#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads the wall clock, sleeps and spawns as programs do"
)]

mod answers;
#[expect(dead_code, reason = "the example fleet uses all of it")]
#[path = "../fleet/entities.rs"]
mod entities;
#[expect(dead_code, reason = "the example fleet uses all of it")]
#[path = "../fleet/flights.rs"]
mod flights;
#[path = "../fleet/ledger.rs"]
mod ledger;
mod options;
mod service;

use std::{
    error::Error,
    io::{self, Read as _},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::{Arc, atomic::AtomicU32},
};

use actix_cluster::{ClusterConfig, Node};
use actix_web::{App, HttpServer, web::Data};
use clap::Parser as _;
use tokio::task::JoinSet;

use crate::{
    entities::{Aircraft, Flight, PATIENCE, Setting},
    flights::Flights,
    options::Options,
    service::Service,
};

fn main() -> ExitCode {
    let options = Options::parse();
    match actix_web::rt::System::new().block_on(run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    options.check()?;
    // First of all, since a port in use is the likeliest of what can go wrong.
    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .map_err(|error| format!("--port {}: {error}", options.port))?;
    let addr = listener.local_addr()?;
    let flights = Flights::read(&options.data, options.rows.get())?;
    let setting = Arc::new(Setting { flights, batch_rows: BATCH_ROWS, drop_one_in: 0 });
    let nodes = start(&setting, options.nodes.get()).await?;
    let service = feed(&nodes[0], &setting).await?;

    let served = service.clone();
    let app = move || App::new().app_data(Data::new(served.clone())).configure(service::routes);
    let server = HttpServer::new(app).workers(2).disable_signals().listen(listener)?.run();
    let (handle, mut serving) = (server.handle(), actix_web::rt::spawn(server));
    println!("serving {} flights on http://{addr}", setting.flights.rows.len());

    tokio::select! {
        biased;
        served = &mut serving => {
            served??;
            return Err("the server has ended by itself".into());
        }
        end = nodes[0].ended() => return Err(format!("the node has ended: {end}").into()),
        outcome = serve(options.once, addr) => outcome?,
    }
    // Requests under way are answered first, and only then the nodes go.
    handle.stop(true).await;
    serving.await??;
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(())
}

/// Until it is to end.
async fn serve(once: bool, addr: SocketAddr) -> Result<(), Box<dyn Error>> {
    if once {
        println!("{}", ask("/airports/JFK", addr).await?);
    } else {
        end_is_asked_for().await;
    }
    Ok(())
}

/// How many rows make a batch.
const BATCH_ROWS: u32 = 1_000;

/// How many flights are under way at once while they are fed.
const CONCURRENCY: usize = 64;

/// Starts the web server's own node, which owns nothing, and those that hold the entities.
async fn start(setting: &Arc<Setting>, count: usize) -> Result<Vec<Node>, Box<dyn Error>> {
    let fleet = ClusterConfig::dev("fleet-web")?;
    let front = Node::builder().name("web").cluster(fleet.clone().weight(0)).start().await?;
    let seed = front.addr().ok_or("the node has no address")?;
    let mut nodes = vec![front];
    for number in 1..=count {
        let builder = entities::host(Node::builder().name(&format!("node-{number}")), setting);
        nodes.push(builder.cluster(fleet.clone().seed(seed)).start().await?);
    }
    for node in &nodes {
        node.wait_for_members(count + 1).await;
    }
    Ok(nodes)
}

/// Feeds all rows of the file.
async fn feed(node: &Node, setting: &Arc<Setting>) -> Result<Service, Box<dyn Error>> {
    let flights = &setting.flights;
    let mut fed = JoinSet::new();
    for (row, flight) in flights.rows.iter().enumerate() {
        // A batch is over once all of it is answered.
        while fed.len() >= CONCURRENCY || (row % BATCH_ROWS as usize == 0 && !fed.is_empty()) {
            fed.join_next().await.ok_or("none is under way")???;
        }
        let aircraft = node.entity::<Aircraft>(flights.aircraft.text(flight.aircraft));
        let message = Flight {
            batch: row as u32 / BATCH_ROWS,
            row: row as u32,
            carrier: flights.carriers.text(flight.carrier).to_owned(),
            origin: flights.airports.text(flight.origin).to_owned(),
            dest: flights.airports.text(flight.dest).to_owned(),
            delay: flight.delay,
            miles: flight.miles,
        };
        fed.spawn(async move {
            let answer = aircraft.ask(message).within(PATIENCE).await;
            answer.map_err(|error| format!("row {row} could not be fed: {error}"))
        });
    }
    while let Some(answer) = fed.join_next().await {
        answer??;
    }
    let batch = (flights.rows.len() as u32).div_ceil(BATCH_ROWS);
    let next_row = Arc::new(AtomicU32::new(batch * BATCH_ROWS));
    Ok(Service { node: node.clone(), setting: Arc::clone(setting), batch, next_row })
}

/// Waits for Ctrl-C, or for the end of the standard input.
async fn end_is_asked_for() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while io::stdin().read(&mut bytes).is_ok_and(|read| read > 0) {}
        let _nobody_waits = ended.send(());
    });
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = wait => {}
    }
}

/// Asks this server for a path as any client would; gives the body.
async fn ask(path: &str, addr: SocketAddr) -> Result<String, Box<dyn Error>> {
    let url = format!("http://{addr}{path}");
    let asked = tokio::task::spawn_blocking(move || ureq::get(url).call());
    Ok(asked.await??.body_mut().read_to_string()?)
}
