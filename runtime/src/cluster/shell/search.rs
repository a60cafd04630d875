//! Looking for nodes of the cluster that this one does not know.
//!
//! Nodes that do not reach each other at the start may found a cluster each. So what stands for the
//! seeds is looked up for as long as the node lives, and who is found there and is no member is
//! joined.

use std::{collections::BTreeSet, net::SocketAddr, rc::Rc, time::Duration};

use actix_cluster_transport::PeerId;

use super::Shell;
use crate::cluster::{discovery::Seeds, join, membership::Contact, node_id};

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
            let transport = self.transport();
            let linked = transport.linked();
            self.announce_again(&linked);
            let known: BTreeSet<SocketAddr> = {
                let routes = self.cluster.routing.routes();
                let members = routes.view.members.iter().map(|member| member.addr);
                members.chain(linked.into_iter().map(|(_, addr)| addr)).collect()
            };
            let strangers: Vec<_> =
                addrs.into_iter().filter(|addr| !known.contains(addr)).collect();
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

    /// Asks those once more to let this node in that it has a link with, and that are no members: what they
    /// were asked before, or their answer, was lost.
    fn announce_again(&self, linked: &[(PeerId, SocketAddr)]) {
        let routes = self.cluster.routing.routes();
        let contacts = linked.iter().map(|(peer, addr)| Contact { id: node_id(peer), addr: *addr });
        let strangers = contacts.filter(|contact| !routes.view.contains(&contact.id));
        self.reached.borrow_mut().extend(strangers);
        self.cluster.wake.notify_one();
    }
}
