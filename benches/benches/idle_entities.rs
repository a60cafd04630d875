//! How much memory does an idle entity hold?
//!
//! Activates entities by one ask each, and compares the process's resident memory before and after.
//! One node without a cluster; the entity's own state is one number.

use actix_cluster::prelude::*;
use actix_cluster_benches::is_bench;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u64")]
#[remote(name = "bench.Touch", version = 1)]
struct Touch;

#[derive(RemoteActor)]
#[remote(name = "bench.Idle", handles(Touch), placement = Eventual, state = volatile)]
struct Idle(u64);

impl Actor for Idle {
    type Context = ClusterContext<Self>;
}

impl Handler<Touch> for Idle {
    type Result = u64;
    fn handle(&mut self, _: Touch, _: &mut Self::Context) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The resident memory of this process, in bytes; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = if is_bench() { 100_000 } else { 1_000 };
    let node = Node::builder().entity(|_| Idle(0)).start().await?;
    node.entity::<Idle>("first").ask(Touch).await?;
    let before = resident_bytes();
    for number in 0..count {
        node.entity::<Idle>(&format!("entity-{number}")).ask(Touch).await?;
    }
    let after = resident_bytes();
    assert_eq!(node.entity_count(), count + 1);
    match before.zip(after) {
        Some((before, after)) => {
            let each = after.saturating_sub(before) / count as u64;
            println!("{count} idle entities: {each} bytes each");
        }
        None => println!("{count} idle entities: this system does not tell resident memory"),
    }
    node.shutdown().await;
    Ok(())
}
