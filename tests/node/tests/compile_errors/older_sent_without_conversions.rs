use actix_cluster::OlderReply;
use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "u32")]
#[remote(name = "bank.Deposit", version = 1)]
struct DepositV1(u32);

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Deposit", version = 2, older(DepositV1, send, reply))]
struct Deposit(i64);

impl From<DepositV1> for Deposit {
    fn from(DepositV1(amount): DepositV1) -> Self {
        Self(amount.into())
    }
}

impl OlderReply<DepositV1> for Deposit {
    fn older_reply(balance: i64) -> u32 {
        balance as u32
    }
}

fn main() {}
