//! Looking for nodes of the cluster that this one does not know.
//!
//! Nodes that do not reach each other at the start may found a cluster each. So what stands for the
//! seeds is looked up for as long as the node lives, and who is found there and is no member is
//! joined.

use std::{collections::BTreeSet, net::SocketAddr, rc::Rc, time::Duration};

use super::Shell;
use crate::cluster::{discovery::Seeds, join, membership::Contact, node_id, peer_id};

/// About how often.
const SEARCH_PAUSE: Duration = Duration::from_secs(10);

/// How many nodes that were found are remembered while they are no members.
const FOUND_LIMIT: usize = 64;

impl Shell {
    /// Searches until it is dropped.
    pub(super) async fn search(self: Rc<Self>, mut seeds: Seeds) {
        let clock = self.core.clock().clone();
        loop {
            clock.sleep(self.core.with_random(|random| random.jittered(SEARCH_PAUSE))).await;
            let addrs = seeds.look_up(&clock).await;
            let view = self.cluster.routing.routes();
            let known: BTreeSet<SocketAddr> =
                view.view.members.iter().map(|member| member.addr).collect();
            let mut strangers: Vec<_> =
                addrs.into_iter().filter(|addr| !known.contains(addr)).collect();
            strangers.retain(|addr| !self.announce_again(*addr));
            let transport = self.transport();
            for (addr, answer) in
                join::ask_round(&clock, &strangers, |addr| transport.inquire(addr)).await
            {
                if let Ok((peer, _)) = answer {
                    tracing::info!(node = %self.core.id(), %peer, %addr, "found a stranger");
                    let contact = Contact { id: node_id(&peer), addr };
                    if transport.is_over(&peer) {
                        // It lives and has not heard that it is over; once it has this for a member
                        // it dials, and is told.
                        self.reached.borrow_mut().push(contact);
                        self.cluster.wake.notify_one();
                    } else {
                        self.keep(contact);
                        transport.connect(&peer, addr);
                    }
                }
            }
        }
    }

    /// Has a node that was found be joined once there is a link.
    fn keep(&self, contact: Contact) {
        let mut seeds = self.seeds.borrow_mut();
        seeds.retain(|former| former.addr != contact.addr);
        if seeds.len() == FOUND_LIMIT {
            seeds.remove(0);
        }
        seeds.push(contact);
    }

    /// Whether the node at an address was found and is linked: then it is asked once more to let
    /// this one in.
    fn announce_again(&self, addr: SocketAddr) -> bool {
        let found = self.seeds.borrow().iter().find(|seed| seed.addr == addr).cloned();
        let is_linked = |contact: &Contact| {
            peer_id(&contact.id).is_some_and(|peer| self.transport().is_linked(&peer))
        };
        let Some(contact) = found.filter(is_linked) else { return false };
        self.reached.borrow_mut().push(contact);
        self.cluster.wake.notify_one();
        true
    }
}
