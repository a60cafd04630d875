use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(
    nmae = "bank.Account",
    handles(Deposit, Balance, Deposit),
    handles(),
    placement = Leased,
    state = "volatile"
)]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

fn main() {}
