use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit(i64);

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(reentrant Deposit))]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
