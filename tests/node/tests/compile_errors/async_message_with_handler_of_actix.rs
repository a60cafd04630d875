use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit(i64);

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(async Deposit))]
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

fn main() {}
