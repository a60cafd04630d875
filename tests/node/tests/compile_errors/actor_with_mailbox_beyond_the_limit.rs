use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(), mailbox = 4_294_967_296)]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
