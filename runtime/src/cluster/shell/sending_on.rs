//! Sending on the tells that came back from nodes that do not own their targets any more.

use std::time::Instant;

use actix_cluster_transport::Class;

use super::{LOOK_PERIOD, MOVE_OUT_PATIENCE, Shell};
use crate::{
    cluster::{
        delegation, inbound,
        mark::TellMark,
        outbound,
        placement::Shard,
        redirect::{Attempt, Redirect},
        routing::Route,
        wire::Head,
    },
    node::DeadLetters,
    reference::RejectReason,
};

impl Shell {
    /// Sends on what came back last, for as long as there is somebody to send it to.
    pub(super) async fn flush_redirects(&self) {
        let until = self.core.clock().after(MOVE_OUT_PATIENCE);
        let routes = self.cluster.routing.routes();
        let has_others = routes.view.members.iter().any(|member| member.id != *self.core.id());
        while has_others && self.send_redirects(self.now()).is_some() && self.now() < until {
            self.core.clock().sleep(LOOK_PERIOD).await;
        }
    }

    /// Sends on what came back.
    pub(super) fn send_redirects(&self, now: Instant) -> Option<Instant> {
        let mut redirects = self.cluster.redirects();
        if redirects.len() == 0 {
            return None;
        }
        redirects.poll(now, |redirect| match self.send_on(redirect) {
            Attempt::NotNow if redirect.is_overdue(now) => {
                self.give_up(redirect, RejectReason::Moved)
            }
            attempt => attempt,
        })
    }

    fn send_on(&self, redirect: &Redirect) -> Attempt {
        let Redirect { target, payload, .. } = redirect;
        let Ok((Head::Tell { to, .. } | Head::Ask { to, .. }, _)) = Head::take(payload) else {
            return self.give_up(redirect, RejectReason::Mismatch);
        };
        match self.cluster.routing.to_shard(to.actor_type(), Shard::of(*target)) {
            Route::Here => {
                inbound::deliver_here(&self.core, *target, payload.clone());
                Attempt::Done
            }
            Route::There(peer) => {
                let restated = outbound::restated(&self.core, &peer.understood, payload);
                let Ok(payload) = restated else {
                    return self.give_up(redirect, RejectReason::Mismatch);
                };
                let mark = TellMark::of(&payload).map_or(0, TellMark::number);
                match peer.session.try_send(Class::Message, *target, mark, &payload) {
                    Ok(()) => {
                        delegation::sent_on(&self.core, &payload, &peer.id);
                        Attempt::Done
                    }
                    Err(_) => Attempt::NotNow,
                }
            }
            Route::Later => Attempt::NotNow,
            Route::Nowhere(reason) => self.give_up(redirect, reason),
        }
    }

    /// Gives up a tell that came back, and the answers that it owed.
    fn give_up(&self, redirect: &Redirect, reason: RejectReason) -> Attempt {
        let Redirect { target, payload, .. } = redirect;
        let about = |letters: &DeadLetters| letters.about_payload(payload, *target);
        self.core.dead_letters().rejected(reason, about);
        delegation::abandon(&self.core, payload);
        Attempt::Done
    }
}
