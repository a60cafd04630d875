//! Whole nodes: real QUIC and TLS in the simulated network, in virtual time, one thread for all.

use std::{cell::RefCell, time::Duration};

use actix_cluster::testkit::{self, TestCluster};

use crate::{
    exchange::End,
    measurement::{Figures, Measurement, Reading},
    process,
};

/// How long nodes have had nothing to do before they are measured.
const CALM: Duration = Duration::from_secs(10);

pub(crate) fn measure(by: &Measurement, figures: &mut Figures) -> Result<(), String> {
    // What a first cluster leaves behind in the process is no part of any node.
    play(by.seed, async |cluster| start(&cluster, 2).await)?;
    for round in 0..by.rounds {
        let end = if round % 2 == 0 { End::Silent } else { End::Killed };
        let readings = RefCell::new(Vec::new());
        play(by.seed + u64::from(round), async |cluster| {
            let told = run(&cluster, by, end).await?;
            readings.replace(told);
            Ok(())
        })?;
        // In a later round, memory that an earlier one has given back is used again.
        let counts = |(name, _): &Reading| round == 0 || *name != MEMORY;
        let readings = readings.into_inner().into_iter().filter(counts);
        readings.for_each(|(name, value)| figures.tell(name, value));
    }
    Ok(())
}

const MEMORY: &str = "memory_kib_a_node";

fn play(seed: u64, body: impl AsyncFn(TestCluster) -> Result<(), String>) -> Result<(), String> {
    testkit::play(seed, body).map(drop).map_err(|failure| failure.to_string())
}

async fn start(cluster: &TestCluster, count: u8) -> Result<(), String> {
    cluster.start(count, |node| node).await.map_err(|error| error.to_string())
}

/// Starts a cluster, lets it have nothing to do, and ends a node of it.
async fn run(cluster: &TestCluster, by: &Measurement, end: End) -> Result<Vec<Reading>, String> {
    let count = u8::try_from(by.members).map_err(|_| "there are at most 254 nodes".to_owned())?;
    let before = process::resident()?;
    start(cluster, count).await?;
    cluster.advance(CALM).await;
    let held = process::resident()?.saturating_sub(before) as f64;

    let sent = cluster.network().stats();
    cluster.advance(Duration::from_secs(by.seconds.into())).await;
    let now = cluster.network().stats();
    let mean = |from: u64, to: u64| (to - from) as f64 / by.nodes() / f64::from(by.seconds);

    let lead = cluster.random().below(1_000);
    cluster.advance(Duration::from_millis(lead)).await;
    let [detect, agree] = end_last(cluster, count, end).await;
    let [detect_name, agree_name] = match end {
        End::Killed => ["killed_detect_ms", "killed_agree_ms"],
        End::Silent => ["silent_detect_ms", "silent_agree_ms"],
    };
    Ok(vec![
        (MEMORY, held / 1_024.0 / by.nodes()),
        ("packets_a_second", mean(sent.sent, now.sent)),
        ("bytes_a_second", mean(sent.sent_bytes, now.sent_bytes)),
        (detect_name, detect.as_secs_f64() * 1e3),
        (agree_name, agree.as_secs_f64() * 1e3),
    ])
}

/// Ends the last node; after how long the first of the others knew, and the last.
async fn end_last(cluster: &TestCluster, last: u8, end: End) -> [Duration; 2] {
    let id = cluster.node(last).id().clone();
    let others: Vec<_> = (1..last).map(|number| cluster.node(number)).collect();
    let then = cluster.elapsed();
    match end {
        End::Killed => cluster.kill(last),
        // Stopped, and its socket open: nothing comes from it.
        End::Silent => cluster.pause(last),
    }
    let mut first = None;
    let all_know = || {
        let knows = |node: &actix_cluster::Node| node.view().is_none_or(|view| !view.contains(&id));
        let known = others.iter().filter(|node| knows(node)).count();
        if known > 0 {
            first.get_or_insert(cluster.elapsed() - then);
        }
        known == others.len()
    };
    cluster.until("all know that a node has ended", all_know).await;
    let agree = cluster.elapsed() - then;
    [first.unwrap_or(agree), agree]
}
