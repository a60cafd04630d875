//! Results of futures that come back as messages.

use super::*;

#[derive(Message)]
#[rtype(result = "()")]
struct Piped(u32);

message!("test.Fetch", struct Fetch(u32, u64);, "()");
message!("test.Hold", struct Hold(u64);, "()");

/// Pipes results to itself, which need not be `Send` on their way.
#[derive(RemoteActor, Default)]
#[remote(name = "test.Fetcher", handles(Fetch, async Hold))]
struct Fetcher(Log, Option<Rc<Cell<u32>>>);

impl Actor for Fetcher {
    type Context = ClusterContext<Self>;
}

impl Handler<Fetch> for Fetcher {
    type Result = ();
    fn handle(&mut self, Fetch(n, millis): Fetch, ctx: &mut Self::Context) {
        let sleep = ctx.clock().sleep(Duration::from_millis(millis));
        let shared = self.1.get_or_insert_default().clone();
        let dropped = Dropped(Arc::clone(&self.0), "a pipe is over");
        let fetch = async move {
            sleep.await;
            drop(dropped);
            shared.set(n);
            assert!(n != 13, "a pipe panics on purpose");
            n
        };
        ctx.pipe_to_self(fetch, Piped);
    }
}

impl AsyncHandler<Hold> for Fetcher {
    async fn handle(&mut self, Hold(millis): Hold, ctx: &mut Self::Context) {
        self.0.lock().expect("a log").push("hold".to_owned());
        ctx.clock().sleep(Duration::from_millis(millis)).await;
    }
}

impl Handler<Piped> for Fetcher {
    type Result = ();
    fn handle(&mut self, Piped(n): Piped, _: &mut Self::Context) {
        self.0.lock().expect("a log").push(format!("piped {n}"));
    }
}

fn fetcher(node: &Node, capacity: usize, overflow: Overflow) -> (ActorRef<Fetcher>, Log) {
    let log = Log::default();
    let theirs = Arc::clone(&log);
    let builder = node.spawn(move |_| Fetcher(Arc::clone(&theirs), None));
    let builder = builder.mailbox_capacity(capacity).overflow(overflow);
    (builder.start().expect("spawned"), log)
}

#[test]
fn a_piped_result_takes_its_place_in_the_mailbox() {
    on_a_node(async |node| {
        let (fetcher, log) = fetcher(&node, 16, Overflow::default());
        fetcher.tell(Fetch(1, 10)).await.expect("room");
        settle().await;
        fetcher.tell(Fetch(2, 5)).await.expect("room");
        pause(20).await;
        let over = "a pipe is over";
        assert_eq!(lines(&log), [over, "piped 2", over, "piped 1"]);
        // Behind what came before it, although it is ready at once.
        for message in [1, 2] {
            fetcher.try_tell(Fetch(message, 0)).expect("room");
            fetcher.try_tell(Hold(1)).expect("room");
        }
        pause(20).await;
        assert_eq!(lines(&log), ["hold", over, "hold", over, "piped 1", "piped 2"]);
    });
}

#[test]
fn a_piped_result_waits_for_room_and_is_bounded() {
    on_a_node(async |node| {
        let (fetcher, log) = fetcher(&node, 2, Overflow::default());
        for n in 0..8 {
            fetcher.tell(Fetch(n, 10)).await.expect("room");
        }
        settle().await;
        pause(50).await;
        let lines = lines(&log);
        let piped: Vec<_> = lines.iter().filter(|line| line.starts_with("piped")).collect();
        assert_eq!(piped.len(), 8, "each waits for its room: {lines:?}");
        assert_eq!(node.dead_letters().total(), 0);
    });
}

#[test]
fn a_piped_result_that_a_mailbox_refuses_is_a_dead_letter() {
    on_a_node(async |node| {
        let (fetcher, log) = fetcher(&node, 2, Overflow::RejectNewest);
        for n in 0..4 {
            fetcher.tell(Fetch(n, 10)).await.expect("room");
            settle().await;
        }
        pause(50).await;
        let lines = lines(&log);
        let piped = lines.iter().filter(|line| line.starts_with("piped")).count() as u64;
        assert_eq!(node.dead_letters().rejected(RejectReason::Full), 4 - piped);
        assert!((1..4).contains(&piped), "{lines:?}");
    });
}

#[test]
fn a_pipe_ends_with_its_instance() {
    on_a_node(async |node| {
        let (fetcher, log) = fetcher(&node, 16, Overflow::default());
        fetcher.tell(Fetch(1, 50)).await.expect("room");
        fetcher.tell(Fetch(13, 1)).await.expect("room");
        pause(1_000).await;
        assert_eq!(lines(&log), ["a pipe is over", "a pipe is over"], "neither came back");
        fetcher.tell(Fetch(2, 1)).await.expect("room");
        pause(10).await;
        assert_eq!(lines(&log), ["a pipe is over", "piped 2"], "the fresh one pipes");
    });
}
