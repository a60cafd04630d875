use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(), placement = Leased, state = volatile)]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
