//! One connection carrying a session: a writer and a reader for each lane, and the control lane's.
//!
//! The tasks only move bytes; what they mean is decided by the session. When one of them fails, all
//! end, and the session waits for its next connection.

use std::{cell::RefCell, collections::BTreeSet, future::poll_fn, pin::pin, rc::Rc};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    clock::Clock,
    config::BULK_STREAMS_LIMIT,
    greet::{ControlStream, PROTOCOL},
    session::{Arrived, Errand, Replaced, Session, StreamReader, put_bulk_header, put_header},
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

/// How much of a stream is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// How much of a bulk message is handed over at a time.
const BULK_CHUNK_BYTES: usize = 64 * 1024;

/// Control goes first, then lanes, which have 0, then bulk.
const CONTROL_PRIORITY: i32 = 1;
const BULK_PRIORITY: i32 = -1;

/// How many control frames are handled before others have a turn: a peer that floods the control
/// lane takes its share of the thread and no more, and what it floods with waits in its window.
const CONTROL_BURST: u64 = 256;

/// The code that a bulk message's stream is reset with, when its sender gives it up.
const CANCELLED: u32 = 6;

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
    pub(crate) clock: Clock,
}

impl Link {
    /// Moves bytes until the connection ends.
    pub(crate) async fn run(self) -> LinkEnd {
        let Self { connection, control, session, carrier, first, events, stop, pong, clock } = self;
        let mut tasks = JoinSet::new();
        for (lane, first) in (0..).zip(first) {
            let lane = Lane { lane, first, carrier };
            tasks.spawn_local(write_lane(connection.clone(), session.clone(), lane));
        }
        let ControlStream { send, recv, .. } = control;
        tasks.spawn_local(write_control(send, session.clone(), carrier, clock));
        tasks.spawn_local(read_control(
            recv,
            connection.clone(),
            session.clone(),
            Rc::clone(&events),
            pong,
        ));
        let lanes = Rc::<RefCell<BTreeSet<u16>>>::default();
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
                    // As many as were allowed can be open at once.
                    Ok(stream) => {
                        let (events, lanes) = (Rc::clone(&events), Rc::clone(&lanes));
                        let reader = StreamReader::new(carrier);
                        let read = read_stream(stream, session.clone(), events, reader, lanes);
                        tasks.spawn_local(read);
                    }
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

/// Reads one stream of the peer's. Those of lanes never end before their connection.
///
/// After the first frames of what comes at once it lets others go first: what answers them is on its
/// way then while the rest is taken, so that both ends are at work at once instead of in turns.
async fn read_stream(
    mut stream: RecvStream,
    session: Session,
    events: Rc<dyn Events>,
    mut reader: StreamReader,
    lanes: Rc<RefCell<BTreeSet<u16>>>,
) -> Result<(), LinkEnd> {
    let mut arrived = Arrived::default();
    loop {
        let (read, is_first) = read_on(&mut stream).await;
        let bytes = match read? {
            Read::Bytes(bytes) => bytes,
            Read::End => return reader.handle_end(&session).map_err(LinkEnd::Wire),
            Read::GivenUp => return Ok(()),
        };
        let lane_before = reader.lane();
        let read = reader.handle_bytes(&session, bytes, &mut arrived);
        let has_frames = !arrived.frames.is_empty();
        // Even if the stream broke the protocol after it: what has arrived has arrived.
        pass_on(&session, &*events, &mut arrived);
        read.map_err(LinkEnd::Wire)?;
        if let (None, Some(lane)) = (lane_before, reader.lane())
            && !lanes.borrow_mut().insert(lane)
        {
            return Err(LinkEnd::Wire(WireError::Malformed));
        }
        if is_first && has_frames {
            tokio::task::yield_now().await;
        }
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
        events.deliver(session, &arrived.frames);
        arrived.frames.clear();
    }
}

async fn write_control(
    mut stream: SendStream,
    session: Session,
    carrier: u64,
    clock: Clock,
) -> Result<(), LinkEnd> {
    // Above every lane; an error says that the stream is gone, which the next write tells.
    let _ = stream.set_priority(CONTROL_PRIORITY);
    loop {
        let bytes = session.control(carrier, &clock).await.map_err(|Replaced| LinkEnd::Stopped)?;
        stream.write_all(&bytes).await.map_err(write_end)?;
    }
}

async fn read_control(
    mut stream: RecvStream,
    connection: Connection,
    session: Session,
    events: Rc<dyn Events>,
    pong: Rc<Notify>,
) -> Result<(), LinkEnd> {
    let mut bytes = BytesMut::new();
    let mut arrived = Arrived::default();
    // Bulk messages that the peer has asked for. They end with the connection, or when dropped.
    let mut writers = JoinSet::new();
    session.release(&mut arrived);
    pass_on(&session, &*events, &mut arrived);
    let mut handled = 0u64;
    loop {
        match read(&mut stream).await? {
            Read::Bytes(more) => bytes.extend_from_slice(&more),
            Read::End | Read::GivenUp => return Err(LinkEnd::Wire(WireError::Malformed)),
        }
        while let Some(frame) = Control::take(&mut bytes).map_err(LinkEnd::Wire)? {
            handled += 1;
            if handled.is_multiple_of(CONTROL_BURST) {
                tokio::task::yield_now().await;
            }
            let errand = session.handle_control(frame, &mut arrived);
            pass_on(&session, &*events, &mut arrived);
            match errand.map_err(LinkEnd::Wire)? {
                Some(Errand::Packet(packet)) => events.packet(session.peer(), &packet),
                Some(Errand::Pong) => pong.notify_waiters(),
                Some(Errand::Write { id, from, bytes }) => {
                    while writers.try_join_next().is_some() {}
                    if writers.len() >= 2 * usize::from(BULK_STREAMS_LIMIT) {
                        return Err(LinkEnd::Wire(WireError::OverBudget));
                    }
                    let bulk = Bulk { id, from, bytes };
                    writers.spawn_local(write_bulk(connection.clone(), session.clone(), bulk));
                }
                None => {}
            }
        }
    }
}

/// What is left of a bulk message.
struct Bulk {
    id: u64,
    from: u64,
    bytes: Bytes,
}

/// Writes a bulk message below all lanes. If the connection breaks, the peer asks again on the next.
async fn write_bulk(connection: Connection, session: Session, bulk: Bulk) {
    let Bulk { id, from, mut bytes } = bulk;
    let opened = tokio::select! {
        biased;
        () = session.bulk_cancelled(id) => return,
        opened = connection.open_uni() => opened,
    };
    let Ok(mut stream) = opened else { return };
    let _ = stream.set_priority(BULK_PRIORITY);
    let mut header = Vec::new();
    put_bulk_header(id, from, &mut header);
    if stream.write_all(&header).await.is_err() {
        return;
    }
    while !bytes.is_empty() {
        let chunk = bytes.split_to(bytes.len().min(BULK_CHUNK_BYTES));
        let written = tokio::select! {
            biased;
            () = session.bulk_cancelled(id) => {
                // Given up by its sender: what comes of it would be thrown away.
                let _ = stream.reset(CANCELLED.into());
                return;
            }
            written = stream.write_chunk(chunk) => written,
        };
        if written.is_err() {
            return;
        }
    }
    let _ = stream.finish();
}

/// What a stream had to say.
enum Read {
    Bytes(Bytes),
    End,
    /// Its sender wants it to be forgotten.
    GivenUp,
}

/// Reads, and says as well whether that had to be waited for.
async fn read_on(stream: &mut RecvStream) -> (Result<Read, LinkEnd>, bool) {
    let (mut reading, mut has_waited) = (pin!(read(stream)), false);
    let read = poll_fn(|task| {
        let polled = reading.as_mut().poll(task);
        has_waited |= polled.is_pending();
        polled
    });
    (read.await, has_waited)
}

async fn read(stream: &mut RecvStream) -> Result<Read, LinkEnd> {
    match stream.read_chunk(READ_BYTES, true).await {
        Ok(Some(chunk)) => Ok(Read::Bytes(chunk.bytes)),
        Ok(None) => Ok(Read::End),
        Err(ReadError::Reset(code)) if code == CANCELLED.into() => Ok(Read::GivenUp),
        Err(ReadError::Reset(_)) => Err(LinkEnd::Wire(WireError::Malformed)),
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
