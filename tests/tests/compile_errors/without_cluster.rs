use actix_cluster::testkit::cluster_test;

#[cluster_test]
async fn a_test() {}

fn main() {}
