//! Authenticated, ordered byte messages between the nodes of a cluster, over QUIC.
//!
//! This crate knows nodes and bytes. It knows no actor, no placement and no membership.
//!
//! Everything that varies between a real process and a simulated one comes in from outside: time
//! through [`Clock`], randomness through [`Random`].

pub mod clock;
pub mod random;

pub use clock::{Clock, TimeSource};
pub use random::Random;
