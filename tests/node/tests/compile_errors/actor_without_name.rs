use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(handles())]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
