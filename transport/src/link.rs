//! One connection carrying a session: a writer and a reader for each lane, and the control lane's.
//!
//! The tasks only move bytes; what they mean is decided by the session. When one of them fails, all
//! end, and the session waits for its next connection.

use std::rc::Rc;

use bytes::{Buf as _, BytesMut};
use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    greet::{ControlStream, PROTOCOL},
    session::{Arrival, Class, Inbound, Receipt, Session},
    transport::Events,
    wire::{WireError, control::Control, lane::LaneFrame, varint},
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
        let Self { connection, control, session, first, events, stop, pong } = self;
        let mut tasks = JoinSet::new();
        for (lane, first) in (0..).zip(first) {
            tasks.spawn_local(write_lane(connection.clone(), session.clone(), lane, first));
        }
        let ControlStream { send, recv, .. } = control;
        tasks.spawn_local(write_control(send, session.clone()));
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

async fn write_lane(
    connection: Connection,
    session: Session,
    lane: u16,
    first: u64,
) -> Result<(), LinkEnd> {
    let mut stream = connection.open_uni().await.map_err(LinkEnd::Lost)?;
    let mut header = Vec::new();
    varint::put(lane.into(), &mut header);
    varint::put(first, &mut header);
    stream.write_all(&header).await.map_err(write_end)?;
    loop {
        let batch = session.batch(lane).await;
        stream.write_chunk(batch).await.map_err(write_end)?;
    }
}

async fn read_lane(
    mut stream: RecvStream,
    session: Session,
    events: Rc<dyn Events>,
) -> Result<(), LinkEnd> {
    let mut bytes = BytesMut::new();
    let (lane, mut sequence) = loop {
        if let Some(header) = take_header(&mut bytes).map_err(LinkEnd::Wire)? {
            break header;
        }
        read_more(&mut stream, &mut bytes).await?;
    };
    // What is longer than a payload may be is refused by its length, before it is read.
    let limit = session.frame_limit_bytes();
    let mut arrived = Vec::new();
    loop {
        while let Some(frame) = LaneFrame::take(&mut bytes, limit).map_err(LinkEnd::Wire)? {
            let arrival = session.handle_frame(lane, sequence).map_err(LinkEnd::Wire)?;
            let ticket = Receipt { lane, sequence };
            sequence += 1;
            if arrival == Arrival::Duplicate {
                continue;
            }
            match frame {
                LaneFrame::Message { target, payload } => {
                    arrived.push(Inbound { ticket, class: Class::Message, target, payload });
                }
                LaneFrame::Answer { target, payload } => {
                    session.settle(ticket);
                    arrived.push(Inbound { ticket, class: Class::Answer, target, payload });
                }
                LaneFrame::Rejected { lane, sequence, reason } => {
                    session.settle(ticket);
                    let rejected =
                        session.handle_rejected(lane, sequence).map_err(LinkEnd::Wire)?;
                    if let Some(unsettled) = rejected {
                        events.rejected(&session, unsettled, reason);
                    }
                }
                // Behind capabilities that this release does not offer.
                LaneFrame::Bulk { .. } | LaneFrame::Flush { .. } | LaneFrame::Flushed { .. } => {
                    return Err(LinkEnd::Wire(WireError::Malformed));
                }
            }
        }
        if !arrived.is_empty() {
            events.deliver(&session, &mut arrived);
            arrived.clear();
        }
        read_more(&mut stream, &mut bytes).await?;
    }
}

fn take_header(bytes: &mut BytesMut) -> Result<Option<(u16, u64)>, WireError> {
    let Some((lane, a)) = varint::take(bytes)? else { return Ok(None) };
    let Some((first, b)) = varint::take(&bytes[a..])? else { return Ok(None) };
    bytes.advance(a + b);
    Ok(Some((u16::try_from(lane).map_err(|_| WireError::Malformed)?, first)))
}

async fn write_control(mut stream: SendStream, session: Session) -> Result<(), LinkEnd> {
    // Above every lane; an error says that the stream is gone, which the next write tells.
    let _ = stream.set_priority(1);
    loop {
        let bytes = session.control().await;
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
        while let Some(control) = Control::take(&mut bytes).map_err(LinkEnd::Wire)? {
            let handled = match control {
                Control::Received { lane, up_to } => session.handle_received(lane, up_to),
                Control::Settled { lane, up_to, ranges } => {
                    session.handle_settled(lane, up_to, &ranges)
                }
                Control::Ping(nonce) => {
                    session.send_control(Control::Pong(nonce));
                    Ok(())
                }
                Control::Pong(_) => {
                    pong.notify_waiters();
                    Ok(())
                }
                Control::Packet(packet) => {
                    events.packet(session.peer(), &packet);
                    Ok(())
                }
                // Behind a capability that this release does not offer.
                Control::Pause { .. } | Control::Resume { .. } => Err(WireError::Malformed),
                Control::Closing => Ok(()),
            };
            handled.map_err(LinkEnd::Wire)?;
        }
        read_more(&mut stream, &mut bytes).await?;
    }
}

async fn read_more(stream: &mut RecvStream, bytes: &mut BytesMut) -> Result<(), LinkEnd> {
    match stream.read_chunk(READ_BYTES, true).await {
        Ok(Some(chunk)) => {
            bytes.extend_from_slice(&chunk.bytes);
            Ok(())
        }
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
