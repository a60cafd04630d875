//! What interceptors are shown.

use std::{fmt, time::Duration};

use crate::{
    call::{HeaderError, Headers},
    node::NodeId,
    reference::UnknownReason,
};

/// A message that is about to be sent.
#[derive(Debug)]
pub struct Departure<'a> {
    pub(super) actor: &'static str,
    pub(super) message: &'static str,
    pub(super) key: Option<&'a str>,
    pub(super) is_ask: bool,
    pub(super) headers: Headers,
}

impl Departure<'_> {
    /// The lasting name of the target's actor type.
    pub fn actor(&self) -> &'static str {
        self.actor
    }

    /// The lasting name of the message.
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// The target's key, if it is an entity.
    pub fn key(&self) -> Option<&str> {
        self.key
    }

    /// Whether its sender awaits an answer. An ask that is forwarded counts as one.
    pub fn is_ask(&self) -> bool {
        self.is_ask
    }

    /// A header that goes along with it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.find(name)
    }

    /// Sends one header more along, or another value of it. It follows the call chain from there.
    ///
    /// # Errors
    ///
    /// [`HeaderError`]: there are 64 headers of 8 KiB in all at most. Nothing has changed.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        self.headers = self.headers.with(name, value)?;
        Ok(())
    }
}

/// A message whose turn is about to begin.
#[derive(Debug)]
pub struct Arrival<'a> {
    pub(super) actor: &'static str,
    pub(super) message: &'static str,
    pub(super) key: Option<&'a str>,
    pub(super) from: Option<&'a NodeId>,
    pub(super) headers: &'a Headers,
}

impl Arrival<'_> {
    /// The lasting name of the actor's type.
    pub fn actor(&self) -> &'static str {
        self.actor
    }

    /// The lasting name of the message.
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// The actor's key, if it is an entity.
    pub fn key(&self) -> Option<&str> {
        self.key
    }

    /// The node that sent it; `None` if it is of this node, or came here by way of this node.
    pub fn from(&self) -> Option<&NodeId> {
        self.from
    }

    /// A header that came along with it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.find(name)
    }
}

/// A message whose handler has ended.
#[derive(Debug)]
pub struct Handled<'a> {
    pub(super) actor: &'static str,
    pub(super) message: &'static str,
    pub(super) headers: &'a Headers,
    pub(super) outcome: Result<(), UnknownReason>,
    pub(super) took: Duration,
}

impl Handled<'_> {
    /// The lasting name of the actor's type.
    pub fn actor(&self) -> &'static str {
        self.actor
    }

    /// The lasting name of the message.
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// A header that came along with it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.find(name)
    }

    /// How long the handler ran: of an async or reentrant one from the turn's begin to the future's
    /// end, of any other its turn.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// How the handler ended.
    ///
    /// # Errors
    ///
    /// Why it was cut short: it panicked, or was dropped at an await, since its asker had gone
    /// ([`Cancelled`](UnknownReason::Cancelled)) or its actor had ended
    /// ([`NoReply`](UnknownReason::NoReply)). An error that the handler returns is an answer like any
    /// other.
    pub fn outcome(&self) -> Result<(), UnknownReason> {
        self.outcome
    }
}

/// Says that an interceptor turns a message away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interceptor refused the message")
    }
}

impl std::error::Error for Refused {}
