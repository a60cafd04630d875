//! What a message costs the session itself, at both ends: no network, no TLS, one thread.
//!
//! A batch of 256 messages to 64 targets is sent, read, settled, and its marks are taken. Axis: the
//! payload's length in bytes.

use actix_cluster_transport::benching::Pair;
use divan::{Bencher, counter::ItemsCount};

const BATCH: u64 = 256;

fn main() {
    divan::main();
}

#[divan::bench(args = [16, 64, 256, 1_024])]
fn one_way(bencher: Bencher<'_, '_>, bytes: usize) {
    let (mut pair, payload) = (Pair::default(), vec![7; bytes]);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        (0..BATCH).for_each(|n| pair.send(n % 64, &payload));
        assert_eq!(pair.carry() as u64, BATCH);
    });
}

#[divan::bench(args = [64])]
fn send_only(bencher: Bencher<'_, '_>, bytes: usize) {
    let payload = vec![7; bytes];
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(Pair::default)
        .bench_local_refs(|pair| (0..BATCH).for_each(|n| pair.send(n % 64, &payload)));
}
