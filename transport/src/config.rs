//! A transport's settings.

use std::{fmt, net::SocketAddr, num::NonZeroU16, time::Duration};

use crate::{
    identity::{ClusterName, NodeName},
    session::{Limits, Shape},
    tls::Credentials,
    wire::handshake::LANES_LIMIT,
};

/// What a transport needs to know. The defaults suit nodes of one data centre.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The cluster: nodes of another one are refused.
    pub cluster: ClusterName,
    /// This node's name; its certificate must allow it.
    pub node: NodeName,
    /// Certificate, key and trusted roots.
    pub credentials: Credentials,
    /// The UDP address to bind. Port 0 picks a free one.
    pub bind: SocketAddr,
    /// Lanes to receive on, 1 to 256, fixed while the node runs. Default 2.
    ///
    /// Too few, and targets of different arbiters share a path; each costs its buffers.
    pub lanes: NonZeroU16,
    /// How long a silent connection is kept, 500 ms to 60 s. Default 3 s.
    ///
    /// Too short, and a busy machine's connections break; too long, and a silent peer's messages
    /// wait in vain. At least three times [`keep_alive`](Self::keep_alive).
    pub idle_timeout: Duration,
    /// How often a quiet connection shows that it lives. Default 500 ms.
    pub keep_alive: Duration,
    /// How long a handshake may take, 100 ms to 60 s. Default 3 s.
    pub handshake_timeout: Duration,
    /// The wait before the first new dial, doubled up to [`redial_longest`](Self::redial_longest).
    /// Default 50 ms.
    pub redial_first: Duration,
    /// The longest wait between dials. Default 1 s.
    pub redial_longest: Duration,
    /// The most unsettled messages of one target, at least 1. Default 1,024.
    pub target_messages: u32,
    /// The most unsettled bytes of one target. Default 1 MiB. A larger message goes alone.
    pub target_bytes: u64,
    /// The most unsettled messages of one session, at least
    /// [`target_messages`](Self::target_messages). Default 65,536.
    pub session_messages: u64,
    /// The most unsettled bytes of one session, at least [`target_bytes`](Self::target_bytes).
    /// Default 64 MiB. What is not yet received is kept for retransmission within it.
    pub session_bytes: u64,
    /// The most message bytes of one lane that the peer has not received, at least 64 KiB. Default
    /// 16 MiB. They are kept to be sent again if the connection breaks; a stuck lane takes no more
    /// of the session's bytes than this. A larger message goes alone.
    pub lane_bytes: u64,
    /// The longest payload of one frame, in bytes, up to 64 MiB. Default 16 MiB.
    pub frame_limit: usize,
}

impl TransportConfig {
    /// The defaults, for a node of this name.
    pub fn new(
        cluster: ClusterName,
        node: NodeName,
        credentials: Credentials,
        bind: SocketAddr,
    ) -> Self {
        Self {
            cluster,
            node,
            credentials,
            bind,
            lanes: const { NonZeroU16::new(2).expect("not zero") },
            idle_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_millis(500),
            handshake_timeout: Duration::from_secs(3),
            redial_first: Duration::from_millis(50),
            redial_longest: Duration::from_secs(1),
            target_messages: 1_024,
            target_bytes: 1024 * 1024,
            session_messages: 65_536,
            session_bytes: 64 * 1024 * 1024,
            lane_bytes: 16 * 1024 * 1024,
            frame_limit: 16 * 1024 * 1024,
        }
    }

    /// The sizes of a session with a peer that receives on so many lanes.
    pub(crate) fn shape(&self, lanes_out: u16) -> Shape {
        Shape {
            lanes_out,
            lanes_in: self.lanes.get(),
            limits: Limits {
                target_messages: self.target_messages,
                target_bytes: self.target_bytes,
                lane_bytes: self.lane_bytes,
            },
            messages_limit: self.session_messages,
            bytes_limit: self.session_bytes,
            frame_limit: self.frame_limit,
        }
    }

    /// Checks every field, and the relations between them.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field, its value and the rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |field, holds: bool, value: &dyn fmt::Debug, rule| {
            if holds {
                Ok(())
            } else {
                Err(ConfigError { field, value: format!("{value:?}"), rule })
            }
        };
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let timeout = self.idle_timeout;
        check("lanes", self.lanes.get() <= LANES_LIMIT, &self.lanes, "1 to 256")?;
        check("idle_timeout", (ms(500)..=s(60)).contains(&timeout), &timeout, "500 ms to 60 s")?;
        check(
            "keep_alive",
            !self.keep_alive.is_zero() && self.keep_alive <= timeout / 3,
            &self.keep_alive,
            "above zero, and at most a third of idle_timeout",
        )?;
        let handshake = self.handshake_timeout;
        check(
            "handshake_timeout",
            (ms(100)..=s(60)).contains(&handshake),
            &handshake,
            "100 ms to 60 s",
        )?;
        check("redial_first", !self.redial_first.is_zero(), &self.redial_first, "above zero")?;
        check(
            "redial_longest",
            self.redial_longest >= self.redial_first,
            &self.redial_longest,
            "at least redial_first",
        )?;
        check("target_messages", self.target_messages > 0, &self.target_messages, "at least 1")?;
        check(
            "session_messages",
            self.session_messages >= u64::from(self.target_messages),
            &self.session_messages,
            "at least target_messages",
        )?;
        check("target_bytes", self.target_bytes > 0, &self.target_bytes, "at least 1")?;
        check(
            "session_bytes",
            self.session_bytes >= self.target_bytes,
            &self.session_bytes,
            "at least target_bytes",
        )?;
        check(
            "lane_bytes",
            self.lane_bytes >= 64 * 1024,
            &self.lane_bytes,
            "at least 65536 bytes",
        )?;
        check(
            "frame_limit",
            (1_024..=64 * 1024 * 1024).contains(&self.frame_limit),
            &self.frame_limit,
            "1 KiB to 64 MiB",
        )?;
        check(
            "node",
            self.credentials.allows(&self.node),
            &self.node,
            "a DNS name of the node's certificate",
        )
    }
}

/// A setting that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub rule: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, rule } = self;
        write!(f, "{field} is {value}, and has to be {rule}")
    }
}

impl std::error::Error for ConfigError {}
