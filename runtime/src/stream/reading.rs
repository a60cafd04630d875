//! The end of a stream at which its reader is.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::{
    StreamMessage,
    intake::{Arrived, Inlet},
};
use crate::{
    message,
    node::NodeCore,
    reference::{ActorRef, Ask, AskError, UnknownReason},
    remote_actor::{HandledBy, RemoteActor},
};

/// How many items may be on their way to a reader, unless it says otherwise.
pub const DEFAULT_WINDOW: u32 = 64;

/// How many items may be on their way to a reader at most.
pub const WINDOW_LIMIT: u32 = 4_096;

/// The items that answer an ask; made by [`ActorRef::ask_stream`].
///
/// It is a [`Stream`] of them. It ends after the handler's result, which [`reply`](Self::reply) gives
/// then. An error is its last item: what was sent before it has come, in order and without a gap, unless
/// the handler's node has ended.
///
/// # Cancel safety
///
/// Nothing is sent before the first poll. [`next`](Self::next) is safe: no item is lost. Dropping the
/// stream cancels the ask, as that of an [`Ask`]; a handler is dropped at its next await.
#[must_use = "nothing is asked until the stream is polled"]
pub struct ItemStream<A: RemoteActor, M: StreamMessage> {
    state: State<A, M>,
    timeout: Duration,
    window: u32,
    reply: Option<M::Reply>,
}

enum State<A: RemoteActor, M: StreamMessage> {
    Unasked(ActorRef<A>, M),
    Asked(Box<Asked<A, M>>),
    Ended,
}

struct Asked<A: RemoteActor, M: StreamMessage> {
    core: Arc<NodeCore>,
    /// `None` once it has ended.
    ask: Option<Ask<A, M>>,
    end: Option<Result<M::Reply, AskError<M>>>,
    items: mpsc::Receiver<Arrived<M::Item>>,
    /// Whether the reader waits: only then its time runs.
    waits: bool,
    /// How many items of another node were taken that it has not been told of.
    taken: u32,
}

impl<A: RemoteActor, M: StreamMessage + HandledBy<A>> ItemStream<A, M> {
    pub(crate) fn new(target: ActorRef<A>, msg: M) -> Self {
        Self {
            state: State::Unasked(target, msg),
            timeout: crate::reference::DEFAULT_ASK_TIMEOUT,
            window: DEFAULT_WINDOW,
            reply: None,
        }
    }

    /// Waits for each item, and for the end, for at most `timeout`. Default 5 s.
    ///
    /// What counts is the time in which the reader waits, not that in which it does something else; a
    /// [`next`](Self::next) that is dropped has not waited.
    /// The message has to have its turn within the first wait.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many items may be on their way: what the handler is ahead of the reader. Default 64, from 1
    /// to 4,096; what is outside is brought inside.
    ///
    /// Too small, and the handler waits for each round trip; too large, and a slow reader holds as many
    /// items in memory.
    pub fn window(mut self, items: u32) -> Self {
        self.window = items.clamp(1, WINDOW_LIMIT);
        self
    }

    /// The next item; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<M::Item, AskError<M>>> {
        let reading = Reading(self);
        poll_fn(|task| reading.0.poll_item(task)).await
    }

    fn poll_item(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<M::Item, AskError<M>>>> {
        if let State::Unasked(..) = &self.state
            && let State::Unasked(target, msg) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.state = State::Asked(Box::new(Asked::new(target, msg, self.timeout, self.window)));
        }
        let State::Asked(asked) = &mut self.state else { return Poll::Ready(None) };
        let polled = asked.poll(self.timeout, self.window, task);
        asked.waits = polled.is_pending();
        polled.map(|read| match read {
            Read::Item(item) => Some(Ok(item)),
            Read::End(end) => {
                self.state = State::Ended;
                end.map(|reply| self.reply = Some(reply)).err().map(Err)
            }
        })
    }
}

impl<A: RemoteActor, M: StreamMessage> ItemStream<A, M> {
    /// The handler's result, after the end; once.
    pub fn reply(&mut self) -> Option<M::Reply> {
        self.reply.take()
    }
}

/// A reader that waits, until this is dropped.
struct Reading<'a, A: RemoteActor, M: StreamMessage>(&'a mut ItemStream<A, M>);

impl<A: RemoteActor, M: StreamMessage> Drop for Reading<'_, A, M> {
    fn drop(&mut self) {
        if let State::Asked(asked) = &mut self.0.state {
            asked.waits = false;
        }
    }
}

/// What was read.
enum Read<M: StreamMessage> {
    Item(M::Item),
    End(Result<M::Reply, AskError<M>>),
}

impl<A: RemoteActor, M: StreamMessage + HandledBy<A>> Asked<A, M> {
    fn new(target: ActorRef<A>, msg: M, timeout: Duration, window: u32) -> Self {
        let (sender, items) = mpsc::channel(window as usize);
        let ask = Ask::new(target, msg).within(timeout).with_items(Arc::new(Inlet::new(sender)));
        Self {
            core: Arc::clone(ask.core()),
            ask: Some(ask),
            end: None,
            items,
            waits: true,
            taken: 0,
        }
    }

    fn poll(&mut self, timeout: Duration, window: u32, task: &mut Context<'_>) -> Poll<Read<M>> {
        if let (false, Some(ask)) = (self.waits, &mut self.ask) {
            ask.wait_anew(timeout);
        }
        if let Poll::Ready(Some(arrived)) = self.items.poll_recv(task) {
            return self.read(arrived, window);
        }
        if let Some(ask) = &mut self.ask {
            match Pin::new(ask).poll(task) {
                Poll::Ready(end) => (self.end, self.ask) = (Some(end), None),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Whatever was sent before the end is here by now.
        match self.items.try_recv() {
            Ok(arrived) => self.read(arrived, window),
            Err(_) => Poll::Ready(Read::End(self.end.take().expect("a stream ends once"))),
        }
    }

    fn read(&mut self, arrived: Arrived<M::Item>, window: u32) -> Poll<Read<M>> {
        let bytes = match arrived {
            Arrived::Here(item) => return Poll::Ready(Read::Item(item)),
            Arrived::There(bytes) => bytes,
        };
        self.taken += 1;
        self.tell_taken(window);
        let decoded = {
            let _scope = NodeCore::enter(&self.core);
            message::decode(&bytes)
        };
        Poll::Ready(match decoded {
            Ok(item) => Read::Item(item),
            Err(error) => {
                tracing::warn!(message = M::NAME, %error, "an item could not be read");
                Read::End(Err(AskError::Unknown(UnknownReason::BadReply)))
            }
        })
    }

    /// Tells the producer of the room that has come to be, once that is half of a window: it has as much
    /// left then.
    fn tell_taken(&mut self, window: u32) {
        if let Some(ask) = &self.ask
            && self.taken >= window.div_ceil(2)
        {
            ask.credit(std::mem::take(&mut self.taken));
        }
    }
}

impl<A: RemoteActor, M: StreamMessage + HandledBy<A>> Stream for ItemStream<A, M> {
    type Item = Result<M::Item, AskError<M>>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(task)
    }
}

// Nothing in it is pinned.
impl<A: RemoteActor, M: StreamMessage> Unpin for ItemStream<A, M> {}

impl<A: RemoteActor, M: StreamMessage> fmt::Debug for ItemStream<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Unasked(..) => "unasked",
            State::Asked(_) => "asked",
            State::Ended => "ended",
        };
        f.debug_struct("ItemStream").field("state", &state).finish_non_exhaustive()
    }
}
