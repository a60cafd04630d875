//! murmer, between two processes.
//!
//! It has no message without an answer: a tell is a send whose answer is not awaited at once, with at
//! most so many in flight as the others have in a mailbox.

use std::{net::SocketAddr, process::ExitCode, rc::Rc, time::Duration};

use actors_rules::{CAPACITY, Error, Note, Remote, Total, listening, one_thread, play_remote};
use murmer::{
    cluster::config::{ClusterConfig, ClusterConfigBuilder},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

fn main() -> ExitCode {
    play_remote(Murmer)
}

#[derive(Clone, Copy, Debug)]
struct Murmer;

const LABEL: &str = "counter";

#[derive(Debug)]
struct Counter;

impl Actor for Counter {
    type State = Total;
}

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(result = (), remote = "bench::Tell")]
struct Tell(Note);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(result = u64, remote = "bench::Ask")]
struct Ask(Note);

#[derive(Clone, Debug, Serialize, Deserialize, Message)]
#[message(result = (u64, u64), remote = "bench::GetTotal")]
struct GetTotal;

#[handlers]
impl Counter {
    #[handler]
    fn tell(&mut self, _: &ActorContext<Self>, total: &mut Total, msg: Tell) {
        total.add(msg.0[0]);
    }

    #[handler]
    fn ask(&mut self, _: &ActorContext<Self>, _: &mut Total, msg: Ask) -> u64 {
        msg.0[0]
    }

    #[handler]
    fn get_total(
        &mut self,
        _: &ActorContext<Self>,
        total: &mut Total,
        _msg: GetTotal,
    ) -> (u64, u64) {
        (total.count, total.sum)
    }
}

fn config(name: &str) -> ClusterConfigBuilder {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let key = iroh::SecretKey::generate();
    ClusterConfig::builder().name(name).secret_key(key).listen(loopback).cookie("bench")
}

#[derive(Clone)]
struct Far {
    actor: Endpoint<Counter>,
    in_flight: Rc<Semaphore>,
    _system: Rc<System>,
}

impl Remote for Murmer {
    type Ref = Far;

    fn far(self) -> Result<(), Error> {
        one_thread(async {
            let system = System::clustered_auto(config("far").build()?).await?;
            let _actor = system.start(LABEL, Counter, Total::default());
            let addr = system.local_addr().ok_or("it has no address")?;
            let id = system.endpoint_id().ok_or("it has no identity")?;
            listening(format_args!("{addr} {id}"));
            std::future::pending().await
        })
    }

    async fn connect(&self, far: &str) -> Result<Self::Ref, Error> {
        let (addr, id) = far.split_once(' ').ok_or("an address and an identity")?;
        let seed =
            iroh::EndpointAddr::from_parts(id.parse()?, [iroh::TransportAddr::Ip(addr.parse()?)]);
        let system = System::clustered_auto(config("near").seed_nodes([seed]).build()?).await?;
        loop {
            if let Some(actor) = system.lookup::<Counter>(LABEL) {
                let in_flight = Rc::new(Semaphore::new(CAPACITY));
                return Ok(Far { actor, in_flight, _system: Rc::new(system) });
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
            let _ = to.actor.send(Tell(note)).await;
            to.in_flight.add_permits(1);
        });
        Ok(())
    }

    async fn ask(to: &Self::Ref, note: Note) -> Result<u64, Error> {
        Ok(to.actor.send(Ask(note)).await?)
    }

    async fn total(to: &Self::Ref) -> Result<Total, Error> {
        let _all = to.in_flight.acquire_many(CAPACITY as u32).await?;
        let (count, sum) = to.actor.send(GetTotal).await?;
        Ok(Total { count, sum })
    }
}
