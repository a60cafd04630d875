//! Who is refused learns it from a type.

use actix_cluster_transport::{
    ClusterName, PeerId, Refusal,
    development::Authority,
    tls::{Refuser, TlsReason},
};

use super::world::{Failure, Member, World, name, until};

/// What the first two dials of `a` said; there is no link before or after.
async fn failures(a: &Member, b: &Member) -> Vec<Failure> {
    a.connect(b);
    until("two dials have failed", || a.seen.failures.borrow().len() >= 2).await;
    assert!(!a.is_linked(b) && !b.is_linked(a));
    assert_eq!((a.seen.sessions.get(), b.seen.sessions.get()), (0, 0));
    a.seen.failures.borrow()[..2].to_vec()
}

pub(crate) async fn another_cluster_is_refused(world: World) {
    let other = |config: &mut actix_cluster_transport::TransportConfig| {
        config.cluster = ClusterName::new("other").expect("a name");
    };
    let (a, b) = (world.start_with("a", 1, "same", other).await, world.start("b").await);
    let refused = Failure::Refused(Refusal::Cluster { expected: "test".to_owned() });
    assert_eq!(failures(&a, &b).await, [refused.clone(), refused]);
}

pub(crate) async fn another_authority_is_refused(world: World) {
    let stranger = Authority::new().issue(&name("a"));
    let a = world.start_with("a", 1, "same", |config| config.credentials = stranger).await;
    let b = world.start("b").await;
    let failures = failures(&a, &b).await;
    let Failure::Tls(failure) = failures[0] else { panic!("{failures:?}") };
    assert_eq!(failure.refused_by, Refuser::Here);
    assert_eq!(failure.reason, TlsReason::UnknownAuthority);
}

pub(crate) async fn settings_that_differ_are_refused_by_field(world: World) {
    let a = world.start_with("a", 1, "other", |_| {}).await;
    let b = world.start("b").await;
    let refused = Failure::Refused(Refusal::Mismatch {
        field: "settings".to_owned(),
        expected: "same".to_owned(),
        found: "other".to_owned(),
    });
    assert_eq!(failures(&a, &b).await, [refused.clone(), refused]);
}

pub(crate) async fn another_node_than_the_one_dialled_is_refused(world: World) {
    let (a, b) = world.pair().await;
    a.connect_to(&PeerId { name: name("c"), incarnation: 1 }, b.addr());
    until("a dial has failed", || !a.seen.failures.borrow().is_empty()).await;
    let refused = Failure::Refused(Refusal::WrongNode { here: name("b") });
    assert_eq!(a.seen.failures.borrow()[0], refused);
}

pub(crate) async fn an_incarnation_that_is_over_is_refused(world: World) {
    let (a, b) = world.pair().await;
    a.session(&b).await;
    b.session_from(&a).await;
    b.transport.forget(a.id());
    until("a dial has failed", || !a.seen.failures.borrow().is_empty()).await;
    let refused = Failure::Refused(Refusal::Stale { known: 1 });
    assert_eq!(a.seen.failures.borrow()[0], refused);
    assert!(!a.is_linked(&b) && !b.is_linked(&a));
}
