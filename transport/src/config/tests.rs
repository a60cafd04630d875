use super::*;
use crate::development::Authority;

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
    let breaks: [(&str, Break); 31] = [
        ("lanes", |c| c.lanes = NonZeroU16::new(257).expect("not zero")),
        ("idle_timeout", |c| c.idle_timeout = Duration::from_millis(499)),
        ("idle_timeout", |c| c.idle_timeout = Duration::from_secs(61)),
        ("keep_alive", |c| c.keep_alive = Duration::ZERO),
        ("keep_alive", |c| c.keep_alive = c.idle_timeout / 2),
        ("handshake_timeout", |c| c.handshake_timeout = Duration::from_millis(99)),
        ("redial_first", |c| c.redial_first = Duration::ZERO),
        ("redial_longest", |c| c.redial_longest = c.redial_first / 2),
        ("target_messages", |c| c.target_messages = 0),
        ("session_messages", |c| c.session_messages = 1),
        ("session_messages", |c| c.session_messages = (1 << 22) + 1),
        ("target_bytes", |c| c.target_bytes = 0),
        ("session_bytes", |c| c.session_bytes = 1),
        ("session_bytes", |c| c.session_bytes = (1 << 36) + 1),
        ("lane_bytes", |c| c.lane_bytes = 1),
        ("answer_bytes", |c| c.answer_bytes = 0),
        ("message_limit", |c| c.message_limit = 1_023),
        ("message_limit", |c| c.message_limit = (1 << 30) + 1),
        ("bulk_over", |c| c.bulk_over = 1_023),
        ("bulk_over", |c| c.bulk_over = (1 << 20) + 1),
        ("bulk_streams", |c| c.bulk_streams = 17),
        ("peers_limit", |c| c.peers_limit = 0),
        ("quic.initial_rtt", |c| c.quic.initial_rtt = Duration::ZERO),
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
fn packets_may_be_longer_without_segmentation() {
    let mut config = config();
    config.quic.packet_bytes = 65_527;
    assert!(config.validate().is_err());
    config.quic.segmentation = false;
    assert_eq!(config.validate(), Ok(()));
}
