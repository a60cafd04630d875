use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

use std::io;

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "io::Result<i64>")]
#[remote(name = "bank.Deposit", version = 1)]
struct Deposit(i64);

fn main() {}
