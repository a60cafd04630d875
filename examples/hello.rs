//! Two nodes in one process, and one account: a tell, and an ask that is handled after it.
//!
//! `cargo run --example hello` prints
//!
//! ```text
//! first/1 and second/1 are one cluster
//! acct-7 lives on second/1
//! balance: 12
//! ```

use std::time::Duration;

use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit(i64);

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(Deposit), placement = Eventual, state = volatile)]
struct Account {
    balance: i64,
}

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

impl Handler<Deposit> for Account {
    type Result = i64;
    fn handle(&mut self, Deposit(amount): Deposit, _: &mut Self::Context) -> i64 {
        self.balance += amount;
        self.balance
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = ClusterConfig::dev("shop")?;
    let node = || Node::builder().entity(|_key| Account { balance: 0 });
    let first = node().name("first").cluster(shop.clone()).start().await?;
    let seed = first.addr().expect("it is in a cluster");
    let second = node().name("second").cluster(shop.seed(seed)).start().await?;
    first.wait_for_members(2).await;
    println!("{} and {} are one cluster", first.id(), second.id());

    let account = first.entity::<Account>("acct-7");
    println!("acct-7 lives on {}", first.owner_of::<Account>("acct-7").expect("it is owned"));
    account.tell(Deposit(5)).await?;
    let balance = account.ask(Deposit(7)).within(Duration::from_secs(1)).await?;
    println!("balance: {balance}");

    second.shutdown().await;
    first.shutdown().await;
    Ok(())
}
