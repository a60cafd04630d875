//! What is broken is broken, and heals.

use super::*;

#[cluster_test(seeds = 3)]
async fn a_killed_node_is_gone_and_comes_back_as_its_next_incarnation(
    cluster: TestCluster,
) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(3, selling(&prices)).await?;
    // The first too, by way of the others.
    for number in [2, 1] {
        let key = key_on(&cluster, number);
        cluster.kill(number);
        assert!(!cluster.running().contains(&number));
        cluster.converge().await;
        let till = cluster.node(3).entity::<Till>(&key);
        let sum = till.ask(Buy(lamp())).await.expect("it answers elsewhere");
        assert_ne!(sum.node, format!("n{number}"));
        let again = cluster.restart(number, selling(&prices)).await?;
        assert_eq!(again.id().incarnation, 2);
        cluster.converge().await;
        assert_eq!(cluster.running(), [1, 2, 3]);
    }
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_running_node_is_restarted_in_one_step(cluster: TestCluster) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    assert!(cluster.start_node(2, |node| node).await.is_err(), "its port is in use");
    let again = cluster.restart(2, |node| node).await?;
    assert_eq!((again.id().to_string(), again.members().len()), ("n2/2".to_owned(), 2));
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_paused_node_answers_once_it_is_resumed(cluster: TestCluster) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(2, selling(&prices)).await?;
    let till = cluster.node(1).entity::<Till>(&key_on(&cluster, 2));
    till.ask(Buy(lamp())).await.expect("it answers");
    cluster.pause(2);
    assert_eq!(cluster.running(), [1]);
    let late = till.ask(Buy(lamp())).within(SHORT / 2).await;
    assert!(matches!(late, Err(AskError::Unknown(_) | AskError::Rejected { .. })), "{late:?}");
    cluster.resume(2);
    assert!(till.ask(Buy(lamp())).await.expect("it answers").sum >= 2);
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_partition_parts_and_heals(cluster: TestCluster) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(3, selling(&prices)).await?;
    let from_here = cluster.node(1).entity::<Till>(&key_on(&cluster, 2));
    let is_answered = async || from_here.ask(Buy(lamp())).within(SHORT).await.is_ok();
    assert!(is_answered().await);
    type Cut = fn(&TestCluster);
    let cuts: [Cut; 4] = [
        |cluster| cluster.partition([1, 3], [2]),
        |cluster| cluster.partition_one_way([1], [2]),
        |cluster| cluster.partition_one_way([2], [1]),
        |cluster| cluster.silence(2),
    ];
    for cut in cuts {
        cut(&cluster);
        assert!(!is_answered().await);
        cluster.heal();
        cluster.advance(SHORT).await;
        assert!(is_answered().await);
    }
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_one_way_partition_leaves_the_way_back(cluster: TestCluster) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    cluster.network().keep_log(1 << 16);
    cluster.partition_one_way([1], [2]);
    cluster.advance(SHORT).await;
    let log = cluster.network().log();
    let ways = |fate: &str, from: u8, to: u8| {
        let way = format!("{} > {}", cluster.addr(from), cluster.addr(to));
        log.entries()
            .filter(|entry| entry.text.contains(&way) && entry.text.ends_with(fate))
            .count()
    };
    assert!(ways("Cut", 1, 2) > 0 && ways("Delivered", 2, 1) > 0);
    assert_eq!((ways("Delivered", 1, 2), ways("Cut", 2, 1)), (0, 0));
    Ok(())
}

#[test]
fn a_test_may_leave_its_faults_behind() {
    let faults: [fn(&TestCluster); 5] = [
        |cluster| cluster.partition([1], [2, 3]),
        |cluster| cluster.silence(2),
        |cluster| cluster.lose(1.0),
        |cluster| cluster.pause(2),
        |cluster| cluster.kill(1),
    ];
    for fault in faults {
        let faulty = async |cluster: TestCluster| {
            cluster.start(3, |node| node).await?;
            fault(&cluster);
            Ok::<(), StartError>(())
        };
        kit::play(7, faulty).expect("all that run shut down");
    }
}

#[cluster_test(seeds = 3)]
async fn a_slow_node_is_slow_until_it_heals(cluster: TestCluster) -> Result<(), StartError> {
    let prices = cluster.mock(|_| 1).await;
    cluster.start(2, selling(&prices)).await?;
    // How long an ask of what the second node owns takes.
    let took = async |asker: u8| {
        let till = cluster.node(asker).entity::<Till>(&key_on(&cluster, 2));
        let before = cluster.elapsed();
        till.ask(Buy(lamp())).await.expect("it answers");
        cluster.elapsed() - before
    };
    let longer = Duration::from_millis(100);
    assert!(took(1).await < longer);
    cluster.slow(2, longer);
    assert!(took(1).await >= 2 * longer);
    // A node that comes later is as far from it.
    cluster.start(1, selling(&prices)).await?;
    assert!(took(3).await >= 2 * longer && took(1).await >= 2 * longer);
    cluster.heal();
    cluster.advance(SHORT).await;
    assert!(took(1).await < longer && took(3).await < longer);
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_share_of_the_packets_is_lost_until_it_heals(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(2, |node| node).await?;
    let lost = || cluster.network().stats().lost;
    assert_eq!(lost(), 0);
    cluster.lose(0.2);
    cluster.advance(10 * SHORT).await;
    let so_far = lost();
    assert!(so_far > 0);
    cluster.heal();
    cluster.advance(10 * SHORT).await;
    assert_eq!(lost(), so_far);
    Ok(())
}
