use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(nmae = "bank.Deposit", version = -1)]
#[remote(version = 2)]
struct Deposit<T>(T);

fn main() {}
