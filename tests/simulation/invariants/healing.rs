//! Once all is mended, all nodes agree within a stated time, and every key answers.

use std::{rc::Rc, time::Duration};

use tokio::time::Instant;

use super::super::{
    Stage,
    actors::{Account, Note},
    running,
    workload::{KEYS, key},
};
use crate::pause;

/// How long it may take until all nodes have one view, and all shards are where they belong.
const AGREE_WITHIN: Duration = Duration::from_secs(30);

/// How long that has to hold: what went before the mending is known by then.
const AGREE_FOR: Duration = Duration::from_secs(4);

/// How long one ask may take then.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn heals(stage: &Rc<Stage>) {
    let begun = Instant::now();
    let mut since = None;
    loop {
        since = has_healed(stage).then(|| since.unwrap_or_else(Instant::now));
        if since.is_some_and(|since| since.elapsed() >= AGREE_FOR) {
            return;
        }
        if begun.elapsed() > AGREE_WITHIN && since.is_none() {
            let nodes = running(&stage.cluster).into_iter().map(|(_, node)| {
                let members: Vec<String> =
                    node.members().iter().map(|member| member.id.to_string()).collect();
                format!("{} sees {members:?}, settled: {}", node.id(), node.has_settled())
            });
            let text = nodes.collect::<Vec<_>>().join("; ");
            return stage.violated("all heals", text);
        }
        pause(20).await;
    }
}

fn has_healed(stage: &Stage) -> bool {
    let nodes = running(&stage.cluster);
    let mut ids: Vec<_> = nodes.iter().map(|(_, node)| node.id()).collect();
    ids.sort();
    nodes.iter().all(|(_, node)| {
        let mut members: Vec<_> = node.members().into_iter().map(|member| member.id).collect();
        members.sort();
        members == ids && node.has_settled()
    })
}

pub(crate) async fn all_keys_answer(stage: &Rc<Stage>) {
    for (number, node) in running(&stage.cluster) {
        for asked in 0..KEYS {
            let account = node.entity::<Account>(key(asked));
            // A sender of its own, so that all that it sends is new.
            let sender = 1_000_000 + u32::from(number);
            let note = Note { sender, number: asked as u32, is_told: false };
            if let Err(error) = account.ask(note).within(ANSWER_WITHIN).await {
                let text = format!("{} of {}: {error}", key(asked), node.id());
                return stage.violated("every key answers", text);
            }
        }
    }
}
