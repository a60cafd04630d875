//! Probes and mocks: what is expected comes, or fails.

use super::*;

#[cluster_test]
async fn a_probe_takes_messages_of_all_types_in_order_and_answers(cluster: TestCluster) {
    let mut probe = cluster.probe().await;
    let (notes, prices) = (probe.message_ref::<Note>(), probe.message_ref::<Price>());
    let asking = async {
        notes.tell(Note(1)).await.expect("taken");
        let price = prices.ask(Price(lamp()), SHORT).await;
        notes.tell(Note(2)).await.expect("taken");
        notes.tell(Note(3)).await.expect("taken");
        price
    };
    let expecting = async {
        assert_eq!(*probe.expect::<Note>().await, Note(1));
        let price = probe.expect_within::<Price>(SHORT).await;
        assert!(price.is_asked());
        assert_eq!(price.0, "lamp");
        price.reply(20);
        let note = probe.fish_for::<Note>(|Note(n)| *n == 3).await;
        assert!(!note.is_asked());
        let before = cluster.elapsed();
        probe.expect_nothing_for(LONG).await;
        assert!(cluster.elapsed() >= before + LONG);
    };
    let (price, ()) = tokio::join!(asking, expecting);
    assert_eq!(price.expect("it is answered"), 20);
}

#[cluster_test]
async fn an_ask_that_a_probe_drops_has_no_reply(cluster: TestCluster) {
    let mut probe = cluster.probe().await;
    let prices = probe.message_ref::<Price>();
    let asking = prices.ask(Price(lamp()), SHORT);
    let dropping = async { drop(probe.expect::<Price>().await) };
    let (price, ()) = tokio::join!(asking, dropping);
    assert!(matches!(price, Err(AskError::Unknown(UnknownReason::NoReply))), "{price:?}");
}

#[cluster_test]
async fn a_probe_that_is_dropped_takes_nothing_any_more(cluster: TestCluster) {
    let probe = cluster.probe().await;
    let notes = probe.message_ref::<Note>();
    notes.tell(Note(1)).await.expect("taken");
    drop(probe);
    cluster.advance(SHORT).await;
    let refused = notes.tell(Note(2)).await.expect_err("it has ended");
    assert_eq!(refused.message, Note(2));
}

#[test]
fn another_message_than_the_one_expected_is_a_failure_that_names_both() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        probe.message_ref().tell(Price(lamp())).await.expect("taken");
        probe.expect::<Note>().await;
    });
    let said = "test.Note was expected, and this came: Price(\"lamp\") (testkit::Price, told)";
    assert_says(&cause, &["probes.rs:", said]);
}

#[test]
fn silence_in_place_of_a_message_is_a_failure_after_half_a_minute() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        probe.expect::<Note>().await;
    });
    assert_says(&cause, &["probes.rs:", "test.Note was expected, and nothing came within 30s"]);
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        let notes = probe.message_ref();
        let late = async {
            cluster.advance(2 * SHORT).await;
            let _ = notes.tell(Note(1)).await;
        };
        tokio::join!(probe.expect_within::<Note>(SHORT), late);
    });
    assert_says(&cause, &["test.Note was expected, and nothing came within 1s"]);
}

#[test]
fn a_message_in_place_of_silence_is_a_failure_whether_it_is_there_or_comes() {
    for delay in [Duration::ZERO, SHORT / 2] {
        let cause = failing(async |cluster| {
            let mut probe = cluster.probe().await;
            let notes = probe.message_ref();
            let telling = async {
                cluster.advance(delay).await;
                notes.tell(Note(5)).await.expect("taken");
            };
            tokio::join!(probe.expect_nothing_for(SHORT), telling);
        });
        assert_says(&cause, &["nothing was expected, and this came: Note(5)"]);
    }
}

#[test]
fn a_fish_that_does_not_come_is_a_failure_that_names_the_last_other() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        for n in 0..3 {
            probe.message_ref().tell(Note(n)).await.expect("taken");
        }
        probe.fish_for::<Note>(|Note(n)| *n == 3).await;
    });
    let said = "a certain test.Note (3 others came, last Note(2)";
    assert_says(&cause, &[said, "was expected, and nothing came within 30s"]);
}

#[test]
fn a_probe_holds_so_many_messages_and_one_more_fails_its_next_expectation() {
    let fill = async |cluster: TestCluster, count: u32| {
        let mut probe = cluster.probe().await;
        for n in 0..count {
            probe.message_ref().tell(Note(n)).await.expect("taken");
        }
        cluster.advance(SHORT).await;
        assert_eq!(probe.expect::<Note>().await.0, 0);
    };
    kit::play(7, async |cluster| fill(cluster, 1_024).await).expect("room for all");
    let cause = failing(async |cluster| fill(cluster, 1_025).await);
    assert_says(&cause, &["no room for 1 messages: 1024 waited"]);
}

#[test]
fn a_reply_to_what_was_told_is_a_mistake() {
    let cause = failing(async |cluster| {
        let mut probe = cluster.probe().await;
        probe.message_ref().tell(Price(lamp())).await.expect("taken");
        probe.expect::<Price>().await.reply(1);
    });
    assert_says(&cause, &["test.Price was told, and has nobody to be answered"]);
}

#[derive(RemoteActor)]
#[remote(name = "test.Teller", handles(Note))]
struct Teller(MessageRef<Note>);
impl Actor for Teller {
    type Context = ClusterContext<Self>;
}
impl Handler<Note> for Teller {
    type Result = ();
    fn handle(&mut self, note: Note, ctx: &mut Self::Context) {
        self.0.try_tell(note).expect("room");
        ctx.stop();
    }
}

#[cluster_test(seeds = 3)]
async fn a_probe_hears_of_an_end_behind_what_came_before(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(2, |node| node.actor::<Teller>()).await?;
    let mut probe = Probe::start(&cluster.node(1));
    let notes = probe.message_ref::<Note>();
    let teller = cluster.node(1).spawn(move |_| Teller(notes.clone())).start().expect("room");
    probe.watch(&teller).await;
    teller.tell(Note(1)).await.expect("taken");
    assert_eq!(probe.expect::<Note>().await.0, 1);
    assert_eq!(probe.expect_terminated(&teller).await.reason, TerminatedReason::Stopped);
    Ok(())
}

#[cluster_test(seeds = 3)]
async fn a_probe_hears_that_the_node_of_an_actor_is_down(
    cluster: TestCluster,
) -> Result<(), StartError> {
    cluster.start(3, |node| node.entity(|_key| Lasting)).await?;
    let mut probe = Probe::start(&cluster.node(1));
    let key = (0..1_000).map(|n| format!("key-{n}")).find(|key| {
        let owner = cluster.node(1).owner_of::<Lasting>(key).expect("it has an owner");
        cluster.number_of(&owner) == 2
    });
    let lasting = cluster.node(1).entity::<Lasting>(&key.expect("one of a thousand"));
    lasting.ask(Note(0)).await.expect("it is active");
    probe.watch(&lasting).await;
    probe.expect_nothing_for(LONG).await;
    cluster.kill(2);
    assert_eq!(probe.expect_terminated(&lasting).await.reason, TerminatedReason::NodeDown);
    Ok(())
}

#[derive(RemoteActor)]
#[remote(name = "test.Lasting", handles(Note), placement = Eventual, state = volatile)]
struct Lasting;
impl Actor for Lasting {
    type Context = ClusterContext<Self>;
}
impl Handler<Note> for Lasting {
    type Result = ();
    fn handle(&mut self, _: Note, _: &mut Self::Context) {}
}

#[test]
fn an_end_that_does_not_come_is_a_failure_and_so_is_another() {
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let node = cluster.node(1);
        let mut probe = Probe::start(&node);
        let lasting = node.spawn(|_| Lasting).start().expect("room");
        probe.watch(&lasting).await;
        probe.expect_terminated(&lasting).await;
    });
    assert_says(&cause, &["the end of test.Lasting", "was expected, and nothing came within 30s"]);
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let node = cluster.node(1);
        let mut probe = Probe::start(&node);
        let [one, other] = [(); 2].map(|()| node.spawn(|_| Lasting).start().expect("room"));
        probe.watch(&one).await;
        probe.watch(&other).await;
        other.kill();
        probe.expect_terminated(&one).await;
    });
    assert_says(&cause, &["was expected, and this came: the end of test.Lasting", ": killed"]);
}

#[test]
fn a_probe_that_is_no_members_does_not_watch_members() {
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let probe = cluster.probe().await;
        let lasting = cluster.node(1).spawn(|_| Lasting).start().expect("room");
        probe.watch(&lasting).await;
    });
    assert_says(&cause, &["can't be watched from test/1", "`Probe::start`"]);
}

#[test]
fn a_watch_on_a_node_that_stands_still_is_a_failure_in_time() {
    let cause = failing(async |cluster| {
        cluster.start(1, |node| node).await.expect("it starts");
        let probe = Probe::start(&cluster.node(1));
        let lasting = cluster.node(1).spawn(|_| Lasting).start().expect("room");
        cluster.pause(1);
        probe.watch(&lasting).await;
    });
    assert_says(&cause, &["is not watched: the probe's node does not run"]);
}

#[cluster_test]
async fn a_mock_whose_closure_panics_is_asked_again(cluster: TestCluster) {
    let prices = cluster
        .mock(|Price(item)| {
            assert!(item != "nothing", "on purpose");
            7
        })
        .await;
    for _ in 0..20 {
        let price = prices.message_ref().ask(Price("nothing".to_owned()), SHORT).await;
        assert!(matches!(price, Err(AskError::Unknown(UnknownReason::Panicked))), "{price:?}");
    }
    let price = prices.actor_ref().ask(Price(lamp())).within(LONG).await;
    assert_eq!((price.expect("it answers"), prices.asked()), (7, 21));
}
