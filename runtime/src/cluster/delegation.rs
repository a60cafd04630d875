//! Asks whose answers are owed by other nodes than those that were asked.
//!
//! Whoever takes over an answer is given a [`Claim`], which names the asker's node and the ask there.
//! Invariant: only the asker's node ends the ask, by whatever comes first: the answer, from whichever
//! node; the end of the node that owes it, as far as that is known there; or the deadline.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_cluster_transport::{Class, SendError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    cancel::{AskKey, Watch},
    peer_id,
    pending::{Answer, Correlation},
    routing::Route,
    wire::{Extensions, Head, PayloadError},
};
use crate::{
    message::WireId,
    node::{NodeCore, NodeId},
    reference::UnknownReason,
};

/// How many claims one message may carry, beside the one for its own result.
pub(crate) const CLAIMS_LIMIT: usize = 64;

/// The right to answer an ask of some node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) asker: NodeId,
    pub(crate) correlation: Correlation,
    /// How often it has changed hands: the asker's node follows the latest.
    pub(crate) hops: u32,
    /// The message, in the version whose result is awaited.
    pub(crate) version: WireId,
}

/// A claim as bytes. Frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireClaim<'a> {
    pub(crate) name: &'a str,
    pub(crate) incarnation: u64,
    pub(crate) correlation: u64,
    pub(crate) hops: u32,
    /// How long the asker still waits, in microseconds.
    pub(crate) time_left: u64,
    /// The wire id of the message whose result is awaited.
    pub(crate) version: u64,
}

impl<'a> WireClaim<'a> {
    pub(crate) fn new(claim: &'a Claim, time_left: Duration) -> Self {
        Self {
            name: &claim.asker.name,
            incarnation: claim.asker.incarnation,
            correlation: claim.correlation,
            hops: claim.hops,
            time_left: u64::try_from(time_left.as_micros()).unwrap_or(u64::MAX),
            version: claim.version.0,
        }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim {
            asker: NodeId { name: self.name.into(), incarnation: self.incarnation },
            correlation: self.correlation,
            hops: self.hops,
            version: WireId(self.version),
        }
    }

    /// Reads claims that stand one after the other.
    fn read_all(mut bytes: &'a [u8]) -> Result<Vec<Self>, PayloadError> {
        let mut claims = Vec::new();
        while !bytes.is_empty() {
            if claims.len() >= CLAIMS_LIMIT {
                return Err(PayloadError::Malformed);
            }
            let (claim, rest) =
                postcard::take_from_bytes(bytes).map_err(|_| PayloadError::Malformed)?;
            claims.push(claim);
            bytes = rest;
        }
        Ok(claims)
    }

    pub(crate) fn put(&self, out: Vec<u8>) -> Vec<u8> {
        postcard::to_extend(self, out).expect("a claim has no value that serde refuses")
    }

    fn expires(&self, now: Instant) -> Option<Instant> {
        now.checked_add(Duration::from_micros(self.time_left))
    }
}

/// The claims that came with a message, until they are taken. The others are answered with *no reply*
/// when this is dropped.
pub(crate) struct Claims {
    core: Arc<NodeCore>,
    /// For its own result.
    own: Option<Claim>,
    carried: Vec<Option<Carried>>,
}

/// A claim for what was asked of others, and until when somebody waits there.
pub(crate) type Carried = (Claim, Option<Instant>);

impl Claims {
    /// Reads what came with a message, which is mostly nothing.
    pub(crate) fn read(
        core: &Arc<NodeCore>,
        extensions: &Extensions<'_>,
        now: impl FnOnce() -> Instant,
    ) -> Result<Option<Box<Self>>, PayloadError> {
        let Extensions { answers, carries, .. } = extensions;
        if answers.is_empty() && carries.is_empty() {
            return Ok(None);
        }
        let own = match WireClaim::read_all(answers)?[..] {
            [] => None,
            [own] => Some(own.claim()),
            _ => return Err(PayloadError::Malformed),
        };
        let now = now();
        let carried = WireClaim::read_all(carries)?;
        let carried = carried.iter().map(|claim| Some((claim.claim(), claim.expires(now))));
        Ok(Some(Box::new(Self { core: Arc::clone(core), own, carried: carried.collect() })))
    }

    /// Whether there is a claim for the message's own result.
    pub(crate) fn has_own(&self) -> bool {
        self.own.is_some()
    }

    /// The claim for the message's own result.
    pub(crate) fn take_own(&mut self) -> Option<Delegation> {
        self.own.take().map(|claim| Delegation::new(&self.core, claim))
    }

    /// The message has not run after all.
    pub(crate) fn put_own(&mut self, delegation: Delegation) {
        self.own = Some(delegation.claim);
    }

    /// The claim at this place among those that the message carries, if it is for a version that is
    /// known. Each can be taken once.
    pub(crate) fn take_carried(
        &mut self,
        place: usize,
        is_known: fn(WireId) -> bool,
    ) -> Option<Carried> {
        self.carried.get_mut(place)?.take_if(|(claim, _)| is_known(claim.version))
    }

    /// Somebody else answers.
    pub(crate) fn forget(mut self) {
        self.own = None;
        self.carried.clear();
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let carried = self.carried.drain(..).flatten().map(|(claim, _)| claim);
        for claim in self.own.take().into_iter().chain(carried) {
            fail(&self.core, &claim, UnknownReason::NoReply);
        }
    }
}

/// What a message's extensions are once the message was sent on: its claims have changed hands.
pub(crate) fn passed_on(claims: &[u8]) -> Option<Vec<u8>> {
    let claims = WireClaim::read_all(claims).ok()?.into_iter();
    let hopped = claims.map(|claim| WireClaim { hops: claim.hops.saturating_add(1), ..claim });
    Some(hopped.fold(Vec::new(), |out, claim| claim.put(out)))
}

/// A message that came back was sent on to a node, which owes its answers now.
pub(crate) fn sent_on(core: &NodeCore, payload: &[u8], to: &NodeId) {
    // With its message an asker may get back what that carries, and follows it from there.
    if matches!(Head::take(payload), Ok((Head::Tell { .. }, _))) {
        for claim in claims_of(payload) {
            follow(core, &claim, to);
        }
    }
}

/// A message that came back is given up, and the answers that it owed with it. Of an ask only if its asker
/// has gone: with its message it gets back what that carries.
pub(crate) fn abandon(core: &NodeCore, payload: &[u8]) {
    for claim in claims_of(payload) {
        fail(core, &claim, UnknownReason::NoReply);
    }
}

fn claims_of(payload: &[u8]) -> Vec<Claim> {
    let extensions = match Head::take(payload) {
        Ok((Head::Tell { extensions, .. } | Head::Ask { extensions, .. }, _)) => extensions,
        _ => return Vec::new(),
    };
    let Ok(extensions) = Extensions::decode(extensions) else { return Vec::new() };
    let claims = [extensions.answers, extensions.carries].map(WireClaim::read_all);
    claims.iter().flatten().flatten().map(WireClaim::claim).collect()
}

/// A claim that this node holds, and with it the duty to answer.
pub(crate) struct Delegation {
    core: Arc<NodeCore>,
    claim: Claim,
    watch: Option<Watch>,
}

impl Delegation {
    pub(crate) fn new(core: &Arc<NodeCore>, claim: Claim) -> Self {
        let key = claim.key();
        let watch = key.and_then(|key| Some(core.cluster()?.cancels.watch(key)));
        Self::watched(core, claim, watch)
    }

    /// As [`new`](Self::new), if the ask's cancel is watched for already.
    pub(crate) fn watched(core: &Arc<NodeCore>, claim: Claim, watch: Option<Watch>) -> Self {
        Self { core: Arc::clone(core), claim, watch }
    }

    pub(crate) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// Answers with a result, encoded by `encode` behind the head that it is given.
    pub(crate) fn reply<E>(&self, encode: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, E>) {
        let Claim { asker, correlation, .. } = &self.claim;
        let head = if *asker == *self.core.id() {
            Vec::new()
        } else {
            Head::DelegatedReply { correlation: *correlation }.put(Vec::with_capacity(64))
        };
        let Ok(reply) = encode(head) else { return self.fail(UnknownReason::BadReply) };
        if *asker == *self.core.id() {
            answer_here(&self.core, *correlation, Answer::Reply(reply.into()));
            return;
        }
        match send(&self.core, asker, *correlation, reply.into()) {
            Ok(()) => {}
            Err(SendError::Full) => self.fail(UnknownReason::RepliesFull),
            Err(_) => self.fail(UnknownReason::BadReply),
        }
    }

    /// There is no result.
    pub(crate) fn fail(&self, reason: UnknownReason) {
        fail(&self.core, &self.claim, reason);
    }

    /// Another node has the claim now.
    pub(crate) fn hand_over(self, to: &NodeId) -> Claim {
        let Self { core, mut claim, .. } = self;
        claim.hops += 1;
        follow(&core, &claim, to);
        claim
    }

    /// Takes a claim back that another node did not accept.
    pub(crate) fn take_back(core: &Arc<NodeCore>, mut claim: Claim) -> Self {
        claim.hops += 1;
        follow(core, &claim, core.id());
        Self::new(core, claim)
    }
}

impl Claim {
    /// As the next holder is to know it.
    pub(crate) fn next(&self) -> Self {
        Self { hops: self.hops + 1, ..self.clone() }
    }

    /// The ask as its cancel names it.
    pub(crate) fn key(&self) -> Option<AskKey> {
        Some((peer_id(&self.asker)?, self.correlation))
    }
}

/// Tells an asker's node that there is no result.
pub(crate) fn fail(core: &NodeCore, claim: &Claim, reason: UnknownReason) {
    let Claim { asker, correlation, .. } = claim;
    if asker == core.id() {
        answer_here(core, *correlation, Answer::Unknown(reason));
        return;
    }
    let head = Head::DelegatedUnknown { correlation: *correlation, reason: reason as u8 };
    // It is short. If it can't be sent, the deadline ends the ask.
    let _ = send(core, asker, *correlation, head.put(Vec::new()).into());
}

/// Tells an asker's node who owes its answer from now on.
pub(crate) fn follow(core: &NodeCore, claim: &Claim, node: &NodeId) {
    let Claim { asker, correlation, hops, .. } = claim;
    if asker == core.id() {
        return follow_here(core, *correlation, *hops, node);
    }
    let head = Head::Delegated {
        correlation: *correlation,
        hops: *hops,
        name: &node.name,
        incarnation: node.incarnation,
    };
    let _ = send(core, asker, *correlation, head.put(Vec::new()).into());
}

/// An ask of this node is to be answered by `node` from now on.
pub(crate) fn follow_here(core: &NodeCore, correlation: Correlation, hops: u32, node: &NodeId) {
    let Some(cluster) = core.cluster() else { return };
    cluster.pending.follow(correlation, hops, node);
    // Its end may have been told before.
    if let Route::Nowhere(_) = core.route_to_node(node) {
        cluster.pending.answer_delegated(correlation, Answer::Unknown(UnknownReason::NodeDown));
    }
}

/// Answers an ask of this node. Returns whether somebody expected that.
pub(crate) fn answer_here(core: &NodeCore, correlation: Correlation, answer: Answer) -> bool {
    core.cluster().is_some_and(|cluster| cluster.pending.answer_delegated(correlation, answer))
}

fn send(
    core: &NodeCore,
    asker: &NodeId,
    correlation: Correlation,
    answer: Bytes,
) -> Result<(), SendError> {
    match core.route_to_node(asker) {
        Route::There(peer) => {
            match peer.session.try_send(Class::Answer, correlation, 0, &answer) {
                // If the session is over, so is its node's ask.
                Err(SendError::Ended) => Ok(()),
                sent => sent,
            }
        }
        // It is gone, or has never been linked with this node: its deadline ends the ask.
        Route::Here | Route::Later | Route::Nowhere(_) => {
            tracing::debug!(node = %core.id(), %asker, "an asker's node can't be reached");
            Ok(())
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("own", &self.own)
            .field("carried", &self.carried)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delegation").field(&self.claim).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let asker = NodeId { name: "n1".into(), incarnation: 300 };
        Claim { asker, correlation: 4, hops: 2, version: WireId(5) }
    }

    const GOLDEN: [u8; 10] = [2, b'n', b'1', 0xac, 2, 4, 2, 0xac, 2, 5];

    #[test]
    fn a_claim_has_golden_bytes() {
        let (claim, left) = (claim(), Duration::from_micros(300));
        let bytes = WireClaim::new(&claim, left).put(Vec::new());
        assert_eq!(bytes, GOLDEN);
        let read = WireClaim::read_all(&bytes).expect("a claim");
        assert_eq!(read, [WireClaim::new(&claim, left)]);
        assert_eq!(read[0].claim(), claim);
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
        let page = std::fs::read_to_string(page).expect("the page on the wire");
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(page.contains(&format!("`{}`", hex.join(" "))), "docs/wire.md has no {hex:?}");
    }

    #[test]
    fn claims_change_hands_when_their_message_is_sent_on() {
        let twice = [GOLDEN, GOLDEN].concat();
        let passed = passed_on(&twice).expect("claims");
        let hops = |claim: &WireClaim<'_>| claim.hops;
        let read = WireClaim::read_all(&passed).expect("claims");
        assert_eq!(read.iter().map(hops).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(passed_on(&[1]), None);
    }

    #[test]
    fn a_message_carries_a_bounded_number_of_claims() {
        assert!(WireClaim::read_all(&GOLDEN.repeat(CLAIMS_LIMIT)).is_ok());
        let more = GOLDEN.repeat(CLAIMS_LIMIT + 1);
        assert_eq!(WireClaim::read_all(&more), Err(PayloadError::Malformed));
    }
}
