//! The grid: a reason, and the side that is at fault. In each cell both sides get a typed error,
//! and both logs say what to do.

use actix_cluster_transport::{
    Credentials, Refusal, development,
    tls::{Refuser, TlsReason},
};

use super::world::{
    DAY, Fault, Member, World, authority, issue, name, now, pass, play, trusting, until,
};

/// What one cell of the grid expects.
struct Cell {
    dialler: Fault,
    acceptor: Fault,
    /// A part of the remedy that both are told.
    remedy: &'static str,
}

impl Cell {
    fn tls(refuser: Side, reason: TlsReason, remedy: &'static str) -> Self {
        let (dialler, acceptor) = match refuser {
            Side::Dialler => (Refuser::Here, Refuser::Peer),
            Side::Acceptor => (Refuser::Peer, Refuser::Here),
        };
        Self {
            dialler: Fault::Tls(dialler, reason),
            acceptor: Fault::Tls(acceptor, reason),
            remedy,
        }
    }

    fn greeting(refuser: Side, refusal: Refusal, remedy: &'static str) -> Self {
        let (refused, refusing) = (Fault::Refused(refusal.clone()), Fault::Refusing(refusal));
        match refuser {
            Side::Dialler => Self { dialler: refusing, acceptor: refused, remedy },
            Side::Acceptor => Self { dialler: refused, acceptor: refusing, remedy },
        }
    }

    /// Lets a dial b, twice at least, and holds what both are told against the cell.
    async fn holds(self, world: &World, a: &Member, b: &Member) {
        a.connect(b);
        until("refused twice", || {
            a.seen.dials.borrow().len() > 1 && b.seen.refusals.borrow().len() > 1
        })
        .await;
        pass(10).await;
        assert!(!a.is_linked(b) && !b.is_linked(a));
        assert_eq!((*a.seen.links.borrow(), *b.seen.links.borrow()), (0, 0));
        for (fault, cause) in a.seen.dials.borrow().iter() {
            assert_eq!(*fault, self.dialler);
            assert!(cause.contains(self.remedy), "{cause}");
        }
        for (from, (fault, cause)) in b.seen.refusals.borrow().iter() {
            assert_eq!(*from, a.transport.addr());
            assert_eq!(*fault, self.acceptor);
            assert!(cause.contains(self.remedy), "{cause}");
        }
        let log = &world.log;
        assert!(log.says(&["WARN", "dial failed", "node=a/1", self.remedy]), "{log:?}");
        assert!(log.says(&["WARN", "peer refused", "from=10.0.0.1:7000", self.remedy]), "{log:?}");
        assert_eq!(log.count("dial failed"), 1, "a warning is given once: {log:?}");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialler,
    Acceptor,
}

/// Who refuses: the other side shows what is wrong. Both are nodes of one authority otherwise.
fn certificate(
    refuser: Side,
    reason: TlsReason,
    remedy: &'static str,
    bad: impl Fn(&development::Authority, &str) -> Credentials,
) {
    play(|world| async move {
        let authority = development::Authority::new();
        let good = |node| authority.issue(&name(node));
        let (a, b) = match refuser {
            Side::Dialler => (good("a"), bad(&authority, "b")),
            Side::Acceptor => (bad(&authority, "a"), good("b")),
        };
        let (a, b) = (world.start("a", 1, a), world.start("b", 2, b));
        Cell::tls(refuser, reason, remedy).holds(&world, &a, &b).await;
    });
}

const RENEW: &str = "renew it, or set the clocks of both hosts right";

#[test]
fn an_expired_certificate_is_refused_by_the_dialler() {
    certificate(Side::Dialler, TlsReason::OutOfValidity, RENEW, |authority, node| {
        authority.issue_expired(&name(node))
    });
}

#[test]
fn an_expired_certificate_is_refused_by_the_acceptor() {
    certificate(Side::Acceptor, TlsReason::OutOfValidity, RENEW, |authority, node| {
        authority.issue_expired(&name(node))
    });
}

#[test]
fn a_certificate_that_is_not_yet_valid_is_refused_by_the_dialler() {
    certificate(Side::Dialler, TlsReason::OutOfValidity, RENEW, |authority, node| {
        authority.issue_not_yet_valid(&name(node))
    });
}

#[test]
fn a_certificate_that_is_not_yet_valid_is_refused_by_the_acceptor() {
    certificate(Side::Acceptor, TlsReason::OutOfValidity, RENEW, |authority, node| {
        authority.issue_not_yet_valid(&name(node))
    });
}

#[test]
fn a_dialler_without_a_certificate_is_refused_by_the_acceptor() {
    let remedy = "check what dials here";
    certificate(Side::Acceptor, TlsReason::MissingCertificate, remedy, |authority, node| {
        authority.issue(&name(node)).without_client_certificate()
    });
}

/// One side trusts both authorities, the refuser its own only.
fn wrong_authority(refuser: Side) {
    play(|world| async move {
        let (ours, theirs) = (authority(), authority());
        let (mut a, mut b) = (vec![&ours, &theirs], vec![&ours, &theirs]);
        match refuser {
            Side::Dialler => a.truncate(1),
            Side::Acceptor => drop(b.remove(0)),
        }
        let a = world.start("a", 1, trusting(&issue(&ours, "a"), &a));
        let b = world.start("b", 2, trusting(&issue(&theirs, "b"), &b));
        let remedy = "or take the certificates of both from one authority";
        Cell::tls(refuser, TlsReason::UnknownAuthority, remedy).holds(&world, &a, &b).await;
    });
}

#[test]
fn another_authority_is_refused_by_the_dialler() {
    wrong_authority(Side::Dialler);
}

#[test]
fn another_authority_is_refused_by_the_acceptor() {
    wrong_authority(Side::Acceptor);
}

/// How the refuser knows that the other is revoked.
fn revoked(refuser: Side, how: impl Fn(&Credentials, &str, &Credentials) -> Credentials) {
    play(|world| async move {
        let authority = authority();
        let (mut a, mut b) = (issue(&authority, "a"), issue(&authority, "b"));
        let revoked = if refuser == Side::Dialler { &mut b } else { &mut a };
        let serial = revoked.details().expect("a certificate").serial;
        let list = authority.revocation_list(now(), None, &[serial]).expect("a list");
        let (mut a, mut b) = (trusting(&a, &[&authority]), trusting(&b, &[&authority]));
        match refuser {
            Side::Dialler => a = how(&a, &list, &b),
            Side::Acceptor => b = how(&b, &list, &a),
        }
        let (a, b) = (world.start("a", 1, a), world.start("b", 2, b));
        let remedy = "has been revoked; issue a new one with a new key";
        Cell::tls(refuser, TlsReason::Revoked, remedy).holds(&world, &a, &b).await;
    });
}

fn by_list(refuser: &Credentials, list: &str, _: &Credentials) -> Credentials {
    refuser.revoking(list.as_bytes()).expect("a list")
}

fn by_fingerprint(refuser: &Credentials, _: &str, revoked: &Credentials) -> Credentials {
    refuser.revoking_fingerprints([revoked.fingerprint()]).expect("not its own")
}

#[test]
fn a_node_on_a_revocation_list_is_refused_by_the_dialler() {
    revoked(Side::Dialler, by_list);
}

#[test]
fn a_node_on_a_revocation_list_is_refused_by_the_acceptor() {
    revoked(Side::Acceptor, by_list);
}

#[test]
fn a_fingerprint_that_is_revoked_is_refused_by_the_dialler() {
    revoked(Side::Dialler, by_fingerprint);
}

#[test]
fn a_fingerprint_that_is_revoked_is_refused_by_the_acceptor() {
    revoked(Side::Acceptor, by_fingerprint);
}

/// The other side goes by a name that its certificate does not give it.
fn wrong_name(refuser: Side) {
    play(|world| async move {
        let authority = authority();
        let credentials = |node: &str, of: Side| {
            let shown = if of == refuser { node } else { "mallory" };
            trusting(&issue(&authority, shown), &[&authority]).for_any_name()
        };
        let a = world.start("a", 1, credentials("a", Side::Dialler));
        let b = world.start("b", 2, credentials("b", Side::Acceptor));
        let claimed = name(if refuser == Side::Dialler { "b" } else { "a" });
        let refusal = Refusal::Identity { claimed };
        Cell::greeting(refuser, refusal, "certificate").holds(&world, &a, &b).await;
    });
}

#[test]
fn a_name_the_certificate_does_not_give_is_refused_by_the_dialler() {
    wrong_name(Side::Dialler);
}

#[test]
fn a_name_the_certificate_does_not_give_is_refused_by_the_acceptor() {
    wrong_name(Side::Acceptor);
}

/// The dialler says its cluster first, so that the acceptor always is the one that refuses.
#[test]
fn another_cluster_is_refused_by_the_acceptor() {
    play(|world| async move {
        let authority = authority();
        let credentials = |node| trusting(&issue(&authority, node), &[&authority]);
        let a = world.start_in("other", "a", 1, credentials("a"));
        let b = world.start("b", 2, credentials("b"));
        let refusal = Refusal::Cluster { expected: "test".into() };
        Cell::greeting(Side::Acceptor, refusal, "cluster test").holds(&world, &a, &b).await;
    });
}

#[test]
fn a_certificate_about_to_expire_is_warned_of_when_the_node_starts() {
    for (days, within) in [(40, None), (29, Some("30 days")), (6, Some("7 days"))] {
        play(|world| async move {
            let authority = authority();
            let issued = authority.issue(now(), days * DAY, &name("a"), &[]).expect("issued");
            world.start("a", 1, trusting(&issued, &[&authority]));
            let warned =
                world.log.says(&["WARN", "expires soon", "rotate to it", within.unwrap_or("")]);
            assert_eq!(warned, within.is_some(), "{:?}", world.log);
        });
    }
    play(|world| async move {
        world.start("a", 1, development::Authority::new().issue_expired(&name("a")));
        assert!(world.log.says(&["WARN", "the certificate has expired"]), "{:?}", world.log);
    });
}
