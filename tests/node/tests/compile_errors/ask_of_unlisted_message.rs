use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit(i64);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bank.Balance", version = 1)]
struct Balance;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "()")]
#[remote(name = "bank.Close", version = 1)]
struct Close;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(Balance, Close))]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

impl Handler<Deposit> for Account {
    type Result = ();
    fn handle(&mut self, _: Deposit, _: &mut Self::Context) {}
}

impl Handler<Balance> for Account {
    type Result = ();
    fn handle(&mut self, _: Balance, _: &mut Self::Context) {}
}

impl Handler<Close> for Account {
    type Result = ();
    fn handle(&mut self, _: Close, _: &mut Self::Context) {}
}

async fn deposit(account: &ActorRef<Account>) {
    let _ = account.ask(Deposit(5)).await;
}

fn main() {}
