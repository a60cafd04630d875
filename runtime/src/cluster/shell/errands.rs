//! What is left to the cluster's thread for watches, because it could not be done at once.

use std::{rc::Rc, sync::Arc};

use super::{LOOK_PERIOD, MOVE_OUT_PATIENCE, Shell};
use crate::{cluster::membership::Membership as _, node::NodeId};

impl Shell {
    /// Begins what was left to be done for watches. An errand that fails has nobody to tell; one that
    /// is cut off by the node's end had something to say of what ends with it.
    pub(super) fn run_errands(self: &Rc<Self>) {
        let mut errands = self.errands.borrow_mut();
        while errands.try_join_next().is_some() {}
        for errand in self.cluster.take_errands() {
            let shell = Rc::downgrade(self);
            let has_heard = move |node: &NodeId| {
                shell.upgrade().is_some_and(|shell| {
                    let highest = shell.membership.borrow().highest_incarnation(&node.name);
                    highest >= node.incarnation
                })
            };
            errands.spawn_local(errand.run(Arc::clone(&self.core), has_heard));
        }
    }

    /// Tells the others what they are still to be told of their watches, as far as they have room.
    pub(super) async fn flush_errands(self: &Rc<Self>) {
        let until = self.core.clock().after(MOVE_OUT_PATIENCE);
        self.run_errands();
        while !self.errands.borrow().is_empty() && self.now() < until {
            self.core.clock().sleep(LOOK_PERIOD).await;
            self.run_errands();
        }
        self.errands.take();
    }
}
