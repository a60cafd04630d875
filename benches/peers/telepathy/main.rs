//! actix with actix-telepathy, between two processes.
//!
//! A tell is `do_send`, which never waits: what was not written yet waits in memory. It has no ask
//! between nodes: here one is a message there and a message back, by number.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use actix::prelude::*;
use actix_broker::BrokerSubscribe;
use actix_telepathy::prelude::*;
use actors_rules::{Error, Note, Remote, Total, listening, play_remote};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    play_remote(Telepathy)
}

#[derive(Clone, Copy, Debug)]
struct Telepathy;

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Tell {
    note: Note,
}

#[derive(RemoteMessage, Serialize, Deserialize)]
struct Ask {
    number: u64,
    note: Note,
}

#[derive(RemoteMessage, Serialize, Deserialize)]
struct GetTotal {
    number: u64,
}

/// What comes back: for an ask its first number, for a total its count and sum.
#[derive(RemoteMessage, Serialize, Deserialize)]
struct Answer {
    number: u64,
    answer: (u64, u64),
}

/// The far end's actor.
#[derive(RemoteActor)]
#[remote_messages(Tell, Ask, GetTotal)]
struct Counter {
    total: Total,
    asker: Option<RemoteAddr>,
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.register(ctx.address().recipient());
        self.subscribe_system_async::<ClusterLog>(ctx);
    }
}

impl Counter {
    fn answer(&self, number: u64, answer: (u64, u64)) {
        if let Some(asker) = &self.asker {
            asker.do_send(Answer { number, answer });
        }
    }
}

impl Handler<Tell> for Counter {
    type Result = ();
    fn handle(&mut self, msg: Tell, _: &mut Self::Context) {
        self.total.add(msg.note[0]);
    }
}

impl Handler<Ask> for Counter {
    type Result = ();
    fn handle(&mut self, msg: Ask, _: &mut Self::Context) {
        self.answer(msg.number, (msg.note[0], 0));
    }
}

impl Handler<GetTotal> for Counter {
    type Result = ();
    fn handle(&mut self, msg: GetTotal, _: &mut Self::Context) {
        self.answer(msg.number, (self.total.count, self.total.sum));
    }
}

impl Handler<ClusterLog> for Counter {
    type Result = ();
    fn handle(&mut self, msg: ClusterLog, _: &mut Self::Context) {
        if let ClusterLog::NewMember(node) = msg {
            self.asker = Some(node.get_remote_addr(Asker::ACTOR_ID.to_owned()));
        }
    }
}

impl ClusterListener for Counter {}

thread_local! {
    /// Who waits for an answer, by number. All of the near end runs on one thread.
    static WAITING: RefCell<HashMap<u64, oneshot::Sender<(u64, u64)>>> = RefCell::default();
    static FAR: RefCell<Option<RemoteAddr>> = const { RefCell::new(None) };
    static LAST: RefCell<u64> = const { RefCell::new(0) };
}

/// The near end's actor.
#[derive(RemoteActor)]
#[remote_messages(Answer)]
struct Asker;

impl Actor for Asker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.register(ctx.address().recipient());
        self.subscribe_system_async::<ClusterLog>(ctx);
    }
}

impl Handler<Answer> for Asker {
    type Result = ();
    fn handle(&mut self, msg: Answer, _: &mut Self::Context) {
        if let Some(waiting) = WAITING.with_borrow_mut(|waiting| waiting.remove(&msg.number)) {
            let _ = waiting.send(msg.answer);
        }
    }
}

impl Handler<ClusterLog> for Asker {
    type Result = ();
    fn handle(&mut self, msg: ClusterLog, _: &mut Self::Context) {
        if let ClusterLog::NewMember(node) = msg {
            FAR.set(Some(node.get_remote_addr(Counter::ACTOR_ID.to_owned())));
        }
    }
}

impl ClusterListener for Asker {}

/// The number under which an answer will come, and the answer.
fn expect() -> (u64, oneshot::Receiver<(u64, u64)>) {
    let number = LAST.with_borrow_mut(|last| {
        *last += 1;
        *last
    });
    let (give, answer) = oneshot::channel();
    WAITING.with_borrow_mut(|waiting| waiting.insert(number, give));
    (number, answer)
}

fn free_addr() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Remote for Telepathy {
    type Ref = RemoteAddr;

    fn drive<T>(run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        System::new().block_on(run)
    }

    fn far(self) -> Result<(), Error> {
        Self::drive(async {
            let addr = free_addr()?;
            let _counter = Counter { total: Total::default(), asker: None }.start();
            let _cluster = Cluster::new(addr, Vec::new());
            tokio::time::sleep(Duration::from_millis(50)).await;
            listening(addr);
            std::future::pending().await
        })
    }

    async fn connect(&self, far: &str) -> Result<Self::Ref, Error> {
        let _asker = Asker.start();
        let _cluster = Cluster::new(free_addr()?, vec![far.parse()?]);
        loop {
            if let Some(far) = FAR.with_borrow(Clone::clone) {
                // Each side learns of the other by itself.
                tokio::time::sleep(Duration::from_millis(200)).await;
                return Ok(far);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn tell(actor: &Self::Ref, note: Note) -> Result<(), Error> {
        actor.do_send(Tell { note });
        Ok(())
    }

    async fn ask(actor: &Self::Ref, note: Note) -> Result<u64, Error> {
        let (number, answer) = expect();
        actor.do_send(Ask { number, note });
        Ok(answer.await?.0)
    }

    async fn total(actor: &Self::Ref) -> Result<Total, Error> {
        let (number, answer) = expect();
        actor.do_send(GetTotal { number });
        let (count, sum) = answer.await?;
        Ok(Total { count, sum })
    }
}
