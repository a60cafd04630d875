//! quinn without randomness of its own: one seed decides all that it draws.
//!
//! What stays random is drawn inside TLS: keys and nonces. With Ed25519 certificates and without
//! session tickets they change no length and no timing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quinn::{ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, ServerConfig};
use ring::{hkdf, hmac};

use crate::{
    clock::{Instant, TimeSource as _, TokioTime},
    random::Random,
};

/// An endpoint's settings: everything quinn draws comes from `seed`, if there is one. It takes UDP
/// payloads of up to `packet_bytes`, the most that its peers find by path MTU discovery.
///
/// The stateless reset key is as new as the process either way; set it from the node's identity for
/// resets that peers still understand after a restart.
pub(crate) fn endpoint_config(seed: Option<u64>, packet_bytes: u16) -> EndpointConfig {
    let mut config = match seed {
        Some(seed) => seeded_endpoint(seed),
        None => EndpointConfig::default(),
    };
    config.max_udp_payload_size(packet_bytes).expect("the configuration was validated");
    config
}

fn seeded_endpoint(seed: u64) -> EndpointConfig {
    let mut random = Random::from_seed(seed);
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &bytes::<32>(&mut random));
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.rng_seed(Some(bytes(&mut random)));
    let ids = random.next_u64();
    config.cid_generator(move || Box::new(SeededIds(Random::from_seed(ids))));
    config
}

/// Makes a client's first connection ids come from `seed`.
pub(crate) fn seeded_client(config: &mut ClientConfig, seed: u64) {
    let random = Mutex::new(Random::from_seed(seed ^ CLIENT));
    config.initial_dst_cid_provider(Arc::new(move || {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionId::new(&bytes::<16>(&mut random))
    }));
}

/// Makes a server's address tokens come from `seed`, and their age follow tokio's clock.
pub(crate) fn seeded_server(config: &mut ServerConfig, seed: u64) {
    let mut random = Random::from_seed(seed ^ SERVER);
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&bytes::<64>(&mut random));
    config.token_key(Arc::new(key));
    config.time_source(Arc::new(VirtualCalendar { start: TokioTime.now() }));
}

// Keep the three draws from one seed apart.
const CLIENT: u64 = 0x636c_6965_6e74;
const SERVER: u64 = 0x7365_7276_6572;

/// Connection ids of eight bytes.
struct SeededIds(Random);

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&bytes::<8>(&mut self.0))
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The date in a simulation: it starts at the first of 2024 and follows tokio's clock.
struct VirtualCalendar {
    start: Instant,
}

impl quinn::TimeSource for VirtualCalendar {
    fn now(&self) -> SystemTime {
        const FIRST_DAY: Duration = Duration::from_secs(1_704_067_200);
        UNIX_EPOCH + FIRST_DAY + TokioTime.now().saturating_duration_since(self.start)
    }
}

fn bytes<const N: usize>(random: &mut Random) -> [u8; N] {
    let mut bytes = [0; N];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next_u64().to_le_bytes()[..chunk.len()]);
    }
    bytes
}
