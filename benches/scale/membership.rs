//! The membership core alone: how soon all see each other, what it says while nothing happens, how
//! soon an end is known, and what it holds.

use std::time::{Duration, Instant};

use crate::{
    exchange::{End, Exchange, Sent},
    measurement::{Figures, Measurement},
    process,
};

/// How long members are given to see each other, and to know of an end.
const JOIN_LIMIT: Duration = Duration::from_secs(120);
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// After how long nothing more is said of those who have joined.
const CALM: Duration = Duration::from_secs(10);

/// The largest cluster that joins. In a larger one all see each other from the start: each update of
/// gossip takes a look at all members, each member has all updates told by many, and so a cluster of
/// 1,000 would take a quarter of an hour to join here.
const JOINS_UP_TO: u16 = 200;

/// How long those that see each other from the start run before they are measured: until each link has
/// been looked at, and each has probed.
const SETTLE: Duration = Duration::from_secs(1);

/// The largest cluster that is used for one end only. In a larger one, one member less changes
/// nothing, and another cluster takes long.
const ONE_END_UP_TO: u16 = 100;

pub(crate) fn measure(by: &Measurement, figures: &mut Figures) -> Result<(), String> {
    let before = process::resident()?;
    let mut clusters = Vec::new();
    for round in 0..by.rounds {
        clusters.push(join(by.members, by.seed + u64::from(round), figures)?);
    }
    let held = process::resident()?.saturating_sub(before) as f64;
    figures.tell("memory_kib_a_node", held / 1_024.0 / (by.nodes() * f64::from(by.rounds)));
    for (round, mut cluster) in clusters.into_iter().enumerate() {
        idle(&mut cluster, by, figures)?;
        let ends = [End::Silent, End::Killed];
        let ends = if by.members > ONE_END_UP_TO { &ends[..] } else { &ends[round % 2..][..1] };
        for (number, end) in (1..).zip(ends) {
            end_one(&mut cluster, number, *end, figures)?;
        }
        figures.tell("wrongly_down", cluster.wrong_downs() as f64);
    }
    Ok(())
}

/// So many members that see each other, and have nothing more to say of it.
fn join(members: u16, seed: u64, figures: &mut Figures) -> Result<Exchange, String> {
    if members > JOINS_UP_TO {
        let mut cluster = Exchange::whole(members, seed);
        cluster.run_for(SETTLE);
        cluster.take_sent();
        return Ok(cluster);
    }
    let mut cluster = Exchange::joining(members, seed);
    let begun = cluster.now();
    if !cluster.run_until(JOIN_LIMIT, Exchange::agrees) {
        return Err(format!("{members} do not see each other after {JOIN_LIMIT:?}"));
    }
    figures.tell("join_ms", millis(begun, cluster.now()));
    let bytes: u64 = cluster.take_sent().iter().map(|sent| sent.bytes).sum();
    figures.tell("join_kb_a_node", bytes as f64 / 1_000.0 / f64::from(members));
    cluster.run_for(CALM);
    cluster.take_sent();
    Ok(cluster)
}

fn idle(cluster: &mut Exchange, by: &Measurement, figures: &mut Figures) -> Result<(), String> {
    let begun = process::cpu_seconds()?;
    cluster.run_for(Duration::from_secs(by.seconds.into()));
    let took = process::cpu_seconds()? - begun;
    let (seconds, sent) = (f64::from(by.seconds), cluster.take_sent());
    let mean =
        |of: fn(&Sent) -> u64| sent.iter().map(of).sum::<u64>() as f64 / by.nodes() / seconds;
    let most = |of: fn(&Sent) -> u64| sent.iter().map(of).max().unwrap_or(0) as f64 / seconds;
    figures.tell("packets_a_second", mean(|sent| sent.packets));
    figures.tell("packets_a_second_most", most(|sent| sent.packets));
    figures.tell("bytes_a_second", mean(|sent| sent.bytes));
    figures.tell("bytes_a_second_most", most(|sent| sent.bytes));
    figures.tell(
        "longest_packet_bytes",
        sent.iter().map(|sent| sent.longest).max().unwrap_or(0) as f64,
    );
    figures.tell("work_us_a_second", took * 1e6 / by.nodes() / seconds);
    Ok(())
}

/// Ends a member at a random moment, and runs until all others know.
fn end_one(
    cluster: &mut Exchange,
    number: u16,
    end: End,
    figures: &mut Figures,
) -> Result<(), String> {
    let lead = cluster.below(1_000);
    cluster.run_for(Duration::from_millis(lead));
    let then = cluster.now();
    cluster.end(number, end);
    if !cluster.run_until(DOWN_LIMIT, Exchange::agrees) {
        return Err(format!("not all hold the one that is {end:?} down after {DOWN_LIMIT:?}"));
    }
    let downs: Vec<_> = cluster.downs(number).collect();
    let [Some(first), Some(last)] = [downs.first(), downs.last()] else {
        return Err("nobody was left to know of an end".to_owned());
    };
    let (detect, agree) = match end {
        End::Killed => ("killed_detect_ms", "killed_agree_ms"),
        End::Silent => ("silent_detect_ms", "silent_agree_ms"),
    };
    figures.tell(detect, millis(then, *first));
    figures.tell(agree, millis(then, *last));
    Ok(())
}

fn millis(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * 1e3
}
