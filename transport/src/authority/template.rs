//! What the certificates of all our authorities have in common.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData as _, SanType, SerialNumber,
};

use crate::identity::NodeName;

pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).expect("the operating system gives randomness")
}

/// What every certificate has, but for its validity. All lengths are fixed, so that the packets of
/// a handshake are as long in each run of a simulation.
pub(crate) fn params(key: &KeyPair, common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = digest(key);
    // Positive, and without leading zeros that the encoding would drop.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

pub(crate) fn node_params(key: &KeyPair, name: &NodeName) -> CertificateParams {
    let mut params = params(key, "actix-cluster node");
    let name = name.as_str().try_into().expect("a node name is ascii");
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) fn fingerprint(key: &KeyPair) -> String {
    digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(key: &KeyPair) -> [u8; 16] {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.der_bytes());
    let mut head = [0; 16];
    head.copy_from_slice(&digest.as_ref()[..16]);
    head
}
