//! Watches across nodes: what is sent of them, and what is done about what comes.
//!
//! A watch and its taking back travel on the target's lane, its end on the watcher's: each behind all
//! that was sent that way before. They are messages like any other, and take of the same budgets; for
//! room they wait in [`errands`](super::errands), never on an arbiter.
//! Invariant: what the peer owes an end has a [`Slot`](super::incoming::Slot) there, and what this
//! node owes one has a slot here, until a lane has taken it.

use std::{sync::Arc, task::Poll};

use actix_cluster_transport::{
    Class, Later, Receipt, SendError, Session,
    sabotage::{self, Bug},
    wait_list::Ticket,
};

use super::{
    Party, Watchable, Watched, WatchedPlace,
    errands::{Errand, Letter, Owed},
    fail,
    reason::TerminatedReason,
    report, report_in_order,
    table::{Back, Number},
    token::{NUMBER_LIMIT, Token},
    watchers::{Key, Remote, Tie, Who},
    wire::{UnwatchBody, WatchBody},
};
use crate::{
    cluster::{
        node_id,
        redirect::BOUNCES_LIMIT,
        routing::Route,
        wire::{Address, Head},
    },
    node::{EntityKey, Node, NodeCore},
    reference::{RejectReason, target_hash},
};

impl Watched {
    /// The address on the node that has it, and the hash that decides its lane.
    fn address(&self) -> (Address<'_>, u64) {
        match &self.place {
            WatchedPlace::Actor { id, .. } => {
                (Address::Actor { actor_type: self.actor_type.0, id: id.0 }, target_hash(*id))
            }
            WatchedPlace::Entity(key) => (key.address(), key.hash()),
        }
    }
}

/// Whether a tie is that of the actor that a reference refers to.
pub(super) fn is_watcher(core: &NodeCore, tie: &Tie, actor: &Watched) -> bool {
    let (lanes, node) = match &tie.who {
        Who::Here(number) => (core.watches().own().lanes(*number), core.id().clone()),
        Who::There(remote) => (Some(remote.lanes), node_id(remote.session.peer())),
    };
    let (_, hash) = actor.address();
    let is_there = actor.node_id().is_none_or(|its| *its == node);
    is_there && lanes.is_some_and(|lanes| lanes.hashes().contains(&hash))
}

/// How far a try to tell another node of a watch has come.
pub(super) enum Step {
    /// It was told, or is not to be told any more.
    Done,
    /// Its lane has no room.
    NoRoom,
    /// The way is not known now.
    Later,
    /// There is none, as far as the routes know.
    NoWay,
}

/// Tells the node that has the target of a watch; an errand goes on with it if that can't be done
/// now.
pub(super) fn seek(core: &Arc<NodeCore>, number: Number, watched: &Watched, route: Route) {
    let step = tell_of(core, number, watched, route, |session, target, token, payload| {
        Poll::Ready(session.try_send(Class::Message, target, token, payload))
    });
    match (step, core.cluster()) {
        (Step::Done, _) => {}
        (_, Some(cluster)) => cluster.errand(Errand::Seek { number, tries: 0 }),
        (_, None) => super::end(core, number, TerminatedReason::NodeDown),
    }
}

/// Tells the node at the end of a route of a watch, by `send`.
pub(super) fn tell_of(
    core: &Arc<NodeCore>,
    number: Number,
    watched: &Watched,
    route: Route,
    send: impl FnOnce(&Session, u64, u64, &[u8]) -> Poll<Result<(), SendError>>,
) -> Step {
    let session = match route {
        Route::There(peer) => peer.session.clone(),
        Route::Here | Route::Later => return Step::Later,
        Route::Nowhere(_) => return Step::NoWay,
    };
    let watches = core.watches();
    let Some(body) = watches.begin_there(number, &session) else { return Step::Done };
    let (to, target) = watched.address();
    let payload = body.put(Head::Watch { to, watch: number }.put(Vec::new()));
    let step = match send(&session, target, Token::Watch(number).to_mark(), &payload) {
        Poll::Ready(Ok(())) => {
            let back = watches.own().sent(number).map(|(_, back)| back);
            if let Some(back) = back {
                send_unwatch(core, &session, number, watched, back);
            }
            Step::Done
        }
        Poll::Pending | Poll::Ready(Err(SendError::Full)) => Step::NoRoom,
        Poll::Ready(Err(_)) => Step::Later,
    };
    match step {
        // Its end may have been dealt with before the table knew that the watch was there.
        Step::Done if session.has_ended() => session_ended(core, &session),
        Step::Done => {}
        _ => watches.own().not_sent(number),
    }
    step
}

/// Tells the target's node that a watch was taken back.
pub(super) fn send_unwatch(
    core: &Arc<NodeCore>,
    session: &Session,
    number: Number,
    watched: &Watched,
    back: Back,
) {
    let (to, target) = watched.address();
    let payload = UnwatchBody(back).put(Head::Unwatch { to, watch: number }.put(Vec::new()));
    let token = Token::Unwatch(number, back).to_mark();
    let owed = Owed::Place(number);
    Letter { session: session.clone(), target, token, payload, owed }.post(core);
}

/// Tells another node of the end of what it watches, unless it has taken that back. Of a link it is
/// told all the same: if that is broken, it waits to hear that this came to something.
pub(super) fn tell(
    core: &Arc<NodeCore>,
    remote: &Arc<Remote>,
    is_link: bool,
    reason: TerminatedReason,
) {
    let watch = core.watches().incoming().remove(remote.session.peer(), remote.number);
    if watch.is_some() || is_link {
        send_end(core, remote, reason);
    }
}

fn send_end(core: &Arc<NodeCore>, remote: &Arc<Remote>, reason: TerminatedReason) {
    let Remote { session, number, lanes, .. } = &**remote;
    for lane in lanes.hashes() {
        let payload = Head::Terminated { watch: *number, reason: reason as u8 }.put(Vec::new());
        let token = Token::Terminated(*number, reason).to_mark();
        let owed = Owed::Slot(Arc::clone(remote));
        Letter { session: session.clone(), target: *lane, token, payload, owed }.post(core);
    }
}

/// Takes a frame about a watch. Runs on the arbiter of the frame's target, behind all that came
/// before on the target's lane.
pub(crate) fn receive(
    core: &Arc<NodeCore>,
    session: &Session,
    receipt: Receipt,
    target: u64,
    payload: &[u8],
) {
    let taken = match Head::take(payload) {
        Ok((Head::Watch { to, watch }, body)) => {
            receive_watch(core, session, target, to, watch, body)
        }
        Ok((Head::Unwatch { watch, .. }, body)) => receive_unwatch(core, session, watch, body),
        Ok((Head::Terminated { .. }, [])) if sabotage::strikes(Bug::EndLostOnResume) => Ok(()),
        Ok((Head::Terminated { watch, reason }, [])) => {
            let reason = TerminatedReason::from_wire(reason);
            report(core, watch, Some(&Party::There(session.clone())), target, reason);
            Ok(())
        }
        _ => Err(RejectReason::Mismatch),
    };
    match taken {
        Ok(()) => session.settle(receipt),
        Err(reason) => {
            if reason == RejectReason::Mismatch {
                tracing::warn!(node = %core.id(), peer = %session.peer(), "a watch was not understood");
            }
            session.reject(receipt, target, reason as u8, Later::Deliver);
        }
    }
}

/// Turns a frame about a watch away: this node takes nothing any more.
pub(crate) fn turn_away(session: &Session, receipt: Receipt, target: u64, payload: &[u8]) {
    let reason = match Head::take(payload) {
        Ok((Head::Watch { to: Address::Entity { .. }, .. }, _)) => RejectReason::Moved,
        Ok((Head::Watch { .. }, _)) => RejectReason::NodeStopped,
        _ => return session.settle(receipt),
    };
    session.reject(receipt, target, reason as u8, Later::Deliver);
}

fn receive_watch(
    core: &Arc<NodeCore>,
    session: &Session,
    target: u64,
    to: Address<'_>,
    number: Number,
    body: &[u8],
) -> Result<(), RejectReason> {
    let body = WatchBody::read(body).filter(|_| number < NUMBER_LIMIT);
    let WatchBody { is_link, lanes } = body.ok_or(RejectReason::Mismatch)?;
    let found = find(core, target, to)?;
    let (watches, peer) = (core.watches(), session.peer());
    let slot = watches.incoming().reserve(peer).ok_or(RejectReason::Full)?;
    let remote = Arc::new(Remote { session: session.clone(), number, lanes, slot });
    let mailbox = match found {
        Ok(mailbox) => mailbox,
        Err(reason) => {
            send_end(core, &remote, reason);
            return Ok(());
        }
    };
    if !watches.incoming().insert(peer, number, Arc::clone(&mailbox)) {
        return Err(RejectReason::Mismatch);
    }
    let tie = Tie { who: Who::There(Arc::clone(&remote)), is_link };
    if let Err(reason) = mailbox.add(tie) {
        tell(core, &remote, is_link, reason);
    } else if session.has_ended() {
        // Its end may have been dealt with before the tie was there.
        watches.incoming().remove(peer, number);
        let key = Key::There(peer.clone(), number);
        untie(core, mailbox, &key, Back::Broken(TerminatedReason::NodeDown));
    }
    Ok(())
}

/// The target of a watch; `Err` inside if there is none, which ends the watch.
type Found = Result<Arc<dyn Watchable>, TerminatedReason>;

fn find(core: &Arc<NodeCore>, target: u64, to: Address<'_>) -> Result<Found, RejectReason> {
    let actor_type = to.actor_type();
    match to {
        Address::Actor { id, .. } => Ok(core.watchable_actor(actor_type, id.into())),
        Address::Entity { key, .. } if key.len() > Node::KEY_LIMIT => Err(RejectReason::Mismatch),
        Address::Entity { key, .. } => {
            // A hash that is none of this key leads to nobody.
            let key = EntityKey::sent(actor_type, target, key);
            if core.owns(&key) { Ok(core.watchable_entity(&key)) } else { Err(RejectReason::Moved) }
        }
    }
}

fn receive_unwatch(
    core: &Arc<NodeCore>,
    session: &Session,
    number: Number,
    body: &[u8],
) -> Result<(), RejectReason> {
    let UnwatchBody(back) = UnwatchBody::read(body).ok_or(RejectReason::Mismatch)?;
    let peer = session.peer();
    let target = core.watches().incoming().remove(peer, number);
    let Some(target) = target else { return Ok(()) };
    let tie = untie(core, target, &Key::There(peer.clone(), number), back);
    // Without a tie, whoever has taken that tells.
    if let (Some(Tie { who: Who::There(remote), .. }), Back::Broken(_)) = (tie, back) {
        send_end(core, &remote, TerminatedReason::Linked);
    }
    Ok(())
}

/// A watcher is gone. If it was linked, and has failed, the target fails too. Returns what tied them.
fn untie(core: &Arc<NodeCore>, target: Arc<dyn Watchable>, key: &Key, back: Back) -> Option<Tie> {
    let tie = target.remove(key);
    if let (Some(Tie { is_link: true, .. }), Back::Broken(reason)) = (&tie, back) {
        fail(core, target, reason);
    }
    tie
}

/// A frame about a watch was rejected by its receiver.
pub(crate) fn rejected(
    core: &Arc<NodeCore>,
    session: &Session,
    target: u64,
    token: Token,
    reason: RejectReason,
) {
    match token {
        Token::Watch(number) => watch_rejected(core, session, number, reason),
        // Nothing was wrong with it, so it goes again.
        Token::Unwatch(number, back) if reason == RejectReason::EarlierRejected => {
            // The number says which; nobody looks at the address.
            let to = Address::Actor { actor_type: 0, id: 0 };
            let payload =
                UnwatchBody(back).put(Head::Unwatch { to, watch: number }.put(Vec::new()));
            send_again(core, session, target, token, payload);
        }
        Token::Terminated(number, end) if reason == RejectReason::EarlierRejected => {
            let payload = Head::Terminated { watch: number, reason: end as u8 }.put(Vec::new());
            send_again(core, session, target, token, payload);
        }
        // Only a peer that breaks the protocol rejects these.
        Token::Unwatch(..) | Token::Terminated(..) => {}
    }
}

fn send_again(
    core: &Arc<NodeCore>,
    session: &Session,
    target: u64,
    token: Token,
    payload: Vec<u8>,
) {
    let Some(cluster) = core.cluster() else { return };
    // A peer that rejects without end has no place any more at some time.
    let Some(slot) = core.watches().incoming().reserve(session.peer()) else { return };
    let (token, owed) = (token.to_mark(), Owed::Again(slot));
    let letter = Letter { session: session.clone(), target, token, payload, owed };
    // Not from here: it would go before the word that the rejection was seen, and be rejected again.
    cluster.errand(Errand::Deliver(letter));
}

fn watch_rejected(core: &Arc<NodeCore>, session: &Session, number: Number, reason: RejectReason) {
    let by = Party::There(session.clone());
    let may_try = matches!(reason, RejectReason::Moved | RejectReason::EarlierRejected);
    let watches = core.watches();
    if may_try {
        let tries = watches.own().handle_refused(number, &by);
        if let Some(tries) = tries {
            seek_again(core, number, tries);
        }
        return;
    }
    let end = match reason {
        RejectReason::NodeStopped => TerminatedReason::NodeStopped,
        _ => TerminatedReason::Unknown,
    };
    end_in_order(core, number, end);
}

/// Looks for the target of a watch again that was refused where it was thought to be, or ends it.
pub(super) fn seek_again(core: &Arc<NodeCore>, number: Number, tries: u32) {
    match core.cluster() {
        Some(cluster) if tries <= BOUNCES_LIMIT => cluster.errand(Errand::Seek { number, tries }),
        _ => end_in_order(core, number, TerminatedReason::Unknown),
    }
}

/// Ends a watch of something on another node, behind all that has come from there.
pub(super) fn end_in_order(core: &Arc<NodeCore>, number: Number, reason: TerminatedReason) {
    let lanes = core.watches().own().lanes(number);
    report_in_order(core, lanes.map(|lanes| (number, lanes)), None, reason);
}

/// A session has ended, and with it the incarnation at its other end.
pub(crate) fn session_ended(core: &Arc<NodeCore>, session: &Session) {
    let (watches, peer) = (core.watches(), session.peer());
    let party = Party::There(session.clone());
    let ends = watches.own().handle_gone(&party);
    report_in_order(core, ends, Some(&party), TerminatedReason::NodeDown);
    let gone = watches.incoming().handle_gone(peer);
    for (number, target) in gone {
        let key = Key::There(peer.clone(), number);
        untie(core, target, &key, Back::Broken(TerminatedReason::NodeDown));
    }
}

/// A place in the line of a target of a session, given up when it is dropped.
pub(super) struct Line {
    session: Session,
    target: u64,
    ticket: Option<Ticket>,
}

impl Line {
    pub(super) fn new(session: &Session, target: u64) -> Self {
        Self { session: session.clone(), target, ticket: None }
    }

    pub(super) fn is_of(&self, session: &Session, target: u64) -> bool {
        (&self.session, self.target) == (session, target)
    }

    pub(super) fn poll(
        &mut self,
        token: u64,
        payload: &[u8],
        task: &std::task::Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.session.poll_send(self.target, token, payload, &mut self.ticket, task)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.session.leave(self.target, ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::LocalSet;

    use super::*;
    use crate::{
        actor::ActorId,
        message::WireId,
        node::{LocalThreads, NodeId},
        watch::{
            Terminated,
            lanes::Lanes,
            watchable::Notified,
            watcher::{To, Watcher},
        },
    };

    /// What was done, in order: jobs by their numbers, and the end.
    #[derive(Default)]
    struct Log(Mutex<Vec<Option<u32>>>);

    impl Log {
        fn add(&self, entry: Option<u32>) {
            self.0.lock().expect("unpoisoned").push(entry);
        }
    }

    impl Notified for Log {
        fn notify(&self, _: Terminated) {
            self.add(None);
        }
    }

    /// A watch of something on another node.
    fn watcher(log: &Arc<Log>) -> Watcher {
        let node = NodeId { name: "elsewhere".into(), incarnation: 1 };
        let place = WatchedPlace::Actor { node, id: ActorId(7) };
        let target = Watched { actor: "test.Any", actor_type: WireId(1), place };
        Watcher { target, to: To::Actor(Arc::clone(log) as Arc<dyn Notified>) }
    }

    #[test]
    fn an_end_is_told_behind_all_that_has_come_on_each_lane() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let arbiters = 3.try_into().expect("not zero");
            let node = crate::Node::builder().arbiters(arbiters).threads(LocalThreads).start();
            let node = node.await.expect("a node");
            let (core, log) = (node.core(), Arc::new(Log::default()));
            // More than an arbiter does at a time, on that of the second lane alone.
            for n in 0..1_000 {
                let log = Arc::clone(&log);
                let job = Box::new(move |_: &_| log.add(Some(n)));
                assert!(core.arbiters()[2].deliver(job).is_ok());
            }
            let number = 1_000_000;
            core.watches().own().set(number, Lanes::two(1, 2), watcher(&log)).expect("room");
            end_in_order(&core, number, TerminatedReason::NodeDown);
            node.shutdown().await;
            let log = log.0.lock().expect("unpoisoned");
            assert_eq!((log.len(), log.last()), (1_001, Some(&None)));
        });
    }
}
