//! The end of a stream at which its handler is.

use std::{fmt, sync::Arc, time::Duration};

use actix_cluster_transport::{Class, Clock, SendError, Session};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    StreamMessage,
    intake::{Arrived, Awaiting, Inlet},
};
use crate::{
    cluster::{cancel::Flag, frame::SHARE_OVER, pending::Correlation, wire::Head},
    handler::owed::Owed,
    message,
    node::NodeCore,
};

/// Where a [`StreamingHandler`](crate::StreamingHandler) puts its items.
pub struct ItemSink<T> {
    to: To<T>,
}

enum To<T> {
    /// A reader on this node.
    Here(mpsc::Sender<Arrived<T>>),
    /// A reader on another node.
    There(Link),
    /// It was told, or asked by somebody who wants no items.
    Nobody,
}

/// The way to a reader on another node.
struct Link {
    session: Session,
    correlation: Correlation,
    flag: Arc<Flag>,
    clock: Clock,
}

/// An item that was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendItemError<T> {
    /// Nobody reads any more, or ever has.
    Gone(T),
    /// It can't be sent to another node: serde refuses it, or it is longer than a frame may be.
    Unsendable(T),
}

/// How long a sink waits for room among the answers to a node before it looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(2);

impl<T> ItemSink<T> {
    /// The sink for whoever is owed this.
    pub(crate) fn of<M: StreamMessage<Item = T>>(owed: &Owed<M::Result>, core: &NodeCore) -> Self
    where
        T: Send + 'static,
    {
        let awaiting = owed.travels().as_ref().and_then(|travels| travels.items.as_ref());
        let to = match awaiting {
            Some(Awaiting::Here(intake)) => {
                let inlet = intake.as_any().downcast_ref::<Inlet<T>>();
                inlet.map(|inlet| To::Here(inlet.items.clone()))
            }
            Some(Awaiting::There(window)) => owed.link().map(|(session, correlation, flag)| {
                flag.credit(*window);
                To::There(Link { session, correlation, flag, clock: core.clock().clone() })
            }),
            None => None,
        };
        Self { to: to.unwrap_or(To::Nobody) }
    }

    /// Whether nobody reads: what is sent comes back.
    pub fn is_closed(&self) -> bool {
        match &self.to {
            To::Here(items) => items.is_closed(),
            To::There(link) => link.flag.is_raised(),
            To::Nobody => true,
        }
    }
}

impl<T: serde::Serialize> ItemSink<T> {
    /// Sends an item, once the reader has room for one.
    ///
    /// Items arrive in the order in which they were sent, and before the handler's result.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the future has not sent its item, which is gone with it.
    ///
    /// # Errors
    ///
    /// [`SendItemError`], with the item.
    pub async fn send(&mut self, item: T) -> Result<(), SendItemError<T>> {
        match &self.to {
            To::Here(items) => match items.reserve().await {
                Ok(room) => {
                    room.send(Arrived::Here(item));
                    Ok(())
                }
                Err(_) => Err(SendItemError::Gone(item)),
            },
            To::There(link) => link.send(item).await,
            To::Nobody => Err(SendItemError::Gone(item)),
        }
    }
}

impl Link {
    async fn send<T: serde::Serialize>(&self, item: T) -> Result<(), SendItemError<T>> {
        let Some(room) = self.flag.room().await else { return Err(SendItemError::Gone(item)) };
        let head = Head::Item { correlation: self.correlation, number: self.flag.sent() }
            .put(Vec::with_capacity(64));
        let Ok(payload) = message::encode(&item, head) else {
            return Err(SendItemError::Unsendable(item));
        };
        let payload = Bytes::from(payload);
        loop {
            // What others answer goes first: a reply does not wait for its reader as an item does.
            let sent = if !self.session.has_answers_to_spare() && !self.session.has_ended() {
                Err(SendError::Full)
            } else if payload.len() > SHARE_OVER {
                self.session.try_send(Class::Answer, self.correlation, 0, &payload)
            } else {
                self.session.try_send(Class::Answer, self.correlation, 0, &*payload)
            };
            match sent {
                Ok(()) => {
                    room.forget();
                    self.flag.note_sent();
                    return Ok(());
                }
                Err(SendError::Full) if !self.flag.is_raised() => {
                    self.clock.sleep(ROOM_PAUSE).await;
                }
                Err(SendError::TooLong { .. }) => return Err(SendItemError::Unsendable(item)),
                Err(_) => return Err(SendItemError::Gone(item)),
            }
        }
    }
}

impl<T> SendItemError<T> {
    /// The item.
    pub fn into_item(self) -> T {
        let (Self::Gone(item) | Self::Unsendable(item)) = self;
        item
    }
}

impl<T> fmt::Debug for ItemSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemSink").field("closed", &self.is_closed()).finish()
    }
}

impl<T> fmt::Debug for SendItemError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone(_) => "Gone(..)",
            Self::Unsendable(_) => "Unsendable(..)",
        })
    }
}

impl<T> fmt::Display for SendItemError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone(_) => "nobody reads the items any more",
            Self::Unsendable(_) => "the item can't be sent to another node",
        })
    }
}

impl<T> std::error::Error for SendItemError<T> {}
