//! Greetings over a control stream.

use std::fmt;

use quinn::{RecvStream, SendStream};

use crate::{
    identity::NodeName,
    tls::{IdentityError, TlsFailure, explain, peer_names_allow},
    wire::{
        WireError,
        handshake::{Greeting, PREFACE, Refusal, agree, preface},
    },
};

/// Why there is no link to a peer, or no answer from it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// TLS failed: one side does not trust the other.
    Tls(TlsFailure),
    /// The peer refuses us.
    Refused(Refusal),
    /// We refuse the peer.
    Refusing(Refusal),
    /// The peer's certificate does not name it.
    Identity(IdentityError),
    /// The peer broke the protocol.
    Wire(WireError),
    /// Nobody answered in time.
    TimedOut,
    /// The certificate begins connections faster than it greets on them, and this was the oldest.
    Crowded,
    /// The connection broke.
    Lost(quinn::ConnectionError),
    /// The address cannot be dialled.
    Dial(quinn::ConnectError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(_) => f.write_str("the TLS handshake failed"),
            Self::Refused(_) => f.write_str("the peer refuses this node"),
            Self::Refusing(_) => f.write_str("this node refuses the peer"),
            Self::Identity(_) => f.write_str("the peer is not who it says"),
            Self::Wire(_) => f.write_str("the peer broke the protocol"),
            Self::TimedOut => f.write_str("nobody answered in time"),
            Self::Crowded => f.write_str(CROWDED),
            Self::Lost(_) => f.write_str("the connection broke"),
            Self::Dial(_) => f.write_str("the address cannot be dialled"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(source) => Some(source),
            Self::Refused(source) | Self::Refusing(source) => Some(source),
            Self::Identity(source) => Some(source),
            Self::Wire(source) => Some(source),
            Self::Lost(source) => Some(source),
            Self::Dial(source) => Some(source),
            Self::TimedOut | Self::Crowded => None,
        }
    }
}

impl From<quinn::ConnectionError> for ConnectError {
    fn from(error: quinn::ConnectionError) -> Self {
        match explain(&error) {
            Some(failure) => Self::Tls(failure),
            None if error == quinn::ConnectionError::TimedOut => Self::TimedOut,
            None => Self::Lost(error),
        }
    }
}

impl From<TlsFailure> for ConnectError {
    fn from(failure: TlsFailure) -> Self {
        Self::Tls(failure)
    }
}

impl From<WireError> for ConnectError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl ConnectError {
    /// What a person can do about it, if it takes one: the text of the cause, which says so.
    pub(crate) fn remedy(&self) -> Option<String> {
        let cause = match self {
            Self::Tls(cause) => cause.to_string(),
            Self::Identity(cause) => cause.to_string(),
            // Those pass by themselves.
            Self::Refused(Refusal::Duplicate | Refusal::Stale { .. } | Refusal::Closing)
            | Self::Refusing(Refusal::Duplicate | Refusal::Stale { .. } | Refusal::Closing) => {
                return None;
            }
            Self::Refused(cause) | Self::Refusing(cause) => cause.to_string(),
            Self::Wire(_) | Self::TimedOut | Self::Crowded | Self::Lost(_) | Self::Dial(_) => {
                return None;
            }
        };
        Some(cause)
    }

    /// Closes the connection that failed so, if it is still open, and tells the peer why.
    pub(crate) fn close(&self, connection: &quinn::Connection) {
        match self {
            Self::Wire(error) => connection.close(PROTOCOL.into(), error.to_string().as_bytes()),
            // Told here if it was found after the handshake of TLS; it was closed by that otherwise.
            Self::Tls(failure) => {
                connection.close(DISTRUSTED.into(), failure.reason.told().as_bytes());
            }
            Self::TimedOut => connection.close(PROTOCOL.into(), b"the handshake took too long"),
            Self::Crowded => connection.close(REFUSED.into(), CROWDED.as_bytes()),
            // It is closed already.
            _ => {}
        }
    }
}

/// What the peer is told, too.
const CROWDED: &str = "too many connections of one certificate are greeting";

/// How much room is made for a greeting at a time.
const GREETING_STEP_BYTES: usize = 8 * 1024;

/// The control stream of one connection, while the two greet.
#[derive(Debug)]
pub(crate) struct ControlStream {
    pub(crate) connection: quinn::Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl ControlStream {
    /// Opens the stream, as the dialler, and agrees on a version.
    pub(crate) async fn open(connection: quinn::Connection) -> Result<Self, ConnectError> {
        let (send, recv) = connection.open_bi().await?;
        let mut stream = Self { connection, send, recv };
        stream.write(&preface()).await?;
        match stream.preface().await? {
            Ok(_version) => Ok(stream),
            Err((lowest, highest)) => {
                let refusal = Refusal::Version { lowest, highest };
                stream.connection.close(REFUSED.into(), b"no protocol version in common");
                Err(ConnectError::Refused(refusal))
            }
        }
    }

    /// Accepts the stream and agrees on a version.
    pub(crate) async fn accept(connection: quinn::Connection) -> Result<Self, ConnectError> {
        let (send, recv) = connection.accept_bi().await?;
        let mut stream = Self { connection, send, recv };
        let agreed = stream.preface().await?;
        // The peer is told what this node speaks either way: then it knows why.
        stream.write(&preface()).await?;
        match agreed {
            Ok(_version) => Ok(stream),
            Err((lowest, highest)) => {
                stream.flush().await;
                stream.connection.close(REFUSED.into(), b"no protocol version in common");
                Err(ConnectError::Refusing(Refusal::Version { lowest, highest }))
            }
        }
    }

    /// The highest version that both speak; the inner error holds those of a peer with none.
    async fn preface(&mut self) -> Result<Result<u16, (u16, u16)>, ConnectError> {
        let mut preface = [0; PREFACE];
        self.read(&mut preface).await?;
        Ok(agree(preface)?)
    }

    /// Whether the peer's certificate allows it this name.
    pub(crate) fn names_peer(&self, name: &NodeName) -> bool {
        let certificates = self.connection.peer_identity();
        certificates.is_some_and(|certificates| peer_names_allow(&*certificates, name).is_ok())
    }

    pub(crate) async fn greet(&mut self, greeting: &Greeting) -> Result<(), ConnectError> {
        self.write(&greeting.to_frame()).await
    }

    /// Reads a greeting; a refusal is an error.
    pub(crate) async fn greeting(&mut self) -> Result<Greeting, ConnectError> {
        let mut head = [0; 4];
        self.read(&mut head).await?;
        let length = Greeting::length(head)?;
        let mut body = Vec::new();
        // Room is made as the bytes come: a length alone takes none.
        while body.len() < length {
            let begin = body.len();
            body.resize(length.min(begin + GREETING_STEP_BYTES), 0);
            self.read(&mut body[begin..]).await?;
        }
        match Greeting::parse(&body)? {
            Greeting::Refused(refusal) => Err(ConnectError::Refused(refusal)),
            greeting => Ok(greeting),
        }
    }

    /// Tells the peer why it is refused, and closes once it knows.
    pub(crate) async fn refuse(mut self, refusal: Refusal) -> ConnectError {
        if self.greet(&Greeting::Refused(refusal.clone())).await.is_ok() {
            self.flush().await;
        }
        self.connection.close(REFUSED.into(), b"refused");
        ConnectError::Refusing(refusal)
    }

    /// Waits until the peer has everything, or has gone.
    pub(crate) async fn flush(&mut self) {
        if self.send.finish().is_ok() {
            let _ = self.send.stopped().await;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        match self.send.write_all(bytes).await {
            Ok(()) => Ok(()),
            Err(quinn::WriteError::ConnectionLost(error)) => Err(error.into()),
            Err(_) => Err(WireError::Malformed.into()),
        }
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<(), ConnectError> {
        use quinn::{ReadError, ReadExactError};
        match self.recv.read_exact(bytes).await {
            Ok(()) => Ok(()),
            Err(ReadExactError::ReadError(ReadError::ConnectionLost(error))) => Err(error.into()),
            Err(_) => Err(WireError::Malformed.into()),
        }
    }
}

/// Application close codes of a connection.
pub(crate) const REFUSED: u32 = 1;
pub(crate) const REPLACED: u32 = 2;
pub(crate) const PROTOCOL: u32 = 3;
pub(crate) const FORGOTTEN: u32 = 4;
pub(crate) const CLOSED: u32 = 5;
// 6 is that of a bulk message's stream.
pub(crate) const DISTRUSTED: u32 = 7;
