//! Each message has one outcome, and it is true: what was answered has run, what was rejected has not, and
//! what was taken and has not run was counted, by a reason.

use std::rc::Rc;

use super::super::{
    Stage,
    record::Outcome,
    workload::{Process, Workload},
};

const INVARIANT: &str = "each message has one outcome";

pub(crate) fn check(stage: &Rc<Stage>, workload: &Workload) {
    let processes = workload.processes.borrow();
    for Process { node, senders, .. } in processes.iter().filter(|process| !process.is_killed) {
        let mut record = stage.record();
        let of_senders = |(id, _): &(&(u32, u32), &Option<Outcome>)| senders.contains(&id.0);
        let mut wrong = Vec::new();
        for (id, outcome) in record.sent.iter().filter(of_senders) {
            let has_run = record.handled.contains_key(id);
            match outcome {
                None => wrong.push(format!("{id:?} has none")),
                Some(Outcome::Answered) if !has_run => {
                    wrong.push(format!("{id:?} was answered and has not run"));
                }
                Some(Outcome::Rejected) if has_run => {
                    wrong.push(format!("{id:?} was rejected and has run"));
                }
                Some(_) => {}
            }
        }
        let (accepted, handled) = record.accepted(senders);
        let (id, letters) = (node.id(), node.dead_letters().total());
        if accepted > handled + letters {
            wrong.push(format!(
                "of {accepted} tells of {id} {handled} have run and {letters} are counted"
            ));
        }
        wrong.into_iter().for_each(|text| record.violated(INVARIANT, text));
    }
}
