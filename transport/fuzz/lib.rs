//! Feeds a target of the transport by its name.

/// Feeds one input.
pub fn feed(name: &str, data: &[u8]) {
    let target = actix_cluster_transport::fuzzing::TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.expect("the programs are named after the targets");
    target(data);
}
