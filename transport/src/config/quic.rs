//! How QUIC is set up between two nodes.

use std::{sync::Arc, time::Duration};

use super::{BULK_STREAMS_LIMIT, Check, ConfigError, TransportConfig};
use crate::wire::handshake::LANES_LIMIT;

/// Settings of QUIC. The default is [`data_center`](Self::data_center).
///
/// All of them may differ between the nodes of a cluster, and may be changed node by node.
///
/// # Examples
///
/// ```
/// use actix_cluster_transport::{Congestion, QuicConfig};
///
/// let mut quic = QuicConfig::wide_area();
/// quic.congestion = Congestion::Bbr; // a line with losses that are no congestion
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuicConfig {
    /// The round trip that is assumed before one was measured, 1 ms to 1 s. Default 30 ms.
    ///
    /// A lost first packet is sent again after three times this: too long, and reconnects are slow;
    /// shorter than the path takes, and first packets are sent twice for nothing.
    pub initial_rtt: Duration,
    /// The longest UDP payload that is sent and taken, in bytes, 1,200 to 65,527. Default 6,500.
    /// What the path carries of it is discovered.
    ///
    /// Ten packets are handed to the system at once as long as they fit 65,535 bytes: above 6,550
    /// bytes set [`segmentation`](Self::segmentation) to `false`, or nothing arrives. Packets longer
    /// than the link's own (1,500 on most, 9,000 with jumbo frames) are never sent.
    pub packet_bytes: u16,
    /// Whether several packets are handed to the system in one call (GSO). Default `true`.
    ///
    /// Off, each packet costs a system call: many times slower with packets of 1,500 bytes. Turn it
    /// off for longer packets, and for drivers that send wrong segments.
    pub segmentation: bool,
    /// What a stream may have under way, in bytes, 64 KiB to 16 MiB. Default 256 KiB, which a path of
    /// 4 Gbit/s holds at a round trip of 0.5 ms.
    ///
    /// Smaller than what the path holds (its rate times its round trip), and a lane is slower than
    /// the path. Larger, and short messages wait longer behind a long one's bytes, which are in the
    /// path already, and a peer that stops reading takes more memory: this, times its streams.
    pub stream_window_bytes: u32,
    /// Send and receive buffer of the socket, in bytes, 64 KiB to 64 MiB. Default 4 MiB.
    ///
    /// Too small, and bursts of many peers are dropped and sent again. The system may grant less
    /// (Linux: `net.core.rmem_max` and `net.core.wmem_max`), which is warned of at the start.
    pub socket_buffer_bytes: u32,
    /// What decides how much may be under way. Default [`Congestion::Cubic`].
    pub congestion: Congestion,
}

/// Congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Congestion {
    /// RFC 9438: the fastest on paths without losses.
    Cubic,
    /// RFC 9002: slower to recover, simpler.
    NewReno,
    /// Follows the measured rate and not losses: for lines that lose without being full.
    Bbr,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self::data_center()
    }
}

impl QuicConfig {
    /// Nodes of one data centre or region: round trips up to some milliseconds, few losses.
    pub fn data_center() -> Self {
        Self {
            initial_rtt: Duration::from_millis(30),
            packet_bytes: 6_500,
            segmentation: true,
            stream_window_bytes: 256 * 1024,
            socket_buffer_bytes: 4 * 1024 * 1024,
            congestion: Congestion::Cubic,
        }
    }

    /// Nodes of several regions: round trips of 50 to 300 ms, packets of at most 1,452 bytes, and
    /// windows that keep such a path busy at some hundred megabits a second.
    pub fn wide_area() -> Self {
        Self {
            initial_rtt: Duration::from_millis(200),
            packet_bytes: 1_452,
            stream_window_bytes: 8 * 1024 * 1024,
            socket_buffer_bytes: 8 * 1024 * 1024,
            ..Self::data_center()
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let ms = Duration::from_millis;
        Check("quic.initial_rtt", &self.initial_rtt)
            .holds((ms(1)..=ms(1_000)).contains(&self.initial_rtt), "1 ms to 1 s")?;
        Check("quic.packet_bytes", &self.packet_bytes)
            .holds((1_200..=65_527).contains(&self.packet_bytes), "1200 to 65527 bytes")?;
        Check("quic.packet_bytes", &self.packet_bytes).holds(
            !self.segmentation || self.packet_bytes <= SEGMENT_BYTES_LIMIT,
            "at most 6550 bytes while segmentation is on",
        )?;
        Check("quic.stream_window_bytes", &self.stream_window_bytes).holds(
            (64 * 1024..=16 * 1024 * 1024).contains(&self.stream_window_bytes),
            "64 KiB to 16 MiB",
        )?;
        Check("quic.socket_buffer_bytes", &self.socket_buffer_bytes).holds(
            (64 * 1024..=64 * 1024 * 1024).contains(&self.socket_buffer_bytes),
            "64 KiB to 64 MiB",
        )
    }
}

/// Ten packets of this length are what one segmented send of 65,535 bytes carries, with room for
/// headers; quinn hands over ten at a time.
const SEGMENT_BYTES_LIMIT: u16 = 6_550;

/// What a peer may have under way until it is linked: a greeting, and then what a proper peer sends
/// before it knows that it is.
const GREETING_WINDOW_BYTES: u32 = 1024 * 1024;

/// quinn's settings, as long as the two greet: a peer has the control stream alone. Who it is lets it
/// open its lanes, by [`open_streams`], and a link fill them, by [`open_window`].
pub(crate) fn quinn_config(config: &TransportConfig) -> quinn::TransportConfig {
    let settings = &config.quic;
    let mut quic = quinn::TransportConfig::default();
    let window = settings.stream_window_bytes;
    let streams_out = u64::from(LANES_LIMIT) + 2 * u64::from(BULK_STREAMS_LIMIT);
    let all_out = u64::from(window) * (streams_out + 1);
    let idle =
        quinn::IdleTimeout::try_from(config.idle_timeout).expect("the configuration was validated");
    quic.max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(config.keep_alive))
        .initial_rtt(settings.initial_rtt)
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(0u8.into())
        .stream_receive_window(window.into())
        .receive_window(GREETING_WINDOW_BYTES.into())
        .send_window(all_out)
        .enable_segmentation_offload(settings.segmentation)
        .datagram_receive_buffer_size(None);
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(settings.packet_bytes);
    quic.mtu_discovery_config(Some(discovery));
    match settings.congestion {
        Congestion::Cubic => {
            quic.congestion_controller_factory(Arc::new(quinn::congestion::CubicConfig::default()));
        }
        Congestion::NewReno => {
            let factory = Arc::new(quinn::congestion::NewRenoConfig::default());
            quic.congestion_controller_factory(factory);
        }
        Congestion::Bbr => {
            quic.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default()));
        }
    }
    quic
}

/// How many streams a peer opens, beside the control stream.
fn streams_in(config: &TransportConfig) -> u32 {
    u32::from(config.lanes.get()) + 2 * u32::from(config.bulk_streams)
}

/// Lets a peer that has said who it is, and is welcome, open its lanes. Called before it is told so:
/// then it need not wait for both.
pub(crate) fn open_streams(config: &TransportConfig, connection: &quinn::Connection) {
    connection.set_max_concurrent_uni_streams(streams_in(config).into());
}

/// Lets a peer that is linked fill all its streams.
pub(crate) fn open_window(config: &TransportConfig, connection: &quinn::Connection) {
    // Room for every stream's window, so that none that is stuck stalls another.
    let window = u64::from(config.quic.stream_window_bytes) * u64::from(streams_in(config) + 1);
    connection.set_receive_window(window.try_into().expect("a window fits"));
}
