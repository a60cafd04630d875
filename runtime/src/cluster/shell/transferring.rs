//! What the entities of a drained shard have left behind, on its way to whoever is to have the shard.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{Class, SendError};
use tokio::sync::oneshot;

use super::{
    Shell,
    handing_over::{HandingOver, Sealed},
};
use crate::{
    actor::panic,
    cluster::{
        Installed,
        handoff::{End, TableId},
        pending::Answer,
        placement::Shard,
        routing::Peer,
        transfers::{Looked, Parcel},
        understood::{Dispute, Restated},
        wire::Head,
    },
    node::{EntityKey, NodeCore, NodeId, Residents},
};

/// How long what a node refuses is offered to it again, once that has some of a shard already, before it is
/// given up.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(5);

/// Why a parcel was not sent.
enum NotSent {
    /// It may be later.
    Now,
    /// The other node would not understand it, or it is too long.
    Ever,
}

impl Shell {
    /// Sends on what the entities of a shard that is empty have left behind. Once that is there, or waits
    /// here for the shard to be opened again, the shard is drained.
    pub(super) fn pass_on(&self, now: Instant, table: TableId, shard: Shard, sealed: Sealed) {
        let (transfers, routing) = (&self.cluster.transfers, &self.cluster.routing);
        let is_of_table = |actor_type| routing.table_of(actor_type) == table;
        let Looked { arrived, under_way, mut is_refused, unsent } =
            transfers.look(shard, is_of_table);
        let is_in_parts = sealed.is_in_parts || !arrived.is_empty();
        {
            let mut handing_over = self.handing_over.borrow_mut();
            for (node, version) in arrived {
                handing_over.handoff.handle_given(&node, table, shard, version);
            }
            handing_over.sealed.insert((table, shard), Sealed { is_in_parts, ..sealed });
        }
        if under_way > 0 {
            return;
        }
        if unsent.is_empty() {
            return self.drained(table, shard, false);
        }
        let target = self.handing_over.borrow().handoff.target(table, shard).cloned();
        let is_to_go = |target: &NodeId| target != self.core.id() && sealed.end == End::HandOver;
        let Some(target) = target.filter(is_to_go) else {
            // It waits here, until the shard is opened or somebody is to have it.
            return self.drained(table, shard, true);
        };
        let Some(peer) = self.peer(&target) else { return };
        // All are looked at before any is sent: either all of a shard go, or none does.
        let read = |(key, parcel): &(EntityKey, Parcel)| self.understood(&peer, key, parcel);
        let understood: Vec<Option<Parcel>> = unsent.iter().map(read).collect();
        is_refused |= understood.iter().any(Option::is_none);
        if is_refused && !is_in_parts {
            tracing::error!(
                node = %self.core.id(), peer = %peer.id, shard = shard.0,
                "a node does not take the state of entities: their shard stays here"
            );
            return self.keep_shard(table, shard);
        }
        for ((key, _), parcel) in unsent.iter().zip(understood) {
            match parcel
                .ok_or(NotSent::Ever)
                .and_then(|parcel| self.send_parcel(&peer, key, &parcel))
            {
                Ok(answer) => transfers.sent(key, peer.id.clone(), answer),
                Err(NotSent::Now) => break,
                Err(NotSent::Ever) => is_refused = true,
            }
        }
        if is_refused && now >= sealed.since + TRANSFER_PATIENCE {
            self.give_up_state(table, shard);
        }
    }

    /// What is left of a shard's entities is lost: some of it is on the other node, which refuses the rest.
    fn give_up_state(&self, table: TableId, shard: Shard) {
        let routing = &self.cluster.routing;
        let is_of_table = |actor_type| routing.table_of(actor_type) == table;
        let entities = self.cluster.transfers.discard(shard, is_of_table);
        let (node, shard_number) = (self.core.id(), shard.0);
        tracing::error!(%node, shard = shard_number, entities, "the state of entities is lost");
        self.drained(table, shard, false);
    }

    /// What an entity has left behind, as a peer understands it; `None` if it does not.
    fn understood(&self, peer: &Peer, key: &EntityKey, parcel: &Parcel) -> Option<Parcel> {
        let kind = self.core.kinds().find(key.actor_type())?;
        match &parcel.state {
            None => Some(parcel.clone()),
            Some((version, state)) => {
                let restate = || {
                    let _scope = NodeCore::enter(&self.core);
                    kind.restate_state(&peer.understood, *version, state)
                };
                let restated = panic::catch(restate).unwrap_or_else(|panic| {
                    panic.report("conversion of a state");
                    Err(Dispute::Value)
                });
                match restated {
                    Ok(Restated::AsItIs) => Some(parcel.clone()),
                    Ok(Restated::As(version, state)) => {
                        let state = Some((version, state.into()));
                        Some(Parcel { state, ..parcel.clone() })
                    }
                    Err(_) => None,
                }
            }
        }
    }

    fn send_parcel(
        &self,
        peer: &Peer,
        key: &EntityKey,
        parcel: &Parcel,
    ) -> Result<oneshot::Receiver<Answer>, NotSent> {
        let expected = self.core.expect_answer(&peer.id, None);
        let (correlation, answer) = expected.ok_or(NotSent::Now)?;
        let (to, message) = (key.address(), parcel.version());
        let head = Head::Install { to, message, correlation, extensions: &[] };
        let payload = parcel.put(head.put(Vec::new()));
        peer.session.try_send(Class::Message, key.hash(), correlation, &payload).map_err(
            |error| {
                self.core.forget_answer(correlation);
                match error {
                    SendError::TooLong { .. } => NotSent::Ever,
                    _ => NotSent::Now,
                }
            },
        )?;
        Ok(answer)
    }

    /// Says to those who have sent what entities have left behind that it is here.
    pub(super) fn answer_installed(&self) {
        let mut handing_over = self.handing_over.borrow_mut();
        let HandingOver { handoff, installed, is_dirty, .. } = &mut *handing_over;
        installed.retain(|Installed { actor_type, session, receipt, target, correlation }| {
            let table = self.cluster.routing.table_of(*actor_type);
            let version = handoff.handle_installed(table, Shard::of(*target));
            *is_dirty = true;
            let reply = Head::Reply { correlation: *correlation }.put(Vec::new());
            let reply = postcard::to_extend(&version, reply).expect("a number is no error");
            // Later, if there is no room; with its session it is lost to whoever has sent it.
            session.answer(*receipt, *target, &reply) == Err(SendError::Full)
        });
    }

    /// Has entities activated whose shards are open here, and for which something waits.
    pub(super) fn call_arrived(&self) {
        let arbiters = self.core.arbiters();
        for key in self.cluster.transfers.call(|key| self.core.owns(key)) {
            let core = Arc::clone(&self.core);
            let arbiter = (key.hash() % arbiters.len() as u64) as usize;
            let job = Box::new(move |residents: &Residents| {
                if let Some(kind) = core.kinds().find(key.actor_type()) {
                    kind.activate(&core, residents, &key);
                }
            });
            // A job that does not come to run leaves it to the first message.
            let _ = arbiters[arbiter].deliver(job);
        }
    }
}
