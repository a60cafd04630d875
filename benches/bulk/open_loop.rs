//! Short messages at a fixed rate, each timed from when it was to be sent.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A way from one node to another and back.
pub(crate) trait Path {
    /// Sends a short message, if it is taken now. It will be logged when its answer is there.
    fn try_send(&mut self, target: u64, payload: &[u8; 64]) -> bool;

    /// Begins to send the long message.
    fn begin_flow(&mut self);

    /// Whether all of it has arrived.
    fn has_flowed(&self) -> bool;

    fn long_bytes(&self) -> usize;

    fn log(&self) -> &Log;
}

/// When the answers came, in nanoseconds since the log began, by when they were due.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    begun: Instant,
    answers: Mutex<Vec<(u64, u64)>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { begun: Instant::now(), answers: Mutex::default() }))
    }

    /// An answer came: it begins with when its message was due.
    pub(crate) fn answered(&self, payload: &[u8]) {
        let due = payload.first_chunk().map_or(0, |due| u64::from_le_bytes(*due));
        let now = self.0.begun.elapsed().as_nanos() as u64;
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner).push((due, now));
    }

    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *self.0.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self) -> usize {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// How long it goes on.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    /// Until a long message, begun now, has arrived.
    Flowed,
}

/// What a run found.
pub(crate) struct Latencies {
    /// Sorted, in nanoseconds.
    took: Vec<u64>,
    pub(crate) elapsed: Duration,
}

impl Latencies {
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.took.len() * percent).div_ceil(100).max(1) - 1;
        self.took.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e6)
    }
}

/// Targets of short messages: 1 to as many.
const TARGETS: u64 = 64;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends at a rate, and waits for all answers.
///
/// # Errors
///
/// When it takes too long.
pub(crate) fn run(path: &mut dyn Path, rate: u64, until: Until) -> io::Result<Latencies> {
    let log = path.log().clone();
    let late = || io::Error::new(io::ErrorKind::TimedOut, "something never arrived");
    let begun = Instant::now();
    let offset = begun.duration_since(log.0.begun);
    if let Until::Flowed = until {
        path.begin_flow();
    }
    let mut count = 0;
    let elapsed = loop {
        let due = Duration::from_nanos(count * 1_000_000_000 / rate);
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
        let is_over = match until {
            Until::Elapsed(duration) => due >= duration,
            Until::Flowed => path.has_flowed(),
        };
        if is_over {
            break begun.elapsed();
        }
        let mut payload = [0; 64];
        payload[..8].copy_from_slice(&((offset + due).as_nanos() as u64).to_le_bytes());
        while !path.try_send(1 + count % TARGETS, &payload) {
            std::thread::sleep(Duration::from_micros(50));
            if begun.elapsed() > PATIENCE {
                return Err(late());
            }
        }
        count += 1;
    };
    while (log.count() as u64) < count {
        if begun.elapsed() > PATIENCE {
            return Err(late());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut took: Vec<_> = log.take().into_iter().map(|(due, at)| at.saturating_sub(due)).collect();
    took.sort_unstable();
    Ok(Latencies { took, elapsed })
}
