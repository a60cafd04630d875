//! Two nodes, one entity, one message, one ask: `cargo run --example hello_min`

use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit(i64);

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(Deposit), placement = Eventual, state = volatile)]
struct Account(i64);
impl Actor for Account {
    type Context = ClusterContext<Self>;
}
impl Handler<Deposit> for Account {
    type Result = i64;
    fn handle(&mut self, Deposit(amount): Deposit, _: &mut Self::Context) -> i64 {
        self.0 += amount;
        self.0
    }
}
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = ClusterConfig::dev("shop")?;
    let node = || Node::builder().entity(|_key| Account(0));
    let first = node().name("first").cluster(shop.clone()).start().await?;
    let seed = first.addr().expect("it is in a cluster");
    let second = node().name("second").cluster(shop.seed(seed)).start().await?;
    println!("balance: {}", second.entity::<Account>("acct-7").ask(Deposit(5)).await?);
    Ok(())
}
