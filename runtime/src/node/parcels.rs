//! What an entity leaves behind when it is handed over, and how the next activation comes by it.
//!
//! Invariant: a parcel that was taken for an activation is given to its instance, or put back.

use std::sync::Arc;

use super::{EntityKey, NodeCore};
use crate::{
    actor::{ClusterContext, failure, loading::Made, mailbox::Mailbox},
    cluster::transfers::Parcel,
    remote_actor::{RemoteActor, moved_state::STATE_LIMIT},
};

impl NodeCore {
    /// An entity is to end here and to go on elsewhere: what it leaves behind is kept for that. Returns
    /// whether it may end.
    pub(crate) fn pack<A: RemoteActor>(
        &self,
        mailbox: &Mailbox<A>,
        actor: &A,
        ctx: &mut ClusterContext<A>,
    ) -> bool {
        let (Some(key), Some(cluster)) = (mailbox.entity(), self.cluster()) else { return true };
        if !cluster.routing.hands_over(A::TYPE_ID) {
            return true;
        }
        let state = match self.kinds().state::<A>().map(|state| state.save(actor)) {
            None => None,
            Some(Ok((version, state))) if state.len() <= STATE_LIMIT => {
                Some((version, state.into()))
            }
            Some(unmoved) => {
                let problem = match unmoved {
                    Ok((_, state)) => {
                        format!("it has {} bytes, of at most {STATE_LIMIT}", state.len())
                    }
                    Err(error) => failure::text_of(&error),
                };
                tracing::error!(
                    actor = A::NAME,
                    ?key,
                    problem,
                    "the state of an entity can't be moved"
                );
                cluster.keep(key);
                return false;
            }
        };
        let parcel = Parcel { state, repeats: ctx.pack_repeats() };
        if parcel != Parcel::default() {
            cluster.pack(key, parcel);
        }
        true
    }

    /// Whether an entity that can't move may stay: its shard is to be another node's, and this one does
    /// not leave.
    pub(crate) fn may_keep<A: RemoteActor>(&self, mailbox: &Mailbox<A>) -> bool {
        let (Some(key), Some(cluster)) = (mailbox.entity(), self.cluster()) else { return false };
        cluster.is_running() && cluster.routing.routes().owner(self.id(), key).is_some()
    }

    /// What waits for the next activation of an entity.
    pub(super) fn unpack(self: &Arc<Self>, key: &EntityKey) -> Option<Unpacking> {
        let parcel = self.cluster()?.transfers.take(key)?;
        Some(Unpacking { core: Arc::clone(self), key: key.clone(), parcel: Some(parcel) })
    }
}

/// A parcel that was taken for an activation.
pub(super) struct Unpacking {
    core: Arc<NodeCore>,
    key: EntityKey,
    parcel: Option<Parcel>,
}

impl Unpacking {
    /// Gives it to the instance that a factory has made, or is to make.
    pub(super) fn made<A: RemoteActor>(
        self,
        made: Made<A>,
        ctx: &mut ClusterContext<A>,
    ) -> Made<A> {
        if let Some(parcel) = &self.parcel {
            ctx.unpack_repeats(&parcel.repeats);
        }
        match made {
            Made::Ready(mut instance) => match self.restore(&mut instance) {
                Ok(()) => Made::Ready(instance),
                Err(error) => Made::Loading(Box::pin(std::future::ready(Err(error)))),
            },
            Made::Loading(load) => Made::Loading(Box::pin(async move {
                let mut instance = load.await?;
                self.restore(&mut instance)?;
                Ok(instance)
            })),
        }
    }

    fn restore<A: RemoteActor>(mut self, instance: &mut A) -> Result<(), String> {
        let parcel = self.parcel.take();
        let Some((version, bytes)) = parcel.and_then(|parcel| parcel.state) else { return Ok(()) };
        let state = self.core.kinds().state::<A>();
        let state = state.ok_or("entities of the type have no state that moves")?;
        let _scope = NodeCore::enter(&self.core);
        state.restore(instance, version, &bytes).map_err(|error| {
            tracing::error!(actor = A::NAME, key = ?self.key, %error, "moved state can't be read");
            failure::text_of(&error)
        })
    }
}

impl Drop for Unpacking {
    /// The activation has come to nothing: the next one is to have it.
    fn drop(&mut self) {
        if let (Some(parcel), Some(cluster)) = (self.parcel.take(), self.core.cluster()) {
            cluster.pack(&self.key, parcel);
        }
    }
}
