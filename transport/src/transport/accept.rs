//! The side that is dialled.

use std::time::Duration;

use super::{
    Transport,
    gate::{Pass, Verdict},
};
use crate::{
    clock::Sleep,
    config::open_streams,
    greet::{ConnectError, ControlStream},
    identity::{NodeName, PeerId},
    tls::{IdentityError, peer_fingerprint},
    wire::{
        WireError,
        handshake::{Greeting, Hello, Refusal},
    },
};

/// How long a peer that holds a name is given to show that it lives, before the name is free.
const LIFE_PATIENCE: Duration = Duration::from_secs(1);

/// Accepts connections until the endpoint closes.
pub(super) async fn run(transport: Transport) {
    while let Some(incoming) = transport.0.endpoint.accept().await {
        let from = incoming.remote_address();
        let pass = match transport.0.gate.ask(from.ip(), incoming.remote_address_validated()) {
            Verdict::Admit(pass) => pass,
            Verdict::Validate => {
                // One that can't be asked to come again was asked already.
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
                continue;
            }
            Verdict::Ignore => {
                incoming.ignore();
                continue;
            }
            Verdict::Refuse => {
                tracing::debug!(%from, "too many handshakes are under way");
                incoming.refuse();
                continue;
            }
        };
        let patience = transport.0.config.handshake_timeout + LIFE_PATIENCE;
        let too_long = transport.0.clock.sleep(patience);
        let theirs = transport.clone();
        transport.spawn(async move {
            let events = std::rc::Rc::clone(&theirs.0.events);
            if let Err(error) = handshake(theirs, incoming, pass, too_long).await {
                let remedy = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%from, %error, remedy, "peer refused");
                events.peer_refused(from, &error);
            }
        });
    }
}

async fn handshake(
    transport: Transport,
    incoming: quinn::Incoming,
    pass: Pass,
    mut too_long: Sleep,
) -> Result<(), ConnectError> {
    let connection = tokio::select! {
        biased;
        connection = incoming => connection?,
        () = &mut too_long => return Err(ConnectError::TimedOut),
    };
    // Its certificate answers for it now, and its address needs no longer.
    let certificate = connection.peer_identity().and_then(|shown| peer_fingerprint(&*shown));
    let certificate = certificate.ok_or(ConnectError::Identity(IdentityError::NoCertificate))?;
    let greeting = transport.0.greetings.begin(certificate);
    drop(pass);
    let greeted = tokio::select! {
        biased;
        greeted = greet(transport, connection.clone()) => greeted,
        () = greeting.is_cut() => Err(ConnectError::Crowded),
        () = too_long => Err(ConnectError::TimedOut),
    };
    if let Err(error) = &greeted {
        error.close(&connection);
    }
    greeted
}

async fn greet(transport: Transport, connection: quinn::Connection) -> Result<(), ConnectError> {
    let mut control = ControlStream::accept(connection).await?;
    match control.greeting().await? {
        Greeting::Hello(hello) => welcome(&transport, control, hello).await,
        Greeting::Inquire { cluster, name } => answer(&transport, control, &cluster, &name).await,
        Greeting::Letter { cluster, from, to, packet } => {
            transport.take_letter(control, (&cluster, &from, &to), &packet).await
        }
        _ => Err(control.refuse(Refusal::Protocol).await),
    }
}

async fn welcome(
    transport: &Transport,
    mut control: ControlStream,
    hello: Hello,
) -> Result<(), ConnectError> {
    let peer = hello.node.name.clone();
    if let Err(refusal) = transport.check(&hello, &control) {
        return Err(control.refuse(refusal).await);
    }
    if !transport.may_carry(&peer, &peer) {
        transport.note_race();
        return Err(control.refuse(Refusal::Duplicate).await);
    }
    let session = transport.session_with(&hello);
    open_streams(&transport.0.config, &control.connection);
    control.greet(&Greeting::Welcome(transport.hello(Some(&peer)))).await?;
    match control.greeting().await? {
        Greeting::Ready => {}
        _ => return Err(control.refuse(Refusal::Protocol).await),
    }
    // The world may have moved on while the two were greeting.
    if session.has_ended() {
        return Err(control.refuse(Refusal::Stale { known: session.peer().incarnation }).await);
    }
    if !transport.may_carry(&peer, &peer) {
        transport.note_race();
        return Err(control.refuse(Refusal::Duplicate).await);
    }
    let received = marks_for(transport.local(), &hello);
    let carried = transport.carry(control, &session, received, peer)?;
    transport.spawn(carried);
    Ok(())
}

/// What the peer has received of this incarnation; nothing, if it speaks of another one.
pub(super) fn marks_for<'a>(local: &PeerId, hello: &'a Hello) -> &'a [u64] {
    match &hello.resume {
        Some((incarnation, received)) if *incarnation == local.incarnation => received,
        _ => &[],
    }
}

/// Answers a node that wants to join under a name.
async fn answer(
    transport: &Transport,
    mut control: ControlStream,
    cluster: &str,
    name: &NodeName,
) -> Result<(), ConnectError> {
    let ours = &transport.0.config.cluster;
    if cluster != ours.as_str() {
        return Err(control.refuse(Refusal::Cluster { expected: ours.to_string() }).await);
    }
    if !control.names_peer(name) {
        return Err(control.refuse(Refusal::Identity { claimed: name.clone() }).await);
    }
    if *name == transport.local().name || transport.ping(name, LIFE_PATIENCE).await {
        return Err(control.refuse(Refusal::NameInUse { name: name.clone() }).await);
    }
    let known = transport.0.peers.borrow().highest(name);
    let highest = known.max(transport.0.events.highest_incarnation(name));
    control.greet(&Greeting::Known { node: transport.local().clone(), highest }).await?;
    if control.send.finish().is_err() {
        return Err(WireError::Malformed.into());
    }
    // Ready once the peer has everything; it closes then.
    let _ = control.send.stopped().await;
    Ok(())
}
