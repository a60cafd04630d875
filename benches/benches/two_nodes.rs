//! How many messages pass between two nodes, and how long is one ask?
//!
//! Two nodes of one process on loopback, each with its own threads. Axes: tells from one sender to
//! one target and to 64 of them, asks with 1 and with 256 in flight. The payload is 64 bytes.

#![expect(clippy::disallowed_methods, reason = "a bench reads the wall clock and spawns")]

use std::time::{Duration, Instant};

use actix_cluster::prelude::*;
use actix_cluster_benches::is_bench;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone)]
#[rtype(result = "u64")]
#[remote(name = "bench.Note", version = 1)]
struct Note {
    head: [u64; 4],
    tail: [u64; 4],
}

#[derive(RemoteActor)]
#[remote(name = "bench.Sink", handles(Note), placement = Eventual, state = volatile)]
struct Sink(u64);

impl Actor for Sink {
    type Context = ClusterContext<Self>;
}

impl Handler<Note> for Sink {
    type Result = u64;
    fn handle(&mut self, _: Note, _: &mut Self::Context) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// Sixty-four bytes on the wire, as large numbers take more than eight each.
const NOTE: Note = Note { head: [0x00ff_ffff_ffff_ffff; 4], tail: [0x00ff_ffff_ffff_ffff; 4] };

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scale = if is_bench() { 1 } else { 1_000 };
    let config = ClusterConfig::dev("bench")?;
    let node = |name: &str| Node::builder().name(name).entity(|_| Sink(0));
    let here = node("here").cluster(config.clone()).start().await?;
    let seed = here.addr().expect("it is in a cluster");
    let there = node("there").cluster(config.seed(seed)).start().await?;
    here.wait_for_members(2).await;

    let targets: Vec<ActorRef<Sink>> = (0..)
        .map(|n| format!("sink-{n}"))
        .filter(|key| here.owner_of::<Sink>(key).as_ref() == Some(&there.id()))
        .take(64)
        .map(|key| here.entity::<Sink>(&key))
        .collect();
    for count in [1, 64] {
        let messages = 2_000_000 / scale;
        let start = Instant::now();
        for n in 0..messages {
            targets[n % count].tell(NOTE).await?;
        }
        for target in &targets[..count] {
            target.ask(NOTE).within(Duration::from_secs(60)).await?;
        }
        report(&format!("tells, {count} targets"), messages, start.elapsed());
    }
    for in_flight in [1, 256] {
        let messages = if in_flight == 1 { 20_000 } else { 500_000 } / scale;
        let start = Instant::now();
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..in_flight {
            let target = targets[sender % targets.len()].clone();
            let asks = messages / in_flight;
            senders.spawn(async move {
                for _ in 0..asks {
                    target.ask(NOTE).await.expect("it answers");
                }
            });
        }
        while let Some(sender) = senders.join_next().await {
            sender?;
        }
        report(&format!("asks, {in_flight} in flight"), messages, start.elapsed());
    }
    there.shutdown().await;
    here.shutdown().await;
    Ok(())
}

fn report(what: &str, messages: usize, took: Duration) {
    let each = took / messages.max(1) as u32;
    let rate = messages as f64 / took.as_secs_f64();
    println!("{what}: {rate:.0} a second, {each:?} each");
}
