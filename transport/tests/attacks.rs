//! Attacks on a node, over real QUIC on the simulated network, in paused time: by those who have no
//! certificate, by those who have one and no manners, and by peers. Whatever they do, it is bounded
//! in what the node keeps for them, and proper peers are served meanwhile and afterwards.

mod attacks {
    mod linked;
    mod names;
    mod unlinked;
    mod wire_tap;

    #[path = "../fake_peers/peer.rs"]
    #[allow(dead_code, reason = "shared with the fake peers")]
    pub(crate) mod peer;
    #[path = "../fake_peers/wire.rs"]
    #[allow(dead_code, reason = "shared with the fake peers")]
    pub(crate) mod wire;
    #[path = "../fake_peers/world.rs"]
    #[allow(dead_code, reason = "shared with the fake peers")]
    pub(crate) mod world;
}
