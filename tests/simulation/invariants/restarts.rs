//! Nobody is restarted more often than its supervision says.

use std::rc::Rc;

use super::super::{Stage, actors::RESTARTS, record::are_too_many};

pub(crate) fn check(stage: &Rc<Stage>) {
    let (limit, within) = RESTARTS;
    let mut record = stage.record();
    let too_often = |(_, starts): &(&u32, &Vec<_>)| are_too_many(starts, limit as usize, within);
    let found =
        record.starts.iter().find(too_often).map(|(crasher, starts)| (*crasher, starts.len()));
    if let Some((crasher, starts)) = found {
        let text = format!("crasher {crasher} was started {starts} times, too fast");
        record.violated("restarts keep their intensity", text);
    }
}
