//! Packets for nodes that there is no session with, and never will be: of two that hold each other for
//! ended, as after a partition.
//!
//! Each is a connection of its own, which says nothing else. Invariant: at most [`POSTED_LIMIT`] of this
//! node's are on their way. What is more is lost, as any packet may be, and so is what is for another run
//! of the node that answers.

use std::net::SocketAddr;

use super::{Transport, dial};
use crate::{
    greet::{CLOSED, ConnectError, ControlStream},
    identity::PeerId,
    wire::{
        control,
        handshake::{Greeting, Refusal},
    },
};

/// How many letters may be on their way: a few rounds of gossip, while those who are to get them do not
/// answer.
pub(super) const POSTED_LIMIT: usize = 16;

/// A letter on its way.
struct Posted(Transport);

impl Drop for Posted {
    fn drop(&mut self) {
        let posted = &self.0.0.posted;
        posted.set(posted.get() - 1);
    }
}

impl Transport {
    /// Whether this incarnation of a peer is over for this node, so that it can have no session.
    pub fn is_over(&self, peer: &PeerId) -> bool {
        peer.incarnation < self.0.peers.borrow().floor(&peer.name)
    }

    /// Sends a packet to a peer that there can be no session with, best effort: it arrives at
    /// [`Events::letter`](super::Events::letter), at no other run of the peer, or not at all.
    pub fn post(&self, to: &PeerId, addr: SocketAddr, packet: Vec<u8>) {
        let posted = &self.0.posted;
        if posted.get() >= POSTED_LIMIT || self.0.closing.get() {
            return;
        }
        posted.set(posted.get() + 1);
        let (posted, to) = (Posted(self.clone()), to.clone());
        self.spawn(async move {
            let sent = posted.0.send_letter(&to, addr, packet).await;
            if let Err(error) = sent {
                tracing::debug!(node = %posted.0.local(), peer = %to, %error, "a letter is lost");
            }
        });
    }

    async fn send_letter(
        &self,
        to: &PeerId,
        addr: SocketAddr,
        packet: Vec<u8>,
    ) -> Result<(), ConnectError> {
        let (cluster, from) = (self.0.config.cluster.to_string(), self.local().clone());
        let letter = Greeting::Letter { cluster, from, to: to.clone(), packet };
        dial::briefly(self, addr, async |mut control: ControlStream| {
            if !control.names_peer(&to.name) {
                let claimed = to.name.clone();
                return Err(control.refuse(Refusal::Identity { claimed }).await);
            }
            control.greet(&letter).await?;
            control.flush().await;
            control.connection.close(CLOSED.into(), b"");
            Ok(())
        })
        .await
    }

    /// Takes a letter in, if it is for this run of this node.
    pub(super) async fn take_letter(
        &self,
        control: ControlStream,
        (cluster, from, to): (&str, &PeerId, &PeerId),
        packet: &[u8],
    ) -> Result<(), ConnectError> {
        let ours = &self.0.config.cluster;
        if cluster != ours.as_str() {
            return Err(control.refuse(Refusal::Cluster { expected: ours.to_string() }).await);
        }
        if !control.names_peer(&from.name) || from.name == self.local().name {
            let claimed = from.name.clone();
            return Err(control.refuse(Refusal::Identity { claimed }).await);
        }
        if packet.len() as u64 > control::LIMIT {
            return Err(control.refuse(Refusal::Protocol).await);
        }
        if to == self.local() && !self.0.closing.get() {
            self.0.events.letter(from, packet);
        }
        Ok(())
    }
}
