//! Sending on the messages that came back from nodes that do not own their targets any more.

use std::{rc::Rc, time::Instant};

use actix_cluster_transport::Class;

use super::{MOVE_OUT_PATIENCE, Shell};
use crate::{
    cluster::{
        delegation, inbound,
        mark::TellMark,
        outbound,
        placement::Shard,
        redirect::{self, Attempt, Redirect},
        routing::Route,
        wire::Head,
    },
    reference::RejectReason,
};

impl Shell {
    /// Sends on what came back last, for as long as there is somebody to send it to.
    pub(super) async fn flush_redirects(self: &Rc<Self>) {
        let routes = self.cluster.routing.routes();
        if routes.view.members.iter().any(|member| member.id != *self.core.id()) {
            let is_empty = || self.cluster.redirects().len() == 0;
            self.turn_until(is_empty, MOVE_OUT_PATIENCE).await;
        }
    }

    /// Sends on what came back.
    pub(super) fn send_redirects(&self, now: Instant) -> Option<Instant> {
        let queue = {
            let mut redirects = self.cluster.redirects();
            if redirects.len() == 0 {
                return None;
            }
            redirects.take()
        };
        let tried = redirect::try_all(queue, now, |redirect| match self.send_on(redirect) {
            Attempt::NotNow if redirect.is_overdue(now) => {
                self.give_up(redirect, RejectReason::Moved)
            }
            attempt => attempt,
        });
        let next = tried.next;
        self.cluster.redirects().put_back(tried);
        next
    }

    /// A message that was to be sent on is not in the way of others any more.
    fn done(&self, redirect: &Redirect) -> Attempt {
        self.cluster.routing.release(Shard::of(redirect.target));
        Attempt::Done
    }

    fn send_on(&self, redirect: &Redirect) -> Attempt {
        let Redirect { target, payload, .. } = redirect;
        let Ok((head @ (Head::Tell { to, .. } | Head::Ask { to, .. }), _)) = Head::take(payload)
        else {
            return self.give_up(redirect, RejectReason::Mismatch);
        };
        let asked = match head {
            Head::Ask { correlation, .. } => Some(correlation),
            _ => None,
        };
        let pending = &self.cluster.pending;
        if asked.is_some_and(|correlation| pending.owed_by(correlation).is_none()) {
            // Its asker waits no longer, and it has not run.
            delegation::abandon(&self.core, payload);
            return self.done(redirect);
        }
        match self.cluster.routing.to_shard(to.actor_type(), Shard::of(*target)) {
            Route::Here => {
                // What comes behind it waits until it is in its mailbox.
                inbound::deliver_here(&self.core, *target, payload.clone());
                Attempt::Done
            }
            // What would go there meanwhile might go back, and keep the flush from ending.
            Route::There(peer) if self.handing_over.borrow().is_flushing(&peer.id) => {
                Attempt::NotNow
            }
            Route::There(peer) => {
                let restated = outbound::restated(&self.core, &peer.understood, payload);
                let Ok(payload) = restated else {
                    // An asker has its message still, and writes it anew.
                    let anew = asked.map(|_| RejectReason::Moved);
                    return self.give_up(redirect, anew.unwrap_or(RejectReason::Mismatch));
                };
                let mark = TellMark::of(&payload).map(TellMark::number).or(asked).unwrap_or(0);
                // Before it is sent: the answer may be there at once.
                asked.inspect(|correlation| pending.owe(*correlation, &peer.id));
                match peer.session.try_send(Class::Message, *target, mark, &payload) {
                    Ok(()) => {
                        delegation::sent_on(&self.core, &payload, &peer.id);
                        self.done(redirect)
                    }
                    Err(_) => {
                        let local = self.core.id();
                        asked.inspect(|correlation| pending.owe(*correlation, local));
                        Attempt::NotNow
                    }
                }
            }
            Route::Later => Attempt::NotNow,
            Route::Nowhere(reason) => self.give_up(redirect, reason),
        }
    }

    fn give_up(&self, redirect: &Redirect, reason: RejectReason) -> Attempt {
        let Redirect { target, payload, .. } = redirect;
        self.core.give_up(reason, *target, payload);
        self.done(redirect)
    }
}
