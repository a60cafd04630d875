use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles())]
struct Account;

impl Actor for Account {
    type Context = actix::Context<Self>;
}

fn main() {}
