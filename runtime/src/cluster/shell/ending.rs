//! How a node's life in its cluster ends: it leaves, or was declared down.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_cluster_transport::Transport;

use super::{LOOK_PERIOD, MOVE_OUT_PATIENCE, Shell};
use crate::{
    cluster::{Phase, membership::Membership as _, wire::packet},
    node::PhaseEnd,
    reference::RejectReason,
};

impl Shell {
    /// Tells the others, and hands all entities over, or gives them up where that takes too long.
    pub(super) async fn leave(self: &Rc<Self>) {
        // Those too that are no members yet: they may have been sent here already.
        for peer in self.cluster.routing.peers() {
            peer.session.send_packet(vec![packet::LEAVING].into());
        }
        self.publish_view();
        let has_let_go =
            || self.handing_over.borrow().has_let_go() && self.cluster.redirects().len() == 0;
        let (begun, patience) = (self.now(), self.cluster.lock_shutdown().0.hand_over);
        self.turn_until(has_let_go, patience).await;
        let took = self.now().saturating_duration_since(begun);
        let hand_over = PhaseEnd { took, is_complete: has_let_go() };
        if !hand_over.is_complete {
            let (node, entities) = (self.core.id(), self.core.entities().count());
            tracing::warn!(%node, entities, ?took, "not all has been handed over in time");
        }
        self.cluster.lock_shutdown().1.hand_over = hand_over;
        let is_empty = || self.core.entities().count() == 0;
        if !is_empty() {
            self.set_owners(Arc::clone(self.membership.borrow().view()), Vec::new());
            self.turn_until(is_empty, MOVE_OUT_PATIENCE).await;
        }
        {
            let mut membership = self.membership.borrow_mut();
            membership.leave(self.now());
            self.send_packets(&mut membership);
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

    /// Goes on as ever until something is so, for at most so long.
    pub(super) async fn turn_until(self: &Rc<Self>, is_so: impl Fn() -> bool, patience: Duration) {
        let deadline = self.core.clock().after(patience);
        loop {
            self.turn();
            if is_so() || self.now() >= deadline {
                return;
            }
            self.idle_until(Some(self.core.clock().after(LOOK_PERIOD))).await;
        }
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
        self.cluster.routing.stop_sending();
        self.set_owners(view, Vec::new());
        self.hand_over(self.now());
        self.close(transport, Duration::ZERO).await;
    }

    /// Closes the transport once all that was sent is settled, within the time that there is for it.
    pub(super) async fn flush(&self, transport: &Transport) {
        let (begun, patience) = (self.now(), self.cluster.lock_shutdown().0.flush);
        self.close(transport, patience).await;
        let took = self.now().saturating_duration_since(begun);
        self.cluster.lock_shutdown().1.flush = PhaseEnd { took, is_complete: took < patience };
    }

    /// Closes the transport, within `patience` for what was taken to be settled, and ends all actors.
    pub(super) async fn close(&self, transport: &Transport, patience: Duration) {
        self.cluster.routing.stop_sending();
        transport.close(patience).await;
        // Nothing is sent on any more, and nobody is left of a node that never quite started.
        let left: Vec<_> = self.cluster.redirects().close().collect();
        for redirect in left {
            self.core.give_up(RejectReason::Moved, redirect.target, &redirect.payload);
        }
        self.core.end_actors().await;
        self.cluster.phase.send_replace(Phase::Closed);
        // A shutdown that this thread began has a last word to say.
        let mut tasks = self.tasks.take();
        while tasks.join_next().await.is_some() {}
    }
}
