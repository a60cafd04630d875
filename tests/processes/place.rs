//! An entity that says where it is, and whether it is the same activation as before.

use std::time::Duration;

use actix_cluster::prelude::*;
use serde::{Deserialize, Serialize};

/// Asks an activation where it is.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Clone, Copy, Debug)]
#[rtype(result = "Where")]
#[remote(name = "test.Ping", version = 1)]
pub struct Ping;

/// Blocks the arbiter's thread, as no handler should.
#[derive(Message, RemoteMessage, Serialize, Deserialize, Debug)]
#[rtype(result = "()")]
#[remote(name = "test.Block", version = 1)]
pub struct Block {
    /// For so long.
    pub millis: u64,
}

/// Where an activation is, and how far it has counted.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// The node, with its incarnation.
    pub node: String,
    /// How often this activation was asked, this time included.
    pub pings: u64,
}

/// Counts how often it was asked.
#[derive(RemoteActor, Debug, Default)]
#[remote(name = "test.Place", handles(Ping, Block), placement = Eventual, state = volatile)]
pub struct Place {
    pings: u64,
}

impl Actor for Place {
    type Context = ClusterContext<Self>;
}

impl Handler<Ping> for Place {
    type Result = MessageResult<Ping>;
    fn handle(&mut self, _: Ping, ctx: &mut Self::Context) -> MessageResult<Ping> {
        self.pings += 1;
        MessageResult(Where { node: ctx.node().id().to_string(), pings: self.pings })
    }
}

impl Handler<Block> for Place {
    type Result = ();
    fn handle(&mut self, Block { millis }: Block, _: &mut Self::Context) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}
