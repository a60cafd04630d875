//! kameo with its feature `remote`, between two processes.
//!
//! A swarm of our own, as its documentation says for production: TCP, noise and yamux, the far end
//! dialled by address, and as many streams as the bench has in flight. Each of its messages is a
//! stream. A tell is acknowledged, as it has no other bound, with at most as many in flight as the
//! others have in a mailbox.

use std::{process::ExitCode, rc::Rc, time::Duration};

use actors_rules::{CAPACITY, Error, Note, Remote, Total, listening, one_thread, play_remote};
use futures::StreamExt as _;
use kameo::{
    Actor, RemoteActor,
    actor::{ActorRef, RemoteActorRef, Spawn as _},
    error::Infallible,
    mailbox,
    message::{Context, Message},
    remote::{self, messaging},
    remote_message,
};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

fn main() -> ExitCode {
    play_remote(Kameo)
}

#[derive(Clone, Copy, Debug)]
struct Kameo;

const NAME: &str = "counter";

#[derive(RemoteActor)]
struct Counter(Total);

impl Actor for Counter {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self(Total::default()))
    }
}

#[derive(Serialize, Deserialize)]
struct Tell(Note);

#[derive(Serialize, Deserialize)]
struct Ask(Note);

#[derive(Serialize, Deserialize)]
struct GetTotal;

#[remote_message]
impl Message<Tell> for Counter {
    type Reply = ();
    async fn handle(&mut self, Tell(note): Tell, _: &mut Context<Self, ()>) {
        self.0.add(note[0]);
    }
}

#[remote_message]
impl Message<Ask> for Counter {
    type Reply = u64;
    async fn handle(&mut self, Ask(note): Ask, _: &mut Context<Self, u64>) -> u64 {
        note[0]
    }
}

#[remote_message]
impl Message<GetTotal> for Counter {
    type Reply = (u64, u64);
    async fn handle(&mut self, _: GetTotal, _: &mut Context<Self, (u64, u64)>) -> (u64, u64) {
        (self.0.count, self.0.sum)
    }
}

fn swarm() -> Result<Swarm<remote::Behaviour>, Error> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| {
            let config = messaging::Config::default().with_max_concurrent_streams(4 * CAPACITY);
            remote::Behaviour::new(key.public().to_peer_id(), config)
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.behaviour().try_init_global()?;
    Ok(swarm)
}

#[derive(Clone)]
struct Far {
    actor: RemoteActorRef<Counter>,
    in_flight: Rc<Semaphore>,
}

impl Remote for Kameo {
    type Ref = Far;

    fn far(self) -> Result<(), Error> {
        one_thread(async {
            let mut swarm = swarm()?;
            swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
            let actor = Counter::spawn_with_mailbox((), mailbox::bounded(CAPACITY));
            tokio::spawn(async move {
                let mut actor = Some(actor);
                loop {
                    let event = swarm.select_next_some().await;
                    if let (SwarmEvent::NewListenAddr { address, .. }, Some(actor)) =
                        (event, actor.take())
                    {
                        tokio::spawn(async move {
                            if let Err(error) = actor.register(NAME).await {
                                eprintln!("{error}");
                            }
                            listening(address);
                            std::future::pending::<()>().await;
                        });
                    }
                }
            });
            std::future::pending().await
        })
    }

    async fn connect(&self, far: &str) -> Result<Self::Ref, Error> {
        let mut swarm = swarm()?;
        swarm.dial(far.parse::<Multiaddr>()?)?;
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        loop {
            if let Ok(Some(actor)) = RemoteActorRef::<Counter>::lookup(NAME).await {
                return Ok(Far { actor, in_flight: Rc::new(Semaphore::new(CAPACITY)) });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn tell(to: &Self::Ref, note: Note) -> Result<(), Error> {
        let place = to.in_flight.acquire().await?;
        place.forget();
        let to = to.clone();
        tokio::task::spawn_local(async move {
            // One that fails is missing in the total.
            let _ = to.actor.tell(&Tell(note)).send_ack().await;
            to.in_flight.add_permits(1);
        });
        Ok(())
    }

    async fn ask(to: &Self::Ref, note: Note) -> Result<u64, Error> {
        Ok(to.actor.ask(&Ask(note)).send().await?)
    }

    async fn total(to: &Self::Ref) -> Result<Total, Error> {
        let _all = to.in_flight.acquire_many(CAPACITY as u32).await?;
        let (count, sum) = to.actor.ask(&GetTotal).send().await?;
        Ok(Total { count, sum })
    }
}
