//! A transport's settings.

mod quic;
#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, num::NonZeroU16, time::Duration};

pub use self::quic::{Congestion, QuicConfig};
pub(crate) use self::quic::{open_streams, open_window, quinn_config};
use crate::{
    identity::{ClusterName, NodeName},
    session::{Limits, Shape},
    tls::Credentials,
    wire::handshake::{Accepts, LANES_LIMIT},
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
    /// How often a quiet connection shows that it lives, 10 ms to a third of
    /// [`idle_timeout`](Self::idle_timeout). Default 500 ms.
    ///
    /// Too short, and each quiet peer costs packets for nothing; too close to the third, and two lost
    /// packets break a connection that was well.
    pub keep_alive: Duration,
    /// How long a handshake may take, 100 ms to 60 s. Default 3 s.
    ///
    /// Shorter than a few round trips and lost packets take, and nodes never meet; longer, and what
    /// never greets holds its place for as long.
    pub handshake_timeout: Duration,
    /// The wait before the first new dial, 1 ms to 60 s, doubled up to
    /// [`redial_longest`](Self::redial_longest). Default 50 ms.
    ///
    /// Too short, and a node that restarts is dialled by all others at once, again and again; too
    /// long, and what waits for a connection waits longer than the break.
    pub redial_first: Duration,
    /// The longest wait between dials, at least [`redial_first`](Self::redial_first) and at most
    /// 60 s. Default 1 s.
    ///
    /// Too short, and peers that are gone cost packets; a peer that is back may go undialled for as
    /// long as this.
    pub redial_longest: Duration,
    /// The most unsettled messages of one target, at least 1. Default 1,024.
    ///
    /// Fewer than the path holds (its rate times a round trip and a turn), and one target is slower
    /// than it could be; more, and a slow target's queue grows by as much for each node that sends.
    pub target_messages: u32,
    /// The most unsettled bytes of one target, at least 1. Default 1 MiB. A larger message goes alone.
    ///
    /// As [`target_messages`](Self::target_messages): too few, and long messages go one by one; too
    /// many, and few slow targets take the whole session's.
    pub target_bytes: u64,
    /// The most unsettled messages of one session, at least
    /// [`target_messages`](Self::target_messages) and at most 4,194,304. Default 65,536.
    ///
    /// Divided by [`target_messages`](Self::target_messages) it is the number of targets that may be
    /// full before others wait. Each takes some 24 bytes here, and its place in the target's queue
    /// there.
    pub session_messages: u64,
    /// The most unsettled bytes of one session, at least [`target_bytes`](Self::target_bytes) and at
    /// most 64 GiB. Default 64 MiB. Each node tells its peers that it takes as many of theirs, and the lower
    /// limit of two holds between them; a peer that sends more is cut off.
    ///
    /// Too few, and few full targets stall all others; as many may have to be held here for each peer
    /// whose messages are not handled.
    pub session_bytes: u64,
    /// The most message bytes of one lane that the peer has not received, 64 KiB to 64 GiB. Default
    /// 16 MiB. They are kept to be sent again if the connection breaks; a stuck lane takes no more
    /// of the session's bytes than this. A larger message goes alone.
    ///
    /// Less than the path holds, and the lane is slower than the path; as much memory may be taken
    /// for each lane of each peer that does not read.
    pub lane_bytes: u64,
    /// The most bytes of answers that one peer has not received, 4 KiB to 64 GiB. Default 64 MiB.
    /// Rejections count, with 64 bytes each.
    ///
    /// Beyond half of it the peer's messages wait before they are delivered, so that it is given no
    /// more to ask for; at the bound [`Session::answer`](crate::Session::answer) fails for all but
    /// short answers. Only a peer that takes its answers more slowly than it asks comes there: too
    /// low, and one that asks for long answers does.
    pub answer_bytes: u64,
    /// The longest payload of a message or an answer, in bytes, 1 KiB to 1 GiB. Default 64 MiB. The
    /// lower limit of two nodes holds between them.
    ///
    /// One message may take as much memory at both ends, however low the other bounds are; longer
    /// ones cannot be sent.
    pub message_limit: usize,
    /// Payloads longer than this, in bytes, 1 KiB to 1 MiB, travel as bulk, on streams of their own, so
    /// that they do not hold up others on their lane. Default 64 KiB.
    ///
    /// Too low, and messages of a few KiB take a round trip more each; too high, and short messages
    /// wait behind ones of this length.
    pub bulk_over: usize,
    /// How many bulk messages of one peer may come in at once, 1 to 16. Default 2. One of which at
    /// most 256 KiB are to come does not count, but there are never more than twice as many.
    ///
    /// More share the path among them and take longer each; together they leave less of the
    /// connection's window to short messages.
    pub bulk_streams: u16,
    /// How many peers are known at once, 1 to 1,000,000. Default 10,000. A newcomer beyond it is
    /// refused.
    ///
    /// A peer is known while it is to be dialled, or has a session or a connection; one that was
    /// [forgotten](crate::Transport::forget) makes room. Of as many names that were forgotten the
    /// highest incarnation is kept, those forgotten last, so that none comes back that was over: of
    /// the others one could. Too low, and nodes of a large cluster are shut out; too high, and who
    /// can issue certificates may fill the memory with sessions.
    pub peers_limit: u32,
    /// How QUIC is set up. Default [`QuicConfig::data_center`].
    pub quic: QuicConfig,
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
            answer_bytes: 64 * 1024 * 1024,
            message_limit: 64 * 1024 * 1024,
            bulk_over: 64 * 1024,
            bulk_streams: 2,
            peers_limit: 10_000,
            quic: QuicConfig::default(),
        }
    }

    /// The sizes of a session with a peer that receives on so many lanes, and takes so much.
    pub(crate) fn shape(&self, lanes_out: u16, peer_accepts: Accepts) -> Shape {
        let longest = usize::try_from(peer_accepts.longest).unwrap_or(usize::MAX);
        Shape {
            lanes_out,
            lanes_in: self.lanes.get(),
            limits: Limits {
                target_messages: self.target_messages,
                target_bytes: self.target_bytes,
                lane_bytes: self.lane_bytes,
            },
            messages_limit: self.session_messages.min(peer_accepts.messages),
            bytes_limit: self.session_bytes.min(peer_accepts.bytes),
            answer_bytes: self.answer_bytes,
            accepts: self.accepts(),
            message_limit: self.message_limit.min(longest),
            bulk_over: self.bulk_over,
            bulk_streams: self.bulk_streams,
        }
    }

    /// What this node takes of each peer: as much as it sends itself.
    pub(crate) fn accepts(&self) -> Accepts {
        Accepts {
            messages: self.session_messages,
            bytes: self.session_bytes,
            longest: self.message_limit as u64,
        }
    }

    /// Checks every field, and the relations between them.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field, its value and the rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let timeout = self.idle_timeout;
        Check("lanes", &self.lanes).holds(self.lanes.get() <= LANES_LIMIT, "1 to 256")?;
        Check("idle_timeout", &timeout)
            .holds((ms(500)..=s(60)).contains(&timeout), "500 ms to 60 s")?;
        Check("keep_alive", &self.keep_alive).holds(
            (ms(10)..=timeout / 3).contains(&self.keep_alive),
            "at least 10 ms, and at most a third of idle_timeout",
        )?;
        Check("handshake_timeout", &self.handshake_timeout)
            .holds((ms(100)..=s(60)).contains(&self.handshake_timeout), "100 ms to 60 s")?;
        Check("redial_first", &self.redial_first)
            .holds((ms(1)..=s(60)).contains(&self.redial_first), "1 ms to 60 s")?;
        Check("redial_longest", &self.redial_longest).holds(
            (self.redial_first..=s(60)).contains(&self.redial_longest),
            "at least redial_first, and at most 60 s",
        )?;
        self.validate_budgets()?;
        Check("peers_limit", &self.peers_limit)
            .holds((1..=1_000_000).contains(&self.peers_limit), "1 to 1,000,000")?;
        self.quic.validate()?;
        Check("node", &self.node).holds(self.credentials.allows(&self.node), OWN_NAME)
    }

    fn validate_budgets(&self) -> Result<(), ConfigError> {
        Check("target_messages", &self.target_messages)
            .holds(self.target_messages > 0, "at least 1")?;
        Check("session_messages", &self.session_messages).holds(
            (u64::from(self.target_messages)..=SESSION_MESSAGES_LIMIT)
                .contains(&self.session_messages),
            "at least target_messages, and at most 4,194,304",
        )?;
        Check("target_bytes", &self.target_bytes).holds(self.target_bytes > 0, "at least 1")?;
        Check("session_bytes", &self.session_bytes).holds(
            (self.target_bytes..=SESSION_BYTES_LIMIT).contains(&self.session_bytes),
            "at least target_bytes, and at most 64 GiB",
        )?;
        Check("lane_bytes", &self.lane_bytes).holds(
            (64 * 1024..=SESSION_BYTES_LIMIT).contains(&self.lane_bytes),
            "64 KiB to 64 GiB",
        )?;
        Check("answer_bytes", &self.answer_bytes).holds(
            (4 * 1024..=SESSION_BYTES_LIMIT).contains(&self.answer_bytes),
            "4 KiB to 64 GiB",
        )?;
        Check("message_limit", &self.message_limit)
            .holds((1_024..=1024 * 1024 * 1024).contains(&self.message_limit), "1 KiB to 1 GiB")?;
        Check("bulk_over", &self.bulk_over)
            .holds((1_024..=BULK_OVER_LIMIT).contains(&self.bulk_over), "1 KiB to 1 MiB")?;
        Check("bulk_streams", &self.bulk_streams)
            .holds((1..=BULK_STREAMS_LIMIT).contains(&self.bulk_streams), "1 to 16")
    }
}

/// A field and its value.
struct Check<'a>(&'static str, &'a dyn fmt::Debug);

impl Check<'_> {
    fn holds(self, holds: bool, rule: &'static str) -> Result<(), ConfigError> {
        let Self(field, value) = self;
        if holds { Ok(()) } else { Err(ConfigError { field, value: format!("{value:?}"), rule }) }
    }
}

/// The most that a session may have under way: what counts it holds both in one number.
const SESSION_MESSAGES_LIMIT: u64 = 1 << 22;
const SESSION_BYTES_LIMIT: u64 = 1 << 36;

/// What a node's name has to be, when it starts and whenever its certificate changes.
pub(crate) const OWN_NAME: &str = "a DNS name of the node's certificate";

/// The most that may travel on a lane, so that a lane's frame is never longer.
pub(crate) const BULK_OVER_LIMIT: usize = 1024 * 1024;

/// The most bulk messages that come in at once.
pub(crate) const BULK_STREAMS_LIMIT: u16 = 16;

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
