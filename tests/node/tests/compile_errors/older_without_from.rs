use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "bank.Deposit", version = 1)]
struct DepositV1(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "bank.Deposit", version = 2, older(DepositV1))]
struct Deposit(i64);

fn main() {}
