//! The actor of a probe: puts what it gets into the inbox, and does what the probe has it do.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix::{Actor, AsyncContext, Handler, StreamHandler};
use futures_core::Stream;
use tokio::sync::mpsc;

use super::{
    Expected,
    inbox::{Inbox, Item},
};
use crate::{
    ClusterContext, Handles, MessageTable, RemoteActor, RemoteMessage, Responder,
    RespondingHandler, Terminated, handler, remote_actor::Envelopes,
};

/// The actor of a [`Probe`](super::Probe): it handles every message that can be shown.
pub struct ProbeActor {
    inbox: Arc<Inbox>,
    commands: Option<mpsc::Receiver<Command>>,
}

/// Something to do in the actor's context.
pub(super) type Command = Box<dyn FnOnce(&mut ClusterContext<ProbeActor>) + Send>;

impl ProbeActor {
    pub(super) fn new(inbox: Arc<Inbox>, commands: Option<mpsc::Receiver<Command>>) -> Self {
        Self { inbox, commands }
    }
}

#[diagnostic::do_not_recommend]
impl Actor for ProbeActor {
    type Context = ClusterContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(commands) = self.commands.take() {
            ctx.add_stream(Commands(commands));
        }
    }
}

#[diagnostic::do_not_recommend]
impl RemoteActor for ProbeActor {
    const NAME: &'static str = "testkit.Probe";

    /// It is reached without the network, where messages need no table.
    fn messages(_: &mut MessageTable<Self>) {}
}

#[diagnostic::do_not_recommend]
impl<M: RemoteMessage + fmt::Debug> Handles<M> for ProbeActor {
    fn envelopes() -> Envelopes<Self, M> {
        handler::responding::<Self, M>()
    }
}

#[diagnostic::do_not_recommend]
impl<M: RemoteMessage + fmt::Debug> RespondingHandler<M> for ProbeActor {
    fn handle(&mut self, message: M, responder: Responder<M>, _: &mut Self::Context) {
        self.inbox.put(Item::of(Expected { message, responder }));
    }
}

#[diagnostic::do_not_recommend]
impl Handler<Terminated> for ProbeActor {
    type Result = ();
    fn handle(&mut self, end: Terminated, _: &mut Self::Context) {
        self.inbox.put(Item::Terminated(end));
    }
}

/// Stops the actor when the probe is dropped, which ends the stream.
#[diagnostic::do_not_recommend]
impl StreamHandler<Command> for ProbeActor {
    fn handle(&mut self, command: Command, ctx: &mut Self::Context) {
        command(ctx);
    }
}

impl fmt::Debug for ProbeActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeActor").finish_non_exhaustive()
    }
}

struct Commands(mpsc::Receiver<Command>);

impl Stream for Commands {
    type Item = Command;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Command>> {
        self.0.poll_recv(task)
    }
}
