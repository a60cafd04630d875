//! At most one activation of a key, whenever all live nodes have held one view for a while.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use tokio::time::Instant;

use super::super::{Stage, running};
use crate::pause;

/// For how long all live nodes have held one view before a key may be active once only.
const AGREED_FOR: Duration = Duration::from_secs(8);

/// Looks again and again.
pub(crate) async fn watch(stage: Rc<Stage>) {
    let mut since: Option<(Vec<String>, Instant)> = None;
    loop {
        pause(100).await;
        let Some(view) = one_view(&stage) else {
            since = None;
            continue;
        };
        let begun = match &since {
            Some((known, begun)) if *known == view => *begun,
            _ => since.insert((view.clone(), Instant::now())).1,
        };
        if begun.elapsed() < AGREED_FOR {
            continue;
        }
        let mut record = stage.record();
        let is_doubled = |(_, active): &(&String, &BTreeMap<u32, String>)| active.len() > 1;
        let doubled = record.active.iter().find(is_doubled);
        if let Some((key, active)) = doubled {
            let text = format!("{key} is active on {:?} by the view {view:?}", active.values());
            record.violated("one activation by one view", text);
            return;
        }
    }
}

/// The view of all live nodes, if that is one and nobody stands still.
fn one_view(stage: &Stage) -> Option<Vec<String>> {
    let nodes = running(&stage.cluster);
    let mut views = nodes.iter().map(|(_, node)| {
        let mut members: Vec<String> =
            node.members().iter().map(|member| member.id.to_string()).collect();
        members.sort();
        members
    });
    let first = views.next()?;
    // A member that is none of those that run stands still, or is gone and not known to be yet.
    let is_whole = first.len() == nodes.len();
    (is_whole && views.all(|view| view == first)).then_some(first)
}
