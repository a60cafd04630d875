//! Every form of an actor.

use actix_cluster::{Entity, EntityState, Handles, Placement, prelude::*};
use serde::{Deserialize, Serialize};

mod bank {
    use super::*;

    #[derive(Message, RemoteMessage, Serialize, Deserialize)]
    #[rtype(result = "()")]
    #[remote(name = "bank.Deposit", version = 1)]
    pub struct Deposit(pub i64);
}

#[derive(Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "i64")]
#[remote(name = "bank.Balance", version = 1)]
struct Balance;

#[derive(RemoteActor)]
#[remote(
    name = "bank.Account",
    handles(bank::Deposit, Balance,),
    placement = Eventual,
    state = volatile,
)]
struct Account {
    balance: i64,
}

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

impl Handler<bank::Deposit> for Account {
    type Result = ();
    fn handle(&mut self, bank::Deposit(amount): bank::Deposit, _: &mut Self::Context) {
        self.balance += amount;
    }
}

impl Handler<Balance> for Account {
    type Result = i64;
    fn handle(&mut self, _: Balance, _: &mut Self::Context) -> i64 {
        self.balance
    }
}

#[derive(RemoteActor)]
#[remote(name = "bank.Clerk")]
#[remote(handles())]
enum Clerk {
    Idle,
}

impl Actor for Clerk {
    type Context = ClusterContext<Self>;
}

fn handles<A: Handles<M>, M: RemoteMessage>() {}

#[test]
fn every_form_of_an_actor_is_accepted() {
    handles::<Account, bank::Deposit>();
    handles::<Account, Balance>();
    assert_eq!(Account::NAME, "bank.Account");
    assert_eq!(Account::PLACEMENT, Placement::Eventual);
    assert_eq!(Account::STATE, EntityState::Volatile);
    assert_eq!(<Clerk as RemoteActor>::NAME, "bank.Clerk");
    let _ = Clerk::Idle;
}
