//! Watching the links with the members, and the ports of those that are quiet.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::socket::Sign;

use super::Shell;
use crate::cluster::{
    membership::{Contact, Membership as _, Swim},
    peer_id,
};

/// How long a host is given to refuse: a long round trip.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(250);

impl Shell {
    /// Tells membership how much has come from each member, if it wants to know.
    pub(super) fn look_at_links(&self, now: Instant, membership: &mut Swim) {
        if !membership.wants_activity(now) {
            return;
        }
        let view = Arc::clone(membership.view());
        for member in view.members.iter().filter(|member| member.id != *self.core.id()) {
            let activity = peer_id(&member.id).and_then(|peer| self.transport().activity(&peer));
            membership.handle_activity(now, &member.id, activity);
        }
    }

    /// Asks the hosts of members whether anybody holds the members' ports.
    ///
    /// Each asking ends by itself, and at the latest with the node; membership bounds how many there
    /// are at once.
    pub(super) fn probe_ports(self: &Rc<Self>, membership: &mut Swim) {
        let mut probes = self.probes.borrow_mut();
        while probes.try_join_next().is_some() {}
        while let Some(Contact { id, addr, .. }) = membership.poll_port() {
            let probe = self.network.probe(addr, self.core.clock().sleep(REFUSAL_PATIENCE));
            let shell = Rc::clone(self);
            probes.spawn_local(async move {
                // What can't be sent is no answer.
                let is_refused = matches!(probe.await, Ok(Sign::Refused));
                shell.ports.borrow_mut().push((id, is_refused));
                shell.cluster.wake.notify_one();
            });
        }
    }
}
