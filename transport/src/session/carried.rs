//! A session as the connection sees it that carries it: batches to write, frames that arrived.

use std::{sync::atomic::Ordering, task::Waker};

use bytes::Bytes;

use super::{
    Arrived, FRAMES_LIMIT, Inflow, Receipt, Replaced, Session, Unsettled,
    closing::Closing,
    lock,
    urgency::{self, UNTOLD_BYTES, Urgency},
};
use crate::{
    clock::Clock,
    config::BULK_OVER_LIMIT,
    wire::{WireError, control::Control, lane::HEAD_LONGEST},
};

/// What a control frame asks of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A ping was answered.
    Pong,
    /// For the layer above.
    Packet(Vec<u8>),
    /// These bytes of a bulk message are to be written on a stream of their own.
    Write {
        /// Its number.
        id: u64,
        /// The place of the first byte.
        from: u64,
        /// All that is left of it.
        bytes: Bytes,
    },
}

impl Session {
    /// Whether the layer above is to be told of the session: the first time only.
    pub(crate) fn introduce(&self) -> bool {
        !self.0.introduced.swap(true, Ordering::AcqRel)
    }

    /// The longest frame that may come on a lane.
    pub(super) fn frame_limit_bytes(&self) -> u64 {
        self.0.shape.accepts.longest.min(BULK_OVER_LIMIT as u64) + HEAD_LONGEST as u64
    }

    /// Up to where a lane has arrived.
    pub(super) fn received_on(&self, lane: u16) -> Result<u64, WireError> {
        let incoming = self.0.incoming.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        Ok(lock(&incoming.lane).received())
    }

    /// Up to where each lane has arrived.
    pub(crate) fn received(&self) -> Vec<u64> {
        self.0.incoming.iter().map(|incoming| lock(&incoming.lane).received()).collect()
    }

    /// A new connection, `carrier`, begins: the peer has received up to `received` on each lane.
    /// Returns each lane's first sequence number on it. What carried the session before gets
    /// nothing of it any more.
    ///
    /// # Errors
    ///
    /// When the peer claims to have received what was never sent, or on other lanes.
    pub(crate) fn resume(&self, carrier: u64, received: &[u64]) -> Result<Vec<u64>, WireError> {
        if !received.is_empty() && received.len() != self.0.outgoing.len() {
            return Err(WireError::Malformed);
        }
        let mut control = lock(&self.0.control);
        control.carrier = carrier;
        control.frames.clear();
        control.closing.retell();
        control.paused_changed = control.paused.clone();
        drop(control);
        // After the carrier was changed: what carried the session before takes no marks any more.
        for incoming in &self.0.incoming {
            lock(&incoming.lane).retell();
        }
        self.tell_marks(Urgency::Now);
        lock(&self.0.inflow).bulks.resume(carrier);
        lock(&self.0.bulk_out).resume();
        let received = received.iter().copied().chain(std::iter::repeat(0));
        let lanes = self.0.outgoing.iter().zip(received);
        let resume =
            |(out, at): (&super::Out, u64)| lock(&out.lane).resume(carrier, at, &self.0.budget);
        lanes.map(resume).collect()
    }

    /// The next batch of a lane for a connection, if there is one.
    pub(crate) fn poll_batch(&self, carrier: u64, lane: u16) -> Result<Option<Bytes>, Replaced> {
        let mut wake = Vec::new();
        let out = &self.0.outgoing[usize::from(lane)];
        let batch = lock(&out.lane).poll_batch(carrier, &self.0.budget, &mut wake);
        wake.into_iter().for_each(Waker::wake);
        batch
    }

    /// The next batch of a lane for a connection; waits for one.
    ///
    /// # Errors
    ///
    /// When another connection carries the session since.
    ///
    /// # Cancel safety
    ///
    /// Safe: a batch is handed over when the future is ready.
    pub(crate) async fn batch(&self, carrier: u64, lane: u16) -> Result<Bytes, Replaced> {
        let ready = &self.0.outgoing[usize::from(lane)].ready;
        loop {
            match self.poll_batch(carrier, lane) {
                Ok(Some(bytes)) => {
                    if self.0.untold.is_due() {
                        self.0.lane_written.notify_waiters();
                    } else if self.0.untold.waits() {
                        // In the same packet, since who collects them comes before who sends it.
                        self.tell_marks(Urgency::Along);
                    }
                    return Ok(bytes);
                }
                Ok(None) => ready.notified().await,
                Err(Replaced) => {
                    // The word may have been for the one that carries the session now.
                    ready.notify_one();
                    return Err(Replaced);
                }
            }
        }
    }

    /// What the control lane is to write on a connection; waits for something.
    ///
    /// # Errors
    ///
    /// When another connection carries the session since.
    ///
    /// # Cancel safety
    ///
    /// Safe for marks and frames of the session itself; packets taken and not written are lost.
    pub(crate) async fn control(&self, carrier: u64, clock: &Clock) -> Result<Vec<u8>, Replaced> {
        let ready = &self.0.control_ready;
        let mut out = Vec::new();
        let mut latest = None;
        loop {
            if self.0.untold.is_due() {
                self.others_turn().await;
            }
            if let Err(Replaced) = self.collect_control(carrier, &mut out) {
                ready.notify_one();
                return Err(Replaced);
            }
            if !out.is_empty() {
                return Ok(out);
            }
            if latest.is_none() && self.0.untold.waits() {
                // Who answers what has just come goes first.
                tokio::task::yield_now().await;
                latest = Some(clock.sleep(urgency::LATEST));
            }
            let Some(until) = &mut latest else {
                ready.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = ready.notified() => {}
                () = until => {
                    latest = None;
                    self.tell_waiting_marks();
                }
            }
        }
    }

    /// Lets those go first who answer what has just come, so that marks go in the packets of a lane that
    /// is written then: one of their own costs both ends a system call, and the peer a wake.
    async fn others_turn(&self) {
        tokio::select! {
            biased;
            () = self.0.lane_written.notified() => {}
            () = tokio::task::yield_now() => {}
        }
    }

    /// Marks that wait to be told have waited long enough.
    pub(crate) fn tell_waiting_marks(&self) {
        if self.0.untold.waits() {
            self.tell_marks(Urgency::Now);
        }
    }

    /// Appends what the control lane is to write now.
    ///
    /// # Errors
    ///
    /// When another connection carries the session since.
    pub(crate) fn collect_control(&self, carrier: u64, out: &mut Vec<u8>) -> Result<(), Replaced> {
        let mut control = lock(&self.0.control);
        if control.carrier != carrier {
            return Err(Replaced);
        }
        for frame in control.frames.drain(..) {
            frame.put(out);
        }
        for packet in control.packets.drain(..) {
            Control::Packet(packet.to_vec()).put(out);
        }
        for frame in control.closing.poll(|| self.is_settled()).into_iter().flatten() {
            frame.put(out);
        }
        for target in std::mem::take(&mut control.paused_changed) {
            let is_paused = control.paused.contains(&target);
            let frame =
                if is_paused { Control::Pause { target } } else { Control::Resume { target } };
            frame.put(out);
        }
        for (id, reason) in lock(&self.0.bulk_out).poll_cancelled() {
            Control::Cancelled { id, reason }.put(out);
        }
        while let Some((id, from)) = self.poll_pull() {
            Control::Pull { id, from }.put(out);
        }
        // Under the same lock, so that no connection takes marks once it was replaced.
        if self.0.untold.take(!out.is_empty()) {
            self.0.is_short.store(false, Ordering::Release);
            self.0.let_go.clear();
            self.collect_marks(out);
        }
        Ok(())
    }

    fn collect_marks(&self, out: &mut Vec<u8>) {
        for (lane, incoming) in (0..).zip(&self.0.incoming) {
            let marks = lock(&incoming.lane).poll_marks();
            if let Some(up_to) = marks.received {
                Control::Received { lane, up_to }.put(out);
            }
            if let Some((up_to, ranges)) = marks.settled {
                Control::Settled { lane, up_to, ranges }.put(out);
            }
        }
    }

    /// Queues a control frame of the transport's own. There are never more than the session's own
    /// budgets let be.
    pub(crate) fn send_control(&self, frame: Control) {
        lock(&self.0.control).frames.push_back(frame);
        self.0.control_ready.notify_one();
    }

    /// Queues what answers a control frame of the peer's; beyond the limit it is dropped, since only
    /// a peer that floods us comes there.
    pub(super) fn answer_control(&self, frame: Control) {
        let mut control = lock(&self.0.control);
        if control.frames.len() < FRAMES_LIMIT {
            control.frames.push_back(frame);
        }
        drop(control);
        self.0.control_ready.notify_one();
    }

    /// So many frames of so many bytes arrived on a lane, the first of which has this sequence
    /// number; some may have come before.
    pub(super) fn handle_frames(
        &self,
        lane: u16,
        first: u64,
        count: u64,
        bytes: u64,
    ) -> Result<(), WireError> {
        let incoming = self.0.incoming.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let untold = lock(&incoming.lane).handle_frames(first, count, bytes)?;
        self.tell_marks(if untold >= UNTOLD_BYTES { Urgency::Now } else { Urgency::Later });
        Ok(())
    }

    /// At this place of its lane, the peer says how many rejections it has seen.
    pub(super) fn handle_seen(&self, receipt: Receipt, count: u64) -> Result<(), WireError> {
        let lane = usize::from(receipt.lane);
        let incoming = self.0.incoming.get(lane).ok_or(WireError::Malformed)?;
        lock(&incoming.lane).handle_seen(receipt.sequence, count)?;
        self.settle(receipt);
        Ok(())
    }

    /// A control frame arrived. Says what is to be done that is not the session's own business.
    pub(crate) fn handle_control(
        &self,
        frame: Control,
        arrived: &mut Arrived,
    ) -> Result<Option<Errand>, WireError> {
        let mut errand = None;
        match frame {
            Control::Received { lane, up_to } => self.handle_received(lane, up_to)?,
            Control::Settled { lane, up_to, ranges } => {
                self.handle_settled(lane, up_to, &ranges)?
            }
            Control::Ping(nonce) => self.answer_control(Control::Pong(nonce)),
            Control::Pong(_) => errand = Some(Errand::Pong),
            Control::Packet(packet) => errand = Some(Errand::Packet(packet)),
            Control::Pause { target } => self.handle_pause(target, true),
            Control::Resume { target } => self.handle_pause(target, false),
            Control::Closing => self.handle_closing(),
            Control::Drained => {
                lock(&self.0.control).closing.handle_drained();
                self.0.closed_changed.notify_waiters();
            }
            Control::Pull { id, from } => errand = self.handle_pull(id, from),
            Control::Got { id } => self.handle_got(id),
            Control::Cancelled { id, reason } => self.handle_cancelled(id, reason, arrived),
        }
        self.release(arrived);
        Ok(errand)
    }

    fn handle_closing(&self) {
        // Said again, it changes nothing, and so nobody looks at all targets.
        if !lock(&self.0.control).closing.is_by_peer() {
            self.stop_intake(Closing::handle_closing);
        }
    }

    fn handle_pause(&self, target: u64, is_paused: bool) {
        let out = &self.0.outgoing[usize::from(self.lane_of(target))];
        let mut wake = Vec::new();
        lock(&out.lane).handle_pause(target, is_paused, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }

    pub(super) fn handle_received(&self, lane: u16, up_to: u64) -> Result<(), WireError> {
        let out = self.0.outgoing.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let mut wake = Vec::new();
        let told = lock(&out.lane).handle_received(up_to, &self.0.budget, &mut wake)?;
        self.settle_all(told);
        wake.into_iter().for_each(Waker::wake);
        Ok(())
    }

    pub(super) fn handle_settled(
        &self,
        lane: u16,
        up_to: u64,
        ranges: &[(u64, u64)],
    ) -> Result<(), WireError> {
        let out = self.0.outgoing.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let mut wake = Vec::new();
        if !lock(&out.lane).handle_settled(up_to, ranges, &self.0.budget, &mut wake)? {
            // Who repeats itself makes nobody look at all that is under way.
            wake.into_iter().for_each(Waker::wake);
            return Ok(());
        }
        self.wake_waiters(wake);
        self.settle_bulks(lane, |sequence| {
            let at = ranges.partition_point(|(_, last)| *last < sequence);
            sequence <= up_to || ranges.get(at).is_some_and(|(first, _)| *first <= sequence)
        });
        self.look_at_close();
        Ok(())
    }

    /// A closing session may have come to its end.
    pub(super) fn look_at_close(&self) {
        if self.0.closing.load(Ordering::Acquire) && self.is_settled() {
            self.0.control_ready.notify_one();
            self.0.closed_changed.notify_waiters();
        }
    }

    pub(super) fn wake_waiters(&self, mut wake: Vec<Waker>) {
        if self.0.budget.take_short() {
            for out in &self.0.outgoing {
                lock(&out.lane).wake_all(&mut wake);
            }
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// The peer rejected one of our frames. Once its sender has been told,
    /// [`rejection_seen`](Self::rejection_seen) is to follow.
    pub(super) fn handle_rejected(
        &self,
        lane: u16,
        sequence: u64,
    ) -> Result<Option<Unsettled>, WireError> {
        let out = self.0.outgoing.get(usize::from(lane)).ok_or(WireError::Malformed)?;
        let mut wake = Vec::new();
        let rejected = lock(&out.lane).handle_rejected(sequence, &self.0.budget, &mut wake);
        self.wake_waiters(wake);
        self.settle_bulks(lane, |settled| settled == sequence);
        self.look_at_close();
        Ok(rejected)
    }

    /// The sender of a frame on this lane knows that it was rejected.
    pub(crate) fn rejection_seen(&self, lane: u16) {
        let Some(out) = self.0.outgoing.get(usize::from(lane)) else { return };
        if lock(&out.lane).rejection_seen() {
            out.ready.notify_one();
        }
    }

    /// Takes no more messages, of either end, and tells the peer. Answers still pass.
    pub(crate) fn close(&self) {
        self.stop_intake(Closing::ask);
    }

    /// Stops the intake, and then notes why: nobody may say that this end is drained before.
    fn stop_intake(&self, note: impl FnOnce(&mut Closing)) {
        let mut wake = Vec::new();
        for out in &self.0.outgoing {
            lock(&out.lane).close(&mut wake);
        }
        self.0.closing.store(true, Ordering::Release);
        note(&mut lock(&self.0.control).closing);
        self.tell_waiting_marks();
        wake.into_iter().for_each(Waker::wake);
        self.0.control_ready.notify_one();
        self.0.closed_changed.notify_waiters();
    }

    /// Whether the session was closed and nothing is under way any more, either way.
    pub(crate) fn is_closed(&self) -> bool {
        self.has_ended()
            || self.0.closing.load(Ordering::Acquire)
                && self.is_settled()
                && lock(&self.0.control).closing.is_peer_drained()
    }

    /// Waits until [`is_closed`](Self::is_closed).
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub(crate) async fn closed(&self) {
        loop {
            let changed = self.0.closed_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Whether all messages that were sent are settled.
    fn is_settled(&self) -> bool {
        self.0.budget.used().0 == 0
    }

    /// Ends the session; returns what was not settled. A second call returns nothing.
    pub(crate) fn end(&self) -> Vec<Unsettled> {
        self.0.ended.store(true, Ordering::Release);
        let mut wake = Vec::new();
        let unsettled =
            self.0.outgoing.iter().flat_map(|out| lock(&out.lane).end(&mut wake)).collect();
        wake.into_iter().for_each(Waker::wake);
        lock(&self.0.bulk_out).clear();
        *lock(&self.0.inflow) = Inflow::new(&self.0.shape, self.0.buffers.clone());
        self.0.closed_changed.notify_waiters();
        unsettled
    }

    /// Whether all that was sent, either way, has arrived and is settled.
    #[cfg(test)]
    pub(crate) fn is_drained(&self) -> bool {
        self.0.outgoing.iter().all(|out| lock(&out.lane).is_drained())
            && self.0.incoming.iter().all(|incoming| lock(&incoming.lane).is_drained())
    }
}
