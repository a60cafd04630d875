//! What a transport has under way, in numbers.

use std::{fmt, time::SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::{Transport, gate::TurnedAway};

/// How much is under way with peers, known and unknown; for metrics and alerts.
///
/// Those that end in "since the start" only rise. A cluster at rest has no handshakes and no
/// greetings, and turns nobody away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Connections that went on with a session whose connection had broken, since the start.
    pub resumed: u64,
    /// Connections that were given up because both ends had dialled, since the start.
    pub raced: u64,
    /// When this node's own certificate expires, or the first one of its chain: a gauge, as seconds
    /// since 1970. Alert well before, and [rotate](Transport::rotate).
    pub certificate_expires: SystemTime,
    /// When the first one of the linked peers' certificates expires; `None` without a link. Which
    /// peer's, [`Transport::certificates`] tells.
    pub peer_certificate_expires: Option<SystemTime>,
}

/// Reads a transport's [`Stats`] from any thread. Cheap to clone.
#[derive(Clone)]
pub struct StatsReader(mpsc::Sender<oneshot::Sender<Stats>>);

/// How many readers may wait; further ones wait for room.
const READERS_LIMIT: usize = 4;

impl StatsReader {
    /// As [`Transport::stats`]; `None` once the transport has closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn read(&self) -> Option<Stats> {
        let (tell, told) = oneshot::channel();
        self.0.send(tell).await.ok()?;
        told.await.ok()
    }
}

impl fmt::Debug for StatsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatsReader")
    }
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
            peers: 0,
            sessions: 0,
            links: 0,
            resumed: self.0.resumed.get(),
            raced: self.0.raced.get(),
            certificate_expires: self.0.proof.borrow().expires(),
            peer_certificate_expires: None,
        };
        for entry in self.0.peers.borrow().values() {
            stats.peers += 1;
            stats.sessions += usize::from(entry.peer.session().is_some());
            let Some(link) = entry.peer.link() else { continue };
            stats.links += 1;
            let first = [stats.peer_certificate_expires, link.expires].into_iter().flatten().min();
            stats.peer_certificate_expires = first;
        }
        stats
    }

    /// A handle to read [`stats`](Self::stats) from any thread. It serves while the transport is open.
    pub fn stats_reader(&self) -> StatsReader {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Stats>>(READERS_LIMIT);
        let transport = self.clone();
        self.spawn(async move {
            while let Some(tell) = asked.recv().await {
                // Whoever asked may have gone.
                let _ = tell.send(transport.stats());
            }
        });
        StatsReader(ask)
    }
}
