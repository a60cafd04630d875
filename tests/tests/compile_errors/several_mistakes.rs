use actix_cluster::testkit::cluster_test;

#[cluster_test(seeds = 0, limit_secs = "a minute", seeds = 2, speed = 3)]
fn a_test() {}

fn main() {}
