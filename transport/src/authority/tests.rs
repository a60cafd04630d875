use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::tls::{Field, Fingerprint, Problem};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[expect(clippy::disallowed_methods, reason = "credentials are judged by the wall clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a name")
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::new(now(), 30 * DAY).expect("made")
}

fn load(roots: &str, issued: &IssuedPem) -> Credentials {
    Credentials::from_pem(issued.chain.as_bytes(), issued.key.as_bytes(), roots.as_bytes())
        .expect("usable")
}

#[test]
fn what_is_issued_holds_for_the_time_asked_and_its_names() {
    let authority = authority();
    let others = ["*.shop.internal".to_owned(), "carts".to_owned()];
    let issued = authority.issue(now(), 7 * DAY, &name("n1"), &others).expect("issued");
    let credentials = load(&authority.certificate_pem(), &issued);
    assert!(["n1", "n2.shop.internal", "carts"].iter().all(|n| credentials.allows(&name(n))));
    let left = credentials.expires().duration_since(now()).expect("ahead");
    assert!(left <= 7 * DAY && left > 7 * DAY - Duration::from_secs(60), "{left:?}");
    let details = issued.details().expect("a certificate");
    assert_eq!(details.not_after, credentials.expires());
    assert_eq!(details.fingerprint, credentials.fingerprint());
    assert_eq!(Fingerprint::from_pem(issued.chain.as_bytes()), Some(details.fingerprint));
    assert_eq!(details.not_after, details.not_before + 7 * DAY + BACKDATED);
}

#[test]
fn an_authority_is_its_certificate_and_its_key() {
    let (first, stranger) = (authority(), authority());
    let again = CertificateAuthority::from_pem(&first.certificate_pem(), &first.key_pem());
    let issued = again.expect("read").issue(now(), DAY, &name("n1"), &[]).expect("issued");
    load(&first.certificate_pem(), &issued);
    let mixed = CertificateAuthority::from_pem(&stranger.certificate_pem(), &first.key_pem());
    assert!(matches!(mixed, Err(AuthorityError::Mismatch)));
    let no_key = CertificateAuthority::from_pem(&first.certificate_pem(), "");
    assert!(matches!(no_key, Err(AuthorityError::Key)));
    let nothing = CertificateAuthority::from_pem("", &first.key_pem());
    assert!(matches!(nothing, Err(AuthorityError::Mismatch)));
}

#[test]
fn lifetimes_and_names_beyond_their_rules_are_refused() {
    let authority = authority();
    for wrong in [Duration::ZERO, LIFETIME_LIMIT + DAY, Duration::MAX] {
        let refused = authority.issue(now(), wrong, &name("n1"), &[]);
        assert!(matches!(refused, Err(AuthorityError::Lifetime)));
    }
    assert!(matches!(
        CertificateAuthority::new(UNIX_EPOCH - DAY, DAY),
        Err(AuthorityError::Lifetime)
    ));
    let longer = authority.issue(now(), 31 * DAY, &name("n1"), &[]);
    assert!(
        matches!(longer, Err(AuthorityError::BeyondAuthority(end)) if end == authority.expires())
    );
    for wrong in ["*", "*.", "a_b", "10.0.0.1", "x.*.y", ""] {
        let refused = authority.issue(now(), DAY, &name("n1"), &[wrong.to_owned()]);
        assert!(matches!(refused, Err(AuthorityError::Name(_))), "{wrong}");
    }
}

#[test]
fn a_list_grows_and_is_heeded() {
    let authority = authority();
    let roots = authority.certificate_pem();
    let issue = || authority.issue(now(), DAY, &name("n1"), &[]).expect("issued");
    let (first, second, third) = (issue(), issue(), issue());
    let serial = |issued: &IssuedPem| issued.details().expect("a certificate").serial;
    let empty = authority.revocation_list(now(), None, &[]).expect("a list");
    let one = authority.revocation_list(now(), Some(&empty), &[serial(&first)]).expect("a list");
    let two = authority.revocation_list(now(), Some(&one), &[serial(&second), serial(&first)]);
    let two = two.expect("a list");
    let revoked = |list: &str| {
        [&first, &second, &third].map(|issued| {
            match load(&roots, issued).revoking(list.as_bytes()) {
                Ok(_) => false,
                Err(error) => {
                    assert_eq!(error.field, Field::Chain);
                    assert!(matches!(error.problem, Problem::Revoked), "{error}");
                    true
                }
            }
        })
    };
    assert_eq!(revoked(&empty), [false; 3]);
    assert_eq!(revoked(&one), [true, false, false]);
    assert_eq!(revoked(&two), [true, true, false]);
}

#[test]
fn lists_that_cannot_count_are_refused() {
    let (ours, theirs) = (authority(), authority());
    let list = |authority: &CertificateAuthority| {
        authority.revocation_list(now(), None, &[vec![0x41; 16]]).expect("a list")
    };
    let issued = ours.issue(now(), DAY, &name("n1"), &[]).expect("issued");
    let credentials = load(&ours.certificate_pem(), &issued);
    let refused = |pem: &str| {
        let error = credentials.revoking(pem.as_bytes()).expect_err("refused");
        assert_eq!(error.field, Field::Revoked);
        error.problem
    };
    assert!(matches!(refused(""), Problem::NoList));
    assert!(matches!(refused(&ours.certificate_pem()), Problem::NoList));
    let junk = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert!(matches!(refused(junk), Problem::MalformedList(_)));
    assert!(matches!(refused(&(list(&ours) + &list(&ours))), Problem::SecondList));
    assert!(credentials.revoking((list(&ours) + &list(&theirs)).as_bytes()).is_ok());

    // Of our name, and signed by another key.
    let mut forged = theirs;
    let forger = template::new_key();
    forged.issuer = Issuer::new(authority_params(ours.issuer.key()), forger);
    assert!(matches!(refused(&list(&forged)), Problem::ForgedList));

    let other = authority();
    let extended = ours.revocation_list(now(), Some(&list(&other)), &[]);
    assert!(matches!(extended, Err(AuthorityError::List)));
}

#[test]
fn fingerprints_revoke_where_there_is_no_list() {
    let authority = authority();
    let issued = authority.issue(now(), DAY, &name("n1"), &[]).expect("issued");
    let credentials = load(&authority.certificate_pem(), &issued);
    let own = credentials.revoking_fingerprints([credentials.fingerprint()]);
    assert!(matches!(own.expect_err("its own").problem, Problem::Revoked));
}
