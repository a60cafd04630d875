use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles())]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn account(node: &Node) -> ActorRef<Account> {
    node.entity("acct-7")
}

fn main() {}
