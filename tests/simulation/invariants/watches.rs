//! Every watch ends once: all that is watched has ended by now.

use std::rc::Rc;

use super::super::{Stage, workload::Workload};

/// The watches that have no end yet, in words, of watchers that live.
pub(crate) fn open(stage: &Rc<Stage>, workload: &Workload) -> Vec<String> {
    let record = stage.record();
    let mut open = Vec::new();
    for (watcher, process, id) in workload.watchers.borrow().iter() {
        let has_same_life = || workload.processes.borrow()[*process].node.id() == *id;
        if !workload.runs(*process) || !has_same_life() {
            // It ended with the life of its node.
            continue;
        }
        let of_watcher = record.watches.range((*watcher, String::new())..);
        let of_watcher = of_watcher.take_while(|((of, _), _)| of == watcher);
        let endless: Vec<&String> =
            of_watcher.filter(|(_, ends)| **ends == 0).map(|((_, watch), _)| watch).collect();
        if !endless.is_empty() {
            open.push(format!("{endless:?} of the watcher on {id} have no end"));
        }
    }
    open
}

pub(crate) fn check(stage: &Rc<Stage>, workload: &Workload) {
    let wrong = open(stage, workload);
    wrong.into_iter().for_each(|text| stage.violated("watches end once", text));
}
