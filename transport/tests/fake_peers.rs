//! Peers that speak the protocol's bytes without this crate: older, newer and odd ones, over real
//! QUIC on the simulated network, in paused time. Whatever they do, their connection ends with a
//! reason and the node goes on serving others.

mod fake_peers {
    pub(crate) mod dialled;
    pub(crate) mod handshake;
    pub(crate) mod lanes;
    pub(crate) mod letters;
    pub(crate) mod peer;
    pub(crate) mod wire;
    pub(crate) mod world;
}
