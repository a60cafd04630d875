//! ractor, within one process.
//!
//! Its mailboxes are unbounded; so that it plays with as many messages waiting as the others, the
//! actor counts what it has handled, and the sender waits at the same capacity.

use std::{
    cell::Cell,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actors_rules::{CAPACITY, Error, Local, Total, mark_started, play_local};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};
use tokio::task::yield_now;

fn main() -> ExitCode {
    play_local(Ractor)
}

#[derive(Clone, Debug)]
struct Ractor;

struct Counter;

struct State {
    total: Total,
    handled: Arc<AtomicU64>,
}

enum Message {
    Tell(u64),
    Ask(u64, RpcReplyPort<u64>),
    GetTotal(RpcReplyPort<Total>),
}

impl Actor for Counter {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<AtomicU64>;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        handled: Arc<AtomicU64>,
    ) -> Result<State, ActorProcessingErr> {
        mark_started();
        Ok(State { total: Total::default(), handled })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(number) => {
                state.total.add(number);
                state.handled.store(state.total.count, Ordering::Relaxed);
            }
            Message::Ask(number, reply) => reply.send(number)?,
            Message::GetTotal(reply) => reply.send(state.total)?,
        }
        Ok(())
    }
}

/// An actor, and how many messages wait for it.
#[derive(Clone, Debug)]
struct Bounded {
    actor: ActorRef<Message>,
    sent: Cell<u64>,
    /// What the actor had handled at the last look.
    seen: Cell<u64>,
    handled: Arc<AtomicU64>,
}

impl Bounded {
    async fn room(&self) {
        while self.sent.get() - self.seen.get() >= CAPACITY as u64 {
            self.seen.set(self.handled.load(Ordering::Relaxed));
            if self.sent.get() - self.seen.get() >= CAPACITY as u64 {
                yield_now().await;
            }
        }
    }
}

impl Local for Ractor {
    type Ref = Bounded;

    async fn spawn(&self) -> Result<Self::Ref, Error> {
        let handled = Arc::new(AtomicU64::new(0));
        let (actor, _) = Actor::spawn(None, Counter, Arc::clone(&handled)).await?;
        Ok(Bounded { actor, sent: Cell::new(0), seen: Cell::new(0), handled })
    }

    async fn tell(to: &Self::Ref, number: u64) -> Result<(), Error> {
        to.room().await;
        to.sent.set(to.sent.get() + 1);
        Ok(to.actor.cast(Message::Tell(number)).map_err(|error| error.to_string())?)
    }

    async fn ask(to: &Self::Ref, number: u64) -> Result<u64, Error> {
        Ok(call!(to.actor, Message::Ask, number).map_err(|error| error.to_string())?)
    }

    async fn total(to: &Self::Ref) -> Result<Total, Error> {
        Ok(call!(to.actor, Message::GetTotal).map_err(|error| error.to_string())?)
    }
}
