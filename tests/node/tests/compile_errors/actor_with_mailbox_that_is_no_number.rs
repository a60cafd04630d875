use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(), mailbox = "64", stash = Some(8))]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
