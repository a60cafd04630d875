use actix_cluster::prelude::*;

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles())]
struct Account;

fn main() {}
