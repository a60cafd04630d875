use actix_cluster::prelude::*;

#[derive(Message)]
#[rtype(result = "()")]
struct Deposit(i64);

#[derive(RemoteActor)]
#[remote(name = "bank.Account", handles(Deposit))]
struct Account;

impl Actor for Account {
    type Context = ClusterContext<Self>;
}

impl Handler<Deposit> for Account {
    type Result = ();
    fn handle(&mut self, _: Deposit, _: &mut Self::Context) {}
}

fn main() {}
