use actix_cluster::testkit::cluster_test;

#[cluster_test(seeds = 0)]
async fn a_test(cluster: actix_cluster::testkit::TestCluster) {}

fn main() {}
