use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles())]
struct Account<T>(T);

impl<T: Unpin + 'static> Actor for Account<T> {
    type Context = ClusterContext<Self>;
}

fn main() {}
