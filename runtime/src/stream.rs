//! Asks that are answered by many items, one after the other, before they end.
//!
//! ```text
//!  ItemStream ──ask──> mailbox ──> StreamingHandler
//!      │ <─── items, as many as there is credit for ─── ItemSink
//!      │ ───── credit, as items are taken ──────────────>
//!      └ <─── the handler's result ends it
//! ```
//!
//! Invariant: between a sink and its stream there are never more items than the stream's window, so
//! neither end holds more of them, and a slow reader slows its handler down. The ask's own end is that of
//! the stream, behind all items.

pub(crate) mod intake;
mod reading;
mod sink;

use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    reading::{DEFAULT_WINDOW, ItemStream, WINDOW_LIMIT},
    sink::{ItemSink, SendItemError},
};
use crate::message::RemoteMessage;

/// A message that is answered by items before its result.
///
/// [`macro@crate::RemoteMessage`] implements it for `items(Row)` in `#[remote(..)]`. Actors list it as
/// `stream M`, and handle it by [`StreamingHandler`](crate::StreamingHandler);
/// [`ActorRef::ask_stream`](crate::ActorRef::ask_stream) asks it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not answered by items",
    label = "nothing says which items `{Self}` is answered by",
    note = "state them: `#[remote(name = \"..\", version = 1, items(Row))]`"
)]
pub trait StreamMessage: RemoteMessage {
    /// What it is answered by.
    type Item: Serialize + DeserializeOwned + Send + 'static;
}
