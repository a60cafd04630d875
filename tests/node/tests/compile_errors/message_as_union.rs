use actix_cluster::prelude::*;

#[derive(Message, RemoteMessage)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 1)]
union Deposit {
    cents: i64,
    text: [u8; 8],
}

fn main() {}
