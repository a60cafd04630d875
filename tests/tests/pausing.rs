//! What a node that stands still does to its cluster, and its cluster to it.

use std::time::Duration;

use actix_cluster::{
    StartError,
    testkit::{TestCluster, cluster_test},
};

const SECOND: Duration = Duration::from_secs(1);

/// How many members the node of a number sees.
fn seen_by(cluster: &TestCluster, number: u8) -> usize {
    cluster.node(number).members().len()
}

#[cluster_test(seeds = 5)]
async fn a_short_pause_of_a_whole_node_goes_unnoticed(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    let before = cluster.node(1).view().expect("a cluster").version;
    cluster.pause(2);
    cluster.advance(SECOND / 2).await;
    cluster.resume(2);
    cluster.advance(30 * SECOND).await;
    let view = cluster.node(1).view().expect("a cluster");
    assert_eq!((view.version, view.members.len()), (before, 2));
    Ok(())
}

#[cluster_test(seeds = 5)]
async fn a_node_that_stands_still_is_declared_down_and_has_not_seen_it(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    cluster.pause(2);
    let stopped = cluster.node(2).view().expect("a cluster").version;
    cluster.until("the first sees only itself", || seen_by(&cluster, 1) == 1).await;
    cluster.advance(60 * SECOND).await;
    let view = cluster.node(2).view().expect("a cluster");
    assert_eq!(view.version, stopped, "its own threads stand still");
    Ok(())
}

#[cluster_test(seeds = 5)]
async fn a_node_whose_clock_drifts_stays_a_member(cluster: TestCluster) -> Result<(), StartError> {
    cluster.network().set_clock_rate(cluster.addr(2).ip(), 100_000);
    cluster.start(2, |node| node).await?;
    for _ in 0..60 {
        cluster.advance(SECOND).await;
        assert_eq!((seen_by(&cluster, 1), seen_by(&cluster, 2)), (2, 2));
    }
    Ok(())
}
