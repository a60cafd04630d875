use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "bank.Deposit", version = 1)]
struct DepositV1(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "bank.Withdraw", version = 2, older(DepositV1))]
struct Withdraw(i64);

impl From<DepositV1> for Withdraw {
    fn from(DepositV1(amount): DepositV1) -> Self {
        Self(amount.into())
    }
}

fn main() {}
