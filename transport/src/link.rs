//! One connection carrying a session: a writer and a reader for each lane, and the control lane's.
//!
//! The tasks only move bytes; what they mean is decided by the session. When one of them fails, all
//! end, and the session waits for its next connection.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    greet::{ControlStream, PROTOCOL},
    session::{Arrived, LaneReader, Replaced, Session, put_header},
    transport::Events,
    wire::{WireError, control::Control},
};

/// Why a connection carries its session no longer.
#[derive(Debug)]
pub(crate) enum LinkEnd {
    /// It broke.
    Lost(quinn::ConnectionError),
    /// The peer broke the protocol.
    Wire(WireError),
    /// It was told to end.
    Stopped,
}

impl std::fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(error) => write!(f, "{error}"),
            Self::Wire(error) => write!(f, "{error}"),
            Self::Stopped => f.write_str("given up"),
        }
    }
}

/// How much of a lane's stream is read at a time.
const READ_BYTES: usize = 64 * 1024;

pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) control: ControlStream,
    pub(crate) session: Session,
    /// Under which number the session knows it.
    pub(crate) carrier: u64,
    /// The sequence number with which each lane goes on.
    pub(crate) first: Vec<u64>,
    pub(crate) events: Rc<dyn Events>,
    /// Told when the connection is to be given up.
    pub(crate) stop: Rc<Notify>,
    /// Told when a pong has come.
    pub(crate) pong: Rc<Notify>,
}

impl Link {
    /// Moves bytes until the connection ends.
    pub(crate) async fn run(self) -> LinkEnd {
        let Self { connection, control, session, carrier, first, events, stop, pong } = self;
        let mut tasks = JoinSet::new();
        for (lane, first) in (0..).zip(first) {
            let lane = Lane { lane, first, carrier };
            tasks.spawn_local(write_lane(connection.clone(), session.clone(), lane));
        }
        let ControlStream { send, recv, .. } = control;
        tasks.spawn_local(write_control(send, session.clone(), carrier));
        tasks.spawn_local(read_control(recv, session.clone(), Rc::clone(&events), pong));
        let mut readers = 0;
        let end = loop {
            tokio::select! {
                biased;
                () = stop.notified() => break LinkEnd::Stopped,
                ended = tasks.join_next() => match ended {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(end))) => break end,
                    Some(Err(failed)) => {
                        tracing::error!(error = %failed, "a task of a connection failed");
                        break LinkEnd::Stopped;
                    }
                    None => break LinkEnd::Stopped,
                },
                stream = connection.accept_uni() => match stream {
                    Ok(stream) if readers < session.lanes_in() => {
                        readers += 1;
                        tasks.spawn_local(read_lane(stream, session.clone(), Rc::clone(&events)));
                    }
                    Ok(_) => break LinkEnd::Wire(WireError::Malformed),
                    Err(error) => break LinkEnd::Lost(error),
                },
            }
        };
        if let LinkEnd::Wire(error) = &end {
            connection.close(PROTOCOL.into(), error.to_string().as_bytes());
        }
        tasks.shutdown().await;
        end
    }
}

/// A lane as one connection carries it.
#[derive(Clone, Copy)]
struct Lane {
    lane: u16,
    first: u64,
    carrier: u64,
}

async fn write_lane(
    connection: Connection,
    session: Session,
    Lane { lane, first, carrier }: Lane,
) -> Result<(), LinkEnd> {
    let mut stream = connection.open_uni().await.map_err(LinkEnd::Lost)?;
    let mut header = Vec::new();
    put_header(lane, first, &mut header);
    stream.write_all(&header).await.map_err(write_end)?;
    loop {
        let batch = session.batch(carrier, lane).await.map_err(|Replaced| LinkEnd::Stopped)?;
        stream.write_chunk(batch).await.map_err(write_end)?;
    }
}

async fn read_lane(
    mut stream: RecvStream,
    session: Session,
    events: Rc<dyn Events>,
) -> Result<(), LinkEnd> {
    let mut reader = LaneReader::default();
    let mut arrived = Arrived::default();
    loop {
        let bytes = read(&mut stream).await?;
        let read = reader.handle_bytes(&session, &bytes, &mut arrived);
        // Even if the stream broke the protocol after it: what has arrived has arrived.
        pass_on(&session, &*events, &mut arrived);
        read.map_err(LinkEnd::Wire)?;
    }
}

fn pass_on(session: &Session, events: &dyn Events, arrived: &mut Arrived) {
    for (lane, unsettled, reason) in arrived.rejected.drain(..) {
        if let Some(unsettled) = unsettled {
            events.rejected(session, unsettled, reason);
        }
        session.rejection_seen(lane);
    }
    if !arrived.frames.is_empty() {
        events.deliver(session, &mut arrived.frames);
        arrived.frames.clear();
    }
}

async fn write_control(
    mut stream: SendStream,
    session: Session,
    carrier: u64,
) -> Result<(), LinkEnd> {
    // Above every lane; an error says that the stream is gone, which the next write tells.
    let _ = stream.set_priority(1);
    loop {
        let bytes = session.control(carrier).await.map_err(|Replaced| LinkEnd::Stopped)?;
        stream.write_all(&bytes).await.map_err(write_end)?;
    }
}

async fn read_control(
    mut stream: RecvStream,
    session: Session,
    events: Rc<dyn Events>,
    pong: Rc<Notify>,
) -> Result<(), LinkEnd> {
    let mut bytes = BytesMut::new();
    loop {
        bytes.extend_from_slice(&read(&mut stream).await?);
        while let Some(frame) = Control::take(&mut bytes).map_err(LinkEnd::Wire)? {
            match session.handle_control(frame).map_err(LinkEnd::Wire)? {
                Some(Control::Packet(packet)) => events.packet(session.peer(), &packet),
                Some(Control::Pong(_)) => pong.notify_waiters(),
                _ => {}
            }
        }
    }
}

async fn read(stream: &mut RecvStream) -> Result<Bytes, LinkEnd> {
    match stream.read_chunk(READ_BYTES, true).await {
        Ok(Some(chunk)) => Ok(chunk.bytes),
        // Lanes end with their connection, never before.
        Ok(None) | Err(ReadError::Reset(_)) => Err(LinkEnd::Wire(WireError::Malformed)),
        Err(ReadError::ConnectionLost(error)) => Err(LinkEnd::Lost(error)),
        Err(_) => Err(LinkEnd::Stopped),
    }
}

fn write_end(error: WriteError) -> LinkEnd {
    match error {
        WriteError::ConnectionLost(error) => LinkEnd::Lost(error),
        WriteError::Stopped(_) => LinkEnd::Wire(WireError::Malformed),
        _ => LinkEnd::Stopped,
    }
}
