//! Nobody is restarted more often than its supervision says.

use std::rc::Rc;

use super::super::{Stage, actors::RESTARTS, record::are_too_many};

pub(crate) fn check(stage: &Rc<Stage>) {
    let (limit, within) = RESTARTS;
    let mut record = stage.record();
    let too_often =
        |(_, restarts): &(&u32, &Vec<_>)| are_too_many(restarts, limit as usize, within);
    let count = |(crasher, restarts): (&u32, &Vec<_>)| (*crasher, restarts.len());
    let found = record.restarts.iter().find(too_often).map(count);
    if let Some((crasher, restarts)) = found {
        let text = format!("crasher {crasher} was restarted {restarts} times, too fast");
        record.violated("restarts keep their intensity", text);
    }
}
