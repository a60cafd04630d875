//! Plain actix, within one process.
//!
//! A tell is `try_send`, which keeps the mailbox's bound; while that is full, others on the sender's
//! thread have their turn, and it tries again.

use std::process::ExitCode;

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, dev::SendError};
use actors_rules::{CAPACITY, Error, Local, Total, mark_started, play_local};
use tokio::task::yield_now;

fn main() -> ExitCode {
    play_local(Actix)
}

#[derive(Clone, Debug)]
struct Actix;

#[derive(Default)]
struct Counter(Total);

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CAPACITY);
        mark_started();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tell(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Ask(u64);

#[derive(Message)]
#[rtype(result = "Total")]
struct GetTotal;

impl Handler<Tell> for Counter {
    type Result = ();
    fn handle(&mut self, Tell(number): Tell, _: &mut Self::Context) {
        self.0.add(number);
    }
}

impl Handler<Ask> for Counter {
    type Result = u64;
    fn handle(&mut self, Ask(number): Ask, _: &mut Self::Context) -> u64 {
        number
    }
}

impl Handler<GetTotal> for Counter {
    type Result = MessageResult<GetTotal>;
    fn handle(&mut self, _: GetTotal, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.0)
    }
}

impl Local for Actix {
    type Ref = Addr<Counter>;

    async fn spawn(&self) -> Result<Self::Ref, Error> {
        Ok(Counter::default().start())
    }

    async fn tell(actor: &Self::Ref, number: u64) -> Result<(), Error> {
        loop {
            match actor.try_send(Tell(number)) {
                Err(SendError::Full(_)) => yield_now().await,
                sent => return Ok(sent?),
            }
        }
    }

    async fn ask(actor: &Self::Ref, number: u64) -> Result<u64, Error> {
        Ok(actor.send(Ask(number)).await?)
    }

    async fn total(actor: &Self::Ref) -> Result<Total, Error> {
        Ok(actor.send(GetTotal).await?)
    }
}
