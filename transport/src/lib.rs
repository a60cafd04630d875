//! Authenticated, ordered byte messages between the nodes of a cluster, over QUIC.
//!
//! This crate knows nodes and bytes. It knows no actor, no placement and no membership.
//!
//! A node [binds](Bound::bind) an endpoint, learns its incarnation from a peer or takes the first,
//! and [opens](Bound::open) a [`Transport`]. With each peer it keeps a [`Session`]: ordered lanes
//! whose frames arrive exactly once while both incarnations live, however often the connection
//! breaks. TLS 1.3 with certificates on both sides is the only mode there is.
//!
//! What a session promises:
//!
//! - messages for one target arrive in the order sent, each exactly once, across reconnects;
//! - every message that was accepted ends as settled, rejected with a reason, or unsettled when the
//!   session ends, and then with the word whether it was ever written;
//! - a full target makes its senders wait and no others; nothing grows beyond what is configured;
//! - long messages hold up no short ones for other targets.
//!
//! # Examples
//!
//! Two nodes, here on a simulated network; [`Udp`](socket::Udp) takes its place in a service.
//!
//! ```
//! use std::{net::IpAddr, rc::Rc};
//!
//! use actix_cluster_transport::{
//!     Bound, Class, Clock, ConnectError, Events, Frames, NodeName, PeerId, Random, Refusal,
//!     Session, Transport, TransportConfig, Unsettled, development::Authority,
//!     simulation::SimulatedNetwork,
//! };
//! use bytes::Bytes;
//!
//! /// A layer above that prints what it is sent, and settles it.
//! struct Printer;
//!
//! impl Events for Printer {
//!     fn deliver(&self, session: &Session, frames: &Frames) {
//!         for frame in frames {
//!             println!("{} says {:?}", session.peer(), frame.payload.as_slice());
//!             session.settle(frame.ticket);
//!         }
//!     }
//!     // Nothing else matters here.
//! #   fn highest_incarnation(&self, _: &NodeName) -> u64 { 0 }
//! #   fn admit(&self, _: &PeerId, _: &[u8]) -> Result<(), Refusal> { Ok(()) }
//! #   fn link_up(&self, _: &Session, _: bool) {}
//! #   fn link_down(&self, _: &Session) {}
//! #   fn packet(&self, _: &PeerId, _: &[u8]) {}
//! #   fn rejected(&self, _: &Session, _: Unsettled, _: u8) {}
//! #   fn session_ended(&self, _: &Session, _: Vec<Unsettled>) {}
//! #   fn dial_failed(&self, _: &PeerId, error: &ConnectError) { panic!("{error}") }
//! }
//!
//! # type Failure = Box<dyn std::error::Error>;
//! fn start(network: &SimulatedNetwork, ca: &Authority, name: &str, host: u8) -> Result<Transport, Failure> {
//!     let name = NodeName::new(name)?;
//!     let ip = IpAddr::from([10, 0, 0, host]);
//!     let config = TransportConfig::new("shop".parse()?, name.clone(), ca.issue(&name), (ip, 7_000).into());
//!     let bound = Bound::bind(config, &network.host(ip), Clock::default(), Random::from_seed(1))?;
//!     Ok(bound.open(1, Bytes::new(), Rc::new(Printer)))
//! }
//!
//! # fn main() -> Result<(), Failure> {
//! # let runtime = tokio::runtime::Builder::new_current_thread()
//! #     .enable_time().start_paused(true).build()?;
//! # tokio::task::LocalSet::new().block_on(&runtime, async {
//! let (network, ca) = (SimulatedNetwork::new(7), Authority::new());
//! let a = start(&network, &ca, "a", 1)?;
//! let b = start(&network, &ca, "b", 2)?;
//! a.connect(b.local(), b.addr());
//! while !a.is_linked(b.local()) {
//!     Clock::default().sleep(std::time::Duration::from_millis(1)).await;
//! }
//! let session = a.session(&b.local().name).expect("they are linked");
//! session.try_send(Class::Message, 42, 1, b"hello")?; // to target 42, known to us as 1
//! a.close(std::time::Duration::from_secs(5)).await; // once it is settled
//! assert_eq!(session.unsettled(), (0, 0));
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Everything that varies between a real process and a simulated one comes in from outside: time
//! through [`Clock`], randomness through [`Random`], packets through
//! [`Network`](socket::Network).

pub mod authority;
pub mod clock;
pub mod config;
pub mod development;
pub mod identity;
pub mod random;
#[doc(hidden)]
pub mod sabotage;
pub mod simulation;
pub mod socket;
pub mod tls;
pub mod wait_list;

#[cfg(any(test, feature = "benching"))]
#[doc(hidden)]
pub mod benching;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod greet;
mod link;
mod peer;
mod session;
mod transport;
mod wire;

pub use self::{
    clock::{Clock, TimeSource},
    config::{ConfigError, Congestion, QuicConfig, TransportConfig},
    greet::ConnectError,
    identity::{ClusterName, NodeName, PeerId},
    random::Random,
    session::{
        Class, Frames, FramesIter, Inbound, Later, Outbound, PACKETS_LIMIT, Payload, Receipt,
        Received, SendAllError, SendError, Session, Unsettled,
    },
    tls::{CredentialFiles, Credentials},
    transport::{
        Activity, BindError, Bound, CertificateStatus, Events, RotateError, Rotated, Rotator,
        Stats, StatsReader, Transport,
    },
    wire::{WireError, handshake::Refusal},
};
