use std::error::Error as _;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};

use super::{super::*, name};
use crate::development::{Authority, IssuedPem};

/// Reads what an authority issued, with its root as the only one.
fn read(authority: &Authority, pem: &IssuedPem) -> Result<Credentials, CredentialsError> {
    let roots = authority.roots_pem();
    Credentials::from_pem(pem.chain.as_bytes(), pem.key.as_bytes(), roots.as_bytes())
}

fn altered(adjust: impl FnOnce(&mut CertificateParams)) -> Result<Credentials, CredentialsError> {
    let authority = Authority::new();
    read(&authority, &authority.issue_pem_with(&name("n1"), adjust))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ascii"))
}

#[track_caller]
fn refused(read: Result<Credentials, CredentialsError>, field: Field, says: &str) {
    let error = read.expect_err("refused");
    assert_eq!(error.field, field, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn several_names_and_wildcards_are_allowed() {
    let credentials = altered(|params| {
        params.subject_alt_names = vec![dns("*.shop.internal"), dns("carts")];
    });
    let credentials = credentials.expect("usable");
    assert_eq!(credentials.names(), ["*.shop.internal", "carts"]);
    for right in ["n1.shop.internal", "n2.shop.internal", "carts"] {
        assert!(credentials.allows(&name(right)), "{right}");
    }
    for wrong in ["shop.internal", "a.b.shop.internal", "n1.shop", "carts.shop", "n1"] {
        assert!(!credentials.allows(&name(wrong)), "{wrong}");
    }
}

#[test]
fn a_certificate_without_usages_is_allowed() {
    assert!(altered(|params| params.extended_key_usages.clear()).is_ok());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new();
    let mut pem = authority.issue_pem(&name("n1"));
    pem.key = authority.issue_pem(&name("n1")).key;
    refused(read(&authority, &pem), Field::Key, "does not belong to the first certificate");
}

#[test]
fn a_chain_is_verified_when_it_is_read() {
    let authority = Authority::new();
    let pem = authority.issue_pem(&name("n1"));
    refused(read(&Authority::new(), &pem), Field::Chain, "none of the trusted roots");

    let expired = altered(|params| params.not_after = date_time_ymd(2021, 1, 1));
    refused(expired, Field::Chain, "has expired; renew it");
    let early = altered(|params| params.not_before = date_time_ymd(2119, 1, 1));
    refused(early, Field::Chain, "is not valid yet");
    let nameless = altered(|params| params.subject_alt_names.clear());
    refused(nameless, Field::Chain, "with the node's name as a DNS name");
    let ip = altered(|params| {
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    });
    refused(ip, Field::Chain, "with the node's name as a DNS name");
    for only in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth] {
        let one_sided = altered(|params| params.extended_key_usages = vec![only]);
        refused(one_sided, Field::Chain, "server and client authentication");
    }
    let authority = altered(|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    refused(authority, Field::Chain, "cannot be verified");
}

#[test]
fn text_that_holds_nothing_is_refused_by_field() {
    let authority = Authority::new();
    let (pem, roots) = (authority.issue_pem(&name("n1")), authority.roots_pem());
    let (chain, key, roots) = (pem.chain.as_bytes(), pem.key.as_bytes(), roots.as_bytes());
    for nothing in [&b""[..], b"text", key] {
        let read = Credentials::from_pem(nothing, key, roots);
        refused(read, Field::Chain, "holds no certificate");
        let read = Credentials::from_pem(chain, key, nothing);
        refused(read, Field::Roots, "holds no certificate");
    }
    let encrypted = pem.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for nothing in [&b""[..], b"text", chain, encrypted.as_bytes()] {
        let read = Credentials::from_pem(chain, nothing, roots);
        refused(read, Field::Key, "holds no usable key");
    }
}

#[test]
fn broken_text_is_refused_by_field() {
    let authority = Authority::new();
    let (pem, roots) = (authority.issue_pem(&name("n1")), authority.roots_pem());
    let (chain, key, roots) = (pem.chain.as_bytes(), pem.key.as_bytes(), roots.as_bytes());
    let cut = |pem: &str| pem.as_bytes()[..pem.len() / 2].to_vec();

    refused(Credentials::from_pem(&cut(&pem.chain), key, roots), Field::Chain, "not valid PEM");
    refused(Credentials::from_pem(chain, &cut(&pem.key), roots), Field::Key, "not valid PEM");
    let half = Credentials::from_pem(chain, key, &cut(&authority.roots_pem()));
    refused(half, Field::Roots, "not valid PEM");

    let junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    refused(Credentials::from_pem(junk, key, roots), Field::Chain, "malformed certificate");
    refused(Credentials::from_pem(chain, key, junk), Field::Roots, "malformed certificate");
    let junk = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let read = Credentials::from_pem(chain, junk, roots);
    assert!(read.as_ref().is_err_and(|error| error.source().is_some()));
    refused(read, Field::Key, "use an Ed25519");
}

#[test]
fn files_are_named_in_errors() {
    let authority = Authority::new();
    let pem = authority.issue_pem(&name("n1"));
    let token = format!("{authority:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let directory = std::env::temp_dir().join(format!("actix-cluster-{token}"));
    std::fs::create_dir(&directory).expect("created");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (chain, key) = (file("n1.pem", &pem.chain), file("n1-key.pem", &pem.key));
    let (roots, empty) = (file("roots.pem", &authority.roots_pem()), file("empty.pem", ""));
    let missing = directory.join("missing.pem");

    assert!(Credentials::from_files(&chain, &key, &roots).is_ok());
    refused(Credentials::from_files(&missing, &key, &roots), Field::Chain, "missing.pem): cannot");
    refused(Credentials::from_files(&chain, &missing, &roots), Field::Key, "missing.pem): cannot");
    refused(Credentials::from_files(&chain, &key, &empty), Field::Roots, "empty.pem): holds no");
    refused(Credentials::from_files(&chain, &empty, &roots), Field::Key, "empty.pem): holds no");
    std::fs::remove_dir_all(&directory).expect("removed");
}
