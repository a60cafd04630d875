use actix_cluster::prelude::*;

#[derive(RemoteActor)]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
