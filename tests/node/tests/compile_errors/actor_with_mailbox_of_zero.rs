use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(), mailbox = 0)]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
