use super::*;
use crate::{
    development::Authority,
    simulation::endpoint_config,
    socket::{Network as _, Udp},
};

fn config() -> TransportConfig {
    let node = NodeName::new("n1").expect("the name keeps the rules");
    let credentials = Authority::new().issue(&node);
    let cluster = ClusterName::new("c").expect("the name keeps the rules");
    TransportConfig::new(cluster, node, credentials, ([127, 0, 0, 1], 0).into())
}

#[test]
fn the_defaults_and_the_presets_keep_the_rules() {
    let mut config = config();
    assert_eq!(config.validate(), Ok(()));
    for quic in [QuicConfig::data_center(), QuicConfig::wide_area()] {
        config.quic = quic;
        assert_eq!(config.validate(), Ok(()));
        let _ = quinn_config(&config);
    }
}

#[test]
fn every_field_is_held_to_its_rule_and_named() {
    type Break = fn(&mut TransportConfig);
    let breaks: [(&str, Break); 38] = [
        ("lanes", |c| c.lanes = NonZeroU16::new(257).expect("not zero")),
        ("idle_timeout", |c| c.idle_timeout = Duration::from_millis(499)),
        ("idle_timeout", |c| c.idle_timeout = Duration::from_secs(61)),
        ("keep_alive", |c| c.keep_alive = Duration::from_micros(9_999)),
        ("keep_alive", |c| c.keep_alive = c.idle_timeout / 3 + Duration::from_nanos(1)),
        ("handshake_timeout", |c| c.handshake_timeout = Duration::from_millis(99)),
        ("handshake_timeout", |c| c.handshake_timeout = Duration::from_secs(61)),
        ("redial_first", |c| c.redial_first = Duration::from_micros(999)),
        ("redial_first", |c| c.redial_first = Duration::from_secs(61)),
        ("redial_longest", |c| c.redial_longest = c.redial_first - Duration::from_nanos(1)),
        ("redial_longest", |c| c.redial_longest = Duration::from_secs(61)),
        ("target_messages", |c| c.target_messages = 0),
        ("session_messages", |c| c.session_messages = u64::from(c.target_messages) - 1),
        ("session_messages", |c| c.session_messages = (1 << 22) + 1),
        ("target_bytes", |c| c.target_bytes = 0),
        ("session_bytes", |c| c.session_bytes = c.target_bytes - 1),
        ("session_bytes", |c| c.session_bytes = (1 << 36) + 1),
        ("lane_bytes", |c| c.lane_bytes = 65_535),
        ("lane_bytes", |c| c.lane_bytes = (1 << 36) + 1),
        ("answer_bytes", |c| c.answer_bytes = 4_095),
        ("answer_bytes", |c| c.answer_bytes = (1 << 36) + 1),
        ("message_limit", |c| c.message_limit = 1_023),
        ("message_limit", |c| c.message_limit = (1 << 30) + 1),
        ("bulk_over", |c| c.bulk_over = 1_023),
        ("bulk_over", |c| c.bulk_over = (1 << 20) + 1),
        ("bulk_streams", |c| c.bulk_streams = 0),
        ("bulk_streams", |c| c.bulk_streams = 17),
        ("peers_limit", |c| c.peers_limit = 0),
        ("peers_limit", |c| c.peers_limit = 1_000_001),
        ("quic.initial_rtt", |c| c.quic.initial_rtt = Duration::from_micros(999)),
        ("quic.initial_rtt", |c| c.quic.initial_rtt = Duration::from_millis(1_001)),
        ("quic.packet_bytes", |c| c.quic.packet_bytes = 1_199),
        ("quic.packet_bytes", |c| c.quic.packet_bytes = 6_551),
        ("quic.stream_window_bytes", |c| c.quic.stream_window_bytes = 65_535),
        ("quic.stream_window_bytes", |c| c.quic.stream_window_bytes = (1 << 24) + 1),
        ("quic.socket_buffer_bytes", |c| c.quic.socket_buffer_bytes = 65_535),
        ("quic.socket_buffer_bytes", |c| c.quic.socket_buffer_bytes = (1 << 26) + 1),
        ("node", |c| c.node = NodeName::new("n2").expect("the name keeps the rules")),
    ];
    for (field, change) in breaks {
        let mut config = config();
        change(&mut config);
        let error = config.validate().expect_err(field);
        assert_eq!(error.field, field);
        let text = error.to_string();
        assert!(text.contains(&error.value) && text.contains(error.rule), "{text}");
    }
    let mut config = config();
    config.quic.initial_rtt = Duration::from_secs(2);
    let error = config.validate().expect_err("too long");
    assert_eq!(error.to_string(), "quic.initial_rtt is 2s, and has to be 1 ms to 1 s");
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let mut least = config();
    least.lanes = NonZeroU16::MIN;
    (least.idle_timeout, least.keep_alive, least.handshake_timeout) = (ms(500), ms(10), ms(100));
    (least.redial_first, least.redial_longest) = (ms(1), ms(1));
    (least.target_messages, least.session_messages) = (1, 1);
    (least.target_bytes, least.session_bytes) = (1, 1);
    (least.lane_bytes, least.answer_bytes) = (65_536, 4_096);
    (least.message_limit, least.bulk_over) = (1_024, 1_024);
    (least.bulk_streams, least.peers_limit) = (1, 1);
    (least.quic.initial_rtt, least.quic.packet_bytes) = (ms(1), 1_200);
    (least.quic.stream_window_bytes, least.quic.socket_buffer_bytes) = (65_536, 65_536);
    let mut most = config();
    most.lanes = NonZeroU16::new(256).expect("not zero");
    (most.idle_timeout, most.keep_alive, most.handshake_timeout) = (s(60), s(20), s(60));
    (most.redial_first, most.redial_longest) = (s(60), s(60));
    (most.target_messages, most.session_messages) = (1 << 22, 1 << 22);
    (most.target_bytes, most.session_bytes) = (1 << 36, 1 << 36);
    (most.lane_bytes, most.answer_bytes) = (1 << 36, 1 << 36);
    (most.message_limit, most.bulk_over) = (1 << 30, 1 << 20);
    (most.bulk_streams, most.peers_limit) = (16, 1_000_000);
    (most.quic.initial_rtt, most.quic.packet_bytes) = (s(1), 6_550);
    (most.quic.stream_window_bytes, most.quic.socket_buffer_bytes) = (1 << 24, 1 << 26);
    for config in [least, most] {
        assert_eq!(config.validate(), Ok(()));
        let _ = quinn_config(&config);
    }
}

#[test]
fn packets_may_be_longer_without_segmentation() {
    let mut config = config();
    config.quic.packet_bytes = 65_527;
    assert!(config.validate().is_err());
    config.quic.segmentation = false;
    assert_eq!(config.validate(), Ok(()));
}

/// What a connection over loopback came to that carried some megabytes under these settings.
async fn carried(quic: QuicConfig) -> quinn::ConnectionStats {
    let mut config = config();
    config.quic = quic;
    config.validate().expect("the settings keep the rules");
    let transport = std::sync::Arc::new(quinn_config(&config));
    let endpoint = |server| {
        let buffers = config.quic.socket_buffer_bytes as usize;
        let socket = Udp.bind_buffered(config.bind, buffers).expect("a socket");
        let settings = endpoint_config(None, config.quic.packet_bytes);
        quinn::Endpoint::new_with_abstract_socket(settings, server, socket, Udp.runtime())
            .expect("an endpoint")
    };
    let mut server = quinn::ServerConfig::with_crypto(config.credentials.server_config());
    server.transport_config(transport.clone());
    let mut client = quinn::ClientConfig::new(config.credentials.client_config());
    client.transport_config(transport);
    let (near, far) = (endpoint(None), endpoint(Some(server)));
    let addr = far.local_addr().expect("bound");
    let receiving = async {
        let connection = far.accept().await.expect("dialled").await.expect("connected");
        open_window(&config, &connection);
        let (mut send, mut receive) = connection.accept_bi().await.expect("a stream");
        while receive.read_chunk(1 << 20, true).await.expect("it comes").is_some() {}
        send.write_all(b"!").await.expect("it is heard");
        connection.closed().await;
    };
    let sending = async {
        let connecting = near.connect_with(client, addr, "n1").expect("dialled");
        let connection = connecting.await.expect("connected");
        let (mut send, mut receive) = connection.open_bi().await.expect("a stream");
        for _ in 0..256 {
            send.write_all(&[7; 64 * 1024]).await.expect("it goes");
        }
        send.finish().expect("it is open");
        receive.read_exact(&mut [0]).await.expect("it arrived");
        let stats = connection.stats();
        connection.close(0u32.into(), b"");
        stats
    };
    tokio::join!(receiving, sending).1
}

#[tokio::test]
async fn packets_grow_to_what_their_settings_and_segments_carry() {
    let long = QuicConfig { packet_bytes: 65_527, segmentation: false, ..QuicConfig::default() };
    let settings = [
        (QuicConfig::data_center(), 6_400..=6_500),
        (QuicConfig::wide_area(), 1_400..=1_452),
        (long, 60_000..=65_527),
    ];
    for (quic, expected) in settings {
        let is_segmented = quic.segmentation;
        let stats = tokio::task::LocalSet::new().run_until(carried(quic)).await;
        assert!(expected.contains(&stats.path.current_mtu), "{:?}", stats.path);
        // Segments that the system refuses show as losses.
        assert!(stats.path.lost_packets < stats.path.sent_packets / 20, "{:?}", stats.path);
        let is_together = stats.udp_tx.ios < stats.udp_tx.datagrams;
        assert!(is_together == is_segmented || cfg!(not(target_os = "linux")), "{stats:?}");
    }
}
