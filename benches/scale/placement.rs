//! How long a table of placement takes, as each node computes it for each type when its view changes.

use std::hint::black_box;

use actix_cluster::benching::{Members, table};

use crate::{
    measurement::{Figures, Measurement},
    process,
};

/// How long tables of one kind are computed at least, in each round, in seconds of processor time.
const LEAST: f64 = 0.05;

/// As an operator may weigh machines of four sizes.
const MIXED: [u32; 4] = [1, 2, 4, 8];

pub(crate) fn measure(by: &Measurement, figures: &mut Figures) -> Result<(), String> {
    let equal = Members::weighing(&vec![1; by.members.into()]);
    let mixed = MIXED.into_iter().cycle().take(by.members.into()).collect::<Vec<_>>();
    let mixed = Members::weighing(&mixed);
    for _ in 0..by.rounds {
        figures.tell("table_ms_equal_weights", milliseconds(&equal)?);
        figures.tell("table_ms_mixed_weights", milliseconds(&mixed)?);
    }
    Ok(())
}

fn milliseconds(members: &Members) -> Result<f64, String> {
    let (begun, mut used, mut count) = (process::cpu_seconds()?, 0.0, 0);
    while used < LEAST {
        black_box(table(black_box(members)));
        count += 1;
        used = process::cpu_seconds()? - begun;
    }
    Ok(used * 1e3 / f64::from(count))
}
