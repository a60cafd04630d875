//! ractor with its cluster, between two processes.
//!
//! Nodes are connected by plain TCP. A tell is a `cast`, which never waits: what was not written yet
//! waits in memory.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use actors_rules::{Error, Note, Remote, Total, listening, one_thread, play_remote};
use ractor::{Actor, ActorProcessingErr, ActorRef, BytesConvertable, RpcReplyPort, call, pg};
use ractor_cluster::{NodeServer, RactorClusterMessage, node::NodeConnectionMode};

fn main() -> ExitCode {
    play_remote(RactorCluster)
}

#[derive(Clone, Copy, Debug)]
struct RactorCluster;

/// By which the near end finds the actor.
const GROUP: &str = "counters";

struct Counter;

/// Eight numbers of eight bytes.
#[derive(Clone, Copy, Debug)]
struct Sent(Note);

impl BytesConvertable for Sent {
    fn into_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        let mut note = Note::default();
        for (number, bytes) in note.iter_mut().zip(bytes.as_chunks().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        Self(note)
    }
}

#[derive(RactorClusterMessage)]
enum Message {
    Tell(Sent),
    #[rpc]
    Ask(Sent, RpcReplyPort<u64>),
    /// The count and the sum.
    #[rpc]
    GetTotal(RpcReplyPort<Vec<u64>>),
}

impl Actor for Counter {
    type Msg = Message;
    type State = Total;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<Total, ActorProcessingErr> {
        Ok(Total::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        total: &mut Total,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tell(Sent(note)) => total.add(note[0]),
            Message::Ask(Sent(note), reply) => reply.send(note[0])?,
            Message::GetTotal(reply) => reply.send(vec![total.count, total.sum])?,
        }
        Ok(())
    }
}

/// Starts a node that listens on this port.
async fn node(name: &str, port: u16) -> Result<ActorRef<ractor_cluster::NodeServerMessage>, Error> {
    let server = NodeServer::new(
        port,
        "bench".to_owned(),
        name.to_owned(),
        "localhost".to_owned(),
        None,
        Some(NodeConnectionMode::Isolated),
    );
    let server = server.with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(Actor::spawn(None, server, ()).await?.0)
}

fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Remote for RactorCluster {
    type Ref = ActorRef<Message>;

    fn far(self) -> Result<(), Error> {
        one_thread(async {
            let port = free_port()?;
            let (counter, _) = Actor::spawn(None, Counter, ()).await?;
            pg::join(GROUP.to_owned(), vec![counter.get_cell()]);
            let _node = node("far", port).await?;
            listening(format_args!("127.0.0.1:{port}"));
            std::future::pending().await
        })
    }

    async fn connect(&self, far: &str) -> Result<Self::Ref, Error> {
        let node = node("near", free_port()?).await?;
        ractor_cluster::client_connect(&node, far).await?;
        // The node keeps running without its reference.
        loop {
            if let Some(counter) = pg::get_members(&GROUP.to_owned()).into_iter().next() {
                return Ok(counter.into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn tell(actor: &Self::Ref, note: Note) -> Result<(), Error> {
        Ok(actor.cast(Message::Tell(Sent(note))).map_err(|error| error.to_string())?)
    }

    async fn ask(actor: &Self::Ref, note: Note) -> Result<u64, Error> {
        Ok(call!(actor, Message::Ask, Sent(note)).map_err(|error| error.to_string())?)
    }

    async fn total(actor: &Self::Ref) -> Result<Total, Error> {
        let total = call!(actor, Message::GetTotal).map_err(|error| error.to_string())?;
        match total[..] {
            [count, sum] => Ok(Total { count, sum }),
            _ => Err("a total of two numbers".into()),
        }
    }
}
