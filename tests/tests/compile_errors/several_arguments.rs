use actix_cluster::testkit::cluster_test;

#[cluster_test]
async fn a_test(cluster: actix_cluster::testkit::TestCluster, other: actix_cluster::testkit::TestCluster) {}

fn main() {}
