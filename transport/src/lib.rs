//! Authenticated, ordered byte messages between the nodes of a cluster, over QUIC.
//!
//! This crate knows nodes and bytes. It knows no actor, no placement and no membership.
//!
//! A node [binds](Bound::bind) an endpoint, learns its incarnation from a peer or takes the first,
//! and [opens](Bound::open) a [`Transport`]. With each peer it keeps a [`Session`]: ordered lanes
//! whose frames arrive exactly once while both incarnations live, however often the connection
//! breaks. TLS 1.3 with certificates on both sides is the only mode there is.
//!
//! Everything that varies between a real process and a simulated one comes in from outside: time
//! through [`Clock`], randomness through [`Random`], packets through
//! [`Network`](socket::Network).

pub mod clock;
pub mod config;
pub mod development;
pub mod identity;
pub mod random;
pub mod simulation;
pub mod socket;
pub mod tls;
pub mod wait_list;

mod greet;
mod link;
mod peer;
mod session;
mod transport;
mod wire;

pub use self::{
    clock::{Clock, TimeSource},
    config::{ConfigError, TransportConfig},
    greet::ConnectError,
    identity::{ClusterName, NodeName, PeerId},
    random::Random,
    session::{Class, Inbound, Later, PACKETS_LIMIT, Receipt, SendError, Session, Unsettled},
    tls::Credentials,
    transport::{BindError, Bound, Events, Transport},
    wire::{WireError, handshake::Refusal},
};
