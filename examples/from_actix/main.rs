//! A plain actix program, the same program moved over, and what the move buys.
//!
//! `diff examples/from_actix/before.rs examples/from_actix/after.rs` shows all that has changed; a test
//! holds it to that (`tests/from_actix.rs`). The steps are told in the chapter `docs/moving.md`.
//!
//! `cargo run --example from_actix` prints the same lines twice, and then, beside a panic on purpose, what
//! follows from it:
//!
//! ```text
//! before, with actix:
//! took 4 bolts: Ok(6) left
//! reserved 2 bolts: Ok(4) left
//! took 5 bolts: Err(4) left
//! the reservation has lapsed: 6 bolts
//! nuts were rare, and ordered: 21 nuts
//! and once more: 41 nuts
//! closed with 47 pieces
//! after, with actix-cluster:
//! (the same seven lines)
//! and what that buys:
//! shop.Count may have run: panicked
//! what waited behind it was answered by a fresh stock: 10 bolts, 10 nuts
//! closed with 20 pieces
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "it shows actix's own ways: `do_send`, and timers of the wall clock"
)]

mod after;
mod before;

use std::error::Error;

use actix::System;
use actix_cluster::Node;

fn main() -> Result<(), Box<dyn Error>> {
    System::new().block_on(async {
        println!("before, with actix:");
        before::run().await?;
        println!("after, with actix-cluster:");
        after::run().await?;
        println!("and what that buys:");
        survive().await
    })
}

/// A bug that would have ended a plain actor, and all that waits for it: nobody has any screws.
async fn survive() -> Result<(), Box<dyn Error>> {
    let node = Node::builder().start().await?;
    let (_, supplier) = node.spawn(|_| after::Supplier).start_with_addr()?;
    let stock = node.spawn(move |_| after::Stock::new(supplier.clone())).start()?;

    // The reference has what an address has not: a bound that senders wait at, and errors that tell
    // whether the message can have run. It could be that of an actor on another node, too.
    let count = |article: &str| stock.ask(after::Count(article.to_owned()));
    let (screws, bolts, nuts) = tokio::join!(count("screws"), count("bolts"), count("nuts"));
    if let Err(error) = screws {
        println!("{error}");
    }
    let (bolts, nuts) = (bolts?, nuts?);
    println!("what waited behind it was answered by a fresh stock: {bolts} bolts, {nuts} nuts");
    node.shutdown().await;
    Ok(())
}
