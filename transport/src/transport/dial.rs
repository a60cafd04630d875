//! The side that dials.

use std::net::SocketAddr;

use super::{Bound, Transport, accept::marks_for};
use crate::{
    clock::{Clock, Sleep},
    config::{TransportConfig, open_streams},
    greet::{CLOSED, ConnectError, ControlStream},
    identity::{NodeName, PeerId},
    wire::handshake::{Greeting, Refusal},
};

/// The name in the TLS greeting. Peers are named by their certificates and our own handshake, so
/// it says nothing.
const SERVER_NAME: &str = "actix-cluster";

/// Dials a peer whenever it is wanted and no connection carries its session.
pub(super) async fn run(transport: Transport, name: NodeName) {
    let mut wait = transport.0.config.redial_first;
    // What the log has been told, so that it is told once.
    let mut told = None;
    loop {
        let (peer, addr, linked) = {
            let mut peers = transport.0.peers.borrow_mut();
            let Some(entry) = peers.get_mut(&name) else { return };
            let Some((incarnation, addr)) = entry.peer.wanted() else {
                entry.dialling = false;
                peers.release(&name);
                return;
            };
            (PeerId { name: name.clone(), incarnation }, addr, entry.peer.link().is_some())
        };
        // Only what was begun is brought to its end while the node closes.
        if transport.0.closing.get() && !transport.knows(&peer) {
            return;
        }
        if linked {
            transport.0.changed.notified().await;
            continue;
        }
        match dial(&transport, &peer, addr).await {
            Ok(carried) => {
                (wait, told) = (transport.0.config.redial_first, None);
                carried.await;
            }
            Err(error) => {
                let remedy = error.remedy();
                if remedy.is_some() && remedy != told {
                    tracing::warn!(node = %transport.local(), %peer, %error, remedy, "dial failed");
                    told = remedy;
                } else {
                    tracing::debug!(node = %transport.local(), %peer, %error, "dial failed");
                }
                transport.record(format_args!("dial of {peer} failed: {error}"));
                transport.0.events.dial_failed(&peer, &error);
                let pause = transport.0.random.borrow_mut().jittered(wait);
                wait = (wait * 2).min(transport.0.config.redial_longest);
                tokio::select! {
                    biased;
                    () = transport.0.changed.notified() => {}
                    () = transport.0.clock.sleep(pause) => {}
                }
            }
        }
    }
}

async fn dial(
    transport: &Transport,
    peer: &PeerId,
    addr: SocketAddr,
) -> Result<impl Future<Output = ()> + use<>, ConnectError> {
    let shared = &transport.0;
    let patience = shared.clock.sleep(shared.config.handshake_timeout);
    // No borrow outlives this line: credentials may be rotated while the node dials.
    let client = shared.proof.borrow().client();
    in_time(patience, connect(&shared.endpoint, client, addr), async |connection| {
        let mut control = ControlStream::open(connection).await?;
        control.greet(&Greeting::Hello(transport.hello(Some(&peer.name)))).await?;
        let welcome = match control.greeting().await? {
            Greeting::Welcome(welcome) => welcome,
            _ => return Err(control.refuse(Refusal::Protocol).await),
        };
        if welcome.node.name != peer.name {
            let here = welcome.node.name;
            return Err(control.refuse(Refusal::WrongNode { here }).await);
        }
        if let Err(refusal) = transport.check(&welcome, &control) {
            return Err(control.refuse(refusal).await);
        }
        let local = transport.local().name.clone();
        if !transport.may_carry(&peer.name, &local) {
            transport.note_race();
            return Err(control.refuse(Refusal::Duplicate).await);
        }
        let session = transport.session_with(&welcome);
        open_streams(&shared.config, &control.connection);
        control.greet(&Greeting::Ready).await?;
        // The world may have moved on while the two were greeting.
        if session.has_ended() {
            let known = session.peer().incarnation;
            return Err(control.refuse(Refusal::Stale { known }).await);
        }
        let received = marks_for(transport.local(), &welcome);
        transport.carry(control, &session, received, local)
    })
    .await
}

/// Says something to whoever is at `addr` on a connection of its own.
pub(super) async fn briefly<T>(
    transport: &Transport,
    addr: SocketAddr,
    say: impl AsyncFnOnce(ControlStream) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let shared = &transport.0;
    let patience = shared.clock.sleep(shared.config.handshake_timeout);
    // No borrow outlives this line: credentials may be rotated meanwhile.
    let client = shared.proof.borrow().client();
    in_time(patience, connect(&shared.endpoint, client, addr), async |connection| {
        say(ControlStream::open(connection).await?).await
    })
    .await
}

async fn connect(
    endpoint: &quinn::Endpoint,
    client: quinn::ClientConfig,
    addr: SocketAddr,
) -> Result<quinn::Connection, ConnectError> {
    let connecting =
        endpoint.connect_with(client, addr, SERVER_NAME).map_err(ConnectError::Dial)?;
    Ok(connecting.await?)
}

/// Connects and greets in time, or tells the peer why not.
async fn in_time<T>(
    mut patience: Sleep,
    connect: impl Future<Output = Result<quinn::Connection, ConnectError>>,
    greet: impl AsyncFnOnce(quinn::Connection) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let connection = tokio::select! {
        biased;
        connection = connect => connection?,
        () = &mut patience => return Err(ConnectError::TimedOut),
    };
    let greeted = tokio::select! {
        biased;
        greeted = greet(connection.clone()) => greeted,
        () = patience => Err(ConnectError::TimedOut),
    };
    if let Err(error) = &greeted {
        error.close(&connection);
    }
    greeted
}

impl Bound {
    /// Asks the node at `addr` who it is, and for the highest incarnation it knows of this node's
    /// name: the next one is free to join as.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a live node that holds the name is [`Refusal::NameInUse`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing changes on either side.
    pub async fn inquire(&self, addr: SocketAddr) -> Result<(PeerId, u64), ConnectError> {
        let Self { config, clock, endpoint, proof, .. } = self;
        inquire(config, clock, endpoint, proof.client(), addr).await
    }
}

impl Transport {
    /// Asks the node at `addr` who it is, as [`Bound::inquire`] does: to look for nodes that this one
    /// does not know. A node that has a connection with this one answers that the name is in use.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing changes on either side.
    pub async fn inquire(&self, addr: SocketAddr) -> Result<(PeerId, u64), ConnectError> {
        let shared = &self.0;
        // No borrow outlives this line: credentials may be rotated while the node asks.
        let client = shared.proof.borrow().client();
        inquire(&shared.config, &shared.clock, &shared.endpoint, client, addr).await
    }
}

async fn inquire(
    config: &TransportConfig,
    clock: &Clock,
    endpoint: &quinn::Endpoint,
    client: quinn::ClientConfig,
    addr: SocketAddr,
) -> Result<(PeerId, u64), ConnectError> {
    let patience = clock.sleep(config.handshake_timeout);
    in_time(patience, connect(endpoint, client, addr), async |connection| {
        let mut control = ControlStream::open(connection).await?;
        let (cluster, name) = (config.cluster.to_string(), config.node.clone());
        control.greet(&Greeting::Inquire { cluster, name }).await?;
        let answer = control.greeting().await?;
        let Greeting::Known { node, highest } = answer else {
            return Err(control.refuse(Refusal::Protocol).await);
        };
        if !control.names_peer(&node.name) {
            let claimed = node.name;
            return Err(control.refuse(Refusal::Identity { claimed }).await);
        }
        control.connection.close(CLOSED.into(), b"");
        Ok((node, highest))
    })
    .await
}
