//! How a node's life in its cluster ends: it leaves, or was declared down.

use std::{sync::Arc, time::Duration};

use actix_cluster_transport::Transport;

use super::{LOOK_PERIOD, MOVE_OUT_PATIENCE, Shell, owners};
use crate::cluster::{Phase, membership::Membership as _, peer_id, wire::packet};

impl Shell {
    /// Tells the others, and gives up all entities.
    pub(super) async fn leave(&self) {
        let view = Arc::clone(self.membership.borrow().view());
        for member in &view.members {
            let peer = peer_id(&member.id);
            if let Some(session) = peer.and_then(|peer| self.transport().session(&peer.name)) {
                session.send_packet(vec![packet::LEAVING].into());
            }
        }
        {
            let mut membership = self.membership.borrow_mut();
            membership.leave(self.now());
            self.send_packets(&mut membership);
        }
        let owners = owners(view.members.iter().filter(|member| member.id != *self.core.id()));
        self.set_routes(view, owners);
        let deadline = self.core.clock().after(MOVE_OUT_PATIENCE);
        while self.core.entities().count() > 0 && self.now() < deadline {
            self.send_redirects(self.now());
            self.core.clock().sleep(LOOK_PERIOD).await;
        }
        // Whoever asked for the shutdown may have gone away: it goes on all the same.
        let core = Arc::clone(&self.core);
        self.tasks.borrow_mut().spawn_local(async move { core.shutdown().await });
        self.cluster.phase.send_if_modified(|phase| {
            let forward = *phase == Phase::Leaving;
            *phase = (*phase).max(Phase::Left);
            forward
        });
    }

    /// This incarnation is over for the others: it is to end here too.
    pub(super) fn declared_down(&self) {
        self.is_down.set(true);
        self.cluster.wake.notify_one();
    }

    /// Ends a life that the others take for ended: there is nobody to say anything to.
    pub(super) async fn fall(&self, transport: &Transport) {
        tracing::error!(
            node = %self.core.id(),
            "the others have declared this node down: its actors stop"
        );
        // What waits for entities has not run, and waits for the next life.
        let view = Arc::clone(self.membership.borrow().view());
        self.set_routes(view, Vec::new());
        self.close(transport, Duration::ZERO).await;
    }

    /// Closes the transport, within `patience` for what was taken to be settled, and ends all actors.
    pub(super) async fn close(&self, transport: &Transport, patience: Duration) {
        self.cluster.routing.stop_sending();
        transport.close(patience).await;
        // Nothing is sent on any more, and nobody is left of a node that never quite started.
        self.cluster.redirects().close(self.core.dead_letters());
        self.core.end_actors().await;
        self.cluster.phase.send_replace(Phase::Closed);
        // A shutdown that this thread began has a last word to say.
        let mut tasks = self.tasks.take();
        while tasks.join_next().await.is_some() {}
    }
}
