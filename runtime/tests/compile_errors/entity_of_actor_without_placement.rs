use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles())]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn entity<A: Entity>(_key: &str) {}

fn main() {
    entity::<Account>("acct-7");
}
