//! A cluster in one test: nodes on a simulated network in virtual time, actors that a test holds in its
//! hand, and faults by a switch. With the feature `testkit`.
//!
//! A [`TestCluster`] is a network of simulated hosts under one seed, with real QUIC between them, all on
//! the test's own thread. Time is virtual: it passes as soon as nobody has anything to do, so that an hour
//! takes as long as what happens in it. The same seed is the same run; another seed has packets arrive in
//! another order, and nodes draw other numbers. [`macro@cluster_test`] runs a test under many seeds, and says
//! how to replay the one that failed.
//!
//! A [`Probe`] is an actor whose messages the test takes one by one; a [`Mock`] is one that answers by a
//! closure. Both stand for whatever the code under test holds as a [`MessageRef`](crate::MessageRef).
//!
//! # Examples
//!
//! ```rust,test_harness
//! use actix_cluster::{prelude::*, testkit::{TestCluster, cluster_test}};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, RemoteMessage, Serialize, Deserialize)]
//! #[rtype(result = "usize")]
//! #[remote(name = "shop.Add", version = 1)]
//! struct Add(String);
//!
//! #[derive(RemoteActor, Default)]
//! #[remote(name = "shop.Cart", handles(Add), placement = Eventual, state = volatile)]
//! struct Cart(Vec<String>);
//! impl Actor for Cart {
//!     type Context = ClusterContext<Self>;
//! }
//! impl Handler<Add> for Cart {
//!     type Result = usize;
//!     fn handle(&mut self, Add(item): Add, _: &mut Self::Context) -> usize {
//!         self.0.push(item);
//!         self.0.len()
//!     }
//! }
//!
//! #[cluster_test(seeds = 5)]
//! async fn a_cart_answers_after_its_node_is_killed(
//!     cluster: TestCluster,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     cluster.start(3, |node| node.entity(|_key| Cart::default())).await?;
//!     let owner = cluster.node(1).owner_of::<Cart>("cart-7").ok_or("no owner")?;
//!     cluster.kill(cluster.number_of(&owner));
//!     cluster.converge().await; // the others have noticed
//!     let cart = cluster.node(cluster.running()[0]).entity::<Cart>("cart-7");
//!     assert_eq!(cart.ask(Add("a lamp".to_owned())).await?, 1);
//!     Ok(())
//! }
//! ```

// The actors' impls are `do_not_recommend`: what the compiler says of the user's own is to be the same with and
// without the feature.
mod cluster;
mod faults;
mod mock;
mod probe;
mod run;
mod time;

pub use actix_cluster_derive::cluster_test;

#[doc(hidden)]
pub use self::run::{ClusterTest, Target, run};
pub use self::{
    cluster::{PORT, TestCluster},
    mock::{Mock, MockActor},
    probe::{Expected, Probe, ProbeActor},
    run::{Failure, Outcome, SEEDS, play},
    time::{StillRunning, simulate},
};
