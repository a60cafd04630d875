use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "bank.Deposit", version = 1, older(DepositV0))]
struct DepositV1(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "bank.Deposit", version = 2, older)]
struct DepositV2(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "bank.Deposit", version = 3, older(DepositV1, DepositV2, send, send))]
struct Deposit(i64);

fn main() {}
