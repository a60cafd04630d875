//! kameo, within one process.
//!
//! Mailboxes are bounded, as its documentation advises; a tell is awaited, and waits for room. Its
//! `tracing` feature is off, which is the faster way.

use std::process::ExitCode;

use actors_rules::{CAPACITY, Error, Local, Total, mark_started, play_local};
use kameo::{
    Actor,
    actor::{ActorRef, Spawn as _},
    error::Infallible,
    mailbox,
    message::{Context, Message},
};

fn main() -> ExitCode {
    play_local(Kameo)
}

#[derive(Clone, Debug)]
struct Kameo;

struct Counter(Total);

impl Actor for Counter {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        mark_started();
        Ok(Self(Total::default()))
    }
}

struct Tell(u64);

struct Ask(u64);

struct GetTotal;

impl Message<Tell> for Counter {
    type Reply = ();
    async fn handle(&mut self, Tell(number): Tell, _: &mut Context<Self, ()>) {
        self.0.add(number);
    }
}

impl Message<Ask> for Counter {
    type Reply = u64;
    async fn handle(&mut self, Ask(number): Ask, _: &mut Context<Self, u64>) -> u64 {
        number
    }
}

impl Message<GetTotal> for Counter {
    type Reply = (u64, u64);
    async fn handle(&mut self, _: GetTotal, _: &mut Context<Self, (u64, u64)>) -> (u64, u64) {
        (self.0.count, self.0.sum)
    }
}

impl Local for Kameo {
    type Ref = ActorRef<Counter>;

    async fn spawn(&self) -> Result<Self::Ref, Error> {
        Ok(Counter::spawn_with_mailbox((), mailbox::bounded(CAPACITY)))
    }

    async fn tell(actor: &Self::Ref, number: u64) -> Result<(), Error> {
        Ok(actor.tell(Tell(number)).send().await?)
    }

    async fn ask(actor: &Self::Ref, number: u64) -> Result<u64, Error> {
        Ok(actor.ask(Ask(number)).send().await?)
    }

    async fn total(actor: &Self::Ref) -> Result<Total, Error> {
        let (count, sum) = actor.ask(GetTotal).send().await?;
        Ok(Total { count, sum })
    }
}
