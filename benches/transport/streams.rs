//! Raw quinn and raw TCP: the same frames over one long-lived stream each way.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    Done,
    cluster::ASK_BYTES,
    note::{Front, Kind, Ledger, Payload, TARGETS, WRITE_BYTES, front, put_frame},
};

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1_024;

enum Sender {
    Quinn(quinn::SendStream),
    Tcp(OwnedWriteHalf),
}

enum Receiver {
    Quinn(quinn::RecvStream),
    Tcp(OwnedReadHalf),
}

/// One end: frames gathered into writes, and frames that came.
pub(crate) struct Streams {
    sender: Sender,
    receiver: Receiver,
    /// Frames not yet written.
    out: Vec<u8>,
    /// Bytes not yet read as frames.
    came: BytesMut,
    ledger: Ledger,
    /// What keeps the stream's connection up.
    _connection: Option<quinn::Connection>,
}

impl Streams {
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (receiver, sender) = stream.into_split();
        Ok(Self::new(Sender::Tcp(sender), Receiver::Tcp(receiver), None))
    }

    /// Opens a stream, and takes the one that the other end opens.
    pub(crate) async fn quinn(connection: quinn::Connection) -> io::Result<Self> {
        let mut sender = connection.open_uni().await?;
        // The other end hears of a stream by its first byte.
        sender.write_all(&[0]).await?;
        let mut receiver = connection.accept_uni().await?;
        receiver.read_exact(&mut [0]).await.map_err(io::Error::other)?;
        Ok(Self::new(Sender::Quinn(sender), Receiver::Quinn(receiver), Some(connection)))
    }

    fn new(sender: Sender, receiver: Receiver, connection: Option<quinn::Connection>) -> Self {
        Self {
            sender,
            receiver,
            out: Vec::new(),
            came: BytesMut::new(),
            ledger: Ledger::new(),
            _connection: connection,
        }
    }

    /// The far end: counts and answers until the other end is gone.
    pub(crate) async fn serve(mut self, mut on_fault: impl FnMut(u64)) -> io::Result<()> {
        let mut echo = Payload::new(0);
        loop {
            self.fill().await?;
            let Self { came, ledger, out, .. } = &mut self;
            let before = ledger.faults;
            take_frames(came, |payload| match ledger.handle(payload) {
                Kind::Ask => put_frame(0, payload, out),
                Kind::End if ledger.take_end() => {
                    put_frame(0, echo.fill(Kind::End, 0), out);
                }
                Kind::Note | Kind::End | Kind::Unknown => {}
            })?;
            on_fault(ledger.faults - before);
            self.flush().await?;
        }
    }

    /// Sends notes of a size until it is time, and waits until they have come.
    pub(crate) async fn send_for(&mut self, bytes: usize, time: Duration) -> io::Result<Done> {
        let mut payload = Payload::new(bytes);
        let begun = Instant::now();
        let (mut count, mut turns) = (0, 0);
        while begun.elapsed() < time {
            while self.out.len() < WRITE_BYTES {
                put_frame(count % TARGETS, payload.fill(Kind::Note, count), &mut self.out);
                count += 1;
            }
            turns += 1;
            self.flush().await?;
        }
        self.end(count).await?;
        Ok(Done { count, took: begun.elapsed(), turns })
    }

    /// Keeps so many requests in flight until it is time, and waits for all answers.
    pub(crate) async fn ask_for(&mut self, in_flight: u64, time: Duration) -> io::Result<Done> {
        let mut payload = Payload::new(ASK_BYTES);
        let begun = Instant::now();
        let (mut count, mut answers, mut turns) = (0, 0, 0);
        loop {
            turns += 1;
            if begun.elapsed() < time {
                while count < answers + in_flight {
                    put_frame(count % TARGETS, payload.fill(Kind::Ask, count), &mut self.out);
                    count += 1;
                }
                self.flush().await?;
            } else if answers == count {
                break;
            }
            answers += self.answers().await?.0;
        }
        let took = begun.elapsed();
        self.end(0).await?;
        Ok(Done { count, took, turns })
    }

    /// One request after another, with a pause between.
    pub(crate) async fn ping(
        &mut self,
        count: usize,
        pause: Duration,
    ) -> io::Result<Vec<Duration>> {
        let mut payload = Payload::new(ASK_BYTES);
        let mut took = Vec::with_capacity(count);
        for number in 0..count as u64 {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            put_frame(number % TARGETS, payload.fill(Kind::Ask, number), &mut self.out);
            self.flush().await?;
            while self.answers().await?.0 == 0 {}
            took.push(begun.elapsed());
        }
        self.end(0).await?;
        Ok(took)
    }

    /// Waits until so many notes have come. Numbers begin anew then, at both ends.
    async fn end(&mut self, notes: u64) -> io::Result<()> {
        put_frame(0, Payload::new(0).fill(Kind::End, notes), &mut self.out);
        self.flush().await?;
        while self.answers().await?.1 == 0 {}
        Ok(())
    }

    pub(crate) fn faults(&self) -> u64 {
        self.ledger.faults
    }

    /// Waits for answers; how many came, and how many ends.
    async fn answers(&mut self) -> io::Result<(u64, u64)> {
        self.fill().await?;
        let (mut answers, mut ends) = (0, 0);
        let Self { came, ledger, .. } = self;
        take_frames(came, |payload| match ledger.handle(payload) {
            Kind::End => {
                ends += 1;
                ledger.take_end();
            }
            _ => answers += 1,
        })?;
        Ok((answers, ends))
    }

    /// Waits for bytes.
    async fn fill(&mut self) -> io::Result<()> {
        let came = match &mut self.receiver {
            Receiver::Quinn(stream) => {
                let chunk = stream.read_chunk(READ_BYTES, true).await.map_err(io::Error::other)?;
                let bytes = chunk.map_or_else(Bytes::new, |chunk| chunk.bytes);
                self.came.extend_from_slice(&bytes);
                bytes.len()
            }
            Receiver::Tcp(stream) => {
                self.came.reserve(READ_BYTES);
                stream.read_buf(&mut self.came).await?
            }
        };
        if came == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Writes what was gathered.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        match &mut self.sender {
            Sender::Quinn(stream) => {
                let room = Vec::with_capacity(self.out.capacity());
                let mut bytes = Bytes::from(std::mem::replace(&mut self.out, room));
                while !bytes.is_empty() {
                    let chunk = bytes.split_to(bytes.len().min(WRITE_BYTES));
                    stream.write_chunk(chunk).await?;
                }
            }
            Sender::Tcp(stream) => {
                for chunk in self.out.chunks(WRITE_BYTES) {
                    stream.write_all(chunk).await?;
                }
                self.out.clear();
            }
        }
        Ok(())
    }
}

/// Hands over the payload of each whole frame.
fn take_frames(came: &mut BytesMut, mut handle: impl FnMut(&[u8])) -> io::Result<()> {
    let mut at = 0;
    loop {
        match front(&came[at..]) {
            Front::Frame(payload, whole) => {
                handle(payload);
                at += whole;
            }
            Front::Part(whole) => {
                came.advance(at);
                came.reserve(whole.saturating_sub(came.len()));
                return Ok(());
            }
            Front::Broken => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
