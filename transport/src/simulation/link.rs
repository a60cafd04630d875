//! What a link does to the packets it carries.

use std::{num::NonZeroU64, time::Duration};

use crate::{clock::Instant, random::Random};

/// How every path of a simulated network behaves.
///
/// Shares run from 0.0, never, to 1.0, always; what lies outside is cut to that.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Time from one host to another. Default 1 ms. tokio's timers tick in milliseconds, so an
    /// arrival is noticed at the next full one.
    pub latency: Duration,
    /// Up to this much is added to each packet's latency. Default 0.2 ms. Packets between one pair
    /// of sockets still arrive in the order sent; see [`reorder`](Self::reorder).
    pub jitter: Duration,
    /// Share of packets that vanish. Default 0.
    pub loss: f64,
    /// Share of packets that arrive twice. Default 0.
    pub duplicate: f64,
    /// Share of packets held back by up to four latencies, so that later ones overtake them.
    /// Default 0.
    pub reorder: f64,
    /// Largest IP packet carried, headers included; longer ones vanish, as path MTU discovery
    /// expects. Default 9,000 bytes. Below 1,280 no QUIC connection comes up.
    pub mtu_bytes: usize,
    /// Bytes per second, IP headers included, that pass from one host to another; what comes faster
    /// queues up behind one another, whatever socket sent it. Each direction has its own. Default
    /// `None`, no limit.
    pub bandwidth_bytes: Option<NonZeroU64>,
    /// Bytes that wait for their turn at most; a packet that would exceed that is dropped. Default
    /// 256 KiB: a quarter of a second at 1 MiB per second. Less than a few packets starves a
    /// connection, much more delays it before it notices. No meaning without a bandwidth.
    pub queue_bytes: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::from_micros(200),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            mtu_bytes: 9_000,
            bandwidth_bytes: None,
            queue_bytes: 256 << 10,
        }
    }
}

impl Link {
    pub(super) fn loses(&self, random: &mut Random) -> bool {
        happens(random, self.loss)
    }

    pub(super) fn duplicates(&self, random: &mut Random) -> bool {
        happens(random, self.duplicate)
    }

    /// When a packet sent now has left a path that is busy till then; none if the queue has no room
    /// for it.
    pub(super) fn departure(
        &self,
        now: Instant,
        bytes: usize,
        busy_until: Option<Instant>,
    ) -> Option<Instant> {
        let Some(rate) = self.bandwidth_bytes else { return Some(now) };
        let waits = busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let rate = u128::from(rate.get());
        let queued = waits.as_nanos() * rate / NANOS + bytes as u128;
        if !waits.is_zero() && queued > self.queue_bytes.into() {
            return None;
        }
        let passes = (bytes as u128 * NANOS).div_ceil(rate);
        Some(now + waits + Duration::from_nanos(u64::try_from(passes).unwrap_or(u64::MAX)))
    }

    /// When a packet that leaves then arrives, given when the last one on its path does.
    pub(super) fn arrival(
        &self,
        departure: Instant,
        random: &mut Random,
        last: &mut Instant,
    ) -> Instant {
        let direct = departure + self.latency + up_to(random, self.jitter);
        if happens(random, self.reorder) {
            return direct + up_to(random, self.latency * 4);
        }
        *last = direct.max(*last);
        *last
    }
}

const NANOS: u128 = 1_000_000_000;

fn happens(random: &mut Random, share: f64) -> bool {
    // 53 bits are what a double holds exactly. No share, no draw.
    const WHOLE: u64 = 1 << 53;
    share > 0.0 && (random.below(WHOLE) as f64) < share * WHOLE as f64
}

fn up_to(random: &mut Random, most: Duration) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(random.below(nanos.saturating_add(1)))
}
