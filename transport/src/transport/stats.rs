//! What a transport has under way, in numbers.

use super::{Transport, gate::TurnedAway};

/// How much is under way with peers, known and unknown; for metrics and alerts.
///
/// Those that end in "since the start" only rise. A cluster at rest has no handshakes and no
/// greetings, and turns nobody away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Handshakes of TLS that others have begun here, of which none is proven to come from a node.
    pub handshakes: usize,
    /// Handshakes whose sender was asked to show first that its address is its own, since the start.
    /// Many: a flood, or a large cluster that starts.
    pub retried: u64,
    /// Handshakes refused, as their address had too many under way, or all had, since the start.
    pub refused: u64,
    /// The same of addresses that may be forged, which are not answered at all.
    pub ignored: u64,
    /// Connections with a trusted certificate that have no link yet.
    pub greetings: usize,
    /// Connections of which a newer one took the place while they greeted, since the start. Any: a
    /// node, or a thief of its certificate, that opens connections and says nothing.
    pub crowded: u64,
    /// Peers that are known, of at most [`peers_limit`](crate::TransportConfig::peers_limit).
    pub peers: usize,
    /// Those with a session.
    pub sessions: usize,
    /// Those with a connection that carries it.
    pub links: usize,
}

impl Transport {
    /// How much is under way now. It looks at each peer.
    pub fn stats(&self) -> Stats {
        let TurnedAway { retried, refused, ignored } = self.0.gate.turned_away();
        let mut stats = Stats {
            handshakes: self.0.gate.under_way(),
            retried,
            refused,
            ignored,
            greetings: self.0.greetings.under_way(),
            crowded: self.0.greetings.cut(),
            ..Stats::default()
        };
        for entry in self.0.peers.borrow().values() {
            stats.peers += 1;
            stats.sessions += usize::from(entry.peer.session().is_some());
            stats.links += usize::from(entry.peer.link().is_some());
        }
        stats
    }
}
