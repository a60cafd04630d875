//! Credentials that change while nodes run.

use std::{cell::Cell, fs, path::PathBuf, rc::Rc, thread};

use actix_cluster_transport::{
    CredentialFiles, Credentials, PeerId, RotateError,
    authority::{CertificateAuthority, IssuedPem},
    development,
    tls::{Field, Problem, Refuser, TlsReason},
};

use super::world::{
    DAY, Fault, Member, World, authority, issue, name, now, pass, play, tell, trusting, until,
};

const NODES: [&str; 3] = ["a", "b", "c"];

fn cut(rotated: Result<actix_cluster_transport::Rotated, RotateError>) -> Vec<PeerId> {
    rotated.expect("rotated").cut
}

/// Three nodes that all talk to each other, until they are told to stop.
struct Traffic {
    members: Rc<Vec<Member>>,
    stop: Rc<Cell<bool>>,
    talkers: Vec<tokio::task::JoinHandle<u32>>,
}

impl Traffic {
    async fn start(world: &World, credentials: impl Fn(&str) -> Credentials) -> Self {
        let members: Vec<_> = (1..)
            .zip(NODES)
            .map(|(host, node)| world.start(node, host, credentials(node)))
            .collect();
        let (members, stop) = (Rc::new(members), Rc::new(Cell::new(false)));
        let mut talkers = Vec::new();
        for (from, to) in Self::pairs() {
            let session = members[from].session(&members[to]).await;
            let stop = Rc::clone(&stop);
            talkers.push(spawn(async move {
                let mut number = 0;
                while !stop.get() {
                    tell(&session, number).await;
                    number += 1;
                    pass(1).await;
                }
                number
            }));
        }
        Self { members, stop, talkers }
    }

    fn pairs() -> impl Iterator<Item = (usize, usize)> {
        (0..3).flat_map(|from| (0..3).filter(move |to| *to != from).map(move |to| (from, to)))
    }

    /// Rotates every node, with some time before each, and gives how many links were cut.
    async fn rotate(&self, credentials: impl Fn(&str) -> Credentials) -> usize {
        let mut count = 0;
        for (member, node) in self.members.iter().zip(NODES) {
            pass(100).await;
            count += cut(member.transport.rotate(credentials(node))).len();
        }
        pass(100).await;
        count
    }

    /// Breaks every connection, so that each is made anew.
    async fn reconnect(&self, world: &World) {
        let links = || self.members.iter().map(|m| *m.seen.links.borrow()).sum::<u32>();
        let before = links();
        (1..=3).for_each(|host| world.network.silence(super::world::ip(host)));
        pass(8_000).await;
        world.network.heal_all();
        until("connected anew", || links() >= before + 6).await;
    }

    /// Nothing was lost, repeated or overtaken, and no session ended.
    async fn finish(self) {
        self.stop.set(true);
        for (talker, (from, to)) in self.talkers.into_iter().zip(Self::pairs()) {
            let sent = talker.await.expect("no panic");
            assert!(sent > 300, "there was traffic: {sent}");
            let receiver = &self.members[to];
            until("all there", || receiver.numbers(NODES[from]).len() >= sent as usize).await;
            assert_eq!(receiver.numbers(NODES[from]), (0..sent).collect::<Vec<_>>());
        }
        for member in self.members.iter() {
            assert_eq!((*member.seen.sessions.borrow(), *member.seen.ended.borrow()), (2, 0));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's own sender")]
fn spawn(task: impl Future<Output = u32> + 'static) -> tokio::task::JoinHandle<u32> {
    tokio::task::spawn_local(task)
}

#[test]
fn an_authority_is_replaced_in_three_steps_under_traffic_and_nothing_is_lost() {
    play(|world| async move {
        let (old, new) = (authority(), authority());
        let traffic = Traffic::start(&world, |n| trusting(&issue(&old, n), &[&old])).await;
        let both = |by: &CertificateAuthority, n: &str| trusting(&issue(by, n), &[&old, &new]);
        assert_eq!(traffic.rotate(|n| both(&old, n)).await, 0);
        assert_eq!(traffic.rotate(|n| both(&new, n)).await, 0);
        // So that no connection with a certificate of the old authority is left to be cut.
        traffic.reconnect(&world).await;
        assert_eq!(traffic.rotate(|n| trusting(&issue(&new, n), &[&new])).await, 0);
        for member in traffic.members.iter() {
            let peers = member.transport.certificates().peers;
            assert_eq!(peers.len(), 2);
        }
        traffic.finish().await;
    });
}

#[test]
fn links_of_the_old_authority_are_cut_at_the_last_step_and_their_sessions_go_on() {
    play(|world| async move {
        let (old, new) = (authority(), authority());
        let traffic = Traffic::start(&world, |n| trusting(&issue(&old, n), &[&old])).await;
        let both = |by: &CertificateAuthority, n: &str| trusting(&issue(by, n), &[&old, &new]);
        traffic.rotate(|n| both(&old, n)).await;
        traffic.rotate(|n| both(&new, n)).await;
        let cut = traffic.rotate(|n| trusting(&issue(&new, n), &[&new])).await;
        assert_eq!(cut, 3, "each of the three links once");
        assert!(world.log.says(&["link cut", "WARN", "does not trust the authority"]));
        until("linked again", || {
            Traffic::pairs().all(|(a, b)| traffic.members[a].is_linked(&traffic.members[b]))
        })
        .await;
        traffic.finish().await;
    });
}

/// Two nodes, and their authority.
struct Two {
    authority: CertificateAuthority,
    issued: [IssuedPem; 2],
    a: Member,
    b: Member,
}

impl Two {
    fn new(world: &World) -> Self {
        let authority = authority();
        let issued = ["a", "b"].map(|node| issue(&authority, node));
        let a = world.start("a", 1, trusting(&issued[0], &[&authority]));
        let b = world.start("b", 2, trusting(&issued[1], &[&authority]));
        Self { authority, issued, a, b }
    }

    /// The list that revokes b's first certificate.
    fn list(&self) -> String {
        let serial = self.issued[1].details().expect("a certificate").serial;
        self.authority.revocation_list(now(), None, &[serial]).expect("a list")
    }
}

#[test]
fn a_node_that_is_revoked_is_cut_and_its_session_goes_on_with_a_new_certificate() {
    play(|world| async move {
        let two = Two::new(&world);
        let Two { authority, a, b, .. } = &two;
        let session = a.session(b).await;
        b.connect(a);
        let own = trusting(&issue(authority, "a"), &[authority]);
        let own = own.revoking(two.list().as_bytes()).expect("a list");
        assert_eq!(cut(a.transport.rotate(own)), [b.transport.local().clone()]);
        for number in 0..50 {
            tell(&session, number).await;
        }
        until("refused on both ways", || {
            !a.seen.dials.borrow().is_empty() && !a.seen.refusals.borrow().is_empty()
        })
        .await;
        assert!(!a.is_linked(b));
        let revoked = |by| Fault::Tls(by, TlsReason::Revoked);
        assert_eq!(a.seen.dials.borrow()[0].0, revoked(Refuser::Here));
        assert_eq!(a.seen.refusals.borrow()[0].1.0, revoked(Refuser::Here));
        until("told", || b.seen.dials.borrow().iter().any(|d| d.0 == revoked(Refuser::Peer))).await;
        assert!(world.log.says(&["link down", "peer=a/1", "has been revoked"]), "{:?}", world.log);

        let renewed = trusting(&issue(authority, "b"), &[authority]);
        assert_eq!(cut(b.transport.rotate(renewed)), []);
        until("all there", || b.numbers("a").len() == 50).await;
        assert_eq!(*a.seen.sessions.borrow(), 1);
        assert_eq!(b.numbers("a"), (0..50).collect::<Vec<_>>());
    });
}

/// Trust that ends between TLS and the greeting.
#[test]
fn a_peer_revoked_while_it_greets_gets_no_link() {
    for (at, dials) in (0..40).flat_map(|at| [(at, false), (at, true)]) {
        play(|world| async move {
            let two = Two::new(&world);
            let Two { authority, a, b, .. } = &two;
            if dials {
                a.connect(b)
            } else {
                b.connect(a)
            }
            pass(at).await;
            let own = trusting(&issue(authority, "a"), &[authority]);
            let _ = a.transport.rotate(own.revoking(two.list().as_bytes()).expect("a list"));
            pass(2_000).await;
            assert!(!a.is_linked(b) && !b.is_linked(a), "rotated after {at} ms");
            assert_eq!(a.seen.refusals.borrow().is_empty(), dials);
        });
    }
}

#[test]
fn credentials_that_cannot_serve_are_refused_by_field_and_nothing_changes() {
    play(|world| async move {
        let two = Two::new(&world);
        let Two { authority, a, b, .. } = &two;
        let session = a.session(b).await;
        let before = a.transport.certificates();
        let other = development::Authority::new();

        for (credentials, text) in [
            (other.issue_expired(&name("a")), "has expired; renew it"),
            (other.issue_not_yet_valid(&name("a")), "is not valid yet"),
        ] {
            let error = a.transport.rotate(credentials).expect_err("refused");
            let RotateError::Credentials(cause) = &error else { panic!("{error:?}") };
            assert_eq!(cause.field, Field::Chain);
            assert!(cause.to_string().contains(text), "{cause}");
        }
        let strange = trusting(&issue(authority, "c"), &[authority]);
        let error = a.transport.rotate(strange).expect_err("refused");
        let RotateError::Name(cause) = &error else { panic!("{error:?}") };
        assert_eq!((cause.field, cause.value.as_str()), ("node", "a"));
        assert!(cause.to_string().contains("a DNS name of the node's certificate"));

        assert_eq!(a.transport.certificates(), before);
        assert!(a.is_linked(b));
        tell(&session, 7).await;
        until("there", || b.numbers("a") == [7]).await;
        // New connections still use what was there before.
        world.network.partition(super::world::ip(1), super::world::ip(2));
        pass(10_000).await;
        world.network.heal_all();
        until("linked again", || a.is_linked(b)).await;
    });
}

#[test]
fn the_expiry_of_a_node_and_its_peers_is_told() {
    play(|world| async move {
        let two = Two::new(&world);
        let Two { authority, issued, a, b } = &two;
        assert_eq!(a.transport.certificates().peers, []);
        a.session(b).await;
        let ends = |issued: &IssuedPem| issued.details().expect("a certificate").not_after;
        assert_eq!(a.transport.peer_expiry(&name("b")), Some(ends(&issued[1])));
        assert_eq!(b.transport.peer_expiry(&name("a")), Some(ends(&issued[0])));
        assert_eq!(a.transport.peer_expiry(&name("c")), None);
        let stats = a.transport.stats();
        assert_eq!(stats.certificate_expires, ends(&issued[0]));
        assert_eq!(stats.peer_certificate_expires, Some(ends(&issued[1])));
        let short = authority.issue(now(), 6 * DAY - DAY / 2, &name("a"), &[]).expect("issued");
        let rotated = a.transport.rotate(trusting(&short, &[authority])).expect("rotated");
        assert_eq!((rotated.expires, rotated.cut.as_slice()), (ends(&short), &[][..]));
        let status = a.transport.certificates();
        assert_eq!(status.own_expires, ends(&short));
        assert_eq!(status.peers, [(name("b"), ends(&issued[1]))]);
        assert_eq!(a.transport.stats().certificate_expires, ends(&short));
        assert!(world.log.says(&["WARN", "expires soon", "within=7 days", "days=5"]));
    });
}

/// A directory that is removed at the end.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_read_again_on_request() {
    play(|world| async move {
        let two = Two::new(&world);
        let Two { authority, a, b, .. } = &two;
        a.session(b).await;
        let serial = two.issued[0].details().expect("a certificate").fingerprint;
        let place = Place(std::env::temp_dir().join(format!("actix-cluster-{serial}")));
        fs::create_dir(&place.0).expect("created");
        let path = |file: &str| place.0.join(file);
        let write = |file: &str, text: &str| fs::write(path(file), text).expect("written");
        write("a.pem", &two.issued[0].chain);
        write("a-key.pem", &two.issued[0].key);
        write("roots.pem", &authority.certificate_pem());
        let files = CredentialFiles::new(path("a.pem"), path("a-key.pem"), path("roots.pem"))
            .revoked(path("crl.pem"));

        let error = a.transport.rotate_from_files(&files).expect_err("no list");
        let RotateError::Credentials(cause) = &error else { panic!("{error:?}") };
        assert_eq!((cause.field, cause.path.as_ref()), (Field::Revoked, Some(&path("crl.pem"))));
        write("crl.pem", &authority.revocation_list(now(), None, &[]).expect("a list"));
        assert_eq!(cut(a.transport.rotate_from_files(&files)), []);
        write("a-key.pem", &issue(authority, "a").key);
        let error = a.transport.rotate_from_files(&files).expect_err("half replaced");
        let RotateError::Credentials(cause) = &error else { panic!("{error:?}") };
        assert!(matches!(cause.problem, Problem::KeyMismatch));
        write("a-key.pem", &two.issued[0].key);
        write("crl.pem", &two.list());
        assert_eq!(cut(a.transport.rotate_from_files(&files)), [b.transport.local().clone()]);
    });
}

#[test]
fn another_thread_reads_the_expiry_until_the_transport_closes() {
    play(|world| async move {
        let two = Two::new(&world);
        let Two { issued, a, b, .. } = &two;
        let reader = a.transport.stats_reader();
        assert_eq!(reader.read().await, Some(a.transport.stats()));
        a.session(b).await;
        let theirs = reader.clone();
        let reading = thread::scope(|scope| {
            let begun = scope.spawn(move || {
                let mut reading = Box::pin(async move { theirs.read().await });
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(reading.as_mut().poll(&mut context).is_pending());
                reading
            });
            begun.join().expect("no panic")
        });
        let stats = reading.await.expect("it is open");
        let ends = issued[1].details().expect("a certificate").not_after;
        assert_eq!((stats.links, stats.peer_certificate_expires), (1, Some(ends)));
        a.transport.close(DAY).await;
        assert_eq!(reader.read().await, None);
    });
}

#[test]
fn another_thread_rotates_through_a_handle_that_ends_with_the_transport() {
    play(|world| async move {
        let two = Two::new(&world);
        let Two { authority, a, b, .. } = &two;
        a.session(b).await;
        let rotator = a.transport.rotator();
        let renewed = issue(authority, "a");
        let ends = renewed.details().expect("a certificate").not_after;
        let credentials = trusting(&renewed, &[authority]);
        let theirs = rotator.clone();
        let again = credentials.clone();
        let order = thread::scope(|scope| {
            scope
                .spawn(move || {
                    let mut order = Box::pin(async move { theirs.rotate(again).await });
                    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                    assert!(order.as_mut().poll(&mut context).is_pending());
                    order
                })
                .join()
                .expect("no panic")
        });
        assert_eq!(order.await.expect("rotated").expires, ends);
        a.transport.close(DAY).await;
        let late = rotator.rotate(credentials).await;
        assert!(matches!(late, Err(RotateError::Closed)), "{late:?}");
    });
}
