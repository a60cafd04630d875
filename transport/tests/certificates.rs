//! Who may speak to whom, over real QUIC on the simulated network: each reason to refuse a peer, on
//! both sides, and what rotating and revoking do to nodes that run.

mod certificates {
    pub(crate) mod log;
    pub(crate) mod refusals;
    pub(crate) mod rotation;
    pub(crate) mod world;
}
