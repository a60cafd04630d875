use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit<T>(T);

fn main() {}
